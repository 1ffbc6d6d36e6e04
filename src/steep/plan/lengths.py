"""How long a trial takes: its steps from when trials like it stopped, a step's time from this
machine's pace, both corrected by the study's own finished trials.

A trainer whose steps cannot be seen beforehand (a function, a command) is known from its finished
trials alone, as a start-up time and a power of data and model size; ``init`` runs the first of them
(``run.timed``). Before the first of them nobody can know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtr

from steep.contracts.trainer import Cost
from steep.laws.law import Array
from steep.plan.calibrate import StepTimes
from steep.plan.stops import Stopping, last_evaluation, place, rate_of
from steep.records import SCORED, Measurement, Status, Trial
from steep.spec.sections import Spec
from steep.stats.regression import Linear

TIMING, BY_SAMPLES, BY_SIZE = 0.12, 0.03, 0.05
"""Standard deviations of a step's time against what was timed: of its logarithm, and of how that
depends on the logs of data and size. What else a machine does is in it, and how much two workers
slow each other."""
LOADED = 0.7
"""The first of them once trials have finished on the machine as it is: others may use it, too."""
TRIAL = 0.15
"""Standard deviation of one trial's time about all that."""


@dataclass(frozen=True)
class Length:
    """A whole trial's."""

    seconds: float
    looking: float
    """Share of the seconds that goes into evaluations."""
    steps: tuple[int, ...]
    """At which it is evaluated, to its end; () where the trainer reports none."""
    best: int
    """Step of its best evaluation."""
    samples_seen: float
    flops: float | None
    parameters: int


class Lengths(Protocol):
    """What is known of the lengths of a study's trials."""

    family: str
    trials: int
    own: int
    by_steps: bool
    """Whether from steps that were timed; else from whole trials."""

    def expected(self, trial: Trial) -> float:
        """Seconds, about."""
        ...

    def draw(self, random: np.random.Generator) -> Callable[[Trial, float], Length]:
        """Lengths as they may be: of a trial, and a standard normal number of its own."""
        ...


def _features(trials: Sequence[Trial], spec: Spec) -> Array:
    """1, log m and log size about the middle of the ladder: (trials, 3)."""
    size = np.log(spec.family.sizes).mean()
    rows = [(1.0, math.log(t.samples), math.log(t.size) - size) for t in trials]
    return np.array(rows).reshape(-1, 3)


