"""Read other people's results as learning curves.

``read`` takes CSV (any common delimiter), Markdown, JSON, JSON lines, Parquet, workbooks,
compressed or not, standard input ('-'), a study folder, folders and databases of trackers, a
DataFrame or columns by name. ``columns.py`` states how names are guessed, ``meaning.py`` what
numbers mean, ``amounts.py`` how they are written, ``replicates.py`` which rows of one size are
replicates.

Bad values raise TableError, with up to twenty problems by line and column, or are noted:
- not a number, a negative error, a negative size, a size or error above 1e30, a negative standard
  error: a problem;
- an empty, NaN or infinite size or error, or a size of zero: the row is left out, with a note;
- an error of zero, which has no logarithm: with ``validation_items`` it counts as half an error
  among them; without, its size is left out; both with a note;
- a missing or zero standard error: replaced by the typical one of the others, with a note, if most
  rows have one; otherwise no standard errors are used;
- held-out rows and unfinished trials (columns 'held_out', 'status', 'State'): left out, noted;
- different units or metrics (columns 'unit', 'metric') within one curve, rows of different curves
  without ``by``, and the history of one run in place of a learning curve: a problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.base.metrics import as_error, is_perplexity, perplexity
from steep.records import Point
from steep.tables import columns, words
from steep.tables.columns import ColumnNames, RequestedColumns, choose, in_cells
from steep.tables.files import load
from steep.tables.layouts import exploded, long, sizes_alone, with_spreads_apart
from steep.tables.own_results import points_of_study, refuse_others
from steep.tables.raw import Array, Issues, RawTable, TableError, codes, word
from steep.tables.replicates import CurveRows, best_fits, factors, history
from steep.tables.values import How, ParsedColumns, group_codes, values_of
from steep.tables.words import SCALES, normal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "TableCurve", "TableError", "curve_of", "read"]

MOST, BINS = 200, 100
"""A curve with more than ``MOST`` different sizes is reduced to ``BINS`` points. The cost of a fit
grows with the cube of their number, while a law has only five parameters."""
NARROW = 2.0
"""Sizes that span less than this factor hardly determine an exponent."""
_ENDED = {"complete", "completed", "finished", "ok", "success", "succeeded", "done"}
_NOT_ENDED = {"running", "crashed", "failed", "fail", "killed", "pruned", "preempted", "preempting",
              "pending", "queued", "scheduled", "waiting", "stopped", "timeout", "diverged",
              "error", "canceled", "cancelled", "interrupted", "active"}  # fmt: skip
_SHOWN = 6
"""The most values of a column that a message lists."""


@dataclass(frozen=True)
class TableCurve:
    """One learning curve. ``steep.fit`` and everything else that takes a table accepts it."""

    name: str
    columns: dict[str, list[float]]
    """samples, error and, if the table has them, se, parameters and unique; the last two may
    contain NaN."""
    unit: str = "samples"
    metric: str = "error"
    notes: tuple[str, ...] = ()
    accuracy: bool = False
    """The table holds accuracies; the errors are 1 - accuracy."""
    warnings: tuple[str, ...] = ()
    """Notes that must be shown before any result."""
    others: dict[str, list[object]] = field(default_factory=dict)
    """With ``every_size``: the cells of all other columns."""
    lines: tuple[int, ...] = ()
    """With ``every_size``: the number of each row in the table, from 1."""
    points: tuple[Point, ...] = ()
    """Of a study's own table: the points of its fit, used or not; ``columns`` has those used."""
    validation_se: float | None = None
    """Of a study's own table: the relative standard error of its validation set,"""
    validation_items: float | None = None
    """or the number of its items,"""
    best_guess: float | None = None
    """and the error of a constant guess."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.columns)


@dataclass(frozen=True)
class Table:
    """The content of a table: its curves in order of appearance, and notes on how it was read."""

    source: str
    curves: tuple[TableCurve, ...]
    notes: tuple[str, ...] = ()
    roles: tuple[tuple[str, str], ...] = ()
    """(column, role) of each column that was read."""


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
    """The learning curves of a table.

    Columns are given by name: ``x`` holds the training-set sizes and ``y`` the errors (several make
    a curve each); the values of the ``by`` columns distinguish curves. ``se`` holds standard
    errors, ``sd`` standard deviations over ``runs`` runs (a number or a column), ``ci`` is a pair
    of columns with confidence bounds. ``parameters`` holds model sizes, ``unique`` the distinct
    samples of runs that saw some more than once.

    ``x_scale`` and ``y_scale`` give the scale of the numbers if the names do not: 'log10', 'ln',
    'k', 'M', 'B', 'percent', 'share' or 'plain'. ``validation_items`` is the size of the validation
    set, for errors of zero. ``all_rows`` treats every row as a measurement of one curve and rows of
    one size as replicates, whatever they differ in; by default the best hyperparameters of each
    size are used. ``every_size`` keeps runs of all sizes and settings, for joint fits; by default
    more than 200 sizes are reduced to means of neighbours. With ``flops_per_parameter_sample``,
    missing sizes are computed from a column of ``compute`` and the model sizes.

    Raises TableError with the problems, at most twenty at once.
    """
    request = RequestedColumns(
        x, _listed(y), _listed(by), se, sd, _listed(ci), None if runs is None else str(runs),
        parameters, unique,
    )  # fmt: skip
    for option, scale in (("--x-scale", x_scale), ("--y-scale", y_scale)):
        if scale is not None and scale not in SCALES:
            raise TableError([f"{option} {scale!r}: one of {', '.join(SCALES)}"])
    raw = load(source, format)
    plain = RequestedColumns(x="samples" if x == "samples" else None, y=request.y)
    options = (x_scale, y_scale, higher_is_better, all_rows, every_size, compute)
    if request == plain and not any(options) and len(request.y) < 2:
        if own := points_of_study(raw, next(iter(request.y), None)):
            curve = TableCurve(raw.source, **own)
            return Table(raw.source, (curve,), curve.notes, (("samples", "training-set sizes"),))
        if not request.y:
            refuse_others(raw)
    table = _laid_out(raw, request)
    issues = Issues(table)
    issues.notes += table.notes
    if flops_per_parameter_sample is not None and (x is None or x not in table.columns):
        columns.samples_from_compute(issues, compute, parameters, flops_per_parameter_sample)
    names = choose(issues, request)
    if not (all_rows or every_size):
        issues.problems += _curves_too(issues, request)
    issues.stop_on_problems()
    number_options = How(x_scale, y_scale, higher_is_better, validation_items)
    included = _left_in(issues, names)
    _check_one_metric(issues, names, included)
    issues.stop_on_problems()
    table_notes, curves = tuple(issues.notes), []
    for y_name, metric, rows in _parts(issues, names, included):
        issues.notes = list(table_notes)
        values = values_of(issues, names, y_name, metric, rows, number_options)
        issues.stop_on_problems()
        assert values is not None
        groups = _split(issues, names, values)
        _check_one_curve_each(issues, names, values, groups, all_rows or every_size, all_rows)
        issues.stop_on_problems()
        every = all_rows or every_size
        for name, places in groups.items():
            curve_name = (
                (f"{name}, {_short(y_name, names.y)}" if name else _short(y_name, names.y))
                if len(names.y) > 1
                else name
            )
            curves.append(
                _curve(issues, names, values, curve_name or table.source, places, every, every_size)
            )
    if not curves:
        reasons = " ".join(issues.notes)
        issues.problems.append(
            f"no row is left to make a curve of{': ' if reasons else ''}{reasons}"
        )
        issues.stop_on_problems()
    notes = dict.fromkeys(note for curve in curves for note in (*curve.warnings, *curve.notes))
    return Table(table.source, tuple(curves), tuple(notes) or table_notes, _roles(names))


def _curves_too(issues: Issues, request: RequestedColumns) -> list[str]:
    """If nothing but a choice of columns is open: whether the rows are of different curves as well,
    by the first choice, so that one message names all that is missing."""
    if not issues.choices or len(issues.problems) > len(issues.choices):
        return []
    trial = Issues(issues.table)
    x, y = issues.choices.get("x"), issues.choices.get("y")
    names = choose(trial, replace(request, x=x or request.x, y=(y,) if y else request.y))
    if trial.problems:
        return []
    values = values_of(trial, names, names.y[0], names.y[0], _left_in(trial, names), How())
    issues.take_bad_cells(trial, names.x)
    if values is None or trial.has_bad_cells:
        return []
    trial.problems = []
    _check_one_curve_each(trial, names, values, _split(trial, names, values), False, False)
    return [p for p in trial.problems if "--by" in p]


def _parts(issues: Issues, names: ColumnNames, included: Array) -> list[tuple[str, str, Array]]:
    """(column of errors, name of the metric, rows) of each part that has one metric. If another
    column names the metrics, each of its values is a part."""
    parts = []
    for y in names.y:
        column = next((c for c in issues.table.cells if normal(c) == "metric"), None)
        is_metric = words.metric_kind(y) and column not in names.by
        if column is None or column in (names.x, y) or is_metric or not len(included):
            parts.append((y, y, included))
            continue
        value, labels = codes(issues.table.cells[column][included])
        for code in np.unique(value):
            label = str(labels[code]) if code >= 0 else ""
            parts.append((y, label if words.metric_kind(label) else y, included[value == code]))
    return parts


def _listed(names: str | Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def _laid_out(table: RawTable, request: RequestedColumns) -> RawTable:
    """The table with one measurement per row, and spreads in columns of their own."""
    known = columns.known_columns(table.columns, request)
    table = exploded(table, known if request.y else ())
    table = sizes_alone(table, columns.find(request.x, table.columns) if request.x else None)
    table = long(table, known, request.x is not None)
    return with_spreads_apart(table, in_cells)


def _short(y: str, every: Sequence[str]) -> str:
    """A curve's name by its column: the name of the run, if all columns are those of a W&B chart,
    else the column's name."""
    runs = [words.run_of(name) for name in every]
    return words.run_of(y) if all(runs) and len({*runs}) == len(runs) else y


