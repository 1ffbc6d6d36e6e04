"""Workers on other machines: the mailbox, and the executor by command templates with an engine of
plain processes. The real engines are in tests/cluster."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import far as bench
import rehearsal
from far import STAND_IN, Expected
from faults.conftest import Driven
from steep.contracts.executor import Event, Job, Kind, Lasting
from steep.executors import mailbox, pilot, remote
from steep.executors.command import Commands, Options, open_engine
from steep.executors.engine import State
from steep.executors.mailbox import Mailbox, pack, unpack
from steep.executors.pilot import Outbox
from steep.records import Evaluation, Measurement, Status, Trial, settings
from steep.spec.load import SpecError, from_values
from steep.spec.sections import Run
from steep.store import lease
from steep.store.folder import StoreError
from steep.store.store import Store
from steep.study import Study

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")
TRIAL = Trial(0, 10, 10.0, 2, settings({"learning_rate": 0.1}), 0)


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    made = Mailbox.create(tmp_path / "study")
    made.write(mailbox.WORKER, {"study": str(made.site)})
    return made


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Driven]:
    driven = Driven(tmp_path, STAND_IN)  # type: ignore[arg-type]
    yield driven
    driven.close()
    for session in remote.abandoned(driven.folder):
        session.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    driven = Driven(tmp_path_factory.mktemp("expected"), "inline")
    driven.spec({"seconds_per_step": 0.0})
    assert driven.steep().code == 0
    return driven.table()


# ---------------------------------------------------------------- the mailbox


def events() -> list[Event]:
    point = Evaluation(5, 50.0, 0.25, None, 0.5, 0.125)
    result = Measurement(TRIAL, Status.COMPLETE, validation_error=0.1, curve=(point,))
    items = {"sums": np.array([0.5, np.nan, 1e-300]), "counts": np.arange(3)}
    kinds = {
        Kind.STARTED: {"pid": 7},
        Kind.PROGRESS: point,
        Kind.CHECKPOINT: {"step": 5, "file": "a"},
        Kind.NOTE: {"text": "nö \udcff"},
        Kind.ITEMS: items,
        Kind.RESULT: result,
        Kind.FAILURE: {"reason": "x", "cause": "oom"},
    }
    return [Event(kind, TRIAL.id, 3, payload) for kind, payload in kinds.items()]


def test_every_event_comes_out_as_it_went_in() -> None:
    for sent, got in zip(events(), unpack(pack(events())), strict=True):
        assert (sent.kind, sent.trial, sent.attempt) == (got.kind, got.trial, got.attempt)
        if sent.kind == Kind.ITEMS:
            for name, array in sent.payload.items():
                np.testing.assert_array_equal(got.payload[name], array)
                assert got.payload[name].dtype == array.dtype
        else:
            assert sent.payload == got.payload


def test_any_cut_and_any_flipped_bit_of_a_message_is_noticed() -> None:
    data = pack(events()[:3])
    for length in range(len(data)):
        with pytest.raises(ValueError, match="checksum"):
            unpack(data[:length])
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 4
        with pytest.raises(ValueError, match="checksum"):
            unpack(bytes(flipped))


def test_a_job_comes_out_as_it_went_in(box: Mailbox) -> None:
    jobs = [Job(box.site, TRIAL, 2, 50, True), Job(box.site, TRIAL, 3)]
    name = box.post(1, jobs)
    assert box.jobs() == {name: tuple(jobs)}
    assert box.take("w1-0.1.a") == (name, tuple(jobs))
    assert box.taken() == {name: "w1-0.1.a"}
    assert box.take("w1-0.1.a") is None


def test_no_job_is_taken_twice(box: Mailbox) -> None:
    for number in range(100):
        box.post(number, [Job(box.site, TRIAL, number)])

    def take(worker: str) -> list[str]:
        got = []
        while (job := box.take(worker)) is not None:
            got.append(job[0])
        return got

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(take, ["a", "b", "c", "d"]))
    assert sorted(name for part in parts for name in part) == sorted(box.jobs())
    assert all(part == sorted(part) for part in parts)  # first come, first served


def test_a_job_that_was_withdrawn_is_not_taken(box: Mailbox) -> None:
    name = box.post(1, [Job(box.site, TRIAL, 1)])
    assert box.withdraw(name)
    assert not box.withdraw(name)
    assert box.take("a") is None


def test_a_torn_message_is_tried_again_then_dropped_with_a_note(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (Job(box.site, TRIAL, 3),)
    known = {"n": job}
    data = pack(events()[:1])
    (box.folder / "new/n.a000001").write_bytes(data[:-5])
    box.put_message("n.a000002", pack(events()[1:2]))
    assert [e.kind for _, got in box.receive(known) for e in got] == [Kind.PROGRESS]
    assert box.receive(known) == []  # still waited for
    (box.folder / "new/n.a000001").write_bytes(data)
    assert [e.kind for _, got in box.receive(known) for e in got] == [Kind.STARTED]
    (box.folder / "new/n.a000003").write_bytes(data[:-5])
    assert box.receive(known) == []
    monkeypatch.setattr(mailbox, "_TORN", -1.0)
    ((_, (note,)),) = box.receive(known)
    assert (note.kind, note.trial, note.attempt) == (Kind.NOTE, TRIAL.id, 3)
    assert "dropped" in note.payload["text"]
    assert box.receive(known) == []
    assert box.names("new") == []


def test_messages_are_removed_only_after_they_were_recorded(box: Mailbox) -> None:
    name = box.post(1, [Job(box.site, TRIAL, 3)])
    box.put_message(f"{name}.a000001", pack(events()))
    assert len(box.receive({name: box.jobs()[name]})) == 1
    # a driver that dies here has recorded nothing: the next one reads it again
    again = Mailbox(box.folder)
    assert len(again.receive({name: box.jobs()[name]})) == 1
    again.ended(name)
    assert again.receive({}) == []
    assert again.names("new") == []
    assert again.jobs() == {}


def session(box: Mailbox) -> remote.Session:
    made = remote.Session(box, os.open(os.devnull, os.O_RDONLY), _Deaf(), 1)
    made._survey = list  # type: ignore[method-assign]  # mail alone
    return made


class _Deaf:
    """An engine that starts nothing."""

    title = "Deaf"
    tells = False

    def check(self, box: Mailbox) -> None: ...
    def submit(self, box: Mailbox, batch: str, count: int) -> None: ...
    def states(self, box: Mailbox, batches: Any) -> dict[str, State]:
        return {}

    def cancel(self, box: Mailbox, batches: Any, worker: str | None = None) -> None: ...


def test_what_a_worker_sends_after_it_was_given_up_is_thrown_away(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_OBEY", 0.1)
    made = session(box)
    made.post(1, (Job(box.site, TRIAL, 3),))
    (name,) = made.posted
    box.take("w1-0.1.a")
    outbox = Outbox(box, name, "a", box.jobs()[name])
    outbox.deliver(events()[:1])
    (started,) = made.poll()
    assert started.payload == {"pid": 0}  # a process of some machine is not the driver's to kill
    assert made.kill(name, TRIAL.id, 3) == []
    assert box.ordered(name) == "kill"
    outbox.deliver(events()[5:6])  # the result, of an attempt that is no more
    assert made.poll() == []
    assert box.names("new") == []


def test_an_event_of_another_attempt_is_thrown_away(box: Mailbox) -> None:
    made = session(box)
    made.post(1, (Job(box.site, TRIAL, 4),))
    (name,) = made.posted
    Outbox(box, name, "a").deliver(events())  # of attempt 3
    assert made.poll() == []


def test_a_last_message_waits_for_space(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "_FULL", 0.01)
    refusals = iter([True, True, False])
    write = mailbox.write_atomic

    def full(folder: Path, name: str, data: bytes, flush: bool) -> None:
        if next(refusals, False):
            raise StoreError("no space left on the disk")
        write(folder, name, data, flush)

    monkeypatch.setattr(mailbox, "write_atomic", full)
    Outbox(box, "n", "a").deliver(events())
    assert box.names("new") == ["n.a000001"]


def test_of_a_trial_only_its_end_waits_for_the_disk(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    name = box.post(1, [Job(box.site, TRIAL, 3)])
    outbox = Outbox(box, name, "a")
    outbox._flush([Event(Kind.HEARTBEAT, TRIAL.id, 3, {})])
    outbox._flush(events()[:3])
    assert flushed == []
    outbox.deliver(events()[5:6])
    assert len(flushed) == 2  # the file and its folder


def test_a_job_that_a_crash_of_the_machine_left_empty_is_none(box: Mailbox) -> None:
    torn, whole = (box.post(number, [Job(box.site, TRIAL, number)]) for number in (1, 2))
    (box.folder / f"jobs/{torn}.json").write_bytes(b"")
    again = session(box)
    assert again.adopt({(TRIAL.id, 1), (TRIAL.id, 2)}) == [(Job(box.site, TRIAL, 2),)]
    assert box.take("a") == (whole, (Job(box.site, TRIAL, 2),))
    assert box.names("queue") == []


def test_a_job_whose_driver_died_before_it_was_queued_is_queued_by_the_next(box: Mailbox) -> None:
    names = [box.post(number, [Job(box.site, TRIAL, number)]) for number in range(4)]
    box.remove(f"queue/{names[0]}")  # as if never written
    assert box.take("a") is not None  # the second one, which is being trained
    assert box.take("a") is not None  # the third one, which has ended
    box.release(names[2], "a")
    box.put_message(f"{names[2]}.a000001", pack(events()))
    adopted = session(box).adopt([(TRIAL.id, number) for number in range(4)])
    assert sorted(job.attempt for (job,) in adopted) == [0, 1, 2, 3]
    assert box.names("queue") == [names[0], names[3]]


def test_a_driver_serves_a_session_alone(box: Mailbox) -> None:
    lock = remote._lock(box, own=True)
    assert lock is not None
    assert remote._lock(box) is None
    os.close(lock)
    again = remote._lock(box)
    assert again is not None
    os.close(again)


def test_a_session_that_is_half_removed_is_none(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.folder for one in mailbox.sessions(box.site)] == [box.folder]
    monkeypatch.setattr(mailbox.shutil, "rmtree", lambda *_, **__: None)
    box.close()
    assert box.folder.is_dir()
    assert mailbox.sessions(box.site) == []


def test_a_session_that_its_driver_ends_at_this_moment_is_passed_over(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write(mailbox.WORKER, {"study": str(box.site), "executor": STAND_IN})
    adopt = remote.Session.adopt

    def late(self: remote.Session, attempts: Any) -> Any:
        self.box.close()
        return adopt(self, attempts)

    monkeypatch.setattr(remote.Session, "adopt", late)
    assert remote.Remote(box.site, box.site, _Deaf(), 1, {}).adopt([]) == []
    later = Mailbox.create(box.site)
    later.write(mailbox.WORKER, {"study": str(box.site), "executor": STAND_IN})
    later.folder.joinpath("submitted").rmdir()
    remote.end_abandoned(box.site)
    assert mailbox.places(box.site) == {}


def test_a_session_is_left_alone_while_its_attempts_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where their driver was in another container, which nobody can look into."""
    study = tmp_path / "study"
    rehearsal.drive(rehearsal.spec(executor="inline"), study)
    with Store.open(study) as store:
        store.add([TRIAL])
        other = replace(store.owner, space="another", session="another")
        attempt = store.claim(TRIAL, other)
        assert attempt is not None
        box = Mailbox.create(study)
        box.write(mailbox.WORKER, {"study": str(study), "executor": STAND_IN})
        box.post(1, [Job(study, TRIAL, attempt)])
        remote.end_abandoned(study)
        assert mailbox.sessions(study) != []
        monkeypatch.setattr(lease, "forfeited", lambda *_: "its lease has ended")
        assert len(store.reclaim()) == 1
        remote.end_abandoned(study)
        assert mailbox.sessions(study) == []