class Timed:
    """Of a trainer with a schedule of evaluations, timed on this machine."""

    by_steps = True

    def __init__(
        self,
        spec: Spec,
        stopping: Stopping,
        pace: StepTimes,
        *,
        schedule: Callable[[Trial], tuple[Sequence[int], int]],
        validation: float,
        last_looks: Callable[[Trial], float],
        cost: Callable[[int], Cost | None],
        finished: Sequence[Measurement] = (),
    ) -> None:
        """``validation`` is V, and ``last_looks`` what a trial evaluates at its end (its shard,
        the test part), in units of m."""
        self.family, self.trials, self.own = spec.family.name, stopping.trials, stopping.own
        self._spec, self._stopping, self._pace = spec, stopping, pace
        self._schedule, self._cost = schedule, cost
        self._validation, self._last_looks = validation, last_looks
        self._means: dict[Trial, float] = {}
        self._known: dict[tuple[int, float, int], tuple[Sequence[int], int]] = {}
        first = LOADED if finished else TIMING
        self._middle = np.array([0.0, float(np.mean(_logs(finished))) if finished else 0.0, 0.0])
        prior = Linear(np.zeros(3), np.diag([first, BY_SAMPLES, BY_SIZE]) ** 2, TRIAL)
        if finished:
            deviations = [math.log(m.seconds / self._expected(m)) for m in finished]
            x = _features([m.trial for m in finished], spec) - self._middle
            prior = prior.given(x, np.array(deviations))
        self.slower = prior
        """The logarithm of measured over timed seconds."""

    def draw(self, random: np.random.Generator) -> Callable[[Trial, float], Length]:
        plane, slower = self._stopping.plane.draw(random), self.slower.draw(random)

        def length(trial: Trial, normal: float) -> Length:
            grid, per_epoch = self._grid(trial)
            at = np.array(place(trial.size, per_epoch, rate_of(trial), self._spec))
            x = float(at @ plane) + self._stopping.plane.noise * normal
            best = grid[0] * math.exp(min(x, 50.0))
            end = last_evaluation(self._spec.stop, grid, best)
            steps = tuple(grid[: end + 1])
            training = self._training(trial, steps[-1], per_epoch)
            looks = self._looks(trial, len(steps))
            factor = math.exp(float(((_features([trial], self._spec) - self._middle) @ slower)[0]))
            cost = self._cost(trial.size)
            seen = trial.samples / per_epoch * steps[-1]
            return Length(
                seconds=factor * (training + looks),
                looking=looks / (training + looks),
                steps=steps,
                best=min(steps, key=lambda s: abs(math.log(s / best))),
                samples_seen=seen,
                flops=None if cost is None else cost.flops * seen,
                parameters=trial.size if cost is None else cost.parameters,
            )

        return length

    def expected(self, trial: Trial) -> float:
        """The mean of what ``draw`` draws, in seconds: over the evaluations at which the trial may
        turn, and the lognormal of how much slower than timed it is."""
        if trial in self._means:
            return self._means[trial]
        grid, per_epoch = self._grid(trial)
        at = np.array(place(trial.size, per_epoch, rate_of(trial), self._spec))
        plane = self._stopping.plane
        spread = math.sqrt(float(at @ plane.covariance @ at) + plane.noise**2)
        logs = np.log(grid)
        between = (logs[1:] + logs[:-1]) / 2 - logs[0]
        shares = np.diff([0.0, *ndtr((between - float(at @ plane.mean)) / spread), 1.0])
        ends = [last_evaluation(self._spec.stop, grid, best) for best in grid]
        seconds = [
            self._training(trial, grid[end], per_epoch) + self._looks(trial, end + 1)
            for end in ends
        ]
        x = (_features([trial], self._spec) - self._middle)[0]
        slower = float(x @ self.slower.mean) + float(x @ self.slower.covariance @ x) / 2
        self._means[trial] = math.exp(slower) * float(shares @ np.array(seconds))
        return self._means[trial]

    def _grid(self, trial: Trial) -> tuple[Sequence[int], int]:
        batch = trial.hyperparameter("batch_size")
        key = (trial.permutation, trial.samples, hash(batch))
        if key not in self._known:
            self._known[key] = self._schedule(trial)
        return self._known[key]

    def _training(self, trial: Trial, steps: int, per_epoch: int) -> float:
        each = self._pace.step(trial.size, trial.samples / per_epoch)
        return self._pace.start(trial.size) + steps * each

    def _looks(self, trial: Trial, evaluations: int) -> float:
        units = evaluations * self._validation + self._last_looks(trial)
        return self._pace.evaluation(trial.size, units)

    def _expected(self, m: Measurement) -> float:
        """Seconds of a finished trial as timed, by the steps it took."""
        per_epoch = self._grid(m.trial)[1]
        return self._training(m.trial, m.steps, per_epoch) + self._looks(m.trial, len(m.curve))


def timed_before(spec: Spec) -> list[Measurement]:
    """Trials of which the spec says how long they took: nothing else is known of them."""
    return [
        Measurement(
            Trial(0, max(round(one.samples), 1), one.samples, one.size, (), 0),
            Status.COMPLETE,
            seconds=one.seconds,
        )
        for one in spec.run.timed
    ]


