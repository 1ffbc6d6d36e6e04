"""Two dummy domains that the loop must carry without knowing: ragged CTC and teacher forcing.

They stand for speech and translation, whose domains come later: losses are sums over units of
unequal lengths, a batch is a tuple of several tensors, and a model takes more than one argument.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steep.contracts.domain import Items, Position, Scores, epochs
from steep.contracts.family import Family
from steep.spec.sections import Strict

RECIPE = {"optimizer": "adam", "learning_rate": 0.02, "batch_size": 4, "clip": 1.0}
FEATURES, SYMBOLS = 3, 5


class Ragged:
    """Sequences whose frames spell out random symbols: 'ctc' or 'forced' says how they are read.

    Unit of m: frames."""

    unit = "frames"
    metrics = ("cross_entropy", "error")

    def __init__(self, kind: str, count: int = 40, seed: int = 0) -> None:
        self.kind = kind
        self.shape = {"features": FEATURES, "symbols": SYMBOLS}
        generator = np.random.default_rng(seed)
        codes = generator.normal(size=(SYMBOLS, FEATURES))
        self.targets = [
            generator.integers(1, SYMBOLS, generator.integers(1, 6)) for _ in range(count)
        ]
        self.frames = [
            (np.repeat(codes[t], 3, 0) + generator.normal(0, 0.1, (3 * len(t), FEATURES))).astype(
                "f4"
            )
            for t in self.targets
        ]
        self.taken: set[int] = set()

    def items(self) -> Items:
        count = len(self.frames)
        size = np.array([len(frames) for frames in self.frames], float)
        return Items(
            size,
            np.arange(count, dtype=np.uint64),
            np.arange(count, dtype=np.int64),
            np.zeros(count, np.int8),
        )

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        return {"cross_entropy": float(np.log(SYMBOLS)), "error": 1.0}

    def steps_per_epoch(self, items: np.ndarray, hyperparameters: Mapping[str, Any]) -> int:
        return -(-len(items) // hyperparameters["batch_size"])

    def batches(
        self, items: np.ndarray, hyperparameters: Mapping[str, Any], seed: int, position: Position
    ) -> Iterator[tuple[Any, Position]]:
        steps = self.steps_per_epoch(items, hyperparameters)
        for generator, epoch, taken in epochs(seed, position):
            parts = np.array_split(generator.permutation(items), steps)
            for index in range(taken, steps):
                after = (epoch, index + 1) if index + 1 < steps else (epoch + 1, 0)
                self.taken.update(parts[index].tolist())
                yield self.padded(parts[index]), after

    def padded(self, rows: np.ndarray, extra: int = 0) -> tuple[Tensor, ...]:
        frames = [torch.from_numpy(self.frames[row]) for row in rows]
        targets = [torch.from_numpy(self.targets[row]) for row in rows]
        x_BxTxF = nn.utils.rnn.pad_sequence(frames, batch_first=True)
        y_BxS = nn.utils.rnn.pad_sequence(targets, batch_first=True)
        x_BxTxF = F.pad(x_BxTxF, (0, 0, 0, extra), value=9.0)
        y_BxS = F.pad(y_BxS, (0, extra))
        return x_BxTxF, y_BxS, torch.tensor([*map(len, frames)]), torch.tensor([*map(len, targets)])

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(summed loss of each item, share of wrong symbols of each item times its units), [B]."""
        x_BxTxF, y_BxS, frames_B, symbols_B = batch
        if self.kind == "ctc":
            logs_BxTxV = model(x_BxTxF, frames_B).log_softmax(2)
            loss_B = F.ctc_loss(
                logs_BxTxV.transpose(0, 1), y_BxS, frames_B, symbols_B, reduction="none"
            )
            return loss_B, (loss_B / symbols_B > 1).float() * symbols_B
        logits_BxSxV = model(x_BxTxF, frames_B, y_BxS)  # the decoder is shown the truth
        valid_BxS = torch.arange(y_BxS.shape[1]) < symbols_B[:, None]
        loss_BxS = F.cross_entropy(logits_BxSxV.transpose(1, 2), y_BxS, reduction="none")
        wrong_BxS = (logits_BxSxV.argmax(2) != y_BxS) & valid_BxS
        return (loss_BxS * valid_BxS).sum(1), wrong_BxS.sum(1)

    def loss(self, model: Any, batch: Any, state: Any) -> tuple[Any, float, Any]:
        return self.losses(model, batch)[0].sum(), float(batch[3].sum()), None

    def evaluate(self, model: Any, items: np.ndarray) -> Scores:
        loss_B, wrong_B = self.losses(model, self.padded(items))
        count = np.array([len(self.targets[row]) for row in items], float)
        sums = {"cross_entropy": loss_B.double().numpy(), "error": wrong_B.double().numpy()}
        return Scores(count, sums)

    def to(self, device: str) -> None:
        assert device == "cpu"


class Options(Strict):
    """Nothing to set."""


class Encoder(nn.Module):
    def __init__(self, width: int, shape: Mapping[str, int]) -> None:
        super().__init__()
        self.reader = nn.GRU(shape["features"], width, batch_first=True)
        self.head = nn.Linear(width, shape["symbols"])

    def forward(self, x_BxTxF: Tensor, frames_B: Tensor) -> Tensor:
        return self.head(self.reader(x_BxTxF)[0])


class Forced(nn.Module):
    def __init__(self, width: int, shape: Mapping[str, int]) -> None:
        super().__init__()
        self.reader = nn.GRU(shape["features"], width, batch_first=True)
        self.embedding = nn.Embedding(shape["symbols"], width)
        self.writer = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, shape["symbols"])

    def forward(self, x_BxTxF: Tensor, frames_B: Tensor, y_BxS: Tensor) -> Tensor:
        read_BxTxH, _ = self.reader(x_BxTxF)
        last_BxH = read_BxTxH[torch.arange(len(frames_B)), frames_B - 1]
        before_BxSxH = self.embedding(F.pad(y_BxS[:, :-1], (1, 0)))
        return self.head(self.writer(before_BxSxH, last_BxH[None].contiguous())[0])


FAMILIES = {
    "ctc": Family("ctc", lambda size, shape, _: Encoder(size, shape), "ctc", recipe=RECIPE),
    "forced": Family("forced", lambda size, shape, _: Forced(size, shape), "forced", recipe=RECIPE),
}
