"""Best fits as they would be with every size of model at its own best learning rate.

The sizes of a study are compared at listed rates, and some of the larger ones at a few. Which of
them is best is drawn again for each draw of what its own rate gains (``stats/own_rates.py``), and
the size laws of all draws are mixed (multiple imputation, Rubin 1987). What a study reports as its
best fit stays the model that was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp, hypot, log

from steep.records import BestFit, Candidate
from steep.select import median_variance
from steep.stats.own_rates import TriedRate, gains
from steep.stats.response import NOISE
from steep.stats.tuning import may_fall_with_size

DRAWS = 24


def at_own_rates(best_fits: Sequence[BestFit]) -> tuple[tuple[BestFit, ...], ...]:
    """Of each draw the searched best fits, with one candidate a size. None where no size was
    trained at two learning rates, or where there are several kinds of them."""
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
    drawn = gains(tried, DRAWS)
    if not drawn:
        return ()
    return tuple(
        tuple(
            _with_gains(b, {s: g[k] for (m, s), g in drawn.items() if m == b.samples})
            for b in fitted
        )
        for k in range(DRAWS)
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


def _with_gains(b: BestFit, gain: dict[int, float]) -> BestFit:
    """The best fit where the error of each size is lower by its ``gain``, in logs."""
    pool = [c for c in b.candidates if c.size in gain and c.expected > 0]
    sizes = sorted({c.size for c in pool})
    lowest = {s: min((c for c in pool if c.size == s), key=lambda c: c.expected) for s in sizes}
    own = {
        s: replace(c, score=c.score * exp(-gain[s]), estimate=c.expected * exp(-gain[s]))
        for s, c in lowest.items()
    }
    best = min(own.values(), key=lambda c: c.expected)
    items, spread = dict(b.items_se), seed_spread(b) or 0.0
    sd = {s: spread * median_variance(len(c.errors)) ** 0.5 for s, c in own.items()}

    def adequate(c: Candidate) -> bool:
        over_items = max(items.get(c.size, 0.0), items.get(best.size, 0.0)) / b.best.score
        above = log(c.score / best.score)
        return c is best or above <= hypot(sd[c.size], sd[best.size], over_items)

    def edge(size: int) -> str:
        if size == b.best.size:  # a larger one may have been tried in vain
            return b.edge
        return "low" if size == sizes[0] else "high" if size == sizes[-1] else ""

    smallest = next(own[s] for s in sizes if adequate(own[s]))
    return replace(
        b,
        best=best,
        adequate=smallest,
        edge=edge(best.size),
        adequate_edge=edge(smallest.size),
        seed_se=None if b.seed_se is None else sd[best.size] * best.score,
        candidates=tuple(own.values()),
    )


def seed_spread(b: BestFit) -> float | None:
    """Standard deviation of log error over seeds; None where no candidate has two."""
    if b.seed_se is None:
        return None
    return b.seed_se / b.best.score / median_variance(len(b.best.errors)) ** 0.5
