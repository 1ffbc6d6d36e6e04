"""Power law with a floor: one fixed model, or data with irreducible error."""

from __future__ import annotations

from steep.laws.law import Array, Law, exponent, floor_share


def curve(samples: Array, alpha: Array, beta_g: Array, gamma: Array) -> Array:
    """Error alpha * samples**beta_g + gamma; ``beta_g`` negative, ``gamma`` not."""
    return alpha * samples**beta_g + gamma


def natural(level: float, reference: float, b: Array, share: Array) -> tuple[Array, ...]:
    return level * (1.0 - share) * reference**b, -b, level * share


LAW = Law(
    name="power+floor",
    formula="alpha * m^beta_g + gamma",
    citation="Hestness et al. 2017, arXiv:1712.00409, single-model curves; Hoiem 2021",
    names=("alpha", "beta_g", "gamma"),
    lower=(0.0, -3.0, 0.0),
    upper=(float("inf"), 0.0, float("inf")),
    scales=("log", "linear", "linear"),
    curve=curve,
    natural=natural,
    shape=(exponent(), floor_share()),
)
