"""The specs in ``studies`` can be run, and what was found with them can be made again."""

import importlib.util
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import typer

from steep.cli.app import app
from steep.spec.load import load

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


# ---------------------------------------------------------------- what was found


def make_results() -> Any:
    place = ROOT / "studies" / "make_results.py"
    spec = importlib.util.spec_from_file_location("make_results", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RESULTS = make_results()
AGAIN = "run 'python studies/make_results.py' and read what changed"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
DIGITS = 1e-4
"""Relative: four digits are published, further ones another processor may round otherwise."""


def same_text(made: str, committed: str) -> bool:
    """Equal but for digits of numbers beyond those that are published."""
    if NUMBER.sub("#", made) != NUMBER.sub("#", committed):
        return False
    numbers = [np.array(NUMBER.findall(text), float) for text in (made, committed)]
    return np.allclose(*numbers, rtol=DIGITS, atol=1e-12)


def same_json(made: Any, committed: Any, width: float = 0.0) -> bool:
    """Equal but for digits of numbers beyond those that are published, or below a hundredth of the
    interval that they belong to (``width``)."""
    if isinstance(made, dict) and isinstance(committed, dict):
        ends = [committed.get(name) for name in ("lower", "upper")]
        if all(isinstance(end, (int, float)) for end in ends):
            width = ends[1] - ends[0]
        return made.keys() == committed.keys() and all(
            same_json(made[name], committed[name], width) for name in made
        )
    if isinstance(made, list) and isinstance(committed, list):
        return len(made) == len(committed) and all(map(same_json, made, committed))
    if isinstance(made, str) and isinstance(committed, str):
        return same_text(made, committed)
    if isinstance(made, float) or isinstance(committed, float):
        if made is None or committed is None:
            return False
        return bool(np.isclose(made, committed, rtol=DIGITS, atol=max(0.01 * width, 1e-12)))
    return bool(made == committed)


def same(file: str, made: bytes, committed: bytes) -> bool:
    """A file of results: figures have the same shape and nearly the same pixels."""
    if file.endswith(".png"):
        a, b = (matplotlib.image.imread(io.BytesIO(data)) for data in (made, committed))
        return a.shape == b.shape and bool(np.abs(a - b).mean() < 1e-3)
    if file.endswith(".json"):
        return same_json(json.loads(made), json.loads(committed))
    return same_text(made.decode(), committed.decode())


@pytest.mark.parametrize("name", RESULTS.names())
def test_everything_of_a_study_is_made_again(name: str) -> None:
    made = dict(RESULTS.files(name))
    assert {"best_fit.csv", "fits.json", "forecasts.csv", "learning_curve.png"} <= set(made)
    for file, content in made.items():
        committed = (RESULTS.RESULTS / name / file).read_bytes()
        assert same(file, content, committed), f"{name}/{file}: {AGAIN}"


def test_the_page_of_results_is_made_again() -> None:
    assert same_text(RESULTS.page(), (RESULTS.RESULTS / "README.md").read_text()), AGAIN


def test_a_difference_is_seen() -> None:
    assert same_text("beta_g = -0.0883", "beta_g = -0.0883000001")
    assert not same_text("beta_g = -0.0883", "beta_g = -0.0884")
    assert not same_text("beta_g = -0.0883", "beta_p = -0.0883")
    one = {"value": 60.0, "lower": 20.0, "upper": 120.0}
    assert same_json(one, one | {"value": 60.5})
    assert not same_json(one, one | {"value": 62.0})
    assert not same_json(one, one | {"upper": None})
    assert not same_json({"points": [1.0, 2.0]}, {"points": [1.0, 2.001]})


def test_every_result_belongs_to_a_spec() -> None:
    specs = {path.stem for path in SPECS if path.parent.name == "studies"} | {"fashion-demo"}
    assert set(RESULTS.names()) <= specs


INTERVAL = re.compile(r"-?[\d.]+(?: %| nats)? \[-?[\d.]+, -?[\d.]+\]")
FOUND = {
    row.split("](")[0].removeprefix("| ["): row
    for row in (RESULTS.RESULTS / "README.md").read_text().splitlines()
    if row.startswith("| [")
}


def intervals(text: str) -> list[str]:
    return [found.replace(" nats", "") for found in INTERVAL.findall(text)]


@pytest.mark.parametrize("name", FOUND)
def test_what_is_told_of_a_study_is_what_its_results_say(name: str) -> None:
    """Every interval in the comments of its spec, and in what the docs say of it."""
    page = (ROOT / "docs" / "ways-in.md").read_text()
    if name == "fashion-demo":
        told = page.split("## The demo")[1]
    else:
        spec = (ROOT / "studies" / f"{name}.yaml").read_text().splitlines()
        comments = [line.removeprefix("#") for line in spec if line.startswith("#")]
        paragraph = page.partition(f"in `studies/results/{name}`:")[2].split("\n\n")[0]
        told = "\n".join([*comments, paragraph])
    known = intervals(FOUND[name])
    assert known
    assert set(intervals(" ".join(told.split()))) <= set(known)
