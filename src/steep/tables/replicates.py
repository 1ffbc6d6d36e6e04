"""Rows of one size: which are replicates, which other curves, which the history of a run, which the
tries of a search.

A learning curve is made of best-fit models: the lowest error of each run, and of the runs of one
size those with the best hyperparameters. What is left are replicates: other seeds, other draws of
the data. Rows that differ in anything else whose few values recur at the sizes (method, data set,
features) belong to different curves. Told apart by the names of the columns in which rows differ;
what was chosen is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

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
"""Columns that tell curves apart wherever they hold several values."""
_LABELS = {"id", "pid", "port", "rank", "job", "time", "timestamp", "date", "version", "device",
           "host", "hostname", "machine", "node", "user", "path", "file", "filename", "commit",
           "hash", "sha", "url", "note", "notes", "comment", "tags", "git", "gpu", "status",
           "state", "unit", "units", "metric", "held", "used", "created", "reason", "flags",
           "engine", "checkpoint"}  # fmt: skip
"""Words in the names of what neither measures nor tells curves apart."""
_MOST_VALUES = 40
"""Values of a column that may tell curves apart."""
_TEXT, _NUMBER = 0.5, 0.75
"""Share of all pairs of a value and a size from which on the values recur at the sizes."""
FEW, MANY = 5, 20
"""Sizes from which on a run's history is told by equal steps, and by their number alone."""


@dataclass(frozen=True)
class Rows:
    """Rows of one curve: their places in the table, sizes and errors, and columns that may tell
    runs apart."""

    rows: Array
    size: Array
    error: Array
    cells: Mapping[str, Array]
    parameters: str | None = None
    """The column of model sizes, whatever its name."""

    @cached_property
    def place(self) -> Array:
        """Which of the different sizes each row has."""
        return np.unique(self.size, return_inverse=True)[1]

    @cached_property
    def _codes(self) -> dict[str, tuple[Array, list[object]]]:
        return {}

    def codes(self, column: str) -> tuple[Array, list[object]]:
        if column not in self._codes:
            self._codes[column] = codes(self.cells[column][self.rows])
        return self._codes[column]

    def only(self, kept: Array) -> Rows:
        if len(kept) == len(self.rows):
            return self
        return replace(self, rows=self.rows[kept], size=self.size[kept], error=self.error[kept])


# ---------------------------------------------------------------- other curves


