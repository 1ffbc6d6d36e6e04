"""Attempts at trials from the inside: what runs in a worker, wherever the worker runs.

``work`` opens the study's domain and trainer, runs its trial or pack of trials, and reports
everything through ``send``. It reads the study folder and writes checkpoints there, but never
opens the store.
"""

from __future__ import annotations

import errno
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from steep.base.registry import TRAINERS
from steep.contracts.domain import DataError, Domain
from steep.contracts.executor import Event, Job, Kind
from steep.contracts.trainer import Diverged, Ended, Interrupted, PackedTrainer, Trainer
from steep.records import Evaluation, Measurement, Sample, Status
from steep.shards import items_of
from steep.spec.load import Loaded, member, open_domain
from steep.store.folder import (
    SPEC,
    Frozen,
    StoreError,
    drop_checkpoint,
    drop_trial_folder,
    load_checkpoint,
    read_frozen,
    save_checkpoint,
    trial_folder,
    write_samples,
    write_shard_file,
)
from steep.store.spec_changes import changed_files


class DataChanged(Exception):
    """The data are not those that the study was begun with: no trial may be trained on them."""


class CannotGoOn(Exception):
    """No trial can run here, and none is to blame: the disk is full, say."""

    cause = "changed"


@contextmanager
def _stops_the_run() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise CannotGoOn(str(error)) from None


Send = Callable[[Event], None]
Tell = Callable[[Kind, Any], None]


class Commands(Protocol):
    """What the driver asks of a worker: set means stop. ``threading.Event`` will do."""

    def is_set(self) -> bool: ...


def work(
    jobs: Sequence[Job], send: Send, commands: Commands, trainer: Trainer | None = None
) -> None:
    """Run the attempts and send their events, the last of each RESULT, FAILURE or DRAINED.

    ``trainer`` replaces the spec's own: a plain function that lives only in this process. No
    exception comes out: it goes to the driver as a FAILURE, with its traceback as ``detail``."""
    going = {job: partial(_tell, send, job) for job in jobs}
    for tell in going.values():
        tell(Kind.STARTED, {"pid": os.getpid()})
    over = threading.Event()
    try:
        study = opened(jobs[0].folder)
        run = study.loaded.spec.run
        threading.Thread(target=_beat, args=(going, run.lease, over), daemon=True).start()
        lines = [Line(job, tell, commands, run.checkpoint) for job, tell in going.items()]
        for place, end in _ends(study, jobs, lines, trainer):
            kind, payload = _last_word(lines[place], end)
            going.pop(jobs[place])(kind, payload)
    except BaseException as error:  # a worker's last word must reach the driver, whatever it is
        for tell in going.values():
            tell(Kind.FAILURE, failure(error))
    over.set()


def _tell(send: Send, job: Job, kind: Kind, payload: Any) -> None:
    send(Event(kind, job.trial.id, job.attempt, payload))


def _ends(
    study: Opened, jobs: Sequence[Job], lines: Sequence[Line], trainer: Trainer | None
) -> Iterator[tuple[int, Ended]]:
    """The places in ``jobs`` as each of them ends; several are always a pack."""
    members = [
        (job.trial, items_of(job.folder, job.trial), line)
        for job, line in zip(jobs, lines, strict=True)
    ]
    if jobs[0].packed:
        yield from study.packed_trainer()(members)
        return
    (only,) = members
    yield 0, partial(trainer or study.trainer(), *only)


def _last_word(line: Line, end: Ended) -> tuple[Kind, Any]:
    try:
        try:
            measured = end()
        except Diverged as diverged:
            measured = line.diverged(str(diverged))
        if isinstance(measured, Measurement):
            measured = finite(measured)
        if line.kept and measured.status != Status.DIVERGED:
            line.tell(Kind.ITEMS, line.kept)
    except Interrupted:
        return Kind.DRAINED, {"step": line.step}
    except BaseException as error:  # one of a pack, perhaps: the others go on
        payload = failure(error)
        if payload["cause"] == "error":
            line.suspect()
        return Kind.FAILURE, payload
    return Kind.RESULT, measured


def _beat(going: dict[Job, Tell], lease: float, over: threading.Event) -> None:
    """Signs of life, five in a lease: one that comes late on a loaded machine costs nothing."""
    while not over.wait(min(10.0, lease / 5)):
        for tell in list(going.values()):
            tell(Kind.HEARTBEAT, {})


# ---------------------------------------------------------------- the study, opened


