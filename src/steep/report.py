"""The report: everything a study says, on one page that opens offline.

One file without a single outside reference: styles, script, figures and data are inside, and its
content-security policy forbids loading anything else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from steep import __version__
from steep.present import costs, figures, numbers, sentences, tables
from steep.present.cost_drawings import cost_drawings
from steep.present.drawing import Drawing
from steep.present.learning import COMPOSITE, MEASURED, learning_curve, learning_curves
from steep.present.lines import took_sentence
from steep.present.numbers import Scale
from steep.present.sizes import error_by_size, model_size_curve
from steep.present.table import Table, cell, label, named_table
from steep.present.training import training_curves
from steep.records import (
    Analysis,
    Backtest,
    Comparison,
    Curve,
    Finding,
    Fit,
    Forecast,
    Measurement,
    Status,
    total_flops,
)


@dataclass(frozen=True)
class Section:
    """One part of the page, in the order in which it is shown."""

    name: str
    title: str
    figures: tuple[dict[str, Any], ...] = ()
    lead: tuple[str, ...] = ()
    """Sentences above the figures."""
    lines: tuple[str, ...] = ()
    folds: tuple[dict[str, Any], ...] = ()
    """Figures that are closed until asked for."""
    tables: tuple[Table, ...] = ()
    findings: tuple[Finding, ...] | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    drawings: tuple[Drawing, ...] = field(default=())


@dataclass(frozen=True)
class CurvePage:
    """What the page of a table says of one of its curves."""

    name: str
    fit: Fit
    forecast: Forecast
    findings: tuple[Finding, ...] = ()
    backtest: Backtest | None = None


def report(
    analysis: Analysis,
    measurements: Sequence[Measurement],
    backtest: Backtest | None = None,
    more: Sequence[Section] = (),
) -> str:
    """The HTML of a report. ``measurements`` are all trials of the study; ``backtest`` says how
    well forecasts of this very curve did on sizes that were hidden from them; ``more`` sections
    stand at the end."""
    sections = [*_sections(analysis, measurements, backtest), *more]
    return _page(
        kind="Learning-curve report",
        study=analysis.study,
        about=_about(analysis),
        answer=_answer(analysis),
        caveat=_caveat(analysis),
        serious=[f for f in analysis.findings if f.severity == "serious"][:2],
        facts=_facts(analysis, measurements),
        sections=sections,
    )


def curves_report(curves: Sequence[CurvePage], source: str, more: Sequence[Section] = ()) -> str:
    """One page for the curves of a table: all in one figure, then each with its answer, its own
    figure, its laws and what was flagged."""
    fits = {page.name: page.fit for page in curves}
    together = learning_curves(fits, max((p.forecast.reach or 1.0 for p in curves), default=1.0))
    overview = Section(
        "all-curves",
        "All curves",
        figures=(_shown(together),),
        tables=(tables.overview_table(fits, {p.name: p.forecast for p in curves}),),
        drawings=(together,),
    )
    sections = [overview, *(_curve_section(page, i + 1) for i, page in enumerate(curves)), *more]
    unit = curves[0].fit.unit
    sizes = [p.samples for page in curves for p in page.fit.points]
    ends = " to ".join(numbers.exact(m) for m in (min(sizes), max(sizes))) if sizes else "no"
    return _page(
        kind="Learning-curve report",
        study=source,
        about=f"A table of results: {len(curves)} curves, {ends} {unit}",
        answer=sentences.several_answers({p.name: (p.forecast, p.fit) for p in curves}),
        caveat="",
        serious=(),
        facts=(),
        sections=sections,
    )


def _curve_section(page: CurvePage, number: int) -> Section:
    name = f"learning_curve_{number}"
    drawing = learning_curve(page.fit, page.forecast, points=MEASURED, name=name)
    lead = (sentences.answer(page.forecast, page.fit), sentences.caveat(page.forecast))
    made = [tables.forecast_table(page.forecast, page.fit), tables.law_table(page.fit)]
    if page.backtest is not None:
        made.append(tables.backtest_table(page.backtest))
    tested = [page.backtest.sentence] if page.backtest is not None else []
    return Section(
        f"curve-{number}",
        page.name,
        figures=(_shown(drawing),),
        lead=tuple(line for line in lead if line),
        lines=tuple(line for line in (*sentences.fit_lines(page.fit), *tested) if line),
        tables=tuple(table for table in made if table.rows),
        findings=_ranked(page.findings) or None,
        drawings=(drawing,),
    )


def comparison_report(found: Comparison, fits: Mapping[str, Fit]) -> str:
    """The page of a comparison: the answer, the curves in one figure, each pair in sentences."""
    drawing = learning_curves(fits)
    pairs = [
        Section(
            f"pair-{i + 1}",
            f"{pair.first} against {pair.second}",
            lines=pair.sentences,
        )
        for i, pair in enumerate(found.pairs)
    ]
    ends = [p.samples for fit in fits.values() for p in fit.used]
    reach = " to ".join(numbers.exact(m) for m in (min(ends), max(ends))) if ends else "no"
    curves = Section("curves", "Curves", figures=(_shown(drawing),), drawings=(drawing,))
    exponents = Section("exponents", "Pairs", tables=(tables.pair_table(found),))
    input_ = Section("input", "Input", lines=found.notes)
    return _page(
        kind="Comparison of learning curves",
        study=" and ".join(found.curves) if len(found.curves) < 4 else "Comparison",
        about=f"{len(found.curves)} curves, {reach} {found.unit}",
        answer=found.sentence,
        caveat="",
        serious=(),
        facts=(),
        sections=[curves, exponents, *pairs, *([input_] if found.notes else [])],
    )


def export_figures(
    analysis: Analysis, measurements: Sequence[Measurement]
) -> list[tuple[str, bytes]]:
    """Every figure of the report as PNG and SVG: (file name, content). Needs matplotlib."""
    from steep.present.plots import export

    sections = _sections(analysis, measurements, None)
    return [file for section in sections for d in section.drawings for file in export(d)]


# ---------------------------------------------------------------- the top of the page


def _is_study(analysis: Analysis) -> bool:
    """Whether steep measured it; else it is a table of somebody's results."""
    return bool(analysis.shards)


