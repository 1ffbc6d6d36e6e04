"""Error against data, compute and time, along the best split between data and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steep.present import numbers
from steep.present.drawing import Axis, Band, Drawing, Layer, Line, Points, log_axis
from steep.present.numbers import Scale
from steep.present.palette import sequence
from steep.records import CostCurve, Purchase


def cost_drawings(curves: Sequence[CostCurve], how: Scale, unit: str) -> tuple[Drawing, ...]:
    """Three figures of one path: its data, its compute, and its time on each machine."""
    if not curves or not curves[0].purchases:
        return ()
    path = curves[0].purchases
    data = tuple(p.samples.value or 0.0 for p in path)
    work = tuple(p.flops.value or 0.0 for p in path)
    return (
        _banded("cost_data", f"training {unit}", data, path, how, unit),
        _banded("cost_compute", "training compute (FLOPs)", work, path, how, unit),
        _timed(curves, how, unit),
    )


def _banded(
    name: str, title: str, x: tuple[float, ...], path: Sequence[Purchase], how: Scale, unit: str
) -> Drawing:
    low, middle, high = _errors(path, how)
    level = numbers.level(path[0].error.level)
    hover = tuple(_text(p, how, unit) for p in path)
    layers: list[Layer] = []
    if low != high:
        layers.append(Band(x, low, high, "main", legend=f"{level} band"))
    layers.append(Line(x, middle, "main", legend="best split of compute", hover=hover))
    layers.append(_today(x[:1], middle[:1]))
    return Drawing(
        name=name,
        title=f"{how.label[:1].upper()}{how.label[1:]} against {title}",
        caption="From today's best run on, with data and model size scaled together.",
        x=log_axis(title, x),
        y=log_axis(how.title or "error", (*low, *high)),
        layers=tuple(layers),
    )


def _timed(curves: Sequence[CostCurve], how: Scale, unit: str) -> Drawing:
    layers: list[Layer] = []
    for curve, colour in zip(curves, sequence(len(curves)), strict=True):
        fits = [(p, s) for p, s in zip(curve.purchases, curve.seconds, strict=True) if s]
        if not fits:
            continue
        path = [p for p, _ in fits]
        x = tuple(s for _, s in fits)
        _, middle, _ = _errors(path, how)
        hover = tuple(
            f"{curve.machine.title}: {numbers.duration(s)}<br>{_text(p, how, unit)}"
            for p, s in fits
        )
        layers.append(Line(x, middle, colour, legend=curve.machine.title, hover=hover))
        if len(fits) == len(curve.purchases):
            layers.append(_today(x[:1], middle[:1]))
    lines = [layer for layer in layers if isinstance(layer, Line)]
    return Drawing(
        name="cost_time",
        title=f"{how.label[:1].upper()}{how.label[1:]} against the time of one training run",
        caption="One device each, by a roofline at this study's batch; a line ends where the "
        "model no longer fits into memory.",
        x=_time_axis([v for line in lines for v in line.x]),
        y=log_axis(how.title or "error", [v for line in lines for v in line.y]),
        layers=tuple(layers),
    )


_TIMES = (
    *(1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36_000.0, 86_400.0),
    *(
        864_000.0,
        30 * 86_400.0,
        *(years * 365.25 * 86_400 for years in (1, 10, 100, 1e3, 1e4, 1e6)),
    ),
)
"""Ticks that a reader knows as durations."""
_MOST_TICKS = 8


def _time_axis(seconds: Sequence[float]) -> Axis:
    plain = log_axis("time of one training run", seconds)
    ticks = [t for t in _TIMES if plain.low <= t <= plain.high]
    ticks = ticks[:: -(-len(ticks) // _MOST_TICKS)] if ticks else list(plain.ticks)
    return replace(plain, ticks=tuple(ticks), labels=tuple(numbers.duration(t) for t in ticks))


def _today(x: tuple[float, ...], y: tuple[float, ...]) -> Points:
    return Points(x, y, "truth", marker="diamond", legend="today")


def _errors(
    path: Sequence[Purchase], how: Scale
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Lower ends, values and upper ends, in the unit shown; an interval without ends has none."""
    middle = tuple(how.drawn(p.error.value or 0.0) for p in path)
    low = tuple(
        m if p.error.lower is None else how.drawn(p.error.lower)
        for p, m in zip(path, middle, strict=True)
    )
    high = tuple(
        m if p.error.upper is None else how.drawn(p.error.upper)
        for p, m in zip(path, middle, strict=True)
    )
    return low, middle, high


def _text(bought: Purchase, how: Scale, unit: str) -> str:
    return (
        f"{numbers.factor(bought.factor)} the compute: {numbers.interval(bought.error, how)}<br>"
        f"{numbers.counts(bought.samples)} {unit}, {numbers.counts(bought.parameters)} parameters, "
        f"{numbers.flops(bought.flops.value)}"
    )
