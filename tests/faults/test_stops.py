"""Processes that are killed, stopped, hung or asked to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from steep.base.control_groups import groups

from .conftest import Driven, until

Expected = dict[tuple[str, ...], str]


def _group(process: subprocess.Popen[str]) -> list[int]:
    """A driver and everything below it."""
    out = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    children: dict[int, list[int]] = {}
    for line in out.stdout.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [process.pid]
    while waiting:
        found.append(pid := waiting.pop())
        waiting += children.get(pid, [])
    return found


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_f1_a_killed_worker_costs_its_own_trial_an_attempt(
    local: Driven, expected: Expected
) -> None:
    local.spec({"seconds_per_step": 0.02})
    process = local.start()
    local.wait("begins", 2)
    victim = local.lines("begins")[0]
    os.kill(int(victim[3]), signal.SIGKILL)
    assert local.ended(process).code == 0
    assert local.table() == expected
    failed = [trial for trial, state, _ in local.attempts() if state == "failed"]
    assert failed == [victim[1]]
    assert len(local.lines("ends")) == 12


def test_f2_a_killed_driver_leaves_no_orphan_and_repeats_nothing(
    study: Driven, expected: Expected
) -> None:
    study.spec({"seconds_per_step": 0.02})
    process = study.start()
    study.wait_done(2)
    process.kill()
    process.wait()
    killed = time.monotonic()
    until(lambda: not study.workers(), "the end of the workers")
    assert time.monotonic() - killed < 10
    done = {trial for trial, state, _ in study.attempts() if state == "done"}
    begun = len(study.lines("begins"))
    status = study.steep("status", "st").out
    assert "running" not in status
    assert study.steep().code == 0
    assert not {line[1] for line in study.lines("begins")[begun:]} & done
    assert study.table() == expected


def test_f3_killed_again_and_again_nothing_acknowledged_is_lost(
    local: Driven, expected: Expected
) -> None:
    local.spec({"seconds_per_step": 0.03})
    acknowledged: set[str] = set()
    for kill in range(6):
        process = local.start()
        local.wait("begins", 2 * kill + 1)
        time.sleep(0.15 * kill)
        local.kill_all(process)
        done = {trial for trial, state, _ in local.attempts() if state == "done"}
        assert acknowledged <= done
        acknowledged = done
    assert local.steep().code == 0
    assert local.states() == ["complete"] * 12
    assert [state for _, state, _ in local.attempts()].count("done") == 12
    assert local.table() == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_f4_a_stop_request_saves_and_says_so(
    study: Driven, expected: Expected, number: int
) -> None:
    study.spec({"seconds_per_step": 0.05})
    process = study.start()
    study.wait("begins", 1)
    process.send_signal(number)
    ended = study.ended(process)
    assert ended.code == 130
    assert "Once more stops at once" in ended.err
    assert not study.workers()
    assert "failed" not in {state for _, state, _ in study.attempts()}
    assert study.steep().code == 0
    assert study.table() == expected


def test_f4_at_any_moment_of_any_command_says_nothing_of_python(local: Driven) -> None:
    local.spec({"seconds_per_step": 0.0})
    table = "samples,error\n" + "".join(f"{100 * 2**k},{0.9 * 0.8**k}\n" for k in range(6))
    (local.place / "t.csv").write_text(table)
    begun = time.monotonic()
    assert local.steep("forecast", "t.csv").code == 0
    took = time.monotonic() - begun
    for share in (0.05, 0.15, 0.3, 0.5, 0.7, 0.9):
        for command in (("forecast", "t.csv"), ("run", "s.yaml", "--out", f"st{share}")):
            process = local.start(*command)
            time.sleep(share * took)
            process.send_signal(signal.SIGINT)
            assert local.ended(process).code in (0, 130, -signal.SIGINT)


def test_f4_twice_stops_at_once(local: Driven) -> None:
    local.spec({"faults": [{"kind": "hang", "step": 1, "attempts": 1}]})  # deaf to the first
    process = local.start()
    local.wait("begins", 2)
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    time.sleep(2.0)
    assert process.poll() is None
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert local.ended(process).code == 130
    assert time.monotonic() - asked < 30  # 2 on an idle machine; the trials hang for ever
    until(lambda: not local.workers(), "the end of the workers")
    # resumable: nothing runs, nothing was charged (first attempts at the others would hang, too)
    assert "failed" not in {state for _, state, _ in local.attempts()}
    assert local.steep("status", "st").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_of_the_whole_group_is_charged_to_nobody(
    local: Driven, expected: Expected, number: int
) -> None:
    local.spec({"seconds_per_step": 0.05})
    for stop in range(3):
        process = local.start()
        local.wait("begins", 2 * stop + 1)
        _send(_group(process), number)
        assert local.ended(process).code == 130
    assert "failed" not in {state for _, state, _ in local.attempts()}
    assert local.steep().code == 0
    assert local.table() == expected


def test_f6_two_drivers_share_a_study(local: Driven, expected: Expected) -> None:
    local.spec({"seconds_per_step": 0.01})
    both = [local.start(), local.start()]
    assert [local.ended(process).code for process in both] == [0, 0]
    assert len(local.lines("ends")) == 12
    assert local.table() == expected


def test_f7_a_worker_that_wakes_after_its_successor_changes_nothing(
    local: Driven, expected: Expected
) -> None:
    local.spec({"seconds_per_step": 0.02}, {"lease": 6.0})
    process = local.start()
    local.wait("begins", 1)
    stopped = local.lines("begins")[0]
    os.kill(int(stopped[3]), signal.SIGSTOP)
    until(
        lambda: [line for line in local.lines("begins") if line[1:3] == [stopped[1], "2"]],
        "the second attempt",
    )
    with suppress(ProcessLookupError):
        os.kill(int(stopped[3]), signal.SIGCONT)
    assert local.ended(process).code == 0
    assert local.table() == expected
    assert [state for _, state, _ in local.attempts()].count("done") == 12


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_f11_a_loss_that_is_no_number_diverges(study: Driven, kind: str) -> None:
    study.spec({"faults": [{"kind": kind, "step": 7, "size": 4, "items": 250}]})
    assert study.steep().code == 0
    assert study.states().count("diverged") == 2
    status = study.steep("status", "st").out
    assert f"validation_error is {kind} at step 7" in status


def test_f12_memory_fails_its_trial_alone_and_is_not_tried_for_ever(study: Driven) -> None:
    study.spec({"faults": [{"kind": "oom", "step": 5, "size": 4, "items": 250, "seed": 0}]})
    ended = study.steep()
    assert ended.code == 1
    assert "--retry-failed" in ended.err
    assert (study.states().count("complete"), study.states().count("failed")) == (11, 1)
    failed = [reason for _, state, reason in study.attempts() if state == "failed"]
    assert len(failed) == 2
    assert all(reason.startswith("oom: ") for reason in failed)


def test_f13_a_trial_that_hangs_meets_its_deadline(local: Driven) -> None:
    hang = {"kind": "hang", "step": 5, "size": 4, "items": 250, "seed": 0}
    local.spec({"faults": [hang]}, {"timeout": 10.0})
    assert local.steep().code == 1
    assert (local.states().count("complete"), local.states().count("timeout")) == (11, 1)


def test_f14_poison_is_tried_three_times_and_can_be_tried_again(
    local: Driven, expected: Expected
) -> None:
    poison = {"kind": "die", "step": 5, "size": 4, "items": 250, "seed": 0, "attempts": 3}
    local.spec({"faults": [poison]})
    assert local.steep().code == 1
    assert (local.states().count("complete"), local.states().count("failed")) == (11, 1)
    assert [state for _, state, _ in local.attempts()].count("failed") == 3
    assert local.steep("run", "s.yaml", "--out", "st", "--retry-failed").code == 0
    assert local.table() == expected


def test_time_in_which_the_driver_stood_still_counts_against_nobody(
    local: Driven, expected: Expected
) -> None:
    local.spec({"seconds_per_step": 0.02}, {"timeout": 10.0})
    process = local.start()
    local.wait_done(2)
    process.send_signal(signal.SIGSTOP)
    time.sleep(12)
    process.send_signal(signal.SIGCONT)
    assert local.ended(process).code == 0
    assert local.table() == expected


def test_the_process_that_starts_workers_is_replaced_and_charged_to_nobody(
    local: Driven, expected: Expected
) -> None:
    local.spec({"seconds_per_step": 0.02})
    process = local.start()
    for kill in range(4):
        local.wait("begins", 2 * kill + 1)
        servers = [pid for pid in _group(process)[1:] if pid not in local.workers()]
        parents = {_parent(pid) for pid in local.workers()}
        _send([pid for pid in servers if pid in parents], signal.SIGKILL)
        time.sleep(0.5)
    assert local.ended(process).code == 0
    assert "failed" not in {state for _, state, _ in local.attempts()}
    assert local.table() == expected


def _parent(pid: int) -> int:
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])
    return 0


def test_a_process_limit_is_waited_out(local: Driven, expected: Expected) -> None:
    with control_group("pids") as group:
        (group / "pids.max").write_text("14")
        local.spec({}, {"workers": 8})
        local.steep(before=inside(group))
        assert "failed" not in {state for _, state, _ in local.attempts()}
    assert local.steep().code == 0
    assert local.table() == expected


GREEDY = """
def f(shard, size, seed):
    held = []
    while size == 4 and seed == 0 and len(shard.train) < 300:
        held.append(bytearray(b"x") * (1 << 24))
    return {"validation_error": len(shard.train) ** -0.3, "parameters": size}
