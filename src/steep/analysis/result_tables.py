"""The files in a study's ``results/``, which are rewritten from the store each time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import floor, isfinite, log10
from typing import Any

import pandas as pd

from steep.analysis.analyse import of_other_metric, study_points
from steep.base.metrics import perplexity
from steep.base.own_metric import with_own_metric
from steep.records import Analysis, BestFit, HeldOutForecast, Interval, Point
from steep.select import beside


def result_files(analysis: Analysis) -> dict[str, str]:
    """Name -> text of ``best_fit.csv``, ``fits.json`` and ``forecasts.csv``."""
    return {
        "best_fit.csv": best_fit_table(analysis).to_csv(index=False),
        "fits.json": json.dumps(_rounded(_told(fits(analysis))), indent=1, allow_nan=False),
        "forecasts.csv": forecast_table(analysis).map(_rounded).to_csv(index=False),
    }


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """With perplexities beside their logarithms, which nobody can read as such."""
    metrics = [found["metric"], *(curve["metric"] for curve in found["curves"])]
    told: dict[str, Any] = with_own_metric(found) if any(map(perplexity, metrics)) else found
    return told


def _rounded(value: Any) -> Any:
    """Floats rounded to six digits, so that any processor gives the same; whole numbers stay."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    if not isinstance(value, float) or value.is_integer():
        return value
    return round(value, 5 - floor(log10(abs(value)))) if isfinite(value) else value


def best_fit_table(analysis: Analysis) -> pd.DataFrame:
    """One row per shard: its best-fit model. ``error`` is the selection metric on V, so this file
    is itself a learning curve for ``steep fit``; the rows marked ``used`` are the points of the
    study's own fit. ``tables.own_results`` makes of it what the study fits."""
    points = study_points(analysis.best_fits)
    others: Sequence[Point | None] = [None] * len(points)
    if analysis.curves and analysis.headline.metric != analysis.metric:  # what answers are about
        others = of_other_metric(points, analysis.best_fits, analysis.headline.metric)
    rows = zip(analysis.best_fits, points, others, strict=True)
    return pd.DataFrame([_best_fit_row(analysis, *row) for row in rows])


def _best_fit_row(
    analysis: Analysis, b: BestFit, point: Point, other: Point | None
) -> dict[str, Any]:
    curve = b.size_curve
    # a held-out shard trained one size: its size curve comes from other shards, not from itself
    has_minimum = curve is not None and min(curve.parameters) > 0 and not b.held_out
    minimum = curve.minimum if curve is not None and has_minimum else (None,) * 3
    used = {p.samples for p in analysis.curves[0].fit.used} if analysis.curves else set()
    row = {
        "study": analysis.study,
        "domain": analysis.domain,
        "family": analysis.family,
        "permutation": b.permutation,
        "samples": b.samples,
        "unit": b.unit,
        "held_out": b.held_out,
        "used": b.samples in used and not (b.best.capped or b.withheld),
        "metric": analysis.metric,
        "error": b.best.score,
        "error_se": b.seed_se,
        "se_log": _rounded(point.se_log),
        "regret": _rounded(point.regret),
        "validation_se": b.validation_se,
        "validation_items": analysis.headline.fit.noise.validation_items
        if analysis.curves
        else None,
        "best_guess": dict(analysis.best_guess).get(analysis.metric),
        "reason": point.reason,
        "test_error": b.test_error,
        "size": b.best.size,
        "parameters": b.best.parameters or None,
        "parameters_without_embeddings": b.best.parameters_without_embeddings or None,
        "adequate_size": b.adequate.size,
        "adequate_parameters": b.adequate.parameters or None,
        "edge": b.edge,
        "adequate_edge": b.adequate_edge,
        "plateau": b.plateau,
        "minimum_parameters": minimum[0],
        "minimum_parameters_lower": minimum[1],
        "minimum_parameters_upper": minimum[2],
        "leftover": None if curve is None else curve.leftover,
        "score_se": None if curve is None else curve.score_se,
        "excess": None if curve is None else curve.excess,
        "excess_sd": None if curve is None else curve.excess_sd,
        "flags": "; ".join(b.flags),
    }
    row |= {name: dict(b.metrics).get(name) for name in analysis.measures if name not in row}
    if other is not None:
        row |= {
            "error_rate": other.error,
            "error_rate_se_log": _rounded(other.se_log),
            "error_rate_regret": _rounded(other.regret),
            "error_rate_best_guess": dict(analysis.best_guess).get(analysis.headline.metric),
        }
    return row | beside(b.best.hyperparameters, row)


def forecast_table(analysis: Analysis) -> pd.DataFrame:
    """One row per forecast: errors at data sizes, and data sizes for errors."""
    rows: list[dict[str, Any]] = []
    for curve in analysis.curves:
        common = {"metric": curve.metric, "part": curve.part, "level": curve.forecast.level}
        for at in curve.forecast.at:
            rows.append(
                common
                | {"question": "error at samples", "samples": at.samples, "factor": at.factor}
                | {"error": at.error, "lower": at.lower, "upper": at.upper, "outcome": "ok"}
                | _interval("parameters", at.parameters)
            )
        for goal in curve.forecast.targets:
            rows.append(
                common
                | {"question": "samples for error", "error": goal.target, "samples": goal.samples}
                | {"lower": goal.lower, "upper": goal.upper, "factor": goal.factor}
                | {"outcome": goal.outcome}
            )
    for row in rows:
        log = perplexity(row["metric"])
        if log is not None:
            names = (
                ("error", "lower", "upper") if row["question"] == "error at samples" else ("error",)
            )
            row |= {log.name + ("" if n == "error" else f"_{n}"): log.value(row[n]) for n in names}
    return pd.DataFrame(rows)


def _confrontation(confrontation: HeldOutForecast) -> dict[str, Any]:
    """The record as a dictionary; without the forecast of another metric if there is none."""
    names = ("told", "told_error") if confrontation.told is None else ()
    return {name: value for name, value in asdict(confrontation).items() if name not in names}


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {}
    return {name: interval.value, f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}


def fits(analysis: Analysis) -> dict[str, Any]:
    """Every fit, size law, confrontation and finding, and how well the points are tuned; without
    the posterior draws."""

    def fit_of(curve: Any) -> dict[str, Any]:
        values = asdict(curve.fit)
        del values["draws"]
        return {"metric": curve.metric, "part": curve.part} | values

    def law_of(law: Any) -> dict[str, Any]:
        values = asdict(law)
        del values["draws"]
        return values

    return {
        "study": analysis.study,
        "unit": analysis.unit,
        "metric": analysis.metric,
        "best_guess": dict(analysis.best_guess),
        "curves": [fit_of(curve) for curve in analysis.curves],
        "size_laws": {name: law_of(law) for name, law in analysis.size_laws},
        "confrontations": [_confrontation(c) for c in analysis.confrontations],
        "findings": [asdict(f) for f in analysis.findings],
        "tuning": None if analysis.tuning is None else asdict(analysis.tuning),
        "provenance": dict(analysis.provenance),
    }
