"""What is planned and predicted of a study before it runs, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

from steep.records.fits import Interval
from steep.records.trials import Trial


@dataclass(frozen=True)
class Prediction:
    """How long a study is expected to take: of one that has begun, what is left of it."""

    trials: int
    """The median of the scenarios in which its search was simulated."""
    most_trials: int
    workers: int
    training: Interval
    """Seconds of all trials together."""
    clock: Interval
    """Seconds on the clock with that many workers."""
    evaluations: float
    """Share of the time that goes into evaluations of V."""
    learnt_from: int
    """Finished trials of the family, of other studies, that show when trials stop; 0: of other
    families."""
    own_trials: int
    """Of this study."""
    family: str
    made: str = ""
    """UTC time."""
    fewest_trials: int = 0
    flops: Interval | None = None
    shards: int | None = None
    """Searched shards that get a result, in the median of the scenarios; None: not written down."""


@dataclass(frozen=True)
class TimeSpent:
    """What a study has taken so far."""

    trials: int
    training: float
    """Seconds of all ended trials together."""
    clock: float | None = None
    """Seconds of all runs of the study; None where they were not recorded."""
    complete: bool = False
    """The search is over, and what was held out is trained."""


@dataclass(frozen=True)
class Bounds:
    """The least and the most that a planned study may take of something."""

    low: float
    high: float


@dataclass(frozen=True)
class Plan:
    """What ``steep plan`` says. ``trials`` are those of the smaller scenario, in planning order;
    hyperparameters of shards between the ends may still change with the results."""

    trials: tuple[Trial, ...]
    most_trials: int
    held_out_trials: int
    parameters: tuple[tuple[int, int], ...]
    """(model size, parameters), where the trainer can say."""
    flops: Bounds | None
    seconds: Bounds | None
    """Of one worker; None without a measured speed."""
    disk: int
    """Bytes, about: checkpoints, curves, per-item errors."""
    adaptive: bool = False
    """The search goes by its results: trials and costs are what to expect, not bounds."""
    prediction: Prediction | None = None
    """What to expect between the bounds; None without a measured speed."""
    kept: tuple[str, str] | None = None
    """When the speed was measured (UTC), and the file that keeps it; None: for this plan."""
