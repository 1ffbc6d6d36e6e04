"""Any of Optuna's samplers, inside each shard: for those who trust theirs. Needs steep[optuna].

``search.sampler`` names it as Optuna does, e.g. TPESampler, GPSampler, CmaEsSampler; each shard
gets ``search.draws`` suggestions, each trained with all seeds and scored by their median. Only the
sampler is used. A suggestion depends on nothing but the study's seed, its number and the scores of
the earlier ones, which are given to a fresh study in memory each time; one that was made before
counts as made again. Shards share no information.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from steep.base.extras import need
from steep.contracts.planner import SearchSpace, TrialRequest
from steep.planners import configurations
from steep.planners.configurations import ConfigurationSpace
from steep.records import Measurement, Status, Trial, Value
from steep.spec.load import QuestionError
from steep.stats.searched import Configuration, Tried, scored

ADAPTIVE = True
WORST = 1.0
"""A candidate without a score, e.g. diverged, is this much worse than the worst in log error."""


def plan(
    search_space: SearchSpace,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> list[TrialRequest]:
    """Every trial requested and not finished; see ``contracts/planner.py``.

    Raises QuestionError for a sampler that there is not; MissingExtra without Optuna."""
    space, search = configurations.of(search_space), search_space.spec.search
    ended = list({m.trial: m for m in finished if m.status is not Status.STOPPED}.values())
    requests: list[TrialRequest] = []
    chosen: dict[int, Configuration] = {}
    for i, shard in enumerate(space.shards):
        tried = configurations.tried_on(shard, ended)
        seed = [search_space.spec.seed, shard.items]
        config = _next(space, tried, search.sampler, seed, search.draws)
        if config is None:
            scores = _scores(space, tried)
            chosen[i] = min(scores, key=lambda c: (scores[c], c.size))
            continue
        done = {m.trial.seed for m in tried.get(config, ())}
        trials = [space.trial(shard, config, s) for s in range(space.seeds) if s not in done]
        requests += [TrialRequest(trial, why=f"suggested by {search.sampler}") for trial in trials]
    return requests or configurations.other_draws(space, chosen, ended)


def _next(
    space: ConfigurationSpace, tried: Tried, sampler: str, seed: Sequence[int], draws: int
) -> Configuration | None:
    """The first suggestion that is not yet measured; None after the last one."""
    optuna = need("optuna")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    choices = _choices(space)
    distributions: dict[str, Any] = {
        name: optuna.distributions.IntDistribution(0, len(values) - 1)
        for name, values in choices.items()
        if len(values) > 1
    }
    scores = _scores(space, tried)
    evaluated: list[tuple[dict[str, Any], float]] = []
    for k in range(draws):
        study = optuna.create_study(sampler=_sampler(optuna, sampler, [*seed, k]))
        for params, value in evaluated:
            study.add_trial(
                optuna.create_trial(params=params, distributions=distributions, value=value)
            )
        params = study.ask(distributions).params
        config = _config(space, choices, params)
        if config not in scores:
            return config
        evaluated.append((params, scores[config]))
    return None


def _sampler(optuna: Any, name: str, seed: Sequence[int]) -> Any:
    kind: Any = getattr(optuna.samplers, name, None)
    if not callable(kind) or "seed" not in inspect.signature(kind).parameters:
        raise QuestionError(
            f"search.sampler: Optuna has no sampler {name!r} that takes a seed; "
            "there are TPESampler, GPSampler, CmaEsSampler, RandomSampler and others"
        )
    return kind(seed=int(np.random.SeedSequence(list(seed)).generate_state(1)[0]))


def _choices(space: ConfigurationSpace) -> dict[str, list[Value]]:
    """What is chosen from, by name, in order; a sampler sees the numbers of the choices."""
    found: dict[str, list[Value]] = {"size": list(space.sizes)}
    for name in space.names:
        values = {dict(c)[name] for c in space.combinations}
        found[f"hyperparameter {name}"] = sorted(values, key=lambda v: (isinstance(v, str), v))
    return found


def _config(
    space: ConfigurationSpace, choices: dict[str, list[Value]], params: dict[str, Any]
) -> Configuration:
    values = {name: choices[name][params.get(name, 0)] for name in choices}
    return next(
        Configuration(size, combination)
        for size in space.sizes
        for combination in space.combinations
        if size == values["size"]
        and all(dict(combination)[n] == values[f"hyperparameter {n}"] for n in space.names)
    )


def _scores(space: ConfigurationSpace, tried: Tried) -> dict[Configuration, float]:
    """Median log error of every candidate whose seeds have all ended."""
    logs = {
        config: [np.log(m.validation_error or 1.0) if scored(m) else np.inf for m in ms]
        for config, ms in tried.items()
        if len(ms) >= space.seeds
    }
    scores = {config: float(np.median(values)) for config, values in logs.items()}
    worst = max((s for s in scores.values() if np.isfinite(s)), default=0.0) + WORST
    return {config: s if np.isfinite(s) else worst for config, s in scores.items()}
