"""What equally weighted draws say, on draws whose quantiles are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from steep.laws import LAWS
from steep.records import Draws
from steep.stats.draws import log_curves, quantile_interval, regions, weighted_interval


@pytest.mark.parametrize("level", [0.5, 0.81, 0.9])
def test_an_interval_cuts_half_of_the_rest_off_on_either_side(level: float) -> None:
    """Of the numbers 0 to 1,000 in steps of one the quantile q is 1,000 q."""
    found = quantile_interval(np.random.default_rng(0).permutation(np.arange(1001.0)), level)
    expected = (500, 500 * (1 - level), 500 * (1 + level))
    assert (found.value, found.lower, found.upper) == pytest.approx(expected)
    assert found.level == level


def test_a_weighted_draw_lies_in_the_middle_of_its_weight() -> None:
    """Of two, the median is half way between; of 1, 2, 1 quarters it is the second."""
    found = weighted_interval(np.array([3.0, 1.0]), np.array([0.5, 0.5]), 0.4)
    assert (found.value, found.lower, found.upper) == pytest.approx((2.0, 1.2, 2.8))
    three = weighted_interval(np.array([5.0, 7.0, 6.0]), np.array([0.25, 0.25, 0.5]), 0.75)
    assert (three.value, three.lower, three.upper) == pytest.approx((6.0, 5.0, 7.0))


def test_curves_of_draws_are_level_plus_shape() -> None:
    """A draw of the law 'power' at the prior's middle falls as m**-exp(-0.3)."""
    draws = (Draws("power", ((0.0,), (0.0,)), (-1.0, -2.0), (0.1, 0.1), (0, 0)),)
    log_ratio = np.log([0.5, 1.0, 8.0])
    expected = np.array([-1.0, -2.0]) - np.exp(-0.3) * log_ratio[:, None]
    assert log_curves(draws, log_ratio) == pytest.approx(expected)


@pytest.mark.parametrize("level", [0.5, 0.81, 0.9])
def test_an_interval_of_weighted_draws_is_that_of_their_distribution(level: float) -> None:
    """Weights that grow as the values 0 to 1: the distribution function is the value's square."""
    values = np.random.default_rng(0).permutation(np.linspace(0, 1, 2001))
    found = weighted_interval(values, values / values.sum(), level)
    expected = np.sqrt([0.5, 0.5 - level / 2, 0.5 + level / 2])
    assert (found.value, found.lower, found.upper) == pytest.approx(expected, abs=2e-3)
    assert found.level == level


SIZES = np.geomspace(1.0, 1000.0, 13)


def drawn(law: str, scores: tuple[float, ...], count: int) -> Draws:
    return Draws(law, (scores,) * count, (-1.0,) * count, (0.1,) * count, (0,) * count)


def place(value: object) -> float:
    """Of a boundary, in grid steps of a 59th of the curve's length in logs."""
    assert isinstance(value, float)
    return float(np.log(value) / np.log(1000) * 59)


def test_a_floor_begins_where_the_slope_is_half_of_the_steepest() -> None:
    """Of alpha m^-b + gamma it is b times the share of alpha m^-b, nearly b at the start."""
    b, share = float(np.exp(-0.3)), 0.8
    score = float(np.log(0.8 / 0.2) / 1.7)  # its logistic over 0 to 1
    assert LAWS["power+floor"].shape[1].value(np.array([score]))[0] == pytest.approx(0.8, abs=1e-3)
    start = (1 - share) * 1000**b / ((1 - share) * 1000**b + share)
    wanted = 0.5 * start
    truth = 1000 * ((1 - share) * (1 - wanted) / (share * wanted)) ** (1 / b)
    some = [drawn("power+floor", (0.0, score), 60), drawn("power", (0.0,), 40)]
    small, power, floor = regions(some, SIZES, 0.9)
    assert (small.start, small.end, small.points, small.probability) == (None, None, 0, 0.0)
    assert (power.start, power.probability, floor.end) == (None, 1.0, None)
    assert floor.probability == pytest.approx(0.6)
    assert power.end == floor.start
    assert place(floor.start.value) == pytest.approx(place(truth), abs=1.0)
    assert floor.points == int(np.sum(truth < SIZES))
    assert power.points == int(np.sum(truth >= SIZES))
    few = [drawn("power+floor", (0.0, score), 40), drawn("power", (0.0,), 60)]
    assert [r.points for r in regions(few, SIZES, 0.9)] == [0, 13, 0], "most draws see none"
    hardly = [drawn("power+floor", (0.0, score), 4), drawn("power", (0.0,), 96)]
    assert regions(hardly, SIZES, 0.9)[2].start is None


def test_a_plateau_ends_where_the_slope_is_half_of_the_steepest() -> None:
    """Of (m + onset)^-b it is b m / (m + onset): half of it at the onset; steepest at the end."""
    onset = float(np.exp(-3.0 + 2.0 * 0.2))
    some = [drawn("plateau+power", (0.0, 0.2, -9.0), 50)]  # no floor
    small, power, floor = regions(some, SIZES, 0.9)
    most = 1 / (1 + onset)
    truth = 1000 * onset * 0.5 * most / (1 - 0.5 * most)
    assert small.probability == 1.0
    assert small.end == power.start
    assert place(small.end.value) == pytest.approx(place(truth), abs=1.0)
    assert small.points == int(np.sum(truth > SIZES))
    assert (power.points, floor.points, floor.probability) == (13 - small.points, 0, 0.0)
