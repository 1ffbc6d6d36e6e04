"""A study before training, what its trials bring back, and what the search decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property

Value = float | int | str | bool
Settings = tuple[tuple[str, Value], ...]
"""Named values in a hashable, order-free form: sorted (name, value) pairs."""


def settings(values: Mapping[str, Value]) -> Settings:
    """A mapping as sorted pairs, so that equal settings are equal records."""
    return tuple(sorted(values.items()))


# ---------------------------------------------------------------- before training


@dataclass(frozen=True)
class Shard:
    """A nested training subset: the first ``items`` items of one seeded permutation."""

    permutation: int
    """Which draw of the data; 0 unless the study measures the variance of the draw."""
    items: int
    samples: float
    """Exact size m of the prefix, in the domain's primary unit."""
    unit: str
    held_out: bool = False
    """Kept out of the search: its error is forecast first, measured afterwards with one model, and
    then part of the fit."""


@dataclass(frozen=True)
class Trial:
    """One training run to be done: (shard, model size, hyperparameters, seed)."""

    permutation: int
    items: int
    samples: float
    size: int
    """The family's model size, e.g. its width; parameters are counted when the model is built."""
    hyperparameters: Settings
    seed: int

    @cached_property
    def id(self) -> str:
        """A name derived from the content; nothing ever parses it."""
        text = json.dumps({name: getattr(self, name) for name in _NAMES})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def hyperparameter(self, name: str) -> Value | None:
        return dict(self.hyperparameters).get(name)

    @property
    def candidate(self) -> tuple[int, float, int, Settings]:
        """What the seeds of one candidate share: everything but the seed."""
        return (self.permutation, self.samples, self.size, self.hyperparameters)


_NAMES = tuple(sorted(field.name for field in fields(Trial)))


# ---------------------------------------------------------------- what a trial brings back


class Status(StrEnum):
    """How a trial stands or ended. Only COMPLETE enters a fit by default."""

    PLANNED = "planned"
    RUNNING = "running"
    COMPLETE = "complete"
    CAPPED = "capped"  # met the step cap while still improving: the minimum is an upper bound
    STOPPED = "stopped"  # ended by the planner: the minimum is an upper bound
    DIVERGED = "diverged"  # NaN or inf; kept and shown, never best
    FAILED = "failed"  # tried max_attempts times; the reason says why
    TIMEOUT = "timeout"


ENDED = (
    Status.COMPLETE,
    Status.CAPPED,
    Status.STOPPED,
    Status.DIVERGED,
    Status.FAILED,
    Status.TIMEOUT,
)
SCORED = (Status.COMPLETE, Status.CAPPED)
"""Of trials that were trained to their end, and have a score."""
LOST = (Status.DIVERGED, Status.FAILED, Status.TIMEOUT)
REPLACED = (Status.DIVERGED, Status.FAILED)
"""In place of such a seed another one is tried: chance may have been the cause."""


@dataclass(frozen=True)
class Evaluation:
    """One point of a training curve (error against steps)."""

    step: int
    samples_seen: float
    seconds: float
    train_loss: float | None
    """Mean loss per unit over the steps since the last evaluation."""
    validation_loss: float
    validation_error: float


@dataclass(frozen=True)
class Sample:
    """What a trained model makes of one validation item, in words."""

    given: str
    """What it was given: the beginning of a text, a sentence to translate, the name of a clip."""
    expected: str
    """What the data have there."""
    written: str
    """What the model has there."""


@dataclass(frozen=True)
class Measurement:
    """What one trial measured. Losses are means per unit; errors are in the study's metric."""

    trial: Trial
    status: Status
    reason: str | None = None
    validation_error: float | None = None
    """The study's selection metric at the run's best evaluation (its minimum over the run)."""
    validation_error_se: float | None = None
    """Sampling error of V itself: clustered over the items' groups."""
    validation_loss: float | None = None
    test_error: float | None = None
    test_loss: float | None = None
    train_error: float | None = None
    metrics: Settings = ()
    """Every metric of the domain at the best step, validation part, by name."""
    parameters: int | None = None
    parameters_without_embeddings: int | None = None
    best_step: int = 0
    steps: int = 0
    samples_seen: float = 0.0
    flops: float | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    """Bytes, the worker's largest resident set."""
    engine: str = ""
    device: str = "cpu"
    threads: int = 1
    versions: Settings = ()
    weights_hash: str | None = None
    """SHA-256 of the weights after the last step: equal runs have equal hashes."""
    curve: tuple[Evaluation, ...] = ()

    @property
    def evaluations(self) -> int:
        return len(self.curve)


