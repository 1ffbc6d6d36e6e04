"""The store's SQLite database: its schema, opening it, and detecting damage.

Three checks detect damage: SQLite's own (structure), a digest of every row of every table (a
flipped bit inside a value), and the log of ``recovery.py`` (a lost tail).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.store import lease
from steep.store.folder import StoreError, refuse_links, removed, write_failed

DATABASE = "trials.sqlite"
VERSION = "3"
_OLDER = ("1", "2")
"""Versions in which not every row had a digest; opening such a database for writing adds them."""
OTHER_VERSION = "was written by another version of steep"
COMMITS = "commits"
"""Row of ``meta``: the number of transactions that have changed the database. If it is lower with
the journal than without, the journal was truncated and its remainder is older."""
_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the sqlite3 module raises; the latter if damage made a name or a message invalid text."""
_SMALLEST = 512
"""Bytes of the smallest database: a header and a page."""
_PATIENCE = 120.0  # seconds to wait for another driver's transaction

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, digest TEXT);
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL, why TEXT NOT NULL,
    status TEXT NOT NULL, attempts INTEGER NOT NULL, reason TEXT, measurement TEXT,
    finished REAL, digest TEXT NOT NULL);
CREATE TABLE attempts (
    trial TEXT NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL,
    worker INTEGER, worker_start TEXT, began REAL NOT NULL, expires REAL NOT NULL,
    up_to_steps INTEGER, reason TEXT, detail TEXT, digest TEXT, PRIMARY KEY (trial, number));
CREATE INDEX running ON attempts (state) WHERE state = 'running';
CREATE TABLE progress (
    trial TEXT NOT NULL, step INTEGER NOT NULL, attempt INTEGER NOT NULL, record TEXT NOT NULL,
    digest TEXT, PRIMARY KEY (trial, step));
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
    digest TEXT);
CREATE TABLE notes (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, trial TEXT NOT NULL, attempt INTEGER NOT NULL,
    text TEXT NOT NULL, digest TEXT);
"""
COLUMNS = "id, record, why, status, attempts, reason, measurement, finished"
"""The columns of ``trials`` that a row's digest covers."""
DIGESTED = {
    "meta": "key, value",
    "attempts": "trial, number, state, owner, worker, worker_start, began, expires, up_to_steps, "
    "reason, detail",
    "progress": "trial, step, attempt, record",
    "notes": "number, at, trial, attempt, text",
}
"""The columns that a row's digest covers, in the other tables. Triggers of the writing connection
update it (``_keep_digests``), so that no statement can omit it."""


@dataclass(frozen=True)
class Decision:
    """A decision of the study: its time (Unix seconds), its kind, and what was decided."""

    at: float
    kind: str
    payload: dict[str, Any]


# ---------------------------------------------------------------- opening


def create(folder: Path) -> None:
    """Create an empty database in place of the remains of an interrupted creation. The caller has
    checked with ``holds_trials`` that nothing else is there."""
    for remains in folder.glob(f"{DATABASE}*"):
        remains.unlink()
    try:
        with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            db.execute(f"PRAGMA user_version={VERSION}")
            row = ("version", VERSION)
            db.execute("INSERT INTO meta VALUES (?,?,?)", (*row, row_digest(*row)))
    except (sqlite3.Error, OSError) as error:
        raise StoreError(write_failed(folder / DATABASE, error)) from error


def holds_trials(folder: Path) -> bool:
    """Whether there is a database that has content or cannot be read, as opposed to none or one
    whose creation was interrupted."""
    path = folder / DATABASE
    size = path.stat().st_size if path.exists() else 0
    if size < _SMALLEST and not has_journal(folder):
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
            present = tables & {"trials", "attempts", "decisions"}
            return any(db.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in present)
    except _ERRORS:
        return True


def connect(folder: Path, read_only: bool) -> sqlite3.Connection:
    """Open the database. In a folder without write permission it is read without a lock."""
    path = folder / DATABASE
    refuse_links(folder, path)
    if path.exists() and not path.is_file():
        raise StoreError(damaged(folder, f"{DATABASE} is not a file"))
    mode = "rw"
    if read_only and not os.access(folder, os.W_OK):
        if has_journal(folder):
            return _copied(folder)
        mode = "ro&immutable=1"
    elif read_only:
        mode = "ro"
    try:
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=_PATIENCE,
        )
    except _ERRORS as error:
        raise StoreError(explain(folder, error)) from error
    db.row_factory = sqlite3.Row
    db.create_function("row_digest", -1, row_digest, deterministic=True)
    try:
        if not read_only:
            db.execute("PRAGMA synchronous=FULL")
        db.execute("SELECT count(*) FROM meta").fetchone()
    except _ERRORS as error:
        db.close()
        raise StoreError(explain(folder, error)) from error
    return db


