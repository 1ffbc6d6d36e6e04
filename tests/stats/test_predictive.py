"""What draws expect at other sizes, of a law that is known but for its level and discrepancy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import exponnorm, norm, t

from steep.records import Draws, Fit, NoiseParts, Point
from steep.stats.noise import discrepancy_covariance
from steep.stats.predictive import (
    bounds_likelihood,
    crossings,
    curve_draws,
    doubling,
    expected,
    noise_of,
)

B = float(np.exp(-0.3))
"""The exponent at the middle of its prior: errors are m**-B."""
SCALE, DF = 0.02, 6.0
SIZES = (100.0, 200.0, 400.0, 800.0)


def known(structure: int = 0, validation: float | None = None, count: int = 50) -> Fit:
    """Points on the law, and draws that all are it. Of structure 0 there is no discrepancy, of 1 a
    random walk whose variance per unit of log m is ten times that of the noise."""
    level = -B * float(np.log(800))
    draws = Draws(
        "power", ((0.0,),) * count, (level,) * count, (SCALE,) * count, (structure,) * count
    )
    return Fit(
        outcome="ok",
        points=tuple(Point(m, m**-B) for m in SIZES),
        noise=NoiseParts(scatter=SCALE, validation=validation),
        reference=800.0,
        df=DF,
        draws=(draws,),
    )


def test_without_discrepancy_only_the_level_of_four_points_is_unknown() -> None:
    centre, variance = expected(known(), np.log([0.25, 1.0, 8.0]))
    assert centre[:, 0] == pytest.approx(-B * np.log([200.0, 800.0, 6400.0]))
    assert variance == pytest.approx(SCALE**2 / 4)


def test_a_random_walk_spreads_beyond_the_data() -> None:
    """With its distance from the largest size, beside what is unknown of the level there."""
    _, variance = expected(known(structure=1), np.log([1.0, 2.0, 8.0]))
    walked = variance[1:, 0] - variance[0, 0]
    assert walked == pytest.approx(10 * SCALE**2 * np.log([2.0, 8.0]))
    assert SCALE**2 / 4 < variance[0, 0] < SCALE**2


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_what_twice_the_data_takes_off_is_sure_but_for_the_discrepancy(level: float) -> None:
    """A level that is common to both sizes cancels in their ratio."""
    found = doubling(known(), level)
    assert [found.lower, found.value, found.upper] == pytest.approx([1 - 2**-B] * 3, abs=1e-6)
    found = doubling(known(structure=1), level)
    half = float(t.ppf(0.5 + level / 2, DF)) * SCALE * (10 * np.log(2)) ** 0.5
    takes = 1 - 2**-B * np.exp([half, 0.0, -half])
    assert [found.lower, found.value, found.upper] == pytest.approx(takes, abs=1e-4)


def test_draws_of_a_curve_have_the_common_error_of_the_validation_set() -> None:
    """As a whole: up or down by the normal's quantiles, none of them on average."""
    log_m = np.log([100.0, 800.0, 3200.0])
    moved = curve_draws(known(validation=0.03, count=400), log_m) + B * log_m
    assert moved == pytest.approx(np.repeat(moved[:, :1], 3, axis=1))
    assert np.sort(moved[:, 0]) == pytest.approx(0.03 * norm.ppf((np.arange(400) + 0.5) / 400))
    still = curve_draws(known(validation=0.03), log_m, validation=0.0)
    assert still == pytest.approx(np.tile(-B * log_m, (50, 1)))


def test_a_curve_meets_an_error_where_its_law_does() -> None:
    for m in (150.0, 3200.0):
        assert crossings(known(), m**-B) == pytest.approx(np.log(m), abs=1e-3)
    assert crossings(known(), 50**-B) == pytest.approx(np.log(100)), (
        "the smallest that was measured"
    )


def bounded(*errors: float) -> Fit:
    """With capped models at 1600 samples, whose errors are bounds."""
    bounds = tuple(Point(1600.0, e, used=False, reason="capped") for e in errors)
    return replace(known(), points=(*known().points, *bounds))


def test_beyond_an_upper_bound_no_draw_is_above_it() -> None:
    low = 0.5 * 1600**-B
    centre, _ = expected(bounded(low), np.log([1.0, 1.9, 2.0, 2.5]))
    free, _ = expected(known(), np.log([1.0, 1.9, 2.0, 2.5]))
    assert centre[:2] == pytest.approx(free[:2])
    assert centre[2:] == pytest.approx(np.log(low))


def test_draws_are_weighed_by_what_a_bound_says_of_them() -> None:
    """A bound is a measurement plus an excess: exponential, of mean 0.03 in nine of ten cases and
    0.3 in one. Of three draws that put the curve 0.02 and 0.4 below it and 0.1 above."""
    b = bounded(1600**-B)
    level, off = b.draws[0].level[0], (0.02, 0.4, -0.1)
    three = replace(
        b.draws[0],
        shape=((0.0,),) * 3, level=tuple(level - o for o in off), scale=(SCALE,) * 3,
        structure=(0,) * 3,
    )  # fmt: skip
    found = bounds_likelihood(replace(b, draws=(three,)))
    # points on the law lie above or below a draw's level: its curve follows none of them
    spread = SCALE * (1 + 1 / 4) ** 0.5

    density = sum(
        chance * exponnorm(mean / spread, scale=spread).pdf(off)
        for mean, chance in ((0.03, 0.9), (0.3, 0.1))
    )
    assert found == pytest.approx(density / np.max(density), rel=1e-6)


@pytest.mark.parametrize("structure", [1, 4, 10])
def test_given_the_points_it_is_what_a_gaussian_process_expects(structure: int) -> None:
    """With points off the law and a level of which nothing is known: by the system of equations of
    ordinary kriging, inside the data and beyond."""
    off = np.array([0.02, -0.01, 0.03, -0.02])
    fit = known(structure)
    points = tuple(Point(m, m**-B * np.exp(o)) for m, o in zip(SIZES, off, strict=True))
    noise = noise_of(fit)
    root = np.linalg.inv(noise.whiten[structure])
    system = np.ones((5, 5))
    system[:4, :4], system[4, 4] = root @ root.T, 0.0
    at, places = np.log(np.array(SIZES) / 800), np.array([-1.2, -0.3, 0.9])
    right = np.ones((5, 3))
    right[:4] = discrepancy_covariance(noise, at[:, None], places)[structure]
    own = discrepancy_covariance(noise, places, places)[structure]
    solved = np.linalg.solve(system, right)
    centre, variance = expected(replace(fit, points=points), places)
    assert variance[:, 0] == pytest.approx(SCALE**2 * (own - np.sum(right * solved, axis=0)))
    # a draw has a level of its own: the part of the residuals that its discrepancy explains about
    # that
    taken = right[:4].T @ np.linalg.solve(root @ root.T, off)
    assert centre[:, 0] == pytest.approx(-B * (np.log(800) + places) + taken)
