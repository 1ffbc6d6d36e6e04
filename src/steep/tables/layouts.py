"""Tables without one measurement per row: nested JSON, lists in cells, sizes as columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from steep.tables import words
from steep.tables.amounts import Z95, with_spread
from steep.tables.own_results import refuse_fits
from steep.tables.raw import Array, RawTable, TableError, column_of, table_of, table_of_rows

_DEPTH = 3
"""Levels of nested JSON that are searched for rows."""
_LOOK = 1000
"""Cells at the start of a column that are examined for spreads."""
_SCALARS = (str, int, float, bool, type(None))


# ---------------------------------------------------------------- JSON


@dataclass(frozen=True)
class _JsonTable:
    """A table found in JSON: equally long columns, and notes on how it was read."""

    columns: dict[str, list[Any]]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()), []))


def rows_of_json(value: Any, source: str) -> RawTable:
    """The table in a value from JSON, in any of the common shapes. Raises TableError with the keys
    that the value has."""
    task_rows = _lm_eval(value)
    if task_rows is not None:
        return table_of_rows(source, task_rows)
    refuse_fits(value, source)
    if isinstance(value, dict) and isinstance(value.get("log_history"), list):
        raise TableError(
            [
                "it is the history of one training run, which makes one point of a learning curve: "
                "give the folder that holds all runs"
            ],
            source,
        )
    tables = _read(value, _DEPTH)
    if len(tables) == 1:
        (table,) = tables.values()
        path = next(iter(tables))
        notes = (f"Read from {path!r}.", *table.notes) if path else table.notes
        return table_of(source, table.columns, notes=notes)
    if not tables and isinstance(value, dict) and value:
        row = _flat(value)
        single = all(isinstance(v, _SCALARS) for v in row.values())
        if single or (_has_one_size(row) and all(map(_is_cell, row.values()))):
            return table_of_rows(source, [row])
    raise TableError([_unread(value, tables)], source)


def _unread(value: Any, tables: dict[str, _JsonTable]) -> str:
    """Why no single table could be read from the value."""
    if tables:
        places = ", ".join(
            f"{k!r} ({f.rows} rows: {', '.join(f.columns)})" for k, f in tables.items()
        )
        first = next(iter(tables))
        return (
            f"several tables are in it: {places}. Choose one, for example: "
            f"jq '.{first}' FILE | steep read -"
        )
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        lengths = ", ".join(f"{key} {len(v)}" for key, v in value.items())
        if len({*map(len, value.values())}) == 1:
            return f"it has no rows of numbers: {', '.join(value)}"
        return f"its columns have different lengths: {lengths}"
    if isinstance(value, dict):
        seen = ", ".join(f"{key!r} ({_kind(v)})" for key, v in list(value.items())[:20])
        return f"it holds no list of objects and no columns of equal length. Its keys: {seen}"
    if isinstance(value, list) and value:
        kinds = sorted({_kind(v) for v in value})
        return f"it holds no list of objects and no columns, but a list of {' and '.join(kinds)}"
    return "it holds no list of objects and no columns"


def _kind(value: Any) -> str:
    """A value's type in words, for a message."""
    if isinstance(value, dict):
        return f"object of {', '.join(map(str, list(value)[:6]))}"
    return f"list of {len(value)}" if isinstance(value, list) else type(value).__name__


def _read(value: Any, depth: int) -> dict[str, _JsonTable]:
    """The tables in a value by the path of keys to them, '' for the value itself."""
    whole = _table(value)
    if whole is not None:
        return {"": whole}
    if depth == 0 or not isinstance(value, dict):
        return {}
    tables: dict[str, _JsonTable] = {}
    for key, inner in value.items():
        if isinstance(inner, dict | list):
            for path, table in _read(inner, depth - 1).items():
                if len(table.columns) > 1:
                    tables[f"{key}.{path}" if path else str(key)] = table
    several = {k: f for k, f in tables.items() if f.rows > 1}
    return several or tables


def _table(value: Any) -> _JsonTable | None:
    """The value as a table, without descending into it; None if it is not one."""
    if isinstance(value, list):
        return _from_list(value)
    if not isinstance(value, dict) or not value:
        return None
    readers = (_split_orient, _columns, _by_number, _by_index, _curves, _by_name)
    return next((table for read in readers if (table := read(value)) is not None), None)