def has_journal(folder: Path) -> bool:
    """Whether there is a journal with transactions that are not in the database file yet."""
    journal = folder / f"{DATABASE}-wal"
    return journal.exists() and journal.stat().st_size > 0


def _copied(folder: Path) -> sqlite3.Connection:
    """Read the database and its journal into memory. SQLite cannot read a journal in a folder that
    it may not write to."""
    try:
        with tempfile.TemporaryDirectory() as place:
            for name in (DATABASE, f"{DATABASE}-wal"):
                shutil.copyfile(folder / name, Path(place) / name)
            with closing(sqlite3.connect(Path(place) / DATABASE)) as copy:
                memory = sqlite3.connect(":memory:", isolation_level=None)
                copy.backup(memory)
    except _ERRORS as error:
        raise StoreError(explain(folder, error)) from error
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}") from None
    memory.row_factory = sqlite3.Row
    memory.create_function("row_digest", -1, row_digest, deterministic=True)
    return memory


def refuse_network(folder: Path) -> None:
    """Raise StoreError if the folder is on a network file system, where SQLite's locks are
    unreliable."""
    kind = lease.network_file_system(folder)
    if kind:
        raise StoreError(
            f"{folder} lies on a network file system ({kind}), where a study cannot be run safely: "
            "choose a folder on a local disk. Workers on other machines may use it all the same: "
            "run.executor.shared"
        )


def explain(folder: Path, error: Exception) -> str:
    """An SQLite error as a message with a remedy."""
    text = str(error)
    if "disk is full" in text:
        return write_failed(folder, error)
    if "locked" in text or "busy" in text:
        return f"{folder} has been busy for {_PATIENCE:g} seconds: is another driver stopped?"
    if "readonly" in text or "unable to open" in text:
        return (
            f"cannot write to the study in {folder}: {text}; 'steep report {folder} --out FILE' "
            "only reads it"
        )
    if "disk I/O error" in text:
        return f"the disk that holds {folder} reports an error (is it full?): {text}"
    return damaged(folder, text)


def damaged(folder: Path, what: str) -> str:
    """The message that the database is damaged, with the remedy."""
    return (
        f"the database of {folder} is damaged ({what}); nothing was changed. "
        f"Restore it from a copy, or rebuild it from what can still be read: steep salvage {folder}"
    )


# ---------------------------------------------------------------- digests


