"""The time that is left is one figure: the progress bar, ``status`` and ``plan`` say the same."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from steep.analysis import decisions
from steep.contracts.executor import Kind
from steep.plan import calibrate, clock, timings, watch
from steep.plan.calibrate import StepTimes
from steep.plan.calibrate import Timed as TimedSize
from steep.plan.lengths import Timed as TimedLengths
from steep.plan.stops import Kind as StudyKind
from steep.plan.stops import Stopping
from steep.records import Interval, Prediction, StepCost, Trial
from steep.stats.regression import Linear
from steep.store import lease
from steep.store.store import Store
from steep.study import Study
from worlds import search_space

SECOND = {"study": "own", "domain": {"name": "external", "items": 9000}, "run": {"workers": 1}}
SECOND |= {"family": {"sizes": [2, 4, 8]}, "shards": {"smallest": 250, "largest": 8000}}


def train(shard: Any, size: int, seed: int) -> float:
    time.sleep(0.05)
    return float(len(shard.train) ** -0.3 * (1 + 0.1 / size))


def ends(left: Interval | None) -> list[float]:
    assert left is not None
    return [left.value or 0.0, left.lower or 0.0, left.upper or 0.0]


def test_bar_status_and_plan_say_the_same_of_a_half_done_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status said 'a few seconds', plan 13 s and the bar 20 s of one study, each by an estimate of
    its own. While it runs, the three are asked within a moment; then it is stopped."""
    monkeypatch.setattr(watch, "EVERY", 0.0)
    folder, ended, said = tmp_path / "own", [], []
    study = Study(SECOND, folder, trainer=train)

    def observe(event: Any) -> None:
        if event.kind != Kind.RESULT:
            return
        ended.append(event.trial)
        if len(ended) < 8:
            return
        if study.time_left() is None:  # written down at the next event, however busy the machine
            assert study._watch is not None
            assert study._watch._thread is not None
            study._watch._thread.join(60)
            return
        asked = time.monotonic()
        again = Study.open(folder, trainer=train)
        planned = again.plan().prediction
        assert planned is not None
        said.append([ends(study.time_left()), ends(again.standing().left), ends(planned.clock)])
        said.append(time.monotonic() - asked)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(observe=observe)
    three, took = said
    for other in three[1:]:
        assert other == pytest.approx(three[0], abs=took + 0.01)
    paused = Study.open(folder, trainer=train)
    left, planned = ends(paused.standing().left), paused.plan().prediction
    assert planned is not None
    assert ends(planned.clock) == pytest.approx(left, abs=1e-6)
    assert paused.plan(workers=2).prediction != planned, "other workers: another figure"


def prediction(clock_: Interval) -> Prediction:
    return Prediction(10, 20, 1, clock_, clock_, 0.0, 0, 5, "none", fewest_trials=10)


def test_what_is_left_gets_less_while_a_study_runs_and_not_while_it_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 s were left 10 s into a run that went on for 40 s more: 60 s, however long ago that was.
    The budget of that run ends with it; before that nothing can last longer."""
    now = [1000.0]
    monkeypatch.setattr(lease, "now", lambda: now[0])
    study = Study(tiny.spec(), tmp_path / "study")
    study.begin()
    with Store.open(study.folder) as store:
        decisions.register_start(store)
        now[0] += 10
        known = prediction(Interval(100.0, 50.0, 200.0, 0.9))
        estimate = decisions.TimeLeft(known, now[0], ends=now[0] + 120)
        monkeypatch.setattr(decisions, "ran", lambda store: min(now[0], 1050.0) - 1000.0)
        decisions.register_time_left(store, estimate)
        now[0] += 30
        assert decisions.time_left(store, going=True) == (known, 30.0, 90.0)
        now[0] = 5000.0
        assert decisions.time_left(store, going=False) == (known, 40.0, None)
        left = study.plan().prediction
        assert left is not None
        assert ends(left.clock) == pytest.approx([60.0, 10.0, 160.0])
        assert (left.trials, left.training.value) == (6, pytest.approx(60.0))
        decisions.register_time_left(store, replace(estimate, of_run=True))
        assert decisions.time_left(store, going=False) is None, "a budget of FLOPs hides the rest"


# ---------------------------------------------------------------- what was timed


ROWS = (TimedSize(2, (10.0, 100.0), (0.001, 0.002), 0.1, 0.1),)


def test_a_second_plan_answers_by_what_the_first_one_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timed anew each time, two plans in a row differed. Other data, a longer pilot, or the file
    deleted: timed anew; and the plan names the file."""
    calls = []

    def timed(study: Study, pilot: float, tell: Any, ends: float) -> StepTimes:
        calls.append(pilot)
        return StepTimes((replace(ROWS[0], start=float(len(calls))),), 500.0)

    monkeypatch.setattr(clock, "pace", timed)
    monkeypatch.setattr(timings, "cache_folder", lambda: tmp_path / "cache")

    def pace(pilot: float = 10.0, **sections: Any) -> StepTimes | None:
        return timings.pace(Study(tiny.spec(**sections)), pilot, lambda what, done: None)

    first = pace()
    second = pace()
    assert first is not None
    assert second is not None
    assert first.kept is None
    assert second.kept is not None
    assert replace(second, kept=None) == first
    pace(5.0)
    pace(study="other", run={"budget": "2h"})
    assert len(calls) == 1
    pace(20.0)
    pace(domain={"items": 9001})
    pace(family={"sizes": [1, 2, 4, 8]})
    assert calls == [10.0, 20.0, 10.0, 10.0]
    Path(second.kept[1]).write_text("{}")  # damaged: as if there were none
    pace()
    assert len(calls) == 5
    pace()
    assert len(calls) == 5
    yesterday = time.time() - 25 * 3600
    os.utime(second.kept[1], (yesterday, yesterday))
    pace()
    assert len(calls) == 6


