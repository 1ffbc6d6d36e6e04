"""Quantiles of mixtures of Student t distributions, and of weighted draws."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from steep.laws.law import Array

_GRID = np.concatenate(
    [-np.geomspace(400, 8, 12), np.linspace(-7.5, 7.5, 121), np.geomspace(8, 400, 12)]
)


def quantiles(centre: Array, scale: Array, df: float, levels: Array) -> Array:
    """(sizes, levels) quantiles of equally weighted t's, ``centre`` and ``scale`` (draws, sizes).

    The distribution function is computed on a grid and refined once between grid points.
    """
    table = stdtr(df, _GRID)
    spans = np.concatenate([centre - 9 * scale, centre + 9 * scale])
    low, high = spans.min(axis=0), spans.max(axis=0)
    result = np.empty((centre.shape[1], len(levels)))
    for i in range(centre.shape[1]):
        c, s = centre[:, i, None], scale[:, i, None]
        coarse = np.linspace(low[i], high[i], 96)
        # most of the mass often sits in a small part of the span: put points there as well
        middle = np.quantile(centre[:, i], np.linspace(0.02, 0.98, 48))
        width = np.median(scale[:, i])
        grid = np.unique(np.concatenate([coarse, middle, middle - width, middle + width]))
        cdf = _cdf(grid, c, s, table)
        guess = np.interp(levels, np.maximum.accumulate(cdf), grid)
        near = width * np.array([-0.2, -0.05, 0.0, 0.05, 0.2])
        more = np.setdiff1d(guess[:, None] + near, grid)
        at = np.searchsorted(grid, more)
        grid = np.insert(grid, at, more)
        cdf = np.insert(cdf, at, _cdf(more, c, s, table))
        guess = np.interp(levels, np.maximum.accumulate(cdf), grid)
        result[i] = guess
    return result


def _cdf(at: Array, centre: Array, scale: Array, table: Array) -> Array:
    """(places,) of the mixture, ``centre`` and ``scale`` (draws, 1)."""
    return np.asarray(np.interp((at[None, :] - centre) / scale, _GRID, table).mean(axis=0))


def systematic(weight: Array, count: int) -> Array:
    """Indices of ``count`` equally weighted draws from ``weight``: even spacing, no randomness."""
    edges = np.cumsum(weight)
    return np.minimum(
        np.searchsorted(edges, (np.arange(count) + 0.5) / count * edges[-1]), len(weight) - 1
    )
