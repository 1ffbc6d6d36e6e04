"""Drawings as plotly figures: plain dictionaries, so that making them imports no plotly.

Texts are escaped here, because plotly reads a small HTML of its own in every label.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

from steep.present.drawing import Axis, Band, Drawing, Layer, Level, Line, Points, Shade
from steep.present.palette import COLOURS, DARK, LIGHT, colour

MARKERS = {
    "circle": "circle",
    "diamond": "diamond",
    "square": "square",
    "star": "star",
    "up": "triangle-up",
    "down": "triangle-down",
    "cross": "x-thin",
    "dash": "line-ew",
}
NARROW_SHADE = 0.22
"""A region that fills less of the axis than this has no room for its name."""


def figure(drawing: Drawing) -> dict[str, Any]:
    """``{"data": [...], "layout": {...}}`` in light colours; see ``dark_colours``."""
    traces = [trace for layer in drawing.layers for trace in _traces(layer)]
    if drawing.panels:
        for trace in traces:
            trace["visible"] = trace["meta"]["panel"] in ("", drawing.opens_on)
    return {"data": traces, "layout": _layout(drawing)}


def dark_colours(drawings: Iterable[Drawing]) -> dict[str, str]:
    """Each light colour that the drawings use with its dark counterpart."""
    used = {layer.colour for drawing in drawings for layer in drawing.layers}
    return {colour(name, LIGHT): colour(name, DARK) for name in sorted({*COLOURS, *used})}


def legend(drawing: Drawing) -> list[dict[str, str]]:
    """The legend's entries, for HTML beside the figure."""
    entries: dict[str, dict[str, str]] = {}
    for layer in drawing.layers:
        if layer.legend and layer.legend not in entries:
            entries[layer.legend] = {
                "name": layer.legend,
                "kind": _kind(layer),
                "light": colour(layer.colour, LIGHT),
                "dark": colour(layer.colour, DARK),
            }
    first = [entries.pop(name) for name in drawing.legend if name in entries]
    return [*first, *entries.values()]


def _kind(layer: Layer) -> str:
    if isinstance(layer, Band):
        return "band"
    if isinstance(layer, Line):
        return "line"
    return f"{layer.marker}-hollow" if layer.hollow else layer.marker


# ---------------------------------------------------------------- traces


def _traces(layer: Layer) -> list[dict[str, Any]]:
    if isinstance(layer, Band):
        return [_band(layer)]
    if isinstance(layer, Line):
        return [_line(layer)]
    return [_points(layer)]


def _common(layer: Layer) -> dict[str, Any]:
    return {
        "type": "scatter",
        "showlegend": False,
        "meta": {"legend": layer.legend, "panel": layer.panel},
    }


def _hover(texts: tuple[str, ...]) -> dict[str, Any]:
    if not texts:
        return {"hoverinfo": "skip"}
    return {"hoverinfo": "text", "hovertext": [_text(t) for t in texts]}


def _text(text: str) -> str:
    """Plotly's own tags made inert; our line breaks kept."""
    return html.escape(text).replace("&lt;br&gt;", "<br>")


def _band(band: Band) -> dict[str, Any]:
    x = [*band.x, *reversed(band.x)]
    y = [*band.upper, *reversed(band.lower)]
    fill = {"fill": "toself", "fillcolor": colour(band.colour), "opacity": band.opacity}
    line = {"mode": "lines", "line": {"width": 0, "color": colour(band.colour)}}
    return {**_common(band), **line, **fill, "x": x, "y": y, "hoverinfo": "skip"}


def _line(line: Line) -> dict[str, Any]:
    style = {"color": colour(line.colour), "width": line.width}
    if line.dash:
        style["dash"] = "7px,5px"
    trace = {**_common(line), **_hover(line.hover), "x": list(line.x), "y": list(line.y)}
    trace |= {"mode": "lines+markers" if line.markers else "lines", "line": style}
    if line.markers:
        trace["marker"] = {"size": 6, "color": colour(line.colour)}
    return trace


