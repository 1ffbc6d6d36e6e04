"""Frugal: the trials that the answer needs, and no others. The default.

One surface of log error over data, size and hyperparameters (``stats/response.py``) holds what is
known of all shards at once; every decision is read from it:

1. a few cells spread over the smallest shard;
2. then, again and again, the measurement that lowers the expected error of the chosen models most
   per FLOP, on whatever shard: a new cell, another seed of one that cannot be told from its rivals,
   the next rung of a stopped trial. Cheap shards come first because they tell of dear ones, and the
   dear ones are trained only near their predicted optimum;
3. when nothing is worth its price, every shard's choice gets all its seeds, and so does the model
   that would be reported; its neighbours on the ladder are tried, so that an optimum is told from
   an edge and a plateau from an optimum; and on some shards those in each hyperparameter, where the
   surface is wrong if it is wrong at all.

Past a shard's first complete trial, new ones run in rungs of its training curve and are left
STOPPED while they are hopeless (``stats/rungs.py``). A ladder whose edge is best extends itself,
and so does the list of a numeric hyperparameter.

One decision is one trial, by all results there are. While trials run, the next decision takes them
for measured, with the results that are expected, so that other workers need not wait.

A budget covers before it refines: after the first few cells every shard gets its first trial, the
smallest first, while as much is kept as the others' first trials, and one on every held-out shard,
are expected to take. Where that is too much at the sizes that are best, the largest size is chosen
that can be had on all of them: a whole curve of smaller models says more than the beginning of one
of larger models. What refines takes no more than a fifth of what is left at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import log

import numpy as np

from steep.contracts.planner import Problem, Wanted
from steep.fit import fit, points_of
from steep.forecast import forecast
from steep.laws.law import Array
from steep.planners import lattice
from steep.planners.lattice import Lattice
from steep.planners.so_far import SoFar, place
from steep.records import Measurement, Shard, Status, Trial
from steep.records.measurements import Measurements
from steep.select import select
from steep.spec.sections import Until
from steep.stats import rungs
from steep.stats.response import Surface, knowledge_gradient
from steep.stats.searched import Cell, Tried, lost, scored, surface_of

ADAPTIVE = True
KNOWS_UNTIL = True
"""It ends where ``search.until`` says."""
WORTH = 0.01
"""Least gain, in log error averaged over the shards, for one trial of the choice at the largest
shard: what costs less must gain in proportion."""
CHANGE, SMALLER = 0.005, 0.3
"""The same for a trial that only confirms a choice: what it tells of others comes on top. And the
part of that for which a smaller model is chosen before a larger one."""
HARDER = 10
"""How often ``WORTH`` is halved while a forecast is not yet as precise as asked."""
MOST = 1000
"""Cells that are weighed against each other; of a larger lattice the most promising ones."""
REACH = 1
"""Shards to either side of one on which a comparison of hyperparameters is taken to hold: with two,
five of sixteen searches of characters by Adam kept a learning rate that is right for little data at
the largest shards, with one 1 of 16, for a sixth more (docs/decisions/searching.md)."""
CHUNK = 400
SHARED = 0.3
"""Share of what a budget leaves beyond a trial on every shard that is kept for further seeds on the
held-out ones."""
REFINE = 0.2
"""Share of what is left that one trial which refines may take: with a whole curve in hand, a trial
that may overrun what is expected of it is no longer worth a large part of it."""
BEGIN = 0.05
"""Share of what is left that one of the cells with which a search begins may take."""
KEPT, LAST = 2.5, 1.25
"""What is kept of a budget, relative to what it is expected to be needed for; and for the held-out
shard at the end, when prices are known,"""
MOST_KEPT = 0.6
"""but once every shard has a result never more than this share: what a model octaves away costs may
be foretold several times too high, and a search would end in the middle of its time."""


def plan(
    problem: Problem,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> Sequence[Wanted]:
    """Every trial wanted and not finished; see ``contracts/planner.py``. One beyond those that run:
    asked again with that one among them, it names the next.

    Within ``budget`` and ``search.until`` every shard gets a trial before anything is refined; the
    smaller ones where that cannot be had of all."""
    limits = _Limits(budget, problem.spec.search.until, tuple(problem.held_out))
    pending = tuple(sorted({*running}, key=place))
    if isinstance(finished, Measurements):
        known = finished.follow(("frugal", id(problem)), lambda: _Known(lattice.of(problem)))
        known.so_far.leave_out(pending)
    else:
        measured = {m.trial: m for m in finished}
        told = tuple(measured[trial] for trial in sorted(measured, key=place))
        known = _known(lattice.of(problem), told, pending)
    wanted, on_other_draws = known.decided(limits, pending)
    if on_other_draws:
        others = known.trials_of_other_draws
        if isinstance(finished, Measurements) and all(trial in others for trial in pending):
            return wanted
        busy = known.so_far.measured.keys() | {*pending}
        wanted = tuple(want for want in wanted if want.trial not in busy)
    goes_on = [Wanted(t, why="running") for t in pending if not known.so_far.has_ended(t)]
    return [*goes_on, *wanted]


@dataclass(frozen=True)
class _Limits:
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

    def left(self, known: _Known, runs: float) -> float:
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


def _decide(known: _Known, limits: _Limits, pending: tuple[Trial, ...]) -> Decided:
    space = known.space
    first = _spread(space, known, pending)
    if not any(map(scored, known.so_far.results)):  # nothing is known of prices
        if limits.left(_Known(space), 0.0) == math.inf:
            return first, False
        return first[:1] if limits.left(known, 0.0) > 0 else (), False
    state = _State.of(known, pending, limits)
    few = [w for w in first if state.left == math.inf or state.cost(w)[1] < BEGIN * state.left]
    if wanted := state.affordable(few):
        return wanted[:1], False
    precision = limits.precision
    if precision is not None and _precise(state, known.so_far.results, precision):
        return (), False
    for decide in (_cover, _worthwhile, _ahead, _confirm, _bracket, _compare):
        if wanted := state.affordable(decide(state)):
            return wanted[:1], False
    for halvings in range(HARDER if precision is not None else 0):
        if wanted := state.affordable(_worthwhile(state, WORTH / 2 ** (halvings + 1))):
            return wanted[:1], False
    others = known.on_other_draws({i: state.choice(i)[1] for i in range(len(space.shards))})
    if state.left == math.inf:
        return others, True
    busy = known.so_far.measured.keys() | {*pending}
    return state.affordable([want for want in others if want.trial not in busy]), False


def _spread(space: Lattice, known: _Known, pending: Sequence[Trial]) -> tuple[Wanted, ...]:
    """The cells that a search begins with, on the smallest shard, as long as there are so few."""
    shard, count = space.shards[0], 2 * len(space.names) + 4
    tried = {Cell(t.size, t.hyperparameters) for t in pending if t.samples == shard.samples}
    tried |= set(known.tried[0])
    cells = [cell for cell in lattice.spread(space, count) if cell not in tried]
    wanted = [Wanted(space.trial(shard, cell, 0), None, "spread", early=True) for cell in cells]
    return tuple(wanted[: max(count - len(tried), 0)])


# ---------------------------------------------------------------- what is known


class _Known:
    """What a search knows so far, and what it has made of that: while the results stay that a
    decision rests on, the decision does."""

    def __init__(self, space: Lattice) -> None:
        self.space = space
        self.so_far = SoFar(space)
        self.add = self.so_far.add
        self._at: tuple[int, ...] = ()
        self._seen: dict[tuple[tuple[int, Cell], ...], _State] = {}
        self._decided: dict[tuple[_Limits, tuple[Trial, ...], bool], Decided] = {}
        self._others: dict[tuple[tuple[int, Cell], ...], tuple[Wanted, ...]] = {}
        self.trials_of_other_draws: set[Trial] = set()
        """That were wanted by now."""

    @property
    def tried(self) -> tuple[Tried, ...]:
        return self.so_far.tried

    def seen(self, beside: tuple[tuple[int, Cell], ...]) -> _State:
        """See ``_seen``."""
        if beside not in self._seen:
            self._seen[beside] = _seen(self, beside)
        return self._seen[beside]

    def decided(self, limits: _Limits, pending: tuple[Trial, ...]) -> Decided:
        """What is wanted beside what runs. Of other draws only their cost counts, if anything."""
        at = (self.so_far.changes_searched, self.so_far.changes if limits.bounded else 0)
        if at != self._at:
            if at[:1] != self._at[:1]:
                self._seen.clear()
            self._at = at
            self._decided.clear()
        running = tuple(t for t in pending if limits.bounded or self.so_far.searched(t))
        key = limits, running, bool(pending)
        if key not in self._decided:
            self._decided[key] = _decide(self, limits, pending)
        return self._decided[key]

    def on_other_draws(self, chosen: Mapping[int, Cell]) -> tuple[Wanted, ...]:
        """What further draws of the data want of the cells that were chosen, results or not."""
        key = tuple(chosen.items())
        if key not in self._others:
            self._others[key] = tuple(lattice.other_draws(self.space, chosen, ()))
            self.trials_of_other_draws |= {want.trial for want in self._others[key]}
        return self._others[key]


Decided = tuple[tuple[Wanted, ...], bool]
"""The trials wanted; and whether they are those of other draws, results or not."""


@lru_cache(maxsize=256)
def _known(space: Lattice, measured: tuple[Measurement, ...], pending: tuple[Trial, ...]) -> _Known:
    """Of a plain list."""
    found = _Known(space)
    for at, measurement in enumerate(measured):
        found.add(at, measurement)
    found.so_far.leave_out(pending)
    return found


@dataclass(frozen=True)
class _State:
    """Measurements by place, and the surface they show."""

    space: Lattice
    tried: tuple[Tried, ...]
    """By shard. Trials that run are among them, without a result."""
    places: tuple[tuple[int, Cell], ...]
    """(shard, cell) of each cell of the surface."""
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
    def of(cls, known: _Known, pending: Sequence[Trial], limits: _Limits) -> _State:
        space = known.space
        running = [Measurement(trial, Status.RUNNING) for trial in pending]
        waiting = tuple(lattice.tried_on(shard, running) for shard in space.shards)
        asked = tuple((i, cell) for i, here in enumerate(waiting) for cell in here)
        found = known.seen(())
        if not set(asked) <= set(found.places):
            found = known.seen(asked)
        index = {place: k for k, place in enumerate(found.places)}
        surface, tried, runs = found.surface, [], 0.0
        for i, (here, there) in enumerate(zip(found.tried, waiting, strict=True)):
            for cell, ms in there.items():
                for _ in ms:
                    surface = _expected(surface, index[i, cell], surface.noise**2)
                    runs += float(found.price[index[i, cell]])
            tried.append(here | {cell: (*here.get(cell, ()), *ms) for cell, ms in there.items()})
        made = replace(found, tried=tuple(tried), surface=surface, waiting=bool(pending))
        made = replace(made, left=limits.left(known, runs))
        if made.left == math.inf:
            return made
        return made._within(limits, known)

    def _within(self, limits: _Limits, known: _Known) -> _State:
        """The same where what is left bounds the sizes that are chosen, and what the held-out
        shards take is not in it any more: all their seeds if they leave room, one at least."""
        last = len(self.space.shards) - 1
        made = self
        for largest in sorted(self.space.sizes, reverse=True):
            made = replace(self, largest=largest)
            likely = made._best_so_far(last) or made.choice(last)[1]
            one = lattice.held_out_price(made.space, known.so_far.results, limits.held_out, likely)
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
        """The price of the best cell at the largest shard."""
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

    def affordable(self, wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
        """Those that are paid for by what is left beside what is kept, in order. Where nothing may
        be spent on them, the first trial of the next shard without any."""
        if self.left == math.inf:
            return tuple(wanted)
        found, left = [], self.left
        for want in wanted:
            i, cost = self.cost(want)
            others = sum(price for j, price in self.first.items() if j != i or want.up_to_steps)
            if cost + KEPT * others <= left:
                left -= cost
                found.append(want)
        return tuple(found) or (_cover(self) if wanted else ())

    def cost(self, want: Wanted) -> tuple[int, float]:
        """Its shard, and what is still to be spent on it."""
        trial = want.trial
        samples = [shard.samples for shard in self.space.shards]
        i = min(range(len(samples)), key=lambda k: abs(samples[k] - trial.samples))
        place = (i, Cell(trial.size, trial.hyperparameters))
        price = float(self.price[self.places.index(place)]) if place in self.places else self.unit
        if i not in self.reference:
            return i, price
        done = [m.steps for m in self.at(*place) if m.trial == trial]
        share = rungs.share(want.up_to_steps, self.reference[i])
        return i, price * max(share - rungs.share(max(done, default=0), self.reference[i]), 0.05)

    def choice(self, shard: int) -> tuple[int, Cell]:
        """Of a shard's cells the one with the lowest error, where the price of its missing seeds
        is weighed in, and a part of one trial's: what has been confirmed is kept unless another one
        is worth its trials, and on a plateau the smallest adequate size is chosen."""
        each = CHANGE * len(self.space.shards) / self.unit

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

    def _best_so_far(self, shard: int) -> Cell | None:
        """Of the cells that have a result the one with the lowest, if there is any: the model that
        a study reports, and trains where it is held out, whatever the search would choose."""
        scores = {
            cell: min(m.validation_error or 0.0 for m in ms if scored(m))
            for cell, ms in self.tried[shard].items()
            if any(map(scored, ms))
        }
        return min(scores, key=lambda cell: (scores[cell], cell.size), default=None)

    def _on(self, shard: int) -> list[int]:
        return [k for k, (i, _) in enumerate(self.places) if i == shard]

    def _mean(self, k: int) -> float:
        return float(self.surface.mean[k])

    def _to_confirm(self, place: int) -> tuple[float, float]:
        """What the missing seeds of a cell cost, and what one of them does."""
        ended = [m for m in self.at(*self.places[place]) if m.status is not Status.STOPPED]
        price = float(self.price[place])
        return price * (self.space.seeds - len(ended)), price

    def at(self, shard: int, cell: Cell) -> tuple[Measurement, ...]:
        return self.tried[shard].get(cell, ())


def _seen(known: _Known, beside: tuple[tuple[int, Cell], ...]) -> _State:
    """What results show by themselves, at the cells of the search and those ``beside`` them."""
    tried = known.tried
    space = lattice.extended(known.space, tried)
    places: list[tuple[int, Cell]] = []
    reference: dict[int, Measurement] = {}
    for i, here in enumerate(tried):
        places += [(i, cell) for cell in lattice.cells(space, here)]
        whole = [m for ms in here.values() for m in ms if scored(m) and m.curve]
        if whole:
            reference[i] = min(whole, key=lambda m: (m.validation_error or 0.0, place(m.trial)))
    if len(places) > MOST:
        places = _promising(space, tried, places, reference)
    places = list(dict.fromkeys([*places, *beside]))
    surface = _surface(space, tried, places, reference)
    price = lattice.prices(space, known.so_far.results, places)
    found = space, tried, tuple(places), surface, price, reference, known.so_far.results
    return _State(*found, waiting=False, left=math.inf)


def _surface(
    space: Lattice,
    tried: Sequence[Tried],
    places: Sequence[tuple[int, Cell]],
    reference: Mapping[int, Measurement],
) -> Surface:
    def foretold(shard: int, m: Measurement) -> tuple[float, float] | None:
        return rungs.foretold(m, reference[shard]) if shard in reference else None

    samples = [shard.samples for shard in space.shards]
    return surface_of(samples, tried, space.coordinates, places, foretold, coarse=space.rehearsed)


def _promising(
    space: Lattice,
    tried: Sequence[Tried],
    places: Sequence[tuple[int, Cell]],
    reference: Mapping[int, Measurement],
) -> list[tuple[int, Cell]]:
    """Of each shard those that were tried, and those that may yet be best: mean less two standard
    deviations, lowest first."""
    bound: dict[tuple[int, Cell], float] = {}
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


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True)
class _Option:
    place: int
    seed: int
    up_to_steps: int | None
    price: float
    variance: float


def _expected(surface: Surface, place: int, variance: float) -> Surface:
    """The surface once a cell has been measured, with the result that is expected."""
    column = surface.covariance[:, place]
    told = np.outer(column, column) / (column[place] + variance)
    return replace(surface, covariance=surface.covariance - told)


def _cover(state: _State) -> tuple[Wanted, ...]:
    """Of a budget: the first trial of the smallest shard without any."""
    if state.left == math.inf or not state.first:
        return ()
    i = min(state.first)
    _, cell = state.choice(i)
    trial = state.space.trial(state.space.shards[i], cell, 0)
    return (Wanted(trial, why=_why(state.space, cell, "the first of its shard")),)


def _worthwhile(state: _State, worth: float = WORTH) -> tuple[Wanted, ...]:
    """The measurements that are worth their price, the one that gains most for it first."""
    options = _options(state)
    if not options:
        return ()
    shards = np.array([i for i, _ in state.places])
    places = np.array([o.place for o in options], dtype=int)
    variance = np.array([o.variance for o in options])
    price = np.array([o.price for o in options]) / state.unit
    gain = knowledge_gradient(state.surface, shards, places, variance) / len(state.space.shards)
    enough = (gain >= worth * price) & (price * state.unit <= REFINE * state.left)
    order = np.argsort(-gain / price, kind="stable")
    return tuple(_want(state, options[k], "worth its price") for k in order if enough[k])


def _options(state: _State) -> list[_Option]:
    """Every measurement that could be made next: of each cell, its next seed or rung."""
    found = []
    noise = state.surface.noise**2
    for k, (i, cell) in enumerate(state.places):
        ms = state.at(i, cell)
        price = float(state.price[k])
        begun = [m for m in ms if m.status is Status.STOPPED]
        if begun:
            m = begun[0]
            at = rungs.after(m.steps, state.reference[i])
            left = rungs.share(at, state.reference[i]) - rungs.share(m.steps, state.reference[i])
            variance = noise + rungs.variance(at, state.reference[i], 0.0)
            found.append(_Option(k, m.trial.seed, at, price * max(left, 0.05), variance))
        elif len(ms) < state.space.seeds:
            reference = state.reference.get(i)
            found.append(_Option(k, len(ms), None, price, noise))
            if reference is not None and not ms and lattice.alike(cell, reference.trial):
                at = rungs.after(0, reference)
                gap = state.surface.mean[k] - log(reference.validation_error or 1.0)
                variance = noise + rungs.variance(at, reference, gap)
                if at is not None:
                    found.append(_Option(k, 0, at, price * rungs.share(at, reference), variance))
    return found


def _want(state: _State, option: _Option, why: str) -> Wanted:
    i, cell = state.places[option.place]
    trial = state.space.trial(state.space.shards[i], cell, option.seed)
    return Wanted(trial, option.up_to_steps, _why(state.space, cell, why))


def _why(space: Lattice, cell: Cell, why: str) -> str:
    """With what the trial extends."""
    beyond = [f"extends {name} to {value}" for name, value in space.beyond(cell)]
    return f"{why}, {' and '.join(beyond)}" if beyond else why


def _ahead(state: _State) -> tuple[Wanted, ...]:
    """Stopped trials that are better already than their shard's choice in the end, by more than
    seeds differ, to their end: the choice cannot be said to be the best beside them."""
    wanted = []
    for i in range(len(state.space.shards)):
        scores = [m.validation_error or 0.0 for m in state.at(*state.choice(i)) if scored(m)]
        mark = float(np.mean(scores)) * math.exp(-state.surface.noise) if scores else 0.0
        for cell, ms in state.tried[i].items():
            why = _why(state.space, cell, "ahead of the choice")
            stopped = [m for m in ms if m.status is Status.STOPPED]
            better = [m for m in stopped if (m.validation_error or math.inf) < mark]
            wanted += [Wanted(m.trial, why=why) for m in better]
    return tuple(wanted)


def _confirm(state: _State) -> tuple[Wanted, ...]:
    """All seeds of every shard's choice. Where it has not been trained at all one comes first, and
    the smallest such shard: what it shows moves the choices at the larger ones. Then those of the
    models that a study would report, where they are others."""
    rest: list[Wanted] = []
    for i in range(len(state.space.shards)):
        missing = _missing_seeds(state, i, state.choice(i)[1], "chosen")
        if len(missing) == state.space.seeds:
            # while a trial runs that may move the next choice, seeds of this one are surer
            return (*rest, missing[0]) if state.waiting else (missing[0],)
        rest += missing
    if rest:
        return tuple(rest)
    index = {shard.samples: i for i, shard in enumerate(state.space.shards)}
    for best in select(state.known, state.space.shards, seeds=state.space.seeds):
        cell = Cell(best.best.size, best.best.hyperparameters)
        rest += _missing_seeds(state, index[best.samples], cell, "best so far")
    return tuple(rest)


def _missing_seeds(state: _State, shard: int, cell: Cell, why: str) -> list[Wanted]:
    ended = [m.trial.seed for m in state.at(shard, cell) if m.status is not Status.STOPPED]
    missing = [seed for seed in range(state.space.seeds) if seed not in ended]
    why = _why(state.space, cell, why)
    here = state.space.shards[shard]
    return [Wanted(state.space.trial(here, cell, seed), why=why) for seed in missing]


def _bracket(state: _State) -> tuple[Wanted, ...]:
    """The choice's neighbours on the ladder, where they have not been tried."""
    wanted = []
    for i, shard in enumerate(state.space.shards):
        _, cell = state.choice(i)
        sizes = sorted({c.size for j, c in state.places if j == i})
        tried = {c.size for j, c in state.places if j == i and state.at(j, c)}
        at = sizes.index(cell.size)
        for size in (sizes[at - 1 : at] if at else []) + sizes[at + 1 : at + 2]:
            if size not in tried:
                reference = state.reference.get(i)
                up_to = None if reference is None else rungs.after(0, reference)
                near = Cell(size, cell.hyperparameters)
                trial = state.space.trial(shard, near, 0)
                wanted.append(Wanted(trial, up_to, _why(state.space, near, "neighbour")))
    return tuple(wanted)


