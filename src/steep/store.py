"""The trial store: what is planned, who runs it, what it measured. One SQLite file per study.

The only truth about a study, and with ``folder.py`` the only writer of its folder. A trial moves

    PLANNED -> RUNNING (claimed: one numbered attempt) -> COMPLETE | CAPPED | DIVERGED | ...

An attempt holds a lease; events of an attempt that is no longer the current one are refused
(fencing), so no trial completes twice. What ``record`` has returned True for is on the disk
(WAL, synchronous=FULL) and a second time in an append-only log, which is how a database that lost
its tail is told from one that never had it. Only drivers open the store, never workers.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from steep import database, lease
from steep import folder as files
from steep import salvage as salvaging
from steep.database import Database, Decision, Row
from steep.executors.contract import Event, Kind
from steep.folder import StoreError, StudyExists, compose_study_yaml, read_frozen, read_spec
from steep.records import Evaluation, Measurement, Status, Trial, decode, encode

__all__ = [
    "Row",
    "Store",
    "StoreError",
    "StudyExists",
    "compose_study_yaml",
    "read_frozen",
    "read_spec",
]

_FOR_GOOD = (Status.COMPLETE, Status.CAPPED, Status.DIVERGED)
"""Ends after which a trial needs no checkpoint."""


_FAILURES = (Status.FAILED, Status.TIMEOUT)


class Store:
    """An open study folder. Use ``Store.create`` or ``Store.open``, as a context manager."""

    def __init__(self, folder: Path, read_only: bool) -> None:
        self.folder = folder
        self.lease = 90.0
        """Seconds without a sign of life after which an attempt may be taken over."""
        self.owner = lease.this_process(session=secrets.token_hex(8))
        """Who claims through this store."""
        self._db = Database(folder, read_only)
        self._items: dict[tuple[str, int], Mapping[str, np.ndarray]] = {}
        lease.SESSIONS.add(self.owner.session)

    # ------------------------------------------------------------ opening

    @classmethod
    def create(cls, folder: Path | str, study_yaml: str) -> Store:
        """A new study in ``folder``. Raises StudyExists when it holds one already."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(files.write_failed(folder, error)) from None
        database.refuse_network(folder)
        with files.alone_in(folder):
            if (folder / files.SPEC).exists():
                raise StudyExists(f"{folder} already holds a study")
            database.create(folder)
            files.write_atomic(folder / files.SPEC, study_yaml.encode())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path | str, read_only: bool = False, take_over: bool = False) -> Store:
        """The study in ``folder``. Raises StoreError, in one sentence, when there is none, it is
        damaged, on a network file system, or in use by another machine.

        ``take_over`` gives up the trials of another machine, for when that machine is gone."""
        folder = Path(folder)
        if not (folder / files.SPEC).exists():
            raise StoreError(f"{folder} holds no study: it has no {files.SPEC}")
        if not (folder / database.DATABASE).exists():
            raise StoreError(database.damaged(folder, f"{database.DATABASE} is gone"))
        if not read_only:
            database.refuse_network(folder)
        logged = salvaging.read_log(folder)  # first: what it holds must be in the database by now
        store = cls(folder, read_only)
        try:
            salvaging.check(store._db, logged)
            if not read_only:
                salvaging.make_good(store._db, logged)
                store._refuse_other_machine(take_over)
                for row in store._db.trials():
                    if row["status"] in _FOR_GOOD:
                        files.remove_checkpoints(folder, row["id"])
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        lease.SESSIONS.discard(self.owner.session)
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @staticmethod
    def salvage(folder: Path | str) -> list[salvaging.Salvaged]:
        """What can still be read of a damaged study; changes nothing."""
        return salvaging.salvage(Path(folder))

    @staticmethod
    def restore(folder: Path | str) -> tuple[int, int]:
        """Rebuild a damaged study from what ``salvage`` reads, the damaged files put aside.

        Returns (trials, those among them with a measurement)."""
        return salvaging.restore(Path(folder))

    # ------------------------------------------------------------ planning and claiming

    def add(self, trials: Sequence[Trial], why: str = "") -> int:
        """Plan trials; those already known stay as they are. Returns how many are new."""
        new = []
        with self.batch():
            for trial in trials:
                if self._db.trial(trial.id) is None:
                    row = dict.fromkeys(database.COLUMNS.split(", "))
                    row |= {"id": trial.id, "record": encode(trial), "why": why}
                    self._db.add(row | {"status": Status.PLANNED, "attempts": 0})
                    new.append(asdict(trial))
            if new:
                self._log({"planned": new})
        return len(new)

    def claim(self, trial: Trial, owner: lease.Owner, up_to_steps: int | None = None) -> int | None:
        """Take a trial to run it: the number of the new attempt, or None when it is taken or done.

        A STOPPED trial can be claimed again to go on for more steps."""
        with self.batch():
            row = self._db.trial(trial.id)
            if row is None or not _claimable(row, up_to_steps):
                return None
            attempt = int(row["attempts"]) + 1
            now = lease.now()
            self._db.execute(
                "INSERT INTO attempts (trial, number, state, owner, began, expires, up_to_steps)"
                " VALUES (?,?,'running',?,?,?,?)",
                *(trial.id, attempt, json.dumps(asdict(owner)), now, now + self.lease, up_to_steps),
            )
            self._db.change(trial.id, status=Status.RUNNING, attempts=attempt)
        return attempt

    def beat(self, trial: str, attempt: int) -> bool:
        """Renew a lease. False when the attempt has been taken over or is over."""
        with self.batch():
            renewed = self._db.execute(
                "UPDATE attempts SET expires=? WHERE trial=? AND number=? AND state='running'",
                *(lease.now() + self.lease, trial, attempt),
            )
        return renewed == 1

    def reclaim(self) -> list[lease.Reclaimed]:
        """Take back what dead owners hold, and what live ones have let expire; kill the workers.

        Attempts of this store's own are left alone: a driver watches its workers itself."""
        mine = self.owner
        gone: list[lease.Reclaimed] = []
        if not self._db.query("SELECT 1 FROM attempts WHERE state='running' LIMIT 1"):
            return gone
        with self.batch():
            for row in self._db.query("SELECT * FROM attempts WHERE state='running'"):
                owner = lease.Owner(**json.loads(row["owner"]))
                reason = (
                    None
                    if owner == mine
                    else lease.forfeited(owner, row["worker"], row["expires"], mine)
                )
                if reason is None:
                    continue
                if owner.boot == mine.boot and owner.space == mine.space and row["worker"]:
                    lease.kill(row["worker"], row["worker_start"] or "")
                self._end_attempt(row["trial"], row["number"], "reclaimed", reason)
                self._db.change(row["trial"], status=self._idle(row["trial"]))
                gone.append(lease.Reclaimed(row["trial"], row["number"], reason))
        return gone

    # ------------------------------------------------------------ recording

    def batch(self) -> AbstractContextManager[None]:
        """One transaction around several calls: all of them reach the disk, or none."""
        return self._db.transaction()

    def record(self, event: Event, final: Measurement | None = None) -> bool:
        """Record what an attempt sent. False, and nothing recorded, when it has been fenced out.

        ``final`` ends the trial with the event: a failure that will not be tried again. Raises
        ValueError for a result with NaN in it or of another trial, StoreError if it cannot write.
        """
        with self.batch():
            row = self._db.trial(event.trial)
            if row is None or row["status"] != Status.RUNNING or row["attempts"] != event.attempt:
                self._items.pop((event.trial, event.attempt), None)
                return False
            self._apply(event, final)
        return True

    def _apply(self, event: Event, final: Measurement | None) -> None:
        trial, attempt, payload = event.trial, event.attempt, event.payload
        match event.kind:
            case Kind.STARTED:
                self._db.execute(
                    "UPDATE attempts SET worker=?, worker_start=? WHERE trial=? AND number=?",
                    *(payload["pid"], lease.start_time(payload["pid"]), trial, attempt),
                )
            case Kind.PROGRESS:
                self._db.execute(
                    "INSERT OR REPLACE INTO progress VALUES (?,?,?,?)",
                    *(trial, payload.step, attempt, encode(payload)),
                )
            case Kind.NOTE:
                self.note(payload["text"], trial, attempt)
            case Kind.ITEMS:
                self._items[trial, attempt] = payload
            case Kind.RESULT:
                final = payload
                self._end_attempt(trial, attempt, "done", payload.reason)
            case Kind.DRAINED:
                self._end_attempt(trial, attempt, "drained", None)
                self._db.change(trial, status=self._idle(trial))
            case Kind.FAILURE | Kind.LOST:
                reason, detail = payload["reason"], payload.get("detail")
                state = "killed" if payload.get("killed") else "failed"
                self._end_attempt(trial, attempt, state, reason, detail)
                if final is None:
                    self._db.change(trial, status=self._idle(trial), reason=reason)
        if final is not None:
            self._finish(trial, attempt, final)
        self.beat(trial, attempt)

    def _finish(self, trial: str, attempt: int, measurement: Measurement) -> None:
        if measurement.trial.id != trial:
            raise ValueError(f"a result of trial {measurement.trial.id} came from trial {trial}")
        text = encode(measurement)
        items = self._items.pop((trial, attempt), None)
        if items is not None:
            files.write_items(self.folder, trial, items)
        self._db.change(
            trial,
            status=measurement.status,
            reason=measurement.reason,
            measurement=text,
            finished=time.time(),
        )
        self._log({"trial": trial, "measurement": text})
        if measurement.status in _FOR_GOOD:
            self._db.afterwards(lambda: files.remove_checkpoints(self.folder, trial))

    def forgive(self) -> int:
        """Plan the trials that FAILED or met their TIMEOUT once more, as if they had never been
        tried: for when their cause has been mended. Returns how many."""
        again = [row for row in self._db.trials() if row["status"] in _FAILURES]
        if not again:
            return 0
        # Logged first: a log that forgives what the database does not is no sign of damage.
        entries = [{"trial": row["id"], "measurement": None} for row in again]
        salvaging.append_log(self.folder, entries)
        with self.batch():
            for row in again:
                self._db.execute(
                    "UPDATE attempts SET state='forgiven' WHERE trial=? AND state='failed'",
                    row["id"],
                )
                self._db.change(row["id"], status=Status.PLANNED, measurement=None, finished=None)
        return len(again)

    def note(self, text: str, trial: str = "", attempt: int = 0) -> None:
        """Keep a remark for the log of the study."""
        with self.batch():
            self._db.execute(
                "INSERT INTO notes (at, trial, attempt, text) VALUES (?,?,?,?)",
                *(time.time(), trial, attempt, text),
            )

    def decide(self, kind: str, payload: dict[str, Any]) -> None:
        """Log a decision: what was decided, and on what."""
        with self.batch():
            self._db.execute(
                "INSERT INTO decisions (at, kind, payload) VALUES (?,?,?)",
                *(time.time(), kind, json.dumps(payload, allow_nan=False)),
            )

    def write(self, name: str, data: bytes) -> None:
        """Replace a file of the study folder, e.g. ``results/trials.csv``, atomically."""
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()) or path.name.startswith(
            database.DATABASE
        ):
            raise StoreError(f"{name} is not a place for a file of this study")
        files.write_atomic(self.folder / name, data)

    # ------------------------------------------------------------ reading

    def measurements(self) -> list[Measurement]:
        """The last measurement of every trial that has one, in the order they were planned.

        A STOPPED trial that is being continued is among them, as it was when it stopped."""
        held = [row["measurement"] for row in self._db.trials()]
        return [decode(Measurement, text) for text in held if text]

    def rows(self) -> list[Row]:
        """Every trial, in the order they were planned."""
        began = {
            row["trial"]: row["began"]
            for row in self._db.query("SELECT trial, began FROM attempts WHERE state='running'")
        }
        rows = []
        for row in self._db.trials():
            seconds = None
            if row["id"] in began:
                seconds = max(0.0, lease.now() - began[row["id"]])
            elif row["measurement"]:
                seconds = float(json.loads(row["measurement"])["seconds"])
            trial = decode(Trial, row["record"])
            rows.append(Row(trial, Status(row["status"]), row["attempts"], row["reason"], seconds))
        return rows

    def failures(self, trial: str) -> list[str]:
        """The reasons of a trial's failed attempts; drained and reclaimed ones do not count."""
        query = "SELECT reason FROM attempts WHERE trial=? AND state='failed' ORDER BY number"
        return [row["reason"] or "" for row in self._db.query(query, trial)]

    def attempts(self, trial: str) -> list[dict[str, Any]]:
        """Every attempt at a trial: number, state, reason, detail (a traceback), worker."""
        query = (
            "SELECT number, state, reason, detail, worker FROM attempts WHERE trial=? ORDER BY 1"
        )
        return [dict(row) for row in self._db.query(query, trial)]

    def notes(self) -> list[str]:
        return [row["text"] for row in self._db.query("SELECT text FROM notes ORDER BY number")]

    def decisions(self, kind: str | None = None) -> list[Decision]:
        """What was decided, oldest first."""
        rows = self._db.query("SELECT at, kind, payload FROM decisions ORDER BY number")
        return [
            Decision(row["at"], row["kind"], json.loads(row["payload"]))
            for row in rows
            if kind in (None, row["kind"])
        ]

    def progress(self, trial: str) -> list[Evaluation]:
        """The training curve of a trial so far."""
        query = "SELECT record FROM progress WHERE trial=? ORDER BY step"
        return [decode(Evaluation, row["record"]) for row in self._db.query(query, trial)]

    def items(self, trial: str) -> dict[str, np.ndarray] | None:
        """Per-item validation sums and counts of a trial's best step, or None."""
        return files.read_items(self.folder, trial)

    def stamp(self, trial: str) -> float | None:
        """When a trial ended (seconds of Unix time), or None."""
        rows = self._db.query("SELECT finished FROM trials WHERE id=?", trial)
        return rows[0]["finished"] if rows else None

    def changed(self) -> bool:
        """Whether another driver has written since the last call."""
        return self._db.changed()

    # ------------------------------------------------------------ inside

    def _log(self, entry: Mapping[str, Any]) -> None:
        self._db.afterwards(lambda: salvaging.append_log(self.folder, [entry]))

    def _end_attempt(
        self, trial: str, attempt: int, state: str, reason: str | None, detail: str | None = None
    ) -> None:
        self._db.execute(
            "UPDATE attempts SET state=?, reason=?, detail=? WHERE trial=? AND number=?",
            *(state, reason, detail, trial, attempt),
        )

    def _idle(self, trial: str) -> Status:
        """What a trial is when nobody runs it: STOPPED if a rung of it was measured."""
        row = self._db.trial(trial)
        assert row is not None
        return Status.STOPPED if row["measurement"] else Status.PLANNED

    def _refuse_other_machine(self, take_over: bool) -> None:
        me = self.owner
        for row in self._db.query("SELECT * FROM attempts WHERE state='running'"):
            owner = lease.Owner(**json.loads(row["owner"]))
            if owner.same_machine(me):
                continue
            if not take_over:
                raise StoreError(
                    f"{self.folder} is in use by process {owner.pid} on {owner.host}; a study is "
                    "run from one machine (if that machine is gone, take the study over)"
                )
            with self.batch():
                self._end_attempt(row["trial"], row["number"], "reclaimed", "taken over")
                self._db.change(row["trial"], status=self._idle(row["trial"]))


def _claimable(row: Mapping[str, Any], up_to_steps: int | None) -> bool:
    if row["status"] == Status.PLANNED:
        return True
    if row["status"] != Status.STOPPED:
        return False
    return up_to_steps is None or up_to_steps > json.loads(row["measurement"])["steps"]
