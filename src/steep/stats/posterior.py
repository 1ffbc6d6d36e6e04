"""Posterior of a law's shape by adaptive importance sampling, deterministic and vectorised.

The scale of a law and the variance of the noise are integrated in closed form (separable
least squares), so that only the shape, 1 to 5 numbers, is sampled: first a quasi-random cover
of the prior, then Student-t proposals fitted to what was found, all weighted against the mixture
of the proposals used (adaptive multiple importance sampling: Cornuet et al. 2012). The mean
weight is the law's evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log, pi

import numpy as np
from scipy.special import ndtri

from steep.laws.law import Array, Law
from steep.stats.noise import Noise

PROPOSAL_DF = 5.0


@dataclass(frozen=True)
class Sample:
    """Weighted draws of one law's shape; the structures of the noise are the second axis."""

    law: Law
    z: Array
    """(draws, shape parameters), normal scores."""
    log_weight: Array
    """(draws, structures), log of unnormalised posterior weight, prior of the law not included."""
    level: Array
    """(draws, structures), log error at the reference size, generalised least squares."""
    squares: Array
    """(draws, structures), residual + prior sum of squares; sigma^2 is this over ``df``."""

    @property
    def log_evidence(self) -> float:
        return float(_log_sum(self.log_weight.ravel()))


def cover(count: int, dimensions: int) -> Array:
    """Quasi-random normal scores, (count, dimensions): Roberts' R sequence through ndtri."""
    root = 2.0
    for _ in range(30):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    unit = np.mod(0.5 + np.outer(np.arange(1, count + 1), steps), 1.0)
    return ndtri(np.clip(unit, 1e-9, 1 - 1e-9))


def _log_sum(values: Array) -> float:
    top = float(np.max(values))
    return top + log(float(np.sum(np.exp(values - top))))


def _log_normal(z: Array) -> Array:
    return -0.5 * np.sum(z * z, axis=1) - 0.5 * z.shape[1] * log(2 * pi)


def _log_t(z: Array, mean: Array, factor: Array) -> Array:
    """Log density of a multivariate t with Cholesky ``factor`` of its scale matrix."""
    d = z.shape[1]
    scaled = np.linalg.solve(factor, (z - mean).T)
    quad = np.sum(scaled * scaled, axis=0)
    v = PROPOSAL_DF
    constant = lgamma((v + d) / 2) - lgamma(v / 2) - 0.5 * d * log(v * pi)
    return constant - np.sum(np.log(np.diag(factor))) - 0.5 * (v + d) * np.log1p(quad / v)


def likelihood(log_ratio: Array, log_error: Array, noise: Noise, law: Law, z: Array) -> tuple:
    """(log marginal likelihood, level, sum of squares), each (draws, structures)."""
    residual = log_error[:, None] - law.log_shape(log_ratio, z)
    white = noise.whiten @ residual
    one = noise.whiten.sum(axis=2)
    information = noise.information
    level = np.einsum("jn,jns->js", one, white) / information[:, None]
    squares = np.einsum("jns,jns->js", white, white) - level**2 * information[:, None]
    squares = np.maximum(squares, 0.0) + noise.sum_squares[:, None]
    df = noise.df + len(log_error) - 1
    constant = noise.log_prior - 0.5 * noise.log_det - 0.5 * np.log(information)
    return (constant[:, None] - 0.5 * df * np.log(squares)).T, level.T, squares.T


def _flattened(log_weight: Array, wanted: float) -> Array:
    """Normalised weights, tempered until at least ``wanted`` of them count."""
    centred = log_weight - np.max(log_weight)
    for power in 0.7 ** np.arange(25):
        weight = np.exp(power * centred)
        weight /= weight.sum()
        if 1.0 / np.sum(weight**2) >= wanted:
            break
    return weight


def sample_law(
    law: Law,
    log_ratio: Array,
    log_error: Array,
    noise: Noise,
    first: int = 600,
    later: tuple[int, ...] = (400, 400, 400),
) -> Sample:
    """Weighted posterior draws of ``law``'s shape on points at ``log_ratio`` (n,)."""
    d = len(law.shape)
    z = cover(first, d)
    result = likelihood(log_ratio, log_error, noise, law, z)
    log_prior = _log_normal(z)
    share = [float(first)]
    components = [log_prior.copy()]
    proposals: list[tuple[Array, Array]] = []
    base = cover(max(later, default=1), d + 1)
    for count in later:
        density = np.logaddexp.reduce([c + log(s) for c, s in zip(components, share, strict=True)])
        total = np.logaddexp.reduce(result[0], axis=1) + log_prior - density
        weight = _flattened(total, wanted=8.0 * d)
        mean = weight @ z
        spread = (z - mean).T @ ((z - mean) * weight[:, None]) + 1e-10 * np.eye(d)
        factor = np.linalg.cholesky(1.3 * spread)
        # a t deviate is a normal one over the root of a chi-square: the last score makes the latter
        stretch = _chi_square_root(base[:count, d])
        fresh = mean + (base[:count, :d] @ factor.T) / stretch[:, None]
        more = likelihood(log_ratio, log_error, noise, law, fresh)
        z = np.concatenate([z, fresh])
        result = tuple(np.concatenate([a, b]) for a, b in zip(result, more, strict=True))
        log_prior = np.concatenate([log_prior, _log_normal(fresh)])
        proposals.append((mean, factor))
        share.append(float(count))
        components = [log_prior] + [_log_t(z, m, f) for m, f in proposals]
    density = np.logaddexp.reduce([c + log(s) for c, s in zip(components, share, strict=True)])
    log_weight = result[0] + (log_prior - density)[:, None]
    return Sample(law, z, log_weight, result[1], result[2])


def _chi_square_root(score: Array) -> Array:
    """sqrt(chi^2_v / v) at normal scores, by Wilson and Hilferty's cube."""
    v = PROPOSAL_DF
    cube = 1.0 - 2.0 / (9.0 * v) + score * (2.0 / (9.0 * v)) ** 0.5
    return np.maximum(cube, 0.15) ** 1.5
