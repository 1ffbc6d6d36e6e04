"""The best-fit model's size against data from the whole surface of error over data and size.

The optimum of one shard shows only where that shard's errors are lowest, to about a step of the
ladder, and nothing where the widest model is best. All trials of a study show more: the left arm of
each shard's U-curve (models that are too small) moves to larger sizes as the data grows, whether or
not the ladder reaches the bottom.

With x = log(samples) - mean, s = log(parameters), the lowest error over hyperparameters at each
place is modelled as

    log error = f(shard) + A m^delta [gamma exp(-alpha u) + alpha exp(gamma u)],
    u = s - a - beta_p x

the sum of what too small a model lacks (a power alpha of its size, Hestness et al. 2017, sec. 5)
and of what too large a one loses on this much data (a power gamma). Its minimum is at u = 0, so
that log s(m) = a + beta_p x is the size law. f is free for each shard; f and A > 0 are integrated
in closed form, and (a, beta_p, alpha, gamma, delta, tau) are sampled: delta is how the U-curves
deepen as data grows, tau the scatter about the model. Where no place lies right of the minimum
the data do not determine how far it is: a then runs to the end of its prior, and the interval of
the size is open on that side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import log_ndtr, ndtr

from steep.laws.law import Array
from steep.records import Interval, SizeLaw
from steep.stats.draws import weighted_interval
from steep.stats.importance import sample
from steep.stats.mixture import systematic

DRAWS = 400
BETA_P = (-0.5, 2.0)
"""Prior of beta_p, uniform: the paper found 0.5 to 1; a model cannot shrink much as data grows, nor
grow as its square."""
ALPHA, GAMMA = (0.05, 2.0), (0.01, 2.0)
"""Priors of the two arms' powers, log-uniform."""
DELTA = 0.2
"""Standard deviation of delta's normal prior: a study spans a few octaves of data."""
TAU = (0.002, 0.1)
"""Prior of the scatter about the model in log error, log-uniform."""
BEYOND = 4.0
"""How far beyond the ladder's ends, in log parameters, the best size at the mean log m may lie."""
DEPTH = 0.5
"""Standard deviation of the U-curves' depth over the places tried, in log error (half-normal)."""
FAR = 0.1
"""Scatter per log error above the shard's best: the model is meant for the bottom of the U."""
EDGE = 0.05
"""An interval's end within this share of the prior's range of the prior's own end is open."""
FEWEST_SHARDS, FEWEST_PLACES = 3, 8


@dataclass(frozen=True)
class Place:
    """The lowest error over hyperparameters at one size on one shard."""

    samples: float
    parameters: float
    log_error: float
    variance: float
    """Of ``log_error``: seeds, and what better hyperparameters might still gain."""


def size_law_of_surface(places: Sequence[Place], level: float = 0.9) -> SizeLaw:
    """The size law from errors at many sizes on many shards; 'not measured' says why.

    An end of an interval that only the prior bounds is None (open)."""
    rows = _informative(places)
    shards = sorted({p.samples for p in rows})
    if len(shards) < FEWEST_SHARDS or len(rows) < FEWEST_PLACES:
        reason = (
            f"{len(rows)} model sizes on {len(shards)} shards with two or more were compared; the "
            f"surface needs {FEWEST_PLACES} on {FEWEST_SHARDS}"
        )
        return SizeLaw("not measured", reason, level=level)
    x = np.log([p.samples for p in rows])
    s = np.log([p.parameters for p in rows])
    y = np.array([p.log_error for p in rows])
    of_shard = np.array([shards.index(p.samples) for p in rows])
    lowest = np.array([y[of_shard == i].min() for i in range(len(shards))])[of_shard]
    variance = np.array([p.variance for p in rows]) + (FAR * (y - lowest)) ** 2
    center = float(np.log(shards).mean())
    prior = np.array(
        [
            (s.min() - BEYOND, s.max() + BEYOND),
            BETA_P,
            np.log(ALPHA),
            np.log(GAMMA),
            np.log(TAU),
        ]
    )
    target = partial(_log_likelihood, prior, x - center, s, y, variance, of_shard)
    z, _, log_weight = sample(target, len(prior) + 1, first=4096, later=(1024,) * 6)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    a, beta_p, _, _, log_tau = _parameters(prior, z[:, :5]).T
    kept = systematic(weight, DRAWS)
    found = _interval(beta_p, weight, level, BETA_P)
    if found.lower is None and found.upper is None:
        reason = "the errors of these sizes do not show how the best one moves as data grows"
        return SizeLaw("not measured", reason, level=level)
    return SizeLaw(
        outcome="ok",
        beta_p=found,
        sigma=_sigma(a - beta_p * center, weight, level, prior[0], a),
        scatter=float(np.exp(weight @ log_tau)),
        places=len(rows),
        center=(center, float(weight @ a)),
        draws=tuple(zip(a[kept].tolist(), beta_p[kept].tolist(), strict=True)),
        level=level,
    )


