"""Drawings as SVG: complete without a script, in colours that follow the paper.

Each figure is drawn twice, for a wide and for a narrow screen, and the style sheet shows one; text
keeps its size on both. A script only adds hovering and switching (templates/report.js), for which
``hover`` has the points and their texts.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from steep.present.drawing import Axis, Band, Drawing, Layer, Line, Points
from steep.present.palette import COLOURS, DARK, LIGHT, colour

Entry = dict[str, str]


@dataclass(frozen=True)
class Paper:
    """The size of a figure and of its text, in pixels."""

    name: str
    width: int
    height: int
    font: float


WIDE, NARROW = Paper("wide", 820, 430, 13.0), Paper("narrow", 358, 320, 11.5)
_CHARACTER = 0.56
"""Width of a character as a share of the font size, about: sans-serif digits and lower case."""
ENCIRCLES = 14.0
"""A hollow mark as large as this is a ring around another one, which is to be seen through it."""
_ARROWS = {"up": 1, "down": -1}


def figure(drawing: Drawing, papers: Sequence[Paper] = (WIDE, NARROW)) -> str:
    """The SVG elements of a drawing, one for each of ``papers``."""
    return "".join(_svg(drawing, paper) for paper in papers)


def legend(drawing: Drawing) -> list[Entry]:
    """The legend's entries, for HTML beside the figure."""
    entries: dict[str, Entry] = {}
    for layer in drawing.layers:
        # an entry shared by a band, a line and points looks like the points
        known = entries.get(layer.legend, {"kind": "band"})["kind"]
        if layer.legend and (known in ("band", "line") or known.endswith("hollow")):
            entries[layer.legend] = {
                "name": layer.legend,
                "kind": known if isinstance(layer, Band) else _kind(layer),
                "colour": _ink(layer.colour),
            }
    first = [entries.pop(name) for name in drawing.legend if name in entries]
    return [*first, *entries.values()]


def hover(drawing: Drawing) -> list[dict[str, Any]]:
    """One entry a layer that has texts: its legend and panel, the places of its points as shares of
    the axes, what all its texts begin with and how each goes on."""
    found = []
    for layer in drawing.layers:
        if isinstance(layer, Band) or not layer.hover:
            continue
        texts = [text.replace("<br>", "\n") for text in layer.hover]
        start = _common_start(texts)
        found.append(
            {
                "legend": layer.legend,
                "panel": layer.panel,
                "x": [round(_share(x, drawing.x), 4) for x in layer.x],
                "y": [round(_share(y, drawing.y), 4) for y in layer.y],
                "start": start,
                "rest": [text[len(start) :] for text in texts],
            }
        )
    return found


def colours(drawings: Iterable[Drawing], paper: int) -> dict[str, str]:
    """The variables of the style sheet that hold the drawings' colours on light or dark paper."""
    used = {layer.colour for drawing in drawings for layer in drawing.layers}
    return {f"--{name}": colour(name, paper) for name in sorted({*COLOURS, *used})}


def style(drawings: Sequence[Drawing], screen: str = "screen and ") -> str:
    """The same as CSS, for both papers."""
    light, dark = (
        "".join(f"{name}:{value};" for name, value in colours(drawings, paper).items())
        for paper in (LIGHT, DARK)
    )
    night = f"@media {screen}(prefers-color-scheme: dark)"
    return f":root{{{light}}}\n{night}{{:root{{{dark}}}}}"


def alone(drawing: Drawing) -> str:
    """The drawing as one SVG with its legend, for a notebook: light colours, no style sheet."""
    text = _svg(drawing, WIDE)
    for name, value in colours([drawing], LIGHT).items():
        text = text.replace(f"var({name})", value)
    names = ", ".join(_text(entry["name"]) for entry in legend(drawing))
    return (
        '<figure style="margin:0;max-width:820px;background:#fff;color:#1c2430;padding:8px">'
        f'{text}<figcaption style="font-size:85%">{names}</figcaption></figure>'
    )


def _kind(layer: Layer) -> str:
    if isinstance(layer, Band):
        return "band"
    if isinstance(layer, Line):
        return "line"
    return f"{layer.marker}-hollow" if layer.hollow else layer.marker


# ---------------------------------------------------------------- one figure


@dataclass(frozen=True)
class _Frame:
    """Where the axes lie on the paper, and how a value becomes a place."""

    drawing: Drawing
    paper: Paper
    left: float
    right: float
    top: float
    bottom: float

    @property
    def clip(self) -> str:
        """Lines that leave the figure, as of a diverged run, end at its edge."""
        return _text(f"clip-{self.drawing.name}-{self.paper.name}")

    def x(self, value: float) -> float:
        return self.left + _share(value, self.drawing.x) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - _share(value, self.drawing.y) * (self.bottom - self.top)


