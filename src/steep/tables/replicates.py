"""Rows of one size: replicates, other curves, the history of a run, or the trials of a search.

A learning curve consists of best-fit models: the lowest error of each run and, among the runs of
one size, those with the best hyperparameters. The remaining rows of one size are replicates: other
seeds or other draws of the data. Rows that differ in anything else with few values that recur at
the sizes (method, data set, features) belong to different curves. The names of the columns in which
rows differ decide between these cases; notes say what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from steep.tables import words
from steep.tables.raw import Array, codes
from steep.tables.words import DRAWS, RUNS, normal, tracked_setting

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
CURVES = {"curve", "family", "model", "dataset", "task", "study", "domain", "run_group", "method",
          "arch", "architecture", "algorithm", "backbone", "network", "system", "features", "lang",
          "language", "estimator", "classifier", "approach", "variant", "condition"}  # fmt: skip
"""Columns that distinguish curves if they hold several values."""
_LABELS = {"id", "pid", "port", "rank", "job", "time", "timestamp", "date", "version", "device",
           "host", "hostname", "machine", "node", "user", "path", "file", "filename", "commit",
           "hash", "sha", "url", "note", "notes", "comment", "tags", "git", "gpu", "status",
           "state", "unit", "units", "metric", "held", "used", "created", "reason", "flags",
           "engine", "checkpoint"}  # fmt: skip
"""Words in the names of columns that neither measure anything nor distinguish curves."""
_MOST_VALUES = 40
"""The most values of a column that distinguishes curves."""
_TEXT, _NUMBER = 0.5, 0.75
"""Values recur at the sizes if at least this share of all (value, size) pairs occurs, for a column
of text or of numbers."""
FEW, MANY = 5, 20
"""Numbers of sizes: with ``FEW`` or more, equal steps show the history of a run; with ``MANY``
or more, their number alone does."""


@dataclass(frozen=True)
class CurveRows:
    """Rows of one curve: their indices in the table, sizes and errors, and the columns that may
    distinguish runs."""

    rows: Array
    size: Array
    error: Array
    cells: Mapping[str, Array]
    parameters: str | None = None
    """The column of model sizes, if there is one."""

    @cached_property
    def place(self) -> Array:
        """The index of each row's size among the different sizes."""
        return np.unique(self.size, return_inverse=True)[1]

    @cached_property
    def _codes(self) -> dict[str, tuple[Array, list[object]]]:
        return {}

    def codes(self, column: str) -> tuple[Array, list[object]]:
        if column not in self._codes:
            self._codes[column] = codes(self.cells[column][self.rows])
        return self._codes[column]

    def only(self, kept: Array) -> CurveRows:
        if len(kept) == len(self.rows):
            return self
        return replace(self, rows=self.rows[kept], size=self.size[kept], error=self.error[kept])


# ---------------------------------------------------------------- other curves


