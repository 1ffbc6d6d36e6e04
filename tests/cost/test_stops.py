"""When trials stop: the stopping rule worked by hand, and learning from finished trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from steep.cost import calibrate
from steep.cost.calibrate import Metronome, Pace, Timed, timed
from steep.cost.estimate import STARTING, ladder, predict
from steep.cost.stops import FEWEST, Typical, ended, learnt, steps_and_evaluations, typical
from steep.engine.schedule import evaluation_steps
from steep.records import Evaluation, Measurement, Status, Trial
from steep.spec import Stop
from steep.trainers.contract import Drained, Handle, ShardItems

STOP = Stop(evaluations=4, patience=2, ratio=2.0, first=10)
STEPS = evaluation_steps(STOP, 100)  # 10, 20, 40, ..., 1280
EXACT = Typical("resnet", math.log(8), 0.0, 0.0, spread=1e-9, between=1e-9, trials=50)
"""The best evaluation is always the fourth, at 80 steps."""


def test_the_rule_by_hand() -> None:
    """Best at evaluation k, over at k + patience, no sooner than 4 and no later than 8."""
    assert STEPS == (10, 20, 40, 80, 160, 320, 640, 1280)
    for best, end in ((1, 4), (2, 4), (3, 5), (4, 6), (6, 8), (8, 8)):
        x = np.array([math.log(STEPS[best - 1] / 10)])
        steps, evaluations = steps_and_evaluations(STOP, STEPS, x, 1e-9)
        assert (steps[0], evaluations[0]) == (STEPS[end - 1], end)


def test_the_expectation_is_over_the_spread() -> None:
    """Half of the trials best at 3 and half at 4: over after 5 or 6 evaluations, 160 or 320."""
    between = np.array([math.log(math.sqrt(40 * 80) / 10)])
    steps, evaluations = steps_and_evaluations(STOP, STEPS, between, 0.05)
    assert evaluations[0] == pytest.approx(5.5, abs=0.03)
    assert steps[0] == pytest.approx(240, rel=0.02)
    wide, _ = steps_and_evaluations(STOP, STEPS, np.log([8.0]), 0.7)
    exact, _ = steps_and_evaluations(STOP, STEPS, np.log([8.0]), 1e-9)
    assert wide[0] > exact[0]  # long trials weigh more than short ones


def measurement(best: int, status: Status = Status.COMPLETE) -> Measurement:
    curve = tuple(Evaluation(s, 0.0, 0.0, None, 1.0, 1.0) for s in (10, 20, 40))
    trial = Trial(0, 10, 10.0, 4, (), 0)
    return Measurement(trial, status, best_step=best, curve=curve)


def test_own_trials_move_the_mean() -> None:
    prior = Typical("x", mean=1.0, by_size=0.5, by_samples=0.0, spread=0.4, between=0.4, trials=9)
    done = [measurement(100) for _ in range(64)]
    at = np.full(64, 0.2)
    found = learnt(prior, done, at, np.zeros(64))
    own = math.log(100 / 10) - 0.5 * 0.2
    # 64 trials of spread 0.4 know the mean to 0.05, the prior to 0.4
    weight = 0.16 / (0.16 + 0.16 / 64)
    assert found.mean == pytest.approx(1.0 + weight * (own - 1.0))
    assert found.between == pytest.approx(0.4 * math.sqrt(1 - weight))
    assert found.own == 64
    few = FEWEST - 1
    assert learnt(prior, done[:few], at[:few], np.zeros(few)) == prior


def test_trials_that_failed_say_nothing() -> None:
    every = [measurement(20), measurement(20, Status.CAPPED), measurement(20, Status.STOPPED)]
    assert len(ended(every)) == 2


def test_every_family_has_something_to_go_by() -> None:
    assert typical("resnet").trials > 100
    assert typical("resnet", "cross_entropy").mean < typical("resnet", "error").mean
    assert typical("lstm", "cross_entropy") == typical("lstm")
    unknown = typical("transformer")
    assert (unknown.trials, unknown.family) == (0, "transformer")
    assert unknown.between > max(typical(f).between for f in ("resnet", "lstm", "rhn"))


# ---------------------------------------------------------------- a trainer with known times


def trainer(clock: list[float], step: float, look: float, start: float) -> object:
    """Steps and evaluations of known length on a clock of its own; it asks as the engine does."""

    def train(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        clock[0] += start
        done = 0
        while True:
            if handle.draining():
                raise Drained("asked to")
            clock[0] += step * len(shard.train)
            done += 1
            if done == 8:
                clock[0] += look
                handle.progress(Evaluation(done, 0.0, 0.0, None, 1.0, 1.0))

    return train


def test_times_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(calibrate.time, name, lambda: clock[0])
    items = [ShardItems(np.arange(n), np.arange(5), np.arange(5)) for n in (10, 40)]
    trials = [Trial(0, n, float(n), 8, (), 0) for n in (10, 40)]
    found = timed(
        trainer(clock, 0.001, 0.3, 0.05),  # type: ignore[arg-type]
        (trials[0], items[0], 10.0),
        (trials[1], items[1], 40.0),
    )
    assert found is not None
    assert found.step == (pytest.approx(0.01), pytest.approx(0.04))
    assert found.evaluation == pytest.approx(0.3)
    assert found.start == pytest.approx(0.05)


def test_slow_steps_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of a minute is enough, three of a second; and there is no evaluation then."""
    clock = [0.0]
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(calibrate.time, name, lambda: clock[0])
    items = ShardItems(np.arange(1), np.arange(5), np.arange(5))
    for each, enough in ((60.0, 1), (1.0, 3)):
        handle = Metronome(1.0, until_evaluated=True)
        with pytest.raises(Drained):
            trainer(clock, each, 5.0, 0.0)(Trial(0, 1, 1.0, 1, (), 0), items, handle)  # type: ignore[operator]
        assert len(handle.steps) == enough
        assert handle.evaluation is None
    slow = Timed(1, (60.0, 120.0), (60.0, 120.0), None, 0.0)
    assert Pace([slow], 30.0).evaluation(1) == pytest.approx(30 / 3)  # a third of 30 s of steps


