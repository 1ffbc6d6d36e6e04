"""Searches in worlds whose best-fit models are known: no store, no torch, milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from steep.contracts.planner import Planner, SearchSpace
from steep.planners.history import seen
from steep.records import Evaluation, Measurement, Shard, Status, Trial, settings
from steep.spec.load import from_values
from steep.trainers.synthetic import Options, Truth, parameters_of

SIZES = (2, 3, 5, 8, 12, 20, 32)
RATES = (0.02, 0.06, 0.2, 0.6)
SAMPLES = (125, 250, 500, 1000, 2000, 4000)
LAST = 182
"""Steps of a whole trial; its best evaluation is at 100."""

Excess = Callable[[float, int, float], float]
"""(samples, size, rate) -> log error above the best on that shard."""


def search_space(
    planner: str = "frugal",
    *,
    sizes: Sequence[int] = SIZES,
    rates: Sequence[float] = RATES,
    samples: Sequence[int] = SAMPLES,
    permutations: int = 1,
    smallest: int = 1,
    recipe: Mapping[str, Any] = MappingProxyType({"momentum": 0.9}),
    **search: Any,
) -> SearchSpace:
    values = {
        "study": "s",
        "domain": {"name": "external", "items": 10},
        "family": {"name": "none", "sizes": list(sizes)},
        "shards": {"smallest": 1},
        "search": {"planner": planner, "hyperparameters": {"learning_rate": list(rates)}, **search},
        "trainer": {"name": "replay", "table": "none.csv"},
    }
    shards = [Shard(p, m, float(m), "items") for p in range(permutations) for m in samples]
    return SearchSpace(from_values(values).spec, tuple(shards), settings(recipe), smallest)


def rate(trial: Trial) -> float:
    return float(dict(trial.hyperparameters)["learning_rate"])


@dataclass(frozen=True)
class World:
    """Every trial's outcome: a law, an excess above it, the noise of seeds, a training curve."""

    excess: Excess
    seed: int = 0
    noise: float = 0.015
    worse: float = 0.0
    """Standard deviation over seeds that a trial has more, per log error of excess."""
    a: float = 4.0
    beta_g: float = -0.3
    diverges_above: float = math.inf

    def error(self, samples: float, size: int, at_rate: float) -> float:
        return self.a * samples**self.beta_g * math.exp(self.excess(samples, size, at_rate))

    def measure(self, trial: Trial) -> Measurement:
        at_rate = rate(trial)
        key = [self.seed, trial.items, trial.size, round(1e4 * at_rate), trial.seed]
        random = np.random.default_rng([*key, trial.permutation])
        error = self.error(trial.samples, trial.size, at_rate)
        more = self.worse * self.excess(trial.samples, trial.size, at_rate)
        error *= math.exp(math.hypot(self.noise, more) * random.normal())
        parameters = parameters_of(trial.size)
        each = 10 * trial.samples / 100
        whole = Measurement(
            trial,
            Status.COMPLETE,
            validation_error=error,
            parameters=parameters,
            parameters_without_embeddings=parameters,
            best_step=100,
            steps=LAST,
            samples_seen=each * LAST,
            flops=6.0 * parameters * each * LAST,
            curve=tuple(_point(step, each, error) for step in _STEPS),
        )
        if at_rate > self.diverges_above:
            return replace(whole, status=Status.DIVERGED, validation_error=None, curve=())
        return whole


_STEPS = (*(round(100 / 1.35**k) for k in range(9, -1, -1)), 135, LAST)


def _point(step: int, each: float, error: float) -> Evaluation:
    now = error * (1 + 0.2 * math.log(100 / step) ** 2)
    train = error * (1 - 0.2 * math.log(step / 10))
    return Evaluation(step, each * step, 0.01 * step, train, now, now)


def bowl(
    beta_p: float = 0.6, sigma: float = 30.0, best_rate: float = 0.1, **options: float
) -> Excess:
    """A best-fit model of sigma * m**beta_p parameters (width squared times 100), one best rate."""
    truth = Truth(Options(beta_p=beta_p, sigma=sigma, best_rate=best_rate, **options))

    def excess(samples: float, size: int, at_rate: float) -> float:
        error = truth.error(samples, parameters_of(size), at_rate)
        return math.log(error / truth.composite(samples))

    return excess


def plateau(adequate: Callable[[float], float], best_rate: float = 0.1) -> Excess:
    """Every size from ``adequate(m)`` on is as good as any; smaller ones lose."""

    def excess(samples: float, size: int, at_rate: float) -> float:
        short = max(0.0, math.log(adequate(samples) / size))
        return 0.4 * short + 0.1 * math.log(at_rate / best_rate) ** 2

    return excess


def search(
    p: SearchSpace, plan: Planner, world: World, stop_after: int | None = None
) -> dict[Trial, Measurement]:
    """Every result of a search; with ``stop_after``, asked again after so many results each time,
    as if it had been killed there."""
    found: dict[Trial, Measurement] = {}
    for _ in range(2000):
        requests = plan(p, tuple(found.values()), (), None)
        if not requests:
            return found
        for request in requests[:stop_after]:
            found[request.trial] = seen(world.measure(request.trial), request.up_to_steps)
    raise AssertionError("the search does not end")


def whole_grid(p: SearchSpace, world: World) -> float:
    """FLOPs of every size with every rate on every shard, all seeds."""
    cells = [(s, size, r) for s in p.shards for size in p.spec.family.sizes for r in rates_of(p)]
    trials = [
        Trial(s.permutation, s.items, s.samples, size, settings({"learning_rate": r}), k)
        for s, size, r in cells
        for k in range(p.spec.search.seeds)
    ]
    return sum(world.measure(t).flops or 0.0 for t in trials)


def rates_of(p: SearchSpace) -> list[float]:
    return [float(r) for r in p.spec.search.hyperparameters["learning_rate"]]
