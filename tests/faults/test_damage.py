"""Files that are cut, flipped, lost, copied, planted or full."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import (
    HELD_OUT,
    Driven,
    alter_the_forecast,
    held_out_forecast,
    lose_the_forecast,
    until,
)

Expected = dict[tuple[str, ...], str]


def _killed_half_way(study: Driven) -> None:
    """A study whose driver and workers were killed when some trials were done."""
    study.spec({"seconds_per_step": 0.02})
    process = study.start()
    study.wait_done(4)
    study.kill_all(process)


def test_f8_a_full_disk_is_said_and_costs_nothing(small_disk: Path) -> None:
    study = Driven(small_disk, "inline")
    study.spec({"seconds_per_step": 0.02, "log": None})
    process = study.start()
    study.wait_done(2)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    ended = study.ended(process)
    assert ended.code == 2
    assert "no space left" in ended.err
    assert "the same command" in ended.err
    filler.unlink()
    before = study.states().count("complete")
    assert before >= 2
    study.ended(study.start())  # the report is larger than this disk
    assert study.states() == ["complete"] * 12
    study.close()


@pytest.mark.parametrize("how", ["cut", "flipped", "planted"])
def test_f9_f18_a_bad_checkpoint_is_passed_over_and_nothing_in_it_is_run(
    study: Driven, expected: Expected, how: str
) -> None:
    study.spec({"seconds_per_step": 0.02})
    process = study.start()
    newest = lambda: sorted((study.folder / "checkpoints").glob("*/*.checkpoint"))  # noqa: E731
    until(lambda: len(newest()) >= 2, "two checkpoints")
    study.kill_all(process)
    for path in {path.parent: path for path in newest()}.values():
        data = path.read_bytes()
        if how == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif how == "flipped":
            path.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
        else:
            state = pickle.dumps(_Planted())
            head = {"trial": path.parent.name, "attempt": 1, "step": 9, "bytes": len(state)}
            head["sha256"] = hashlib.sha256(state).hexdigest()
            text = json.dumps(head).encode()
            path.write_bytes(b"steep checkpoint 1\n" + text + b"\n" + state)
    assert study.steep().code == 0
    assert study.table() == expected
    assert "failed" not in {state for _, state, _ in study.attempts()}
    assert not (study.place / "PWNED").exists()
    assert study.rows("SELECT count(*) FROM notes WHERE text LIKE '%going back%'")[0][0] >= 1


class _Planted:
    def __reduce__(self) -> Any:
        return os.system, ("touch PWNED",)


def test_f10_a_flipped_page_is_refused_and_recovered(local: Driven, expected: Expected) -> None:
    _killed_half_way(local)
    local.steep("status", "st")
    path = local.folder / "trials.sqlite"
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096, 3):
        data[page * 4096 + 8 : page * 4096 + 200] = os.urandom(192)
    path.write_bytes(data)
    refused = local.steep()
    assert refused.code == 2
    assert "damaged" in refused.err
    assert "steep salvage" in refused.err
    assert local.steep("salvage", "st").code == 0
    assert local.states().count("complete") >= 4
    assert local.steep().code == 0
    assert local.table() == expected


def test_f10_a_journal_and_a_log_that_are_cut_lose_no_result(
    local: Driven, expected: Expected
) -> None:
    _killed_half_way(local)
    for name in ("trials.sqlite-wal", "acknowledged.log"):
        path = local.folder / name
        if path.exists():
            os.truncate(path, path.stat().st_size // 3)
    before = len(local.lines("ends"))
    ended = local.steep()
    if ended.code == 2:  # the cut is known, and said
        assert "steep salvage" in ended.err
        assert local.steep("salvage", "st").code == 0
        assert local.steep().code == 0
    assert local.table() == expected
    # What had ended and been recorded did not run again: at most the last one of each worker.
    assert len(local.lines("ends")) - before <= 12 - 4 + 2


def test_a_lost_spec_deletes_nothing_and_comes_back(local: Driven) -> None:
    local.spec({"seconds_per_step": 0.0}, **HELD_OUT)
    assert local.steep().code == 0
    decisions = local.rows("SELECT kind, payload FROM decisions")
    held = hashlib.sha256((local.folder / "trials.sqlite").read_bytes()).digest()
    (local.folder / "study.yaml").unlink()
    refused = local.steep()
    assert refused.code == 2
    assert "steep salvage" in refused.err
    assert hashlib.sha256((local.folder / "trials.sqlite").read_bytes()).digest() == held
    assert local.steep("salvage", "st").code == 0
    assert local.steep().code == 0
    assert local.rows("SELECT kind, payload FROM decisions")[: len(decisions)] == decisions


def test_a_forecast_that_was_altered_is_refused_and_recovery_keeps_the_one_that_was_made(
    local: Driven,
) -> None:
    local.spec({"seconds_per_step": 0.0}, **HELD_OUT)
    said = held_out_forecast(local.steep())
    alter_the_forecast(local)
    assert local.steep("report", "st").code == 2
    assert local.steep("salvage", "st").code == 0
    assert held_out_forecast(local.steep()) == said


def test_a_forecast_whose_time_nothing_proves_is_said_to_be_made_afterwards(local: Driven) -> None:
    local.spec({"seconds_per_step": 0.0}, **HELD_OUT)
    assert local.steep().code == 0
    lose_the_forecast(local)
    assert local.steep("salvage", "st").code == 0
    assert "made after its training had begun" in held_out_forecast(local.steep())


def test_recovery_waits_for_the_driver(local: Driven, expected: Expected) -> None:
    local.spec({"seconds_per_step": 0.03})
    process = local.start()
    local.wait_done(2)
    refused = local.steep("salvage", "st")
    assert refused.code == 2
    assert "being run" in refused.err
    assert local.ended(process).code == 0
    whole = local.steep("salvage", "st")
    assert whole.code == 0
    assert "12 with a result" in whole.out
    assert local.table() == expected


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_study_that_is_removed_or_moved_under_its_driver_ends_the_run(
    study: Driven, expected: Expected, how: str
) -> None:
    study.spec({"seconds_per_step": 0.02})
    process = study.start()
    study.wait_done(3)
    elsewhere = study.place / "elsewhere"
    study.folder.rename(elsewhere)
    if how == "removed":
        shutil.rmtree(elsewhere)
    ended = study.ended(process)
    assert ended.code == 2
    assert "was removed, moved or replaced" in ended.err
    assert "failed" not in ended.err
    if how == "moved":
        shutil.rmtree(study.folder, ignore_errors=True)
        elsewhere.rename(study.folder)
        assert study.states().count("complete") >= 3
        assert "failed" not in {state for _, state, _ in study.attempts()}
    assert study.steep().code == 0
    assert study.table() == expected


def test_a_copy_of_a_running_study_leaves_the_original_alone(
    local: Driven, expected: Expected
) -> None:
    local.spec({"seconds_per_step": 0.05}, {"lease": 8.0})  # the copy runs twice as long
    process = local.start()
    local.wait_done(2)
    shutil.copytree(local.folder, local.place / "copy")
    local.steep("run", "s.yaml", "--out", "copy")
    assert local.ended(process).code == 0
    assert local.table() == expected
    assert "failed" not in {state for _, state, _ in local.attempts()}
    assert "reclaimed" not in {state for _, state, _ in local.attempts()}


# ---------------------------------------------------------------- spec and data


def _labelled(study: Driven, labels: np.ndarray, seeds: int = 2, **more: Any) -> None:
    np.save(study.place / "labels.npy", labels)
    study.spec(
        more,
        domain={"name": "external", "items": 4000, "labels": "labels.npy"},
        search={"planner": "grid", "seeds": seeds, "extend": 0},
    )


def test_f16_a_spec_that_changed_is_refused_and_extending_only_adds(study: Driven) -> None:
    study.spec({"seconds_per_step": 0.0})
    assert study.steep().code == 0
    before = study.table()
    study.spec({"seconds_per_step": 0.0, "floor": 0.1})
    refused = study.steep()
    assert refused.code == 2
    assert "trainer" in refused.err
    study.spec({"seconds_per_step": 0.0}, search={"planner": "grid", "seeds": 3, "extend": 0})
    assert study.steep().code == 2
    assert study.steep("run", "s.yaml", "--out", "st", "--extend").code == 0
    assert before.items() <= study.table().items()
    assert len(study.table()) == 18


def test_f17_other_labels_are_refused_and_extend_does_not_take_them(study: Driven) -> None:
    labels = np.arange(4000) % 10
    _labelled(study, labels, seconds_per_step=0.0)
    assert study.steep().code == 0
    _labelled(study, np.random.default_rng(0).permutation(labels), 3, seconds_per_step=0.0)
    for command in ((), ("--extend",)):
        refused = study.steep("run", "s.yaml", "--out", "st", *command)
        assert refused.code == 2
    assert len(study.states()) == 12


def test_f17_data_that_change_during_a_run_end_it(local: Driven, expected: Expected) -> None:
    labels = np.arange(4000) % 10
    _labelled(local, labels, seconds_per_step=0.02)
    process = local.start()
    local.wait_done(2)
    done = len(local.lines("ends"))
    np.save(local.place / "labels.npy", labels[::-1])
    ended = local.ended(process)
    assert ended.code == 2
    assert "labels.npy: changed" in ended.err
    assert len(local.lines("ends")) <= done + 4
    np.save(local.place / "labels.npy", labels)
    assert local.steep().code == 0
    assert local.states() == ["complete"] * 12


# ---------------------------------------------------------------- planted files


@pytest.mark.parametrize("name", ["items", "checkpoints", "results", "shards"])
def test_f18_a_link_out_of_the_study_is_not_followed(study: Driven, name: str) -> None:
    outside = study.place / "outside"
    outside.mkdir()
    study.spec({"seconds_per_step": 0.01})
    process = study.start()
    study.wait_done(1)
    study.kill_all(process)
    shutil.rmtree(study.folder / name, ignore_errors=True)
    (study.folder / name).symlink_to(outside)
    study.steep()
    assert not list(outside.rglob("*"))


def test_f18_a_lock_that_is_a_link_is_not_written_through(local: Driven) -> None:
    (local.place / "precious").write_text("kept")
    local.folder.mkdir()
    (local.folder / ".lock").symlink_to(local.place / "precious")
    local.spec({"seconds_per_step": 0.0})
    assert local.steep().code == 2
    assert (local.place / "precious").read_text() == "kept"


def test_f18_pickles_and_bombs_are_no_items(study: Driven) -> None:
    study.spec({"seconds_per_step": 0.0})
    assert study.steep().code == 0
    for path in (study.folder / "items").glob("*.npz"):
        path.write_bytes(pickle.dumps(_Planted()))
    ended = study.steep("report", "st")
    assert ended.code == 2
    assert "is damaged" in ended.err
    assert not (study.place / "PWNED").exists()


@pytest.mark.parametrize("what", ["device", "pipe", "bomb"])
def test_f18_data_that_are_no_file_are_refused(local: Driven, what: str) -> None:
    path = local.place / "data.gz"
    if what == "device":
        path.symlink_to("/dev/zero")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        with gzip.open(path, "wb", 9) as file:
            for _ in range(1100):
                file.write(bytes(1 << 20))
    local.spec(domain={"name": "characters", "train": "data.gz"}, run={}, metric=None)
    for command in (("plan", "s.yaml"), ("forecast", "data.gz", "--at", "10x")):
        ended = local.steep(*command)
        assert ended.code == 2, ended.said
