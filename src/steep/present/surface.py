"""A joint fit as figures: error against compute by model size, and residuals over the plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steep.present import numbers
from steep.present.drawing import Band, Drawing, Layer, Line, Points, log_axis
from steep.present.joint import scale_of
from steep.present.palette import sequence
from steep.records import Frontier, JointFit

MOST = 8
"""Model sizes that get a line and a colour of their own; more are grouped."""


def _groups(fit: JointFit) -> list[tuple[float, list[int]]]:
    """Rows by model size, at most ``MOST`` groups of neighbours: (geometric mean size, rows)."""
    n = np.log([r.parameters for r in fit.rows])
    distinct = np.unique(np.round(n, 6))
    parts = np.array_split(distinct, min(MOST, len(distinct)))
    return [
        (
            float(np.exp(part.mean())),
            np.flatnonzero((n >= part[0] - 1e-5) & (n <= part[-1] + 1e-5)).tolist(),
        )
        for part in parts
    ]


def surface_drawing(fit: JointFit, frontier: Sequence[Frontier] = ()) -> Drawing:
    """Runs and the surface's curves at fixed size against compute, with the best split's band."""
    how, k = scale_of(fit), fit.flops_per_parameter_sample
    groups = _groups(fit)
    layers: list[Layer] = []
    if frontier:
        layers += _frontier(frontier, how)
    for (size, rows), colour in zip(groups, sequence(len(groups)), strict=True):
        own = [fit.rows[i] for i in rows]
        name = f"{numbers.count(size)} parameters"
        layers.append(
            Points(
                x=tuple(k * r.parameters * r.samples for r in own),
                y=tuple(how.drawn(r.error) for r in own),
                colour=colour,
                hollow=False,
                size=6.0,
                legend=name,
                hover=tuple(
                    f"row {r.row}: {numbers.count(r.parameters)} parameters, "
                    f"{numbers.count(r.samples)} {fit.unit}<br>{numbers.measured(r.error, how)}"
                    for r in own
                ),
            )
        )
        if fit.draws and not fit.line:
            d = np.geomspace(min(r.samples for r in own), max(r.samples for r in own) * 4, 24)
            error = [how.drawn(float(e)) for e in fit.predict(size, d)["error"]]
            layers.append(Line(tuple((k * size * d).tolist()), tuple(error), colour))
    xs = [v for layer in layers for v in layer.x]
    ys = [v for layer in layers if not isinstance(layer, Band) for v in layer.y]
    return Drawing(
        name="surface",
        title=f"{how.label[:1].upper()}{how.label[1:]} against compute, by model size",
        caption=f"Points: runs. Lines: the fitted surface at one model size, up to 4x its data. "
        f"Compute is {numbers.short(k, 4)} N D.",
        x=log_axis("training FLOPs", xs),
        y=log_axis(how.title, ys),
        layers=tuple(layers),
    )


def _frontier(found: Sequence[Frontier], how: numbers.Scale) -> list[Layer]:
    x = tuple(f.flops for f in found)
    low, mid, high = (
        tuple(how.drawn(getattr(f.error, end) or 0.0) for f in found)
        for end in ("lower", "value", "upper")
    )
    return [
        Band(x, low, high, "main", legend="best split of compute"),
        Line(x, mid, "main", dash=True, legend="best split of compute"),
    ]


def residual_drawing(fit: JointFit) -> Drawing:
    """Rows over the plane of data and size: how far each lies from the law alone."""
    frame = fit.residuals()
    size = max(fit.scatter or 0.0, 1e-4)
    layers: list[Layer] = []
    for label, colour, marker, mine in (
        ("above the law", "truth", "up", frame.residual_of_law > size),
        ("below the law", "main", "down", frame.residual_of_law < -size),
        ("within one scatter", "quiet", "circle", frame.residual_of_law.abs() <= size),
        ("off the surface", "text", "star", frame.off),
    ):
        rows = frame[mine & ~frame.off] if label != "off the surface" else frame[frame.off]
        if len(rows):
            layers.append(
                Points(
                    x=tuple(rows.samples.tolist()),
                    y=tuple(rows.parameters.tolist()),
                    colour=colour,
                    marker=marker,
                    legend=label,
                    hover=tuple(
                        f"row {r.row}: {numbers.number(100 * r.residual_of_law, 2)} % from the "
                        f"law, {numbers.number(100 * r.residual, 2)} % from the surface"
                        for r in rows.itertuples()
                    ),
                )
            )
    return Drawing(
        name="residuals",
        title="Residuals of the law over data and model size",
        caption="Arrows: rows further from the law alone than one run scatters. A pattern is what "
        "the law lacks; forecasts carry it on.",
        x=log_axis(f"training {fit.unit}", frame.samples.tolist()),
        y=log_axis("parameters", frame.parameters.tolist()),
        layers=tuple(layers),
    )
