"""The slope of a curve in log-log under all structures of the noise, and whether it falls at all.

By generalised least squares, each structure of ``stats/noise.py`` gives the slope a t distribution;
they are mixed by how well they explain the points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from steep.laws.law import Array
from steep.records import Interval
from steep.stats.mixture import quantiles, systematic
from steep.stats.noise import Noise

DRAWS = 400
LIKELY, SURE = 2 / 3, 0.95
"""Probability from which on a curve falls: of the line through its points, of its two ends."""
RISES = "the error rises with more samples"
FLAT = "the points show no significant decrease"


@dataclass(frozen=True)
class Slope:
    """Of a straight line through points in log-log, by structure of the noise (structures,)."""

    value: Array
    scale: Array
    weight: Array
    """They sum to 1."""
    df: float

    @property
    def falls(self) -> float:
        """Probability that it is negative."""
        return float(self.weight @ stdtr(self.df, -self.value / self.scale))

    def interval(self, level: float) -> Interval:
        """Median and quantile range of the mixture."""
        chosen = systematic(self.weight, DRAWS)
        ends = np.array([0.5 - level / 2, 0.5, 0.5 + level / 2])
        found = quantiles(self.value[chosen, None], self.scale[chosen, None], self.df, ends)
        lower, middle, upper = found[0].tolist()
        return Interval(middle, lower, upper, level)


def slope(log_m: Array, log_error: Array, noise: Noise) -> Slope:
    """Slope of ``log_error`` on ``log_m`` (n,), whose last point is the origin of ``noise``."""
    df = noise.df + len(log_m) - 2
    design = noise.whiten @ np.stack([np.ones(len(log_m)), log_m - log_m[-1]], axis=1)
    target = noise.whiten @ log_error
    normal = np.linalg.inv(np.swapaxes(design, 1, 2) @ design)
    value = np.einsum("jpq,jnq,jn->jp", normal, design, target)
    residual = target - np.einsum("jnp,jp->jn", design, value)
    squares = np.sum(residual**2, axis=1) + noise.sum_squares
    evidence = noise.log_prior - 0.5 * noise.log_det - 0.5 * df * np.log(squares)
    evidence += 0.5 * np.linalg.slogdet(normal)[1]
    weight = np.exp(evidence - evidence.max())
    return Slope(value[:, 1], np.sqrt(squares / df * normal[:, 1, 1]), weight / weight.sum(), df)


def no_fall(line: Slope, log_error: Array, scale: Array, df: float) -> str:
    """Why this is no falling curve, '' for one that is.

    Twice as likely as not the ``line`` through the points falls; or the curve fell and lies on its
    floor since: the last point is surely below the first, and has not come back half of the way
    from the lowest. ``scale`` (draws,) is the standard deviation of a point's noise, on ``df``
    degrees of freedom.
    """
    first, last, lowest = log_error[0], log_error[-1], log_error.min()
    below = float(np.mean(stdtr(df, (first - last) / (2**0.5 * scale))))
    if line.falls >= LIKELY or (below >= SURE and last - lowest < 0.5 * (first - lowest)):
        return ""
    return RISES if line.falls <= 1 - SURE else FLAT
