"""The trial store: claims, fencing, leases, what it refuses, and what it holds after damage."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from steep.contracts.executor import Event, Kind
from steep.records import Evaluation, Measurement, Status, Trial
from steep.spec import load
from steep.store import lease
from steep.store.database import Database
from steep.store.folder import load_checkpoint, save_checkpoint, write_items
from steep.store.store import Store, StoreError, compose_study_yaml, read_frozen, read_spec

SPEC = """
study: tiny
domain: {name: external, items: 100}
family: {sizes: [2, 4]}
shards: {smallest: 10}
trainer: {name: synthetic}
training: {learning_rate: 1e-3}
"""


def trial(number: int = 0) -> Trial:
    return Trial(0, 10, 10.0, 2 + number, (("learning_rate", 0.1),), 0)


def measured(of: Trial, status: Status = Status.COMPLETE, steps: int = 10) -> Measurement:
    point = Evaluation(steps, 100.0, 0.5, None, 0.25, 0.25)
    return Measurement(of, status, validation_error=0.25, steps=steps, seconds=1.5, curve=(point,))


def result(of: Trial, attempt: int, **changes: object) -> Event:
    return Event(Kind.RESULT, of.id, attempt, replace(measured(of), **changes))  # type: ignore[arg-type]


def failed(of: Trial, attempt: int) -> Event:
    return Event(Kind.FAILURE, of.id, attempt, {"reason": "broke", "detail": "where"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = compose_study_yaml(load.parse(SPEC, tmp_path), {"data.csv": "ab" * 32})
    Store.create(tmp_path / "study", text).close()
    return tmp_path / "study"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.open(folder) as opened:
        yield opened


def claim(store: Store, of: Trial, up_to_steps: int | None = None) -> int:
    attempt = store.claim(of, store.owner, up_to_steps)
    assert attempt is not None
    return attempt


# ---------------------------------------------------------------- the life of a trial


def test_a_result_is_kept_with_its_items_and_its_stamp(folder: Path, store: Store) -> None:
    store.add([trial(0), trial(1)], "grid")
    attempt = claim(store, trial(0))
    errors = {"count": np.ones(3), "error": np.array([0.0, 1.0, 0.5])}
    point = measured(trial(0)).curve[0]
    assert store.record(Event(Kind.STARTED, trial(0).id, attempt, {"pid": os.getpid()}))
    assert store.record(Event(Kind.PROGRESS, trial(0).id, attempt, point))
    assert store.record(Event(Kind.ITEMS, trial(0).id, attempt, errors))
    assert store.record(result(trial(0), attempt))
    store.close()
    with Store.open(folder, read_only=True) as again:
        assert again.measurements() == [measured(trial(0))]
        assert [row.status for row in again.rows()] == [Status.COMPLETE, Status.PLANNED]
        assert again.rows()[0].seconds == 1.5
        assert again.progress(trial(0).id) == [point]
        kept = again.items(trial(0).id)
        assert kept is not None
        assert {name: list(array) for name, array in kept.items()} == {
            name: list(array) for name, array in errors.items()
        }
        assert abs((again.stamp(trial(0).id) or 0) - time.time()) < 60
        assert again.stamp(trial(1).id) is None
        assert again.items(trial(1).id) is None


def test_adding_again_changes_nothing(store: Store) -> None:
    assert store.add([trial(0), trial(1)]) == 2
    store.record(result(trial(0), claim(store, trial(0))))
    assert store.add([trial(0), trial(1), trial(2)]) == 1
    assert len(store.measurements()) == 1


def test_a_trial_is_claimed_once_and_never_after_its_end(store: Store) -> None:
    store.add([trial()])
    attempt = claim(store, trial())
    assert store.claim(trial(), store.owner) is None
    store.record(result(trial(), attempt))
    assert store.claim(trial(), store.owner) is None
    assert store.claim(trial(5), store.owner) is None  # never planned


def test_only_the_current_attempt_is_heard(store: Store) -> None:
    store.add([trial()])
    first = claim(store, trial())
    store.record(failed(trial(), first))
    second = claim(store, trial())
    assert (first, second) == (1, 2)
    assert not store.record(result(trial(), first))
    assert not store.beat(trial().id, first)
    assert store.beat(trial().id, second)
    assert store.record(result(trial(), second))
    assert not store.record(result(trial(), second))  # not twice either
    assert not store.record(Event(Kind.HEARTBEAT, "no such trial", 1))


def test_what_a_trial_waited_for_its_worker_is_no_training(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = lease.now()
    monkeypatch.setattr(lease, "now", lambda: now)
    store.add([trial()])
    attempt = claim(store, trial())
    now += 3600
    assert store.rows()[0].seconds == pytest.approx(3600)
    store.record(Event(Kind.STARTED, trial().id, attempt, {"pid": 0}))
    now += 5
    assert store.rows()[0].seconds == pytest.approx(5)


def test_failures_are_counted_and_other_ends_are_not(store: Store) -> None:
    store.add([trial()])
    store.record(failed(trial(), claim(store, trial())))
    store.record(Event(Kind.DRAINED, trial().id, claim(store, trial()), {"step": 3}))
    lost = Event(Kind.LOST, trial().id, claim(store, trial()), {"reason": "x", "killed": True})
    store.record(lost)
    assert store.failures(trial().id) == ["broke"]
    states = [attempt["state"] for attempt in store.attempts(trial().id)]
    assert states == ["failed", "drained", "killed"]
    assert store.attempts(trial().id)[0]["detail"] == "where"
    end = Measurement(trial(), Status.FAILED, "broke (attempt 2 of 2)")
    store.record(failed(trial(), claim(store, trial())), final=end)
    assert store.measurements() == [end]
    assert store.claim(trial(), store.owner) is None


def test_forgiven_failures_are_planned_again_and_are_no_damage(folder: Path, store: Store) -> None:
    store.add([trial(0), trial(1)])
    end = Measurement(trial(0), Status.FAILED, "broke")
    store.record(failed(trial(0), claim(store, trial(0))), final=end)
    store.record(result(trial(1), claim(store, trial(1))))
    assert store.forgive() == 1
    assert store.failures(trial(0).id) == []
    store.close()
    with Store.open(folder) as again:
        assert again.measurements() == [measured(trial(1))]
        again.record(result(trial(0), claim(again, trial(0))))
    assert [row.measurement for row in Store.readable_results(folder)] == [
        measured(trial(0)),
        measured(trial(1)),
    ]


def test_a_stopped_trial_goes_on_for_more_steps_only(store: Store) -> None:
    store.add([trial()])
    rung = measured(trial(), Status.STOPPED, steps=10)
    store.record(Event(Kind.RESULT, trial().id, claim(store, trial(), 10), rung))
    assert store.claim(trial(), store.owner, 10) is None
    attempt = claim(store, trial(), 20)
    assert store.measurements() == [rung]
    store.record(failed(trial(), attempt))
    assert store.rows()[0].status == Status.STOPPED
    store.record(result(trial(), claim(store, trial())))
    assert store.measurements() == [measured(trial())]


def test_a_result_that_is_no_record_is_refused(store: Store) -> None:
    store.add([trial(0), trial(1)])
    attempt = claim(store, trial())
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.record(result(trial(), attempt, validation_error=float("nan")))
    with pytest.raises(ValueError, match="came from"):
        store.record(Event(Kind.RESULT, trial().id, attempt, measured(trial(1))))
    assert store.record(result(trial(), attempt))


def test_a_batch_is_kept_whole_or_not_at_all(folder: Path, store: Store) -> None:
    store.add([trial()])
    attempt = claim(store, trial())

    def interrupted() -> None:
        with store.batch():
            assert store.record(result(trial(), attempt))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert store.measurements() == []
    store.close()
    with Store.open(folder) as again:
        assert again.measurements() == []


def test_decisions_and_notes_are_logged_in_order(store: Store) -> None:
    store.decide("extend", {"size": 32})
    store.decide("stop", {"trial": "x"})
    store.note("a remark")
    made = [d.payload for d in store.decisions() if d.kind != "spec"]
    assert made == [{"size": 32}, {"trial": "x"}]
    assert [d.kind for d in store.decisions("stop")] == ["stop"]
    assert store.notes() == ["a remark"]


def test_files_are_written_inside_the_study_only(folder: Path, store: Store) -> None:
    store.write("results/trials.csv", b"a,b\n")
    store.write("results/trials.csv", b"a,b,c\n")
    assert (folder / "results/trials.csv").read_bytes() == b"a,b,c\n"
    assert [path.name for path in (folder / "results").iterdir()] == ["trials.csv"]
    for name in ("../outside", "/tmp/outside", "trials.sqlite"):
        with pytest.raises(StoreError, match="not a place"):
            store.write(name, b"")


def test_another_drivers_work_is_noticed(folder: Path, store: Store) -> None:
    assert not store.changed()
    with Store.open(folder) as other:
        other.add([trial()])
    assert store.changed()
    assert not store.changed()
    store.add([trial(1)])
    assert not store.changed()  # one's own is none


# ---------------------------------------------------------------- the frozen spec


def test_the_spec_comes_back_as_it_was_frozen(folder: Path, tmp_path: Path) -> None:
    frozen = read_frozen(folder)
    assert frozen.data == {"data.csv": "ab" * 32}
    assert frozen.loaded.base == tmp_path
    assert frozen.loaded.spec == load.parse(SPEC, tmp_path).spec
    assert read_spec(folder).spec.training == {"learning_rate": 1e-3}


@pytest.mark.parametrize("text", ["1e-3", "no", "null", "12", "true", "a: b", ".inf", "é"])
def test_strings_that_look_like_something_else_stay_strings(tmp_path: Path, text: str) -> None:
    values = load.parse(SPEC, tmp_path).spec.model_dump(mode="json")
    values["search"]["hyperparameters"] = {"learning_rate": [0.1]}
    values["training"] = {}
    values["domain"] = {"name": "external", "items": 100, "unit": text}
    loaded = load.parse(json.dumps(values, ensure_ascii=False), tmp_path)
    Store.create(tmp_path / "again", compose_study_yaml(loaded, {})).close()
    assert read_spec(tmp_path / "again").spec == loaded.spec


# ---------------------------------------------------------------- leases


def owned_by(store: Store, of: Trial, owner: lease.Owner, worker: int | None = None) -> None:
    store.add([of])
    attempt = store.claim(of, owner)
    assert attempt is not None
    if worker is not None:
        store.record(Event(Kind.STARTED, of.id, attempt, {"pid": worker}))


def test_a_dead_owner_loses_its_trials_at_once_and_its_worker_is_killed(store: Store) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    dead = replace(store.owner, pid=2**22 + 1, start="1", session="x")
    owned_by(store, trial(), dead, worker.pid)
    assert [gone.trial for gone in store.reclaim()] == [trial().id]
    assert worker.wait(5) == -9
    assert claim(store, trial()) == 2


def test_a_driver_between_two_trials_is_seen(folder: Path, store: Store) -> None:
    with Store.open(folder, read_only=True) as reader:
        assert not reader.driven(), "nobody has begun a trial"
    store.add([trial()], "grid")
    store.record(result(trial(), claim(store, trial())))
    with Store.open(folder, read_only=True) as reader:
        assert reader.driven()
        store.close()
        assert not reader.driven()


def test_a_number_used_again_is_not_the_dead_owner(store: Store) -> None:
    impostor = replace(store.owner, start="1", session="x")  # our number, another start
    owned_by(store, trial(), impostor)
    assert len(store.reclaim()) == 1


def test_a_live_owner_keeps_its_trials_until_they_expire(store: Store) -> None:
    alive = lease.Owner(**asdict(store.owner) | {"pid": 1, "start": lease.start_time(1)})
    store.lease = 0.6
    owned_by(store, trial(), alive)
    assert store.reclaim() == []
    time.sleep(0.65)
    assert store.beat(trial().id, 1)  # a sign of life, late but in time
    assert store.reclaim() == []
    time.sleep(0.65)
    assert [gone.attempt for gone in store.reclaim()] == [1]


def test_a_driver_that_runs_trials_itself_is_never_killed(store: Store) -> None:
    store.lease = 0.0
    inline = lease.Owner(**asdict(store.owner) | {"pid": 1, "start": lease.start_time(1)})
    owned_by(store, trial(), inline, worker=1)
    assert store.reclaim() == []


def test_a_store_that_was_closed_has_given_everything_up(folder: Path) -> None:
    with Store.open(folder) as first:
        first.add([trial()])
        claim(first, trial())
        with Store.open(folder) as second:
            assert second.reclaim() == []
    with Store.open(folder) as third:
        assert len(third.reclaim()) == 1


def test_a_rebooted_machine_has_no_owners_left(store: Store) -> None:
    owned_by(store, trial(), replace(store.owner, boot="before"))
    assert len(store.reclaim()) == 1


def test_a_wall_clock_that_jumps_changes_no_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(store, trial(), replace(store.owner, pid=1, start=lease.start_time(1)))
    for jump in (-3600.0, 3600.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: time.monotonic() + jump)
        assert store.reclaim() == []
        assert store.beat(trial().id, 1)


def test_another_machines_study_is_refused_until_taken_over(folder: Path, store: Store) -> None:
    far = replace(store.owner, host="elsewhere", boot="another")
    owned_by(store, trial(), far)
    store.close()
    with pytest.raises(StoreError, match=r"in use by process .* on elsewhere"):
        Store.open(folder)
    Store.open(folder, read_only=True).close()
    with Store.open(folder, take_over=True) as taken:
        assert claim(taken, trial()) == 2


def test_a_network_file_system_is_refused(tmp_path: Path, folder: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path}/far nfs4 rw 0 0\n")
    (tmp_path / "far").mkdir()
    assert lease.network_file_system(tmp_path / "far/study", str(mounts)) == "nfs4"
    assert lease.network_file_system(folder, str(mounts)) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "network_file_system", lambda path: "nfs4")
        for attempt in (lambda: Store.open(folder), lambda: Store.create(tmp_path / "n", "")):
            with pytest.raises(StoreError, match="network file system"):
                attempt()


# ---------------------------------------------------------------- many at once

_CLAIMER = """
import sys
from steep.store.store import Store
sys.path[:0] = {tests!r}
from test_store import trial, result
with Store.open({folder!r}) as store:
    won = [n for n in range(200) if store.claim(trial(n), store.owner) is not None]
    for n in won:
        assert store.record(result(trial(n), 1))