def total_flops(measurements: Iterable[Measurement]) -> float | None:
    """Of those trials that say; None where none does."""
    known = [m.flops for m in measurements if m.flops is not None]
    return sum(known) if known else None


# ---------------------------------------------------------------- the search, decided


@dataclass(frozen=True)
class Candidate:
    """One (model size, hyperparameters) on one shard, scored over its seeds."""

    size: int
    hyperparameters: Settings
    seeds: tuple[int, ...]
    errors: tuple[float, ...]
    """Each seed's minimum validation error, in the order of ``seeds``."""
    score: float
    """Median over seeds of the minimum validation error."""
    parameters: int
    """0 where the trainer does not say."""
    parameters_without_embeddings: int
    capped: bool = False
    """Its score is an upper bound: trained on, its capped seeds would lower it beyond its noise."""
    fall: float = 0.0
    """By how much of its logarithm they would lower it."""
    diverged: int = 0
    """Seeds of this candidate that diverged; more than half of them bars it from being best."""
    estimate: float | None = None
    """The score without its winner's bias: what candidates of one shard are compared by. None: the
    score."""

    @property
    def expected(self) -> float:
        return self.score if self.estimate is None else self.estimate


@dataclass(frozen=True)
class SizeCurve:
    """Error against model size on one shard, as the surface of all the study's trials shows it."""

    sizes: tuple[int, ...]
    parameters: tuple[float, ...]
    """Of each size; 0 where nobody says."""
    error: tuple[float, ...]
    """At the best hyperparameters of each size: median, and a 90 % interval of the noise-free
    error."""
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    minimum: tuple[float, float, float]
    """Parameters at the lowest error: median and 90 % interval."""
    minimum_size: tuple[float, float, float]
    """The same as model sizes."""
    leftover: float
    """Expected excess of the chosen candidate over the best that was to be found: root mean square,
    in log error."""
    score_se: float
    """Standard error of the score as the error of the best model that was to be found, in logs:
    noise of seeds, luck of the chosen ones, and what the search missed; without what all shards
    have of it in common, which no exponent sees."""
    excess: float = 0.0
    """Expected excess of the chosen candidate, in log error, over the best of what was tried and,
    where the best value of a hyperparameter is at an end of those tried, of one step beyond;"""
    excess_sd: float = 0.0
    """and its standard deviation."""
    regret: float = 0.0
    """By how much, in log error, the best model is expected to lie below the score: of a held-out
    shard, where one size was trained, and of a shard whose search is unfinished. ``score_se`` is
    then that of the score less this."""


UNFINISHED = "its search is not finished"
ONE_SEED = "one seed does not say which model is best"
AHEAD = "a stopped trial is ahead of its best model"
"""Why a shard is withheld."""
ONE_TRIED = "one size tried"
STOPPED_AHEAD = "stopped trial ahead"
"""Flags of a best fit: no other size was tried on its shard, so that it is at neither end of the
sizes; a trial that was stopped had a lower error already, by more than noise."""


@dataclass(frozen=True)
class BestFit:
    """The best-fit model of one shard, with what the search can and cannot say about it."""

    permutation: int
    samples: float
    unit: str
    held_out: bool
    best: Candidate
    adequate: Candidate
    """The smallest candidate size within one standard error of the best."""
    plateau: bool
    """No larger size is better than noise (paired over seeds and validation items)."""
    edge: str
    """'' for an optimum inside the ladder; 'low' or 'high' at its edge (a one-sided point)."""
    adequate_edge: str
    """The same for the smallest adequate size."""
    seed_se: float | None
    """Standard error of the score from seeds (variance pooled over shards), absolute."""
    validation_se: float | None
    """Sampling error of V on this candidate, absolute; common to all points of a study."""
    test_error: float | None
    metrics: Settings
    candidates: tuple[Candidate, ...]
    flags: tuple[str, ...] = ()
    size_curve: SizeCurve | None = None
    """None where too little was tried to draw one."""
    withheld: str = ""
    """Why the shard is kept out of the laws: its search is too unfinished to say which model is
    best. '' where it is not."""

    @property
    def searched(self) -> bool:
        """Whether its optimum is known: not of a held-out shard, where one model is trained, nor of
        one whose search is too unfinished to say."""
        return not self.held_out and not self.withheld
