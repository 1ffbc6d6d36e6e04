"""The surface of a search: log error over data, model size and hyperparameters, from few trials.

A Gaussian process in logs (Rasmussen & Williams 2006, chapters 2 and 5) whose prior is what a
scaling study expects: a power law in the data, and about it U-curves, or plateaus, over size and
hyperparameters that change slowly from shard to shard. Its lengths, amplitude and noise are weighed
by their marginal likelihood on a small grid, and the posterior is the mixture.

What follows from it for a search is the *knowledge gradient* of a measurement (Frazier, Powell &
Dayanik 2009): by how much it lowers the expected error of the model that would then be chosen,
summed over shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import ndtri

from steep.laws.law import Array

LEVEL, SLOPE, SLOPE_SD = 2.0, -0.25, 0.2
"""Prior of the power law: standard deviation of its level, mean and deviation of its exponent."""
AMPLITUDES = (0.1, 0.3, 0.8)
"""Of log error about the law."""
ALONG_DATA = (2.0, 6.0)
ALONG_SIZE = (0.7, 1.4, 2.8)
ALONG_OTHERS = (0.7, 1.5, 3.0)
"""Correlation lengths: in log m, in log model size, in log hyperparameters."""
NOISE, NOISE_DF = 0.015, 4.0
"""Standard deviation of log error over seeds as first expected, worth so many repeats."""
NOISES = (0.3, 0.6, 1.0, 1.7, 3.0)
"""The noise relative to what repeats and expectation say."""
ROUGH = 0.25
"""Variance of a configuration's own deviation from the smooth surface, relative to that of one
seed."""
KEPT = 6
"""How many of the grid's settings, heaviest first, the mixture keeps."""
FAR = 1.0
"""In log error: worse than the best of its shard by more than about this is only 'bad'."""
BEND = 0.5
"""From about here on ``squash`` compresses."""
NODES = ndtri((np.arange(15) + 0.5) / 15)


@dataclass(frozen=True)
class Surface:
    """The posterior of noise-free log error at the requested configurations."""

    mean: Array
    """(configs,)"""
    covariance: Array
    """(configs, configs)"""
    noise: float
    """Standard deviation of log error over seeds."""


def squash(excess: Array) -> Array:
    """Log error above a shard's best, compressed where it is large: how bad bad models are says
    nothing of the good ones, and a diverged one is just bad. A seed may be luckier than the best
    candidate's mean; more than half of ``BEND`` is not believed."""
    at_least = np.maximum(excess, -BEND / 2)
    return np.asarray(np.minimum(BEND * np.log1p(at_least / BEND), FAR))


def unsquash(excess: Array) -> Array:
    """``squash`` undone, below ``FAR``."""
    return np.asarray(BEND * np.expm1(np.asarray(excess) / BEND))


