"""The driver's loop: what runs when, what is tried again, how a run ends."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import rehearsal
from steep.base.stop_request import StopRequest
from steep.contracts.executor import Event, Kind
from steep.contracts.planner import TrialRequest
from steep.contracts.trainer import Handle, Interrupted, ShardItems
from steep.executors import inline
from steep.records import Evaluation, Measurement, Status, Trial
from steep.store.store import Store, StoreError
from steep.train import Outcome, train

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")


def plainly(trainer: dict[str, Any] | None = None, **run: Any) -> dict[str, Any]:
    return rehearsal.spec(trainer, **{"executor": "inline"} | run)


def opened(folder: Path) -> Store:
    return Store.open(folder, read_only=True)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("expected") / "study"
    assert rehearsal.drive(plainly(), folder).word == "complete"
    return rehearsal.results(folder)


# ---------------------------------------------------------------- what runs when


def test_the_longest_trial_goes_first(tmp_path: Path) -> None:
    order: list[str] = []

    def observe(event: Event) -> None:
        if event.kind == Kind.STARTED:
            order.append(event.trial)

    rehearsal.drive(plainly(), tmp_path / "study", observe)
    with opened(tmp_path / "study") as store:
        trials = {row.trial.id: row.trial for row in store.rows()}
    costs = [trials[name].samples * trials[name].size ** 2 for name in order]
    assert costs == sorted(costs, reverse=True)


def test_the_plan_is_asked_when_results_changed_and_never_else(tmp_path: Path) -> None:
    seen: list[int] = []

    def plan(trials: list[Trial], finished: Any, running: Any) -> list[TrialRequest]:
        seen.append(len(finished))
        return rehearsal.everything(trials, finished, running)

    rehearsal.drive(plainly(), tmp_path / "study", plan=plan)
    assert seen == list(range(13))
    seen.clear()
    outcome = rehearsal.drive(plainly(), tmp_path / "study", plan=plan)
    assert seen == [12]
    assert (outcome.word, outcome.ran, outcome.complete) == ("complete", 0, 12)


def one_more(trials: list[Trial], finished: Any, running: Any) -> list[TrialRequest]:
    """What runs, and one trial beyond it."""
    done = {m.trial for m in finished} | {*running}
    return [*map(TrialRequest, running), *(TrialRequest(t) for t in trials if t not in done)][
        : len(running) + 1
    ]


@pytest.mark.parametrize(("workers", "pack"), [(1, 1), (3, 1), (1, 2)])
def test_a_plan_that_names_one_trial_at_a_time_keeps_every_worker_busy(
    tmp_path: Path, workers: int, pack: int
) -> None:
    going: set[str] = set()
    most = 0

    class Executor:
        """Runs nothing: every trial ends at the next poll, first come first."""

        slots = workers

        def start(self, *jobs: Any) -> None:
            nonlocal most
            going.update(job.trial.id for job in jobs)
            self.jobs = [*getattr(self, "jobs", []), *jobs]
            most = max(most, len(going))

        def poll(self, timeout: float) -> list[Event]:
            if not self.jobs:
                return []
            job = self.jobs.pop(0)
            going.discard(job.trial.id)
            ended = Measurement(job.trial, Status.COMPLETE, validation_error=0.5)
            return [Event(Kind.RESULT, job.trial.id, job.attempt, ended)]

        def ask_to_stop(self) -> None: ...
        def kill(self, trial: str, attempt: int) -> None: ...
        def close(self) -> None: ...

    loaded, store, trials = rehearsal.prepare(plainly(pack=pack), tmp_path / "study")
    alike = [t for t in trials if (t.items, t.size) == (trials[0].items, trials[0].size)]
    with store:
        outcome = train(
            store,
            lambda done, running, left: one_more(alike if pack > 1 else trials, done, running),
            Executor(),
            cost=lambda trial: trial.samples,
            run=loaded.spec.run,
        )
    assert outcome.word == "complete"
    assert outcome.complete == (2 if pack > 1 else 12)
    assert most == workers * pack


def test_a_budget_bounds_what_is_started(tmp_path: Path) -> None:
    """By the FLOPs that trials report; shortest first, where not all can be had."""
    outcome = rehearsal.drive(plainly(), tmp_path / "study")
    spent = sorted(m.flops or 0.0 for m in measured(tmp_path / "study"))
    assert outcome.word == "complete"
    bound = 0.4 * sum(spent)
    outcome = rehearsal.drive(plainly(), tmp_path / "again", budget=bound)
    some = [m.flops or 0.0 for m in measured(tmp_path / "again")]
    assert (outcome.word, outcome.complete) == ("budget", len(some))
    assert 0.5 * bound < sum(some) <= bound
    assert sorted(some) == spent[: len(some)]
    assert rehearsal.drive(plainly(), tmp_path / "again").word == "complete"


@needs_fork
@pytest.mark.parametrize(("needed", "together"), [(1e30, 1), (1.0, 2)])
def test_trials_that_do_not_fit_together_run_one_after_another(
    tmp_path: Path, needed: float, together: int
) -> None:
    running: set[str] = set()
    most = 0

    def observe(event: Event) -> None:
        nonlocal most
        if event.kind == Kind.STARTED:
            running.add(event.trial)
        elif event.kind == Kind.RESULT:
            running.discard(event.trial)
        most = max(most, len(running))

    values = rehearsal.spec(workers=2)
    outcome = rehearsal.drive(values, tmp_path / "study", observe, memory=lambda trial: needed)
    assert (outcome.word, outcome.complete, most) == ("complete", 12, together)


def test_rungs_go_on_from_where_they_stopped(tmp_path: Path, expected: dict[str, Any]) -> None:
    log = tmp_path / "side.log"
    stopped: list[Measurement] = []

    def plan(trials: list[Trial], finished: list[Measurement], running: Any) -> list[TrialRequest]:
        done = {m.trial: m.status for m in finished}
        if len(done) < len(trials):
            return [TrialRequest(t, 20, "rung") for t in trials]
        stopped[:] = stopped or finished
        return [TrialRequest(t) for t in trials if done[t] == Status.STOPPED]

    values = plainly({"log": str(log)})
    outcome = rehearsal.drive(values, tmp_path / "study", plan=plan)
    assert (outcome.word, outcome.complete, outcome.ran) == ("complete", 12, 24)
    assert rehearsal.results(tmp_path / "study") == expected
    assert {m.status for m in stopped} == {Status.STOPPED}
    assert {m.steps for m in stopped} == {20}
    steps = {(x.attempt, x.step) for x in rehearsal.read_side_log(log) if x.what == "begins"}
    assert steps == {(1, 0), (2, 20)}


# ---------------------------------------------------------------- what is tried again


def poisoned(kind: str, **which: Any) -> dict[str, Any]:
    return {"faults": [{"kind": kind, "size": 4, "items": 250, "seed": 1} | which]}


def check_one_failed(folder: Path, outcome: Outcome, attempts: int, reason: str) -> Measurement:
    assert (outcome.word, outcome.failed, outcome.complete) == ("partial", 1, 11)
    assert outcome.retried == attempts
    with opened(folder) as store:
        bad = next(row for row in store.rows() if row.status == Status.FAILED)
        assert bad.attempts == attempts
        assert reason in str(bad.reason)
        return next(m for m in store.measurements() if m.trial == bad.trial)


def test_a_poison_trial_is_set_aside_and_the_study_completes(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    outcome = rehearsal.drive(plainly(poisoned("raise", step=30)), folder)
    bad = check_one_failed(folder, outcome, 3, "a simulated failure (attempt 3 of 3)")
    assert bad.validation_error is None
    assert bad.curve[-1].step < 30
    with opened(folder) as store:
        assert "Traceback" in store.attempts(bad.trial.id)[0]["detail"]
    again = rehearsal.drive(plainly(), folder)
    assert (again.word, again.ran) == ("partial", 0)


def test_a_trial_that_fails_once_is_only_late(tmp_path: Path, expected: dict[str, Any]) -> None:
    outcome = rehearsal.drive(plainly(poisoned("raise", attempts=1)), tmp_path / "study")
    assert (outcome.word, outcome.retried) == ("complete", 1)
    assert rehearsal.results(tmp_path / "study") == expected


@pytest.mark.parametrize("kind", ["oom", "device oom"])
def test_a_trial_too_large_for_memory_is_tried_twice(tmp_path: Path, kind: str) -> None:
    outcome = rehearsal.drive(plainly(poisoned(kind)), tmp_path / "study")
    check_one_failed(tmp_path / "study", outcome, 2, "oom: ")


@needs_fork
def test_a_worker_that_dies_at_once_costs_only_its_trial(tmp_path: Path) -> None:
    outcome = rehearsal.drive(rehearsal.spec(poisoned("die")), tmp_path / "study")
    check_one_failed(tmp_path / "study", outcome, 3, "exit code 7")


@needs_fork
def test_a_hung_trial_meets_its_deadline_and_its_slot_is_used_again(tmp_path: Path) -> None:
    values = rehearsal.spec(poisoned("hang", step=25), timeout=2.0, workers=1)
    outcome = rehearsal.drive(values, tmp_path / "study")
    assert (outcome.word, outcome.timeout, outcome.complete) == ("partial", 1, 11)
    with opened(tmp_path / "study") as store:
        bad = next(row for row in store.rows() if row.status == Status.TIMEOUT)
    assert (bad.attempts, bad.reason) == (1, "timeout: not done after 2 seconds")


_GREEDY = """
import numpy as np