def _about(analysis: Analysis) -> str:
    if not _is_study(analysis):
        points = analysis.curves[0].fit.points if analysis.curves else ()
        ends = " to ".join(numbers.exact(p.samples) for p in (points[0], points[-1])[: len(points)])
        return f"A table of results: {len(points)} sizes, {ends} {analysis.unit}"
    sizes = sorted({shard.samples for shard in analysis.shards})
    draws = len({shard.permutation for shard in analysis.shards})
    ends = " to ".join(numbers.exact(m) for m in (sizes[0], sizes[-1]))
    how = _scale(analysis).label
    family = "" if analysis.family == "none" else f"{analysis.family} on "
    shards = f"{len(sizes)} shards, {ends} {analysis.unit}"
    shards += f", {draws} draws" if draws > 1 else ""
    trained = f"{family}{analysis.domain}, trained by {analysis.trainer}"
    return f"{trained}; {shards}; best fits chosen by {how}"


def _answer(analysis: Analysis) -> str:
    if not analysis.curves:
        return "No forecast: no shard has a finished model yet"
    return sentences.answer(analysis.headline.forecast, analysis)


def _caveat(analysis: Analysis) -> str:
    told = [sentences.unfinished_sentence(analysis)]
    told += [sentences.caveat(analysis.headline.forecast)] if analysis.curves else []
    return " ".join(filter(None, told))


