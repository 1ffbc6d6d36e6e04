"""Results that somebody already has, as learning curves: the door for a stranger's table.

``read`` takes CSV (any common delimiter), JSON, JSON lines, Parquet, standard input ('-'), a study
folder, a DataFrame or columns by name; exports of W&B, MLflow and TensorBoard by their column
names. ``columns.py`` states how names are guessed and what numbers mean, ``amounts.py`` how numbers
are written, ``runs.py`` which rows of one size are replicates.

Bad values:
- a cell that is no number, a negative error, a size that is not positive, sizes or errors above
  1e30, a standard error that is not positive: a problem, named by line and column, all of them at
  once (TableError);
- an empty or NaN or infinite size or error: the row is left out, and that is said;
- a zero error has no logarithm: with ``validation_items`` it counts as half an error among them,
  without them its size is left out, and that is said;
- a missing standard error, where most rows have one: the typical one of the others, and that is
  said; where most rows have none, none is used;
- held-out rows and unfinished trials (columns 'held_out', 'status', 'State'): left out, and said;
- different units or metrics (columns 'unit', 'metric') within one curve: a problem.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from steep import columns
from steep.columns import Names, choose, normal, samples_from_compute
from steep.desk import Desk
from steep.rows import TableError, load
from steep.runs import Rows, best_fits
from steep.values import Values, values_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "TableCurve", "TableError", "curve_of", "read"]

MOST, BINS = 200, 100
"""Different sizes of a curve that are fitted one by one; of more, the bins that take their place.
The cost of a fit grows with the third power of their number, and a law has five parameters."""
NARROW = 2.0
"""Sizes that span less than this factor hardly tell an exponent."""
_APART = ("curve", "family", "model", "dataset", "task", "study", "domain", "run_group", "split")
"""Columns that usually tell curves apart; 'curve' does without being asked."""
_ENDED = {"complete", "completed", "finished", "ok", "success", "succeeded", "done"}
_NOT_ENDED = {"running", "crashed", "failed", "fail", "killed", "pruned", "preempted", "preempting",
              "pending", "queued", "scheduled", "waiting", "stopped", "timeout", "diverged",
              "error", "canceled", "cancelled", "interrupted", "active"}  # fmt: skip


@dataclass(frozen=True)
class TableCurve:
    """One learning curve: ``steep.fit`` and all that take a table take it as it is."""

    name: str
    columns: dict[str, list[float]]
    """samples, error and, where the table has them, se, parameters and unique; of those the last
    two may hold NaN."""
    unit: str = "samples"
    metric: str = "error"
    notes: tuple[str, ...] = ()
    accuracy: bool = False
    """The table's own numbers are accuracies: error is 1 - those."""
    others: dict[str, list[object]] = field(default_factory=dict)
    """With ``every_size``: the cells of all other columns."""
    lines: tuple[int, ...] = ()
    """With ``every_size``: where each row stands in the table, from 1."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.columns)


@dataclass(frozen=True)
class Table:
    """A table read: its curves in order of appearance, and what was done to it, in sentences."""

    source: str
    curves: tuple[TableCurve, ...]
    notes: tuple[str, ...] = ()

    def curve(self, name: str) -> TableCurve:
        return {c.name: c for c in self.curves}[name]


def read(
    source: Any,
    *,
    x: str | None = None,
    y: str | None = None,
    by: str | None = None,
    se: str | None = None,
    parameters: str | None = None,
    unique: str | None = None,
    higher_is_better: bool = False,
    format: str | None = None,
    validation_items: float | None = None,
    all_rows: bool = False,
    every_size: bool = False,
    compute: str | None = None,
    flops_per_parameter_sample: float | None = None,
) -> Table:
    """The learning curves of a table. ``x``, ``y``, ``se``, ``parameters`` and ``by`` are columns.

    ``by`` tells curves apart; ``unique`` is a column of distinct samples, of runs that saw some
    more than once. ``validation_items`` is the size of the validation set, for zero errors.
    ``all_rows`` takes rows of one size for replicates whatever they differ in; without it the best
    hyperparameters of each size count. ``every_size``: no matter how many there are; without it
    means of neighbours take the place of more than 200. With ``flops_per_parameter_sample`` sizes
    that are missing come from a column of ``compute`` and the model sizes. Raises TableError with
    every problem at once.
    """
    desk = Desk(load(source, format))
    desk.notes += desk.rows.notes
    if x is None and flops_per_parameter_sample is not None:
        samples_from_compute(desk, compute, parameters, flops_per_parameter_sample)
    names = choose(desk, x, y, by, se, parameters, unique)
    desk.stop_on_problems()
    values = values_of(desk, names, _left_in(desk, names), higher_is_better, validation_items)
    desk.stop_on_problems()
    groups = _split(desk, names, values)
    desk.stop_on_problems()
    curves = tuple(
        _curve(desk, names, values, *group, all_rows, every_size) for group in groups.items()
    )
    notes = [note for curve in curves for note in curve.notes] or desk.notes
    return Table(desk.rows.source, curves, tuple(dict.fromkeys(notes)))


def curve_of(
    source: Any,
    *,
    x: str,
    y: str,
    se: str | None = None,
    parameters: str | None = None,
    higher_is_better: bool = False,
) -> TableCurve:
    """The one learning curve of a DataFrame, of columns by name, or of what ``read`` gave.

    Raises ValueError (TableError for its contents) for anything else."""
    if isinstance(source, TableCurve):
        return source
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        path = str(source)
        raise ValueError(f"{path!r} is a path: give what steep.read({path!r}) makes of it")
    if not isinstance(source, Table | Mapping) and not hasattr(source, "iloc"):
        kind = type(source).__name__
        raise ValueError(f"{kind} is no table: give a DataFrame, or what steep.read gave")
    table = source
    if not isinstance(source, Table):
        table = read(
            source, x=x, y=y, se=se, parameters=parameters, higher_is_better=higher_is_better
        )
    if len(table.curves) != 1:
        names = ", ".join(repr(c.name) for c in table.curves) or "none"
        raise ValueError(f"one curve is wanted, not {names}: give one of steep.read(...).curves")
    return table.curves[0]


# ---------------------------------------------------------------- rows


def _left_in(desk: Desk, names: Names) -> list[int]:
    """Rows that are no held-out shard and no unfinished trial. A study's own table of best fits
    says which of its rows its fit used, and a held-out shard that is measured is one of them."""
    every = range(len(desk.rows.lines))
    yes = ("true", "1", "1.0", "yes")
    held = {i for i in every if desk.text("held_out", i) in yes}
    study = {"held_out", "used"} <= set(desk.rows.columns)
    unused = {i for i in every if study and desk.text("used", i) not in yes}
    held = unused & held if study else held
    unused -= held
    taken = (names.x, names.y, names.by)
    ended = {
        i
        for column in desk.rows.columns
        if normal(column) in ("status", "state") and column not in taken
        for i in _unfinished(desk, column)
    }
    if held:
        desk.note(sorted(held), "Held-out rows are left out")
    if unused:
        desk.note(sorted(unused), "Rows that the study's fit did not use are left out")
    if ended:
        desk.note(sorted(ended), "Trials that did not complete are left out")
    return [i for i in every if i not in held | unused | ended]


def _unfinished(desk: Desk, column: str) -> set[int]:
    """A 'state' may be something else than a run's: only words that are known tell."""
    words = {i: desk.text(column, i) for i in range(len(desk.rows.lines))}
    if normal(column) == "state" and not set(words.values()) <= {"", *_ENDED, *_NOT_ENDED}:
        return set()
    return {i for i, word in words.items() if word and word not in _ENDED}


