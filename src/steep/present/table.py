"""A table as plain text cells: drawn by rich in a terminal, by a template in the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steep.present import numbers
from steep.records import Interval

LEFT, RIGHT = "left", "right"


@dataclass(frozen=True)
class Table:
    """A titled table of formatted cells. ``print`` of rich draws it; ``text`` is for a pipe."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: tuple[str, ...] = ()
    """'left' or 'right' per column; empty: the first left, the others right."""
    note: str = ""
    links: tuple[str, ...] = ()
    """On a page, where the first cell of each row leads; empty: nowhere."""

    @property
    def sides(self) -> tuple[str, ...]:
        return self.align or (LEFT, *(RIGHT for _ in self.columns[1:]))

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        # Text, not str: a cell that happens to hold [brackets] is not markup
        drawn = RichTable(
            title=Text(self.title) if self.title else None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            title_style="bold",
            pad_edge=False,
            caption=Text(self.note) if self.note else None,
            caption_justify="left",
        )
        for name, side in zip(self.columns, self.sides, strict=True):
            drawn.add_column(Text(name), justify="right" if side == RIGHT else "left")
        for row in self.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        return drawn

    def text(self) -> str:
        """Columns padded with spaces, without a title."""
        every = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in every) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(
                cell.rjust(w) if side == RIGHT else cell.ljust(w)
                for cell, w, side in zip(row, widths, self.sides, strict=True)
            ).rstrip()
            for row in every
        )


def trimmed(table: Table) -> Table:
    """Without a last column of remarks where there are none."""
    if any(row[-1] for row in table.rows):
        return table
    rows = tuple(row[:-1] for row in table.rows)
    return Table(table.title, table.columns[:-1], rows, table.sides[:-1], table.note)


def trimmed_of_unknown(table: Table, name: str) -> Table:
    """Without the column ``name`` where all of it is unknown."""
    at = table.columns.index(name)
    if any(row[at] != numbers.UNKNOWN for row in table.rows):
        return table

    def without(cells: tuple[str, ...]) -> tuple[str, ...]:
        return cells[:at] + cells[at + 1 :]

    rows = tuple(map(without, table.rows))
    return Table(table.title, without(table.columns), rows, without(table.sides), table.note)


# ---------------------------------------------------------------- any named columns


def status_table(rows: Sequence[Mapping[str, Any]], title: str = "Status") -> Table:
    """Rows of named values: trials by shard and state, workers, attempts."""
    return named_table(rows, title)


def plan_table(rows: Sequence[Mapping[str, Any]], title: str = "Plan") -> Table:
    """Rows of named values: what would run and what it would take."""
    return named_table(rows, title)


def named_table(rows: Sequence[Mapping[str, Any]], title: str = "", note: str = "") -> Table:
    """Any rows of named values; the name of a column decides how its numbers look."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = tuple(tuple(cell(name, row.get(name)) for name in columns) for row in rows)
    numeric = [all(not isinstance(row.get(name), str) for row in rows) for name in columns]
    align = tuple(RIGHT if side else LEFT for side in numeric)
    titles = tuple(label(name) for name in columns)
    return Table(title, titles, cells, align, note)


_FORMS: dict[str, Callable[[float], str]] = {
    "samples": numbers.exact,
    "items": numbers.exact,
    "steps": numbers.exact,
    "parameters": numbers.count,
    "parameters_without_embeddings": numbers.count,
    "flops": numbers.flops,
    "seconds": numbers.duration,
    "time": numbers.duration,
    "eta": numbers.duration,
    "bytes": numbers.memory,
    "disk": numbers.memory,
    "memory": numbers.memory,
    "factor": numbers.factor,
    "share": numbers.share,
    "weight": numbers.share,
}


_LABELS = {
    "seconds": "training time",
    "flops": "training compute",
    "parameters_without_embeddings": "parameters without embeddings",
}


def label(name: str) -> str:
    """A column's name as a reader sees it; its unit is in the cells."""
    # a name with spaces is a phrase already, and may hold a file name
    return _LABELS.get(name, name if " " in name else name.replace("_", " "))


def cell(name: str, value: Any) -> str:
    """One value by the name of its column: ``wall_seconds`` as a duration, ``flops`` in PFLOPs."""
    if isinstance(value, Interval):
        return numbers.interval(value)
    if value is None or isinstance(value, (bool, str)) or not isinstance(value, (int, float)):
        return _value(value)
    for key, form in _FORMS.items():
        if name == key or name.endswith(f"_{key}"):
            return form(float(value))
    if "error" in name and isinstance(value, float):
        return numbers.measured(value, numbers.scale("error", value))
    return _value(value)


def _value(value: Any) -> str:
    if value is None:
        return numbers.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return numbers.number(value) if isinstance(value, float) else str(value)
