"""What the draws of a fit say: their curves, their slopes, the regions they see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steep.laws import LAWS
from steep.laws.law import Array
from steep.records import Draws, Interval, Region

BENT = 0.5
"""A curve is outside its power-law region where its slope is below this share of the steepest."""


def joined(draws: Sequence[Draws], field: str) -> Array:
    """One field of all draws, (draws,)."""
    return np.concatenate([np.asarray(getattr(d, field)) for d in draws])


def log_curves(draws: Sequence[Draws], log_ratio: Array) -> Array:
    """log error of every draw's law at log(samples / reference), (sizes, draws)."""
    parts = [
        np.asarray(d.level)[None, :] + LAWS[d.law].log_shape(log_ratio, np.array(d.shape))
        for d in draws
    ]
    return np.concatenate(parts, axis=1)


def quantile_interval(values: Array, level: float) -> Interval:
    """Median and quantile range of equally weighted draws."""
    middle, lower, upper = np.quantile(values, [0.5, 0.5 - level / 2, 0.5 + level / 2]).tolist()
    return Interval(middle, lower, upper, level)


def weighted_interval(values: Array, weight: Array, level: float) -> Interval:
    """Median and limits of ``values`` (draws,) by normalised ``weight`` (draws,)."""
    order = np.argsort(values)
    middles = np.cumsum(weight[order]) - 0.5 * weight[order]
    ends = [0.5, 0.5 - level / 2, 0.5 + level / 2]
    middle, lower, upper = np.interp(ends, middles, values[order]).tolist()
    return Interval(middle, lower, upper, level)


def regions(draws: Sequence[Draws], samples: Array, level: float) -> tuple[Region, ...]:
    """Small-data, power-law and irreducible parts of the curve over ``samples`` (n,), sorted.

    Each draw's curve is in its power-law region where its local slope is at least half of its
    steepest within the points. The spread of the boundaries over the draws is their uncertainty;
    a region's probability is the share of draws that see it within the points.
    """
    reference = float(samples[-1])
    log_ratio = np.linspace(np.log(samples[0] / reference), 0.0, 60)
    curves = log_curves(draws, log_ratio)
    slope = -np.diff(curves, axis=0)
    middle = 0.5 * (log_ratio[1:] + log_ratio[:-1])
    steep = slope >= BENT * slope.max(axis=0)
    first = np.argmax(steep, axis=0)
    last = len(middle) - 1 - np.argmax(steep[::-1], axis=0)
    early, late = first > 0, last < len(middle) - 1
    start = _boundary(middle[first[early]], early, reference, level)
    end = _boundary(middle[last[late]], late, reference, level)
    low = start.value if start is not None and start.value is not None else 0.0
    high = end.value if end is not None and end.value is not None else np.inf
    before, after = float(early.mean()), float(late.mean())
    inside = int(np.sum((samples >= low * (before >= 0.5)) & (samples <= _open(high, after))))
    return (
        Region("small-data", None, start, int(np.sum(samples < low * (before >= 0.5))), before),
        Region("power-law", start, end, inside, 1.0),
        Region("irreducible-error", end, None, int(np.sum(samples > _open(high, after))), after),
    )


def _open(high: float, probability: float) -> float:
    return high if probability >= 0.5 else float("inf")


def _boundary(log_ratio: Array, seen: Array, reference: float, level: float) -> Interval | None:
    """The boundary among the draws that see one; None when hardly any does."""
    if seen.mean() < 0.05:
        return None
    return quantile_interval(reference * np.exp(log_ratio), level)