# ---------------------------------------------------------------- commands


def commands(**options: Any) -> Commands:
    given = {"submit": "true {script}", "status": "true", "cancel": "true"}
    return open_engine(Options.model_validate(given | options))


def test_a_worker_without_an_id_is_cancelled_by_its_name(box: Mailbox) -> None:
    engine = commands(cancel=f"echo {{name}} >>{box.folder}/ended")
    engine.cancel(box, {"w1": {"count": 2, "id": ["", "7"]}, "w2": {"count": 1, "id": None}})
    ended = (box.folder / "ended").read_text().split()
    assert [name.partition("-w")[2] for name in ended] == ["1-0", "1-1", "2-0"]
    engine = commands(cancel=f"echo {{id}} >>{box.folder}/ended")
    engine.cancel(box, {"w1": {"count": 2, "id": ["", "7"]}})
    assert (box.folder / "ended").read_text().split()[3:] == ["7"]


def test_workers_that_start_are_known_though_another_does_not(box: Mailbox) -> None:
    engine = commands(submit="echo {name}; case {name} in *-1) exit 3;; esac; : {script}")
    first, failed, last = engine.submit(box, "w1", 3)
    assert failed is None
    assert str(first).endswith("w1-0")
    assert str(last).endswith("w1-2")
    assert set(engine.states(box, {"w1": {"count": 3, "id": [first, None, last]}}) or ()) == {
        "w1-0",
        "w1-2",
    }


