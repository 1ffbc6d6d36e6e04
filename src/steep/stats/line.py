"""A straight line through the points of one curve in log-log, or through two curves at once.

What questions about fits need (compare, diagnose): least squares with t limits from the residuals,
never from an assumed noise. Known sampling variances only weigh the points, beside a scatter
about the line that is estimated (Paule & Mandel 1982), and set a floor under the residuals'
variance, as Knapp & Hartung 2003 do: a lucky straight line does not narrow an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from steep.laws.law import Array


@dataclass(frozen=True)
class Line:
    """level + slope * (x - centre), with the covariance of (level, slope)."""

    centre: float
    level: float
    slope: float
    covariance: Array
    """(2, 2)."""
    df: float
    residual: Array
    """(n,), y minus the line."""
    variance: float
    """Of one point of unit weight about the line."""

    def at(self, x: float) -> tuple[float, float]:
        """The line at ``x`` and the variance of a new point of unit weight about it."""
        place = np.array([1.0, x - self.centre])
        return float(place @ [self.level, self.slope]), float(
            place @ self.covariance @ place + self.variance
        )


def fit_line(x: Array, y: Array, known: Array | None = None, centre: float | None = None) -> Line:
    """Weighted least squares of ``y`` on ``x`` (n,); ``known`` are sampling variances of y (n,)."""
    weight = weights(x, y, known)
    middle = float(np.average(x, weights=weight)) if centre is None else centre
    design = np.stack([np.ones(len(x)), x - middle], axis=1)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    value = inverse @ design.T @ (weight * y)
    residual = y - design @ value
    df = len(x) - 2
    variance = float(residual @ (weight * residual)) / df if df > 0 else float("inf")
    if known is not None:
        variance = max(variance, float(np.mean(weight * known)))
    covariance = np.asarray(variance * inverse)
    return Line(middle, float(value[0]), float(value[1]), covariance, df, residual, variance)


def weights(x: Array, y: Array, known: Array | None) -> Array:
    """Weights with mean 1, from sampling variances plus the scatter that the residuals show."""
    if known is None or len(x) < 3 or not np.all(known > 0):
        return np.ones(len(x))
    design = np.stack([np.ones(len(x)), x - x.mean()], axis=1)

    def excess(scatter: float) -> tuple[float, Array]:
        w = 1.0 / (known + scatter)
        value = np.linalg.solve(design.T @ (w[:, None] * design), design.T @ (w * y))
        residual = y - design @ value
        return float(residual @ (w * residual)) - (len(x) - 2), w

    low, high = 0.0, float(np.var(y) + known.max())
    over, weight = excess(low)
    if over > 0:
        for _ in range(60):
            middle = 0.5 * (low + high)
            over, weight = excess(middle)
            low, high = (middle, high) if over > 0 else (low, middle)
    return np.asarray(weight / weight.mean())


# ---------------------------------------------------------------- two lines


@dataclass(frozen=True)
class Contrast:
    """A linear combination of the four parameters of two lines."""

    value: float
    se: float
    df: float

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided t limits at ``level``."""
        half = self.se * float(stdtrit(self.df, 0.5 + level / 2))
        return self.value - half, self.value + half


@dataclass(frozen=True)
class TwoLines:
    """(level, slope) of a first and a second line at one centre, with their joint covariance."""

    centre: float
    theta: Array
    """(4,): level and slope of the first, level and slope of the second."""
    parts: tuple[tuple[Array, float], ...]
    """Independent contributions to the covariance, (4, 4), each with its degrees of freedom."""
    points: int

    @property
    def covariance(self) -> Array:
        return np.asarray(sum(v for v, _ in self.parts))

    def contrast(self, c: Sequence[float]) -> Contrast:
        """c . theta; degrees of freedom by Welch and Satterthwaite where the parts differ."""
        combination = np.asarray(c, float)
        each = np.array([combination @ v @ combination for v, _ in self.parts])
        total = max(float(each.sum()), 0.0)  # of what cancels, rounding may be left
        spread = float(sum(e**2 / df for e, (_, df) in zip(each, self.parts, strict=True)))
        df = total**2 / spread if spread > 0 else float(self.parts[0][1])
        return Contrast(float(combination @ self.theta), float(np.sqrt(total)), df)


class Series(NamedTuple):
    """One curve's points."""

    x: Array
    """(n,), as is the rest."""
    y: Array
    known: Array | None
    """The sampling variances of y; None where they are not known."""

    def at(self, places: npt.NDArray[Any]) -> Series:
        known = None if self.known is None else self.known[places]
        return Series(self.x[places], self.y[places], known)


SHARED = ((0.0, 0.85), (0.7, 0.15))
APART = ((0.0, 0.5), (0.7, 0.3), (0.95, 0.2))
"""(Share of the noise that comes from the draw of nested shards, prior probability): where the
draw is shared it mostly cancels, else it does not. The residuals have the last word."""


