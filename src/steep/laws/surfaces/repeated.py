"""Chinchilla's sum at the *effective* data of repeated epochs and parameters in excess.

D / U - 1 repetitions of U distinct samples are worth R_D (1 - exp(-(D / U - 1) / R_D)) of fresh
ones. Parameters beyond those that are best for U samples decay alike, with R_N.
"""

from __future__ import annotations

import numpy as np

from steep.laws.law import Array, Shape
from steep.laws.surface import Surface
from steep.laws.surfaces import chinchilla


def log_surface(c: Array, n: Array, d: Array, u: Array) -> Array:
    _, a, b, alpha, beta = (c[:, i, None] for i in range(5))
    data_decay, size_decay = np.exp(c[:, 5, None]), np.exp(c[:, 6, None])
    effective_d = u + np.log1p(_worth(np.expm1(d - u), data_decay))
    # best size for U on the frontier: dL/dlogN = dL/dlogD at fixed N * D
    best = (a + np.log(alpha) - b - np.log(beta) + beta * u) / alpha
    base = np.minimum(best, n)
    excess = np.expm1(np.minimum(n - base, 50.0))
    effective_n = base + np.log1p(_worth(excess, size_decay))
    return chinchilla.log_surface(c[:, :5], effective_n, effective_d, u)


def _worth(repetitions: Array, decay: Array) -> Array:
    return decay * -np.expm1(-np.maximum(repetitions, 0.0) / decay)


_DECAY = ("plain", float(np.log(10.0)), 1.5, -np.inf, np.inf)

SURFACE = Surface(
    name="repeated",
    formula="E + A / N'^alpha + B / D'^beta, N' and D' discounted for repetition",
    citation="Muennighoff et al. 2023, arXiv:2305.16264",
    names=(*chinchilla.SURFACE.names, "R_D", "R_N"),
    terms=(*chinchilla.TERMS, ("size", ""), ("size", "")),
    priors=(*chinchilla.PRIORS, Shape("R_D", *_DECAY), Shape("R_N", *_DECAY)),
    log_surface=log_surface,
    needs_unique=True,
)
