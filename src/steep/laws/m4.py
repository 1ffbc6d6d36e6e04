"""M4: floor, power law and best-guess level, joined by one more exponent."""

from __future__ import annotations

import numpy as np

from steep.laws.law import Array, Law, Shape, exponent, floor_share


def curve(samples: Array, beta: Array, c: Array, alpha: Array, e_inf: Array, e_0: Array) -> Array:
    """The error e that solves (e - e_inf) / (e_0 - e)**alpha = beta * samples**c; c negative.

    Newton's method on the logit of (e - e_inf) / (e_0 - e_inf), where the equation is
    monotone and nearly linear.
    """
    width = e_0 - e_inf
    goal = np.log(beta) + c * np.log(samples) - (1.0 - alpha) * np.log(width)
    w = np.where(goal < 0, goal, goal / alpha)
    for _ in range(7):
        share = 1.0 / (1.0 + np.exp(-np.clip(w, -500.0, 500.0)))
        value = alpha * np.logaddexp(0.0, w) - np.logaddexp(0.0, -w)
        w = w - (value - goal) / (1.0 - share + alpha * share)
    return e_inf + width / (1.0 + np.exp(-np.clip(w, -500.0, 500.0)))


def natural(
    level: float, reference: float, b: Array, alpha: Array, share: Array, height: Array
) -> tuple[Array, ...]:
    """``height`` is how far e_0 lies above ``level``, in units of it."""
    e_inf, e_0 = level * share, level * (1.0 + height)
    return (level - e_inf) / (e_0 - level) ** alpha * reference**b, -b, alpha, e_inf, e_0


LAW = Law(
    name="M4",
    formula="(e - e_inf) / (e_0 - e)^alpha = beta * m^c",
    citation="Alabdulmohsin et al. 2022, arXiv:2209.06640",
    names=("beta", "c", "alpha", "e_inf", "e_0"),
    lower=(0.0, -3.0, 0.05, 0.0, 0.0),
    upper=(float("inf"), 0.0, 10.0, float("inf"), float("inf")),
    scales=("log", "linear", "log", "linear", "log"),
    curve=curve,
    natural=natural,
    shape=(
        exponent(),
        Shape("join", "positive", 0.0, 0.7, 0.05, 10.0),
        floor_share(),
        Shape("height", "positive", 1.0, 1.3, 1e-3, 1e4),
    ),
    prior=0.5,
)
