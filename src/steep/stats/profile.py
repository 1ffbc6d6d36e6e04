"""One law, fitted: maximum likelihood and profile-likelihood intervals of natural parameters.

The scale of the noise is estimated, so the likelihood ratio of a fixed parameter is referred to
t squared on the residual degrees of freedom (Bates and Watts 1988, section 6.1), which is exact for
a linear model and a good approximation where the profile is curved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from steep.laws.law import Array, Law
from steep.stats.least_squares import Residuals, covariance, minimise

LOWER = 1e-6
"""Of the rise that makes a limit: a profile that falls by so much has found a better fit."""
AGAIN = 5
"""How often such a better fit is taken as the start of another."""
QUICK = 50
"""Iterations of all starts; the best of them goes on where it has not converged."""
WALL, SHORTER = 4.0, 8
"""A rise of so many times that of a limit is looked at again, at half of the distance from the last
place, so often."""
FARTHEST = 60.0
"""Half-widths of the expected interval within which a limit is looked for."""
OPEN = np.log(1e9)
"""Distance in logs from which on an upper limit of a positive parameter says nothing."""
NEARER = (0.02, 1e-3, 1e-3)
"""Relative distances to both sides at which a crossing is bracketed, one after the other."""


@dataclass(frozen=True)
class Fitted:
    """One law's best fit in natural parameters."""

    parameters: Array
    lower: Array
    upper: Array
    """Interval limits, NaN where none was requested or the profile never rises."""
    squares: float
    converged: bool
    at_bound: tuple[str, ...]


@dataclass(frozen=True)
class _Search:
    """Where parameters are searched for: logs, and multiples of what they are a priori, so that a
    floor in percent and an onset in millions of samples are numbers of the same size."""

    law: Law
    logs: NDArray[np.bool_]
    unit: Array
    lower: Array
    upper: Array

    @classmethod
    def of(cls, law: Law, samples: Array, log_error: Array) -> _Search:
        logs = np.array([scale == "log" for scale in law.scales])
        unit = np.where(logs, 1.0, np.abs(law.guess(samples, np.exp(log_error))))
        found = cls(law, logs, unit, np.empty(0), np.empty(0))
        lower, upper = (found.from_natural(np.array(v, float)) for v in (law.lower, law.upper))
        return replace(found, lower=lower, upper=upper)

    def from_natural(self, natural: Array) -> Array:
        return np.where(self.logs, np.log(np.maximum(natural, 1e-300)), natural / self.unit)

    def natural(self, search: Array) -> Array:
        logs = np.exp(np.clip(np.where(self.logs, search, 0.0), -690.0, 690.0))
        return np.where(self.logs, logs, search * self.unit)


def _residuals(search: _Search, samples: Array, log_error: Array, whiten: Array) -> Residuals:
    def residuals(at: Array) -> Array:
        natural = search.natural(at)
        with np.errstate(all="ignore"):
            curve = search.law.curve(samples[None, :], *natural.T[:, :, None])
            return (np.log(np.maximum(curve, 1e-300)) - log_error) @ whiten.T

    return residuals


def fit_law(
    law: Law,
    samples: Array,
    log_error: Array,
    whiten: Array,
    starts: Array,
    extra_squares: float,
    df: float,
    level: float | None,
) -> Fitted:
    """Maximum likelihood from ``starts`` (problems, natural), with intervals at ``level``.

    ``whiten`` (n, n) makes the noise unit up to its scale. ``extra_squares`` is what replicates
    and prior add to the residual sum of squares, ``df`` the degrees of freedom of the total. A
    fit that has not converged has no intervals: a profile about no minimum is too narrow.
    """
    search = _Search.of(law, samples, log_error)
    lower, upper = search.lower, search.upper
    residuals = _residuals(search, samples, log_error, whiten)
    begin = search.from_natural(starts)
    for _ in range(AGAIN):
        found = minimise(
            residuals, begin, lower, upper, scale=1.0, iterations=QUICK, noise=extra_squares
        )
        best = int(np.argmin(found.squares))
        if not found.converged[best]:
            begin = found.parameters[best : best + 1]
            found = minimise(residuals, begin, lower, upper, scale=1.0, noise=extra_squares)
            best = 0
        x, squares = found.parameters[best], float(found.squares[best])
        converged = bool(found.converged[best] & found.determined[best])
        limits = np.full((2, len(x)), np.nan)
        if level is None or df <= 0 or not converged:
            break
        cutoff = (squares + extra_squares) * stdtrit(df, 0.5 + level / 2) ** 2 / df
        limits, lowest, better = _profile(
            residuals, x, squares, cutoff, lower, upper, extra_squares
        )
        if lowest >= -LOWER * cutoff:
            break
        begin, converged = better[None, :], False
    # beyond that a power of the samples at its own bound is all that holds it: it is open
    limits[1] = np.where(search.logs & (limits[1] - x > OPEN), np.nan, limits[1])
    names = tuple(name for i, name in enumerate(law.names) if x[i] == lower[i] or x[i] == upper[i])
    return Fitted(
        parameters=search.natural(x),
        lower=search.natural(limits[0]),
        upper=search.natural(limits[1]),
        squares=squares,
        converged=converged,
        at_bound=names,
    )


