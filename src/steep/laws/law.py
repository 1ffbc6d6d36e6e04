"""What a law is: a plain function of the training-set size, with names, bounds and a prior.

Two coordinate systems meet here. A reader wants *natural* parameters (``alpha``, ``beta_g``,
``gamma``: what is printed in papers). Inference wants a *shape*: the curve relative to its own
value at a reference size, in which the exponent and the floor's share of the error mean the
same for every unit and every metric. ``Law.natural`` maps the second onto the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Shape:
    """Prior of one shape parameter: a standard normal ``z`` pushed through ``kind``.

    ``positive``: exp(centre + spread * z), clipped to the bounds; ``heavy``: the same with a
    Student t of three degrees of freedom in place of z, so that values far from the centre are
    rare but not excluded. ``plain``: centre + spread * z. ``share``: the logistic of that,
    stretched over the bounds; with the probability ``none`` it is exactly the lower bound.
    """

    name: str
    kind: str
    centre: float
    spread: float
    lower: float
    upper: float
    none: float = 0.0

    def value(self, z: Array) -> Array:
        """The shape parameter at the normal scores ``z``, same shape as ``z``."""
        if self.kind == "heavy":
            # Fisher and Cornish's expansion of the t quantile in the normal one
            square = z * z
            z = z * (1.0 + 1 / 12 + 3 / 864 + square * (1 / 12 + 16 / 864 + square * (5 / 864)))
        if self.none:  # what is left of the normal above its quantile ``none``, stretched
            z = ndtri(np.maximum((ndtr(z) - self.none) / (1.0 - self.none), 0.0))
        score = self.centre + self.spread * z
        if self.kind == "plain":
            return score
        if self.kind in ("positive", "heavy"):
            return np.clip(np.exp(np.clip(score, -50.0, 50.0)), self.lower, self.upper)
        share = 1.0 / (1.0 + np.exp(-np.clip(score, -700.0, 700.0)))
        return self.lower + (self.upper - self.lower) * share


@dataclass(frozen=True)
class Law:
    """A learning-curve law.

    ``curve(samples, *natural)`` is the error at ``samples``; it broadcasts. ``natural(level,
    reference, *shape)`` gives the natural parameters of the curve with error ``level`` at
    ``samples == reference``; it broadcasts too. ``scales`` says per natural parameter whether
    it is searched for on a log or a linear axis, within [lower, upper].
    """

    name: str
    formula: str
    citation: str
    names: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    scales: tuple[str, ...]
    curve: Callable[..., Array]
    natural: Callable[..., tuple[Array, ...]]
    shape: tuple[Shape, ...]
    prior: float = 1.0
    """Weight before the data, relative to that of the other laws."""

    def log_shape(self, log_ratio: Array, z: Array) -> Array:
        """log error relative to the reference, (n, draws).

        ``log_ratio`` (n,) is log(samples / reference), ``z`` (draws, shape parameters).
        """
        shape = [s.value(z[:, i]) for i, s in enumerate(self.shape)]
        natural = self.natural(1.0, 1.0, *shape)
        ratio = np.exp(np.asarray(log_ratio))[:, None]
        return np.log(np.maximum(self.curve(ratio, *natural), 1e-300))

    def guess(self, samples: Array, error: Array) -> tuple[float, ...]:
        """Starting values: the prior's centre through the last point; of a shape that may be none,
        the centre of what it is where it is there."""
        last = int(np.argmax(samples))
        centre = [float(s.value(ndtri(np.array([0.5 * (1 + s.none)])))[0]) for s in self.shape]
        values = self.natural(float(error[last]), float(samples[last]), *centre)
        return tuple(float(v) for v in values)


def exponent(name: str = "b", centre: float = -0.3, spread: float = 0.6) -> Shape:
    """Prior of an exponent's size: log-t, median exp(centre).

    Learnt from the published curves of ``benchmarks/lcdb.py`` (cross-validated by data set), with
    tails heavy enough for the 0.05 of a language model.
    """
    return Shape(name, "heavy", centre, spread, 0.003, 3.0)


def floor_share(none: float = 0.0) -> Shape:
    """Prior of the floor as a share of the error at the reference size: nearly uniform, and zero
    with the probability ``none``."""
    return Shape("floor_share", "share", 0.0, 1.7, 0.0, 0.9999, none)
