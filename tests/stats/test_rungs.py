"""What a stopped training curve predicts."""

from __future__ import annotations

import math

import pytest

from steep.records import Evaluation, Measurement, Status, Trial
from steep.stats import rungs

STEPS = (10, 20, 40, 80, 160, 320)


def curve(*errors: float, size: int = 8) -> Measurement:
    points = [
        Evaluation(s, float(s), float(s), None, e, e) for s, e in zip(STEPS, errors, strict=False)
    ]
    best = min(points, key=lambda p: p.validation_error)
    trial = Trial(0, 100, 100.0, size, (("learning_rate", 0.1),), 0)
    return Measurement(
        trial,
        Status.COMPLETE,
        validation_error=best.validation_error,
        best_step=best.step,
        steps=points[-1].step,
        curve=tuple(points),
    )


REFERENCE = curve(0.9, 0.6, 0.5, 0.4, 0.42, 0.42)
"""Best at step 80: the rungs are 40 and 80."""


def test_the_rungs_lie_at_half_the_best_step_and_at_it() -> None:
    assert rungs.steps_of(REFERENCE) == (40, 80)
    assert [rungs.after(s, REFERENCE) for s in (0, 40, 80)] == [40, 80, None]


def test_what_trails_in_parallel_trails_by_less_in_the_end() -> None:
    """The same fall, 10 % above: 0.7 and 0.85 of it remain."""
    for count, remains in ((3, 0.7), (4, 0.85)):
        above = [1.1 * e for e in (0.9, 0.6, 0.5, 0.4)[:count]]
        told, se = rungs.predict_minimum(curve(*above), REFERENCE)
        assert told == pytest.approx(math.log(0.4) + remains * math.log(1.1))
        assert 0.03 < se < 0.1


def test_what_has_been_reached_is_kept() -> None:
    """One that lies below the reference's end already cannot end above what it has reached."""
    told, se = rungs.predict_minimum(curve(0.5, 0.4, 0.35), REFERENCE)
    assert told <= math.log(0.35)
    assert se == pytest.approx(0.06)
    assert rungs.predict_minimum(curve(0.3, 0.25, 0.2), REFERENCE)[0] == math.log(0.2)


def test_one_that_still_falls_fast_may_end_lower() -> None:
    """Behind at the rung, but on its way: expected lower, and less surely, than one that stands."""
    falling, fall_se = rungs.predict_minimum(curve(3.0, 1.2, 0.55), REFERENCE)
    standing, stand_se = rungs.predict_minimum(curve(0.9, 0.6, 0.55), REFERENCE)
    assert falling < standing
    assert fall_se > 2 * stand_se


def test_what_falls_faster_is_foretold_by_hand() -> None:
    """At step 40, errors 1.0, 0.8 and 0.55 behind 0.9, 0.6 and 0.5: 0.7 of the gap remains, and of
    how much faster the last two evaluations fell (ln 1 / 0.55 against ln 0.9 / 0.5) 0.3 comes off;
    0.15 of the gap and 0.5 of that make it less sure than 0.06."""
    told, se = rungs.predict_minimum(curve(1.0, 0.8, 0.55), REFERENCE)
    gap = math.log(0.55 / 0.5)
    faster = math.log(1 / 0.55) - math.log(0.9 / 0.5)
    assert told == pytest.approx(math.log(0.4) + 0.7 * gap - 0.3 * faster)
    assert se == pytest.approx(0.06 + 0.15 * gap + 0.5 * faster)


def test_a_fall_is_of_the_lowest_error_before_the_last_two() -> None:
    """At step 80: from 0.8 and 0.6, not 0.9, down to 0.5 and 0.4 in both."""
    told, se = rungs.predict_minimum(curve(0.9, 0.8, 0.7, 0.5), REFERENCE)
    gap, faster = math.log(0.5 / 0.4), math.log(0.8 / 0.5) - math.log(0.6 / 0.4)
    assert told == pytest.approx(math.log(0.4) + 0.85 * gap - 0.3 * faster)
    assert se == pytest.approx(0.03 + 0.15 * gap + 0.5 * faster)


def test_what_a_rung_costs_and_leaves_open() -> None:
    assert [rungs.share(s, REFERENCE) for s in (40, 640, None)] == [40 / 320, 1.0, 1.0]
    assert rungs.variance(None, REFERENCE, 0.1) == 0.0
    assert rungs.variance(40, REFERENCE, -0.1) == pytest.approx(0.06**2)
    assert rungs.variance(80, REFERENCE, 0.17) == pytest.approx((0.03 + 0.15 * 0.2) ** 2)
