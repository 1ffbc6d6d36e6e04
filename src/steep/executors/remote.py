"""The driver's side of workers on other machines: whatever engine starts them.

A study's trials are posted in a mailbox; as many workers are submitted to the engine as there are
trials for, and each takes one after another (``pilot.py``). So hours in the engine's queue and
seconds of imports are paid once a worker, not once a trial. What the engine says of a worker counts
only where the worker itself has not reported how its trial ended.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steep.base.registry import EXECUTORS, TRAINERS
from steep.contracts.executor import Event, Job, Kind
from steep.contracts.trainer import Trainer
from steep.executors import mailbox
from steep.executors.engine import GONE, Engine, State
from steep.executors.mailbox import ALL, OVER, WORKER, Gone, Mailbox, prepare_site
from steep.executors.pilot import versions
from steep.spec.load import member
from steep.spec.sections import parse_duration
from steep.store.folder import StoreError, read_spec, remove_checkpoints
from steep.store.recovery import FOR_GOOD
from steep.store.store import Store

_PAUSES = 0.005, 0.05
"""Seconds between looks at new messages: the first in a poll, and the longest."""
_SURVEY = 1.0
"""Seconds between looks at which jobs wait and which are taken."""
_ASK = 2.0, 30.0
"""Seconds between questions to the engine: after something has changed, and the longest."""
_LAG = 25.0
"""Seconds for which the engine must say that a worker has ended before it counts as such: two of
its signs of life, for the engine may err for a while, and last messages are seen late."""
_QUEUED = 5.0
"""Seconds between events of a job that waits."""
_OBEY, _CANCEL = 8.0, 30.0
"""Seconds that a worker may take to end a trial, and the engine to end the worker."""
_UNHEARD = 3
"""So many workers in a row that ended without a sign of life: more would fare no better."""
_REFUSED = 120.0
"""Seconds for which the engine may refuse to take workers before the run is given up."""
_BACK_OFF = 1.0, 30.0
"""Seconds between tries to start workers that did not: the first, and the longest."""


@dataclass
class _Posted:
    """A job in the mailbox."""

    jobs: tuple[Job, ...]
    ended: set[tuple[str, int]] = field(default_factory=set)
    """Attempts whose end was reported, or whose events no longer count."""
    queued: float = 0.0
    """When its waiting was last reported."""
    worker: str = ""
    astray: float | None = None
    """Since when neither the queue nor a live worker has had it."""
    lost: Mapping[str, Any] = field(default_factory=dict)
    """Why, as an event's payload."""

    @property
    def going(self) -> list[Job]:
        return [job for job in self.jobs if (job.trial.id, job.attempt) not in self.ended]

    def events(self, kind: Kind, payload: Any) -> list[Event]:
        """One for each attempt that has not ended."""
        return [Event(kind, job.trial.id, job.attempt, payload) for job in self.going]


