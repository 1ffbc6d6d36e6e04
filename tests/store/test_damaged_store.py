"""A bit that flips in the database: noticed, said with the command that mends it, never used."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from steep.contracts.executor import Event, Kind
from steep.records import Evaluation, Measurement, Status, Trial
from steep.spec import load
from steep.store.database import VERSION, Database
from steep.store.folder import in_use
from steep.store.store import Store, StoreError, compose_study_yaml

SPEC = """
study: tiny
domain: {name: external, items: 100}
family: {sizes: [2, 4]}
shards: {smallest: 10}
trainer: {name: synthetic}
training: {learning_rate: 1e-3}
"""
TRIALS = [Trial(0, 10, 10.0, 2 + n, (("learning_rate", 0.1),), 0) for n in range(8)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results, a failed and a running attempt, training curves, decisions and notes."""
    folder = tmp_path_factory.mktemp("whole") / "st"
    text = compose_study_yaml(load.parse(SPEC, folder.parent), {})
    with Store.create(folder, text) as store:
        store.add(TRIALS, "grid")
        for trial in TRIALS[:6]:
            attempt = store.claim(trial, store.owner) or 0
            for step in (1, 2):
                at = Evaluation(step, 10.0 * step, 0.5, None, 0.25, 0.25)
                store.record(Event(Kind.PROGRESS, trial.id, attempt, at))
            if trial is TRIALS[5]:
                continue
            measured = Measurement(trial, Status.COMPLETE, validation_error=0.25, seconds=1.0)
            store.record(Event(Kind.RESULT, trial.id, attempt, measured))
        attempt = store.claim(TRIALS[6], store.owner) or 0
        broke = {"reason": "it broke", "detail": "Traceback"}
        store.record(Event(Kind.FAILURE, TRIALS[6].id, attempt, broke))
        store.decide("forecast", {"error": 0.4})
        store.decide("ran", {"seconds": 2.0})
        store.note("a remark")
        store.note("another", TRIALS[6].id, 1)
    return folder


def said(folder: Path, read_only: bool = True) -> dict[str, Any]:
    """Everything that a store tells."""
    with Store.open(folder, read_only=read_only) as store:
        return {
            "rows": [(r.trial, r.status, r.attempts, r.reason) for r in store.rows()],
            "measurements": store.measurements(),
            "decisions": store.decisions(),
            "notes": store.notes(),
            "attempts": [(t.id, a) for t in TRIALS for a in store.attempts(t.id)],
            "progress": [(t.id, e) for t in TRIALS for e in store.progress(t.id)],
            "failures": [store.failures(t.id) for t in TRIALS],
            "stamps": [store.stamp(t.id) for t in TRIALS],
        }


def copy_of(whole: Path, tmp_path: Path) -> Path:
    shutil.rmtree(tmp_path / "st", ignore_errors=True)
    shutil.copytree(whole, tmp_path / "st")
    return tmp_path / "st"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("attempts", "reason"), ("attempts", "owner"), ("attempts", "began"),
        ("attempts", "expires"), ("attempts", "state"), ("progress", "record"), ("notes", "text"),
        ("notes", "at"), ("meta", "value"), ("trials", "why"), ("decisions", "payload"),
    ],
)  # fmt: skip
def test_a_row_that_was_altered_is_noticed_and_recovered_without_it(
    whole: Path, tmp_path: Path, table: str, column: str
) -> None:
    folder = copy_of(whole, tmp_path)
    before = said(folder)
    with closing(sqlite3.connect(folder / "trials.sqlite")) as db:
        row = db.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid DESC").fetchone()
        place, value = row
        altered = value + 0.5 if isinstance(value, float) else value[:-1] + chr(ord(value[-1]) ^ 1)
        db.execute(f"UPDATE {table} SET {column}=? WHERE rowid=?", (altered, place))
        db.commit()
    for read_only in (True, False):
        with pytest.raises(StoreError, match=f"(?s)checksum.*steep salvage {folder}"):
            Store.open(folder, read_only=read_only)
    assert Store.restore(folder) == (8, 5)
    after = said(folder)
    for name in ("measurements", "decisions"):
        assert after[name] == before[name]
    for name in ("notes", "attempts", "progress"):
        assert len(before[name]) - len(after[name]) == int(name == table)
    assert all(note in before["notes"] for note in after["notes"])


