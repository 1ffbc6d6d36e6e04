"""What a run may still spend: FLOPs, or time, the held-out shards included.

FLOPs are those that trials report. Where only a time bounds a study, its search counts in seconds.
Where FLOPs do as well, a time is turned into FLOPs by what the trials that it can pay for are
expected to make of a second, so that a planner, which knows no clock, plans what the time can buy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from steep.contracts.planner import SearchSpace
from steep.laws.law import Array
from steep.planners import configurations
from steep.planners.search_state import MOST_KEPT
from steep.records import FEWEST_POINTS, SCORED, Measurement, Trial, Value
from steep.records.measurements import followed
from steep.stats.regression import Linear, Sums
from steep.stats.searched import Configuration, scored

FINISH = 10.0
"""Seconds kept for the forecast, the results and the report."""
ASIDE = 0.3
"""Share of a time that is kept for the held-out shards before any trial has finished; later at most
``MOST_KEPT``."""
BUSY = 0.85
"""Share of the time in which workers train: a search waits for its results at times."""
MARGIN = 1.5
"""On what the held-out trials are expected to take: they may last longer, and one size larger may
turn out to be best. What they leave goes into the search."""
VARIED = 0.7
"""How far the logarithm of a trial's length may change with that of a hyperparameter, or from one
of its values to another: at a smaller learning rate trials last longer."""
OVERRUN = 0.1
"""Share of a time by which the held-out shards' trials may exceed it."""


class BudgetError(ValueError):
    """A budget that cannot be kept."""


