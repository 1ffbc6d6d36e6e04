"""Faults, injected: what is broken here, and what must hold all the same, is in each test's name.

Drivers run as processes of their own (``tests/rehearsal.py``) wherever one is to be killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rehearsal
import steep
from steep.contracts.executor import Event, Kind
from steep.contracts.planner import TrialRequest
from steep.records import Status, Trial
from steep.store import lease
from steep.store.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")
SLOWLY = {"seconds_per_step": 0.005}  # a quarter of a second a trial


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the twelve trials measure when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("expected") / "study"
    outcome = rehearsal.drive(rehearsal.spec(executor="inline"), folder)
    assert outcome.word == "complete"
    return rehearsal.results(folder)


class Driver:
    """A driver process and what its trials log."""

    def __init__(self, tmp: Path, trainer: dict[str, Any] | None = None, **run: Any) -> None:
        self.folder, self.log = tmp / "study", tmp / "side.log"
        values = rehearsal.spec(SLOWLY | {"log": str(self.log)} | (trainer or {}), **run)
        self.spec = rehearsal.write_spec(values, tmp / "spec.yaml")
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, rehearsal.__file__, str(self.spec), str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self) -> str:
        return done(self.start(), 0)

    def lines(self, what: str) -> list[rehearsal.Line]:
        return [line for line in rehearsal.read_side_log(self.log) if line.what == what]

    def wait_for(self, what: str, count: int) -> None:
        until = time.monotonic() + 60
        while len(self.lines(what)) < count:
            assert time.monotonic() < until, f"no {count} lines '{what}' within a minute"
            time.sleep(0.02)

    def alive(self) -> set[int]:
        """Workers that still run."""
        return {line.pid for line in self.lines("begins") if lease.start_time(line.pid)}

    def complete(self) -> set[str]:
        """Trials recorded as complete, and the proof that none was completed twice."""
        if not (self.folder / "study.yaml").exists():
            return set()
        with Store.open(self.folder, read_only=True) as store:
            rows = [row for row in store.rows() if row.status == Status.COMPLETE]
            for row in rows:
                states = Counter(a["state"] for a in store.attempts(row.trial.id))
                assert states["done"] == 1
            return {row.trial.id for row in rows}


def done(process: subprocess.Popen[str], code: int) -> str:
    """Wait for a driver; what it printed. Nothing a user should not see is in it."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    assert "locked" not in err
    return out + err


