"""The log beside the database, and recovery of a study whose database is damaged.

Every plan, result and decision is also written to ``acknowledged.log``, after it was committed.
SQLite cannot detect that a journal was truncated; the log shows which results are missing then.
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
"""Statuses that are final."""
RECOVERED = "salvaged"
"""The reason of planning that a trial gets if only the log still has it."""
_MOST_SKIPPED = 10_000
"""How many row numbers are tried, one by one, after a page that cannot be read."""

# ---------------------------------------------------------------- the log


@dataclass
class Logged:
    """The content of ``acknowledged.log``: the planned trials, the results of each, oldest first,
    and the decisions."""

    planned: dict[str, Trial] = field(default_factory=dict)
    results: dict[str, list[str | None]] = field(default_factory=dict)
    """By trial id; None marks a failure that was forgiven."""
    decisions: list[Decision] = field(default_factory=list)
    torn: int = 0
    """How many lines fail their checksum, such as the last one if its writer was killed."""

    def missing_from(self, rows: Mapping[str, str | None]) -> list[str]:
        """Trials that the database lacks, or whose newest logged result it lacks. A database that
        is ahead of the log is not damaged."""
        lost = [key for key in self.planned if key not in rows]
        for key, results in self.results.items():
            stored = rows.get(key)
            newest = results[-1]
            if newest is not None and stored != newest and (stored is None or stored in results):
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
        for key, stored in rows.items():
            if stored is not None and stored not in self.results.get(key, []):
                entries.append({"trial": key, "measurement": stored})
        return entries


def check_log(db: Database, logged: Logged) -> None:
    """Raise StoreError if the database is damaged or lacks an entry of the log. ``logged`` was
    read before the database was opened, so all of it must be in there."""
    db.check()
    lost = logged.missing_from({row["id"]: row["measurement"] for row in db.trials()})
    if lost:
        raise StoreError(damaged(db.folder, f"it has lost {len(lost)} trials"))
    stored = db.decisions()
    if lost_kinds := [one.kind for one in logged.decisions if one not in stored]:
        kinds = ", ".join(sorted(set(lost_kinds)))
        raise StoreError(damaged(db.folder, f"it has lost {len(lost_kinds)} decisions: {kinds}"))


def check_journal(folder: Path, commits: int, held: Mapping[str, str | None]) -> None:
    """Raise StoreError if the journal was truncated: the database file alone has more transactions
    than with its journal, or results that it lacks with the journal.

    ``commits`` and ``held`` (the measurements by trial) were read with the journal. Nobody else may
    have the study open."""
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
    """Append what the log lacks because a driver died between committing and logging."""
    rows = db.trials()
    stored = {row["id"]: row["measurement"] for row in rows}
    records = {row["id"]: row["record"] for row in rows}
    if unlogged := logged.unlogged(stored, records, db.decisions()):
        append_log(db.folder, unlogged)


def entry_of(decision: Decision) -> dict[str, Any]:
    """A decision as an entry of the log."""
    return {"decision": [decision.at, decision.kind, decision.payload]}


def append_log(folder: Path, entries: Sequence[Any]) -> None:
    """Append entries, durably: in one write to a file opened for appending, so that the lines of
    several drivers do not mix. Raises StoreError; the database already has the entries then."""
    lines = b"\n" + _lines(entries)  # the newline ends a line that a killed writer left incomplete
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
    """Each entry as a line of JSON after its checksum."""
    lines = b""
    for entry in entries:
        text = json.dumps(entry, separators=(",", ":"))
        lines += f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n".encode()
    return lines


def read_log(folder: Path) -> Logged:
    """The log's readable lines; those that fail their checksum are only counted."""
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


# ---------------------------------------------------------------- recovery


@dataclass(frozen=True)
class Recovered:
    """A trial read from a damaged study; ``measurement`` is None when it must be run again."""

    trial: Trial
    measurement: Measurement | None
    why: str = RECOVERED
    attempts: int = 0
    finished: float | None = None


def readable_results(folder: Path) -> list[Recovered]:
    """Every trial that can still be read from the log or the database, in the order of planning."""
    logged = read_log(folder)
    recovered: dict[str, Recovered] = {}
    for key, trial in logged.planned.items():
        results = logged.results.get(key)
        newest = results[-1] if results else None
        recovered[key] = Recovered(trial, decode(Measurement, newest) if newest else None)
    for values in _readable(folder, "trials"):
        trial = decode(Trial, values["record"])
        entry = recovered.get(trial.id, Recovered(trial, None))
        measurement, text = entry.measurement, values["measurement"]
        if text and text not in logged.results.get(trial.id, []):  # missing in the log
            measurement = max(decode(Measurement, text), measurement, key=_how_far)
        if entry.finished is None or values["attempts"] >= entry.attempts:
            row = values["why"], values["attempts"], values["finished"]
            entry = Recovered(trial, measurement, *row)
        recovered[trial.id] = replace(entry, measurement=measurement)
    return list(recovered.values())


def _how_far(measurement: Measurement | None) -> tuple[bool, bool, int]:
    """Sort key of a trial's measurements by when they were made."""
    if measurement is None:
        return False, False, 0
    return True, measurement.status != Status.STOPPED, measurement.steps


