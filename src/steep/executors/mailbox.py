"""The mailbox: how a driver and workers on other machines speak through a folder that all see.

Compute nodes often cannot reach the driver, but they share its file system. One folder a driver:

    mail/SESSION/
        worker.json         what a worker must know: the argument of ``steep worker --job``
        jobs/NAME.json      a job (trials and attempts), there until its end is recorded
        queue/NAME          it waits; a worker takes it by renaming this into
        taken/NAME@WORKER   where it stays until the worker has reported how it ended
        new/NAME.W000001    a message of its worker: events, with a checksum
        new/NAME.W.beat     a sign of life, replaced by the next one
        orders/NAME         what its worker is to do: 'stop' or 'kill'; orders/all: 'end'
        workers/            who has begun to work
        submitted/          what the driver has requested from the engine
        output/             what the workers printed, where the engine can write it here

A file is written under another name and renamed, so that none is seen half; a message whose
checksum does not hold is read again for a while and then dropped with a note. Flushed to the disk
is what a study could not do without: what the engine was asked for, and how an attempt ended. If
the machine crashes that posts a job or reports progress, the trial runs again without blame. NAME
ends in a token of that attempt alone: what a worker sends after it was given up matches no job and
is thrown away. No time in a file is compared with a clock, so clocks may differ. Messages are JSON
and NumPy arrays: reading one executes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steep.base.plainfile import read_file
from steep.contracts.executor import Event, Job, Kind
from steep.records import Evaluation, Measurement, Trial, decode
from steep.records.analysis import QUEUED
from steep.records.codec import plain
from steep.shards import FOLDER as SHARDS
from steep.store.folder import (
    SPEC,
    StoreError,
    alone_in,
    refuse_links,
    write_atomic,
    write_failed,
)

MAIL = "mail"
WORKER = "worker.json"
_SITES = "sites.json"
OVER = (Kind.RESULT, Kind.FAILURE, Kind.DRAINED, Kind.LOST)
"""The events that end an attempt."""
ALL = "all"
_FOLDERS = ("jobs", "queue", "taken", "new", "orders", "workers", "submitted", "output")
_HEAD = b"steep mail 1 "
_TORN = 10.0
"""Seconds for which a message that cannot be read is tried again: a network file system may show
a name before its content."""


class Gone(Exception):
    """The session is over: its folder has been removed."""


# ---------------------------------------------------------------- messages


def pack(events: Sequence[Event]) -> bytes:
    """A message: a line with the checksum of what follows, then JSON."""
    body = json.dumps([_written(event) for event in events]).encode()
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unpack(data: bytes) -> list[Event]:
    """The events of a message. Raises ValueError for one that is torn or damaged."""
    head, _, body = data.partition(b"\n")
    if head != _HEAD + hashlib.sha256(body).hexdigest().encode():
        raise ValueError("its checksum does not hold")
    return [_read(entry) for entry in json.loads(body)]


def _written(event: Event) -> dict[str, Any]:
    payload = event.payload
    if event.kind == Kind.ITEMS:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{n: np.asarray(v) for n, v in payload.items()})  # type: ignore[arg-type]
        payload = base64.b64encode(buffer.getvalue()).decode()
    elif event.kind in (Kind.PROGRESS, Kind.RESULT):
        payload = plain(payload)
    return {
        "kind": event.kind.value,
        "trial": event.trial,
        "attempt": event.attempt,
        "payload": payload,
    }


def _read(entry: Mapping[str, Any]) -> Event:
    kind, payload = Kind(entry["kind"]), entry["payload"]
    if kind == Kind.ITEMS:
        with np.load(io.BytesIO(base64.b64decode(payload)), allow_pickle=False) as arrays:
            payload = {name: arrays[name] for name in arrays.files}
    elif kind == Kind.PROGRESS:
        payload = decode(Evaluation, json.dumps(payload))
    elif kind == Kind.RESULT:
        payload = decode(Measurement, json.dumps(payload))
    return Event(kind, entry["trial"], entry["attempt"], payload)


def _job_text(jobs: Sequence[Job]) -> bytes:
    entries = [
        {
            "trial": plain(job.trial),
            "attempt": job.attempt,
            "up_to_steps": job.up_to_steps,
            "packed": job.packed,
        }
        for job in jobs
    ]
    return json.dumps(entries).encode()


def _jobs_of(data: bytes, site: Path) -> tuple[Job, ...]:
    return tuple(
        Job(
            site,
            decode(Trial, json.dumps(entry["trial"])),
            entry["attempt"],
            entry["up_to_steps"],
            entry["packed"],
        )
        for entry in json.loads(data)
    )


# ---------------------------------------------------------------- both sides


@dataclass
class Mailbox:
    """One session's folder, as the driver and the workers use it."""

    folder: Path
    _late: dict[str, float] = field(default_factory=dict)
    """When each message that cannot be read was first seen, on this process's clock."""
    _delivered: list[Path] = field(default_factory=list)
    _over: set[str] = field(default_factory=set)
    """Jobs whose last event has been delivered."""

    @classmethod
    def create(cls, site: Path) -> Mailbox:
        """Folders of a new session for the study in ``site``, which is one once its ``WORKER`` is
        written. Raises StoreError."""
        box = cls(site.resolve() / MAIL / secrets.token_hex(6))
        for name in _FOLDERS:
            refuse_links(site.resolve(), box.folder / name)
            try:
                (box.folder / name).mkdir(parents=True)
            except OSError as error:
                raise StoreError(write_failed(box.folder / name, error)) from None
        return box

    @property
    def site(self) -> Path:
        return self.folder.parent.parent

    @property
    def job_file(self) -> Path:
        return self.folder / WORKER

    def write(self, name: str, value: Any) -> None:
        """Replace a file. Raises StoreError, or Gone where the session is over."""
        self._put(name, json.dumps(value).encode())

    def _put(self, name: str, data: bytes, flush: bool = True) -> None:
        if not (self.folder / name).parent.is_dir():
            raise Gone(f"{self.folder} is gone")
        write_atomic(self.folder, name, data, flush)

    def write_script(self, name: str, text: bytes) -> Path:
        """A file that may be executed. Raises StoreError."""
        self._put(name, text)
        path = self.folder / name
        path.chmod(0o755)
        return path

    def read(self, name: str) -> Any:
        """A file's value; None where there is none or it cannot be read."""
        try:
            return json.loads(read_file(self.folder / name))
        except (OSError, ValueError):
            return None

    def names(self, part: str) -> list[str]:
        """The files of a part of the session, sorted. Raises Gone where the session is over."""
        try:
            return sorted(name for name in os.listdir(self.folder / part) if name[0] != ".")
        except FileNotFoundError:
            raise Gone(f"{self.folder} is gone") from None

    def taken(self) -> dict[str, str]:
        """The jobs that a worker has, and which one."""
        pairs = (name.partition("@") for name in self.names("taken"))
        return {job: worker for job, _, worker in pairs}

    def leave(self, worker: str) -> None:
        """The worker takes nothing more."""
        with suppress(OSError):
            (self.folder / "workers" / worker).rename(self.folder / "workers" / f"{worker}.left")

    def remove(self, name: str) -> bool:
        """Remove a file; whether it was there."""
        try:
            (self.folder / name).unlink()
        except OSError:
            return False
        return True

    # ------------------------------------------------------------ the driver's side

    def post(self, number: int, jobs: Sequence[Job]) -> str:
        """Queue a job and return its name, which sorts by ``number``. Once this returns, a later
        driver finds it, unless the machine crashes. Raises StoreError."""
        name = f"{number:08d}-{secrets.token_hex(6)}"
        self._put(f"jobs/{name}.json", _job_text(jobs), flush=False)
        self.queue(name)
        return name

    def queue(self, name: str) -> None:
        self._put(f"queue/{name}", b"", flush=False)

    def jobs(self) -> dict[str, tuple[Job, ...]]:
        """Every job that has not been forgotten, by name."""
        found = {}
        for file in self.names("jobs"):
            with suppress(OSError, ValueError, KeyError, TypeError):  # torn: its trial runs again
                data = read_file(self.folder / "jobs" / file)
                found[file.removesuffix(".json")] = _jobs_of(data, self.site)
        return found

    def withdraw(self, name: str) -> bool:
        """Take a job back from the queue; False if a worker has it."""
        return self.remove(f"queue/{name}")

    def order(self, name: str, word: str) -> None:
        self._put(f"orders/{name}", word.encode())

    def forget(self, name: str) -> None:
        """Remove what is left of a job."""
        for path in (f"queue/{name}", f"orders/{name}", f"jobs/{name}.json"):
            self.remove(path)

    def receive(self, known: Mapping[str, Any]) -> list[tuple[str, list[Event]]]:
        """New messages of the ``known`` jobs, oldest first; those of the last call count as
        recorded and are removed, as are jobs that ended with them and messages of no job."""
        for path in self._delivered:
            with suppress(OSError):
                path.unlink()
        self._delivered = []
        for name in self._over:
            self.forget(name)
        self._over = set()
        received = []
        for file in self.names("new"):
            name, path = file.partition(".")[0], self.folder / "new" / file
            if name not in known:
                with suppress(OSError):
                    path.unlink()
                continue
            try:
                events = unpack(read_file(path))
            except FileNotFoundError:
                continue  # a sign of life that was just replaced
            except (OSError, ValueError, KeyError, TypeError) as error:
                if not self._wait_for(file):
                    continue
                (first, *_) = known[name]
                text = f"a message of its worker was dropped: {error}"
                events = [Event(Kind.NOTE, first.trial.id, first.attempt, {"text": text})]
            self._late.pop(file, None)
            self._delivered.append(path)
            received.append((name, events))
        return received

    def _wait_for(self, file: str) -> bool:
        """Whether a message that cannot be read has had its time."""
        return time.monotonic() - self._late.setdefault(file, time.monotonic()) > _TORN

    def ended(self, name: str) -> None:
        """The job's last event is delivered: it is forgotten once that is recorded."""
        self._over.add(name)

    def close(self) -> None:
        """Remove the session: first what makes it one, so that none is seen half."""
        self.remove(WORKER)
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    # ------------------------------------------------------------ the worker's side

    def take(self, worker: str) -> tuple[str, tuple[Job, ...]] | None:
        """The first job of the queue that no other worker takes at the same moment."""
        for name in self.names("queue"):
            source, target = (
                self.folder / "queue" / name,
                self.folder / "taken" / f"{name}@{worker}",
            )
            try:
                source.rename(target)
            except FileNotFoundError:
                if not target.exists():  # a server may have done it and lost its answer
                    continue
            try:
                return name, _jobs_of(read_file(self.folder / f"jobs/{name}.json"), self.site)
            except (OSError, ValueError, KeyError, TypeError):
                self.remove(f"taken/{target.name}")  # withdrawn at this moment
        return None

    def put_message(self, file: str, data: bytes, flush: bool = True) -> None:
        """Raises StoreError where it cannot be written, Gone where the session is over."""
        self._put(f"new/{file}", data, flush)

    def release(self, name: str, worker: str) -> None:
        """All that the worker had to report of the job is in the mailbox."""
        self.remove(f"taken/{name}@{worker}")

    def ordered(self, name: str = ALL) -> str:
        """'stop', 'kill', 'end' or ''. Raises Gone where the session is over."""
        for one in dict.fromkeys((name, ALL)):
            with suppress(FileNotFoundError):
                return read_file(self.folder / "orders" / one).decode()
        if not self.folder.is_dir():
            raise Gone(f"{self.folder} is gone")
        return ""


