"""The trial store: which trials are planned, who runs them, what they measured.

One SQLite file per study holds its whole state; this module and ``folder.py`` are the only ones
that write to the study's folder. A trial moves

    PLANNED -> RUNNING (claimed: one numbered attempt) -> COMPLETE | CAPPED | DIVERGED | ...

An attempt holds a lease. Events of an attempt that is no longer the current one are refused
(fencing), so no trial completes twice. Once ``record`` has returned True, the event is on the disk
(WAL, synchronous=FULL). Plans, results and decisions are also in an append-only log, which shows
whether a database has lost its tail. Only drivers open the store, never workers.
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
"""The events that end an attempt."""
_TAKEN_OVER = "taken over"
_RENEWAL = 0.02
"""A lease is not renewed again within this share of its length."""


class Store:
    """An open study folder. Use ``Store.create`` or ``Store.open``, as a context manager."""

    def __init__(self, folder: Path, read_only: bool, alone: bool = True) -> None:
        self.folder = folder
        self.lease = 90.0
        """Seconds without a sign of life after which an attempt may be taken over."""
        self.owner = lease.this_process(session=secrets.token_hex(8))
        """The owner of the attempts that are claimed through this store."""
        self._db = Database(folder, read_only, alone)
        self._trials = TrialRows(self._db)
        self._read_only = read_only
        self._held = ExitStack()
        self._items: dict[tuple[str, int], Mapping[str, np.ndarray]] = {}
        self._beaten: dict[tuple[str, int], float] = {}
        """When this store last renewed the lease of each running attempt."""
        lease.SESSIONS.add(self.owner.session)

    # ------------------------------------------------------------ opening

    @classmethod
    def create(cls, folder: Path | str, study_yaml: str) -> Store:
        """Create a study in ``folder``. Raises StudyExists if it holds one already."""
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
        """Open the study in ``folder``. Raises StoreError if there is none, or it is damaged, on a
        network file system, or in use by another machine.

        ``take_over`` gives up the trials of another machine, in case that machine is gone."""
        folder = Path(folder)
        if not (folder / files.SPEC).exists():
            raise StoreError(files.no_spec(folder))
        if not (folder / database.DATABASE).exists():
            raise StoreError(database.damaged(folder, f"{database.DATABASE} is gone"))
        with ExitStack() as resources:
            alone = False
            if not read_only:
                database.refuse_network(folder)
                alone = not files.has_other_drivers(folder)
                resources.enter_context(files.in_use(folder))
            if alone and database.has_journal(folder):
                # Opening for writing ends with moving the journal into the database, which would
                # spread damage: check first.
                cls._check(folder)
            # read before the database: whatever is logged by now must be found there
            logged = recovery.read_log(folder)
            store = cls(folder, read_only, alone)
            resources.callback(store._db.close)
            resources.callback(lease.SESSIONS.discard, store.owner.session)
            recovery.check_log(store._db, logged)
            store._check_spec()
            if not read_only:
                recovery.replay_log(store._db, logged)
                store._leave_original(alone)
                store._refuse_other_machine(take_over)
                for row in store._db.trials():
                    if row["status"] in FOR_GOOD:
                        files.remove_checkpoints(folder, row["id"])
            store._held = resources.pop_all()
        return store

    def close(self) -> None:
        self._held.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @staticmethod
    def readable_results(folder: Path | str) -> list[recovery.Recovered]:
        """The trials that can still be read from a damaged study; changes nothing."""
        return recovery.readable_results(Path(folder))

    @staticmethod
    def damage(folder: Path | str) -> str | None:
        """What is wrong with a study, in one sentence; None if nothing is."""
        try:
            Store._check(folder)
        except StoreError as error:
            return str(error)
        return None

    @staticmethod
    def _check(folder: Path | str) -> None:
        """Raise StoreError if a study that no driver runs is damaged; changes nothing."""
        with Store.open(folder, read_only=True) as store:
            measurements = {row["id"]: row["measurement"] for row in store._db.trials()}
            commits = int(store._db.meta(database.COMMITS) or 0)
        if database.has_journal(Path(folder)):
            recovery.check_journal(Path(folder), commits, measurements)

    @staticmethod
    def restore(folder: Path | str) -> tuple[int, int]:
        """Rebuild a damaged study from its ``readable_results``, after copying the damaged files
        aside. An intact study is not changed. Raises StoreError while a driver runs the study.

        Returns (number of trials, number of those with a measurement)."""
        folder = Path(folder)
        if not files.holds_results(folder):
            raise StoreError(files.no_spec(folder))
        with files.in_use(folder, alone=True):
            return recovery.restore(folder, lambda: Store.damage(folder))

    def freeze(self, study_yaml: str) -> None:
        """Replace the study's frozen spec. A copy goes into the database first: it shows later
        whether the file was altered, and restores it if it is lost."""
        self.decide("spec", {"text": study_yaml})
        files.write_atomic(self.folder, files.SPEC, study_yaml.encode())

    # ------------------------------------------------------------ planning and claiming

    def add(self, trials: Sequence[Trial], why: str = "") -> int:
        """Plan trials and return how many are new; those already in the store do not change."""
        new = []
        with self.batch():
            planned = self._trials.now()
            for trial in trials:
                if trial.id not in planned and self._db.trial(trial.id) is None:
                    row = dict.fromkeys(database.COLUMNS.split(", "))
                    row |= {"id": trial.id, "record": encode(trial), "why": why}
                    self._db.add(row | {"status": Status.PLANNED, "attempts": 0})
                    new.append(asdict(trial))
            if new:
                self._log({"planned": new})
        return len(new)

    def claim(self, trial: Trial, owner: lease.Owner, up_to_steps: int | None = None) -> int | None:
        """Claim a trial: the number of the new attempt, or None if it is claimed or has ended.

        A STOPPED trial can be claimed again to run for more steps."""
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
        """Renew a lease. False if the attempt was taken over or has ended."""
        self._beaten[trial, attempt] = lease.now()
        with self.batch():
            renewed = self._db.execute(
                "UPDATE attempts SET expires=? WHERE trial=? AND number=? AND state='running'",
                *(lease.now() + self.lease, trial, attempt),
            )
        return renewed == 1

    def reclaim(self) -> list[lease.Reclaimed]:
        """Take over the attempts of dead owners and those whose lease expired; kill their workers.

        Attempts claimed through this store are excluded: a driver watches its own workers."""
        me = self.owner
        reclaimed: list[lease.Reclaimed] = []
        if not self._db.query("SELECT 1 FROM trials WHERE status='running' LIMIT 1"):
            return reclaimed
        with self.batch():
            for row in self._running():
                owner = row["owner"]
                reason = (
                    None
                    if owner == me
                    else lease.forfeited(owner, row["worker"], row["expires"], me)
                )
                if reason is None:
                    continue
                if owner.boot == me.boot and owner.space == me.space and row["worker"]:
                    lease.kill(row["worker"], row["worker_start"] or "")
                self._end_attempt(row["trial"], row["number"], "reclaimed", reason)
                self._db.change(row["trial"], status=self._idle(row["trial"]))
                reclaimed.append(lease.Reclaimed(row["trial"], row["number"], reason))
            # trials that are marked as running but have no running attempt
            orphans = (
                "SELECT id, attempts FROM trials WHERE status='running' AND id NOT IN"
                " (SELECT trial FROM attempts WHERE state='running')"
            )
            for key, attempts in self._db.query(orphans):
                self._db.change(key, status=self._idle(key))
                reclaimed.append(lease.Reclaimed(key, attempts, "nobody runs it"))
        return reclaimed

    def abandoned(self) -> list[tuple[str, int]]:
        """The attempts (trial, number) whose driver is gone or was taken over, and that nobody has
        tried again since: their workers may have outlived it."""
        return [(row["trial"], row["number"]) for row in self._abandoned()]

    def held(self) -> set[tuple[str, int]]:
        """The running attempts (trial, number) whose driver is not known to be gone."""
        me = self.owner
        running = [row for row in self._running() if row["owner"].alive(me) is not False]
        return {(row["trial"], row["number"]) for row in running}

    def adopt(self, trial: str, attempt: int) -> bool:
        """Go on with an abandoned attempt as this store's own; False if it is abandoned no more."""
        with self.batch():
            if (trial, attempt) not in self.abandoned():
                return False
            self._db.execute(
                "UPDATE attempts SET state='running', reason=NULL, owner=?, expires=?"
                " WHERE trial=? AND number=?",
                *(json.dumps(asdict(self.owner)), lease.now() + self.lease, trial, attempt),
            )
            self._db.change(trial, status=Status.RUNNING)
        return True

    def _abandoned(self) -> list[dict[str, Any]]:
        me = self.owner
        rows = [row for row in self._running() if row["owner"].alive(me) is False]
        query = (
            "SELECT one.* FROM attempts AS one JOIN trials ON id=one.trial"
            " WHERE one.state='reclaimed' AND one.reason=? AND status IN (?,?)"
            " AND trials.attempts=one.number"
        )
        waiting = Status.PLANNED.value, Status.STOPPED.value
        return rows + [dict(row) for row in self._db.query(query, _TAKEN_OVER, *waiting)]

    # ------------------------------------------------------------ recording

    def batch(self) -> AbstractContextManager[None]:
        """One transaction around several calls: either all or none of them reach the disk."""
        return self._db.transaction()

    def record(self, event: Event, final: Measurement | None = None) -> bool:
        """Record an event of an attempt. False, with nothing recorded, if the attempt is not the
        trial's current one any more.

        ``final`` is the measurement of a failure that will not be retried; it ends the trial.
        Raises ValueError for a result that contains NaN or belongs to another trial, and
        StoreError if it cannot write."""
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
                pid = payload["pid"]  # it may have waited for hours, which are no training
                self._db.execute(
                    "UPDATE attempts SET worker=?, worker_start=?, began=? "
                    "WHERE trial=? AND number=?",
                    *(pid, lease.start_time(pid), lease.now(), trial, attempt),
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
                    shown_reason = f"interrupted: {reason}" if payload.get("killed") else reason
                    self._db.change(trial, status=self._idle(trial), reason=shown_reason)
        if final is not None:
            self._finish(trial, attempt, final)
        if lease.now() - self._beaten.get((trial, attempt), -math.inf) > _RENEWAL * self.lease:
            self.beat(trial, attempt)

    def _finish(self, trial: str, attempt: int, measurement: Measurement) -> None:
        """Store the measurement that ends a trial, with its per-item errors."""
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
        """Plan the trials that FAILED or reached their TIMEOUT again as if they were untried, in
        case the cause was fixed. Returns their number."""
        failed = [row for row in self._db.trials() if row["status"] in _FAILURES]
        if not failed:
            return 0
        # Logged first: if only the log forgives a failure, that does not look like damage.
        entries = [{"trial": row["id"], "measurement": None} for row in failed]
        recovery.append_log(self.folder, entries)
        with self.batch():
            for row in failed:
                self._db.execute(
                    "UPDATE attempts SET state='forgiven' WHERE trial=? AND state='failed'",
                    row["id"],
                )
                self._db.change(row["id"], status=Status.PLANNED, measurement=None, finished=None)
        return len(failed)

    def note(self, text: str, trial: str = "", attempt: int = 0) -> None:
        """Store a note, which the study's log shows."""
        with self.batch():
            self._db.execute(
                "INSERT INTO notes (at, trial, attempt, text) VALUES (?,?,?,?)",
                *(time.time(), trial, attempt, text),
            )

    def decide(self, kind: str, payload: dict[str, Any]) -> None:
        """Store a decision with its reasons."""
        # through JSON and back, so that it equals what is read later: tuples become lists
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
        """The last measurement of every trial that has one, in the order of planning.

        A STOPPED trial that is being continued is included as it was when it stopped."""
        return list(self._trials.measured())

    def measured(self) -> Measurements:
        """The same, as this store's own list, which grows with every measurement. Read only."""
        return self._trials.measured()

    def rows(self) -> list[TrialStanding]:
        """The standing of every trial, in the order of planning."""
        me = self.owner
        running = {row["trial"]: row for row in self._running()}
        rows = []
        for key, row in self._trials.now().items():
            seconds, status, reason = None, row.status, row.reason
            attempt = running.get(key)
            if attempt and lease.forfeited(attempt["owner"], attempt["worker"], math.inf, me):
                # the database shows the end of a dead driver only after the next run began
                status = self._idle(key)
                reason = f"interrupted: its driver (process {attempt['owner'].pid}) is gone"
            elif attempt:
                seconds = max(0.0, lease.now() - attempt["began"])
            elif row.measurement:
                seconds = row.measurement.seconds
            error = row.measurement.validation_error if row.measurement else None
            rows.append(TrialStanding(row.trial, status, row.attempts, reason, seconds, error))
        return rows

    def running(self) -> list[Trial]:
        """The running trials, in the order of planning, except those whose driver is gone."""
        me = self.owner
        gone = {
            row["trial"]
            for row in self._running()
            if lease.forfeited(row["owner"], row["worker"], math.inf, me)
        }
        return [row.trial for row in self._trials.running() if row.trial.id not in gone]

    def trials(self) -> Mapping[str, Row]:
        """The database's row of each trial, by id, in the order of planning."""
        return self._trials.now()

    def failures(self, trial: str) -> list[str]:
        """The reasons of a trial's failed attempts; drained and reclaimed ones do not count."""
        query = "SELECT reason FROM attempts WHERE trial=? AND state='failed' ORDER BY number"
        return [row["reason"] or "" for row in self._db.query(query, trial)]

    def tried(self) -> list[Trial]:
        """Trials with at least one attempt, and those recovered from a damaged study, which may
        have lost its attempts."""
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
        """The last sign of life of the attempts begun after ``since`` (``lease.now``)."""
        query = "SELECT max(began, expires - ?) AS at FROM attempts WHERE began >= ?"
        return max((row["at"] for row in self._db.query(query, self.lease, since)), default=since)

    def driven(self) -> bool:
        """Whether a driver has the study open, perhaps between two trials: the process that began
        the last attempt lives, and somebody holds the folder."""
        last = self._db.query("SELECT owner FROM attempts ORDER BY rowid DESC LIMIT 1")
        for row in last:
            if lease.Owner(**json.loads(row["owner"])).alive(self.owner) is not False:
                return files.is_held(self.folder)
        return False

    def workers(self) -> dict[str, int]:
        """The process that trains each running trial, of those that this machine can see."""
        me = self.owner
        return {
            row["trial"]: row["worker"]
            for row in self._running()
            if row["worker"]
            and (row["owner"].boot, row["owner"].space) == (me.boot, me.space)
            and lease.is_running(row["worker"], row["worker_start"] or "")
        }

    def log_of(self, trial: str) -> list[tuple[float, str]]:
        """The notes about a trial: when (Unix seconds), and what."""
        query = "SELECT at, text FROM notes WHERE trial=? ORDER BY number"
        return [(row["at"], row["text"]) for row in self._db.query(query, trial)]

    def whole_failure(self, trial: str, attempt: int) -> str | None:
        """The whole message of a failed attempt, if it was too long for the database."""
        return files.read_failure(self.folder, trial, attempt)

    def notes(self) -> list[str]:
        return [row["text"] for row in self._db.query("SELECT text FROM notes ORDER BY number")]

    def decisions(self, kind: str | None = None) -> list[Decision]:
        """The decisions of a kind, or all, oldest first."""
        return [one for one in self._db.decisions() if kind in (None, one.kind)]

    def progress(self, trial: str) -> list[Evaluation]:
        """The training curve of a trial so far."""
        query = "SELECT record FROM progress WHERE trial=? ORDER BY step"
        return [decode(Evaluation, row["record"]) for row in self._db.query(query, trial)]

    def items(self, trial: str) -> dict[str, np.ndarray] | None:
        """Per-item validation sums and counts of a trial's best step, or None."""
        return files.read_items(self.folder, trial)

    def stamp(self, trial: str) -> float | None:
        """When a trial ended (Unix seconds), or None."""
        rows = self._db.query("SELECT finished FROM trials WHERE id=?", trial)
        return rows[0]["finished"] if rows else None

    def changed(self) -> bool:
        """Whether another driver has written since the last call."""
        return self._db.changed()

    # ------------------------------------------------------------ inside

    def _log(self, entry: Mapping[str, Any]) -> None:
        """Append an entry to the log once the transaction is committed."""
        self._db.afterwards(lambda: recovery.append_log(self.folder, [entry]))

    def _end_attempt(
        self, trial: str, attempt: int, state: str, reason: str | None, detail: str | None = None
    ) -> None:
        self._db.execute(
            "UPDATE attempts SET state=?, reason=?, detail=? WHERE trial=? AND number=?",
            *(state, reason, detail, trial, attempt),
        )

    def _idle(self, trial: str) -> Status:
        """A trial's status while no attempt runs: STOPPED if it has a measurement, else PLANNED."""
        row = self._db.trial(trial)
        assert row is not None
        return Status.STOPPED if row["measurement"] else Status.PLANNED

    def _check_spec(self) -> None:
        """Raise StoreError if ``study.yaml`` equals none of the frozen specs. A study begun before
        copies were kept gets one now."""
        text = files.frozen_text(self.folder)
        frozen = {one.payload["text"] for one in self.decisions("spec")}
        if not frozen and not self._read_only:
            self.decide("spec", {"text": text})
        elif frozen and text not in frozen:
            raise StoreError(
                f"{self.folder / files.SPEC} is not what this study was begun with: it was edited "
                f"or is damaged; 'steep salvage {self.folder}' puts it back as it was"
            )

    def _leave_original(self, alone: bool) -> None:
        """Give up the attempts in a copy of a study: they run in the original, whose workers must
        not be killed. ``alone``: no other driver has this folder open; if one has, the folder is
        not a fresh copy."""
        stat = (self.folder / database.DATABASE).stat()
        location = [stat.st_dev, stat.st_ino, self.owner.boot]
        home = json.loads(self._db.meta("home") or "null")
        if home == location:
            return
        same_boot = home is not None and home[2] == location[2]
        moved = home is not None and home[not same_boot : 2] != location[not same_boot : 2]
        if moved and not alone:
            return
        with self.batch():
            self._db.set_meta("home", json.dumps(location))
            for row in self._running() if moved else ():
                reason = "it runs in the study that this one is a copy of"
                self._end_attempt(row["trial"], row["number"], "reclaimed", reason)
                self._db.change(row["trial"], status=self._idle(row["trial"]))

    def _running(self) -> list[dict[str, Any]]:
        """The running attempts of all drivers, each with its ``owner`` decoded."""
        attempts = []
        for row in self._db.query("SELECT * FROM attempts WHERE state='running'"):
            try:
                owner = lease.Owner(**json.loads(row["owner"]))
            except (ValueError, TypeError):
                damage = f"an attempt at trial {row['trial']} cannot be read"
                raise StoreError(database.damaged(self.folder, damage)) from None
            attempts.append(dict(row) | {"owner": owner})
        return attempts

    def _refuse_other_machine(self, take_over: bool) -> None:
        """Raise StoreError if another machine runs attempts, or give those up (``take_over``)."""
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
                self._end_attempt(row["trial"], row["number"], "reclaimed", _TAKEN_OVER)
                self._db.change(row["trial"], status=self._idle(row["trial"]))


def _claimable(row: Mapping[str, Any], up_to_steps: int | None) -> bool:
    """Whether a trial is planned, or stopped before the requested number of steps."""
    if row["status"] == Status.PLANNED:
        return True
    if row["status"] != Status.STOPPED:
        return False
    return up_to_steps is None or up_to_steps > json.loads(row["measurement"])["steps"]
