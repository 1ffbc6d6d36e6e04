"""Members from outside: by reference, and announced by an installed package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import steep
from steep import testing
from steep.laws import LAWS
from steep.spec.load import SpecError, from_values
from steep.spec.plugins import KINDS
from steep.study import Study

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"
IMAGES = ROOT / "src" / "steep" / "data" / "fashion_mnist_14x14"
SPEC = """
study: {study}
domain: {{name: images, train: "{images}/train-images-idx3-ubyte.gz", \
validation: "{images}/validation-images-idx3-ubyte.gz"}}
family: {{name: {family}, sizes: [4, 8]}}
shards: {{smallest: 50, largest: 200}}
search: {{planner: grid, seeds: 1, extend: 0}}
stop: {{max_steps: 40}}
run: {{workers: 2}}
"""


@pytest.fixture(autouse=True)
def members() -> Iterator[None]:
    """Members that a test brings in are gone after it."""
    before = {name: dict(kind.members) for name, kind in KINDS.items()}
    yield
    for name, kind in KINDS.items():
        kind.members.clear()
        kind.members.update(before[name])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed into a folder of its own by pip."""
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, place / "source")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(place / "site"), str(place / "source")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place / "site"


def run(site: Path, folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_installed_package_adds_a_family_a_law_and_a_trainer(site: Path, tmp_path: Path) -> None:
    listed = run(site, tmp_path, "-m", "steep", "plugins")
    assert "family perceptron: steep_example.perceptron:FAMILY (steep-example)" in listed
    assert "law log power: steep_example.log_power:LAW (steep-example)" in listed
    assert "trainer coin: steep_example.coin (steep-example)" in listed
    pytest.importorskip("torch")
    text = SPEC.format(study="p", images=IMAGES, family="perceptron")
    (tmp_path / "p.yaml").write_text(text)
    run(site, tmp_path, "-m", "steep", "run", "p.yaml", "--quiet")
    trials = json.loads(run(site, tmp_path, "-m", "steep", "status", "p", "--json"))["trials"]
    assert len(trials) == 6
    assert {trial["status"] for trial in trials} <= {"complete", "capped"}
    # what was measured can be read where the package is not
    assert "Wrote" in run(Path(), tmp_path, "-m", "steep", "report", "p")


def test_an_announced_trainer_runs_in_workers(site: Path, tmp_path: Path) -> None:
    (tmp_path / "coin.yaml").write_text(
        "study: coin\ndomain: {name: external, items: 6400}\nfamily: {sizes: [2, 4]}\n"
        "shards: {smallest: 100}\ntrainer: {name: coin, exponent: 0.4}\n"
        "search: {planner: grid, seeds: 2}\n"
    )
    run(site, tmp_path, "-m", "steep", "run", "coin.yaml", "--quiet")
    told = json.loads(run(site, tmp_path, "-m", "steep", "forecast", "coin", "--json"))
    assert told
    beta_g = Study.open(tmp_path / "coin").analyse().headline.fit.beta_g
    assert beta_g is not None
    assert beta_g.value == pytest.approx(-0.4, abs=0.02)


def test_its_members_pass_the_suites(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    code = """
        from steep import testing
        from steep_example import log_power, perceptron
        testing.check_law(log_power.LAW, (0.9, 3.0, 100.0))
        shape = {"channels": 1, "height": 8, "width": 8, "classes": 4}
        testing.check_family(perceptron.FAMILY, perceptron.Options(), shape)
        import numpy as np, steep
        m = np.geomspace(100, 1e6, 12)
        e = log_power.LAW.curve(m, 0.9, 3.0, 100.0)
        found = steep.fit(samples=m, error=e, laws=["power", "log power"])
        print(found.laws[0].law)
        other = steep.fit(samples=m, error=e)
        print(sorted(law.law for law in other.laws))
    """
    said = run(site, tmp_path, "-c", textwrap.dedent(code)).splitlines()
    assert said[0] == "log power"
    assert "log power" not in said[1], "a law from outside takes part where it is named"


def test_a_family_of_a_file_beside_the_spec(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = (PLUGIN / "src/steep_example/perceptron.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    text = SPEC.format(study="own", images=IMAGES, family='"mine.py:FAMILY"')
    (tmp_path / "own.yaml").write_text(text)
    study = Study(tmp_path / "own.yaml", tmp_path / "own")
    assert study.run(progress=False).word == "complete"
    (tmp_path / "mine.py").write_text(source.replace("nn.Tanh()", "nn.Sigmoid()"))
    with pytest.raises(SpecError, match=r"mine\.py: changed since the study began"):
        Study(tmp_path / "own.yaml", tmp_path / "own").run(progress=False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.at_all:FAMILY", "cannot be loaded: ModuleNotFoundError"),
        ("gone.py:FAMILY", "cannot be loaded: ImportError: no file"),
        ("os.path:join", "is none of the families: it has no FAMILY"),
        ("steep.models.resnet:NOTHING", "has no attribute 'NOTHING'"),
    ],
)
def test_a_reference_that_is_none_is_a_sentence(tmp_path: Path, name: str, words: str) -> None:
    values: dict[str, Any] = {
        "study": "x",
        "domain": {"name": "external", "items": 100},
        "family": {"name": name, "sizes": [1]},
        "shards": {"smallest": 10},
    }
    with pytest.raises(SpecError, match=words):
        from_values(values, tmp_path)


def test_a_family_whose_recipe_lacks_something_is_told_of(tmp_path: Path) -> None:
    """A recipe without 'clip' trains without clipping; one without a rate is a sentence."""
    source = (PLUGIN / "src/steep_example/perceptron.py").read_text()
    (tmp_path / "mine.py").write_text(source.replace('"learning_rate": 0.003, ', ""))
    text = SPEC.format(study="own", images=IMAGES, family='"mine.py:FAMILY"')
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SpecError, match="recipe of perceptron has no learning_rate"):
        Study(tmp_path / "own.yaml", tmp_path / "own").check()


def test_laws_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN / "src"))
    before = dict(LAWS)
    try:
        m = np.geomspace(100, 1e6, 12)
        name = "steep_example.log_power:LAW"
        found = steep.fit(samples=m, error=2 * m**-0.3, laws=["power", name])
        assert {law.law for law in found.laws} == {"power", "log power"}
        testing.check_law(LAWS["log power"], (0.9, 3.0, 100.0))
        with pytest.raises(ValueError, match="no law named 'log powder'"):
            steep.fit(samples=m, error=2 * m**-0.3, laws=["log powder"])
    finally:
        LAWS.clear()
        LAWS.update(before)
