"""Which GPU a local worker sees, by a stand-in for the tool that lists them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

import rehearsal
from steep.executors import local
from steep.spec.sections import Run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs workers that are forked")
FOUR = "\n".join(f"GPU {i}: NVIDIA H200 (UUID: GPU-{i}a-{i})" for i in range(4))
CUT = "GPU 0: NVIDIA H200 (UUID: GPU-0a)\n" + "\n".join(
    f"  MIG 3g.71gb     Device  {i}: (UUID: MIG-{i}b)" for i in range(2)
)


def listing(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat <<'E'\n{text}\nE\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_all_that_the_tool_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing(tmp_path, FOUR, monkeypatch)
    assert local.gpus() == ("GPU-0a-0", "GPU-1a-1", "GPU-2a-2", "GPU-3a-3")
    assert local.slots(Run()) == 4
    assert local.slots(Run(workers=2)) == 2
    assert local.slots(Run(device="cpu")) == local.cpus()
    assert local.devices(Run(device="cuda:1")) == ()


def test_parts_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing(tmp_path, CUT, monkeypatch)
    assert local.gpus() == ("MIG-0b", "MIG-1b")


@pytest.mark.parametrize(
    ("allowed", "seen"),
    [("2,0", ("2", "0")), ("", ()), ("-1", ()), ("1,-1,2", ("1",)), ("GPU-7", ("GPU-7",))],
)
def test_what_the_environment_allows_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str, seen: tuple[str, ...]
) -> None:
    listing(tmp_path, FOUR, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert local.gpus() == seen


def test_without_the_tool_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert local.gpus() == ()
    assert local.slots(Run()) == local.cpus()


_SEEN = """
import os, time
def train(shard, size, seed, learning_rate):
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    open(f"{folder}/{gpu}.{size}.{seed}.{len(shard.train)}", "w").close()
    time.sleep(0.5)
    return 0.5
"""


@pytest.mark.parametrize(("workers", "most"), [(None, 1), (8, 2)])
def test_each_worker_sees_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None, most: int
) -> None:
    """A worker more than there are GPUs shares one with the fewest others."""
    listing(tmp_path, FOUR, monkeypatch)
    (tmp_path / "marks").mkdir()
    (tmp_path / "mine.py").write_text(_SEEN.replace("{folder}", f"{tmp_path}/marks"))
    values = rehearsal.spec(workers=workers)
    values["trainer"] = {"name": "function", "function": f"{tmp_path}/mine.py:train"}
    assert rehearsal.drive(values, tmp_path / "study").word == "complete"
    used = Counter(path.name.partition(".")[0] for path in (tmp_path / "marks").iterdir())
    assert set(used) == set(local.gpus())
    assert sum(used.values()) == 12
    first = Counter(_first_given(tmp_path, workers or 4))
    assert set(first.values()) == {most}


def _first_given(folder: Path, count: int) -> list[str]:
    """What an executor gives the first workers, while none of them has ended."""
    made = local.Local(folder, count, (), local.gpus())
    given = []
    for number in range(count):
        gpu = made._free_gpu()
        assert gpu is not None
        given.append(gpu)
        made._workers[number] = type("Worker", (), {"gpu": gpu})()
    return given
