"""Fits and forecasts of any source: a study folder, a table of results, standard input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from steep.asked import Goal, Place, asked_about, goal_of, place_of
from steep.config import NoAnswer, QuestionError
from steep.folder import inside_a_study
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
    Frontier,
    JointFit,
    SizeLaw,
)
from steep.spelling import no_such

if TYPE_CHECKING:
    from steep.published import Published
    from steep.study import Study
    from steep.tables.read import Table, TableCurve


@dataclass(frozen=True)
class FittedCurve:
    """What was done to a table to get at the curve is in the notes of the fit."""

    name: str
    fit: Fit


@dataclass(frozen=True)
class ForecastCurve:
    name: str
    fit: Fit
    forecast: Forecast
    notes: tuple[str, ...] = ()
    """Of the forecast alone, beside those of the fit."""
    asked: tuple[float, ...] = ()
    """The sizes that somebody asked for, of all that are forecast."""


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
        from steep.published import Published, is_published

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
        return [FittedCurve(f"{c.metric} ({c.part})", c.fit) for c in _headline_first(analysis)]
    from steep.fit import fit

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
        found.append(FittedCurve(curve.name, made))
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
    from steep.stats.size_law import size_law_of

    found = []
    for curve in fits_of(source, level):
        fit = curve.fit
        places = [place.samples(fit.at_hand) for place in asked]
        wanted = [p for p in places if p is not None]
        sought = [error_asked(goal, fit) for goal in goals]
        law = size_law_of(fit.used, level)
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
        found.append(ForecastCurve(curve.name, fit, made, notes, tuple(wanted)))
    return found


def _about_sizes(law: SizeLaw | None) -> tuple[str, ...]:
    """Why a forecast has no model sizes, where it might have had."""
    if law is None or law.outcome == "ok" or law.reason == ONE_SIZE:
        return ()
    return (f"Model sizes are not forecast: {law.reason}.",)


def error_asked(goal: Goal, fit: Fit) -> float:
    """A goal as an error of a fit. Raises QuestionError for a share of a loss."""
    return goal.of(fit.metric, max((p.error for p in fit.points), default=0.0))


def joint_of(source: Source, law: str, flops: Sequence[float], level: float) -> list[JointCurve]:
    """Error against data and model size together, of every curve of a table of runs.

    ``flops``: where the best-fit frontier is wanted; () for a frontier at the runs' own largest
    compute times 1, 10 and 100."""
    from steep.joint import FLOPS_PER_PARAMETER_SAMPLE, fit_joint, frontier
    from steep.laws.surface import SURFACES

    if law not in SURFACES:
        raise QuestionError(no_such("law", law, SURFACES))
    if (law == "repeated") != (source.unique is not None):
        raise QuestionError(
            "--law repeated and --unique, the column of distinct samples of each run, go together"
        )
    if source.is_study and flops:
        raise QuestionError(f"--flops: what compute buys is asked of 'steep cost {source.path}'")
    found = []
    curves = (_runs_of(source),) if source.is_study else source.table(every_size=True).curves
    for curve in curves:
        runs = curve.columns
        if "parameters" not in runs:
            raise QuestionError("a joint fit needs the model size of every run: --parameters")
        made = fit_joint(
            runs["samples"],
            runs["parameters"],
            runs["error"],
            unique=runs.get("unique"),
            law=law,
            level=level,
        )
        largest = max(s * n for s, n in zip(runs["samples"], runs["parameters"], strict=True))
        wanted = flops or [
            FLOPS_PER_PARAMETER_SAMPLE * largest * times for times in (1.0, 10.0, 100.0)
        ]
        known = law == "chinchilla" and bool(made.parameters) and not source.is_study
        found.append(
            JointCurve(
                *(curve.name, curve.unit, curve.metric, made),
                frontier(made, wanted) if known else (),
                (*curve.warnings, *curve.notes),
            )
        )
    return found


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
    return [ForecastCurve(f"{c.metric} ({c.part})", c.fit, made, notes, tuple(wanted))]


# ---------------------------------------------------------------- questions asked of fits


def findings_of(source: Source) -> list[DiagnosedCurve]:
    """Findings about a study, or about each curve of a table."""
    if source.is_study:
        analysis = source.study().analyse()
        notes = analysis.curves[0].fit.notes if analysis.curves else ()
        if analysis.curves and analysis.headline.metric != analysis.metric:
            notes = (sentences.findings_sentence(analysis.metric), *notes)
        return [DiagnosedCurve(Path(source.path).name, analysis.findings, notes)]
    from steep.diagnose import diagnose

    items = source.validation_items
    return [
        DiagnosedCurve(c.name, diagnose(c.fit, validation_items=items), c.fit.notes)
        for c in fits_of(source)
    ]


def backtests_of(source: Source, level: float = 0.9) -> list[BacktestedCurve]:
    """A back-test of each curve; of a study's the registered forecasts are those of its report."""
    from steep.backtest import backtest
    from steep.fit import fit

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
