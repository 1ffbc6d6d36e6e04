"""A character language model in PyTorch: a plain script, which knows nothing of steep.

python torch_lm.py --data train.txt --validation val.txt --width 32 --lr 0.01 --seed 0
"""

import argparse

import torch
from torch import nn

LENGTH, BATCH = 64, 16


class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.layers = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.Linear(width, 256)

    def forward(self, tokens):
        return self.decoder(self.layers(self.embedding(tokens))[0])


def windows(path):
    """Rows of LENGTH + 1 bytes, each to be read and predicted."""
    with open(path, "rb") as file:
        text = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).long()
    return text[: len(text) // (LENGTH + 1) * (LENGTH + 1)].view(-1, LENGTH + 1)


def loss_on(model, rows):
    logits = model(rows[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    train, validation = windows(args.data), windows(args.validation)[:200]
    model = Model(args.width)
    optimizer = torch.optim.Adam(model.parameters(), args.lr)
    best = float("inf")
    for epoch in range(args.epochs):
        for rows in train[torch.randperm(len(train))].split(BATCH):
            optimizer.zero_grad()
            loss_on(model, rows).backward()
            optimizer.step()
        with torch.no_grad():
            loss = loss_on(model, validation).item()
        best = min(best, loss)
        print(f"epoch {epoch}: validation loss {loss:.4f}, best {best:.4f}", flush=True)
        if loss > best + 0.1:
            break


if __name__ == "__main__":
    main()