@dataclass
class Opened:
    """A study as a worker needs it. The trainer is opened when first used: it may start a
    device, which must not happen before a fork."""

    loaded: Loaded
    domain: Domain
    mark: tuple[Path, int, int]
    files: Mapping[Path, tuple[int, int, int] | None]
    """Each data file's size, time of change and number, as they were when it was read."""
    _trainer: Trainer | None = None

    def trainer(self) -> Trainer:
        if self._trainer is None:
            module = member(TRAINERS, self.loaded.spec.trainer.name)
            self._trainer = module.open_trainer(self.loaded, self.domain)
        assert self._trainer is not None
        return self._trainer

    def packed_trainer(self) -> PackedTrainer:
        module = member(TRAINERS, self.loaded.spec.trainer.name)
        found: PackedTrainer = module.open_packed(self.loaded, self.domain)
        return found

    def warm(self) -> None:
        """What every trial needs and a fork inherits: the data, and what each size costs."""
        self.domain.items()
        for size in self.loaded.spec.family.sizes:
            member(TRAINERS, self.loaded.spec.trainer.name).cost(self.loaded, self.domain, size)


_last: list[Opened] = []


def opened(folder: Path) -> Opened:
    """The study in ``folder``; kept, so that a worker that runs many trials opens it once."""
    try:
        stat = (folder / SPEC).stat()
    except OSError as error:
        raise StoreError(f"{folder / SPEC} cannot be read: {error.strerror}") from None
    mark = (folder.resolve(), stat.st_mtime_ns, stat.st_ino)
    if not _last or _last[0].mark != mark:
        _last[:] = [_open(read_frozen(folder), mark)]
    elif any(_stamp(path) != stamp for path, stamp in _last[0].files.items()):
        _open(read_frozen(folder), mark)  # raises where they hold something else
        _last[0].files = {path: _stamp(path) for path in _last[0].files}
    return _last[0]


def _open(frozen: Frozen, mark: tuple[Path, int, int]) -> Opened:
    """Raises DataChanged where the files do not hold what the study was begun with."""
    paths = [frozen.loaded.base / name for name in frozen.data]
    stamps = {path: stamp for path in paths if (stamp := _stamp(path)) is not None}
    try:
        domain = open_domain(frozen.loaded)
    except DataError as error:
        raise DataChanged(str(error)) from None
    if found := changed_files(frozen.data, domain.items().files):
        raise DataChanged("; ".join(map(str, found)))
    return Opened(frozen.loaded, domain, mark, stamps)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


# ---------------------------------------------------------------- the trial's line


class Line:
    """The ``Handle`` of a trial: see contracts/trainer.py."""

    def __init__(self, job: Job, tell: Tell, commands: Commands, every: float) -> None:
        self.attempt = job.attempt
        self.up_to_steps = job.up_to_steps
        self.step = 0
        self.kept: dict[str, np.ndarray] = {}
        self.tell = tell
        self._job, self._commands, self._every = job, commands, every
        self._curve: list[Evaluation] = []
        self._loaded = ""
        """The checkpoint that this attempt began with and has not come further than."""
        self._passed_over: set[str] = set()
        self._began = self._saved = time.monotonic()

    def progress(self, evaluation: Evaluation) -> None:
        self.step = evaluation.step
        self._loaded = ""
        for name in ("validation_error", "validation_loss", "train_loss"):
            value = getattr(evaluation, name)
            if value is not None and not math.isfinite(value):
                raise Diverged(f"{name} is {value} at step {evaluation.step}")
        self._curve.append(evaluation)
        self.tell(Kind.PROGRESS, evaluation)

    def save(self, step: int, state: bytes) -> None:
        """A checkpoint that cannot be written is reported and skipped: the last one stays good,
        and the trial may well end before it is needed."""
        self._saved = time.monotonic()
        self.step = step
        self._loaded = ""
        try:
            path = save_checkpoint(
                self._job.folder, self._job.trial.id, self._job.attempt, step, state
            )
        except StoreError as error:
            self.tell(Kind.NOTE, {"text": f"no checkpoint at step {step}: {error}"})
            return
        self.tell(Kind.CHECKPOINT, {"step": step, "file": path.name})

    def load(self) -> bytes | None:
        name, state, notes = load_checkpoint(
            self._job.folder, self._job.trial.id, self._passed_over
        )
        for note in notes:
            self.tell(Kind.NOTE, {"text": note})
        self._loaded = name
        return state

    def pass_over(self, why: str) -> None:
        self._passed_over.add(self._loaded)
        text = f"checkpoint {self._loaded} cannot be read ({why}); going back to the one before"
        self.tell(Kind.NOTE, {"text": text})

    def suspect(self) -> None:
        """After a failure: if nothing came of the checkpoint that was loaded, the next attempt
        begins with the one before it, lest one that cannot be read fails the trial for ever."""
        if self._loaded:
            drop_checkpoint(self._job.folder, self._job.trial.id, self._loaded)

    def due(self) -> bool:
        return time.monotonic() - self._saved >= self._every

    def stop_requested(self) -> bool:
        return self._commands.is_set()

    def folder(self) -> tuple[Path, bool]:
        with _stops_the_run():
            return trial_folder(self._job.folder, self._job.trial.id, self.attempt)

    def drop_folder(self) -> None:
        drop_trial_folder(self.folder()[0])

    def shard_file(self, name: str, data: Callable[[], bytes]) -> Path:
        with _stops_the_run():
            return write_shard_file(self._job.folder, name, data)

    def items(self, errors: dict[str, np.ndarray]) -> None:
        self.kept = dict(errors)

    def samples(self, samples: Sequence[Sample]) -> None:
        with _stops_the_run():
            write_samples(self._job.folder, self._job.trial.id, samples)

    def diverged(self, reason: str) -> Measurement:
        """The measurement of a trial whose loss left the numbers."""
        return Measurement(
            self._job.trial,
            Status.DIVERGED,
            reason,
            steps=self.step,
            samples_seen=self._curve[-1].samples_seen if self._curve else 0.0,
            seconds=time.monotonic() - self._began,
            curve=tuple(self._curve),
        )


