"""Shifted power law, M3: a floor through finite capacity or noise, as seen in translation."""

from __future__ import annotations

from steep.laws.law import Array, Law, Shape, exponent


def curve(samples: Array, alpha: Array, beta_g: Array, shift: Array) -> Array:
    """Error alpha * (1/samples + shift)**-beta_g; floor alpha * shift**-beta_g."""
    return alpha * (1.0 / samples + shift) ** -beta_g


def natural(level: float, reference: float, b: Array, share: Array) -> tuple[Array, ...]:
    """``share`` is shift / (shift + 1/reference): how far the bend has come at the reference."""
    shift = share / (1.0 - share) / reference
    return level * (1.0 / reference + shift) ** -b, -b, shift


LAW = Law(
    name="shifted power",
    formula="alpha * (1/m + shift)^-beta_g",
    citation="Bansal et al. 2022, arXiv:2202.01994; M3 of Alabdulmohsin et al. 2022",
    names=("alpha", "beta_g", "shift"),
    lower=(0.0, -3.0, 0.0),
    upper=(float("inf"), 0.0, float("inf")),
    scales=("log", "linear", "linear"),
    curve=curve,
    natural=natural,
    shape=(exponent(), Shape("shift_share", "share", 0.0, 1.7, 0.0, 0.9999)),
)