# ---------------------------------------------------------------- whole studies


def test_a_study_has_the_bits_that_it_has_inline(tmp_path: Path) -> None:
    kinds: set[Kind] = set()
    outcome = rehearsal.drive(
        rehearsal.spec(executor=STAND_IN), tmp_path / "far", lambda e: kinds.add(e.kind)
    )
    assert (outcome.word, outcome.complete, outcome.retried) == ("complete", 12, 0)
    rehearsal.drive(rehearsal.spec(executor="inline"), tmp_path / "near")
    assert rehearsal.results(tmp_path / "far") == rehearsal.results(tmp_path / "near")
    assert {Kind.QUEUED, Kind.STARTED, Kind.PROGRESS, Kind.ITEMS} <= kinds
    assert not (tmp_path / "far/mail").exists()


def test_a_driver_that_is_killed_leaves_workers_that_go_on(far: Driven, expected: Expected) -> None:
    bench.f2_workers_outlive_their_driver(far, expected)


def test_a_driver_that_is_killed_finds_what_it_had_queued(far: Driven, expected: Expected) -> None:
    late = {"submit": "(sleep 15; exec sh {script}) >{output} 2>&1 & echo $!"}
    far.executor = STAND_IN | late  # type: ignore[assignment]
    bench.a_killed_driver_finds_what_it_had_queued(far, expected)