def sessions(folder: Path) -> list[Mailbox]:
    """The sessions of the study in ``folder``, of drivers that run and of those that are gone."""
    found = []
    for site in (folder, *_sites(folder)):
        home = site / MAIL
        if home.is_symlink() or not home.is_dir():
            continue
        with suppress(OSError):  # it was removed at this moment, or may not be read
            found += [
                Mailbox(path.resolve())
                for path in sorted(home.iterdir())
                if not path.is_symlink() and (path / WORKER).exists()
            ]
    return found


def prepare_site(folder: Path, shared: str | None) -> Path:
    """The folder that workers see in place of the study's: with ``shared``, one in there, with what
    they must read of the study. Raises StoreError where it cannot be written."""
    if shared is None:
        return folder
    home = Path(shared).expanduser()
    if not home.is_absolute() or not home.is_dir():
        raise StoreError(f"run.executor.shared: there is no folder {home}, by its whole path")
    with alone_in(folder):
        made = token(folder)
        if made is None:
            made = secrets.token_hex(16)
            _write_sites(folder, made, _sites(folder))
    mark = hashlib.sha256(f"{made} {folder.resolve()}".encode()).hexdigest()[:8]
    site = home / f"steep-{folder.resolve().name}-{mark}"
    site.mkdir(exist_ok=True)
    for path in (folder / SPEC, *sorted((folder / SHARDS).iterdir())):
        name, data = str(path.relative_to(folder)), read_file(path)
        if not (site / name).exists() or read_file(site / name) != data:
            write_atomic(site, name, data)
    with alone_in(folder):
        known = _sites(folder)
        if site not in known:
            _write_sites(folder, made, [*known, site])
    return site


