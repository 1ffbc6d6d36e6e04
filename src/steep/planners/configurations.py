"""Configurations (size, hyperparameters) of every shard, from which an adaptive search chooses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np

from steep.contracts.planner import SearchSpace, TrialRequest
from steep.laws.law import Array
from steep.planners.grid import combinations
from steep.records import Measurement, Settings, Shard, Trial, Value
from steep.select import next_size
from steep.stats.searched import (
    SIZE_EXPONENT,
    Configuration,
    Coordinates,
    Tried,
    by_config,
    lost,
    scored,
)
from steep.stats.tuning import following

BY_SAMPLES = 0.8
"""Power of the samples with which a trial's cost is expected to grow."""


@dataclass(frozen=True)
class ConfigurationSpace:
    """A search space as a hashable value: the configurations that may be tried on each shard."""

    shards: tuple[Shard, ...]
    """Of the first draw of the data, ascending."""
    other_draws: tuple[Shard, ...]
    sizes: tuple[int, ...]
    combinations: tuple[Settings, ...]
    names: tuple[str, ...]
    """Of the hyperparameters compared."""
    seeds: int
    extend: int
    """How often a ladder, or the list of a hyperparameter, whose edge is best may extend itself."""
    smallest: int
    listed: tuple[Settings, ...] = ()
    """The combinations that the spec asks for, where ``combinations`` are more."""
    simulated: bool = False
    """Decisions are by a coarse surface: the results are made up."""
    timed: bool = False
    """Trials are priced in seconds, not FLOPs."""

    def trial(self, shard: Shard, config: Configuration, seed: int) -> Trial:
        place = (shard.permutation, shard.items, shard.samples)
        return Trial(*place, config.size, config.hyperparameters, seed)

    def place(self, shard: int, config: Configuration) -> tuple[float, ...]:
        """Coordinates on the surface."""
        return self.coordinates.place(self.shards[shard].samples, config)

    def beyond(self, config: Configuration) -> list[tuple[str, Value]]:
        """Hyperparameters with values that the spec does not list."""
        known = {pair for values in self.listed for pair in values}
        return [pair for pair in config.hyperparameters if known and pair not in known]

    @property
    def coordinates(self) -> Coordinates:
        choices = {n: dict.fromkeys(dict(c)[n] for c in self.combinations) for n in self.names}
        named = tuple((name, tuple(values)) for name, values in choices.items())
        return Coordinates(self.shards[0].samples, self.sizes[0], named)


def of(search_space: SearchSpace) -> ConfigurationSpace:
    search = search_space.spec.search
    draw = search_space.shards[0].permutation
    ordered = sorted(search_space.shards, key=lambda s: s.samples)
    return ConfigurationSpace(
        tuple(s for s in ordered if s.permutation == draw),
        tuple(s for s in ordered if s.permutation != draw),
        tuple(search_space.spec.family.sizes),
        tuple(dict.fromkeys(combinations(search_space))),
        tuple(n for n, values in sorted(search.hyperparameters.items()) if len(values) > 1),
        search.seeds,
        search.extend,
        search_space.smallest,
        simulated=search_space.simulated,
        timed=search_space.timed,
    )


def tried_on(shard: Shard, known: Sequence[Measurement]) -> Tried:
    return by_config(known, shard.permutation, shard.samples)


def other_draws(
    space: ConfigurationSpace, chosen: Mapping[int, Configuration], known: Sequence[Measurement]
) -> list[TrialRequest]:
    """Further draws of the data take what was chosen, by shard, on the first."""
    if not chosen:
        return []
    done = {m.trial for m in known}
    found = []
    for shard in space.other_draws:
        near = min(chosen, key=lambda i: abs(log(space.shards[i].samples / shard.samples)))
        trials = [space.trial(shard, chosen[near], seed) for seed in range(space.seeds)]
        found += [TrialRequest(t, why="another draw of the data") for t in trials if t not in done]
    return found


