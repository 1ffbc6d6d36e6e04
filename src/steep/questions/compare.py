"""Compare learning curves: do they have the same exponent, and how much data is one worth of the
other?

Straight lines are fitted in log-log over the common range. Curves measured at the same sizes are
compared size by size, so that what both share (the shard, the validation set) cancels. The verdict
is an equivalence test (two one-sided tests, Schuirmann 1987) of the ratio of slopes against a
stated margin (Sasabuchi's form, Hauschke et al. 1999); a test without the power to show equality
never results in 'same'. The offset is a ratio of data with Fieller's limits (1954), as in a
parallel-line assay (Finney 1978). If lines do not suffice at an error, because a curve bends or was
not measured there, the ratio comes from the two forecasts, so that compare and forecast agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import nctdtr, stdtr, stdtrit

from steep.base.metrics import SHARES
from steep.laws.law import Array
from steep.present import comparing
from steep.records import Comparison, Crossing, Fit, Interval, Pair, Point
from steep.stats.curve import curve_from_points, curve_of_table
from steep.stats.line import Series, TwoLines, paired_lines, ratio_set, separate_lines
from steep.stats.predictive import crossings
from steep.stats.trend import bend
from steep.tables.read import TableCurve, curve_of

if TYPE_CHECKING:
    import pandas as pd

    Measured: TypeAlias = Fit | pd.DataFrame | Sequence[Point]

FEWEST = 3
"""The fewest points of each curve in the common range: a line through fewer has no error."""
FEWEST_PAIRS = 4
"""The fewest common sizes at which curves are paired by default."""
NEEDED_POWER = 0.5
"""The verdict 'same' requires at least this probability of it for equal exponents."""
BEYOND = 10.0
"""Crossings are searched up to this many times the largest common size."""
NEAR = 1e-6
"""Sizes with a relative difference below this are equal."""
BENT, VISIBLE = 0.02, 0.05
"""A curve is bent if the test's error rate is at most the first and the slope changes by at least
the second."""
ABOUT_100, RATE_AND_PERCENT = 1.5, (10.0, 1000.0)
"""Errors that are 100 times those of the other curve, give or take this factor, are in another
unit; so are errors above 1 beside errors below it, this many times as large."""
DRAWS = 4000

_DIFFERENCE = (0.0, 1.0, 0.0, -1.0)
_OFFSET = (1.0, 0.0, -1.0, 0.0)


def compare(
    *curves: Measured | Mapping[str, Measured],
    names: Sequence[str] | None = None,
    margin: float = 0.10,
    level: float = 0.9,
    error: float | None = None,
    paired: bool | None = None,
    shared_validation: bool = True,
    items_se: float | Mapping[tuple[str, str], float] | None = None,
    fit: Callable[..., Fit] | None = None,
    x: str = "samples",
    y: str = "error",
) -> Comparison:
    """Compare two or more curves (fits, tables with columns ``x`` and ``y``, or points).

    ``margin`` is the share of the slope within which exponents count as the same. The data
    multiplier is computed at ``error``; by default at any error if the exponents are the same, else
    at the middle of the common range. ``paired`` compares size by size (by default if at least four
    sizes and most of a curve are common); pass False if the shards of equal size are of different
    data. ``items_se`` is the standard error of the difference of log errors over shared validation
    items (a mapping by pair of names, or one value); without it, the curves' own validation noise,
    if known, counts as independent. ``fit`` (``steep.fit`` by default) fits curves that are not
    fits yet, if an error beyond the common ones requires a forecast. The result is deterministic.

    Raises ValueError for fewer than two curves, unequal units or metrics, or bad numbers.
    """
    named = in_one_metric(_read(_named(curves, names), x, y))
    if not 0 < margin < 1 or not 0 < level < 1:
        raise ValueError("margin and level must lie between 0 and 1")
    if error is not None and not error > 0:
        raise ValueError(f"an error must be positive, not {error}")
    unit, metric = _common_terms(named)
    options = _Options(margin, level, error, paired, shared_validation, items_se, fit, unit, metric)
    sides = [_side(name, curve) for name, curve in named.items()]
    pairs = tuple(_pair(a, b, options) for a, b in combinations(sides, 2))
    notes = comparing.notes_of_curves({side.name: side.notes for side in sides})
    if paired is None and items_se is None and any(p.paired for p in pairs):
        notes += (comparing.BY_SIZE,)
    if len(pairs) > 1:
        notes += (f"{len(pairs)} pairs, each at its own level: some will differ by chance.",)
    return Comparison(
        tuple(named), pairs, margin, level, comparing.headline(pairs), unit, metric, notes=notes
    )


# ---------------------------------------------------------------- input


@dataclass(frozen=True)
class _Options:
    margin: float
    level: float
    error: float | None
    paired: bool | None
    shared_validation: bool
    items_se: float | Mapping[tuple[str, str], float] | None
    fit: Callable[..., Fit] | None
    unit: str
    metric: str


@dataclass(frozen=True)
class _Side:
    """One curve's used points in logs."""

    name: str
    curve: Fit | TableCurve | tuple[Point, ...]
    samples: Array
    x: Array
    y: Array
    known: Array | None
    validation: float | None
    notes: tuple[str, ...]

    def between(self, start: float, end: float) -> Series:
        keep = (self.samples > start * (1 - NEAR)) & (self.samples < end * (1 + NEAR))
        return Series(self.x, self.y, self.known).at(keep)


