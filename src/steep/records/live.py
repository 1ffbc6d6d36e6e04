"""A study while it runs: what its trials do now, and all that is known of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steep.records.analysis import Standing, TrialStanding
from steep.records.trials import Evaluation, Measurement, Sample, Trial


@dataclass(frozen=True)
class RunningTrial:
    """A trial that is being trained."""

    trial: Trial
    attempt: int
    seconds: float
    """Since the attempt began."""
    curve: tuple[Evaluation, ...] = ()
    """Its evaluations so far."""
    worker: int | None = None
    """The process that trains it; None where this machine cannot see it."""
    memory: float | None = None
    """Bytes that the process holds now."""


@dataclass(frozen=True)
class LiveState:
    """A study at one moment, without its analysis."""

    standing: Standing
    running: tuple[RunningTrial, ...]
    queue: tuple[tuple[Trial, str], ...]
    """Planned trials, in the order of planning, and why they were planned ('' if not given)."""
    measurements: tuple[Measurement, ...]
    ends: Mapping[str, float]
    """When trials ended (Unix seconds), by id, of those that say."""
    metric: str | None
    """What evaluations are measured in; None before a run has written it down."""
    unit: str
    """What training-set sizes count; 'samples' before a run has written it down."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a trial."""

    number: int
    state: str
    reason: str | None
    detail: str | None
    """The message of a failure, as a rule with its traceback."""


@dataclass(frozen=True)
class ItemErrors:
    """A trial's errors on the validation items, at its best evaluation."""

    metric: str
    items: int
    worst: tuple[tuple[int, float, float], ...]
    """(item number, error per unit, units) of the items with the largest errors."""
    without_error: int
    """How many items had an error of zero."""


@dataclass(frozen=True)
class TrialRecord:
    """All that a study holds of one trial."""

    number: int
    """Its place in the order of planning, from 1."""
    standing: TrialStanding
    why: str
    curve: tuple[Evaluation, ...]
    measurement: Measurement | None
    attempts: tuple[Attempt, ...] = ()
    log: tuple[tuple[str, str], ...] = ()
    """Notes: when (ISO time), and what."""
    items: ItemErrors | None = None
    samples: tuple[Sample, ...] = ()
