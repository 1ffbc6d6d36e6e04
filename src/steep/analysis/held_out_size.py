"""The size of the model that is trained on a held-out shard, to meet its forecast.

No search is done there, so the size is predicted from those of the searched shards. Sizes are
compared by their parameters: as the trainer counts them, or as the trials of the user's own code
reported them. Where nobody counts them, the dial that the code is given takes their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

import numpy as np

from steep.analysis.size_laws import size_law
from steep.records import (
    ONE_SIZE,
    SCORED,
    BestFit,
    Measurement,
    Settings,
    SizeLaw,
    Status,
    Trial,
)
from steep.select import next_size
from steep.stats.draws import weighted_interval

if TYPE_CHECKING:
    from steep.analysis.analyse import Facts
    from steep.plan.budget import Budget
    from steep.study import Study

GROWTH = (0.7, 0.6)
"""How the best model's parameters commonly grow, as data**0.7: the exponents of Hestness et al.
2017 lie between 0.57 (images) and 0.92 (language). Those of users' own models need not: beside a
measured size law it is worth no more than +- 0.6, so that four optima inside the ladder outweigh
it."""

Allowed = Callable[[float, int], bool]
"""(samples, size) -> whether a model of that size may be trained on so much data."""
Nearest = Callable[[Mapping[int, float], float], int]
"""(parameters of each size, log parameters wanted) -> size."""


def _nearest(parameters: Mapping[int, float], log_parameters: float) -> int:
    """The size whose parameters are nearest in log."""
    return min(parameters, key=lambda size: abs(np.log(parameters[size]) - log_parameters))


def _of_ladder(parameters: Mapping[int, float], log_parameters: float) -> int:
    """The size of a ladder of wide steps: the larger of two neighbours from a quarter of the step
    between them on, since one too small costs more."""
    sizes = sorted(parameters, key=lambda size: parameters[size])
    for low, high in pairwise(sizes):
        below, above = np.log(parameters[low]), np.log(parameters[high])
        if log_parameters <= below + (above - below) / 4:
            return low
    return sizes[-1]


def predicted_size(
    facts: Facts,
    samples: float,
    fitted: Sequence[BestFit],
    laws: Mapping[str, SizeLaw],
    allowed: Allowed = lambda samples, size: True,
) -> tuple[int, str]:
    """The size to train at ``samples``, and the reason.

    It follows the size law, with ``GROWTH`` as a prior of its exponent, but is never smaller than
    the best fit of the largest fitted shard: a model that is somewhat too large costs nothing on a
    plateau, one that is too small costs error. Where best sizes are the largest tried, which leaves
    the law open upwards, models grow at most in proportion to the data. Sizes from the first one
    that is not ``allowed`` on are left out."""
    law = laws["smallest adequate"]
    largest = max(fitted, key=lambda b: b.samples)
    best_size = largest.best.size
    if law.reason == ONE_SIZE:
        return best_size, ONE_SIZE
    parameters, law, counted = _counted(facts, fitted, law)
    nearest = _of_ladder if counted else _nearest
    if law.outcome == "ok" and law.center is not None:
        grown = _grown(law.center, law.draws, samples)
        if law.censored:  # best sizes at an edge leave the law open on that side
            most = parameters.get(largest.adequate.size, np.inf) * samples / largest.samples
            grown = min(grown, float(np.log(most)))
        size = nearest(parameters, grown)
        reason, same = "the size nearest to the size law", "asks for no larger one"
        if counted:
            reason = "the size of the ladder that the size law asks for"
    else:
        size = _grown_as_common(parameters, largest, samples, nearest)
        reason = (
            f"the smallest adequate size of the largest searched shard, and larger as "
            f"data**{GROWTH[0]:g}: the size law is not measured"
        )
        same = f"is not measured ({law.reason})"
    if size <= best_size:
        reason = f"the best size of the largest searched shard: the size law {same}"
    asked = [best_size, *sorted(s for s in parameters if best_size < s <= size)]
    possible = [best_size, *takewhile(partial(allowed, samples), asked[1:])]
    counted = f" ({counted})" if counted else ""
    if len(possible) < len(asked):
        counted += f"; size {asked[len(possible)]} failed or costs more than the budget left"
    return possible[-1], f"{reason}{counted}"


def hyperparameters_at(size: int, last: BestFit) -> Settings:
    """Those of a held-out model: what is best at its ``size`` on the ``last`` searched shard, where
    that size was compared there at what the best fit has, else what the best fit has. The best
    learning rate commonly falls with size."""
    values = last.best.hyperparameters
    same = {c.hyperparameters: c.expected for c in last.candidates if c.size == size}
    return min(same, key=lambda v: (same[v], str(v))) if values in same else values


def _counted(
    facts: Facts, fitted: Sequence[BestFit], law: SizeLaw
) -> tuple[Mapping[int, float], SizeLaw, str]:
    """How large the sizes are that a held-out shard may be given, the law of sizes counted so, and
    who counts: '' for the trainer."""
    if facts.sizes:
        return {size: float(counted) for size, (counted, _) in facts.sizes.items()}, law, ""
    sizes, reported = parameters_by_trials(
        fitted, facts.spec.family.sizes, facts.spec.search.extend
    )
    if reported:
        return sizes, law, "parameters as the trials report them"
    counted = "the size itself, since the trials report no parameters that grow with it"
    return sizes, size_law(fitted, "adequate", "size"), counted


def parameters_by_trials(
    fitted: Sequence[BestFit], ladder: Sequence[int], extend: int
) -> tuple[dict[int, float], bool]:
    """How large the sizes are that a held-out shard of the user's own code may be given, and
    whether by parameters as its trials reported them; else it is the sizes themselves.

    They are those tried and those of the ``ladder``, as far as the search may ``extend`` it: the
    code may not accept those between."""
    reported: dict[int, float] = {}
    for b in sorted(fitted, key=lambda b: b.samples):  # those of the largest shards count
        reported |= {c.size: float(c.parameters) for c in b.candidates}
    sizes = sorted({*ladder, *reported})
    for _ in range(extend):
        sizes.append(next_size(sizes, "high") or sizes[-1])
    counts = [reported[size] for size in sorted(reported)]
    if len(counts) > 1 and counts[0] > 0 and all(low < high for low, high in pairwise(counts)):
        return _interpolated(reported, sizes), True
    return {s: float(s) for s in sizes}, False


def _interpolated(reported: Mapping[int, float], sizes: Sequence[int]) -> dict[int, float]:
    """The parameters of each of the ``sizes``: between the sizes of which they are ``reported`` by
    a line of logs, beyond them by the slope of the last two."""
    known = sorted(reported)
    x, y = np.log(known), np.log([reported[size] for size in known])
    at = np.log(sizes)
    found = np.interp(at, x, y)
    for end, beside, beyond in ((-1, -2, at > x[-1]), (0, 1, at < x[0])):
        slope = (y[end] - y[beside]) / (x[end] - x[beside])
        found = np.where(beyond, y[end] + slope * (at - x[end]), found)
    return dict(zip(sizes, np.exp(found).tolist(), strict=True))


def commonly_grown(parameters: Mapping[int, float], last: BestFit, samples: float) -> int:
    """The size at ``samples`` if models grow as they commonly do (``GROWTH``).

    It starts from the smallest adequate size of the ``last`` shard and is no smaller than the best
    one there. ``parameters`` are those of each size that the trainer counts; if it counts none, it
    is that best one."""
    return _grown_as_common(parameters, last, samples, _nearest)


def _grown_as_common(
    parameters: Mapping[int, float], last: BestFit, samples: float, nearest: Nearest
) -> int:
    adequate, best = last.adequate.size, last.best.size
    if adequate not in parameters or samples <= last.samples:
        return best
    grown = np.log(parameters[adequate]) + GROWTH[0] * np.log(samples / last.samples)
    return max(best, nearest(parameters, grown))


def _grown(
    center: tuple[float, float], draws: Sequence[tuple[float, float]], samples: float
) -> float:
    """Log parameters at ``samples``: the median of a size law's draws (log parameters at the
    center, beta_p), weighted by the prior ``GROWTH``, since a few noisy optima leave the exponent
    wide open, upwards above all where best sizes are the largest tried."""
    at_center, beta_p = np.array(draws).T
    common, spread = GROWTH
    log_weights = -0.5 * ((beta_p - common) / spread) ** 2
    weights = np.exp(log_weights - log_weights.max())
    grown = at_center + beta_p * (np.log(samples) - center[0])
    median = weighted_interval(grown, weights / weights.sum(), 0.0).value
    assert median is not None
    return median


def failed_sizes(measurements: Sequence[Measurement]) -> set[int]:
    """The sizes of which trials failed or ran out of time and none has a score: too large for the
    machine, as a rule."""
    lost = {m.trial.size for m in measurements if m.status in (Status.FAILED, Status.TIMEOUT)}
    return lost - {m.trial.size for m in measurements if m.status in SCORED}


def payable(study: Study, spending: Budget) -> Allowed:
    """Whether what is left of a budget pays for every seed of a model of the user's own code on a
    held-out shard: what was kept for it is of the size that models commonly grow to, and the size
    law may ask for a larger one. Of models that the trainer counts, what that costs is known."""

    def allowed(samples: float, size: int) -> bool:
        shard = next(s for s in study.search_space.held_out if s.samples == samples)
        trial = Trial(0, shard.items, samples, size, study.middle_choice(), 0)
        price, took = spending.cost(trial) or 0.0, spending.time(trial) or 0.0
        flops, seconds = spending.flops_left(), spending.seconds_left()
        return study.prices.cost(size) is not None or all(
            left is None or study.spec.search.seeds * needed <= left
            for needed, left in ((price, flops), (took, seconds))
        )

    return allowed
