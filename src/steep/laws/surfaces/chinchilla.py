"""E + A / N^alpha + B / D^beta: what the model lacks and what the data lack add up."""

from __future__ import annotations

from steep.laws.law import Array, exponent
from steep.laws.surface import Surface, log_sum, term


def log_surface(c: Array, n: Array, d: Array, _u: Array) -> Array:
    floor, a, b, alpha, beta = (c[:, i, None] for i in range(5))
    return log_sum(floor, a - alpha * n, b - beta * d)


TERMS = (("E", ""), ("N", "alpha"), ("D", "beta"), ("", ""), ("", ""))
PRIORS = (term("E", spread=2.0), term("A"), term("B"), exponent("alpha"), exponent("beta"))

SURFACE = Surface(
    name="chinchilla",
    formula="E + A / N^alpha + B / D^beta",
    citation="Hoffmann et al. 2022, arXiv:2203.15556; Besiroglu et al. 2024, arXiv:2404.10102",
    names=("E", "A", "B", "alpha", "beta"),
    terms=TERMS,
    priors=PRIORS,
    log_surface=log_surface,
    optimum=True,
)
