"""The procedure of Hestness et al. 2017, section 3 and the talks about it, as far as it is
documented.

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

from steep.contracts.planner import SearchSpace, TrialRequest
from steep.laws.law import Array
from steep.planners import configurations
from steep.planners.configurations import ConfigurationSpace
from steep.planners.history import play
from steep.records import Measurement, Trial
from steep.stats.searched import Configuration, Tried, lost, scored

ADAPTIVE = True
TURNED = 0.01
"""By how much the validation loss must have risen from its minimum to show overfitting."""
BESIDE = 2
"""Steps of the ladder to both sides of the smallest model that overfits."""


def plan(
    search_space: SearchSpace,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> list[TrialRequest]:
    """Every trial requested and not finished; see ``contracts/planner.py``."""
    space = configurations.of(search_space)
    seed, draws = search_space.spec.seed, search_space.spec.search.draws
    return play(partial(_decide, space, seed, draws), finished)


def _decide(
    space: ConfigurationSpace, seed: int, draws: int, known: tuple[Measurement, ...]
) -> list[TrialRequest]:
    """Of the ends, then of the shards between them, then of further draws of the data."""
    ends = sorted({0, len(space.shards) - 1})
    tried = [configurations.tried_on(shard, known) for shard in space.shards]
    requests = [request for end in ends for request in _end(space, end, tried[end])]
    if requests:
        return requests
    best = [_best(tried[end]) for end in ends]
    if None not in best:
        for i in range(1, len(space.shards) - 1):
            low, high = (np.array(space.place(0, config)[1:]) for config in best if config)
            requests += _between(space, i, tried[i], low, high, [seed, i], draws)
    chosen = {i: config for i, ms in enumerate(tried) if (config := _best(ms)) is not None}
    return requests or configurations.other_draws(space, chosen, known)


# ---------------------------------------------------------------- the ends


def overfits(m: Measurement) -> bool:
    """Whether the validation loss has turned up while the training loss went on falling.

    A trial without a training curve passes."""
    if not m.curve or not scored(m):
        return not m.curve
    low = min(m.curve, key=lambda point: point.validation_loss)
    last = m.curve[-1]
    if last.train_loss is None or low.train_loss is None:
        return True
    turned = last.validation_loss > (1 + TURNED) * low.validation_loss
    return turned and last.train_loss < low.train_loss


def _end(space: ConfigurationSpace, end: int, tried: Tried) -> list[TrialRequest]:
    """The next trials at an end of the shards; none when its best-fit model is found."""
    middle = space.combinations[len(space.combinations) // 2]
    able = None
    for size in space.sizes:
        probe = [m for m in tried.get(Configuration(size, middle), ()) if m.trial.seed == 0]
        if not probe:
            trial = space.trial(space.shards[end], Configuration(size, middle), 0)
            return [TrialRequest(trial, why="the smallest model that overfits")]
        if overfits(probe[0]):
            able = size
            break
    sizes = sorted({config.size for config in configurations.of_shard(space, tried)})
    at = sizes.index(able or space.sizes[-1])
    low, high = max(at - BESIDE, 0), min(at + BESIDE, len(sizes) - 1)
    while True:
        requests = _missing(space, end, sizes[low : high + 1], tried)
        best = _best(tried)
        if requests or best is None:
            return requests
        place = sizes.index(best.size)
        if place >= high and high < len(sizes) - 1:
            high += 1
        elif place <= low and low > 0:
            low -= 1
        else:
            return []


def _missing(
    space: ConfigurationSpace, end: int, sizes: Sequence[int], tried: Tried
) -> list[TrialRequest]:
    configs = [Configuration(size, values) for size in sizes for values in space.combinations]
    return _all_seeds(space, end, configs, tried, "careful search at an end")


def _best(tried: Tried) -> Configuration | None:
    """By the median over seeds; None while nothing has a score."""
    scores = {
        config: float(np.median([m.validation_error for m in ms if scored(m)]))
        for config, ms in tried.items()
        if any(scored(m) for m in ms) and not 2 * sum(map(lost, ms)) > len(ms)
    }
    full = max((len(tried[config]) for config in scores), default=0)
    scores = {config: score for config, score in scores.items() if len(tried[config]) == full}
    return min(scores, key=lambda c: (scores[c], c.size)) if scores else None


# ---------------------------------------------------------------- between


def _between(
    space: ConfigurationSpace,
    shard: int,
    tried: Tried,
    low: Array,
    high: Array,
    seeds: Sequence[int],
    draws: int,
) -> list[TrialRequest]:
    """Candidates about the place between the ends' best; ``low`` and ``high`` are coordinates."""
    first, last = space.shards[0].samples, space.shards[-1].samples
    share = log(space.shards[shard].samples / first) / log(last / first)
    center = (1 - share) * low + share * high
    every = [Configuration(size, values) for size in space.sizes for values in space.combinations]
    at = np.array([space.place(0, config)[1:] for config in every])
    step = np.array([float(np.diff(np.unique(column)).mean() or 1.0) if np.ptp(column) else 1.0
                     for column in at.T])  # fmt: skip
    random = np.random.default_rng(list(seeds))
    places = center + step * np.vstack([0 * center, random.normal(size=(draws, len(center)))])
    nearest = [int(np.argmin((((at - p) / step) ** 2).sum(axis=1))) for p in places]
    configs = [every[k] for k in dict.fromkeys(nearest)]
    return _all_seeds(space, shard, configs, tried, "drawn about the power law between the ends")


def _all_seeds(
    space: ConfigurationSpace, shard: int, configs: Sequence[Configuration], tried: Tried, why: str
) -> list[TrialRequest]:
    return [
        TrialRequest(space.trial(space.shards[shard], config, seed), why=why)
        for config in configs
        for seed in range(space.seeds)
        if seed not in {m.trial.seed for m in tried.get(config, ())}
    ]
