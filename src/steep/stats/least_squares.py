"""Bounded nonlinear least squares on many small problems at once.

Levenberg-Marquardt with Marquardt's scaling, run on a batch of problems that share their data
and differ in start and in which parameters are held: the starts of one fit, or all the points
of a profile likelihood, cost about as much as one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steep.laws.law import Array

Flags = NDArray[np.bool_]

Residuals = Callable[[Array], Array]
"""(problems, parameters) -> (problems, points)."""


DETERMINED = 1e-10
"""Eigenvalue of the parameters' correlation form (Belsley, Kuh and Welsch 1980) below which points
do not separate the parameters. Of curves with 4 to 12 points it is above 1e-8 where they do and
below 1e-12 where they do not; rounding decides nothing."""
LOST = 60
"""Iterations after which a problem that is in such a place is left there."""


@dataclass(frozen=True)
class Minimum:
    """Where each problem ended, (problems, ...)."""

    parameters: Array
    squares: Array
    """(problems,), sums of squared residuals."""
    converged: Flags
    """(problems,)"""
    determined: Flags
    """(problems,), whether the points determine all parameters that bounds leave free."""


def jacobian(
    residuals: Residuals, at: Array, lower: Array, upper: Array, scale: Array | float = 1e-3
) -> Array:
    """Central differences, (problems, points, parameters); one-sided at a bound.

    ``scale`` (parameters,) is how far a parameter must move to matter, where it is near zero.
    """
    problems, count = at.shape
    step = 6e-6 * np.maximum(np.abs(at), 0.05 * scale)
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
    held: Flags | None = None,
    scale: Array | float = 1e-3,
    iterations: int = 300,
    tolerance: float = 1e-11,
    noise: float = 0.0,
) -> Minimum:
    """Least squares from each row of ``start`` (problems, parameters), within bounds (parameters,).

    ``held`` (problems, parameters) of bool marks what keeps its starting value; ``scale`` is that
    of ``jacobian``. A problem has converged when what its linear approximation has still to gain,
    in all directions that bounds leave open and points determine, is less than ``tolerance`` of its
    sum of squares and ``noise`` (Bates and Watts 1981): each parameter is then right to the root of
    that, in standard errors, whatever path led there.
    """
    x = np.clip(start, lower, upper).astype(float)
    held = np.zeros(x.shape, bool) if held is None else held
    r = _finite(residuals(x))
    squares = np.einsum("bn,bn->b", r, r)
    damping = np.full(len(x), 1e-3)
    done = np.zeros(len(x), bool)
    least = np.ones(len(x))
    for count in range(iterations):
        active = np.flatnonzero(~done & (damping < 1e12) & ((least > DETERMINED) | (count < LOST)))
        if len(active) == 0:
            break
        xa, ra, now = x[active], r[active], squares[active]
        j = _finite(jacobian(lambda p: _finite(residuals(p)), xa, lower, upper, scale))
        gradient = np.einsum("bnp,bn->bp", j, ra)
        fixed = held[active] | ((xa <= lower) & (gradient > 0)) | ((xa >= upper) & (gradient < 0))
        normal = np.einsum("bnp,bnq->bpq", j, j)
        to_gain, least[active] = _gain(normal, gradient, fixed)
        down, up = lower - xa, upper - xa
        step = _step_within(normal, gradient, fixed, damping[active], down, up)
        expected = -2 * np.sum(gradient * step, axis=1)
        expected -= np.einsum("bp,bpq,bq->b", step, normal, step)
        bent = _bent(residuals, xa, ra, j, normal, step, fixed, damping[active])
        step = np.clip(step + bent, down, up)
        trial = np.where(step <= down, lower, np.where(step >= up, upper, xa + step))
        r_trial = _finite(residuals(trial))
        s_trial = np.einsum("bn,bn->b", r_trial, r_trial)
        # near the minimum a gain is smaller than the rounding of the squares
        better = s_trial <= now * (1 + 1e-13)
        good = better & (now * (1 + 1e-13) - s_trial >= 0.25 * expected)
        change = np.where(good, 1 / 8, np.where(better, 1.0, 6.0))
        damping[active] = np.maximum(damping[active] * change, 1e-14)
        moved = active[better]
        x[moved], r[moved], squares[moved] = trial[better], r_trial[better], s_trial[better]
        still = np.all(np.abs(step) <= 1e-12 * (np.abs(xa) + 1e-3 * scale), axis=1) & better
        done[active] = (to_gain <= tolerance * (now + noise)) | still | (s_trial == 0)
    return Minimum(x, squares, done, least > DETERMINED)


def _gain(normal: Array, gradient: Array, fixed: Flags) -> tuple[Array, Array]:
    """By how much the squares of the linear approximation can fall in directions that are
    determined, and the smallest eigenvalue; both (problems,)."""
    matrix, scale = _correlation_form(normal, fixed)
    value, vector = np.linalg.eigh(matrix)
    along = np.einsum("bpk,bp->bk", vector, np.where(fixed, 0.0, gradient) / scale)
    gain = np.where(value > DETERMINED, along**2 / np.maximum(value, DETERMINED), 0.0)
    return np.asarray(gain.sum(axis=1)), value[:, 0]


def _step_within(
    normal: Array, gradient: Array, fixed: Flags, damping: Array, down: Array, up: Array
) -> Array:
    """The damped step between ``down`` and ``up`` (problems, parameters): what would cross a bound
    ends there, and the others are stepped anew."""
    step = np.zeros(gradient.shape)
    fixed = fixed.copy()
    for _ in range(gradient.shape[1]):
        matrix, scale = _correlation_form(normal, fixed)
        index = np.arange(gradient.shape[1])
        matrix[:, index, index] += np.where(fixed, 0.0, damping[:, None] + 1e-15)
        here = np.where(fixed, 0.0, gradient + np.einsum("bpq,bq->bp", normal, step)) / scale
        free = -np.linalg.solve(matrix, here[:, :, None])[:, :, 0] / scale
        crossing = ~fixed & ((free < down) | (free > up))
        if not crossing.any():
            return np.where(fixed, step, free)
        step = np.where(crossing, np.clip(free, down, up), step)
        fixed |= crossing
    return step


SECOND = 0.1
"""Of a step: where the curvature along it is taken."""
STRAIGHT = 0.75
"""The largest bend of a step, relative to it: beyond, the expansion does not hold."""


def _bent(
    residuals: Residuals,
    x: Array,
    r: Array,
    j: Array,
    normal: Array,
    step: Array,
    fixed: Flags,
    damping: Array,
) -> Array:
    """What curvature adds to ``step``, so that it follows a valley that bends: the geodesic
    acceleration of Transtrum and Sethna 2012 (arXiv:1201.5885)."""
    ahead = _finite(residuals(x + SECOND * step))
    second = ((ahead - r) / SECOND - np.einsum("bnp,bp->bn", j, step)) * (2 / SECOND)
    matrix, scale = _correlation_form(normal, fixed)
    index = np.arange(x.shape[1])
    matrix[:, index, index] += np.where(fixed, 0.0, damping[:, None] + 1e-15)
    gradient = np.where(fixed, 0.0, np.einsum("bnp,bn->bp", j, second)) / scale
    bend = -0.5 * np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0] / scale
    long = np.sqrt(np.sum((step * scale) ** 2, axis=1))
    small = 2 * np.sqrt(np.sum((bend * scale) ** 2, axis=1)) <= STRAIGHT * long
    return np.where(small[:, None], bend, 0.0)


def _correlation_form(normal: Array, fixed: Flags) -> tuple[Array, Array]:
    """``normal`` with ones on its diagonal, and by what its parameters were divided: alpha and
    beta_g of a power law differ by many orders of magnitude. Rows of what is fixed are those of the
    identity."""
    diagonal = np.einsum("bpp->bp", normal)
    scale = np.where(fixed | (diagonal <= 0), 1.0, np.sqrt(np.maximum(diagonal, 1e-300)))
    free = (~fixed)[:, :, None] & (~fixed)[:, None, :]
    matrix = np.where(free, normal / (scale[:, :, None] * scale[:, None, :]), 0.0)
    index = np.arange(normal.shape[1])
    matrix[:, index, index] = np.where(fixed | (diagonal <= 0), 1.0, matrix[:, index, index])
    return matrix, scale


def _finite(values: Array) -> Array:
    if np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=1e10, posinf=1e10, neginf=-1e10)


def covariance(
    residuals: Residuals, at: Array, lower: Array, upper: Array, scale: Array | float = 1e-3
) -> Array:
    """(J'J)^-1 at one minimum ``at`` (parameters,), to be multiplied by the variance."""
    j = jacobian(residuals, at[None, :], lower, upper, scale)[0]
    scale = np.sqrt(np.maximum(np.einsum("np,np->p", j, j), 1e-300))
    normal = (j / scale).T @ (j / scale)
    return np.linalg.pinv(normal, hermitian=True) / np.outer(scale, scale)