def digest(values: Mapping[str, Any]) -> str:
    """The digest of a row of ``trials``, over all ``COLUMNS``."""
    # default=repr: a flipped bit can turn text into bytes, which JSON does not take
    text = json.dumps([values[name] for name in COLUMNS.split(", ")], default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def whole(row: sqlite3.Row, folder: Path) -> dict[str, Any]:
    """A row of ``trials`` as a dictionary. Raises StoreError if it fails its digest."""
    values = {name: row[name] for name in (*COLUMNS.split(", "), "digest")}
    if digest(values) != values["digest"]:
        raise StoreError(damaged(folder, f"the row of trial {values['id']} fails its checksum"))
    return values


def decision_digest(at: float, kind: str, payload: str) -> str:
    """The digest of a row of ``decisions``; ``payload`` is its JSON text."""
    text = json.dumps([at, kind, payload], default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def row_digest(*values: Any) -> str:
    """The digest of a row of another table, over the columns in ``DIGESTED``."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def whole_row(row: sqlite3.Row, table: str) -> dict[str, Any] | None:
    """A row of a table of ``DIGESTED``; None if it fails its digest. Rows of older versions have
    none."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118
    expected = row_digest(*(values[name] for name in DIGESTED[table].split(", ")))
    return values if values.pop("digest", expected) == expected else None


def _keep_digests(db: sqlite3.Connection) -> None:
    """Create triggers that set the digest of every row that this connection adds or changes."""
    for table, columns in DIGESTED.items():
        values = ", ".join(f"new.{name}" for name in columns.split(", "))
        for event in ("INSERT", f"UPDATE OF {columns}"):
            db.execute(
                f"CREATE TEMP TRIGGER digest_of_{table}_{event[:6]} AFTER {event} ON main.{table} "
                f"BEGIN UPDATE {table} SET digest=row_digest({values}) WHERE rowid=new.rowid; END"
            )


def whole_decision(row: sqlite3.Row, folder: Path) -> dict[str, Any]:
    """A row of ``decisions`` as a dictionary. Raises StoreError if it fails its digest; rows of
    older versions have none."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118
    columns = values["at"], values["kind"], values["payload"]
    if values.get("digest", expected := decision_digest(*columns)) != expected:
        damage = f"decision {values['number']} ({values['kind']}) fails its checksum"
        raise StoreError(damaged(folder, damage))
    return values


# ---------------------------------------------------------------- in use


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at a path; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


class Database:
    """An open database: queries and nestable transactions whose errors are StoreErrors."""

    def __init__(self, folder: Path, read_only: bool, alone: bool = True) -> None:
        """``alone``: no other driver has it open, which upgrading an older version requires."""
        self.folder = folder
        self._db = connect(folder, read_only)
        self._file = _identity(folder / DATABASE)
        self._inside = False
        self._after: list[Callable[[], None]] = []
        self._seen = 0
        self._touched: dict[str, None] = {}
        """Ids of the trials whose rows this connection wrote since the last ``take_touched``."""
        self._read: tuple[tuple[int, int], list[dict[str, Any]]] | None = None
        """A state of the database, and all rows of ``trials`` in it."""
        self.version = ""
        """The version of the schema."""
        try:
            self._seen = self.data_version()
            self.version = self.meta("version") or ""
            if not read_only:
                if self.version in _OLDER and self._marked():
                    if not alone:
                        earlier = "is being run by an earlier version of steep: wait for its end"
                        raise StoreError(f"{folder} {earlier}")
                    self._upgrade()
                if self.version == VERSION:
                    _keep_digests(self._db)
        except sqlite3.Error as error:
            self.close()
            raise StoreError(explain(folder, error)) from error
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside or nothing; a nested transaction joins the outer one. Waits for
        the writes of other drivers."""
        if self._inside:
            yield
            return
        if _identity(self.folder / DATABASE) != self._file:
            # SQLite would keep writing to a deleted file, and all of it would be lost
            raise StoreError(removed(self.folder))
        self._inside = True
        try:
            self._db.execute("BEGIN IMMEDIATE")
            before = self._db.total_changes
            yield
            if self._db.total_changes != before and self.version == VERSION:
                count = "INSERT INTO meta (key, value) VALUES (?, '1') ON CONFLICT (key) "
                self._db.execute(count + "DO UPDATE SET value=value+1", (COMMITS,))
            self._db.execute("COMMIT")
        except _ERRORS as error:
            raise StoreError(explain(self.folder, error)) from error
        finally:
            self._inside = False
            if self._db.in_transaction:
                self._db.rollback()
                self._after.clear()
        while self._after:
            self._after.pop(0)()

    def afterwards(self, action: Callable[[], None]) -> None:
        """Call ``action`` after the transaction was committed; drop it on a rollback."""
        self._after.append(action)

    def query(self, text: str, *values: Any) -> list[sqlite3.Row]:
        try:
            return self._db.execute(text, values).fetchall()
        except _ERRORS as error:
            raise StoreError(explain(self.folder, error)) from error

    def execute(self, text: str, *values: Any) -> int:
        """Run a statement inside a transaction and return the number of changed rows."""
        return self._db.execute(text, values).rowcount

    def changed(self) -> bool:
        """Whether another connection has written since the last call."""
        seen, self._seen = self._seen, self.data_version()
        return seen != self._seen

    def data_version(self) -> int:
        """A number that changes whenever another connection has written."""
        return int(self.query("PRAGMA data_version")[0][0])

    def settle(self) -> None:
        """Move committed transactions from the journal into the database file, unless someone is
        reading: losing the journal later then loses nothing."""
        with suppress(*_ERRORS):  # the transactions are as safe in the journal
            self._db.execute("PRAGMA busy_timeout=50")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._db.execute(f"PRAGMA busy_timeout={int(1000 * _PATIENCE)}")

    # ------------------------------------------------------------ facts about the database

    def meta(self, key: str) -> str | None:
        rows = self.query("SELECT value FROM meta WHERE key=?", key)
        return rows[0]["value"] if rows else None

    def set_meta(self, key: str, value: str) -> None:
        with self.transaction():
            self.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?,?)", key, value)

    def _mark(self) -> int:
        return int(self.query("PRAGMA user_version")[0][0])

    def _marked(self) -> bool:
        """Whether the version can be read and both of its copies agree. There are two so that a
        flipped bit is not taken for another version; the oldest versions kept only one."""
        marks = {VERSION: (int(VERSION),)} | {old: (0, int(old)) for old in _OLDER}
        return self._mark() in marks.get(self.version, ())

    def _upgrade(self) -> None:
        """Add the digests that rows of an older version lack."""
        with self.transaction():
            if (self.meta("version") or "") == "1":
                self.execute("ALTER TABLE decisions ADD COLUMN digest TEXT")
                for row in self.query("SELECT number, at, kind, payload FROM decisions"):
                    new_digest = decision_digest(row["at"], row["kind"], row["payload"])
                    text = "UPDATE decisions SET digest=? WHERE number=?"
                    self.execute(text, new_digest, row["number"])
            if self.meta("version") in _OLDER:  # another driver may have upgraded it meanwhile
                self.execute("UPDATE meta SET value=? WHERE key='version'", VERSION)
                for table, columns in DIGESTED.items():
                    self.execute(f"ALTER TABLE {table} ADD COLUMN digest TEXT")
                    self.execute(f"UPDATE {table} SET digest=row_digest({columns})")
                self.execute(f"PRAGMA user_version={VERSION}")
        self.version = VERSION

    # ------------------------------------------------------------ rows of ``decisions``

    def decisions(self) -> list[Decision]:
        """Every decision, oldest first. Raises StoreError if one is damaged."""
        rows = self.query("SELECT * FROM decisions ORDER BY number")
        verified = [whole_decision(row, self.folder) for row in rows]
        return [Decision(row["at"], row["kind"], json.loads(row["payload"])) for row in verified]

    def decide(self, decision: Decision) -> None:
        payload = json.dumps(decision.payload, allow_nan=False)
        self.execute(
            "INSERT INTO decisions (at, kind, payload, digest) VALUES (?,?,?,?)",
            *(decision.at, decision.kind, payload),
            decision_digest(decision.at, decision.kind, payload),
        )

    # ------------------------------------------------------------ rows of ``trials``

    def trials(self) -> list[dict[str, Any]]:
        """Every row, in the order of planning. Raises StoreError if one is damaged. The rows are
        read and checked again only after a write."""
        state = self.data_version(), self._db.total_changes
        if self._read is None or self._read[0] != state:
            rows = self.query(f"SELECT number, {COLUMNS}, digest FROM trials ORDER BY number")
            self._read = state, [self._whole(row) for row in rows]
        return self._read[1]

    def forget_trials(self) -> None:
        """Free the rows that ``trials`` keeps in memory."""
        self._read = None

    def trial(self, key: str) -> dict[str, Any] | None:
        rows = self.query(f"SELECT number, {COLUMNS}, digest FROM trials WHERE id=?", key)
        return self._whole(rows[0]) if rows else None

    def _whole(self, row: sqlite3.Row) -> dict[str, Any]:
        return whole(row, self.folder) | {"number": row["number"]}

    def take_touched(self) -> dict[str, None]:
        """Ids of the trials whose rows this connection wrote since the last call. Inside a
        transaction they stay in the set, since it may be rolled back."""
        touched = self._touched
        if self._inside:
            return dict(touched)
        self._touched = {}
        return touched

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a row; ``values`` holds every column except the digest."""
        self._touched[values["id"]] = None
        marks = ",".join("?" * (len(values) + 1))
        names = ", ".join(values)
        self.execute(
            f"INSERT INTO trials ({names}, digest) VALUES ({marks})",
            *values.values(),
            digest(values),
        )

    def change(self, key: str, **changes: Any) -> None:
        """Change columns of a row, and its digest accordingly."""
        row = self.trial(key)
        assert row is not None
        self._touched[key] = None
        values = {name: row[name] for name in COLUMNS.split(", ")} | changes
        names = ", ".join(f"{name}=?" for name in values)
        self.execute(
            f"UPDATE trials SET {names}, digest=? WHERE id=?", *values.values(), digest(values), key
        )

    def check(self) -> None:
        """Raise StoreError if SQLite's own check or a digest finds damage."""
        result = self.query("PRAGMA integrity_check(1)")[0][0]
        if result != "ok":
            raise StoreError(damaged(self.folder, str(result).splitlines()[-1]))
        if not self._marked():
            if self.version == str(self._mark()) and self.version not in ("0", *_OLDER):
                raise StoreError(f"{self.folder} {OTHER_VERSION}")
            raise StoreError(damaged(self.folder, "its version cannot be read"))
        for table, columns in {"decisions": "number, at, kind, payload", **DIGESTED}.items():
            self.query(f"SELECT {columns} FROM {table} LIMIT 0")  # fails on a damaged column name
        self.trials()
        self.decisions()
        for table, columns in DIGESTED.items() if self.version == VERSION else ():
            wrong = f"SELECT 1 FROM {table} WHERE digest IS NOT row_digest({columns}) LIMIT 1"
            if self.query(wrong):
                raise StoreError(damaged(self.folder, f"a row of '{table}' fails its checksum"))