def _named(curves: Sequence[Any], names: Sequence[str] | None) -> dict[str, Any]:
    if len(curves) == 1 and isinstance(curves[0], Mapping):
        return _enough(dict(curves[0]))
    names = [chr(ord("A") + i) for i in range(len(curves))] if names is None else list(names)
    if len(names) != len(curves) or len(set(names)) != len(names):
        raise ValueError(f"{len(curves)} curves need as many different names, not {names}")
    return _enough(dict(zip(names, curves, strict=True)))


def _enough(named: dict[str, Any]) -> dict[str, Any]:
    if len(named) < 2:
        raise ValueError("compare needs at least two curves")
    return named


def _read(named: Mapping[str, Any], x: str, y: str) -> dict[str, Any]:
    """The curves with tables read; fits and points do not change."""
    as_it_is = Fit, list, tuple
    return {n: c if isinstance(c, as_it_is) else curve_of(c, x=x, y=y) for n, c in named.items()}


def in_one_metric(named: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the metric of accuracies to 'error' if they are compared with error rates."""
    metrics = {c.metric for c in named.values() if isinstance(c, Fit | TableCurve)}
    rates = {metric for metric in metrics if metric in SHARES or metric == "1 - accuracy"}
    if len(metrics) < 2 or rates != metrics or "1 - accuracy" not in metrics:
        return dict(named)
    return {
        name: replace(c, metric="error") if isinstance(c, Fit | TableCurve) else c
        for name, c in named.items()
    }


def _common_terms(named: Mapping[str, Any]) -> tuple[str, str]:
    """The common unit and metric. Raises ValueError if they differ."""
    with_terms = [c for c in named.values() if isinstance(c, Fit | TableCurve)]
    for what in ("unit", "metric"):
        values = sorted({getattr(c, what) for c in with_terms})
        if len(values) > 1:
            raise ValueError(f"curves of different {what}s cannot be compared: {', '.join(values)}")
    return (with_terms[0].unit, with_terms[0].metric) if with_terms else ("samples", "error")


def _side(name: str, curve: Any) -> _Side:
    validation: float | None = None
    notes: tuple[str, ...] = ()
    if isinstance(curve, Fit):
        used, validation, notes = curve.used, curve.noise.validation, curve.notes
    elif isinstance(curve, TableCurve):
        used, validation = curve_of_table(curve).used, curve.validation_se
        notes = (*curve.warnings, *curve.notes)
    else:
        curve = tuple(curve)
        used = curve_from_points(curve).used
    se_log = [p.se_log for p in used]
    return _Side(
        name,
        curve,
        np.array([p.samples for p in used]),
        np.log([p.samples for p in used]),
        np.array([p.log_best for p in used]),
        None if any(not k for k in se_log) else np.square(np.array(se_log, float)),
        validation,
        notes,
    )


# ---------------------------------------------------------------- one pair


def _pair(a: _Side, b: _Side, options: _Options) -> Pair:
    if not len(a.x) or not len(b.x):
        return _not_compared(a, b, "too few points", (len(a.x), len(b.x)))
    start = max(float(a.samples.min()), float(b.samples.min()))
    end = min(float(a.samples.max()), float(b.samples.max()))
    if end <= start:
        return _not_compared(a, b, "no common range", (0, 0))
    one, two = a.between(start, end), b.between(start, end)
    of_one, of_two = _common(one, two)
    paired = options.paired
    if paired is None:
        paired = len(of_one) >= max(FEWEST_PAIRS, 0.75 * max(len(one.x), len(two.x)))
    if paired:
        one, two = one.at(of_one), two.at(of_two)
    n = (len(one.x), len(two.x))
    if min(n) < FEWEST:
        return _not_compared(a, b, "too few points", n)
    if paired:
        known = None if one.known is None or two.known is None else (one.known, two.known)
        lines = paired_lines(one.x, one.y, two.y, known)
    else:
        lines = separate_lines(one, two)
    lines, caveats = _with_validation(lines, a, b, options)
    errors = tuple((float(np.exp(s.y.min())), float(np.exp(s.y.max()))) for s in (one, two))
    pair = Pair(a.name, b.name, "ok", start, end, n, errors, paired)
    judged = _judged(pair, options, lines, (a, one), (b, two))
    judged = _as_printed(judged, abs(_common_slope(lines)[0]))
    sentences = comparing.sentences(judged, options.unit, options.metric)
    bends = tuple(
        f"{side.name} bends within the common range: its slope is the mean over it."
        for side, curve in ((a, one), (b, two))
        if _bent(curve)
    )
    return replace(judged, sentences=(*sentences, *caveats, *bends))


def _as_printed(pair: Pair, slope: float) -> Pair:
    """The pair with its difference as a share of the mean ``slope``, and its multiplier as what the
    curve that needs more data needs."""
    if (d := pair.difference) is not None and None not in (d.value, d.lower, d.upper):
        # slopes of curves that are copies of each other differ by rounding errors only
        value, lower, upper = (round(v or 0.0, 6) / slope for v in (d.value, d.lower, d.upper))
        share = Interval(value + 0.0, lower + 0.0, upper + 0.0, d.level)
        pair = replace(pair, relative_difference=share)
    k = pair.multiplier
    if k is None or k.value is None:
        return pair
    if k.value >= 1:
        return replace(pair, needs_more=pair.first, times=k)
    least, most = (1 / end if end else None for end in (k.upper, k.lower))
    times = Interval(1 / k.value, least, most, k.level)
    return replace(pair, needs_more=pair.second, times=times)


def _bent(curve: Series) -> bool:
    change = bend(*curve)
    return change is not None and change.p <= BENT and abs(change.last - change.first) >= VISIBLE


def _not_compared(a: _Side, b: _Side, outcome: str, points: tuple[int, int]) -> Pair:
    reason = {
        "no common range": "the curves have no sizes in common",
        "too few points": f"each curve needs {FEWEST} sizes in the common range",
    }[outcome]
    sentence = f"{a.name} and {b.name} cannot be compared: {reason}."
    return Pair(a.name, b.name, outcome, points=points, sentences=(sentence,))


def _common(one: Series, two: Series) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Where each of the curves has the sizes that both have."""
    first, second = np.nonzero(np.abs(one.x[:, None] - two.x[None, :]) < NEAR)
    return first, second


def _with_validation(
    lines: TwoLines, a: _Side, b: _Side, options: _Options
) -> tuple[TwoLines, tuple[str, ...]]:
    """Add the validation set's error to the lines' levels. It shifts a whole curve, so residuals do
    not show it."""
    se = (
        options.items_se.get((a.name, b.name))
        if isinstance(options.items_se, Mapping)
        else options.items_se
    )
    if se is not None and options.shared_validation:
        variances = (se**2 / 2, se**2 / 2)
        caveats: tuple[str, ...] = ()
    elif a.validation is not None and b.validation is not None:
        variances = (a.validation**2, b.validation**2)
        caveats = (comparing.OWN_VALIDATION,) if options.shared_validation else ()
    else:
        return lines, (comparing.NO_VALIDATION,)
    block = np.diag([variances[0], 0.0, variances[1], 0.0])
    return TwoLines(lines.centre, lines.theta, (*lines.parts, (block, 1e6)), lines.points), caveats


def _judged(
    pair: Pair,
    options: _Options,
    lines: TwoLines,
    first: tuple[_Side, Series],
    second: tuple[_Side, Series],
) -> Pair:
    (a, one), (b, two) = first, second
    delta = lines.contrast(_DIFFERENCE)
    typical = abs(_common_slope(lines)[0])
    same, different = _powers(delta.se, delta.df, options.margin * typical, options.level)
    verdict = _verdict(lines, options, same)
    pair = replace(
        pair,
        slopes=tuple(_interval(lines, c, options.level) for c in ((0, 1, 0, 0), (0, 0, 0, 1))),
        difference=_interval(lines, _DIFFERENCE, options.level),
        verdict=verdict,
        margin=options.margin,
        power_same=same,
        power_different=different,
        smallest_margin=_smallest_margin(delta.se, delta.df, options.level) / typical,
    )
    if not all(s < 0 for s in lines.theta[[1, 3]]):
        pair = replace(pair, no_multiplier="an error does not fall")
    elif _mixed_units(lines, one.y, two.y):
        return replace(pair, no_multiplier="mixed units")
    else:
        pair = _with_multiplier(pair, lines, options, (a, b), bends=_bent(one) or _bent(two))
    return replace(pair, crossing=_crossing(lines, options.level, one, two))


def _mixed_units(lines: TwoLines, one: Array, two: Array) -> bool:
    """Whether one curve seems to be in percent and the other in fractions."""
    times = float(np.exp(abs(lines.theta[0] - lines.theta[2])))
    beside_1 = one.min() > 0 >= two.max() or two.min() > 0 >= one.max()
    return 100 / ABOUT_100 < times < 100 * ABOUT_100 or (
        beside_1 and RATE_AND_PERCENT[0] < times < RATE_AND_PERCENT[1]
    )


def _interval(lines: TwoLines, c: Sequence[float], level: float) -> Interval:
    contrast = lines.contrast(c)
    return Interval(contrast.value, *contrast.interval(level), level)


def _common_slope(lines: TwoLines) -> tuple[float, tuple[float, ...]]:
    """The curves' slopes averaged with weights by precision, and the contrast of that average."""
    variance = np.diag(lines.covariance)[[1, 3]]
    share = float(variance[1] / variance.sum()) if variance.sum() > 0 else 0.5
    contrast = (0.0, share, 0.0, 1.0 - share)
    return lines.contrast(contrast).value, contrast


# ---------------------------------------------------------------- same exponent?


def _verdict(lines: TwoLines, options: _Options, power: float) -> str:
    """Two one-sided t tests at (1 - level) / 2 each, of slopes that differ by the margin."""
    half = options.margin / 2
    alpha = (1 - options.level) / 2
    tests = [lines.contrast((0.0, 1 - sign * half, 0.0, -1 - sign * half)) for sign in (1.0, -1.0)]
    # slopes are negative: the first contrast is above zero and the second below it when equivalent
    above = stdtr(tests[0].df, -tests[0].value / max(tests[0].se, 1e-300))
    below = stdtr(tests[1].df, tests[1].value / max(tests[1].se, 1e-300))
    equivalent = max(above, below) < alpha and all(s < 0 for s in lines.theta[[1, 3]])
    if equivalent and power >= NEEDED_POWER:
        return "same exponent"
    low, high = lines.contrast(_DIFFERENCE).interval(options.level)
    return "different exponents" if low > 0 or high < 0 else "cannot tell"


def _powers(se: float, df: float, margin: float, level: float) -> tuple[float, float]:
    """The power of the equivalence test at equal slopes (Phillips 1990, by a shifted t), and of the
    test of a difference at a difference of the margin (noncentral t)."""
    if not se > 0:
        return 1.0, 1.0
    t = float(stdtrit(df, 0.5 + level / 2))
    same = max(0.0, 2 * float(stdtr(df, margin / se - t)) - 1)
    within = np.nan_to_num([nctdtr(df, margin / se, t), nctdtr(df, margin / se, -t)])  # tails: 0
    return same, float(1 - within[0] + within[1])


def _smallest_margin(se: float, df: float, level: float) -> float:
    """The margin at which the equivalence test would have a power of 0.8."""
    return se * float(stdtrit(df, 0.5 + level / 2) + stdtrit(df, 0.9))


# ---------------------------------------------------------------- how much data is it worth?


def _with_multiplier(
    pair: Pair, lines: TwoLines, options: _Options, sides: tuple[_Side, _Side], bends: bool
) -> Pair:
    """Add the ratio of the first curve's data to the second's, at one error or at any that both
    measured."""
    slope, contrast = _common_slope(lines)
    (low_a, high_a), (low_b, high_b) = np.log(pair.errors)
    low, high = max(low_a, low_b), min(high_a, high_b)
    middle = 0.5 * (low + high) if low < high else 0.5 * float(lines.theta[0] + lines.theta[2])
    at = float(np.exp(middle)) if options.error is None else options.error
    extrapolates = not low - 1e-9 <= np.log(at) <= high + 1e-9
    any_error = options.error is None and pair.verdict == "same exponent" and not extrapolates
    pair = replace(pair, multiplier_at=None if any_error else at, any_error=any_error)
    pair = replace(pair, extrapolates=extrapolates)
    if options.error is None and pair.verdict != "different exponents":
        kind, lower, upper = ratio_set(_OFFSET, contrast, lines, options.level)
        ends = (_exp(lower), _exp(upper)) if kind == "inside" else (None, None)
        value = _exp(-lines.contrast(_OFFSET).value / slope)
        multiplier = Interval(value, *ends, options.level)
        return replace(
            pair, multiplier=multiplier, no_multiplier="" if multiplier.value else "too far apart"
        )
    multiplier = _multiplier_at(lines, float(np.log(at)), options.level)
    needs_forecast = options.error is not None or extrapolates
    # forecasts do not apply to errors above those of the smallest sizes
    if needs_forecast and np.log(at) <= high + 1e-9:
        forecast, unreached = _multiplier_forecast(sides, at, options)
        first_needs_more = (multiplier.value or 0.0) >= 1.0, (forecast.value or 0.0) >= 1.0
        if unreached:
            return replace(pair, no_multiplier="out of reach", unreached=unreached)
        if extrapolates or bends or first_needs_more[0] != first_needs_more[1]:
            multiplier = forecast
    return replace(
        pair, multiplier=multiplier, no_multiplier="" if multiplier.value else "too far apart"
    )


def _multiplier_forecast(
    sides: tuple[_Side, _Side], error: float, options: _Options
) -> tuple[Interval, tuple[str, ...]]:
    """The ratio of the samples at which the two forecasts reach ``error``, with an interval over
    all pairs of their draws; and the names of the curves that do not reach it."""
    needed, medians = [], []
    for side in sides:
        fit = side.curve if isinstance(side.curve, Fit) else _fitted(side, options)
        never = fit.outcome != "ok"
        draws = np.array([np.inf]) if never else crossings(fit, error, _shared(sides, options))
        needed.append(draws)
        medians.append(float(np.quantile(draws, 0.5, method="inverted_cdf")))
    unreached = tuple(s.name for s, m in zip(sides, medians, strict=True) if np.isinf(m))
    if unreached:
        return Interval(None, None, None, options.level), unreached
    with np.errstate(invalid="ignore"):
        ratio = np.nan_to_num(
            needed[0][:, None] - needed[1][None, :], posinf=np.inf, neginf=-np.inf
        )
    ends = np.quantile(
        ratio, [0.5 - options.level / 2, 0.5 + options.level / 2], method="inverted_cdf"
    )
    value = medians[0] - medians[1]
    lower, upper = min(float(ends[0]), value), max(float(ends[1]), value)
    return Interval(_exp(value), _exp(lower), _exp(upper), options.level), ()


def _shared(sides: tuple[_Side, _Side], options: _Options) -> float | None:
    """One curve's part of the noise of shared validation items; None if they are not shared."""
    se = options.items_se
    if isinstance(se, Mapping):
        se = se.get((sides[0].name, sides[1].name))
    return None if se is None or not options.shared_validation else se / 2**0.5


def _fitted(side: _Side, options: _Options) -> Fit:
    if options.fit is None:  # passed in by the package, as stages do not import each other
        raise ValueError("this error needs forecasts: give fits, or the function: fit=steep.fit")
    if isinstance(side.curve, TableCurve):
        return options.fit(side.curve, level=options.level, intervals=False)
    return options.fit(points=side.curve, level=options.level, intervals=False)


def _multiplier_at(lines: TwoLines, log_error: float, level: float) -> Interval:
    """The multiplier at an error, from draws of both lines (t distributions); an end of the
    interval that falls on rising lines is open."""
    random = np.random.default_rng(0)
    draws = np.tile(lines.theta, (DRAWS, 1))
    for covariance, df in lines.parts:
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        chi = random.chisquare(df, DRAWS) / df
        draws += (random.standard_normal((DRAWS, 4)) @ root.T) / np.sqrt(chi)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = ((log_error - draws[:, i]) / draws[:, i + 1] for i in (0, 2))
        log_ratio = np.where(draws[:, 1] < 0, first, np.inf) - np.where(
            draws[:, 3] < 0, second, np.inf
        )
    log_ratio = np.where(np.isnan(log_ratio), 0.0, log_ratio)
    ends = np.quantile(log_ratio, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
    t = lines.theta
    value = (log_error - t[0]) / t[1] - (log_error - t[2]) / t[3]
    return Interval(_exp(float(value)), _exp(float(ends[0])), _exp(float(ends[1])), level)


def _exp(value: float) -> float | None:
    """exp of a value; None if the result is practically infinite or zero."""
    return float(np.exp(value)) if abs(value) < np.log(1e12) else None


# ---------------------------------------------------------------- where do they cross?


def _crossing(lines: TwoLines, level: float, one: Series, two: Series) -> Crossing:
    start = max(one.x.min(), two.x.min())
    end = min(one.x.max(), two.x.max()) + np.log(BEYOND)
    place = (float(np.exp(start)), float(np.exp(end)))
    kind, low, high = ratio_set(_OFFSET, _DIFFERENCE, lines, level)
    slope = lines.contrast(_DIFFERENCE).value
    low, high = low + lines.centre, high + lines.centre
    apart = (high < start or low > end) if kind == "inside" else (low < start and end < high)
    if kind != "all" and apart:
        return Crossing("do not cross", *place)
    if kind != "inside":
        return Crossing("cannot tell", *place)
    value = lines.centre - lines.contrast(_OFFSET).value / slope
    if not start <= value <= end:
        return Crossing("cannot tell", *place)
    return Crossing("cross", *place, Interval(_exp(value), _exp(low), _exp(high), level))
