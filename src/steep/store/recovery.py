"""The log beside the database, and what can be read of a study whose database is damaged.

Every plan, result and decision goes into ``acknowledged.log`` too, after it was committed. SQLite
takes a database whose journal was cut for one that never had more; the log knows better.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steep.base.plainfile import read_file
from steep.records import Measurement, Status, Trial, decode, encode
from steep.store.database import (
    COMMITS,
    DATABASE,
    DIGESTED,
    OTHER_VERSION,
    Database,
    Decision,
    connect,
    create,
    damaged,
    whole,
    whole_decision,
    whole_row,
)
from steep.store.folder import SPEC, StoreError, refuse_links, write_atomic, write_failed

LOG = "acknowledged.log"
FOR_GOOD = (Status.COMPLETE, Status.CAPPED, Status.DIVERGED)
"""Ends that no trial leaves."""
RECOVERED = "salvaged"
"""Why a trial is in a study that knows it only from the log."""
_BEYOND_REACH = 10_000
"""Numbers of rows that are tried, one by one, past a page that cannot be read."""

# ---------------------------------------------------------------- the log


@dataclass
class Logged:
    """What ``acknowledged.log`` says: the trials planned, each one's results, oldest first, and
    what was decided."""

    planned: dict[str, Trial] = field(default_factory=dict)
    results: dict[str, list[str | None]] = field(default_factory=dict)
    """None where a failure was forgiven."""
    decisions: list[Decision] = field(default_factory=list)
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

    def unlogged(
        self,
        rows: Mapping[str, str | None],
        records: Mapping[str, str],
        decisions: Sequence[Decision],
    ) -> list[Any]:
        """Entries that the log lacks, because the driver died between the two writes."""
        entries: list[Any] = [entry_of(one) for one in decisions if one not in self.decisions]
        new = [json.loads(records[key]) for key in rows if key not in self.planned]
        if new:
            entries.append({"planned": new})
        for key, held in rows.items():
            if held is not None and held not in self.results.get(key, []):
                entries.append({"trial": key, "measurement": held})
        return entries


def check_log(db: Database, logged: Logged) -> None:
    """Raise StoreError when the database is damaged or has lost what the log holds. ``logged``
    was read before: whatever is in it must be in the database by now."""
    db.check()
    lost = logged.missing_from({row["id"]: row["measurement"] for row in db.trials()})
    if lost:
        raise StoreError(damaged(db.folder, f"it has lost {len(lost)} trials"))
    held = db.decisions()
    if gone := [one.kind for one in logged.decisions if one not in held]:
        kinds = ", ".join(sorted(set(gone)))
        raise StoreError(damaged(db.folder, f"it has lost {len(gone)} decisions: {kinds}"))


def check_journal(folder: Path, commits: int, held: Mapping[str, str | None]) -> None:
    """Raise StoreError where the database is newer without its journal than with it, by its number
    of transactions, or holds results that it lacks with it: the journal was cut. ``commits`` and
    ``held``, the measurements by trial, are those with it; call it while nobody else has the study
    open."""
    hidden = 0
    for row in _without_journal(folder, "trials"):
        if row["status"] in FOR_GOOD and held.get(row["id"]) is None:
            hidden += 1
    if hidden:
        raise StoreError(damaged(folder, f"its journal is older than {hidden} of its results"))
    for row in _without_journal(folder, "meta"):
        if row["key"] == COMMITS and int(row["value"]) > commits:
            raise StoreError(damaged(folder, "its journal is older than the database beside it"))


def replay_log(db: Database, logged: Logged) -> None:
    """Log what the log lacks, because a driver died between the two writes."""
    rows = db.trials()
    held = {row["id"]: row["measurement"] for row in rows}
    records = {row["id"]: row["record"] for row in rows}
    if unlogged := logged.unlogged(held, records, db.decisions()):
        append_log(db.folder, unlogged)


def entry_of(decision: Decision) -> dict[str, Any]:
    return {"decision": [decision.at, decision.kind, decision.payload]}


def append_log(folder: Path, entries: Sequence[Any]) -> None:
    """Add entries, durably: one write to a file opened for appending, so drivers do not mix.
    Raises StoreError; the database already has what could not be logged."""
    lines = b"\n" + _lines(entries)  # the first ends a line that a killed writer left torn
    path = folder / LOG
    refuse_links(folder, path)
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


def _lines(entries: Sequence[Any]) -> bytes:
    lines = b""
    for entry in entries:
        text = json.dumps(entry, separators=(",", ":"))
        lines += f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n".encode()
    return lines


def read_log(folder: Path) -> Logged:
    """The log as far as it can be read; lines that fail their checksum are counted, not used."""
    logged = Logged()
    try:
        data = read_file(folder / LOG)
    except FileNotFoundError:
        return logged
    except OSError as error:
        raise StoreError(f"{folder / LOG} cannot be read: {error.strerror}") from None
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
        if (
            "decision" in entry
            and (decided := Decision(*entry["decision"])) not in logged.decisions
        ):
            logged.decisions.append(decided)
    return logged


# ---------------------------------------------------------------- salvage


@dataclass(frozen=True)
class Recovered:
    """A trial read from a damaged study; ``measurement`` is None when it must be run again."""

    trial: Trial
    measurement: Measurement | None
    why: str = RECOVERED
    attempts: int = 0
    finished: float | None = None


def readable_results(folder: Path) -> list[Recovered]:
    """Every trial that the database or the log still hold whole, in the order of planning."""
    logged = read_log(folder)
    found: dict[str, Recovered] = {}
    for key, trial in logged.planned.items():
        results = logged.results.get(key)
        last = results[-1] if results else None
        found[key] = Recovered(trial, decode(Measurement, last) if last else None)
    for values in _readable(folder, "trials"):
        trial = decode(Trial, values["record"])
        known = found.get(trial.id, Recovered(trial, None))
        ended, text = known.measurement, values["measurement"]
        if text and text not in logged.results.get(trial.id, []):  # the log has lost it
            ended = max(decode(Measurement, text), ended, key=_how_far)
        if known.finished is None or values["attempts"] >= known.attempts:
            row = values["why"], values["attempts"], values["finished"]
            known = Recovered(trial, ended, *row)
        found[trial.id] = replace(known, measurement=ended)
    return list(found.values())


def _how_far(measurement: Measurement | None) -> tuple[bool, bool, int]:
    """Of two measurements of a trial, which came later."""
    if measurement is None:
        return False, False, 0
    return True, measurement.status != Status.STOPPED, measurement.steps


def readable_decisions(folder: Path) -> list[Decision]:
    """Every decision that the log or the database still hold whole, in the order they were made,
    which a clock that was set back does not tell. A forecast from a database that had no checksums
    yet cannot be told from one that was altered, and counts as made afterwards."""
    found: list[Decision] = []
    for row in _readable(folder, "decisions"):
        payload = json.loads(row["payload"])
        if row.get("digest") is None and row["kind"] == "forecast":
            payload |= {"afterwards": True}
        decision = Decision(row["at"], row["kind"], payload)
        if decision not in found:
            found.append(decision)
    after = 0
    for decision in read_log(folder).decisions:
        if decision in found:
            after = found.index(decision) + 1
        else:
            found.insert(after, decision)
            after += 1
    return found


def _readable(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table that can be read and pass their digests, one by one; some twice, as they
    were and as they became.

    With the journal and without it: of one that was cut, what is left may be older than the
    database beside it, and hides or breaks it."""
    try:
        with closing(connect(folder, read_only=True)) as db:
            yield from _rows(db, table, folder)
    except (sqlite3.Error, StoreError, UnicodeDecodeError):
        pass
    yield from _without_journal(folder, table)


