"""Best fits as they would be with every size of model at its own best learning rate.

The sizes of a study are compared at listed rates, and some of the larger ones at a few. Which of
them is best is drawn again for each draw of what its own rate gains (``stats/own_rates.py``), and
the size laws of all draws are mixed (multiple imputation, Rubin 1987). What a study reports as its
best fit stays the model that was trained, and the smallest adequate size is among models that were:
on a plateau what is not known of the gains would decide which it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log

from steep.laws.law import Array
from steep.records import BestFit, Candidate
from steep.select import median_variance
from steep.stats.own_rates import TriedRate, gains_of_own_rates
from steep.stats.response import NOISE
from steep.stats.tuning import may_fall_with_size

DRAWS = 24
"""Of the gains; each has its own size laws."""


def at_own_rates(best_fits: Sequence[BestFit]) -> tuple[tuple[BestFit, ...], ...]:
    """Of each draw the searched best fits, with one candidate a size. () where no size was trained
    at two learning rates, or where there are several kinds of them."""
    fitted = [b for b in best_fits if b.searched]
    rate = _learning_rate([c for b in fitted for c in b.candidates])
    if rate is None:
        return ()
    tried = [
        TriedRate(
            b.samples,
            c.size,
            float(dict(c.hyperparameters)[rate]),
            log(c.expected),
            (seed_spread(b) or NOISE) ** 2 * median_variance(len(c.errors)),
            str([pair for pair in c.hyperparameters if pair[0] != rate]),
        )
        for b in fitted
        for c in b.candidates
        if c.expected > 0
    ]
    drawn = gains_of_own_rates(tried, DRAWS)
    if not drawn:
        return ()
    of_shard = {b.samples: {s: g for (m, s), g in drawn.items() if m == b.samples} for b in fitted}
    return tuple(
        tuple(_with_gains(b, of_shard[b.samples], k) for b in fitted) for k in range(DRAWS)
    )


def _learning_rate(candidates: Sequence[Candidate]) -> str | None:
    """The name of the only learning rate of which several values were compared."""
    values = [dict(c.hyperparameters) for c in candidates]
    listed = {name: {v.get(name) for v in values} for v in values for name in v}
    rates = [
        name
        for name, of_name in listed.items()
        if len(of_name) > 1
        and may_fall_with_size(name, [v for v in of_name if v is not None])
        and None not in of_name
    ]
    return rates[0] if len(rates) == 1 else None


def _with_gains(b: BestFit, gains: Mapping[int, Array], draw: int) -> BestFit:
    """The best fit where the error of each size is lower by that draw of its ``gains``, in logs."""
    pool = [c for c in b.candidates if c.size in gains and c.expected > 0]
    sizes = sorted({c.size for c in pool})
    lowest = {s: min((c for c in pool if c.size == s), key=lambda c: c.expected) for s in sizes}
    times = {s: exp(-float(gains[s][draw])) for s in sizes}
    own = [
        replace(c, score=c.score * times[s], estimate=c.expected * times[s])
        for s, c in lowest.items()
    ]
    best = min(own, key=lambda c: c.expected)
    edge = b.edge  # of the best size: a larger one may have been tried in vain
    if best.size != b.best.size:
        edge = {sizes[0]: "low", sizes[-1]: "high"}.get(best.size, "")
    spread = seed_spread(b)
    se = None if spread is None else spread * median_variance(len(best.errors)) ** 0.5 * best.score
    return replace(b, best=best, edge=edge, seed_se=se, candidates=tuple(own))


def seed_spread(b: BestFit) -> float | None:
    """Standard deviation of log error over seeds; None where no candidate has two."""
    if b.seed_se is None:
        return None
    return b.seed_se / b.best.score / median_variance(len(b.best.errors)) ** 0.5
