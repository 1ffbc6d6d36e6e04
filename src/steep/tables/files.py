"""Files, streams and frames as raw tables with line numbers.

Columns have no meaning here yet. Text is CSV with any common delimiter, a Markdown table, JSON or
JSON lines, in UTF-8 or Windows-1252; all of it may be compressed. Parquet and
zstandard need ``steep[parquet]``, workbooks ``steep[excel]``.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from steep.base.extras import need
from steep.base.plainfile import is_stream, refuse_special
from steep.tables import words
from steep.tables.layouts import rows_of_json
from steep.tables.raw import Array, RawTable, TableError, column_of
from steep.tables.trackers import from_database, from_folder

FORMATS = ("csv", "markdown", "json", "jsonl", "parquet", "excel")
_SUFFIXES = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet",
    ".xlsx": "excel", ".xlsm": "excel", ".csv": "csv", ".tsv": "csv", ".md": "markdown",
}  # fmt: skip
_DELIMITERS = (",", "\t", ";", "|")
_LARGEST = 1 << 30
"""The most bytes of a table."""
_CHUNK, _MANY = 50_000, 20_000
"""Rows that are converted at once, and the number of rows above which columns of plain numbers are
kept as floats without their text."""
_CHARACTERS = 1_000_000
"""Characters at the start of a text that show its format."""
_WINDOWS = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]")
"""Bytes that do not occur in Windows-1252 text."""


def load(source: Any, format: str | None = None) -> RawTable:
    """The table of a path, '-' (standard input), a folder, a DataFrame or columns by name.

    Raises TableError."""
    if format is not None and format not in FORMATS:
        raise TableError([f"unknown format {format!r}: it is one of {', '.join(FORMATS)}"])
    if isinstance(source, Mapping):
        return rows_of_json({str(k): _plain(v) for k, v in source.items()}, "the table")
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _from_frame(source, "the table")
    if source == "-":
        if sys.stdin is None:
            raise TableError(["it is closed"], "standard input")
        return _from_bytes(_limited(sys.stdin.buffer, "standard input"), "standard input", format)
    path = Path(source)
    if path.is_dir():
        return from_folder(path, load)
    try:
        if not is_stream(path):
            refuse_special(path)
        with path.open("rb") as file:
            data = _limited(file, str(path))
    except FileNotFoundError:
        raise TableError(["no such file"], str(path)) from None
    except OSError as error:
        raise TableError([f"cannot be read: {error.strerror}"], str(path)) from None
    if data[:15] == b"SQLite format 3":
        return from_database(path)
    suffixes = [s.lower() for s in path.suffixes]
    by_suffix = next((_SUFFIXES[s] for s in reversed(suffixes) if s in _SUFFIXES), None)
    return _from_bytes(data, str(path), format or by_suffix)


def _plain(value: Any) -> Any:
    """Arrays and series as lists; arrays of two dimensions as lists of lists."""
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _limited(file: Any, source: str) -> bytes:
    """The content of an open file. Raises TableError if it is larger than ``_LARGEST``."""
    data: bytes = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise TableError([f"larger than {_LARGEST >> 20} MiB: is this a table?"], source)
    return data


def _from_bytes(data: bytes, source: str, format: str | None) -> RawTable:
    data = _decompressed(data, source)
    if data[:4] == b"PAR1":
        return _from_parquet(data, source)
    if data[:4] == b"PK\x03\x04":
        return _from_archive(data, source)
    if format == "parquet":
        raise TableError(["not Parquet: it does not begin like one"], source)
    text, notes = _decoded(data, source)
    if not text.strip():
        raise TableError(["it is empty"], source)
    kind = format if format in ("json", "jsonl") else _sniffed(text)
    if kind == "json":
        table = _from_json(text, source)
    elif kind == "jsonl":
        table = _from_json_lines(text, source)
    else:
        table = _from_markdown(text, source) if kind == "markdown" else _from_csv(text, source)
    return RawTable(
        table.source, table.cells, table.lines, table.place, table.delimiter, notes + table.notes
    )


_PACKED = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd")
"""The first bytes of gzip, xz, bzip2 and zstandard files."""


def _decompressed(data: bytes, source: str) -> bytes:
    if not data.startswith(_PACKED):
        return data
    import bz2
    import gzip
    import lzma

    packed = io.BytesIO(data)
    try:
        if data.startswith(_PACKED[0]):
            return _limited(gzip.GzipFile(fileobj=packed), source)
        if data.startswith(_PACKED[1]):
            return _limited(lzma.LZMAFile(packed), source)
        if data.startswith(_PACKED[2]):
            return _limited(bz2.BZ2File(packed), source)
        arrow = need("pyarrow")
        return _limited(arrow.input_stream(arrow.BufferReader(data), "zstd"), source)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise TableError([f"its compression is damaged: {error}"], source) from None


def _decoded(data: bytes, source: str) -> tuple[str, tuple[str, ...]]:
    """The text, and a note if it was not UTF-8."""
    try:
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return data.decode(encoding), ()
    except UnicodeDecodeError as error:
        if _WINDOWS.search(data) is None:
            note = "It is not UTF-8 and was read as Windows-1252, which spreadsheets write."
            return data.decode("cp1252"), (note,)
        line = data[: error.start].count(b"\n") + 1
        raise TableError([f"line {line} is not text in UTF-8"], source) from None


def _sniffed(text: str) -> str:
    """The format of a text: JSON starts with a bracket, JSON lines with an object that ends on its
    line; Markdown has a line of dashes and bars; anything else is CSV."""
    start = text.lstrip()
    if re.match(r"\[\s*[\[{\d\]]", start):
        return "json"
    if start[0] != "{":
        return "markdown" if _RULE.search(text, 0, _CHARACTERS) else "csv"
    try:
        json.loads(start.partition("\n")[0])
    except (ValueError, RecursionError):
        return "json"
    return "jsonl" if len(start.splitlines()) > 1 else "json"


# ---------------------------------------------------------------- CSV


def _from_csv(text: str, source: str) -> RawTable:
    delimiter = _delimiter(text)
    comments: list[list[str]] = []
    collecting = gc.isenabled()
    gc.disable()  # a collection would only traverse millions of lists that are still in use
    try:
        return _from_chunks(_chunks(text, delimiter, comments), comments, text, delimiter, source)
    except csv.Error as error:
        raise TableError([f"not CSV: {error}"], source) from None
    finally:
        if collecting:
            gc.enable()


Chunk: TypeAlias = tuple[Sequence[int], list[list[str]]]
"""The line numbers of some rows, and their cells."""


def _from_chunks(
    chunks: Iterator[Chunk], comments: list[list[str]], text: str, delimiter: str, source: str
) -> RawTable:
    """The table of the rows; the first chunk starts with a title, a header, or neither."""
    lines, rows = next(chunks, ((), []))
    if not rows:
        raise TableError(["it holds nothing but comments"], source)
    names = [name.strip() for name in rows[0]]
    notes: tuple[str, ...] = ()
    start = 1
    if len(rows) > 1 and sum(map(bool, names)) == 1 and sum(bool(c.strip()) for c in rows[1]) > 1:
        notes = (f"Line {lines[0]} is taken for a title: {names[0]!r}.",)
        names, start = [name.strip() for name in rows[1]], 2
    if _sizes_above(names, rows[start:]):
        note = f"Line {lines[start - 1]} is taken for training-set sizes, the rows for replicates."
        notes = (*notes, note)
    elif all(_is_number(cell) for cell in names if cell):
        names, header_notes = _without_header(names, comments, source)
        notes, start = (*notes, *header_notes), start - 1
    if len(rows) > start and {*map(len, rows[start:])} == {len(names) + 1}:
        names = ["row name", *names]  # R writes the names of its rows without a header
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise TableError([f"two columns are called {name!r}" for name in repeated], source)
    plain = delimiter != ";" and (("," if delimiter != "," else '"') not in text)
    first = (lines[start:], rows[start:])
    columns, all_lines = _columns(chain([first], chunks), len(names), plain, source)
    cells = dict(zip((n or f"column {i + 1}" for i, n in enumerate(names)), columns, strict=True))
    return RawTable(source, cells, all_lines, delimiter=delimiter, notes=notes)


def _chunks(text: str, delimiter: str, comments: list[list[str]]) -> Iterator[Chunk]:
    """The rows that are neither blank nor comments, in chunks; comments are collected."""
    if delimiter == " ":
        reader: Any = (line.split() for line in text.splitlines())
    else:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True
        )
    line = 1
    while True:
        rows: list[list[str]] = []
        lines: list[int] | range = []
        if delimiter != " " and '"' in text:  # a cell may hold line breaks
            firsts = []
            for row in islice(reader, _CHUNK):
                rows.append(row)
                firsts.append(line)
                line = reader.line_num + 1
            lines = firsts
        else:
            rows = list(islice(reader, _CHUNK))
            lines = range(line, line + len(rows))
            line += len(rows)
        if not rows:
            return
        odd = [i for i, row in enumerate(rows) if not row or not row[0] or row[0][0] == "#"]
        left_out = set()
        for i in odd:
            comment = bool(rows[i]) and rows[i][0].startswith("#")
            if comment:
                comments.append([cell.lstrip("# ").strip() for cell in rows[i]])
            if comment or not any(cell.strip() for cell in rows[i]):
                left_out.add(i)
        if left_out:
            lines = [k for i, k in enumerate(lines) if i not in left_out]
            rows = [row for i, row in enumerate(rows) if i not in left_out]
        yield lines, rows


def _columns(
    chunks: Iterable[Chunk], width: int, plain: bool, source: str
) -> tuple[list[Array], Array]:
    """The columns, and the line of each row. Raises TableError for rows of another length.

    ``plain``: Python's own reading of a number is the only possible one, so the numbers of a long
    table are kept without their text."""
    parts: list[list[Array]] = [[] for _ in range(width)]
    every: list[Array] = [np.empty(0, int)]
    problems: list[str] = []
    many = False
    for lines, rows in chunks:
        if {*map(len, rows)} - {width}:
            problems += [
                f"line {line} has {len(row)} cell{'s' * (len(row) != 1)} where the header has "
                f"{width}"
                for line, row in zip(lines, rows, strict=True)
                if len(row) != width
            ]
        every.append(np.array(lines, int))
        if problems:
            continue
        many = many or (plain and len(rows) > _MANY)
        for part, cells in zip(parts, zip(*rows, strict=True), strict=False):
            part.append(_numbers_alone(cells) if many else _texts(cells))
    if problems:
        raise TableError(problems, source)
    empty = np.empty(0, object)
    return [np.concatenate(part) if part else empty for part in parts], np.concatenate(every)


def _texts(cells: Sequence[str]) -> Array:
    return column_of(map(str.strip, cells))


def _numbers_alone(cells: Sequence[str]) -> Array:
    for texts in (cells, [cell or "nan" for cell in cells]):
        try:
            return np.array(texts, float)
        except ValueError:
            continue
    return _texts(cells)


def _delimiter(text: str) -> str:
    """The delimiter that splits most of the first lines into the same number of cells (at least
    two)."""
    lines = (line for line in text[:_CHARACTERS].splitlines() if line.strip())
    sample = "\n".join(islice(lines, 30))
    best, best_score = "", (0.0, 0)
    for delimiter in (*_DELIMITERS, " "):
        try:
            rows = [row for _, rows in _chunks(sample, delimiter, []) for row in rows]
        except csv.Error:
            continue
        width = max((len(row) for row in rows[:2]), default=0)
        if width < 2:
            continue
        agree = sum(len(row) == width for row in rows) / len(rows)
        if (agree, width) > best_score and not (delimiter == " " and best):
            best, best_score = delimiter, (agree, width)
    return best or ","


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%"))
    except ValueError:
        return False
    return True


def _sizes_above(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line holds sizes: at least three whole numbers that grow, each above its
    column of others that are fractions."""
    if len(first) < 3 or not rows or not all(re.fullmatch(r"[1-9]\d*", cell) for cell in first):
        return False
    sizes = [int(cell) for cell in first]
    growing = all(a < b for a, b in pairwise(sizes))
    below = [cell for row in rows for cell in row]
    return growing and all(_is_number(c) and not c.strip().isdecimal() for c in below if c)


