"""Where falling curves meet an error, and what their draws say together: reached, and from where.

A draw that never gets there meets the error at infinity. What it did before the smallest size that
was measured nobody knows: one that is below the error there has met it at that size, or before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steep.laws.law import Array
from steep.records import (
    ALREADY_MET,
    ALREADY_REACHED,
    BEYOND_REACH,
    NOT_REACHABLE,
    PERHAPS_NOT,
    Interval,
)

FARTHEST = 1e6
"""Times the largest size: farther out, a needed number of samples is only 'beyond reach'."""
NEAR = 1e-9
"""Relative difference below which a place is the smallest size."""


@dataclass(frozen=True)
class TargetCrossing:
    """Where the draws meet an error, as in ``records.RequiredSamples``."""

    outcome: str
    samples: Interval
    smallest: float | None
    factor: float | None
    unreachable: float


def best_fit_sizes(
    log_m: Array,
    size_draws: Sequence[tuple[float, float]],
    center: float,
    smallest: float = 0.0,
    here: float = -np.inf,
) -> Array:
    """Log parameters of the best model at each draw's log m, (draws,) or (draws, places).

    Draws of the size law, (log parameters at ``center``, exponent), are independent of the curve's:
    they are paired by a fixed shuffle, each used about equally often. From ``here`` on, the log of
    the data at hand, no model is smaller than the ``smallest`` adequate one there."""
    order = np.random.default_rng(20171201).permutation(max(len(size_draws), len(log_m)))
    level, slope = np.array(size_draws)[order[: len(log_m)] % len(size_draws)].T
    if log_m.ndim == 2:
        level, slope = level[:, None], slope[:, None]
    with np.errstate(invalid="ignore"):
        log_p = level + slope * (log_m - center)
    least = np.log(max(smallest, 1.0))
    return np.where(log_m >= here, np.maximum(log_p, least), log_p)


def first_crossings(curves: Array, log_m: Array, error: float, smallest: float | None) -> Array:
    """Per draw of ``curves``, log error (draws, places) at ``log_m``, where it falls to ``error``:
    log m, from the ``smallest`` size on; inf for never."""
    goal, first = np.log(error), -np.inf if smallest is None else np.log(smallest)
    below = (curves <= goal) & (log_m >= first)
    at = np.argmax(below, axis=1)
    before = np.maximum(at - 1, 0)
    rows = np.arange(len(curves))
    high, low = curves[rows, before], curves[rows, at]
    share = np.where(high > low, (high - goal) / np.maximum(high - low, 1e-300), 0.0)
    place = log_m[before] + np.clip(share, 0.0, 1.0) * (log_m[at] - log_m[before])
    return np.where(below.any(axis=1), np.maximum(place, first), np.inf)


def reachable(log_m: Array, largest: float | None) -> NDArray[np.bool_]:
    """Which of the places ``log_m`` lie within ``FARTHEST`` times the ``largest`` size, if any."""
    farthest = np.inf if largest is None else np.log(largest * FARTHEST)
    return np.isfinite(log_m) & (log_m <= farthest)


def target_crossing(
    log_m: Array, level: float, smallest: float | None, largest: float | None
) -> TargetCrossing:
    """What the places ``log_m`` (draws,) say together at ``level``, of a curve that was measured
    from ``smallest`` to ``largest`` samples; None where it was not measured."""
    unreachable = float(np.mean(np.isinf(log_m)))

    def size(place: Array) -> float | None:
        if not reachable(place, largest):
            return None
        m = float(np.exp(place))
        return smallest if smallest is not None and m <= smallest * (1 + NEAR) else m

    ends = [0.5, 0.5 - level / 2, 0.5 + level / 2]
    middle, lower, upper = map(size, np.quantile(log_m, ends, method="inverted_cdf"))
    if middle is None:
        outcome = BEYOND_REACH
        if unreachable > 0.5:
            outcome = NOT_REACHABLE if unreachable >= level else PERHAPS_NOT
        return TargetCrossing(outcome, Interval(None, lower, None, level), None, None, unreachable)
    outcome = "ok" if largest is None or middle > largest else ALREADY_REACHED
    factor = None if largest is None else middle / largest
    if smallest is None or lower != smallest:
        found = Interval(middle, lower, upper, level)
        return TargetCrossing(outcome, found, None, factor, unreachable)
    outcome = ALREADY_MET if middle == smallest else outcome
    return TargetCrossing(
        outcome, Interval(middle, None, upper, level), smallest, factor, unreachable
    )
