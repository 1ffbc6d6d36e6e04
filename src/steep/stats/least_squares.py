"""Bounded nonlinear least squares on many small problems at once.

Levenberg-Marquardt with Marquardt's scaling, run on a batch of problems that share their data
and differ in start and in which parameters are held: the starts of one fit, or all the points
of a profile likelihood, cost about as much as one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steep.laws.law import Array

Residuals = Callable[[Array], Array]
"""(problems, parameters) -> (problems, points)."""


@dataclass(frozen=True)
class Minimum:
    """Where each problem ended, (problems, ...)."""

    parameters: Array
    squares: Array
    """(problems,), sums of squared residuals."""
    converged: Array
    """(problems,) of bool."""


def jacobian(residuals: Residuals, at: Array, lower: Array, upper: Array) -> Array:
    """Central differences, (problems, points, parameters); one-sided at a bound."""
    problems, count = at.shape
    step = 6e-6 * np.maximum(np.abs(at), 1e-4)
    ahead = np.repeat(at[:, None, :], count, axis=1)
    behind = ahead.copy()
    index = np.arange(count)
    ahead[:, index, index] = np.minimum(at + step, upper)
    behind[:, index, index] = np.maximum(at - step, lower)
    width = ahead[:, index, index] - behind[:, index, index]
    stacked = np.concatenate([ahead, behind]).reshape(-1, count)
    values = residuals(stacked).reshape(2, problems, count, -1)
    return np.moveaxis((values[0] - values[1]) / np.maximum(width, 1e-300)[:, :, None], 1, 2)


def minimise(
    residuals: Residuals,
    start: Array,
    lower: Array,
    upper: Array,
    held: Array | None = None,
    iterations: int = 100,
    tolerance: float = 1e-12,
) -> Minimum:
    """Least squares from each row of ``start`` (problems, parameters), within bounds (parameters,).

    ``held`` (problems, parameters) of bool marks what keeps its starting value. A problem has
    converged when a step changes its sum of squares by less than ``tolerance`` of it and its
    gradient vanishes to rounding, in the directions that the bounds leave open.
    """
    x = np.clip(start, lower, upper).astype(float)
    held = np.zeros(x.shape, bool) if held is None else held
    r = _finite(residuals(x))
    squares = np.einsum("bn,bn->b", r, r)
    damping = np.full(len(x), 1e-3)
    done = np.zeros(len(x), bool)
    small = np.zeros(len(x), int)
    for _ in range(iterations):
        active = np.flatnonzero(~done)
        if len(active) == 0:
            break
        xa, ra = x[active], r[active]
        j = _finite(jacobian(lambda p: _finite(residuals(p)), xa, lower, upper))
        gradient = np.einsum("bnp,bn->bp", j, ra)
        fixed = held[active] | ((xa <= lower) & (gradient > 0)) | ((xa >= upper) & (gradient < 0))
        j = np.where(fixed[:, None, :], 0.0, j)
        gradient = np.where(fixed, 0.0, gradient)
        step = _damped_step(j, gradient, fixed, damping[active])
        trial = np.clip(xa + step, lower, upper)
        r_trial = _finite(residuals(trial))
        s_trial = np.einsum("bn,bn->b", r_trial, r_trial)
        s_now = squares[active]
        better = s_trial <= s_now
        gain = s_now - s_trial
        damping[active] = np.where(better, damping[active] / 8, damping[active] * 6)
        damping[active] = np.clip(damping[active], 1e-14, 1e14)
        moved = active[better]
        x[moved], r[moved], squares[moved] = trial[better], r_trial[better], s_trial[better]
        tiny = np.abs(gain) <= tolerance * np.maximum(s_now, 1e-300)
        still = np.all(np.abs(step) <= 1e-11 * (np.abs(xa) + 1e-11), axis=1)
        small[active] = np.where(tiny & better, small[active] + 1, 0)
        stuck = damping[active] >= 1e12
        done[active] = (small[active] >= 2) | still | (s_trial == 0) | stuck
    return Minimum(x, squares, done)


def _damped_step(j: Array, gradient: Array, fixed: Array, damping: Array) -> Array:
    normal = np.einsum("bnp,bnq->bpq", j, j)
    diagonal = np.einsum("bpp->bp", normal)
    scale = np.where(fixed | (diagonal <= 0), 1.0, np.sqrt(np.maximum(diagonal, 1e-300)))
    # correlation form: alpha and beta_g of a power law differ by many orders of magnitude
    matrix = normal / (scale[:, :, None] * scale[:, None, :])
    index = np.arange(j.shape[2])
    matrix[:, index, index] = np.where(fixed, 1.0, matrix[:, index, index] + damping[:, None])
    matrix[:, index, index] += 1e-15
    return -np.linalg.solve(matrix, (gradient / scale)[:, :, None])[:, :, 0] / scale


def _finite(values: Array) -> Array:
    if np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=1e10, posinf=1e10, neginf=-1e10)


def covariance(residuals: Residuals, at: Array, lower: Array, upper: Array) -> Array:
    """(J'J)^-1 at one minimum ``at`` (parameters,), to be multiplied by the variance."""
    j = jacobian(residuals, at[None, :], lower, upper)[0]
    scale = np.sqrt(np.maximum(np.einsum("np,np->p", j, j), 1e-300))
    normal = (j / scale).T @ (j / scale)
    return np.linalg.pinv(normal, hermitian=True) / np.outer(scale, scale)
