"""The tables of a study: best fits, forecasts, laws, exponents, findings, the back-test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steep.present import numbers
from steep.present.numbers import PERCENT, Scale
from steep.present.table import LEFT, RIGHT, Table, label, trimmed, trimmed_of_unknown
from steep.records import (
    ALREADY_MET,
    CAPPED,
    NO_EMBEDDINGS,
    NOT_REACHABLE,
    UPPER_BOUNDS,
    Analysis,
    Backtest,
    BestFit,
    Comparison,
    Curve,
    Finding,
    Fit,
    Forecast,
    HeldOutForecast,
    Interval,
    LawFit,
    RequiredSamples,
    SizeLaw,
)

# ---------------------------------------------------------------- best fits


def study_table(analysis: Analysis) -> Table:
    """The best-fit models of a study, in the metric of its headline first."""
    if not analysis.curves:
        return best_fit_table(analysis.best_fits, analysis.metric, analysis.measures)
    first, fit = analysis.headline.metric, analysis.curves[0].fit
    headline = first if first != analysis.metric else ""
    return best_fit_table(analysis.best_fits, analysis.metric, analysis.measures, fit, headline)


def best_fit_table(
    best_fits: Sequence[BestFit],
    metric: str,
    measures: Sequence[str] = (),
    fit: Fit | None = None,
    headline: str = "",
) -> Table:
    """The best-fit model of each shard, with what the search says about it, and other
    ``measures`` among its metrics. ``fit`` is of these and knows which it does not use;
    ``headline`` is the metric that answers are about, where ``metric`` only chose the models."""
    how = numbers.scale(metric, max((b.best.score for b in best_fits), default=None))
    unit = best_fits[0].unit if best_fits else "samples"
    draws = len({b.permutation for b in best_fits}) > 1
    searched = _searched(best_fits)
    laddered = len({c.size for b in best_fits for c in b.candidates}) > 1
    scales = {name: numbers.scale(name) for name in ((headline,) if headline else ())}
    columns = [unit, *(["draw"] if draws else []), *(scale.label for scale in scales.values())]
    of = f"its {how.label} " if headline else ""
    columns += [f"chosen by {how.label}" if headline else how.label, f"{of}seed s.e.", f"{of}test"]
    others = {name: numbers.scale(name) for name in measures if name != headline}
    columns += [
        *(scale.label for scale in others.values()),
        "size",
        "parameters",
        *(["smallest adequate"] if laddered else []),
        *map(label, searched),
        "seeds",
        "remarks",
    ]
    rows = []
    for b in best_fits:
        chosen = dict(b.best.hyperparameters)
        found = {name: float(value) for name, value in b.metrics if value is not None}
        row = [numbers.exact(b.samples), *([str(b.permutation)] if draws else [])]
        row += [numbers.measured(found.get(name), scale) for name, scale in scales.items()]
        row += [
            numbers.measured(b.best.score, how),
            numbers.standard_error(b.seed_se, b.best.score, how),
        ]
        row += [numbers.measured(b.test_error, how)]
        row += [numbers.measured(found.get(name), scale) for name, scale in others.items()]
        row += [str(b.best.size)]
        row += [numbers.count(b.best.parameters or None), *([_adequate(b)] if laddered else [])]
        row += [numbers.setting(chosen.get(name, numbers.UNKNOWN)) for name in searched]
        row += [str(len(b.best.seeds)), _remarks(b, fit)]
        rows.append(tuple(row))
    align = tuple(RIGHT for _ in columns[:-1])
    return trimmed(Table("Best-fit models", tuple(columns), tuple(rows), (*align, LEFT)))


def _searched(best_fits: Sequence[BestFit]) -> list[str]:
    """Hyperparameters that take more than one value among the candidates."""
    seen: dict[str, set[Any]] = {}
    for best in best_fits:
        for candidate in best.candidates or (best.best,):
            for name, value in candidate.hyperparameters:
                seen.setdefault(name, set()).add(value)
    return [name for name, values in seen.items() if len(values) > 1]


def _adequate(best: BestFit) -> str:
    if best.held_out:  # one size was trained: nothing smaller to be adequate
        return numbers.UNKNOWN
    if best.adequate.size == best.best.size:
        return "the same"
    if not best.adequate.parameters:
        return str(best.adequate.size)
    return f"{best.adequate.size} ({numbers.count(best.adequate.parameters)})"


_EDGES = {
    "high": "best at the largest size tried",
    "low": "the smallest size tried is adequate",
}


def _remarks(best: BestFit, fit: Fit | None) -> str:
    """What to know of a row. Of the edges of the ladder that of the smallest adequate size counts,
    as in the size law, and none where larger or smaller sizes may be tried yet."""
    unfinished = bool(best.withheld) or "incomplete" in best.flags
    words = {"incomplete": "fewer seeds than requested", "rough": "its search is not finished"}
    shown = ["held out"] if best.held_out else []
    shown += [
        words.get(flag, flag)
        for flag in best.flags
        if not flag.startswith("edge") and flag not in ("withheld", "capped")
    ]
    if best.adequate_edge and not (best.held_out or unfinished):
        shown.append(_EDGES[best.adequate_edge])
    if why := _why_left_out(best, fit):
        shown.append(left_out(why))
    return ", ".join(shown)


def left_out(reason: str) -> str:
    """Why a measurement is no point of the fit, and whether the fit knows it all the same."""
    place = "an upper bound of the fit" if reason in UPPER_BOUNDS else "not in the fit"
    return f"{place}: {reason}"


def _why_left_out(best: BestFit, fit: Fit | None) -> str:
    """Why a best fit is no point of the fit; '' where it is one."""
    if best.best.capped or best.withheld:
        return CAPPED if best.best.capped else best.withheld
    points = () if fit is None else fit.points
    return next((p.reason for p in points if p.samples == best.samples and not p.used), "")


# ---------------------------------------------------------------- several curves


def overview_table(fits: Mapping[str, Fit], forecasts: Mapping[str, Forecast]) -> Table:
    """One row a curve: its sizes, its last error, its exponent and its farthest forecast."""
    rows = []
    for name, fit in fits.items():
        how = numbers.fit_scale(fit)
        last = fit.used[-1] if fit.used else None
        farthest = max(forecasts[name].at, key=lambda a: a.samples, default=None)
        there = numbers.UNKNOWN
        if farthest is not None:
            found = numbers.estimate(farthest.error, farthest.lower, farthest.upper, how)
            there = f"{numbers.factor(farthest.factor)}: {found}"
        row = [name, str(len(fit.points)), numbers.exact(last.samples) if last else numbers.UNKNOWN]
        row += [numbers.measured(last.error, how) if last else numbers.UNKNOWN]
        row += [numbers.interval(fit.beta_g) if fit.beta_g else fit.outcome, there]
        rows.append(tuple(row))
    first = next(iter(fits.values()))
    label_ = numbers.fit_scale(first).label
    columns = ("curve", "sizes", f"largest, {first.unit}", f"{label_} there", "beta_g", "forecast")
    return Table(
        "Curves", columns, tuple(rows), note=f"Brackets: {numbers.level(first.level)} intervals."
    )


def pair_table(found: Comparison) -> Table:
    """One row a pair: slopes, their difference, the data multiplier and the crossing."""
    rows = []
    for pair in found.pairs:
        slopes = [numbers.interval(s) for s in pair.slopes] or [numbers.UNKNOWN] * 2
        crossing = pair.crossing
        meets = numbers.UNKNOWN
        if crossing is not None:
            meets = crossing.outcome
            if crossing.samples is not None and crossing.samples.value is not None:
                meets = f"at {numbers.counts(crossing.samples)}"
        times = numbers.UNKNOWN
        if pair.multiplier is not None and pair.multiplier.value is not None:
            times = numbers.times(pair.multiplier)
        verdict = pair.verdict if pair.outcome == "ok" else pair.outcome
        rows.append((pair.first, pair.second, verdict, *slopes, times, meets))
    columns = ("curve", "against", "verdict", "its slope", "the other's slope", "data for the same "
               "error", "crossing")  # fmt: skip
    align = (LEFT, LEFT, LEFT, RIGHT, RIGHT, RIGHT, RIGHT)
    level = numbers.level(found.level)
    note = f"Brackets: {level} intervals. Slopes: of straight lines in log-log."
    return Table("Each with each", columns, tuple(rows), align, note)


# ---------------------------------------------------------------- forecasts


def forecast_table(forecast: Forecast, fit: Fit | None = None) -> Table:
    """Errors at sizes, then samples for targets, each with its interval."""
    how = numbers.forecast_scale(forecast, fit)
    sized = any(a.parameters for a in forecast.at) or any(t.parameters for t in forecast.targets)
    largest = numbers.largest_measured(fit)
    columns = ["question", how.label, forecast.unit]
    counted = any(a.flops for a in forecast.at) or any(t.flops for t in forecast.targets)
    columns += ["parameters"] if sized else []
    columns += ["training FLOPs"] if counted else []
    rows = []
    for a in sorted(forecast.at, key=lambda a: a.samples):
        row = [f"{numbers.factor(a.samples / largest if largest else a.factor)} the data"]
        row += [numbers.estimate(a.error, a.lower, a.upper, how), numbers.count(a.samples)]
        rows.append(row + _cost(a.parameters, a.flops)[: sized + counted])
    for t in forecast.targets:
        goal = numbers.target(t.target, how)
        plain = numbers.target(t.target, how, name=False)
        row = [f"to reach {goal}", _reachable(t.unreachable, plain), _needed(t)]
        rows.append(row + _cost(t.parameters, t.flops)[: sized + counted])
    note = f"Brackets: {numbers.level(forecast.level)} intervals"
    if forecast.at and forecast.runs is not None:
        note += f"; of errors, prediction intervals for {_whose(forecast.runs, fit)}"
    note += f". Largest size: {numbers.exact(largest)} {forecast.unit}." if largest else "."
    return Table("Forecast", tuple(columns), tuple(map(tuple, rows)), note=note)


def _whose(runs: int, fit: Fit | None) -> str:
    if fit is None or fit.runs in (runs, None):
        return f"one new {numbers.runs(runs)}"
    return f"one new run (the points are means of {fit.runs})"


def forecast_text(forecast: Forecast, fit: Fit | None = None) -> str:
    """The same for a pipe, its note below."""
    table = forecast_table(forecast, fit)
    return f"{table.text()}\n{table.note}" if table.rows else ""


def _reachable(never: float, goal: str) -> str:
    return f"{goal} (never: {numbers.share(never)})" if never >= 0.005 else goal


def _needed(found: RequiredSamples) -> str:
    """The samples that a target needs, or why there is no such number."""
    if found.outcome == ALREADY_MET:
        return f"{numbers.count(found.samples)} or less"
    if found.samples is not None:
        return numbers.counts(Interval(found.samples, found.lower, found.upper), found.smallest)
    if found.outcome == NOT_REACHABLE or found.lower is None:
        return found.outcome
    return f"{found.outcome}, else at least {numbers.count(found.lower, 2)}"


def _cost(parameters: Interval | None, flops: Interval | None) -> list[str]:
    return [numbers.counts(parameters), numbers.operations(flops)]


_INSIDE = {True: "inside", False: "outside", None: ""}


def held_out_table(found: Sequence[HeldOutForecast], how: Scale, unit: str) -> Table:
    """Each registered forecast beside what was measured afterwards."""
    columns = (unit, "forecast", "measured", "verdict", "test", "size", "why this size", "made")
    rows = tuple(
        (
            numbers.exact(c.samples),
            numbers.estimate(c.forecast.error, c.forecast.lower, c.forecast.upper, how),
            numbers.measured(c.error, how) if c.error is not None else "not yet",
            ", ".join(filter(None, [_INSIDE[c.inside], c.remark])),
            numbers.measured(c.test_error, how),
            f"{c.size} ({numbers.count(c.parameters)})" if c.parameters else str(c.size),
            c.size_reason,
            numbers.moment(c.registered) + (" (afterwards)" if c.afterwards else ""),
        )
        for c in found
    )
    align = (RIGHT, RIGHT, RIGHT, LEFT, RIGHT, RIGHT, LEFT, LEFT)
    note = (
        "Made: when the forecast was written down, before the held-out shard was trained (UTC). "
        "Measured: the one model trained to meet it. All other forecasts here use the measurement."
    )
    if any(c.afterwards for c in found):
        note += (
            " Afterwards: nothing proves that it was written down before; it is no test of the "
            "forecast."
        )
    title = f"Forecast against truth, {how.label}"
    return trimmed_of_unknown(Table(title, columns, rows, align, note), "test")


def backtest_table(found: Backtest) -> Table:
    """Sizes that were hidden from the fit, forecast and measured."""
    how = numbers.scale(found.metric, max((s.error for s in found.scores), default=None))
    columns = (
        "forecast",
        "from",
        found.unit,
        "forecast " + how.label,
        "measured",
        "verdict",
        "off by",
    )
    rows = tuple(
        (
            numbers.factor(s.factor) + (" (registered)" if s.registered else ""),
            f"{s.points} points",
            numbers.exact(s.samples),
            numbers.estimate(s.forecast, s.lower, s.upper, how),
            numbers.measured(s.error, how),
            "inside" if s.inside else "outside",
            numbers.measured(math.expm1(s.log_error), PERCENT, 2),
        )
        for s in found.scores
    )
    align = (RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, LEFT, RIGHT)
    note = f"Brackets: {numbers.level(found.level)} intervals."
    if any(s.registered for s in found.scores):
        note += (
            " Registered: as written down before that size was trained; the others are made now, "
            "when more is known of the noise."
        )
    if how.exponential:
        note += f" Off by: as a share of the {how.fitted}."
    elif how.higher or how.unit == "%":
        note += " Off by: as a share of the error" + (f", {found.metric}." if how.higher else ".")
    return Table("Hidden sizes, forecast and measured", columns, rows, align, note)


# ---------------------------------------------------------------- laws


def law_table(fit: Fit) -> Table:
    """The candidate laws: weight, parameters with intervals, scatter, outcome."""
    rows = tuple(
        (
            law.law,
            weight_text(fit, law),
            parameters_text(law),
            law.formula,
            numbers.measured(law.scatter, PERCENT, 2),
            law.outcome + (f": {law.reason}" if law.reason else ""),
        )
        for law in fit.laws
    )
    columns = ("law", "weight", "parameters", "formula", "scatter", "outcome")
    note = (
        f"Weights: evidence among the laws. Parameters: {numbers.level(fit.level)} "
        "profile-likelihood intervals, each of its own law."
    )
    return Table("Laws", columns, rows, (LEFT, RIGHT, LEFT, LEFT, RIGHT, LEFT), note)


def weight_text(fit: Fit, law: LawFit) -> str:
    """The evidence of a law; where the points cannot determine it, its weight is the prior's."""
    tested = len(fit.used) > 3 and law.outcome != "too few points"
    return numbers.share(law.weight) if tested else numbers.UNKNOWN


