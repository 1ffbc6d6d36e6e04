"""The learning curve as a drawing: points, law, band, regions, and what lies behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from steep.present import numbers
from steep.present.drawing import (
    Band,
    Drawing,
    HorizontalLine,
    Layer,
    Line,
    Points,
    RegionBand,
    log_axis,
)
from steep.present.numbers import Scale
from steep.present.palette import sequence
from steep.present.sentences import shown_regions
from steep.present.tables import left_out
from steep.records import BestFit, Fit, Forecast, HeldOutForecast, Point

GRID = 80
"""Places at which law and band are evaluated."""
FARTHEST_GUESS = 6.0
"""A best-guess level farther above the points than this would squeeze the curve: it is given as
text."""
GOOD = 1.1
"""Hyperparameters that come, at any size, this near to a shard's lowest error are good there."""
BANDS = 3
"""Of more curves than these in one figure the bands would hide each other."""

COMPOSITE = "best-fit models"
MEASURED = "measured"
FIT = "fit and forecast"
"""Not a law alone: among the points the fit goes with them where they leave it."""
FORECAST = "forecast of the held-out size"
TRUTH = "held out, measured"


def learning_curve(
    fit: Fit,
    forecast: Forecast | None = None,
    *,
    best_fits: Sequence[BestFit] = (),
    confrontations: Sequence[HeldOutForecast] = (),
    part: str = "",
    points: str = MEASURED,
    name: str = "learning_curve",
) -> Drawing:
    """Error against training-set size, log-log. ``best_fits`` give the single-model curves;
    ``part`` is what the errors were measured on, '' where nobody knows; ``points`` is what the
    legend calls the fitted points."""
    how = numbers.fit_scale(fit)
    reach = _reach(fit, forecast, confrontations)
    law = _law(fit, how, reach)
    layers: list[Layer] = [*law[:1], *_single_models(best_fits, how, fit.unit), *law[1:]]
    known = {c.samples for c in confrontations if c.error is not None}
    layers += _points(fit, how, points, known)
    layers += _held_out_points(confrontations, how, fit.unit)
    heights = [*_heights(layers), *_near_guess(fit, how)]
    x = log_axis(f"training {fit.unit}", [*(p.samples for p in fit.points), *reach])
    y = log_axis(f"{part} {how.title}".strip(), heights)
    return Drawing(
        name=name,
        title=_title(fit, how, part),
        caption=_caption(fit, how, best_fits),
        x=x,
        y=y,
        layers=tuple(layers),
        shades=tuple(_shades(fit, x.low, x.high)),
        levels=tuple(
            HorizontalLine(g, "level", f"best guess {_guess(fit, how)}")
            for g in _near_guess(fit, how)
        ),
        legend=(points, FIT, _band_name(fit), FORECAST, TRUTH),
    )


def _title(fit: Fit, how: Scale, part: str) -> str:
    where = f" on the {part} part" if part else ""
    return f"{how.label[:1].upper()}{how.label[1:]}{where} against training {fit.unit}"


# ---------------------------------------------------------------- several curves


def learning_curves(
    fits: Mapping[str, Fit], reach: float = 1.0, name: str = "learning_curves"
) -> Drawing:
    """Curves of one metric in one figure, log-log: the points of each and its fit, dashed beyond
    its points up to ``reach`` times the largest."""
    errors = [p.error for fit in fits.values() for p in fit.points]
    first = next(iter(fits.values()))
    how = numbers.scale(first.metric, max(errors, default=None))
    layers: list[Layer] = []
    for (curve, fit), colour in zip(fits.items(), sequence(len(fits)), strict=True):
        ends = [] if fit.reference is None else [reach * fit.reference]
        law = _law(fit, how, ends)
        if len(fits) > BANDS:
            law = [layer for layer in law if not isinstance(layer, Band)]
        layers += [replace(layer, colour=colour, legend=curve) for layer in law]
        unused = [p for p in fit.points if not p.used and p.error > 0]
        if unused:
            layers.append(_marks(unused, fit, how, curve, colour, hollow=True))
        if fit.used:
            layers.append(_marks(fit.used, fit, how, curve, colour))
    bands = len(fits) <= BANDS and any(fit.draws for fit in fits.values())
    caption = "Points with error bars of one standard error where they are known; lines: the fits"
    caption += f", with their {numbers.level(first.level)} bands" if bands else ""
    caption += ", dashed beyond the points." if reach > 1 else "."
    places = [x for layer in layers for x in layer.x]
    return Drawing(
        name=name,
        title=f"{how.label[:1].upper()}{how.label[1:]} against training {first.unit}",
        caption=f"{caption} Hollow: no point of the fit." if _any_unused(fits) else caption,
        x=log_axis(f"training {first.unit}", places),
        y=log_axis(how.title, _heights(layers)),
        layers=tuple(layers),
    )


def _any_unused(fits: Mapping[str, Fit]) -> bool:
    return any(not p.used and p.error > 0 for fit in fits.values() for p in fit.points)


# ---------------------------------------------------------------- the law