def test_a_trial_that_is_killed_is_charged_alone(far: Driven, expected: Expected) -> None:
    bench.f1_a_killed_trial_costs_itself_an_attempt(far, expected)


def test_a_worker_that_is_killed_is_replaced(far: Driven, expected: Expected) -> None:
    bench.a_killed_worker_is_replaced(far, expected)


def test_a_stop_request_saves(far: Driven, expected: Expected) -> None:
    bench.f4_a_stop_request_saves(far, expected)


def test_bad_trials_end_alone(far: Driven) -> None:
    bench.f12_f13_f14_bad_trials_end_alone(far)


def test_the_end_of_the_walltime_charges_nobody(far: Driven) -> None:
    far.executor = STAND_IN | {"walltime": "25s", "grace": "10s"}  # type: ignore[assignment]
    bench.walltime_in_mid_trial_charges_nobody(far, 0.5)


def test_local_workers_go_on_with_it(far: Driven, expected: Expected) -> None:
    bench.goes_on_elsewhere(far, "local", expected)


def test_another_driver_takes_over_while_it_runs(far: Driven, expected: Expected) -> None:
    """Two drivers; one is killed; the other one goes on with the trials of both."""
    far.spec(bench.SLOWLY)
    first = far.start()
    far.wait("begins", 1)
    second = far.start()
    far.wait("begins", 3)
    first.send_signal(signal.SIGKILL)
    assert far.ended(second).code == 0
    assert far.table() == expected
    bench.each_ran_once(far)


def test_workers_may_see_another_folder_than_the_study_lies_in(
    far: Driven, expected: Expected, tmp_path: Path
) -> None:
    """As where the study is on a local disk, and what the machines share is a network's."""
    shared = tmp_path / "shared"
    shared.mkdir()
    far.executor = STAND_IN | {"shared": str(shared)}  # type: ignore[assignment]
    bench.f2_workers_outlive_their_driver(far, expected)
    (site,) = shared.iterdir()
    left = list((site / "checkpoints").iterdir())
    assert len(left) <= 2  # of the last to end: until the next message, they may not be recorded
    assert not list((far.folder / "checkpoints").glob("*/*"))
    assert not (site / "trials.sqlite").exists()


def test_a_later_study_of_the_same_path_has_another_site(tmp_path: Path) -> None:
    """So it does not go on from the earlier one's checkpoints."""
    study, shared = tmp_path / "study", tmp_path / "shared"
    shared.mkdir()

    def site() -> Path:
        (study / "shards").mkdir(parents=True, exist_ok=True)
        (study / "study.yaml").write_text("spec: {}")
        return mailbox.prepare_site(study, str(shared))

    first = site()
    assert site() == first
    box = Mailbox.create(first)
    about = {"study": str(study), "token": mailbox.token(study)}
    box.write(mailbox.WORKER, about | {"executor": STAND_IN})
    (one,) = remote.abandoned(study)
    os.close(one._lock)
    box.write(mailbox.WORKER, about | {"executor": STAND_IN, "token": "of another study"})
    assert list(remote.abandoned(study)) == []
    assert mailbox.sessions(study) != []  # it is not this study's to remove
    subprocess.run(["rm", "-r", study], check=True)
    assert site() != first
    assert mailbox.sessions(study) == []