def _facts(analysis: Analysis, measurements: Sequence[Measurement]) -> list[dict[str, str]]:
    """The few numbers that a reader looks for first."""
    facts = []
    if analysis.curves:
        facts += _slope_facts(analysis.headline)
    for name, law in () if analysis.one_model else analysis.size_laws[:1]:
        value = numbers.interval(law.beta_p) if law.outcome == "ok" else "not measured"
        facts.append(_fact("Model-size exponent beta_p", value, law.reason or f"by {name} size"))
    for metric, met in analysis.told_confrontations[:2]:
        how = _scale(analysis, metric)
        found = numbers.measured(met.error, how) if met.error is not None else "not yet measured"
        span = numbers.span(met.forecast.lower, met.forecast.upper, how)
        verdict = {True: ", inside", False: ", outside", None: ""}[met.inside]
        verdict = verdict or (f", {met.remark}" if met.remark else "")
        place = f"{numbers.exact(met.samples)} {analysis.unit}"
        of = "" if metric == analysis.headline.metric else f", {how.label}"
        facts.append(_fact(f"Held out: {place}{of}", found, f"forecast {span}{verdict}"))
    if measurements:
        spent = numbers.duration(sum(m.seconds for m in measurements))
        work = numbers.flops(total_flops(measurements))
        known = f", {work}" if work != numbers.UNKNOWN else ""
        facts.append(_fact("Cost", f"{len(measurements)} trials", f"{spent} of training{known}"))
    return facts


def _slope_facts(curve: Curve) -> list[dict[str, str]]:
    """The slope of what was measured, and what the next doubling brings: a curve may bend."""
    fit, how = curve.fit, numbers.forecast_scale(curve.forecast, curve.fit)
    if fit.beta_g is None:
        reason = sentences.slope_sentence(fit).partition(": ")[2]
        return [_fact("Exponent beta_g", "not measured", reason)]
    over = sentences.power_law_sentence(fit) or f"{len(fit.used)} points"
    value = numbers.interval(fit.beta_g)
    facts = [_fact("Exponent beta_g", value, f"of what was measured; {over}")]
    doubled = [a for a in curve.forecast.at if abs(a.factor - 2) < 0.01]
    if doubled and fit.used:
        at, now = doubled[0], numbers.measured(fit.used[-1].error, how)
        there = numbers.estimate(at.error, at.lower, at.upper, how)
        facts.append(_fact("The next doubling", there, f"forecast for 2x the data, {now} now"))
    return facts


def _fact(name: str, value: str, about: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "about": about}


def _scale(analysis: Analysis, metric: str = "") -> Scale:
    """Of a metric of the study, by default the one that selects."""
    metric = metric or analysis.metric
    curve = next((c for c in analysis.curves if c.metric == metric), None)
    return numbers.forecast_scale(curve.forecast, curve.fit) if curve else numbers.scale(metric)


# ---------------------------------------------------------------- sections


def _sections(
    analysis: Analysis, measurements: Sequence[Measurement], backtest: Backtest | None
) -> list[Section]:
    how = _scale(analysis)
    fits = analysis.best_fits
    sections = [
        _learning(analysis) if analysis.curves else None,
        _cost(analysis),
        *(() if analysis.one_model else _ladder(analysis, how)),
        _drawn(
            "training",
            "Training curves",
            training_curves(measurements, fits, how, analysis.unit),
        ),
        _all_tables(analysis, how),
        Section(
            "flagged",
            "Flagged",
            lines=_about_findings(analysis),
            findings=_ranked(analysis.findings),
        ),
        _backtest(backtest) if backtest is not None else None,
        _provenance(analysis, measurements),
    ]
    return [section for section in sections if section is not None]


def _ladder(analysis: Analysis, how: Scale) -> list[Section | None]:
    """What model sizes bring."""
    fits, laws = analysis.best_fits, analysis.size_laws
    told = [sentences.size_sentence(name, law) for name, law in laws]
    drawing = model_size_curve(fits, laws, analysis.confrontations)
    by_size = error_by_size(fits, how)
    return [
        _drawn("model-size", "Model-size curve", drawing, told),
        _drawn("error-by-size", "Error against model size", by_size),
    ]