def _reach(
    fit: Fit, forecast: Forecast | None, confrontations: Sequence[HeldOutForecast]
) -> list[float]:
    """The places beyond the points that the figure should show."""
    places = [c.samples for c in confrontations]
    if forecast is not None:
        places += [a.samples for a in forecast.at]
    if not places and fit.reference is not None and fit.draws:
        places = [4.0 * fit.reference]
    return places


def _law(fit: Fit, how: Scale, reach: Sequence[float]) -> list[Layer]:
    """Band, then median of the mixture: solid over the used points, dashed beyond them."""
    if not fit.draws or fit.reference is None:
        return []
    first = min(p.samples for p in fit.used)
    last = max([fit.reference, *reach])
    inside = np.geomspace(first, fit.reference, GRID // 2)
    beyond = np.geomspace(fit.reference, last, GRID // 2)
    grid = np.concatenate([inside, beyond[1:]]) if last > fit.reference else inside
    frame = fit.predict(grid, as_error=True)
    x = tuple(float(v) for v in grid)
    errors = [tuple(float(v) for v in frame[c]) for c in ("error", "lower", "upper")]
    hover = tuple(
        f"fit at {numbers.count(m)} {fit.unit}<br>{numbers.estimate(e, lo, up, how)}"
        for m, e, lo, up in zip(x, *errors, strict=True)
    )
    middle, lower, upper = (tuple(how.drawn(v) for v in row) for row in errors)
    n = len(inside)
    return [
        Band(x, lower, upper, "main", legend=_band_name(fit)),
        Line(x[:n], middle[:n], "main", legend=FIT, hover=hover[:n]),
        Line(x[n - 1 :], middle[n - 1 :], "main", dash=True, legend=FIT, hover=hover[n - 1 :]),
    ]


def _band_name(fit: Fit) -> str:
    return f"{numbers.level(fit.level)} band of a new {numbers.runs(fit.runs)}"


# ---------------------------------------------------------------- single-model curves


def _single_models(best_fits: Sequence[BestFit], how: Scale, unit: str) -> list[Layer]:
    """One thin line a model size: its lowest score on each shard, geometric mean over draws."""
    parameters = {c.size: c.parameters for b in best_fits for c in b.candidates}
    colours = size_colours(c.size for b in best_fits for c in b.candidates)
    layers: list[Layer] = []
    if len(parameters) == 1:  # the curve itself
        return []
    for size in sorted(parameters):
        found = _lowest_scores(best_fits, size)
        label = size_label(size, parameters[size])
        layers.append(
            Line(
                x=tuple(found),
                y=tuple(how.drawn(e) for e in found.values()),
                colour=colours[size],
                width=1.1,
                markers=len(found) == 1,
                legend=label,
                hover=tuple(
                    f"{label}<br>{numbers.exact(m)} {unit}: {numbers.measured(e, how)}"
                    for m, e in found.items()
                ),
            )
        )
    return layers


def _lowest_scores(shards: Sequence[BestFit], size: int) -> dict[float, float]:
    """Samples -> the score of one model size at its best hyperparameters there. None of a shard
    where it was tried only with some that do badly there: a search leaves it at that, and the
    point would be theirs and not the size's."""
    logs: dict[float, list[float]] = {}
    for best in shards:
        tried = [c for c in best.candidates if c.size == size and c.score > 0]
        lowest = min((c.score for c in best.candidates if c.score > 0), default=0.0)
        good = {c.hyperparameters for c in best.candidates if 0 < c.score <= GOOD * lowest}
        if any(c.hyperparameters in good for c in tried):
            score = min(tried, key=lambda c: (c.expected, c.score)).score
            logs.setdefault(best.samples, []).append(math.log(score))
    return {m: math.exp(sum(found) / len(found)) for m, found in sorted(logs.items())}


def size_colours(sizes: Iterable[int]) -> dict[int, str]:
    """One colour a model size, the same in every figure of a study."""
    ladder = sorted(set(sizes))
    return dict(zip(ladder, sequence(len(ladder)), strict=True))


def size_label(size: int, parameters: float) -> str:
    """How a model size is called in every figure."""
    return f"size {size} ({numbers.count(parameters)})" if parameters else f"size {size}"


# ---------------------------------------------------------------- points


def _points(fit: Fit, how: Scale, legend: str, confronted: set[float]) -> list[Layer]:
    used = [p for p in fit.points if p.used]
    rest = [p for p in fit.points if not p.used and p.error > 0 and p.samples not in confronted]
    layers: list[Layer] = []
    for reason in dict.fromkeys(p.reason for p in rest):
        mine = [p for p in rest if p.reason == reason]
        layers.append(_marks(mine, fit, how, left_out(reason), "quiet", hollow=True))
    if used:
        layers.append(_marks(used, fit, how, legend, "main"))
    return layers


def _marks(
    points: Sequence[Point], fit: Fit, how: Scale, legend: str, colour: str, hollow: bool = False
) -> Points:
    bars = all(p.se_log is not None for p in points)
    return Points(
        x=tuple(p.samples for p in points),
        y=tuple(how.drawn(p.error) for p in points),
        colour=colour,
        hollow=hollow,
        lower=tuple(
            how.drawn(p.error * math.exp(-p.regret - (p.se_log or 0))) for p in points if bars
        ),
        upper=tuple(
            how.drawn(p.error * math.exp(max((p.se_log or 0) - p.regret, 0.0)))
            for p in points
            if bars
        ),
        legend=legend,
        hover=tuple(_point_text(p, fit, how) for p in points),
    )


def _point_text(point: Point, fit: Fit, how: Scale) -> str:
    lines = [
        f"{numbers.exact(point.samples)} {fit.unit}",
        f"{how.label} {numbers.measured(point.error, how)}",
    ]
    if point.parameters:
        lines.append(f"{numbers.count(point.parameters)} parameters")
    if point.reason:
        lines.append(left_out(point.reason))
    return "<br>".join(lines)


def _held_out_points(found: Sequence[HeldOutForecast], how: Scale, unit: str) -> list[Layer]:
    """The registered forecast as a bar, the truth as a ring on it: about its point of the fit,
    where it is one."""
    if not found:
        return []
    bars = Points(
        x=tuple(c.samples for c in found),
        y=tuple(how.drawn(c.forecast.error) for c in found),
        colour="second",
        marker="dash",
        size=13,
        lower=tuple(how.drawn(c.forecast.lower) for c in found),
        upper=tuple(how.drawn(c.forecast.upper) for c in found),
        legend=FORECAST,
        hover=tuple(
            f"forecast for {numbers.exact(c.samples)} {unit}<br>"
            + numbers.estimate(c.forecast.error, c.forecast.lower, c.forecast.upper, how)
            for c in found
        ),
    )
    known = [(c, c.error) for c in found if c.error is not None]
    if not known:
        return [bars]
    truth = Points(
        x=tuple(c.samples for c, _ in known),
        y=tuple(how.drawn(error) for _, error in known),
        colour="truth",
        hollow=True,
        size=11,
        legend=TRUTH,
        hover=tuple(
            f"measured at {numbers.exact(c.samples)} {unit}<br>{numbers.measured(error, how)}"
            for c, error in known
        ),
    )
    return [bars, truth]


# ---------------------------------------------------------------- background


def _shades(fit: Fit, low: float, high: float) -> list[RegionBand]:
    """The regions as stripes. The outer two run to the edges of the figure; the power-law region
    ends where a neighbour begins that is likely there, else with the points."""
    found = {region.name: region for region in shown_regions(fit)}
    small, floor = found.get("small-data"), found.get("irreducible-error")
    first = small.end.value if small and small.end else None
    last = floor.start.value if floor and floor.start else None
    used = [p.samples for p in fit.used] or [low, low]
    ends = {
        "small-data": (low, first),
        "power-law": (first or used[0], last or used[-1]),
        "irreducible-error": (last, high),
    }
    return [
        RegionBand(max(start, low), min(end, high), f"shade-{name}", f"{name} region")
        for name, (start, end) in ends.items()
        if name in found and start is not None and end is not None and start < end
    ]


def _heights(layers: Sequence[Layer]) -> list[float]:
    """All that the vertical axis must show."""
    values: list[float] = []
    for layer in layers:
        if isinstance(layer, Band):
            values += [*layer.lower, *layer.upper]
        elif isinstance(layer, Points):
            values += [*layer.y, *layer.lower, *layer.upper]
        else:
            values += layer.y
    return values


def _guess(fit: Fit, how: Scale) -> str:
    """The best guess as the axis has it, which is of errors; with the accuracy that it is where
    that is what the user knows."""
    on_axis = numbers.measured(fit.best_guess, how.spread if how.higher else how)
    return (
        f"{on_axis} ({numbers.named(how)}{numbers.measured(fit.best_guess, how)})"
        if how.higher
        else on_axis
    )


def _near_guess(fit: Fit, how: Scale) -> list[float]:
    largest = max((p.error for p in fit.points), default=0.0)
    near = fit.best_guess is not None and 0 < fit.best_guess <= FARTHEST_GUESS * largest
    return [how.drawn(fit.best_guess)] if near and fit.best_guess else []


def _caption(fit: Fit, how: Scale, best_fits: Sequence[BestFit]) -> str:
    parts = []
    if fit.outcome == "not a power law":
        parts.append(
            "The curve does not fall, so no law was fitted: line and band extend the last points."
        )
    elif fit.draws:
        parts.append(
            f"Line and band: median and {numbers.level(fit.level)} interval of the mixture of "
            "laws and of the points' deviations from them, dashed beyond the fitted points."
        )
    if any(len(b.best.seeds) > 1 for b in best_fits):
        parts.append("A new measurement is, as the points are, a median over seeds.")
    if any(p.se_log for p in fit.points):
        parts.append("Error bars: one standard error.")
    if len({c.size for b in best_fits for c in b.candidates}) > 1:
        parts.append(
            "Thin lines: one model size each (parameters in brackets), at its best "
            "hyperparameters, where it was tried with some that are good there."
        )
    if fit.best_guess is not None and not _near_guess(fit, how):
        parts.append(f"The best guess, {_guess(fit, how)}, lies above the figure.")
    return " ".join(parts)
