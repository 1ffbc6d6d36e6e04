"""What a part of a training curve says about its minimum, given a complete trial.

Two trials on one shard evaluate at the same steps. ``gap`` is the log ratio of their lowest errors
up to a rung: at half of the reference's best step, and at that step itself. A trial that trails
there will mostly trail in the end, by less; how much less, and how surely, was measured on studies
of images, characters and words (``docs/decisions/searching.md``). As in successive halving
(Jamieson & Talwalkar 2016) a hopeless trial ends at a rung; but how hopeless it is is weighed, not
ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log

from steep.records import Evaluation, Measurement

RUNGS = ((0.5, 0.7, 0.06), (1.0, 0.85, 0.03))
"""(steps relative to the reference's best step, share of the gap that remains in the end,
standard error of log error for a small gap)."""
WIDER = 0.15
"""By how much the standard error grows with the gap of one that trails."""
FALLS, FASTER = 0.3, 0.5
"""How much lower one is expected to end, and by how much its standard error grows, where its error
fell faster over the last two evaluations than the reference's did."""


def steps_of(reference: Measurement) -> tuple[int, ...]:
    """The rungs of a shard: evaluations of the reference, ascending."""
    steps = [point.step for point in reference.curve]
    rungs = [min(s for s in steps if s >= share * reference.best_step) for share, *_ in RUNGS]
    return tuple(sorted({r for r in rungs if r < reference.steps}))


def after(steps: int, reference: Measurement) -> int | None:
    """The rung after ``steps``; None: to the end."""
    return next((rung for rung in steps_of(reference) if rung > steps), None)


def share(steps: int | None, reference: Measurement) -> float:
    """Of a trial's cost up to ``steps``, as far as the reference shows."""
    return 1.0 if steps is None else min(1.0, steps / reference.steps)


def predict_minimum(trial: Measurement, reference: Measurement) -> tuple[float, float]:
    """(log error in the end, its standard error) of a trial that stopped at a rung.

    One that still falls faster than the reference did goes on falling, nobody knows for how long: a
    lower learning rate is slower, and may end lower. And what it has reached it keeps."""
    final = log(reference.validation_error or 1.0)
    reached = [log(e.validation_error) for e in _until(trial, trial.steps)]
    then = [log(e.validation_error) for e in _until(reference, trial.steps)]
    if not reached or not then:
        return final, inf
    gap = min(reached) - min(then)
    faster = max(0.0, _fall(reached) - _fall(then))
    _, remains, se = _rung(trial.steps, reference)
    expected = final + remains * gap - FALLS * faster
    return min(expected, min(reached)), se + WIDER * max(gap, 0.0) + FASTER * faster


def _until(trial: Measurement, step: int) -> list[Evaluation]:
    return [e for e in trial.curve if e.step <= step and e.validation_error > 0]


def _fall(logs: Sequence[float]) -> float:
    """Decrease of the lowest log error over the last two evaluations."""
    return min(logs[:-2], default=logs[0]) - min(logs)


def _rung(steps: int, reference: Measurement) -> tuple[float, float, float]:
    return max((r for r in RUNGS if steps >= r[0] * reference.best_step), default=RUNGS[0])


def variance(steps: int | None, reference: Measurement, difference: float) -> float:
    """Of the log error in the end as a rung predicts it, beyond the seeds' noise, where a trial is
    expected to end ``difference`` above the reference."""
    if steps is None:
        return 0.0
    _, remains, se = _rung(steps, reference)
    return float((se + WIDER * max(difference, 0.0) / remains) ** 2)
