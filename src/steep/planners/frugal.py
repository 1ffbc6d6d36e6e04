"""Frugal: the trials that the answer needs, and no others. The default.

One surface of log error over data, size and hyperparameters (``stats/response.py``) holds what is
known of all shards at once; every decision is read from it:

1. a few configurations spread over the smallest shard;
2. then, again and again, the measurement that lowers the expected error of the chosen models most
   per FLOP (per second within a budget of time), on whatever shard: a new configuration, another
   seed of one that is indistinguishable from its rivals, the next rung of a stopped trial. Cheap
   shards come first because they are informative about expensive ones, which are trained only near
   their predicted optimum;
3. when nothing is worth its price, every shard's choice gets all its seeds, and so does the model
   that would be reported; its neighbours on the ladder are tried, so that an optimum is separated
   from an edge and a plateau from an optimum; on some shards those in each hyperparameter,
   where the surface is wrong if it is wrong at all; and at the smallest, a middle and the largest
   shard the next larger size at lower learning rates, since the best rate falls with size.

Past a shard's first complete trial, new ones run in rungs of its training curve and are left
STOPPED while they are hopeless (``stats/rungs.py``). A ladder whose edge is best extends itself,
and so does the list of a numeric hyperparameter.

One decision is one trial, by all results there are. While trials run, the next decision takes them
for measured, with the results that are expected, so that other workers need not wait.

A budget covers before it refines: after the first few configurations every shard gets its first
trial, the smallest first, while as much is kept as the others' first trials, and one on every
held-out shard, are expected to take. Where that is too much at the sizes that are best, the largest
size is chosen that can be had on all of them: a whole curve of smaller models says more than the
beginning of one of larger models. What refines takes no more than a fifth of what is left at a
time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np

from steep.contracts.planner import SearchSpace, TrialRequest
from steep.fit import fit, points_of
from steep.forecast import forecast
from steep.planners import configurations
from steep.planners.configurations import ConfigurationSpace
from steep.planners.search_state import Decided, Known, Limits, State
from steep.planners.so_far import place
from steep.records import Measurement, Status, Trial, Value
from steep.records.measurements import Measurements
from steep.select import select
from steep.stats import rungs
from steep.stats.response import knowledge_gradient
from steep.stats.searched import Configuration, lost, scored
from steep.stats.tuning import may_fall_with_size

ADAPTIVE = True
KNOWS_UNTIL = True
"""It ends where ``search.until`` says."""
MINIMUM_GAIN = 0.01
"""Least gain, in log error averaged over the shards, for one trial of the choice at the largest
shard: what costs less must gain in proportion."""
HARDER = 10
"""How often ``MINIMUM_GAIN`` is halved while a forecast is not yet as precise as requested."""
REACH = 1
"""Shards to either side of one on which a comparison of hyperparameters is taken to hold: with two,
five of sixteen searches of characters by Adam kept a learning rate that is right for little data at
the largest shards, with one 1 of 16, for a sixth more (LOG.md)."""
FAR = 1.5
"""Times the lowest error of its size and shard with which a value beyond a list has failed, as if
it had diverged."""
REFINE = 0.2
"""Share of what is left that one trial which refines may take: with a whole curve in hand, a trial
that may overrun what is expected of it is no longer worth a large part of it."""
STEEPEST = 1.5
"""Power of a model's width by which its best learning rate falls at most: in nine of ten published
studies; the median is 0.3 (docs/decisions/best-size.md)."""
BEGIN = 0.05
"""Share of what is left that one of the configurations with which a search begins may take."""


def plan(
    search_space: SearchSpace,
    finished: Sequence[Measurement],
    running: Sequence[Trial],
    budget: float | None,
) -> Sequence[TrialRequest]:
    """Every trial requested and not finished; see ``contracts/planner.py``. One beyond those that
    run: called again with that one among them, it names the next.

    Within ``budget`` and ``search.until`` every shard gets a trial before anything is refined; the
    smaller ones where that cannot be had of all."""
    limits = Limits(budget, search_space.spec.search.until, tuple(search_space.held_out))
    pending = tuple(sorted({*running}, key=place))
    if isinstance(finished, Measurements):
        known = finished.follow(
            ("frugal", id(search_space)), lambda: Known(configurations.of(search_space))
        )
        known.so_far.leave_out(pending)
    else:
        measured = {m.trial: m for m in finished}
        results = tuple(measured[trial] for trial in sorted(measured, key=place))
        known = _known(configurations.of(search_space), results, pending)
    requests, on_other_draws = known.decided(limits, pending, _decide)
    if on_other_draws:
        others = known.trials_of_other_draws
        if isinstance(finished, Measurements) and all(trial in others for trial in pending):
            return requests
        busy = known.so_far.measured.keys() | {*pending}
        requests = tuple(request for request in requests if request.trial not in busy)
    goes_on = [TrialRequest(t, why="running") for t in pending if not known.so_far.has_ended(t)]
    return [*goes_on, *requests]


@lru_cache(maxsize=256)
def _known(
    space: ConfigurationSpace, measured: tuple[Measurement, ...], pending: tuple[Trial, ...]
) -> Known:
    """Of a plain list."""
    found = Known(space)
    for at, measurement in enumerate(measured):
        found.add(at, measurement)
    found.so_far.leave_out(pending)
    return found


def _decide(known: Known, limits: Limits, pending: tuple[Trial, ...]) -> Decided:
    space = known.space
    first = _spread(space, known, pending)
    if not any(map(scored, known.so_far.results)):  # nothing is known of prices
        if limits.left(Known(space), 0.0) == math.inf:
            return first, False
        return first[:1] if limits.left(known, 0.0) > 0 else (), False
    state = State.of(known, pending, limits)
    few = [w for w in first if state.left == math.inf or state.cost(w)[1] < BEGIN * state.left]
    if requests := _affordable(state, few):
        return requests[:1], False
    precision = limits.precision
    if precision is not None and _precise(state, known.so_far.results, precision):
        return (), False
    for decide in (
        _first_of_shard,
        _worthwhile,
        _ahead,
        _confirm,
        _bracket,
        _compare,
        _larger_sizes,
    ):
        if requests := _affordable(state, decide(state)):
            return requests[:1], False
    for halvings in range(HARDER if precision is not None else 0):
        if requests := _affordable(state, _worthwhile(state, MINIMUM_GAIN / 2 ** (halvings + 1))):
            return requests[:1], False
    others = known.on_other_draws({i: state.choice(i)[1] for i in range(len(space.shards))})
    if state.left == math.inf:
        return others, True
    busy = known.so_far.measured.keys() | {*pending}
    return _affordable(state, [request for request in others if request.trial not in busy]), False


def _affordable(state: State, requests: Sequence[TrialRequest]) -> tuple[TrialRequest, ...]:
    """Those that are paid for. Where nothing may be spent on them, the first trial of the next
    shard without any."""
    return state.affordable(requests) or (_first_of_shard(state) if requests else ())


def _spread(
    space: ConfigurationSpace, known: Known, pending: Sequence[Trial]
) -> tuple[TrialRequest, ...]:
    """The configurations that a search begins with, on the smallest shard, as long as there are so
    few."""
    shard, count = space.shards[0], 2 * len(space.names) + 4
    tried = {
        Configuration(t.size, t.hyperparameters) for t in pending if t.samples == shard.samples
    }
    tried |= set(known.tried[0])
    configs = [config for config in configurations.spread(space, count) if config not in tried]
    requests = [
        TrialRequest(space.trial(shard, config, 0), None, "spread", early=True)
        for config in configs
    ]
    return tuple(requests[: max(count - len(tried), 0)])


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True)
class _Option:
    place: int
    seed: int
    up_to_steps: int | None
    price: float
    variance: float


def _first_of_shard(state: State) -> tuple[TrialRequest, ...]:
    """Of a budget: the first trial of the smallest shard without any."""
    if state.left == math.inf or not state.first:
        return ()
    i = min(state.first)
    _, config = state.choice(i)
    trial = state.space.trial(state.space.shards[i], config, 0)
    return (TrialRequest(trial, why=_why(state.space, config, "the first of its shard")),)


def _worthwhile(state: State, worth: float = MINIMUM_GAIN) -> tuple[TrialRequest, ...]:
    """The measurements that are worth their price, the one that gains most for it first."""
    options = _options(state)
    if not options:
        return ()
    shards = np.array([i for i, _ in state.places])
    places = np.array([o.place for o in options], dtype=int)
    variance = np.array([o.variance for o in options])
    price = np.array([o.price for o in options]) / state.unit
    gain = knowledge_gradient(state.surface, shards, places, variance) / len(state.space.shards)
    enough = (gain >= worth * price) & (price * state.unit <= REFINE * state.left)
    order = np.argsort(-gain / price, kind="stable")
    return tuple(_want(state, options[k], "worth its price") for k in order if enough[k])


def _options(state: State) -> list[_Option]:
    """Every measurement that could be made next: of each configuration, its next seed or rung."""
    found = []
    noise = state.surface.noise**2
    for k, (i, config) in enumerate(state.places):
        ms = state.at(i, config)
        price = float(state.price[k])
        begun = [m for m in ms if m.status is Status.STOPPED]
        if begun:
            m = begun[0]
            at = rungs.after(m.steps, state.reference[i])
            left = rungs.share(at, state.reference[i]) - rungs.share(m.steps, state.reference[i])
            variance = noise + rungs.variance(at, state.reference[i], 0.0)
            found.append(_Option(k, m.trial.seed, at, price * max(left, 0.05), variance))
        elif len(ms) < state.space.seeds:
            reference = state.reference.get(i)
            found.append(_Option(k, len(ms), None, price, noise))
            if reference is not None and not ms and configurations.alike(config, reference.trial):
                at = rungs.after(0, reference)
                gap = state.surface.mean[k] - log(reference.validation_error or 1.0)
                variance = noise + rungs.variance(at, reference, gap)
                if at is not None:
                    found.append(_Option(k, 0, at, price * rungs.share(at, reference), variance))
    return found


def _want(state: State, option: _Option, why: str) -> TrialRequest:
    i, config = state.places[option.place]
    trial = state.space.trial(state.space.shards[i], config, option.seed)
    return TrialRequest(trial, option.up_to_steps, _why(state.space, config, why))


def _why(space: ConfigurationSpace, config: Configuration, why: str) -> str:
    """With what the trial extends."""
    beyond = [f"extends {name} to {value}" for name, value in space.beyond(config)]
    return f"{why}, {' and '.join(beyond)}" if beyond else why


def _ahead(state: State) -> tuple[TrialRequest, ...]:
    """Stopped trials that are better already than their shard's choice in the end, by more than
    seeds differ, to their end: the choice cannot be said to be the best beside them."""
    requests = []
    for i in range(len(state.space.shards)):
        scores = [m.validation_error or 0.0 for m in state.at(*state.choice(i)) if scored(m)]
        mark = float(np.mean(scores)) * math.exp(-state.surface.noise) if scores else 0.0
        for config, ms in state.tried[i].items():
            why = _why(state.space, config, "ahead of the choice")
            stopped = [m for m in ms if m.status is Status.STOPPED]
            better = [m for m in stopped if (m.validation_error or math.inf) < mark]
            requests += [TrialRequest(m.trial, why=why) for m in better]
    return tuple(requests)


def _confirm(state: State) -> tuple[TrialRequest, ...]:
    """All seeds of every shard's choice. Where it has not been trained at all one comes first, and
    the smallest such shard: what it shows moves the choices at the larger ones. Then those of the
    models that a study would report, where they are others, or where no choice can be paid for."""
    rest: list[TrialRequest] = []
    for i in range(len(state.space.shards)):
        missing = _missing_seeds(state, i, state.choice(i)[1], "chosen")
        if len(missing) < state.space.seeds:
            rest += missing
        elif state.affordable(missing[:1]):
            # while a trial runs that may move the next choice, seeds of this one are surer
            return (*rest, missing[0]) if state.waiting else (missing[0],)
    if state.affordable(rest):
        return tuple(rest)
    index = {shard.samples: i for i, shard in enumerate(state.space.shards)}
    for best in select(state.known, state.space.shards, seeds=state.space.seeds):
        config = Configuration(best.best.size, best.best.hyperparameters)
        rest += _missing_seeds(state, index[best.samples], config, "best so far")
    return tuple(rest)


def _missing_seeds(state: State, shard: int, config: Configuration, why: str) -> list[TrialRequest]:
    """Its seeds without a result, and others in place of those that failed or diverged."""
    missing = state.missing_seeds(shard, config)
    why = _why(state.space, config, why)
    here = state.space.shards[shard]
    return [TrialRequest(state.space.trial(here, config, seed), why=why) for seed in missing]


def _bracket(state: State) -> tuple[TrialRequest, ...]:
    """The choice's neighbours on the ladder, where they have not been tried."""
    requests = []
    for i, shard in enumerate(state.space.shards):
        _, config = state.choice(i)
        sizes = sorted({c.size for j, c in state.places if j == i})
        tried = {c.size for j, c in state.places if j == i and state.at(j, c)}
        at = sizes.index(config.size)
        for size in (sizes[at - 1 : at] if at else []) + sizes[at + 1 : at + 2]:
            if size not in tried:
                reference = state.reference.get(i)
                up_to = None if reference is None else rungs.after(0, reference)
                near = Configuration(size, config.hyperparameters)
                trial = state.space.trial(shard, near, 0)
                requests.append(TrialRequest(trial, up_to, _why(state.space, near, "neighbour")))
    return tuple(requests)


