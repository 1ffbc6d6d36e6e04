"""Adaptive importance sampling of a density over a few numbers, deterministic and vectorised.

First a quasi-random cover of a standard normal prior, then Student-t proposals fitted to what was
found, all weighted against the mixture of the proposals used (adaptive multiple importance
sampling: Cornuet et al. 2012). The mean weight is the evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import lgamma, log, pi

import numpy as np
from scipy.special import ndtri

from steep.laws.law import Array
from steep.stats.mixture import systematic

PROPOSAL_DF = 5.0
KERNELS, WIDTH = 16, 0.25
"""How many proposals follow the ridge of a posterior, and their width relative to all of it."""
MANY_KERNELS, LOCAL, GLOBAL, INFLATE = 48, 0.7, 0.5, 1.4
"""The same where the curvature is known: most have the local covariance times INFLATE, within LOCAL
of all of it, every third GLOBAL of all of it."""


def sample(
    log_likelihood: Callable[[Array], Array],
    dimensions: int,
    first: int,
    later: tuple[int, ...],
    precision: Callable[[Array], Array] | None = None,
    mode: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Draws z (draws, dimensions) in normal scores; log prior over the density of all proposals
    together (draws,), which added to the log likelihood is a draw's log weight; and that weight.

    ``log_likelihood`` takes z (n, dimensions) to (n,) and is called once for the ``first`` draws
    and once for each of the ``later`` batches, in order. Where ``precision``, the local curvature
    of the posterior at z (n, dimensions, dimensions), is known, proposals have its shape, and the
    first of them is about the ``mode`` (dimensions,)."""
    d = dimensions
    z = quasi_normal(first, d)
    target = log_likelihood(z) + _log_normal(z)
    sources = [_Source(_log_normal, first)]
    # log density of all sources together at all draws, kept up as either grows
    density = sources[0].log_density(z)
    base = quasi_normal(max(later, default=1), d + 1)
    kernels = KERNELS if precision is None else MANY_KERNELS
    for i, count in enumerate(later):
        if i == 0 and precision is not None and mode is not None:
            centres = mode[None, :]
            factors = _factors(np.asarray(INFLATE * np.linalg.inv(precision(centres)), dtype=float))
        else:
            weight = _flattened(target - density, wanted=8.0 * d)
            centres, factors = _proposal(z, weight, 1 if i == 0 else kernels, precision)
        # a t deviate is a normal one over the root of a chi-square: the last score makes the latter
        stretch = _chi_square_root(base[:count, d])
        which = np.arange(count) % len(centres)
        step = np.einsum("nij,nj->ni", factors[which], base[:count, :d]) / stretch[:, None]
        fresh = centres[which] + step
        target = np.concatenate([target, log_likelihood(fresh) + _log_normal(fresh)])
        source = _Source(partial(_log_t, centres=centres, factors=factors), count)
        before = np.logaddexp.reduce([s.log_density(fresh) for s in sources], axis=0)
        density = np.concatenate([density, before])
        z = np.concatenate([z, fresh])
        density = np.logaddexp(density, source.log_density(z))
        sources.append(source)
    return z, _log_normal(z) - density, target - density


def quasi_normal(count: int, dimensions: int) -> Array:
    """Quasi-random normal scores, (count, dimensions): Roberts' R sequence through ndtri."""
    root = 2.0
    for _ in range(30):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    unit = np.mod(0.5 + np.outer(np.arange(1, count + 1), steps), 1.0)
    return ndtri(np.clip(unit, 1e-9, 1 - 1e-9))


@dataclass(frozen=True)
class _Source:
    """Where ``count`` of the draws came from."""

    log_one: Callable[[Array], Array]
    count: int

    def log_density(self, z: Array) -> Array:
        return self.log_one(z) + log(self.count)


def _log_normal(z: Array) -> Array:
    return -0.5 * np.sum(z * z, axis=1) - 0.5 * z.shape[1] * log(2 * pi)


def _log_t(z: Array, centres: Array, factors: Array) -> Array:
    """Log density of an even mixture of t's about ``centres`` (kernels, d), with the Cholesky
    ``factors`` (kernels, d, d) of their scale matrices."""
    d, v = z.shape[1], PROPOSAL_DF
    constant = lgamma((v + d) / 2) - lgamma(v / 2) - 0.5 * d * log(v * pi)
    density = np.zeros(len(z))
    for centre, factor in zip(centres, factors, strict=True):
        quad = np.sum(((z - centre) @ np.linalg.inv(factor).T) ** 2, axis=1)
        density += (1.0 + quad / v) ** (-0.5 * (v + d)) / np.prod(np.diag(factor))
    return np.asarray(constant + np.log(np.maximum(density / len(centres), 1e-300)))


def _flattened(log_weight: Array, wanted: float) -> Array:
    """Normalised weights, tempered until at least ``wanted`` of them count."""
    centred = log_weight - np.max(log_weight)
    for power in 0.7 ** np.arange(25):
        weight = np.exp(power * centred)
        weight /= weight.sum()
        if 1.0 / np.sum(weight**2) >= wanted:
            break
    return weight


def _proposal(
    z: Array, weight: Array, kernels: int, precision: Callable[[Array], Array] | None
) -> tuple[Array, Array]:
    """Centres and Cholesky factors: one wide t, or narrower ones along a bent ridge, each of them
    with the ridge's own width there where the curvature is known."""
    mean = weight @ z
    spread = (z - mean).T @ ((z - mean) * weight[:, None]) + 1e-10 * np.eye(z.shape[1])
    if kernels == 1:
        return mean[None, :], _factors(1.3 * spread[None])
    order = np.argsort(z[:, 0])
    centres = z[order][systematic(weight[order], kernels)]
    if precision is None:
        return centres, np.repeat(_factors(WIDTH**2 * spread[None]), kernels, axis=0)
    local = np.linalg.inv(precision(centres) / INFLATE + np.linalg.inv(LOCAL**2 * spread))
    local[::3] = GLOBAL**2 * spread  # tails that the local ones do not reach
    return centres, _factors(local)


def _factors(spread: Array) -> Array:
    return np.asarray(np.linalg.cholesky(spread), dtype=float)


def _chi_square_root(score: Array) -> Array:
    """sqrt(chi^2_v / v) at normal scores, by Wilson and Hilferty's cube."""
    v = PROPOSAL_DF
    cube = 1.0 - 2.0 / (9.0 * v) + score * (2.0 / (9.0 * v)) ** 0.5
    return np.maximum(cube, 0.15) ** 1.5