def factors(given: Rows) -> dict[str, list[object]]:
    """Columns that tell several curves apart, and their values."""
    found: dict[str, list[object]] = {}
    sizes = given.place
    for column in given.cells:
        if _is_no_factor(column, given):
            continue
        value, names = given.codes(column)
        if not 2 <= len(names) <= min(_MOST_VALUES, len(given.rows) // 2):
            continue
        text = any(isinstance(n, str) and words.number_in(n) is None for n in names)
        if _tells_curves_apart(normal(column), text, value, sizes, len(names)):
            found[column] = names
    return found


def _is_no_factor(column: str, given: Rows) -> bool:
    name = normal(column)
    if name in CURVES:
        return False
    if name == "split":
        return all(words.number_in(str(v)) is not None for v in given.codes(column)[1])
    if words.is_replicate(column) or words.is_steps(column) or _is_setting(column, given):
        return True
    if {*words.tokens(column)} & _LABELS or words.time_or_rank(column):
        return True
    return bool(
        words.metric_kind(column) or words.spread_kind(column) or words.size_rank(column) == 2
    )


def _tells_curves_apart(name: str, text: bool, value: Array, sizes: Array, count: int) -> bool:
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


def history(given: Rows, x: str, steps: Mapping[str, Array]) -> tuple[bool, str]:
    """Whether the rows are surely the history of runs, and what says so; '' for nothing.

    ``steps`` are columns that say where in a run a row was measured."""
    runs = [c for c in given.cells if _is_run(c)]
    group = _together(given, runs)
    order = np.lexsort((given.size, group))
    size, group = given.size[order], group[order]
    bounds = np.flatnonzero(np.r_[True, np.diff(group) != 0, True])
    parts = [slice(a, b) for a, b in pairwise(bounds)]
    rising = [p for p in parts if p.stop - p.start >= 3 and (np.diff(size[p]) > 0).all()]
    if not rising or 2 * sum(p.stop - p.start for p in rising) < len(size):
        return False, ""
    longest = max(rising, key=lambda p: p.stop - p.start)
    count = longest.stop - longest.start
    equal = _equally_spaced(size[longest])
    for column, cells in steps.items():
        step = words_as_numbers(cells[given.rows][order])[longest]
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
    """Cells as floats, NaN for what is none."""
    if cells.dtype != object:
        return cells
    return np.array(
        [v if (v := words.number_in(str(c))) is not None else np.nan for c in cells], float
    )


def _equally_spaced(sizes: Array) -> bool:
    gaps = np.diff(sizes)
    return bool(np.mean(np.abs(gaps - np.median(gaps)) <= 0.02 * np.median(gaps)) >= 0.8)


# ---------------------------------------------------------------- the best of each size


def best_fits(given: Rows) -> tuple[Array, tuple[str, ...]]:
    """The rows that count, as places among those given, and what was chosen, in sentences."""
    kept, notes = np.arange(len(given.rows)), []
    draws = [c for c in given.cells if normal(c) in DRAWS]
    runs = [c for c in given.cells if _is_run(c) and c not in draws]
    settings = [c for c in given.cells if _is_setting(c, given) and c not in runs + draws]
    measured_at = _differing(given, [c for c in given.cells if words.is_history(c)])
    if measured_at:
        chosen = _lowest(given, [*draws, *settings, *runs], measured_at, _mean_logs)
        if len(chosen) < len(kept):
            notes.append(
                f"Rows of one size differ in {_listed(measured_at)}: of each run the lowest error "
                "counts. --all-rows takes them all as replicates."
            )
        kept = chosen
    now = given.only(kept)
    searched = _differing(now, settings)
    if searched:
        chosen = _lowest(now, draws, searched, _medians)
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


def _is_setting(column: str, given: Rows) -> bool:
    """By its name; or because a tracker lists it among the settings and it holds numbers, unlike
    the folder or the label of a run."""
    name = normal(column)
    if name in SETTINGS or words.is_parameters(column) or column == given.parameters:
        return True
    if not tracked_setting(column) or words.is_history(column) or _LABELS & {*name.split("_")}:
        return False
    if words.size_rank(column) == 2 or name in RUNS or name in DRAWS or name.endswith("seed"):
        return False
    return all(words.number_in(str(v)) is not None or _is_number(v) for v in given.codes(column)[1])


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _together(given: Rows, columns: Sequence[str]) -> Array:
    """Which combination of the values of ``columns`` each row has."""
    made = np.zeros(len(given.rows), int)
    for column in columns:
        value, names = given.codes(column)
        made = np.unique(made * (len(names) + 1) + value + 1, return_inverse=True)[1]
    return made


def _differing(given: Rows, columns: Sequence[str]) -> list[str]:
    """Columns in which rows of one size differ."""
    sizes = given.place
    count = sizes.max(initial=-1) + 1
    found = []
    for column in columns:
        value = given.codes(column)[0]
        if len(np.unique((value + 1) * count + sizes)) > count:
            found.append(column)
    return found


def _lowest(
    given: Rows,
    together: Sequence[str],
    apart: Sequence[str],
    typical: Callable[[Array, Array], Array],
) -> Array:
    """Of the rows of one size and equal in ``together``, those whose values of ``apart`` have the
    lowest typical error; of equal ones the first."""
    group = _coded(given.place, _together(given, together))
    inner = _coded(group, _together(given, apart))
    _, first = np.unique(inner, return_index=True)
    level = typical(inner, given.error)
    order = np.lexsort((first, level, group[first]))
    winners = order[np.r_[True, np.diff(group[first][order]) != 0]]
    return np.flatnonzero(np.isin(inner, winners))


def _coded(first: Array, second: Array) -> Array:
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