def parameters_text(law: LawFit) -> str:
    """Each parameter of a law with its interval."""
    return ", ".join(
        f"{name} = {_wide(value)}" for name, value in zip(law.names, law.parameters, strict=True)
    )


def _wide(found: Interval) -> str:
    """An interval whose ends may differ by orders of magnitude: three digits each."""
    if found.value is None:
        return numbers.UNKNOWN
    if found.lower is None and found.upper is None:
        return numbers.number(found.value)
    return numbers.estimate(found.value, found.lower, found.upper)


def slope_table(analysis: Analysis) -> Table:
    """beta_g of each metric and part: selection on V first, the untouched test part beside it."""
    columns = ("metric", "part", "beta_g", "points", "scatter", "remark")
    rows = tuple(
        (
            _scale(c).label,
            c.part,
            numbers.interval(c.fit.beta_g) if c.fit.beta_g else "not measured",
            str(len(c.fit.used)),
            numbers.measured(c.fit.noise.scatter, PERCENT, 2),
            c.fit.beta_g_reason or ("" if c.fit.outcome == "ok" else c.fit.outcome),
        )
        for c in analysis.curves
    )
    align = (LEFT, LEFT, RIGHT, RIGHT, RIGHT, LEFT)
    return trimmed(Table("Exponents by metric", columns, rows, align))


