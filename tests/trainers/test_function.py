"""A plain Python function as trainer: found, called, and what it returns checked."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.contracts.trainer import ShardItems
from steep.records import Measurement, Status, Trial, settings
from steep.testing import MemoryHandle
from steep.trainers.answer import OwnCodeError, StudyMetric
from steep.trainers.function import find, wrap

TRIAL = Trial(0, 3, 3.0, 8, settings({"rate": 0.1, "depth": 2}), 5)
SHARD = ShardItems(np.array([4, 2, 7]), np.array([0, 1]), np.array([3]))


def ran(
    answer: Any, handle: MemoryHandle | None = None, metric: str = "error", declared: bool = True
) -> Measurement:
    def function(shard: ShardItems, size: int, seed: int, **values: Any) -> Any:
        return answer

    return wrap(function, StudyMetric(metric, declared))(TRIAL, SHARD, handle or MemoryHandle())


def test_a_function_gets_its_items_size_seed_and_hyperparameters() -> None:
    def function(shard: ShardItems, size: int, seed: int, rate: float, depth: int) -> float:
        assert shard.train.tolist() == [4, 2, 7]
        assert shard.validation.tolist() == [0, 1]
        assert shard.test.tolist() == [3]
        return size + seed / 10 + rate / 100 + depth / 1000

    measured = wrap(function, StudyMetric("loss"))(TRIAL, SHARD, MemoryHandle())
    assert measured.validation_error == pytest.approx(8.503)
    assert measured.status == Status.COMPLETE
    assert measured.trial == TRIAL
    assert dict(measured.metrics) == {"loss": measured.validation_error}
    assert measured.seconds >= 0


def test_a_function_that_wants_the_handle_gets_it() -> None:
    def function(shard: ShardItems, size: int, seed: int, handle: Any, **rest: Any) -> float:
        handle.save(3, b"state")
        return 0.5

    handle = MemoryHandle()
    wrap(function)(TRIAL, SHARD, handle)
    assert handle.checkpoint == b"state"


def test_all_that_a_function_may_tell() -> None:
    handle = MemoryHandle()
    answer = {
        "validation_error": np.float32(0.25),
        "test_error": 0.3,
        "train_error": 0.1,
        "validation_loss": 0.9,
        "parameters": np.int64(70),
        "flops": 1e9,
        "steps": 12,
        "items": [0, 0.5],
    }
    found = ran(answer, handle, "mistakes")
    assert (found.validation_error, found.test_error, found.train_error) == (0.25, 0.3, 0.1)
    assert (found.parameters, found.flops, found.steps) == (70, 1e9, 12)
    assert type(found.parameters) is int
    assert type(found.validation_error) is float
    assert dict(found.metrics) == {"mistakes": 0.25}
    assert handle.errors["mistakes"].tolist() == [0, 0.5]
    assert handle.errors["count"].tolist() == [1, 1]


@pytest.mark.parametrize("answer", [math.nan, math.inf, -math.inf, {"validation_error": math.nan}])
def test_nan_and_infinity_are_divergence(answer: Any) -> None:
    found = ran(answer)
    assert found.status == Status.DIVERGED
    assert found.validation_error is None
    assert "the function returned" in (found.reason or "")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "no validation_error"),
        ("0.3 or so", "validation_error is not a number"),
        ([0.1, 0.2], "validation_error is not a number"),
        ({}, "no validation_error"),
        ({"erorr": 0.1}, r"returned \['erorr'\]; known are"),
        ({"validation_error": 0.1, 3: 4}, r"returned \['3'\]"),
        ({"validation_error": 0.1, "parameters": "many"}, "parameters is not a number"),
        ({"validation_error": 0.1, "parameters": math.nan}, "parameters is not a number"),
        ({"validation_error": 0.1, "test_error": [1]}, "test_error is not a number"),
        ({"validation_error": 0.1, "items": [1.0]}, "items: one finite error for each of 2"),
        ({"validation_error": 0.1, "items": [[1.0, 0.0]]}, "items: one finite error"),
        ({"validation_error": 0.1, "items": [1.0, math.nan]}, "items: one finite error"),
        ({"validation_error": 0.1, "items": ["a", "b"]}, "items: one finite error"),
    ],
)
def test_what_is_no_measurement_is_said(answer: Any, words: str) -> None:
    with pytest.raises(OwnCodeError, match=words):
        ran(answer)


@pytest.mark.parametrize(
    ("metric", "answer", "words"),
    [
        ("error", 95.0, "from 0 to 1: is it a percentage\\? Return 0.95 for 95.0 %"),
        ("error", 950.0, "error is a rate from 0 to 1. A loss may lie above 1"),
        ("error", 1.0001, "from 0 to 1"),
        ("error", -0.1, "validation_error = -0.1, and an error cannot be negative"),
        ("loss", -0.1, "cannot be negative"),
        ("error_rate", {"validation_error": 0.1, "test_error": 9.0}, "test_error = 9.0"),
        ("error", {"validation_error": 0.1, "train_error": -1}, "train_error = -1.0"),
        ("wer", 45.0, "wer is a rate"),
        ("1 - accuracy", 95.0, "accuracy lies between 0 and 1.*Return 0.95 for 95.0 %"),
        ("1 - accuracy", -0.5, "accuracy lies between 0 and 1"),
        ("1 - accuracy", {"validation_error": 5.0}, "error is a rate"),
        ("1 - bleu / 100", 101.0, "bleu lies between 0 and 100"),
        ("1 - r2", 1.5, "r2 lies between 0 and 1"),
        ("error", {"validation_error": 0.1, "metrics": {"accuracy": 90}}, "accuracy = 90.0"),
        ("loss", {"validation_error": 3.0, "metrics": {"error": 2.0}}, "error = 2.0"),
        ("error", {"validation_error": 0.1, "metrics": 3}, "a mapping of names to numbers"),
        ("error", {"validation_error": 0.1, "epochs": -1}, "epochs|samples_seen"),
        ("error", {"validation_accuracy": 0.9}, "domain: metric: accuracy"),
        ("error", {"accuracy": 0.9}, "domain: metric: accuracy"),
    ],
)
def test_what_cannot_be_the_metric_ends_the_trial_with_a_sentence(
    metric: str, answer: Any, words: str
) -> None:
    with pytest.raises(OwnCodeError, match=words):
        ran(answer, metric=metric)


def test_a_loss_may_be_above_1_and_word_errors_too() -> None:
    assert ran(95.0, metric="loss").validation_error == 95.0
    assert ran(1.4, metric="wer").validation_error == 1.4
    assert ran(1.0).validation_error == 1.0
    assert ran(-0.5, metric="1 - r2").validation_error == 1.5


def test_an_accuracy_is_kept_as_an_error() -> None:
    found = ran(0.96, metric="1 - accuracy")
    assert found.validation_error == pytest.approx(0.04)
    assert dict(found.metrics) == {"1 - accuracy": pytest.approx(0.04)}
    handle = MemoryHandle()
    answer = {"validation_accuracy": 0.5, "test_accuracy": 0.4, "items": [1, 0]}
    found = ran(answer, handle, "1 - accuracy")
    assert found.test_error == pytest.approx(0.6)
    assert handle.errors["1 - accuracy"].tolist() == [0, 1]
    assert ran({"validation_error": 0.04}, metric="1 - accuracy").validation_error == 0.04
    assert ran(30.0, metric="1 - bleu / 100").validation_error == pytest.approx(0.7)


def test_other_metrics_are_kept_beside_the_first_as_errors() -> None:
    found = ran({"validation_error": 0.1, "metrics": {"f1": 0.8, "loss": 2.5}, "epochs": 4})
    assert dict(found.metrics) == {"error": 0.1, "1 - f1": pytest.approx(0.2), "loss": 2.5}
    assert found.samples_seen == 4 * TRIAL.samples


def test_a_whole_measurement_passes_through() -> None:
    made = Measurement(TRIAL, Status.CAPPED, validation_error=0.4)
    assert ran(made) is made


# ---------------------------------------------------------------- finding it

SOURCE = """\
from __future__ import annotations
from dataclasses import dataclass
from helper_of_the_user_{tag} import FACTOR

