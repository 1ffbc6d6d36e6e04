"""Rows of one size: which are replicates, which the history of a run, which the tries of a search.

A learning curve is made of best-fit models: the lowest error of each run, and of the runs of one
size those with the best hyperparameters. What is left are replicates: other seeds, other draws of
the data. Told apart by the names of the columns in which the rows differ; what was chosen is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from steep.columns import PARAMETER_NAMES, normal, tracked_setting
from steep.rows import word

HISTORY = {"epoch", "step", "global_step", "iteration", "iter", "update", "current_epoch"}
"""Where in a run a row was measured. 'epochs' and 'steps' say how long one was."""
RUNS = {"seed", "run", "run_id", "run_name", "name", "id", "trial", "trial_id", "replicate",
        "replica", "repeat", "repetition", "rep", "random_state"}  # fmt: skip
DRAWS = {"permutation", "fold", "draw", "data_seed", "split_seed", "subset_seed"}
SETTINGS = {
    "lr", "learning_rate", "max_lr", "peak_lr", "base_lr", "initial_lr", "batch_size", "batch",
    "weight_decay", "wd", "l1", "l2", "dropout", "momentum", "beta1", "beta2", "optimizer", "optim",
    "schedule", "scheduler", "lr_schedule", "lr_scheduler", "warmup", "warmup_steps", "epochs",
    "num_epochs", "n_epochs", "max_epochs", "patience", "clip", "grad_clip", "label_smoothing",
    "augmentation", "width", "depth", "layers", "num_layers", "n_layers", "hidden", "hidden_size",
    "hidden_dim", "d_model", "heads", "num_heads", "n_heads", "embedding_dim", "size",
    "model_size", "width_multiplier", "max_depth", "n_estimators", "max_features", "c", "gamma",
    "kernel", "n_neighbors", "regularization", "hyperparameters", "averaging",
}  # fmt: skip


_LABELS = {"id", "pid", "port", "rank", "job", "time", "timestamp", "date", "version", "device"}
"""Words in the names of what a tracker lists among the settings, but tells runs apart."""


@dataclass(frozen=True)
class Rows:
    """Rows of one curve: their sizes and errors, by row, and columns that may tell runs apart."""

    rows: Sequence[int]
    size: Mapping[int, float]
    error: Mapping[int, float]
    cells: Mapping[str, Sequence[Any]]
    parameters: str | None = None
    """The column of model sizes, whatever its name."""


def best_fits(given: Rows) -> tuple[list[int], tuple[str, ...]]:
    """The rows that count, in their order, and what was chosen, in sentences."""
    kept, notes = list(given.rows), []
    runs, draws = (_names(given, known) for known in (_is_run, DRAWS.__contains__))
    settings = [c for c in given.cells if _is_setting(c, given) and c not in runs + draws]
    history = _differing(given, kept, _names(given, HISTORY.__contains__))
    if history:
        chosen = _lowest(given, kept, [*draws, *settings, *runs], history, _mean_log)
        if len(chosen) < len(kept):
            notes.append(
                f"Rows of one size differ in {_listed(history)}: of each run the lowest error "
                "counts. --all-rows takes them all as replicates."
            )
        kept = chosen
    searched = _differing(given, kept, settings)
    if searched:
        chosen = _lowest(given, kept, draws, searched, median)
        if len(chosen) < len(kept):
            notes.append(
                f"Rows of one size differ in {_listed(searched)}: the best of each size counts. "
                f"--by {searched[0]} makes each a curve of its own, --all-rows takes them as "
                "replicates."
            )
        kept = chosen
    return kept, tuple(notes)


def _names(given: Rows, known: Callable[[str], bool]) -> list[str]:
    return [c for c in given.cells if known(normal(c))]


def _is_run(name: str) -> bool:
    return name in RUNS or (name.endswith("seed") and name not in DRAWS)


def _is_setting(column: str, given: Rows) -> bool:
    """By its name; or because a tracker lists it among the settings and it holds numbers, unlike
    the folder or the label of a run."""
    name = normal(column)
    if name in SETTINGS or name in PARAMETER_NAMES or column == given.parameters:
        return True
    if not tracked_setting(column) or name in HISTORY or _LABELS & set(name.split("_")):
        return False
    return all(isinstance(_value(given.cells[column][i]), float | None) for i in given.rows)


def _differing(given: Rows, rows: Iterable[int], columns: Iterable[str]) -> list[str]:
    """Columns in which rows of one size differ."""
    found = []
    for column in columns:
        seen: dict[float, Hashable] = {}
        values = ((given.size[i], _value(given.cells[column][i])) for i in rows)
        if any(seen.setdefault(size, value) != value for size, value in values):
            found.append(column)
    return found


def _lowest(
    given: Rows,
    rows: Sequence[int],
    together: Sequence[str],
    apart: Sequence[str],
    typical: Callable[[list[float]], float],
) -> list[int]:
    """Of the rows of one size and equal in ``together``, those whose values of ``apart`` have the
    lowest typical error."""
    groups: dict[Hashable, dict[Hashable, list[int]]] = {}
    for i in rows:
        place = (given.size[i], _values(given, together, i))
        groups.setdefault(place, {}).setdefault(_values(given, apart, i), []).append(i)
    best = [
        min(group.values(), key=lambda same: typical([given.error[i] for i in same]))
        for group in groups.values()
    ]
    return sorted(i for same in best for i in same)


def _mean_log(errors: list[float]) -> float:
    return fmean(map(math.log, errors))


def _values(given: Rows, columns: Sequence[str], i: int) -> tuple[Hashable, ...]:
    return tuple(_value(given.cells[column][i]) for column in columns)


def _value(cell: Any) -> float | str | None:
    """Cells that mean the same are equal: 0.1 and '0.10', None and ''."""
    text = word(cell)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _listed(columns: Sequence[str]) -> str:
    quoted = [repr(c) for c in columns]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