# ---------------------------------------------------------------- curves


def _split(desk: Desk, names: Names, values: Values) -> dict[str, list[int]]:
    """Rows of each curve by its name, in order of appearance."""
    if names.by is None:
        _hint(desk, names, values)
        groups = {desk.rows.source if values.rows else "": list(values.rows)}
    else:
        groups = {}
        nameless = [i for i in values.rows if not desk.text(names.by, i)]
        for i in values.rows:
            own = f"no {names.by}" if i in nameless else str(desk.cell(names.by, i))
            groups.setdefault(own, []).append(i)
        if nameless:
            said = f"Rows with an empty {names.by!r} are a curve of their own, 'no {names.by}'"
            desk.note(nameless, said)
    for name, rows in groups.items():
        for column in ("unit", "units", "metric"):
            if column in desk.rows.cells and column not in (names.x, names.y, names.by):
                found = {desk.text(column, i) for i in rows} - {""}
                if len(found) > 1:
                    mixed = f"curve {name!r}" if names.by else "the curve"
                    desk.problems.append(
                        f"column {column!r}: {mixed} mixes {', '.join(sorted(found))}; one curve "
                        "has one"
                    )
    return groups


def _hint(desk: Desk, names: Names, values: Values) -> None:
    for column in _APART:
        if column in desk.rows.cells and column not in (names.x, names.y):
            count = len({desk.text(column, i) for i in values.rows})
            if count > 1:
                desk.notes.append(
                    f"Column {column!r} holds {count} different values, taken as one curve: "
                    f"--by {column} tells them apart."
                )


