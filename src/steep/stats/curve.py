"""From rows of a table to the points of one curve: replicates pooled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steep.laws.law import Array
from steep.records import Point

GROWTHS = np.linspace(-1.0, 3.0, 33)
"""Powers of size with which the variance of a run may fall; a little rise is possible as well: the
relative noise of a count grows as it gets smaller."""
GROWTH_SPREAD = 1.0
"""Standard deviation of the power's normal prior about zero."""
SCALE = 0.01
"""Prior scale of a run's log error, worth one degree of freedom."""


@dataclass(frozen=True)
class ReplicateSpread:
    """Replicates of one size: the sum of squares of log error about their mean."""

    samples: float
    squares: float
    df: int


@dataclass(frozen=True)
class RunNoise:
    """The variance of one run's log error: ``variance`` * (samples / largest)**-``growth``."""

    variance: float
    """At the largest size of the curve."""
    df: int
    growth: float = 0.0

    def at(self, log_ratio: Array) -> Array:
        """The variance of a run at log(samples / largest), (n,)."""
        return self.variance * self.relative(log_ratio)

    def relative(self, log_ratio: Array) -> Array:
        """The same relative to that at the largest size."""
        return np.asarray(np.exp(-self.growth * log_ratio))


@dataclass(frozen=True)
class Curve:
    """The points of one learning curve, by size, with what the replicates say of the noise."""

    points: tuple[Point, ...]
    within: tuple[ReplicateSpread, ...] = ()

    @property
    def used(self) -> tuple[Point, ...]:
        return tuple(p for p in self.points if p.used)

    @property
    def run_noise(self) -> RunNoise | None:
        """What the replicates say of the noise of one run; None without any."""
        used = self.used or self.points
        return run_noise(self.within, used[-1].samples) if used else None


def curve_from_columns(columns: Mapping[str, Sequence[float]]) -> Curve:
    """Rows of 'samples' and 'error', both positive, as a curve; repeated sizes are replicates.

    'se' has the unit of 'error' and is of every row; 'parameters' may hold NaN."""
    samples, error = (np.array(columns[name], dtype=float) for name in ("samples", "error"))
    se, parameters = (
        np.array(columns[name], dtype=float) if name in columns else None
        for name in ("se", "parameters")
    )
    points: list[Point] = []
    within = []
    for size in np.unique(samples):
        rows = np.flatnonzero(samples == size)
        logs = np.log(error[rows])
        within += _within(float(size), logs)
        points.append(
            Point(
                samples=float(size),
                error=float(np.exp(logs.mean())),
                se_log=_pooled_se(se, error, rows),
                replicates=len(rows),
                parameters=_common(parameters, rows),
            )
        )
    return Curve(tuple(points), tuple(within))


class ReadCurve(Protocol):
    """A curve that was read from a table."""

    @property
    def columns(self) -> Mapping[str, Sequence[float]]: ...
    @property
    def points(self) -> tuple[Point, ...]: ...


def curve_of_table(table: ReadCurve) -> Curve:
    """The points of a study's own table as they are, else the rows of any other."""
    return curve_from_points(table.points) if table.points else curve_from_columns(table.columns)


def curve_from_points(points: tuple[Point, ...]) -> Curve:
    """Points made elsewhere, by size; used points of one size (permutations) are replicates."""
    merged = [p for p in points if not p.used]
    within: list[ReplicateSpread] = []
    for size in sorted({p.samples for p in points if p.used}):
        same = [p for p in points if p.used and p.samples == size]
        logs = np.array([p.log_best for p in same])
        within += _within(size, logs)
        regret = float(np.mean([p.regret for p in same]))
        known = [p.se_log for p in same if p.se_log is not None]
        se_log = float(np.sqrt(np.sum(np.square(known)))) / len(same) if known else None
        merged.append(
            replace(
                same[0],
                error=float(np.exp(logs.mean() + regret)) if len(same) > 1 else same[0].error,
                regret=regret,
                se_log=se_log if len(known) == len(same) else None,
                replicates=sum(p.replicates for p in same),
            )
        )
    return Curve(tuple(sorted(merged, key=lambda p: p.samples)), tuple(within))


def run_noise(within: Iterable[ReplicateSpread], largest: float) -> RunNoise | None:
    """The noise of one run as a power of size, by all replicates together.

    Of a power g in ``GROWTHS``, with x = log(samples / ``largest``), the squares of a size are
    sigma^2 exp(-g x) chi^2; sigma^2 integrated out, g is the mean of its posterior under a normal
    prior. So one more run at any size always makes the variance better known, and the noise of
    small sizes is not taken for that of large ones. None without replicates."""
    sizes = [one for one in within if one.df]
    if not sizes:
        return None
    x = np.log([one.samples / largest for one in sizes])
    squares, df = np.array([one.squares for one in sizes]), np.array([one.df for one in sizes])
    total = int(df.sum())
    if not squares.sum():  # no noise at all has no growth
        return RunNoise(0.0, total)
    at_largest = np.exp(GROWTHS[:, None] * x) @ squares
    log_posterior = 0.5 * GROWTHS * float(df @ x) - 0.5 * (GROWTHS / GROWTH_SPREAD) ** 2
    log_posterior -= 0.5 * (total + 1) * np.log(at_largest + SCALE**2)
    weight = np.exp(log_posterior - log_posterior.max())
    growth = float(weight @ GROWTHS / weight.sum())
    return RunNoise(float(np.exp(growth * x) @ squares) / total, total, growth)


def _within(samples: float, logs: Array) -> list[ReplicateSpread]:
    squares = float(np.sum((logs - logs.mean()) ** 2))
    return [ReplicateSpread(samples, squares, len(logs) - 1)] if len(logs) > 1 else []


def _pooled_se(se: Array | None, error: Array, rows: NDArray[np.intp]) -> float | None:
    if se is None:
        return None
    return float(np.sqrt(np.sum((se[rows] / error[rows]) ** 2)) / len(rows))


def _common(values: Array | None, rows: NDArray[np.intp]) -> float | None:
    if values is None or not np.isfinite(values[rows]).all():
        return None
    return float(np.exp(np.mean(np.log(values[rows]))))
