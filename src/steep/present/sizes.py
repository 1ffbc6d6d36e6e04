"""Model sizes as drawings: the best-fit size against data, and error against size per shard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steep.present import numbers
from steep.present.drawing import Band, Drawing, Layer, Line, Points, log_axis
from steep.present.numbers import Scale
from steep.present.palette import sequence
from steep.records import BestFit, Candidate, HeldOutForecast, SizeLaw

BEST = "lowest score"
CHOSEN = "best fit"
ADEQUATE = "smallest adequate"
SMOOTH = "as all trials show it"
MINIMUM, BETWEEN = "its minimum", "90 % interval of the minimum"


def model_size_curve(
    best_fits: Sequence[BestFit],
    size_laws: Sequence[tuple[str, SizeLaw]],
    confrontations: Sequence[HeldOutForecast] = (),
) -> Drawing | None:
    """Parameters of the best-fit model against training-set size; None without parameters."""
    fitted = [b for b in best_fits if b.searched and b.best.parameters > 0]
    if not fitted:
        return None
    unit = fitted[0].unit
    last = max([b.samples for b in fitted] + [c.samples for c in confrontations])
    layers: list[Layer] = []
    law = dict(size_laws).get(ADEQUATE)
    if law is not None:
        layers += _size_law(law, min(b.samples for b in fitted), last)
    layers += _optima(fitted, unit)
    layers += _trained(confrontations, unit)
    heights = [v for layer in layers if not isinstance(layer, Band) for v in layer.y]
    return Drawing(
        name="model_size",
        title=f"Model-size curve: best-fit parameters against training {unit}",
        caption=_size_caption(fitted),
        x=log_axis(f"training {unit}", [*(b.samples for b in fitted), last]),
        y=log_axis("best-fit parameters", heights, pad=0.1),
        layers=tuple(layers),
    )


def _size_law(law: SizeLaw, first: float, last: float) -> list[Layer]:
    """Median and interval of the law's draws over the sizes measured."""
    if law.outcome != "ok" or law.center is None or not law.draws:
        return []
    grid = np.geomspace(first, last, 40)
    draws = np.array(law.draws)
    log_size = draws[:, :1] + draws[:, 1:] * (np.log(grid)[None, :] - law.center[0])
    ends = [0.5 - law.level / 2, 0.5, 0.5 + law.level / 2]
    # quantiles of a few hundred draws wiggle from place to place; the law's own do not
    t = np.log(grid / grid[0])
    rough = np.quantile(log_size, ends, axis=0)
    found = np.exp([np.polyval(np.polyfit(t, row, 4), t) for row in rough])
    low, mid, high = (tuple(row.tolist()) for row in found)
    x = tuple(grid.tolist())
    hover = tuple(
        f"size law at {numbers.count(m)}<br>{numbers.count(s)} parameters"
        for m, s in zip(x, mid, strict=True)
    )
    return [
        Band(x, low, high, "main", legend=f"{numbers.level(law.level)} band of the law"),
        Line(x, mid, "main", legend=f"size law, {ADEQUATE}", hover=hover),
    ]


def _optima(fitted: Sequence[BestFit], unit: str) -> list[Layer]:
    """Sizes inside the ladder as points, those at its edge as arrows: one-sided."""
    kinds = (
        (BEST, "quiet", True, [(b, b.best, b.edge) for b in fitted]),
        (ADEQUATE, "main", False, [(b, b.adequate, b.adequate_edge) for b in fitted]),
    )
    layers: list[Layer] = []
    for label, colour, hollow, members in kinds:
        for edge, marker in (("", "circle"), ("high", "up"), ("low", "down")):
            chosen = [(b, c) for b, c, e in members if e == edge]
            if not chosen:
                continue
            layers.append(
                Points(
                    x=tuple(b.samples for b, _ in chosen),
                    y=tuple(float(c.parameters) for _, c in chosen),
                    colour=colour,
                    marker=marker,
                    hollow=hollow,
                    size=13 if hollow else 9,
                    legend=label + _EDGES[edge],
                    hover=tuple(_optimum_text(b, c, label, edge, unit) for b, c in chosen),
                )
            )
    return layers


_EDGES = {
    "": "",
    "high": ", at least",
    "low": ", at most",
}


def _optimum_text(best: BestFit, candidate: Candidate, label: str, edge: str, unit: str) -> str:
    return (
        f"{label}{_EDGES[edge]}<br>{numbers.exact(best.samples)} {unit}: size {candidate.size}, "
        f"{numbers.count(candidate.parameters)} parameters"
    )


def _trained(confrontations: Sequence[HeldOutForecast], unit: str) -> list[Layer]:
    known = [(c, c.parameters) for c in confrontations if c.parameters]
    if not known:
        return []
    return [
        Points(
            x=tuple(c.samples for c, _ in known),
            y=tuple(float(p) for _, p in known),
            colour="truth",
            hollow=True,
            size=11,
            legend="trained at the held-out size",
            hover=tuple(
                f"{numbers.exact(c.samples)} {unit}: size {c.size}, {numbers.count(p)} parameters"
                for c, p in known
            ),
        )
    ]