def of_shard(
    space: ConfigurationSpace, tried: Mapping[Configuration, Sequence[Measurement]]
) -> list[Configuration]:
    """The configurations of one shard: those of the ladder, and a size more where its edge did
    best of several sizes."""
    sizes = list(space.sizes)
    scores = {
        config: float(np.mean([m.validation_error for m in ms if scored(m)]))
        for config, ms in tried.items()
        if any(scored(m) for m in ms)
    }
    several = len({config.size for config in scores}) > 1  # one alone is no edge
    for _ in range(space.extend if several else 0):
        best = min(scores, key=lambda c: (scores[c], c.size)).size
        more = None
        if best >= max(sizes):
            more = next_size(sizes, "high")
        elif best <= min(sizes):
            more = next_size(sizes, "low", space.smallest)
        if more is None:
            break
        sizes.append(more)
    sizes = sorted({*sizes, *(config.size for config in tried)})
    return [Configuration(size, values) for size in sizes for values in space.combinations]


def extended(space: ConfigurationSpace, tried: Sequence[Tried]) -> ConfigurationSpace:
    """With the values of numeric hyperparameters that were tried beyond their lists, and the next
    one where the largest or smallest of them is best.

    A value is best where the best configuration of a shard, with all its seeds, has it, and is
    better than configurations with other values there. The next one follows by the ratio of the
    last two, on all shards, to each side at most ``space.extend`` times beyond the list, or beyond
    what is best on a smaller shard: a best value that drifts with data is followed as far as it
    goes."""
    combinations = space.combinations
    for name in space.names if space.extend else ():
        listed = {dict(c)[name] for c in space.combinations}
        found = {dict(c.hyperparameters)[name] for here in tried for c in here}
        values, more = listed | found, found - listed
        passed = {0}
        """Steps beyond the list, of the best values of the smaller shards; negative below it."""
        for best, rivals in (_best(here, space.seeds) for here in tried):
            if best is None:
                continue
            value = dict(best.hyperparameters)[name]
            new = following(name, value, sorted(values, key=str))
            others = {dict(c.hyperparameters)[name] for c in rivals} - {value}
            steps = _beyond(value, listed)
            if new is not None and others:
                out = (
                    max(passed)
                    if steps > 0 or (steps == 0 and float(new) > float(value))
                    else -min(passed)
                )
                if abs(steps) < space.extend + out:
                    more.add(new)
            passed.add(steps)
        combinations += tuple(
            tuple((n, new if n == name else v) for n, v in given)
            for new in sorted(more, key=str)
            for given in combinations
        )
        combinations = tuple(dict.fromkeys(combinations))
    if combinations == space.combinations:
        return space
    return replace(space, combinations=combinations, listed=space.combinations)


def _beyond(value: Value, listed: Collection[Value]) -> int:
    """How many steps of the list's ratio a value lies beyond its end; negative below it."""
    numbers = sorted(v for v in listed if not isinstance(v, str))
    if isinstance(value, str) or numbers[0] <= value <= numbers[-1]:
        return 0
    end, inner = (numbers[-1], numbers[-2]) if value > numbers[-1] else numbers[:2]
    steps = max(1, round(log(value / end) / log(end / inner)))
    return steps if value > end else -steps


def _best(here: Tried, seeds: int) -> tuple[Configuration | None, list[Configuration]]:
    """The best configuration of a shard, where it has all its seeds, and those that are worse."""
    scores = {
        config: float(np.mean([log(m.validation_error or 1.0) for m in ms if scored(m)]))
        for config, ms in here.items()
        if any(map(scored, ms)) and not any(map(lost, ms))
    }
    best = min(scores, key=lambda c: (scores[c], c.size, str(c)), default=None)
    if best is None or sum(map(scored, here[best])) < seeds:
        return None, []
    bad = [config for config in here if config not in scores or scores[config] > scores[best]]
    return best, bad


