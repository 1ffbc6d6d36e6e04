"""Posterior of a law's shape by adaptive importance sampling, deterministic and vectorised.

The scale of a law and the variance of the noise are integrated in closed form (separable
least squares), so that only the shape, 1 to 5 numbers, is sampled (``importance.py``). The mean
weight is the law's evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np

from steep.laws.law import Array, Law
from steep.stats.importance import sample
from steep.stats.noise import Noise, pairs


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

    @cached_property
    def log_evidence(self) -> float:
        return float(_log_sum(self.log_weight.ravel()))


def _log_sum(values: Array) -> float:
    top = float(np.max(values))
    return top + log(float(np.sum(np.exp(values - top))))


def _log_sums(values: Array) -> Array:
    """Log of the sum of exponentials over the last axis, (draws,)."""
    top = values.max(axis=1)
    return np.asarray(top + np.log(np.exp(values - top[:, None]).sum(axis=1)))


def likelihood(log_ratio: Array, log_error: Array, noise: Noise, law: Law, z: Array) -> tuple:
    """(log marginal likelihood, level, sum of squares), each (draws, structures)."""
    residual = log_error[:, None] - law.log_shape(log_ratio, z)
    level = noise.level @ residual
    residual -= residual.mean(axis=0)  # a level cancels: taken out first, rounding is least
    squares = np.maximum(noise.squares @ pairs(residual), 0.0) + noise.sum_squares[:, None]
    df = noise.df + len(log_error) - 1
    constant = noise.log_prior - 0.5 * noise.log_det - 0.5 * np.log(noise.information)
    return (constant[:, None] - 0.5 * df * np.log(squares)).T, level.T, squares.T


def sample_law(
    law: Law,
    log_ratio: Array,
    log_error: Array,
    noise: Noise,
    first: int = 500,
    later: tuple[int, ...] = (250, 400, 400),
) -> Sample:
    """Weighted posterior draws of ``law``'s shape on points at ``log_ratio`` (n,)."""
    found: list[tuple[Array, Array, Array]] = []

    def log_likelihood_of(z: Array) -> Array:
        found.append(likelihood(log_ratio, log_error, noise, law, z))
        return _log_sums(found[-1][0])

    z, log_share, _ = sample(log_likelihood_of, len(law.shape), first, later)
    log_likelihood, level, squares = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Sample(law, z, log_likelihood + log_share[:, None], level, squares)
