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


def sample(
    log_likelihood: Callable[[Array], Array],
    dimensions: int,
    first: int,
    later: tuple[int, ...],
) -> tuple[Array, Array, Array]:
    """Draws z (draws, dimensions) in normal scores; log prior over the density of all proposals
    together (draws,), which added to the log likelihood is a draw's log weight; and that weight.

    ``log_likelihood`` takes z (n, dimensions) to (n,) and is called once for the ``first`` draws
    and once for each of the ``later`` batches, in order."""
    d = dimensions
    z = cover(first, d)
    target = log_likelihood(z) + _log_normal(z)
    sources = [_Source(_log_normal, first)]
    # log density of all sources together at all draws, kept up as either grows
    density = sources[0].log_density(z)
    base = cover(max(later, default=1), d + 1)
    for i, count in enumerate(later):
        weight = _flattened(target - density, wanted=8.0 * d)
        centres, factor = _proposal(z, weight, kernels=1 if i == 0 else KERNELS)
        # a t deviate is a normal one over the root of a chi-square: the last score makes the latter
        stretch = _chi_square_root(base[:count, d])
        step = (base[:count, :d] @ factor.T) / stretch[:, None]
        fresh = centres[np.arange(count) % len(centres)] + step
        target = np.concatenate([target, log_likelihood(fresh) + _log_normal(fresh)])
        source = _Source(partial(_log_t, centres=centres, factor=factor), count)
        before = np.logaddexp.reduce([s.log_density(fresh) for s in sources], axis=0)
        density = np.concatenate([density, before])
        z = np.concatenate([z, fresh])
        density = np.logaddexp(density, source.log_density(z))
        sources.append(source)
    return z, _log_normal(z) - density, target - density


def cover(count: int, dimensions: int) -> Array:
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


def _log_t(z: Array, centres: Array, factor: Array) -> Array:
    """Log density of an even mixture of t's about ``centres`` (kernels, d), all with the Cholesky
    ``factor`` of their scale matrix."""
    d, v = z.shape[1], PROPOSAL_DF
    inverse = np.linalg.inv(factor)
    middle = centres.mean(axis=0)
    a, b = (z - middle) @ inverse.T, (centres - middle) @ inverse.T
    quad = np.maximum(np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1) - 2.0 * a @ b.T, 0.0)
    constant = lgamma((v + d) / 2) - lgamma(v / 2) - 0.5 * d * log(v * pi)
    mixed = np.mean((1.0 + quad / v) ** (-0.5 * (v + d)), axis=1)
    return constant - np.sum(np.log(np.diag(factor))) + np.log(np.maximum(mixed, 1e-300))


def _flattened(log_weight: Array, wanted: float) -> Array:
    """Normalised weights, tempered until at least ``wanted`` of them count."""
    centred = log_weight - np.max(log_weight)
    for power in 0.7 ** np.arange(25):
        weight = np.exp(power * centred)
        weight /= weight.sum()
        if 1.0 / np.sum(weight**2) >= wanted:
            break
    return weight


def _proposal(z: Array, weight: Array, kernels: int) -> tuple[Array, Array]:
    """Centres (kernels, d) and Cholesky factor: one wide t, or narrower ones along a bent ridge."""
    mean = weight @ z
    spread = (z - mean).T @ ((z - mean) * weight[:, None]) + 1e-10 * np.eye(z.shape[1])
    if kernels == 1:
        return mean[None, :], np.asarray(np.linalg.cholesky(1.3 * spread), dtype=float)
    order = np.argsort(z[:, 0])
    centres = z[order][systematic(weight[order], kernels)]
    return centres, np.asarray(np.linalg.cholesky(WIDTH**2 * spread), dtype=float)


def _chi_square_root(score: Array) -> Array:
    """sqrt(chi^2_v / v) at normal scores, by Wilson and Hilferty's cube."""
    v = PROPOSAL_DF
    cube = 1.0 - 2.0 / (9.0 * v) + score * (2.0 / (9.0 * v)) ** 0.5
    return np.maximum(cube, 0.15) ** 1.5
