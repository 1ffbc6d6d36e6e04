"""What a reader must know before betting on a curve: findings, each with evidence and next step.

Two kinds of question. Of the curve: is a point off the trend, does the error rise, is the noise
larger than the trend, is there a bend, and why. Of the search behind it: was a best fit capped, at
the edge of its ladder or of its grid, still improving, measured by another engine. Every test of
the curve takes its noise from the curve itself and allows for the number of points tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from steep.columns import LOSSES
from steep.evidence import Search, examine
from steep.laws import LAWS
from steep.laws.law import Array
from steep.present import numbers
from steep.records import BestFit, Finding, Fit, Measurement, Point
from steep.stats import trend
from steep.stats.curve import curve_from_columns, curve_from_points
from steep.stats.line import fit_line
from steep.table import curve_of

if TYPE_CHECKING:
    import pandas as pd

SERIOUS, WARNING, NOTE = "serious", "warning", "note"
_ORDER = (SERIOUS, WARNING, NOTE)
SURE, LIKELY = 0.005, 0.03
"""Error rates of a serious finding and of a warning about points, over all points together."""
VISIBLE = 0.01
"""Deviations of log error below this are not worth a word, however sure."""


def diagnose(
    curve: Fit | pd.DataFrame | Sequence[Point] | None = None,
    *,
    fit: Fit | None = None,
    best_fits: Iterable[BestFit] = (),
    measurements: Iterable[Measurement] = (),
    frame: pd.DataFrame | None = None,
    x: str = "samples",
    y: str = "error",
    validation_items: int | None = None,
) -> tuple[Finding, ...]:
    """Findings about a curve and the search behind it, the most serious first.

    Give a fit, a table with columns ``x`` and ``y`` (and ``se``), or points; a study's best-fit
    models and measurements add what only they show. With best fits alone their scores are the
    curve. ``validation_items``: on how many items each error was measured, where nothing better
    tells the noise of the validation set; for error rates. Deterministic.

    Raises ValueError for ``validation_items`` below 1, or with errors that are no rate.
    """
    best_fits, measurements = tuple(best_fits), tuple(measurements)
    given = next((c for c in (fit, curve, frame) if c is not None), None)
    search = examine([b for b in best_fits if not b.held_out], measurements)
    about = _curve(given, search, x, y)
    if validation_items is not None:
        _counts(about, validation_items)
    findings = [*_outcome(about), *_off_trend(about), *_rises(about), *_noise(about)]
    findings += [*_validation(about, search, validation_items), *_bend(about, search)]
    findings += _replication(about, search)
    findings += [*_ladder(search), *_grids(search), *_ends(search), *_engines(search)]
    return tuple(sorted(findings, key=lambda f: _ORDER.index(f.severity)))


@dataclass(frozen=True)
class _About:
    """The used points of the curve in logs, with the fit that they came from."""

    points: tuple[Point, ...]
    x: Array
    y: Array
    known: Array | None
    fit: Fit | None
    unit: str
    metric: str

    def where(self, i: int) -> str:
        return f"{numbers.exact(self.points[i].samples)} {self.unit}"

    def error(self, i: int) -> str:
        return self.measured(self.points[i].error)

    def measured(self, error: float) -> str:
        largest = max(p.error for p in self.points)
        return numbers.measured(error, numbers.scale(self.metric, largest))


def _curve(given: Any, search: Search, x: str, y: str) -> _About:
    unit, metric, fit = "samples", "error", None
    if isinstance(given, Fit):
        fit, unit, metric, points = given, given.unit, given.metric, given.used
    elif isinstance(given, list | tuple):
        points = curve_from_points(tuple(given)).used
    elif given is not None:
        table = curve_of(given, x=x, y=y)
        unit, metric, points = table.unit, table.metric, curve_from_columns(table.columns).used
    else:
        points = curve_from_points(search.points).used
    if search.unit and fit is None:
        unit = search.unit
    logs = np.log([[p.samples, p.error] for p in points]).reshape(-1, 2)
    known = [p.se_log for p in points]
    variance = None if not all(known) else np.square(np.array(known, float))
    return _About(points, logs[:, 0], logs[:, 1], variance, fit, unit, metric)


def _percent(log_ratio: float) -> str:
    """A difference of log error as a relative one."""
    return f"{numbers.number(100 * abs(float(np.expm1(log_ratio))), 2)} %"


# ---------------------------------------------------------------- the curve


def _outcome(about: _About) -> list[Finding]:
    if about.fit is not None and about.fit.outcome in ("bound hit", "not converged"):
        evidence = about.fit.supports or "no law of the drawer fits these points within its bounds."
        step = "Look at the curve: one bad point or a mix of metrics is the usual cause."
        return [Finding("fit", SERIOUS, "the fit", f"{about.fit.outcome}: {evidence}", step)]
    if 0 < len(about.points) < 4:
        evidence = f"{len(about.points)} usable sizes: no interval of a fit rests on anything."
        return [Finding("few points", SERIOUS, "the curve", evidence, "Measure smaller shards.")]
    return []


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
            f"{about.error(point.index)} lies {_percent(point.excess)} {side} what the other "
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


def _rises(about: _About) -> list[Finding]:
    found = []
    for rise in trend.rises(about.x, about.y, about.known):
        p = rise.p * (len(about.points) - 1)
        if rise.excess < VISIBLE or p > LIKELY:
            continue
        found.append(
            Finding(
                "not monotone",
                SERIOUS if p < SURE else WARNING,
                f"{about.where(rise.index)} to {about.where(rise.index + 1)}",
                f"The error rises from {about.error(rise.index)} to "
                f"{about.error(rise.index + 1)}, {numbers.number(rise.t, 2)} standard errors of "
                "the curve's own noise.",
                "Repeat both sizes with more seeds; a rise that stays (double descent, a sorted "
                "training set) is outside every law here.",
            )
        )
    return found


def _noise(about: _About) -> list[Finding]:
    if len(about.points) < 4:
        return []
    line = fit_line(about.x, about.y, about.known)
    half = float(stdtrit(line.df, 0.95)) * float(line.covariance[1, 1]) ** 0.5
    if line.slope + half >= 0:
        ends = (line.slope - half, line.slope + half)
        evidence = (
            f"The slope is {numbers.estimate(line.slope, *ends)}: the points do not show that "
            "the error falls at all."
        )
        step = "More seeds per size, or sizes over a wider range: noise hides the trend."
        return [Finding("noise", SERIOUS, "the whole curve", evidence, step)]
    scatter = line.variance**0.5
    fall = -line.slope * float(np.median(np.diff(about.x)))
    if scatter < fall:
        return []
    evidence = (
        f"Points scatter by {_percent(scatter)} about a line that falls by {_percent(-fall)} from "
        "one size to the next."
    )
    step = "Neighbouring sizes cannot be told apart: replicate them, or space them wider."
    return [Finding("noise", WARNING, "the whole curve", evidence, step)]


def _counts(about: _About, items: int) -> None:
    """Raises ValueError where ``items`` do not tell the noise of the curve's errors."""
    if not items >= 1:
        raise ValueError(f"there must be at least 1 validation item, not {items}")
    largest = max((p.error for p in about.points), default=0.0)
    if about.metric in LOSSES or largest > 1:
        what = about.metric if about.metric in LOSSES else numbers.number(largest)
        raise ValueError(
            f"a number of items tells the noise of error rates, from 0 to 1, and {what} is none"
        )


