"""From rows of a table to the points of one curve: replicates pooled, bad values set aside.

The rule for values without a logarithm: a size or error that is not a finite number, or beyond
1e30, is left out with a note; a zero error, or one below 1e-30, is kept in view but not used (log 0
says only "below the resolution of the validation set"); a negative one likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steep.laws.law import Array
from steep.records import Point

LARGEST = 1e30
"""Of sizes and errors; one over it is the smallest."""


@dataclass(frozen=True)
class Curve:
    """The points of one learning curve, by size, with what the replicates say of the noise."""

    points: tuple[Point, ...]
    within_squares: float
    """Sum of squares of log error about each size's mean."""
    within_df: int
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[Point, ...]:
        return tuple(p for p in self.points if p.used)


def curve_from_arrays(
    samples: Array, error: Array, se: Array | None = None, parameters: Array | None = None
) -> Curve:
    """Rows (rows,) as a curve; repeated sizes are replicates. ``se`` has the unit of ``error``."""
    keep = (samples >= 1 / LARGEST) & (samples <= LARGEST) & (abs(error) <= LARGEST)  # NaN is not
    notes = []
    if not keep.all():
        which = ", ".join(str(i + 1) for i in np.flatnonzero(~keep)[:5])
        notes.append(
            f"rows without a finite error or a positive size, up to 1e30, are left out: {which}"
        )
    points: list[Point] = []
    squares, df = 0.0, 0
    for size in np.unique(samples[keep]):
        rows = np.flatnonzero(keep & (samples == size))
        bad = rows[error[rows] < 1 / LARGEST]
        if len(bad):
            reason = "negative" if np.any(error[bad] < 0) else "zero"
            value = float(error[rows].mean())
            points.append(Point(float(size), value, used=False, reason=reason))
            notes.append("a zero or negative error has no logarithm: that size is not used")
            continue
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
    return Curve(tuple(points), squares, df, tuple(dict.fromkeys(notes)))


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
    if se is None or not np.all(np.isfinite(se[rows]) & (se[rows] > 0)):
        return None
    return float(np.sqrt(np.sum((se[rows] / error[rows]) ** 2)) / len(rows))


def _common(values: Array | None, rows: NDArray[np.intp]) -> float | None:
    if values is None or not np.isfinite(values[rows]).all():
        return None
    return float(np.exp(np.mean(np.log(values[rows]))))
