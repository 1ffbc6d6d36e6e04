"""The engine as a trainer: spec in, measurement out, through the front door."""

from pathlib import Path

import numpy as np
import pytest

from steep import testing
from steep.contracts.trainer import ShardItems
from steep.domains import images
from steep.records import Status, Trial, settings
from steep.spec.load import Loaded, from_values, open_domain
from steep.trainers import engine


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    labels = np.arange(60) % 3
    noise = np.random.default_rng(0).integers(0, 128, (60, 6, 6))
    pixels = (noise + 60 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels, labels=labels)
    return from_values(
        {
            "study": "tiny",
            "domain": {"name": "images", "train": "data.npz"},
            "family": {"name": "resnet", "sizes": [2, 4], "stages": 2},
            "shards": {"smallest": 10},
            "training": {"batch_size": 8},
            "stop": {"evaluations": 2, "first": 4, "patience": 1},
        },
        tmp_path,
    )


def opened(loaded: Loaded) -> images.Images:
    options = images.Options.model_validate(loaded.spec.domain.options)
    return images.open_domain(options, loaded.base)


def test_contract(loaded: Loaded) -> None:
    testing.check_member(engine, "recipe", "cost", "open_trainer")
    domain = opened(loaded)
    rows = np.arange(60)
    measured = testing.check_trainer(
        engine.open_trainer(loaded, domain),
        Trial(0, 30, 30.0, 2, settings({"learning_rate": 0.02}), 0),
        ShardItems(rows[:30], rows[30:50], rows[50:]),
    )
    assert measured.status in (Status.COMPLETE, Status.CAPPED)
    cost = engine.cost(loaded, domain, 2)
    assert cost is not None
    assert measured.parameters == cost.parameters
    assert measured.flops == pytest.approx(cost.flops * measured.samples_seen)
    assert measured.engine in ("resnet-kernel", "torch")
    assert measured.device == "cpu"
    assert dict(measured.versions)["deterministic"] is True
    assert set(dict(measured.metrics)) == {"cross_entropy", "error"}


def test_recipe_names_every_hyperparameter() -> None:
    always = {"optimizer", "learning_rate", "momentum", "batch_size", "clip"}
    assert always <= set(engine.recipe("resnet") or {})
    assert always | {"sequence_length"} <= set(engine.recipe("rhn") or {})
    assert engine.recipe("no such family") == {}


def test_pieces_that_do_not_fit_are_named(loaded: Loaded) -> None:
    domain = opened(loaded)
    spec = loaded.spec
    wrong_metric = Loaded(spec.model_copy(update={"metric": "bleu"}), loaded.base)
    with pytest.raises(ValueError, match="no 'bleu'; there are: cross_entropy, error"):
        engine.open_trainer(wrong_metric, domain)
    text = spec.family.model_copy(update={"name": "rhn"})
    wrong_family = Loaded(spec.model_copy(update={"family": text}), loaded.base)
    with pytest.raises(ValueError, match="made for a stream domain"):
        engine.cost(wrong_family, domain, 2)


@pytest.mark.parametrize("family", ["lstm", "transformer", "rhn"])
def test_memory_is_what_a_step_has_alive(tmp_path: Path, family: str) -> None:
    """What comes with every symbol of a batch, whoever counts the family's FLOPs."""
    words = np.random.default_rng(0).integers(0, 20, 6000)
    (tmp_path / "text.txt").write_text(" ".join(chr(97 + w) * 3 for w in words))
    values = {
        "study": "tiny",
        "domain": {"name": "characters", "train": "text.txt"},
        "family": {"name": family, "sizes": [32]},
        "shards": {"smallest": 1000},
    }
    loaded = from_values(values, tmp_path)
    domain = open_domain(loaded)
    items = np.arange(len(domain.items().size))

    def needed(batch_size: int) -> tuple[float, float]:
        given = settings({"batch_size": batch_size, "sequence_length": 50})
        samples = float(domain.items().size.sum())
        per_step = samples / domain.steps_per_epoch(items, dict(given))
        return engine.memory(loaded, domain, Trial(0, 1, samples, 32, given, 0), items), per_step

    (few, units), (many, more) = needed(4), needed(32)
    (step,) = {s for s in engine.steps(loaded, domain) if s.size == 32}
    assert few > 4e8 + 3 * 4 * step.parameters
    assert many - few == pytest.approx(step.footprint(more) - step.footprint(units))
    assert many - few > 5 * 32 * 4 * (more - units)  # five a unit and symbol
