"""Frugal: the trials that the answer needs, and no others. The default.

One surface of log error over data, size and hyperparameters (``stats/response.py``) holds what is
known of all shards at once; every decision is read from it:

1. a few cells spread over the smallest shard;
2. then, again and again, the measurement that lowers the expected error of the chosen models most
   per FLOP, on whatever shard: a new cell, another seed of one that cannot be told from its rivals,
   the next rung of a stopped trial. Cheap shards come first because they tell of dear ones, and the
   dear ones are trained only near their predicted optimum;
3. when nothing is worth its price, every shard's choice gets all its seeds; its neighbours on the
   ladder are tried, so that an optimum is told from an edge and a plateau from an optimum; and on
   some shards those in each hyperparameter, where the surface is wrong if it is wrong at all.

Past a shard's first complete trial, new ones run in rungs of its training curve and are left
STOPPED while they are hopeless (``stats/rungs.py``). A ladder whose edge is best extends itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from math import log

import numpy as np

from steep.fit import fit, points_of
from steep.forecast import forecast
from steep.laws.law import Array
from steep.planners import lattice
from steep.planners.contract import Problem, Wanted
from steep.planners.history import play
from steep.planners.lattice import Lattice
from steep.records import Measurement, Status, Trial
from steep.select import select
from steep.spec import Until
from steep.stats import rungs
from steep.stats.response import Surface, knowledge_gradient
from steep.stats.searched import Cell, Tried, scored, surface_of

ADAPTIVE = True
WORTH = 0.01
"""Least gain, in log error averaged over the shards, for one trial of the choice at the largest
shard: what costs less must gain in proportion."""
CHANGE, SMALLER = 0.005, 0.3
"""The same for a trial that only confirms a choice: what it tells of others comes on top. And the
part of that for which a smaller model is chosen before a larger one."""
REACH = 2
"""Shards to either side of one on which a comparison of hyperparameters is taken to hold."""
HARDER = 6
"""How often ``WORTH`` is halved while a forecast is not yet as precise as asked."""
MOST = 1000
"""Cells that are weighed against each other; of a larger lattice the most promising ones."""
CHUNK = 400
TOGETHER = 4
"""Most trials of one decision: what they tell overlaps."""


def plan(
    problem: Problem,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> list[Wanted]:
    """Every trial wanted and not finished; see ``planners/contract.py``.

    Of ``budget`` the driver takes care; ``search.until`` is this planner's."""
    until = problem.spec.search.until
    return play(partial(_decide, lattice.of(problem), until), finished)


@lru_cache(maxsize=1024)
def _decide(
    space: Lattice, until: Until | None, known: tuple[Measurement, ...]
) -> tuple[Wanted, ...]:
    if not any(lattice.tried_on(space.shards[0], known)):
        cells = lattice.spread(space, 2 * len(space.names) + 4)
        return tuple(Wanted(space.trial(space.shards[0], c, 0), why="spread") for c in cells)
    left = math.inf
    if until is not None and until.flops is not None:
        left = until.flops - sum(m.flops or 0.0 for m in known)
    state = _State.of(space, known, left)
    target = None if until is None else until.forecast_interval
    if target is not None and _precise(state, known, target):
        return ()
    wanted = _worthwhile(state, WORTH) or _confirm(state) or _bracket(state) or _compare(state)
    halvings = 0
    while target is not None and not wanted and halvings < HARDER:
        halvings += 1
        wanted = _worthwhile(state, WORTH / 2**halvings)
    chosen = {i: state.choice(i)[1] for i in range(len(space.shards))}
    return _affordable(state, wanted or tuple(lattice.other_draws(space, chosen, known)))


# ---------------------------------------------------------------- what is known


@dataclass(frozen=True)
class _State:
    """Measurements by place, and the surface they show."""

    space: Lattice
    tried: tuple[Tried, ...]
    """By shard."""
    places: tuple[tuple[int, Cell], ...]
    """(shard, cell) of each cell of the surface."""
    surface: Surface
    price: Array
    """(places,) of one complete trial, in FLOPs; in other units where none are counted."""
    reference: dict[int, Measurement]
    """By shard: the best complete trial, with which training curves are compared."""

    left: float
    """FLOPs that may still be spent."""

    @classmethod
    def of(cls, space: Lattice, known: Sequence[Measurement], left: float) -> _State:
        tried = tuple(lattice.tried_on(shard, known) for shard in space.shards)
        places: list[tuple[int, Cell]] = []
        reference: dict[int, Measurement] = {}
        for i, here in enumerate(tried):
            places += [(i, cell) for cell in lattice.cells(space, here)]
            whole = [m for ms in here.values() for m in ms if scored(m) and m.curve]
            if whole:
                reference[i] = min(whole, key=lambda m: (m.validation_error or 0.0, m.trial.id))
        if len(places) > MOST:
            places = _promising(space, tried, places, reference)
        surface = _surface(space, tried, places, reference)
        price = lattice.prices(space, known, places)
        return cls(space, tried, tuple(places), surface, price, reference, left)

    @cached_property
    def unit(self) -> float:
        """The price of the best cell at the largest shard."""
        return float(self.price[min(self._on(len(self.space.shards) - 1), key=self._mean)])

    def choice(self, shard: int) -> tuple[int, Cell]:
        """Of a shard's cells the one with the lowest error, where the price of its missing seeds
        is weighed in, and a part of one trial's: what has been confirmed is kept unless another one
        is worth its trials, and on a plateau the smallest adequate size is chosen."""
        each = CHANGE * len(self.space.shards) / self.unit

        def weighed(k: int) -> tuple[float, int]:
            missing, one = self._to_confirm(k)
            return self._mean(k) + each * (missing + SMALLER * one), k

        return self.places[min(self._on(shard), key=weighed)]

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


