"""Fits and forecasts of any source: a study folder, a table of results, standard input."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.config import QuestionError
from steep.records import (
    Analysis,
    Backtest,
    Curve,
    Finding,
    Fit,
    Forecast,
    Frontier,
    JointFit,
)

if TYPE_CHECKING:
    from steep.published import Published
    from steep.study import Study
    from steep.table import Table

_SUFFIX = {"k": 1e3, "K": 1e3, "M": 1e6, "m": 1e6, "G": 1e9, "B": 1e9, "b": 1e9, "T": 1e12}


@dataclass(frozen=True)
class FittedCurve:
    name: str
    fit: Fit
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForecastCurve:
    name: str
    fit: Fit
    forecast: Forecast
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class JointCurve:
    name: str
    unit: str
    metric: str
    fit: JointFit
    frontier: tuple[Frontier, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where curves come from: a study's folder, the tables of a published one, a table of results.

    All but ``path`` ('-' is standard input) are a table's: the names of its columns, and whether
    ``y`` is an accuracy."""

    path: str
    x: str | None = None
    y: str | None = None
    by: str | None = None
    se: str | None = None
    parameters: str | None = None
    higher_is_better: bool = False

    @property
    def is_study(self) -> bool:
        place = Path(self.path)
        known = ("study.yaml", "study.json")
        return self.path != "-" and any((place / name).exists() for name in known)

    def study(self) -> Study | Published:
        """Raises StoreError where it cannot be read."""
        from steep.published import Published, is_published

        if is_published(self.path):
            return Published.open(self.path)
        from steep.study import Study

        return Study.open(self.path)

    def table(self, validation_items: int | None = None) -> Table:
        """``validation_items``: for zero errors. Raises TableError with every problem at once."""
        from steep.table import read

        return read(
            self.path,
            x=self.x,
            y=self.y,
            by=self.by,
            se=self.se,
            parameters=self.parameters,
            higher_is_better=self.higher_is_better,
            validation_items=validation_items,
        )


def fits_of(
    source: Source, level: float = 0.9, *, validation_items: int | None = None
) -> list[FittedCurve]:
    """Each curve of a source, fitted with the same defaults whatever the source."""
    if source.is_study:
        analysis = source.study().analyse(level=level)
        return [FittedCurve(f"{c.metric} ({c.part})", c.fit) for c in analysis.curves]
    from steep.fit import fit

    return [
        FittedCurve(
            curve.name,
            fit(
                samples=curve.columns["samples"],
                error=curve.columns["error"],
                se=curve.columns.get("se"),
                parameters=curve.columns.get("parameters"),
                level=level,
                unit=curve.unit,
                metric=curve.metric,
            ),
            curve.notes,
        )
        for curve in source.table(validation_items).curves
    ]


def forecasts_of(
    source: Source, at: Sequence[str], targets: Sequence[str], level: float = 0.9
) -> list[ForecastCurve]:
    """``at`` like '10x', '1e6', '2M'; ``targets`` like '0.05' or '5%'. Raises QuestionError for
    anything else."""
    goals = [target_of(text) for text in targets]
    asked = [_place(text) for text in at]
    if source.is_study:
        return _of_study(source, asked, goals, level)
    from steep.forecast import forecast

    found = []
    for curve in fits_of(source, level):
        places = [_samples(place, curve.fit.reference) for place in asked]
        made = forecast(curve.fit, at=[p for p in places if p is not None], target=goals)
        found.append(ForecastCurve(curve.name, curve.fit, made, curve.notes))
    return found


def joint_of(source: Source, law: str, flops: Sequence[float], level: float) -> list[JointCurve]:
    """Error against data and model size together, of every curve of a table of runs.

    ``flops``: where the best-fit frontier is wanted; () for a frontier at the runs' own largest
    compute times 1, 10 and 100."""
    from steep.joint import FLOPS_PER_PARAMETER_SAMPLE, SINGLE_PASS, fit_joint, frontier

    if law not in SINGLE_PASS:
        raise QuestionError(f"unknown law {law!r}: {' or '.join(SINGLE_PASS)}")
    found = []
    for curve in source.table().curves:
        runs = curve.columns
        if "parameters" not in runs:
            raise QuestionError("a joint fit needs the model size of every run: --parameters")
        made = fit_joint(
            runs["samples"],
            runs["parameters"],
            runs["error"],
            law=law,
            level=level,
        )
        largest = max(s * n for s, n in zip(runs["samples"], runs["parameters"], strict=True))
        wanted = flops or [
            FLOPS_PER_PARAMETER_SAMPLE * largest * times for times in (1.0, 10.0, 100.0)
        ]
        known = law == "chinchilla" and made.outcome != "too few points"
        notes = tuple(note for note in curve.notes if "replicates" not in note)
        found.append(
            JointCurve(
                *(curve.name, curve.unit, curve.metric, made),
                frontier(made, wanted) if known else (),
                notes,
            )
        )
    return found


