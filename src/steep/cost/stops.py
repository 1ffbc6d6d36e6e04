"""How many steps a trial is going to take: the stopping rule, and when trials like it stopped.

A trial ends ``patience`` evaluations after its best one (schedule.py), so its length hangs on where
that lies. In finished trials the best step, over the first evaluation's, is about log-normal, and
falls with the size of the model; ``data/typical_stops.yaml`` holds what was seen by family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from steep import data
from steep.laws.law import Array
from steep.records import Measurement, Status
from steep.spec import Stop

FEWEST = 8
"""Finished trials of a study below which its own say nothing: the first ones are all of the ends of
the ladder of shards, and when these stop hardly tells of the others."""
_QUANTILES = ndtri((np.arange(31) + 0.5) / 31)


@dataclass(frozen=True)
class Typical:
    """x = log(best step / first evaluation's), see ``data/typical_stops.yaml``."""

    family: str
    mean: float
    by_size: float
    by_samples: float
    spread: float
    between: float
    trials: int
    own: int = 0
    """Finished trials of this very study among them."""

    def expected(self, log_size: float, log_samples: float, offset: Array) -> Array:
        """Mean of x at log(size / s0), log(m / m0), for each ``offset`` of the study (n,)."""
        return np.asarray(
            self.mean + self.by_size * log_size + self.by_samples * log_samples + offset
        )


def typical(family: str, metric: str = "") -> Typical:
    """What was seen of a family, if need be by a metric; of others, where it has no finished
    study."""
    known = data.values("typical_stops.yaml")
    found = known.get(f"{family} {metric}", known.get(family, known["any"]))
    return Typical(family=family, **found)


def learnt(
    prior: Typical, finished: Sequence[Measurement], log_size: Array, log_samples: Array
) -> Typical:
    """``prior`` with the mean of this study's own finished trials, as far as they outweigh it.

    ``log_size`` and ``log_samples`` (trials,) as in ``Typical.expected``. Their scatter about the
    prior's slopes is ``spread``; capped trials count with the best step they had."""
    x = np.array([math.log(max(m.best_step, 1) / m.curve[0].step) for m in finished if m.curve])
    if len(x) < FEWEST:
        return prior
    residual = x - prior.by_size * log_size - prior.by_samples * log_samples
    noise = prior.spread**2 / len(x)
    weight = prior.between**2 / (prior.between**2 + noise)
    mean = prior.mean + weight * (float(residual.mean()) - prior.mean)
    left = math.sqrt(prior.between**2 * (1 - weight))
    return replace(prior, mean=mean, between=left, own=len(x))


def ended(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those that say when a trial stops."""
    return [m for m in measurements if m.curve and m.status in (Status.COMPLETE, Status.CAPPED)]


def steps_and_evaluations(
    stop: Stop, schedule: Sequence[int], x: Array, spread: float
) -> tuple[Array, Array]:
    """Expected (steps, evaluations) of a trial whose log(best / first) is normal about ``x`` (n,).

    The expectation is over ``spread``, by quantiles; both (n,)."""
    steps = np.array(schedule, float)
    last = len(steps) - 1
    best = np.log(steps[0]) + x[:, None] + spread * _QUANTILES[None, :]
    # the evaluation nearest to the best step, in ratio
    edges = (np.log(steps[1:]) + np.log(steps[:-1])) / 2
    at = np.searchsorted(edges, best)
    end = np.clip(np.maximum(at + stop.patience, stop.evaluations - 1), 0, last)
    return steps[end].mean(axis=1), (end + 1.0).mean(axis=1)
