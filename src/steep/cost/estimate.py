"""How long a study is going to take: its trials, when they stop, and how fast this machine is."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from steep.cost.calibrate import Pace
from steep.cost.stops import Typical, steps_and_evaluations
from steep.laws.law import Array
from steep.records import Interval, Prediction, Trial
from steep.spec import Stop

LEVEL = 0.9
TIMING = 0.10
"""Standard deviation of the logarithm of a step's time: what else a machine does, and how much two
workers slow each other."""
STARTING = 4.0
"""Seconds until workers are up: torch is imported once."""
_OFFSETS = ndtri((np.arange(21) + 0.5) / 21)
"""Quantiles of what a study, and a machine, may differ by."""

Schedule = Callable[[Trial], tuple[Sequence[int], int]]
"""Trial -> (steps at which V is evaluated, steps in an epoch)."""


@dataclass(frozen=True)
class Ladder:
    """What log-sizes and log-samples are relative to."""

    size: float
    samples: float

    def place(self, trial: Trial) -> tuple[float, float]:
        """(log(size / s0), log(m / m0))."""
        return float(np.log(trial.size / self.size)), float(np.log(trial.samples / self.samples))


def ladder(sizes: Sequence[int], samples: Sequence[float]) -> Ladder:
    """Its geometric middles."""
    return Ladder(float(np.exp(np.log(sizes).mean())), float(np.exp(np.log(samples).mean())))


def predict(
    waves: Sequence[Sequence[Trial]],
    *,
    stop: Stop,
    schedule: Schedule,
    pace: Pace,
    typical: Typical,
    middle: Ladder,
    workers: int,
    last_looks: Callable[[Trial], float],
    most: int,
    made: str = "",
) -> Prediction:
    """The training time of all trials, and the time on the clock with ``workers``.

    ``waves`` are trials that can run together, one wave after the other; ``last_looks`` is what a
    trial evaluates at its end (its shard, the test part), in evaluations of V; ``most`` is how
    many trials the search may come to want, which widens the interval upwards. The interval is
    over how much later or earlier than others' these trials stop, and over the clock."""
    offsets = typical.between * _OFFSETS
    seconds, looking = [], 0.0
    for trial in (t for wave in waves for t in wave):
        grid, per_epoch = schedule(trial)
        x = typical.expected(*middle.place(trial), offsets)
        steps, evaluations = steps_and_evaluations(stop, grid, x, typical.spread)
        looks = (evaluations + last_looks(trial)) * pace.evaluation(trial.size)
        training = steps * pace.step(trial.size, trial.samples / per_epoch)
        seconds.append(pace.start(trial.size) + training + looks)
        looking += float(looks.mean())
    each = np.array(seconds)  # trials x offsets
    total = each.sum(axis=0)
    spread = total[:, None] * np.exp(TIMING * _OFFSETS)[None, :]
    low, high = np.quantile(spread, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]).tolist()
    high *= max(most / max(len(each), 1), 1.0)
    value, clock, first = float(total.mean()), STARTING, 0
    for wave in waves:
        clock += _makespan(each[first : first + len(wave)].mean(axis=1), workers)
        first += len(wave)
    share = clock / value if value else 1.0
    return Prediction(
        trials=len(each),
        most_trials=most,
        workers=workers,
        training=Interval(value, low, high, LEVEL),
        clock=Interval(clock, low * share, high * share, LEVEL),
        evaluations=looking / value if value else 0.0,
        learnt_from=typical.trials,
        own_trials=typical.own,
        family=typical.family,
        made=made,
    )


def _makespan(seconds: Array, workers: int) -> float:
    """Longest first, each to the worker that is free first: as the driver does it."""
    free = [0.0] * workers
    for one in sorted(seconds.tolist(), reverse=True):
        heapq.heappush(free, heapq.heappop(free) + one)
    return max(free)