def test_a_copy_leaves_the_workers_of_the_original_alone(far: Driven, expected: Expected) -> None:
    far.spec(bench.SLOWLY)
    process = far.start()
    far.wait("begins", 2)
    process.kill()
    process.wait()
    copy = Driven(far.place, "inline")
    subprocess.run(["cp", "-a", far.folder, far.place / "copy"], check=True)
    copy.spec(bench.SLOWLY)
    assert copy.steep("run", "s.yaml", "--out", "copy").code == 0
    assert not (far.place / "copy/mail").exists()
    far.spec(bench.SLOWLY)
    assert far.steep().code == 0
    assert far.table() == expected
    assert [state for _, state, _ in far.attempts()] == ["done"] * 12


# ---------------------------------------------------------------- refusals


def drive(folder: Path, **change: Any) -> None:
    rehearsal.drive(rehearsal.spec(executor=STAND_IN | change), folder)


def test_workers_that_do_not_see_the_folder_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_LAG", 1.0)
    with pytest.raises(StoreError, match=r"never heard of: either its machine does not see"):
        drive(tmp_path / "study", submit="true {script}; echo 1", status="false")
    with Store.open(tmp_path / "study", read_only=True) as store:
        assert {row.status for row in store.rows()} == {Status.PLANNED}


def test_what_a_worker_printed_that_did_not_start_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_LAG", 1.0)
    with pytest.raises(StoreError, match="no-such-python"):
        drive(tmp_path / "study", python="no-such-python", status="false")


def test_a_submit_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"failed, exit code 3\n  no such queue"):
        drive(tmp_path / "study", submit="echo no such queue; exit 3; {script}")


def test_another_version_on_the_workers_machine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = pilot.versions() | {"torch": "1.0"}
    monkeypatch.setattr(remote, "versions", lambda: theirs)
    with pytest.raises(StoreError, match=r"the driver 1\.0: install the same one there"):
        drive(tmp_path / "study")


def test_a_shared_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"run\.executor\.shared: there is no folder /nowhere"):
        drive(tmp_path / "study", shared="/nowhere")


def test_a_job_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    said = pilot.serve(tmp_path / "worker.json")
    assert said is not None
    assert "does this machine see the study's folder?" in said


def test_a_function_of_this_process_is_refused(tmp_path: Path) -> None:
    values = rehearsal.spec(executor=STAND_IN)
    values["trainer"] = {"name": "function"}
    study = Study(values, tmp_path / "study", trainer=lambda shard, size, seed: 0.5)
    with pytest.raises(StoreError, match="name it in the spec"):
        study.run(progress=False)


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ({"name": "command"}, "run.executor.submit: missing"),
        ({"name": "command", "submit": "sbatch"}, "has no {script}"),
        ({"name": "command", "submit": "x {script} {where}"}, "may name {script}"),
        ({"name": "local", "slots": 3}, "run.executor.slots: unknown key"),
        ({"name": "slurm", "resources": {"memory": "much"}}, "is no amount of memory"),
        ({"name": "slurm", "walltime": "5"}, "is no duration"),
        ({"name": "slurmm"}, "did you mean 'slurm'?"),
    ],
)
def test_a_wrong_section_is_told_with_its_path(executor: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_values(rehearsal.spec() | {"run": {"executor": executor}})
    assert message in str(caught.value)


def test_it_outlives_the_driver_by_contract(tmp_path: Path) -> None:
    engine = open_engine(Options.model_validate({k: v for k, v in STAND_IN.items() if k != "name"}))
    assert isinstance(remote.Remote(tmp_path, tmp_path, engine, 1, {}), Lasting)
    from steep.executors import inline

    assert not isinstance(inline.open_executor(tmp_path, Run()), Lasting)


def test_orders_and_the_end_of_a_session_are_seen(box: Mailbox) -> None:
    assert box.ordered("n") == ""
    box.order("n", "stop")
    assert box.ordered("n") == "stop"
    box.order(mailbox.ALL, "end")
    assert box.ordered() == "end"
    box.close()
    with pytest.raises(mailbox.Gone):
        box.ordered("n")
    with pytest.raises(mailbox.Gone):
        Outbox(box, "n", "a").deliver(events())
