"""What a reader must know before betting on a curve: findings, each with evidence and next step.

Two kinds of question. Of the curve: is a point off the trend, does the error rise, is the noise
larger than the trend, is there a bend, and why. Of the search behind it: was a best fit capped, at
the edge of its ladder or of its grid, still improving, measured by another engine. Every test of
the curve takes its noise from the curve itself and allows for the number of points tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtr, stdtrit

from steep.base.metrics import check_items
from steep.laws import LAWS
from steep.laws.law import Array
from steep.present import numbers
from steep.present.numbers import relative
from steep.present.sentences import few_sizes
from steep.questions.search_findings import NOTE, SERIOUS, WARNING, faults
from steep.questions.search_summary import Search, examine
from steep.records import BestFit, Confrontation, Finding, Fit, Measurement, Point
from steep.stats import trend
from steep.stats.curve import curve_from_columns, curve_from_points
from steep.stats.line import Line, fit_line
from steep.stats.noise import GIVEN_DF
from steep.tables.read import curve_of

if TYPE_CHECKING:
    import pandas as pd

_ORDER = (SERIOUS, WARNING, NOTE)
SURE, LIKELY = 0.005, 0.03
"""Error rates of a serious finding and of a warning about points, over all points together."""
VISIBLE = 0.01
"""Deviations of log error below this are not worth a word, however sure."""
FLAT = 0.02
"""A curve that is less steep than this, for all that is known, does not fall."""
ROUNDING = 1e-9
"""Of log error: what numbers that are equal differ by."""


def diagnose(
    curve: Fit | pd.DataFrame | Sequence[Point] | None = None,
    *,
    fit: Fit | None = None,
    best_fits: Iterable[BestFit] = (),
    measurements: Iterable[Measurement] = (),
    confrontations: Iterable[Confrontation] = (),
    frame: pd.DataFrame | None = None,
    x: str = "samples",
    y: str = "error",
    validation_items: int | None = None,
) -> tuple[Finding, ...]:
    """Findings about a curve and the search behind it, the most serious first.

    Give a fit, a table with columns ``x`` and ``y`` (and ``se``), or points; a study's best-fit
    models and measurements add what only they show, and its ``confrontations`` which forecasts of
    held-out shards missed. With best fits alone their scores are the curve. ``validation_items``:
    on how many items each error was measured, where nothing better tells the noise of the
    validation set; for error rates. Deterministic.

    Raises ValueError for ``validation_items`` below 1, or with errors that are no rate.
    """
    best_fits, measurements = tuple(best_fits), tuple(measurements)
    given = next((c for c in (fit, curve, frame) if c is not None), None)
    search = examine([b for b in best_fits if not b.waits], measurements)
    about = _curve(given, search, x, y)
    if validation_items is not None:
        check_items(
            validation_items, about.metric, max((p.error for p in about.points), default=0.0)
        )
    mixed = _mixed_rows(about)
    if mixed:  # what they differ by is no noise
        about = replace(about, known=None)
    rises = _rises(about)
    missed = _missed(about, confrontations)
    # that a point is off the trend and that its forecast missed it are one and the same
    off = [f for f in _off_trend(about) if f.where not in {m.where for m in missed}]
    findings = [*_outcome(about), *missed, *off, *mixed, *rises]
    if not rises:  # else a turn would pass for noise, for a floor or for small data
        findings += [*_noise(about), *_bend(about, search)]
    findings += [*_validation(about, search, validation_items), *_replication(about, search)]
    findings += faults(search)
    return tuple(sorted(findings, key=lambda f: _ORDER.index(f.severity)))


@dataclass(frozen=True)
class _About:
    """The used points of the curve in logs, with the fit that they came from."""

    points: tuple[Point, ...]
    x: Array
    y: Array
    known: Array | None
    """Variances: those of standard errors that were given, else of repeated rows."""
    df: float
    """Degrees of freedom of ``known``."""
    fit: Fit | None
    unit: str
    metric: str

    @property
    def given(self) -> bool:
        """Standard errors came with the points."""
        return bool(self.points) and all(p.se_log for p in self.points)

    def where(self, i: int) -> str:
        return f"{numbers.exact(self.points[i].samples)} {self.unit}"

    @property
    def name(self) -> str:
        """What ``error`` tells: 'error', or a metric of which higher is better."""
        how = numbers.scale(self.metric)
        return how.label if how.higher else "error"

    @property
    def worsens(self) -> str:
        return f"The {self.name} {'rises' if self.name == 'error' else 'falls'}"

    def error(self, i: int) -> str:
        return self.measured(self.points[i].error)

    def measured(self, error: float) -> str:
        largest = max(p.error for p in self.points)
        return numbers.measured(error, numbers.scale(self.metric, largest))


def _curve(given: Any, search: Search, x: str, y: str) -> _About:
    unit, metric, fit = search.unit or "samples", "error", None
    if isinstance(given, Fit):
        fit, unit, metric, points = given, given.unit, given.metric, given.used
        within, df = (given.noise.replicate or 0.0) ** 2, given.noise.replicate_df
    else:
        if given is None or isinstance(given, list | tuple):
            curve = curve_from_points(search.points if given is None else tuple(given))
        else:
            table = curve_of(given, x=x, y=y)
            unit, metric, curve = table.unit, table.metric, curve_from_columns(table.columns)
        points, df = curve.used, curve.within_df
        within = curve.within_squares / max(df, 1)
    logs = np.log([[p.samples, p.error] for p in points]).reshape(-1, 2)
    about = _About(points, logs[:, 0], logs[:, 1], None, 0.0, fit, unit, metric)
    if about.given:
        se = np.array([p.se_log for p in points], float)
        return replace(about, known=np.square(se), df=GIVEN_DF)
    if within > 0:
        return replace(about, known=within / np.array([p.replicates for p in points]), df=float(df))
    return about


# ---------------------------------------------------------------- the curve


def _outcome(about: _About) -> list[Finding]:
    if about.fit is not None and about.fit.outcome in ("bound hit", "not converged"):
        evidence = about.fit.supports or "no law fits these points within its bounds."
        step = "Look at the curve: one bad point or a mix of metrics is the usual cause."
        return [Finding("fit", SERIOUS, "the fit", f"{about.fit.outcome}: {evidence}", step)]
    if 0 < len(about.points) < 4:
        evidence = few_sizes(len(about.points))
        return [Finding("few points", SERIOUS, "the curve", evidence, "Measure smaller shards.")]
    return []


def _missed(about: _About, confrontations: Iterable[Confrontation]) -> list[Finding]:
    """Held-out shards whose registered forecast did not hold what was measured there."""
    found = []
    for c in confrontations:
        if c.inside is not False or c.error is None:
            continue
        at, above = c.forecast, c.error > c.forecast.upper
        end, side = (at.upper, "above") if above else (at.lower, "below")
        how = numbers.scale(
            about.metric, max([c.error, at.error, *(p.error for p in about.points)])
        )
        beyond, apart = c.error / end, abs(float(np.log(end / at.error)))
        far = beyond <= 0 or abs(float(np.log(beyond))) > apart
        evidence = (
            f"Measured {numbers.measured(c.error, how)}, forecast before training "
            f"{numbers.estimate(at.error, at.lower, at.upper, how)}: "
            f"{numbers.measured(abs(beyond - 1), numbers.PERCENT, 2)} {side} the interval. "
            "What is forecast now stands on the measurement, with wider intervals for the miss."
        )
        step = (
            "Does the curve bend there, or was one model foretold too small or badly tuned? More "
            "data, and --extend, searches that shard and tells."
            if above
            else "Are the smaller shards searched well enough, and is V free of items of the "
            "largest shard? If so, the curve falls faster than it did."
        )
        where = f"{numbers.exact(c.samples)} {about.unit}"
        found.append(Finding("missed forecast", SERIOUS if far else WARNING, where, evidence, step))
    return found


def _off_trend(about: _About) -> list[Finding]:
    laws = []
    for law in about.fit.laws if about.fit is not None else ():
        values = [p.value for p in law.parameters]
        if law.law != "power" and 0 < len(values) <= 3 and None not in values:
            laws.append((LAWS[law.law], tuple(float(v or 0.0) for v in values)))
    found = []
    for point in trend.off_trend(about.x, about.y, about.known, laws):
        p = point.p * len(about.points)
        if p > LIKELY or abs(point.excess) < VISIBLE:
            continue
        side = "above" if point.excess > 0 else "below"
        evidence = (
            f"{about.error(point.index)} lies {relative(point.excess)} {side} what the other "
            f"points make expected ({about.measured(float(np.exp(point.expected)))}), "
            f"{numbers.number(abs(point.t), 2)} standard errors."
        )
        step = (
            "Search that shard again (learning rates, sizes, more seeds) before believing it."
            if point.excess > 0
            else "Look for validation items in that shard, or for a metric computed otherwise."
        )
        found.append(
            Finding(
                "off trend",
                SERIOUS if p < SURE else WARNING,
                about.where(point.index),
                evidence,
                step,
            )
        )
    return found


def _mixed_rows(about: _About) -> list[Finding]:
    """Repeated rows whose differences cannot be chance: their means are too good for it."""
    if about.known is None or about.given or len(about.points) < 5:
        return []
    scatter, p = trend.alike(about.x, about.y, about.known, about.df)
    if p > SURE:
        return []
    rows = np.array([p.replicates for p in about.points])
    apart = relative(float(np.mean(about.known * rows)) ** 0.5)
    evidence = (
        f"Rows of one size differ by {apart} (one standard deviation), yet their means lie within "
        f"{relative(max(scatter, VISIBLE))} of a smooth curve: they do not differ by chance."
    )
    step = (
        "Are they settings or models (learning rates, epochs, folds) and not seeds? Keep the best "
        "row of each size, or tell the curves apart with --by."
    )
    return [Finding("mixed rows", SERIOUS, "the whole curve", evidence, step)]


def _rises(about: _About) -> list[Finding]:
    if len(about.points) >= 4:
        line = fit_line(about.x, about.y, about.known)
        visible = line.slope * float(about.x[-1] - about.x[0]) > VISIBLE
        if visible and float(stdtr(line.df, -_t(line))) < SURE:
            slope = numbers.estimate(line.slope, *_ends(line))
            evidence = f"{about.worsens} with more {about.unit}: the slope is {slope}."
            step = (
                "Is it an accuracy (--higher-is-better), and are these the sizes of the training "
                "sets? No law here is of an error that rises."
            )
            return [Finding("not monotone", SERIOUS, "the whole curve", evidence, step)]
    found = []
    for rise in trend.rises(about.x, about.y, about.known, about.df, LIKELY):
        if rise.excess < VISIBLE:
            continue
        first, last = (about.points[i].samples for i in (rise.start, rise.end))
        by = "by the scatter of the other sizes" if about.known is None else "of that difference"
        evidence = (
            f"{about.worsens} from {about.error(rise.start)} to {about.error(rise.end)}, "
            f"{numbers.number(rise.t, 2)} standard errors {by}."
        )
        found.append(
            Finding(
                "not monotone",
                SERIOUS if rise.p < SURE else WARNING,
                f"{numbers.exact(first)} to {numbers.exact(last)} {about.unit}",
                evidence,
                _after_a_rise(about, rise),
            )
        )
    return found


def _after_a_rise(about: _About, rise: trend.Rise) -> str:
    repeat = "Repeat both sizes with more seeds"
    if about.known is not None:  # it is no matter of seeds
        repeat = "Search both sizes again (learning rates, model sizes, length of training)"
    if rise.end == len(about.points) - 1:
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
    """Of the 90 % interval of the slope."""
    half = float(stdtrit(line.df, 0.95)) * float(line.covariance[1, 1]) ** 0.5
    return line.slope - half, line.slope + half


def _noise(about: _About) -> list[Finding]:
    if len(about.points) < 4:
        return []
    if float(np.ptp(about.y)) < ROUNDING:
        return [_flat(f"The {about.name} is {about.error(0)} at every size.")]
    line = fit_line(about.x, about.y, about.known)
    scatter = min(trend.roughness(about.x, about.y), line.variance**0.5)
    known = 0.0 if about.known is None else float(np.mean(about.known)) ** 0.5
    unexplained = scatter > 2 * known
    noise = scatter if unexplained else known
    steepest, shallowest = _ends(line)
    if shallowest >= 0 and not 0 < 3 * known < (about.y[0] - about.y[-1]) / 2**0.5:
        return [_no_fall(about, line.slope, steepest, shallowest)]
    fall = -line.slope * float(np.median(np.diff(about.x)))
    if noise < fall or fall <= 0:
        return []
    what = f"Points scatter by {relative(scatter)}"
    step = "Neighbouring sizes cannot be told apart: replicate them, or space them wider."
    if not unexplained:
        what = f"One point is known to within {relative(known)} (one standard error)"
    elif known > 0:
        what += f", more than their own noise of {relative(known)}"
        step = "Search every size again (learning rates, model sizes): more seeds will not help."
    evidence = f"{what}; the error falls by {relative(-fall)} from one size to the next."
    return [Finding("noise", WARNING, "the whole curve", evidence, step)]


def _no_fall(about: _About, slope: float, steepest: float, shallowest: float) -> Finding:
    """Nothing shows that the error falls: because it is flat, or because it is noisy."""
    said = f"The slope is {numbers.estimate(slope, steepest, shallowest)}: "
    if steepest > -FLAT and shallowest < FLAT:
        gain = relative(steepest * float(np.log(2)))
        return _flat(f"{said}twice the data takes {gain} off the error at the most.")
    better = "falls" if about.name == "error" else "rises"
    evidence = f"{said}the points do not show that the {about.name} {better} at all."
    step = "More seeds per size, or sizes over a wider range: noise hides the trend."
    return Finding("noise", SERIOUS, "the whole curve", evidence, step)


def _flat(evidence: str) -> Finding:
    step = (
        "More data does not help here. At the level of a guess, do the models learn at all? "
        "Below it, are labels the limit, or models that are too small?"
    )
    return Finding("flat", SERIOUS, "the whole curve", evidence, step)


def _validation_se(about: _About, search: Search, items: int | None) -> tuple[float | None, str]:
    """Relative, at the largest size, with what it is: measured item by item, else given with the
    curve (with best fits that is of seeds), else binomial, which errors of items between 0 and 1
    cannot exceed."""
    measured = search.validation_se
    if measured is None and about.fit is not None and items is None:
        measured = about.fit.noise.validation
    if measured is not None or items is None or not about.points:
        return measured, "One standard error of the validation set"
    last = about.points[-1]
    if last.se_log is not None and not search.points:
        return last.se_log, "The standard error given with the largest size"
    share = max(0.0, (1 - last.error) / (last.error * items)) ** 0.5
    return share, f"One standard error of {numbers.exact(items)} validation items"


def _validation(about: _About, search: Search, items: int | None) -> list[Finding]:
    share, what = _validation_se(about, search, items)
    if share is None or len(about.points) < 2:
        return []
    fall = float(about.y[-2] - about.y[-1])
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


def _bend(about: _About, search: Search) -> list[Finding]:
    found = trend.bend(about.x, about.y, about.known)
    if found is None or found.p > LIKELY or abs(found.last - found.first) < 0.05:
        return []
    slopes = f"from {numbers.number(found.first, 2)} to {numbers.number(found.last, 2)}"
    if found.t < 0:
        evidence = f"The local slope steepens {slopes} along the curve."
        step = "The smallest sizes may lie in the small-data region: give the best-guess error."
        return [Finding("small-data", NOTE, "the small sizes", evidence, step)]
    at_held_out = False
    if about.points[-1].held_out:
        known = None if about.known is None else about.known[:-1]
        before = trend.bend(about.x[:-1], about.y[:-1], known)
        at_held_out = before is None or before.p > LIKELY or before.t < 0
    cause, reasons, step = search.cause_of_bend(at_held_out)
    evidence = f"The local slope flattens {slopes}. {reasons}"
    severity = SERIOUS if cause in ("capacity", "tuning") and found.p < SURE else WARNING
    return [Finding(f"bend: {cause}", severity, "the large sizes", evidence, step)]


def _replication(about: _About, search: Search) -> list[Finding]:
    found = []
    replicated = about.known is not None or any(p.replicates > 1 for p in about.points)
    if about.points and not replicated:
        evidence = "Every size was measured once: noise is judged from the scatter about the law."
        step = "Two or three seeds at a few sizes measure it."
        found.append(Finding("replicates", NOTE, "the whole curve", evidence, step))
    if search.draws == 1:
        evidence = "All shards are prefixes of one permutation: what another draw of the data \
would change is not measured."
        step = "permutations: 2 or more in the spec measures it."
        found.append(Finding("draw of the data", NOTE, "the whole curve", evidence, step))
    return found
