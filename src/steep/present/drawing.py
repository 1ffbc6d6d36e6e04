"""A figure as plain data: computed once, drawn as SVG (figures.py) and by matplotlib (plots.py).

Values are in the units shown (percent, not fractions); colours are names of palette.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from steep.present.ticks import log_ticks, tick


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis: its title, range and labelled ticks."""

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """Joined points: a curve, a training run, a law."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    width: float = 2.0
    dash: bool = False
    markers: bool = False
    legend: str = ""
    """Series of one legend entry are switched on and off together; '' has none."""
    hover: tuple[str, ...] = ()
    """One text a point; empty: the line is silent."""
    panel: str = ""
    """A small multiple this belongs to; '' belongs to all."""


@dataclass(frozen=True)
class Points:
    """Single points with optional error bars (ends, not lengths)."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    marker: str = "circle"
    """'circle', 'diamond', 'square', 'star', 'up' or 'down' (arrows of one-sided points)."""
    hollow: bool = False
    size: float = 9.0
    lower: tuple[float, ...] = ()
    upper: tuple[float, ...] = ()
    legend: str = ""
    hover: tuple[str, ...] = ()
    panel: str = ""


@dataclass(frozen=True)
class Band:
    """The area between two curves."""

    x: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    colour: str
    opacity: float = 0.18
    legend: str = ""
    panel: str = ""


@dataclass(frozen=True)
class RegionBand:
    """A vertical stripe of the background with its name."""

    start: float
    end: float
    colour: str
    name: str


@dataclass(frozen=True)
class HorizontalLine:
    """A horizontal line with its name written on it."""

    y: float
    colour: str
    name: str


Layer = Line | Points | Band


@dataclass(frozen=True)
class Drawing:
    """One figure. ``layers`` are drawn in order, the first at the bottom."""

    name: str
    """A file name without its ending."""
    title: str
    caption: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...]
    shades: tuple[RegionBand, ...] = ()
    levels: tuple[HorizontalLine, ...] = ()
    panels: tuple[str, ...] = ()
    """Small multiples by name: side by side on paper, one at a time on a screen."""
    panel_label: str = ""
    """What the panels differ in, e.g. 'shard'."""
    opens_on: str = ""
    """The panel shown first on a screen."""
    legend: tuple[str, ...] = ()
    """Entries that come first in the legend; the others follow in the order of the layers."""


def log_axis(title: str, values: Iterable[float], pad: float = 0.06, most: int = 7) -> Axis:
    """An axis over the positive ones of ``values``, with ``pad`` of its length at both ends."""
    positive = [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
    low, high = math.log(min(positive)), math.log(max(positive))
    room = max((high - low) * pad, 0.05)
    ends = math.exp(low - room), math.exp(high + room)
    ticks = tuple(log_ticks(*ends, most))
    return Axis(title, *ends, ticks, tuple(tick(t) for t in ticks))
