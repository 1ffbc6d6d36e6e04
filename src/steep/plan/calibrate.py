"""How fast this machine trains: some seconds of real steps and evaluations, a few sizes.

Small models reach a few percent of a machine's FLOP rate and large ones most of it, and on a small
trial evaluations take a third of the time, so FLOPs alone would be wrong by tens. A trial's own
calls show: its trainer checks before every step whether to stop, and reports every evaluation.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from steep.contracts.trainer import Interrupted, ShardItems, Trainer
from steep.records import Evaluation, Measurement, Sample, Status, Trial

WARM_UP = 2
STEPS = 12
SECONDS = 1.4
"""For each of two runs of each size; longer only for three steps,"""
PATIENCE = 3
"""and beyond so many times as long for a single one."""


@dataclass(frozen=True)
class Timed:
    """One model size, in processor time. Units are units of m in a step's batch."""

    size: int
    units: tuple[float, float]
    """Of a small batch and of a full one."""
    step: tuple[float, float]
    """Seconds of such a step."""
    evaluation: float | None
    """Seconds of an evaluation of V; None where none came in time."""
    start: float
    """Seconds before the first step."""


class StepTimer:
    """A handle that notes when steps begin and evaluations end, and stops the trial in time.

    Lengths are processor time, which other programs on the machine do not stretch: what a trial
    takes with its core to itself. (A GPU's steps keep their process waiting, and count as well.)"""

    def __init__(self, seconds: float, until_evaluated: bool) -> None:
        self.up_to_steps: int | None = None
        self.attempt = 1
        self.steps: list[float] = []
        self.evaluation: float | None = None
        self._begun = time.perf_counter()
        self._opened = time.process_time()
        self._last: float | None = None
        self._seconds, self._wait = seconds, until_evaluated
        self.start: float | None = None

    def pass_over(self, why: str) -> None: ...

    def stop_requested(self) -> bool:
        now = time.process_time()
        if self.start is None:
            self.start = now - self._opened
            self._begun = time.perf_counter()
        elif self._last is not None:
            self.steps.append(now - self._last)
        self._last = now
        many = len(self.steps) >= WARM_UP + STEPS and not self._wait
        spent = time.perf_counter() - self._begun
        late = spent > self._seconds and len(self.steps) > WARM_UP
        slow = spent > PATIENCE * self._seconds and len(self.steps) > 0
        return many or late or slow or (self._wait and self.evaluation is not None)

    def progress(self, evaluation: Evaluation) -> None:
        if self._last is not None:
            took = time.process_time() - self._last
            self.evaluation = max(took - self.typical_step(), 0.0)
        self._last = None  # the next interval holds an evaluation: it is no step

    def typical_step(self) -> float:
        known = self.steps[WARM_UP:] or self.steps
        return statistics.median(known) if known else 0.0

    def save(self, step: int, state: bytes) -> None: ...

    def load(self) -> bytes | None:
        return None

    def due(self) -> bool:
        return False

    def items(self, errors: dict[str, np.ndarray]) -> None: ...

    def samples(self, samples: Sequence[Sample]) -> None: ...


def timed(
    trainer: Trainer,
    small: tuple[Trial, ShardItems, float],
    full: tuple[Trial, ShardItems, float],
) -> Timed | None:
    """Time a model size twice: ``small``, a batch's worth of data up to the first evaluation, and
    ``full``, a full shard. Each is (trial, items, units of data per step).

    None if the trainer does not report its steps."""
    runs = []
    for (trial, items, _), until_evaluated in ((small, True), (full, False)):
        handle: Any = StepTimer(SECONDS, until_evaluated)  # writes no files
        with suppress(Interrupted):
            trainer(trial, items, handle)
        runs.append(handle)
    if not all(run.steps for run in runs):
        return None
    return Timed(
        size=full[0].size,
        units=(small[2], full[2]),
        step=(runs[0].typical_step(), runs[1].typical_step()),
        evaluation=runs[0].evaluation,
        start=min(run.start or 0.0 for run in runs),
    )


