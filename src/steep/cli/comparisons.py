"""Comparisons of the curves of any sources, and which data these share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from steep.analysis.asked import Goal, goal_of
from steep.base.metrics import answered_metric
from steep.cli.answers import Source, fits_of
from steep.records import Comparison, ComputeMultiplier, Fit
from steep.spec.load import QuestionError


def compared(
    sources: Sequence[Source],
    *,
    margin: float = 0.1,
    error: str | None = None,
    level: float = 0.9,
    paired: bool | None = None,
) -> tuple[Comparison, dict[str, Fit]]:
    """Compare all pairs of curves of several sources, or of one table split with ``by``; return the
    comparison and the fits by name.

    A study is represented by its first curve. ``error`` is written like '0.05' or '5%'. Studies
    are paired by size, and share the noise of V, only if they have the same files and validation
    items. For tables this is not known; ``paired=False`` states that their data differ."""
    from steep.questions.compare import compare, in_one_metric

    if not 0 < margin < 1:
        raise QuestionError("--margin: a share of the slope between 0 and 1")
    goal = None if error is None else goal_of(error, "--error")
    curves: dict[str, Fit] = {}
    if all(s.y and not isinstance(s.y, str) and len(s.y) > 1 for s in sources):
        sources = list(dict.fromkeys(sources))  # one table given twice: its columns are the curves
    for source in sources:
        fitted = fits_of(source, level)
        for curve in fitted[:1] if source.is_study else fitted:
            name = Path(source.path).name if source.is_study else curve.name
            curves[_unused(name, curves, source)] = curve.fit
    if len(curves) < 2:
        raise QuestionError("one curve cannot be compared: give another source, or split with --by")
    curves = in_one_metric(curves)
    at = None if goal is None else _error(goal, curves)
    shared: dict[str, Any] = {"paired": paired}
    if all(source.is_study for source in sources):
        if _share_data(sources):
            from steep.analysis.paired_items import items_se

            items = {n: _best_items(s) for n, s in zip(curves, sources, strict=True)}
            shared["items_se"] = items_se({n: found for n, found in items.items() if found})
        else:
            shared |= {"paired": False, "shared_validation": False}
    try:
        return compare(curves, margin=margin, error=at, level=level, **shared), curves
    except ValueError as problem:  # other units or metrics
        raise QuestionError(str(problem)) from None


def compared_by_compute(
    sources: Sequence[Source], flops: Sequence[float], shared_floor: bool, level: float
) -> tuple[list[ComputeMultiplier], list[str]]:
    """The compute multipliers of all pairs of tables of runs, and notes on how they were read.

    Tables with model sizes are compared at the best split of compute, others by a column of
    compute. Raises QuestionError if a table has neither."""
    from steep.questions.compute import by_compute, compute_multiplier

    named: dict[str, Any] = {}
    notes: list[str] = []
    try:
        for source in sources:
            if source.is_study:
                raise QuestionError("--axis compute is for tables of runs with their model sizes")
            for name, fit in by_compute(source.path, source.by, source.y, source.parameters, level):
                named[_unused(name, named, source)] = fit
                notes += [note for note in fit.notes if note not in notes]
        if len(named) < 2:
            raise QuestionError("one table cannot be compared: give another, or split with --by")
        return [
            compute_multiplier((a, named[a]), (b, named[b]), flops, shared_floor, level)
            for a, b in combinations(named, 2)
        ], notes
    except ValueError as problem:
        raise QuestionError(str(problem)) from None


def comparison_of(sources: Sequence[Source], **options: Any) -> Comparison:
    """``compared`` without the fits."""
    return compared(sources, **options)[0]


def _error(goal: Goal, curves: Mapping[str, Fit]) -> float:
    """A goal as an error of the curves. Raises QuestionError for a percentage of a loss."""
    errors = {
        goal.of(fit.metric, max((p.error for p in fit.used), default=0.0))
        for fit in curves.values()
    }
    return errors.pop()


def _unused(name: str, curves: Mapping[str, Any], source: Source) -> str:
    """The name, with the source and a number added if it is taken."""
    if name not in curves:
        return name
    full = f"{name} ({source.path})"
    return full if full not in curves else f"{full} {len(curves)}"


def _best_items(source: Source) -> Any:
    """The items of a study's best fits; None where their errors are of the metric that selects and
    answers are about another one."""
    from steep.analysis.paired_items import best_items
    from steep.analysis.published import Published

    study = source.study()
    if isinstance(study, Published):
        facts = study.about["facts"]
        answered = answered_metric(study.spec.domain.name, facts["metric"], facts["metrics"])
        return study.best_items() if answered == facts["metric"] else None
    analysis = study.analyse()
    return best_items(study, analysis) if analysis.headline.metric == analysis.metric else None


def _share_data(sources: Sequence[Source]) -> bool:
    """Whether all studies have the same files and validation items."""
    from steep.analysis.published import Published, validation_digest

    def data(source: Source) -> tuple[dict[str, str], str]:
        study = source.study()
        if isinstance(study, Published):
            return dict(study.about["files"]), study.about["validation"]
        return dict(study.cut.files), validation_digest(study)

    first, *others = map(data, sources)
    return all(other == first for other in others)