class Budget:
    """Of one run. ``left`` is None where nothing bounds it."""

    def __init__(
        self,
        search_space: SearchSpace,
        guess: Callable[[Trial], float],
        *,
        counted: bool,
        workers: int,
        held_out: Callable[[Sequence[Measurement]], Sequence[Trial]],
        before: Sequence[Measurement] = (),
        flops: float | None = None,
        seconds: float | None = None,
        learnt_below: float = math.inf,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``guess`` is what trials are expected to cost, in FLOPs where they are ``counted``
        beforehand; else only relative to each other. What was measured ``before`` this run does
        not count against it. A trial whose error is not ``learnt_below`` that has learnt nothing,
        and ends early: it says nothing about those to come."""
        self._search_space, self._guess, self._counted = search_space, guess, counted
        self._workers, self._held_out = workers, held_out
        self.flops, self.seconds, self._learnt_below = flops, seconds, learnt_below
        self._before = _reported(before)
        """FLOPs of earlier runs."""
        self.now = now
        self.began = now()
        self._length: Callable[[Trial], float] | None = None
        self._by_steps = True
        self._middle = float(np.log(search_space.spec.family.sizes).mean())
        """Of the ladder."""
        self._varied = _varied(search_space)
        self._all = before
        self.update(before)

    def timed_by(self, length: Callable[[Trial], float], by_steps: bool = True) -> None:
        """Take the expected seconds of trials from ``length``: the machine's pace is known,
        ``by_steps`` that were timed or else by a few trials, from which large ones are far."""
        self._length, self._by_steps = length, by_steps
        self.update(self._all)

    @property
    def timed(self) -> bool:
        """Whether a search is to count in seconds: where nothing bounds its FLOPs."""
        until = self._search_space.spec.search.until
        in_flops = self.flops is not None or (until is not None and until.flops is not None)
        return self.seconds is not None and not in_flops

    @property
    def bounded(self) -> bool:
        return self.flops is not None or self.seconds is not None

    def update(self, finished: Sequence[Measurement]) -> None:
        """Take what has been measured by now. Raises BudgetError where FLOPs bound trials that
        report none."""
        self._all = finished
        key = ("budget", id(self), self._length)
        seen = followed(finished).follow(
            key,
            lambda: _Taken(
                self._guess, self._usual_time, self._row, len(self._varied), self._learnt_below
            ),
        )
        self._finished = tuple(finished) if self.bounded else ()
        self._spent = seen.flops
        self._last = list(self._held_out(self._finished)) if self.bounded else []
        if (
            self.flops is not None
            and not self._counted
            and seen.times.count
            and not seen.costs.count
        ):
            raise BudgetError(
                f"a budget of {self.flops:g} FLOPs cannot be kept: these trials report no FLOPs. "
                "Give a time such as 15m, or return 'flops' from the training function"
            )
        varied = [VARIED] * len(self._varied)
        spread = (0.5, 0.2, 0.4) if self._counted else (30.0, 0.2, 0.4)
        self._costs = _prior([*spread, *varied]).given_sums(seen.costs)
        spread = (0.7, 0.1, 0.15) if self._by_steps else (0.7, 0.3, 0.5)
        spread = (30.0, 0.5, 0.7) if self._length is None else spread
        self._times = _prior([*spread, *varied]).given_sums(seen.times)
        self._known = bool(seen.costs.count) or self._counted
        self._timed = bool(seen.times.count) or self._length is not None

    def _usual_time(self, trial: Trial) -> float:
        """Seconds, as far as they are known beforehand; else relative to each other."""
        return trial.samples**0.8 * trial.size if self._length is None else self._length(trial)

    def _row(self, trial: Trial) -> Array:
        samples = math.log(trial.samples / self._search_space.shards[0].samples)
        size = math.log(trial.size) - self._middle
        values = dict(trial.hyperparameters)
        varied = [column(values.get(name)) for name, column in self._varied]
        return np.array([1.0, samples, size, *varied])

    def _per_second(self, seconds: float) -> float:
        """The planner's unit of cost, FLOPs where trials report any, in a second of one worker.

        Small models make less of a second than large ones, so it is that of a trial on each shard
        and held-out shard: of the best model on those that have a result, and elsewhere of the
        largest size that can be had on all of them in so many ``seconds``."""
        space = configurations.of(self._search_space)
        covered, missing = [], []
        for i, shard in enumerate(space.shards):
            here = configurations.tried_on(shard, self._finished)
            done = [m for ms in here.values() for m in ms if scored(m)]
            if done:
                best = min(done, key=lambda m: m.validation_error or 0.0).trial
                covered.append((i, Configuration(best.size, best.hyperparameters)))
            else:
                missing.append(i)
        places, trials = covered, [space.trial(space.shards[i], config, 0) for i, config in covered]
        values = covered[-1][1].hyperparameters if covered else space.combinations[0]
        for size in sorted(space.sizes, reverse=True) if missing else ():
            places = [(i, Configuration(size, values)) for i in missing]
            trials = [space.trial(space.shards[i], config, 0) for i, config in places]
            last = [replace(t, size=size) for t in self._last if t.seed == 0]
            if sum(self.time(t) or 0.0 for t in (*trials, *last)) <= seconds:
                break
        prices = configurations.prices(space, self._finished, places)
        return float(prices.sum()) / sum(self.time(t) or 0.0 for t in trials)

    # ------------------------------------------------------------ what trials take

    def cost(self, trial: Trial) -> float | None:
        """Expected FLOPs; None before anything is known of them."""
        if not self._known:
            return None
        return self._guess(trial) * math.exp(float(self._row(trial) @ self._costs.mean))

    def time(self, trial: Trial) -> float | None:
        """Expected seconds; None while nobody can know."""
        if not self._timed:
            return None
        return self._usual_time(trial) * math.exp(float(self._row(trial) @ self._times.mean))

    # ------------------------------------------------------------ what is left

    def left(self, running: Mapping[Trial, float]) -> float | None:
        """What may still be spent, beside what is ``running`` (seconds so far): FLOPs, or of a
        ``timed`` search seconds of training."""
        bounds = [b for b in (self.flops_left(running), self._time_left(running)) if b is not None]
        return max(min(bounds), 0.0) if bounds else None

    def flops_left(self, running: Iterable[Trial] = ()) -> float | None:
        """Of a budget of FLOPs."""
        if self.flops is None:
            return None
        spent = self._spent - self._before
        return self.flops - spent - sum(self.cost(t) or 0.0 for t in running)

    def seconds_left(self) -> float | None:
        """On the clock, of a time; below 0 where it runs over."""
        return None if self.seconds is None else self.began + self.seconds - self.now()

    def _time_left(self, running: Mapping[Trial, float]) -> float | None:
        if self.seconds is None or not self._timed:
            return None
        ends = (self.seconds_left() or 0.0) - self._finish
        going = sum(max((self.time(t) or 0.0) - so_far, 0.0) for t, so_far in running.items())
        left = max(ends * self._workers * BUSY - going, 0.0)
        return left if self.timed else left * self._per_second(left)

    @property
    def _finish(self) -> float:
        """Seconds kept for the report."""
        return min(FINISH, 0.1 * (self.seconds or 0.0))

    def search_ends(self) -> float:
        """On the monotonic clock: when the held-out shards' trials must start."""
        assert self.seconds is not None
        return self.began + self.seconds - self._aside()

    def _aside(self) -> float:
        """Seconds kept for the held-out shards and the report."""
        assert self.seconds is not None
        each = [self.time(t) for t in self._last if t.seed == 0]
        if not each:
            return self._finish
        covered = {m.trial.samples for m in self._finished if scored(m)}
        fitted = {shard.samples for shard in self._search_space.shards}
        if len(covered & fitted) < min(FEWEST_POINTS, len(fitted)):
            return self._finish  # nothing can be forecast yet: what is kept would be lost
        # Which model is best where there is most data, and what it takes, is not known before.
        settled = fitted <= covered
        most = (MOST_KEPT if settled else ASIDE) * self.seconds
        known = [e for e in each if e is not None]
        if not known:
            return most
        return min(MARGIN * max(*known, sum(known) / self._workers) + self._finish, most)

    def affords(self, trial: Trial, running: Mapping[Trial, float], held_out: bool = False) -> bool:
        """Whether a trial may start now. One whose cost nobody knows yet starts alone."""
        if self.flops is not None:
            price = self.cost(trial)
            if price is None:
                return not running
            left = self.flops_left(running) or 0.0
            aside = 0.0 if held_out else sum(self.cost(t) or 0.0 for t in self._last if t.seed == 0)
            if price > left - min(aside, MOST_KEPT * self.flops):
                return False
        if self.seconds is None:
            return True
        ends = self.now() + (self.time(trial) or 0.0)
        if held_out:  # one seed is tried in any case
            return trial.seed == 0 or ends <= self.began + self.seconds
        return ends <= self.search_ends() + 0.05 * self.seconds


class _Taken:
    """What trials have taken, summed as they come: see ``records/measurements.py``."""

    def __init__(
        self,
        guess: Callable[[Trial], float],
        usual_time: Callable[[Trial], float],
        row: Callable[[Trial], Array],
        varied: int,
        learnt_below: float,
    ) -> None:
        self._guess, self._usual_time, self._row = guess, usual_time, row
        self._learnt_below = learnt_below
        self._held: dict[int, Measurement] = {}
        self.costs, self.times = Sums(3 + varied), Sums(3 + varied)
        """Logs of the FLOPs and seconds that whole trials report, over what was guessed."""
        self.flops = 0.0
        """That they report."""

    def add(self, place: int, measurement: Measurement) -> None:
        if (earlier := self._held.get(place)) is not None:
            self._sum(earlier, -1)
        self._held[place] = measurement
        self._sum(measurement, 1)

    def _sum(self, m: Measurement, times: int) -> None:
        self.flops += times * (m.flops or 0.0)
        whole = m.status in SCORED
        if not whole or (m.validation_error or 0.0) >= self._learnt_below:
            return  # a part of a trial, or one that ended before it learnt
        row = self._row(m.trial)
        if m.flops:
            self.costs.add(row, math.log(m.flops / self._guess(m.trial)), times)
        if m.seconds > 0:
            self.times.add(row, math.log(m.seconds / self._usual_time(m.trial)), times)


def _varied(search_space: SearchSpace) -> list[tuple[str, Callable[[Value | None], float]]]:
    """The hyperparameters that the search compares, and where their values lie: the logarithm about
    the middle of the list, or 1 at one value, 0 at others, where a list has no logarithms."""
    found: list[tuple[str, Callable[[Value | None], float]]] = []
    for name, listed in sorted(search_space.spec.search.hyperparameters.items()):
        if len(listed) < 2:
            continue
        numbers = [v for v in listed if not isinstance(v, str | bool) and v > 0]
        if len(numbers) == len(listed):
            found.append((name, partial(_log_about, float(np.mean(np.log(numbers))))))
        else:
            found += [(name, partial(_is, value)) for value in listed[1:]]
    return found


def _log_about(middle: float, value: Value | None) -> float:
    if value is None or isinstance(value, str | bool) or value <= 0:
        return 0.0
    return math.log(value) - middle


def _is(expected: Value, value: Value | None) -> float:
    return float(value == expected)


def _prior(spread: Sequence[float]) -> Linear:
    return Linear(np.zeros(len(spread)), np.diag(spread) ** 2, 0.3)


def _reported(measurements: Sequence[Measurement]) -> float:
    return sum(m.flops or 0.0 for m in measurements)