def _without_header(
    first: Sequence[str], comments: Sequence[Sequence[str]], source: str
) -> tuple[list[str], tuple[str, ...]]:
    """The names of columns without a header: from a comment above them, or by default for two
    columns."""
    for names in reversed(comments):
        if len(names) == len(first):
            return list(names), ()
    if len(first) == 2:
        return ["samples", "error"], ("There is no header: the columns are samples and error.",)
    names_of = f"the names of {len(first)} columns" if len(first) > 1 else "the name of a column"
    raise TableError([f"line 1 holds numbers where {names_of} should be"], source)


# ---------------------------------------------------------------- Markdown

_RULE = re.compile(
    r"(?m)^[ \t]*[|+]?[ \t]*:?[-=]{2,}:?[ \t]*([|+][ \t]*:?[-=]{2,}:?[ \t]*)+[|+]?[ \t]*$"
    r"|^[ \t]*\|([ \t]*:?-+:?[ \t]*\|)+[ \t]*$"
)
"""The rule below a header."""


def _from_markdown(text: str, source: str) -> RawTable:
    """The single table of a text: rows with bars, and a rule below the header."""
    blocks: list[list[tuple[int, list[str]]]] = []
    inside = False
    for line, content in enumerate(text.splitlines(), 1):
        if "|" not in content and not _RULE.match(content):
            inside = False
            continue
        if not inside:
            blocks.append([])
            inside = True
        if not _RULE.match(content):
            bare = re.sub(r"^\s*\||\|\s*$", "", content)
            cells = [c.strip().strip("*`_ ") for c in re.split(r"(?<!\\)\|", bare)]
            blocks[-1].append((line, cells))
    tables = [b for b in blocks if len(b) > 1]
    with_sizes = [b for b in tables if any(words.size_rank(name) == 2 for name in b[0][1])]
    chosen = tables if len(tables) == 1 else with_sizes
    if len(chosen) != 1:
        raise TableError([_several(tables)], source)
    (line, names), *rows = chosen[0]
    notes = (
        (f"Of {len(tables)} tables the one with training-set sizes is read (line {line}).",)
        if len(tables) > 1
        else ()
    )
    chunk = [line for line, _ in rows], [row for _, row in rows]
    columns, lines = _columns([chunk], len(names), False, source)
    named = (n or f"column {i + 1}" for i, n in enumerate(names))
    return RawTable(source, dict(zip(named, columns, strict=True)), lines, notes=notes)


