"""A table as its source has it, and the issues of reading it: problems, notes and warnings.

A column is an array of floats (NaN for an empty cell) or of the source's cells as objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]

MOST_NAMED = 20
"""The most problems that are listed; the others are only counted."""
_EMPTY = ("", "none", "nan", "<na>", "nat")


class TableError(ValueError):
    """A table cannot be read as requested. The message lists up to ``MOST_NAMED`` problems by line
    and column, and the number of the others."""

    def __init__(self, problems: Iterable[str], source: str = "the table", more: int = 0) -> None:
        shown = tuple(problems)
        more += max(len(shown) - MOST_NAMED, 0)
        self.problems = shown[:MOST_NAMED] + ((f"and {more} more like these",) if more else ())
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


@dataclass(frozen=True)
class RawTable:
    source: str
    cells: dict[str, Array]
    lines: Sequence[int] | Array
    place: str = "line"
    """What ``lines`` counts: 'line' of a text or 'row' of a table."""
    delimiter: str = ""
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return list(self.cells)


def column_of(cells: Iterable[Any]) -> Array:
    """Cells as an array of objects; lists among them are not split up."""
    values = list(cells)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def table_of(
    source: str,
    columns: Mapping[str, Iterable[Any]],
    place: str = "row",
    notes: tuple[str, ...] = (),
) -> RawTable:
    """A table of equally long columns, with rows counted from 1."""
    cells = {name: column_of(cells) for name, cells in columns.items()}
    rows = len(next(iter(cells.values()), []))
    return RawTable(source, cells, range(1, rows + 1), place, notes=notes)


def table_of_rows(
    source: str,
    rows: Sequence[dict[str, Any]],
    lines: Sequence[int] | None = None,
    notes: tuple[str, ...] = (),
) -> RawTable:
    """A table with a row per object; keys that an object lacks are empty cells."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: column_of(row.get(name) for row in rows) for name in names}
    if lines is None:
        return RawTable(source, cells, range(1, len(rows) + 1), "row", notes=notes)
    return RawTable(source, cells, lines, "line", notes=notes)


def word(cell: Any) -> str:
    """A cell's text in lower case; '' if it is empty."""
    text = str(cell).strip().lower()
    return "" if text in _EMPTY else text


def codes(cells: Array) -> tuple[Array, list[Any]]:
    """Integer codes of the cells (-1 for empty ones), and the coded values in order of appearance.

    Cells of equal meaning have one code: 0.1 and '0.10', None and ''."""
    if cells.dtype != object:
        values = np.unique(cells)
        values = values[~np.isnan(values)]
        place = np.minimum(np.searchsorted(values, cells), max(len(values) - 1, 0))
        first = np.zeros(len(values), int)
        filled = np.flatnonzero(~np.isnan(cells))[::-1]
        first[place[filled]] = filled  # in reverse order, so that the first occurrence stays
        order = np.argsort(first)
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        coded = rank[place] if len(values) else place
        coded[np.isnan(cells)] = -1
        return coded, values[order].tolist()
    code_of: dict[Any, int] = {}
    labels: dict[Any, int] = {}
    names: list[Any] = []
    coded = np.empty(len(cells), int)
    for i, cell in enumerate(cells):
        key = cell if isinstance(cell, str) else repr(cell)
        if key not in code_of:
            value = _value(cell)
            if value is None:
                code_of[key] = -1
            else:
                if value not in labels:
                    labels[value] = len(names)
                    names.append(cell.strip() if isinstance(cell, str) else cell)
                code_of[key] = labels[value]
        coded[i] = code_of[key]
    return coded, names


def _value(cell: Any) -> float | str | None:
    text = word(cell)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text


@dataclass
class Issues:
    """The issues of reading a table. Problems are collected and raised together, by line."""

    table: RawTable
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Notes that must be shown before any result."""
    choices: dict[str, str] = field(default_factory=dict)
    """The first of several possible columns, by role, where the user has to choose."""
    _bad: list[tuple[Array, str, Callable[[int], str]]] = field(default_factory=list)

    def where(self, rows: Sequence[int] | Array) -> str:
        """The lines of these rows in words: 'line 3', 'lines 3, 5'."""
        lines = list(islice(dict.fromkeys(int(self.table.lines[int(k)]) for k in rows), 6))
        shown = [*map(str, lines[:5]), *(["..."] if len(lines) > 5 else [])]
        return f"{self.table.place}{'s' * (len(lines) > 1)} {', '.join(shown)}"

    def bad(
        self, rows: Sequence[int] | Array, column: str, what: str | Callable[[int], str]
    ) -> None:
        """Add a problem for each invalid cell of a column; ``what`` may depend on the row."""
        if len(rows):
            say: Callable[[int], str] = what if callable(what) else lambda _: what
            self._bad.append((np.asarray(rows, int), column, say))

    def take_bad_cells(self, others: Issues, column: str) -> None:
        """Add the invalid cells of a column that another reading of the table has found."""
        self._bad += [bad for bad in others._bad if bad[1] == column]

    @property
    def has_bad_cells(self) -> bool:
        return bool(self._bad)

    def note(self, rows: Sequence[int] | Array, what: str) -> None:
        """Add a note about these rows."""
        self.notes.append(f"{what} ({self.where(rows)}).")

    def stop_on_problems(self) -> None:
        """Raise TableError if there are any problems."""
        named: list[tuple[int, str]] = []
        for rows, column, say in self._bad:
            for row in rows[: MOST_NAMED + 1]:
                cell = f"{self.where([int(row)])}, column {column!r}: {say(int(row))}"
                named.append((int(row), cell))
        problems = [*dict.fromkeys(self.problems), *(text for _, text in sorted(named))]
        count = len(self.problems) + sum(len(rows) for rows, _, _ in self._bad)
        if problems:
            shown = problems[:MOST_NAMED]
            raise TableError(shown, self.table.source, max(count - len(shown), 0))