def curves_table(curves: Sequence[Curve]) -> Table:
    """Every metric and part at the sizes forecast: one row a curve."""
    places = sorted({a.samples for c in curves for a in c.forecast.at})
    largest = max((numbers.largest_measured(c.fit) or 0.0 for c in curves), default=0.0)
    rows = []
    for c in curves:
        found = {a.samples: a for a in c.forecast.at}
        cells = [
            numbers.estimate(a.error, a.lower, a.upper, _scale(c)) if a else numbers.UNKNOWN
            for a in map(found.get, places)
        ]
        rows.append((_scale(c).label, c.part, *cells))
    columns = ("metric", "part", *(_times(p, largest) for p in places))
    align = (LEFT, LEFT, *(RIGHT for _ in places))
    return Table("Forecast of every metric", columns, tuple(rows), align)


def _times(samples: float, largest: float) -> str:
    return f"{numbers.factor(samples / largest)} the data" if largest else numbers.count(samples)


def _scale(curve: Curve) -> Scale:
    return numbers.forecast_scale(curve.forecast, curve.fit)


def counted_laws(laws: Sequence[tuple[str, SizeLaw]]) -> list[tuple[str, SizeLaw]]:
    """The size laws but those by a count that the trainer has no use for, such as parameters
    without embeddings where there are no embeddings."""
    return [(name, law) for name, law in laws if law.reason != NO_EMBEDDINGS]


def size_law_table(analysis: Analysis) -> Table:
    """beta_p by each definition of the best-fit size."""
    columns = ("best-fit size", "beta_p", "sigma", "inside the ladder", "at its edge", "remark")
    rows = tuple(
        (
            name,
            numbers.interval(law.beta_p) if law.outcome == "ok" else "not measured",
            _wide(law.sigma) if law.sigma else numbers.UNKNOWN,
            str(law.two_sided),
            str(law.censored),
            law.reason,
        )
        for name, law in counted_laws(analysis.size_laws)
    )
    align = (LEFT, RIGHT, RIGHT, RIGHT, RIGHT, LEFT)
    return trimmed(Table("Size laws", columns, rows, align))


def finding_table(findings: Sequence[Finding]) -> Table:
    """What was flagged, the serious first."""
    order = {"serious": 0, "warning": 1, "note": 2}
    ranked = sorted(findings, key=lambda f: order.get(f.severity, 3))
    columns = ("severity", "what", "where", "evidence", "next step")
    rows = tuple((f.severity, f.kind, f.where, f.evidence, f.next_step) for f in ranked)
    return Table("Flagged", columns, rows, (LEFT,) * 5)