def test_any_bit_that_flips_is_noticed_or_changes_nothing(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path)
    path = folder / "trials.sqlite"
    data, before = path.read_bytes(), said(folder)
    draws = random.Random(0)
    used = [place for place, byte in enumerate(data) if byte]
    noticed: list[str] = []
    for _ in range(400):
        flipped = bytearray(data)
        flipped[draws.choice(used)] ^= 1 << draws.randrange(8)
        path.write_bytes(flipped)
        for left in folder.glob("trials.sqlite-*"):
            left.unlink()
        try:
            assert said(folder) == before
        except StoreError as error:
            noticed.append(str(error))
    assert len(noticed) > 200
    assert all(str(folder) in text for text in noticed)


def test_recovery_goes_on_with_the_numbers_of_the_attempts(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path)
    with closing(sqlite3.connect(folder / "trials.sqlite")) as db:
        db.execute("UPDATE trials SET why='x'")  # every row: only the log knows them
        db.commit()
    assert Store.restore(folder) == (8, 5)
    with Store.open(folder) as store:
        assert store.failures(TRIALS[6].id) == ["it broke"]
        assert store.claim(TRIALS[6], store.owner) == 2
        assert store.claim(TRIALS[5], store.owner) == 2  # its first one is over
        assert store.claim(TRIALS[7], store.owner) == 1


def test_decisions_are_recovered_in_the_order_they_were_made_whatever_the_clock_said(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(whole, tmp_path)
    with Store.open(folder) as store:
        monkeypatch.setattr("steep.store.store.time.time", lambda: 1000.0)  # before all others
        store.decide("forecast", {"error": 0.5})
        monkeypatch.undo()
        kinds = [(one.kind, one.payload) for one in store.decisions()]
    with closing(sqlite3.connect(folder / "trials.sqlite")) as db:
        db.execute("UPDATE decisions SET at=at+1 WHERE kind IN ('ran', 'forecast')")
        db.commit()
    Store.restore(folder)
    with Store.open(folder) as store:
        assert [(one.kind, one.payload) for one in store.decisions()] == kinds


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_study_of_an_earlier_version_gets_its_checksums(
    whole: Path, tmp_path: Path, version: str
) -> None:
    folder = copy_of(whole, tmp_path)
    with closing(sqlite3.connect(folder / "trials.sqlite")) as db:
        for table in ("meta", "attempts", "progress", "notes", "decisions"):
            if version == "1" or table != "decisions":
                db.execute(f"ALTER TABLE {table} DROP COLUMN digest")
        db.execute("UPDATE meta SET value=? WHERE key='version'", (version,))
        db.execute(f"PRAGMA user_version={version}")
        db.commit()
    before = said(folder)
    with in_use(folder), pytest.raises(StoreError, match="run by an earlier version"):
        Store.open(folder)  # whose driver would write rows without checksums
    after = said(folder, read_only=False)
    left = {"rows": None, "attempts": None}  # a copy gives up what runs in the original
    assert after | left == before | left
    with closing(sqlite3.connect(folder / "trials.sqlite")) as db:
        assert db.execute("SELECT value FROM meta WHERE key='version'").fetchone() == (VERSION,)
        db.execute("UPDATE notes SET text='another remark' WHERE number=1")
        db.commit()
    with pytest.raises(StoreError, match="'notes' fails its checksum"):
        Store.open(folder)


def test_a_cut_journal_does_not_hide_the_newer_database_beside_it(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the copying of a journal into the database and its end, and then cut."""
    folder = copy_of(whole, tmp_path)
    monkeypatch.setattr(Database, "settle", lambda self: None)
    with Store.open(folder) as store:
        store.note("in the journal")
        stale = (folder / "trials.sqlite-wal").read_bytes()
        attempt = store.claim(TRIALS[7], store.owner) or 0
        measured = Measurement(TRIALS[7], Status.COMPLETE, validation_error=0.25, seconds=1.0)
        store.record(Event(Kind.RESULT, TRIALS[7].id, attempt, measured))
        store.note("later")
    assert not (folder / "trials.sqlite-wal").exists()  # its last user moved it
    (folder / "trials.sqlite-wal").write_bytes(stale)
    log = (folder / "acknowledged.log").read_bytes()
    (folder / "acknowledged.log").write_bytes(log[: len(log) // 3])
    held = (folder / "trials.sqlite").read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"damaged.*steep salvage"):
            Store.open(folder)
        assert (folder / "trials.sqlite").read_bytes() == held  # nothing was changed, as it says
    assert Store.restore(folder) == (8, 6)
    with Store.open(folder) as store:
        assert len(store.measurements()) == 6
        assert "later" in store.notes()
        assert store.failures(TRIALS[6].id) == ["it broke"]