def _validation_se(about: _About, search: Search, items: int | None) -> tuple[float | None, str]:
    """Relative, at the largest size, with what it is: measured item by item, else given with the
    curve (with best fits that is of seeds), else binomial, which errors of items between 0 and 1
    cannot exceed."""
    measured = search.validation_se
    if measured is None and about.fit is not None:
        measured = about.fit.noise.validation
    if measured is not None or items is None or not about.points:
        return measured, "One standard error of the validation set"
    last = about.points[-1]
    if last.se_log is not None and not search.points:
        return last.se_log, "The standard error given with the largest size"
    relative = max(0.0, (1 - last.error) / (last.error * items)) ** 0.5
    return relative, f"One standard error of {numbers.exact(items)} validation items"


def _validation(about: _About, search: Search, items: int | None) -> list[Finding]:
    relative, what = _validation_se(about, search, items)
    if relative is None or len(about.points) < 2:
        return []
    fall = float(about.y[-2] - about.y[-1])
    severity = SERIOUS if relative > 0.3 else WARNING if relative > max(fall, 0.05) else None
    if severity is None:
        return []
    evidence = (
        f"{what} is {numbers.number(100 * relative, 2)} % of the error; the last step of the "
        f"curve changes it by {_percent(-fall)}."
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
    cause, reasons, step = search.cause_of_bend()
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


# ---------------------------------------------------------------- the search


def _shards(best_fits: Sequence[BestFit]) -> str:
    """Which shards, in words: their sizes."""
    sizes = [numbers.exact(b.samples) for b in best_fits]
    text = sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"
    return f"{text} {best_fits[0].unit}"


def _ladder(search: Search) -> list[Finding]:
    plateau = [p.best for p in search.ladder if p.plateau]
    high = [p.best for p in search.ladder if p.edge == "high" and not p.plateau]
    low = [p.best for p in search.ladder if p.edge == "low" and not p.plateau]
    found = []
    if high:
        evidence = f"The best model is the largest tried ({_sizes(high)})."
        step = "Extend the ladder upwards: the best-fit error may be lower still."
        severity = SERIOUS if search.too_small else WARNING
        found.append(Finding("edge", severity, _shards(high), evidence, step))
    if low:
        evidence = f"The best model is the smallest tried ({_sizes(low)})."
        step = "Extend the ladder downwards, or read the size law as one-sided here."
        found.append(Finding("edge", NOTE, _shards(low), evidence, step))
    if plateau:
        evidence = f"Larger models are as good as {_sizes(plateau, adequate=True)} within noise."
        step = "The smallest adequate size enters the size law; more seeds would narrow it."
        found.append(Finding("plateau", NOTE, _shards(plateau), evidence, step))
    return found


def _sizes(best_fits: Sequence[BestFit], adequate: bool = False) -> str:
    sizes = sorted({b.adequate.size if adequate else b.best.size for b in best_fits})
    return f"size {', '.join(str(s) for s in sizes)}"


def _grids(search: Search) -> list[Finding]:
    found = []
    for grid in search.grids:
        where = f"{numbers.exact(grid.samples)} {grid.unit}"
        value = f"{grid.name} {numbers.number(grid.value)}"
        evidence = (
            f"The best {value} is at the edge of the {len(grid.values)} values tried, and "
            f"{_percent(grid.advantage)} better than the next."
        )
        step = "Try values beyond it: the best-fit error may be lower still."
        severity = WARNING
        if len(grid.values) > 2 and grid.advantage > 0.05 and grid.sure:
            severity = SERIOUS
        found.append(Finding("undertuned", severity, where, evidence, step))
    for name, values in search.inconsistent:
        said = ", ".join(numbers.number(v) for v in values)
        evidence = f"From the smallest shard to the largest the best {name} goes {said}."
        step = "An optimum that jumps is not found yet: compare the values at more shards or seeds."
        found.append(Finding("undertuned", WARNING, name, evidence, step))
    return found


def _ends(search: Search) -> list[Finding]:
    found = []
    if search.capped:
        evidence = "The best-fit model met the cap on steps while improving: an upper bound."
        severity = SERIOUS if 2 * len(search.capped) > search.shards else WARNING
        step = "Raise stop.max_steps; capped best fits stay out of the fit."
        found.append(Finding("capped", severity, _shards(search.capped), evidence, step))
    if search.improving:
        gain = float(np.median([gain for _, gain in search.improving]))
        evidence = f"The last evaluation was the best one, {_percent(gain)} better than before it."
        severity = SERIOUS if gain > 0.05 and 2 * len(search.improving) > search.shards else WARNING
        where = _shards([b for b, _ in search.improving])
        step = "Train longer: more patience, or more steps."
        found.append(Finding("still improving", severity, where, evidence, step))
    for word, count, at_best in search.lost:
        share = count / search.trials
        severity = SERIOUS if share > 0.5 else WARNING if share > 0.2 or at_best else NOTE
        best = ", some of them seeds of a best-fit model" if at_best else ""
        evidence = f"{count} of {search.trials} trials {word}{best}."
        steps = {
            "diverged": "Lower the largest learning rates, or clip gradients.",
            "failed": "Their reasons are in results/trials.csv.",
            "timed out": "Raise the time limit, or drop the largest sizes.",
        }
        found.append(Finding(word, severity, "the trials", evidence, steps[word]))
    return found


def _engines(search: Search) -> list[Finding]:
    found = []
    for what, values, by_size in search.mixed:
        evidence = f"One curve holds trials of {len(values)} {what}: {', '.join(values)}."
        step = "Run all trials of a curve alike: equal seeds then give equal runs."
        severity = SERIOUS if what == "engines" else WARNING
        if by_size:  # each size keeps to one: a rule of the engine, not a change half-way
            evidence += " Every model size keeps to one of them."
            step = "Nothing, where they agree: each is checked against torch when it is loaded."
            severity = NOTE
        found.append(Finding("mixed engines", severity, "the trials", evidence, step))
    return found