def _points(points: Points) -> dict[str, Any]:
    shade = colour(points.colour)
    symbol = MARKERS[points.marker]
    drawn_by_line = symbol in ("line-ew", "x-thin")
    marker: dict[str, Any] = {
        "symbol": f"{symbol}-open" if points.hollow or drawn_by_line else symbol,
        "size": points.size,
        "color": shade,
        "line": {"width": 2.2 if points.hollow or drawn_by_line else 0, "color": shade},
    }
    trace = {**_common(points), **_hover(points.hover), "mode": "markers", "marker": marker}
    trace |= {"x": list(points.x), "y": list(points.y), "cliponaxis": False}
    if points.lower:
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [u - y for u, y in zip(points.upper, points.y, strict=True)],
            "arrayminus": [y - lo for lo, y in zip(points.lower, points.y, strict=True)],
            "color": shade,
            "thickness": 2,
            "width": 5,
        }
    return trace


# ---------------------------------------------------------------- layout


def _layout(drawing: Drawing) -> dict[str, Any]:
    clear = "rgba(0,0,0,0)"
    shapes = [_shade(s) for s in drawing.shades] + [_level(lv) for lv in drawing.levels]
    notes = [_shade_name(s, drawing.x) for s in drawing.shades if _fits(s, drawing.x)]
    notes += [_level_name(lv, drawing.x) for lv in drawing.levels]
    return {
        "autosize": True,
        "margin": {"l": 62, "r": 14, "t": 12, "b": 52},
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": colour("text")},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"size": 13}},
        "showlegend": False,
        "xaxis": _axis(drawing.x),
        "yaxis": _axis(drawing.y),
        "shapes": shapes,
        "annotations": notes,
    }


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "type": "log",
        "title": {"text": _text(axis.title), "standoff": 10},
        "range": [math.log10(axis.low), math.log10(axis.high)],
        "tickmode": "array",
        "tickvals": list(axis.ticks),
        "ticktext": list(axis.labels),
        "gridcolor": colour("faint"),
        "griddash": "dot",
        "gridwidth": 1,
        "zeroline": False,
        "showline": True,
        "linecolor": colour("quiet"),
        "ticks": "outside",
        "tickcolor": colour("quiet"),
    }


def _shade(shade: Shade) -> dict[str, Any]:
    return {
        "type": "rect",
        "layer": "below",
        "xref": "x",
        "yref": "paper",
        "x0": shade.start,
        "x1": shade.end,
        "y0": 0,
        "y1": 1,
        "fillcolor": colour(shade.colour),
        "line": {"width": 0},
    }


def _fits(shade: Shade, axis: Axis) -> bool:
    length = math.log(axis.high / axis.low)
    return math.log(shade.end / shade.start) / length >= NARROW_SHADE


def _shade_name(shade: Shade, axis: Axis) -> dict[str, Any]:
    middle = math.log10(shade.start * shade.end) / 2
    return {
        "x": middle,
        "y": 0.01,
        "xref": "x",
        "yref": "paper",
        "yanchor": "bottom",
        "text": _text(shade.name),
        "showarrow": False,
        "font": {"size": 12, "color": colour("quiet")},
    }


def _level(level: Level) -> dict[str, Any]:
    style = {"color": colour(level.colour), "width": 1.5, "dash": "dot"}
    ends = {"xref": "paper", "x0": 0, "x1": 1, "y0": level.y, "y1": level.y}
    return {"type": "line", **ends, "line": style}


def _level_name(level: Level, axis: Axis) -> dict[str, Any]:
    return {
        "x": 1,
        "xref": "paper",
        "xanchor": "right",
        "y": math.log10(level.y),
        "yanchor": "bottom",
        "text": _text(level.name),
        "showarrow": False,
        "font": {"size": 12, "color": colour(level.colour)},
    }
