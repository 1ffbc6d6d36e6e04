"""Points off the trend, rises and bends: found where they are, and rarely where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from steep.laws import LAWS
from steep.stats.trend import alike, bend, off_trend, rises, roughness

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
    assert rises(X, y) == ()
    y[5] += 0.5
    found = rises(X, y)[0]
    assert (found.start, found.end) == (4, 5)
    assert found.p < 0.01


def test_known_noise_shows_a_rise_from_four_sizes_on() -> None:
    y = np.log([0.5, 0.4, 0.3, 0.45])
    assert rises(X[:4], y) == ()  # what is noise here?
    (found,) = rises(X[:4], y, np.full(4, 0.01**2))
    assert (found.start, found.end) == (2, 3)
    assert found.t == pytest.approx(np.log(1.5) / (0.01 * 2**0.5))
    assert found.p < 0.005
    assert rises(X[:4], y, np.full(4, 0.2**2)) == ()


def test_a_turn_and_a_second_descent_are_whole_rises() -> None:
    turn = 0.3 * np.abs(X - X[4])
    found = rises(X, turn + 0.005 * np.random.default_rng(1).normal(size=8))[0]
    assert (found.start, found.end) == (4, 7)
    assert found.p < 0.005
    descents = np.log([0.5, 0.42, 0.36, 0.44, 0.43, 0.31, 0.25, 0.21])
    found = rises(X, descents, np.full(8, 1e-4))[0]
    assert (found.start, found.end) == (2, 3)


@pytest.mark.parametrize("known", [True, False])
def test_a_flat_curve_seldom_rises(known: bool) -> None:
    """The worst case of 'no rise'; where noise is known, with what a search may have left over."""
    random = np.random.default_rng(3)
    p = []
    for _ in range(400):
        left = random.choice([0.0, 1.0, 6.0], p=[0.6, 0.3, 0.1]) if known else 0.0
        y = 0.05 * (1 + left) ** 0.5 * random.normal(size=8)
        found = rises(X, y, np.full(8, 0.05**2) if known else None)
        p.append(min((r.p for r in found), default=1.0))
    assert np.mean(np.array(p) < 0.03) <= 0.045
    assert np.mean(np.array(p) < 0.005) <= 0.01


def test_roughness_is_of_the_noise_and_not_of_the_shape() -> None:
    random = np.random.default_rng(4)
    shapes = (1 - 0.3 * X, np.minimum(0.0, 1 - 0.5 * (X - X[2])), 0.3 * np.abs(X - X[4]))
    for shape in shapes:
        found = [roughness(X, shape + 0.03 * random.normal(size=8)) for _ in range(300)]
        assert np.median(found) == pytest.approx(0.03, abs=0.012)


def test_means_too_good_for_their_rows_are_found() -> None:
    """The means of three rows that differ by 30 % scatter by 17 %, unless they differ alike."""
    random = np.random.default_rng(5)
    known = np.full(8, 0.3**2 / 3)
    law = 1 - 0.3 * X
    scatter, p = alike(X, law + 0.01 * random.normal(size=8), known, 16.0)
    assert scatter == pytest.approx(0.01, abs=0.006)
    assert p < 1e-4
    chance = [alike(X, law + known**0.5 * random.normal(size=8), known, 1e6) for _ in range(400)]
    assert np.mean([p < 0.1 for _, p in chance]) == pytest.approx(0.1, abs=0.04)


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
    assert roughness(X[:2], X[:2]) == 0.0
    assert bend(X[:4], X[:4]) is None


def test_no_point_is_surer_than_what_is_known_of_the_points() -> None:
    """Five errors that scatter by 15 % about m**-0.4, as their known variances say. Of such curves
    a law with three parameters now and then passes by four points exactly, and the fifth would lie
    any number of its standard errors off."""
    x = np.log(60 * 2.0 ** np.arange(5))
    laws = [(LAWS["power+floor"], (5.0, -0.5, 0.01)), (LAWS["shifted power"], (5.0, -0.5, 10.0))]
    known = np.full(5, 0.15**2)
    for seed in range(40):
        y = -0.4 * x + np.random.default_rng(seed).normal(0, 0.15, 5)
        for found in off_trend(x, y, known, laws):
            assert abs(found.t) <= abs(found.excess) / 0.15 * 1.001
