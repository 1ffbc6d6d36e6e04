"""A table while it is read: its rows, with the problems and notes that come up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steep.rows import Rows, TableError, word


@dataclass
class Desk:
    """Rows on the desk. Problems are raised all at once, in the order of the lines."""

    rows: Rows
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bad_cells: list[tuple[int, str]] = field(default_factory=list)

    def cell(self, column: str, i: int) -> Any:
        return self.rows.cells[column][i]

    def text(self, column: str, i: int) -> str:
        """A cell in lower case; '' where it is empty or the column is not there."""
        return word(self.cell(column, i)) if column in self.rows.cells else ""

    def where(self, i: Sequence[int]) -> str:
        """These rows: 'line 3', 'lines 3, 5'."""
        lines = [str(self.rows.lines[k]) for k in i[:5]] + (["..."] if len(i) > 5 else [])
        return f"{self.rows.place}{'s' * (len(i) > 1)} {', '.join(lines)}"

    def bad(self, i: int, column: str, what: str) -> None:
        self.bad_cells.append((i, f"{self.where([i])}, column {column!r}: {what}"))

    def note(self, i: Sequence[int], what: str) -> None:
        """``what`` of these rows."""
        self.notes.append(f"{what} ({self.where(i)}).")

    def stop_on_problems(self) -> None:
        problems = self.problems + [text for _, text in sorted(self.bad_cells)]
        if problems:
            raise TableError(problems, self.rows.source)