def _informative(places: Sequence[Place]) -> list[Place]:
    """Those of shards on which two or more sizes were compared."""
    count: dict[float, int] = {}
    for p in places:
        count[p.samples] = count.get(p.samples, 0) + 1
    return [p for p in places if count[p.samples] > 1 and p.parameters > 0]


def _parameters(prior: Array, z: Array) -> Array:
    """Normal scores (draws, 5) -> (a, beta_p, log alpha, log gamma, log tau)."""
    return np.asarray(prior[:, 0] + ndtr(z) * (prior[:, 1] - prior[:, 0]))


def _log_likelihood(
    prior: Array, x: Array, s: Array, y: Array, variance: Array, of_shard: Array, z: Array
) -> Array:
    """Log marginal likelihood of scores (draws, 6): shards' levels and the U's depth integrated.

    x, s, y, variance and of_shard are (places,)."""
    a, beta_p, log_alpha, log_gamma, log_tau = _parameters(prior, z[:, :5]).T
    alpha, gamma = np.exp(log_alpha)[:, None], np.exp(log_gamma)[:, None]
    u = s[None] - a[:, None] - beta_p[:, None] * x[None]
    # logs of the two arms, scaled by the larger so that nothing overflows far from the ladder
    left, right = np.log(gamma) - alpha * u, np.log(alpha) + gamma * u
    top = np.maximum(left, right).max(axis=1, keepdims=True)
    shape = np.exp(left - top) + np.exp(right - top)  # (draws, places)
    shape *= np.exp(DELTA * z[:, 5:6] * x[None])
    precision = 1.0 / (variance[None] + np.exp(2 * log_tau)[:, None])
    member = np.eye(of_shard.max() + 1)[of_shard]  # (places, shards)
    total = precision @ member
    shape -= ((shape * precision) @ member / total) @ member.T
    rms = np.sqrt(np.mean(shape**2, axis=1, keepdims=True)) + 1e-12
    shape /= rms
    off = y[None] - ((y[None] * precision) @ member / total) @ member.T
    # depth ~ half-normal(DEPTH), y ~ normal(depth * shape, 1 / precision)
    xx = np.sum(shape * shape * precision, axis=1) + 1 / DEPTH**2
    xy = np.sum(shape * off * precision, axis=1)
    squares = np.sum(off * off * precision, axis=1)
    log_depth = 0.5 * xy**2 / xx - 0.5 * np.log(xx * DEPTH**2) + log_ndtr(xy / np.sqrt(xx))
    log_det = np.sum(np.log(precision), axis=1) - np.sum(np.log(total), axis=1)
    return np.asarray(log_depth - 0.5 * squares + 0.5 * log_det)


def _interval(
    values: Array, weight: Array, level: float, prior: tuple[float, float] | Array
) -> Interval:
    found = weighted_interval(values, weight, level)
    lower, upper = found.lower or 0.0, found.upper or 0.0
    margin = EDGE * (prior[1] - prior[0])
    return Interval(
        found.value,
        lower if lower > prior[0] + margin else None,
        upper if upper < prior[1] - margin else None,
        level,
    )


def _sigma(log_sigma: Array, weight: Array, level: float, prior: Array, a: Array) -> Interval:
    """Of s(1) = sigma; open where the best size at the mean log m is."""
    bounds = _interval(a, weight, level, prior)
    found = weighted_interval(log_sigma, weight, level)
    middle, lower, upper = np.exp([found.value or 0.0, found.lower or 0.0, found.upper or 0.0])
    return Interval(
        float(middle),
        float(lower) if bounds.lower is not None else None,
        float(upper) if bounds.upper is not None else None,
        level,
    )