def _learning(analysis: Analysis) -> Section:
    first, chosen = analysis.headline, analysis.curves[0]
    others = [curve for curve in analysis.curves if curve not in (first, chosen)]
    main = learning_curve(
        chosen.fit,
        chosen.forecast,
        best_fits=analysis.best_fits,
        confrontations=analysis.confrontations,
        part=chosen.part if _is_study(analysis) else "",
        points=COMPOSITE if _is_study(analysis) else MEASURED,
    )
    rest = [_other_curve(curve) for curve in others]
    lines = sentences.fit_lines(first.fit)
    if first is not chosen:  # the figure of what was said first goes before that of what selects
        lines.insert(0, sentences.switch_sentence(chosen.metric, first.metric))
        main, rest = _other_curve(first, analysis), [main, *rest]
    told = any(finding.kind == "draw of the data" for finding in analysis.findings)
    if _is_study(analysis) and not told:
        lines.append(sentences.unmeasured_sentence(analysis))
    if _is_study(analysis):
        lines += [sentences.tuning_sentence(analysis), sentences.baseline_sentence(analysis)]
    return Section(
        "learning-curve",
        "Learning curve",
        figures=(_shown(main),),
        lines=tuple(line for line in lines if line),
        folds=tuple(_shown(d) for d in rest),
        drawings=(main, *rest),
    )


def _other_curve(curve: Curve, analysis: Analysis | None = None) -> Drawing:
    """A curve of another metric than the one that selects; of the headline with ``analysis``."""
    told = () if analysis is None else analysis.told_confrontations
    return learning_curve(
        curve.fit,
        curve.forecast,
        confrontations=[c for metric, c in told if metric == curve.metric],
        part=curve.part,
        points=COMPOSITE,
        name=f"learning_curve_{curve.metric}_{curve.part}",
    )


def _cost(analysis: Analysis) -> Section | None:
    """For people who decide: what lower errors take, here and elsewhere."""
    found = analysis.cost
    if found is None:
        return None
    how = costs.cost_scale(found.answer)
    drawings = cost_drawings(found.curves, how, found.answer.unit)
    here, unit = found.answer, found.answer.unit
    lead = [costs.projection_sentence(p, here, how) for p in here.projections]
    if here.limit is not None:
        lead.append(costs.limit_sentence(here.limit, unit))
    lead += [f"Assumed: {text}" for text in here.assumptions]
    own = here.machine is None or here.machine.name == costs.OWN
    place = "this study's machine" if own else costs.site(here)
    made = [costs.projection_table(here, how, f"On {place}")]
    made += [costs.elsewhere_table(found, how)] if found.elsewhere else []
    made.append(costs.purchase_table(here.purchases, unit, how, "What compute buys"))
    return Section(
        "cost",
        "What lower errors take",
        figures=tuple(_shown(d) for d in drawings),
        lead=tuple(lead),
        tables=tuple(table for table in made if table.rows),
        drawings=drawings,
    )


def _drawn(
    name: str, title: str, drawing: Drawing | None, lines: Sequence[str] = ()
) -> Section | None:
    if drawing is None:
        return None
    return Section(name, title, (_shown(drawing),), tuple(lines), drawings=(drawing,))


def _shown(drawing: Drawing) -> dict[str, Any]:
    """What the template needs of a figure beside its traces."""
    return {
        "name": drawing.name,
        "title": drawing.title,
        "caption": drawing.caption,
        "legend": figures.legend(drawing),
        "svg": Markup(figures.figure(drawing)),
        "panels": drawing.panels,
        "panel_label": drawing.panel_label,
        "opens_on": drawing.opens_on,
    }


def _all_tables(analysis: Analysis, how: Scale) -> Section | None:
    found = tuple(_tables(analysis, how))
    return Section("tables", "Tables", tables=found) if found else None


