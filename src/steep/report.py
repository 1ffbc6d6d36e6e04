"""The report: the whole analysis of a study on one page that opens offline.

It is a single file without outside references: styles, script, figures and data are inside, and
its content-security policy forbids loading anything else.
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

REPORT = "Learning-curve report"


@dataclass(frozen=True)
class Section:
    """One part of the page; the fields are in the order in which they are shown."""

    name: str
    title: str
    figures: tuple[dict[str, Any], ...] = ()
    lead: tuple[str, ...] = ()
    """Sentences above the figures."""
    lines: tuple[str, ...] = ()
    folds: tuple[dict[str, Any], ...] = ()
    """Figures that are folded until the reader opens them."""
    tables: tuple[Table, ...] = ()
    findings: tuple[Finding, ...] | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    drawings: tuple[Drawing, ...] = field(default=())
    texts: tuple[tuple[str, str], ...] = ()
    """Titles, and texts that are shown as they are: logs."""
    links: tuple[tuple[str, str], ...] = ()
    """Texts, and where on the same site they lead."""


@dataclass(frozen=True)
class Page:
    """A page before it is HTML: what stands at its top, and its sections."""

    kind: str
    study: str
    about: str
    answer: str
    sections: tuple[Section, ...]
    caveat: str = ""
    serious: tuple[Finding, ...] = ()
    facts: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class CurvePage:
    """The results of one curve of a table."""

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
    """The HTML of a study's report; the arguments are those of ``study_page``."""
    return html_of(study_page(analysis, measurements, backtest, more))


def study_page(
    analysis: Analysis,
    measurements: Sequence[Measurement],
    backtest: Backtest | None = None,
    more: Sequence[Section] = (),
) -> Page:
    """The page of a study's report.

    ``measurements`` are those of all trials; ``backtest`` scores forecasts of this curve at sizes
    that were hidden from them; ``more`` sections are appended."""
    return Page(
        kind=REPORT,
        study=analysis.study,
        about=_about(analysis),
        answer=_answer(analysis),
        caveat=_caveat(analysis),
        serious=tuple(f for f in analysis.findings if f.severity == "serious")[:2],
        facts=tuple(_facts(analysis, measurements)),
        sections=(*_sections(analysis, measurements, backtest), *more),
    )


def curves_page(curves: Sequence[CurvePage], source: str, more: Sequence[Section] = ()) -> Page:
    """One page for the curves of a table: all in one figure, then each with its answer, figure,
    laws and findings."""
    fits = {page.name: page.fit for page in curves}
    together = learning_curves(fits, max((p.forecast.reach or 1.0 for p in curves), default=1.0))
    overview = Section(
        "all-curves",
        "All curves",
        figures=(shown_figure(together),),
        tables=(tables.overview_table(fits, {p.name: p.forecast for p in curves}),),
        drawings=(together,),
    )
    sections = [overview, *(_curve_section(page, i + 1) for i, page in enumerate(curves)), *more]
    unit = curves[0].fit.unit
    sizes = [p.samples for page in curves for p in page.fit.points]
    ends = " to ".join(numbers.exact(m) for m in (min(sizes), max(sizes))) if sizes else "no"
    return Page(
        kind=REPORT,
        study=source,
        about=f"A table of results: {len(curves)} curves, {ends} {unit}",
        answer=sentences.several_answers({p.name: (p.forecast, p.fit) for p in curves}),
        sections=tuple(sections),
    )


def _curve_section(page: CurvePage, number: int) -> Section:
    """The section of one curve of a table."""
    name = f"learning_curve_{number}"
    drawing = learning_curve(page.fit, page.forecast, points=MEASURED, name=name)
    lead = (sentences.answer(page.forecast, page.fit), sentences.caveat(page.forecast))
    shown = [tables.forecast_table(page.forecast, page.fit), tables.law_table(page.fit)]
    if page.backtest is not None:
        shown.append(tables.backtest_table(page.backtest))
    backtest_lines = [page.backtest.sentence] if page.backtest is not None else []
    return Section(
        f"curve-{number}",
        page.name,
        figures=(shown_figure(drawing),),
        lead=tuple(line for line in lead if line),
        lines=tuple(line for line in (*sentences.fit_lines(page.fit), *backtest_lines) if line),
        tables=tuple(table for table in shown if table.rows),
        findings=_ranked(page.findings) or None,
        drawings=(drawing,),
    )


