"""A file of the user's own, which steep divides and the user's own training code reads.

Its lines, JSON lines, rows of a CSV (whose header every part keeps) or files: an item each. For
the ``command`` trainer, which writes each shard as a file of the same kind, and ``function``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from steep.contracts.domain import DataError, Items
from steep.domains.files import by_part, content, digest_of, is_data, unzipped
from steep.spec.sections import Strict
from steep.tables.words import own_metric

SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv",
}  # fmt: skip
"""Formats by the end of a file's name; of others each line is an item."""
csv.field_size_limit(sys.maxsize)  # a document in a column may be longer than 131,072 characters
UNITS = {"lines": "lines", "jsonl": "examples", "csv": "rows", "files": "files"}


class Options(Strict):
    train: str
    """A file: each line of a text, each JSON line, each row of a CSV or TSV with a header is an
    item (.gz too); or a folder, each file in which is one."""
    validation: str | None = None
    """The same for V. None: ``split.validation`` takes it from ``train``; or your code has its own.
    """
    test: str | None = None
    """The same for the test part."""
    format: Literal["lines", "jsonl", "csv", "files"] | None = None
    """None: by the file's name. 'files': a folder, or a text that names a file a line."""
    label: str | None = None
    """Column or field of the class: shards are then stratified. Of a folder: its folders are."""
    group: str | None = None
    """Column or field of what must stay on one side of a split: a patient, a document."""
    metric: str | None = None
    """What your code answers, e.g. accuracy, loss. None: an error rate, or the metric that it
    names."""
    unit: str | None = None
    """What an item is called in reports. None: lines, examples, rows, files."""


@dataclass(frozen=True)
class _File:
    """One file of the data, taken apart."""

    header: bytes
    items: list[bytes]
    """Each with its line end; of 'files' the name of one."""
    label: list[str] | None
    group: list[str] | None
    digest: str
    """SHA-256 of the whole."""


class Dataset:
    """See ``contracts/domain.py``; it has no batches."""

    kind = "any"
    shape: Mapping[str, int] = {}

    def __init__(self, options: Options, base: Path) -> None:
        parts = by_part(options.train, options.validation, options.test)
        self.format = options.format or _format_of(base / options.train)
        self.unit = options.unit or UNITS[self.format]
        self.declared = options.metric is not None
        self.metrics = (own_metric(options.metric or "error"),)
        files = {path: _read(base / path, self.format, options) for path in parts.values()}
        self.suffix = _suffix(base / options.train)
        if self.format == "files":  # what names files by their place is of one place only
            self.suffix = f".{digest_of(str(base.resolve()).encode()) % 16**8:08x}.txt"
        self._header = next(iter(files.values())).header
        self._texts = [item for path in parts.values() for item in files[path].items]
        part = [[number] * len(files[path].items) for number, path in parts.items()]
        digests = [digest_of(text.strip()) for text in self._texts]
        in_order = list(files.values())
        group = _numbered([one.group for one in in_order])
        self._items = Items(
            size=np.ones(len(self._texts)),
            digest=np.array(digests, np.uint64),
            group=np.arange(len(self._texts), dtype=np.int64) if group is None else group,
            part=np.concatenate([np.array(one, np.int8) for one in part]),
            label=_numbered([one.label for one in in_order]),
            files={path: one.digest for path, one in files.items()},
            own_validation=True,
        )

    def items(self) -> Items:
        return self._items

    def text(self, items: np.ndarray) -> bytes:
        """These items as a file of the same format, in this order."""
        return self._header + b"".join(self._texts[item] for item in items)

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        """Always the class most frequent in ``items``, where the metric is an error rate."""
        label = self._items.label
        if label is None or not len(validation) or self.metrics[0] not in _OF_CLASSES:
            return {}
        names, counts = np.unique(label[items], return_counts=True)
        return {self.metrics[0]: float(np.mean(label[validation] != names[counts.argmax()]))}

    def batches(self, *arguments: Any) -> Any:
        raise NotImplementedError("a dataset has no batches: your own code reads it")

    loss = evaluate = to = steps_per_epoch = batches


_OF_CLASSES = ("error", "1 - accuracy")


def open_domain(options: Options, base: Path) -> Dataset:
    return Dataset(options, base)


def _format_of(path: Path) -> str:
    return "files" if path.is_dir() else SUFFIXES.get(_suffix(path), "lines")


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix or ".txt"


def _numbered(columns: Sequence[list[str] | None]) -> np.ndarray | None:
    """The values of a column of several files as numbers, from 0 on; None where one has none."""
    if any(column is None for column in columns):
        return None
    values = [value for column in columns for value in column or ()]
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


