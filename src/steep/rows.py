"""Where results come from: files and streams as rows that remember their lines.

Nothing here knows what a column means; ``table.py`` does. Text is CSV with any common delimiter,
JSON or JSON lines; Parquet needs the extra ``steep[parquet]``.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.extras import need
from steep.plainfile import is_stream, refuse_special

FORMATS = ("csv", "json", "jsonl", "parquet")
_SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_LARGEST = 1 << 30
"""Bytes of a table."""
BEST_FITS = "results/best_fit.csv"


class TableError(ValueError):
    """A table that cannot be read as asked: every problem at once, by line and column."""

    def __init__(self, problems: Iterable[str], source: str = "the table") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


@dataclass(frozen=True)
class Rows:
    """Cells by column, one per row, as text or as whatever the source held."""

    source: str
    cells: dict[str, list[Any]]
    lines: tuple[int, ...]
    place: str = "line"
    """What ``lines`` counts: 'line' of a text, 'row' of a table."""
    delimiter: str = ""
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return list(self.cells)


def word(cell: Any) -> str:
    """A cell in lower case; '' where it is empty."""
    text = str(cell).strip().lower()
    return "" if text in ("none", "nan", "<na>") else text


def load(source: Any, format: str | None = None) -> Rows:
    """Rows of a path, '-' (standard input), a study folder, a DataFrame or columns by name.

    Raises TableError."""
    if format is not None and format not in FORMATS:
        raise TableError([f"unknown format {format!r}: it is one of {', '.join(FORMATS)}"])
    if isinstance(source, Mapping):
        return _from_columns(source, "the table")
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _from_frame(source, "the table")
    if source == "-":
        if sys.stdin is None:
            raise TableError(["it is closed"], "standard input")
        return _from_bytes(_limited(sys.stdin.buffer, "standard input"), "standard input", format)
    path = Path(source)
    if path.is_dir():
        if not (path / BEST_FITS).exists():
            raise TableError(
                [f"a folder without {BEST_FITS} is not a study with results"], str(path)
            )
        path = path / BEST_FITS
    try:
        if not is_stream(path):
            refuse_special(path)
        with path.open("rb") as file:
            data = _limited(file, str(path))
    except FileNotFoundError:
        raise TableError(["no such file"], str(path)) from None
    except OSError as error:
        raise TableError([f"cannot be read: {error.strerror}"], str(path)) from None
    return _from_bytes(data, str(path), format or _SUFFIXES.get(path.suffix.lower()))


def _limited(file: Any, source: str) -> bytes:
    """All of an open file. Raises TableError for one that goes on and on."""
    data: bytes = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise TableError([f"larger than {_LARGEST >> 20} MiB: is this a table?"], source)
    return data


def _from_bytes(data: bytes, source: str, format: str | None) -> Rows:
    if format == "parquet" or data[:4] == b"PAR1":
        return _from_parquet(data, source)
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TableError([f"line {line} is not text in UTF-8"], source) from None
    if not text.strip():
        raise TableError(["it is empty"], source)
    format = format or _sniffed(text)
    if format == "json":
        return _from_json(text, source)
    return _from_json_lines(text, source) if format == "jsonl" else _from_csv(text, source)


def _sniffed(text: str) -> str:
    """JSON starts with a bracket; JSON lines with an object that ends on its own line."""
    start = text.lstrip()
    if start[0] == "[":
        return "json"
    if start[0] != "{":
        return "csv"
    try:
        json.loads(start.partition("\n")[0])
    except (ValueError, RecursionError):
        return "json"
    return "jsonl"


# ---------------------------------------------------------------- CSV


def _from_csv(text: str, source: str) -> Rows:
    delimiter = _delimiter(text)
    found: list[tuple[int, list[str]]] = []
    comments: list[list[str]] = []
    try:
        for line, row in _csv_rows(text, delimiter):
            if row[0].startswith("#"):
                comments.append([cell.lstrip("# ") for cell in row])
            else:
                found.append((line, row))
    except csv.Error as error:
        raise TableError([f"not CSV: {error}"], source) from None
    if not found:
        raise TableError(["it holds nothing but comments"], source)
    notes: tuple[str, ...] = ()
    names = found[0][1]
    if all(_is_number(cell) for cell in names if cell):
        names, notes = _without_header(names, comments, source)
    else:
        found = found[1:]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise TableError([f"two columns are called {name!r}" for name in twice], source)
    problems = [
        f"line {line} has {_counted(len(row), 'cell')} where the header has {len(names)}"
        for line, row in found
        if len(row) != len(names)
    ]
    if problems:
        raise TableError(problems, source)
    cells: dict[str, list[Any]] = {
        name or f"column {i + 1}": [row[i] for _, row in found] for i, name in enumerate(names)
    }
    lines = tuple(line for line, _ in found)
    return Rows(source, cells, lines, delimiter=delimiter, notes=notes)


def _csv_rows(text: str, delimiter: str) -> Iterable[tuple[int, list[str]]]:
    """(first line, stripped cells) of every row that is not blank."""
    if delimiter == " ":
        for line, content in enumerate(text.splitlines(), 1):
            if content.strip():
                yield line, content.split()
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    before = 0
    for row in reader:
        line, before = before + 1, reader.line_num
        if any(cell.strip() for cell in row):
            yield line, [cell.strip() for cell in row]


def _delimiter(text: str) -> str:
    """The delimiter that splits most of the first lines into equally many cells, more than one."""
    sample = "\n".join([line for line in text.splitlines() if line.strip()][:30])
    best, best_score = "", (0.0, 0)
    for delimiter in (*_DELIMITERS, " "):
        try:
            rows = [row for _, row in _csv_rows(sample, delimiter) if not row[0].startswith("#")]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        agree = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        if (agree, len(rows[0])) > best_score and not (delimiter == " " and best):
            best, best_score = delimiter, (agree, len(rows[0]))
    return best or ","


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%"))
    except ValueError:
        return False
    return True


def _without_header(
    first: Sequence[str], comments: Sequence[Sequence[str]], source: str
) -> tuple[list[str], tuple[str, ...]]:
    """Names from the comment above the numbers, or for two bare columns."""
    for names in reversed(comments):
        if len(names) == len(first):
            return list(names), ()
    if len(first) == 2:
        return ["samples", "error"], ("There is no header: the columns are samples and error.",)
    names_of = f"the names of {len(first)} columns" if len(first) > 1 else "the name of a column"
    raise TableError([f"line 1 holds numbers where {names_of} should be"], source)


# ---------------------------------------------------------------- JSON, Parquet, DataFrame


def _from_json(text: str, source: str) -> Rows:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise TableError([f"{place}: not JSON: {error.msg}"], source) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a deep nest
        raise TableError([f"not a table in JSON: {error}"], source) from None
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), list):
        inner = next(iter(value.values()))
        value = inner if inner and isinstance(inner[0], dict) else value
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        return _from_columns(value, source)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise TableError(["it holds no list of objects and no columns"], source)
    return _from_objects(value, tuple(range(1, len(value) + 1)), source, "row")


def _from_columns(columns: Mapping[Any, Any], source: str) -> Rows:
    cells = {
        str(name): column.tolist() if hasattr(column, "tolist") else list(column)
        for name, column in columns.items()
    }
    if len({len(column) for column in cells.values()}) > 1:
        raise TableError(["its columns have different lengths"], source)
    return Rows(source, cells, _count(cells), "row")


def _from_json_lines(text: str, source: str) -> Rows:
    objects, lines, problems = [], [], []
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            value = json.loads(content)
        except json.JSONDecodeError as error:
            problems.append(f"line {line}, column {error.colno}: not JSON: {error.msg}")
            continue
        except (ValueError, RecursionError) as error:
            problems.append(f"line {line}: not a table in JSON: {error}")
            continue
        if not isinstance(value, dict):
            problems.append(f"line {line} is no object")
            continue
        objects.append(value)
        lines.append(line)
    if problems:
        raise TableError(problems, source)
    return _from_objects(objects, tuple(lines), source, "line")


def _from_objects(
    objects: Sequence[dict[str, Any]], lines: tuple[int, ...], source: str, place: str
) -> Rows:
    flat = [dict(_flattened(value)) for value in objects]
    names = list(dict.fromkeys(name for row in flat for name in row))
    cells = {name: [row.get(name) for row in flat] for name in names}
    return Rows(source, cells, lines, place)


def _flattened(value: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, cell in value.items():
        if isinstance(cell, dict):
            yield from _flattened(cell, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", cell


def _from_parquet(data: bytes, source: str) -> Rows:
    need("pyarrow")
    from pyarrow import parquet

    try:
        columns = parquet.read_table(io.BytesIO(data)).to_pydict()
    except Exception as error:  # pyarrow has its own kinds
        raise TableError([f"not Parquet: {error}"], source) from None
    cells = {str(name): list(column) for name, column in columns.items()}
    return Rows(source, cells, _count(cells), "row")


def _from_frame(frame: Any, source: str) -> Rows:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise TableError(["two of its columns have the same name"], source)
    cells = {name: frame.iloc[:, i].tolist() for i, name in enumerate(names)}
    return Rows(source, cells, tuple(range(1, len(frame) + 1)), "row")


def _count(cells: dict[str, list[Any]]) -> tuple[int, ...]:
    return tuple(range(1, len(next(iter(cells.values()), [])) + 1))