def _svg(drawing: Drawing, paper: Paper) -> str:
    font = paper.font
    widest = max((_width(label, font) for label in drawing.y.labels), default=0.0)
    frame = _Frame(
        drawing,
        paper,
        left=round(1.5 * font + widest + 14),
        right=paper.width - 12.0,
        top=10.0,
        bottom=paper.height - round(3.3 * font),
    )
    title = _text(f"{drawing.title}. {drawing.caption}".strip())
    parts = [
        f'<svg class="plot {paper.name}" viewBox="0 0 {paper.width} {paper.height}" role="img" '
        f'aria-label="{title}" font-size="{font:g}" font-family="system-ui, sans-serif" '
        f'data-area="{frame.left:g} {frame.top:g} {frame.right:g} {frame.bottom:g}">',
        f'<clipPath id="{frame.clip}"><rect x="{frame.left:g}" y="{frame.top:g}" '
        f'width="{frame.right - frame.left:g}" height="{frame.bottom - frame.top:g}"/></clipPath>',
        *_background(frame),
        *_axes(frame),
    ]
    for layer in drawing.layers:
        hidden = "" if layer.panel in ("", drawing.opens_on) else ' style="display:none"'
        parts.append(
            f'<g data-legend="{_text(layer.legend)}" data-panel="{_text(layer.panel)}"{hidden}>'
            f"{_layer(layer, frame)}</g>"
        )
    parts += _names(frame)
    return "".join(parts) + "</svg>"


def _background(frame: _Frame) -> list[str]:
    height = frame.bottom - frame.top
    return [
        f'<rect x="{_n(frame.x(s.start))}" y="{frame.top:g}" height="{height:g}" '
        f'width="{_n(frame.x(s.end) - frame.x(s.start))}" fill="{_ink(s.colour)}"/>'
        for s in frame.drawing.shades
    ]


def _axes(frame: _Frame) -> list[str]:
    """Grid, ticks with their labels (fewer where they would touch) and titles."""
    x, y, font = frame.drawing.x, frame.drawing.y, frame.paper.font
    left, right, top, bottom = frame.left, frame.right, frame.top, frame.bottom
    across = [(frame.x(t), label) for t, label in zip(x.ticks, x.labels, strict=True)]
    across = _apart(across, lambda label: _width(label, font) + font)
    up = [(frame.y(t), label) for t, label in zip(y.ticks, y.labels, strict=True)]
    up = _apart(up, lambda label: 1.5 * font)
    grid = [f"M{_n(at)} {top:g}V{bottom:g}" for at, _ in across]
    grid += [f"M{left:g} {_n(at)}H{right:g}" for at, _ in up]
    ticks = [f"M{_n(at)} {bottom:g}v5" for at, _ in across]
    ticks += [f"M{left:g} {_n(at)}h-5" for at, _ in up]
    middle = (top + bottom) / 2
    labels = []
    for at, label in across:
        # the last label ends with the paper
        place = min(at, frame.paper.width - _width(label, font) / 2 - 2)
        labels.append(_label(place, bottom + 5 + 1.1 * font, label, "middle"))
    labels += [_label(left - 8, at + 0.36 * font, label, "end") for at, label in up]
    return [
        f'<path d="{"".join(grid)}" stroke="{_ink("faint")}" stroke-dasharray="1 3" fill="none"/>',
        f'<path d="M{left:g} {top:g}V{bottom:g}H{right:g}{"".join(ticks)}" '
        f'stroke="{_ink("quiet")}" fill="none"/>',
        f'<g fill="{_ink("text")}">{"".join(labels)}'
        + _label((left + right) / 2, frame.paper.height - 0.45 * font, x.title, "middle")
        + f'<text transform="translate({_n(1.05 * font)} {_n(middle)}) rotate(-90)" '
        f'text-anchor="middle">{_text(y.title)}</text></g>',
    ]


def _apart(ticks: list[tuple[float, str]], need: Any) -> list[tuple[float, str]]:
    """Every tick, or every second, third, ...: the densest of which no two labels touch."""
    for step in range(1, len(ticks) + 1):
        kept = ticks[::step]
        if all(abs(b - a) >= (need(one) + need(two)) / 2 for (a, one), (b, two) in pairwise(kept)):
            return kept
    return ticks


def _names(frame: _Frame) -> list[str]:
    """The names of regions and levels, where there is room for them."""
    font, parts = frame.paper.font, []
    for shade in frame.drawing.shades:
        start, end = frame.x(shade.start), frame.x(shade.end)
        names = (shade.name, shade.name.removesuffix(" region"))
        name = next((n for n in names if _width(n, font) + 6 <= end - start), "")
        if name:
            text = _label((start + end) / 2, frame.bottom - 0.5 * font, name, "middle")
            parts.append(f'<g fill="{_ink("soft")}">{text}</g>')
    for level in frame.drawing.levels:
        at = frame.y(level.y)
        parts.append(
            f'<path d="M{frame.left:g} {_n(at)}H{frame.right:g}" stroke="{_ink(level.colour)}" '
            'stroke-width="1.5" stroke-dasharray="2 3"/>'
        )
        above = at - 0.4 * font if at - 1.4 * font > frame.top else at + 1.2 * font
        text = _label(frame.right - 3, above, level.name, "end")
        parts.append(f'<g fill="{_ink(level.colour)}">{text}</g>')
    return parts