def fit_surface(
    places: Array,
    values: Array,
    counts: Array,
    extra: Array,
    within: tuple[float, float],
    configs: Array,
    coarse: bool = False,
) -> Surface:
    """The surface at ``configs`` (configs, dims) from measurements at ``places`` (n, dims).

    Columns are log m, log size (relative to what the prior of the size law expects), then the
    hyperparameters. ``values`` (n,) are means of log error over ``counts`` seeds, ``extra`` (n,)
    their further variance; ``within`` the variance of one seed that repeats show, and its degrees
    of freedom (``seeds.py``). ``coarse`` weighs six settings of the grid in place of 270:
    enough to simulate a search on made-up results, where a decision is wanted in milliseconds."""
    variance, df = within
    squares = variance * df
    noise = np.sqrt((squares + NOISE_DF * NOISE**2) / (df + NOISE_DF))
    noises = noise * np.array(NOISES)
    grid: tuple[Sequence[float] | Array, ...]
    grid = (AMPLITUDES, ALONG_DATA, ALONG_SIZE, ALONG_OTHERS, noises)
    if coarse:
        grid = (AMPLITUDES[:2], ALONG_DATA[1:], ALONG_SIZE[1:2], ALONG_OTHERS[1:2], noises[1:4])
    table = np.array(list(product(*grid)))
    center = np.array([places[:, 0].mean(), *places[:, 1:].mean(axis=0)])
    a, b = places - center, configs - center
    shift = float(np.average(values - SLOPE * a[:, 0]))
    residual = values - SLOPE * a[:, 0] - shift
    smooth, of_setting = np.unique(table[:, :4], axis=0, return_inverse=True)
    covariance = _prior(a, a, smooth)[of_setting.ravel()]  # a setting differs by its noise alone
    diagonal = table[:, 4, None] ** 2 * (1 / counts + ROUGH)[None] + extra[None]
    index = np.arange(len(a))
    covariance[:, index, index] += diagonal
    factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    residuals = np.broadcast_to(residual, (len(table), len(a)))[..., None]
    scaled = np.linalg.solve(factor, residuals)
    evidence = -0.5 * (scaled[..., 0] ** 2).sum(axis=1)
    evidence -= np.log(factor[:, index, index]).sum(axis=1)
    evidence -= 0.5 * squares / table[:, 4] ** 2 + df * np.log(table[:, 4])
    evidence -= 0.5 * _distance_from_middle(table)
    heavy = np.argsort(-evidence, kind="stable")[:KEPT]
    weight = np.exp(evidence[heavy] - evidence[heavy[0]])
    weight /= weight.sum()
    means, covariances = _posteriors(a, b, table[heavy], factor[heavy], scaled[heavy])
    same = np.all(configs[:, None] == configs[None], axis=2)
    covariances += same[None] * (ROUGH * table[heavy, 4] ** 2)[:, None, None]
    mean = weight @ means
    apart = means - mean
    spread = np.einsum("k,kij->ij", weight, covariances)
    spread += np.einsum("k,ki,kj->ij", weight, apart, apart)
    return Surface(
        mean + shift + SLOPE * b[:, 0], spread, float(np.sqrt(weight @ table[heavy, 4] ** 2))
    )


def _prior(a: Array, b: Array, table: Array) -> Array:
    """Prior covariance (settings, len(a), len(b)) without noise."""
    apart = (a[:, None, :] - b[None, :, :]) ** 2
    lengths, of_setting = np.unique(table[:, 1:4], axis=0, return_inverse=True)
    scales = -0.5 / lengths[:, [0, 1] + [2] * (a.shape[1] - 2)] ** 2
    form = np.exp(np.tensordot(scales, apart, axes=(1, 2)))
    law = LEVEL**2 + SLOPE_SD**2 * a[:, None, 0] * b[None, :, 0]
    return np.asarray(law + table[:, 0, None, None] ** 2 * form[of_setting.ravel()])


def _distance_from_middle(table: Array) -> Array:
    """Squared steps from the middle of the grid: a weak prior of settings."""
    total = np.zeros(len(table))
    for i in range(5):
        values = np.unique(table[:, i])
        total += (np.searchsorted(values, table[:, i]) - (len(values) - 1) / 2) ** 2
    return total


def _posteriors(
    a: Array, b: Array, table: Array, factor: Array, scaled: Array
) -> tuple[Array, Array]:
    """Means (settings, configs) and covariances (settings, configs, configs).

    A configuration that was measured takes its own deviation from the smooth surface along."""
    cross = _prior(a, b, table)
    own = np.all(a[:, None] == b[None], axis=2)
    cross += own[None] * (ROUGH * table[:, 4] ** 2)[:, None, None]
    part = np.linalg.solve(factor, cross)
    means = np.einsum("kni,kn->ki", part, scaled[..., 0])
    covariances = _prior(b, b, table) - np.swapaxes(part, 1, 2) @ part
    return means, covariances


# ---------------------------------------------------------------- what follows for a search


def knowledge_gradient(surface: Surface, shards: Array, options: Array, variance: Array) -> Array:
    """By how much a measurement of each option lowers the expected log error of the choices.

    ``shards`` (configs,) numbers the configurations' shards; ``options`` (n,) are configurations
    and ``variance`` (n,) the noise of their measurement. Summed over shards: what is learnt on one
    tells of others."""
    covariance = surface.covariance
    residuals = covariance[:, options] / np.sqrt(covariance[options, options] + variance)
    gain = np.zeros(len(options))
    for shard in np.unique(shards):
        here = shards == shard
        mean, slope = surface.mean[here], residuals[here]
        lowest = (mean[:, None, None] + slope[:, :, None] * NODES).min(axis=0)
        gain += mean.min() - lowest.mean(axis=1)
    return np.maximum(gain, 0.0)