def _several(tables: Sequence[Sequence[tuple[int, list[str]]]]) -> str:
    """The problem of a text with several tables, or with none."""
    if not tables:
        return "no table is in it"
    places = ", ".join(str(t[0][0]) for t in tables)
    return (
        f"{len(tables)} tables are in it, at lines {places}. Choose one, for example: "
        f"sed -n {tables[0][0][0]},{tables[0][-1][0]}p FILE | steep read -"
    )


# ---------------------------------------------------------------- JSON


def _from_json(text: str, source: str) -> RawTable:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise TableError([f"{place}: not JSON: {error.msg}"], source) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a deep nest
        raise TableError([f"not a table in JSON: {error}"], source) from None
    return rows_of_json(value, source)


def _from_json_lines(text: str, source: str) -> RawTable:
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
    table = rows_of_json(objects, source)
    return RawTable(source, table.cells, lines, "line", notes=table.notes)


# ---------------------------------------------------------------- Parquet, workbooks, frames


def _from_parquet(data: bytes, source: str) -> RawTable:
    need("pyarrow")
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
        columns = {
            str(name): table.column(i).to_numpy()
            for i, name in enumerate(table.column_names)
            if not str(name).startswith("__index_level_")
        }
    except Exception as error:  # pyarrow has its own kinds
        raise TableError([f"not Parquet: {error}"], source) from None
    cells = {name: _cells(column) for name, column in columns.items()}
    return RawTable(source, cells, range(1, table.num_rows + 1), "row")


