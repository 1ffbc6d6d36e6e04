"""Broken power law with one break, bounded: two slopes, a smooth change between, a floor."""

from __future__ import annotations

import numpy as np

from steep.laws.law import Array, Law, Shape, exponent, floor_share


def curve(
    samples: Array, alpha: Array, c_0: Array, c_1: Array, d: Array, f: Array, gamma: Array
) -> Array:
    """Error gamma + alpha * m**-c_0 * (1 + (m/d)**(1/f))**(-c_1*f).

    The slope is -c_0 well below the break at ``d`` and -(c_0 + c_1) well above it; ``f`` is the
    width of the change in units of log m.
    """
    bend = np.logaddexp(0.0, np.log(samples / d) / f)
    return gamma + alpha * np.exp(-c_0 * np.log(samples) - c_1 * f * bend)


def natural(
    level: float, reference: float, early: Array, late: Array, d: Array, f: Array, share: Array
) -> tuple[Array, ...]:
    """``early`` and ``late`` are the slopes' sizes before and after the break at d*reference."""
    c_1 = late - early
    bend = np.logaddexp(0.0, -np.log(d) / f)
    alpha = level * (1.0 - share) * np.exp(early * np.log(reference) + c_1 * f * bend)
    return alpha, early, c_1, d * reference, f, level * share


LAW = Law(
    name="broken power",
    formula="gamma + alpha * m^-c_0 * (1 + (m/d)^(1/f))^(-c_1*f)",
    citation="Caballero et al. 2022, arXiv:2210.14891, one break",
    names=("alpha", "c_0", "c_1", "d", "f", "gamma"),
    lower=(0.0, 0.0, -3.0, 0.0, 0.05, 0.0),
    upper=(float("inf"), 3.0, 3.0, float("inf"), 5.0, float("inf")),
    scales=("log", "linear", "linear", "log", "log", "linear"),
    curve=curve,
    natural=natural,
    shape=(
        Shape("early", "positive", -2.0, 1.2, 0.003, 3.0),
        exponent("late"),
        Shape("break_ratio", "positive", -2.5, 1.7, 1e-5, 1e2),
        Shape("width", "positive", -0.7, 0.7, 0.05, 5.0),
        floor_share(),
    ),
    prior=0.5,
)
