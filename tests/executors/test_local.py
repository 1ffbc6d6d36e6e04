"""Local workers: how they start, speak, end, and are ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rehearsal
from steep.base.control_groups import out_of_memory_kills
from steep.contracts.executor import Event, Job, Kind
from steep.executors import local
from steep.executors.local import Local
from steep.records import Trial
from steep.spec.sections import Run
from steep.store import lease

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")

_FUNCTION = """
import os, signal, subprocess, sys, time

def train(shard, size, seed, learning_rate, handle):
    if size == 4:
        print("said before the end", flush=True)
        os.write(2, b"and to the other stream\\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == 1:
        child = os.fork()  # holds the line of its parent
        if child == 0:
            time.sleep(60)
        with open("{pids}", "w") as file:
            file.write(str(child))
        return 0.5
    print("noise")
    while not handle.stop_requested():
        time.sleep(0.01)
    from steep.contracts.trainer import Interrupted
    raise Interrupted
"""


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, list[Trial]]:
    (tmp_path / "mine.py").write_text(_FUNCTION.replace("{pids}", f"{tmp_path}/pids"))
    values = rehearsal.spec()
    values["trainer"] = {"name": "function", "function": f"{tmp_path}/mine.py:train"}
    _, store, trials = rehearsal.prepare(values, tmp_path / "study")
    store.close()
    return tmp_path / "study", trials


@pytest.fixture
def executor(study: tuple[Path, list[Trial]]) -> Iterator[Local]:
    made = local.open_executor(study[0], Run(workers=3))
    yield made
    made.close()


def until(executor: Local, *kinds: Kind) -> list[Event]:
    """Events up to the first of one of ``kinds``."""
    seen: list[Event] = []
    end = time.monotonic() + 60
    while not any(event.kind in kinds for event in seen):
        assert time.monotonic() < end, seen
        seen += executor.poll(0.2)
    return seen


def pid_of(events: list[Event]) -> int:
    return int(next(event.payload["pid"] for event in events if event.kind == Kind.STARTED))


def test_a_crash_is_told_with_its_signal_and_last_words(
    study: tuple[Path, list[Trial]], executor: Local, capfd: pytest.CaptureFixture[str]
) -> None:
    crashing = next(t for t in study[1] if t.size == 4)
    executor.start(Job(study[0], crashing, 1))
    lost = until(executor, Kind.LOST)[-1]
    assert (lost.trial, lost.attempt) == (crashing.id, 1)
    assert "signal 11 (SIGSEGV)" in lost.payload["reason"]
    assert "said before the end\nand to the other stream" in lost.payload["detail"]
    assert capfd.readouterr() == ("", "")


def test_a_drained_worker_says_so_and_is_gone(
    study: tuple[Path, list[Trial]], executor: Local
) -> None:
    executor.start(Job(study[0], study[1][0], 1))
    events = until(executor, Kind.STARTED)
    executor.ask_to_stop()
    assert until(executor, Kind.DRAINED)
    gone(pid_of(events))


def test_a_killed_worker_is_gone_when_kill_returns_and_says_no_more(
    study: tuple[Path, list[Trial]], executor: Local
) -> None:
    executor.start(Job(study[0], study[1][0], 1))
    pid = pid_of(until(executor, Kind.STARTED))
    executor.kill(study[1][0].id, 2)  # another attempt: none of ours
    assert lease.start_time(pid)
    executor.kill(study[1][0].id, 1)
    assert not lease.start_time(pid)
    assert executor.poll(0.3) == []


def test_what_a_worker_left_running_ends_with_it(
    study: tuple[Path, list[Trial]], executor: Local
) -> None:
    forking = next(t for t in study[1] if t.size == 2 and t.seed == 1)
    executor.start(Job(study[0], forking, 1))
    events = until(executor, Kind.RESULT)
    gone(pid_of(events))
    gone(int((study[0].parent / "pids").read_text()))
    assert executor.poll(0.3) == []


def test_closing_ends_workers_and_server(study: tuple[Path, list[Trial]], executor: Local) -> None:
    executor.start(Job(study[0], study[1][0], 1))
    pid = pid_of(until(executor, Kind.STARTED))
    server = executor._server
    assert server is not None
    began = time.monotonic()
    executor.close()
    assert time.monotonic() - began < 2
    assert server.returncode is not None
    gone(pid)


def test_a_server_that_dies_is_replaced(study: tuple[Path, list[Trial]], executor: Local) -> None:
    executor.start(Job(study[0], study[1][0], 1))
    pid = pid_of(until(executor, Kind.STARTED))
    assert executor._server is not None
    executor._server.kill()
    lost = until(executor, Kind.LOST)[-1]
    assert "with the process that starts workers" in lost.payload["reason"]
    gone(pid)
    executor.start(Job(study[0], study[1][0], 2))
    assert pid_of(until(executor, Kind.STARTED)) != pid


def test_a_server_that_closed_its_line_is_not_asked_again(executor: Local) -> None:
    """It may still be a process: closing comes before the end."""
    executor.warm()
    server, control = executor._server, executor._control
    assert server is not None
    assert control is not None
    control.shutdown(socket.SHUT_RDWR)
    end = time.monotonic() + 10
    while executor._control is control:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert executor._served() is not control
    assert executor._server is not server
    assert server.returncode is not None


def gone(pid: int) -> None:
    end = time.monotonic() + 5
    while lease.start_time(pid):
        assert time.monotonic() < end, f"worker {pid} still runs"
        time.sleep(0.01)


_UNGUARDED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import rehearsal
with open("imported", "a") as file:
    file.write("once\\n")
print(rehearsal.drive(rehearsal.spec(), Path("study")).word)
"""


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    tests = str(Path(rehearsal.__file__).parent)
    (tmp_path / "script.py").write_text(_UNGUARDED.format(tests=tests))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("complete\n", "")
    assert (tmp_path / "imported").read_text() == "once\n"


def test_workers_have_one_thread_and_no_interrupts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, signal\n"
        "def train(shard, size, seed, learning_rate):\n"
        "    assert os.environ['OMP_NUM_THREADS'] == '1'\n"
        "    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN\n"
        "    assert os.getpgid(0) == os.getpid()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return 0.5\n"
    )
    values = rehearsal.spec()
    values["trainer"] = {"name": "function", "function": f"{tmp_path}/mine.py:train"}
    outcome = rehearsal.drive(values, tmp_path / "study")
    assert (outcome.word, outcome.retried) == ("complete", 0)


