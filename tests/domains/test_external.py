"""The user's own data: item numbers, classes if there are any, and files that are no classes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from steep import testing
from steep.contracts.domain import DataError
from steep.domains import external


def opened(folder: Path, **options: object) -> external.External:
    return external.open_domain(external.Options.model_validate(options), folder)


def test_items_are_numbered_and_unlike() -> None:
    items = opened(Path(), items=50).items()
    testing.check_items(items)
    assert items.size.sum() == 50
    assert len(set(items.digest)) == len(set(items.group)) == 50
    assert items.label is None
    assert dict(items.files) == {}


def test_classes_stratify_and_give_a_best_guess(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 0, 1, 0, 2], np.uint8)
    np.save(tmp_path / "y.npy", labels)
    domain = opened(tmp_path, items=10, labels="y.npy", metric="mistakes")
    items = domain.items()
    testing.check_items(items)
    assert items.label is not None
    assert items.label.tolist() == labels.tolist()
    sha = hashlib.sha256((tmp_path / "y.npy").read_bytes()).hexdigest()
    assert dict(items.files) == {"y.npy": sha}
    # the most frequent class of items 3, 4, 5 is 1; among 6, 7, 8 it is wrong twice of three
    guess = domain.best_guess(np.array([3, 4, 5]), np.array([6, 7, 8]))
    assert guess == {"mistakes": pytest.approx(2 / 3)}
    assert opened(tmp_path, items=10).best_guess(np.array([1]), np.array([2])) == {}


def test_training_is_somebody_elses(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="no batches"):
        opened(tmp_path, items=3).batches()


@pytest.mark.parametrize("options", [{}, {"items": 1}, {"items": -4}, {"items": 3.5}])
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        external.Options.model_validate(options)


def save_npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, y=np.zeros(4, int))


BAD = {
    "absent": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: path.mkdir(),
    "no numpy file": lambda path: path.write_text("1\n2\n3\n4\n"),
    "truncated": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'"),
    "an archive": save_npz,
    "pickled": lambda path: np.save(path, np.array([{}, 1, 2, 3], dtype=object)),
    "wrong length": lambda path: np.save(path, np.zeros(5, int)),
    "fractions": lambda path: np.save(path, np.zeros(4)),
    "a table": lambda path: np.save(path, np.zeros((4, 1), int)),
    "negative": lambda path: np.save(path, np.array([0, 1, -1, 2])),
    "huge": lambda path: np.save(path, np.array([0, 1, 2, 10**12])),
}


@pytest.mark.parametrize("harm", BAD)
def test_a_file_of_classes_that_cannot_be_used_is_named(tmp_path: Path, harm: str) -> None:
    BAD[harm](tmp_path / "y.npy")
    if harm == "huge":  # classes need not be dense
        domain = opened(tmp_path, items=4, labels="y.npy")
        assert domain.best_guess(np.arange(4), np.arange(4)) == {"error": 0.75}
        return
    with pytest.raises(DataError, match=r"y\.npy"):
        opened(tmp_path, items=4, labels="y.npy")
