"""The specs in ``studies``: each is one that steep reads, and says how to run itself."""

from pathlib import Path

import pytest

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