def spread(space: ConfigurationSpace, count: int) -> list[Configuration]:
    """``count`` configurations far apart from each other (maximin), the cheapest first: soon there
    is something to see, and from what it took the prices of the others are known.

    Of sizes up to half of the largest, which cost a quarter of it, that cost no more on the first
    shard than the middle one does on the largest, where there are three such."""
    middle = space.sizes[len(space.sizes) // 2]
    growth = space.shards[-1].samples / space.shards[0].samples
    most_expensive = middle * growth ** (0.5 * BY_SAMPLES)
    sizes = [s for s in space.sizes if 2 * s <= space.sizes[-1] and s <= most_expensive]
    sizes = sizes if len(sizes) >= 3 else list(space.sizes)[:3]
    every = [Configuration(size, values) for size in sizes for values in space.combinations]
    at = np.array([space.place(0, config)[1:] for config in every])
    width = np.ptp(at, axis=0)
    at = (at - at.mean(axis=0)) / np.where(width > 0, width, 1.0)
    chosen = [int(np.argmin((at**2).sum(axis=1)))]
    while len(chosen) < min(count, len(every)):
        apart = ((at[:, None] - at[chosen][None]) ** 2).sum(axis=2).min(axis=1)
        chosen.append(int(np.argmax(apart)))
    return sorted((every[k] for k in chosen), key=lambda config: config.size)


def beside(space: ConfigurationSpace, values: Settings) -> list[Settings]:
    """The combinations that differ in one hyperparameter: by a step, where it is a number."""
    found = []
    for name, choices in space.coordinates.choices:
        here = dict(values)[name]
        numbers = all(not isinstance(c, (str, bool)) for c in choices)
        ordered = sorted(choices) if numbers else list(choices)
        at = ordered.index(here)
        near = ordered[max(at - 1, 0) : at + 2] if numbers else ordered
        for choice in near:
            other = tuple((n, choice if n == name else v) for n, v in values)
            if choice != here and other in space.combinations:
                found.append(other)
    return found


def alike(config: Configuration, trial: Trial) -> bool:
    """Whether their training curves are evaluated at the same steps."""
    return dict(config.hyperparameters).get("batch_size") == trial.hyperparameter("batch_size")


def prices(
    space: ConfigurationSpace,
    known: Sequence[Measurement],
    places: Sequence[tuple[int, Configuration]],
) -> Array:
    """What a trial of each place is expected to cost, in the unit of the reported costs.

    A law in the logs of data, size and hyperparameters, by least squares with a prior (cost as
    m**BY_SAMPLES * size**2)."""
    law = price_law(space, known)
    rows = [_price_row(space, space.shards[i].samples, config) for i, config in places]
    return np.exp(np.array(rows) @ law)


def price(space: ConfigurationSpace, law: Array, samples: float, config: Configuration) -> float:
    """The same of a trial on a shard of any size, by the ``price_law``."""
    return float(np.exp(_price_row(space, samples, config) @ law))


def held_out_price(
    space: ConfigurationSpace,
    known: Sequence[Measurement],
    held_out: Sequence[Shard],
    config: Configuration,
) -> float:
    """What a trial on each ``held_out`` shard is expected to cost: of the ``configuration`` that is
    likely on the largest searched one, grown as best sizes are first expected to grow."""
    law, total = price_law(space, known), 0.0
    for shard in held_out:
        growth = (shard.samples / space.shards[-1].samples) ** SIZE_EXPONENT
        size = max(config.size, round(config.size * growth))
        total += price(space, law, shard.samples, replace(config, size=size))
    return total


def _price_row(space: ConfigurationSpace, samples: float, config: Configuration) -> Array:
    x, z, *others = space.coordinates.place(samples, config)
    return np.array([1.0, x, z + SIZE_EXPONENT * x, *others])


def price_law(space: ConfigurationSpace, known: Sequence[Measurement]) -> Array:
    """Of the log of what trials cost: the coefficients of ``_price_row``. Small models make less
    FLOPs of a second than large ones, and what starts a trial takes no account of its size, so
    seconds grow less with it, and it is less known by how much."""
    by_size, sd_by_size = (1.0, 0.7) if space.timed else (2.0, 0.5)
    prior = np.array([0.0, BY_SAMPLES, by_size, *[0.0] * len(space.names)])
    sd = np.array([30.0, 0.3, sd_by_size, *[0.3] * len(space.names)])
    rows, costs = [], []
    for m in known:
        cost = m.seconds if space.timed else m.flops or m.samples_seen * m.trial.size**2
        if scored(m) and cost:
            config = Configuration(m.trial.size, m.trial.hyperparameters)
            rows.append(_price_row(space, m.trial.samples, config))
            costs.append(log(cost))
    design, noise = np.array(rows).reshape(len(rows), len(prior)), 0.5
    precision = np.diag(1 / sd**2) + design.T @ design / noise**2
    update = design.T @ (np.array(costs) - design @ prior) / noise**2 if rows else 0 * prior
    return np.asarray(prior + np.linalg.solve(precision, update))
