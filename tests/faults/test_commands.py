"""The faults of a training command: the same promises as for steep's own trainers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from steep.store import lease

from .conftest import Driven, until

SCRIPT = """
import json, os, pathlib, signal, sys, time
shard, size, seed, trial, pace, what = sys.argv[1:]
items = sum(1 for _ in open(shard))
place = pathlib.Path(os.environ["STEEP_CHECKPOINTS"])
state = place / "step"
step = int(state.read_text()) if state.exists() else 0
def log(*words):
    with open("side.log", "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")
def save(*_):
    (place / "new").write_text(str(step))
    (place / "new").replace(state)
def stop(*_):
    save()
    log("saved", trial, step)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
log("begins", trial, os.getppid(), os.getpid(), step)
mine = (items, size, seed) == (250, "4", "0")
if what == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while step < 20:
    step += 1
    if mine and what == "hang" and step == 5:
        time.sleep(3600)
    if mine and what == "die" and step == 5:
        os.kill(os.getpid(), 9)
    error = items ** -0.3 + 0.01 * int(seed) + 0.1 / int(size) + 1 / (10 + step)
    if mine and what == "nan" and step == 5:
        error = float("nan")
    print(json.dumps({"step": step, "validation_error": error}), flush=True)
    save()
    time.sleep(float(pace))
log("ends", trial, os.getppid(), os.getpid(), step)
print(json.dumps({"validation_error": error}))
"""


def prepare(driven: Driven, what: str = "-", pace: float = 0.02, **run: Any) -> None:
    """A study of twelve trials of a script that knows nothing of steep."""
    (driven.place / "train.py").write_text(SCRIPT)
    (driven.place / "rows.txt").write_text("".join(f"{n}\n" for n in range(4000)))
    command = f"{{python}} train.py {{shard}} {{size}} {{seed}} {{trial}} {pace} {what}"
    driven.spec(
        {"name": "command", "command": command, "grace": 2},
        run,
        domain={"name": "dataset", "train": "rows.txt"},
        split={"validation": 100},
    )


def scripts(driven: Driven) -> list[int]:
    """Of the scripts that began, those that run."""
    pids = [int(line[3]) for line in driven.lines("begins")]
    return [pid for pid in pids if lease.start_time(pid)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """What the twelve trials measure when nothing goes wrong."""
    driven = Driven(tmp_path_factory.mktemp("expected"))
    prepare(driven, pace=0.0)
    assert driven.steep().code == 0
    table = driven.table()
    assert len(table) == 12
    return table


Expected = dict[tuple[str, ...], str]


def test_a_killed_worker_takes_its_script_along(local: Driven, expected: Expected) -> None:
    prepare(local, pace=0.1)
    process = local.start()
    local.wait("begins", 2)
    _, trial, worker, script, _ = local.lines("begins")[0]
    os.kill(int(worker), signal.SIGKILL)
    until(lambda: not lease.start_time(int(script)), "the end of the script")
    assert local.ended(process).code == 0
    assert local.table() == expected
    assert [t for t, state, _ in local.attempts() if state == "failed"] == [trial]
    again = [line for line in local.lines("begins") if line[1] == trial]
    assert len(again) == 2
    assert int(again[1][4]) > 0, "the second attempt went on from what the first had saved"


def test_a_killed_driver_leaves_no_script(study: Driven, expected: Expected) -> None:
    prepare(study, pace=0.05)
    process = study.start()
    study.wait_done(2)
    process.kill()
    process.communicate()
    until(lambda: not scripts(study), "the end of the scripts")
    assert study.steep().code == 0
    assert study.table() == expected
    assert len(study.lines("ends")) == 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_request_lets_scripts_save(study: Driven, expected: Expected, number: int) -> None:
    prepare(study, pace=0.05)
    process = study.start()
    study.wait("begins", 2)
    process.send_signal(number)
    ended = study.ended(process)
    assert ended.code == 130
    assert study.lines("saved")
    assert not scripts(study)
    assert "failed" not in {state for _, state, _ in study.attempts()}
    assert study.steep().code == 0
    assert study.table() == expected
    resumed = [int(line[4]) for line in study.lines("begins") if int(line[4])]
    assert resumed, "no trial went on from what it had saved"


def test_one_that_ignores_a_stop_request_is_ended(study: Driven, expected: Expected) -> None:
    prepare(study, "ignore", pace=0.5)
    process = study.start()
    study.wait("begins", 1)
    process.send_signal(signal.SIGINT)
    assert study.ended(process).code == 130
    assert not scripts(study)
    assert "failed" not in {state for _, state, _ in study.attempts()}


def test_nan_diverges_and_a_hang_meets_its_deadline(local: Driven) -> None:
    prepare(local, "nan", pace=0.0)
    assert local.steep().code == 0
    assert (local.states().count("complete"), local.states().count("diverged")) == (11, 1)
    assert "validation_error is nan at step 5" in local.steep("status", "st").out


def test_a_hang_meets_its_deadline(local: Driven) -> None:
    prepare(local, "hang", pace=0.0, timeout=8.0)
    assert local.steep().code == 1
    assert (local.states().count("complete"), local.states().count("timeout")) == (11, 1)
    until(lambda: not scripts(local), "the end of the script that hung")


def test_a_script_that_dies_each_time_fails_alone(local: Driven) -> None:
    prepare(local, "die", pace=0.0)
    ended = local.steep()
    assert ended.code == 1
    assert "failed with signal 9" in ended.err
    assert (local.states().count("complete"), local.states().count("failed")) == (11, 1)


def test_a_checkpoint_that_cannot_be_read_is_given_up(local: Driven, expected: Expected) -> None:
    """A script that fails on what it saved itself begins anew at its third attempt."""
    prepare(local, pace=0.1)
    process = local.start()
    local.wait("begins", 1)
    trial, worker = local.lines("begins")[0][1:3]
    place = local.folder / "checkpoints" / trial
    until(lambda: list(place.glob("files-*/step")), "a checkpoint")
    os.kill(int(worker), signal.SIGKILL)
    (kept,) = place.glob("files-*/step")
    kept.unlink()
    kept.mkdir()  # cannot be read as a file
    assert local.ended(process).code == 0
    assert local.table() == expected


def test_output_and_reason_of_a_failure_are_kept(local: Driven) -> None:
    prepare(local, pace=0.0)
    (local.place / "train.py").write_text("print('reading'); import no_such_module")
    process = local.start()
    _, said = process.communicate()
    assert process.returncode == 1
    assert "every trial failed" in said
    assert "exit code 1; the last it printed" in said
    assert "No module named 'no_such_module'" in said.splitlines()[-2] + said.splitlines()[-1]
    assert "exit code 1; the last it printed" in local.steep("status", "st").out


def test_a_full_disk_is_said_and_blames_no_trial(small_disk: Path, tmp_path: Path) -> None:
    """The files of the larger shards do not fit."""
    study = Driven(small_disk)
    prepare(study, pace=0.0)
    text = "".join(f"{n} {'x' * 8000}\n" for n in range(1500))
    (tmp_path / "rows.txt").write_text(text)
    spec = small_disk / "s.yaml"
    spec.write_text(spec.read_text().replace("rows.txt", str(tmp_path / "rows.txt")))
    ended = study.steep()
    assert ended.code == 2
    assert "no space left" in ended.err
    assert "the same command" in ended.err
    assert "failed" not in study.states()
    study.close()
