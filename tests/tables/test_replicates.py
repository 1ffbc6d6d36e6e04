"""Replicates, histories and searches, told apart by the columns in which rows differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steep.tables.raw import column_of
from steep.tables.replicates import CurveRows, best_fits


def kept(errors: list[float], **cells: list[Any]) -> tuple[list[float], tuple[str, ...]]:
    """Errors that count, of rows of two sizes: the first half and the second half."""
    every = np.arange(len(errors))
    size = 100.0 * (1 + (every >= len(errors) // 2))
    columns = {name: column_of(values) for name, values in cells.items()}
    rows, notes = best_fits(CurveRows(every, size, np.array(errors), columns))
    return [errors[i] for i in rows], notes


ERRORS = [0.5, 0.4, 0.6, 0.3, 0.2, 0.4]


@pytest.mark.parametrize(
    "cells",
    [
        {},
        {"seed": [0, 1, 2] * 2},
        {"fold": [0, 1, 2] * 2, "train_loss": [1, 2, 3, 4, 5, 6]},
        {"lr": [0.1, "0.10", 0.1, 0.2, 0.2, 0.2]},
        {"params.run_dir": list("abcabc"), "params.seed": [0, 1, 2] * 2},
        {"config.slurm_job_id": [1, 2, 3, 4, 5, 6]},
        {"Name": list("abcdef"), "_step": [10, 12, 9, 20, 18, 25]},
        {"permutation": [0, 1, 2] * 2, "learning_rate": [0.1, 0.2, 0.1] * 2},
        {"steps": [10, 12, 9, 20, 18, 25]},
    ],
)
def test_replicates_are_kept(cells: dict[str, list[Any]]) -> None:
    """Best fits of several draws differ in their hyperparameters; runs stop at steps of their own;
    'steps' is how long a run was."""
    assert kept(ERRORS, **cells) == (ERRORS, ())


@pytest.mark.parametrize(
    "cells",
    [
        {"lr": [0.1, 0.2, 0.3] * 2},
        {"optimizer": ["sgd", "adam", None] * 2},
        {"config.temperature": [1, 2, 3] * 2},
        {"Epoch": [1, 2, 3] * 2},
        {"epochs": [1, 2, 3] * 2, "seed": [7, 8, 9] * 2},
    ],
)
def test_the_best_counts(cells: dict[str, list[Any]]) -> None:
    found, notes = kept(ERRORS, **cells)
    assert found == [0.4, 0.2]
    assert len(notes) == 1
    assert repr(next(iter(cells))) in notes[0]
    assert "--all-rows" in notes[0]


def test_the_best_hyperparameters_keep_their_seeds() -> None:
    """By the median: the one lucky seed of the worse rate does not choose it."""
    errors = [0.5, 0.5, 0.1, 0.4, 0.4, 0.4] * 2
    found, notes = kept(errors, lr=[1, 1, 1, 2, 2, 2] * 2, seed=[0, 1, 2] * 4)
    assert found == [0.4] * 6
    assert "'lr': the best of each size counts. --by lr" in notes[0]


def test_each_run_counts_with_its_lowest_error() -> None:
    errors = [0.5, 0.4, 0.6, 0.3] * 2
    found, notes = kept(errors, epoch=[1, 2] * 4, seed=[0, 0, 1, 1] * 2)
    assert found == [0.4, 0.3] * 2
    assert "'epoch': of each run the lowest error counts" in notes[0]


def test_seeds_without_a_label_share_their_best_epoch() -> None:
    errors = [0.5, 0.5, 0.4, 0.38] * 2
    found, _ = kept(errors, epoch=[1, 1, 2, 2] * 2)
    assert found == [0.4, 0.38] * 2


def test_a_searchs_histories() -> None:
    errors = [0.5, 0.3, 0.45, 0.4] * 2
    found, notes = kept(errors, lr=[1, 1, 2, 2] * 2, step=[1, 2] * 4)
    assert found == [0.3] * 2
    assert len(notes) == 2
