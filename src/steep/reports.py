"""Reports and figures as files: of a study, of a published one, of a table of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.answers import ForecastCurve, Source, forecasts_of
from steep.config import QuestionError
from steep.records import Analysis, Curve, Finding


@dataclass(frozen=True)
class Written:
    """The files that were written, and what was done to the table that they are about."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def report_of(
    source: Source,
    out: Path | None,
    figures: Path | None,
    publish: Path | None = None,
) -> Written:
    """Write the report of a study, or of a table of results."""
    for folder in (figures, publish):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    if source.is_study:
        return Written(tuple(_report_study(source, out, figures, publish)))
    if publish is not None:
        raise QuestionError("--publish is for studies: a table is published as it is")
    from steep.backtest import backtest
    from steep.diagnose import diagnose
    from steep.fit import fit
    from steep.report import report

    found = forecasts_of(source, ["2x", "4x", "10x"], [])
    stem = "" if source.path == "-" else f"{Path(source.path).stem}-"
    path = out or Path(f"{stem}report.html")
    written: list[Path] = []
    for number, curve in enumerate(found):
        analysis = _of_table(curve, diagnose(curve.fit))
        place = path if len(found) == 1 else path.with_stem(f"{path.stem}-{number + 1}")
        html = report(analysis, (), backtest(curve.fit, fit=fit))
        place.write_text(html, encoding="utf-8")
        written.append(place)
        if figures is not None:
            written += _write_figures(figures / place.stem, analysis, ())
    notes = dict.fromkeys(note for curve in found for note in curve.fit.notes)
    return Written(tuple(written), tuple(notes))


def _report_study(
    source: Source, out: Path | None, figures: Path | None, publish: Path | None
) -> list[Path]:
    from steep.published import Published, tables

    study = source.study()
    written = []
    if isinstance(study, Published):
        if publish is not None:
            raise QuestionError("--publish is for a study's folder: this one is published")
        path = out or Path(f"{study.spec.study}-report.html")
        path.write_text(study.report(), encoding="utf-8")
        written.append(path)
    elif out is not None:
        raise QuestionError("--out is for tables: the report of a study lies in its folder")
    else:
        written.append(study.report())
    if figures is not None:
        written += _write_figures(figures, study.analyse_with_cost(), study.measurements())
    if publish is not None and not isinstance(study, Published):
        for name, content in tables(study).items():
            (publish / name).write_bytes(content)
            written.append(publish / name)
    return written


def _of_table(curve: ForecastCurve, findings: tuple[Finding, ...]) -> Analysis:
    """A curve that somebody else measured, as far as a report needs an analysis."""
    fitted = Curve(curve.fit.metric, "validation", curve.fit, curve.forecast)
    return Analysis(
        curve.name,
        "",
        "",
        "",
        curve.fit.unit,
        curve.fit.metric,
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
