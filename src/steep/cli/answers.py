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
"""How a table's model sizes are called, which are its best fits as they come."""


@dataclass(frozen=True)
class FittedCurve:
    """What was done to a table to get at the curve is in the notes of the fit."""

    name: str
    fit: Fit
    size_laws: tuple[tuple[str, SizeLaw], ...] = ()
    """beta_p by each definition of the best-fit size, where model sizes are known."""


@dataclass(frozen=True)
class ForecastCurve:
    name: str
    fit: Fit
    forecast: Forecast
    notes: tuple[str, ...] = ()
    """Of the forecast alone, beside those of the fit."""
    asked: tuple[float, ...] = ()
    """The sizes that somebody asked for, of all that are forecast."""
    size_laws: tuple[tuple[str, SizeLaw], ...] = ()


@dataclass(frozen=True)
class DiagnosedCurve:
    name: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BacktestedCurve:
    name: str
    backtest: Backtest
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where curves come from: a study's folder, the tables of a published one, a table of results.

    All but ``path`` ('-' is standard input) are a table's, as ``steep.read`` has them; beside those
    the error of a constant guess ('0.9' or '90%'), and whether points far off the trend weigh
    less."""

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
        place = Path(self.path)
        known = ("study.yaml", "study.json", "trials.sqlite")
        return self.path != "-" and any((place / name).exists() for name in known)

    def study(self) -> Study | Published:
        """Raises StoreError where it cannot be read, QuestionError for a table's options."""
        from steep.analysis.published import Published, is_published

        told = [
            f"--{f.name.replace('_', '-')}"
            for f in fields(self)
            if f.name != "path" and getattr(self, f.name)
        ]
        if told:
            raise QuestionError(
                f"{' and '.join(told)}: for tables only. A study knows its own columns and counts, "
                f"and steep diagnose {self.path} says which points are off"
            )
        if is_published(self.path):
            return Published.open(self.path)
        from steep.study import Study

        return Study.open(self.path)

    def table(self, every_size: bool = False) -> Table:
        """Raises TableError with every problem at once."""
        from steep.tables.read import read

        if self.path != "-" and (inside := inside_a_study(Path(self.path))):
            raise QuestionError(inside)
        if self.validation_items is not None and self.validation_items < 1:
            raise QuestionError(f"--validation-items {self.validation_items}: at least 1")
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("path", "best_guess", "robust"):
            del own[name]
        return read(self.path, **own, every_size=every_size)


def fits_of(source: Source, level: float = 0.9) -> list[FittedCurve]:
    """Each curve of a source, fitted with the same defaults whatever the source."""
    if source.is_study:
        analysis = source.study().analyse(level=level)
        laws = analysis.size_laws
        return [
            FittedCurve(f"{c.metric} ({c.part})", c.fit, laws) for c in _headline_first(analysis)
        ]
    from steep.fit import fit
    from steep.stats.size_law import size_law_of

    guess = None if source.best_guess is None else goal_of(source.best_guess, "--best-guess")
    found = []
    for curve in source.table().curves:
        largest = max(curve.columns["error"], default=0.0)
        told = None if guess is None else guess.of(curve.metric, largest)
        items = source.validation_items
        try:
            made = fit(
                curve, level=level, best_guess=told, robust=source.robust, validation_items=items
            )
        except ValueError as error:
            if items is None:
                raise
            raise QuestionError(f"--validation-items: {error}") from None
        law = size_law_of(made.used, level)
        found.append(FittedCurve(curve.name, made, () if law is None else ((BEST_FIT, law),)))
    return found


def _headline_first(analysis: Analysis) -> list[Curve]:
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
    """``at`` like '10x', '1e6', '2M'; ``targets`` like '0.05' or '5%'. Raises QuestionError for
    anything else, and for the noise of a ``single_run`` where it is not known."""
    goals = [goal_of(text) for text in targets]
    asked = [place_of(text) for text in at]
    if source.is_study:
        if single_run:
            raise QuestionError("--single-run is for tables: a study's points are medians of seeds")
        return _of_study(source, asked, goals, level)
    from steep.forecast import forecast, without_compute

    found = []
    for curve in fits_of(source, level):
        fit = curve.fit
        places = [place.samples(fit.at_hand) for place in asked]
        wanted = [p for p in places if p is not None]
        sought = [error_asked(goal, fit) for goal in goals]
        law = dict(curve.size_laws).get(BEST_FIT)
        try:
            made = forecast(
                fit,
                at=wanted,
                target=sought,
                size_law=law,
                smallest=(fit.used[-1].parameters or 0.0) if fit.used else 0.0,
                single_run=single_run,
            )
        except ValueError as error:
            raise QuestionError(f"--single-run: {error}") from None
        notes = _about_sizes(law)
        # nobody said what a step takes, nor how many there were
        made = replace(without_compute(made), notes=(*made.notes, *notes))
        found.append(ForecastCurve(curve.name, fit, made, notes, tuple(wanted), curve.size_laws))
    return found


def _about_sizes(law: SizeLaw | None) -> tuple[str, ...]:
    """Why a forecast has no model sizes, where it might have had."""
    if law is None or law.outcome == "ok" or law.reason == ONE_SIZE:
        return ()
    return (f"Model sizes are not forecast: {law.reason}.",)


def error_asked(goal: Goal, fit: Fit) -> float:
    """A goal as an error of a fit. Raises QuestionError for a share of a loss."""
    return goal.of(fit.metric, max((p.error for p in fit.points), default=0.0))


def joint_fits_of(
    path: str, columns: Mapping[str, Any], compute: str | None, options: Mapping[str, Any]
) -> list[tuple[str, JointFit]]:
    """Every curve of a table of runs fitted to data and model size together. ``columns`` are
    options of ``steep.read``, ``options`` those of ``joint_of_curve``."""
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
    """Every model size of a study on every shard, at its best hyperparameters.

    Raises NoAnswer where nobody knows how large the models are."""
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
    source: Source, asked: Sequence[Place], goals: Sequence[Goal], level: float
) -> list[ForecastCurve]:
    """A study's own forecasts carry model size and compute beside the error."""
    analysis = source.study().analyse(
        at=[place.value for place in asked if not place.relative],
        times=[place.value for place in asked if place.relative],
        targets=goals,
        level=level,
    )
    if not analysis.curves:
        return []
    unfinished = sentences.unfinished_sentence(analysis)
    notes: tuple[str, ...] = (unfinished,) if unfinished else ()
    notes += _about_sizes(dict(analysis.size_laws)["smallest adequate"])
    c = asked_about(analysis, goals)
    if c.metric != analysis.metric:
        notes = (sentences.switch_sentence(analysis.metric, c.metric), *notes)
    # what a target takes to train is asked of 'cost', which has counted steps of larger models
    targets = tuple(replace(t, flops=None) for t in c.forecast.targets)
    made = replace(c.forecast, targets=targets, notes=(*c.forecast.notes, *notes))
    wanted = [p for place in asked if (p := place.samples(c.fit.at_hand)) is not None]
    name, laws = f"{c.metric} ({c.part})", analysis.size_laws
    return [ForecastCurve(name, c.fit, made, notes, tuple(wanted), laws)]


# ---------------------------------------------------------------- questions asked of fits


def findings_of(source: Source) -> list[DiagnosedCurve]:
    """Findings about a study, or about each curve of a table."""
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
    """A back-test of each curve; of a study's the registered forecasts are those of its report."""
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
