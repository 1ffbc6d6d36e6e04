"""An engine that errs: what a session makes of it, with a clock of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from steep.contracts.executor import Event, Job, Kind
from steep.executors import mailbox, remote
from steep.executors.engine import State
from steep.executors.mailbox import Mailbox
from steep.records import Trial, settings
from steep.store.folder import StoreError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")
TRIAL = Trial(0, 10, 10.0, 2, settings({"learning_rate": 0.1}), 0)


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    made = Mailbox.create(tmp_path / "study")
    made.write(mailbox.WORKER, {"study": str(made.site)})
    return made


class _Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class _Scripted:
    """An engine that says what it is told to."""

    title = "Scripted"
    tells = True

    def __init__(self) -> None:
        self.said: dict[str, State] = {}
        self.refuses = self.cancel_fails = False
        self.broken: tuple[int, ...] = ()
        self.submitted = State("queued")
        self.asked: list[str] = []
        self.cancelled: list[str] = []

    def check(self, box: Mailbox) -> None: ...

    def submit(self, box: Mailbox, batch: str, count: int) -> Any:
        self.asked.append(batch)
        if self.refuses:
            raise StoreError("no")
        ids = [None if i in self.broken else f"id{i}" for i in range(count)]
        self.said |= {f"{batch}-{i}": self.submitted for i, one in enumerate(ids) if one}
        return ids

    def states(self, box: Mailbox, batches: Any) -> dict[str, State]:
        return self.said

    def cancel(self, box: Mailbox, batches: Any, worker: str | None = None) -> None:
        self.cancelled += [worker or name for name in batches]
        if self.cancel_fails:
            raise StoreError("scancel says no")


class _Stage:
    """A session, its engine and its clock."""

    def __init__(self, box: Mailbox, monkeypatch: pytest.MonkeyPatch, slots: int = 1) -> None:
        self.clock, self.engine, self.box = _Clock(), _Scripted(), box
        monkeypatch.setattr(remote, "time", self.clock)
        lock = os.open(os.devnull, os.O_RDONLY)
        self.session = remote.Session(box, lock, self.engine, slots)

    def post(self, *attempts: int) -> None:
        for number in attempts:
            self.session.post(number, (Job(self.box.site, TRIAL, number),))

    def passes(self, seconds: float) -> list[Event]:
        events = []
        for _ in range(round(seconds / 1.1)):
            self.clock.sleep(1.1)
            events += self.session.poll()
        return events

    def begins(self, place: str) -> str:
        """A worker begins, and takes a job."""
        self.box.write(f"workers/{place}.1.a", {"problem": None})
        self.engine.said[place] = State("running")
        taken = self.box.take(f"{place}.1.a")
        assert taken is not None
        return taken[0]


@pytest.fixture
def stage(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> _Stage:
    return _Stage(box, monkeypatch)


@pytest.fixture
def two(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> _Stage:
    return _Stage(box, monkeypatch, slots=2)


def ends(events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind != Kind.QUEUED]


def test_only_the_workers_that_did_not_start_are_asked_for_again(two: _Stage) -> None:
    two.engine.broken = (1,)
    two.post(1, 2)
    two.passes(1)
    assert two.engine.asked == ["w1"]
    assert two.engine.cancelled == ["w1-1"]  # it may have started all the same
    two.engine.broken = (0,)
    two.passes(60)
    assert 3 <= len(two.engine.asked) <= 7  # not every second
    two.engine.broken = ()
    two.passes(60)
    before = list(two.engine.asked)
    two.passes(60)
    assert two.engine.asked == before


def test_an_outage_of_status_charges_nobody(stage: _Stage) -> None:
    stage.post(1)
    stage.passes(3)
    stage.begins("w1-0")
    stage.passes(40)
    stage.engine.said["w1-0"] = State("ended", "has ended")
    for _ in range(18):
        assert ends(stage.passes(1.1)) == []
    stage.engine.said["w1-0"] = State("running")
    assert ends(stage.passes(60)) == []
    assert stage.engine.asked == ["w1"]
    stage.engine.said["w1-0"] = State("ended", "has ended")
    (lost,) = ends(stage.passes(90))
    assert (lost.kind, lost.payload) == (Kind.LOST, {"reason": "its worker has ended"})
    stage.post(2)
    stage.passes(3)
    assert stage.engine.asked == ["w1", "w2"]


def test_a_worker_that_does_not_obey_is_replaced_until_it_does(stage: _Stage) -> None:
    stage.engine.tells = False
    stage.post(1)
    stage.passes(3)
    name = stage.begins("w1-0")
    stage.passes(3)
    began = stage.clock.now
    stage.session.kill(name, TRIAL.id, 1)
    assert stage.clock.now - began < remote._OBEY + 1  # nobody can tell that it has ended
    assert stage.engine.cancelled == ["w1-0"]
    stage.post(2)
    stage.passes(3)
    assert stage.engine.asked == ["w1", "w2"]
    stage.engine.said.pop("w2-0")
    stage.box.release(name, "w1-0.1.a")  # it lives, after all
    stage.passes(60)
    assert stage.engine.asked == ["w1", "w2"]


def test_workers_are_asked_for_again_after_a_stop(stage: _Stage) -> None:
    stage.post(1)
    assert [event.kind for event in stage.session.ask_to_stop()] == [Kind.DRAINED]
    stage.passes(3)
    assert stage.engine.asked == []
    stage.post(2)
    stage.passes(3)
    assert stage.engine.asked == ["w1"]


def test_a_refusal_long_after_another_is_the_first(two: _Stage) -> None:
    two.post(1)
    two.passes(3)
    two.begins("w1-0")
    two.passes(3)
    two.engine.refuses = True
    two.post(2)
    two.passes(400)  # one worker goes on
    (name,) = [name for name, posted in two.session.posted.items() if not posted.worker]
    two.session.kill(name, TRIAL.id, 2)  # nothing is missing
    two.passes(5)
    assert two.session._refused is None
    names = two.engine.asked
    assert len(names) == len(set(names))  # no name twice: the engine may have taken one
    assert set(names[1:]) <= set(two.engine.cancelled)
    assert len(names) < 25


def test_a_lasting_refusal_ends_the_run_where_nobody_works(stage: _Stage) -> None:
    stage.engine.refuses = True
    stage.post(1)
    with pytest.raises(StoreError, match="no"):
        stage.passes(3)


def test_workers_that_were_cancelled_before_they_began_end_nothing(stage: _Stage) -> None:
    stage.post(1)
    for _ in range(300):
        for place in stage.engine.said:
            stage.engine.said[place] = State("ended", "was preempted", blame=False)
        stage.passes(1.1)
    assert len(stage.engine.asked) > 3
    for place in stage.engine.said:
        stage.engine.said[place] = State("ended", "failed")
    stage.begins(f"{stage.engine.asked[-1]}-0")
    stage.passes(60)


def test_a_batch_whose_driver_died_in_submitting_it_is_submitted_anew(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine was slow to answer, so it may have none of its workers, or start them yet."""
    box.write("submitted/w1", {"count": 1, "id": None})
    stage = _Stage(box, monkeypatch)
    stage.engine.said["w1-0"] = State("ended", "died")
    stage.post(1)
    stage.passes(60)
    assert stage.engine.asked[:1] == ["w2"]
    stage.begins("w2-0")
    stage.passes(10)


def test_workers_that_do_not_begin_end_nothing_while_another_works(two: _Stage) -> None:
    two.post(1, 2)
    two.passes(3)
    two.begins("w1-0")
    for _ in range(400):
        for place in set(two.engine.said) - {"w1-0"}:
            two.engine.said[place] = State("ended", "failed")
        two.passes(1.1)
    assert len(two.engine.asked) > 3
    two.engine.said["w1-0"] = State("ended", "failed")
    two.engine.submitted = State("ended", "failed")
    with pytest.raises(StoreError, match="never heard of"):
        two.passes(400)


def test_a_kill_that_the_engine_refuses_ends_nothing(stage: _Stage) -> None:
    stage.post(1)
    stage.passes(3)
    name = stage.begins("w1-0")
    stage.engine.cancel_fails = True
    assert stage.session.kill(name, TRIAL.id, 1) == []
