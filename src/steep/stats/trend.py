"""Does a point, a step or a bend stand out of a curve's own noise? Small-sample t tests.

Each test takes its noise from the residuals of a law fitted *without* what it tests: a point that
is far off cannot hide in the scatter that it makes (externally studentised residuals: Cook &
Weisberg 1982).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from steep.laws import Law
from steep.laws.law import Array
from steep.stats.line import fit_line, weights
from steep.stats.profile import fit_law


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
    from) that has points to spare; the law with the least variance about the other points has the
    word. Empty with fewer than five points.
    """
    if len(x) < 5:
        return ()
    found = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        tried = [_from_line(i, rest, x, y, known)]
        for law, start in laws:
            if len(x) - 1 - len(law.names) >= 2:
                tried.append(_from_law(i, rest, x, y, known, law, start))
        found.append(min(tried, key=lambda each: each[0])[1])
    return tuple(found)


def _from_line(
    i: int, rest: Array, x: Array, y: Array, known: Array | None
) -> tuple[float, Deviation]:
    """Variance about the line through the rest, and the deviation from it."""
    line = fit_line(x[rest], y[rest], None if known is None else known[rest])
    expected, variance = line.at(float(x[i]))
    return line.variance, _deviation(i, expected, float(y[i]), variance, line.df)


def _from_law(
    i: int,
    rest: Array,
    x: Array,
    y: Array,
    known: Array | None,
    law: Law,
    start: tuple[float, ...],
) -> tuple[float, Deviation]:
    weight = weights(x[rest], y[rest], None if known is None else known[rest])
    df = float(rest.sum() - len(law.names))
    samples = np.exp(x)
    whiten = np.diag(np.sqrt(weight))
    fitted = fit_law(law, samples[rest], y[rest], whiten, np.array([start]), 0.0, df, None)
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
    variance = squares / df
    total = variance * (1.0 + leverage)
    return variance, _deviation(i, float(curve(value)[i]), float(y[i]), total, df)


def _deviation(i: int, expected: float, measured: float, variance: float, df: float) -> Deviation:
    t = (measured - expected) / max(variance, 1e-24) ** 0.5
    return Deviation(i, expected, measured - expected, t, df, 2.0 * float(stdtr(df, -abs(t))))


def rises(x: Array, y: Array, known: Array | None = None) -> tuple[Deviation, ...]:
    """Per pair of neighbours, the rise of log error from ``index`` to the next size, one-sided.

    Against no fall at all, with the noise of the line through all other points, or the known
    variances (n,) where they are larger. Empty with fewer than six points.
    """
    if len(x) < 6:
        return ()
    found = []
    for i in range(len(x) - 1):
        rest = np.ones(len(x), bool)
        rest[[i, i + 1]] = False
        line = fit_line(x[rest], y[rest])
        each = np.full(2, line.variance)
        if known is not None:
            each = np.maximum(each, known[[i, i + 1]])
        rise = float(y[i + 1] - y[i])
        t = rise / max(float(each.sum()), 1e-24) ** 0.5
        found.append(Deviation(i, float(y[i]), rise, t, line.df, float(stdtr(line.df, -t))))
    return tuple(found)


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
    weight = weights(x, y, known)
    z = x - x.mean()
    design = np.stack([np.ones(len(x)), z, z * z], axis=1)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    value = inverse @ design.T @ (weight * y)
    residual = y - design @ value
    df = len(x) - 3
    variance = float(residual @ (weight * residual)) / df * float(inverse[2, 2])
    t = float(value[2]) / max(variance, 1e-24) ** 0.5
    ends = [float(value[1] + 2 * value[2] * z[k]) for k in (0, -1)]
    return Bend(t, float(stdtr(df, -abs(t))), ends[0], ends[1])