print(len(won))
"""


def test_four_drivers_claim_two_hundred_trials_once_each(folder: Path, store: Store) -> None:
    store.add([trial(n) for n in range(200)])
    code = _CLAIMER.format(tests=[str(p) for p in Path(__file__).parents[:2]], folder=str(folder))
    four = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    won = [int(process.communicate(timeout=120)[0]) for process in four]
    assert [process.returncode for process in four] == [0] * 4
    assert sum(won) == 200
    assert {row.status for row in store.rows()} == {Status.COMPLETE}
    assert {row.attempts for row in store.rows()} == {1}


class AnyOrder(RuleBasedStateMachine):
    """Whatever drivers do in whatever order, the store agrees with a plain dictionary."""

    numbers = st.integers(0, 3)

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(os.environ["PYTEST_TMP"]) / f"study-{time.monotonic_ns()}"
        text = compose_study_yaml(load.parse(SPEC, Path("/")), {})
        self.store = Store.create(self.home, text)
        self.status: dict[int, Status] = {}
        self.attempts: dict[int, int] = {}

    @rule(number=numbers)
    def add(self, number: int) -> None:
        assert self.store.add([trial(number)]) == (number not in self.status)
        self.status.setdefault(number, Status.PLANNED)
        self.attempts.setdefault(number, 0)

    @rule(number=numbers)
    def claim(self, number: int) -> None:
        attempt = self.store.claim(trial(number), self.store.owner)
        if self.status.get(number) == Status.PLANNED:
            self.attempts[number] += 1
            assert attempt == self.attempts[number]
            self.status[number] = Status.RUNNING
        else:
            assert attempt is None

    @rule(number=numbers, behind=st.integers(0, 1), kind=st.sampled_from(["result", "failure"]))
    def hear(self, number: int, behind: int, kind: str) -> None:
        attempt = self.attempts.get(number, 1) - behind
        event = (result if kind == "result" else failed)(trial(number), attempt)
        current = self.status.get(number) == Status.RUNNING and behind == 0
        assert self.store.record(event) == current
        if current:
            self.status[number] = Status.COMPLETE if kind == "result" else Status.PLANNED

    @precondition(lambda self: self.status)
    @rule()
    def reopen(self) -> None:
        """A driver that dies: another finds all that was recorded, and takes over the rest."""
        self.store.close()
        self.store = Store.open(self.home)
        gone = {reclaimed.trial for reclaimed in self.store.reclaim()}
        running = {n for n, status in self.status.items() if status == Status.RUNNING}
        assert gone == {trial(n).id for n in running}
        self.status |= dict.fromkeys(running, Status.PLANNED)

    @invariant()
    def agrees(self) -> None:
        found = {row.trial.size - 2: row.status for row in self.store.rows()}
        assert found == self.status
        complete = {n for n, status in self.status.items() if status == Status.COMPLETE}
        assert {m.trial.size - 2 for m in self.store.measurements()} == complete

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.home)


def test_any_order_of_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))
    state_machine = AnyOrder.TestCase
    state_machine.settings = settings(
        max_examples=15,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    state_machine().runTest()


# ---------------------------------------------------------------- damage


@pytest.fixture
def full(folder: Path) -> Path:
    """A study of 60 trials, 40 of them complete."""
    with Store.open(folder) as store:
        store.add([trial(n) for n in range(60)])
        for n in range(40):
            store.record(result(trial(n), claim(store, trial(n))))
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open(folder)
    return str(caught.value)


def test_a_flipped_page_is_noticed_and_its_study_restored(full: Path) -> None:
    path = full / "trials.sqlite"
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096, 5):
        data[page * 4096 : page * 4096 + 100] = bytes(100)
    path.write_bytes(data)
    assert "damaged" in refused(full)
    rows = Store.readable_results(full)
    assert len(rows) == 60
    assert [row.measurement for row in rows[:40]] == [measured(trial(n)) for n in range(40)]
    assert Store.restore(full) == (60, 40)
    with Store.open(full) as store:
        assert len(store.measurements()) == 40
        assert claim(store, trial(50)) == 1
    assert (full / "damaged-1/trials.sqlite").exists()


def test_a_flipped_digit_in_a_value_is_noticed(full: Path) -> None:
    path = full / "trials.sqlite"
    data = path.read_bytes()
    place = data.index(b'"validation_error":0.25')
    path.write_bytes(data[: place + 21] + b"7" + data[place + 22 :])
    message = refused(full)
    assert "fails its checksum" in message
    assert "steep salvage" in message


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9])
def test_a_truncated_database_is_noticed(full: Path, keep: float) -> None:
    path = full / "trials.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    assert "damaged" in refused(full)
    assert len(Store.readable_results(full)) == 60


def test_a_cut_journal_is_noticed_though_sqlite_takes_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "settle", lambda self: None)  # as where somebody reads meanwhile
    with Store.open(folder) as store:
        store.add([trial(n) for n in range(20)])
        for n in range(10):
            store.record(result(trial(n), claim(store, trial(n))))
        killed = tmp_path / "killed"  # the folder as a killed driver leaves it
        shutil.copytree(folder, killed)
    journal = killed / "trials.sqlite-wal"
    data = journal.read_bytes()
    journal.write_bytes(data[: len(data) * 2 // 3])
    with closing(sqlite3.connect(killed / "trials.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert "it has lost" in refused(killed)
    assert Store.restore(killed) == (20, 10)
    with Store.open(killed) as store:
        assert len(store.measurements()) == 10


def test_a_journal_and_a_log_that_are_both_cut_lose_no_result(folder: Path, tmp_path: Path) -> None:
    with Store.open(folder) as store:
        store.add([trial(n) for n in range(20)])
        for n in range(10):
            store.record(result(trial(n), claim(store, trial(n))))
        claim(store, trial(10))
        killed = tmp_path / "killed"
        shutil.copytree(folder, killed)
    for name in ("trials.sqlite-wal", "acknowledged.log"):
        data = (killed / name).read_bytes()
        (killed / name).write_bytes(data[: len(data) // 3])
    with Store.open(killed) as store:
        assert len(store.measurements()) == 10


def test_a_journal_cut_anywhere_is_said_or_costs_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads meanwhile, so that what is moved into the database stays in the journal, too:
    a prefix of it then hides, or is mixed with, what the database already has."""
    monkeypatch.setattr(Database, "settle", lambda self: None)
    with Store.open(folder) as store:
        store.add([trial(n) for n in range(3)])
        for n in range(3):
            attempt = claim(store, trial(n))
            store.note("begun", trial(n).id, attempt)
            store.record(result(trial(n), attempt))
        store.note("the last thing that was written")
        store._db.query("PRAGMA wal_checkpoint(PASSIVE)")
        whole = tmp_path / "whole"
        shutil.copytree(folder, whole)
    journal = (whole / "trials.sqlite-wal").read_bytes()
    frames = (len(journal) - 32) // (24 + 4096)
    assert frames > 12
    said = 0
    for kept in range(frames):
        cut = tmp_path / f"cut-{kept}"
        shutil.copytree(whole, cut)
        os.truncate(cut / "trials.sqlite-wal", 32 + kept * (24 + 4096))
        os.truncate(cut / "acknowledged.log", 0)
        try:
            with Store.open(cut):
                pass
        except StoreError as error:
            assert "steep salvage" in str(error)  # noqa: PT017
            said += 1
            assert Store.restore(cut) == (3, 3)
        with Store.open(cut) as store:
            assert len(store.measurements()) == 3
            assert store.notes()[-1].endswith("the last thing that was written")
    assert said > frames // 2


