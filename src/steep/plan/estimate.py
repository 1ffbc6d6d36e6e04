"""How long a study is going to take: its search, simulated on a clock in several scenarios.

One estimator for ``init``, ``plan``, ``run`` and ``status``. In each scenario (``scenarios.py``)
the planner is called as the driver calls it, every trial takes what trials like it take
(``lengths.py``), and as many run at a time as there are workers; so what the search will still ask
for is in it, and so are workers that wait. The spread over the scenarios is the interval.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from steep.contracts.planner import SearchSpace, TrialRequest
from steep.laws.law import Array
from steep.plan.lengths import Length, Lengths
from steep.plan.scenarios import Scenario, scenarios
from steep.planners.history import met, seen
from steep.records import Evaluation, Interval, Measurement, Prediction, Status, Trial
from steep.records.measurements import Measurements
from steep.stats.searched import scored

LEVEL = 0.9
_NORMAL = 1.645
SCENARIOS = 4
"""Each takes some seconds: a search decides anew after every trial, here by a coarse surface. Four
such take as long as three by the finer one."""
DRAWS = 25
"""Of the lengths of trials in each scenario, which cost nothing."""
BETWEEN, BETWEEN_DF = 0.35, 4
"""Standard deviation from scenario to scenario of the logarithm of what a search takes, as seen in
others, and how many scenarios that is worth: four are too few to show it."""
LONGER, MORE_TRIALS = 1.15, 0.35
"""A search of real trials takes longer than of simulated ones: set to 2.15 times the training and
1.35 times the trials, so that three measured grids and three studies by the default search are not
predicted too short on average (``make bench-search-times``). By these shares, times the share of
the study's training that is left, for then a search knows trials of its own. Where less than
``ROOM`` of the search space would be left over there is nothing more to try, and they shrink with
it. They were seen where steps are timed; searches of own code, simulated by five laws of its time,
took no more than was simulated (LOG.md), and are not stretched."""
ROOM = 0.5
STARTING = 4.0
"""Seconds until workers are up: torch is imported once."""
ENDING = 4.0
"""Seconds in which the forecast is written down, and results and report are."""
GOES_ON = 0.25
"""A trial that has run for longer than it was expected to runs on for such a share of that."""
MOST = 20_000
"""Trials after which a search that does not end is broken off."""
RISES, FALLS = 0.02, 0.2
"""Log error over the lowest, by squared log steps after and before the best one."""

Ask = Callable[[Sequence[Measurement], Sequence[Trial], float, float], Sequence[TrialRequest]]
"""(finished, running, seconds on the clock, FLOPs spent) -> the requested trials."""


@dataclass(frozen=True)
class SimulatedStudy:
    """A study's course in one scenario."""

    runs: tuple[tuple[Trial, float, float], ...]
    """(trial, its normal number, share of it that ran): see ``lengths.py``."""
    searched: frozenset[int]
    """Which of the runs are the search's own, by their place;"""
    search: float
    """and the seconds of all workers together that go into them."""
    found: tuple[Measurement, ...]
    """What ran; of trials that had begun before, too."""
    training: float
    """Seconds of all workers together."""
    looking: float
    """Of these for evaluations."""
    clock: float
    """Seconds from the first trial's start to the last one's end, the held-out ones included."""
    flops: float


def predict(
    search_space: SearchSpace,
    lengths: Lengths,
    ask: Ask,
    *,
    workers: int,
    held_out: Callable[[Sequence[Measurement]], Sequence[Trial]] = lambda found: (),
    finished: Sequence[Measurement] = (),
    shown: Sequence[Measurement] = (),
    begun: Mapping[Trial, float] | None = None,
    count: int = SCENARIOS,
    most_seconds: float | None = None,
    adaptive: bool = False,
    made: str = "",
) -> Prediction:
    """What is left of a study of which these have ``finished`` and those ``begun`` (seconds ago).

    ``adaptive``: what a search requests depends on its results. The scenarios agree with what is
    ``shown``. ``held_out`` gives the trials that confront the
    forecast, whenever the search is over; after ``most_seconds`` on the clock nothing goes on."""
    random = np.random.default_rng(0)
    courses = [
        _simulate(scenario, k, lengths.draw(random), ask, workers, held_out, finished, begun or {})
        for k, scenario in enumerate(scenarios(search_space, shown, count))
    ]
    overhead = ENDING if finished else STARTING + ENDING
    done = sum(m.seconds for m in finished)
    left = np.array([c.search / max(done + c.training, 1e-9) for c in courses]) * (
        adaptive and lengths.by_steps
    )
    left *= [min(_untried(search_space, (*finished, *c.found)) / ROOM, 1.0) for c in courses]
    trials = np.array([len(c.found) for c in courses]) * (1 + MORE_TRIALS * left)
    looking = sum(c.looking for c in courses) / max(sum(c.training for c in courses), 1e-9)
    random = np.random.default_rng(1)
    draws = [lengths.draw(random) for _ in range(DRAWS)]
    drawn = np.array(
        [
            [_retimed(c, draw, 1 + LONGER * share) for draw in draws]
            for c, share in zip(courses, left, strict=True)
        ]
    )
    seconds = drawn[:, :, 0]
    on_clock = np.array([[c.clock / max(c.training, 1e-9)] for c in courses]) * seconds
    most_training = math.inf if most_seconds is None else workers * most_seconds
    flops = drawn[:, :, 1] * np.minimum(most_training / np.maximum(seconds, 1e-9), 1.0)
    covered = [_covered(search_space, (*finished, *c.found)) for c in courses]
    return Prediction(
        trials=round(float(np.median(trials))),
        fewest_trials=round(float(trials.min())),
        most_trials=round(float(trials.max())),
        workers=workers,
        training=bounded(_interval(seconds), most_seconds and workers * most_seconds),
        clock=bounded(_interval(on_clock + overhead), most_seconds),
        flops=_interval(flops) if flops.all() else None,
        shards=round(float(np.median(covered))),
        evaluations=looking,
        learnt_from=lengths.trials,
        own_trials=lengths.own,
        family=lengths.family,
        made=made,
    )


