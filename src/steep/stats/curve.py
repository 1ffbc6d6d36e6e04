"""From rows of a table to the points of one curve: replicates pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steep.laws.law import Array
from steep.records import Point


@dataclass(frozen=True)
class Curve:
    """The points of one learning curve, by size, with what the replicates say of the noise."""

    points: tuple[Point, ...]
    within_squares: float
    """Sum of squares of log error about each size's mean."""
    within_df: int

    @property
    def used(self) -> tuple[Point, ...]:
        return tuple(p for p in self.points if p.used)


def curve_from_columns(columns: Mapping[str, Sequence[float]]) -> Curve:
    """Rows of 'samples' and 'error', both positive, as a curve; repeated sizes are replicates.

    'se' has the unit of 'error' and is of every row; 'parameters' may hold NaN."""
    samples, error = (np.array(columns[name], dtype=float) for name in ("samples", "error"))
    se, parameters = (
        np.array(columns[name], dtype=float) if name in columns else None
        for name in ("se", "parameters")
    )
    points: list[Point] = []
    squares, df = 0.0, 0
    for size in np.unique(samples):
        rows = np.flatnonzero(samples == size)
        logs = np.log(error[rows])
        squares += float(np.sum((logs - logs.mean()) ** 2))
        df += len(rows) - 1
        points.append(
            Point(
                samples=float(size),
                error=float(np.exp(logs.mean())),
                se_log=_pooled_se(se, error, rows),
                replicates=len(rows),
                parameters=_common(parameters, rows),
            )
        )
    return Curve(tuple(points), squares, df)


def curve_from_points(points: tuple[Point, ...]) -> Curve:
    """Points made elsewhere, by size; used points of one size (permutations) are replicates."""
    merged = [p for p in points if not p.used]
    squares, df = 0.0, 0
    for size in sorted({p.samples for p in points if p.used}):
        same = [p for p in points if p.used and p.samples == size]
        logs = np.log([p.error for p in same])
        squares += float(np.sum((logs - logs.mean()) ** 2))
        df += len(same) - 1
        known = [p.se_log for p in same if p.se_log is not None]
        se_log = float(np.sqrt(np.sum(np.square(known)))) / len(same) if known else None
        merged.append(
            replace(
                same[0],
                error=float(np.exp(logs.mean())) if len(same) > 1 else same[0].error,
                se_log=se_log if len(known) == len(same) else None,
                replicates=sum(p.replicates for p in same),
            )
        )
    return Curve(tuple(sorted(merged, key=lambda p: p.samples)), squares, df)


def _pooled_se(se: Array | None, error: Array, rows: NDArray[np.intp]) -> float | None:
    if se is None:
        return None
    return float(np.sqrt(np.sum((se[rows] / error[rows]) ** 2)) / len(rows))


def _common(values: Array | None, rows: NDArray[np.intp]) -> float | None:
    if values is None or not np.isfinite(values[rows]).all():
        return None
    return float(np.exp(np.mean(np.log(values[rows]))))
