"""Pure power law: the composite curve of best-fit models in the power-law region."""

from __future__ import annotations

from steep.laws.law import Array, Law, exponent


def curve(samples: Array, alpha: Array, beta_g: Array) -> Array:
    """Error alpha * samples**beta_g; ``beta_g`` is negative."""
    return alpha * samples**beta_g


def natural(level: float, reference: float, b: Array) -> tuple[Array, Array]:
    return level * reference**b, -b


LAW = Law(
    name="power",
    formula="alpha * m^beta_g",
    citation="Hestness et al. 2017, arXiv:1712.00409",
    names=("alpha", "beta_g"),
    lower=(0.0, -3.0),
    upper=(float("inf"), 0.0),
    scales=("log", "linear"),
    curve=curve,
    natural=natural,
    shape=(exponent(),),
    prior=4.0,
)
