"""Chinchilla's sum whose data term depends on the model's size: larger models learn from data
otherwise.

The full law of Li et al. 2025 has nine constants; about the middle of the runs (n and d are N and D
relative to it) two are enough beside Chinchilla's: the data term grows as n^delta and its exponent
falls as n^-gamma.
"""

from __future__ import annotations

import numpy as np

from steep.laws.law import Array, Shape
from steep.laws.surface import Surface, log_sum
from steep.laws.surfaces import chinchilla


def log_surface(c: Array, n: Array, d: Array, _u: Array) -> Array:
    floor, a, b, alpha, beta, gamma, delta = (c[:, i, None] for i in range(7))
    power = beta * np.exp(np.clip(-gamma * n, -3.0, 3.0))
    return log_sum(floor, a - alpha * n, b + delta * n - power * d)


SURFACE = Surface(
    name="interacting",
    formula="E + A / N^alpha + B n^delta / d^(beta / n^gamma), n and d relative to the middle runs",
    citation="Li et al. 2025 (Farseer), arXiv:2506.10972",
    names=(*chinchilla.SURFACE.names, "gamma", "delta"),
    terms=(*chinchilla.TERMS[:2], ("E", ""), *chinchilla.TERMS[3:], ("", ""), ("", "")),
    priors=(
        *chinchilla.PRIORS,
        Shape("gamma", "plain", 0.0, 0.1, -1.0, 1.0),
        Shape("delta", "plain", 0.0, 0.2, -1.0, 1.0),
    ),
    log_surface=log_surface,
)