def _roles(names: ColumnNames) -> tuple[tuple[str, str], ...]:
    """(column, role) of each column that is read."""
    roles = [(names.x, "training-set sizes"), *((y, "errors") for y in names.y)]
    roles += [(b, "separates the curves") for b in names.by]
    spread = ((names.se, "standard errors"), (names.sd, "standard deviations"))
    roles += [(c, role) for c, role in spread if c]
    roles += [(c, "confidence bounds") for c in names.ci or ()]
    roles += [(names.parameters, "model sizes")] if names.parameters else []
    return (*roles, *([(names.unique, "distinct samples")] if names.unique else []))


def curve_of(
    source: Any,
    *,
    x: str,
    y: str,
    se: str | None = None,
    parameters: str | None = None,
    higher_is_better: bool = False,
) -> TableCurve:
    """The single learning curve of a DataFrame, of columns by name, or of a ``Table``.

    Raises ValueError for anything else, and TableError for problems of its contents."""
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
        raise ValueError(f"this needs one curve, not {names}: give one of steep.read(...).curves")
    return table.curves[0]


# ---------------------------------------------------------------- rows


def _left_in(issues: Issues, names: ColumnNames) -> Array:
    """The rows that are neither held-out shards nor unfinished trials.

    A study's table of best fits has a column with the rows that its fit used, which may include
    held-out shards that were measured."""
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
    for rows, note in (
        (held, "Held-out rows are left out"),
        (unused, "Rows that the study's fit did not use are left out"),
        (ended, "Trials that did not complete are left out"),
    ):
        if rows.any():
            issues.note(np.flatnonzero(rows), note)
    return np.flatnonzero(~(held | unused | ended))


