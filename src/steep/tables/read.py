"""Results that somebody already has, as learning curves: the door for a stranger's table.

``read`` takes CSV (any common delimiter), Markdown, JSON, JSON lines, Parquet, workbooks,
compressed or not, standard input ('-'), a study folder, folders and databases of trackers, a
DataFrame or columns by name. ``columns.py`` states how names are guessed, ``meaning.py`` what
numbers mean, ``amounts.py`` how they are written, ``replicates.py`` which rows of one size are
replicates.

Bad values:
- a cell that is no number, a negative error, a size that is not positive, sizes or errors above
  1e30, a negative standard error: a problem, named by line and column, twenty at once (TableError);
- an empty or NaN or infinite size or error: the row is left out, and that is said;
- a zero error has no logarithm: with ``validation_items`` it counts as half an error among them,
  without them its size is left out, and that is said;
- a missing or zero standard error, where most rows have one: the typical one of the others, and
  that is said; where most rows have none, none is used;
- held-out rows and unfinished trials (columns 'held_out', 'status', 'State'): left out, and said;
- different units or metrics (columns 'unit', 'metric') within one curve, rows of different curves
  without ``by``, and the history of one run in place of a learning curve: a problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.tables import columns, words
from steep.tables.columns import Asked, Names, choose, in_cells
from steep.tables.files import load
from steep.tables.layouts import exploded, long, with_spreads_apart
from steep.tables.raw import Array, Issues, RawTable, TableError, codes, word
from steep.tables.replicates import Rows, best_fits, factors, history
from steep.tables.values import How, Values, group_codes, values_of
from steep.tables.words import SCALES, normal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "TableCurve", "TableError", "curve_of", "read"]

MOST, BINS = 200, 100
"""Different sizes of a curve that are fitted one by one; of more, the bins that take their place.
The cost of a fit grows with the third power of their number, and a law has five parameters."""
NARROW = 2.0
"""Sizes that span less than this factor hardly tell an exponent."""
_ENDED = {"complete", "completed", "finished", "ok", "success", "succeeded", "done"}
_NOT_ENDED = {"running", "crashed", "failed", "fail", "killed", "pruned", "preempted", "preempting",
              "pending", "queued", "scheduled", "waiting", "stopped", "timeout", "diverged",
              "error", "canceled", "cancelled", "interrupted", "active"}  # fmt: skip
_SHOWN = 6
"""Values of a column that a sentence names."""


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
    warnings: tuple[str, ...] = ()
    """What must be said before any answer."""
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
    roles: tuple[tuple[str, str], ...] = ()
    """What the columns were taken for: (column, role)."""


def read(
    source: Any,
    *,
    x: str | None = None,
    y: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    se: str | None = None,
    sd: str | None = None,
    runs: int | str | None = None,
    ci: str | Sequence[str] | None = None,
    parameters: str | None = None,
    unique: str | None = None,
    x_scale: str | None = None,
    y_scale: str | None = None,
    higher_is_better: bool = False,
    format: str | None = None,
    validation_items: float | None = None,
    all_rows: bool = False,
    every_size: bool = False,
    compute: str | None = None,
    flops_per_parameter_sample: float | None = None,
) -> Table:
    """The learning curves of a table. ``x``, ``y``, ``by``, ``se`` and the like are columns.

    Several ``y`` are a curve each; ``by`` tells curves apart by one or several columns. ``se``
    holds standard errors, ``sd`` standard deviations over ``runs`` runs (a number or a column),
    ``ci`` is a pair of columns with confidence bounds; ``unique`` a column of distinct samples, of
    runs that saw some more than once. ``x_scale`` and ``y_scale`` say what names do not: 'log10',
    'ln', 'k', 'M', 'B', 'percent', 'share' or 'plain'. ``validation_items`` is the size of the
    validation set, for zero errors. ``all_rows`` takes every row as one measurement of one curve,
    rows of one size for replicates whatever they differ in; without it the best hyperparameters of
    each size count. ``every_size``: runs of all sizes and settings, for joint fits; without it
    means of neighbours take the place of more than 200. With ``flops_per_parameter_sample`` sizes
    that are missing come from a column of ``compute`` and the model sizes. Raises TableError with
    the problems, at most twenty at once.
    """
    asked = Asked(
        x, _several(y), _several(by), se, sd, _several(ci), None if runs is None else str(runs),
        parameters, unique,
    )  # fmt: skip
    for option, scale in (("--x-scale", x_scale), ("--y-scale", y_scale)):
        if scale is not None and scale not in SCALES:
            raise TableError([f"{option} {scale!r}: one of {', '.join(SCALES)}"])
    table = _laid_out(load(source, format), asked)
    issues = Issues(table)
    issues.notes += table.notes
    if flops_per_parameter_sample is not None and (x is None or x not in table.columns):
        columns.samples_from_compute(issues, compute, parameters, flops_per_parameter_sample)
    names = choose(issues, asked)
    issues.stop_on_problems()
    how = How(x_scale, y_scale, higher_is_better, validation_items)
    kept = _left_in(issues, names)
    _check_one_metric(issues, names, kept)
    issues.stop_on_problems()
    common, made = tuple(issues.notes), []
    for y_name, metric, rows in _parts(issues, names, kept):
        issues.notes = list(common)
        values = values_of(issues, names, y_name, metric, rows, how)
        issues.stop_on_problems()
        assert values is not None
        groups = _split(issues, names, values)
        _check_one_curve_each(issues, names, values, groups, all_rows or every_size, all_rows)
        issues.stop_on_problems()
        every = all_rows or every_size
        for name, places in groups.items():
            called = (
                (f"{name}, {_short(y_name, names.y)}" if name else _short(y_name, names.y))
                if len(names.y) > 1
                else name
            )
            made.append(
                _curve(issues, names, values, called or table.source, places, every, every_size)
            )
    if not made:
        why = " ".join(issues.notes)
        issues.problems.append(f"no row is left to make a curve of{': ' if why else ''}{why}")
        issues.stop_on_problems()
    notes = dict.fromkeys(note for curve in made for note in (*curve.warnings, *curve.notes))
    return Table(table.source, tuple(made), tuple(notes) or common, _roles(names))


def _parts(issues: Issues, names: Names, kept: Array) -> list[tuple[str, str, Array]]:
    """(column of errors, name of their metric, rows): of a column whose metrics another one names,
    each by itself."""
    parts = []
    for y in names.y:
        column = next((c for c in issues.table.cells if normal(c) == "metric"), None)
        known = words.metric_kind(y) and column not in names.by
        if column is None or column in (names.x, y) or known or not len(kept):
            parts.append((y, y, kept))
            continue
        value, labels = codes(issues.table.cells[column][kept])
        for code in np.unique(value):
            label = str(labels[code]) if code >= 0 else ""
            parts.append((y, label if words.metric_kind(label) else y, kept[value == code]))
    return parts


def _several(names: str | Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def _laid_out(table: RawTable, asked: Asked) -> RawTable:
    """One row a measurement, spreads in columns of their own."""
    table = exploded(table)
    table = long(table, columns.known_columns(table.columns, asked), asked.x is not None)
    return with_spreads_apart(table, in_cells)


def _short(y: str, every: Sequence[str]) -> str:
    """A column's name among others: that of its run, where a chart of W&B names one."""
    runs = [words.run_of(name) for name in every]
    return words.run_of(y) if all(runs) and len({*runs}) == len(runs) else y


