"""The specs in ``studies``: each is one that steep reads, and says how to run itself."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from steep.cli import app
from steep.config import load

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "studies").rglob("*.yaml"))
LANGUAGE = [
    "characters-rhn10-adam",
    "characters-rhn10-sgd",
    "words-lstm2",
    "words-lstm4",
    "words-rhn5",
    "words-transformer",
]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_spec_is_read_and_says_its_command(path: Path) -> None:
    loaded = load(path)
    place = path.relative_to(ROOT)
    assert loaded.spec.study.startswith(path.stem)
    text = path.read_text()
    assert f"steep run {place}" in text or f"make {path.stem}" in text


COMMANDS = sorted({c for p in SPECS for c in re.findall(r"^#   steep (.+)$", p.read_text(), re.M)})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_a_spec_names_can_be_given(command: str) -> None:
    """Parsed, not run: a name or an option that does not exist is an error."""
    group: Any = typer.main.get_command(app)
    words = shlex.split(command)
    while hasattr(group, "commands"):
        group = group.commands[words.pop(0)]
    group.make_context("steep", words)


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_language_study_says_enough_and_has_a_larger_sister(name: str) -> None:
    spec = load(ROOT / "studies" / f"{name}.yaml").spec
    assert spec.shards.largest is not None
    assert spec.shards.largest / spec.shards.smallest >= 16
    assert len(spec.family.sizes) >= 4
    assert len(spec.search.hyperparameters["learning_rate"]) >= 2
    assert spec.search.seeds >= 2
    large = load(ROOT / "studies" / "gpu" / f"{name}.yaml").spec
    assert large.domain.name == spec.domain.name
    kept = {"layers", "depth"} & set(spec.family.options)
    if name != "words-transformer":  # the paper's depths hold at any size
        assert {k: spec.family.options[k] for k in kept} == {
            k: large.family.options[k] for k in kept
        }
    assert large.shards.smallest > spec.shards.smallest