def comparison_report(comparison: Comparison, fits: Mapping[str, Fit]) -> str:
    """The page of a comparison: the answer, the curves in one figure, each pair in sentences."""
    drawing = learning_curves(fits)
    pairs = [
        Section(
            f"pair-{i + 1}",
            f"{pair.first} against {pair.second}",
            lines=pair.sentences,
        )
        for i, pair in enumerate(comparison.pairs)
    ]
    ends = [p.samples for fit in fits.values() for p in fit.used]
    reach = " to ".join(numbers.exact(m) for m in (min(ends), max(ends))) if ends else "no"
    curves = Section("curves", "Curves", figures=(shown_figure(drawing),), drawings=(drawing,))
    exponents = Section("exponents", "Pairs", tables=(tables.pair_table(comparison),))
    input_ = Section("input", "Input", lines=comparison.notes)
    page = Page(
        kind="Comparison of learning curves",
        study=" and ".join(comparison.curves) if len(comparison.curves) < 4 else "Comparison",
        about=f"{len(comparison.curves)} curves, {reach} {comparison.unit}",
        answer=comparison.sentence,
        sections=(curves, exponents, *pairs, *([input_] if comparison.notes else [])),
    )
    return html_of(page)


def export_figures(
    analysis: Analysis, measurements: Sequence[Measurement]
) -> list[tuple[str, bytes]]:
    """Every figure of the report as PNG and SVG: (file name, content). Needs matplotlib."""
    from steep.present.plots import export

    sections = _sections(analysis, measurements, None)
    return [file for section in sections for d in section.drawings for file in export(d)]


# ---------------------------------------------------------------- the top of the page


def _is_study(analysis: Analysis) -> bool:
    """Whether the analysis is that of a study rather than of a table."""
    return bool(analysis.shards)


def _about(analysis: Analysis) -> str:
    """The line below the title: what was measured."""
    if not _is_study(analysis):
        points = analysis.curves[0].fit.points if analysis.curves else ()
        ends = " to ".join(numbers.exact(p.samples) for p in (points[0], points[-1])[: len(points)])
        return f"A table of results: {len(points)} sizes, {ends} {analysis.unit}"
    sizes = sorted({shard.samples for shard in analysis.shards})
    draws = len({shard.permutation for shard in analysis.shards})
    ends = " to ".join(numbers.exact(m) for m in (sizes[0], sizes[-1]))
    metric_label = _scale(analysis).label
    family = "" if analysis.family == "none" else f"{analysis.family} on "
    shards = f"{len(sizes)} shards, {ends} {analysis.unit}"
    shards += f", {draws} draws" if draws > 1 else ""
    trained = f"{family}{analysis.domain}, trained by {analysis.trainer}"
    return f"{trained}; {shards}; best fits chosen by {metric_label}"


def _answer(analysis: Analysis) -> str:
    if not analysis.curves:
        return "No forecast: no shard has a finished model yet"
    return sentences.answer(analysis.headline.forecast, analysis)


def _caveat(analysis: Analysis) -> str:
    parts = [sentences.unfinished_sentence(analysis)]
    parts += [sentences.caveat(analysis.headline.forecast)] if analysis.curves else []
    return " ".join(filter(None, parts))


def _facts(analysis: Analysis, measurements: Sequence[Measurement]) -> list[dict[str, str]]:
    """The key numbers at the top of the page."""
    facts = []
    if analysis.curves:
        facts += _slope_facts(analysis.headline)
    for name, law in () if analysis.one_model else analysis.size_laws[:1]:
        value = numbers.interval(law.beta_p) if law.outcome == "ok" else "not measured"
        facts.append(_fact("Model-size exponent beta_p", value, law.reason or f"by {name} size"))
    for metric, confrontation in analysis.headline_forecasts[:2]:
        scale = _scale(analysis, metric)
        error_text = (
            numbers.measured(confrontation.error, scale)
            if confrontation.error is not None
            else "not yet measured"
        )
        span = numbers.span(confrontation.forecast.lower, confrontation.forecast.upper, scale)
        verdict = {True: ", inside", False: ", outside", None: ""}[confrontation.inside]
        verdict += f", {confrontation.remark}" if confrontation.remark else ""
        place = f"{numbers.exact(confrontation.samples)} {analysis.unit}"
        metric_note = "" if metric == analysis.headline.metric else f", {scale.label}"
        facts.append(
            _fact(f"Held out: {place}{metric_note}", error_text, f"forecast {span}{verdict}")
        )
    if measurements:
        spent = numbers.duration(sum(m.seconds for m in measurements))
        work = numbers.flops(total_flops(measurements))
        flops_text = f", {work}" if work != numbers.UNKNOWN else ""
        facts.append(
            _fact("Cost", f"{len(measurements)} trials", f"{spent} of training{flops_text}")
        )
    return facts


