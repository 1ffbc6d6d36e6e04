"""What an adaptive search moves on: the cells (size, hyperparameters) of every shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import log

import numpy as np

from steep.laws.law import Array
from steep.planners.contract import Problem, Wanted
from steep.records import Measurement, Settings, Shard, Status, Trial, settings
from steep.select import next_size

SIZE_EXPONENT = 0.3
"""Of the dial in m, as first expected: parameters as m**0.6 (the paper: 0.5 to 1), on a dial whose
square they follow."""
LOST = (Status.DIVERGED, Status.FAILED, Status.TIMEOUT)


@dataclass(frozen=True)
class Cell:
    size: int
    hyperparameters: Settings


@dataclass(frozen=True)
class Lattice:
    """A problem in a form that can be a key: the cells that may be tried on each shard."""

    shards: tuple[Shard, ...]
    """Of the first draw of the data, ascending."""
    other_draws: tuple[Shard, ...]
    sizes: tuple[int, ...]
    combinations: tuple[Settings, ...]
    names: tuple[str, ...]
    """Of the hyperparameters compared."""
    seeds: int
    extend: int
    smallest: int

    def trial(self, shard: Shard, cell: Cell, seed: int) -> Trial:
        place = (shard.permutation, shard.items, shard.samples)
        return Trial(*place, cell.size, cell.hyperparameters, seed)

    def place(self, shard: int, cell: Cell) -> tuple[float, ...]:
        """Coordinates on the surface: log m, log size about its expectation, hyperparameters."""
        x = log(self.shards[shard].samples / self.shards[0].samples)
        z = log(cell.size / self.sizes[0]) - SIZE_EXPONENT * x
        values = dict(cell.hyperparameters)
        return (x, z, *(self._coordinate(n, values[n]) for n in self.names))

    def _coordinate(self, name: str, value: object) -> float:
        choices = list(dict.fromkeys(dict(c)[name] for c in self.combinations))
        if all(not isinstance(c, (str, bool)) and c > 0 for c in choices):
            return log(float(value))  # type: ignore[arg-type]
        return 1.5 * choices.index(value)  # type: ignore[arg-type]


def of(problem: Problem) -> Lattice:
    search = problem.spec.search
    names = sorted(search.hyperparameters)
    fixed = dict(problem.recipe) | dict(problem.spec.training)
    combinations = tuple(
        settings(fixed | dict(zip(names, values, strict=True)))
        for values in product(*(search.hyperparameters[n] for n in names))
    )
    draw = problem.shards[0].permutation
    ordered = sorted(problem.shards, key=lambda s: s.samples)
    return Lattice(
        tuple(s for s in ordered if s.permutation == draw),
        tuple(s for s in ordered if s.permutation != draw),
        tuple(problem.spec.family.sizes),
        tuple(dict.fromkeys(combinations)),
        tuple(n for n in names if len(search.hyperparameters[n]) > 1),
        search.seeds,
        search.extend,
        problem.smallest,
    )


Tried = dict[Cell, tuple[Measurement, ...]]
"""What is known of one shard, by cell."""


def scored(m: Measurement) -> bool:
    ended = m.status in (Status.COMPLETE, Status.CAPPED)
    return ended and m.validation_error is not None and m.validation_error > 0


def lost(m: Measurement) -> bool:
    return m.status in LOST


def tried_on(shard: Shard, known: Sequence[Measurement]) -> Tried:
    """The measurements of one shard, by cell."""
    place = (shard.permutation, shard.samples)
    found: dict[Cell, list[Measurement]] = {}
    for m in known:
        if (m.trial.permutation, m.trial.samples) == place:
            found.setdefault(Cell(m.trial.size, m.trial.hyperparameters), []).append(m)
    return {cell: tuple(ms) for cell, ms in found.items()}


def other_draws(
    space: Lattice, chosen: Mapping[int, Cell], known: Sequence[Measurement]
) -> list[Wanted]:
    """Further draws of the data take what was chosen, by shard, on the first."""
    if not chosen:
        return []
    done = {m.trial for m in known}
    found = []
    for shard in space.other_draws:
        near = min(chosen, key=lambda i: abs(log(space.shards[i].samples / shard.samples)))
        trials = [space.trial(shard, chosen[near], seed) for seed in range(space.seeds)]
        found += [Wanted(t, why="another draw of the data") for t in trials if t not in done]
    return found


def cells(space: Lattice, tried: Mapping[Cell, Sequence[Measurement]]) -> list[Cell]:
    """The cells of one shard: those of the ladder, and a size more where its edge did best."""
    sizes = list(space.sizes)
    scores = {
        cell: float(np.mean([m.validation_error for m in ms if scored(m)]))
        for cell, ms in tried.items()
        if any(scored(m) for m in ms)
    }
    for _ in range(space.extend):
        if not scores:
            break
        best = min(scores, key=lambda c: (scores[c], c.size)).size
        more = None
        if best == max(sizes):
            more = next_size(sizes, "high")
        elif best == min(sizes):
            more = next_size(sizes, "low", space.smallest)
        if more is None:
            break
        sizes.append(more)
    return [Cell(size, values) for size in sorted(sizes) for values in space.combinations]


def spread(space: Lattice, count: int) -> list[Cell]:
    """``count`` cells far apart from each other, the middle one first (maximin)."""
    every = [Cell(size, values) for size in space.sizes for values in space.combinations]
    at = np.array([space.place(0, cell)[1:] for cell in every])
    width = np.ptp(at, axis=0)
    at = (at - at.mean(axis=0)) / np.where(width > 0, width, 1.0)
    chosen = [int(np.argmin((at**2).sum(axis=1)))]
    while len(chosen) < min(count, len(every)):
        apart = ((at[:, None] - at[chosen][None]) ** 2).sum(axis=2).min(axis=1)
        chosen.append(int(np.argmax(apart)))
    return [every[k] for k in chosen]


def alike(cell: Cell, trial: Trial) -> bool:
    """Whether their training curves are evaluated at the same steps."""
    return dict(cell.hyperparameters).get("batch_size") == trial.hyperparameter("batch_size")


def prices(
    space: Lattice, known: Sequence[Measurement], places: Sequence[tuple[int, Cell]]
) -> Array:
    """What a trial of each place is expected to cost, in the unit in which costs are told.

    A law in the logs of data, size and hyperparameters, by least squares with a prior (cost as
    m**0.8 * size**2)."""
    prior = np.array([0.0, 0.8, 2.0, *[0.0] * len(space.names)])
    sd = np.array([30.0, 0.3, 0.5, *[0.3] * len(space.names)])
    samples = [s.samples for s in space.shards]

    def row(shard: int, cell: Cell) -> list[float]:
        x, z, *others = space.place(shard, cell)
        return [1.0, x, z + SIZE_EXPONENT * x, *others]

    rows, costs = [], []
    for m in known:
        cost = m.flops or m.samples_seen * m.trial.size**2
        if scored(m) and cost and m.trial.samples in samples:
            cell = Cell(m.trial.size, m.trial.hyperparameters)
            rows.append(row(samples.index(m.trial.samples), cell))
            costs.append(log(cost))
    design, noise = np.array(rows).reshape(len(rows), len(prior)), 0.5
    precision = np.diag(1 / sd**2) + design.T @ design / noise**2
    told = design.T @ (np.array(costs) - design @ prior) / noise**2 if rows else 0 * prior
    law = prior + np.linalg.solve(precision, told)
    expected = np.array([row(i, cell) for i, cell in places]) @ law
    return np.exp(expected)
