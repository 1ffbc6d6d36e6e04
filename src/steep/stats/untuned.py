"""Sweeps of runs that differ in hyperparameters: the frontier of what tuning reaches.

Rows are not replicates of the best: their regret is one-sided and long-tailed. The plane of (log N,
log D) is split into cells of about ``CELL`` rows; of each the row that lies lowest about the
current surface carries the law, and the surface is fitted again until the choice stands.
"""

from __future__ import annotations

import numpy as np

from steep.laws.law import Array, Index
from steep.stats.surface_noise import surface_noise
from steep.stats.surface_posterior import Model, Runs, off_surface, posterior

CELL = 6
"""Least number of rows of a cell, where no (N, D) is shared by several."""
ROUNDS = 8
SKEW, SCATTER = 2.0, 0.02
"""Upper over lower half of the residuals' spread, and their spread, from which on a table is
untuned."""


def best_of_cells(model: Model, runs: Runs) -> Index | None:
    """Rows that carry the frontier, sorted; None where the rows are as good as tuned."""
    places, of_place = np.unique(
        np.round(np.stack([runs.n, runs.d], axis=1), 9), axis=0, return_inverse=True
    )
    if 3 * len(places) <= len(runs):
        cells = [np.flatnonzero(of_place == k) for k in range(len(places))]
    else:
        cells = _cells(runs)
    surface = _surface(model, runs, np.arange(len(runs)))
    residual = runs.y - surface
    low, middle, high = np.quantile(residual, [0.1, 0.5, 0.9])
    if high - low < SCATTER or high - middle < SKEW * (middle - low):
        return None
    chosen = np.arange(0)
    for _ in range(ROUNDS):
        best = np.sort([cell[np.argmin(residual[cell])] for cell in cells])
        if np.array_equal(best, chosen):
            break
        chosen = best
        residual = runs.y - _surface(model, runs, chosen)
    return chosen


def _cells(runs: Runs) -> list[Index]:
    """Halves of halves of the rows along the wider side, of ``CELL`` to twice as many rows."""
    found, waiting = [], [np.arange(len(runs))]
    width_n, width_d = np.ptp(runs.n), np.ptp(runs.d)
    while waiting:
        rows = waiting.pop()
        if len(rows) < 2 * CELL:
            found.append(rows)
            continue
        wider = np.ptp(runs.n[rows]) * width_d > np.ptp(runs.d[rows]) * width_n
        order = rows[np.argsort((runs.n if wider else runs.d)[rows])]
        waiting += [order[: len(order) // 2], order[len(order) // 2 :]]
    return found


def _surface(model: Model, runs: Runs, chosen: Index) -> Array:
    """Log error at all rows (rows,), of the law and its discrepancy fitted to the chosen ones."""
    some = runs.take(chosen)
    noise = surface_noise(some.n, some.d)
    found = posterior(model, some, noise)
    base = off_surface(model, some, found.mode[None])
    if base.max() > 1:
        noise = surface_noise(some.n, some.d, None, base)
        found = posterior(model, some, noise)
    z = found.mode[None]
    columns, _ = noise.at(found.structure, runs.n, runs.d)
    taken = columns @ noise.coefficients(found.structure, model.residual(z, some).T)[:, 0]
    return np.asarray(model.log_error(z, runs.n, runs.d, runs.u)[0] + taken)