class Stopwatch:
    """A handle of a trial that runs to its end, or until it has taken so many seconds of the
    processor or the clock ``ends`` it, and keeps its evaluations."""

    def __init__(self, seconds: float, ends: float) -> None:
        self.up_to_steps: int | None = None
        self.attempt = 1
        self.curve: list[Evaluation] = []
        self._ends, self._clock_ends = time.process_time() + seconds, ends

    def pass_over(self, why: str) -> None: ...

    def stop_requested(self) -> bool:
        return time.process_time() > self._ends or time.monotonic() > self._clock_ends

    def progress(self, evaluation: Evaluation) -> None:
        self.curve.append(evaluation)

    def save(self, step: int, state: bytes) -> None: ...

    def load(self) -> bytes | None:
        return None

    def due(self) -> bool:
        return False

    def items(self, errors: dict[str, np.ndarray]) -> None: ...

    def samples(self, samples: Sequence[Sample]) -> None: ...


def whole(
    trainer: Trainer, trial: Trial, items: ShardItems, seconds: float, ends: float = math.inf
) -> Measurement | None:
    """A trial to its end, or as far as so many ``seconds`` of the processor, and the monotonic
    clock until it ``ends``, bring it; None where they bring it to no evaluation."""
    handle: Any = Stopwatch(seconds, ends)
    with suppress(Interrupted):
        return trainer(trial, items, handle)
    errors = [point.validation_error for point in handle.curve]
    if not errors:
        return None
    best, last = handle.curve[errors.index(min(errors))], handle.curve[-1]
    return Measurement(
        trial,
        Status.CAPPED,
        validation_error=best.validation_error,
        best_step=best.step,
        steps=last.step,
        samples_seen=last.samples_seen,
        seconds=last.seconds,
        curve=tuple(handle.curve),
    )


@dataclass(frozen=True)
class StepTimes:
    """Seconds of steps and evaluations of any size: straight lines in the logs between those timed,
    and the last of them continued, at most as FLOPs grow, beyond."""

    rows: tuple[Timed, ...]
    """By size, ascending."""
    validation: float
    """Units of m in the V that was timed."""
    pilot: tuple[Measurement, ...] = ()
    """Trials that showed when trials stop on this data, and which models are good."""
    kept: tuple[str, str] | None = None
    """When they were timed (UTC), and the file in which they were kept; None: just now."""

    def step(self, size: int, units: float) -> float:
        """Seconds of a step on ``units`` of m."""
        return self._between(size, [_at(r, units) for r in self.rows])

    def evaluation(self, size: int, units: float) -> float:
        """Seconds of an evaluation of so many units of m; where none was timed, a third of the
        steps that would go over them: a forward pass is a third of a step."""
        known = [
            _at(r, r.units[1]) / r.units[1] * self.validation / 3
            if r.evaluation is None
            else r.evaluation
            for r in self.rows
        ]
        return units / self.validation * self._between(size, known)

    def start(self, size: int) -> float:
        return self._between(size, [r.start for r in self.rows])

    def _between(self, size: int, values: Sequence[float]) -> float:
        at, sizes = math.log(size), [math.log(row.size) for row in self.rows]
        logs = [math.log(max(v, 1e-9)) for v in values]
        inside = float(np.interp(at, sizes, logs))
        beyond = at - sizes[-1]
        if beyond > 0 and len(logs) > 1:
            slope = (logs[-1] - logs[-2]) / (sizes[-1] - sizes[-2])
            inside += beyond * min(max(slope, 0.0), 2.0)
        return math.exp(inside)


def _at(row: Timed, units: float) -> float:
    """A line through both batches; never below a tenth of the faster step."""
    (low, high), (fast, slow) = row.units, row.step
    if high <= low:
        return slow
    line = fast + (units - low) / (high - low) * (slow - fast)
    return max(line, 0.1 * min(fast, slow))
