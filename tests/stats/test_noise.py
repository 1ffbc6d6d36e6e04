"""The covariance of a curve's points, entry by entry against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad

from steep.records import Point
from steep.stats import noise
from steep.stats.curve import RunNoise
from steep.stats.noise import discrepancy_covariance, noise_model

SIZES = 100 * 4.0 ** np.arange(4)
LOG_RATIO = np.log(SIZES / SIZES[-1])
POINTS = [Point(float(m), 0.3) for m in SIZES]


def covariance(model: noise.Noise, j: int) -> np.ndarray:
    root = np.linalg.inv(model.whiten[j])
    return root @ root.T


def test_discrepancy_decays_with_the_noise_by_0_3_a_power() -> None:
    """Noise whose variance goes as m**-growth takes the discrepancy with it: m**(-0.3 growth)."""
    model = noise_model(POINTS)
    growth = np.repeat([0.0, 1.0, 2.0], len(noise.RATIOS))
    assert model.decay == pytest.approx(0.3 * growth)
    j = int(
        np.flatnonzero(
            (model.decay == 0.6) & (model.walk_variance == 10) & (model.slope_variance == 0)
        )[0]
    )
    # a random walk from the largest size, whose variance per unit of log m is 10 * m**(-0.6 * 2)
    walk = [[10 * (np.exp(-1.2 * max(a, b)) - 1) / 1.2 for b in LOG_RATIO] for a in LOG_RATIO]
    expected = np.array(walk) + np.diag(np.exp(-2.0 * LOG_RATIO))
    assert covariance(model, j) == pytest.approx(expected)


def test_a_reverting_slope_is_the_double_integral_of_its_covariance() -> None:
    model = noise_model(POINTS)
    j = int(
        np.flatnonzero(
            (model.decay == 0.3) & (model.walk_variance == 0) & (model.slope_variance == 10)
        )[0]
    )
    a, b = LOG_RATIO[0], LOG_RATIO[2]
    integral, _ = dblquad(
        lambda u, v: 10 * np.exp(-0.7 * abs(u - v) - 0.3 * (u + v)), a, 0, b, 0, epsabs=1e-8
    )
    assert discrepancy_covariance(model, np.array(a), np.array(b))[j] == pytest.approx(
        integral, rel=1e-6
    )


def test_beyond_the_data_the_discrepancy_does_not_decay() -> None:
    model = noise_model(POINTS)
    j = int(
        np.flatnonzero(
            (model.decay == 0.6) & (model.walk_variance == 10) & (model.slope_variance == 0)
        )[0]
    )
    assert discrepancy_covariance(model, np.array(1.5), np.array(2.0))[j] == pytest.approx(10 * 1.5)
    assert discrepancy_covariance(model, np.array(1.5), np.array(-2.0))[j] == 0.0


def test_slopes_on_both_sides_of_the_origin_go_together() -> None:
    """Of a slope that is steeper than the law's on both sides, one side is below, one above."""
    model = noise_model(POINTS)
    j = int(
        np.flatnonzero(
            (model.decay == 0.3) & (model.walk_variance == 0) & (model.slope_variance == 10)
        )[0]
    )
    a, b = float(LOG_RATIO[1]), 1.3
    integral, _ = dblquad(
        lambda u, v: 10 * np.exp(-0.7 * abs(u - v) - 0.3 * u), 0, b, a, 0, epsabs=1e-8
    )
    for one, other in ((a, b), (b, a)):
        found = discrepancy_covariance(model, np.array(one), np.array(other))[j]
        assert found == pytest.approx(-integral, rel=1e-6)


REPLICATED = [Point(m, 0.3, replicates=k) for m, k in zip(SIZES, (1, 4, 2, 5), strict=True)]