def test_a_lost_spec_costs_no_result(full: Path) -> None:
    frozen = (full / "study.yaml").read_bytes()
    held = (full / "trials.sqlite").read_bytes()
    (full / "study.yaml").unlink()
    assert "holds results" in refused(full)
    with pytest.raises(StoreError, match="holds results"):
        Store.create(full, frozen.decode())
    assert (full / "trials.sqlite").read_bytes() == held
    assert Store.restore(full) == (60, 40)
    assert (full / "study.yaml").read_bytes() == frozen
    with Store.open(full) as store:
        assert len(store.measurements()) == 40


def test_a_spec_that_was_edited_is_refused_and_put_back(full: Path) -> None:
    frozen = (full / "study.yaml").read_text()
    (full / "study.yaml").write_text(frozen.replace("seed: 0", "seed: 1"))
    assert "is not what this study was begun with" in refused(full)
    assert Store.restore(full) == (60, 40)
    assert (full / "study.yaml").read_text() == frozen


def test_a_flipped_bit_in_a_decision_is_noticed_and_recovery_keeps_the_decision(
    full: Path,
) -> None:
    with Store.open(full) as store:
        store.decide("forecast", {"error": 0.381})
    path = full / "trials.sqlite"
    data = path.read_bytes()
    assert data.count(b'"error": 0.381') == 1
    path.write_bytes(data.replace(b'"error": 0.381', b'"error": 0.281'))
    assert "decision 2 (forecast) fails its checksum" in refused(full)
    assert Store.restore(full) == (60, 40)
    with Store.open(full) as store:
        assert [d.payload for d in store.decisions("forecast")] == [{"error": 0.381}]