def _profile(
    residuals: Residuals,
    x: Array,
    squares: float,
    cutoff: float,
    lower: Array,
    upper: Array,
    noise: float,
) -> tuple[Array, float, Array]:
    """(2, parameters) limits at which the profiled sum of squares rises by ``cutoff``; the lowest
    rise, and where it is: below zero where ``x`` is not the minimum.

    All parameters and sides are one batch of constrained fits, first at growing distances until
    the crossing lies between two of them, then on both sides of where it is to be expected.
    """
    count = len(x)
    spread = covariance(residuals, x, lower, upper, scale=1.0)
    se = np.sqrt(np.maximum(np.diag(spread), 1e-300) * max(cutoff, 1e-300))
    se = np.minimum(se, 0.3 * (np.abs(x) + 1.0))
    slope = spread / np.maximum(np.diag(spread), 1e-300)[None, :]
    who = np.repeat(np.arange(count), 2)
    side = np.tile([-1.0, 1.0], count)
    reach = np.where(side < 0, x[who] - lower[who], upper[who] - x[who])
    sides = _Sides(residuals, x, squares, lower, upper, noise, slope, who, side)
    seen = sides.seen

    def below(i: int) -> bool:
        return all(rise < cutoff for _, rise, _ in seen[i])

    walking = np.flatnonzero(reach > 0)
    at, stride, shorter = np.zeros(len(who)), se[who].copy(), np.zeros(len(who), int)
    while len(walking) and sides.lowest >= -LOWER * cutoff:
        to = np.minimum(at[walking] + stride[walking], reach[walking])
        sides.look(walking, to)
        further = []
        for i, distance in zip(walking, to, strict=True):
            rise = next(rise for d, rise, _ in seen[i] if d == distance)
            if rise > WALL * cutoff and shorter[i] < SHORTER:
                # perhaps another valley, into which the step was too long
                seen[i] = [place for place in seen[i] if place[0] != distance]
                stride[i], shorter[i] = (distance - at[i]) / 2, shorter[i] + 1
                further.append(i)
            elif rise < cutoff and distance < min(reach[i], FARTHEST * se[who[i]]):
                at[i], stride[i] = distance, 2 * stride[i]
                further.append(i)
        walking = np.array(further, np.intp)
    crossed = np.array([i for i in range(len(who)) if not below(i)], np.intp)
    for width in NEARER:
        if sides.lowest < -LOWER * cutoff or not len(crossed):
            break
        near = np.array([_crossing(seen[i], cutoff) for i in crossed])
        both = np.concatenate([near * (1 - width), near * (1 + width)])
        rows = np.tile(crossed, 2)
        sides.look(rows, np.minimum(both, reach[rows]))
    near = np.array([np.inf if below(i) else _crossing(seen[i], cutoff) for i in range(len(who))])
    # a profile that never rises ends at the bound where there is one, else nowhere
    limit = np.clip(x[who] + side * near, lower[who], upper[who])
    limit = np.where(np.isfinite(limit), limit, np.nan)
    return limit.reshape(count, 2).T, sides.lowest, sides.where


@dataclass
class _Sides:
    """Both sides of every parameter, and the places that were looked at."""

    residuals: Residuals
    x: Array
    squares: float
    lower: Array
    upper: Array
    noise: float
    slope: Array
    """(parameters, parameters): how the others go along with one, for a parabola."""
    who: NDArray[np.intp]
    side: Array

    def __post_init__(self) -> None:
        self.seen = [[(0.0, 0.0, self.x)] for _ in self.who]
        """Of each side (distance, rise, parameters), by distance."""
        self.lowest, self.where = 0.0, self.x

    def look(self, rows: NDArray[np.intp], distance: Array) -> None:
        """At ``distance`` (places,) on the sides ``rows``: from the straight line along which a
        parabola would lie, and from the nearest places that were looked at."""
        owner, index = self.who[rows], np.arange(len(rows))
        moved = self.x[owner] + self.side[rows] * distance
        moved = np.clip(moved, self.lower[owner], self.upper[owner])
        line = self.x[None, :] + self.slope[:, owner].T * (moved - self.x[owner])[:, None]
        near = [_beside(self.seen[i], d) for i, d in zip(rows, distance, strict=True)]
        start = np.stack([line, *(np.array(each) for each in zip(*near, strict=True))])
        start[:, index, owner] = moved
        held = np.zeros(start.shape, bool)
        held[:, index, owner] = True
        found = minimise(
            self.residuals,
            start.reshape(-1, len(self.x)),
            self.lower,
            self.upper,
            held.reshape(-1, len(self.x)),
            scale=1.0,
            iterations=100,
            tolerance=1e-9,
            noise=self.noise,
        )
        rise = found.squares.reshape(len(start), -1) - self.squares
        best = rise.argmin(axis=0)
        ends = found.parameters.reshape(start.shape)
        for k, i in enumerate(rows):
            here = float(rise[best[k], k])
            self.seen[i].append((float(distance[k]), here, ends[best[k], k]))
            self.seen[i].sort(key=lambda place: place[0])
            if here < self.lowest:
                self.lowest, self.where = here, ends[best[k], k]


def _beside(seen: list[tuple[float, float, Array]], distance: float) -> tuple[Array, Array]:
    """Parameters at the nearest places on both sides of ``distance``."""
    under = max((p for p in seen if p[0] <= distance), key=lambda p: p[0])
    over = min((p for p in seen if p[0] > distance), key=lambda p: p[0], default=under)
    return under[2], over[2]


def _crossing(seen: list[tuple[float, float, Array]], cutoff: float) -> float:
    """Distance at which the rise meets ``cutoff``, on its nearly linear root."""
    distance = [d for d, *_ in seen]
    root = [max(rise, 0.0) ** 0.5 for _, rise, _ in seen]
    target = cutoff**0.5
    i = next(k for k, value in enumerate(root) if value >= target)
    share = (target - root[i - 1]) / (root[i] - root[i - 1])
    return distance[i - 1] + (distance[i] - distance[i - 1]) * share