def _slope_facts(curve: Curve) -> list[dict[str, str]]:
    """The slope of the measured points, and the error after the next doubling, which may deviate
    from that slope."""
    fit, how = curve.fit, numbers.forecast_scale(curve.forecast, curve.fit)
    if fit.beta_g is None:
        reason = sentences.slope_sentence(fit).partition(": ")[2]
        return [_fact("Exponent beta_g", "not measured", reason)]
    over = sentences.power_law_sentence(fit) or f"{len(fit.used)} points"
    value = numbers.interval(fit.beta_g)
    facts = [_fact("Exponent beta_g", value, f"of what was measured; {over}")]
    doubled = [a for a in curve.forecast.at if abs(a.factor - 2) < 0.01]
    if doubled and fit.used:
        last = max((*fit.used, *fit.bounds), key=lambda p: p.samples)
        at, now = doubled[0], numbers.measured(last.error, how)
        estimate = numbers.estimate(at.error, at.lower, at.upper, how)
        facts.append(_fact("The next doubling", estimate, f"forecast for 2x the data, {now} now"))
    return facts


def _fact(name: str, value: str, about: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "about": about}


def _scale(analysis: Analysis, metric: str = "") -> Scale:
    """The number format of a metric of the study, by default the one that selects."""
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
    """The sections about model sizes."""
    fits, laws = analysis.best_fits, analysis.size_laws
    lines = [sentences.size_sentence(name, law) for name, law in tables.counted_laws(laws)]
    drawing = model_size_curve(fits, laws, analysis.confrontations)
    by_size = error_by_size(fits, how)
    return [
        _drawn("model-size", "Model-size curve", drawing, lines),
        _drawn("error-by-size", "Error against model size", by_size),
    ]


def _learning(analysis: Analysis) -> Section:
    """The learning curves: the headline's in view, the others folded."""
    headline, chosen = analysis.headline, analysis.curves[0]
    others = [curve for curve in analysis.curves if curve not in (headline, chosen)]
    main = learning_curve(
        chosen.fit,
        chosen.forecast,
        best_fits=analysis.best_fits,
        confrontations=analysis.confrontations,
        part=chosen.part if _is_study(analysis) else "",
        points=COMPOSITE if _is_study(analysis) else MEASURED,
    )
    rest = [_other_curve(curve) for curve in others]
    lines = sentences.fit_lines(headline.fit)
    if (
        headline is not chosen
    ):  # the headline's figure comes first, that of the selecting metric second
        lines.insert(0, sentences.switch_sentence(chosen.metric, headline.metric))
        main, rest = _other_curve(headline, analysis), [main, *rest]
    draws_flagged = any(finding.kind == "draw of the data" for finding in analysis.findings)
    if _is_study(analysis) and not draws_flagged:
        lines.append(sentences.unmeasured_sentence(analysis))
    if _is_study(analysis):
        lines += [sentences.tuning_sentence(analysis), sentences.baseline_sentence(analysis)]
    return Section(
        "learning-curve",
        "Learning curve",
        figures=(shown_figure(main),),
        lines=tuple(line for line in lines if line),
        folds=tuple(shown_figure(d) for d in rest),
        drawings=(main, *rest),
    )


def _other_curve(curve: Curve, analysis: Analysis | None = None) -> Drawing:
    """The figure of a curve whose metric does not select models; of the headline's if ``analysis``
    is given."""
    confrontations = () if analysis is None else analysis.headline_forecasts
    return learning_curve(
        curve.fit,
        curve.forecast,
        confrontations=[c for metric, c in confrontations if metric == curve.metric],
        part=curve.part,
        points=COMPOSITE,
        name=f"learning_curve_{curve.metric}_{curve.part}",
    )


def _cost(analysis: Analysis) -> Section | None:
    """What lower errors would cost, on the study's machine and on others."""
    cost = analysis.cost
    if cost is None:
        return None
    how = costs.cost_scale(cost.answer)
    drawings = cost_drawings(cost.curves, how, cost.answer.unit)
    answer, unit = cost.answer, cost.answer.unit
    lead = [costs.projection_sentence(p, answer, how) for p in answer.projections]
    if answer.limit is not None:
        lead.append(costs.limit_sentence(answer.limit, unit))
    lead += [f"Assumed: {text}" for text in answer.assumptions]
    on_own_machine = answer.machine is None or answer.machine.name == costs.OWN
    place = "this study's machine" if on_own_machine else costs.site(answer)
    shown = [costs.projection_table(answer, how, f"On {place}")]
    shown += [costs.elsewhere_table(cost, how)] if cost.elsewhere else []
    shown.append(costs.purchase_table(answer.purchases, unit, how, "What compute buys"))
    return Section(
        "cost",
        "What lower errors take",
        figures=tuple(shown_figure(d) for d in drawings),
        lead=tuple(lead),
        tables=tuple(table for table in shown if table.rows),
        drawings=drawings,
    )


def _drawn(
    name: str, title: str, drawing: Drawing | None, lines: Sequence[str] = ()
) -> Section | None:
    """A section with one figure; None without one."""
    if drawing is None:
        return None
    return Section(name, title, (shown_figure(drawing),), tuple(lines), drawings=(drawing,))