def test_a_study_in_use_is_not_recovered_and_one_that_is_whole_is_left_alone(full: Path) -> None:
    with Store.open(full), pytest.raises(StoreError, match="being run by another process"):
        Store.restore(full)
    before = (full / "trials.sqlite").read_bytes()
    assert Store.restore(full) == (60, 40)
    assert (full / "trials.sqlite").read_bytes() == before
    assert not list(full.glob("damaged-*"))


def test_a_copy_leaves_the_workers_of_its_original_alone(full: Path, tmp_path: Path) -> None:
    with Store.open(full) as store:
        store.lease = -1.0  # expired, as it is after a minute in which nobody tells the copy
        attempt = claim(store, trial(50))
        with subprocess.Popen(["sleep", "60"]) as worker:
            store.record(Event(Kind.STARTED, trial(50).id, attempt, {"pid": worker.pid}))
            copy = tmp_path / "copy"
            shutil.copytree(full, copy)
            with Store.open(copy) as other:
                assert other.reclaim() == []
                assert worker.poll() is None
                assert claim(other, trial(50)) == attempt + 1
            worker.kill()
        assert store.record(result(trial(50), attempt))


@pytest.mark.parametrize("name", ["items", "checkpoints", "results"])
def test_a_link_out_of_the_study_is_not_followed(full: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    if (full / name).exists():
        shutil.rmtree(full / name)
    (full / name).symlink_to(outside)
    with Store.open(full) as store, pytest.raises(StoreError, match="symbolic link"):  # noqa: PT012
        if name == "items":
            write_items(full, "x", {"count": np.ones(2)})
        elif name == "checkpoints":
            save_checkpoint(full, "x", 1, 1, b"state")
        else:
            store.write("results/trials.csv", b"")
    assert not list(outside.iterdir())


def test_a_lost_database_is_no_empty_study(full: Path) -> None:
    (full / "trials.sqlite").unlink()
    assert "is gone" in refused(full)
    assert Store.restore(full) == (60, 40)


def test_a_damaged_log_costs_nothing(full: Path) -> None:
    log = full / "acknowledged.log"
    log.write_bytes(log.read_bytes()[:-30])
    with Store.open(full) as store:
        assert len(store.measurements()) == 40
    assert len(Store.readable_results(full)) == 60
    log.unlink()
    with Store.open(full) as store:
        assert len(store.measurements()) == 40
    log_only = [row for row in Store.readable_results(full) if row.measurement]
    assert len(log_only) == 40


def test_what_is_no_study_is_said_so(tmp_path: Path, folder: Path) -> None:
    assert "holds no study" in refused(tmp_path)
    with pytest.raises(StoreError, match="already holds a study"):
        Store.create(folder, "")
    (folder / "study.yaml").write_text("nonsense: [")
    with pytest.raises(StoreError, match="damaged"):
        read_spec(folder)


def test_a_creation_that_was_killed_is_begun_again(folder: Path, tmp_path: Path) -> None:
    text = (folder / "study.yaml").read_text()
    (tmp_path / "half").mkdir()
    (tmp_path / "half/trials.sqlite").write_bytes(b"torn")
    with Store.create(tmp_path / "half", text) as store:
        assert store.rows() == []


# ---------------------------------------------------------------- a full disk


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk: Path) -> None:
    home = small_disk / "study"
    text = compose_study_yaml(load.parse(SPEC, Path("/")), {})
    filler = small_disk / "filler"
    acknowledged = 0
    with Store.create(home, text) as store:
        store.add([trial(n) for n in range(200)])
        filler.write_bytes(bytes(700_000))
        with pytest.raises(StoreError, match=r"no space left .* same command"):  # noqa: PT012
            for n in range(200):
                store.record(result(trial(n), claim(store, trial(n))))
                acknowledged += 1
        with pytest.raises(StoreError, match="no space left"):
            store.write("report.html", bytes(1_000_000))
    assert acknowledged > 5
    filler.unlink()
    assert not list(home.glob(".*.tmp"))
    with Store.open(home) as store:
        assert len(store.measurements()) >= acknowledged
        store.reclaim()
        n = acknowledged + 1
        assert store.record(result(trial(n), claim(store, trial(n))))


def test_a_checkpoint_that_does_not_fit_leaves_the_old_one_whole(small_disk: Path) -> None:
    save_checkpoint(small_disk, "t", 1, 10, b"old" * 1000)
    with pytest.raises(StoreError, match="no space left"):
        save_checkpoint(small_disk, "t", 1, 20, bytes(2_000_000))
    assert load_checkpoint(small_disk, "t")[1:] == (b"old" * 1000, [])
    assert len(list((small_disk / "checkpoints/t").iterdir())) == 1
    save_checkpoint(small_disk, "t", 1, 30, b"new" * 1000)
    assert load_checkpoint(small_disk, "t")[1:] == (b"new" * 1000, [])
