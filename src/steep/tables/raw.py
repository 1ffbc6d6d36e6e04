"""A table as it was found, and what there is to say about it: problems and notes.

A column is an array of floats (NaN is an empty cell) or of the cells as the source held them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]

MOST_NAMED = 20
"""Problems that are told one by one; of more their number."""
_EMPTY = ("", "none", "nan", "<na>", "nat")


class TableError(ValueError):
    """A table that cannot be read as asked: its problems by line and column, at most
    ``MOST_NAMED`` of them and the number of the others."""

    def __init__(self, problems: Iterable[str], source: str = "the table", more: int = 0) -> None:
        told = tuple(problems)
        more += max(len(told) - MOST_NAMED, 0)
        self.problems = told[:MOST_NAMED] + ((f"and {more} more like these",) if more else ())
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


@dataclass(frozen=True)
class RawTable:
    source: str
    cells: dict[str, Array]
    lines: Sequence[int] | Array
    place: str = "line"
    """What ``lines`` counts: 'line' of a text, 'row' of a table."""
    delimiter: str = ""
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return list(self.cells)


def column_of(cells: Iterable[Any]) -> Array:
    """Cells as an array of objects, lists among them kept whole."""
    values = list(cells)
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def table_of(
    source: str,
    columns: Mapping[str, Iterable[Any]],
    place: str = "row",
    notes: tuple[str, ...] = (),
) -> RawTable:
    """A table of columns that are equally long, its rows counted from 1."""
    cells = {name: column_of(cells) for name, cells in columns.items()}
    rows = len(next(iter(cells.values()), []))
    return RawTable(source, cells, range(1, rows + 1), place, notes=notes)


def table_of_rows(
    source: str,
    rows: Sequence[dict[str, Any]],
    lines: Sequence[int] | None = None,
    notes: tuple[str, ...] = (),
) -> RawTable:
    """A table of objects; what one of them lacks is an empty cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: column_of(row.get(name) for row in rows) for name in names}
    if lines is None:
        return RawTable(source, cells, range(1, len(rows) + 1), "row", notes=notes)
    return RawTable(source, cells, lines, "line", notes=notes)


def word(cell: Any) -> str:
    """A cell in lower case; '' where it is empty."""
    text = str(cell).strip().lower()
    return "" if text in _EMPTY else text


def codes(cells: Array) -> tuple[Array, list[Any]]:
    """Which value each cell has, -1 where it is empty, and the values in order of appearance.

    Cells that mean the same are one value: 0.1 and '0.10', None and ''."""
    if cells.dtype != object:
        values = np.unique(cells)
        values = values[~np.isnan(values)]
        place = np.minimum(np.searchsorted(values, cells), max(len(values) - 1, 0))
        first = np.zeros(len(values), int)
        filled = np.flatnonzero(~np.isnan(cells))[::-1]
        first[place[filled]] = filled  # the first one is written last
        order = np.argsort(first)
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        found = rank[place] if len(values) else place
        found[np.isnan(cells)] = -1
        return found, values[order].tolist()
    known: dict[Any, int] = {}
    labels: dict[Any, int] = {}
    names: list[Any] = []
    made = np.empty(len(cells), int)
    for i, cell in enumerate(cells):
        key = cell if isinstance(cell, str) else repr(cell)
        if key not in known:
            value = _value(cell)
            if value is None:
                known[key] = -1
            else:
                if value not in labels:
                    labels[value] = len(names)
                    names.append(cell.strip() if isinstance(cell, str) else cell)
                known[key] = labels[value]
        made[i] = known[key]
    return made, names


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
    """What comes up while a table is read. Problems are raised all at once, by line."""

    table: RawTable
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What must be said before any answer."""
    _bad: list[tuple[Array, str, Callable[[int], str]]] = field(default_factory=list)

    def where(self, rows: Sequence[int] | Array) -> str:
        """These rows: 'line 3', 'lines 3, 5'."""
        lines = list(islice(dict.fromkeys(int(self.table.lines[int(k)]) for k in rows), 6))
        told = [*map(str, lines[:5]), *(["..."] if len(lines) > 5 else [])]
        return f"{self.table.place}{'s' * (len(lines) > 1)} {', '.join(told)}"

    def bad(
        self, rows: Sequence[int] | Array, column: str, what: str | Callable[[int], str]
    ) -> None:
        """Cells of a column that cannot be what they should; ``what`` may depend on the row."""
        if len(rows):
            say: Callable[[int], str] = what if callable(what) else lambda _: what
            self._bad.append((np.asarray(rows, int), column, say))

    @property
    def has_bad_cells(self) -> bool:
        return bool(self._bad)

    def note(self, rows: Sequence[int] | Array, what: str) -> None:
        """``what`` of these rows."""
        self.notes.append(f"{what} ({self.where(rows)}).")

    def stop_on_problems(self) -> None:
        """Raise TableError where there are any."""
        named: list[tuple[int, str]] = []
        for rows, column, say in self._bad:
            for row in rows[: MOST_NAMED + 1]:
                cell = f"{self.where([int(row)])}, column {column!r}: {say(int(row))}"
                named.append((int(row), cell))
        problems = [*dict.fromkeys(self.problems), *(text for _, text in sorted(named))]
        count = len(self.problems) + sum(len(rows) for rows, _, _ in self._bad)
        if problems:
            told = problems[:MOST_NAMED]
            raise TableError(told, self.table.source, max(count - len(told), 0))