def _from_list(value: list[Any]) -> _JsonTable | None:
    """A list of objects, of rows under a row of names, or of pairs."""
    if value and all(isinstance(row, dict) for row in value):
        rows = [_flat(row) for row in value]
        names = dict.fromkeys(name for row in rows for name in row)
        return _JsonTable({name: [row.get(name) for row in rows] for name in names})
    if not value or not all(isinstance(row, list) for row in value) or len({*map(len, value)}) > 1:
        return None
    if not value[0] or not all(isinstance(cell, _SCALARS) for row in value for cell in row):
        return None
    if all(isinstance(cell, str) for cell in value[0]) and len(value) > 1:
        return _JsonTable(
            {name: list(c) for name, c in zip(value[0], zip(*value[1:], strict=True), strict=True)}
        )
    if len(value[0]) == 2:
        samples, error = zip(*value, strict=True)
        note = "Pairs without names: they are taken for samples and error."
        return _JsonTable({"samples": list(samples), "error": list(error)}, (note,))
    return None


def _split_orient(value: dict[str, Any]) -> _JsonTable | None:
    """{"columns": [names], "data": [[cells]]}, as pandas and W&B write it."""
    names, data = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(data, list) or not data:
        return None
    if not all(isinstance(row, list) and len(row) == len(names) for row in data):
        return None
    return _JsonTable(
        {str(n): list(c) for n, c in zip(names, zip(*data, strict=True), strict=True)}
    )


def _columns(value: dict[str, Any]) -> _JsonTable | None:
    """Equally long lists by name; single values beside them apply to all rows."""
    lists = {k: v for k, v in value.items() if isinstance(v, list) and v}
    if not lists or any(isinstance(cell, dict) for v in lists.values() for cell in v):
        return None
    if len(lists) == 1 and any(isinstance(v, dict) for v in value.values()):
        return None  # a list of settings beside the results
    if _has_one_size(value) and not any(words.size_unit(k) for k in lists):
        return None  # one run, with replicates of one size
    sizes = [len(v) for k, v in lists.items() if words.size_unit(k) and not _nested(v)]
    counts = [len(v) for v in lists.values()]
    rows = sizes[0] if sizes else max(counts, key=counts.count)
    lists = {k: _turned(v, rows) for k, v in lists.items()}
    full = {k: v for k, v in lists.items() if len(v) == rows}
    if any(words.size_unit(k) or words.metric_kind(k) for k in lists if k not in full):
        return None
    notes = tuple(
        f"{k!r} has {len(v)} values where the others have {rows}, and is left out."
        for k, v in lists.items()
        if k not in full
    )
    if len(full) < 2 and len(lists) > 1:
        return None
    constant = {k: [v] * rows for k, v in value.items() if isinstance(v, _SCALARS)}
    return _JsonTable({**full, **constant}, notes)


def _nested(cells: Sequence[Any]) -> bool:
    return all(isinstance(cell, list) for cell in cells)


def _turned(cells: list[Any], rows: int) -> list[Any]:
    """Lists of shape (folds, sizes) transposed to (sizes, folds), if only that fits."""
    if len(cells) != rows and _nested(cells) and {*map(len, cells)} == {rows}:
        return [list(one) for one in zip(*cells, strict=True)]
    return cells


def _by_number(value: dict[str, Any]) -> _JsonTable | None:
    """{"100": 0.5, "200": 0.4} or {"100": {"acc": 0.5}, ...}: the keys are sizes."""
    if len(value) < 2 or not all(words.number_in(str(key)) for key in value):
        return None
    inner = list(value.values())
    if all(isinstance(v, dict) for v in inner):
        if not all(isinstance(c, _SCALARS) for v in inner for c in _flat(v).values()):
            return None
        table = _from_list(inner)
    elif all(isinstance(v, int | float) for v in inner) or _nested(inner):
        table = _JsonTable({"value": inner})
    else:
        return None
    if table is None or "samples" in table.columns:
        return table
    return _JsonTable(
        {"samples": list(value), **table.columns}, ("Its keys are taken for the sizes.",)
    )


def _by_index(value: dict[str, Any]) -> _JsonTable | None:
    """{"n": {"0": 100, "1": 200}, "acc": {"0": ...}}: columns as pandas writes them."""
    inner = list(value.values())
    if not all(isinstance(v, dict) and v for v in inner):
        return None
    keys = list(inner[0])
    if keys != [str(i) for i in range(len(keys))] or any(list(v) != keys for v in inner):
        return None
    return _JsonTable({name: list(v.values()) for name, v in value.items()})