def _surface(
    space: Lattice,
    tried: Sequence[Tried],
    places: Sequence[tuple[int, Cell]],
    reference: Mapping[int, Measurement],
) -> Surface:
    def foretold(shard: int, m: Measurement) -> tuple[float, float] | None:
        return rungs.foretold(m, reference[shard]) if shard in reference else None

    samples = [shard.samples for shard in space.shards]
    return surface_of(samples, tried, space.coordinates, places, foretold)


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


def _worthwhile(state: _State, worth: float) -> tuple[Wanted, ...]:
    """The measurements that gain most for their price, while any is worth it."""
    options = _options(state)
    wanted: list[Wanted] = []
    surface = state.surface
    shards = np.array([i for i, _ in state.places])
    places = np.array([o.place for o in options], dtype=int)
    variance = np.array([o.variance for o in options])
    price = np.array([o.price for o in options]) / state.unit
    taken: set[int] = set()
    while options and len(wanted) < TOGETHER:
        gain = knowledge_gradient(surface, shards, places, variance) / len(state.space.shards)
        gain[[o.place in taken for o in options]] = 0.0
        best = int(np.argmax(gain / price))
        if gain[best] < worth * price[best]:
            break
        option = options[best]
        taken.add(option.place)
        wanted.append(_want(state, option, "worth its price"))
        column = surface.covariance[:, option.place]
        known = np.outer(column, column) / (column[option.place] + option.variance)
        surface = replace(surface, covariance=surface.covariance - known)
    return tuple(wanted)


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
    return [option for option in found if option.price <= state.left]


def _want(state: _State, option: _Option, why: str) -> Wanted:
    i, cell = state.places[option.place]
    return Wanted(
        state.space.trial(state.space.shards[i], cell, option.seed), option.up_to_steps, why
    )


def _affordable(state: _State, wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """Those that what is left is expected to pay for, in order."""
    kept, left = [], state.left
    price = dict(zip(state.places, state.price, strict=True))
    index = {shard.samples: i for i, shard in enumerate(state.space.shards)}
    for want in wanted:
        trial = want.trial
        i = min(index.items(), key=lambda at: abs(at[0] - trial.samples))[1]
        cost = float(price.get((i, Cell(trial.size, trial.hyperparameters)), state.unit))
        if want.up_to_steps is not None:
            cost *= rungs.share(want.up_to_steps, state.reference[i])
        if cost <= left:
            left -= cost
            kept.append(want)
    return tuple(kept)


def _confirm(state: _State) -> tuple[Wanted, ...]:
    """All seeds of every shard's choice. Where it has not been trained at all one comes first, and
    the smallest such shard: what it shows moves the choices at the larger ones."""
    rest: list[Wanted] = []
    for i, shard in enumerate(state.space.shards):
        _, cell = state.choice(i)
        ended = [m.trial.seed for m in state.at(i, cell) if m.status is not Status.STOPPED]
        missing = [seed for seed in range(state.space.seeds) if seed not in ended]
        trials = [Wanted(state.space.trial(shard, cell, s), why="chosen") for s in missing]
        if trials and not ended:
            return tuple(trials[:1])
        rest += trials
    return tuple(rest)


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
                wanted.append(Wanted(state.space.trial(shard, near, 0), up_to, "neighbour"))
    return tuple(wanted)


def _compare(state: _State) -> tuple[Wanted, ...]:
    """The neighbours in each hyperparameter of the choice, where no shard near has tried them at
    its size. Without rungs: a lower learning rate is slower, and may end lower.

    One shard after the other. The best values change with data and size alike; where they turn out
    to have done so, the choices at the larger shards move before anything is compared there."""
    for i, shard in enumerate(state.space.shards):
        _, cell = state.choice(i)
        near = [Cell(cell.size, v) for v in lattice.beside(state.space, cell.hyperparameters)]
        seen = [c for here in state.tried[max(i - REACH, 0) : i + REACH + 1] for c in here]
        wanted = [
            Wanted(state.space.trial(shard, c, 0), why="compared") for c in near if c not in seen
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