def shown_figure(drawing: Drawing) -> dict[str, Any]:
    """A figure's values for the template, without its traces."""
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
    shown = tuple(_tables(analysis, how))
    return Section("tables", "Tables", tables=shown) if shown else None


def _tables(analysis: Analysis, how: Scale) -> list[Table]:
    shown = []
    if analysis.curves:
        headline = analysis.headline
        shown.append(tables.forecast_table(headline.forecast, headline.fit))
    if analysis.confrontations:
        confrontations = analysis.headline_forecasts
        if any(metric != analysis.metric for metric, _ in confrontations):
            scale = _scale(analysis, confrontations[0][0])
            shown.append(
                tables.held_out_table([c for _, c in confrontations], scale, analysis.unit)
            )
        shown.append(tables.held_out_table(analysis.confrontations, how, analysis.unit))
    shown.append(tables.study_table(analysis))
    if analysis.curves:
        shown.append(tables.law_table(analysis.headline.fit))
    if analysis.curves and _is_study(analysis):
        shown.append(tables.slope_table(analysis))
        if len(analysis.curves) > 1 and analysis.curves[0].forecast.at:
            shown.append(tables.curves_table(analysis.curves))
    if not analysis.one_model:
        shown.append(tables.size_law_table(analysis))
    return [table for table in shown if table.rows]


def _ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings by severity, the most serious first."""
    order = {"serious": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda f: order.get(f.severity, 3)))


def _about_findings(analysis: Analysis) -> tuple[str, ...]:
    """A sentence with the metric of the findings, if the page's headline has another one."""
    if not analysis.curves or analysis.headline.metric == analysis.metric or not analysis.findings:
        return ()
    return (sentences.findings_sentence(analysis.metric),)


def _backtest(backtest: Backtest) -> Section:
    table = tables.backtest_table(backtest)
    lines = (backtest.sentence,) if backtest.sentence else ()
    return Section("back-test", "Back-test", lines=lines, tables=(table,) if table.rows else ())


def _provenance(analysis: Analysis, measurements: Sequence[Measurement]) -> Section | None:
    guesses = [
        (
            f"best guess, {numbers.scale(name).label}",
            numbers.measured(float(v), numbers.scale(name)),
        )
        for name, v in analysis.best_guess
    ]
    facts = [(label(name), cell(name, v)) for name, v in analysis.provenance]
    pairs = [("trainer", analysis.trainer), *guesses, *facts]
    if not measurements and not any(value for _, value in pairs):
        return None
    lines: tuple[str, ...] = ()
    if analysis.prediction is not None and analysis.took is not None:
        lines = (took_sentence(analysis.prediction, analysis.took),)
    return Section(
        "provenance",
        "Provenance",
        lines=lines,
        tables=(_cost_table(analysis, measurements),) if measurements else (),
        pairs=tuple((name, value) for name, value in pairs if value),
    )


def _cost_table(analysis: Analysis, measurements: Sequence[Measurement]) -> Table:
    rows: list[dict[str, Any]] = []
    for samples in sorted({m.trial.samples for m in measurements}):
        trials = [m for m in measurements if m.trial.samples == samples]
        states = Counter(m.status for m in trials)
        ends = ", ".join(f"{n} {s.value}" for s, n in states.items() if s is not Status.COMPLETE)
        rows.append(
            {
                analysis.unit: numbers.exact(samples),
                "trials": len(trials),
                "seconds": sum(m.seconds for m in trials),
                "flops": total_flops(trials),
                "not complete": ends or "none",
            }
        )
    return named_table(rows, "Cost by shard")


# ---------------------------------------------------------------- the page


def html_of(page: Page) -> str:
    """The page as one HTML file without outside references."""
    templates = environment()
    drawings = [drawing for section in page.sections for drawing in section.drawings]
    return templates.get_template("report.html").render(
        page=page,
        css=asset(templates, "report.css"),
        script=asset(templates, "report.js"),
        figures=Markup(figures_json(drawings)),
        colours=Markup(figures.style(drawings)),
        version=__version__,
    )


def environment() -> Any:
    """The templates of pages, with autoescape."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("steep.present"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "no_break": sentences.no_break,
        "sentence": sentences.sentence,
        "breakable": lambda text: text.replace("\u00a0[", " ["),  # between estimate and interval
    }
    return templates


def asset(templates: Any, name: str) -> Markup:
    """A style sheet or script beside the templates."""
    return Markup(templates.loader.get_source(templates, name)[0])


def figures_json(drawings: Sequence[Drawing]) -> str:
    """What hovering needs to know of each figure, as JSON without characters that could end the
    surrounding script element."""
    values = {drawing.name: figures.hover(drawing) for drawing in drawings}
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