def _curves(value: dict[str, Any]) -> _JsonTable | None:
    """A table by each of several names, all with the same columns: the names become curves."""
    if len(value) < 2 or not all(isinstance(v, dict | list) and v for v in value.values()):
        return None
    tables = {name: _table(v) for name, v in value.items()}
    curves = {name: t for name, t in tables.items() if t is not None and "curve" not in t.columns}
    names = [set(t.columns) for t in curves.values()]
    if (
        len(curves) < len(value)
        or not set.intersection(*names)
        or len({*map(frozenset, names)}) > 1
    ):
        return None
    sizes = [c for c in names[0] if words.size_rank(c) == 2]
    of_one_size = sizes and all(len({*t.columns[c]}) == 1 for t in curves.values() for c in sizes)
    label = "run" if of_one_size else "curve"
    columns: dict[str, list[Any]] = {label: []}
    for name, table in curves.items():
        columns[label] += [name] * table.rows
        for column, cells in table.columns.items():
            columns.setdefault(column, []).extend(cells)
    return _JsonTable(columns, tuple(dict.fromkeys(n for t in curves.values() for n in t.notes)))


def _by_name(value: dict[str, Any]) -> _JsonTable | None:
    """{"run a": {"n": 100, "acc": 0.5}, "run b": {...}}: one row per name, with common keys."""
    inner = list(value.values())
    if len(inner) < 2 or not all(isinstance(v, dict) and v for v in inner):
        return None
    rows = [_flat(v) for v in inner]
    if len(set.intersection(*map(set, rows))) < 2:
        return None
    if not all(_is_cell(cell) for row in rows for cell in row.values()):
        return None
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return _JsonTable({"run": list(value), **columns} if "run" not in columns else columns)


def _has_one_size(value: dict[str, Any]) -> bool:
    """Whether a single number among the values is a training-set size."""
    return any(words.size_rank(k) == 2 for k, v in value.items() if isinstance(v, int | float))


def _is_cell(value: Any) -> bool:
    """Whether this is a single value, or a list of them."""
    return isinstance(value, _SCALARS) or (
        isinstance(value, list) and all(isinstance(v, _SCALARS) for v in value)
    )


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    return dict(_flattened(value))


