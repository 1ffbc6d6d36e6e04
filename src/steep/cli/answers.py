"""Fits and forecasts of any source: a study folder, a table of results, standard input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.analysis.asked import Goal, Place, asked_about, goal_of, place_of
from steep.present import sentences
from steep.records import (
    ONE_SIZE,
    Analysis,
    Backtest,
    Candidate,
    Curve,
    Finding,
    Fit,
    Forecast,
    JointFit,
    SizeLaw,
)
from steep.spec.load import NoAnswer, QuestionError
from steep.store.folder import inside_a_study

if TYPE_CHECKING:
    from steep.analysis.published import Published
    from steep.study import Study
    from steep.tables.read import Table, TableCurve


BEST_FIT = "best fit"
"""The name of the size law of a table, whose model sizes are taken as its best fits."""


@dataclass(frozen=True)
class FittedCurve:
    """A curve with its fit, whose notes say how the table was read."""

    name: str
    fit: Fit
    size_laws: tuple[tuple[str, SizeLaw], ...] = ()
    """The size law by each definition of the best-fit size, if model sizes are known."""
    seeds: Mapping[float, int] | None = None
    """Of a study: the seeds of each size's best fit, the fewest where there are several draws."""


@dataclass(frozen=True)
class ForecastCurve:
    """A curve with its fit and forecast."""

    name: str
    fit: Fit
    forecast: Forecast
    notes: tuple[str, ...] = ()
    """Notes on the forecast, besides those of the fit."""
    requested: tuple[float, ...] = ()
    """The forecast sizes that the user requested."""
    size_laws: tuple[tuple[str, SizeLaw], ...] = ()