def _roles(names: Names) -> tuple[tuple[str, str], ...]:
    found = [(names.x, "training-set sizes"), *((y, "errors") for y in names.y)]
    found += [(b, "tells curves apart") for b in names.by]
    spread = ((names.se, "standard errors"), (names.sd, "standard deviations"))
    found += [(c, role) for c, role in spread if c]
    found += [(c, "confidence bounds") for c in names.ci or ()]
    found += [(names.parameters, "model sizes")] if names.parameters else []
    return (*found, *([(names.unique, "distinct samples")] if names.unique else []))


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


def _left_in(issues: Issues, names: Names) -> Array:
    """Rows that are no held-out shard and no unfinished trial. A study's own table of best fits
    says which of its rows its fit used, and a held-out shard that is measured is one of them."""
    cells = issues.table.cells
    count = len(issues.table.lines)

    def says_yes(column: str) -> Array:
        if column not in cells:
            return np.zeros(count, bool)
        return _where(cells[column], lambda w: w in ("true", "1", "1.0", "yes"))

    held = says_yes("held_out")
    unused = np.zeros(count, bool)
    if {"held_out", "used"} <= set(cells):
        unused = ~says_yes("used")
        held, unused = unused & held, unused & ~held
    ended = np.zeros(count, bool)
    for column in cells:
        if normal(column) in ("status", "state") and column not in names.read:
            ended |= _unfinished(normal(column), cells[column])
    for which, said in (
        (held, "Held-out rows are left out"),
        (unused, "Rows that the study's fit did not use are left out"),
        (ended, "Trials that did not complete are left out"),
    ):
        if which.any():
            issues.note(np.flatnonzero(which), said)
    return np.flatnonzero(~(held | unused | ended))


def _check_one_metric(issues: Issues, names: Names, kept: Array) -> None:
    """That errors of different metrics are not read as those of one curve."""
    for column in ("unit", "units", "metric"):
        if column in issues.table.cells and column not in names.read and not names.by:
            found = {word(v) for v in codes(issues.table.cells[column][kept])[1]} - {""}
            if len(found) > 1:
                issues.problems.append(_mixed("the curve", column, found, ()))