def _without_journal(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    try:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / DATABASE).write_bytes(read_file(folder / DATABASE))
            with closing(connect(Path(place), read_only=True)) as db:
                yield from _rows(db, table, folder)
    except (sqlite3.Error, StoreError, UnicodeDecodeError, OSError):
        pass


def _rows(db: sqlite3.Connection, table: str, folder: Path) -> Iterator[dict[str, Any]]:
    query = f"SELECT rowid AS place, * FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1"
    place, failed = 1, 0
    while failed < _BEYOND_REACH:
        values = None
        try:
            row = db.execute(query, (place,)).fetchone()
            if row is None:
                return
            if row["place"] < place:  # a page that is out of order: never round and round
                raise sqlite3.DatabaseError("out of order")
            place, failed = row["place"] + 1, 0
            values = _verified(row, table, folder)
        except (sqlite3.Error, UnicodeDecodeError):
            place, failed = place + 1, failed + 1
        except (StoreError, LookupError):  # altered; a column has lost its name
            pass
        if values is not None:
            yield values


def _verified(row: sqlite3.Row, table: str, folder: Path) -> dict[str, Any] | None:
    """A row that passes its digest; else None, or StoreError."""
    if table == "trials":
        return whole(row, folder)
    if table == "decisions":
        return whole_decision(row, folder)
    return whole_row(row, table)