def paired_lines(
    x: Array, first: Array, second: Array, known: tuple[Array, Array] | None = None
) -> TwoLines:
    """Both curves measured at the same ``x`` (n,): noise that they share cancels in differences.

    Multivariate regression on one design: every contrast of the two lines has the t limits of a
    regression of that contrast of the two curves, on n - 2 degrees of freedom.
    """
    total = None if known is None else known[0] + known[1]
    centre = float(np.mean(x))
    both = np.stack([first, second], axis=1)
    value, covariance = _averaged(x, both, np.array([1.0, -1.0]), total, centre, SHARED)
    return TwoLines(centre, value, ((covariance, float(len(x) - 2)),), len(x))


def separate_lines(one: Series, two: Series) -> TwoLines:
    """Two curves with independent noise."""
    centre = 0.5 * (float(np.mean(one.x)) + float(np.mean(two.x)))
    values, parts = [], []
    for i, (x, y, known) in enumerate((one, two)):
        value, covariance = _averaged(x, y[:, None], np.ones(1), known, centre, APART)
        block = np.zeros((4, 4))
        block[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = covariance
        values.append(value)
        parts.append((block, float(len(x) - 2)))
    return TwoLines(centre, np.concatenate(values), tuple(parts), len(one.x) + len(two.x))


def _averaged(
    x: Array,
    y: Array,
    judge: Array,
    known: Array | None,
    centre: float,
    structures: Sequence[tuple[float, float]],
) -> tuple[Array, Array]:
    """Level and slope of each column of ``y`` (n, q), and their covariance (2 q, 2 q).

    Generalised least squares under each structure of the noise, averaged with the restricted
    likelihood of ``y @ judge`` as weight. Shards are prefixes, so the noise of their draw is that
    of a running mean: cov(m1, m2) ~ 1 / max(m1, m2).
    """
    design = np.stack([np.ones(len(x)), x - centre], axis=1)
    weight = weights(x, y @ judge, known)
    least = 0.0 if known is None else float(np.mean(weight * known))
    m = np.exp(x - x.max())
    nested = 1.0 / np.maximum(m[:, None], m[None, :])
    nested /= np.mean(np.diag(nested))
    values, covariances, evidence = [], [], []
    for share, prior in structures:
        precision = np.linalg.inv((1 - share) * np.diag(1.0 / weight) + share * nested)
        information = design.T @ precision @ design
        inverse = np.linalg.inv(information)
        value = inverse @ design.T @ precision @ y
        residual = y - design @ value
        scatter = residual.T @ precision @ residual / (len(x) - 2)
        judged = float(judge @ scatter @ judge)
        determinants = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(information)[1]
        likelihood = 0.5 * determinants - 0.5 * (len(x) - 2) * np.log(max(judged, 1e-30))
        evidence.append(np.log(prior) + likelihood)
        if judged < least:
            scatter = scatter + np.eye(len(judge)) * (least - judged) / len(judge)
        values.append(value.T.ravel())
        covariances.append(np.kron(scatter, inverse))
    belief = np.exp(np.array(evidence) - max(evidence))
    belief /= belief.sum()
    middle = np.asarray(belief @ np.array(values))
    apart = np.array(values) - middle
    covariance = np.einsum("k,kij->ij", belief, np.array(covariances))
    return middle, np.asarray(covariance + (apart.T * belief) @ apart)


def ratio_set(
    top: Sequence[float], bottom: Sequence[float], lines: TwoLines, level: float
) -> tuple[str, float, float]:
    """Fieller's confidence set (1954) for -(top . theta) / (bottom . theta).

    ('inside', low, high): the interval between; ('outside', low, high): everything but what lies
    between, the denominator being indistinguishable from zero; ('all', nan, nan): no value is
    excluded.
    """
    u, v = (np.asarray(c, float) for c in (top, bottom))
    below = lines.contrast(bottom)
    t = float(stdtrit(below.df, 0.5 + level / 2)) ** 2
    covariance = lines.covariance
    tops, bottoms = float(u @ lines.theta), below.value
    a = bottoms**2 - t * float(v @ covariance @ v)
    b = 2.0 * (tops * bottoms - t * float(u @ covariance @ v))
    c = tops**2 - t * float(u @ covariance @ u)
    root = max(b * b - 4 * a * c, 0.0) if a > 0 else b * b - 4 * a * c
    if a == 0 or root < 0:
        return "all", float("nan"), float("nan")
    ends = sorted(((-b - root**0.5) / (2 * a), (-b + root**0.5) / (2 * a)))
    return ("inside" if a > 0 else "outside"), ends[0], ends[1]
