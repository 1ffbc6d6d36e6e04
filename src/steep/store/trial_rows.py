"""The trials of a study as its database holds them: each row read, checked and decoded once.

A row is read again after this process wrote it, or if another driver may have. Rows change in these
ways only: one is added (its number is new), claimed (it has a new attempt), its attempt ends (it
was running), or its failure is forgiven (it had failed). So another driver's changes are found
without reading all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steep.records import Measurement, Status, Trial, decode
from steep.records.measurements import Measurements
from steep.store.database import Database

_AGAIN = (Status.RUNNING, Status.FAILED, Status.TIMEOUT)
"""Rows that may change without a new attempt: the attempt ends, or the failure is forgiven."""


@dataclass(frozen=True)
class Row:
    """A row of ``trials``, decoded."""

    number: int
    trial: Trial
    why: str
    status: Status
    attempts: int
    reason: str | None
    measurement: Measurement | None
    finished: float | None


class TrialRows:
    """The rows by id, in the order of planning, and their measurements."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rows: dict[str, Row] = {}
        self._again: dict[str, None] = {}
        """Ids of the rows with a status of ``_AGAIN``."""
        self._measured = Measurements()
        self._last_number = self._last_attempt = 0
        self._version: int | None = None
        """The database's ``data_version`` at the last reading; None before the first."""
        self.read = 0
        """How many rows were read and checked, including repeats."""

    def now(self) -> dict[str, Row]:
        """Every row in its current state. Raises StoreError if one that is read is damaged."""
        if self._version is None:
            self._version = self._db.data_version()
            self._read_all()
            return self._rows
        touched = self._db.take_touched()
        version = self._db.data_version()
        if version != self._version:
            touched |= self._by_others()
            self._version = version
        for key in touched:
            self._take(key, self._db.trial(key))
        return self._rows

    def measured(self) -> Measurements:
        """The measurements of all rows, as a list that grows with them. It is replaced by a new
        list when a failure is forgiven."""
        self.now()
        return self._measured

    def running(self) -> list[Row]:
        """The running trials' rows, in the order of planning."""
        rows = self.now()
        running = [rows[key] for key in self._again if rows[key].status == Status.RUNNING]
        return sorted(running, key=lambda row: row.number)

    def _read_all(self) -> None:
        self._db.take_touched()
        self._last_attempt = self._db.query("SELECT max(rowid) FROM attempts")[0][0] or 0
        for values in self._db.trials():
            self._take(values["id"], values)
        self._db.forget_trials()

    def _by_others(self) -> dict[str, None]:
        """Ids of the rows that another connection may have changed."""
        ids = dict(self._again)
        new = self._db.query(
            "SELECT number, id FROM trials WHERE number > ? ORDER BY number", self._last_number
        )
        ids |= dict.fromkeys(row["id"] for row in new)
        attempts = self._db.query(
            "SELECT rowid AS place, trial FROM attempts WHERE rowid > ?", self._last_attempt
        )
        self._last_attempt = max((row["place"] for row in attempts), default=self._last_attempt)
        return ids | dict.fromkeys(row["trial"] for row in attempts)

    def _take(self, key: str, values: Mapping[str, Any] | None) -> None:
        """Decode a row that was added or changed; ``values`` is None if it is gone."""
        self.read += 1
        if values is None:  # rolled back
            if self._rows.pop(key, None) is not None:
                self._measure_anew()
            self._again.pop(key, None)
            return
        old = self._rows.get(key)
        text = values["measurement"]
        measurement = None if text is None else decode(Measurement, text)
        row = Row(
            values["number"],
            old.trial if old else decode(Trial, values["record"]),
            values["why"],
            Status(values["status"]),
            values["attempts"],
            values["reason"],
            measurement,
            values["finished"],
        )
        self._rows[key] = row
        self._last_number = max(self._last_number, row.number)
        if row.status in _AGAIN:
            self._again[key] = None
        else:
            self._again.pop(key, None)
        old_measurement = old.measurement if old else None
        if measurement is None:
            if old_measurement is not None:
                self._measure_anew()
        elif measurement != old_measurement:
            self._measured.add(row.number, measurement)

    def _measure_anew(self) -> None:
        self._measured = Measurements()
        for row in self._rows.values():
            if row.measurement is not None:
                self._measured.add(row.number, row.measurement)