# ---------------------------------------------------------------- bad ends


def finite(measured: Measurement) -> Measurement:
    """The same without NaN and infinity, which no record may carry; DIVERGED when the validation
    error or loss was one of them."""
    bad = {}
    for field in fields(measured):
        value = getattr(measured, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            bad[field.name] = value
    metrics = tuple((name, value) for name, value in measured.metrics if _good(value))
    curve = tuple(
        point
        for point in measured.curve
        if _good(point.validation_error)
        and _good(point.validation_loss)
        and _good(point.train_loss)
    )
    changes: dict[str, Any] = dict.fromkeys(bad) | {"metrics": metrics, "curve": curve}
    if "seconds" in bad or "samples_seen" in bad:
        raise ValueError(f"the trainer returned {bad}")
    for name in ("validation_error", "validation_loss"):
        if name in bad:
            reason = f"{name} is {bad[name]} at step {measured.steps}"
            changes |= {"status": Status.DIVERGED, "reason": reason, "validation_error": None}
            break
    return replace(measured, **changes)


def _good(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def failure(error: BaseException) -> dict[str, Any]:
    """A FAILURE's payload: a reason in one line, its cause, the traceback for the record."""
    text = str(error)[:_LONGEST].strip().splitlines()
    reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    if isinstance(error, DataChanged):
        return {"reason": reason.partition(": ")[2], "cause": "data"}
    detail = "".join(traceback.format_exception(error))
    if len(detail) > _LONGEST:
        half = _LONGEST // 2
        detail = f"{detail[:half]}\n[...]\n{detail[-half:]}"
    cause = "error"
    if _out_of_memory(error):
        reason, cause = f"oom: {reason}", "oom"
    elif _out_of_processes(error):
        cause = "start"
    elif isinstance(known := getattr(error, "cause", None), str) and known in _SENTENCES:
        # Where a sentence arose is no news; what the user's own code printed is.
        return {"reason": str(error), "cause": known, "detail": getattr(error, "detail", "")}
    return {"reason": reason, "cause": cause, "detail": detail}


_SENTENCES = ("answer", "changed", "error", "oom")
"""Causes that an exception of steep's own carries; its text is for the user."""
_LONGEST = 1_000_000
"""Characters of a failure's text that leave the worker."""


def _out_of_processes(error: BaseException) -> bool:
    """No thread or process could be started here: the machine's limit, not the trial's fault."""
    if isinstance(error, OSError):
        return error.errno == errno.EAGAIN
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def _out_of_memory(error: BaseException) -> bool:
    """Python's, CUDA's (a RuntimeError of its own) and torch's CPU allocator's."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "defaultcpuallocator", "not enough memory")
    return isinstance(error, (RuntimeError, OSError)) and any(sign in text for sign in signs)
