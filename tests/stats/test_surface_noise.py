"""The noise of runs about a joint law, against the same by dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from steep.laws.surfaces import SURFACES
from steep.questions.surface import reference_of
from steep.stats import surface_noise as module
from steep.stats.surface_noise import NOISE, PRIOR_DF, features, surface_noise
from steep.stats.surface_posterior import (
    Model,
    Runs,
    alone_of,
    descend,
    modes_of,
    off_surface,
    open_ends,
    posterior,
    shifts_without,
)

RNG = np.random.default_rng(7)
N = np.log(np.tile(np.geomspace(1e7, 1e9, 4), 3))
D = np.log(np.repeat(np.geomspace(1e9, 1e11, 3), 4))
RUN = np.repeat([0, 1, 2, 3], 3)


def dense(noise: module.SurfaceNoise, j: int) -> np.ndarray:
    """The rows' covariance of one structure, from the definitions."""
    s = noise.structures[j]
    parts = np.linalg.inv(noise.whiten[s.rows].toarray())
    rows = parts @ parts.T
    columns, _ = features(noise.plane, N, D, module.LENGTHS[s.length])
    sizes = np.array([s.bilinear] + [s.smooth] * module.INDUCING**2)
    return rows + (columns * sizes**2) @ columns.T


@pytest.mark.parametrize("run", [None, RUN])
def test_likelihood_is_a_multivariate_t(run: np.ndarray | None) -> None:
    """Noise of unknown size with an inverse-gamma prior: a t with PRIOR_DF degrees of freedom."""
    base = np.ones(12)
    base[4] = 9.0
    noise = surface_noise(N, D, run, base)
    residual = RNG.normal(0, 0.01, (12, 3))
    found, squares = noise.log_likelihood(residual)
    for j in range(0, len(noise.structures), max(1, len(noise.structures) // 20)):
        v = dense(noise, j)
        exact = stats.multivariate_t(shape=NOISE**2 * v, df=PRIOR_DF).logpdf(residual.T)
        np.testing.assert_allclose(found[:, j] - noise.structures[j].log_prior, exact, rtol=1e-7)
        quadratic = np.einsum("rd,rs,sd->d", residual, np.linalg.inv(v), residual)
        np.testing.assert_allclose(squares[:, j], quadratic + PRIOR_DF * NOISE**2, rtol=1e-6)


def test_the_plane_is_the_box_of_the_runs() -> None:
    """Its middle is that of smallest and largest, and no side is shorter than one."""
    plane = module.plane_of(np.array([2.0, 3.0, 10.0]), np.array([5.0, 5.2, 5.1]))
    assert plane.centre == pytest.approx((6.0, 5.1))
    assert plane.half == pytest.approx((4.0, 0.5))
    assert plane.scaled(np.array([10.0]), np.array([4.6])) == pytest.approx(np.array([[1.0, -1.0]]))


def test_the_priors_of_the_structures_sum_to_one() -> None:
    for run in (None, RUN):
        noise = surface_noise(N, D, run)
        assert np.sum(np.exp([s.log_prior for s in noise.structures])) == pytest.approx(1.0)


def test_rows_of_one_run_share_and_rows_of_others_do_not() -> None:
    noise = surface_noise(N, D, RUN)
    for w in noise.whiten:
        root = np.linalg.inv(w.toarray())
        v = root @ root.T
        assert np.all(np.abs(v[RUN[:, None] != RUN]) < 1e-9)
    shared = [np.linalg.inv(w.toarray()) for w in noise.whiten]
    correlated = [(r @ r.T)[0, 1] for r in shared]
    assert min(correlated) == pytest.approx(0.0, abs=1e-9)
    assert max(correlated) > 0.9


def test_the_discrepancy_given_the_rows_is_kriging() -> None:
    noise = surface_noise(N, D)
    residual = RNG.normal(0, 0.01, (12, 1))
    at_n, at_d = np.log([2e8, 5e9]), np.log([3e10, 1e12])
    for j in (5, 20, 44):
        s = noise.structures[j]
        if s.bilinear == 0 == s.smooth:
            continue
        here, _ = features(noise.plane, N, D, module.LENGTHS[s.length])
        there, missing = features(noise.plane, at_n, at_d, module.LENGTHS[s.length])
        sizes = np.array([s.bilinear] + [s.smooth] * module.INDUCING**2)
        cross = (there * sizes**2) @ here.T
        inverse = np.linalg.inv(dense(noise, j))
        columns, variance = noise.at(j, at_n, at_d)
        np.testing.assert_allclose(
            columns @ noise.coefficients(j, residual), cross @ inverse @ residual, atol=1e-9
        )
        prior = np.sum((there * sizes) ** 2, axis=1) + s.smooth**2 * missing
        left = prior - np.einsum("ps,st,pt->p", cross, inverse, cross)
        np.testing.assert_allclose(variance, left, rtol=1e-6, atol=1e-9)


def test_the_smooth_part_has_unit_variance_everywhere() -> None:
    """What inducing points do not carry is added where it is missing."""
    plane = module.plane_of(N, D)
    far = np.log([1e7, 1e12, 1e6]), np.log([1e9, 1e14, 1e13])
    for length in module.LENGTHS:
        columns, missing = features(plane, *far, length)
        np.testing.assert_allclose(np.sum(columns[:, 1:] ** 2, axis=1) + missing, 1.0, atol=1e-6)


# ---------------------------------------------------------------- the posterior of a law


def known(noise: float = 0.004, seed: int = 1, count: int = 6) -> Runs:
    n, d = np.meshgrid(np.geomspace(1e7, 3e9, count), np.geomspace(1e9, 3e11, count))
    n, d = np.log(n.ravel()), np.log(d.ravel())
    y = np.log(1.7 + 400 * np.exp(-0.34 * n) + 1500 * np.exp(-0.36 * d))
    y += np.random.default_rng(seed).normal(0, noise, len(n))
    return Runs(n, d, d, y)


def model(runs: Runs, **held: float) -> Model:
    return Model(SURFACES["chinchilla"], reference_of(runs), held)


def test_evidence_agrees_with_quadrature() -> None:
    """Two free parameters, all structures of the noise."""
    runs = known(count=4)
    two = model(runs, A=400.0, alpha=0.34, beta=0.36)
    noise = surface_noise(runs.n, runs.d)
    found = posterior(two, runs, noise)
    center = found.mode
    axis = np.linspace(-0.25, 0.25, 241)
    z = center + np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    like = np.logaddexp.reduce(noise.log_likelihood(two.residual(z, runs).T)[0], axis=1)
    prior = stats.norm.logpdf(z).sum(axis=1)
    exact = float(np.logaddexp.reduce(like + prior) + 2 * np.log(axis[1] - axis[0]))
    assert found.log_evidence == pytest.approx(exact, abs=0.1)
    assert found.effective > 300


def test_descents_from_all_over_the_prior_end_in_the_truth() -> None:
    runs = known(noise=0.0)
    free = model(runs)
    exact = surface_noise(runs.n, runs.d, ratios=(0.0,))
    ends, loss = modes_of(free, runs, exact, 0)
    assert loss[1] - loss[0] < 1e-3, "another start ends there, too"
    natural = free.law.natural(free.coordinates(ends[:1]), free.reference)[0]
    np.testing.assert_allclose(natural, [1.7, 400, 1500, 0.34, 0.36], rtol=5e-3)


def test_a_held_coordinate_stays() -> None:
    runs = known()
    free = model(runs)
    exact = surface_noise(runs.n, runs.d, ratios=(0.0,))
    start = np.zeros((2, 5))
    start[:, 3] = 1.5
    ends, _ = descend(free, runs, exact, 0, start, 40, [3, 3])
    np.testing.assert_array_equal(ends[:, 3], 1.5)
    assert np.abs(ends[:, 0]).min() > 1e-3


def test_without_a_row_to_first_order_is_the_fit_without_it() -> None:
    runs = known()
    free = model(runs)
    noise = surface_noise(runs.n, runs.d)
    alone = alone_of(free, runs, noise, posterior(free, runs, noise))
    groups, shifted = shifts_without(free, runs, noise, alone)
    far = int(np.argmax(np.linalg.norm(shifted - alone.mode, axis=1)))
    kept = np.delete(np.arange(len(runs)), groups[far])
    some = runs.take(kept)
    exact = surface_noise(some.n, some.d, ratios=(0.0,))
    again, _ = descend(free, some, exact, 0, alone.mode[None], 60)
    np.testing.assert_allclose(shifted[far] - alone.mode, again[0] - alone.mode, rtol=0.35)


def test_rows_far_off_at_the_edge_of_the_plane_are_found() -> None:
    """Three of the eight rows of least data, which a fit by least squares follows."""
    runs = known(count=8)
    corner = np.argsort(runs.d - 0.5 * runs.n)[:3]
    runs.y[corner] += [0.2, 0.25, 0.15]
    free = model(runs)
    exact = surface_noise(runs.n, runs.d, ratios=(0.0,))
    base = off_surface(free, runs, modes_of(free, runs, exact, 0)[0])
    assert set(corner) <= set(np.flatnonzero(base > 1))
    assert np.sum(base > 1) <= 4


def test_ends_are_open_where_the_runs_set_no_limit() -> None:
    """Data that vary by a third bound the power of the data term from above, not from below."""
    runs = known()
    free = model(runs)
    noise = surface_noise(runs.n, runs.d)
    assert open_ends(free, runs, noise, posterior(free, runs, noise), 0.9) == [(False, False)] * 5
    n = runs.n[::6].repeat(2)
    d = np.tile(np.log([1e11, 1.3e11]), 6)
    y = np.log(1.7 + 400 * np.exp(-0.34 * n) + 1500 * np.exp(-0.36 * d))
    few = Runs(n, d, d, y + np.random.default_rng(3).normal(0, 0.004, len(y)))
    free, noise = model(few), surface_noise(few.n, few.d)
    ends = open_ends(free, few, noise, posterior(free, few, noise), 0.9)
    assert ends[4] == (True, False)