def readable_decisions(folder: Path) -> list[Decision]:
    """Every decision that can still be read from the log or the database, in the order in which
    they were made. Their times do not show it, since the clock may have been set back.

    A forecast without a checksum, of an older version, may have been altered, so it counts as
    made after the shard was trained."""
    decisions: list[Decision] = []
    for row in _readable(folder, "decisions"):
        payload = json.loads(row["payload"])
        if row.get("digest") is None and row["kind"] == "forecast":
            payload |= {"afterwards": True}
        decision = Decision(row["at"], row["kind"], payload)
        if decision not in decisions:
            decisions.append(decision)
    after = 0
    for decision in read_log(folder).decisions:
        if decision in decisions:
            after = decisions.index(decision) + 1
        else:
            decisions.insert(after, decision)
            after += 1
    return decisions


def _readable(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table that can be read and pass their digests; some in two versions.

    The database is read with its journal and without it: what remains of a truncated journal may
    be older than the database file, and hide its rows or make it unreadable."""
    try:
        with closing(connect(folder, read_only=True)) as db:
            yield from _rows(db, table, folder)
    except (sqlite3.Error, StoreError, UnicodeDecodeError):
        pass
    yield from _without_journal(folder, table)


def _without_journal(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """The readable rows of a copy of the database file without its journal."""
    try:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / DATABASE).write_bytes(read_file(folder / DATABASE))
            with closing(connect(Path(place), read_only=True)) as db:
                yield from _rows(db, table, folder)
    except (sqlite3.Error, StoreError, UnicodeDecodeError, OSError):
        pass


def _rows(db: sqlite3.Connection, table: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The intact rows of a table, read one by one so that a damaged one does not hide the rest."""
    query = f"SELECT rowid AS place, * FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1"
    place, failed = 1, 0
    while failed < _MOST_SKIPPED:
        values = None
        try:
            row = db.execute(query, (place,)).fetchone()
            if row is None:
                return
            if row["place"] < place:  # a page out of order: without this the loop might not end
                raise sqlite3.DatabaseError("out of order")
            place, failed = row["place"] + 1, 0
            values = _verified(row, table, folder)
        except (sqlite3.Error, UnicodeDecodeError):
            place, failed = place + 1, failed + 1
        except (StoreError, LookupError):  # a wrong digest; a damaged column name
            pass
        if values is not None:
            yield values


def _verified(row: sqlite3.Row, table: str, folder: Path) -> dict[str, Any] | None:
    """A row that passes its digest. Otherwise returns None or raises StoreError."""
    if table == "trials":
        return whole(row, folder)
    if table == "decisions":
        return whole_decision(row, folder)
    return whole_row(row, table)


def restore(folder: Path, damage: Callable[[], str | None]) -> tuple[int, int]:
    """Rebuild a damaged study from what can still be read; no driver may hold the folder.

    ``damage`` returns what is wrong with the database, or None; it is called after the frozen spec
    was restored. The damaged files are copied into a folder of their own before anything is
    replaced. Returns (number of trials, number of those with a measurement)."""
    rows, decisions = readable_results(folder), readable_decisions(folder)
    # Of several versions of a row the first is used: ended attempts come before running ones.
    histories = {
        table: sorted(_readable(folder, table), key=lambda row: row.get("state") == "running")
        for table in _HISTORIES
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
    problem = damage()
    if problem is None:
        return len(rows), sum(1 for row in rows if row.measurement is not None)
    if problem.endswith(OTHER_VERSION):
        raise StoreError(problem)
    damaged_files = [*folder.glob(f"{DATABASE}*"), folder / LOG]
    _put_aside(aside, damaged_files)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".recovered-") as place:
        _build(Path(place), rows, decisions, histories)
        # The log is replaced last: until then, the old one still has all that can be recovered.
        for journal in folder.glob(f"{DATABASE}-*"):
            journal.unlink()
        os.replace(Path(place) / DATABASE, folder / DATABASE)
        os.replace(Path(place) / LOG, folder / LOG)
    return len(rows), sum(1 for row in rows if row.measurement is not None)


def _put_aside(aside: Path, paths: Sequence[Path]) -> None:
    """Copy files before they are replaced. Raises StoreError if that fails."""
    try:
        aside.mkdir(exist_ok=True)
        for path in paths:
            if path.is_file():
                shutil.copy2(path, aside / path.name)
    except OSError as error:
        raise StoreError(write_failed(aside, error)) from error


_HISTORIES = ("attempts", "progress", "notes")
"""The tables that record what happened before the results."""


def _build(
    place: Path,
    rows: Sequence[Recovered],
    decisions: Sequence[Decision],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Write a new database and its log into ``place``."""
    attempts_of: dict[str, int] = {}
    for row in histories["attempts"]:
        attempts_of[row["trial"]] = max(row["number"], attempts_of.get(row["trial"], 0))
    create(place)
    db = Database(place, read_only=False)
    with closing(db):
        with db.transaction():
            for one in rows:
                measurement = one.measurement
                db.add(
                    {
                        "id": one.trial.id,
                        "record": encode(one.trial),
                        "why": one.why,
                        "status": measurement.status if measurement else Status.PLANNED,
                        "attempts": max(one.attempts, attempts_of.get(one.trial.id, 0)),
                        "reason": measurement.reason if measurement else None,
                        "measurement": encode(measurement) if measurement else None,
                        "finished": one.finished,
                    }
                )
            for decision in decisions:
                db.decide(decision)
            for table, entries in histories.items():
                names = DIGESTED[table]
                marks = ",".join("?" * len(names.split(", ")))
                insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"
                for row in entries:
                    db.execute(insert, *(row[name] for name in names.split(", ")))
            db.execute(
                "UPDATE attempts SET state='reclaimed', reason='the study was recovered'"
                " WHERE state='running'"
            )
        replay_log(db, Logged())
        db.settle()
