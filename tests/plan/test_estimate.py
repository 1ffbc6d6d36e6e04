"""What is made of the courses of a search: intervals and sums, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steep.plan.estimate import SimulatedStudy, _interval, _retimed
from steep.plan.lengths import Length
from steep.records import Trial


def test_worlds_and_lengths_both_widen_what_a_search_takes() -> None:
    """Logs of 1 and 3 over two scenarios, 0.3 to both sides within each: between scenarios the two
    squares of 1 join four of 0.35, over five degrees of freedom."""
    values = np.exp([[0.7, 1.3], [2.7, 3.3]])
    found = _interval(values)
    spread = 1.645 * math.sqrt((2 * 1.0 + 4 * 0.35**2) / 5 + 0.3**2)
    assert found.value == pytest.approx(math.exp(2))
    assert (found.lower, found.upper) == pytest.approx((math.exp(2 - spread), math.exp(2 + spread)))
    assert found.level == 0.9


def test_a_longer_search_does_not_lengthen_the_held_out_trials() -> None:
    """Two of the search's, of which one ran by half, and one held out: 1.5 times the first two."""
    trials = [Trial(0, m, float(m), 4, (), 0) for m in (100, 200, 400)]
    runs = ((trials[0], 0.0, 1.0), (trials[1], 0.0, 0.5), (trials[2], 0.0, 1.0))
    course = SimulatedStudy(
        runs,
        searched=frozenset({0, 1}),
        search=0.0,
        found=(),
        training=0.0,
        looking=0.0,
        clock=0.0,
        flops=0.0,
    )

    def length(trial: Trial, normal: float) -> Length:
        m = trial.samples
        return Length(m, 0.1, (), 1, m, 10 * m, 100)

    assert _retimed(course, length, 1.5) == pytest.approx((700.0, 7000.0))
