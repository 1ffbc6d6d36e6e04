"""What searches are compared with: each spends what it is given, shard by shard, as is usual.

All of them see the shards in turn and spend one seed a candidate: at the same cost breadth does
more for them than repeats. A study asks for more: every shard's choice with all its seeds, as
``frugal`` delivers it. So random search and successive halving come a second time, ``confirmed``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from steep.contracts.planner import SearchSpace, TrialRequest
from steep.planners import configurations
from steep.planners.configurations import ConfigurationSpace
from steep.records import Measurement, Shard, Status, Trial
from steep.stats.searched import Configuration

Measure = Callable[[TrialRequest], Measurement]
Finish = Callable[[list[Measurement]], list[Measurement]]
"""All that was trained in the end, from what a search trained."""
ETA = 3


def as_found(found: list[Measurement]) -> list[Measurement]:
    return found


def confirmed(measure: Measure, seeds: int) -> Finish:
    """With the other seeds of each shard's lowest error."""

    def finish(found: list[Measurement]) -> list[Measurement]:
        ended = [m for m in found if m.status is not Status.STOPPED]
        shards = sorted({m.trial.samples for m in ended})
        best = [min((m for m in ended if m.trial.samples == s), key=_error).trial for s in shards]
        return found + [
            measure(TrialRequest(replace(trial, seed=k))) for trial in best for k in range(1, seeds)
        ]

    return finish


def cost(found: list[Measurement]) -> float:
    return sum(m.flops or 0.0 for m in found)


def configs(space: ConfigurationSpace) -> list[Configuration]:
    return [Configuration(size, values) for size in space.sizes for values in space.combinations]


def random_search(
    search_space: SearchSpace, measure: Measure, budget: float, seed: int, finish: Finish = as_found
) -> list[Measurement]:
    """Configurations in random order, one on each shard in turn, to the end, until the budget is
    spent."""
    space, random = configurations.of(search_space), np.random.default_rng(seed)
    order = [random.permutation(len(configs(space))) for _ in space.shards]
    found: list[Measurement] = []
    for k in range(len(configs(space))):
        more = [
            measure(TrialRequest(space.trial(shard, configs(space)[order[i][k]], 0)))
            for i, shard in enumerate(space.shards)
        ]
        if k and cost(finish(found + more)) > budget:
            break
        found += more
    return finish(found)


def successive_halving(
    search_space: SearchSpace, measure: Measure, budget: float, seed: int, finish: Finish = as_found
) -> list[Measurement]:
    """On each shard n random configurations, the best third at a ninth, and at a third, of a usual
    trial's steps, the last third to the end; n as large as the budget allows."""
    space = configurations.of(search_space)
    kept: list[Measurement] = []
    for n in range(1, len(configs(space)) + 1):
        random = np.random.default_rng(seed)
        found = finish(
            [m for shard in space.shards for m in _bracket(space, shard, measure, n, random)]
        )
        if kept and cost(found) > budget:
            break
        kept = found
    return kept


def _bracket(
    space: ConfigurationSpace, shard: Shard, measure: Measure, n: int, random: np.random.Generator
) -> list[Measurement]:
    order = random.permutation(len(configs(space)))[:n]
    trials = [space.trial(shard, configs(space)[k], 0) for k in order]
    usual = measure(
        TrialRequest(trials[0])
    ).steps  # for nothing: it may know how long a trial takes
    found: dict[Trial, Measurement] = {}
    for rung in (usual // ETA**2, usual // ETA, None):
        for trial in trials:
            found[trial] = measure(TrialRequest(trial, rung))
        trials = sorted(trials, key=lambda t: _error(found[t]))[: math.ceil(len(trials) / ETA)]
        if rung == usual // ETA and len(trials) == 1:
            found[trials[0]] = measure(TrialRequest(trials[0]))
            break
    return list(found.values())


def _error(m: Measurement) -> float:
    return math.inf if m.validation_error is None else m.validation_error


def optuna_search(
    search_space: SearchSpace, measure: Measure, budget: float, seed: int, pruner: bool
) -> list[Measurement]:
    """Optuna's TPE on each shard, with its SuccessiveHalvingPruner or none: one trial on each shard
    in turn until the budget is spent."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = configurations.of(search_space)
    halving = optuna.pruners.SuccessiveHalvingPruner(reduction_factor=ETA)
    studies = [
        optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed + i),
            pruner=halving if pruner else optuna.pruners.NopPruner(),
        )
        for i in range(len(space.shards))
    ]
    found: dict[Trial, Measurement] = {}
    for k in range(3 * len(configs(space))):
        before = dict(found)
        for shard, study in zip(space.shards, studies, strict=True):
            _one(space, shard, study, measure, found)
        if k and cost(list(found.values())) > budget:
            return list(before.values())
    return list(found.values())


def _one(
    space: ConfigurationSpace,
    shard: Shard,
    study: Any,
    measure: Measure,
    found: dict[Trial, Measurement],
) -> None:
    asked = study.ask()
    size = space.sizes[asked.suggest_int("size", 0, len(space.sizes) - 1)]
    values = space.combinations[asked.suggest_int("values", 0, len(space.combinations) - 1)]
    trial = space.trial(shard, Configuration(size, values), 0)
    whole = measure(TrialRequest(trial))
    if found.get(trial) == whole:  # a repeat costs nothing
        study.tell(asked, _error(whole))
        return
    for k, point in enumerate(whole.curve, 1):
        asked.report(point.validation_error, k)
        if asked.should_prune() and k < len(whole.curve):
            stopped = measure(TrialRequest(trial, point.step))
            before = found.get(trial)
            if before is None or before.steps < stopped.steps:
                found[trial] = stopped
            import optuna

            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
            return
    if whole.status is Status.DIVERGED:
        study.tell(asked, 1e3)
    else:
        study.tell(asked, _error(whole))
    found[trial] = whole