@dataclass
class Settings:
    a: int = 3

def train(shard, size, seed):
    return FACTOR * Settings().a

number = 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: a file, a helper beside it, a module that fails."""
    monkeypatch.setattr("sys.path", ["/nowhere", *sys.path])
    tag = tmp_path.name.replace("-", "_")
    (tmp_path / "mine.py").write_text(SOURCE.format(tag=tag))
    (tmp_path / f"module_{tag}.py").write_text(SOURCE.format(tag=tag))
    (tmp_path / f"helper_of_the_user_{tag}.py").write_text("FACTOR = 2\n")
    (tmp_path / "bad.py").write_text("raise KeyError('no such dataset')\n")
    (tmp_path / "broken.py").write_text("def train(:\n")
    return tmp_path


def call(function: Callable[..., Any]) -> Any:
    return function(None, 1, 2)


def test_a_file_is_found_from_the_spec_with_what_it_imports(place: Path) -> None:
    assert call(find("mine.py:train", place)) == 6
    assert find("mine.py:train", place) is find("mine.py:train", place), "loaded once"


def test_a_module_in_the_folder_of_the_spec_is_found(place: Path) -> None:
    tag = place.name.replace("-", "_")
    assert call(find(f"module_{tag}:train", place)) == 6


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.py", "write it as module:function"),
        (":train", "write it as module:function"),
        ("mine.py:", "write it as module:function"),
        ("absent.py:train", "no file"),
        ("absent_module:train", "No module named"),
        ("mine.py:tarin", "has no attribute 'tarin'"),
        ("mine.py:number", "is not a function"),
        ("bad.py:train", "KeyError: 'no such dataset'"),
        ("broken.py:train", "SyntaxError"),
    ],
)
def test_what_cannot_be_found_is_said(name: str, words: str, place: Path) -> None:
    with pytest.raises(OwnCodeError, match=words):
        find(name, place)
