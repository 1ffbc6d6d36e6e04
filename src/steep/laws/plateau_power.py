"""Small-data plateau joined to a power law, with a floor: all three regions in one curve."""

from __future__ import annotations

from steep.laws.law import Array, Law, Shape, exponent, floor_share


def curve(samples: Array, alpha: Array, beta_g: Array, onset: Array, gamma: Array) -> Array:
    """Error alpha * (samples + onset)**beta_g + gamma.

    Flat for samples well below ``onset`` (the best-guess level), a power law above it.
    """
    return alpha * (samples + onset) ** beta_g + gamma


def natural(
    level: float, reference: float, b: Array, onset: Array, share: Array
) -> tuple[Array, ...]:
    alpha = level * (1.0 - share) * (reference * (1.0 + onset)) ** b
    return alpha, -b, onset * reference, level * share


LAW = Law(
    name="plateau+power",
    formula="alpha * (m + onset)^beta_g + gamma",
    citation="the three regions of Hestness et al. 2017, figure 6; joined as in Rosenfeld et al. "
    "2019, arXiv:1909.12673",
    names=("alpha", "beta_g", "onset", "gamma"),
    lower=(0.0, -3.0, 0.0, 0.0),
    upper=(float("inf"), 0.0, float("inf"), float("inf")),
    scales=("log", "linear", "linear", "linear"),
    curve=curve,
    natural=natural,
    shape=(
        exponent(),
        Shape("onset_ratio", "positive", -3.0, 2.0, 1e-6, 1e3),
        floor_share(none=0.6),
    ),
    prior=2.0,
)