def in_logarithms(curve: TableCurve, metric: str) -> TableCurve:
    """A curve of plain numbers that are perplexities by their ``metric``, as their logarithms. One
    of a column of perplexities is returned as it is. Raises ValueError for values below 1."""
    made_of = perplexity(as_error(metric))
    if made_of is None or perplexity(curve.metric) is not None:
        return curve
    values = np.array(curve.columns["error"], float)
    if (values <= 1.0).any():
        raise ValueError(f"a {made_of.name} lies above 1, and {values.min():g} is among the values")
    plain = curve.columns | {"error": np.log(values).tolist()}
    if "se" in plain:
        plain["se"] = (np.array(curve.columns["se"], float) / values).tolist()
    note = f"The values are a {made_of.name}: its logarithm is fitted."
    return replace(curve, columns=plain, metric=made_of.metric, notes=(*curve.notes, note))


def _check_one_metric(issues: Issues, names: ColumnNames, included: Array) -> None:
    """Report a problem if the rows of the only curve have different units or metrics."""
    for column in ("unit", "units", "metric"):
        if column in issues.table.cells and column not in names.read and not names.by:
            metrics = {word(v) for v in codes(issues.table.cells[column][included])[1]} - {""}
            if len(metrics) > 1:
                issues.problems.append(_mixed("the curve", column, metrics, ()))