def _compare(state: State) -> tuple[TrialRequest, ...]:
    """The neighbours in each hyperparameter of the choice, where no shard near has tried them at
    its size. Without rungs: a lower learning rate is slower, and may end lower.

    One shard after the other. The best values change with data and size alike; where they turn out
    to have done so, the choices at the larger shards move before anything is compared there. So
    nothing is compared beside a choice that has no result yet, but runs.

    Of a hyperparameter whose choice differs between shards, a shard near tells nothing where it
    chose another value, and none does of the largest shard, from which forecasts start."""
    choices = [state.choice(i) for i in range(len(state.space.shards))]
    if not all(
        any(m.status is not Status.RUNNING for m in state.at(*choice)) for choice in choices
    ):
        return ()
    failed = {c for here in state.tried for c in _failed(here)}
    values = [dict(config.hyperparameters) for _, config in choices]
    drifting = {n for n in state.space.names if len({chosen[n] for chosen in values}) > 1}
    last = len(choices) - 1

    def seen(i: int, c: Configuration) -> bool:
        other = dict(c.hyperparameters)
        differs = {n for n in drifting if other[n] != values[i][n]}
        within = range(max(i - REACH, 0), min(i + REACH, last) + 1)
        return any(
            c in state.tried[j]
            and (j == i or not differs or (i < last and _same(values, i, j, differs)))
            for j in within
        )

    for i, shard in enumerate(state.space.shards):
        _, config = choices[i]
        near = [
            Configuration(config.size, v)
            for v in configurations.beside(state.space, config.hyperparameters)
        ]
        # A value beyond the list is tried on every shard where the one before it is best, until
        # models no larger have failed with it.
        like = {c: [f for f in failed if f.hyperparameters == c.hyperparameters] for c in near}
        hopeless = {c for c in near if any(f.size <= c.size for f in like[c])}
        requests = [
            TrialRequest(state.space.trial(shard, c, 0), why=_why(state.space, c, "compared"))
            for c in near
            if not ((c in hopeless or c in state.tried[i]) if state.space.beyond(c) else seen(i, c))
        ]
        if requests:
            return tuple(requests)
    return ()


