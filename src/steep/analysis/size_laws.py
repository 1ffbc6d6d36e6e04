"""How the best-fit model's size grows with the data: the law of each definition of that size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steep.analysis.at_own_rates import at_own_rates, seed_spread
from steep.fit import fit_size_law
from steep.records import NO_EMBEDDINGS, ONE_SIZE, ONE_TRIED, BestFit, SizeLaw
from steep.select import median_variance
from steep.stats.response import NOISE
from steep.stats.size_law import mixed
from steep.stats.size_surface import Place, size_law_of_surface

WHOLE_SURFACE = "whole surface"
"""The size law from the errors of all sizes; the others use one optimum per shard."""
SURFACES = 8
"""Draws of what sizes gain by learning rates of their own for which a whole surface is fitted."""
CAPPED = 0.02
"""By how much (in log error) a run that still improved at its cap may be too high."""
UNCOUNTED = "the trainer does not say how many parameters there are"
AT_END = 0.01
"""A minimum this near (in log) to an end of the ladder lies at that end."""


def size_laws(best_fits: Sequence[BestFit], level: float = 0.9) -> tuple[tuple[str, SizeLaw], ...]:
    """The size law by each definition of the best-fit size.

    Held-out shards are not used: only one size was trained there, chosen by this law or by the
    largest searched shard, and a single size shows no optimum. A plateau shows none either: there
    noise decides which size has the lowest score, so its edge is 'high' (the optimum could be any
    larger size) in the law of lowest scores."""
    fitted = [b for b in best_fits if b.searched]
    minima = size_law(best_fits, "best", "parameters", level)
    if minima.reason != ONE_SIZE:
        minima = _law_of_minima([b for b in fitted if ONE_TRIED not in b.flags], level)
    return (
        ("smallest adequate", size_law(best_fits, "adequate", "parameters", level)),
        ("lowest score", size_law(best_fits, "best", "parameters", level)),
        ("fitted minimum", minima),
        (
            "smallest adequate, without embeddings",
            size_law(best_fits, "adequate", "parameters_without_embeddings", level),
        ),
        (WHOLE_SURFACE, _law_of_surface(fitted, level)),
    )


def size_law(best_fits: Sequence[BestFit], which: str, count: str, level: float = 0.9) -> SizeLaw:
    """The law of the best fits' sizes ('best' or 'adequate'), counted in parameters or, of code
    that does not count them, as the dial that it was given ('size').

    The best of them are compared each at its own learning rate, as far as it is known: the law is a
    mixture over draws of what sizes gain by it."""
    law = _size_law(best_fits, which, count, level)
    if which == "adequate" or law.outcome != "ok" or law.reason == ONE_SIZE:
        return law
    drawn = at_own_rates(best_fits)
    if not drawn:
        return law
    return mixed([_size_law(fits, which, count, level) for fits in drawn], level)


def _size_law(best_fits: Sequence[BestFit], which: str, count: str, level: float) -> SizeLaw:
    fitted = [b for b in best_fits if b.searched]
    few = any("incomplete" in b.flags for b in fitted)
    if len({c.size for b in best_fits for c in b.candidates}) == 1:
        if few:  # one size everywhere says nothing of how it grows: others may be tried yet
            return SizeLaw("not measured", "the search is unfinished", level=level)
        return _fixed_size(fitted, count, level)
    if fitted and all(ONE_TRIED in b.flags for b in fitted):
        return SizeLaw("not measured", "on each shard one size was tried")
    # one that was tried alone is no bound: a larger or a smaller one may be better
    fitted = [b for b in fitted if ONE_TRIED not in b.flags]
    chosen = [b.adequate if which == "adequate" else b.best for b in fitted]
    edges = [b.adequate_edge if which == "adequate" else b.edge for b in fitted]
    sizes = [float(getattr(c, count)) for c in chosen]
    if not sizes:
        return SizeLaw("not measured", "no trial has a result")
    if min(sizes) <= 0:
        counted = count != "parameters" and min(c.parameters for c in chosen) > 0
        return SizeLaw("not measured", NO_EMBEDDINGS if counted else UNCOUNTED)
    steps = [_step(b, size, count) for b, size in zip(fitted, sizes, strict=True)]
    law = fit_size_law([b.samples for b in fitted], sizes, edges, level, steps)
    if few and law.outcome != "ok":  # more trials may still change the outcome
        return replace(law, reason="the search is unfinished")
    if law.beta_p is not None and (law.beta_p.upper or 0.0) <= 0:
        reason = "best-fit sizes shrink as data grows: plateaus or noise decide them here"
        return replace(law, outcome="not measured", reason=reason, beta_p=None, sigma=None)
    return law


def _fixed_size(fitted: Sequence[BestFit], count: str, level: float) -> SizeLaw:
    """The size law of a study with one fixed model: the same size for any amount of data."""
    parameters = {float(getattr(b.best, count)) for b in fitted} - {0.0}
    if not parameters and count != "parameters" and all(b.best.parameters for b in fitted):
        return SizeLaw("not measured", NO_EMBEDDINGS, level=level)
    if len(parameters) != 1:
        return SizeLaw("not measured", ONE_SIZE, level=level)
    center = (float(np.log(fitted[-1].samples)), float(np.log(parameters.pop())))
    return SizeLaw("ok", ONE_SIZE, center=center, draws=((center[1], 0.0),), level=level)


def _places(fitted: Sequence[BestFit]) -> list[Place]:
    """The lowest error of every size on every searched shard, with its variance in log."""
    places = []
    for b in fitted:
        spread = seed_spread(b) or NOISE
        for size in {c.size for c in b.candidates}:
            c = min((c for c in b.candidates if c.size == size), key=lambda c: c.expected)
            if c.expected > 0:
                variance = spread**2 * median_variance(len(c.errors))
                variance += CAPPED**2 if c.capped else 0.0
                places.append(Place(b.samples, float(c.parameters), np.log(c.expected), variance))
    return sorted(places, key=lambda p: (p.samples, p.parameters))


def _law_of_surface(fitted: Sequence[BestFit], level: float) -> SizeLaw:
    """The size law of a surface fitted to the errors of all sizes."""
    places = _places(fitted)
    if places and min(p.parameters for p in places) <= 0:
        return SizeLaw("not measured", UNCOUNTED)
    drawn = at_own_rates(fitted)[:SURFACES]
    if not drawn:
        return size_law_of_surface(places, level)
    return mixed([size_law_of_surface(_places(fits), level) for fits in drawn], level)


def _law_of_minima(fitted: Sequence[BestFit], level: float) -> SizeLaw:
    """The size law through each shard's fitted minimum, or its smallest adequate size on a plateau.

    The minimum's interval takes the place of a step of the ladder; a minimum at an end of the
    ladder is only a one-sided bound."""
    sizes, edges, steps = [], [], []
    for b in fitted:
        curve = b.size_curve
        if min(c.parameters for c in b.candidates) <= 0:
            return SizeLaw("not measured", UNCOUNTED)
        if curve is None:
            return SizeLaw("not measured", "too few trials ended to draw error against size")
        if b.plateau:
            sizes.append(float(b.adequate.parameters))
            edges.append(b.adequate_edge)
            steps.append(_step(b, sizes[-1], "parameters"))
            continue
        middle, low, high = curve.minimum
        ends = {curve.sizes[-1]: "high", curve.sizes[0]: "low"}
        sizes.append(middle)
        near_ends = [
            edge for s, edge in ends.items() if abs(np.log(curve.minimum_size[0] / s)) < AT_END
        ]
        edges.append(near_ends[0] if near_ends else "")
        steps.append(max(high / low, low / high))
    if not sizes:
        return SizeLaw("not measured", "there are no best fits")
    return fit_size_law([b.samples for b in fitted], sizes, edges, level, steps)


def _step(best_fit: BestFit, size: float, count: str) -> float:
    """The ladder's step at ``size``: the geometric mean of the ratios to its two neighbours."""
    sizes = sorted({float(getattr(c, count)) for c in best_fit.candidates} | {size})
    at = sizes.index(size)
    above, below = sizes[min(at + 1, len(sizes) - 1)], sizes[max(at - 1, 0)]
    neighbours = (at + 1 < len(sizes)) + (at > 0)
    return (above / below) ** (1 / neighbours) if neighbours and below > 0 else 1.0