def _cells(column: Array) -> Array:
    """Numbers as floats, anything else as objects."""
    if column.dtype.kind in "iuf":
        return column.astype(float)
    return column_of(column.tolist() if column.dtype != object else column)


def _from_archive(data: bytes, source: str) -> RawTable:
    """The table of a workbook, or of arrays saved by numpy."""
    import zipfile

    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile as error:
        raise TableError([f"not a workbook: {error}"], source) from None
    if all(name.endswith(".npy") for name in names):
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return rows_of_json({name: arrays[name].tolist() for name in arrays}, source)
    if "[Content_Types].xml" not in names:
        raise TableError([f"an archive of {', '.join(names[:5])}: unpack it first"], source)
    need("openpyxl")
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    sheets = {s.title: list(s.iter_rows(values_only=True)) for s in book.worksheets}
    filled = {
        n: rows
        for n, rows in sheets.items()
        if sum(any(c is not None for c in r) for r in rows) > 1
    }
    if not filled:
        raise TableError(["no sheet holds a table"], source)
    rows = next(iter(filled.values()))
    notes = (f"Of the sheets {', '.join(filled)} the first is read.",) if len(filled) > 1 else ()
    numbered = [(i, row) for i, row in enumerate(rows, 1) if any(c is not None for c in row)]
    while len(numbered) > 2 and sum(c is not None for c in numbered[0][1]) < 2:
        numbered = numbered[1:]  # a title
    header = [
        f"column {i + 1}" if c is None else str(c).strip() for i, c in enumerate(numbered[0][1])
    ]
    used = [i for i in range(len(header)) if any(row[i] is not None for _, row in numbered)]
    cells = {header[i]: column_of(row[i] for _, row in numbered[1:]) for i in used}
    return RawTable(source, cells, [line for line, _ in numbered[1:]], "row", notes=notes)


def _from_frame(frame: Any, source: str) -> RawTable:
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [
        "_".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)
        for name in frame.columns
    ]
    if len(set(names)) < len(names):
        raise TableError(["two of its columns have the same name"], source)
    cells: dict[str, Array] = {}
    for i, name in enumerate(names):
        column = frame.iloc[:, i]
        kind = getattr(column.dtype, "kind", "O")
        cells[name] = (
            column.to_numpy(dtype=float, na_value=np.nan)
            if kind in "iuf"
            else column_of(column.tolist())
        )
    return RawTable(source, cells, range(1, len(frame) + 1), "row")
