"""Hide the largest sizes, forecast them from the rest, and score the forecasts.

Every cut leaves at least four sizes and hides one more than the cut before, so that the hidden
sizes lie about 2x, 4x, 8x ... beyond the last one seen. The score of an interval is Winkler's
(Gneiting & Raftery 2007, eq. 43) on log error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.present import backtesting
from steep.records import Backtest, Confrontation, Fit, JointFit, Point, Score
from steep.stats.curve import curve_from_columns, curve_from_points
from steep.tables.read import curve_of

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 4
"""Sizes that a forecast is made from at the least."""


def backtest(
    curve: Fit | JointFit | pd.DataFrame | Sequence[Point],
    *,
    fit: Callable[..., Fit] | None = None,
    level: float | None = None,
    fewest: int = FEWEST,
    registered: Sequence[Confrontation] = (),
    x: str = "samples",
    y: str = "error",
    **options: Any,
) -> Backtest:
    """Score forecasts of the largest sizes of ``curve``, made by ``fit`` from the smaller ones.

    ``curve`` is a fit (its used points), a table with columns ``x`` and ``y``, or points; of a
    joint fit the runs of most compute are hidden, with its own options. ``fit``
    (``steep.fit`` by default) is called as ``fit(points=..., level=..., **options)``; a fit's own
    options (best guess, validation noise, robust) are passed on. ``registered`` are forecasts of
    held-out sizes that were written down before these were trained: they are scored as they were,
    in place of ones made now, when more is known of the noise. A curve of fewer than ``fewest``
    + 1 sizes has no back-test: the outcome says so. Deterministic.

    Raises ValueError for what is no curve.
    """
    if isinstance(curve, JointFit):
        from steep.questions.joint import backtest_joint

        return backtest_joint(curve)
    if fit is None:  # the package hands it over: stages do not know each other
        raise ValueError("backtest needs the function that fits: fit=steep.fit")
    points, known = _points(curve, x, y)
    options = known | options
    level = level or (curve.level if isinstance(curve, Fit) else 0.9)
    terms = {"unit": options.get("unit", "samples"), "metric": options.get("metric", "error")}
    scores: list[Score] = []
    for keep in range(len(points) - 1, fewest - 1, -1):
        found = fit(points=points[:keep], level=level, **options)
        if found.draws:
            scores += _scores(found, points[:keep], points[keep:], level, registered)
    scores.sort(key=lambda s: (s.factor, -s.points))
    if not scores:
        empty = Backtest("too few points", level, **terms)
        return replace(empty, sentence=backtesting.sentence(empty))
    result = Backtest(
        outcome="ok",
        level=level,
        scores=tuple(scores),
        log_error=_mean([s.log_error for s in scores]),
        last_value=_mean([s.last_value for s in scores]),
        coverage=_mean([s.inside for s in scores]),
        interval_score=_mean([s.interval_score for s in scores]),
        width=float(np.median([s.upper / s.lower for s in scores])),
        **terms,
    )
    return replace(result, sentence=backtesting.sentence(result))


def _points(curve: Any, x: str, y: str) -> tuple[tuple[Point, ...], dict[str, Any]]:
    """The used points by size, and what else the fit should know."""
    if isinstance(curve, Fit):
        known = {
            "best_guess": curve.best_guess,
            "validation_se": curve.noise.validation,
            "unit": curve.unit,
            "metric": curve.metric,
            "robust": bool(curve.widened),
        }
        return curve.used, {name: value for name, value in known.items() if value is not None}
    if isinstance(curve, list | tuple):
        return curve_from_points(tuple(curve)).used, {}
    table = curve_of(curve, x=x, y=y)
    known = {"unit": table.unit, "metric": table.metric}
    return curve_from_columns(table.columns).used, known


def _scores(
    fit: Fit,
    seen: Sequence[Point],
    hidden: Sequence[Point],
    level: float,
    registered: Sequence[Confrontation],
) -> list[Score]:
    frame = fit.predict([p.samples for p in hidden], level, as_error=True)
    last = seen[-1]
    asked = all(p.held_out for p in hidden) and not any(p.held_out for p in seen)
    written = {c.samples: c.forecast for c in registered if asked and c.level == level}
    scores = []
    for point, row in zip(hidden, frame.itertuples(), strict=True):
        at = written.get(point.samples, row)
        truth, middle = np.log(point.error), np.log(at.error)
        lower, upper = np.log(at.lower), np.log(at.upper)
        scores.append(
            Score(
                samples=point.samples,
                last=last.samples,
                points=len(seen),
                error=point.error,
                forecast=float(at.error),
                lower=float(at.lower),
                upper=float(at.upper),
                log_error=float(abs(middle - truth)),
                inside=bool(lower <= truth <= upper),
                interval_score=interval_score(lower, upper, truth, level),
                last_value=float(abs(np.log(last.error) - truth)),
                registered=point.samples in written,
            )
        )
    return scores


def interval_score(lower: float, upper: float, truth: float, level: float) -> float:
    """Width plus 2 / (1 - level) times the distance by which the truth was missed."""
    missed = max(lower - truth, 0.0) + max(truth - upper, 0.0)
    return float(upper - lower + 2.0 / (1.0 - level) * missed)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
