"""How far best fits may still be below what a search found, and what that does to beta_g.

The surface of a study's trials (``searched.py``) gives for each shard what the chosen model is
expected to lose to the best of all the sizes and hyperparameters that were tried anywhere in the
study, and, where the best value of a hyperparameter is the largest or smallest of those tried, to
one step beyond them. A learning curve of models that are badly tuned at one end is too steep or too
flat: the slope of that loss over log m is what the exponent is off by. What nobody tried, another
optimizer, say, the surface cannot know.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10

import numpy as np

from steep.records import BestFit, Interval, Tuning, Value

FEWEST = 3
"""Shards from which a slope is estimated."""
NORMAL = 1.645
RATES = {"learning_rate", "lr", "max_lr", "peak_lr", "base_lr", "initial_lr"}
"""Names of hyperparameters that may pass 1 where all values listed are below it: others (dropout,
momentum, shares of anything) may not."""


def may_fall_with_size(name: str, listed: Sequence[Value]) -> bool:
    """Whether these are learning rates, whose best value commonly falls with a model's width (by
    the power -0.3 in the median of the published studies, -1.5 at most)."""
    numbers = all(not isinstance(v, (str, bool)) and v > 0 for v in listed)
    return numbers and (name in RATES or name.endswith(("_lr", "_rate")) or name == "rate")


def following(name: str, value: Value, listed: Sequence[Value]) -> Value | None:
    """The value beyond ``value`` at an end of those ``listed``, by their own ratio; None inside
    them, and where there is none: of words, of numbers that are not positive, of a share of 1."""
    numbers = sorted(v for v in listed if not isinstance(v, (str, bool)))
    if len(numbers) < 2 or len(numbers) < len(listed) or value not in (numbers[0], numbers[-1]):
        return None
    end, beside = (numbers[-1], numbers[-2]) if value == numbers[-1] else numbers[:2]
    if end <= 0 or beside <= 0:
        return None
    beyond = end * end / beside
    if all(isinstance(v, int) for v in numbers):
        whole = max(round(beyond), end + 1) if end > beside else min(round(beyond), end - 1)
        return whole if whole >= 1 else None
    if name not in RATES and numbers[-1] < 1 <= beyond:
        return None
    return round(beyond, 2 - floor(log10(beyond)))


def certificate(best_fits: Sequence[BestFit], level: float = 0.9) -> Tuning | None:
    """How well the points of a learning curve are tuned; None of fewer than ``FEWEST`` shards whose
    trials make a surface. Of searched shards: the models of held-out ones were chosen by them."""
    measured = [(b.samples, b.size_curve) for b in best_fits if b.searched]
    known = [(m, curve.excess, curve.excess_sd) for m, curve in measured if curve is not None]
    if len({m for m, *_ in known}) < FEWEST:
        return None
    x = np.log([m for m, *_ in known])
    mean, sd = (np.array([row[k] for row in known]) for k in (1, 2))
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    # what the chosen models lose falls with m: those of the best models are less steep
    moved = -float(weight @ mean)
    off = NORMAL * float(np.sqrt((weight**2) @ sd**2))
    most = 1 - np.exp(-(mean + NORMAL * sd))
    return Tuning(
        samples=tuple(m for m, *_ in known),
        below=tuple((1 - np.exp(-mean)).tolist()),
        at_most=tuple(most.tolist()),
        beta_g=Interval(moved, moved - off, moved + off, level),
    )
