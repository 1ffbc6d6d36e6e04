"""The procedure of Hestness et al. 2017, section 3 and the talks about it, as far as it is told.

1. At the smallest and the largest shard: the smallest model that overfits, size by size.
2. A careful search about it there: the sizes two steps of the ladder to both sides with every
   combination of hyperparameters, farther while the best lies at the end of what was tried.
3. Between them: size and hyperparameters interpolated between the two best, on a power law (a line
   in logs), and ``search.draws`` Monte Carlo draws about that place, a step of the ladder (of the
   choices) wide, by a generator that the study's seed sets.

Every candidate is scored by the median over seeds of its minimum validation error. What is drawn is
taken to the nearest size of the ladder and the nearest of the given choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import log

import numpy as np

from steep.contracts.planner import Problem, Wanted
from steep.laws.law import Array
from steep.planners import lattice
from steep.planners.history import play
from steep.planners.lattice import Lattice
from steep.records import Measurement, Trial
from steep.stats.searched import Cell, Tried, lost, scored

ADAPTIVE = True
TURNED = 0.01
"""By how much the validation loss must have risen from its minimum to show overfitting."""
BESIDE = 2
"""Steps of the ladder to both sides of the smallest model that overfits."""


def plan(
    problem: Problem,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> list[Wanted]:
    """Every trial wanted and not finished; see ``contracts/planner.py``."""
    space = lattice.of(problem)
    seed, draws = problem.spec.seed, problem.spec.search.draws
    return play(partial(_decide, space, seed, draws), finished)


def _decide(space: Lattice, seed: int, draws: int, known: tuple[Measurement, ...]) -> list[Wanted]:
    """Of the ends, then of the shards between them, then of further draws of the data."""
    ends = sorted({0, len(space.shards) - 1})
    tried = [lattice.tried_on(shard, known) for shard in space.shards]
    wanted = [want for end in ends for want in _end(space, end, tried[end])]
    if wanted:
        return wanted
    best = [_best(tried[end]) for end in ends]
    if None not in best:
        for i in range(1, len(space.shards) - 1):
            low, high = (np.array(space.place(0, cell)[1:]) for cell in best if cell)
            wanted += _between(space, i, tried[i], low, high, [seed, i], draws)
    chosen = {i: cell for i, ms in enumerate(tried) if (cell := _best(ms)) is not None}
    return wanted or lattice.other_draws(space, chosen, known)


# ---------------------------------------------------------------- the ends


def overfits(m: Measurement) -> bool:
    """Whether the validation loss has turned up while the training loss went on falling.

    A trial without a training curve cannot tell, and passes."""
    if not m.curve or not scored(m):
        return not m.curve
    low = min(m.curve, key=lambda point: point.validation_loss)
    last = m.curve[-1]
    if last.train_loss is None or low.train_loss is None:
        return True
    turned = last.validation_loss > (1 + TURNED) * low.validation_loss
    return turned and last.train_loss < low.train_loss


def _end(space: Lattice, end: int, tried: Tried) -> list[Wanted]:
    """The next trials at an end of the shards; none when its best-fit model is found."""
    middle = space.combinations[len(space.combinations) // 2]
    able = None
    for size in space.sizes:
        probe = [m for m in tried.get(Cell(size, middle), ()) if m.trial.seed == 0]
        if not probe:
            trial = space.trial(space.shards[end], Cell(size, middle), 0)
            return [Wanted(trial, why="the smallest model that overfits")]
        if overfits(probe[0]):
            able = size
            break
    sizes = sorted({cell.size for cell in lattice.cells(space, tried)})
    at = sizes.index(able or space.sizes[-1])
    low, high = max(at - BESIDE, 0), min(at + BESIDE, len(sizes) - 1)
    while True:
        wanted = _missing(space, end, sizes[low : high + 1], tried)
        best = _best(tried)
        if wanted or best is None:
            return wanted
        place = sizes.index(best.size)
        if place >= high and high < len(sizes) - 1:
            high += 1
        elif place <= low and low > 0:
            low -= 1
        else:
            return []


def _missing(space: Lattice, end: int, sizes: Sequence[int], tried: Tried) -> list[Wanted]:
    cells = [Cell(size, values) for size in sizes for values in space.combinations]
    return _all_seeds(space, end, cells, tried, "careful search at an end")


def _best(tried: Tried) -> Cell | None:
    """By the median over seeds; None while nothing has a score."""
    scores = {
        cell: float(np.median([m.validation_error for m in ms if scored(m)]))
        for cell, ms in tried.items()
        if any(scored(m) for m in ms) and not 2 * sum(map(lost, ms)) > len(ms)
    }
    full = max((len(tried[cell]) for cell in scores), default=0)
    scores = {cell: score for cell, score in scores.items() if len(tried[cell]) == full}
    return min(scores, key=lambda c: (scores[c], c.size)) if scores else None


# ---------------------------------------------------------------- between


def _between(
    space: Lattice,
    shard: int,
    tried: Tried,
    low: Array,
    high: Array,
    seeds: Sequence[int],
    draws: int,
) -> list[Wanted]:
    """Candidates about the place between the ends' best; ``low`` and ``high`` are coordinates."""
    first, last = space.shards[0].samples, space.shards[-1].samples
    share = log(space.shards[shard].samples / first) / log(last / first)
    center = (1 - share) * low + share * high
    every = [Cell(size, values) for size in space.sizes for values in space.combinations]
    at = np.array([space.place(0, cell)[1:] for cell in every])
    step = np.array([float(np.diff(np.unique(column)).mean() or 1.0) if np.ptp(column) else 1.0
                     for column in at.T])  # fmt: skip
    random = np.random.default_rng(list(seeds))
    places = center + step * np.vstack([0 * center, random.normal(size=(draws, len(center)))])
    nearest = [int(np.argmin((((at - p) / step) ** 2).sum(axis=1))) for p in places]
    cells = [every[k] for k in dict.fromkeys(nearest)]
    return _all_seeds(space, shard, cells, tried, "drawn about the power law between the ends")


def _all_seeds(
    space: Lattice, shard: int, cells: Sequence[Cell], tried: Tried, why: str
) -> list[Wanted]:
    return [
        Wanted(space.trial(space.shards[shard], cell, seed), why=why)
        for cell in cells
        for seed in range(space.seeds)
        if seed not in {m.trial.seed for m in tried.get(cell, ())}
    ]
