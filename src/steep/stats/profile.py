"""One law, fitted: maximum likelihood and profile-likelihood intervals of natural parameters.

The scale of the noise is estimated, so the likelihood ratio of a fixed parameter is referred to
t squared on the residual degrees of freedom (Bates and Watts 1988, section 6.1), which is exact for
a linear model and a good approximation where the profile is curved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from steep.laws.law import Array, Law
from steep.stats.least_squares import Residuals, covariance, minimise

STEPS = np.array([0.5, 0.9, 1.3, 2.5, 10.0])
"""Where a profile is looked at, in multiples of the expected half-width of the interval."""

LOWER = 0.01
"""Of the rise that makes a limit: a profile that falls by so much has found a better fit."""
TOLERANCE = 1e-9
"""Of the sum of squares: a parameter is then right to 3e-5 of its standard error."""


@dataclass(frozen=True)
class Fitted:
    """One law's best fit in natural parameters."""

    parameters: Array
    lower: Array
    upper: Array
    """Interval limits, NaN where none was asked for or the profile never rises."""
    squares: float
    converged: bool
    at_bound: tuple[str, ...]


def _to_search(law: Law, natural: Array) -> Array:
    logs = np.array([s == "log" for s in law.scales])
    return np.where(logs, np.log(np.maximum(natural, 1e-300)), natural)


def _to_natural(law: Law, search: Array) -> Array:
    natural = np.array(search)
    logs = [i for i, scale in enumerate(law.scales) if scale == "log"]
    natural[..., logs] = np.exp(np.minimum(np.maximum(natural[..., logs], -690.0), 690.0))
    return natural


def _residuals(law: Law, samples: Array, log_error: Array, whiten: Array) -> Residuals:
    def residuals(search: Array) -> Array:
        natural = _to_natural(law, search)
        with np.errstate(all="ignore"):
            curve = law.curve(samples[None, :], *natural.T[:, :, None])
            return (np.log(np.maximum(curve, 1e-300)) - log_error) @ whiten.T

    return residuals


def fit_law(
    law: Law,
    samples: Array,
    log_error: Array,
    whiten: Array,
    starts: Array,
    extra_squares: float,
    df: float,
    level: float | None,
    iterations: int = 60,
) -> Fitted:
    """Maximum likelihood from ``starts`` (problems, natural), with intervals at ``level``.

    ``whiten`` (n, n) makes the noise unit up to its scale. ``extra_squares`` is what replicates
    and prior add to the residual sum of squares, ``df`` the degrees of freedom of the total. A
    fit that has not converged has no intervals: a profile about no minimum is too narrow.
    """
    residuals = _residuals(law, samples, log_error, whiten)
    lower = _to_search(law, np.array(law.lower, float))
    upper = _to_search(law, np.array(law.upper, float))
    found = minimise(
        residuals, _to_search(law, starts), lower, upper, iterations=iterations, tolerance=TOLERANCE
    )
    best = int(np.argmin(found.squares))
    x, squares = found.parameters[best], float(found.squares[best])
    converged = bool(found.converged[best])
    limits = np.full((2, len(x)), np.nan)
    if level is not None and df > 0 and converged:
        cutoff = (squares + extra_squares) * stdtrit(df, 0.5 + level / 2) ** 2 / df
        limits, converged = _profile(residuals, x, squares, cutoff, lower, upper)
    names = tuple(
        name
        for i, name in enumerate(law.names)
        if (np.isfinite(lower[i]) and abs(x[i] - lower[i]) <= 1e-9)
        or (np.isfinite(upper[i]) and abs(x[i] - upper[i]) <= 1e-9)
    )
    return Fitted(
        parameters=_to_natural(law, x),
        lower=_to_natural(law, limits[0]),
        upper=_to_natural(law, limits[1]),
        squares=squares,
        converged=converged,
        at_bound=names,
    )


def _profile(
    residuals: Residuals, x: Array, squares: float, cutoff: float, lower: Array, upper: Array
) -> tuple[Array, bool]:
    """(2, parameters) limits at which the profiled sum of squares rises by ``cutoff``, and whether
    ``x`` was its minimum: where a profile falls below it there are no limits.

    All parameters, sides and steps are one batch of constrained fits; a second batch sharpens.
    """
    count = len(x)
    spread = covariance(residuals, x, lower, upper)
    se = np.sqrt(np.maximum(np.diag(spread), 1e-300) * max(cutoff, 1e-300))
    se = np.minimum(se, 0.3 * (np.abs(x) + 1.0))
    slope = spread / np.maximum(np.diag(spread), 1e-300)[None, :]
    who = np.repeat(np.arange(count), 2)
    side = np.tile([-1.0, 1.0], count)
    distance = se[who, None] * STEPS[None, :]
    rise = np.zeros((len(who), 0))
    seen = np.zeros((len(who), 0))
    for _ in range(2):
        ahead = _rises(residuals, x, squares, who, side[:, None] * distance, slope, lower, upper)
        if ahead.min() < -LOWER * cutoff:
            return np.full((2, count), np.nan), False
        ahead = np.maximum(ahead, 0.0)
        seen = np.concatenate([seen, distance], axis=1)
        rise = np.concatenate([rise, ahead], axis=1)
        near = np.array([_crossing(seen[i], rise[i], cutoff) for i in range(len(who))])
        distance = np.where(np.isfinite(near), near, se[who] * 60.0)[:, None] * [0.985, 1.015]
    limit = x[who] + side * near
    limit = np.clip(limit, lower[who], upper[who])
    # an infinite crossing leaves the bound itself when there is one, else nothing
    limit = np.where(np.isfinite(limit), limit, np.nan)
    return limit.reshape(count, 2).T, True


def _rises(
    residuals: Residuals,
    x: Array,
    squares: float,
    who: NDArray[np.intp],
    offset: Array,
    slope: Array,
    lower: Array,
    upper: Array,
) -> Array:
    """Rise of the profiled sum of squares with parameter ``who`` moved by ``offset``."""
    sides, steps = offset.shape
    owner = np.repeat(who, steps)
    moved = np.clip(x[owner] + offset.ravel(), lower[owner], upper[owner])
    start = x[None, :] + slope[:, owner].T * (moved - x[owner])[:, None]
    rows = np.arange(len(owner))
    start[rows, owner] = moved
    held = np.zeros(start.shape, bool)
    held[rows, owner] = True
    found = minimise(residuals, start, lower, upper, held, iterations=60, tolerance=1e-6)
    rise = found.squares - squares
    # beyond a bound there is nothing: the profile stays where the bound left it
    return rise.reshape(sides, steps)


def _crossing(distance: Array, rise: Array, cutoff: float) -> float:
    """Distance at which the rise meets ``cutoff``, on the nearly linear root; inf if never."""
    order = np.argsort(distance)
    d = np.concatenate([[0.0], distance[order]])
    root = np.concatenate([[0.0], np.sqrt(rise[order])])
    target = cutoff**0.5
    above = np.flatnonzero(root >= target)
    if len(above) == 0:
        return float("inf")
    i = above[0]
    return float(d[i - 1] + (d[i] - d[i - 1]) * (target - root[i - 1]) / (root[i] - root[i - 1]))
