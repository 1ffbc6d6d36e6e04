"""The log beside the database, and what can be read of a study whose database is damaged.

Every plan and every result goes into ``acknowledged.log`` too, after it was committed. SQLite
takes a database whose journal was cut for one that never had more; the log knows better.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steep.database import COLUMNS, DATABASE, Database, connect, create, damaged, whole
from steep.folder import StoreError, write_failed
from steep.records import Measurement, Status, Trial, decode, encode

LOG = "acknowledged.log"

# ---------------------------------------------------------------- the log


@dataclass
class Logged:
    """What ``acknowledged.log`` says: the trials planned, and each one's results, oldest first."""

    planned: dict[str, Trial] = field(default_factory=dict)
    results: dict[str, list[str | None]] = field(default_factory=dict)
    """None where a failure was forgiven."""
    torn: int = 0
    """Lines that fail their checksum: the last one, when its writer was killed."""

    def missing_from(self, rows: Mapping[str, str | None]) -> list[str]:
        """Trials that the log knows better than the database: planned there and unknown here, or
        measured there and here not yet. A database ahead of the log is no damage."""
        lost = [key for key in self.planned if key not in rows]
        for key, results in self.results.items():
            held = rows.get(key)
            last = results[-1]
            if last is not None and held != last and (held is None or held in results):
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


def check(db: Database, logged: Logged) -> None:
    """Raise StoreError when the database is damaged or has lost what the log holds. ``logged``
    was read before: whatever is in it must be in the database by now."""
    db.check()
    lost = logged.missing_from({row["id"]: row["measurement"] for row in db.trials()})
    if lost:
        raise StoreError(damaged(db.folder, f"it has lost {len(lost)} trials"))


def make_good(db: Database, logged: Logged) -> None:
    """Log what the log lacks, because a driver died between the two writes."""
    rows = db.trials()
    held = {row["id"]: row["measurement"] for row in rows}
    unlogged = logged.unlogged(held, {row["id"]: row["record"] for row in rows})
    if unlogged:
        append_log(db.folder, unlogged)


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
        last = results[-1] if results else None
        found[key] = Salvaged(trial, decode(Measurement, last) if last else None)
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
    db = Database(folder, read_only=False)
    with closing(db), db.transaction():
        for row in rows:
            ended = row.measurement
            db.add(
                {
                    "id": row.trial.id,
                    "record": encode(row.trial),
                    "why": "salvaged",
                    "status": ended.status if ended else Status.PLANNED,
                    "attempts": 0,
                    "reason": ended.reason if ended else None,
                    "measurement": encode(ended) if ended else None,
                    "finished": None,
                }
            )
    return len(rows), sum(1 for row in rows if row.measurement is not None)
