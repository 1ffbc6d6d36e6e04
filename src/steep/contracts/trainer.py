"""What a trainer is: a function from (trial, shard, handle) to a measurement.

The engine is one; a user's plain Python function has the same interface. A trainer's
module holds ``Options`` (strict pydantic), ``recipe``, ``cost`` and ``open_trainer``:

    recipe(family: str) -> Mapping[str, Value] | None
        Every hyperparameter with its default. None: any name goes (the user's own trainer).
    cost(loaded: Loaded, domain: Domain, size: int) -> Cost | None
        What a model of this size costs; None where nobody can know before running.
    extent(loaded: Loaded, domain: Domain, trial: Trial, items: IntArray) -> (low, high) | None
        Fewest and most units of m that the trial, on these items, can see before it ends.
    schedule(loaded, domain, trial, items) -> (tuple[int, ...], int), optional
        Steps at which V is evaluated, the last one the cap; and the steps in an epoch. With it, and
        a trainer that asks ``stop_requested`` before every step, a study's time can be predicted.
    steps(loaded: Loaded, domain: Domain) -> tuple[StepCost, ...], optional
        What a training step of models of the ladder, and of much larger ones, takes.
    memory(loaded: Loaded, domain: Domain, trial: Trial, items: IntArray) -> float | None, optional
        Bytes of a worker that trains the trial on these items, roughly.
    open_trainer(loaded: Loaded, domain: Domain) -> Trainer
        Called once in each worker.
    open_packed(loaded: Loaded, domain: Domain) -> PackedTrainer, optional
        The same for several trials at once, alike but for seed and learning rate (``run.pack``).
    code(loaded: Loaded) -> dict[str, str], optional
        Digests of the user's own code that it runs: a begun study goes on with no other.
    problem(loaded: Loaded, domain: Domain) -> tuple[str, str] | None, optional
        What is wrong with the spec, seen with its domain: where, and a sentence.
    absent(loaded: Loaded) -> tuple[str, str] | None, optional
        What the spec asks of the machine that runs it and this one lacks: where, and a sentence.
    OWN_VALIDATION: bool, optional
        Whether V may be empty, for the trainer has validation data of its own.
    PRELOAD: tuple[str, ...], optional
        Modules that are slow to import, e.g. torch: local workers are forked with them loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from steep.records import Evaluation, Measurement, Sample, Trial


@dataclass(frozen=True)
class ShardItems:
    """The item numbers a trial may touch: its own prefix, V, and the test part. int64 arrays."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Cost:
    parameters: int
    parameters_without_embeddings: int
    flops: float
    """Training FLOPs (forward and backward, multiply and add counted) per unit of m."""


class Handle(Protocol):
    """A trial's line to whoever started it. It never opens the store."""

    attempt: int
    """Which try at the trial this is, from 1."""

    up_to_steps: int | None
    """Stop (checkpointed, not finished) after this many steps; None: train to the end."""

    def progress(self, evaluation: Evaluation) -> None:
        """Tell of one evaluation: drives the progress bar and the live training curve.

        Raises Diverged, which ends the trial as DIVERGED, when a number in it is not finite."""
        ...

    def save(self, step: int, state: bytes) -> None:
        """Write a checkpoint: atomic, checksummed, the last two kept."""
        ...

    def load(self) -> bytes | None:
        """The newest checkpoint that passes its checksum, or None for a fresh start."""
        ...

    def pass_over(self, why: str) -> None:
        """What ``load`` gave cannot be read, whatever its checksum: it gives the one before."""
        ...

    def due(self) -> bool:
        """Whether it is time to save (by the clock, so call it as often as you like)."""
        ...

    def stop_requested(self) -> bool:
        """True after Ctrl-C: save and raise ``Interrupted`` at the next step."""
        ...

    def folder(self) -> tuple[Path, bool]:
        """The trial's own folder for the files that it saves by itself, and whether an earlier
        attempt left some there. It goes when the trial has ended."""
        ...

    def drop_folder(self) -> None:
        """Empty it: what an earlier attempt left cannot be used."""
        ...

    def shard_file(self, name: str, data: Callable[[], bytes]) -> Path:
        """A file with items of the study, written once for all trials that need it."""
        ...

    def items(self, errors: dict[str, np.ndarray]) -> None:
        """Keep the per-item validation sums and counts of the best step, for paired tests."""
        ...

    def samples(self, samples: Sequence[Sample]) -> None:
        """Keep what the best step's model makes of a few validation items, for a reader."""
        ...


class Interrupted(Exception):
    """A trial stopped on request after saving; it stays unfinished and can go on."""


class Diverged(Exception):
    """The loss is NaN or infinite: the trial ends as DIVERGED, with the curve so far."""


Trainer = Callable[[Trial, ShardItems, Handle], Measurement]
Ended = Callable[[], Measurement]
"""Gives the measurement of a trial that is over, or raises what ended it."""
PackedTrainer = Callable[[Sequence[tuple[Trial, ShardItems, Handle]]], Iterator[tuple[int, Ended]]]
"""Yields each trial's place as it ends."""
