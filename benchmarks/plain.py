"""The plain way: what one writes in an afternoon. nn modules, a DataLoader, an eager loop.

The same models, losses and batches as steep's engine, so that both can be compared step by step:
``load`` copies an engine model's weights into its plain twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


class PlainRHN(nn.Module):
    """One Linear for h and one for t in each sublayer; x and h side by side into the first."""

    def __init__(self, width: int, vocabulary: int, depth: int = 10) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        inputs = [2 * width] + [width] * (depth - 1)
        self.h = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        self.t = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        self.decoder = nn.Linear(width, vocabulary)

    def forward(self, tokens_BxT: Tensor) -> Tensor:
        x_BxTxH = self.embedding(tokens_BxT)
        s_BxH = x_BxTxH.new_zeros(len(x_BxTxH), self.width)
        outputs = []
        for time in range(x_BxTxH.shape[1]):
            for layer, (h, t) in enumerate(zip(self.h, self.t, strict=True)):
                given = torch.cat([x_BxTxH[:, time], s_BxH], 1) if layer == 0 else s_BxH
                s_BxH = s_BxH + torch.sigmoid(t(given)) * (torch.tanh(h(given)) - s_BxH)
            outputs.append(s_BxH)
        return self.decoder(torch.stack(outputs, 1))

    def load(self, model: Any) -> None:
        width = self.width
        with torch.no_grad():
            self.embedding.weight.copy_(model.embedding.weight)
            self.decoder.load_state_dict(model.decoder.state_dict())
            for layer in range(len(self.h)):
                weight = model.recurrent_weight[layer]
                if layer == 0:
                    weight = torch.cat([model.input_weight, weight])
                for linear, half in ((self.h, slice(0, width)), (self.t, slice(width, None))):
                    linear[layer].weight.copy_(weight[:, half].t())
                    linear[layer].bias.copy_(model.bias[layer, half])


class PlainLSTM(nn.Module):
    def __init__(self, width: int, vocabulary: int, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.decoder = nn.Linear(width, vocabulary)

    def forward(self, tokens_BxT: Tensor) -> Tensor:
        return self.decoder(self.lstm(self.embedding(tokens_BxT))[0])

    def load(self, model: Any) -> None:
        with torch.no_grad():
            self.embedding.weight.copy_(model.embedding.weight)
            self.decoder.load_state_dict(model.decoder.state_dict())
            for layer in range(self.lstm.num_layers):
                for ours, theirs in (("input_weight", "ih"), ("recurrent_weight", "hh")):
                    weight = getattr(self.lstm, f"weight_{theirs}_l{layer}")
                    weight.copy_(model.get_parameter(f"{ours}_{layer}"))
                getattr(self.lstm, f"bias_ih_l{layer}").copy_(model.get_parameter(f"bias_{layer}"))
                bias = getattr(self.lstm, f"bias_hh_l{layer}")
                bias.zero_()
                bias.requires_grad_(False)  # ours has one bias: the same steps need the same


class PlainResNet(nn.Module):
    """steep's modules, called one after the other, in torch's default memory format."""

    def __init__(self, width: int, shape: Mapping[str, int]) -> None:
        super().__init__()
        from steep.models import resnet

        self.net = resnet.ResNet(width, shape, resnet.Options(engine="torch"))
        self.net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, x_BxCxHxW: Tensor) -> Tensor:
        net = self.net
        x_BxCxHxW = F.relu(net.stem_norm(net.stem(x_BxCxHxW)))
        for block in net.blocks:
            x_BxCxHxW = block(x_BxCxHxW)
        return net.classifier(F.adaptive_avg_pool2d(x_BxCxHxW, 1).flatten(1))

    def load(self, model: Any) -> None:
        self.net.load_state_dict(model.state_dict())


def loader(inputs: Tensor, targets: Tensor, order: list[int], batch: int) -> DataLoader[Any]:
    """A DataLoader over (input, target) items in a given order, in this process."""
    data: Dataset[Any] = TensorDataset(inputs, targets)
    return DataLoader(data, batch_size=batch, sampler=order)  # type: ignore[arg-type]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any, clip: float) -> float:
    """One update by the mean cross-entropy; the loss before it."""
    inputs, targets = batch
    optimizer.zero_grad()
    logits = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten())
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()


def optimizer(name: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "momentum":
        return torch.optim.SGD(trained, lr=rate, momentum=0.9, nesterov=True)
    return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name](trained, lr=rate)