def timeable(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Finished trials whose seconds predict others'."""
    return [m for m in measurements if m.status in SCORED and m.seconds > 0]


def _logs(finished: Sequence[Measurement]) -> Array:
    return np.log([m.trial.samples for m in finished])


START_UP = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
"""Shares of the fastest trial that may be what every trial takes, whatever its data and model:
imports, reading files, a validation part that is always the same. Which of them is weighed; that
there is none is as likely as that there is one."""
OWN_SECONDS = (0.0, 0.8, 1.0), (20.0, 0.25, 0.6)
"""Prior of the rest: mean and standard deviation of level, exponent of data and that of size. Few
trainings take longer than in proportion to their data."""
OWN_NOISE = 0.2


class LearnedLengths:
    """Of any trainer, from its own finished trials: seconds as a start-up time and m**0.8 * size,
    unless they show otherwise."""

    by_steps = False

    def __init__(self, spec: Spec, finished: Sequence[Measurement]) -> None:
        """Raises ValueError without a finished trial."""
        if not finished:
            raise ValueError("no trial has finished: how long others take is unknown")
        self.family, self.trials, self.own = spec.family.name, 0, len(finished)
        self._spec, self._finished = spec, tuple(finished)
        self._middle = np.array([0.0, float(np.mean(_logs(finished))), 0.0])
        x = self._places([m.trial for m in finished])
        self._seconds = _with_start(x, np.array([m.seconds for m in finished]))
        """(weight, seconds of start-up, the logarithm of the others)."""
        counted = [m for m in finished if m.flops]
        self._flops = None
        if counted:
            at = self._places([m.trial for m in counted])
            prior = Linear(np.array([0.0, 0.8, 2.0]), np.diag([40.0, 0.4, 0.7]) ** 2, OWN_NOISE)
            self._flops = prior.given(at, np.log([m.flops or 1.0 for m in counted]))

    def _places(self, trials: Sequence[Trial]) -> Array:
        return _features(trials, self._spec) - self._middle

    def expected(self, trial: Trial) -> float:
        """Seconds, about."""
        at = self._places([trial])[0]
        return sum(w * (start + math.exp(float(at @ law.mean))) for w, start, law in self._seconds)

    def draw(self, random: np.random.Generator) -> Callable[[Trial, float], Length]:
        weights = [weight for weight, _, _ in self._seconds]
        _, start, law = self._seconds[int(random.choice(len(weights), p=weights))]
        seconds = law.draw(random)
        flops = None if self._flops is None else self._flops.draw(random)

        def length(trial: Trial, normal: float) -> Length:
            at = self._places([trial])[0]
            like = min(
                self._finished,
                key=lambda m: (
                    abs(math.log(m.trial.samples / trial.samples))
                    + abs(math.log(m.trial.size / trial.size))
                ),
            )
            return Length(
                seconds=start + math.exp(float(at @ seconds) + law.noise * normal),
                looking=0.0,
                steps=tuple(point.step for point in like.curve),
                best=like.best_step,
                samples_seen=like.samples_seen * trial.samples / like.trial.samples,
                flops=None if flops is None else math.exp(float(at @ flops)),
                parameters=like.parameters or trial.size,
            )

        return length


def _with_start(x: Array, seconds: Array) -> list[tuple[float, float, Linear]]:
    """(weight, start-up, law of what exceeds it) by the evidence of each: of trials at ``x`` (n, 3)
    that took so many ``seconds`` (n,)."""
    mean, spread = (np.array(values) for values in OWN_SECONDS)
    found, logs = [], []
    for share in START_UP:
        start = share * float(seconds.min())
        prior = Linear(mean, np.diag(spread) ** 2, OWN_NOISE)
        beyond = np.log(seconds - start)
        between = x @ prior.covariance @ x.T + OWN_NOISE**2 * np.eye(len(beyond))
        off = beyond - x @ mean
        determinant = float(np.linalg.slogdet(between)[1])
        jacobian = float(np.log(seconds / (seconds - start)).sum())
        likely = math.log(1.0 if not share else 1 / (len(START_UP) - 1))
        logs.append(
            likely + jacobian - (determinant + float(off @ np.linalg.solve(between, off))) / 2
        )
        found.append((start, prior.given(x, beyond)))
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    return [(float(w), start, law) for w, (start, law) in zip(weights, found, strict=True)]
