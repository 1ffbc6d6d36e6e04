"""Under the store: the schema, opening the file, and noticing that it is damaged.

Three things notice damage: SQLite's own check (structure), a digest over every row of ``trials``
(a flipped bit inside a value), and ``acknowledged.log`` (a lost tail: SQLite takes a cut journal
for one that never had more). ``salvage`` reads whatever can still be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steep import lease
from steep.folder import StoreError, write_failed
from steep.records import Measurement, Status, Trial, decode, encode

DATABASE = "trials.sqlite"
LOG = "acknowledged.log"
VERSION = "1"
_PATIENCE = 120.0  # seconds to wait for another driver's transaction

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL, why TEXT NOT NULL,
    status TEXT NOT NULL, attempts INTEGER NOT NULL, reason TEXT, measurement TEXT,
    finished REAL, digest TEXT NOT NULL);
CREATE TABLE attempts (
    trial TEXT NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL,
    worker INTEGER, worker_start TEXT, began REAL NOT NULL, expires REAL NOT NULL,
    up_to_steps INTEGER, reason TEXT, detail TEXT, PRIMARY KEY (trial, number));
CREATE INDEX running ON attempts (state) WHERE state = 'running';
CREATE TABLE progress (
    trial TEXT NOT NULL, step INTEGER NOT NULL, attempt INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (trial, step));
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL);
CREATE TABLE notes (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, trial TEXT NOT NULL, attempt INTEGER NOT NULL,
    text TEXT NOT NULL);
"""
COLUMNS = "id, record, why, status, attempts, reason, measurement, finished"
"""Of ``trials``: what a row's digest covers."""


# ---------------------------------------------------------------- opening


@contextmanager
def creating(folder: Path) -> Iterator[None]:
    """Only one process at a time creates a study in ``folder``; the lock dies with its holder."""
    try:
        import fcntl
    except ImportError:  # Windows: two drivers at the very first start are not told apart
        yield
        return
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create(folder: Path) -> None:
    """Make an empty database, over the remains of a creation that was killed half-way."""
    for left in folder.glob(f"{DATABASE}*"):
        left.unlink()
    try:
        with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            db.execute("INSERT INTO meta VALUES ('version', ?)", (VERSION,))
    except (sqlite3.Error, OSError) as error:
        raise StoreError(write_failed(folder / DATABASE, error)) from error


def connect(folder: Path, read_only: bool) -> sqlite3.Connection:
    """Open the database. A read-only folder is read as it lies, without a lock."""
    path = folder / DATABASE
    mode = "rw"
    if read_only:
        still = not os.access(folder, os.W_OK) and not Path(f"{path}-wal").exists()
        mode = "ro&immutable=1" if still else "ro"
    try:
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=_PATIENCE,
        )
    except sqlite3.Error as error:
        raise StoreError(explain(folder, error)) from error
    db.row_factory = sqlite3.Row
    try:
        if not read_only:
            db.execute("PRAGMA synchronous=FULL")
        db.execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.Error as error:
        db.close()
        raise StoreError(explain(folder, error)) from error
    return db


def refuse_network(folder: Path) -> None:
    """SQLite's locks are not to be trusted over a network. Raises StoreError."""
    kind = lease.network_file_system(folder)
    if kind:
        raise StoreError(
            f"{folder} lies on a network file system ({kind}), where a study cannot be run safely: "
            "choose a folder on a local disk"
        )


def explain(folder: Path, error: sqlite3.Error) -> str:
    """An SQLite error as a sentence that says what to do."""
    text = str(error)
    if "disk is full" in text:
        return write_failed(folder, error)
    if "locked" in text or "busy" in text:
        return f"{folder} has been busy for {_PATIENCE:.0f} seconds: is another driver stopped?"
    if "readonly" in text or "unable to open" in text:
        return f"cannot write to the study in {folder}: {text}"
    if "disk I/O error" in text:
        return f"the disk that holds {folder} reports an error (is it full?): {text}"
    return damaged(folder, text)


def damaged(folder: Path, what: str) -> str:
    return (
        f"the database of {folder} is damaged ({what}); nothing was changed. "
        "Restore it from a copy, or rebuild it from what can still be read with `Store.restore`"
    )


# ---------------------------------------------------------------- digests