def _covered(search_space: SearchSpace, found: Sequence[Measurement]) -> int:
    """How many of the searched shards have a result."""
    fitted = {shard.samples for shard in search_space.shards}
    return len(fitted & {m.trial.samples for m in found if scored(m)})


def _untried(search_space: SearchSpace, found: Sequence[Measurement]) -> float:
    """The share of the configurations of the search space that are not tried in the end."""
    combinations = math.prod(len(v) for v in search_space.spec.search.hyperparameters.values())
    configs = len(search_space.shards) * len(search_space.spec.family.sizes) * combinations
    fitted = {shard.samples for shard in search_space.shards}
    tried = {m.trial.candidate for m in found if m.trial.samples in fitted}
    return max(1 - len(tried) / configs, 0.0)


def _retimed(
    course: SimulatedStudy, length: Callable[[Trial, float], Length], longer: float
) -> tuple[float, float]:
    """(seconds, FLOPs) of the same trials, had they other lengths, and the search so many times as
    much of them."""
    found = [(length(trial, normal), share) for trial, normal, share in course.runs]
    times = [longer if k in course.searched else 1.0 for k in range(len(found))]
    known = list(zip(found, times, strict=True))
    flops = sum((one.flops or 0.0) * share * factor for (one, share), factor in known)
    return sum(one.seconds * share * factor for (one, share), factor in known), flops


def _interval(values: Array) -> Interval:
    """Of what it takes in each scenario by each draw of lengths (scenarios, draws), by a
    lognormal."""
    logs = np.log(np.maximum(values, 1e-3))
    of_world = logs.mean(axis=1)
    middle = float(of_world.mean())
    squares = float(((of_world - middle) ** 2).sum()) + BETWEEN_DF * BETWEEN**2
    between = squares / (len(of_world) - 1 + BETWEEN_DF)
    spread = math.sqrt(between + float(logs.var(axis=1).mean()))
    low, high = (math.exp(middle + sign * _NORMAL * spread) for sign in (-1, 1))
    return Interval(math.exp(middle), low, high, LEVEL)


def bounded(time: Interval, most: float | None) -> Interval:
    """An interval of which no part is above ``most``, which stands for an end that is open."""
    if most is None:
        return time
    value, low, high = (min(v or most, most) for v in (time.value, time.lower, time.upper))
    return replace(time, value=value, lower=low, upper=high)


def _simulate(
    scenario: Scenario,
    key: int,
    length: Callable[[Trial, float], Length],
    ask: Ask,
    workers: int,
    held_out: Callable[[Sequence[Measurement]], Sequence[Trial]],
    finished: Sequence[Measurement],
    begun: Mapping[Trial, float],
) -> SimulatedStudy:
    known = {m.trial: m for m in finished}
    places = {trial: place for place, trial in enumerate(known)}
    measured_by_now = Measurements(known.values())
    new: dict[Trial, Measurement] = {}
    totals = {"training": 0.0, "looking": 0.0, "flops": 0.0}
    running: list[tuple[float, int, TrialRequest, Measurement]] = []
    runs: list[tuple[Trial, float, float]] = []
    started = 0

    def run(requests: Callable[[float], Sequence[TrialRequest]], now: float) -> float:
        """Workers take what is requested, longest first, until nothing more is."""
        nonlocal started
        queue: list[tuple[float, float, TrialRequest, Measurement]] = []
        while True:
            while len(running) < workers and started < MOST:
                if not queue:
                    busy = {request.trial for _, _, request, _ in running}
                    for request in requests(now):
                        if request.trial not in busy and not met(request, known.get(request.trial)):
                            queue.append(
                                _begin(scenario, key, length, request, known, begun, totals, runs)
                            )
                    queue.sort(key=lambda entry: entry[0])
                if not queue:
                    break
                seconds, _, request, measured = queue.pop()
                started += 1
                heapq.heappush(running, (now + seconds, started, request, measured))
            if not running:
                return now
            now, _, request, measured = heapq.heappop(running)
            known[request.trial] = new[request.trial] = measured
            place = places.setdefault(request.trial, len(places))
            measured_by_now.add(place, measured)

    def search(now: float) -> Sequence[TrialRequest]:
        busy = [request.trial for _, _, request, _ in running]
        return ask(measured_by_now, busy, now, totals["flops"])

    # As in Study.run: what a budget leaves after the held-out shards goes into the search.
    clock, searched, seconds = 0.0, set[int](), 0.0
    while True:
        first, before = len(runs), totals["training"]
        clock = run(search, clock)
        searched |= {*range(first, len(runs))}
        seconds += totals["training"] - before
        last = [TrialRequest(trial) for trial in held_out(tuple(known.values()))]
        clock = run(lambda now, last=last: last, clock)  # type: ignore[misc]
        if len(runs) == first:
            break
    return SimulatedStudy(
        tuple(runs), frozenset(searched), seconds, tuple(new.values()), clock=clock, **totals
    )


