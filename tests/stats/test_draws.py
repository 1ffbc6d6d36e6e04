"""What equally weighted draws say, on draws whose quantiles are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from steep.records import Draws
from steep.stats.draws import log_curves, quantile_interval, weighted_interval


@pytest.mark.parametrize("level", [0.5, 0.81, 0.9])
def test_an_interval_cuts_half_of_the_rest_off_on_either_side(level: float) -> None:
    """Of the numbers 0 to 1,000 in steps of one the quantile q is 1,000 q."""
    found = quantile_interval(np.random.default_rng(0).permutation(np.arange(1001.0)), level)
    expected = (500, 500 * (1 - level), 500 * (1 + level))
    assert (found.value, found.lower, found.upper) == pytest.approx(expected)
    assert found.level == level


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
