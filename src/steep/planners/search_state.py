"""What a frugal search knows: its results, the surface they show, prices, what is left to spend.

Decisions are made from it in ``frugal.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from steep.contracts.planner import TrialRequest
from steep.laws.law import Array
from steep.planners import configurations
from steep.planners.configurations import ConfigurationSpace
from steep.planners.so_far import SoFar, place
from steep.records import REPLACED, Measurement, Shard, Status, Trial
from steep.spec.sections import Until
from steep.stats import rungs
from steep.stats.response import Surface
from steep.stats.searched import Configuration, Tried, scored, surface_of

SWITCH_COST, SMALLER = 0.005, 0.3
"""Least gain, in log error averaged over the shards, for a trial of that price that only confirms
a choice: what it says about others comes on top. And the part of that for which a smaller model is
chosen before a larger one."""
MOST = 1000
"""Configurations that are weighed against each other; of a larger search space the most promising
ones."""
CHUNK = 400
SHARED = 0.3
"""Share of what a budget leaves beyond a trial on every shard that is kept for further seeds on the
held-out ones."""
KEPT, LAST = 2.5, 1.25
"""What is kept of a budget, relative to what it is expected to be needed for; and for the held-out
shard at the end, when prices are known,"""
MOST_KEPT = 0.6
"""but once every shard has a result never more than this share: what a model octaves away costs may
be predicted several times too high, and a search would end in the middle of its time."""


@dataclass(frozen=True)
class Limits:
    """When a search ends, beside by itself."""

    budget: float | None
    """FLOPs that may still be spent beside what runs."""
    until: Until | None
    held_out: tuple[Shard, ...]

    @property
    def bounded(self) -> bool:
        return self.budget is not None or (self.until is not None and self.until.flops is not None)

    @property
    def precision(self) -> float | None:
        return None if self.until is None else self.until.forecast_interval

    def left(self, known: Known, runs: float) -> float:
        """FLOPs that may be spent, where what ``runs`` is going to take so many."""
        left = math.inf if self.budget is None else self.budget
        if self.until is None or self.until.flops is None:
            return left
        return min(left, self.until.flops - known.so_far.flops() - runs)

    def most_kept(self, left: float) -> float:
        """For the held-out shards, of so much that is ``left``. Of a budget the driver keeps what
        it expects them to take; what ``until`` bounds nobody else does."""
        if self.budget is None and self.until is not None and self.until.flops is not None:
            return MOST_KEPT * self.until.flops
        return MOST_KEPT * left


Decided = tuple[tuple[TrialRequest, ...], bool]
"""The requested trials; and whether they are those of other draws, results or not."""


class Known:
    """What a search knows so far, and what it has made of that: while the results stay that a
    decision rests on, the decision does."""

    def __init__(self, space: ConfigurationSpace) -> None:
        self.space = space
        self.so_far = SoFar(space)
        self.add = self.so_far.add
        self._at: tuple[int, ...] = ()
        self._seen: dict[tuple[tuple[int, Configuration], ...], State] = {}
        self._decided: dict[tuple[Limits, tuple[Trial, ...], bool], Decided] = {}
        self._others: dict[tuple[tuple[int, Configuration], ...], tuple[TrialRequest, ...]] = {}
        self.trials_of_other_draws: set[Trial] = set()
        """That were requested so far."""

    @property
    def tried(self) -> tuple[Tried, ...]:
        return self.so_far.tried

    def seen(self, beside: tuple[tuple[int, Configuration], ...]) -> State:
        """See ``_seen``."""
        if beside not in self._seen:
            self._seen[beside] = _seen(self, beside)
        return self._seen[beside]

    def decided(
        self,
        limits: Limits,
        pending: tuple[Trial, ...],
        decide: Callable[[Known, Limits, tuple[Trial, ...]], Decided],
    ) -> Decided:
        """What ``decide`` requests beside what runs, decided again where something has changed that
        counts: of other draws only their cost, if anything."""
        at = (self.so_far.changes_searched, self.so_far.changes if limits.bounded else 0)
        if at != self._at:
            if at[:1] != self._at[:1]:
                self._seen.clear()
            self._at = at
            self._decided.clear()
        running = tuple(t for t in pending if limits.bounded or self.so_far.searched(t))
        key = limits, running, bool(pending)
        if key not in self._decided:
            self._decided[key] = decide(self, limits, pending)
        return self._decided[key]

    def on_other_draws(self, chosen: Mapping[int, Configuration]) -> tuple[TrialRequest, ...]:
        """The trials on further draws of the data, of the configurations that were chosen, results
        or not."""
        key = tuple(chosen.items())
        if key not in self._others:
            self._others[key] = tuple(configurations.other_draws(self.space, chosen, ()))
            self.trials_of_other_draws |= {request.trial for request in self._others[key]}
        return self._others[key]


@dataclass(frozen=True)
class State:
    """Measurements by place, and the surface they show."""

    space: ConfigurationSpace
    tried: tuple[Tried, ...]
    """By shard. Trials that run are among them, without a result."""
    places: tuple[tuple[int, Configuration], ...]
    """(shard, configuration) of each configuration of the surface."""
    surface: Surface
    """As it is expected to be when the trials that run have ended."""
    price: Array
    """(places,) of one complete trial, in FLOPs; in other units where none are counted."""
    reference: dict[int, Measurement]
    """By shard: the best complete trial, with which training curves are compared."""
    known: tuple[Measurement, ...]
    waiting: bool
    """Some trials run."""
    left: float
    """FLOPs that the search may still spend beside what runs."""
    largest: float = math.inf
    """Of the sizes that are chosen on shards without a result: what is left pays for no larger."""

    @classmethod
    def of(cls, known: Known, pending: Sequence[Trial], limits: Limits) -> State:
        space = known.space
        running = [Measurement(trial, Status.RUNNING) for trial in pending]
        waiting = tuple(configurations.tried_on(shard, running) for shard in space.shards)
        under_way = tuple((i, config) for i, here in enumerate(waiting) for config in here)
        found = known.seen(())
        if not set(under_way) <= set(found.places):
            found = known.seen(under_way)
        index = {place: k for k, place in enumerate(found.places)}
        surface, tried, runs = found.surface, [], 0.0
        for i, (here, there) in enumerate(zip(found.tried, waiting, strict=True)):
            for config, ms in there.items():
                for _ in ms:
                    surface = expected(surface, index[i, config], surface.noise**2)
                    runs += float(found.price[index[i, config]])
            tried.append(
                here | {config: (*here.get(config, ()), *ms) for config, ms in there.items()}
            )
        made = replace(found, tried=tuple(tried), surface=surface, waiting=bool(pending))
        made = replace(made, left=limits.left(known, runs))
        if made.left == math.inf:
            return made
        return made._within(limits, known)

    def _within(self, limits: Limits, known: Known) -> State:
        """The same where what is left bounds the sizes that are chosen, and what the held-out
        shards take is not in it any more: all their seeds if they leave room, one at least."""
        last = len(self.space.shards) - 1
        measured = known.so_far.scored_elsewhere
        unmeasured = [shard for shard in limits.held_out if shard.samples not in measured]
        made = self
        for largest in sorted(self.space.sizes, reverse=True):
            made = replace(self, largest=largest)
            likely = made._best_so_far(last) or made.choice(last)[1]
            one = configurations.held_out_price(
                made.space, known.so_far.results, unmeasured, likely
            )
            needed = sum(made.wanting.values()) + one
            if KEPT * needed <= self.left:
                spare = self.left - KEPT * needed
                share = 1.0 if limits.budget is None else SHARED  # no driver leaves out seeds then
                kept = min(KEPT * one * made.space.seeds, KEPT * one + share * spare)
                kept = kept if made.wanting else min(kept, limits.most_kept(self.left))
                return replace(made, left=self.left - kept)
        if made.wanting:  # not even the smallest can be had on all: nothing is kept for the last
            return made
        return replace(
            made, left=max(self.left - min(LAST * one, limits.most_kept(self.left)), 0.0)
        )

    @cached_property
    def unit(self) -> float:
        """The price of the best configuration at the largest shard."""
        return float(self.price[min(self._open(len(self.space.shards) - 1), key=self._mean)])

    @cached_property
    def wanting(self) -> dict[int, float]:
        """What the first trial of each shard without a score is expected to cost."""
        needed: dict[int, float] = {}
        for i in range(len(self.tried)):
            choice = self.choice(i)
            if not self._covered(i) and all(m.status is Status.STOPPED for m in self.at(*choice)):
                needed[i] = float(self.price[self.places.index(choice)])
        return needed

    @cached_property
    def first(self) -> dict[int, float]:
        """The same as far as what is left pays for it: smaller shards before larger ones."""
        kept: dict[int, float] = {}
        for i, price in self.wanting.items():
            if KEPT * sum(kept.values()) + price > self.left:
                break
            kept[i] = price
        return kept

    def affordable(self, requests: Sequence[TrialRequest]) -> tuple[TrialRequest, ...]:
        """Those that are paid for by what is left beside what is kept, in order."""
        if self.left == math.inf:
            return tuple(requests)
        found, left = [], self.left
        for request in requests:
            i, cost = self.cost(request)
            others = sum(price for j, price in self.first.items() if j != i or request.up_to_steps)
            if cost + KEPT * others <= left:
                left -= cost
                found.append(request)
        return tuple(found)

    def cost(self, request: TrialRequest) -> tuple[int, float]:
        """Its shard, and what is still to be spent on it."""
        trial = request.trial
        samples = [shard.samples for shard in self.space.shards]
        i = min(range(len(samples)), key=lambda k: abs(samples[k] - trial.samples))
        place = (i, Configuration(trial.size, trial.hyperparameters))
        price = float(self.price[self.places.index(place)]) if place in self.places else self.unit
        if i not in self.reference:
            return i, price
        done = [m.steps for m in self.at(*place) if m.trial == trial]
        share = rungs.share(request.up_to_steps, self.reference[i])
        return i, price * max(share - rungs.share(max(done, default=0), self.reference[i]), 0.05)

    def choice(self, shard: int) -> tuple[int, Configuration]:
        """Of a shard's configurations the one with the lowest error, where the price of its missing
        seeds is weighed in, and a part of one trial's: what has been confirmed is kept unless
        another one is worth its trials, and on a plateau the smallest adequate size is chosen."""
        each = SWITCH_COST * len(self.space.shards) / self.unit

        def weighed(k: int) -> tuple[float, int]:
            missing, one = self._to_confirm(k)
            return self._mean(k) + each * (missing + SMALLER * one), k

        return self.places[min(self._open(shard), key=weighed)]

    def _open(self, shard: int) -> list[int]:
        """Places of a shard from which one is chosen: those that can be paid for."""
        here = self._on(shard)
        if self._covered(shard):
            return here
        return [k for k in here if self.places[k][1].size <= self.largest] or here

    def _covered(self, shard: int) -> bool:
        """Whether a trial of it has a result, or runs."""
        return any(
            scored(m) or m.status is Status.RUNNING for ms in self.tried[shard].values() for m in ms
        )

    def _best_so_far(self, shard: int) -> Configuration | None:
        """Of the configurations that have a result the one with the lowest, if there is any: the
        model that a study reports, and trains where it is held out, whatever the search would
        choose."""
        scores = {
            config: min(m.validation_error or 0.0 for m in ms if scored(m))
            for config, ms in self.tried[shard].items()
            if any(map(scored, ms))
        }
        return min(scores, key=lambda config: (scores[config], config.size), default=None)

    def _on(self, shard: int) -> list[int]:
        return [k for k, (i, _) in enumerate(self.places) if i == shard]

    def _mean(self, k: int) -> float:
        return float(self.surface.mean[k])

    def _to_confirm(self, place: int) -> tuple[float, float]:
        """What the missing seeds of a configuration cost, and what one of them does."""
        price = float(self.price[place])
        return price * len(self.missing_seeds(*self.places[place])), price

    def missing_seeds(self, shard: int, config: Configuration) -> list[int]:
        """Seeds that a configuration still needs: in place of each that diverged or failed another
        one, as many more as a study asks for."""
        ms = [m for m in self.at(shard, config) if m.status is not Status.STOPPED]
        ended = {m.trial.seed: m.status for m in ms}
        kept = [s for s in range(2 * self.space.seeds) if ended.get(s) not in REPLACED]
        return [seed for seed in kept[: self.space.seeds] if seed not in ended]

    def at(self, shard: int, config: Configuration) -> tuple[Measurement, ...]:
        return self.tried[shard].get(config, ())


def _seen(known: Known, beside: tuple[tuple[int, Configuration], ...]) -> State:
    """What results show by themselves, at the configurations of the search and those ``beside``
    them."""
    tried = known.tried
    space = configurations.extended(known.space, tried)
    places: list[tuple[int, Configuration]] = []
    reference: dict[int, Measurement] = {}
    for i, here in enumerate(tried):
        places += [(i, config) for config in configurations.of_shard(space, here)]
        whole = [m for ms in here.values() for m in ms if scored(m) and m.curve]
        if whole:
            reference[i] = min(whole, key=lambda m: (m.validation_error or 0.0, place(m.trial)))
    if len(places) > MOST:
        places = _promising(space, tried, places, reference)
    places = list(dict.fromkeys([*places, *beside]))
    surface = _surface(space, tried, places, reference)
    price = configurations.prices(space, known.so_far.results, places)
    found = space, tried, tuple(places), surface, price, reference, known.so_far.results
    return State(*found, waiting=False, left=math.inf)


def _surface(
    space: ConfigurationSpace,
    tried: Sequence[Tried],
    places: Sequence[tuple[int, Configuration]],
    reference: Mapping[int, Measurement],
) -> Surface:
    def predict_minimum(shard: int, m: Measurement) -> tuple[float, float] | None:
        return rungs.predict_minimum(m, reference[shard]) if shard in reference else None

    samples = [shard.samples for shard in space.shards]
    return surface_of(
        samples, tried, space.coordinates, places, predict_minimum, coarse=space.simulated
    )


def _promising(
    space: ConfigurationSpace,
    tried: Sequence[Tried],
    places: Sequence[tuple[int, Configuration]],
    reference: Mapping[int, Measurement],
) -> list[tuple[int, Configuration]]:
    """Of each shard those that were tried, and those that may yet be best: mean less two standard
    deviations, lowest first."""
    bound: dict[tuple[int, Configuration], float] = {}
    for start in range(0, len(places), CHUNK):
        part = places[start : start + CHUNK]
        surface = _surface(space, tried, part, reference)
        low = surface.mean - 2 * np.sqrt(np.diag(surface.covariance))
        bound |= dict(zip(part, low.tolist(), strict=True))
    each = MOST // len(space.shards)
    kept = set()
    for i, here in enumerate(tried):
        mine = sorted((p for p in places if p[0] == i), key=lambda p: (bound[p], str(p)))
        kept |= {*mine[:each], *(p for p in mine if p[1] in here)}
    return [place for place in places if place in kept]


def expected(surface: Surface, place: int, variance: float) -> Surface:
    """The surface once a configuration has been measured, with the result that is expected."""
    column = surface.covariance[:, place]
    update = np.outer(column, column) / (column[place] + variance)
    return replace(surface, covariance=surface.covariance - update)