def _size_caption(fitted: Sequence[BestFit]) -> str:
    if not any(b.edge or b.adequate_edge for b in fitted):
        return ""
    return "Arrows: best fits at an edge of the ladder, which say only 'at least' or 'at most'."


# ---------------------------------------------------------------- error against size


def error_by_size(best_fits: Sequence[BestFit], how: Scale) -> Drawing | None:
    """The score of each model size at its best, one line a shard, with the best fit marked."""
    shards = [b for b in best_fits if b.permutation == 0 and not b.held_out and b.candidates]
    shards = [b for b in shards if all(c.parameters > 0 for c in b.candidates)]
    if not shards:
        return None
    unit = shards[0].unit
    layers: list[Layer] = []
    for best, colour in zip(shards, sequence(len(shards)), strict=True):
        layers.append(_by_size(best, colour, how))
        layers += _minimum(best, colour, how)
    for legend, marker, size, hollow in (
        (ADEQUATE, "circle", 15.0, True),
        (CHOSEN, "star", 13.0, False),
    ):
        chosen = [b.adequate if marker == "circle" else b.best for b in shards]
        layers.append(
            Points(
                x=tuple(float(c.parameters) for c in chosen),
                y=tuple(how.drawn(c.score) for c in chosen),
                colour="text",
                marker=marker,
                hollow=hollow,
                size=size,
                legend=legend,
                hover=tuple(
                    f"{legend} at {numbers.exact(b.samples)} {unit}<br>{_candidate_text(c, how)}"
                    for b, c in zip(shards, chosen, strict=True)
                ),
            )
        )
    lines = [layer for layer in layers if isinstance(layer, Line)]
    return Drawing(
        name="error_by_size",
        title=f"{how.label[:1].upper()}{how.label[1:]} against model size, per shard",
        caption="Each point: the score (median over seeds of the minimum validation error) of one "
        "model size at its best hyperparameters. Dashed: as all trials of the study show it, with "
        "the minimum's 90 % interval where there is no plateau." + _unfinished_caption(shards),
        x=log_axis("parameters", [v for line in lines for v in line.x]),
        y=log_axis(f"validation {how.title}", [v for line in lines for v in line.y]),
        layers=tuple(layers),
        legend=tuple(f"{numbers.exact(b.samples)} {b.unit}" for b in shards),
    )


def _by_size(best: BestFit, colour: str, how: Scale) -> Line:
    sizes = sorted({c.size for c in best.candidates})
    lowest = [min((c for c in best.candidates if c.size == s), key=_order) for s in sizes]
    return Line(
        x=tuple(float(c.parameters) for c in lowest),
        y=tuple(how.drawn(c.score) for c in lowest),
        colour=colour,
        width=1.8,
        markers=True,
        legend=f"{numbers.exact(best.samples)} {best.unit}",
        hover=tuple(
            f"{numbers.exact(best.samples)} {best.unit}<br>{_candidate_text(c, how)}"
            for c in lowest
        ),
    )


def _minimum(best: BestFit, colour: str, how: Scale) -> list[Layer]:
    """The fitted curve, and its minimum with the interval; a plateau has none."""
    curve = best.size_curve
    if curve is None or min(curve.parameters) <= 0:
        return []
    error = tuple(how.drawn(e) for e in curve.error)
    layers: list[Layer] = [
        Line(curve.parameters, error, colour, width=1.0, dash=True, legend=SMOOTH)
    ]
    if best.plateau:
        return layers
    middle, low, high = curve.minimum
    lowest = min(error)
    place = f"minimum at {numbers.exact(best.samples)} {best.unit}"
    between = f"{numbers.count(low)} to {numbers.count(high)} parameters"
    hover = (f"{place}<br>{numbers.count(middle)} parameters, 90 %: {between}",)
    span = (f"{place}<br>90 %: {between}",) * 2
    ends, level = (low, high), (lowest, lowest)
    layers.append(Line(ends, level, colour, width=4.0, legend=BETWEEN, hover=span))
    at = (middle,), (lowest,)
    layers.append(Points(*at, colour, marker="diamond", size=8.0, legend=MINIMUM, hover=hover))
    return layers


def _order(candidate: Candidate) -> tuple[float, float]:
    """As selection compares them: a score of fewer seeds is more of a lucky one."""
    return candidate.expected, candidate.score


def _unfinished_caption(shards: Sequence[BestFit]) -> str:
    if all(len(c.seeds) == len(b.best.seeds) for b in shards for c in b.candidates):
        return ""
    return (
        " Best fits are chosen by what further seeds are expected to show: the lowest point may be "
        "a lucky one of fewer seeds."
    )


def _candidate_text(candidate: Candidate, how: Scale) -> str:
    return (
        f"size {candidate.size}, {numbers.count(candidate.parameters)} parameters<br>"
        f"{numbers.measured(candidate.score, how)} over {len(candidate.seeds)} "
        + ("seed" if len(candidate.seeds) == 1 else "seeds")
    )
