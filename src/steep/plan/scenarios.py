"""How a study may turn out: scenarios in which its search is played before, and while, it runs.

Nobody knows beforehand which model is best. So many scenarios are drawn: power laws with a best
size that may lie inside the ladder, below it or beyond it and grows with data, best hyperparameters
anywhere among the choices, steep or flat around them. Each is weighed by how well it agrees with
the trials that have finished, and those taken spread over the best size, which decides what a
search costs. Once more trials have finished, scenarios are draws of the surface that these show
(``stats/searched.py``): the one from which the search itself decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from scipy.special import ndtri

from steep.contracts.planner import SearchSpace
from steep.laws.law import Array
from steep.planners import configurations
from steep.planners.configurations import ConfigurationSpace
from steep.planners.grid import combinations
from steep.records import Measurement, Trial, Value
from steep.select import next_size
from steep.stats import rungs
from steep.stats.searched import Configuration, Tried, scored, surface_of

FEWEST = 12
"""Finished trials, of two sizes or more, from which a surface is drawn: of fewer, a draw may have
its best model anywhere."""
CANDIDATES = 1500
"""Scenarios that are weighed by the trials of the pilot, for each that is taken,"""
MOST_WEIGHED = 4
"""up to so many times: to weigh 6,000 takes a second;"""
LIKELY = 60
"""of which so many are taken by weight, and of these those at even steps through what their best
models take;"""
MOST_CHOICES = 30
"""Combinations of hyperparameters that are looked at for that."""
ADEQUATE = 0.01
"""In log error above the best of its shard: a model that the search would choose, if smaller."""
COUNT_AS = 30
"""and as how many of them those must count that carry the weight (the effective sample size)."""
MISFIT = 0.04
"""Standard deviation of a trial's log error about the smooth scenario that is nearest to all."""
SLOPE = (0.05, 0.5)
"""Of log error against log data. These ranges are about those of the published studies, to each of
which such a surface was fitted (``make bench-surfaces``)."""
LOWEST_BEST, MOSTLY, ELSEWHERE = 0.25, 0.6, 0.1
"""Where on the ladder, in logs, the best size of the largest shard is at least: above ``MOSTLY`` in
all 16 published studies, and so below it in at most such a share of others."""
GROWS = (0.1, 0.9)
"""Of the log of the best size against log data."""
TOO_SMALL, TOO_LARGE = (0.002, 0.15), (0.002, 0.1)
"""Log error by which a model loses, by the square of the log of its size over the best;"""
PLATEAU = 0.7
"""and how often larger ones lose nothing: in 11 of the 16 the largest is best on the smallest
shard."""
BENDS = (0.004, 0.15)
"""The same of a learning rate, and other numbers,"""
DRIFTS = (0.6, 0.3)
"""and how far the best one moves by size and by data: standard deviations of its slope, in logs."""
CLIFF, LOST = (1.2, 16.0), (0.5, 2.4)
"""How many times the best learning rate trials fail at, on all shards alike, and by how much log
error then."""
ROUGH, NOISE = (0.005, 0.05), (0.004, 0.06)
"""Standard deviation of a configuration's log error about the smooth surface, and of a seed's about
that."""
MOST_CONFIGURATIONS = 900
"""Larger search spaces are drawn from power laws: a draw of so large a surface takes minutes."""


Turn = Callable[[Value, float, float], float]
"""(value of a hyperparameter, log size, log data about their middle) -> excess in log error."""


@dataclass(frozen=True)
class Scenario:
    """What trials bring in it: noise-free error, and the noise of seeds in its logarithm."""

    error: Callable[[Trial], float]
    noise: float


def scenarios(
    search_space: SearchSpace, finished: Sequence[Measurement], count: int, seed: int = 0
) -> list[Scenario]:
    """``count`` scenarios that agree with what has ``finished``."""
    random = np.random.default_rng(seed)
    scored_trials = [m for m in finished if scored(m)]
    if len(scored_trials) >= FEWEST and len({m.trial.size for m in scored_trials}) > 1:
        drawn = _drawn(search_space, finished, count, random)
        if drawn:
            return drawn
    return _from_candidates(search_space, scored_trials, count, random)


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return math.exp(random.uniform(math.log(low), math.log(high)))


@dataclass(frozen=True)
class _Candidate:
    """A scenario whose level is still open."""

    shape: Callable[[Trial], float]
    """Log error, but for the level."""
    best: float
    """Logarithm of the best size at the largest shard."""
    noise: float


