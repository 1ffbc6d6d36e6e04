"""A law that falls as a power of the logarithm: slower than any power law."""

from __future__ import annotations

import numpy as np

from steep.laws.law import Law, Shape


def curve(samples, alpha, beta, onset):
    """Error alpha * log(e + samples/onset)**-beta."""
    return alpha * np.log(np.e + samples / onset) ** -beta


def natural(level, reference, steepness, share):
    """``share`` is where the onset lies below the reference: onset = reference * share."""
    onset = reference * share
    return level * np.log(np.e + reference / onset) ** steepness, steepness, onset


LAW = Law(
    name="log power",
    formula="alpha * log(e + m/onset)^-beta",
    citation="an example: nobody has proposed it",
    names=("alpha", "beta", "onset"),
    lower=(0.0, 0.0, 0.0),
    upper=(float("inf"), 20.0, float("inf")),
    scales=("log", "linear", "log"),
    curve=curve,
    natural=natural,
    shape=(
        Shape("steepness", "positive", 0.5, 1.0, 0.01, 20.0),
        Shape("onset_share", "positive", -5.0, 2.0, 1e-6, 1.0),
    ),
)
