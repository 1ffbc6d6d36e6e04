"""The slope of a curve under its noise, and whether there is a fall: known lines."""

from __future__ import annotations

import numpy as np
import pytest

from steep.records import Point
from steep.stats.noise import noise_model
from steep.stats.slope import FLAT, RISES, no_fall, slope

LOG_M = np.log(100 * 2.0 ** np.arange(8))
NOISE = 0.01 * np.random.default_rng(0).normal(size=8)


def of(log_error: np.ndarray):
    points = [Point(float(m), float(e)) for m, e in np.exp(np.stack([LOG_M, log_error], axis=1))]
    return slope(LOG_M, log_error, noise_model(points))


def verdict(log_error: np.ndarray) -> str:
    return no_fall(of(log_error), log_error, np.full(5, 0.01), df=8.0)


@pytest.mark.parametrize("beta", [-0.5, -0.1, 0.0, 0.2])
def test_the_interval_holds_the_slope(beta: float) -> None:
    found = of(beta * LOG_M + NOISE).interval(0.9)
    assert found.lower < beta < found.upper
    assert found.upper - found.lower < 0.15


def test_the_probability_of_a_fall_goes_with_the_slope() -> None:
    falls = [of(beta * LOG_M).falls for beta in (-0.3, -0.01, 0.0, 0.01, 0.3)]
    assert falls == sorted(falls, reverse=True)
    assert falls[2] == pytest.approx(0.5)
    assert falls[0] == pytest.approx(1 - falls[4])


def test_what_falls_rises_or_does_neither() -> None:
    assert verdict(-0.05 * LOG_M + NOISE) == ""
    assert verdict(0.05 * LOG_M + NOISE) == RISES
    assert verdict(np.zeros(8)) == FLAT


def test_a_fall_that_is_over_is_one_and_one_that_is_undone_is_none() -> None:
    floor = np.array([0.5, 0.2, 0.0, 0.01, -0.01, 0.0, 0.01, 0.0])
    assert verdict(floor) == ""
    assert verdict(floor + np.array([0, 0, 0, 0, 0, 0.1, 0.2, 0.4])) != ""
