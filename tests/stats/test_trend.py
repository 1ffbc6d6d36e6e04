"""Points off the trend, rises and bends: found where they are, and rarely where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from steep.laws import LAWS
from steep.stats.trend import bend, off_trend, rises

X = np.log(100.0 * 2.0 ** np.arange(8))
FLOOR = ((LAWS["power+floor"], (3.0, -0.4, 0.1)),)


def test_a_point_is_compared_with_the_law_that_has_not_seen_it() -> None:
    y = 1 - 0.3 * X + 0.01 * np.random.default_rng(1).normal(size=8)
    y[3] += 0.2
    found = off_trend(X, y)
    assert max(found, key=lambda d: abs(d.t)).index == 3
    assert found[3].excess == pytest.approx(0.2, abs=0.03)
    assert found[3].p < 1e-4


def test_a_floor_is_no_outlier() -> None:
    """The last points of a curve with a floor lie above a line but not above the law."""
    y = np.log(3 * np.exp(X) ** -0.4 + 0.1) + 0.003 * np.random.default_rng(1).normal(size=8)
    assert min(d.p for d in off_trend(X, y, laws=FLOOR)) * 8 > 0.05
    y[4] += 0.1
    off = off_trend(X, y, laws=FLOOR)
    assert min(off, key=lambda d: d.p).index == 4
    assert off[4].p * 8 < 0.05


def test_the_p_value_of_a_clean_point_is_uniform() -> None:
    random = np.random.default_rng(2)
    p = [off_trend(X, 1 - 0.3 * X + 0.03 * random.normal(size=8))[2].p for _ in range(400)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.04)


def test_a_rise_is_found_and_a_fall_is_none() -> None:
    y = 1 - 0.3 * X + 0.01 * np.random.default_rng(1).normal(size=8)
    assert min(r.p for r in rises(X, y)) > 0.5
    y[5] += 0.5
    found = min(rises(X, y), key=lambda r: r.p)
    assert found.index == 4
    assert found.p < 0.01


def test_a_bend_has_its_sign_and_its_size() -> None:
    up = bend(X, 1 - 0.3 * X + 0.01 * (X - X.mean()) ** 2)
    assert up is not None
    assert up.t > 0
    assert up.last - up.first == pytest.approx(0.02 * (X[-1] - X[0]))
    random = np.random.default_rng(4)
    p = [bend(X, 1 - 0.3 * X + 0.03 * random.normal(size=8)) for _ in range(400)]
    assert np.mean([b.p < 0.05 for b in p if b]) == pytest.approx(0.1, abs=0.04)


def test_few_points_say_nothing() -> None:
    assert off_trend(X[:4], X[:4]) == ()
    assert rises(X[:5], X[:5]) == ()
    assert bend(X[:4], X[:4]) is None