def train(shard, size, seed, learning_rate):
    if size == 4 and seed == 1 and len(shard.train) == 250:
        np.ones(10 * 2**30, np.uint8)
    return 0.5
"""


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on address space")
def test_a_trial_that_allocates_beyond_the_limit_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(_GREEDY)
    values = rehearsal.spec()
    values["trainer"] = {"name": "function", "function": f"{tmp_path}/greedy.py:train"}
    before = resource.getrlimit(resource.RLIMIT_AS)
    room = _address_space() + 2 * 2**30  # workers inherit the limit
    resource.setrlimit(resource.RLIMIT_AS, (room, before[1]))
    try:
        outcome = rehearsal.drive(values, tmp_path / "study")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    check_one_failed(tmp_path / "study", outcome, 2, "oom: ")


def _address_space() -> int:
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (0.3, "returned float, not a Measurement"),
        (Measurement(Trial(0, 1, 1.0, 1, (), 0), Status.COMPLETE), "another trial"),
        (None, "returned NoneType"),
    ],
)
def test_a_trainer_that_returns_nonsense_fails_with_a_reason(
    tmp_path: Path, answer: Any, reason: str
) -> None:
    values = plainly(max_attempts=1)
    outcome = rehearsal.drive(values, tmp_path / "study", trainer=lambda *_: answer)
    assert outcome.word == "failed"
    assert outcome.error is not None
    assert reason in outcome.error
    with opened(tmp_path / "study") as store:
        failed = [row for row in store.rows() if row.status == Status.FAILED]
    assert {row.trial.samples for row in failed} >= {250.0}
    assert all(reason in str(row.reason) for row in failed)


def test_numbers_that_are_none_never_reach_the_store(tmp_path: Path) -> None:
    def trainer(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        bad = float("nan") if trial.seed else float("inf")
        metrics = (("error", bad), ("loss", 1.0))
        test_error = bad if trial.size == 2 else 0.5
        error = 0.25 if trial.size == 2 else bad
        curve = (Evaluation(1, 1.0, 0.1, None, error, error),)
        return Measurement(
            trial,
            Status.COMPLETE,
            validation_error=error,
            test_error=test_error,
            metrics=metrics,
            curve=curve,
        )

    outcome = rehearsal.drive(plainly(), tmp_path / "study", trainer=trainer)
    assert (outcome.complete, outcome.diverged) == (6, 6)
    with opened(tmp_path / "study") as store:
        for m in store.measurements():
            assert m.metrics == (("loss", 1.0),)
            assert m.test_error == (None if m.trial.size == 2 else 0.5)
            assert m.validation_error == (0.25 if m.trial.size == 2 else None)


# ---------------------------------------------------------------- how a run is stopped


def test_a_drain_saves_and_the_rest_is_done_later(tmp_path: Path, expected: dict[str, Any]) -> None:
    stop = threading.Event()

    def observe(event: Event) -> None:
        if event.kind == Kind.PROGRESS and event.payload.step > 20:
            stop.set()

    values = plainly({"seconds_per_step": 0.002})
    first = rehearsal.drive(values, tmp_path / "study", observe, stop)
    assert (first.word, first.complete) == ("drained", 0)
    second = rehearsal.drive(values, tmp_path / "study")
    assert second.word == "complete"
    assert first.then(second).ran == 12
    assert rehearsal.results(tmp_path / "study") == expected


def test_an_exception_gives_the_running_trials_back(
    tmp_path: Path, expected: dict[str, Any]
) -> None:
    def observe(event: Event) -> None:
        if event.kind == Kind.PROGRESS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearsal.drive(plainly(), tmp_path / "study", observe)
    with opened(tmp_path / "study") as store:
        assert all(row.status != Status.RUNNING for row in store.rows())
        tried = [a for row in store.rows() for a in store.attempts(row.trial.id)]
    assert {a["state"] for a in tried} <= {"killed", "done"}
    assert rehearsal.drive(plainly(), tmp_path / "study").word == "complete"
    assert rehearsal.results(tmp_path / "study") == expected


def test_a_store_that_cannot_record_stops_the_run_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, Any]
) -> None:
    whole, calls = Store.record, [0]

    def record(self: Store, event: Event, final: Any = None) -> bool:
        calls[0] += event.kind == Kind.RESULT
        if calls[0] == 4:
            raise StoreError("no space left on the disk")
        return whole(self, event, final)

    monkeypatch.setattr(Store, "record", record)
    with pytest.raises(StoreError, match="no space left"):
        rehearsal.drive(plainly(), tmp_path / "study")
    monkeypatch.undo()
    assert len(rehearsal.results(tmp_path / "study")) == 3
    assert rehearsal.drive(plainly(), tmp_path / "study").ran == 9
    assert rehearsal.results(tmp_path / "study") == expected


def test_workers_that_have_not_started_are_not_waited_for(tmp_path: Path) -> None:
    """A minute's budget ended after four: one of its workers was still importing. The trial that is
    running is waited for; the other one has not failed, and is planned again."""
    stop, killed = threading.Event(), []

    class Executor:
        """Two workers, of which the first starts, and ends when it is asked to; the second never
        does."""

        slots = 2
        jobs: ClassVar[list[Any]] = []
        ended = False

        def start(self, *jobs: Any) -> None:
            self.jobs += jobs

        def poll(self, timeout: float) -> list[Event]:
            job = self.jobs[0]
            if not stop.is_set():
                stop.set()
                return [Event(Kind.STARTED, job.trial.id, job.attempt, {"pid": 1})]
            return [Event(Kind.DRAINED, job.trial.id, job.attempt, {})] if self.ended else []

        def ask_to_stop(self) -> None:
            self.ended = True

        def kill(self, trial: str, attempt: int) -> None:
            killed.append(trial)

        def close(self) -> None: ...

    loaded, store, trials = rehearsal.prepare(plainly(), tmp_path / "study")
    executor = Executor()
    with store:
        outcome = train(
            store,
            lambda done, running, left: [TrialRequest(t) for t in trials],
            executor,
            cost=lambda trial: trial.samples,
            run=loaded.spec.run,
            stop=stop,
        )
        assert outcome.word == "drained"
        assert (outcome.ran, outcome.retried) == (0, 0)
        assert killed == [executor.jobs[1].trial.id]
        assert not store.failures(killed[0])
        assert store.trials()[killed[0]].status == Status.PLANNED


def test_two_requests_to_stop_are_told_from_one() -> None:
    stop = StopRequest()
    assert (stop.is_set(), stop.now) == (False, False)
    stop.set()
    assert (stop.is_set(), stop.now) == (True, False)
    stop.set()
    assert (stop.is_set(), stop.now) == (True, True)


def test_a_wall_clock_that_jumps_back_does_not_disturb_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, Any]
) -> None:
    honest = time.time

    def observe(event: Event) -> None:
        if event.kind == Kind.RESULT:
            monkeypatch.setattr(time, "time", lambda: honest() - 3600)

    outcome = rehearsal.drive(plainly(lease=1.0, timeout=30.0), tmp_path / "study", observe)
    assert (outcome.word, outcome.retried) == ("complete", 0)
    assert rehearsal.results(tmp_path / "study") == expected


# ---------------------------------------------------------------- checkpoints


def first_two(trials: list[Trial], finished: Any, running: Any) -> list[TrialRequest]:
    return rehearsal.everything(trials[:2], finished, running)


def _drained(folder: Path, values: dict[str, Any]) -> list[Path]:
    """A study stopped in its first trial, after several checkpoints: those that are kept."""
    stop = threading.Event()

    def observe(event: Event) -> None:
        if event.kind == Kind.PROGRESS and event.payload.step > 25:
            stop.set()

    assert rehearsal.drive(values, folder, observe, stop, first_two).word == "drained"
    return sorted((folder / "checkpoints").glob("*/*.checkpoint"))


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "header"])
def test_a_damaged_checkpoint_is_passed_over_and_noted(
    tmp_path: Path, expected: dict[str, Any], harm: str
) -> None:
    values = plainly({"seconds_per_step": 0.001}, checkpoint=0.008)
    kept = _drained(tmp_path / "study", values)
    assert len(kept) == 2
    data = kept[-1].read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    header = data.replace(b'"step"', b'"stop"')
    harmed = {"truncate": data[:-5], "flip": flipped, "empty": b"", "header": header}[harm]
    kept[-1].write_bytes(harmed)
    assert rehearsal.drive(values, tmp_path / "study", plan=first_two).word == "complete"
    results = rehearsal.results(tmp_path / "study")
    assert len(results) == 2
    assert results.items() <= expected.items()
    with opened(tmp_path / "study") as store:
        (note,) = store.notes()
    assert f"{kept[-1].name}" in note
    assert "going back to the one before" in note


def test_a_checkpoint_that_cannot_be_written_is_noted_and_training_goes_on(
    tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from steep.executors import worker

    def full(*_: Any) -> Path:
        raise StoreError("no space left on the disk")

    monkeypatch.setattr(worker, "save_checkpoint", full)
    values = plainly(checkpoint=0.0)
    assert rehearsal.drive(values, tmp_path / "study").word == "complete"
    assert rehearsal.results(tmp_path / "study") == expected
    with opened(tmp_path / "study") as store:
        assert "no space left" in store.notes()[0]


def test_checkpoints_of_ended_trials_are_dropped(tmp_path: Path) -> None:
    rehearsal.drive(plainly({"seconds_per_step": 0.001}, checkpoint=0.02), tmp_path / "study")
    assert list((tmp_path / "study/checkpoints").iterdir()) == []


# ---------------------------------------------------------------- a plain callable


def test_a_callable_of_this_process_is_a_trainer(tmp_path: Path) -> None:
    def trainer(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        if handle.stop_requested():
            raise Interrupted
        errors = np.full(len(shard.validation), 1 / trial.samples)
        handle.items({"count": np.ones(len(errors)), "error": errors})
        return Measurement(trial, Status.COMPLETE, validation_error=1 / trial.samples)

    outcome = rehearsal.drive(plainly(), tmp_path / "study", trainer=trainer)
    assert outcome.word == "complete"
    with opened(tmp_path / "study") as store:
        for m in store.measurements():
            assert m.validation_error == 1 / m.trial.samples
            kept = store.items(m.trial.id)
            assert kept is not None
            assert kept["error"].mean() == pytest.approx(m.validation_error)


def test_a_callable_needs_the_inline_executor(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="executor: inline"):
        rehearsal.drive(rehearsal.spec(), tmp_path / "study", trainer=lambda *_: None)


def test_an_inline_trial_that_is_given_up_is_no_longer_heard(tmp_path: Path) -> None:
    _, store, trials = rehearsal.prepare(plainly(), tmp_path / "study")
    store.close()
    release = threading.Event()

    def trainer(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        release.wait(10)
        return Measurement(trial, Status.COMPLETE, validation_error=1.0)

    executor = inline.Inline(trainer)
    executor.start(inline.Job(tmp_path / "study", trials[0], 1))
    assert executor.poll(5)[0].kind == Kind.STARTED
    executor.kill(trials[0].id, 1)
    release.set()
    executor.close()
    assert executor.poll(0.1) == []


# ---------------------------------------------------------------- every trial fails


def failing(*args: Any) -> Measurement:
    raise ValueError("no such column: 'label'")


def test_where_every_trial_fails_the_error_comes_once_and_early(tmp_path: Path) -> None:
    """After one attempt at each of the four trials of the smallest shard, and the two others that
    one of them has: perhaps it was a passing trouble."""
    tried: list[str] = []

    def observe(event: Event) -> None:
        if event.kind == Kind.FAILURE:
            tried.append(event.trial)

    folder = tmp_path / "study"
    outcome = rehearsal.drive(plainly(), folder, observe, trainer=failing)
    assert outcome.word == "failed"
    assert len(set(tried)) <= 5
    assert len(tried) <= 7
    assert outcome.error is not None
    first, *rest = outcome.error.splitlines()
    assert first.startswith("every trial failed, ")
    assert first.endswith("ValueError: no such column: 'label'")
    assert any("in failing" in line for line in rest)
    # once the cause is mended, the same command resumes: where all have failed, it tries all again
    with Store.open(folder) as store:
        store.forgive()
    assert rehearsal.drive(plainly(), folder).word == "complete"


def test_one_that_ends_well_saves_the_study(tmp_path: Path) -> None:
    """All of the smallest shard fail, but for one: the others are told of as before."""
    faults = [
        {"kind": "raise", "items": 250, "size": 2},
        {"kind": "raise", "items": 250, "seed": 0},
    ]
    outcome = rehearsal.drive(plainly({"faults": faults}), tmp_path / "study")
    assert (outcome.word, outcome.failed, outcome.complete) == ("partial", 3, 9)


def measured(folder: Path) -> list[Measurement]:
    with Store.open(folder, read_only=True) as store:
        return store.measurements()
