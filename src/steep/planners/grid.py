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

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np

from steep.planners.contract import Problem, Wanted
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
from steep.select import candidates, next_size, select

ADAPTIVE = False
"""Only the extension of an edge, the interpolated hyperparameters and whose seeds confirm depend
on results: the number of trials is known beforehand but for the extensions."""


def plan(
    problem: Problem,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> list[Wanted]:
    """Every trial wanted and not finished; see ``planners/contract.py``."""
    finished = list({m.trial: m for m in finished}.values())  # a result told twice counts once
    done = {m.trial for m in finished}
    wanted = [
        Wanted(trial, why=why)
        for shard in problem.shards
        for trial, why in _shard_trials(problem, shard, finished)
    ]
    return [want for want in wanted if want.trial not in done]


def combinations(problem: Problem) -> tuple[Settings, ...]:
    """Every combination of the grid's hyperparameters, with the fixed ones filled in."""
    names = sorted(problem.spec.search.hyperparameters)
    fixed = dict(problem.recipe) | dict(problem.spec.training)
    return tuple(
        settings(fixed | dict(zip(names, values, strict=True)))
        for values in product(*(problem.spec.search.hyperparameters[n] for n in names))
    )


def _shard_trials(
    problem: Problem, shard: Shard, finished: Sequence[Measurement]
) -> list[tuple[Trial, str]]:
    here = [m for m in finished if _on(m, shard)]
    choices = _choices(problem, shard, finished)
    if choices is None:
        return []
    sizes = list(problem.spec.family.sizes)
    found = _trials(problem, shard, {s: choices(s) for s in sizes}, "grid")
    if not {trial for trial, _ in found} <= {m.trial for m in here}:
        return found
    for _ in range(problem.spec.search.extend if len(sizes) > 1 else 0):  # one size is no ladder
        size = _extension(problem, shard, here, sizes)
        if size is None:
            break
        nearest = min(problem.spec.family.sizes, key=lambda s: abs(np.log(s / size)))
        extra = _trials(problem, shard, {size: choices(nearest)}, "extends the ladder")
        found += extra
        sizes.append(size)
        if not {trial for trial, _ in extra} <= {m.trial for m in here}:
            return found
    return found + _confirming(problem, shard, here)


def _confirming(
    problem: Problem, shard: Shard, here: Sequence[Measurement]
) -> list[tuple[Trial, str]]:
    search = problem.spec.search
    found = select(here, [shard], seeds=search.seeds)
    if not found:
        return []
    size, values = found[0].best.size, found[0].best.hyperparameters
    return [
        (Trial(shard.permutation, shard.items, shard.samples, size, values, seed), "confirms")
        for seed in range(search.seeds, search.confirm)
    ]


def _trials(
    problem: Problem, shard: Shard, choices: Mapping[int, Sequence[Settings]], why: str
) -> list[tuple[Trial, str]]:
    return [
        (Trial(shard.permutation, shard.items, shard.samples, size, values, seed), why)
        for size, combos in choices.items()
        for values in combos
        for seed in range(problem.spec.search.seeds)
    ]


def _choices(
    problem: Problem, shard: Shard, finished: Sequence[Measurement]
) -> Callable[[int], Sequence[Settings]] | None:
    """size -> the hyperparameters to try on this shard; None while its ends are unknown."""
    every = combinations(problem)
    first = [s for s in problem.shards if s.permutation == problem.shards[0].permutation]
    low, high = first[0], first[-1]
    if len(every) == 1 or problem.spec.search.compare_at == "all" or shard in (low, high):
        return lambda size: every
    at_low = _preferred(problem, low, finished, every)
    at_high = _preferred(problem, high, finished, every)
    if at_low is None or at_high is None:
        return None
    share = float(np.log(shard.samples / low.samples) / np.log(high.samples / low.samples))
    return lambda size: (_between(at_low[size], at_high[size], share),)


def _preferred(
    problem: Problem, end: Shard, finished: Sequence[Measurement], every: Sequence[Settings]
) -> dict[int, Settings] | None:
    """Each size's best hyperparameters at one end; None until all of its grid has finished.

    A size whose every combination diverged takes the end's overall best."""
    here = [m for m in finished if _on(m, end)]
    grid = _trials(problem, end, dict.fromkeys(problem.spec.family.sizes, every), "")
    if not {trial for trial, _ in grid} <= {m.trial for m in here}:
        return None
    pool = [c for c in candidates(here) if c.hyperparameters in every]
    overall = min(pool, key=lambda c: c.score).hyperparameters if pool else every[0]

    def best(size: int) -> Settings:
        tried: list[Candidate] = [c for c in pool if c.size == size]
        return min(tried, key=lambda c: c.score).hyperparameters if tried else overall

    return {size: best(size) for size in problem.spec.family.sizes}


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
    problem: Problem, shard: Shard, here: Sequence[Measurement], sizes: Sequence[int]
) -> int | None:
    """The size to add when the best of this shard is at an edge and better beyond noise."""
    tried = [m for m in here if m.trial.size in sizes]
    found: tuple[BestFit, ...] = select(tried, [shard], seeds=problem.spec.search.seeds)
    if not found:
        return None
    best_fit = found[0]
    if best_fit.edge == "high" and best_fit.adequate_edge == "high":
        return next_size(sizes, "high")
    if best_fit.adequate_edge == "low":
        return next_size(sizes, "low", problem.smallest)
    return None


def _on(measurement: Measurement, shard: Shard) -> bool:
    trial = measurement.trial
    return trial.permutation == shard.permutation and trial.samples == shard.samples
