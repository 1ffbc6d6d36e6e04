"""Laws of data *and* model size: error as a surface over both.

They are fitted in search coordinates (logarithms of positive constants), where a problem has no
bounds and the starting grid is the published one. Add one: a ``SurfaceLaw`` and a line in the
dictionary at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steep.laws.law import Array


@dataclass(frozen=True)
class SurfaceLaw:
    """``log_surface(search, log_parameters, log_samples, log_unique)`` is log error.

    ``search`` is (problems, parameters), the sizes (points,), the result (problems, points).
    ``logs`` marks the natural parameters that are exponentials of their search coordinate.
    """

    name: str
    formula: str
    citation: str
    names: tuple[str, ...]
    logs: tuple[bool, ...]
    grid: tuple[tuple[float, ...], ...]
    """Starting values of each search coordinate; all combinations are tried."""
    log_surface: Callable[[Array, Array, Array, Array], Array]

    def natural(self, search: Array) -> Array:
        """Natural parameters, same shape as ``search`` (..., parameters)."""
        return np.where(self.logs, np.exp(np.clip(search, -60.0, 60.0)), search)


def chinchilla_surface(search: Array, log_n: Array, log_d: Array, _unique: Array) -> Array:
    """log(E + A / N**alpha + B / D**beta) as a log-sum-exp, (problems, points)."""
    e, a, b, alpha, beta = search.T[:, :, None]
    terms = np.stack(np.broadcast_arrays(e, a - alpha * log_n, b - beta * log_d))
    top = terms.max(axis=0)
    return top + np.log(np.exp(terms - top).sum(axis=0))


def rosenfeld_surface(search: Array, log_n: Array, log_d: Array, unique: Array) -> Array:
    """log of e_0 * |e / (e - i eta)|, e the sum of powers: best-guess level e_0 for tiny sizes.

    The published form does not change when e and eta are scaled alike, so eta is set to e_0:
    then the error is e where e is small.
    """
    log_guess = search[:, 5, None]
    log_e = chinchilla_surface(search[:, :5], log_n, log_d, unique)
    return log_guess + log_e - 0.5 * np.logaddexp(2.0 * log_e, 2.0 * log_guess)


def repeated_surface(search: Array, log_n: Array, log_d: Array, log_unique: Array) -> Array:
    """Chinchilla's surface at the *effective* data of repeated epochs and parameters in excess.

    ``log_unique`` is the log of the unique samples U_D; D / U_D - 1 repetitions are worth
    R*(1 - exp(-R / R*)) of fresh ones. Parameters beyond those that are best for U_D decay alike.
    """
    e, a, b, alpha, beta = (search[:, i, None] for i in range(5))
    data_decay, size_decay = np.exp(search[:, 5, None]), np.exp(search[:, 6, None])
    effective_d = log_unique + np.log1p(_worth(np.expm1(log_d - log_unique), data_decay))
    # best size for U_D on the frontier: dL/dlogN = dL/dlogD at fixed N * D
    log_best = (a + np.log(alpha) - b - np.log(beta) + beta * log_unique) / alpha
    base = np.minimum(log_best, log_n)
    effective_n = base + np.log1p(_worth(np.expm1(log_n - base), size_decay))
    terms = np.stack(np.broadcast_arrays(e, a - alpha * effective_n, b - beta * effective_d))
    top = terms.max(axis=0)
    return top + np.log(np.exp(terms - top).sum(axis=0))


def _worth(repetitions: Array, decay: Array) -> Array:
    return decay * -np.expm1(-np.maximum(repetitions, 0.0) / decay)


_EXPONENTS = (0.2, 0.5, 1.0)
_CHINCHILLA_GRID = ((-1.0, 0.5), (0.0, 5.0, 10.0), (0.0, 5.0, 10.0), _EXPONENTS, _EXPONENTS)

CHINCHILLA = SurfaceLaw(
    name="chinchilla",
    formula="E + A / N^alpha + B / D^beta",
    citation="Hoffmann et al. 2022, arXiv:2203.15556; Besiroglu et al. 2024, arXiv:2404.10102",
    names=("E", "A", "B", "alpha", "beta"),
    logs=(True, True, True, False, False),
    grid=_CHINCHILLA_GRID,
    log_surface=chinchilla_surface,
)
ROSENFELD = SurfaceLaw(
    name="rosenfeld",
    formula="e_0 * |e / (e - i*e_0)|, e = c_inf + A / N^alpha + B / D^beta",
    citation="Rosenfeld et al. 2019, arXiv:1909.12673",
    names=("c_inf", "A", "B", "alpha", "beta", "e_0"),
    logs=(True, True, True, False, False, True),
    grid=(*_CHINCHILLA_GRID[:3], (0.3, 0.8), (0.3, 0.8), (0.0,)),
    log_surface=rosenfeld_surface,
)
REPEATED = SurfaceLaw(
    name="repeated",
    formula="E + A / N'^alpha + B / D'^beta, N' and D' discounted for repetition",
    citation="Muennighoff et al. 2023, arXiv:2305.16264",
    names=("E", "A", "B", "alpha", "beta", "R_D", "R_N"),
    logs=(True, True, True, False, False, True, True),
    grid=(*_CHINCHILLA_GRID[:3], (0.3, 0.8), (0.3, 0.8), (2.0,), (2.0,)),
    log_surface=repeated_surface,
)

SURFACES: dict[str, SurfaceLaw] = {
    "chinchilla": CHINCHILLA,
    "rosenfeld": ROSENFELD,
    "repeated": REPEATED,
}
