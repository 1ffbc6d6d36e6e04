"""The grid: sizes x hyperparameters x seeds on each shard, hyperparameters compared at the ends.

Four waves, each a pure function of the results so far:

1. the smallest and the largest shard, every size with every combination of hyperparameters;
2. the shards between, every size with the hyperparameters that its two ends prefer,
   interpolated in log m where they are numbers and differ;
3. a ladder whose edge is best, beyond noise, extends itself, at most ``search.extend`` times;
4. the best fit of each shard gets ``search.confirm`` seeds: chosen as the best of many, it looks
   better than it is, and where more seeds show that another one is best, that one gets them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from steep.contracts.planner import SearchSpace, TrialRequest
from steep.records import (
    BestFit,
    Candidate,
    Measurement,
    Settings,
    Shard,
    Trial,
    Value,
    settings,
)
from steep.records.measurements import Measurements, followed
from steep.select import candidates, next_size, select

ADAPTIVE = False
"""Only the extension of an edge, the interpolated hyperparameters and whose seeds confirm depend
on results: the number of trials is known beforehand but for the extensions."""


def plan(
    search_space: SearchSpace,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> Sequence[TrialRequest]:
    """Every trial requested and not finished; see ``contracts/planner.py``."""
    grid = followed(finished).follow(("grid", id(search_space)), lambda: _Grid(search_space))
    requests = grid.requests()
    if isinstance(finished, Measurements):
        return requests
    return [request for request in requests if request.trial not in grid.done(request.trial)]


class _Grid:
    """The grid as results come: a shard is looked at again once all that was requested on it has
    ended, or once a result came that it was not waiting for."""

    def __init__(self, search_space: SearchSpace) -> None:
        self._search_space = search_space
        self._every = combinations(search_space)
        self._here: dict[Place, dict[Trial, Measurement]] = {
            _of(s): {} for s in search_space.shards
        }
        """What has been measured on each shard."""
        self._wanted: dict[Place, tuple[TrialRequest, ...]] = {}
        """What each shard requests, including what has ended since then."""
        self._waits: dict[Place, set[Trial]] = {}
        """What has not ended of the sizes and hyperparameters that each shard compares."""
        self._ends: list[dict[int, Settings] | None] = []
        """The hyperparameters that the smallest and the largest shard prefer."""
        compared = len(self._every) > 1 and search_space.spec.search.compare_at == "ends"
        self._watched = {_of(shard) for shard in _ends(search_space)} if compared else set()
        """The ends, where all shards between them hang on what they prefer."""
        self._stale = set(self._here)
        self._all: tuple[TrialRequest, ...] = ()

    def add(self, place: int, measurement: Measurement) -> None:
        """See ``records/measurements.py``."""
        trial = measurement.trial
        at = (trial.permutation, trial.samples)
        if at not in self._here:
            return
        waits = self._waits.get(at, set())
        expected = trial in waits and trial not in self._here[at]
        self._here[at][trial] = measurement
        waits.discard(trial)
        if not expected or not waits or (at in self._watched and any(self._ends)):
            self._stale.add(at)

    def done(self, trial: Trial) -> Mapping[Trial, Measurement]:
        """What has been measured on a trial's shard."""
        return self._here[trial.permutation, trial.samples]

    def requests(self) -> tuple[TrialRequest, ...]:
        """Everything, shard by shard: the same object while no shard requests anything else."""
        if not self._stale:
            return self._all
        self._prefer()
        changed = [self._ask(s) for s in self._search_space.shards if _of(s) in self._stale]
        self._stale.clear()
        if any(changed):
            self._all = tuple(
                request for s in self._search_space.shards for request in self._wanted[_of(s)]
            )
        return self._all

    def _prefer(self) -> None:
        """Where the ends prefer something else by now, so may all shards between them."""
        low, high = _ends(self._search_space)
        if not self._stale & self._watched:
            return
        ends = [
            _preferred(self._search_space, end, self._here[_of(end)], self._every)
            for end in (low, high)
        ]
        if ends != self._ends:
            self._ends = ends
            self._stale = set(self._here)

    def _ask(self, shard: Shard) -> bool:
        """Look at a shard again; whether it requests something else."""
        at = _of(shard)
        here = self._here[at]
        choices = _choices(self._search_space, shard, self._ends, self._every)
        found, waits = (
            ([], []) if choices is None else _shard_trials(self._search_space, shard, here, choices)
        )
        before, self._wanted[at] = (
            self._wanted.get(at, ()),
            tuple(TrialRequest(trial, why=why) for trial, why in found),
        )
        self._waits[at] = {trial for trial, _ in waits if trial not in here}
        return self._wanted[at] != before


Place = tuple[int, float]
"""(permutation, samples) of a shard."""


def _of(shard: Shard) -> Place:
    return shard.permutation, shard.samples


def combinations(search_space: SearchSpace) -> tuple[Settings, ...]:
    """Every combination of the grid's hyperparameters, with the fixed ones filled in."""
    names = sorted(search_space.spec.search.hyperparameters)
    fixed = dict(search_space.recipe) | dict(search_space.spec.training)
    return tuple(
        settings(fixed | dict(zip(names, values, strict=True)))
        for values in product(*(search_space.spec.search.hyperparameters[n] for n in names))
    )


