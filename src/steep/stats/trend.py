"""Does a point, a step or a bend stand out of a curve's own noise? Small-sample t tests.

Each test takes its noise from the residuals of a law fitted *without* what it tests: a point that
is far off cannot hide in the scatter that it makes (externally studentised residuals: Cook &
Weisberg 1982).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtr, stdtr

from steep.laws import Law
from steep.laws.law import Array
from steep.stats.line import fit_line, weights
from steep.stats.noise import GIVEN_DF, SCATTERS
from steep.stats.profile import fit_law

SPARE = 3
"""Points beyond its parameters that a law needs to have a word on another point."""
MEDIAN_OF_SQUARES = 0.4549
"""Of a normal deviate."""


@dataclass(frozen=True)
class Deviation:
    """How far something lies from what the rest of the curve makes expected."""

    index: int
    expected: float
    """log error."""
    excess: float
    """Measured minus expected, log error."""
    t: float
    df: float
    p: float
    """Two-sided, of this one alone."""


def off_trend(
    x: Array,
    y: Array,
    known: Array | None = None,
    laws: Iterable[tuple[Law, tuple[float, ...]]] = (),
) -> tuple[Deviation, ...]:
    """Per point of ``y`` at log sizes ``x`` (n,): its distance from the law fitted without it.

    Tested against a straight line and against each of ``laws`` (with fitted parameters to start
    from) that has three points to spare; the law with the least variance about the other points has
    the word, and its p allows for the choice among them. No variance is below what is ``known`` of
    the points: a curved law can pass by a few of them as if there were no noise. Empty with fewer
    than five points.
    """
    if len(x) < 5:
        return ()
    found = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        tried = [_from_line(i, rest, x, y, known)]
        for law, start in laws:
            if len(x) - 1 - len(law.names) >= SPARE:
                deviation = _from_law(i, rest, x, y, known, law, start)
                tried += [] if deviation is None else [deviation]
        closest = min(tried, key=lambda each: each[0])[1]
        found.append(replace(closest, p=min(1.0, closest.p * len(tried))))
    return tuple(found)


def _from_line(
    i: int, rest: Array, x: Array, y: Array, known: Array | None
) -> tuple[float, Deviation]:
    """Variance about the line through the rest, and the deviation from it."""
    line = fit_line(x[rest], y[rest], None if known is None else known[rest])
    expected, variance = line.at(float(x[i]))
    if known is not None:
        variance = max(variance, float(known[i]))
    return line.variance, _deviation(i, expected, float(y[i]), variance, line.df)


def _from_law(
    i: int,
    rest: Array,
    x: Array,
    y: Array,
    known: Array | None,
    law: Law,
    start: tuple[float, ...],
) -> tuple[float, Deviation] | None:
    """As ``_from_line``; None where the law has no minimum that the rest determines."""
    weight = weights(x[rest], y[rest], None if known is None else known[rest])
    df = float(rest.sum() - len(law.names))
    samples = np.exp(x)
    whiten = np.diag(np.sqrt(weight))
    fitted = fit_law(law, samples[rest], y[rest], whiten, np.array([start]), 0.0, df, None)
    if not fitted.converged:
        return None
    value = np.asarray(fitted.parameters, float)

    def curve(at: Array) -> Array:
        return np.asarray(np.log(np.maximum(law.curve(samples, *at), 1e-300)))

    step = 1e-5 * np.maximum(np.abs(value), 1e-9)
    gradient = np.stack(
        [(curve(value + h) - curve(value - h)) / 2 for h in np.diag(step)], axis=1
    )  # scaled by the step, which cancels
    squares = float(fitted.squares)
    normal = gradient[rest].T @ (weight[:, None] * gradient[rest])
    leverage = float(gradient[i] @ np.linalg.pinv(normal, hermitian=True) @ gradient[i])
    variance = own = squares / df
    if known is not None:
        variance = max(variance, float(np.mean(weight * known[rest])))
        own = max(variance, float(known[i]))
    total = variance * leverage + own
    return variance, _deviation(i, float(curve(value)[i]), float(y[i]), total, df)


def _deviation(i: int, expected: float, measured: float, variance: float, df: float) -> Deviation:
    t = (measured - expected) / max(variance, 1e-24) ** 0.5
    return Deviation(i, expected, measured - expected, t, df, 2.0 * float(stdtr(df, -abs(t))))


@dataclass(frozen=True)
class ErrorIncrease:
    """An error that is larger at a larger size."""

    start: int
    end: int
    excess: float
    """Log error at ``end`` minus that at ``start``."""
    t: float
    p: float
    """One-sided, with allowance for every step of the curve."""


def rises(
    x: Array, y: Array, known: Array | None = None, df: float = GIVEN_DF, p: float = 0.03
) -> tuple[ErrorIncrease, ...]:
    """From each size, the largest rise of log error before the curve is below it again, if it is
    as sure as ``p``; of those that overlap, the largest.

    Against no fall at all. With ``known`` variances (n,) on ``df`` degrees of freedom the noise is
    theirs and, as in a fit, perhaps what the search left over. Otherwise it is that of the line
    through the points outside of the hump, of which there must be four.
    """
    found = []
    for i in range(len(x) - 1):
        below = np.flatnonzero(y[i + 1 :] <= y[i])
        end = i + 1 + int(below[0]) if len(below) else len(x)
        if end == i + 1:
            continue
        j = i + 1 + int(np.argmax(y[i + 1 : end]))
        excess = float(y[j] - y[i])
        if known is None:
            rest = (np.arange(len(x)) < i) | (np.arange(len(x)) >= end)
            if rest.sum() < 4:
                continue
            line = fit_line(x[rest], y[rest])
            t = excess / max(2 * line.variance, 1e-24) ** 0.5
            chance = float(stdtr(line.df, -t))
        else:
            t = excess / float(known[i] + known[j]) ** 0.5
            left = ((share, float(stdtr(df, -t / (1 + s) ** 0.5))) for s, share in SCATTERS)
            chance = sum(share * each for share, each in left)
        if chance * (len(x) - 1) <= p:
            found.append(ErrorIncrease(i, j, excess, t, chance * (len(x) - 1)))
    apart: list[ErrorIncrease] = []
    for rise in sorted(found, key=lambda r: -r.excess):
        if all(rise.end <= other.start or rise.start >= other.end for other in apart):
            apart.append(rise)
    return tuple(apart)


def roughness(x: Array, y: Array) -> float:
    """Standard deviation of the points (n,) about the line through their two neighbours.

    What a law of any shape leaves over (Gasser, Sroka & Jennen-Steinmetz 1986); by the median, so
    that a turn or a point off the trend does not pass for noise. 0 with fewer than three points.
    """
    if len(x) < 3:
        return 0.0
    left = (x[2:] - x[1:-1]) / (x[2:] - x[:-2])
    off = y[1:-1] - left * y[:-2] - (1 - left) * y[2:]
    return float(np.median(off**2 / (1 + left**2 + (1 - left) ** 2)) / MEDIAN_OF_SQUARES) ** 0.5


def alike(x: Array, y: Array, known: Array, df: float) -> tuple[float, float]:
    """Scatter of the points about a parabola, and how probable so little of it is by chance
    where each has the variance ``known`` (n,), itself known on ``df`` degrees of freedom."""
    residual = _parabola(x, y, None)[3]
    squares = float(residual @ residual) / (len(x) - 3)
    return squares**0.5, float(fdtr(len(x) - 3, df, squares / float(np.mean(known))))


@dataclass(frozen=True)
class Bend:
    """Curvature of a curve in log-log."""

    t: float
    """Positive where the curve flattens."""
    p: float
    """One-sided, for the sign that ``t`` has."""
    first: float
    """Slope at the first point, and at the last: those of a parabola."""
    last: float


def bend(x: Array, y: Array, known: Array | None = None) -> Bend | None:
    """The parabola through the points in log-log; None with fewer than five of them."""
    if len(x) < 5:
        return None
    value, inverse, weight, residual = _parabola(x, y, known)
    df = len(x) - 3
    variance = float(residual @ (weight * residual)) / df * float(inverse[2, 2])
    t = float(value[2]) / max(variance, 1e-24) ** 0.5
    z = x - x.mean()
    ends = [float(value[1] + 2 * value[2] * z[k]) for k in (0, -1)]
    return Bend(t, float(stdtr(df, -abs(t))), ends[0], ends[1])


def _parabola(x: Array, y: Array, known: Array | None) -> tuple[Array, Array, Array, Array]:
    """Coefficients about the middle of ``x``, their covariance at unit variance, weights,
    residuals."""
    weight = weights(x, y, known)
    z = x - x.mean()
    design = np.stack([np.ones(len(x)), z, z * z], axis=1)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    value = inverse @ design.T @ (weight * y)
    return value, inverse, weight, y - design @ value
