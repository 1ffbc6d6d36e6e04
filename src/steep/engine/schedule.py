"""When a trial is evaluated: a geometric grid of steps. Torch-free, so that a plan can ask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from steep.spec.sections import Stop

LEARNT = 0.98
"""Of a constant answer's error: above, a trial has learnt nothing but how frequent answers are."""


def evaluation_steps(stop: Stop, steps_per_epoch: int) -> tuple[int, ...]:
    """Steps after which V is evaluated, ascending; the last one is the cap.

    The first is ``stop.first``, or 8 * sqrt(steps in an epoch): small shards overfit within few
    steps but many epochs, large ones the other way round, and the root lies between. Each further
    one is ``stop.ratio`` times as far, at least one step on. There are twice ``stop.evaluations``
    of them (fewer under ``stop.max_steps``), and patience can end a trial from the
    ``stop.evaluations``-th on: so the numbers of evaluations of two trials, on which the bias of
    a minimum depends, differ by 2x at the most."""
    first = stop.first or round(8 * math.sqrt(steps_per_epoch))
    steps: list[int] = []
    for index in range(2 * stop.evaluations):
        step = round(first * stop.ratio**index)
        steps.append(max(step, steps[-1] + 1) if steps else max(step, 1))
    if stop.max_steps is not None and steps[-1] > stop.max_steps:
        steps = [step for step in steps if step < stop.max_steps] + [stop.max_steps]
    return tuple(steps)


def last_improvement(stop: Stop, errors: Iterable[float], best_guess: float = math.inf) -> int:
    """Index of the evaluation at which V's error last fell by more than ``stop.improvement`` of
    itself; -1 where none is a number.

    While it is no lower than ``LEARNT`` of the ``best_guess``, that of a constant answer, any lower
    one counts: a deep recurrent model may stay there for a thousand steps, and learn then."""
    mark, at = math.inf, -1
    for k, error in enumerate(errors):
        required = 0.0 if LEARNT * best_guess < mark < math.inf else stop.improvement
        if error < mark * (1 - required):
            mark, at = error, k
    return at


def without_improvement(stop: Stop, errors: Sequence[float], best_guess: float = math.inf) -> int:
    """Evaluations since then."""
    return len(errors) - 1 - last_improvement(stop, errors, best_guess)