def _flattened(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, cell in value.items():
        if isinstance(cell, dict):
            yield from _flattened(cell, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", cell


def _lm_eval(value: Any) -> list[dict[str, Any]] | None:
    """Results of lm-evaluation-harness: a row per task, with the settings of the run."""
    if not isinstance(value, dict) or not isinstance(value.get("results"), dict):
        return None
    if not {"config", "configs", "versions"} & set(value):
        return None
    config = value.get("config") if isinstance(value.get("config"), dict) else {}
    shared = {
        f"config.{k}": v for k, v in _flat(config or {}).items() if isinstance(v, int | float | str)
    }
    rows = []
    for task, metrics in value["results"].items():
        if isinstance(metrics, dict):
            named = {k.removesuffix(",none"): v for k, v in metrics.items() if k != "alias"}
            rows.append({"task": task, **{k: v for k, v in named.items() if v != "N/A"}, **shared})
    return rows or None


# ---------------------------------------------------------------- lists in cells


def exploded(table: RawTable, known: Sequence[str] = ()) -> RawTable:
    """Give each value a row of its own if cells hold lists: folds, seeds, or a whole curve.

    Not if lists are only beside the values that are meant: those would be repeated. ``known`` are
    the columns that were requested."""
    lists = {name: c for name, column in table.cells.items() if (c := _lists(column)) is not None}
    if not lists or (known and not {*known} & {*lists}):
        return table
    if not any(words.size_unit(n) or words.metric_kind(n) for n in lists) and any(
        words.metric_kind(n) for n in table.columns if n not in lists
    ):
        return table
    lengths = {name: tuple(len(c) for c in cells) for name, cells in lists.items()}
    preferred = [n for n in lists if words.size_unit(n) or words.metric_kind(n)] or list(lists)
    chosen = {n: cells for n, cells in lists.items() if lengths[n] == lengths[preferred[0]]}
    times = np.maximum(lengths[preferred[0]], 1)
    cells = {
        name: column_of(v for cell in chosen[name] for v in (cell or [None]))
        if name in chosen
        else np.repeat(column, times)
        for name, column in table.cells.items()
    }
    names = ", ".join(repr(n) for n in chosen)
    note = f"Cells of {names} hold several values: each is a row of its own."
    lines = np.repeat(np.array(table.lines), times)
    return replace(table, cells=cells, lines=lines, notes=(*table.notes, note))


_LIST = re.compile(r"\[[-+\d.eEnaN,;\s]*\]")


def _lists(column: Array) -> list[list[Any]] | None:
    """The cells of a column as lists of numbers; None if they are not lists."""
    if column.dtype != object or not len(column):
        return None
    first = next((c for c in column if c is not None and c != ""), None) if len(column) else None
    if isinstance(first, str):
        if not _LIST.fullmatch(first.strip()):
            return None
        texts = [str(c).strip() for c in column]
        if not all(_LIST.fullmatch(t) or not t for t in texts):
            return None
        return [[v for v in re.split(r"[,;\s]+", t.strip("[] ")) if v] for t in texts]
    if not isinstance(first, list | tuple | np.ndarray):
        return None
    lists = [list(c) if isinstance(c, list | tuple | np.ndarray) else [c] for c in column]
    numbers = all(v is None or isinstance(v, int | float | np.number) for c in lists for v in c)
    return lists if numbers else None


# ---------------------------------------------------------------- sizes or replicates in columns


def long(table: RawTable, known: Sequence[str], sizes_known: bool) -> RawTable:
    """Give each measurement a row of its own if sizes ('1000', 'acc_1k') or replicates ('seed_0',
    'fold 1') are columns.

    ``known`` columns have a role and do not change; ``sizes_known``: one of them holds sizes."""
    names = [n for n in table.columns if n not in known]
    has_sizes = sizes_known or any(words.size_unit(n) for n in table.columns)
    parts = sorted(
        (p for n in names if (p := _numbered(n)) is not None), key=lambda p: (p[0], p[2])
    )
    for (before, after), group in groupby(parts, key=lambda p: (p[0], p[2])):
        columns = [(number, name) for _, number, _, name in group]
        if len(columns) < 3:
            continue
        kind = f"{before} {after}".strip()
        metric = words.metric_kind(kind) and kind
        values = [words.number_in(number) or 0.0 for number, _ in columns]
        consecutive = sorted(values) in ([*range(len(values))], [*range(1, len(values) + 1)])
        replicates = consecutive and (words.is_replicate(before) or bool(metric))
        replicates &= not any("mean" in words.tokens(n) and words.metric_kind(n) for n in names)
        unit = words.size_unit(before) or words.size_unit(after)  # 'n=100', '100 labels'
        sizes = not has_sizes and not consecutive and (not kind or metric or unit)
        if replicates:
            note = f"Columns {columns[0][1]!r} to {columns[-1][1]!r} are taken for replicates."
            return _melted(table, columns, "replicate", _label(kind), note)
        if sizes:
            note = (
                f"Columns {columns[0][1]!r} to {columns[-1][1]!r} are taken for training-set sizes."
            )
            share = "%" in columns[0][0]
            label = f"n_{after}" if words.size_unit(after) and not share else "samples"
            melted = _melted(table, columns, label, _label(kind), note)
            return _rows_as_curves(table, melted)
    return table


def _rows_as_curves(table: RawTable, melted: RawTable) -> RawTable:
    """``melted`` with a column 'curve' if each row of the ``table``, which has sizes as columns,
    has a name of its own."""
    names = [c for c in table.columns if c in melted.cells and _names_rows(table.cells[c])]
    if len(names) != 1 or "curve" in melted.cells:
        return melted
    note = f"Each row is a curve of its own, named by {names[0]!r}."
    cells = {"curve": melted.cells[names[0]], **melted.cells}
    return replace(melted, cells=cells, notes=(*melted.notes, note))


def _names_rows(cells: Array) -> bool:
    """Whether these are texts, all different."""
    texts = [c.strip() for c in cells if isinstance(c, str) and c.strip()]
    different = len({*texts}) == len(cells) > 1
    return different and all(words.number_in(t) is None for t in texts)


def _label(kind: str) -> str:
    """The name of the melted values: the rest of their columns' names if it is a metric."""
    tokens = [t for t in words.tokens(kind) if not words.is_replicate(t)]
    kept = " ".join(tokens)
    return kept if words.metric_kind(kept) else "value"


def _numbered(name: str) -> tuple[str, str, str, str] | None:
    """'split0_test_score' as ('split', '0', 'test_score', name)."""
    match = re.fullmatch(
        r"(.*?)[\s_=@:-]*(\d[\d.,]*(?:e\d+)?[kKmMbB]?\s?%?)(?![a-zA-Z\d])[\s_:-]*(.*)",
        name.strip(),
    )
    return None if match is None else (match[1], match[2], match[3], name)


def _melted(
    table: RawTable, columns: Iterable[tuple[str, str]], label: str, value: str, note: str
) -> RawTable:
    """The table with ``columns`` (number, name) melted into a column ``label`` of the numbers and a
    column ``value`` of the cells."""
    pairs = list(columns)
    rows, times = len(table.lines), len(pairs)
    melted = {name for _, name in pairs}
    every = np.repeat(np.arange(rows), times)
    cells = {n: c[every] for n, c in table.cells.items() if n not in melted}
    cells[label] = column_of(number for _ in range(rows) for number, _ in pairs)
    texts = [table.cells[name] for _, name in pairs]
    cells[value] = column_of(column[i] for i in range(rows) for column in texts)
    lines = np.array(table.lines)[every]
    return replace(table, cells=cells, lines=lines, notes=(*table.notes, note))


# ---------------------------------------------------------------- words in cells

_WITH_UNIT = re.compile(r"([\d.,]+\s?[kKMBT]?)\s+([a-z]+)", re.IGNORECASE)
_ASIDE = re.compile(r"([^()]*[^()\s])\s*\([^()]*\)")


def sizes_alone(table: RawTable, requested: str | None) -> RawTable:
    """The table with sizes such as '10 hours' and '236K (0.8)' as bare numbers.

    A unit becomes part of the column's name, unless it is ``requested`` or names one itself."""
    cells: dict[str, Array] = {}
    notes = table.notes
    for name, column in table.cells.items():
        if column.dtype != object or not (words.size_rank(name) or name == requested):
            cells[name] = column
            continue
        texts = [c.strip() if isinstance(c, str) else c for c in column]
        bare = [m[1] if m else None for m in map(_ASIDE.fullmatch, map(str, texts))]
        if any(b is not None and words.number_in(b) is not None for b in bare):
            texts = [t if b is None else b for b, t in zip(bare, texts, strict=True)]
            notes = (*notes, f"What stands in parentheses in {name!r} is left out.")
        parts = [_WITH_UNIT.fullmatch(t) if isinstance(t, str) else None for t in texts]
        units = {words.size_unit(m[2]) for m in parts if m}
        if len(units) == 1 and "" not in units:
            texts = [m[1] if m else t for m, t in zip(parts, texts, strict=True)]
            (unit,) = units
            named = name == requested or words.size_unit(name) == unit
            name = name if named else f"{name} ({unit})"
        cells[name] = column_of(texts)
    return replace(table, cells=cells, notes=notes)


# ---------------------------------------------------------------- spreads in cells


def with_spreads_apart(table: RawTable, called: Callable[[str], str]) -> RawTable:
    """Split cells like '71.2 ± 0.8' into two columns; ``called`` names the column of spreads."""
    cells = dict(table.cells)
    notes = table.notes
    for name, column in table.cells.items():
        if column.dtype != object:
            continue
        if not any(with_spread(cell) for cell in column[:_LOOK]):
            continue
        parts = [with_spread(cell) for cell in column]
        spreads = [p for p in parts if p is not None]
        filled = sum(isinstance(c, str) and bool(c.strip()) for c in column)
        if not spreads or 2 * len(spreads) < filled:
            continue
        cells[name] = column_of(
            c if p is None else p[0] for c, p in zip(column, parts, strict=True)
        )
        cells[called(name)] = column_of(
            "" if p is None else _half(p[1]) if p[2] else p[1] for p in parts
        )
        content = (
            "ends of 95 % intervals" if any(p[2] for p in spreads) else "a mean and its spread"
        )
        notes = (*notes, f"Cells of {name!r} hold {content}.")
    return replace(table, cells=cells, notes=notes)


def _half(text: str) -> str:
    """Half of a 95 % interval as a standard error."""
    return repr(float(text) / Z95)
