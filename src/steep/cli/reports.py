"""Reports and figures as files: of a study, of a published one, of a table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.cli.answers import Source, forecasts_of
from steep.records import (
    Analysis,
    Backtest,
    Comparison,
    Curve,
    Finding,
    Fit,
    Forecast,
    Measurement,
)
from steep.spec.load import QuestionError

if TYPE_CHECKING:
    from steep.report import CurvePage, Page


@dataclass(frozen=True)
class Written:
    """The files that were written, and notes on how the table was read."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def report(
    subject: Fit | Mapping[str, Fit] | Analysis,
    measurements: Sequence[Measurement] = (),
    backtest: Backtest | None = None,
    *,
    path: str | Path | None = None,
) -> str:
    """The HTML of a report that opens offline; also written to ``path``, if given.

    The subject is a fit, several fits by name (on one page), or a study's analysis with its
    ``measurements`` and the ``backtest`` of its first curve. For a study in a folder, use
    ``Study.report``."""
    from steep.report import curves_page, html_of
    from steep.report import report as analysis_report

    if isinstance(subject, Fit):
        page = _page_of("Learning curve", subject)
        analysis = _of_table(page.name, page.fit, page.forecast, page.findings)
        html = analysis_report(analysis, (), page.backtest)
    elif isinstance(subject, Mapping):
        if not subject:
            raise ValueError("a report needs at least one fit")
        pages = [_page_of(str(n), f) for n, f in subject.items()]
        html = html_of(curves_page(pages, "Learning curves"))
    elif isinstance(subject, Analysis):
        html = analysis_report(subject, measurements, backtest)
    else:
        kind = type(subject).__name__
        raise ValueError(f"a report is of a Fit, of Fits by name or of an Analysis, not of {kind}")
    if path is not None:
        write_file(Path(path), html)
    return html


def _page_of(name: str, fit: Fit) -> CurvePage:
    """A fit with its forecasts, findings and back-test."""
    from steep.fit import fit as fit_curve
    from steep.forecast import forecast, without_compute
    from steep.questions.backtest import backtest
    from steep.questions.diagnose import diagnose
    from steep.report import CurvePage
    from steep.stats.size_law import size_law_of

    at = [] if fit.reference is None else [factor * fit.reference for factor in (2, 4, 10)]
    answer = without_compute(forecast(fit, at=at, size_law=size_law_of(fit.used, fit.level)))
    return CurvePage(name, fit, answer, diagnose(fit), backtest(fit, fit=fit_curve))


def report_of(
    source: Source,
    out: Path | None = None,
    figures: Path | None = None,
    publish: Path | None = None,
) -> Written:
    """Write the report of a study, or of a table of results: one page for all its curves."""
    if publish is not None and not source.is_study:
        raise QuestionError("--publish is for studies: a table is published as it is")
    for folder in (figures, publish):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    if source.is_study:
        return Written(tuple(_report_study(source, out, figures, publish)))
    return _report_table(source, out, figures)


def _report_table(source: Source, out: Path | None, figures: Path | None) -> Written:
    from steep.report import html_of

    page, analyses = table_page(source)
    stem = "" if source.path == "-" else f"{Path(source.path).stem}-"
    written = [out or Path(f"{stem}report.html")]
    write_file(written[0], html_of(page))
    if figures is not None:
        for number, analysis in enumerate(analyses):
            folder = figures if len(analyses) == 1 else figures / str(number + 1)
            written += _write_figures(folder, analysis, ())
    notes = dict.fromkeys(note for one in analyses for note in one.curves[0].fit.notes)
    return Written(tuple(written), tuple(notes))


def table_page(source: Source) -> tuple[Page, list[Analysis]]:
    """The page of a table's report, and each of its curves as an analysis."""
    from steep.cli.joint_report import joint_sections
    from steep.fit import fit
    from steep.questions.backtest import backtest
    from steep.questions.diagnose import diagnose
    from steep.report import CurvePage, curves_page, study_page

    curves = forecasts_of(source, ["2x", "4x", "10x"], [])
    items = source.validation_items
    analyses = [
        _of_table(c.name, c.fit, c.forecast, diagnose(c.fit, validation_items=items))
        for c in curves
    ]
    tests = [backtest(curve.fit, fit=fit) for curve in curves]
    if len(curves) == 1:
        return study_page(analyses[0], (), tests[0], joint_sections(source)), analyses
    pages = [
        CurvePage(curve.name, curve.fit, curve.forecast, analysis.findings, test)
        for curve, analysis, test in zip(curves, analyses, tests, strict=True)
    ]
    name = Path(source.path).name if source.path != "-" else "standard input"
    return curves_page(pages, name, joint_sections(source)), analyses


def comparison_report_of(
    sources: Sequence[Source], out: Path | None = None, figures: Path | None = None
) -> Written:
    """Write the page that compares several sources."""
    from steep.cli.comparisons import compared

    comparison, fits = compared(sources)
    written = [out or Path("comparison.html")]
    write_comparison(comparison, fits, written[0])
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        from steep.present.learning import learning_curves
        from steep.present.plots import export

        for name, data in export(learning_curves(fits)):
            (figures / name).write_bytes(data)
            written.append(figures / name)
    return Written(tuple(written), comparison.notes)


def write_comparison(comparison: Comparison, fits: Mapping[str, Fit], path: Path) -> None:
    """The page of a comparison as a file."""
    from steep.report import comparison_report

    write_file(path, comparison_report(comparison, fits))


def write_file(path: Path, text: str) -> None:
    """Write a file that the user named, and create its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _report_study(
    source: Source, out: Path | None, figures: Path | None, publish: Path | None
) -> list[Path]:
    from steep.analysis.published import Published, tables

    study = source.study()
    written = []
    if isinstance(study, Published):
        if publish is not None:
            raise QuestionError("--publish is for a study's folder: this one is published")
        path = out or Path(f"{study.spec.study}-report.html")
        write_file(path, study.report())
        written.append(path)
    elif out is not None:  # the study itself is only read
        write_file(out, study.report_text())
        written.append(out)
    else:
        written.append(study.report())
    if figures is not None:
        written += _write_figures(figures, study.analyse_with_cost(), study.measurements())
    if publish is not None and not isinstance(study, Published):
        for name, content in tables(study).items():
            (publish / name).write_bytes(content)
            written.append(publish / name)
    return written


def _of_table(name: str, fit: Fit, forecast: Forecast, findings: tuple[Finding, ...]) -> Analysis:
    """A table's curve as an analysis, with the fields that a report needs."""
    fitted = Curve(fit.metric, "validation", fit, forecast)
    return Analysis(
        name,
        "",
        "",
        "",
        fit.unit,
        fit.metric,
        (),
        (),
        (),
        (fitted,),
        (),
        findings=findings,
    )


def _write_figures(folder: Path, analysis: Analysis, measurements: Sequence[Any]) -> list[Path]:
    from steep.report import export_figures

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, data in export_figures(analysis, measurements):
        (folder / name).write_bytes(data)
        written.append(folder / name)
    return written
