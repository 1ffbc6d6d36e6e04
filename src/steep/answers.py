"""Fits and forecasts of any source: a study folder, a table of results, standard input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.config import QuestionError
from steep.records import Fit, Forecast

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


def is_study(source: str) -> bool:
    return source != "-" and (Path(source) / "study.yaml").exists()


def fits_of(
    source: str,
    x: str | None = None,
    y: str | None = None,
    by: str | None = None,
    se: str | None = None,
    parameters: str | None = None,
    higher_is_better: bool = False,
    level: float = 0.9,
) -> list[FittedCurve]:
    """Each curve of a source, fitted with the same defaults whatever the source."""
    if is_study(source):
        from steep.study import Study

        analysis = Study.open(source).analyse(level=level)
        return [FittedCurve(f"{c.metric} ({c.part})", c.fit) for c in analysis.curves]
    from steep import table
    from steep.fit import fit

    options: dict[str, Any] = {"x": x, "y": y, "by": by, "se": se, "parameters": parameters}
    read = table.read(source, higher_is_better=higher_is_better, **options)
    return [
        FittedCurve(curve.name, fit(curve.frame, level=level, **curve.arguments), curve.notes)
        for curve in read.curves
    ]


def forecasts_of(
    source: tuple[Any, ...], at: Sequence[str], targets: Sequence[str]
) -> list[ForecastCurve]:
    """``source`` as the arguments of ``fits_of``; ``at`` like '10x', '1e6', '2M'; ``targets``
    like '0.05' or '5%'. Raises QuestionError for anything else."""
    goals = [_target(text) for text in targets]
    asked = [_place(text) for text in at]
    if is_study(str(source[0])):
        return _of_study(str(source[0]), asked, goals, level=source[-1])
    from steep.forecast import forecast

    found = []
    for curve in fits_of(*source):
        places = [_samples(place, curve.fit.reference) for place in asked]
        made = forecast(curve.fit, at=[p for p in places if p is not None], target=goals)
        found.append(ForecastCurve(curve.name, curve.fit, made, curve.notes))
    return found


def _of_study(
    folder: str, asked: Sequence[tuple[float, bool]], goals: Sequence[float], level: float
) -> list[ForecastCurve]:
    """A study's own forecasts carry model size and compute beside the error."""
    from steep.study import Study

    study = Study.open(folder)
    fitted = [s.samples for s in study.cut.shards if not s.held_out]
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
    if match is None or not value > 0:
        raise QuestionError(f"--at {text!r}: write 10x (of the largest size used), 1e6 or 2M")
    suffix = match.group(2) or ""
    if suffix in ("x", "X"):
        return value, True
    return value * _SUFFIX.get(suffix, 1.0), False


def _target(text: str) -> float:
    """'5%' is 0.05."""
    try:
        value = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise QuestionError(f"--target {text!r}: write an error such as 0.05 or 5%")
    return value