def test_level_and_squares_are_those_of_generalised_least_squares() -> None:
    model = noise_model(REPLICATED)
    residual = np.random.default_rng(0).normal(size=(4, 3))
    one = np.ones(4)
    squares = model.squares @ noise.pairs(residual)
    for j in (0, 5, 12, 23):
        v = covariance(model, j)
        precision = np.linalg.inv(v)
        assert model.information[j] == pytest.approx(one @ precision @ one)
        level = one @ precision @ residual / (one @ precision @ one)
        assert model.level[j] @ residual == pytest.approx(level)
        off = residual - level
        assert squares[j] == pytest.approx(np.einsum("nd,nm,md->d", off, precision, off))
        assert model.log_det[j] == pytest.approx(np.linalg.slogdet(v)[1])


def test_where_nothing_is_known_the_prior_is_one_of_structures_and_scales() -> None:
    """A fifth of it, over three ways in which noise grows, has no discrepancy; a new point is as
    often repeated as the last one. Scales: 0.05 a walk, 0.12 a slope, 0.01 noise."""
    model = noise_model(REPLICATED)
    scale = np.sqrt(model.sum_squares)
    chance = np.exp(model.log_prior) / scale
    none = (model.walk_variance == 0) & (model.slope_variance == 0)
    assert chance.sum() == pytest.approx(1.0)
    assert chance[none] == pytest.approx([0.2 / 3] * 3)
    assert chance[~none] == pytest.approx([0.8 / 21] * 21)
    assert scale[none] == pytest.approx(0.01)
    both = (model.walk_variance == 10) & (model.slope_variance == 100)
    assert scale[both] == pytest.approx(0.12 / 10)
    assert scale[(model.walk_variance == 10) & (model.slope_variance == 0)] == pytest.approx(
        0.05 / 10**0.5
    )
    assert (model.df, *set(model.fresh.tolist())) == (1.0, pytest.approx(0.2))
    assert np.diag(covariance(model, 0)) == pytest.approx([1, 1 / 4, 1 / 2, 1 / 5])


@pytest.mark.parametrize("given", [True, False])
def test_where_noise_is_known_structures_are_about_it(given: bool) -> None:
    """By standard errors on ten degrees of freedom, about their geometric mean; or by the squares
    of replicates, and one of 0.01. A scatter of 0, 1 or 6 times the mean has 0.6, 0.3 and 0.1."""
    errors = (0.01, 0.02, 0.02, 0.04)
    if given:
        points = [Point(m, 0.3, se_log=s) for m, s in zip(SIZES, errors, strict=True)]
        model, typical, df = noise_model(points), 0.02**2, 10.0
        base = np.square(errors) / typical
    else:
        model, df = noise_model(REPLICATED, RunNoise(0.0071 / 8, 8)), 9.0
        typical, base = 0.0072 / 9, np.array([1, 1 / 4, 1 / 2, 1 / 5])
    assert model.df == df
    assert model.sum_squares == pytest.approx(df * typical)
    chance = np.exp(model.log_prior)
    none = (model.walk_variance == 0) & (model.slope_variance == 0)
    assert chance[none] == pytest.approx(0.7 * np.array([0.6, 0.3, 0.1]))
    assert chance.sum() == pytest.approx(1.0)
    for j, scatter in zip(np.flatnonzero(none), (0, 1, 6), strict=True):
        assert np.diag(covariance(model, j)) == pytest.approx(base + scatter * base.mean())
        assert model.fresh[j] == pytest.approx(base[-1] + scatter * base.mean())
    assert set(np.round(np.sqrt(model.walk_variance * typical), 6)) == {0, 0.01, 0.03, 0.1}
    assert set(np.round(np.sqrt(model.slope_variance * typical), 6)) == {0, 0.06, 0.2}
    assert not model.decay.any()


def test_a_point_off_the_trend_has_a_wider_noise() -> None:
    wide = noise_model(REPLICATED, factor=np.array([1.0, 9.0, 1.0, 1.0]))
    assert np.diag(covariance(wide, 0)) == pytest.approx([1, 9 / 4, 1 / 2, 1 / 5])