def _mixed(curve: str, column: str, found: set[str], by: Sequence[str]) -> str:
    return (
        f"column {column!r}: {curve} mixes {', '.join(sorted(found))}; one curve has one: "
        f"--by {','.join((*by, column))}"
    )


def _where(cells: Array, test: Any) -> Array:
    """Which cells, as words, pass a test."""
    value, names = codes(cells)
    passed = np.array([bool(test(word(n))) for n in names] + [False])
    return passed[value]


def _unfinished(name: str, cells: Array) -> Array:
    """A 'state' may be something else than a run's: only words that are known tell."""
    if name == "state" and not {word(n) for n in codes(cells)[1]} <= {*_ENDED, *_NOT_ENDED}:
        return np.zeros(len(cells), bool)
    return _where(cells, lambda w: w not in _ENDED)


# ---------------------------------------------------------------- curves


def _split(issues: Issues, names: Names, values: Values) -> dict[str, Array]:
    """Places of each curve's rows among the values, by its name, in order of appearance."""
    every = np.arange(len(values.rows))
    cells = issues.table.cells
    if not names.by:
        groups = {"": every} if len(every) else {}
    else:
        labels = [_label(cells[b][values.rows], b) for b in names.by]
        group = group_codes(issues, names.by, values.rows)
        _, first = np.unique(group, return_index=True)
        groups = {}
        for start in sorted(first.tolist()):
            name = ", ".join(label[start] for label in labels)
            name = f"{name} (another)" if name in groups else name
            groups[name] = every[group == group[start]]
        for b in names.by:
            nameless = values.rows[codes(cells[b][values.rows])[0] < 0]
            if len(nameless):
                said = f"Rows with an empty {b!r} are a curve of their own, 'no {b}'"
                issues.note(nameless, said)
    for name, places in groups.items():
        for column in ("unit", "units", "metric"):
            if names.by and column in cells and column not in names.read:
                found = {word(v) for v in codes(cells[column][values.rows[places]])[1]} - {""}
                if len(found) > 1:
                    issues.problems.append(_mixed(f"curve {name!r}", column, found, names.by))
    return groups


def _label(cells: Array, column: str) -> list[str]:
    value, names = codes(cells)
    texts = [_as_text(n) for n in names]
    return [texts[v] if v >= 0 else f"no {column}" for v in value]


