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
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from steep.contracts.executor import Event, Kind
from steep.records import Evaluation, Measurement, Status, Trial, TrialStanding, decode, encode
from steep.records.measurements import Measurements
from steep.store import database, lease, recovery
from steep.store import folder as files
from steep.store.database import Database, Decision
from steep.store.folder import StoreError, StudyExists, compose_study_yaml, read_frozen, read_spec
from steep.store.recovery import FOR_GOOD, RECOVERED
from steep.store.trial_rows import Row, TrialRows

__all__ = [
    "Store",
    "StoreError",
    "StudyExists",
    "compose_study_yaml",
    "read_frozen",
    "read_spec",
]

_FAILURES = (Status.FAILED, Status.TIMEOUT)
_LAST = (Kind.RESULT, Kind.FAILURE, Kind.DRAINED, Kind.LOST)
"""What ends an attempt."""
_BEATS = 0.02
"""Share of a lease in which it need not be renewed again."""


class Store:
    """An open study folder. Use ``Store.create`` or ``Store.open``, as a context manager."""

    def __init__(self, folder: Path, read_only: bool, alone: bool = True) -> None:
        self.folder = folder
        self.lease = 90.0
        """Seconds without a sign of life after which an attempt may be taken over."""
        self.owner = lease.this_process(session=secrets.token_hex(8))
        """Who claims through this store."""
        self._db = Database(folder, read_only, alone)
        self._trials = TrialRows(self._db)
        self._read_only = read_only
        self._held = ExitStack()
        self._items: dict[tuple[str, int], Mapping[str, np.ndarray]] = {}
        self._beaten: dict[tuple[str, int], float] = {}
        """When this store last renewed the lease of an attempt that goes on."""
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
            if files.holds_results(folder):
                raise StoreError(files.no_spec(folder))
            files.refuse_links(folder, folder / database.DATABASE)
            database.create(folder)
            files.write_atomic(folder, files.SPEC, study_yaml.encode())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path | str, read_only: bool = False, take_over: bool = False) -> Store:
        """The study in ``folder``. Raises StoreError, in one sentence, when there is none, it is
        damaged, on a network file system, or in use by another machine.

        ``take_over`` gives up the trials of another machine, for when that machine is gone."""
        folder = Path(folder)
        if not (folder / files.SPEC).exists():
            raise StoreError(files.no_spec(folder))
        if not (folder / database.DATABASE).exists():
            raise StoreError(database.damaged(folder, f"{database.DATABASE} is gone"))
        with ExitStack() as held:
            alone = False
            if not read_only:
                database.refuse_network(folder)
                alone = not files.has_other_drivers(folder)
                held.enter_context(files.in_use(folder))
            if alone and database.has_journal(folder):
                # Whoever opens it for writing moves the journal into the database at the end: not
                # before it is known to be whole.
                cls._check(folder)
            logged = recovery.read_log(folder)  # first: what it holds must be in the database
            store = cls(folder, read_only, alone)
            held.callback(store._db.close)
            held.callback(lease.SESSIONS.discard, store.owner.session)
            recovery.check_log(store._db, logged)
            store._check_spec()
            if not read_only:
                recovery.replay_log(store._db, logged)
                store._leave_original(alone)
                store._refuse_other_machine(take_over)
                for row in store._db.trials():
                    if row["status"] in FOR_GOOD:
                        files.remove_checkpoints(folder, row["id"])
            store._held = held.pop_all()
        return store

    def close(self) -> None:
        self._held.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @staticmethod
    def readable_results(folder: Path | str) -> list[recovery.Recovered]:
        """What can still be read of a damaged study; changes nothing."""
        return recovery.readable_results(Path(folder))

    @staticmethod
    def damage(folder: Path | str) -> str | None:
        """What is wrong with a study, in one sentence; None: nothing."""
        try:
            Store._check(folder)
        except StoreError as error:
            return str(error)
        return None

    @staticmethod
    def _check(folder: Path | str) -> None:
        """Raise StoreError where a study that nobody runs is damaged; changes nothing."""
        with Store.open(folder, read_only=True) as seen:
            held = {row["id"]: row["measurement"] for row in seen._db.trials()}
            commits = int(seen._db.meta(database.COMMITS) or 0)
        if database.has_journal(Path(folder)):
            recovery.check_journal(Path(folder), commits, held)

    @staticmethod
    def restore(folder: Path | str) -> tuple[int, int]:
        """Rebuild a damaged study from what ``readable_results`` reads, the damaged files copied
        aside; a study that is whole stays as it is. Raises StoreError while a driver runs it.

        Returns (trials, those among them with a measurement)."""
        folder = Path(folder)
        if not files.holds_results(folder):
            raise StoreError(files.no_spec(folder))
        with files.in_use(folder, alone=True):
            return recovery.restore(folder, lambda: Store.damage(folder))

    def freeze(self, study_yaml: str) -> None:
        """Replace the study's frozen spec. A copy is kept first: it says later whether the file
        is still what was frozen, and brings it back when it is gone."""
        self.decide("spec", {"text": study_yaml})
        files.write_atomic(self.folder, files.SPEC, study_yaml.encode())

    # ------------------------------------------------------------ planning and claiming

    def add(self, trials: Sequence[Trial], why: str = "") -> int:
        """Plan trials; those already known stay as they are. Returns how many are new."""
        new = []
        with self.batch():
            known = self._trials.now()
            for trial in trials:
                if trial.id not in known and self._db.trial(trial.id) is None:
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
        self._beaten[trial, attempt] = lease.now()
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
        if not self._db.query("SELECT 1 FROM trials WHERE status='running' LIMIT 1"):
            return gone
        with self.batch():
            for row in self._running():
                owner = row["owner"]
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
            orphans = (
                "SELECT id, attempts FROM trials WHERE status='running' AND id NOT IN"
                " (SELECT trial FROM attempts WHERE state='running')"
            )
            for key, attempts in self._db.query(orphans):
                self._db.change(key, status=self._idle(key))
                gone.append(lease.Reclaimed(key, attempts, "nobody runs it"))
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
            query = "SELECT 1 FROM trials WHERE id=? AND status=? AND attempts=?"
            if not self._db.query(query, event.trial, Status.RUNNING.value, event.attempt):
                self._items.pop((event.trial, event.attempt), None)
                return False
            self._apply(event, final)
        if event.kind in _LAST:
            self._beaten.pop((event.trial, event.attempt), None)
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
                    "INSERT OR REPLACE INTO progress (trial, step, attempt, record)"
                    " VALUES (?,?,?,?)",
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
                if whole := payload.get("whole"):
                    self._db.afterwards(
                        partial(files.write_failure, self.folder, trial, attempt, whole)
                    )
                state = "killed" if payload.get("killed") else "failed"
                self._end_attempt(trial, attempt, state, reason, detail)
                if final is None:
                    why = f"interrupted: {reason}" if payload.get("killed") else reason
                    self._db.change(trial, status=self._idle(trial), reason=why)
        if final is not None:
            self._finish(trial, attempt, final)
        if lease.now() - self._beaten.get((trial, attempt), -math.inf) > _BEATS * self.lease:
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
        self._db.afterwards(self._db.settle)
        if measurement.status in FOR_GOOD:
            self._db.afterwards(lambda: files.remove_checkpoints(self.folder, trial))

    def forgive(self) -> int:
        """Plan the trials that FAILED or met their TIMEOUT once more, as if they had never been
        tried: for when their cause has been mended. Returns how many."""
        again = [row for row in self._db.trials() if row["status"] in _FAILURES]
        if not again:
            return 0
        # Logged first: a log that forgives what the database does not is no sign of damage.
        entries = [{"trial": row["id"], "measurement": None} for row in again]
        recovery.append_log(self.folder, entries)
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
        # As it will be read back: tuples are lists in JSON.
        plain = json.loads(json.dumps(payload, allow_nan=False))
        decision = Decision(time.time(), kind, plain)
        with self.batch():
            self._db.decide(decision)
            self._log(recovery.entry_of(decision))

    def write(self, name: str, data: bytes) -> None:
        """Replace a file of the study folder, e.g. ``results/trials.csv``, atomically."""
        path = (self.folder / name).resolve()
        files.refuse_links(self.folder, self.folder / name)
        if not path.is_relative_to(self.folder.resolve()) or path.name.startswith(
            database.DATABASE
        ):
            raise StoreError(f"{name} is not a place for a file of this study")
        files.write_atomic(self.folder, name, data)

    # ------------------------------------------------------------ reading

    def measurements(self) -> list[Measurement]:
        """The last measurement of every trial that has one, in the order they were planned.

        A STOPPED trial that is being continued is among them, as it was when it stopped."""
        return list(self._trials.measured())

    def measured(self) -> Measurements:
        """The same as the list that this store keeps, which grows with every measurement. Only to
        be read."""
        return self._trials.measured()

    def rows(self) -> list[TrialStanding]:
        """Every trial, in the order they were planned."""
        me = self.owner
        running = {row["trial"]: row for row in self._running()}
        rows = []
        for key, row in self._trials.now().items():
            seconds, status, reason = None, row.status, row.reason
            attempt = running.get(key)
            if attempt and lease.forfeited(attempt["owner"], attempt["worker"], math.inf, me):
                # Until somebody goes on with the study, nothing is written about the end.
                status = self._idle(key)
                reason = f"interrupted: its driver (process {attempt['owner'].pid}) is gone"
            elif attempt:
                seconds = max(0.0, lease.now() - attempt["began"])
            elif row.measurement:
                seconds = row.measurement.seconds
            rows.append(TrialStanding(row.trial, status, row.attempts, reason, seconds))
        return rows

    def running(self) -> list[Trial]:
        """The trials that run, in the order they were planned; not those whose driver is gone."""
        me = self.owner
        gone = {
            row["trial"]
            for row in self._running()
            if lease.forfeited(row["owner"], row["worker"], math.inf, me)
        }
        return [row.trial for row in self._trials.running() if row.trial.id not in gone]

    def trials(self) -> Mapping[str, Row]:
        """What the database holds of each trial, by id, in the order they were planned."""
        return self._trials.now()

    def failures(self, trial: str) -> list[str]:
        """The reasons of a trial's failed attempts; drained and reclaimed ones do not count."""
        query = "SELECT reason FROM attempts WHERE trial=? AND state='failed' ORDER BY number"
        return [row["reason"] or "" for row in self._db.query(query, trial)]

    def tried(self) -> list[Trial]:
        """Trials that an attempt was begun at, or that were recovered from a damaged study, which
        may have lost its attempts."""
        begun = {row["trial"] for row in self._db.query("SELECT DISTINCT trial FROM attempts")}
        return [
            row.trial
            for key, row in self._trials.now().items()
            if key in begun or row.attempts or row.measurement or row.why == RECOVERED
        ]

    def attempts(self, trial: str) -> list[dict[str, Any]]:
        """Every attempt at a trial: number, state, reason, detail (a traceback), worker."""
        query = (
            "SELECT number, state, reason, detail, worker FROM attempts WHERE trial=? ORDER BY 1"
        )
        return [dict(row) for row in self._db.query(query, trial)]

    def last_beat(self, since: float) -> float:
        """When an attempt begun ``since`` then last gave a sign of life (``lease.now``)."""
        query = "SELECT max(began, expires - ?) AS at FROM attempts WHERE began >= ?"
        return max((row["at"] for row in self._db.query(query, self.lease, since)), default=since)

    def notes(self) -> list[str]:
        return [row["text"] for row in self._db.query("SELECT text FROM notes ORDER BY number")]

    def decisions(self, kind: str | None = None) -> list[Decision]:
        """What was decided, oldest first."""
        return [one for one in self._db.decisions() if kind in (None, one.kind)]

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
        self._db.afterwards(lambda: recovery.append_log(self.folder, [entry]))

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

    def _check_spec(self) -> None:
        """Refuse a ``study.yaml`` that is none of those that were frozen. A study that was begun
        before copies were kept gets one now."""
        text = files.frozen_text(self.folder)
        kept = {one.payload["text"] for one in self.decisions("spec")}
        if not kept and not self._read_only:
            self.decide("spec", {"text": text})
        elif kept and text not in kept:
            raise StoreError(
                f"{self.folder / files.SPEC} is not what this study was begun with: it was edited "
                f"or is damaged; 'steep salvage {self.folder}' puts it back as it was"
            )

    def _leave_original(self, alone: bool) -> None:
        """Give up the attempts that a copied study brought along: they run in the study that it
        was copied from, whose workers are not to be touched. ``alone``: no other driver has this
        folder open; where one has, it is no fresh copy."""
        stat = (self.folder / database.DATABASE).stat()
        here = [stat.st_dev, stat.st_ino, self.owner.boot]
        known = json.loads(self._db.meta("home") or "null")
        if known == here:
            return
        same_boot = known is not None and known[2] == here[2]
        moved = known is not None and known[not same_boot : 2] != here[not same_boot : 2]
        if moved and not alone:
            return
        with self.batch():
            self._db.set_meta("home", json.dumps(here))
            for row in self._running() if moved else ():
                reason = "it runs in the study that this one is a copy of"
                self._end_attempt(row["trial"], row["number"], "reclaimed", reason)
                self._db.change(row["trial"], status=self._idle(row["trial"]))

    def _running(self) -> list[dict[str, Any]]:
        """Attempts that run somewhere, each with its ``owner`` read."""
        found = []
        for row in self._db.query("SELECT * FROM attempts WHERE state='running'"):
            try:
                owner = lease.Owner(**json.loads(row["owner"]))
            except (ValueError, TypeError):
                what = f"an attempt at trial {row['trial']} cannot be read"
                raise StoreError(database.damaged(self.folder, what)) from None
            found.append(dict(row) | {"owner": owner})
        return found

    def _refuse_other_machine(self, take_over: bool) -> None:
        me = self.owner
        for row in self._running():
            owner = row["owner"]
            if owner.same_machine(me):
                continue
            if not take_over:
                raise StoreError(
                    f"{self.folder} is in use by process {owner.pid} on {owner.host}; a study is "
                    "run from one machine. If that machine is gone, take the study over: steep run "
                    f"{self.folder} --take-over"
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