# ---------------------------------------------------------------- reading


def _read(path: Path, format: str, options: Options) -> _File:
    """One file's items. Raises DataError, which names the file."""
    if format == "files":
        return _listed(path, options)
    data = content(path)
    text = unzipped(path, data)
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: is UTF-16; save it as UTF-8")
    digest = hashlib.sha256(data).hexdigest()
    lines = [line + b"\n" for line in text.replace(b"\r\n", b"\n").split(b"\n")]
    header = b""
    if format == "csv":
        header, *lines = _rows(path, lines, _mark(path))
    items = [line for line in lines if line.strip()]
    if not items:
        raise DataError(f"{path}: holds no {UNITS[format]}")
    label, group = (_column(path, format, header, items, n) for n in (options.label, options.group))
    return _File(header, items, label, group, digest)


def _mark(path: Path) -> str:
    return "\t" if _suffix(path) == ".tsv" else ","


def _rows(path: Path, lines: Sequence[bytes], mark: str) -> list[bytes]:
    """The rows of a CSV, the header first: one goes on while a quoted value is open. A quote inside
    a value that does not begin with one, 5" say, opens none."""
    rows: list[bytes] = []
    done = 0
    # Latin-1 has a character for each byte, and marks and quotes are the same in it. The last line,
    # which is empty, is a row of its own unless a quote is open.
    reader = csv.reader((line.decode("latin-1") for line in [*lines, b"\n"]), delimiter=mark)
    try:
        for _ in reader:
            rows.append(b"".join(lines[done : reader.line_num]))
            done = reader.line_num
    except csv.Error as error:
        raise DataError(f"{path}: row {len(rows) + 1} cannot be read: {error}") from None
    if rows[-1]:
        raise DataError(f"{path}: a quoted value that begins in row {len(rows)} never ends")
    if not rows[0].strip():
        raise DataError(f"{path}: the first row is empty; it must hold the names of the columns")
    return rows


def _column(
    path: Path, format: str, header: bytes, items: Sequence[bytes], name: str | None
) -> list[str] | None:
    """One value of each item, as text."""
    if name is None:
        return None
    if format == "lines":
        raise DataError(f"{path}: lines of text have no column {name!r}")
    if format == "jsonl":
        return [_field(path, number, item, name) for number, item in enumerate(items, 1)]
    try:
        text = (header + b"".join(items)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: is not UTF-8, so its columns cannot be read; save it as UTF-8"
        ) from None
    names, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=_mark(path))
    if name not in names:
        raise DataError(f"{path}: no column {name!r}; there are: {', '.join(names)}")
    place = names.index(name)
    for number, row in enumerate(rows, 2):
        if len(row) <= place:
            raise DataError(f"{path}: row {number} has no value of {name!r}")
    return [row[place] for row in rows]


def _field(path: Path, number: int, item: bytes, name: str) -> str:
    try:
        value = json.loads(item)[name]
    except (ValueError, TypeError):
        raise DataError(f"{path}: item {number} is not a JSON object") from None
    except KeyError:
        raise DataError(f"{path}: item {number} has no field {name!r}") from None
    return str(value)


def _listed(path: Path, options: Options) -> _File:
    """The files of a folder, or those that a text names. By its name and size a file is known:
    reading all of them would take long."""
    if options.group is not None:
        raise DataError(f"{path}: files have no column {options.group!r}")
    found = list(_inside(path)) if path.is_dir() else list(_named(path))
    if not found:
        raise DataError(f"{path}: holds no files")
    listing = []
    for file in found:
        try:
            listing.append(f"{file.relative_to(path.parent)} {file.stat().st_size}")
        except ValueError:  # elsewhere
            listing.append(f"{file} {file.stat().st_size}")
        except OSError as error:
            raise DataError(f"{file}: {error.strerror} (named in {path})") from None
    folders = [file.relative_to(path).parts[0] for file in found] if path.is_dir() else []
    classes = len(set(folders)) > 1 and all(file.parent != path for file in found)
    digest = hashlib.sha256("\n".join(listing).encode()).hexdigest()
    items = [f"{file}\n".encode() for file in found]
    return _File(b"", items, folders if classes else None, None, digest)


def _inside(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.resolve().rglob("*")):
        if file.is_file() and is_data(file, folder.resolve()):
            yield file


def _named(path: Path) -> Iterator[Path]:
    for line in content(path).decode(errors="surrogateescape").splitlines():
        if line.strip():
            yield (path.parent / line.strip()).resolve()
