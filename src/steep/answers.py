"""Fits and forecasts of any source: a study folder, a table of results, standard input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.asked import place_of, samples_at, target_of
from steep.config import QuestionError
from steep.records import (
    Analysis,
    Backtest,
    Comparison,
    Curve,
    Finding,
    Fit,
    Forecast,
    Frontier,
    JointFit,
    SizeLaw,
)

if TYPE_CHECKING:
    from steep.published import Published
    from steep.study import Study
    from steep.table import Table


@dataclass(frozen=True)
class FittedCurve:
    name: str
    fit: Fit
    notes: tuple[str, ...] = ()
    accuracy: bool = False
    """Of accuracies, of which the fit has the errors."""


@dataclass(frozen=True)
class ForecastCurve:
    name: str
    fit: Fit
    forecast: Forecast
    notes: tuple[str, ...] = ()
    asked: tuple[float, ...] = ()
    """The sizes that somebody asked for, of all that are forecast."""


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
            curve.accuracy,
        )
        for curve in source.table(validation_items).curves
    ]


def forecasts_of(
    source: Source,
    at: Sequence[str],
    targets: Sequence[str],
    level: float = 0.9,
    single_run: bool = False,
) -> list[ForecastCurve]:
    """``at`` like '10x', '1e6', '2M'; ``targets`` like '0.05' or '5%'. Raises QuestionError for
    anything else, and for the noise of a ``single_run`` where it is not known."""
    goals = [target_of(text) for text in targets]
    asked = [place_of(text) for text in at]
    if source.is_study:
        if single_run:
            raise QuestionError("--single-run is for tables: a study's points are medians of seeds")
        return _of_study(source, asked, goals, level)
    from steep.forecast import forecast, without_compute
    from steep.stats.size_law import size_law_of

    found = []
    for curve in fits_of(source, level):
        places = [samples_at(place, curve.fit.reference) for place in asked]
        sizes = [p for p in places if p is not None]
        law = size_law_of(curve.fit.used, level)
        try:
            made = forecast(curve.fit, at=sizes, target=goals, size_law=law, single_run=single_run)
        except ValueError as error:
            raise QuestionError(f"--single-run: {error}") from None
        notes = (*curve.notes, *_about_sizes(law))
        if curve.accuracy and goals:
            notes += ("A target is an error: for an accuracy of 95 %, give --target 5%.",)
        made = without_compute(made)  # nobody said what a step takes, nor how many there were
        found.append(ForecastCurve(curve.name, curve.fit, made, notes, tuple(sizes)))
    return found


def _about_sizes(law: SizeLaw | None) -> tuple[str, ...]:
    """Why a forecast has no model sizes, where it might have had."""
    if law is None or law.outcome == "ok":
        return ()
    return (f"Model sizes are not forecast: {law.reason}.",)


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
    sizes = tuple(p for place in asked if (p := samples_at(place, max(fitted))) is not None)
    analysis = study.analyse(at=sizes, targets=goals, level=level)
    notes = _about_sizes(dict(analysis.size_laws)["smallest adequate"])
    return [
        ForecastCurve(f"{c.metric} ({c.part})", c.fit, c.forecast, notes, sizes)
        for c in analysis.curves[:1]
    ]


# ---------------------------------------------------------------- questions asked of fits


def comparison_of(
    sources: Sequence[Source],
    *,
    margin: float = 0.1,
    error: float | None = None,
    level: float = 0.9,
) -> Comparison:
    """Curves of several sources, or of one table that ``by`` splits, compared each with each.

    Of a study its first curve counts. Studies are paired by size, and share the noise of V, only
    where they share data and split: same files, same validation items."""
    from steep.compare import compare

    if not 0 < margin < 1:
        raise QuestionError("--margin: a share of the slope between 0 and 1")
    if error is not None and not 0 < error < math.inf:
        raise QuestionError("--error: a positive number")
    curves: dict[str, Fit] = {}
    for source in sources:
        found = fits_of(source, level)
        for curve in found[:1] if source.is_study else found:
            name = Path(source.path).name if source.is_study else curve.name
            curves[_unused(name, curves, source)] = curve.fit
    if len(curves) < 2:
        raise QuestionError("one curve cannot be compared: give another source, or split with --by")
    shared: dict[str, Any] = {}
    if all(source.is_study for source in sources):
        if _share_data(sources):
            from steep.shared_items import items_se

            items = {n: _best_items(s) for n, s in zip(curves, sources, strict=True)}
            shared = {"items_se": items_se(items)}
        else:
            shared = {"paired": False, "shared_validation": False}
    try:
        return compare(curves, margin=margin, error=error, level=level, **shared)
    except ValueError as problem:  # other units or metrics
        raise QuestionError(str(problem)) from None


def _unused(name: str, curves: dict[str, Fit], source: Source) -> str:
    if name not in curves:
        return name
    full = f"{name} ({source.path})"
    return full if full not in curves else f"{full} {len(curves)}"


def _best_items(source: Source) -> Any:
    from steep.published import Published
    from steep.shared_items import best_items

    study = source.study()
    if isinstance(study, Published):
        return study.best_items()
    return best_items(study, study.analyse())


def _share_data(sources: Sequence[Source]) -> bool:
    """Whether all were trained on the same files and validated on the same items."""
    from steep.published import Published, validation_digest

    def data(source: Source) -> tuple[dict[str, str], str]:
        study = source.study()
        if isinstance(study, Published):
            return dict(study.about["files"]), study.about["validation"]
        return dict(study.cut.files), validation_digest(study)

    first, *others = map(data, sources)
    return all(other == first for other in others)


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
