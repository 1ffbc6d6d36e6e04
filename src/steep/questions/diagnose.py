"""Findings: what a reader must know before relying on a curve, with evidence and next steps.

Findings about the curve: a point off the trend, a rising error, more noise than trend, a bend and
its cause. Findings about the search behind it: a best fit that was capped, at the edge of its
ladder or grid, still improving, or measured by another engine. Every test of the curve estimates
its noise from the curve itself and allows for the number of points tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtr, stdtrit

from steep.base.metrics import check_items, counts_items
from steep.laws import LAWS
from steep.laws.law import Array
from steep.present import numbers
from steep.present.numbers import relative
from steep.present.sentences import few_sizes
from steep.questions.search_findings import NOTE, SERIOUS, WARNING, faults
from steep.questions.search_summary import SearchSummary, examine
from steep.records import BestFit, Finding, Fit, HeldOutForecast, Measurement, Point
from steep.stats import trend
from steep.stats.curve import curve_from_points, curve_of_table
from steep.stats.line import Line, fit_line
from steep.stats.noise import GIVEN_DF
from steep.stats.predictive import runs_of
from steep.tables.read import curve_of

if TYPE_CHECKING:
    import pandas as pd

_ORDER = (SERIOUS, WARNING, NOTE)
SURE, LIKELY = 0.005, 0.03
"""Error rates of a serious finding and of a warning about points, over all points together."""
VISIBLE = 0.01
"""Deviations of log error below this are not reported, however significant."""
FLAT = 0.02
"""A curve whose slope is less than this over its whole interval counts as flat."""
ROUNDING = 1e-9
"""Log errors that differ by less than this are equal."""


def diagnose(
    curve: Fit | pd.DataFrame | Sequence[Point] | None = None,
    *,
    fit: Fit | None = None,
    best_fits: Iterable[BestFit] = (),
    measurements: Iterable[Measurement] = (),
    confrontations: Iterable[HeldOutForecast] = (),
    frame: pd.DataFrame | None = None,
    x: str = "samples",
    y: str = "error",
    validation_items: int | None = None,
    answers: Fit | None = None,
) -> tuple[Finding, ...]:
    """Findings about a curve and the search behind it, the most serious first.

    The curve is a fit, a table with columns ``x`` and ``y`` (and ``se``), or points; with best fits
    alone, their scores are the curve. A study's best-fit models and measurements are needed for
    findings about its search, its ``confrontations`` for forecasts of held-out shards that missed.
    ``validation_items`` is the number of items behind each error rate, used if nothing better is
    known about the noise of the validation set. ``answers`` is the fit that a study's answers are
    about, where its models are selected by another metric: the validation set must suffice for it.
    The result is deterministic.

    Raises ValueError for ``validation_items`` below 1, or if the errors are not rates.
    """
    best_fits, measurements = tuple(best_fits), tuple(measurements)
    source = next((c for c in (fit, curve, frame) if c is not None), None)
    search = examine(best_fits, measurements)
    data = _curve(source, search, x, y)
    if validation_items is not None:
        check_items(validation_items, data.metric, max((p.error for p in data.points), default=0.0))
    mixed = _mixed_rows(data)
    if mixed:  # the differences between these rows are not noise
        data = replace(data, known=None)
    rises = _rises(data)
    missed = _missed(data, confrontations)
    # a point off the trend whose forecast missed it is reported once
    off = [f for f in _off_trend(data) if f.where not in {m.where for m in missed}]
    findings = [*_outcome(data), *missed, *off, *mixed, *rises]
    if not rises:  # a curve that turns would look like noise, a floor or the small-data region
        findings += [*_noise(data, search), *_bend(data, search)]
    findings += [*_validation(data, search, validation_items), *_replication(data, search)]
    if search.points or best_fits:
        findings += _unknown_validation(fit if answers is None else answers)
    if answers is not None:
        findings += _validation(_curve(answers, search, x, y), SearchSummary(), None)
    findings += faults(search)
    return tuple(sorted(findings, key=lambda f: _ORDER.index(f.severity)))


OTHER_DRAWS = "Train other draws of the data (permutations: 2 or more in the spec)"
"""What may explain points that differ by more than seeds do, where nothing can be searched."""


@dataclass(frozen=True)
class _CurveData:
    """The used points of the curve in logs, with the fit that they came from."""

    points: tuple[Point, ...]
    x: Array
    y: Array
    known: Array | None
    """Variances from given standard errors, else from repeated rows; None if there are neither."""
    df: float
    """Degrees of freedom of ``known``."""
    fit: Fit | None
    unit: str
    metric: str
    fixed: bool = False
    """One model with one setting was trained: there is nothing to search."""

    @property
    def given(self) -> bool:
        """Whether the points have standard errors."""
        return bool(self.points) and all(p.se_log for p in self.points)

    def where(self, i: int) -> str:
        return f"{numbers.exact(self.points[i].samples)} {self.unit}"

    @property
    def name(self) -> str:
        """What ``error`` shows: 'error', or the name of a score or a perplexity."""
        how = numbers.scale(self.metric)
        return how.label if how.own else "error"

    @property
    def worsens(self) -> str:
        higher = numbers.scale(self.metric).higher
        return f"The {self.name} {'falls' if higher else 'rises'}"

    def error(self, i: int) -> str:
        return self.measured(self.points[i].error)

    @property
    def _how(self) -> numbers.Scale:
        return numbers.scale(self.metric, max(p.error for p in self.points))

    def measured(self, error: float) -> str:
        return numbers.measured(error, self._how)

    def beside(self, i: int, expected: float) -> str:
        """How far and on which side of an ``expected`` log error a point lies, as its user sees
        it: 0.6 points above."""
        how, error, other = self._how, self.points[i].error, float(np.exp(expected))
        side = "above" if (error > other) != how.higher else "below"
        return f"{numbers.distance(error, other, how)} {side}"


def _curve(source: Any, search: SearchSummary, x: str, y: str) -> _CurveData:
    unit, metric, fit = search.unit or "samples", "error", None
    if isinstance(source, Fit):
        fit, unit, metric, points = source, source.unit, source.metric, source.used
        runs = runs_of(source)
    else:
        if source is None or isinstance(source, list | tuple):
            curve = curve_from_points(search.points if source is None else tuple(source))
        else:
            table = curve_of(source, x=x, y=y)
            unit, metric, curve = table.unit, table.metric, curve_of_table(table)
        points, runs = curve.used, curve.run_noise
    logs = np.array([[np.log(p.samples), p.log_best] for p in points]).reshape(-1, 2)
    data = _CurveData(points, logs[:, 0], logs[:, 1], None, 0.0, fit, unit, metric, search.fixed)
    if data.given:
        se = np.array([p.se_log for p in points], float)
        return replace(data, known=np.square(se), df=GIVEN_DF)
    if runs is not None and runs.variance > 0:
        known = runs.at(data.x - data.x[-1]) / np.array([p.replicates for p in points])
        return replace(data, known=known, df=float(runs.df))
    return data


# ---------------------------------------------------------------- the curve


def _outcome(data: _CurveData) -> list[Finding]:
    if data.fit is not None and data.fit.outcome in ("bound hit", "not converged"):
        evidence = data.fit.supports or "no law fits these points within its bounds."
        step = "Look at the curve: one bad point or a mix of metrics is the usual cause."
        return [Finding("fit", SERIOUS, "the fit", f"{data.fit.outcome}: {evidence}", step)]
    if 0 < len(data.points) < 4:
        left_out = () if data.fit is None else data.fit.points
        measured = {p.samples for p in (*data.points, *left_out)}
        evidence = few_sizes(len(data.points), len(measured))
        if any(p.reason == "small-data" for p in left_out):  # smaller ones would be so, too
            step = "Measure larger shards: the smallest ones show what a constant guess would."
        else:
            step = "Measure more sizes, smaller or larger."
        return [Finding("few points", SERIOUS, "the curve", evidence, step)]
    return []


def _missed(data: _CurveData, confrontations: Iterable[HeldOutForecast]) -> list[Finding]:
    """Held-out shards that were measured outside the interval of their registered forecast."""
    findings = []
    for c in confrontations:
        if c.inside is not False or c.error is None:
            continue
        at, above = c.forecast, c.error > c.forecast.upper
        end = at.upper if above else at.lower
        how = numbers.scale(data.metric, max([c.error, at.error, *(p.error for p in data.points)]))
        beyond, forecast_distance = c.error / end, abs(float(np.log(end / at.error)))
        serious = beyond <= 0 or abs(float(np.log(beyond))) > forecast_distance
        evidence = (
            f"Measured {numbers.measured(c.error, how)}, forecast before training "
            f"{numbers.estimate(at.error, at.lower, at.upper, how)}: "
            f"{_miss(c.error, end, above, how)}. "
            "Forecasts made now use the measurement, with wider intervals for the miss."
        )
        step = (
            "Does the curve bend there? Larger training sets, or another draw of the data, show it."
            if above and data.fixed
            else "Does the curve bend there, or was one model predicted too small or badly tuned? "
            "More data, and --extend, searches that shard and answers this."
            if above
            else "Are the smaller shards searched well enough, and is V free of items of the "
            "largest shard? If so, the curve falls faster than it did."
        )
        where = f"{numbers.exact(c.samples)} {data.unit}"
        findings.append(
            Finding("missed forecast", SERIOUS if serious else WARNING, where, evidence, step)
        )
    return findings


def _miss(error: float, end: float, above: bool, how: numbers.Scale) -> str:
    """On which side of an interval with this ``end`` a value lies, as its user sees both, and by
    how much, in the unit of the metric."""
    far = numbers.distance(error, end, how)
    side, which = ("above", "upper") if above != how.higher else ("below", "lower")
    return f"{far} {side} the {which} end of the interval"


def _off_trend(data: _CurveData) -> list[Finding]:
    laws = []
    for law in data.fit.laws if data.fit is not None else ():
        values = [p.value for p in law.parameters]
        if law.law != "power" and 0 < len(values) <= 3 and None not in values:
            laws.append((LAWS[law.law], tuple(float(v or 0.0) for v in values)))
    findings = []
    for point in trend.off_trend(data.x, data.y, data.known, laws):
        p = point.p * len(data.points)
        if p > LIKELY or abs(point.excess) < VISIBLE:
            continue
        expected = data.measured(float(np.exp(point.expected)))
        evidence = (
            f"{data.error(point.index)} lies {data.beside(point.index, point.expected)} what the "
            f"other points make expected ({expected}), "
            f"{numbers.number(abs(point.t), 2)} standard errors."
        )
        step = (
            "Train that shard again (more seeds) before believing it."
            if point.excess > 0 and data.fixed
            else "Search that shard again (learning rates, sizes, more seeds) before believing it."
            if point.excess > 0
            else "Look for validation items in that shard, or for a metric computed otherwise."
        )
        findings.append(
            Finding(
                "off trend",
                SERIOUS if p < SURE else WARNING,
                data.where(point.index),
                evidence,
                step,
            )
        )
    return findings


def _mixed_rows(data: _CurveData) -> list[Finding]:
    """Repeated rows whose differences are not random: their means scatter too little for that."""
    if data.known is None or data.given or len(data.points) < 5:
        return []
    scatter, p = trend.alike(data.x, data.y, data.known, data.df)
    if p > SURE:
        return []
    rows = np.array([p.replicates for p in data.points])
    difference = relative(float(np.mean(data.known * rows)) ** 0.5)
    evidence = (
        f"Rows of one size differ by {difference} (one standard deviation), yet their means lie "
        f"within {relative(max(scatter, VISIBLE))} of a smooth curve: they do not differ by chance."
    )
    step = (
        "Are they settings or models (learning rates, epochs, folds) and not seeds? Keep the best "
        "row of each size, or separate the curves with --by."
    )
    return [Finding("mixed rows", SERIOUS, "the whole curve", evidence, step)]


def _rises(data: _CurveData) -> list[Finding]:
    if len(data.points) >= 4:
        line = fit_line(data.x, data.y, data.known)
        visible = line.slope * float(data.x[-1] - data.x[0]) > VISIBLE
        if visible and float(stdtr(line.df, -_t(line))) < SURE:
            slope = numbers.estimate(line.slope, *_ends(line))
            evidence = f"{data.worsens} with more {data.unit}: the slope is {slope}."
            step = (
                "Is it an accuracy (--higher-is-better), and are these the sizes of the training "
                "sets? No law here is of an error that rises."
            )
            return [Finding("not monotone", SERIOUS, "the whole curve", evidence, step)]
    findings = []
    for rise in trend.rises(data.x, data.y, data.known, data.df, LIKELY):
        if rise.excess < VISIBLE:
            continue
        first, last = (data.points[i].samples for i in (rise.start, rise.end))
        basis = "by the scatter of the other sizes" if data.known is None else "of that difference"
        evidence = (
            f"{data.worsens} from {data.error(rise.start)} to {data.error(rise.end)}, "
            f"{numbers.number(rise.t, 2)} standard errors {basis}."
        )
        findings.append(
            Finding(
                "not monotone",
                SERIOUS if rise.p < SURE else WARNING,
                f"{numbers.exact(first)} to {numbers.exact(last)} {data.unit}",
                evidence,
                _after_a_rise(data, rise),
            )
        )
    return findings


def _after_a_rise(data: _CurveData, rise: trend.ErrorIncrease) -> str:
    repeat = "Repeat both sizes with more seeds"
    if data.known is not None:  # more than the noise between seeds: more seeds would not help
        repeat = "Search both sizes again (learning rates, model sizes, length of training)"
        repeat = OTHER_DRAWS if data.fixed else repeat
    if rise.end == len(data.points) - 1:
        return (
            f"{repeat}, and look at the data that came last (another source, wrong labels, a "
            "sorted training set). A rise that stays is outside every law here: no forecast holds."
        )
    return (
        f"{repeat}. A rise that stays (double descent, a sorted training set) is outside every "
        "law here: fit the sizes beyond it by themselves."
    )


def _t(line: Line) -> float:
    return line.slope / max(float(line.covariance[1, 1]), 1e-24) ** 0.5


def _ends(line: Line) -> tuple[float, float]:
    """The ends of the 90 % interval of the slope."""
    half = float(stdtrit(line.df, 0.95)) * float(line.covariance[1, 1]) ** 0.5
    return line.slope - half, line.slope + half


def _noise(data: _CurveData, search: SearchSummary) -> list[Finding]:
    if len(data.points) < 4:
        return []
    if float(np.ptp(data.y)) < ROUNDING:
        return [_flat(f"The {data.name} is {data.error(0)} at every size.")]
    line = fit_line(data.x, data.y, data.known)
    scatter = min(trend.roughness(data.x, data.y), line.variance**0.5)
    known_noise = 0.0 if data.known is None else float(np.mean(data.known)) ** 0.5
    unexplained = scatter > 2 * known_noise
    noise = scatter if unexplained else known_noise
    steepest, shallowest = _ends(line)
    shown = _fit_falls(data) or 0 < 3 * known_noise < (data.y[0] - data.y[-1]) / 2**0.5
    if shallowest >= 0 and not shown:
        return [_no_fall(data, line.slope, steepest, shallowest)]
    fall = -line.slope * float(np.median(np.diff(data.x)))
    if noise < fall or fall <= 0:
        return []
    what = f"Points scatter by {relative(scatter)}"
    step = "Neighbouring sizes are indistinguishable: replicate them, or space them wider."
    if not unexplained:
        what = f"One point is known to within {relative(known_noise)} (one standard error)"
        if search.incomplete:  # their error bars hold what a better model may still take off
            step = "Run the study on: most of it is what the unfinished search may have missed."
    elif known_noise > 0:
        what += f", more than their own noise of {relative(known_noise)}"
        step = "Search every size again (learning rates, model sizes): more seeds will not help."
        step = f"{OTHER_DRAWS}: more seeds will not help." if search.fixed else step
    evidence = f"{what}; the error falls by {relative(-fall)} from one size to the next."
    return [Finding("noise", WARNING, "the whole curve", evidence, step)]


def _fit_falls(data: _CurveData) -> bool:
    """Whether the fit, which weighs all laws and structures of the noise, has a falling curve."""
    beta_g = None if data.fit is None else data.fit.beta_g
    return beta_g is not None and beta_g.upper is not None and beta_g.upper < 0


def _no_fall(data: _CurveData, slope: float, steepest: float, shallowest: float) -> Finding:
    """The finding that no decrease is shown, because the curve is flat or because it is noisy."""
    slope_text = f"The slope is {numbers.estimate(slope, steepest, shallowest)}: "
    if steepest > -FLAT and shallowest < FLAT:
        gain = relative(steepest * float(np.log(2)))
        return _flat(f"{slope_text}twice the data takes {gain} off the error at the most.")
    better = "rises" if numbers.scale(data.metric).higher else "falls"
    evidence = f"{slope_text}the points do not show that the {data.name} {better} at all."
    step = "More seeds per size, or sizes over a wider range: noise hides the trend."
    return Finding("noise", SERIOUS, "the whole curve", evidence, step)


def _flat(evidence: str) -> Finding:
    step = (
        "More data does not help here. At the level of a guess, do the models learn at all? "
        "Below it, are labels the limit, or models that are too small?"
    )
    return Finding("flat", SERIOUS, "the whole curve", evidence, step)


def _validation_se(
    data: _CurveData, search: SearchSummary, items: int | None
) -> tuple[float | None, str]:
    """The relative standard error due to the validation set at the largest size, and its name.

    It is measured item by item, else given with the curve (for best fits that is the error over
    seeds), else binomial, the largest that errors of items between 0 and 1 can have."""
    measured = search.validation_se
    if measured is None and data.fit is not None and items is None:
        measured = data.fit.noise.validation
    if measured is not None or items is None or not data.points:
        return measured, "One standard error of the validation set"
    last = data.points[-1]
    if last.se_log is not None and not search.points:
        return last.se_log, "The standard error given with the largest size"
    share = max(0.0, (1 - last.error) / (last.error * items)) ** 0.5
    return share, f"One standard error of {numbers.exact(items)} validation items"


def _validation(data: _CurveData, search: SearchSummary, items: int | None) -> list[Finding]:
    share, what = _validation_se(data, search, items)
    if share is None or len(data.points) < 2:
        return []
    fall = float(data.y[-2] - data.y[-1])
    severity = SERIOUS if share > 0.3 else WARNING if share > max(fall, 0.05) else None
    if severity is None:
        return []
    evidence = (
        f"{what} is {numbers.number(100 * share, 2)} % of the error; the last step of the "
        f"curve changes it by {relative(-fall)}."
    )
    step = (
        "Use more validation items: four times as many halve it. The slope suffers less than "
        "the level, which every point shares."
    )
    return [Finding("validation set", severity, "the validation set", evidence, step)]


def _unknown_validation(fit: Fit | None) -> list[Finding]:
    """Of a study whose own code does not say on how many items an error rate was measured."""
    if fit is None or fit.noise.validation is not None or not counts_items(fit.metric):
        return []
    evidence = (
        "On how many items an error was measured is not known: no interval has the validation "
        "set's own error."
    )
    step = "Let the code report validation_error_se, or let steep cut the set (split: validation)."
    return [Finding("validation set", NOTE, "the validation set", evidence, step)]


def _bend(data: _CurveData, search: SearchSummary) -> list[Finding]:
    bend = trend.bend(data.x, data.y, data.known)
    if bend is None or bend.p > LIKELY or abs(bend.last - bend.first) < 0.05:
        return []
    slopes = f"from {numbers.number(bend.first, 2)} to {numbers.number(bend.last, 2)}"
    if bend.t < 0:
        evidence = f"The local slope steepens {slopes} along the curve."
        step = "The smallest sizes may lie in the small-data region: give the best-guess error."
        return [Finding("small-data", NOTE, "the small sizes", evidence, step)]
    at_held_out = False
    if data.points[-1].held_out:
        known = None if data.known is None else data.known[:-1]
        before = trend.bend(data.x[:-1], data.y[:-1], known)
        at_held_out = before is None or before.p > LIKELY or before.t < 0
    cause, reasons, step = search.cause_of_bend(at_held_out)
    evidence = f"The local slope flattens {slopes}. {reasons}"
    severity = SERIOUS if cause in ("capacity", "tuning") and bend.p < SURE else WARNING
    return [Finding(f"bend: {cause}", severity, "the large sizes", evidence, step)]


def _replication(data: _CurveData, search: SearchSummary) -> list[Finding]:
    findings = []
    replicated = data.known is not None or any(p.replicates > 1 for p in data.points)
    if data.points and not replicated:
        evidence = "Every size was measured once: noise is judged from the scatter about the law."
        step = "Two or three seeds at a few sizes measure it."
        findings.append(Finding("replicates", NOTE, "the whole curve", evidence, step))
    if search.draws == 1:
        evidence = "All shards are prefixes of one permutation: what another draw of the data \
would change is not measured."
        step = "permutations: 2 or more in the spec measures it."
        findings.append(Finding("draw of the data", NOTE, "the whole curve", evidence, step))
    return findings
