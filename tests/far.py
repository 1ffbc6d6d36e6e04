"""What must hold wherever workers run on other machines: faults, injected from outside.

Each function takes a study of twelve trials (``faults.conftest.Driven``) whose executor is one of
these, and what its trials measure when nothing goes wrong. Here all machines are this one, so that
the processes of workers can be reached."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.conftest import Driven, until
from steep.executors.mailbox import sessions
from steep.store import lease

Expected = dict[tuple[str, ...], str]
SLOWLY = {"seconds_per_step": 0.05}
STAND_IN: dict[str, Any] = {
    "name": "command",
    "submit": "sh {script} >{output} 2>&1 & echo $!",
    "status": "kill -0 {id}",
    "cancel": "kill {id}",
    "slots": 2,
}
"""An engine of plain processes."""


def charged(far: Driven) -> list[str]:
    """The trials of the attempts that count as failures."""
    return [trial for trial, state, _ in far.attempts() if state == "failed"]


def each_ran_once(far: Driven) -> None:
    begun = Counter(line[1] for line in far.lines("begins"))
    assert sorted(begun.values()) == [1] * 12
    assert len(far.lines("ends")) == 12
    assert [state for _, state, _ in far.attempts()] == ["done"] * 12


def nothing_is_left(far: Driven) -> None:
    """No worker, and no mail."""
    until(lambda: not far.workers(), "the end of the workers")
    assert sessions(far.folder) == []


def results_are_the_same(far: Driven, expected: Expected) -> None:
    far.spec({"seconds_per_step": 0.0})
    assert far.steep().code == 0
    assert far.table() == expected
    each_ran_once(far)
    nothing_is_left(far)


def f1_a_killed_trial_costs_itself_an_attempt(far: Driven, expected: Expected) -> None:
    far.spec(SLOWLY)
    process = far.start()
    victim = far.running(1)[-1]
    os.kill(int(victim[3]), signal.SIGKILL)
    assert far.ended(process).code == 0
    assert far.table() == expected
    assert charged(far) == [victim[1]]
    assert len(far.lines("ends")) == 12


def a_killed_worker_is_replaced(far: Driven, expected: Expected) -> None:
    """The process that takes trials, not the trial's own."""
    far.spec(SLOWLY)
    process = far.start()
    victim = far.running(1)[-1]
    os.kill(parent(int(victim[3])), signal.SIGKILL)
    assert far.ended(process).code == 0
    assert far.table() == expected
    assert set(charged(far)) <= {victim[1]}
    assert victim[1] in [trial for trial, state, _ in far.attempts() if state != "done"]


def f2_workers_outlive_their_driver(far: Driven, expected: Expected) -> None:
    far.spec(SLOWLY)
    process = far.start()
    far.wait("begins", 2)
    process.kill()
    process.wait()
    far.wait("ends", 2)
    assert far.steep().code == 0
    assert far.table() == expected
    each_ran_once(far)
    nothing_is_left(far)


def a_killed_driver_finds_what_it_had_queued(far: Driven, expected: Expected) -> None:
    """The engine holds the workers back until long after the kill."""
    far.spec({"seconds_per_step": 0.0})
    process = far.start()
    until(lambda: len(list(far.folder.glob("mail/*/queue/0*"))) == 2, "two trials in the queue")
    process.kill()
    process.wait()
    assert "queued" in far.steep("status", "st").out
    assert not far.lines("begins")
    ended = far.steep()
    assert ended.code == 0, ended.said
    assert far.table() == expected
    each_ran_once(far)


def f3_killed_again_and_again(far: Driven, expected: Expected) -> None:
    far.spec(SLOWLY)
    acknowledged: set[str] = set()
    for kill in range(3):
        process = far.start()
        far.wait("begins", 3 * kill + 1)
        time.sleep(0.3 * kill)
        far.kill_all(process)
        done = {trial for trial, state, _ in far.attempts() if state == "done"}
        assert acknowledged <= done
        acknowledged = done
    assert far.steep().code == 0
    assert [state for _, state, _ in far.attempts()].count("done") == 12
    assert far.table() == expected


def f4_a_stop_request_saves(far: Driven, expected: Expected) -> None:
    far.spec(SLOWLY)
    process = far.start()
    far.wait("begins", 2)
    process.send_signal(signal.SIGINT)
    assert far.ended(process).code == 130
    nothing_is_left(far)
    assert not charged(far)
    assert {state for _, state, _ in far.attempts()} <= {"done", "drained"}
    assert far.steep().code == 0
    assert far.table() == expected


def f4_twice_stops_at_once(far: Driven) -> None:
    far.spec({"faults": [{"kind": "hang", "step": 1}]})
    process = far.start()
    far.wait("begins", 2)
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert far.ended(process).code == 130
    nothing_is_left(far)
    assert not charged(far)


