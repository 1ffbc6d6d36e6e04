"""By how much each size of model is better at its own best learning rate than at the best listed.

Sizes are compared at rates from a list. One whose best rate lies between two of them, or beyond
those that it was tried at, looks worse than it is; and where the best rate falls with size the same
sizes do on every shard, so that the best size seems not to grow. About its minimum log error is a
parabola in the logarithm of the rate (Box & Wilson 1951), with one curvature for a study, about a
best rate that is a power law of size and data:

    log error = level(shard, size) + c (log rate - r - p log size - q log samples)**2

For each c this is linear, with normal priors of r, p and q, and c is weighed by its marginal
likelihood on a grid. Where no size shows a minimum, the priors are what is left: sizes may then be
better by anything up to what is usual, and no exponent follows from their comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from steep.laws.law import Array

CURVATURES = np.geomspace(0.003, 0.5, 24)
CURVATURE, CURVATURE_SD = 0.03, 1.2
"""Log-normal prior of c: 0.006 to 0.07 in nine of ten published studies (make bench-surfaces)."""
BY_SIZE, BY_DATA = (-0.5, 0.7), (0.0, 0.35)
"""Normal priors of p and q: of these studies -1.4 to 0.4 and -0.4 to 0.5."""
ANYWHERE = 5.0
"""Standard deviation of r about the middle of the list."""
NEAR = 0.7
"""Log error above the best of its shard and size up to which a rate tells of the minimum,"""
ROUGH = 0.2
"""and by what share of it a parabola is off there."""
LEAST = 0.005
"""Log error: what a parabola is off near the minimum."""


@dataclass(frozen=True)
class TriedRate:
    """A rate tried with a size of model on a shard; other hyperparameters are part of ``group``."""

    samples: float
    size: int
    rate: float
    log_error: float
    variance: float
    """Of ``log_error``, from seeds."""
    group: str = ""


Gains = Mapping[tuple[float, int], Array]
"""By (samples, size): log error that its own best rate takes off its lowest one, (draws,)."""


def gains_of_own_rates(tried: Sequence[TriedRate], draws: int, seed: int = 0) -> Gains:
    """Draws of what each size gains; nothing where no two rates were compared at one size."""
    cells: dict[tuple[float, int, str], list[TriedRate]] = {}
    for t in tried:
        cells.setdefault((t.samples, t.size, t.group), []).append(t)
    best = {at: min(ts, key=lambda t: t.log_error) for at, ts in cells.items()}
    rows = [
        (at, t)
        for at, ts in cells.items()
        for t in ts
        if len(ts) > 1 and t.log_error < best[at].log_error + NEAR
    ]
    if len({t.rate for _, t in rows}) < 2:
        return {}
    middle = (
        float(np.mean(np.log([t.rate for _, t in rows]))),
        float(np.mean(np.log([t.size for t in tried]))),
        float(np.mean(np.log([t.samples for t in tried]))),
    )
    weight, means, roots = _posterior(rows, best, middle)
    random = np.random.default_rng(seed)
    which = random.choice(len(CURVATURES), draws, p=weight)
    normal = random.standard_normal((draws, 3))
    place = means[which] + np.einsum("dij,dj->di", roots[which], normal)
    lowest: dict[tuple[float, int], TriedRate] = {}
    for t in best.values():
        key = (t.samples, t.size)
        lowest[key] = min(lowest.get(key, t), t, key=lambda one: one.log_error)
    found = {}
    for (samples, size), t in lowest.items():
        x, s, m = log(t.rate) - middle[0], log(size) - middle[1], log(samples) - middle[2]
        found[samples, size] = CURVATURES[which] * (x - place @ np.array([1.0, s, m])) ** 2
    return found


def _posterior(
    rows: Sequence[tuple[tuple[float, int, str], TriedRate]],
    best: Mapping[tuple[float, int, str], TriedRate],
    middle: tuple[float, float, float],
) -> tuple[Array, Array, Array]:
    """Weights (curvatures,), means (curvatures, 3) and roots of the covariance (curvatures, 3, 3)
    of r, p and q about the ``middle``; the levels are integrated over."""
    x = np.log([t.rate for _, t in rows]) - middle[0]
    s = np.log([t.size for _, t in rows]) - middle[1]
    m = np.log([t.samples for _, t in rows]) - middle[2]
    y = np.array([t.log_error for _, t in rows])
    above = np.array([t.log_error - best[at].log_error for at, t in rows])
    precision = 1 / (np.array([t.variance for _, t in rows]) + LEAST**2 + (ROUGH * above) ** 2)
    names = sorted({at for at, _ in rows})
    member = np.eye(len(names))[[names.index(at) for at, _ in rows]]
    share = (member * precision[:, None]) / (precision @ member)

    def within(v: Array) -> Array:
        return np.asarray(v - member @ (share.T @ v))

    # the square of r + p s + q m is the same for all rates of a cell, and part of its level
    design = within(np.stack([x, x * s, x * m], axis=1))
    turned, square = within(y), within(x**2)
    prior = np.array([0.0, BY_SIZE[0], BY_DATA[0]])
    sd = np.array([ANYWHERE, BY_SIZE[1], BY_DATA[1]])
    evidence, means, roots = [], [], []
    for c in CURVATURES:
        a = -2 * c * design
        residual = turned - c * square - a @ prior
        information = a.T @ (a * precision[:, None]) + np.diag(1 / sd**2)
        covariance = np.linalg.inv(information)
        moved = covariance @ (a.T @ (residual * precision))
        means.append(prior + moved)
        roots.append(np.linalg.cholesky(covariance))
        fit = residual @ (residual * precision) - moved @ information @ moved
        half = 0.5 * np.linalg.slogdet(information)[1]
        evidence.append(-0.5 * fit - half - 0.5 * (log(c / CURVATURE) / CURVATURE_SD) ** 2)
    weight = np.exp(np.array(evidence) - max(evidence))
    return weight / weight.sum(), np.array(means), np.array(roots)