# ---------------------------------------------------------------- layers


def _layer(layer: Layer, frame: _Frame) -> str:
    ink = _ink(layer.colour)
    if isinstance(layer, Band):
        edge = [*zip(layer.x, layer.upper, strict=True)]
        edge += reversed([*zip(layer.x, layer.lower, strict=True)])
        return (
            f'<path d="{_path(edge, frame)}Z" fill="{ink}" opacity="{layer.opacity:g}" '
            f'clip-path="url(#{frame.clip})"/>'
        )
    if isinstance(layer, Line):
        dash = ' stroke-dasharray="7 5"' if layer.dash else ""
        path = _path([*zip(layer.x, layer.y, strict=True)], frame)
        text = (
            f'<path d="{path}" stroke="{ink}" stroke-width="{layer.width:g}" fill="none" '
            f'stroke-linejoin="round"{dash} clip-path="url(#{frame.clip})"/>'
        )
        if layer.markers:
            text += "".join(
                f'<circle cx="{_n(frame.x(x))}" cy="{_n(frame.y(y))}" r="3" fill="{ink}"/>'
                for x, y in zip(layer.x, layer.y, strict=True)
            )
        return text
    return _points(layer, frame)


def _points(points: Points, frame: _Frame) -> str:
    ink, radius = _ink(points.colour), points.size / 2
    bars = []
    if points.lower:
        for x, low, high in zip(points.x, points.lower, points.upper, strict=True):
            a, b = frame.y(low), frame.y(high)
            bars.append(
                f"M{_n(frame.x(x))} {_n(a)}V{_n(b)}m-3.5 0h7M{_n(frame.x(x) - 3.5)} {_n(a)}h7"
            )
    text = f'<path d="{"".join(bars)}" stroke="{ink}" stroke-width="1.8" fill="none"/>' * bool(bars)
    strokes = points.marker in ("dash", "cross")
    hollow = points.hollow or strokes
    see_through = strokes or points.size >= ENCIRCLES
    fill = ink if not hollow else "none" if see_through else _ink("paper")
    line = f' stroke="{ink}" stroke-width="2"' if hollow else ""
    marks = "".join(
        _mark(points.marker, frame.x(x), frame.y(y), radius)
        for x, y in zip(points.x, points.y, strict=True)
    )
    return f'{text}<path d="{marks}" fill="{fill}"{line}/>'


def _mark(marker: str, x: float, y: float, r: float) -> str:
    """One marker as a path, ``r`` its radius."""
    if marker == "circle":
        return f"M{_n(x - r)} {_n(y)}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0"
    if marker == "dash":
        return f"M{_n(x - r)} {_n(y)}h{2 * r:g}"
    if marker == "cross":
        return f"M{_n(x - r)} {_n(y - r)}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} {2 * r:g}"
    if marker in _ARROWS:
        s = _ARROWS[marker] * r
        corners = [(x, y - s), (x + r, y + s), (x - r, y + s)]
    elif marker == "star":
        lengths = (1.1 * r, 0.45 * r)
        turns = [(lengths[i % 2], math.pi * i / 5) for i in range(10)]
        corners = [(x + d * math.sin(a), y - d * math.cos(a)) for d, a in turns]
    elif marker == "square":
        corners = [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
    else:
        corners = [(x, y - r), (x + r, y), (x, y + r), (x - r, y)]
    return "M" + "L".join(f"{_n(a)} {_n(b)}" for a, b in corners) + "Z"


def _path(points: Sequence[tuple[float, float]], frame: _Frame) -> str:
    return "M" + "L".join(f"{_n(frame.x(x))} {_n(frame.y(y))}" for x, y in points)


# ---------------------------------------------------------------- small parts


def _share(value: float, axis: Axis) -> float:
    """Place of a value on its logarithmic axis, 0 to 1."""
    return math.log(value / axis.low) / math.log(axis.high / axis.low) if value > 0 else 0.0


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{_text(text)}</text>'


def _ink(name: str) -> str:
    return f"var(--{name})"


def _text(text: str) -> str:
    return html.escape(text.replace("<br>", " "))


def _common_start(texts: Sequence[str]) -> str:
    """What all of several texts begin with."""
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)
    same = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def _width(text: str, font: float) -> float:
    return len(text) * _CHARACTER * font


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