def f6_two_drivers_share_a_study(far: Driven, expected: Expected) -> None:
    far.spec({"seconds_per_step": 0.01})
    both = [far.start(), far.start()]
    assert [far.ended(process).code for process in both] == [0, 0]
    assert far.table() == expected
    assert len(far.lines("ends")) == 12


def f7_a_worker_that_wakes_after_its_successor(far: Driven, expected: Expected) -> None:
    far.spec(SLOWLY, {"lease": 6.0})
    process = far.start()
    stopped = far.running(1)[-1]
    both = [parent(int(stopped[3])), int(stopped[3])]
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: stopped[1] in charged(far), "the end of the lease")
    for pid in both:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert far.ended(process).code == 0
    assert far.table() == expected
    assert charged(far) == [stopped[1]]


def f8_a_full_disk_is_told_and_nothing_is_lost(far: Driven, expected: Expected) -> None:
    """Of the study, its mailbox and its checkpoints."""
    far.folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", far.folder], check=True)
    try:
        far.spec(SLOWLY)
        process = far.start()
        far.wait_done(2)
        filler = far.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        ended = far.ended(process)
        assert ended.code == 2
        assert "no space left on the disk" in ended.err
        filler.unlink()
        assert far.steep().code == 0
        assert far.table() == expected
        assert not charged(far)
    finally:
        until(lambda: not far.workers(), "the end of the workers")
        subprocess.run(["umount", "-l", far.folder], check=True)


def f9_a_damaged_checkpoint_is_passed_over(far: Driven, expected: Expected) -> None:
    far.spec(SLOWLY)
    process = far.start()
    far.wait("begins", 2)
    saved = far.folder / "checkpoints"
    until(lambda: len(list(saved.glob("*/*.checkpoint"))) >= 4, "four checkpoints")
    far.kill_all(process)
    for trial in saved.iterdir():
        for last in sorted(trial.glob("*.checkpoint"))[-1:]:
            last.write_bytes(last.read_bytes()[:-3])
    assert far.steep().code == 0
    assert far.table() == expected
    notes = [text for (text,) in far.rows("SELECT text FROM notes")]
    assert any("fails its checksum" in text for text in notes)


def f11_nan_ends_a_trial_as_diverged(far: Driven) -> None:
    far.spec({"faults": [{"kind": "nan", "step": 20, "size": 4, "seed": 1}]})
    assert far.steep().code == 0
    assert Counter(far.states()) == {"complete": 9, "diverged": 3}


def f12_f13_f14_bad_trials_end_alone(far: Driven) -> None:
    """Memory, a hang, and a trial that always dies."""
    faults = [
        {"kind": "oom", "step": 5, "size": 4, "items": 250, "seed": 0},
        {"kind": "hang", "step": 5, "size": 4, "items": 500, "seed": 0},
        {"kind": "die", "step": 5, "size": 4, "items": 1000, "seed": 0},
    ]
    far.spec({"faults": faults}, {"timeout": 20.0})
    assert far.steep().code == 1
    assert Counter(far.states()) == {"complete": 9, "failed": 2, "timeout": 1}
    reasons = Counter(
        reason.partition(":")[0].partition(",")[0]
        for _, state, reason in far.attempts()
        if state == "failed"
    )
    died = "the worker ended without a word"
    assert reasons == {"oom": 2, "timeout": 1, died: 3}


def walltime_in_mid_trial_charges_nobody(far: Driven, seconds_per_step: float) -> None:
    """Two trials, each of which takes longer than a worker has."""
    shards, family = {"smallest": 250, "largest": 500}, {"name": "none", "sizes": [2]}
    search = {"planner": "grid", "seeds": 1, "extend": 0}
    far.spec({"seconds_per_step": seconds_per_step}, shards=shards, family=family, search=search)
    ended = far.steep()
    assert ended.code == 0, ended.said
    assert far.states() == ["complete"] * 2
    states = Counter(state for _, state, _ in far.attempts())
    assert states["done"] == 2
    assert states["drained"] >= 2
    assert set(states) == {"done", "drained"}
    again = [int(line[4]) for line in far.lines("begins") if line[2] != "1"]
    assert len(again) == states["drained"]
    assert all(step > 0 for step in again)  # from its checkpoint


def goes_on_elsewhere(far: Driven, other: Any, expected: Expected) -> None:
    """Begun here, killed, ended by another executor, which ends the workers that were left."""
    first = far.executor
    far.spec(SLOWLY)
    process = far.start()
    far.wait_done(2)
    far.wait("begins", 4)
    process.kill()
    process.wait()
    far.executor = other
    far.spec(SLOWLY)
    assert far.steep().code == 0
    assert far.table() == expected
    assert [state for _, state, _ in far.attempts()].count("done") == 12
    assert not charged(far)
    nothing_is_left(far)
    far.executor = first


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def gone(pid: int) -> Callable[[], bool]:
    return lambda: not lease.start_time(pid)