def token(folder: Path) -> str | None:
    """What distinguishes this study from any other that lies, or has lain, in ``folder``; None
    where no site has been made of it yet."""
    return _known_sites(folder)[0]


def _sites(folder: Path) -> list[Path]:
    """The folders that workers of a study have seen in its place."""
    return _known_sites(folder)[1]


def _known_sites(folder: Path) -> tuple[str | None, list[Path]]:
    try:
        known = json.loads(read_file(folder / MAIL / _SITES))
        return str(known["token"]), [Path(name) for name in known["sites"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None, []


def _write_sites(folder: Path, made: str, sites: Sequence[Path]) -> None:
    known = {"token": made, "sites": [str(site) for site in sites]}
    write_atomic(folder, f"{MAIL}/{_SITES}", json.dumps(known).encode())


def places(folder: Path) -> dict[str, str]:
    """Where the jobs of the study in ``folder`` are, by trial: QUEUED, or the place that their
    worker reported."""
    found: dict[str, str] = {}
    for box in sessions(folder):
        with suppress(Gone, OSError):
            taken, waiting = box.taken(), set(box.names("queue"))
            for name, jobs in box.jobs().items():
                record = box.read(f"workers/{taken[name]}") if name in taken else None
                place = QUEUED if name in waiting else (record or {}).get("where")
                found |= {job.trial.id: place for job in jobs if place}
    return found