def _mixed(curve: str, column: str, values: set[str], by: Sequence[str]) -> str:
    return (
        f"column {column!r}: {curve} mixes {', '.join(sorted(values))}; one curve has one: "
        f"--by {','.join((*by, column))}"
    )


def _where(cells: Array, test: Any) -> Array:
    """A mask of the cells whose lower-case text passes a test."""
    value, names = codes(cells)
    passed = np.array([bool(test(word(n))) for n in names] + [False])
    return passed[value]


def _unfinished(name: str, cells: Array) -> Array:
    """A mask of the trials that have not ended. A column 'state' counts only if all of its values
    are states of runs, since it may hold something else."""
    if name == "state" and not {word(n) for n in codes(cells)[1]} <= {*_ENDED, *_NOT_ENDED}:
        return np.zeros(len(cells), bool)
    return _where(cells, lambda w: w not in _ENDED)


# ---------------------------------------------------------------- curves


def _split(issues: Issues, names: ColumnNames, values: ParsedColumns) -> dict[str, Array]:
    """The indices of each curve's rows in ``values``, by the curve's name, in order of
    appearance."""
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
                note = f"Rows with an empty {b!r} are a curve of their own, 'no {b}'"
                issues.note(nameless, note)
    for name, places in groups.items():
        for column in ("unit", "units", "metric"):
            if names.by and column in cells and column not in names.read:
                units = {word(v) for v in codes(cells[column][values.rows[places]])[1]} - {""}
                if len(units) > 1:
                    issues.problems.append(_mixed(f"curve {name!r}", column, units, names.by))
    return groups


def _label(cells: Array, column: str) -> list[str]:
    """The cells as parts of curves' names."""
    value, names = codes(cells)
    texts = [_as_text(n) for n in names]
    return [texts[v] if v >= 0 else f"no {column}" for v in value]