def _of_study(
    source: Source, asked: Sequence[tuple[float, bool]], goals: Sequence[float], level: float
) -> list[ForecastCurve]:
    """A study's own forecasts carry model size and compute beside the error."""
    study = source.study()
    fitted = [s.samples for s in study.shards if not s.held_out]
    places = [_samples(place, max(fitted)) for place in asked]
    analysis = study.analyse(at=[p for p in places if p is not None], targets=goals, level=level)
    return [ForecastCurve(f"{c.metric} ({c.part})", c.fit, c.forecast) for c in analysis.curves[:1]]


def _samples(place: tuple[float, bool], largest: float | None) -> float | None:
    """A size in samples; None where it is relative to a curve that has no point."""
    value, relative = place
    if not relative:
        return value
    return None if largest is None else value * largest


def _place(text: str) -> tuple[float, bool]:
    """('10x' -> (10, relative)), ('2M' -> (2e6, absolute))."""
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*([xX]|[kKmMgGbBT])?\s*", text)
    try:
        value = float(match.group(1)) if match else 0.0
    except ValueError:
        value = 0.0
    if match is None or not 0 < value < math.inf:
        raise QuestionError(f"--at {text!r}: write 10x (of the largest size used), 1e6 or 2M")
    suffix = match.group(2) or ""
    if suffix in ("x", "X"):
        return value, True
    return value * _SUFFIX.get(suffix, 1.0), False


def target_of(text: str, option: str = "--target") -> float:
    """'5%' is 0.05."""
    try:
        value = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise QuestionError(f"{option} {text!r}: write an error such as 0.05 or 5%")
    return value


# ---------------------------------------------------------------- questions asked of fits


def findings_of(
    source: Source, validation_items: int | None = None
) -> list[tuple[str, tuple[Finding, ...]]]:
    """Findings about a study, or about each curve of a table."""
    if validation_items is not None and validation_items < 1:
        raise QuestionError(f"--validation-items {validation_items}: at least 1")
    if source.is_study:
        if validation_items is not None:
            raise QuestionError("--validation-items is for tables: a study has counted its own")
        return [(Path(source.path).name, source.study().analyse().findings)]
    from steep.diagnose import diagnose

    found = fits_of(source, validation_items=validation_items)
    try:
        return [(c.name, diagnose(c.fit, validation_items=validation_items)) for c in found]
    except ValueError as error:
        if validation_items is None:
            raise
        raise QuestionError(f"--validation-items: {error}") from None


def backtests_of(source: Source, level: float = 0.9) -> list[tuple[str, Backtest]]:
    """A back-test of each curve."""
    from steep.backtest import backtest
    from steep.fit import fit

    return [(c.name, backtest(c.fit, fit=fit)) for c in fits_of(source, level)]


def report_of(
    source: Source,
    out: Path | None,
    figures: Path | None,
    publish: Path | None = None,
) -> list[Path]:
    """Write the report of a study, or of a table of results; every path written."""
    for folder in (figures, publish):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    if source.is_study:
        return _report_study(source, out, figures, publish)
    if publish is not None:
        raise QuestionError("--publish is for studies: a table is published as it is")
    from steep.backtest import backtest
    from steep.diagnose import diagnose
    from steep.fit import fit
    from steep.report import report

    found = forecasts_of(source, ["2x", "4x", "10x"], [])
    stem = "" if source.path == "-" else f"{Path(source.path).stem}-"
    path = out or Path(f"{stem}report.html")
    written = []
    for number, curve in enumerate(found):
        analysis = _of_table(curve, diagnose(curve.fit))
        place = path if len(found) == 1 else path.with_stem(f"{path.stem}-{number + 1}")
        html = report(analysis, (), backtest(curve.fit, fit=fit))
        place.write_text(html, encoding="utf-8")
        written.append(place)
        if figures is not None:
            written += _write_figures(figures / place.stem, analysis, ())
    return written


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
