"""Sampled posteriors, mixtures and noise structures against quadrature and closed forms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from steep.laws import LAWS
from steep.records import Point
from steep.stats.curve import RunNoise, curve_from_columns, curve_from_points
from steep.stats.importance import quasi_normal
from steep.stats.mixture import quantiles, systematic
from steep.stats.noise import (
    DECAY,
    REVERSION,
    discrepancy_covariance,
    noise_model,
    slope_reversion,
    walk,
)
from steep.stats.posterior import likelihood, sample_law

SIZES = 1000 * 2.0 ** np.arange(8)
LOG_RATIO = np.log(SIZES / SIZES[-1])


def points(noise: float = 0.01, replicates: int = 1) -> tuple[Point, ...]:
    error = 0.3 * (SIZES / SIZES[-1]) ** -0.4 + 0.05
    error = error * np.exp(noise * np.random.default_rng(0).normal(size=len(SIZES)))
    return tuple(Point(m, e, replicates=replicates) for m, e in zip(SIZES, error, strict=True))


@pytest.mark.parametrize("name", ["power", "power+floor"])
def test_evidence_agrees_with_quadrature(name: str) -> None:
    law, noise = LAWS[name], noise_model(points())
    log_error = np.log([p.error for p in points()])
    axis = np.linspace(-4, 4, 241)
    grid = np.stack(np.meshgrid(*[axis] * len(law.shape), indexing="ij"), axis=-1)
    z = grid.reshape(-1, len(law.shape))
    log_likelihood = np.logaddexp.reduce(likelihood(LOG_RATIO, log_error, noise, law, z)[0], axis=1)
    weight = np.prod(stats.norm.pdf(z), axis=1) * (axis[1] - axis[0]) ** z.shape[1]
    top = log_likelihood.max()
    exact = top + np.log(np.sum(weight * np.exp(log_likelihood - top)))
    sampled = sample_law(law, LOG_RATIO, log_error, noise)
    assert sampled.log_evidence == pytest.approx(exact, abs=0.1)


def test_the_posterior_mean_agrees_with_quadrature() -> None:
    law, noise = LAWS["power"], noise_model(points())
    log_error = np.log([p.error for p in points()])
    z = np.linspace(-4, 4, 4001)[:, None]
    log_likelihood = np.logaddexp.reduce(likelihood(LOG_RATIO, log_error, noise, law, z)[0], axis=1)
    weight = stats.norm.pdf(z[:, 0]) * np.exp(log_likelihood - log_likelihood.max())
    exact = np.average(law.shape[0].value(z[:, 0]), weights=weight)
    sampled = sample_law(law, LOG_RATIO, log_error, noise)
    found = np.exp(sampled.log_weight - sampled.log_evidence).sum(axis=1)
    assert found @ law.shape[0].value(sampled.z[:, 0]) == pytest.approx(exact, rel=5e-3)


def test_the_cover_is_normal_and_even() -> None:
    z = quasi_normal(4000, 3)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(z.T) - np.eye(3), 0, atol=0.05)


def test_one_t_has_its_own_quantiles() -> None:
    levels = np.array([0.05, 0.5, 0.9])
    found = quantiles(np.full((10, 1), 2.0), np.full((10, 1), 0.3), 6.0, levels)[0]
    np.testing.assert_allclose(found, stats.t.ppf(levels, 6.0, 2.0, 0.3), atol=1e-3)


def test_a_mixture_of_far_apart_parts_has_their_quantiles() -> None:
    centre = np.concatenate([np.zeros(50), np.full(50, 10.0)])[:, None]
    found = quantiles(centre, np.full((100, 1), 0.1), 50.0, np.array([0.25, 0.75]))[0]
    np.testing.assert_allclose(found, [0.0, 10.0], atol=5e-3)


def test_systematic_draws_keep_the_weights() -> None:
    weight = np.array([0.5, 0.0, 0.3, 0.2])
    assert np.bincount(systematic(weight, 100), minlength=4).tolist() == [50, 0, 30, 20]


def test_the_discrepancy_is_zero_at_the_largest_size() -> None:
    t = np.array([-3.0, -1.0, 0.0, 2.0])
    for kernel, decay in product((walk, slope_reversion), (0.0, DECAY)):
        covariance = kernel(t[:, None], t, decay)
        np.testing.assert_allclose(covariance[2], 0, atol=1e-15)
        assert np.linalg.eigvalsh(covariance).min() > -1e-12
    rate = np.exp(-2 * DECAY * np.linspace(-3.0, 0.0, 2001))
    assert walk(t[:1], t[:1], DECAY)[0] == pytest.approx(3.0 * rate.mean(), rel=1e-3)
    assert walk(t[:1], t[:1], 0.0)[0] == 3.0
    assert np.all(walk(t[:2], t[3:], DECAY) == 0)


def test_the_slope_s_discrepancy_is_an_integrated_ornstein_uhlenbeck_process_that_decays() -> None:
    """Against the double integral of the slope's covariance on a fine grid, on both sides."""
    edges = np.linspace(0.0, 1.0, 2001)
    middle = 0.5 * (edges[1:] + edges[:-1])
    places = ((1.5, 1.5), (2.0, 0.7), (-1.0, 2.0), (-1.0, -3.0))
    for (a, b), decay in product(places, (0.0, DECAY)):
        u, v = a * middle, b * middle
        fading = -decay * (np.minimum(u, 0)[:, None] + np.minimum(v, 0)[None, :])
        expected = a * b * np.exp(fading - REVERSION * np.abs(u[:, None] - v[None, :])).mean()
        found = slope_reversion(np.array([a]), np.array([b]), decay)[0]
        assert found == pytest.approx(expected, rel=1e-5)


def test_prior_weights_of_the_structures_sum_to_one_where_the_noise_is_known() -> None:
    noise = noise_model(points(replicates=3), RunNoise(0.002 / 16, 16))
    assert np.exp(noise.log_prior).sum() == pytest.approx(1.0)
    exact = (noise.walk_variance == 0) & (noise.slope_variance == 0)
    assert np.exp(noise.log_prior)[exact].sum() == pytest.approx(0.7)


def test_whitening_inverts_the_covariance() -> None:
    noise = noise_model(points())
    discrepancy = discrepancy_covariance(noise, LOG_RATIO[:, None], LOG_RATIO)
    for whiten, expected in zip(noise.whiten, discrepancy, strict=True):
        covariance = np.linalg.inv(whiten.T @ whiten)
        independent = covariance - expected
        off = independent - np.diag(np.diag(independent))
        np.testing.assert_allclose(off, 0, atol=1e-6 * covariance.max())


def test_replicates_are_pooled() -> None:
    m = np.repeat([10.0, 20.0], 3)
    error = np.exp([0.0, 0.1, 0.2, -0.3, -0.3, 0.0])
    curve = curve_from_columns({"samples": m, "error": error})
    assert [one.df for one in curve.within] == [2, 2]
    assert [one.squares for one in curve.within] == pytest.approx([0.02, 0.06])
    assert [p.error for p in curve.points] == pytest.approx(np.exp([0.1, -0.2]))


def test_points_of_one_size_become_one() -> None:
    same = (Point(10.0, 0.2, se_log=0.1), Point(10.0, 0.4, se_log=0.1), Point(20.0, 0.2))
    curve = curve_from_points(same)
    assert [p.replicates for p in curve.points] == [2, 1]
    assert curve.points[0].error == pytest.approx((0.2 * 0.4) ** 0.5)
    assert curve.points[0].se_log == pytest.approx(0.1 / 2**0.5)