def _as_text(value: object) -> str:
    """A value as a curve's name: 3 rather than 3.0."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def _check_one_curve_each(
    issues: Issues,
    names: ColumnNames,
    values: ParsedColumns,
    groups: Mapping[str, Array],
    every: bool,
    all_rows: bool,
) -> None:
    """Report a problem if a curve pools several curves or is the history of a training run.

    ``every``: rows need not be best fits; with ``all_rows`` they are all replicates, without it
    they are the runs of a joint fit."""
    cells = issues.table.cells
    others = {c: v for c, v in cells.items() if c not in names.read}
    steps = {c: v for c, v in others.items() if words.is_history(c)}
    several: dict[str, list[object]] = {}
    for places in groups.values():
        rows = CurveRows(
            values.rows[places], values.size[places], values.error[places], others, names.parameters
        )
        several |= {c: v for c, v in factors(rows).items() if len(v) > len(several.get(c, []))}
        if every and not all_rows:
            continue  # runs of every size and length, for a joint fit
        sure, reason = history(rows, names.x, steps)
        note = (
            f"{reason}: a learning curve is made of runs on different amounts of data, each to its "
            "end"
        )
        if sure and not all_rows:
            issues.problems.append(
                "this looks like the history of one training run, not like a learning curve: "
                f"{note}. Where each row is a run of its own, say --all-rows"
            )
        elif reason:
            issues.warnings.append(f"Perhaps not a learning curve: {note}.")
    if every and not all_rows:  # runs of a joint fit may differ in any numeric column
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
            f"--by {columns_of} separates them; --all-rows pools them"
        )


def _all_numbers(values: Sequence[object]) -> bool:
    return all(words.number_in(str(v)) is not None for v in values)


def _with_values(several: Mapping[str, list[object]]) -> str:
    """Columns with their first values, for a message."""
    parts = []
    for column, values in several.items():
        shown = ", ".join(_as_text(v) for v in values[:_SHOWN])
        parts.append(f"{column!r} ({shown}{', ...' if len(values) > _SHOWN else ''})")
    return " and ".join(parts)


def _curve(
    issues: Issues,
    names: ColumnNames,
    values: ParsedColumns,
    name: str,
    places: Array,
    every: bool,
    every_size: bool,
) -> TableCurve:
    """One curve. Notes about its own rows come before those about the table."""
    notes: tuple[str, ...] = ()
    rows = values.rows[places]
    if not every:
        cells = {
            c: v
            for c, v in issues.table.cells.items()
            if c not in names.read or c == names.parameters
        }
        candidates = CurveRows(
            rows, values.size[places], values.error[places], cells, names.parameters
        )
        best, notes = best_fits(candidates)
        places, rows = places[best], rows[best]
    size, error = values.size[places], values.error[places]
    numbers = {"samples": size, "error": error}
    distinct = np.unique(size)
    if len(distinct) > 1 and distinct[-1] < NARROW * distinct[0]:
        notes += ("The sizes span less than a factor of two: they hardly determine an exponent.",)
    if values.se is not None:
        column = names.se or names.sd or (names.ci or ("",))[0]
        se, note = _standard_errors(issues, column, rows, error, values.se[places])
        notes += (note,) if note else ()
        numbers |= {"se": se} if se is not None else {}
    for role, extra in (("parameters", values.parameters), ("unique", values.unique)):
        if extra is not None and not np.isnan(extra[places]).all():
            numbers[role] = extra[places]
    largest = _largest(size, error)
    if len(distinct) > MOST and not every_size:
        numbers = _binned(numbers)
        notes += (
            f"{len(distinct)} different sizes are more than a fit needs: "
            f"{len(numbers['samples'])} means of neighbouring sizes take their place.",
        )
    unit, metric = values.unit, values.meaning.metric
    if unit != words.SHARE_UNIT:
        for role in ("unit", "units"):
            unit = _first(issues, role, rows) or unit
    if metric == "error":
        metric = _first(issues, "metric", rows) or metric
    meaning_note = values.meaning.note(largest)
    notes += (*issues.notes, *([meaning_note] if meaning_note else []))
    others = [c for c in issues.table.cells if c not in names.read] if every_size else []
    curve = TableCurve(
        name,
        {role: column.tolist() for role, column in numbers.items()},
        unit,
        metric,
        tuple(dict.fromkeys(notes)),
        values.meaning.accuracy,
        tuple(dict.fromkeys(issues.warnings)),
        {c: issues.table.cells[c][rows].tolist() for c in others},
        tuple((rows + 1).tolist()) if every_size else (),
    )
    named_beside = values.meaning.metric == "error" and is_perplexity(metric)
    return in_logarithms(curve, metric) if named_beside else curve


def _binned(columns: Mapping[str, Array]) -> dict[str, Array]:
    """The curve reduced to at most ``BINS`` points: geometric means of the rows in bins of equal
    width in log size.

    Each bin becomes one point, as each size would, however many rows it has. Its standard error is
    the mean of the rows' own rather than that of their mean: the rows may share their errors, so a
    smaller one could be too small."""
    log_size = np.log(columns["samples"])
    low, high = log_size.min(), log_size.max()
    place = np.minimum((BINS * (log_size - low) / (high - low)).astype(int), BINS - 1)
    used, bin_of = np.unique(place, return_inverse=True)
    means: dict[str, Array] = {}
    for name, numbers in columns.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log(numbers)
        finite = np.isfinite(logs)
        rows = np.bincount(bin_of[finite], minlength=len(used))
        total = np.bincount(bin_of[finite], logs[finite], minlength=len(used))
        with np.errstate(invalid="ignore"):
            means[name] = np.where(rows > 0, np.exp(total / rows), np.nan)
    return means


def _largest(size: Array, error: Array) -> float:
    """The largest error over sizes, with the geometric mean over the replicates of each."""
    place = np.unique(size, return_inverse=True)[1]
    logs = np.bincount(place, np.log(error)) / np.bincount(place)
    return float(np.exp(logs.max(initial=-np.inf))) if len(logs) else 1.0


def _standard_errors(
    issues: Issues, column: str, rows: Array, error: Array, se: Array
) -> tuple[Array | None, str]:
    """Standard errors of all rows, or None, and a note about rows that lack one."""
    given = ~np.isnan(se)
    if 2 * given.sum() < len(rows):
        count = f"only {given.sum()} of {len(rows)} rows have" if given.any() else "no row has"
        return None, f"Column {column!r}: {count} a standard error, and none is used."
    if given.all():
        return se, ""
    typical = float(np.median(se[given] / error[given]))
    filled = np.where(given, se, typical * error)
    return filled, (
        "Rows without a standard error get the typical one of the others, as a share of the error "
        f"({issues.where(rows[~given])})."
    )


def _first(issues: Issues, column: str, rows: Array) -> str:
    """The first value of a column in these rows, in lower case; '' if there is none."""
    if column not in issues.table.cells:
        return ""
    names = codes(issues.table.cells[column][rows])[1]
    return word(names[0]) if names else ""
