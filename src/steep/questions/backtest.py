"""Hide the largest sizes, forecast them from the rest, and score the forecasts.

Each round hides one size more than the last and keeps at least four, so that the hidden sizes are
about 2x, 4x, 8x ... the largest one kept. The score of an interval is Winkler's
(Gneiting & Raftery 2007, eq. 43) on log error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.present import backtesting
from steep.records import Backtest, Fit, HeldOutForecast, JointFit, Point, Score
from steep.stats.curve import curve_from_points, curve_of_table
from steep.stats.predictive import with_same_items
from steep.tables.read import curve_of

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 4
"""The fewest sizes that a forecast is made from."""


def backtest(
    curve: Fit | JointFit | pd.DataFrame | Sequence[Point],
    *,
    fit: Callable[..., Fit] | None = None,
    level: float | None = None,
    fewest: int = FEWEST,
    registered: Sequence[HeldOutForecast] = (),
    x: str = "samples",
    y: str = "error",
    **options: Any,
) -> Backtest:
    """Score forecasts of the largest sizes of ``curve``, made by ``fit`` from the smaller ones.

    ``curve`` is a fit (its used points), a table with columns ``x`` and ``y``, or points; for a
    joint fit, the runs of most compute are hidden. ``fit`` (``steep.fit`` by default) is called as
    ``fit(points=..., level=..., **options)``; a fit's own options (best guess, validation noise,
    robust) are passed on. ``registered`` are forecasts of held-out sizes that were made before
    these were trained. They are scored in place of new ones, which would know more about the noise.
    A curve of fewer than ``fewest`` + 1 sizes has the outcome 'too few points'. The result is
    deterministic.

    Raises ValueError if ``curve`` is none of these.
    """
    if isinstance(curve, JointFit):
        from steep.questions.joint import backtest_joint

        return backtest_joint(curve)
    if fit is None:  # passed in by the package, as stages do not import each other
        raise ValueError("backtest needs the function that fits: fit=steep.fit")
    points, curve_options = _points(curve, x, y)
    options = curve_options | options
    level = level or (curve.level if isinstance(curve, Fit) else 0.9)
    terms = {"unit": options.get("unit", "samples"), "metric": options.get("metric", "error")}
    scores: list[Score] = []
    for keep in range(len(points) - 1, fewest - 1, -1):
        fitted = fit(points=points[:keep], level=level, **options)
        if fitted.draws:
            scores += _scores(fitted, points[:keep], points[keep:], level, registered)
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
    """The used points by size, and the options of the fit that the curve implies."""
    if isinstance(curve, Fit):
        options = {
            "best_guess": curve.best_guess,
            "validation_se": curve.noise.validation,
            "unit": curve.unit,
            "metric": curve.metric,
            "robust": bool(curve.widened),
        }
        return curve.used, {name: value for name, value in options.items() if value is not None}
    if isinstance(curve, list | tuple):
        return curve_from_points(tuple(curve)).used, {}
    table = curve_of(curve, x=x, y=y)
    options = {"unit": table.unit, "metric": table.metric}
    return curve_of_table(table).used, options


def _scores(
    fit: Fit,
    seen: Sequence[Point],
    hidden: Sequence[Point],
    level: float,
    registered: Sequence[HeldOutForecast],
) -> list[Score]:
    frame = fit.predict([p.samples for p in hidden], level, as_error=True)
    if fit.noise.validation:  # what is hidden was measured on the same items as what is seen
        fits = [with_same_items(fit, error) for error in frame["error"]]
        rows = [
            f.predict(p.samples, level, as_error=True) for f, p in zip(fits, hidden, strict=True)
        ]
        forecasts = [next(row.itertuples()) for row in rows]
    else:
        forecasts = list(frame.itertuples())
    last = seen[-1]
    registrable = all(p.held_out for p in hidden) and not any(p.held_out for p in seen)
    registered_at = {c.samples: c.forecast for c in registered if registrable and c.level == level}
    scores = []
    for point, row in zip(hidden, forecasts, strict=True):
        at = registered_at.get(point.samples, row)
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
                registered=point.samples in registered_at,
            )
        )
    return scores


def interval_score(lower: float, upper: float, truth: float, level: float) -> float:
    """The interval's width plus 2 / (1 - level) times the distance by which it misses the truth."""
    missed = max(lower - truth, 0.0) + max(truth - upper, 0.0)
    return float(upper - lower + 2.0 / (1.0 - level) * missed)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