def _tables(analysis: Analysis, how: Scale) -> list[Table]:
    found = []
    if analysis.curves:
        first = analysis.headline
        found.append(tables.forecast_table(first.forecast, first.fit))
    if analysis.confrontations:
        told = analysis.told_confrontations
        if any(metric != analysis.metric for metric, _ in told):
            scale = _scale(analysis, told[0][0])
            found.append(tables.confrontation_table([c for _, c in told], scale, analysis.unit))
        found.append(tables.confrontation_table(analysis.confrontations, how, analysis.unit))
    found.append(tables.study_table(analysis))
    if analysis.curves:
        found.append(tables.law_table(analysis.headline.fit))
    if analysis.curves and _is_study(analysis):
        found.append(tables.slope_table(analysis))
        if len(analysis.curves) > 1 and analysis.curves[0].forecast.at:
            found.append(tables.curves_table(analysis.curves))
    if not analysis.one_model:
        found.append(tables.size_law_table(analysis))
    return [table for table in found if table.rows]


def _ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    order = {"serious": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda f: order.get(f.severity, 3)))


def _about_findings(analysis: Analysis) -> tuple[str, ...]:
    """Of which metric they are, where the page is about another."""
    if not analysis.curves or analysis.headline.metric == analysis.metric or not analysis.findings:
        return ()
    return (sentences.findings_sentence(analysis.metric),)


def _backtest(found: Backtest) -> Section:
    table = tables.backtest_table(found)
    lines = (found.sentence,) if found.sentence else ()
    return Section("back-test", "Back-test", lines=lines, tables=(table,) if table.rows else ())


def _provenance(analysis: Analysis, measurements: Sequence[Measurement]) -> Section | None:
    guesses = [
        (
            f"best guess, {numbers.scale(name).label}",
            numbers.measured(float(v), numbers.scale(name)),
        )
        for name, v in analysis.best_guess
    ]
    known = [(label(name), cell(name, v)) for name, v in analysis.provenance]
    pairs = [("trainer", analysis.trainer), *guesses, *known]
    if not measurements and not any(value for _, value in pairs):
        return None
    took: tuple[str, ...] = ()
    if analysis.prediction is not None and analysis.took is not None:
        took = (took_sentence(analysis.prediction, analysis.took),)
    return Section(
        "provenance",
        "Provenance",
        lines=took,
        tables=(_cost_table(analysis, measurements),) if measurements else (),
        pairs=tuple((name, value) for name, value in pairs if value),
    )


def _cost_table(analysis: Analysis, measurements: Sequence[Measurement]) -> Table:
    rows: list[dict[str, Any]] = []
    for samples in sorted({m.trial.samples for m in measurements}):
        mine = [m for m in measurements if m.trial.samples == samples]
        states = Counter(m.status for m in mine)
        ends = ", ".join(f"{n} {s.value}" for s, n in states.items() if s is not Status.COMPLETE)
        rows.append(
            {
                analysis.unit: numbers.exact(samples),
                "trials": len(mine),
                "seconds": sum(m.seconds for m in mine),
                "flops": total_flops(mine),
                "not complete": ends or "none",
            }
        )
    return named_table(rows, "Cost by shard")


# ---------------------------------------------------------------- the page


def _page(sections: Sequence[Section], **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("steep.present"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "tight": sentences.tight,
        "sentence": sentences.sentence,
        "breakable": lambda text: text.replace("\u00a0[", " ["),  # between estimate and interval
    }
    source = {
        name: Markup(environment.loader.get_source(environment, f"report.{ending}")[0])  # type: ignore[union-attr]
        for name, ending in (("css", "css"), ("script", "js"))
    }
    page = environment.get_template("report.html")
    drawings = [drawing for section in sections for drawing in section.drawings]
    return page.render(
        **values,
        sections=sections,
        **source,
        figures=Markup(_json({d.name: figures.hover(d) for d in drawings})),
        colours=Markup(figures.style(drawings)),
        version=__version__,
    )


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
