"""Chinchilla's sum below a best-guess level e_0, which the smallest sizes cannot exceed.

e_0 * |e / (e - i eta)| with e = E + A / N^alpha + B / D^beta. The published form does not change
when e and eta are scaled alike, so eta is set to e_0: then the error is e where e is small.
"""

from __future__ import annotations

import numpy as np

from steep.laws.law import Array
from steep.laws.surface import Surface, term
from steep.laws.surfaces import chinchilla


def log_surface(c: Array, n: Array, d: Array, u: Array) -> Array:
    guess = c[:, 5, None]
    e = chinchilla.log_surface(c[:, :5], n, d, u)
    return np.asarray(guess + e - 0.5 * np.logaddexp(2.0 * e, 2.0 * guess))


SURFACE = Surface(
    name="rosenfeld",
    formula="e / sqrt(1 + (e / e_0)^2), e = E + A / N^alpha + B / D^beta",
    citation="Rosenfeld et al. 2019, arXiv:1909.12673",
    names=("E", "A", "B", "alpha", "beta", "e_0"),
    terms=(*chinchilla.TERMS, ("E", "")),
    priors=(*chinchilla.PRIORS, term("e_0", share=5.0, spread=1.0)),
    log_surface=log_surface,
)
