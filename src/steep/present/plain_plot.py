"""Drawings in characters: a small curve in a terminal."""

from __future__ import annotations

import math
from itertools import pairwise

from steep.present.drawing import Axis, Band, Drawing, Line, Points

WIDTH, HEIGHT = 60, 16
"""Characters of the area between the axes."""
_SETS = ("●◆■▲○◇□△", "oxs^OXS*"), ("·", "."), ("░", ":"), ("┤│└─┬", "+|+-+")
"""Marks, lines, bands and frame, each with what stands for them where the terminal has ASCII."""


def plain_plot(drawing: Drawing, unicode: bool = True) -> str:
    """The drawing as lines of text, at most 72 characters wide, with a legend below."""
    marks, dot, shade, frame = (pair[0 if unicode else 1] for pair in _SETS)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    legend: dict[str, str] = {}
    shown = [layer for layer in drawing.layers if layer.panel in ("", drawing.opens_on)]
    for layer in shown:
        if isinstance(layer, Band):
            _fill(grid, drawing, layer, shade)
            legend[layer.legend] = shade
        elif isinstance(layer, Line):
            _trace(grid, drawing, layer, dot)
            legend[layer.legend] = dot
    # points last: they lie on top, and where a line shares their entry theirs is the mark
    named = dict.fromkeys(layer.legend for layer in shown if isinstance(layer, Points))
    legend |= {name: marks[i % len(marks)] for i, name in enumerate(named)}
    for layer in shown:
        if isinstance(layer, Points):
            for x, y in zip(layer.x, layer.y, strict=True):
                grid[_row(y, drawing.y)][_column(x, drawing.x)] = legend[layer.legend]
    entries = [f"{mark} {name}" for name, mark in legend.items() if name]
    return "\n".join(
        [drawing.y.title, *_framed(grid, drawing, frame), *_wrapped(entries, WIDTH + 12)]
    )


def _fill(grid: list[list[str]], drawing: Drawing, band: Band, shade: str) -> None:
    for column in range(WIDTH):
        ends = [_at(column, drawing.x, band.x, side) for side in (band.lower, band.upper)]
        if ends[0] is None or ends[1] is None:
            continue
        bottom, top = _row(ends[0], drawing.y), _row(ends[1], drawing.y)
        for row in range(top, bottom + 1):
            grid[row][column] = shade


def _trace(grid: list[list[str]], drawing: Drawing, line: Line, dot: str) -> None:
    """One dot a column; of a dashed line every second."""
    for column in range(0, WIDTH, 2 if line.dash else 1):
        y = _at(column, drawing.x, line.x, line.y)
        if y is not None and drawing.y.low <= y <= drawing.y.high:
            grid[_row(y, drawing.y)][column] = dot


def _at(column: int, axis: Axis, x: tuple[float, ...], y: tuple[float, ...]) -> float | None:
    """The height of a curve in the middle of a column, straight between its points in log-log;
    None beside the curve."""
    place = axis.low * (axis.high / axis.low) ** ((column + 0.5) / WIDTH)
    for (x0, y0), (x1, y1) in pairwise(zip(x, y, strict=True)):
        if x0 <= place <= x1 and y0 > 0 and y1 > 0:
            share = math.log(place / x0) / math.log(x1 / x0) if x1 > x0 else 0.0
            return math.exp((1 - share) * math.log(y0) + share * math.log(y1))
    return None


def _share(value: float, axis: Axis) -> float:
    return math.log(value / axis.low) / math.log(axis.high / axis.low)


def _row(value: float, axis: Axis) -> int:
    """From the top; what leaves the figure is at its edge."""
    return min(max(HEIGHT - 1 - math.floor(_share(value, axis) * HEIGHT), 0), HEIGHT - 1)


def _column(value: float, axis: Axis) -> int:
    return min(max(math.floor(_share(value, axis) * WIDTH), 0), WIDTH - 1)


def _framed(grid: list[list[str]], drawing: Drawing, frame: str) -> list[str]:
    """The grid with its axes: ticks at the left and below, as many as have room."""
    tick, side, corner, floor, foot = [*frame]
    rows = {
        _row(t, drawing.y): label
        for t, label in zip(drawing.y.ticks, drawing.y.labels, strict=True)
    }
    wide = max(map(len, rows.values()), default=1)
    lines = [
        f"{rows.get(i, ''):>{wide}} {tick if i in rows else side}{''.join(row).rstrip()}"
        for i, row in enumerate(grid)
    ]
    base, below = [floor] * WIDTH, [" "] * (WIDTH + 12)
    free = 0
    for t, label in zip(drawing.x.ticks, drawing.x.labels, strict=True):
        column = _column(t, drawing.x)
        start = max(column - len(label) // 2, 0)
        if start >= free:
            base[column] = foot
            below[start : start + len(label)] = label
            free = start + len(label) + 1
    margin = " " * (wide + 1)
    title = drawing.x.title.center(WIDTH).rstrip()
    return [
        *lines,
        f"{margin}{corner}{''.join(base)}",
        f"{margin} {''.join(below).rstrip()}",
        f"{margin} {title}",
    ]


def _wrapped(entries: list[str], width: int) -> list[str]:
    lines = [""]
    for entry in entries:
        joined = f"{lines[-1]}   {entry}".strip()
        if len(joined) > width and lines[-1]:
            lines.append(entry)
        else:
            lines[-1] = joined
    return [line for line in lines if line]