def _from_candidates(
    search_space: SearchSpace,
    finished: Sequence[Measurement],
    count: int,
    random: np.random.Generator,
) -> list[Scenario]:
    """Scenarios at even steps through what their best models take, by weight."""
    weighed = CANDIDATES * min(count, MOST_WEIGHED)
    many = sorted((_one(search_space, random) for _ in range(weighed)), key=lambda one: one.best)
    if not finished:
        levels, weights = np.zeros(weighed), np.ones(weighed)
    else:
        logs = np.log([max(m.validation_error or 0.0, 1e-9) for m in finished])
        off = logs - np.array([[one.shape(m.trial) for m in finished] for one in many])
        levels = off.mean(axis=1)
        variance = MISFIT**2 + np.array([one.noise for one in many]) ** 2
        squares = ((off - levels[:, None]) ** 2).sum(axis=1) / variance
        weights = _tempered(-squares / 2 - (len(logs) - 1) / 2 * np.log(variance))
    likely = [many[i] for i in _even_steps(weights, LIKELY)]
    place = {id(one): i for i, one in enumerate(many)}
    likely.sort(key=lambda one: _price(search_space, one))
    taken = [likely[i] for i in _even_steps(np.ones(LIKELY), count)]
    return [_at_level(one, float(levels[place[id(one)]])) for one in taken]


def _even_steps(weights: Array, count: int) -> list[int]:
    up_to = np.cumsum(weights) / weights.sum()
    return [int(np.searchsorted(up_to, (k + 0.5) / count)) for k in range(count)]


def _price(search_space: SearchSpace, one: _Candidate) -> float:
    """What a trial of the best model of each shard takes together, about: of the smallest size that
    loses no more than ``ADEQUATE`` to the best."""
    total, choices = 0.0, combinations(search_space)
    choices = choices[:: math.ceil(len(choices) / MOST_CHOICES)]
    for shard in search_space.shards:
        at = Trial(shard.permutation, shard.items, shard.samples, 1, (), 0)
        lowest = {
            size: min(one.shape(replace(at, size=size, hyperparameters=v)) for v in choices)
            for size in sorted(search_space.spec.family.sizes)
        }
        most = min(lowest.values()) + ADEQUATE
        size = next(size for size, error in lowest.items() if error <= most)
        total += shard.samples**configurations.BY_SAMPLES * size**2
    return total


def _tempered(log_likelihood: Array) -> Array:
    """Weights of scenarios: the likelihood, flattened until as many as ``COUNT_AS`` carry it
    (annealed importance weights). None of them is the true one, and where one or two carried all,
    a trial more had changed the forecast sixfold."""
    power = 1.0
    while True:
        weights = np.exp(power * (log_likelihood - log_likelihood.max()))
        if weights.sum() ** 2 / (weights**2).sum() >= COUNT_AS:
            return weights
        power *= 0.9


def _at_level(one: _Candidate, level: float) -> Scenario:
    return Scenario(lambda trial: math.exp(level + one.shape(trial)), one.noise)


def _one(search_space: SearchSpace, random: np.random.Generator) -> _Candidate:
    """A power law with a best size that may lie anywhere on the ladder or a step beyond it."""
    sizes = np.log(search_space.spec.family.sizes)
    samples = np.log([shard.samples for shard in search_space.shards])
    middle, middle_size, span = float(samples.mean()), float(sizes.mean()), float(np.ptp(sizes))
    step = span / max(len(sizes) - 1, 1) or math.log(2)
    slope, grows = random.uniform(*SLOPE), random.uniform(*GROWS)
    lowest = LOWEST_BEST if random.uniform() < ELSEWHERE else MOSTLY
    top = random.uniform(sizes[0] + lowest * span, sizes[-1] + step)
    best = top - grows * (float(samples.max()) - middle)
    too_small, too_large = _log_uniform(random, *TOO_SMALL), _log_uniform(random, *TOO_LARGE)
    too_large *= random.uniform() >= PLATEAU
    rough, key = _log_uniform(random, *ROUGH), int(random.integers(2**32))
    turns = _drawn_choices(search_space.spec.search.hyperparameters, random)

    def shape(trial: Trial) -> float:
        x = math.log(trial.samples) - middle
        size = math.log(trial.size)
        off = size - best - grows * x
        excess = (too_small if off < 0 else too_large) * off**2
        for name, value in trial.hyperparameters:
            if name in turns:
                excess += turns[name](value, size - middle_size, x)
        own = crc32(repr((key, trial.samples, trial.size, trial.hyperparameters)).encode())
        return -slope * x + min(excess, 3.0) + rough * _normal(own)

    return _Candidate(shape, top, _log_uniform(random, *NOISE))