def test_between_sizes_and_batches() -> None:
    rows = [Timed(4, (10, 40), (1.0, 2.0), 3.0, 0.5), Timed(16, (10, 40), (4.0, 8.0), 12.0, 0.5)]
    pace = Pace(rows, 100.0)
    assert pace.step(8, 40) == pytest.approx(4.0)
    assert pace.step(4, 25) == pytest.approx(1.5)
    assert pace.evaluation(8) == pytest.approx(6.0)
    assert pace.step(64, 40) == pytest.approx(8.0)  # not beyond what was timed


# ---------------------------------------------------------------- a whole study


def times(**changed: float) -> Pace:
    step = changed.get("step", 0.01)
    return Pace([Timed(8, (10, 100), (step, step), 0.2, 0.5)], 100.0)


def predicted(waves: Sequence[Sequence[Trial]], workers: int = 1, most: int = 0,
              typical_: Typical = EXACT):  # type: ignore[no-untyped-def]  # fmt: skip
    return predict(
        waves,
        stop=STOP,
        schedule=lambda trial: (STEPS, 100),
        pace=times(),
        typical=typical_,
        middle=ladder([8], [1000.0]),
        workers=workers,
        last_looks=lambda trial: 1.5,
        most=most or sum(map(len, waves)),
    )


def one(seed: int) -> Trial:
    return Trial(0, 1000, 1000.0, 8, (), seed)


def test_the_time_by_hand() -> None:
    """Best at 80 steps, over at 320 with 6 evaluations and 1.5 at the end, 0.5 s to start."""
    each = 0.5 + 320 * 0.01 + 7.5 * 0.2
    found = predicted([[one(0), one(1), one(2)], [one(3)]], workers=2)
    assert found.training.value == pytest.approx(4 * each, rel=1e-6)
    # two rounds of two workers, then the last trial alone
    assert found.clock.value == pytest.approx(STARTING + 3 * each, rel=1e-6)
    assert found.evaluations == pytest.approx(1.5 / each, rel=1e-6)
    assert found.training.lower < found.training.value < found.training.upper
    assert found.training.upper / found.training.value == pytest.approx(1.18, abs=0.03)


def test_what_the_search_may_add_widens_upwards_only() -> None:
    less, more = predicted([[one(0), one(1)]]), predicted([[one(0), one(1)]], most=3)
    assert more.training.lower == less.training.lower
    assert more.training.upper == pytest.approx(1.5 * less.training.upper)


def test_an_unknown_family_is_less_certain() -> None:
    from dataclasses import replace

    vague = replace(EXACT, between=0.7)
    known, unknown = predicted([[one(0)]]), predicted([[one(0)]], typical_=vague)
    assert unknown.training.upper / unknown.training.lower > 2 * (
        known.training.upper / known.training.lower
    )