def _begin(
    scenario: Scenario,
    key: int,
    length: Callable[[Trial, float], Length],
    request: TrialRequest,
    known: Mapping[Trial, Measurement],
    begun: Mapping[Trial, float],
    totals: dict[str, float],
    runs: list[tuple[Trial, float, float]],
) -> tuple[float, float, TrialRequest, Measurement]:
    """(seconds it takes, FLOPs, the request, its future result)."""
    trial = request.trial
    parts = [key, trial.items, trial.size, trial.seed, crc32(repr(trial.hyperparameters).encode())]
    random = np.random.default_rng(parts)
    normal = float(random.normal())
    how = length(trial, normal)
    error = scenario.error(trial) * math.exp(scenario.noise * float(random.normal()))
    whole = Measurement(
        trial,
        Status.COMPLETE,
        validation_error=error,
        validation_loss=error,
        parameters=how.parameters,
        parameters_without_embeddings=how.parameters,
        best_step=how.best,
        steps=how.steps[-1] if how.steps else 0,
        samples_seen=how.samples_seen,
        flops=how.flops,
        seconds=how.seconds,
        curve=tuple(_point(step, how, error) for step in how.steps),
    )
    measured = seen(whole, request.up_to_steps)
    before = known.get(trial)
    done = before.steps / max(measured.steps, 1) if before else 0.0
    ran = begun.get(trial, 0.0)
    rest = max((1 - min(done, 0.95)) * measured.seconds - ran, GOES_ON * ran)
    share = rest / max(measured.seconds, 1e-9)
    seconds, flops = rest, min(share, 1.0) * (measured.flops or 0.0)
    runs.append((trial, normal, seconds / max(how.seconds, 1e-9)))
    totals["training"] += seconds
    totals["looking"] += seconds * how.looking
    totals["flops"] += flops
    return seconds, flops, request, measured


def _point(step: int, how: Length, error: float) -> Evaluation:
    off = math.log(max(step, 1) / max(how.best, 1))
    now = error * (1 + (RISES if off > 0 else FALLS) * off**2)
    share = step / how.steps[-1]
    return Evaluation(step, how.samples_seen * share, how.seconds * share, 0.9 * now, now, now)


def shortened(prediction: Prediction, seconds: float) -> Prediction:
    """The same after ``seconds`` have passed on the clock: what is left never reaches zero."""
    clock = prediction.clock

    def rest(end: float | None) -> float | None:
        return None if end is None else max(end - seconds, 0.02 * end)

    left = Interval(rest(clock.value), rest(clock.lower), rest(clock.upper), clock.level)
    return _at_most(replace(prediction, clock=left), clock)


def within(prediction: Prediction, most: float | None) -> Prediction:
    """The same where the clock stops after ``most`` seconds."""
    clock = prediction.clock
    return _at_most(replace(prediction, clock=bounded(clock, most)), clock)


def _at_most(prediction: Prediction, before: Interval) -> Prediction:
    """What is left of trials, training and FLOPs, by the share of the clock that is left."""
    share = (prediction.clock.value or 0.0) / max(before.value or 0.0, 1e-9)

    def part(amount: Interval) -> Interval:
        value, low, high = (
            None if end is None else share * end
            for end in (amount.value, amount.lower, amount.upper)
        )
        return Interval(value, low, high, amount.level)

    return replace(
        prediction,
        trials=math.ceil(share * prediction.trials),
        fewest_trials=math.ceil(share * prediction.fewest_trials),
        most_trials=math.ceil(share * prediction.most_trials),
        training=part(prediction.training),
        flops=None if prediction.flops is None else part(prediction.flops),
    )
