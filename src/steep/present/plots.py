"""Drawings on paper: the same figures by matplotlib, for PNG, SVG and the user's own axes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steep.base.extras import need
from steep.present.drawing import Axis, Band, Drawing, Layer, Line
from steep.present.palette import colour
from steep.records import Fit

MARKERS = {
    "circle": "o",
    "diamond": "D",
    "square": "s",
    "star": "*",
    "up": "^",
    "down": "v",
    "cross": "x",
    "dash": "_",
}
PIXELS = 160
"""Dots per inch of a PNG."""
WIDE = (7.2, 5.2)
PANEL = (3.4, 2.7)


def plot_fit(fit: Fit, ax: Any = None) -> Any:
    """The learning curve of ``fit``, log-log with its bands, on ``ax``; returns the axes.

    Without ``ax`` a new figure is made. MissingExtra where matplotlib is missing."""
    from steep.present.learning import learning_curve

    return plot_drawing(learning_curve(fit), ax)


def plot_drawing(drawing: Drawing, ax: Any = None) -> Any:
    """A figure on ``ax``, or on new axes; returns the axes."""
    with _style():
        if ax is None:
            import matplotlib.pyplot as pyplot

            _, ax = pyplot.subplots(figsize=WIDE)
        draw(drawing, ax)
    return ax


def draw(drawing: Drawing, ax: Any, panel: str | None = None, legend: bool = True) -> None:
    """``drawing`` (or one ``panel`` of it) on matplotlib axes."""
    for shade in drawing.shades:
        ax.axvspan(shade.start, shade.end, color=colour(shade.colour), lw=0, zorder=0)
        middle = math.sqrt(shade.start * shade.end)
        if math.log(shade.end / shade.start) > 0.22 * math.log(drawing.x.high / drawing.x.low):
            ax.text(
                middle,
                0.015,
                shade.name,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
                color=colour("quiet"),
            )
    for level in drawing.levels:
        ax.axhline(level.y, color=colour(level.colour), lw=1.2, ls=":", zorder=1)
        ax.text(
            0.99,
            level.y,
            level.name,
            transform=ax.get_yaxis_transform(),
            ha="right",
            va="bottom",
            fontsize=8,
            color=colour(level.colour),
        )
    named: set[str] = set()
    for order, layer in enumerate(drawing.layers):
        if panel is None or layer.panel in ("", panel):
            label = layer.legend if layer.legend not in named else ""
            named.add(layer.legend)
            _layer(layer, ax, label or "_nolegend_", order + 2)
    _axes(drawing, ax)
    if legend and len(named) > 1:
        ax.legend(fontsize=8, frameon=False, loc="best")


def save(drawing: Drawing, path: Path) -> None:
    """Write the drawing as the PNG or SVG file ``path``. ValueError for another ending."""
    content = {f".{name.rpartition('.')[2]}": data for name, data in export(drawing)}
    if path.suffix.lower() not in content:
        raise ValueError(f"{path}: a figure is a .png or .svg file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content[path.suffix.lower()])


def export(drawing: Drawing) -> list[tuple[str, bytes]]:
    """The drawing as PNG and SVG files: (file name, content)."""
    need("matplotlib")
    from matplotlib.figure import Figure

    files = []
    with _style():
        figure = Figure(figsize=WIDE, layout="constrained")
        if drawing.panels:
            _small_multiples(drawing, figure)
        else:
            ax = figure.subplots()
            draw(drawing, ax, legend=False)
            _legend_below(figure, [ax], drawing)
        # no date inside: the same study gives the same bytes
        for ending, about in (("png", {"Software": "steep"}), ("svg", {"Date": None})):
            memory = io.BytesIO()
            figure.savefig(memory, format=ending, dpi=PIXELS, metadata=about)
            files.append((f"{drawing.name}.{ending}", memory.getvalue()))
    return files


def _small_multiples(drawing: Drawing, figure: Any) -> None:
    columns = min(3, len(drawing.panels))
    rows = math.ceil(len(drawing.panels) / columns)
    figure.set_size_inches(columns * PANEL[0], rows * PANEL[1] + 0.6)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    cells = list(grid.flat)
    for panel, ax in zip(drawing.panels, cells, strict=False):
        draw(drawing, ax, panel, legend=False)
        ax.set_title(panel, fontsize=9)
    for ax in cells[len(drawing.panels) :]:
        ax.set_axis_off()
    for i, ax in enumerate(cells[: len(drawing.panels)]):
        ax.set_ylabel(ax.get_ylabel() if i % columns == 0 else "")
        lowest = i + columns >= len(drawing.panels)
        ax.set_xlabel(ax.get_xlabel() if lowest else "")
        ax.tick_params(labelbottom=lowest)
    _legend_below(figure, cells, drawing)


def _legend_below(figure: Any, cells: Sequence[Any], drawing: Drawing) -> None:
    """One legend for all axes, under them, the drawing's own first entries first."""
    handles: dict[str, Any] = {}
    for ax in cells:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    first = [name for name in drawing.legend if name in handles]
    names = [*first, *(name for name in handles if name not in first)]
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        fontsize=8,
        ncols=2 if max(map(len, names)) > 34 else min(3, len(names)),
        frameon=False,
    )


def _layer(layer: Layer, ax: Any, label: str, order: int) -> None:
    shade = colour(layer.colour)
    if isinstance(layer, Band):
        ax.fill_between(
            layer.x,
            layer.lower,
            layer.upper,
            color=shade,
            alpha=layer.opacity,
            lw=0,
            label=label,
            zorder=order,
        )
    elif isinstance(layer, Line):
        ax.plot(
            layer.x,
            layer.y,
            color=shade,
            lw=0.8 * layer.width,
            ls="--" if layer.dash else "-",
            marker="o" if layer.markers else None,
            ms=4,
            label=label,
            zorder=order,
        )
    else:
        bars = None
        if layer.lower:
            bars = [
                [y - low for low, y in zip(layer.lower, layer.y, strict=True)],
                [high - y for high, y in zip(layer.upper, layer.y, strict=True)],
            ]
        ax.errorbar(
            layer.x,
            layer.y,
            yerr=bars,
            fmt=MARKERS[layer.marker],
            color=shade,
            ms=layer.size * 0.75,
            mfc="white" if layer.hollow else shade,
            mew=1.6,
            capsize=3,
            elinewidth=1.4,
            label=label,
            zorder=order,
        )


def _axes(drawing: Drawing, ax: Any) -> None:
    for axis, one, low_high in (
        (drawing.x, ax.xaxis, ax.set_xlim),
        (drawing.y, ax.yaxis, ax.set_ylim),
    ):
        one.axes.set_xscale("log") if one is ax.xaxis else one.axes.set_yscale("log")
        low_high(axis.low, axis.high)
        _ticks(one, axis)
    ax.set_xlabel(drawing.x.title)
    ax.set_ylabel(drawing.y.title)
    ax.grid(True, color=colour("faint"), lw=0.5, ls=":")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _ticks(one: Any, axis: Axis) -> None:
    from matplotlib.ticker import NullLocator

    one.set_ticks(list(axis.ticks), labels=list(axis.labels))
    one.set_minor_locator(NullLocator())


def _style() -> Any:
    """Fixed ids inside an SVG, text as text, no formulas in names that hold a dollar sign."""
    return need("matplotlib").rc_context(
        {"svg.hashsalt": "steep", "svg.fonttype": "none", "text.parse_math": False}
    )