def _larger_sizes(state: State) -> tuple[TrialRequest, ...]:
    """The size above the choice at lower learning rates, at the smallest, a middle and the largest
    shard.

    The best rate commonly falls with width (Yang et al. 2022), so a larger model compared at the
    best rate of a smaller one looks worse than it is, on every shard alike, and a surface made of
    such trials is sure of it. Lower rates are tried until one is worse than the one above it; none
    is where a larger model is worse by more than a rate of its own may gain, by ``STEEPEST`` or by
    what the smaller of the three shards showed, nor where that is less than ``MINIMUM_GAIN``."""
    last = len(state.space.shards) - 1
    for name, listed in state.space.coordinates.choices:
        if not may_fall_with_size(name, listed):
            continue
        measured: list[float] = []
        for i in sorted({0, last // 2, last}):
            mean = {
                c: float(state.surface.mean[k]) for k, (j, c) in enumerate(state.places) if j == i
            }
            _, config = state.choice(i)
            larger = min((c.size for c in mean if c.size > config.size), default=None)
            if larger is None or not any(map(scored, state.at(i, config))):
                continue
            rates = _Rates(mean, config, larger, name, listed)
            gain = rates.gain(min([STEEPEST, *([max(measured)] if measured else [])]))
            if gain < MINIMUM_GAIN or rates.behind() > gain:
                continue
            for lower in rates.lower():
                if not state.at(i, lower):
                    trial = state.space.trial(state.space.shards[i], lower, 0)
                    why = _why(state.space, lower, "a larger size at a lower rate")
                    return (TrialRequest(trial, why=why),)
            fall = rates.fall(state.surface.noise)
            measured += [] if fall is None else [fall]
    return ()


@dataclass(frozen=True)
class _Rates:
    """A shard's choice, and the next ``larger`` size, at the values of a learning rate."""

    mean: Mapping[Configuration, float]
    """Log error of the shard's configurations as the surface has it."""
    config: Configuration
    larger: int
    name: str
    listed: Sequence[Value]

    def behind(self) -> float:
        """Log error of the larger size above the choice's, at the same rate."""
        above = Configuration(self.larger, self.config.hyperparameters)
        return self.mean.get(above, math.inf) - self.mean[self.config]

    def lower(self) -> Iterator[Configuration]:
        """The larger size at lower and lower rates, the last one worse than the one before it."""
        above = Configuration(self.larger, self.config.hyperparameters)
        for value in self._values()[0]:
            lower = _with(above, self.name, value)
            if lower not in self.mean:
                return
            yield lower
            if self.mean[lower] > self.mean[above]:
                return
            above = lower

    def gain(self, fall: float) -> float:
        """By how much, in log error, the larger size may be better at its own best rate than at
        that of the choice, if best rates fall with this power of size."""
        return self._curvature() * (fall * log(self.larger / self.config.size)) ** 2

    def fall(self, noise: float) -> float | None:
        """The power of size by which the best rate falls, and a standard error more: by how much
        less the next lower rate costs the larger size than the choice; None where none is lower."""
        value, below = _value(self.config, self.name), self._values()[0]
        above = Configuration(self.larger, self.config.hyperparameters)
        if not below or _with(above, self.name, below[0]) not in self.mean:
            return None
        step = log(float(value) / float(below[0]))
        costs = [
            self.mean[_with(config, self.name, below[0])] - self.mean[config]
            for config in (self.config, above)
        ]
        moved = (costs[0] - costs[1] + 2 * noise) / (2 * self._curvature() * step)
        return max(moved / log(self.larger / self.config.size), 0.0)

    def _curvature(self) -> float:
        """Of log error in that of the rate, from the rates beside the choice's."""
        value = _value(self.config, self.name)
        below, beyond = self._values()
        found = [
            (self.mean[other] - self.mean[self.config]) / log(float(near) / float(value)) ** 2
            for near in (*below[:1], *beyond[:1])
            if (other := _with(self.config, self.name, near)) in self.mean
        ]
        return max(float(np.mean(found)), 0.0) if found else 0.0

    def _values(self) -> tuple[list[Value], list[Value]]:
        """Below the choice's, and above it, the nearest first."""
        value = _value(self.config, self.name)
        ordered = sorted(self.listed, key=float)
        at = ordered.index(value)
        return ordered[:at][::-1], ordered[at + 1 :]


def _value(config: Configuration, name: str) -> Value:
    return dict(config.hyperparameters)[name]


def _with(config: Configuration, name: str, value: Value) -> Configuration:
    values = tuple((n, value if n == name else v) for n, v in config.hyperparameters)
    return Configuration(config.size, values)


def _same(values: Sequence[Mapping[str, Value]], i: int, j: int, names: set[str]) -> bool:
    """Whether two shards chose the same of these hyperparameters."""
    return all(values[i][name] == values[j][name] for name in names)


def _failed(here: Mapping[Configuration, Sequence[Measurement]]) -> set[Configuration]:
    """Which of a shard's configurations diverged, or ended with far more error than the best of the
    same size."""
    lowest: dict[int, float] = {}
    ends: dict[Configuration, float] = {}
    for config, ms in here.items():
        if errors := [float(m.validation_error or 0.0) for m in ms if scored(m)]:
            ends[config] = min(errors)
            lowest[config.size] = min(ends[config], lowest.get(config.size, math.inf))
    failed = {config for config, error in ends.items() if error > FAR * lowest[config.size]}
    return failed | {config for config, ms in here.items() if any(map(lost, ms))}


def _precise(state: State, known: Sequence[Measurement], target: float) -> bool:
    """Whether the forecast at ten times the largest shard is as narrow as requested."""
    shards = state.space.shards
    if not all(any(map(scored, state.at(*state.choice(i)))) for i in range(len(shards))):
        return False
    law = fit(points=points_of(select(known, shards, seeds=state.space.seeds)), intervals=False)
    if law.outcome != "ok":
        return False
    (place,) = forecast(law, at=[10 * shards[-1].samples], level=0.9).at
    return place.upper - place.lower <= target * place.error