def factors(rows: CurveRows) -> dict[str, list[object]]:
    """The columns that distinguish curves, with their values."""
    distinguishing: dict[str, list[object]] = {}
    sizes = rows.place
    for column in rows.cells:
        if _is_no_factor(column, rows):
            continue
        value, names = rows.codes(column)
        if not 2 <= len(names) <= min(_MOST_VALUES, len(rows.rows) // 2):
            continue
        text = any(isinstance(n, str) and words.number_in(n) is None for n in names)
        if _distinguishes_curves(normal(column), text, value, sizes, len(names)):
            distinguishing[column] = names
    return distinguishing


def _is_no_factor(column: str, rows: CurveRows) -> bool:
    """Whether a column cannot distinguish curves by its name."""
    name = normal(column)
    if name in CURVES:
        return False
    if name == "split":
        return all(words.number_in(str(v)) is not None for v in rows.codes(column)[1])
    if words.is_replicate(column) or words.is_steps(column) or _is_setting(column, rows):
        return True
    if {*words.tokens(column)} & _LABELS or words.time_or_rank(column):
        return True
    return bool(
        words.metric_kind(column) or words.spread_kind(column) or words.size_rank(column) == 2
    )


def _distinguishes_curves(name: str, text: bool, value: Array, sizes: Array, count: int) -> bool:
    """Whether the values of a column recur at the sizes or, if no size has two of them, whether
    they occupy overlapping ranges of sizes."""
    filled = value >= 0
    pairs = np.unique(np.stack([value[filled], sizes[filled]]), axis=1)
    of_value = np.bincount(pairs[0], minlength=count)
    shared = np.bincount(pairs[1]).max() > 1
    if shared:
        recurring = pairs.shape[1] / (count * len(np.unique(sizes)))
        return name in CURVES or recurring >= (_TEXT if text else _NUMBER)
    if not text or (of_value < 2).all():
        return False
    if name in CURVES:
        return int(np.sum(of_value >= 2)) >= 2
    ends = [pairs[1][pairs[0] == v] for v in np.flatnonzero(of_value >= 3)]
    return len(ends) > 1 and max(e.min() for e in ends) < min(e.max() for e in ends)


# ---------------------------------------------------------------- histories


def history(rows: CurveRows, x: str, steps: Mapping[str, Array]) -> tuple[bool, str]:
    """Whether the rows are certainly the history of runs, and the evidence; '' if there is none.

    ``steps`` are columns with the point in a run at which a row was measured."""
    runs = [c for c in rows.cells if _is_run(c)]
    group = _together(rows, runs)
    order = np.lexsort((rows.size, group))
    size, group = rows.size[order], group[order]
    if len(size) < 3:
        return False, ""
    starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    lengths = np.diff(np.r_[starts, len(size)])
    repeated = np.r_[False, np.diff(size) <= 0]  # sizes are sorted within each run
    repeated[starts] = False
    rising = (lengths >= 3) & (np.add.reduceat(repeated, starts, dtype=int) == 0)
    if not rising.any() or 2 * lengths[rising].sum() < len(size):
        return False, ""
    run = int(np.argmax(np.where(rising, lengths, 0)))
    count = int(lengths[run])
    longest = slice(int(starts[run]), int(starts[run]) + count)
    equal = _equally_spaced(size[longest])
    for column, cells in steps.items():
        step = words_as_numbers(cells[rows.rows][order])[longest]
        if np.isfinite(step).all() and (np.diff(step) > 0).all():
            sure = bool(count >= FEW and (equal or count >= MANY))
            return sure, f"{x!r} grows with {column!r} within one run"
    if words.is_steps(x):
        return bool(count >= FEW and equal), f"{x!r} counts steps or time of a run by its name"
    if equal and count >= MANY:
        return (
            False,
            f"{x!r} grows in {count} equal steps, one row each, as the history of one run does",
        )
    return False, ""


def words_as_numbers(cells: Array) -> Array:
    """Cells as floats; NaN for other text."""
    if cells.dtype != object:
        return cells
    return np.array(
        [v if (v := words.number_in(str(c))) is not None else np.nan for c in cells], float
    )


def _equally_spaced(sizes: Array) -> bool:
    gaps = np.diff(sizes)
    return bool(np.mean(np.abs(gaps - np.median(gaps)) <= 0.02 * np.median(gaps)) >= 0.8)


# ---------------------------------------------------------------- the best of each size


def best_fits(rows: CurveRows) -> tuple[Array, tuple[str, ...]]:
    """The indices of the best-fit rows among those given, and notes on the choice."""
    kept, notes = np.arange(len(rows.rows)), []
    draws = [c for c in rows.cells if normal(c) in DRAWS]
    runs = [c for c in rows.cells if _is_run(c) and c not in draws]
    settings = [c for c in rows.cells if _is_setting(c, rows) and c not in runs + draws]
    measured_at = _differing(rows, [c for c in rows.cells if words.is_history(c)])
    if measured_at:
        chosen = _lowest(rows, [*draws, *settings, *runs], measured_at, _mean_logs)
        if len(chosen) < len(kept):
            notes.append(
                f"Rows of one size differ in {_listed(measured_at)}: of each run the lowest error "
                "counts. --all-rows takes them all as replicates."
            )
        kept = chosen
    kept_rows = rows.only(kept)
    searched = _differing(kept_rows, settings)
    if searched:
        chosen = _lowest(kept_rows, draws, searched, _medians)
        if len(chosen) < len(kept):
            notes.append(
                f"Rows of one size differ in {_listed(searched)}: the best of each size counts. "
                f"--by {searched[0]} makes each a curve of its own, --all-rows takes them as "
                "replicates."
            )
        kept = kept[chosen]
    return kept, tuple(notes)


def _is_run(column: str) -> bool:
    name = normal(column)
    return name in RUNS or (name.endswith("seed") and name not in DRAWS)


def _is_setting(column: str, rows: CurveRows) -> bool:
    """Whether a column is a hyperparameter: by its name, or because a tracker lists it among the
    settings and it holds numbers, unlike the folder or the label of a run."""
    name = normal(column)
    if name in SETTINGS or words.is_parameters(column) or column == rows.parameters:
        return True
    if not tracked_setting(column) or words.is_history(column) or _LABELS & {*name.split("_")}:
        return False
    if words.size_rank(column) == 2 or name in RUNS or name in DRAWS or name.endswith("seed"):
        return False
    return all(words.number_in(str(v)) is not None or _is_number(v) for v in rows.codes(column)[1])


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _together(rows: CurveRows, columns: Sequence[str]) -> Array:
    """The index of each row's combination of values in ``columns``."""
    combination = np.zeros(len(rows.rows), int)
    for column in columns:
        value, names = rows.codes(column)
        combination = np.unique(combination * (len(names) + 1) + value + 1, return_inverse=True)[1]
    return combination


def _differing(rows: CurveRows, columns: Sequence[str]) -> list[str]:
    """The columns in which rows of one size differ."""
    sizes = rows.place
    count = sizes.max(initial=-1) + 1
    differing = []
    for column in columns:
        value = rows.codes(column)[0]
        if len(np.unique((value + 1) * count + sizes)) > count:
            differing.append(column)
    return differing


def _lowest(
    rows: CurveRows,
    together: Sequence[str],
    apart: Sequence[str],
    typical: Callable[[Array, Array], Array],
) -> Array:
    """Among rows of one size and equal values of ``together``, those whose values of ``apart`` have
    the lowest ``typical`` error; the first in case of ties."""
    group = _coded(rows.place, _together(rows, together))
    inner = _coded(group, _together(rows, apart))
    _, first = np.unique(inner, return_index=True)
    level = typical(inner, rows.error)
    order = np.lexsort((first, level, group[first]))
    winners = order[np.r_[True, np.diff(group[first][order]) != 0]]
    return np.flatnonzero(np.isin(inner, winners))


def _coded(first: Array, second: Array) -> Array:
    """The index of each pair of codes among the different pairs."""
    return np.unique(first * (second.max(initial=0) + 1) + second, return_inverse=True)[1]


def _mean_logs(group: Array, error: Array) -> Array:
    return np.bincount(group, np.log(error)) / np.bincount(group)


def _medians(group: Array, error: Array) -> Array:
    order = np.lexsort((error, group))
    count = np.bincount(group)
    start, sorted_error = np.cumsum(count) - count, error[order]
    return 0.5 * (sorted_error[start + (count - 1) // 2] + sorted_error[start + count // 2])


def _listed(columns: Sequence[str]) -> str:
    quoted = [repr(c) for c in columns]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
