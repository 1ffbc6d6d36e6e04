"""The slope of a curve under its noise, and whether there is a fall: known lines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from steep.records import Point
from steep.stats.noise import noise_model
from steep.stats.slope import FLAT, RISES, Slope, no_fall, slope

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


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_interval_of_one_structure_is_that_of_its_t(level: float) -> None:
    one = Slope(np.array([-0.3]), np.array([0.02]), np.array([1.0]), df=6.0)
    half = 0.02 * float(stdtrit(6.0, 0.5 + level / 2))
    found = one.interval(level)
    assert (found.lower, found.value, found.upper) == pytest.approx(
        (-0.3 - half, -0.3, -0.3 + half), abs=2e-4
    )
    assert one.falls == pytest.approx(float(stdtr(6.0, 15.0)))


def test_two_structures_are_mixed_by_their_weight() -> None:
    """Far apart and sharp, three quarters of the weight lie on the first."""
    both = Slope(np.array([-0.5, 0.5]), np.full(2, 1e-6), np.array([0.75, 0.25]), df=8.0)
    assert both.interval(0.4).upper == pytest.approx(-0.5, abs=0.01)
    assert both.interval(0.6).upper == pytest.approx(0.5, abs=0.01)
    assert both.falls == pytest.approx(0.75)


def test_a_structure_of_little_weight_is_in_a_wide_interval() -> None:
    """One with 6 % of the weight holds the upper 5 %, one with 4 % does not."""
    for share, end in ((0.06, 0.5), (0.04, -0.5)):
        both = Slope(np.array([-0.5, 0.5]), np.full(2, 1e-6), np.array([1 - share, share]), df=8.0)
        assert both.interval(0.9).upper == pytest.approx(end, abs=0.01)


def test_it_is_generalised_least_squares_under_each_structure() -> None:
    """Weighed by the likelihood of the points with level, slope and scale integrated out."""
    log_error = -0.3 * LOG_M + NOISE
    points = [Point(float(m), float(e)) for m, e in np.exp(np.stack([LOG_M, log_error], axis=1))]
    noise = noise_model(points)
    found = slope(LOG_M, log_error, noise)
    assert found.df == 1 + 8 - 2
    design = np.stack([np.ones(8), LOG_M], axis=1)
    weights = []
    for j in range(len(noise.decay)):
        root = np.linalg.inv(noise.whiten[j])
        v = root @ root.T
        information = design.T @ np.linalg.inv(v) @ design
        inverse = np.linalg.inv(information)
        value = inverse @ design.T @ np.linalg.inv(v) @ log_error
        off = log_error - design @ value
        squares = off @ np.linalg.inv(v) @ off + noise.sum_squares[j]
        assert found.value[j] == pytest.approx(value[1])
        assert found.scale[j] == pytest.approx((squares / 7 * inverse[1, 1]) ** 0.5)
        determinants = np.linalg.det(v) * np.linalg.det(information)
        weights.append(np.exp(noise.log_prior[j]) * determinants**-0.5 * squares**-3.5)
    assert found.weight == pytest.approx(np.array(weights) / np.sum(weights))


@pytest.mark.parametrize(("share", "falls"), [(0.99, False), (1.01, True)])
def test_of_two_ends_the_difference_is_as_noisy_as_both(share: float, falls: bool) -> None:
    """A line that may as well rise: the last point is surely below the first from 95 % on."""
    flat = Slope(np.array([0.0]), np.array([0.1]), np.array([1.0]), df=8.0)
    drop = share * float(stdtrit(8.0, 0.95)) * 2**0.5 * 0.01
    ends = np.array([1.0 + drop, 1.0, 1.0, 1.0])
    assert (no_fall(flat, ends, np.full(3, 0.01), 8.0) == "") is falls
    back = np.array([1.0 + drop, 1.0 - 1.1 * drop, 1.0])
    assert no_fall(flat, back, np.full(3, 0.01), 8.0) == FLAT, "more than half of the way back"