@dataclass(frozen=True)
class DiagnosedCurve:
    """A curve with its findings."""

    name: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BacktestedCurve:
    """A curve with its back-test."""

    name: str
    backtest: Backtest
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The source of curves: a study's folder, a published study, or a table of results.

    All fields but ``path`` ('-' is standard input) are for tables: the options of ``steep.read``,
    the error of a constant guess ('0.9' or '90%'), and whether points far off the trend get less
    weight (``robust``)."""

    path: str
    x: str | None = None
    y: str | Sequence[str] | None = None
    by: str | Sequence[str] | None = None
    se: str | None = None
    sd: str | None = None
    runs: str | None = None
    ci: str | Sequence[str] | None = None
    x_scale: str | None = None
    y_scale: str | None = None
    parameters: str | None = None
    higher_is_better: bool = False
    all_rows: bool = False
    validation_items: int | None = None
    best_guess: str | None = None
    robust: bool = False
    unique: str | None = None

    @property
    def is_study(self) -> bool:
        folder = Path(self.path)
        files = ("study.yaml", "study.json", "trials.sqlite")
        return self.path != "-" and any((folder / name).exists() for name in files)

    def study(self) -> Study | Published:
        """Open the study. Raises StoreError if it cannot be read, and QuestionError if options for
        tables were given."""
        from steep.analysis.published import Published, is_published

        table_options = [
            f"--{f.name.replace('_', '-')}"
            for f in fields(self)
            if f.name != "path" and getattr(self, f.name)
        ]
        if table_options:
            raise QuestionError(
                f"{' and '.join(table_options)}: for tables only. A study knows its own columns "
                f"and counts, and steep diagnose {self.path} says which points are off"
            )
        if is_published(self.path):
            return Published.open(self.path)
        from steep.study import Study

        return Study.open(self.path)

    def table(self, every_size: bool = False) -> Table:
        """Read the table. Raises TableError with all of its problems."""
        from steep.tables.read import read

        if self.path != "-" and (inside := inside_a_study(Path(self.path))):
            raise QuestionError(inside)
        if self.validation_items is not None and self.validation_items < 1:
            raise QuestionError(f"--validation-items {self.validation_items}: at least 1")
        options = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("path", "best_guess", "robust"):
            del options[name]
        return read(self.path, **options, every_size=every_size)


def fits_of(source: Source, level: float = 0.9) -> list[FittedCurve]:
    """Each curve of a source with its fit."""
    if source.is_study:
        analysis = source.study().analyse(level=level)
        laws, seeds = analysis.size_laws, dict[float, int]()
        for b in analysis.best_fits:
            seeds[b.samples] = min(seeds.get(b.samples, len(b.best.seeds)), len(b.best.seeds))
        return [
            FittedCurve(f"{c.metric} ({c.part})", c.fit, laws, seeds)
            for c in _headline_first(analysis)
        ]
    from steep.fit import fit
    from steep.stats.size_law import size_law_of

    guess = None if source.best_guess is None else goal_of(source.best_guess, "--best-guess")
    curves = []
    for curve in source.table().curves:
        largest = max(curve.columns["error"], default=0.0)
        best_guess = None if guess is None else guess.of(curve.metric, largest)
        items = source.validation_items
        try:
            fitted = fit(
                curve,
                level=level,
                best_guess=best_guess,
                robust=source.robust,
                validation_items=items,
            )
        except ValueError as error:
            if items is None:
                raise
            raise QuestionError(f"--validation-items: {error}") from None
        law = size_law_of(fitted.used, level)
        curves.append(FittedCurve(curve.name, fitted, () if law is None else ((BEST_FIT, law),)))
    return curves


def _headline_first(analysis: Analysis) -> list[Curve]:
    """The curves of a study, the headline curve first."""
    if not analysis.curves:
        return []
    first = analysis.headline
    return [first, *(c for c in analysis.curves if c is not first)]


def forecasts_of(
    source: Source,
    at: Sequence[str],
    targets: Sequence[str],
    level: float = 0.9,
    single_run: bool = False,
) -> list[ForecastCurve]:
    """Each curve of a source with its forecast.

    ``at`` has texts like '10x', '1e6', '2M'; ``targets`` like '0.05' or '5%'. Raises QuestionError
    for anything else, and for ``single_run`` if the noise of single runs is unknown."""
    goals = [goal_of(text) for text in targets]
    places = [place_of(text) for text in at]
    if source.is_study:
        if single_run:
            raise QuestionError("--single-run is for tables: a study's points are medians of seeds")
        return _of_study(source, places, goals, level)
    from steep.forecast import forecast, without_compute

    curves = []
    for curve in fits_of(source, level):
        fit = curve.fit
        curve_sizes = [place.samples(fit.at_hand) for place in places]
        sizes = [p for p in curve_sizes if p is not None]
        errors = [error_asked(goal, fit) for goal in goals]
        law = dict(curve.size_laws).get(BEST_FIT)
        try:
            answer = forecast(
                fit,
                at=sizes,
                target=errors,
                size_law=law,
                smallest=(fit.used[-1].parameters or 0.0) if fit.used else 0.0,
                single_run=single_run,
            )
        except ValueError as error:
            raise QuestionError(f"--single-run: {error}") from None
        notes = _about_sizes(law)
        # a table has neither the cost of a training step nor the number of steps
        answer = replace(without_compute(answer), notes=(*answer.notes, *notes))
        curves.append(ForecastCurve(curve.name, fit, answer, notes, tuple(sizes), curve.size_laws))
    return curves


def _about_sizes(law: SizeLaw | None) -> tuple[str, ...]:
    """A note on why a forecast lacks model sizes, if they were expected."""
    if law is None or law.outcome == "ok" or law.reason == ONE_SIZE:
        return ()
    return (f"Model sizes are not forecast: {law.reason}.",)


def error_asked(goal: Goal, fit: Fit) -> float:
    """A goal as an error of a fit. Raises QuestionError if its metric cannot have the value."""
    return goal.of(fit.metric, max((p.error for p in fit.points), default=0.0))


def joint_fits_of(
    path: str, columns: Mapping[str, Any], compute: str | None, options: Mapping[str, Any]
) -> list[tuple[str, JointFit]]:
    """Each curve of a table of runs, fitted jointly in data and model size. ``columns`` are options
    of ``steep.read``, ``options`` those of ``joint_of_curve``."""
    from steep.questions.joint import joint_of_curve
    from steep.tables.read import read

    source = Source(path)
    if source.is_study:
        return [(one.name, joint_of_curve(one, **options)) for one in (_runs_of(source),)]
    table = read(
        path,
        **columns,
        compute=compute,
        flops_per_parameter_sample=options["flops_per_parameter_sample"],
        every_size=True,
    )
    return [(curve.name, joint_of_curve(curve, **options)) for curve in table.curves]


def _runs_of(source: Source) -> TableCurve:
    """A study's runs as a table: every model size on every shard at its best hyperparameters.

    Raises NoAnswer if the trainer does not report the parameters of its models."""
    from steep.tables.read import TableCurve

    analysis = source.study().analyse()
    best: dict[tuple[int, float, int], Candidate] = {}
    for b in analysis.best_fits:
        for c in b.candidates:
            place = (b.permutation, b.samples, c.size)
            if place not in best or c.expected < best[place].expected:
                best[place] = c
    if not all(c.parameters for c in best.values()):
        raise NoAnswer(f"{analysis.study}: its trainer does not say how large its models are")
    columns = {
        "samples": [samples for _, samples, _ in best],
        "parameters": [float(c.parameters) for c in best.values()],
        "error": [c.score for c in best.values()],
    }
    notes = (
        f"Fitted to {len(best)} pairs of shard and model size, each at its best hyperparameters. "
        "The data are those of the shard, however often a run passed over them.",
        f"'steep cost {source.path}' says what compute buys.",
    )
    return TableCurve(analysis.study, columns, analysis.unit, analysis.metric, notes)


def _of_study(
    source: Source, places: Sequence[Place], goals: Sequence[Goal], level: float
) -> list[ForecastCurve]:
    """The forecast of a study, with model sizes and compute."""
    analysis = source.study().analyse(
        at=[place.value for place in places if not place.relative],
        times=[place.value for place in places if place.relative],
        targets=goals,
        level=level,
    )
    if not analysis.curves:
        return []
    unfinished = sentences.unfinished_sentence(analysis)
    notes: tuple[str, ...] = (unfinished,) if unfinished else ()
    doubt = sentences.serious_sentence(analysis.findings)
    notes += (doubt,) if doubt else ()
    notes += _about_sizes(dict(analysis.size_laws)["smallest adequate"])
    c = asked_about(analysis, goals)
    if c.metric != analysis.metric:
        notes = (sentences.switch_sentence(analysis.metric, c.metric), *notes)
    # the compute of a target is left to 'steep cost', which has counted steps of larger models
    targets = tuple(replace(t, flops=None) for t in c.forecast.targets)
    forecast = replace(c.forecast, targets=targets, notes=(*c.forecast.notes, *notes))
    sizes = [p for place in places if (p := place.samples(c.fit.at_hand)) is not None]
    name, laws = f"{c.metric} ({c.part})", analysis.size_laws
    return [ForecastCurve(name, c.fit, forecast, notes, tuple(sizes), laws)]


# ---------------------------------------------------------------- diagnose and back-test


def findings_of(source: Source) -> list[DiagnosedCurve]:
    """The findings about a study, or about each curve of a table."""
    if source.is_study:
        analysis = source.study().analyse()
        notes = analysis.curves[0].fit.notes if analysis.curves else ()
        if analysis.curves and analysis.headline.metric != analysis.metric:
            notes = (sentences.findings_sentence(analysis.metric), *notes)
        return [DiagnosedCurve(Path(source.path).name, analysis.findings, notes)]
    from steep.questions.diagnose import diagnose

    items = source.validation_items
    return [
        DiagnosedCurve(c.name, diagnose(c.fit, validation_items=items), c.fit.notes)
        for c in fits_of(source)
    ]


def backtests_of(source: Source, level: float = 0.9) -> list[BacktestedCurve]:
    """A back-test of each curve; a study's includes its registered forecasts, as in its report."""
    from steep.fit import fit
    from steep.questions.backtest import backtest

    if source.is_study:
        analysis = source.study().analyse(level=level)
        return [
            BacktestedCurve(
                f"{c.metric} ({c.part})",
                backtest(c.fit, fit=fit, registered=analysis.registered_of(c)),
                c.fit.notes,
            )
            for c in _headline_first(analysis)
        ]
    return [
        BacktestedCurve(c.name, backtest(c.fit, fit=fit), c.fit.notes)
        for c in fits_of(source, level)
    ]