def digest(values: Mapping[str, Any]) -> str:
    """Over every column of a row of ``trials`` but the digest itself."""
    text = json.dumps([values[name] for name in COLUMNS.split(", ")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def whole(row: sqlite3.Row, folder: Path) -> dict[str, Any]:
    """A row of ``trials`` that passes its digest. Raises StoreError for one that does not."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 (a Row iterates its values)
    if digest(values) != values["digest"]:
        raise StoreError(damaged(folder, f"the row of trial {values['id']} fails its checksum"))
    return values


# ---------------------------------------------------------------- the log


@dataclass
class Logged:
    """What ``acknowledged.log`` says: the trials planned, and each one's results, oldest first."""

    planned: dict[str, Trial] = field(default_factory=dict)
    results: dict[str, list[str]] = field(default_factory=dict)
    torn: int = 0
    """Lines that fail their checksum: the last one, when its writer was killed."""

    def missing_from(self, rows: Mapping[str, str | None]) -> list[str]:
        """Trials that the log knows better than the database: planned there and unknown here, or
        measured there and here not yet. A database ahead of the log is no damage."""
        lost = [key for key in self.planned if key not in rows]
        for key, results in self.results.items():
            held = rows.get(key)
            if held is None or (held in results[:-1] and held != results[-1]):
                lost.append(key)
        return sorted(set(lost))

    def unlogged(self, rows: Mapping[str, str | None], records: Mapping[str, str]) -> list[Any]:
        """Entries that the log lacks, because the driver died between the two writes."""
        entries: list[Any] = []
        new = [json.loads(records[key]) for key in rows if key not in self.planned]
        if new:
            entries.append({"planned": new})
        for key, held in rows.items():
            if held is not None and held not in self.results.get(key, []):
                entries.append({"trial": key, "measurement": held})
        return entries


def append_log(folder: Path, entries: Sequence[Any]) -> None:
    """Add entries, durably: one write to a file opened for appending, so drivers do not mix.
    Raises StoreError; the database already has what could not be logged."""
    lines = b"\n"  # ends a line that a killed writer left torn
    for entry in entries:
        text = json.dumps(entry, separators=(",", ":"))
        lines += f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n".encode()
    path = folder / LOG
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            while lines:
                lines = lines[os.write(handle, lines) :]
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(write_failed(path, error)) from error


def read_log(folder: Path) -> Logged:
    """The log as far as it can be read; lines that fail their checksum are counted, not used."""
    logged = Logged()
    try:
        data = (folder / LOG).read_bytes()
    except FileNotFoundError:
        return logged
    for line in data.split(b"\n"):
        if not line:
            continue
        mark, _, text = line.partition(b" ")
        if hashlib.sha256(text).hexdigest()[:16].encode() != mark:
            logged.torn += 1
            continue
        entry = json.loads(text)
        for record in entry.get("planned", ()):
            trial = decode(Trial, json.dumps(record))
            logged.planned[trial.id] = trial
        if "trial" in entry:
            logged.results.setdefault(entry["trial"], []).append(entry["measurement"])
    return logged


# ---------------------------------------------------------------- salvage


@dataclass(frozen=True)
class Salvaged:
    """A trial read from a damaged study; ``measurement`` is None when it must be run again."""

    trial: Trial
    measurement: Measurement | None


def salvage(folder: Path) -> list[Salvaged]:
    """Every trial that the database or the log still hold whole, in the order of planning."""
    logged = read_log(folder)
    found: dict[str, Salvaged] = {}
    for key, trial in logged.planned.items():
        results = logged.results.get(key)
        found[key] = Salvaged(trial, decode(Measurement, results[-1]) if results else None)
    for values in _readable(folder):
        trial = decode(Trial, values["record"])
        measured = values["measurement"]
        known = found.get(trial.id)
        if known is None or (known.measurement is None and measured):
            ended = decode(Measurement, measured) if measured else None
            found[trial.id] = Salvaged(trial, ended)
    return list(found.values())


def _readable(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of ``trials`` that can be read and pass their digests, one by one."""
    try:
        with closing(connect(folder, read_only=True)) as db:
            last = db.execute("SELECT max(number) FROM trials").fetchone()[0] or 0
            for number in range(1, last + 1):
                try:
                    query = f"SELECT {COLUMNS}, digest FROM trials WHERE number=?"
                    row = db.execute(query, (number,)).fetchone()
                    if row is not None:
                        yield whole(row, folder)
                except (sqlite3.Error, StoreError, UnicodeDecodeError):
                    continue
    except (sqlite3.Error, StoreError):
        return


def restore(folder: Path) -> tuple[int, int]:
    """Put the damaged database aside and build a new one from what ``salvage`` reads.

    Returns (trials, those with a measurement). The damaged files stay, renamed."""
    rows = salvage(folder)
    number = 1 + sum(1 for _ in folder.glob("damaged-*"))
    aside = folder / f"damaged-{number}"
    aside.mkdir()
    for path in [*folder.glob(f"{DATABASE}*"), folder / LOG]:
        if path.exists():
            os.replace(path, aside / path.name)
    create(folder)
    with closing(connect(folder, read_only=False)) as db:
        db.execute("BEGIN IMMEDIATE")
        for row in rows:
            ended = row.measurement
            values = {
                "id": row.trial.id,
                "record": encode(row.trial),
                "why": "salvaged",
                "status": ended.status if ended else Status.PLANNED,
                "attempts": 0,
                "reason": ended.reason if ended else None,
                "measurement": encode(ended) if ended else None,
                "finished": None,
            }
            db.execute(
                f"INSERT INTO trials ({COLUMNS}, digest) VALUES (?,?,?,?,?,?,?,?,?)",
                (*values.values(), digest(values)),
            )
        db.execute("COMMIT")
    return len(rows), sum(1 for row in rows if row.measurement is not None)