def _normal(key: int) -> float:
    """A standard normal number, the same for the same key of 32 bits."""
    return float(ndtri((key + 0.5) / 2**32))


def _drawn_choices(
    choices: Mapping[str, Sequence[Value]], random: np.random.Generator
) -> dict[str, Turn]:
    """By hyperparameter: the excess in log error of a value at log sizes and log data about their
    middle. Numbers have one best place, anywhere among the choices; of words one is best."""
    found: dict[str, Turn] = {}
    for name, values in choices.items():
        if len(values) < 2:
            continue
        numbers = [v for v in values if isinstance(v, (int, float)) and v > 0]
        if len(numbers) == len(values):
            logs = np.log(np.sort(np.array(numbers, float)))
            best = float(np.interp(random.uniform(-0.3, len(logs) - 0.7), range(len(logs)), logs))
            turn = _bent(best, _log_uniform(random, *BENDS), random.normal(0, DRIFTS))
            cliff = best + math.log(_log_uniform(random, *CLIFF)), random.uniform(*LOST)
            found[name] = _steep(turn, *cliff) if "learning_rate" in name else turn
        else:
            apart = dict(zip(values, random.exponential(0.05, len(values)), strict=True))
            found[name] = lambda v, size, x, apart=apart: apart.get(v, 0.1)  # type: ignore[misc]
    return found


def _bent(best: float, bend: float, drift: Array) -> Turn:
    by_size, by_data = float(drift[0]), float(drift[1])
    return lambda v, size, x: bend * (math.log(float(v)) - best - by_size * size - by_data * x) ** 2


def _steep(turn: Turn, cliff: float, lost: float) -> Turn:
    """The same, but that trials fail where the log of the value is beyond the ``cliff``."""
    return lambda v, size, x: lost if math.log(float(v)) > cliff else turn(v, size, x)


def _drawn(
    search_space: SearchSpace,
    finished: Sequence[Measurement],
    count: int,
    random: np.random.Generator,
) -> list[Scenario]:
    """Draws of the surface of what has finished; none where its configurations are too many."""
    space = configurations.of(search_space)
    tried = [configurations.tried_on(shard, finished) for shard in space.shards]
    configs = [Configuration(size, v) for size in all_sizes(space) for v in space.combinations]
    places = [(i, config) for i in range(len(space.shards)) for config in configs]
    if len(places) > MOST_CONFIGURATIONS:
        return []
    reference = {i: best for i, here in enumerate(tried) if (best := _reference(here)) is not None}

    def predict_minimum(shard: int, m: Measurement) -> tuple[float, float] | None:
        return (
            rungs.predict_minimum(m, reference[shard]) if shard in reference and m.curve else None
        )

    samples = [shard.samples for shard in space.shards]
    surface = surface_of(samples, tried, space.coordinates, places, predict_minimum)
    value, vector = np.linalg.eigh(surface.covariance)
    root = vector * np.sqrt(np.maximum(value, 0.0))
    draws = surface.mean + random.standard_normal((count, len(places))) @ root.T
    return [Scenario(_looked_up(space, places, draw), surface.noise) for draw in draws]


def all_sizes(space: ConfigurationSpace) -> list[int]:
    """The ladder with as many steps more at both ends as it may be extended by."""
    sizes = list(space.sizes)
    for direction in ("high", "low"):
        for _ in range(space.extend):
            more = next_size(sizes, direction, space.smallest)
            sizes += [] if more is None else [more]
    return sorted(set(sizes))


def _reference(here: Tried) -> Measurement | None:
    whole = [m for ms in here.values() for m in ms if scored(m) and m.curve]
    return min(whole, key=lambda m: (m.validation_error or 0.0, m.trial.id), default=None)


def _looked_up(
    space: ConfigurationSpace, places: Sequence[tuple[int, Configuration]], draw: Array
) -> Callable[[Trial], float]:
    known = dict(zip(places, draw.tolist(), strict=True))
    logs = np.log([shard.samples for shard in space.shards])
    sizes = sorted({config.size for _, config in places})

    def error(trial: Trial) -> float:
        shard = int(np.abs(logs - math.log(trial.samples)).argmin())
        size = min(sizes, key=lambda s: abs(math.log(s / trial.size)))
        values = [v for v in space.combinations if v == trial.hyperparameters]
        found = known[shard, Configuration(size, (values or space.combinations)[0])]
        return math.exp(found)

    return error
