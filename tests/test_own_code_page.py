"""docs/own-code.md: its commands run, in their order, in a copy of what a reader has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "own-code.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "src" / "steep").mkdir(parents=True)
    (tmp_path / "src" / "steep" / "data").symlink_to(ROOT / "src" / "steep" / "data")
    (tmp_path / "bin").mkdir()
    for name, line in (("steep", "-m steep"), ("python", "")):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {line} "$@"\n')
        script.chmod(0o755)
    return tmp_path


def shell(text: str, folder: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-ec", text], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_recipe_of_a_command_runs(copy: Path) -> None:
    """One shell, as a reader has it. The study of a thousand small fits is left to a slow test."""
    pytest.importorskip("torch")
    found = blocks("sh")
    assert len(found) >= 5
    text = "\n".join(found)
    told = shell(re.sub(r"steep run digits\.yaml .*", "", text), copy)
    assert "Ran it once on the smallest shard (26 of 1,617 rows): accuracy" in told
    assert "Ran it once on the smallest shard (11 of 675 lines): loss" in told
    # words have no noise, but 75 lines to validate: the same everywhere
    assert "10x the data: 1.1 % [0.4, 3.1]" in told
    assert (copy / "out" / "words" / "report.html").exists()


@pytest.mark.slow
def test_the_study_of_the_digits_runs(copy: Path) -> None:
    text = "\n".join(blocks("sh")[:2])
    told = shell(text + "steep forecast digits --at 10x\n", copy)
    assert "accuracy" in told


def test_the_example_of_scikit_learn_runs() -> None:
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