def restore(folder: Path, damage: Callable[[], str | None]) -> tuple[int, int]:
    """Put the damaged files aside and build new ones from what can still be read of them; call
    it while no driver holds the folder. ``damage`` says what is wrong with the database, None:
    nothing, once the spec is as it was frozen.

    Returns (trials, those with a measurement). The damaged files stay, copied into a folder of
    their own before anything is replaced."""
    rows, decisions = readable_results(folder), readable_decisions(folder)
    # The first of each counts, and of an attempt the end rather than that it ran.
    books = {
        table: sorted(_readable(folder, table), key=lambda row: row.get("state") == "running")
        for table in _BOOKS
    }
    number = 1 + sum(1 for _ in folder.glob("damaged-*"))
    aside = folder / f"damaged-{number}"
    frozen = [one.payload["text"] for one in decisions if one.kind == "spec"]
    spec = folder / SPEC
    if frozen and (not spec.exists() or spec.read_bytes() not in {t.encode() for t in frozen}):
        _put_aside(aside, [spec])
        write_atomic(folder, SPEC, frozen[-1].encode())
    if not spec.exists():
        raise StoreError(
            f"{folder} has no {SPEC}, and no copy of it can be read: put one there first"
        )
    wrong = damage()
    if wrong is None:
        return len(rows), sum(1 for row in rows if row.measurement is not None)
    if wrong.endswith(OTHER_VERSION):
        raise StoreError(wrong)
    held = [*folder.glob(f"{DATABASE}*"), folder / LOG]
    _put_aside(aside, held)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".recovered-") as place:
        _build(Path(place), rows, decisions, books)
        # The log last: until then the old one has all that can be had.
        for journal in folder.glob(f"{DATABASE}-*"):
            journal.unlink()
        os.replace(Path(place) / DATABASE, folder / DATABASE)
        os.replace(Path(place) / LOG, folder / LOG)
    return len(rows), sum(1 for row in rows if row.measurement is not None)


def _put_aside(aside: Path, paths: Sequence[Path]) -> None:
    """Copy files before they are replaced. Raises StoreError where that cannot be done."""
    try:
        aside.mkdir(exist_ok=True)
        for path in paths:
            if path.is_file():
                shutil.copy2(path, aside / path.name)
    except OSError as error:
        raise StoreError(write_failed(aside, error)) from error


_BOOKS = ("attempts", "progress", "notes")
"""What happened on the way to the results."""


def _build(
    place: Path,
    rows: Sequence[Recovered],
    decisions: Sequence[Decision],
    books: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """A database and its log in ``place``, on the disk."""
    tried: dict[str, int] = {}
    for row in books["attempts"]:
        tried[row["trial"]] = max(row["number"], tried.get(row["trial"], 0))
    create(place)
    db = Database(place, read_only=False)
    with closing(db):
        with db.transaction():
            for one in rows:
                ended = one.measurement
                db.add(
                    {
                        "id": one.trial.id,
                        "record": encode(one.trial),
                        "why": one.why,
                        "status": ended.status if ended else Status.PLANNED,
                        "attempts": max(one.attempts, tried.get(one.trial.id, 0)),
                        "reason": ended.reason if ended else None,
                        "measurement": encode(ended) if ended else None,
                        "finished": one.finished,
                    }
                )
            for decision in decisions:
                db.decide(decision)
            for table, kept in books.items():
                names = DIGESTED[table]
                marks = ",".join("?" * len(names.split(", ")))
                insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"
                for row in kept:
                    db.execute(insert, *(row[name] for name in names.split(", ")))
            db.execute(
                "UPDATE attempts SET state='reclaimed', reason='the study was recovered'"
                " WHERE state='running'"
            )
        replay_log(db, Logged())
        db.settle()