"""


def test_f12_a_kill_by_the_kernel_for_memory_is_told_as_one_and_tried_twice(local: Driven) -> None:
    (local.place / "mine.py").write_text(GREEDY)
    local.spec({"name": "function", "function": "mine.py:f"})
    with control_group("memory") as group:
        limits = [group / "memory.max", group / "memory.limit_in_bytes"]
        next(path for path in limits if path.exists()).write_text(str(1 << 30))
        ended = local.steep(before=inside(group))
    assert ended.code == 1
    assert (local.states().count("complete"), local.states().count("failed")) == (11, 1)
    failed = [(trial, reason) for trial, state, reason in local.attempts() if state == "failed"]
    assert len(failed) == 2
    assert len(set(failed)) == 1
    assert failed[0][1].startswith("oom: the kernel ended it for want of memory")
    assert "want of memory" in local.steep("status", "st").out


@contextmanager
def control_group(controller: str) -> Iterator[Path]:
    """A control group of its own for what is begun ``inside`` it; skips where none may be made."""
    group, why = None, f"may not make a control group for {controller} here"
    for home in groups(controller):
        with suppress(OSError):
            group = home / f"steep-faults-{os.getpid()}"
            group.mkdir()
            break
    else:
        pytest.skip(why)
    try:
        if not (group / "cgroup.procs").exists() or not list(group.glob(f"{controller}.*max*")):
            pytest.skip(why)
        yield group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text(), "an empty group")
        group.rmdir()


def inside(group: Path) -> list[str]:
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