def _compare(state: _State) -> tuple[Wanted, ...]:
    """The neighbours in each hyperparameter of the choice, where no shard near has tried them at
    its size. Without rungs: a lower learning rate is slower, and may end lower.

    One shard after the other. The best values change with data and size alike; where they turn out
    to have done so, the choices at the larger shards move before anything is compared there. So
    nothing is compared beside a choice that has no result yet, but runs."""
    choices = [state.choice(i) for i in range(len(state.space.shards))]
    if not all(
        any(m.status is not Status.RUNNING for m in state.at(*choice)) for choice in choices
    ):
        return ()
    failed = {c for here in state.tried for c, ms in here.items() if any(map(lost, ms))}
    for i, shard in enumerate(state.space.shards):
        _, cell = state.choice(i)
        near = [Cell(cell.size, v) for v in lattice.beside(state.space, cell.hyperparameters)]
        seen = {c for here in state.tried[max(i - REACH, 0) : i + REACH + 1] for c in here}
        # A value beyond the list is tried on every shard where the one before it is best, until
        # models no larger have diverged with it.
        like = {c: [f for f in failed if f.hyperparameters == c.hyperparameters] for c in near}
        hopeless = {c for c in near if any(f.size <= c.size for f in like[c])}
        wanted = [
            Wanted(state.space.trial(shard, c, 0), why=_why(state.space, c, "compared"))
            for c in near
            if c not in ({*state.tried[i], *hopeless} if state.space.beyond(c) else seen)
        ]
        if wanted:
            return tuple(wanted)
    return ()


def _precise(state: _State, known: Sequence[Measurement], target: float) -> bool:
    """Whether the forecast at ten times the largest shard is as narrow as asked."""
    shards = state.space.shards
    if not all(any(map(scored, state.at(*state.choice(i)))) for i in range(len(shards))):
        return False
    law = fit(points=points_of(select(known, shards, seeds=state.space.seeds)), intervals=False)
    if law.outcome != "ok":
        return False
    (place,) = forecast(law, at=[10 * shards[-1].samples], level=0.9).at
    return place.upper - place.lower <= target * place.error
