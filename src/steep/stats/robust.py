"""Huber regression of a nonlinear function, many problems at once.

Iteratively reweighted Gauss-Newton with Levenberg's damping: a residual beyond ``delta`` gets the
weight delta / |residual| (Huber 1964), and a step is taken only where the summed loss falls. The
*sum* of losses is minimised: with the mean a small ``delta`` makes the objective so flat that
optimisers stop early (Besiroglu et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steep.laws.law import Array

Predict = Callable[[Array], Array]
"""(problems, parameters) -> (problems, points)."""


def huber(residual: Array, delta: float) -> Array:
    """Huber's loss, elementwise: quadratic within ``delta``, linear beyond."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


def huber_fit(
    predict: Predict,
    target: Array,
    start: Array,
    delta: float,
    counts: Array | None = None,
    iterations: int = 200,
    tolerance: float = 1e-10,
) -> tuple[Array, Array]:
    """Parameters (problems, parameters) and summed losses (problems,) from each ``start``.

    ``target`` (points,) is what ``predict`` should give; ``counts`` (problems, points) says how
    often a point counts in a problem (a bootstrap's multiplicities).
    """
    x = start.copy()
    often = np.ones((len(x), len(target))) if counts is None else counts
    residual = _finite(predict(x) - target)
    loss = np.sum(often * huber(residual, delta), axis=1)
    damping = np.full(len(x), 1e-2)
    calm = np.zeros(len(x), int)
    for _ in range(iterations):
        live = np.flatnonzero((calm < 4) & (damping < 1e10))
        if len(live) == 0:
            break
        weight = often[live] * np.minimum(1.0, delta / np.maximum(np.abs(residual[live]), 1e-300))
        slope = _slope(predict, x[live])
        weighted = slope * weight[:, :, None]
        normal = np.swapaxes(weighted, 1, 2) @ slope
        gradient = np.einsum("bnp,bn->bp", weighted, residual[live])
        diagonal = np.maximum(np.einsum("bpp->bp", normal), 1e-300)
        index = np.arange(x.shape[1])
        normal[:, index, index] += damping[live][:, None] * diagonal + 1e-300
        step = -np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        step = np.clip(step, -2.0, 2.0)
        trial = x[live] + step
        fresh = _finite(predict(trial) - target)
        trial_loss = np.sum(often[live] * huber(fresh, delta), axis=1)
        better = trial_loss <= loss[live]
        gain = (loss[live] - trial_loss) / np.maximum(loss[live], 1e-300)
        damping[live] = np.maximum(np.where(better, damping[live] / 5, damping[live] * 4), 1e-12)
        calm[live] = np.where(better & (gain < tolerance), calm[live] + 1, 0)
        moved = live[better]
        x[moved], residual[moved], loss[moved] = trial[better], fresh[better], trial_loss[better]
    return x, loss


def _slope(predict: Predict, x: Array) -> Array:
    """Central differences, (problems, points, parameters)."""
    step = 1e-6 * np.maximum(np.abs(x), 0.1)
    columns = []
    for i in range(x.shape[1]):
        shift = np.zeros_like(x)
        shift[:, i] = step[:, i]
        difference = _finite(predict(x + shift)) - _finite(predict(x - shift))
        columns.append(difference / (2 * step[:, i, None]))
    return np.stack(columns, axis=2)


def _finite(values: Array) -> Array:
    if np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=1e6, posinf=1e6, neginf=-1e6)