def test_the_expected_time_of_a_trial_is_the_mean_of_its_draws() -> None:
    """It was the mean of nine draws, off by tens of percent: here of forty thousand."""
    spec = search_space(sizes=(2, 4, 8)).spec
    plane = Linear(np.array([2.0, -0.5, 0.2, -0.4]), np.diag([0.8, 0.1, 0.1, 0.1]), 0.7)
    kind = StudyKind("words", "lstm", "adam", "cross_entropy")
    steps = tuple(round(10 * 2 ** (k / 2)) for k in range(16))
    lengths = TimedLengths(
        spec, Stopping(kind, plane, 50), StepTimes(ROWS, 500.0),
        schedule=lambda trial: (steps, 100), validation=500.0, last_looks=lambda trial: 700.0,
        cost=lambda size: None,
    )  # fmt: skip
    random = np.random.default_rng(0)
    for size in (2, 8):
        trial = Trial(0, 1000, 1000.0, size, (("learning_rate", 0.06),), 0)
        drawn = [lengths.draw(random)(trial, random.normal()).seconds for _ in range(40_000)]
        assert lengths.expected(trial) == pytest.approx(np.mean(drawn), rel=0.03)


def test_no_run_waits_for_an_estimate_after_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute's budget on a busy machine ended 15 s later for the first estimate of the time that
    was left. One that is no longer wanted ends, too."""
    timed = {"timed": [{"samples": 250, "size": 2, "seconds": 1.0}], "budget": "1m"}
    study = Study(SECOND | {"run": timed}, tmp_path / "study", trainer=train)
    study.begin()
    with pytest.raises(clock.NotWanted):
        clock.prediction(study, None, 1, wanted=lambda: False)
    begun, given_up = threading.Event(), threading.Event()

    def never(*given: Any, wanted: Any, **named: Any) -> None:
        begun.set()
        while wanted():
            time.sleep(0.01)
        given_up.set()

    monkeypatch.setattr(clock, "prediction", never)
    monkeypatch.setattr(watch, "FIRST", 1e9)
    now = [0.0]
    with Store.open(study.folder) as store:
        budget = clock.spending(study, (), 1, seconds=60.0, now=lambda: now[0])
        watching = watch.Watch(study, store, budget, 1, None)
        assert begun.wait(10)
        now[0] = 61.0
        watching.close()
    assert given_up.wait(10)


def test_timing_ends_by_the_clock_where_a_budget_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine ten seconds of the processor were three minutes: a run of one minute had
    trained nothing. The first size is timed in any case; without an end all four are, twice the
    first, and the pilot runs."""
    study = Study(tiny.spec())
    monkeypatch.setattr(study.prices, "schedule", lambda trial: ((10, 20), 100))
    timed: list[int] = []
    piloted: list[float] = []

    def one(study: Study, trainer: Any, size: int) -> TimedSize:
        timed.append(size)
        return replace(ROWS[0], size=size)

    def whole(trainer: Any, trial: Trial, items: Any, seconds: float, ends: float) -> None:
        piloted.append(ends)

    monkeypatch.setattr(clock, "_timed", one)
    monkeypatch.setattr(clock, "whole", whole)
    found = clock.pace(study, 10.0, ends=time.monotonic() - 1)
    assert found is not None
    assert ([row.size for row in found.rows], timed, piloted) == ([1], [1], [])
    timed.clear()
    late = time.monotonic() + 1e6
    assert clock.pace(study, 10.0, ends=late) is not None
    assert timed == [1, 1, 2, 16, 32]
    assert piloted == [late]
    assert not calibrate.Stopwatch(1e6, late).stop_requested()
    assert calibrate.Stopwatch(1e6, time.monotonic() - 1).stop_requested()


def test_steps_are_counted_while_trials_run(tmp_path: Path) -> None:
    """A run counted for 70 s after its budget what a step costs. Here no trial ends before it is
    counted; and it is counted once."""
    step = StepCost(2, 10, 10, 1.0, 8.0, 60.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    counted, calls = threading.Event(), []

    def waiting(shard: Any, size: int, seed: int) -> float:
        assert counted.wait(30)
        return float(len(shard.train) ** -0.3)

    def steps() -> tuple[StepCost, ...]:
        calls.append(1)
        counted.set()
        return (step,)

    small = {"family": {"sizes": [2]}, "shards": {"smallest": 4000, "largest": 8000}}
    study = Study(SECOND | small | {"search": {"seeds": 1}}, tmp_path / "study", trainer=waiting)
    study.prices.steps = steps  # type: ignore[method-assign]
    assert study.run(progress=False).word == "complete"
    assert calls == [1]
    with study.store() as store:
        assert decisions.steps(store) == (step,)