class Session:
    """A mailbox, the lock that says that this driver serves it, and the workers asked for."""

    def __init__(self, box: Mailbox, lock: int, engine: Engine, slots: int) -> None:
        self.box, self.engine, self.slots = box, engine, slots
        self._lock = lock
        self.posted: dict[str, _Posted] = {}
        self.stopping = False
        self._batches: dict[str, Any] = {n: box.read(f"submitted/{n}") for n in self._submitted()}
        self._states: dict[str, State] = {}
        self._ended: dict[str, float] = {}
        """Since when the engine says that the worker of a place has ended."""
        self._keeps_checkpoints = (box.read(WORKER) or {}).get("study") == str(box.site)
        self._finished: list[str] = []
        """Trials that have ended for good with the last messages."""
        self._heard: dict[str, str] = {}
        """The newest known worker in each place of the engine."""
        self._left: set[str] = set()
        """Places whose newest worker has reported that it leaves."""
        self._deaf: dict[str, str] = {}
        """Places whose worker did not obey, and what it will remove once it does."""
        self._unheard = 0
        """Workers in a row that ended without a sign of life."""
        self._counted: set[str] = set()
        """The places of all that ever did."""
        self._refused: float | None = None
        self._surveyed = self._asked = self._answered = -1e9
        self._pause = _ASK[0]
        self._next_try, self._back_off = -1e9, _BACK_OFF[0]

    def _submitted(self) -> list[str]:
        return self.box.names("submitted")

    # ------------------------------------------------------------ jobs

    def post(self, number: int, jobs: tuple[Job, ...]) -> None:
        self.posted[self.box.post(number, jobs)] = _Posted(jobs)
        self.stopping = False  # that was requested of the earlier ones
        self._surveyed = min(self._surveyed, time.monotonic() - _SURVEY + 0.05)

    def poll(self) -> list[Event]:
        """New events. Raises StoreError where no worker can work."""
        try:
            events = self._received()
            if time.monotonic() - self._surveyed > _SURVEY:
                self._surveyed = time.monotonic()
                events += self._survey()
        except Gone:
            raise StoreError(
                f"{self.box.folder} was removed while workers used it: run the same command again"
            ) from None
        return events

    def _received(self) -> list[Event]:
        events: list[Event] = []
        for trial in self._finished:  # of a site of its own, which the store does not clear
            remove_checkpoints(self.box.site, trial)
        self._finished = []
        jobs = {name: posted.jobs for name, posted in self.posted.items()}
        for name, message in self.box.receive(jobs):
            if name not in self.posted:  # it ended with an earlier message of this call
                continue
            posted = self.posted[name]
            posted.astray = None
            going = {(job.trial.id, job.attempt) for job in posted.going}
            for event in message:
                if (event.trial, event.attempt) not in going:
                    continue
                if event.kind == Kind.STARTED:
                    event = replace(event, payload={"pid": 0})
                if event.kind == Kind.RESULT and not self._keeps_checkpoints:
                    self._finished += [event.trial] * (event.payload.status in FOR_GOOD)
                if event.kind in OVER:
                    going.discard((event.trial, event.attempt))
                    posted.ended.add((event.trial, event.attempt))
                events.append(event)
            self._settle(name)
        return events

    def _settle(self, name: str) -> None:
        if not self.posted[name].going:
            del self.posted[name]
            self.box.ended(name)

    def has(self, trial: str, attempt: int) -> str | None:
        """The name of the job of a running attempt."""
        for name, posted in self.posted.items():
            if any((job.trial.id, job.attempt) == (trial, attempt) for job in posted.going):
                return name
        return None

    def ask_to_stop(self) -> list[Event]:
        """What waits ends at once; what runs is requested to save itself."""
        self.stopping = True
        events = []
        for name, posted in list(self.posted.items()):
            if self.box.withdraw(name):
                events += self._end(name, Kind.DRAINED, {"step": 0})
            elif posted.going:
                with suppress(StoreError, Gone):
                    self.box.order(name, "stop")
        return events

    def kill(self, name: str, trial: str, attempt: int) -> list[Event]:
        """End a job now, and return once its worker has or cannot be reached."""
        posted = self.posted[name]
        posted.ended.add((trial, attempt))
        payload = {"reason": "another trial of its pack was ended", "killed": True}
        if not self.box.withdraw(name):
            with suppress(StoreError):
                self._order_to_end(name)
        return self._end(name, Kind.LOST, payload)

    def _order_to_end(self, name: str) -> None:
        """Have a job's worker end it, or the engine the worker. Raises StoreError."""
        with suppress(Gone):
            with suppress(StoreError):
                self.box.order(name, "kill")
            if self._wait(lambda: name not in self.box.taken(), _OBEY):
                return
            worker = self.box.taken().get(name, "")
            place = worker.partition(".")[0]
            self._deaf[place] = f"{name}@{worker}"
            self._pause = self._asked = 0.0
            self.engine.cancel(self.box, self._batches, place)
            if self.engine.tells:
                self._wait(lambda: self._has_ended(place), _CANCEL)

    def _end(self, name: str, kind: Kind, payload: Mapping[str, Any]) -> list[Event]:
        """Remove a job and return its last events; its orders stay, for a worker still alive."""
        events = self.posted.pop(name).events(kind, payload)
        self.box.remove(f"jobs/{name}.json")
        return events

    @staticmethod
    def _wait(done: Any, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _has_ended(self, worker: str) -> bool:
        time.sleep(0.5)
        states = self.engine.states(self.box, self._batches)
        return states is not None and states.get(worker, State("ended")).word == "ended"

    # ------------------------------------------------------------ workers

    def _survey(self) -> list[Event]:
        """Which jobs wait, who has the others, whether those live, and whether more are needed."""
        if not self.posted:
            return []
        self._hear_of_workers()
        self._ask_the_engine()
        waiting, taken = set(self.box.names("queue")), self.box.taken()
        events, now = [], time.monotonic()
        for name, posted in list(self.posted.items()):
            if name in waiting:
                posted.astray = None
                if now - posted.queued > _QUEUED:
                    posted.queued = now
                    events += posted.events(Kind.QUEUED, {})
                continue
            posted.worker = taken.get(name, posted.worker)
            payload = self._why_lost(posted.worker, name in taken)
            if payload is None:
                posted.astray = None
            elif posted.astray is None:
                posted.astray, posted.lost = now, payload
                self._pause = _ASK[0]
            elif (self._answered if name in taken else now) - posted.astray > _LAG:
                with suppress(StoreError, Gone):
                    self.box.order(name, "kill")  # for a worker that only seemed to be gone
                self.box.remove(f"taken/{name}@{posted.worker}")
                events += self._end(name, Kind.LOST, posted.lost)
        if not self.stopping:
            self._submit()
        return events

    def _why_lost(self, worker: str, has_it: bool) -> dict[str, Any] | None:
        """Why a job's worker will not report its end, as an event's payload; None where it may."""
        place = worker.partition(".")[0]
        if not has_it:
            return {"reason": "its worker left without a word"}
        if self._heard.get(place, worker) != worker:
            reason = f"{self.engine.title} has started its worker again somewhere"
            return {"reason": reason, "killed": True}
        state = self._states.get(place)
        if state is None or state.word == "running":
            return None
        if state.word == "queued":
            reason = f"{self.engine.title} has put its worker back into the queue"
            return {"reason": reason, "killed": True}
        payload: dict[str, Any] = {"reason": f"its worker {state.reason}"}
        if not state.blame:
            payload["killed"] = True
        return payload | ({"cause": state.cause} if state.cause else {})

    def _hear_of_workers(self) -> None:
        """Which workers have begun or left. Raises StoreError where one says that none can work."""
        newest: dict[str, tuple[int, str]] = {}
        left = set()
        for file in self.box.names("workers"):
            name = file.removesuffix(".left")
            place, number, _ = name.split(".")
            newest[place] = max(newest.get(place, (0, "")), (int(number), name))
            left |= {name} if file != name else set()
        for place, (_, name) in newest.items():
            if self._heard.get(place) != name:
                record = self.box.read(f"workers/{name}")
                if record is not None and record["problem"]:
                    raise StoreError(f"a worker cannot work for this study: {record['problem']}")
                self._heard[place], self._unheard = name, 0
                self._next_try, self._back_off = -1e9, _BACK_OFF[0]
        holding = set(self.box.names("taken"))
        self._deaf = {place: held for place, held in self._deaf.items() if held in holding}
        self._left = {place for place, name in self._heard.items() if name in left}

    def _ask_the_engine(self) -> None:
        if time.monotonic() - self._asked < self._pause:
            return
        states = self.engine.states(self.box, self._batches) if self._batches else {}
        self._asked = time.monotonic()
        self._pause = min(1.5 * self._pause, _ASK[1])
        if states is None:
            return
        self._answered = self._asked
        for place in self._places():
            state = states.get(place) or GONE
            before = self._states.get(place)
            if state.word != "ended":
                self._ended.pop(place, None)
            elif before and before.word == "ended":
                self._count_unheard(place, before)
                continue
            else:
                self._ended[place] = self._answered
            if state != before:
                self._states[place], self._pause = state, _ASK[0]

    def _places(self) -> list[str]:
        """Those of all workers that the engine has taken."""
        return [
            f"{batch}-{i}"
            for batch, about in self._batches.items()
            for i in range(about["count"])
            if not isinstance(about["id"], list) or about["id"][i] is not None
        ]

    def _has_long_ended(self, place: str) -> bool:
        return self._answered - self._ended.get(place, self._answered) > _LAG

    def _works(self) -> bool:
        """Whether a worker has a trial."""
        return any(posted.worker and posted.astray is None for posted in self.posted.values())

    def _count_unheard(self, place: str, state: State) -> None:
        """Raise StoreError where workers end without a sign of life, but for those that the engine
        or a person has ended."""
        if place in self._heard or place in self._counted or not self._has_long_ended(place):
            return
        self._counted.add(place)
        self._wait_to_submit()
        batch = place.rpartition("-")[0]
        # its driver died before the engine had answered: it may never have been started
        if self._batches[batch]["id"] is None or (not state.blame and state != GONE):
            return
        self._unheard += 1
        most = _UNHEARD if self._heard else min(_UNHEARD, self._batches[batch]["count"])
        if self._unheard < most or self._works():
            return
        output = self._output()
        raise StoreError(
            f"a worker that {self.engine.title} started {state.reason or 'ended'} and was never "
            f"heard of: either its machine does not see {self.box.site.resolve()}, or steep does "
            f"not start there (run.executor.setup and python){output}"
        )

    def _output(self) -> str:
        """The last lines that a worker printed, where its engine wrote them here."""
        for name in reversed(self.box.names("output")):
            if name.endswith(".txt"):
                with suppress(OSError):
                    text = (self.box.folder / "output" / name).read_text(errors="replace")
                    if lines := text.strip().splitlines():
                        return ". The end of what it printed:\n  " + "\n  ".join(lines[-5:])
        return ""

    def _submit(self) -> None:
        """Submit the missing workers to the engine, in one batch."""
        ended = {place for place in self._ended if self._has_long_ended(place)}
        alive = set(self._places()) - self._left - ended - set(self._deaf)
        missing = min(self.slots, len(self.posted)) - len(alive)
        if missing <= 0:
            self._refused = None
            return
        if time.monotonic() < self._next_try:
            return
        batch = f"w{len(self._submitted()) + 1}"
        about: dict[str, Any] = {"count": missing, "id": None}
        self.box.write(f"submitted/{batch}", about)
        try:
            ids = self.engine.submit(self.box, batch, missing)
        except StoreError:
            self._end_failed(batch, about, range(missing))
            # its name is not used again: the engine may have taken it all the same
            self.box.write(f"submitted/{batch}", about | {"count": 0})
            self._wait_to_submit()
            now = time.monotonic()
            self._refused = now if self._refused is None else self._refused
            persists = not self._batches or now - self._refused > _REFUSED
            if persists and not self._works():
                raise
            return
        self._refused = None
        self._batches[batch] = about | {"id": ids}
        self.box.write(f"submitted/{batch}", self._batches[batch])
        self._pause = _ASK[0]
        if isinstance(ids, list) and None in ids:
            self._end_failed(batch, about, [i for i, one in enumerate(ids) if one is None])
            self._wait_to_submit()

    def _end_failed(self, batch: str, about: Mapping[str, Any], places: Collection[int]) -> None:
        """End, by their names, workers that the engine may have started though it reported an
        error."""
        with suppress(StoreError):
            if len(places) == about["count"]:
                self.engine.cancel(self.box, {batch: about})
                return
            for i in places:
                self.engine.cancel(self.box, {batch: about}, f"{batch}-{i}")

    def _wait_to_submit(self) -> None:
        self._next_try = time.monotonic() + self._back_off
        self._back_off = min(2 * self._back_off, _BACK_OFF[1])

    # ------------------------------------------------------------ ends

    def adopt(self, attempts: Collection[tuple[str, int]]) -> list[tuple[Job, ...]]:
        """Take over the jobs of those attempts; others are ended."""
        adopted = []
        jobs_of = self.box.jobs()
        # In the order in which a job goes through them: what is in none was never queued, since
        # its driver died the moment before.
        waiting, taken = self.box.names("queue"), self.box.taken()
        finished = {name.partition(".")[0] for name in self.box.names("new")}
        for name, jobs in jobs_of.items():
            mine = tuple(job for job in jobs if (job.trial.id, job.attempt) in attempts)
            if mine:
                self.posted[name] = _Posted(mine)
                adopted.append(mine)
                if name not in {*waiting, *taken, *finished}:
                    self.box.queue(name)
            elif not self.box.withdraw(name):
                self.box.order(name, "kill")
            if not mine:
                self.box.remove(f"jobs/{name}.json")
        return adopted

    def close(self) -> None:
        """End every worker now, and the session with them."""
        with suppress(StoreError, Gone):
            for name in self.box.names("queue"):
                self.box.withdraw(name)
            for name in self.box.taken():
                self.box.order(name, "kill")
            self.box.order(ALL, "end")
        if self._batches:
            with suppress(StoreError):
                self.engine.cancel(self.box, self._batches)
        with suppress(Gone):
            self._wait(lambda: not self.box.taken(), _OBEY)
        self.box.close()
        os.close(self._lock)


class Remote:
    """See contracts/executor.py; ``Lasting``."""

    def __init__(
        self, folder: Path, site: Path, engine: Engine, slots: int, about: Mapping[str, Any]
    ) -> None:
        self.slots = slots
        self._folder, self._site, self._engine, self._about = folder, site, engine, dict(about)
        self._sessions: list[Session] = []
        self._current: Session | None = None
        self._number = 0
        self._waiting: list[Event] = []
        """Events that did not come by mail."""

    def check(self) -> None:
        """Raise StoreError where no worker could be started."""
        box = Mailbox.create(self._site)
        lock = _lock(box, own=True)
        assert lock is not None  # nobody looks at a session without its WORKER
        try:
            box.write(WORKER, self._about)
            self._engine.check(box)
        except BaseException:
            box.close()
            os.close(lock)
            raise
        self._current = Session(box, lock, self._engine, self.slots)
        self._sessions.append(self._current)

    def start(self, *jobs: Job) -> None:
        assert self._current is not None
        self._number += 1
        self._current.post(self._number, jobs)

    def poll(self, timeout: float) -> list[Event]:
        end, pause = time.monotonic() + timeout, _PAUSES[0]
        while True:
            events, self._waiting = self._waiting, []
            for session in self._sessions:
                events += session.poll()
            left = end - time.monotonic()
            if events or left <= 0:
                return events
            time.sleep(min(pause, left))
            pause = min(2 * pause, _PAUSES[1])

    def ask_to_stop(self) -> None:
        for session in self._sessions:
            self._waiting += session.ask_to_stop()

    def kill(self, trial: str, attempt: int) -> None:
        for session in self._sessions:
            if (name := session.has(trial, attempt)) is not None:
                self._waiting += session.kill(name, trial, attempt)

    def adopt(self, attempts: Collection[tuple[str, int]]) -> list[tuple[Job, ...]]:
        adopted: list[tuple[Job, ...]] = []
        for session in abandoned(self._folder, self.slots):
            try:
                jobs = session.adopt(attempts)
            except Gone:
                jobs = []
            if not jobs:
                session.close()
                continue
            adopted += jobs
            about = session.box.read(WORKER) or {}
            numbers = [int(name.partition("-")[0]) for name in session.posted]
            self._number = max(self._number, *numbers)
            self._sessions.append(session)
            own = {name: about.get(name) for name in self._about}
            if own == self._about and self._current is not None and not self._current.posted:
                self._sessions.remove(self._current)
                self._current.close()
                self._current = session  # its workers take what comes, too
        return adopted

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        self._sessions, self._current = [], None


def open_remote(
    folder: Path, name: str, options: Any, engine: Engine, slots: int, trainer: Trainer | None
) -> Remote:
    """An executor whose workers ``engine`` starts; of its ``options``, walltime, grace and idle are
    for the workers.

    Raises StoreError for a ``trainer`` that only lives in this process, and where the engine says
    that it could not start workers."""
    if trainer is not None:
        raise StoreError(
            f"a function of this process cannot be sent to {engine.title}: name it in the spec "
            "(trainer: {name: function, function: file.py:NAME})"
        )
    module = member(TRAINERS, read_spec(folder).spec.trainer.name)
    site = prepare_site(folder, options.shared)
    about = {
        "study": str(folder.resolve()),
        "token": None if site == folder else mailbox.token(folder),
        "executor": {"name": name, **options.model_dump(mode="json")},
        "versions": versions(),
        "path": [entry or os.getcwd() for entry in sys.path],
        "preload": list(getattr(module, "PRELOAD", ())),
        "walltime": None if options.walltime is None else parse_duration(options.walltime),
        "grace": parse_duration(options.grace),
        "idle": parse_duration(options.idle),
    }
    remote = Remote(folder, site, engine, slots, about)
    remote.check()
    return remote


def abandoned(folder: Path, slots: int = 1) -> Iterable[Session]:
    """The sessions of drivers that are gone, which are this process's from now on."""
    for box in mailbox.sessions(folder):
        lock = _lock(box)
        if lock is None:
            continue
        about = box.read(WORKER)
        own = box.site == folder.resolve()
        if (
            about is None
            or about["study"] != str(folder.resolve())
            or not (own or about.get("token") == mailbox.token(folder))
        ):
            # of the study that this one is a copy of: its mail came along, its workers did not
            if own:
                box.close()
            os.close(lock)
            continue
        if _is_held(box, folder):
            os.close(lock)
            continue
        options = dict(about["executor"])
        module = member(EXECUTORS, options.pop("name"))
        engine = module.open_engine(module.Options.model_validate(options))
        try:
            session = Session(box, lock, engine, slots)
        except Gone:  # its driver ended it at this moment
            os.close(lock)
            continue
        yield session


def _is_held(box: Mailbox, folder: Path) -> bool:
    """Whether a job of a session is still its driver's, as far as the store shows: in a
    container that has ended, say, until its lease has."""
    with suppress(Gone, StoreError), Store.open(folder, read_only=True) as store:
        held = store.held()
        return any(
            (job.trial.id, job.attempt) in held for jobs in box.jobs().values() for job in jobs
        )
    return False


def end_abandoned(folder: Path) -> None:
    """End the workers that drivers which are gone have left, for a run that will not use them."""
    for session in abandoned(folder):
        session.close()


def _lock(box: Mailbox, own: bool = False) -> int | None:
    """The lock of a session's driver, which ends with its process. None while another has it, or,
    but for one's ``own``, on a file system without locks, where nobody knows."""
    import fcntl

    try:
        handle = os.open(box.folder / ".driver", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if own and not isinstance(error, BlockingIOError):
            return handle
        os.close(handle)
        return None
    return handle