@pytest.fixture
def make_driver(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    made: list[Driver] = []

    def make(trainer: dict[str, Any] | None = None, **run: Any) -> Driver:
        made.append(Driver(tmp_path, trainer, **run))
        return made[-1]

    yield make
    for process in (process for driver in made for process in driver.started):
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def driver(make_driver: Callable[..., Driver]) -> Driver:
    return make_driver()


# ---------------------------------------------------------------- F1: a worker is killed


def test_a_killed_worker_is_retried_from_its_checkpoint(
    tmp_path: Path, expected: dict[str, Any]
) -> None:
    log = tmp_path / "side.log"
    pids: dict[str, int] = {}
    killed: list[str] = []

    def observe(event: Event) -> None:
        if event.kind == Kind.STARTED:
            pids[event.trial] = event.payload["pid"]
        if event.kind == Kind.CHECKPOINT and event.payload["step"] > 10 and not killed:
            killed.append(event.trial)
            os.kill(pids[event.trial], signal.SIGKILL)

    values = rehearsal.spec(SLOWLY | {"log": str(log)})
    outcome = rehearsal.drive(values, tmp_path / "study", observe)
    assert (outcome.word, outcome.retried) == ("complete", 1)
    assert rehearsal.results(tmp_path / "study") == expected
    with Store.open(tmp_path / "study", read_only=True) as store:
        attempts = {row.trial.id: row.attempts for row in store.rows()}
        reason = store.attempts(killed[0])[0]["reason"]
    assert attempts == {trial: 2 if trial in killed else 1 for trial in expected}
    assert "signal 9" in reason
    again = [x for x in rehearsal.read_side_log(log) if x.trial in killed and x.attempt == 2]
    assert again[0].step > 10  # where the checkpoint stood, not from the start


# ---------------------------------------------------------------- F2: the driver is killed


def test_a_killed_driver_leaves_no_orphans_and_its_rerun_repeats_nothing(
    driver: Driver, expected: dict[str, Any]
) -> None:
    process = driver.start()
    driver.wait_for("ends", 3)
    process.kill()
    process.wait()
    killed = time.monotonic()
    while driver.alive():
        assert time.monotonic() - killed < 5, "workers outlive their driver"
        time.sleep(0.05)
    before = driver.complete()
    begun = len(driver.lines("begins"))
    driver.run()
    assert len(before) >= 1
    assert {line.trial for line in driver.lines("begins")[begun:]}.isdisjoint(before)
    assert driver.complete() == set(expected)
    assert rehearsal.results(driver.folder) == expected


# ---------------------------------------------------------------- F3: everything is killed, often


def _kill_everything_often(driver: Driver, times: int, expected: dict[str, Any]) -> None:
    chance = random.Random(5)
    acknowledged: set[str] = set()
    for _ in range(times):
        process = driver.start()
        time.sleep(chance.uniform(0.5, 1.8))
        process.kill()
        for pid in driver.alive():
            lease.kill(pid, lease.start_time(pid))
        process.wait()
        now = driver.complete()
        assert acknowledged <= now
        acknowledged = now
    driver.run()
    assert driver.complete() == set(expected)
    assert rehearsal.results(driver.folder) == expected


def test_four_kills_of_everything_lose_nothing(driver: Driver, expected: dict[str, Any]) -> None:
    _kill_everything_often(driver, 4, expected)


@pytest.mark.slow
def test_twenty_kills_of_everything_lose_nothing(
    make_driver: Callable[..., Driver], expected: dict[str, Any]
) -> None:
    _kill_everything_often(make_driver({"seconds_per_step": 0.05}), 20, expected)


# ---------------------------------------------------------------- F4: Ctrl-C


def test_one_interrupt_drains_and_the_study_goes_on(
    driver: Driver, expected: dict[str, Any]
) -> None:
    process = driver.start()
    driver.wait_for("begins", 3)
    process.send_signal(signal.SIGINT)
    done(process, 130)
    assert not driver.alive()
    assert len(driver.lines("begins")) < 12
    kept = {path.name for path in (driver.folder / "checkpoints").iterdir()}
    driver.run()
    assert rehearsal.results(driver.folder) == expected
    with Store.open(driver.folder, read_only=True) as store:
        tried = {row.trial.id: store.attempts(row.trial.id) for row in store.rows()}
    drained = {trial for trial, all_ in tried.items() if all_[0]["state"] == "drained"}
    assert drained
    assert drained <= kept
    assert all(a["state"] in ("drained", "done") for all_ in tried.values() for a in all_)


def test_two_interrupts_stop_at_once_and_the_study_goes_on(
    make_driver: Callable[..., Driver],
) -> None:
    # Deaf to a request to stop: the two trials that run first.
    stubborn = {"kind": "hang", "step": 20, "attempts": 1, "size": 4, "items": 1000}
    driver = make_driver({"faults": [stubborn]})
    process = driver.start()
    driver.wait_for("begins", 2)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    done(process, 130)
    assert time.monotonic() - asked < 2
    assert not driver.alive()
    with Store.open(driver.folder, read_only=True) as store:
        assert all(row.status == Status.PLANNED for row in store.rows())
    driver.run()
    assert len(driver.complete()) == 12


# ---------------------------------------------------------------- F6: two drivers


def test_two_drivers_share_a_study(driver: Driver, expected: dict[str, Any]) -> None:
    both = [driver.start(), driver.start()]
    for process in both:
        done(process, 0)
    assert driver.complete() == set(expected)
    assert rehearsal.results(driver.folder) == expected
    assert len(driver.lines("begins")) == 12


# ---------------------------------------------------------------- F7: a zombie writes


def test_a_stopped_worker_is_replaced_and_killed(tmp_path: Path, expected: dict[str, Any]) -> None:
    pids: list[int] = []

    def observe(event: Event) -> None:
        if event.kind == Kind.STARTED and not pids:
            pids.append(event.payload["pid"])
            os.kill(pids[0], signal.SIGSTOP)

    outcome = rehearsal.drive(rehearsal.spec(lease=2.5), tmp_path / "study", observe)
    assert (outcome.word, outcome.retried) == ("complete", 1)
    assert not lease.start_time(pids[0])
    assert rehearsal.results(tmp_path / "study") == expected


def test_a_worker_that_wakes_after_its_successor_is_fenced_out(
    tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from steep.executors.local import Local

    stopped: dict[str, Any] = {}
    monkeypatch.setattr(Local, "kill", lambda self, trial, attempt: None)  # out of reach

    def observe(event: Event) -> None:
        if event.kind == Kind.STARTED and not stopped:
            stopped.update(event.payload, trial=event.trial)
            os.kill(stopped["pid"], signal.SIGSTOP)
        elif event.kind == Kind.STARTED and event.trial == stopped["trial"]:
            os.kill(stopped["pid"], signal.SIGCONT)

    values = rehearsal.spec(SLOWLY, lease=2.5)
    outcome = rehearsal.drive(values, tmp_path / "study", observe)
    assert (outcome.word, outcome.retried) == ("complete", 1)
    assert rehearsal.results(tmp_path / "study") == expected
    with Store.open(tmp_path / "study", read_only=True) as store:
        assert [a["state"] for a in store.attempts(stopped["trial"])] == ["failed", "done"]


# ---------------------------------------------------------------- F11: NaN and inf


@pytest.mark.parametrize(("kind", "step"), [("nan", 7), ("inf", 54)])
def test_a_loss_that_is_no_number_ends_the_trial_as_diverged(
    tmp_path: Path, kind: str, step: int
) -> None:
    values = rehearsal.spec(
        {"faults": [{"kind": kind, "step": step, "size": 4, "items": 250}]}, executor="inline"
    )
    outcome = rehearsal.drive(values, tmp_path / "study")
    assert (outcome.word, outcome.complete, outcome.diverged) == ("complete", 10, 2)
    with Store.open(tmp_path / "study", read_only=True) as store:
        bad = [m for m in store.measurements() if m.status == Status.DIVERGED]
        assert store.failures(bad[0].trial.id) == []
    for measured in bad:
        assert (measured.trial.size, measured.trial.items) == (4, 250)
        assert measured.steps == step
        assert measured.reason == f"validation_error is {kind} at step {step}"
        assert measured.validation_error is None
        assert all(point.step < step for point in measured.curve)


# ---------------------------------------------------------------- F13: a hang, by default


def test_a_trial_that_hangs_meets_a_deadline_nobody_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steep.executors.time_limits._SHORTEST", 1.0)
    hang = {"kind": "hang", "step": 5, "size": 2, "items": 250, "seed": 0}
    outcome = rehearsal.drive(rehearsal.spec({"faults": [hang]}), tmp_path / "study")
    assert (outcome.complete, outcome.timeout) == (11, 1)
    with Store.open(tmp_path / "study", read_only=True) as store:
        (reason,) = [row.reason for row in store.rows() if row.status == Status.TIMEOUT]
    assert "20 times what was predicted; run.timeout sets another" in (reason or "")


# ---------------------------------------------------------------- F5: the engine, killed mid-epoch


def test_a_killed_engine_trial_ends_with_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    data = Path(steep.__file__).parent / "data" / "fashion_mnist_14x14"
    names = {"train": "train", "validation": "validation", "test": "test"}
    values = rehearsal.spec(checkpoint=0.0, workers=1)
    values |= {
        "domain": {"name": "images"}
        | {part: f"{data}/{name}-images-idx3-ubyte.gz" for part, name in names.items()},
        "family": {"name": "resnet", "sizes": [2]},
        "shards": {"smallest": 125, "largest": 250},
        "trainer": {"name": "engine"},
        "stop": {"evaluations": 2, "patience": 1, "first": 10, "max_steps": 14},
    }
    values.pop("split")
    pids: list[int] = []

    def kill(event: Event) -> None:
        if event.kind == Kind.STARTED:
            pids.append(event.payload["pid"])
        # Step 11 of epochs of a few batches: between two evaluations, inside an epoch.
        if event.kind == Kind.CHECKPOINT and event.payload["step"] == 11 and len(pids) == 1:
            os.kill(pids[0], signal.SIGKILL)

    def first(trials: list[Trial], finished: Any, running: Any) -> list[TrialRequest]:
        return rehearsal.everything(trials[:1], finished, running)

    whole = rehearsal.drive(values, tmp_path / "whole", plan=first)
    killed = rehearsal.drive(values, tmp_path / "killed", kill, plan=first)
    assert (whole.retried, killed.retried) == (0, 1)
    expected = rehearsal.results(tmp_path / "whole")
    assert all(digest for digest, _ in expected.values())
    assert rehearsal.results(tmp_path / "killed") == expected