Planned = list[tuple[Trial, str]]
"""Trials and why they are requested."""


def _shard_trials(
    search_space: SearchSpace,
    shard: Shard,
    here: Mapping[Trial, Measurement],
    choices: Callable[[int], Sequence[Settings]],
) -> tuple[Planned, Planned]:
    """What a shard requests, and those among it that it waits for before it requests more."""
    sizes = list(search_space.spec.family.sizes)
    found = _trials(search_space, shard, {s: choices(s) for s in sizes}, "grid")
    if not all(trial in here for trial, _ in found):
        return found, found
    for _ in range(
        search_space.spec.search.extend if len(sizes) > 1 else 0
    ):  # one size is no ladder
        size = _extension(search_space, shard, here.values(), sizes)
        if size is None:
            break
        nearest = min(search_space.spec.family.sizes, key=lambda s: abs(np.log(s / size)))
        extra = _trials(search_space, shard, {size: choices(nearest)}, "extends the ladder")
        found += extra
        sizes.append(size)
        if not all(trial in here for trial, _ in extra):
            return found, extra
    return found + _confirming(search_space, shard, here.values()), []


def _confirming(search_space: SearchSpace, shard: Shard, here: Collection[Measurement]) -> Planned:
    search = search_space.spec.search
    found = select(here, [shard], seeds=search.seeds)
    if not found:
        return []
    size, values = found[0].best.size, found[0].best.hyperparameters
    return [
        (Trial(shard.permutation, shard.items, shard.samples, size, values, seed), "confirms")
        for seed in range(search.seeds, search.confirm)
    ]


def _trials(
    search_space: SearchSpace, shard: Shard, choices: Mapping[int, Sequence[Settings]], why: str
) -> Planned:
    return [
        (Trial(shard.permutation, shard.items, shard.samples, size, values, seed), why)
        for size, combos in choices.items()
        for values in combos
        for seed in range(search_space.spec.search.seeds)
    ]


def _ends(search_space: SearchSpace) -> tuple[Shard, Shard]:
    """The smallest and the largest shard of the first draw."""
    first = [s for s in search_space.shards if s.permutation == search_space.shards[0].permutation]
    return first[0], first[-1]


def _choices(
    search_space: SearchSpace,
    shard: Shard,
    ends: Sequence[dict[int, Settings] | None],
    every: Sequence[Settings],
) -> Callable[[int], Sequence[Settings]] | None:
    """size -> the hyperparameters to try on this shard; None while its ends are unknown. ``ends``
    are those that they prefer."""
    low, high = _ends(search_space)
    if len(every) == 1 or search_space.spec.search.compare_at == "all" or shard in (low, high):
        return lambda size: every
    at_low, at_high = ends
    if at_low is None or at_high is None:
        return None
    share = float(np.log(shard.samples / low.samples) / np.log(high.samples / low.samples))
    return lambda size: (_between(at_low[size], at_high[size], share),)


def _preferred(
    search_space: SearchSpace,
    end: Shard,
    here: Mapping[Trial, Measurement],
    every: Sequence[Settings],
) -> dict[int, Settings] | None:
    """Each size's best hyperparameters at one end; None until all of its grid has finished.

    A size whose every combination diverged takes the end's overall best."""
    grid = _trials(search_space, end, dict.fromkeys(search_space.spec.family.sizes, every), "")
    if not all(trial in here for trial, _ in grid):
        return None
    pool = [c for c in candidates(here.values()) if c.hyperparameters in every]
    overall = min(pool, key=lambda c: c.score).hyperparameters if pool else every[0]

    def best(size: int) -> Settings:
        tried: list[Candidate] = [c for c in pool if c.size == size]
        return min(tried, key=lambda c: c.score).hyperparameters if tried else overall

    return {size: best(size) for size in search_space.spec.family.sizes}


def _between(low: Settings, high: Settings, share: float) -> Settings:
    """Hyperparameters between two ends, geometric for positive numbers, to two digits."""
    at_high = dict(high)
    mixed: dict[str, Value] = {}
    for name, value in low:
        other = at_high[name]
        if value == other or not _positive(value) or not _positive(other):
            mixed[name] = value if share < 0.5 else other
            continue
        between = float(value) ** (1 - share) * float(other) ** share
        whole = isinstance(value, int) and isinstance(other, int)
        mixed[name] = round(between) if whole else float(f"{between:.2g}")
    return settings(mixed)


def _positive(value: Value) -> bool:
    return not isinstance(value, (bool, str)) and value > 0


def _extension(
    search_space: SearchSpace, shard: Shard, here: Iterable[Measurement], sizes: Sequence[int]
) -> int | None:
    """The size to add when the best of this shard is at an edge and better beyond noise."""
    tried = [m for m in here if m.trial.size in sizes]
    found: tuple[BestFit, ...] = select(tried, [shard], seeds=search_space.spec.search.seeds)
    if not found:
        return None
    best_fit = found[0]
    if best_fit.edge == "high" and best_fit.adequate_edge == "high":
        return next_size(sizes, "high")
    if best_fit.adequate_edge == "low":
        return next_size(sizes, "low", search_space.smallest)
    return None
