"""((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D: no floor, and the scarcer of both decides.

Written with the two pure power laws it tends to, A = N_c^alpha_N and B = D_c^alpha_D.
"""

from __future__ import annotations

from steep.laws.law import Array, exponent
from steep.laws.surface import Surface, log_sum, term


def log_surface(c: Array, n: Array, d: Array, _u: Array) -> Array:
    a, b, alpha, beta = (c[:, i, None] for i in range(4))
    return beta * log_sum((a - alpha * n) / beta, (b - beta * d) / beta)


SURFACE = Surface(
    name="kaplan",
    formula="((A / N^alpha)^(1/beta) + (B / D^beta)^(1/beta))^beta",
    citation="Kaplan et al. 2020, arXiv:2001.08361, equation 1.5",
    names=("A", "B", "alpha", "beta"),
    terms=(("N", "alpha"), ("D", "beta"), ("", ""), ("", "")),
    priors=(term("A", share=0.5), term("B", share=0.5), exponent("alpha"), exponent("beta")),
    log_surface=log_surface,
)
