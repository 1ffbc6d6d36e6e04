"""How fast this machine trains: a few real steps of the smallest and the largest model.

Small models reach a few percent of a machine's FLOP rate and large ones most of it, so a time
estimate from FLOPs alone would be wrong by tens. ``plan`` and ``init`` ask here instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from steep.records import Evaluation, Measurement, Trial
from steep.trainers.contract import ShardItems, Trainer

WARM_UP, STEPS = 2, 10


class Stopwatch:
    """A handle that ends a trial after so many steps and keeps nothing."""

    def __init__(self, up_to_steps: int) -> None:
        self.up_to_steps: int | None = up_to_steps
        self.attempt = 1

    def progress(self, evaluation: Evaluation) -> None: ...

    def save(self, step: int, state: bytes) -> None: ...

    def load(self) -> bytes | None:
        return None

    def due(self) -> bool:
        return False

    def draining(self) -> bool:
        return False

    def items(self, errors: dict[str, np.ndarray]) -> None: ...


def seconds_per_flop(
    trainer: Trainer, trials: Sequence[tuple[Trial, ShardItems]]
) -> Callable[[int], float] | None:
    """Size on the dial -> seconds per training FLOP of one worker, log-interpolated between the
    sizes of ``trials``. None where a trainer does not count FLOPs."""
    measured: dict[int, float] = {}
    for trial, items in trials:
        trainer(trial, items, Stopwatch(WARM_UP))
        found: Measurement = trainer(trial, items, Stopwatch(WARM_UP + STEPS))
        if not found.flops or not found.seconds:
            return None
        measured[trial.size] = found.seconds / found.flops
    sizes = sorted(measured)
    logs = [math.log(s) for s in sizes]
    speeds = [math.log(measured[s]) for s in sizes]

    def speed(size: int) -> float:
        return float(np.exp(np.interp(math.log(size), logs, speeds)))

    return speed
