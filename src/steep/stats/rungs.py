"""What part of a training curve foretells of its minimum, beside that of a complete trial.

Two trials on one shard evaluate at the same steps. ``gap`` is the log ratio of their lowest errors
up to a rung: at half of the reference's best step, and at that step itself. A trial that trails
there will mostly trail in the end, by less; how much less, and how surely, was measured on studies
of images, characters and words (``docs/decisions/searching.md``). As in successive halving
(Jamieson & Talwalkar 2016) a hopeless trial ends at a rung; but how hopeless it is is weighed, not
ranked.
"""

from __future__ import annotations

from math import inf, log

from steep.records import Measurement

RUNGS = ((0.5, 0.7, 0.06), (1.0, 0.85, 0.03))
"""(steps relative to the reference's best step, share of the gap that remains in the end,
standard error of log error for a small gap)."""
WIDER = 0.15
"""By how much the standard error grows with the gap."""


def steps_of(reference: Measurement) -> tuple[int, ...]:
    """The rungs of a shard: evaluations of the reference, ascending."""
    steps = [point.step for point in reference.curve]
    rungs = [min(s for s in steps if s >= share * reference.best_step) for share, *_ in RUNGS]
    return tuple(sorted({r for r in rungs if r < reference.steps}))


def after(steps: int, reference: Measurement) -> int | None:
    """The rung after ``steps``; None: to the end."""
    return next((rung for rung in steps_of(reference) if rung > steps), None)


def share(steps: int | None, reference: Measurement) -> float:
    """Of a trial's cost up to ``steps``, as far as the reference tells."""
    return 1.0 if steps is None else min(1.0, steps / reference.steps)


def foretold(trial: Measurement, reference: Measurement) -> tuple[float, float]:
    """(log error in the end, its standard error) of a trial that stopped at a rung."""
    final = log(reference.validation_error or 1.0)
    reached = [e.validation_error for e in trial.curve if e.step <= trial.steps]
    then = [e.validation_error for e in reference.curve if e.step <= trial.steps]
    if not reached or not then or not min(reached) > 0:
        return final, inf
    gap = log(min(reached) / min(then))
    remains = max((r for r in RUNGS if trial.steps >= r[0] * reference.best_step), default=RUNGS[0])
    return final + remains[1] * gap, remains[2] + WIDER * abs(gap)


def variance(steps: int | None, reference: Measurement, difference: float) -> float:
    """Of what a rung tells of log error in the end, beyond the seeds' noise, where a trial is
    expected to end ``difference`` above the reference."""
    if steps is None:
        return 0.0
    remains = max((r for r in RUNGS if steps >= r[0] * reference.best_step), default=RUNGS[0])
    return float((remains[2] + WIDER * abs(difference) / remains[1]) ** 2)