def _as_text(value: object) -> str:
    """A value as the name of a curve: 3 and not 3.0."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def _check_one_curve_each(
    issues: Issues,
    names: Names,
    values: Values,
    groups: Mapping[str, Array],
    every: bool,
    all_rows: bool,
) -> None:
    """That no curve pools several, and none is the history of a run."""
    cells = issues.table.cells
    beside = {c: v for c, v in cells.items() if c not in names.read}
    steps = {c: v for c, v in beside.items() if words.is_history(c)}
    several: dict[str, list[object]] = {}
    for places in groups.values():
        rows = Rows(
            values.rows[places], values.size[places], values.error[places], beside, names.parameters
        )
        several |= {c: v for c, v in factors(rows).items() if len(v) > len(several.get(c, []))}
        if every and not all_rows:
            continue  # runs of every size and length, for a joint fit
        sure, why = history(rows, names.x, steps)
        said = (
            f"{why}: a learning curve is made of runs on different amounts of data, each to its end"
        )
        if sure and not all_rows:
            issues.problems.append(
                "this looks like the history of one training run, not like a learning curve: "
                f"{said}. Where each row is a run of its own, say --all-rows"
            )
        elif why:
            issues.warnings.append(f"Perhaps no learning curve: {said}.")
    if every and not all_rows:  # numbers may be anything that a joint fit's runs differ in
        numbers = {c: v for c, v in several.items() if _all_numbers(v)}
        several = {c: v for c, v in several.items() if c not in numbers}
        if numbers:
            issues.notes.append(
                f"Rows differ in {_with_values(numbers)}, too, and are taken together."
            )
    if several and all_rows:
        issues.notes.append(
            f"Rows that differ in {_with_values(several)} are pooled as one curve (--all-rows)."
        )
    elif several:
        columns_of = columns.quoted(",".join((*names.by, *several)))
        issues.problems.append(
            f"rows differ in {_with_values(several)}: these are different curves, not replicates. "
            f"--by {columns_of} tells them apart; --all-rows pools them"
        )


def _all_numbers(values: Sequence[object]) -> bool:
    return all(words.number_in(str(v)) is not None for v in values)


def _with_values(several: Mapping[str, list[object]]) -> str:
    parts = []
    for column, found in several.items():
        shown = ", ".join(_as_text(v) for v in found[:_SHOWN])
        parts.append(f"{column!r} ({shown}{', ...' if len(found) > _SHOWN else ''})")
    return " and ".join(parts)


def _curve(
    issues: Issues,
    names: Names,
    values: Values,
    name: str,
    places: Array,
    every: bool,
    every_size: bool,
) -> TableCurve:
    """One curve; what was done to its own rows is said before what was done to the table."""
    notes: tuple[str, ...] = ()
    rows = values.rows[places]
    if not every:
        cells = {
            c: v
            for c, v in issues.table.cells.items()
            if c not in names.read or c == names.parameters
        }
        given = Rows(rows, values.size[places], values.error[places], cells, names.parameters)
        kept, notes = best_fits(given)
        places, rows = places[kept], rows[kept]
    size, error = values.size[places], values.error[places]
    found = {"samples": size, "error": error}
    distinct = np.unique(size)
    if len(distinct) > 1 and distinct[-1] < NARROW * distinct[0]:
        notes += ("The sizes span less than a factor of two: they hardly tell an exponent.",)
    if values.se is not None:
        column = names.se or names.sd or (names.ci or ("",))[0]
        given_se, said = _standard_errors(issues, column, rows, error, values.se[places])
        notes += (said,) if said else ()
        found |= {"se": given_se} if given_se is not None else {}
    for role, known in (("parameters", values.parameters), ("unique", values.unique)):
        if known is not None and not np.isnan(known[places]).all():
            found[role] = known[places]
    largest = _largest(size, error)
    if len(distinct) > MOST and not every_size:
        found = _binned(found)
        notes += (
            f"{len(distinct)} different sizes are more than a fit needs: "
            f"{len(found['samples'])} means of neighbouring sizes take their place.",
        )
    unit, metric = values.unit, values.meaning.metric
    if unit != words.SHARE_UNIT:
        for role in ("unit", "units"):
            unit = _first(issues, role, rows) or unit
    if metric == "error":
        metric = _first(issues, "metric", rows) or metric
    meant = values.meaning.note(largest)
    notes += (*issues.notes, *([meant] if meant else []))
    others = [c for c in issues.table.cells if c not in names.read] if every_size else []
    return TableCurve(
        name,
        {role: column.tolist() for role, column in found.items()},
        unit,
        metric,
        tuple(dict.fromkeys(notes)),
        values.meaning.accuracy,
        tuple(dict.fromkeys(issues.warnings)),
        {c: issues.table.cells[c][rows].tolist() for c in others},
        tuple((rows + 1).tolist()) if every_size else (),
    )


def _binned(found: Mapping[str, Array]) -> dict[str, Array]:
    """The same curve by at most ``BINS`` points: geometric means of the rows in bins of equal ratio
    of sizes. Each bin counts once, as each size does, however many rows it has. A standard error is
    that of the mean, unless the rows' errors are common to them, which nobody says: the typical
    one of the rows stays, which is never too small."""
    log_size = np.log(found["samples"])
    low, high = log_size.min(), log_size.max()
    place = np.minimum((BINS * (log_size - low) / (high - low)).astype(int), BINS - 1)
    used, bin_of = np.unique(place, return_inverse=True)
    means: dict[str, Array] = {}
    for name, numbers in found.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log(numbers)
        known = np.isfinite(logs)
        rows = np.bincount(bin_of[known], minlength=len(used))
        total = np.bincount(bin_of[known], logs[known], minlength=len(used))
        with np.errstate(invalid="ignore"):
            means[name] = np.where(rows > 0, np.exp(total / rows), np.nan)
    return means


def _largest(size: Array, error: Array) -> float:
    """The largest error of a size: that of its replicates together, which is what is shown."""
    place = np.unique(size, return_inverse=True)[1]
    logs = np.bincount(place, np.log(error)) / np.bincount(place)
    return float(np.exp(logs.max(initial=-np.inf))) if len(logs) else 1.0


def _standard_errors(
    issues: Issues, column: str, rows: Array, error: Array, se: Array
) -> tuple[Array | None, str]:
    """Of every row or of none, and what is said of the gaps."""
    known = ~np.isnan(se)
    if 2 * known.sum() < len(rows):
        few = f"only {known.sum()} of {len(rows)} rows have" if known.any() else "no row has"
        return None, f"Column {column!r}: {few} a standard error, and none is used."
    if known.all():
        return se, ""
    typical = float(np.median(se[known] / error[known]))
    filled = np.where(known, se, typical * error)
    return filled, (
        "Rows without a standard error get the typical one of the others, as a share of the error "
        f"({issues.where(rows[~known])})."
    )


def _first(issues: Issues, column: str, rows: Array) -> str:
    if column not in issues.table.cells:
        return ""
    names = codes(issues.table.cells[column][rows])[1]
    return word(names[0]) if names else ""