def _curve(
    desk: Desk,
    names: Names,
    values: Values,
    name: str,
    rows: list[int],
    all_rows: bool,
    every: bool,
) -> TableCurve:
    """One curve; what was done to its own rows is said before what was done to the table."""
    notes: tuple[str, ...] = ()
    if not all_rows:
        read = {names.x, names.y, names.by, names.se}
        cells = {c: cells for c, cells in desk.rows.cells.items() if c not in read}
        rows, notes = best_fits(Rows(rows, values.size, values.error, cells, names.parameters))
    found = {
        "samples": [values.size[i] for i in rows],
        "error": [values.error[i] for i in rows],
    }
    sizes = set(found["samples"])
    if len(sizes) > 1 and max(sizes) < NARROW * min(sizes):
        notes += ("The sizes span less than a factor of two: they hardly tell an exponent.",)
    if names.se is not None:
        given, said = _standard_errors(desk, names.se, values, rows)
        notes += (said,) if said else ()
        found |= {"se": given} if given else {}
    for column, known in (("parameters", values.parameters), ("unique", values.unique)):
        numbers = [known.get(i, math.nan) for i in rows]
        if not all(map(math.isnan, numbers)):
            found[column] = numbers
    if len(sizes) > MOST and not every:
        found = _binned(found)
        notes += (
            f"{len(sizes)} different sizes are more than a fit needs: "
            f"{len(found['samples'])} means of neighbouring sizes take their place.",
        )
    unit = columns.X_NAMES.get(normal(names.x), "samples")
    metric = values.meaning.metric
    for column in ("unit", "units"):
        unit = _only(desk, column, rows) or unit
    if metric == "error":
        metric = _only(desk, "metric", rows) or metric
    meant = values.meaning.note(_largest(found["samples"], found["error"]))
    notes += (*desk.notes, *([meant] if meant else []))
    made = TableCurve(name, found, unit, metric, notes, values.meaning.accuracy)
    if not every:
        return made
    taken = {names.x, names.y, names.by, names.se, names.parameters, names.unique}
    others = {c: [cells[i] for i in rows] for c, cells in desk.rows.cells.items() if c not in taken}
    return replace(made, others=others, lines=tuple(i + 1 for i in rows))


def _binned(found: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """The same curve by at most ``BINS`` points: geometric means of the rows in bins of equal ratio
    of sizes. Each bin counts once, as each size does, however many rows it has. A standard error is
    that of the mean, unless the rows' errors are common to them, which nobody says: the typical
    one of the rows stays, which is never too small."""
    log_size = np.log(found["samples"])
    low, high = log_size.min(), log_size.max()
    place = np.minimum((BINS * (log_size - low) / (high - low)).astype(int), BINS - 1)
    used, bin_of = np.unique(place, return_inverse=True)
    means: dict[str, list[float]] = {}
    for name, values in found.items():
        numbers = np.asarray(values, float)
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log(numbers)
        known = np.isfinite(logs)
        rows = np.bincount(bin_of[known], minlength=len(used))
        total = np.bincount(bin_of[known], logs[known], minlength=len(used))
        with np.errstate(invalid="ignore"):
            means[name] = np.where(rows > 0, np.exp(total / rows), np.nan).tolist()
    return means


def _largest(sizes: Sequence[float], errors: Sequence[float]) -> float:
    """The largest error of a size: that of its replicates together, which is what is shown."""
    logs: dict[float, list[float]] = {}
    for size, error in zip(sizes, errors, strict=True):
        logs.setdefault(size, []).append(math.log(error))
    return math.exp(max(map(fmean, logs.values()), default=0.0))


def _standard_errors(
    desk: Desk, column: str, values: Values, rows: Sequence[int]
) -> tuple[list[float], str]:
    """Of every row or of none, and what is said of the gaps."""
    given = {i: se for i in rows if not math.isnan(se := values.se[i])}
    gaps = [i for i in rows if i not in given]
    if 2 * len(given) < len(rows):
        few = f"only {len(given)} of {len(rows)} rows have" if given else "no row has"
        return [], f"Column {column!r}: {few} a standard error, and none is used."
    if not gaps:
        return [given[i] for i in rows], ""
    typical = median(se / values.error[i] for i, se in given.items())
    filled = [given.get(i, typical * values.error[i]) for i in rows]
    return filled, (
        "Rows without a standard error get the typical one of the others, as a share of the error "
        f"({desk.where(gaps)})."
    )


def _only(desk: Desk, column: str, rows: Sequence[int]) -> str:
    return next((t for i in rows if (t := desk.text(column, i))), "")