# ---------------------------------------------------------------- cores


def test_cores_are_those_this_process_may_use() -> None:
    assert 1 <= local.cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/a/b", {"a/b/cpu.max": "150000 100000", "a/cpu.max": "max 100000"}, 1.5),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1.0),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        (
            "4:cpu,cpuacct:/job",
            {"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"},
            4.0,
        ),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_a_containers_quota_counts(
    tmp_path: Path, membership: str, files: dict[str, str], cores: float | None
) -> None:
    (tmp_path / "membership").write_text(membership + "\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert local._quota(tmp_path, tmp_path / "membership") == cores


def test_signals_are_named() -> None:
    assert local.how_it_ended(-signal.SIGKILL).endswith("signal 9 (SIGKILL, perhaps out of memory)")
    assert "exit code 7" in local.how_it_ended(7)


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("0::/job", "job/memory.events"),
        ("4:memory:/job", "memory/job/memory.oom_control"),
        ("0::/job", None),
    ],
)
def test_kills_for_memory_are_those_of_the_own_group(
    tmp_path: Path, membership: str, file: str | None
) -> None:
    (tmp_path / "membership").write_text(membership + "\n")
    (tmp_path / "vmstat").write_text("nr_free 4\noom_kill 9\n")
    if file:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("oom 5\noom_kill 2\n")
    kills = out_of_memory_kills(tmp_path, tmp_path / "membership", tmp_path / "vmstat")
    assert kills == (2 if file else 9)


def test_a_kill_by_the_kernel_for_memory_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = [3]
    monkeypatch.setattr(local, "out_of_memory_kills", lambda: kills[0])
    executor = local.Local(tmp_path, 1)
    worker: Any = SimpleNamespace(code=-signal.SIGKILL, no_start="")
    assert "cause" not in executor._how(worker)  # somebody else's kill
    kills[0] += 2  # two at once: each is told
    for _ in range(2):
        told = executor._how(worker)
        assert told["cause"] == "oom"
        assert "want of memory" in told["reason"]
    assert "cause" not in executor._how(worker)
    worker.code = -signal.SIGTERM
    assert executor._how(worker)["killed"]
