"""What a fit's draws expect at any size, discrepancy included, and where they reach an error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import log_ndtr, ndtri

from steep.base.metrics import may_be_percent
from steep.laws.law import Array
from steep.records import CAPPED, Fit, Interval, Point
from steep.stats.curve import RunNoise
from steep.stats.draws import joined, log_curves
from steep.stats.inverse import FARTHEST, first_crossings
from steep.stats.mixture import quantiles
from steep.stats.noise import Noise, discrepancy_covariance, noise_model

EXCESS = {0.03: 0.9, 0.3: 0.1}
"""How far a run that meets its cap may lie above the error without one, on average, in logs, and
how likely each is."""
LUCKY = 2.0
"""Standard errors by which the best of a few models may be better by luck, so that the best one
does no better than that;"""
UNKNOWN_SE = 0.1
"""and its standard error, in log error, where nothing shows it."""
NEAR = 1e-9
"""Difference of log sizes below which they are the same."""
SURE = 1e-7
"""Least scale of a draw's change of log error, where law and change are one: t's need one."""


def curve_draws(fit: Fit, log_samples: Array, validation: float | None = None) -> Array:
    """Draws of the expected log error at log m (places,), (draws, places): what a question of one's
    own can be asked of. ``validation`` is the standard error that the one validation set gives to
    all points alike, by default that of the fit. ValueError for a fit without draws."""
    if not fit.draws or fit.reference is None:
        raise ValueError(f"nothing to predict from: {fit.outcome}")
    curves = expected(fit, log_samples - np.log(fit.reference))[0].T
    share = (fit.noise.validation or 0.0) if validation is None else validation
    if not share:
        return curves
    # a fixed shuffle of normal quantiles: it shifts no median and draws no chance
    order = np.random.default_rng(20171201).permutation(len(curves))
    return curves + share * ndtri((order + 0.5) / len(curves))[:, None]


def with_same_items(fit: Fit, error: float) -> Fit:
    """The fit for a forecast, about ``error``, of what will be measured on the validation set of
    its own points.

    Their common error moves forecast and measurement alike, so that it makes no difference between
    them uncertain. Of an error rate a part remains: items that are wrong at a larger size are
    mostly wrong at the smaller ones too, and the fewer there are, the more they vary. It is the
    difference of the binomial variances."""
    share, last = fit.noise.validation, fit.used[-1].error if fit.used else 1.0
    if not share:
        return fit
    grown = 0.0
    if last < 1 and may_be_percent(fit.metric, last):
        grown = share * float(np.sqrt(max(last / error - 1.0, 0.0) / (1.0 - last)))
    return replace(fit, noise=replace(fit.noise, validation=grown))


def noise_of(fit: Fit) -> Noise:
    """The noise that the draws were made with."""
    widened = np.array(fit.widened) if fit.widened else 1.0
    return noise_model(fit.used, runs_of(fit), widened)


def runs_of(fit: Fit) -> RunNoise | None:
    """The noise of one run according to replicates; None without any."""
    parts = fit.noise
    if parts.replicate is None:
        return None
    return RunNoise(parts.replicate**2, parts.replicate_df, parts.replicate_growth)


def expected(fit: Fit, log_ratio: Array) -> tuple[Array, Array]:
    """Each draw's log error, discrepancy included, given the points, and its variance.

    Both (sizes, draws). Among the points a draw follows them. Beyond, it leaves with their slope
    and returns to its law's. From a point on that is an upper bound none is above it.
    """
    centre, variance = _unbounded(fit, log_ratio)
    for bound in fit.bounds:
        beyond = log_ratio >= np.log(bound.samples / fit.used[-1].samples) - NEAR
        centre[beyond] = np.minimum(centre[beyond], np.log(highest(bound)))
    return centre, variance


def highest(bound: Point) -> float:
    """The error that is not exceeded at an upper bound's size: what a capped run has; of an
    unfinished search more than its score, which luck may have lowered."""
    if bound.reason == CAPPED:
        return bound.error
    return bound.error * float(np.exp(LUCKY * (bound.se_log or UNKNOWN_SE)))


def bounds_likelihood(fit: Fit) -> Array:
    """Per draw, the likelihood, up to a factor, of those errors that are only upper bounds, each by
    itself. A capped one is what a measurement without a cap would be, plus an excess that is
    exponential with one of the means ``EXCESS``: usually small, sometimes not. Were every excess as
    likely as another, a bound would pull forecasts far below it. How far the best model of an
    unfinished search is from the best that there is nobody knows (estimates made it too small where
    the largest sizes had not been tried): it speaks against draws above it alone."""
    at = np.log([p.samples / fit.used[-1].samples for p in fit.bounds])
    centre, variance = _unbounded(fit, at)
    spread = np.sqrt(joined(fit.draws, "scale") ** 2 + variance)
    log_likelihood = np.zeros(centre.shape[1])
    for bound, middle, scale in zip(fit.bounds, centre, spread, strict=True):
        above = np.log(highest(bound)) - middle
        if bound.reason != CAPPED:
            log_likelihood += log_ndtr(above / scale)
            continue
        # a normal plus an exponential deviate
        of_mean = [
            np.log(weight / mean)
            + 0.5 * (scale / mean) ** 2
            - above / mean
            + log_ndtr(above / scale - scale / mean)
            for mean, weight in EXCESS.items()
        ]
        log_likelihood += np.logaddexp.reduce(of_mean)
    return np.asarray(np.exp(log_likelihood - log_likelihood.max()))


def _unbounded(fit: Fit, log_ratio: Array, level: float = 1.0) -> tuple[Array, Array]:
    """``expected`` by the points of the fit alone. With ``level`` 0 the variance is that of the
    change since the largest size: the discrepancy is zero there, and the level common to both."""
    used, noise = fit.used, noise_of(fit)
    at = np.log([p.samples / used[-1].samples for p in used])
    residual = np.array([p.log_best for p in used])[:, None] - log_curves(fit.draws, at)
    structure = joined(fit.draws, "structure").astype(int)
    sigma2 = joined(fit.draws, "scale") ** 2 / noise.fresh[structure]
    to_places = discrepancy_covariance(noise, at[:, None], log_ratio)
    own = discrepancy_covariance(noise, log_ratio, log_ratio)
    centre = log_curves(fit.draws, log_ratio)
    variance = np.zeros_like(centre)
    for j in np.unique(structure):
        mine, whiten = structure == j, noise.whiten[j]
        near = whiten @ to_places[j]
        left = own[j] - np.sum(near**2, axis=0)
        left += (level - whiten.sum(axis=1) @ near) ** 2 / noise.information[j]
        centre[:, mine] += near.T @ (whiten @ residual[:, mine])
        variance[:, mine] = np.maximum(left, 0.0)[:, None] * sigma2[mine]
    return centre, variance


def with_bounds(fit: Fit, log_samples: Array) -> Array:
    """Places (log m, ascending) with those at which an upper bound begins: curves step down."""
    starts = np.log([p.samples for p in fit.bounds])
    return np.union1d(log_samples, [*(starts - 2 * NEAR), *starts])


def doubling(fit: Fit, level: float) -> Interval:
    """Share of the error that twice the largest size takes off it, of the law alone."""
    centre, _ = expected(fit, np.log([1.0, 2.0]))
    change = (centre[1] - centre[0])[:, None]
    _, variance = _unbounded(fit, np.log([2.0]), level=0.0)
    scale = np.maximum(np.sqrt(variance), SURE).T
    ends = np.array([0.5 - level / 2, 0.5, 0.5 + level / 2])
    low, middle, high = quantiles(change, scale, fit.df, ends)[0].tolist()
    return Interval(-np.expm1(middle), -np.expm1(high), -np.expm1(low), level)


def crossings(fit: Fit, error: float, validation: float | None = None) -> Array:
    """Per draw, log samples at which its curve falls to ``error``; inf: never. ``validation`` as of
    ``curve_draws``."""
    assert fit.reference is not None
    log_m = np.log(fit.reference) + np.linspace(np.log(1e-4), np.log(FARTHEST * 1e6), 400)
    log_m = with_bounds(fit, log_m)
    return first_crossings(curve_draws(fit, log_m, validation), log_m, error, fit.used[0].samples)
