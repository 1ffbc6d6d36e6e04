"""Train: run the trials that the plan wants, until it wants no more.

The driver asks the plan, starts workers, and alone records what they send. Everything it decides
on is in the store, so killing it at any moment loses nothing that was recorded, and running it
again goes on: plan again, run what is missing. Several drivers may share one study.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from steep.base.memory import SHARE, MemoryBudget, free_memory
from steep.base.stop_request import Stop
from steep.contracts.executor import Event, Executor, Job, Kind
from steep.contracts.planner import Wanted
from steep.executors.trial_queue import Queue
from steep.plan.budget import Budget
from steep.records import Measurement, Status, Trial
from steep.spec.sections import Run
from steep.store import lease
from steep.store.recordable import recordable
from steep.store.store import Store, StoreError
from steep.store.trial_rows import Row

Plan = Callable[[Sequence[Measurement], Sequence[Trial], float | None], Sequence[Wanted]]
"""(finished, running, FLOPs left; None: no bound) -> the trials wanted and not finished; [] when
the search is over."""

FAILED = (Status.FAILED, Status.TIMEOUT)
_OVER = (Kind.RESULT, Kind.FAILURE, Kind.DRAINED, Kind.LOST)
_FAILED = (Kind.FAILURE, Kind.LOST)
_GRACE = 0.1
"""Seconds that a stop request may come later here than to a worker: what it ends there in the
meantime has not failed."""
_POLL = 0.2
"""Seconds between looks at the clock, the request to stop and the other drivers."""
_OOM_ATTEMPTS = 2
"""A trial that ran out of memory once may have been crowded out; twice, it is too large."""
_STARTING = 120.0
"""Seconds that a worker may take to come up: importing torch from a cold disk takes long."""
_STOOD_STILL = 2.0
"""Seconds between two looks at the clock above which this process did not run (Ctrl-Z, a suspended
machine): they count against no trial."""
_NO_START = 60.0
"""Seconds without any worker before it is given up to start one."""
_WIDER = 30.0
"""Seconds before one worker more is tried, where the machine's limit was met."""
_GENEROUS, _SHORTEST, _LONGEST = 20.0, 300.0, 86_400.0
"""A trial that takes so many times what is predicted of it hangs; within the shortest time nobody
can tell, and before any has ended nothing is predicted."""
_STEEPER = 1.5
"""A trial's time may grow as this power of its cost."""
_LAST_LINES = 6
"""Of a traceback, told where every trial fails."""


class StudyFailed(RuntimeError):
    """Every trial failed: what is wrong is not one trial's. The message says how."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and how the study's trials stand."""

    word: str
    """'complete'; 'partial': some trials FAILED or met their TIMEOUT; 'drained': stopped on
    request; 'budget': what is left costs more than the budget; 'failed': no trial of the study has
    ended but by failing, and all of the smallest shard's have failed."""
    trials: int
    complete: int
    capped: int
    stopped: int
    diverged: int
    failed: int
    timeout: int
    unfinished: int
    """Planned and not ended."""
    ran: int
    """Results recorded by this run."""
    retried: int
    """Attempts of this run that failed."""
    seconds: float
    error: str | None = None
    """Of 'failed': how."""
    enough: float | None = None
    """Of 'budget', where it was a time: seconds in which what is wanted next would fit."""

    def then(self, follow: Outcome, cut_short: bool = False) -> Outcome:
        """The outcome of this run and of ``follow`` after it, on the same study; ``cut_short``:
        where ``follow`` was drained, it was by the budget's end."""
        word = "budget" if cut_short and follow.word == "drained" else follow.word
        return replace(
            follow,
            word="budget" if self.word == "budget" and word in ("complete", "partial") else word,
            ran=self.ran + follow.ran,
            retried=self.retried + follow.retried,
            seconds=self.seconds + follow.seconds,
        )


def train(
    store: Store,
    plan: Plan,
    executor: Executor,
    *,
    cost: Callable[[Trial], float],
    run: Run,
    memory: Callable[[Trial], float | None] = lambda trial: None,
    observe: Callable[[Event], None] | None = None,
    budget: Budget | None = None,
    held_out: bool = False,
    stop: Stop | None = None,
) -> Outcome:
    """Run what ``plan`` wants until it wants no more; longest first by ``cost`` (FLOPs), shortest
    first where the ``budget`` does not reach for all.

    A trial whose expected ``memory`` (bytes) would not fit beside those that run waits for them.
    ``budget`` bounds what this call starts; of trials that are ``held_out`` it has put their part
    aside. ``observe`` gets every event once it is recorded. Raises StoreError when the store
    cannot record; what it has recorded stays, and the same call goes on from there."""
    store.lease = run.lease
    free = free_memory()
    memory_budget = MemoryBudget(None if free is None else SHARE * free, memory)
    stop = stop or threading.Event()
    driver = _Driver(
        store, plan, executor, cost, memory_budget, run, observe or (lambda _: None), budget, stop
    )
    driver.held_out = held_out
    try:
        return driver.loop()
    except BaseException:
        driver.abandon("its driver stopped")
        raise


@dataclass
class _Running:
    """An attempt of this driver's."""

    trial: Trial
    attempt: int
    worker: int
    """Its number: members of a pack share one."""
    began: float
    heard: float
    """When it last gave a sign of life, on the monotonic clock."""
    beaten: float
    """When its lease was last renewed for it, while its worker comes up."""
    up: bool = False
    """Its worker has started."""

    def hear(self) -> None:
        """A sign of life; the deadline counts from the first one."""
        self.heard = lease.now()
        if not self.up:
            self.up, self.began = True, self.heard


class _Driver:
    """The loop's state: what is queued, what runs, what was spent."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        executor: Executor,
        cost: Callable[[Trial], float],
        memory_budget: MemoryBudget,
        run: Run,
        observe: Callable[[Event], None],
        budget: Budget | None,
        stop: Stop,
    ) -> None:
        self.stop = stop
        self.store, self.plan, self.executor, self.run = store, plan, executor, run
        self.cost, self.memory, self.observe, self.budget = (
            cost,
            memory_budget,
            observe,
            budget,
        )
        self.wanted: Sequence[Wanted] = ()
        """What the plan said last."""
        self.queue = Queue()
        self.running: dict[tuple[str, int], _Running] = {}
        self.stale = True
        """Results have changed since the plan was last asked."""
        self.requeue = True
        """More has changed than that trials of this driver have ended."""
        self.held_out = False
        self.over_budget = False
        self.succeeded = False
        """Whether any trial of the study has ended but by failing."""
        self.first: set[str] | None = None
        """The trials of the smallest shard that were wanted first."""
        self.failed: dict[str, dict[str, Any]] = {}
        self.lost: set[str] = set()
        """Trials of this run that failed in every attempt they have."""
        """How trials failed in this run, by id."""
        self.given_up: set[str] = set()
        """Those that are not tried again."""
        self.ran = self.retried = self.workers = 0
        self.begun = lease.now()
        self.looked = -math.inf
        self.watched = lease.now()
        self.elsewhere: set[Trial] = set()
        """Wanted trials that another driver runs."""
        self.slots = executor.slots
        """Fewer than the executor's where the machine lets no more start."""
        self.not_started: list[float] = []
        """When starting a worker failed, since one last worked."""
        self.slowest: dict[int, tuple[float, float]] = {}
        """By size, the longest that an ended trial took: seconds, cost."""
        for measured in store.measurements():
            self.learn(measured)

    def loop(self) -> Outcome:
        stop_requested = False
        while True:
            if self.stop.is_set():
                if getattr(self.stop, "now", False):
                    self.abandon("stopped at once")
                    return self.outcome("drained")
                if not stop_requested:
                    self.executor.ask_to_stop()
                    stop_requested = True
            self.look_around()
            if not stop_requested:
                self.fill()
            if self.hopeless():
                self.abandon("every trial fails")
                return self.outcome("failed")
            if not self.running and (stop_requested or not self.waiting()):
                break
            events = self.executor.poll(_POLL)
            self.take([event for event in events if _cause(event) != "changed"])
            for event in events:
                if _cause(event) == "changed":  # no attempt is to blame: nothing may go on
                    raise StoreError(event.payload["reason"])
            self.watch()
        if stop_requested:
            return self.outcome("drained")
        return self.outcome("budget" if self.over_budget else "complete")

    # ------------------------------------------------------------ what to run

    def look_around(self) -> None:
        """See what other drivers did, and take back what dead ones left."""
        if self.store.changed():
            self.stale = self.requeue = True
        if lease.now() - self.looked > min(2.0, self.run.lease / 4):
            self.looked = lease.now()
            for gone in self.store.reclaim():
                self.stale = self.requeue = True
                text = f"attempt {gone.attempt} was given up: {gone.reason}"
                self.tell(Event(Kind.NOTE, gone.trial, gone.attempt, {"text": text}))

    def fill(self) -> None:
        """Ask the plan if results changed, and start trials while slots are free. A plan may name
        what comes next only once it sees the last one run: asked again while it has more."""
        if self.stale:
            self.ask()
        if self.resting():
            return
        while self.free():
            jobs: list[Job] = []
            self.workers += 1
            while len(jobs) < self.run.pack and (want := self.following(jobs)) is not None:
                self.queue.remove(want.trial)
                claimed = self.claimed(want)
                for job in claimed:
                    now = lease.now()
                    started = _Running(job.trial, job.attempt, self.workers, now, now, now)
                    self.running[job.trial.id, job.attempt] = started
                jobs += claimed
                more = self.free() or len(jobs) < self.run.pack
                if claimed and not self.queue and more:  # what was refused would be named again
                    self.ask()
            if not jobs:
                break
            self.executor.start(*jobs)

    def free(self) -> bool:
        """Whether a worker could start."""
        return len({attempt.worker for attempt in self.running.values()}) < self.slots

    def resting(self) -> bool:
        """Whether to wait before another worker is started: the last could not be."""
        if not self.not_started:
            return False
        since = lease.now() - self.not_started[-1]
        if self.running:
            if since > _WIDER:
                self.slots = min(self.slots + 1, self.executor.slots)
                self.not_started = []
            return False
        return since < min(2.0 ** len(self.not_started) / 4, 10.0)

    def could_not_start(self, event: Event) -> None:
        """Go on with fewer workers; give up when there has been none for a minute."""
        reason, now = event.payload["reason"], lease.now()
        self.slots = max(1, len({attempt.worker for attempt in self.running.values()}))
        if not self.not_started:
            text = f"{reason}: trying again, with {self.slots} at a time"
            self.tell(Event(Kind.NOTE, event.trial, event.attempt, {"text": text}))
        self.not_started.append(now)
        if not self.running and now - self.not_started[0] > _NO_START:
            raise StoreError(
                f"{reason}, for {_NO_START:g} seconds. No trial has failed for it: raise the limit "
                "and run the same command"
            )

    def following(self, pack: Sequence[Job]) -> Wanted | None:
        """The first in the queue that fits into memory beside what runs and goes with ``pack``."""
        others = [attempt.trial for attempt in self.running.values()]
        for want in self.queue:
            if pack and not self.together(want, pack[0]):
                continue
            if self.memory.admits(want.trial, others):
                return want
        return None

    def together(self, want: Wanted, first: Job) -> bool:
        """Whether they may share a worker: one that failed is tried again alone, lest it ends
        the others."""
        alike = _pack(want) == _pack(first)
        return alike and not any(self.store.failures(one.trial.id) for one in (want, first))

    def claimed(self, want: Wanted) -> list[Job]:
        """A job for it; none where it is over the budget or taken by another driver meanwhile."""
        if self.budget and not self.budget.affords(want.trial, self.going(), self.held_out):
            self.over_budget = True
            return []
        attempt = self.store.claim(want.trial, self.store.owner, want.up_to_steps)
        if attempt is None:
            self.stale = self.requeue = True
            return []
        folder, packed = self.store.folder, self.run.pack > 1
        return [Job(folder, want.trial, attempt, want.up_to_steps, packed)]

    def going(self) -> dict[Trial, float]:
        """What runs here, with the seconds since it began."""
        now = lease.now()
        return {attempt.trial: now - attempt.began for attempt in self.running.values()}

    def ask(self) -> None:
        """Ask the plan, and queue what it wants. One that says the same again, the very same
        object, wants nothing new: what has ended since has left the queue."""
        self.stale = False
        finished, running = self.store.measured(), self.store.running()
        self.succeeded = self.succeeded or any(m.status not in FAILED for m in finished)
        if self.budget is not None:
            self.budget.update(finished)
        left = None if self.budget is None else self.budget.left(self.going())
        wanted = self.plan(finished, running, left)
        # while nothing ends well, those that were not tried yet go first, smallest shard first
        doubtful = bool(self.failed and not self.succeeded)
        if self.requeue or doubtful or wanted is not self.wanted:
            self.wanted, self.requeue = wanted, doubtful
            self.plan_queue(running, doubtful)
        sign = 1 if left is not None and self.queue.total(self.price) > left else -1

        def rank(want: Wanted) -> tuple[Any, ...]:
            usual = (not want.early, 0.0 if want.early else sign * self.price(want))
            return (*self.doubtful(want), *usual) if doubtful else usual

        self.queue.rank(rank)
        self.over_budget = False

    def plan_queue(self, running: Sequence[Trial], doubtful: bool) -> None:
        """Plan and queue what is wanted and has not ended; those that are ``doubtful`` each by
        itself."""
        rows = self.store.trials()
        missing = [want for want in self.wanted if _left(want, rows.get(want.trial.id))]
        new: dict[str, list[Trial]] = {}
        for want in missing:
            if want.trial.id not in rows:
                new.setdefault(want.why, []).append(want.trial)
        for why, trials in new.items():
            self.store.add(trials, why)
        if self.first is None and missing:
            smallest = min(want.trial.samples for want in missing)
            self.first = {w.trial.id for w in missing if w.trial.samples == smallest}
        mine = {attempt.trial for attempt in self.running.values()}
        waiting = [want for want in missing if want.trial not in mine]
        self.queue = Queue(waiting) if doubtful else Queue(waiting, self.alike)
        self.elsewhere = set(running) - mine
        self.elsewhere &= {want.trial for want in missing}

    def alike(self, want: Wanted) -> tuple[Any, ...]:
        """What trials of one price have in common."""
        return want.early, self.cost(want.trial), want.trial.samples, want.trial.size

    def price(self, want: Wanted) -> float:
        """What it is expected to cost: by what others have, where there is a budget."""
        known = None if self.budget is None else self.budget.cost(want.trial)
        return self.cost(want.trial) if known is None else known

    def hopeless(self) -> bool:
        """Whether all trials of the smallest shard have failed, one of them in every attempt that
        it has, and no other has ended: a failure that goes away when it is tried again is none."""
        if not self.first or self.succeeded:
            return False
        return self.first <= self.failed.keys() and bool(self.lost & self.first)

    def doubtful(self, want: Wanted) -> tuple[bool, bool, float]:
        """Order while nothing has ended well: the smallest shard's trials once, then again."""
        name = want.trial.id
        return name not in (self.first or ()), name in self.failed, want.trial.samples

    def waiting(self) -> bool:
        """Whether something may still come: queued here, or run by another driver."""
        return bool(self.queue or self.stale or self.elsewhere)

    # ------------------------------------------------------------ what came back

    def take(self, events: Sequence[Event]) -> None:
        """Record events in one transaction, then let the observer see them."""
        if not events:
            return
        recorded: list[Event] = []
        fenced: list[Event] = []
        over: set[tuple[str, int]] = set()
        if any(event.kind in (Kind.FAILURE, Kind.LOST) for event in events):
            time.sleep(_GRACE)
        with self.store.batch():
            for event in events:
                key = (event.trial, event.attempt)
                attempt = self.running.get(key)
                if attempt is None or key in over:
                    continue  # a last heartbeat, or of an attempt that was ended here
                attempt.hear()
                event = self.charged(recordable(event, attempt.trial))
                if (word := self.last_word(event, attempt)) is not None:
                    self.lost.add(event.trial)
                kept = self.store.record(event, word)
                (recorded if kept else fenced).append(event)
                if not kept or event.kind in _OVER:
                    over.add(key)
        for event in fenced:
            text = f"attempt {event.attempt} had been taken over: what it sent is not used"
            self.executor.kill(event.trial, event.attempt)
            self.forget(event)
            self.tell(Event(Kind.NOTE, event.trial, event.attempt, {"text": text}))
        for event in recorded:
            if event.kind in _OVER:
                self.settle(event)
            elif event.kind != Kind.STARTED and self.slots == self.executor.slots:
                self.not_started = []
            self.observe(event)
        for event in recorded:
            cause = _cause(event)
            if cause == "start":
                self.could_not_start(event)
            elif cause == "data":
                raise StoreError(
                    f"the data under {self.store.folder} changed during the run, and no trial was "
                    f"trained on what they are now: {event.payload['reason']}. Put them back and "
                    "run the same command"
                )

    def charged(self, event: Event) -> Event:
        """A failure that is not the trial's own is none of its attempts: nothing could be started,
        the data are others, or everybody was asked to stop, and it took that for an end."""
        if event.kind not in _FAILED:
            return event
        cause = _cause(event)
        if cause in ("start", "data") or (self.stop.is_set() and cause != "timeout"):
            return replace(event, payload={**event.payload, "killed": True})
        return event

    def settle(self, event: Event) -> None:
        """An attempt is over and recorded: free its slot, queue the trial again if it failed."""
        attempt = self.forget(event)
        if attempt is None:
            return
        if event.kind in _FAILED and not event.payload.get("killed"):
            self.retried += 1
            if event.kind == Kind.FAILURE or event.trial in self.given_up:
                self.failed[event.trial] = event.payload
        elif event.kind == Kind.RESULT:
            self.ran += 1
            self.succeeded |= event.payload.status not in FAILED
            self.memory.learn(event.payload)
            self.learn(event.payload)

    def forget(self, event: Event) -> _Running | None:
        self.stale = True
        if event.kind != Kind.RESULT or event.payload.status == Status.STOPPED:
            self.requeue = True
        return self.running.pop((event.trial, event.attempt), None)

    def last_word(self, event: Event, attempt: _Running) -> Measurement | None:
        """The measurement that ends a trial whose attempt failed, unless it is to be retried."""
        if event.kind not in _FAILED or event.payload.get("killed"):
            return None
        reason = event.payload["reason"]
        status = Status.FAILED
        tried = len(self.store.failures(event.trial)) + 1
        limit = self.run.max_attempts
        if _cause(event) == "oom":
            limit = min(limit, _OOM_ATTEMPTS)
        if _cause(event) == "answer":  # it would return the same again
            limit = 1
        if _cause(event) == "timeout":
            limit, status = 1, Status.TIMEOUT
        if tried < limit:
            return None
        self.given_up.add(event.trial)
        curve = tuple(self.store.progress(event.trial))
        steps = curve[-1].step if curve else 0
        seconds = lease.now() - attempt.began
        if tried > 1:
            reason = f"{reason} (attempt {tried} of {limit})"
        return Measurement(attempt.trial, status, reason, steps=steps, seconds=seconds, curve=curve)

    def learn(self, measured: Measurement) -> None:
        """Remember how long trials take, to know one that hangs."""
        seconds, cost = self.slowest.get(measured.trial.size, (0.0, 0.0))
        if measured.seconds > seconds:
            cost = self.cost(measured.trial)
            self.slowest[measured.trial.size] = (measured.seconds, cost)

    def allowed(self, trial: Trial) -> float:
        """Seconds after which an attempt hangs: the spec's, or many times what those that have
        ended predict."""
        if self.run.timeout is not None:
            return self.run.timeout
        cost = self.cost(trial)
        predicted = [
            seconds * max(1.0, cost / max(other, 1e-300)) ** _STEEPER
            for seconds, other in self.slowest.values()
        ]
        return max(_SHORTEST, _GENEROUS * max(predicted)) if predicted else _LONGEST

    def watch(self) -> None:
        """End attempts that hang or went silent; keep the leases of those still coming up."""
        now = lease.now()
        still = now - self.watched
        self.watched = now
        if still > _STOOD_STILL:
            # What the workers said in the meantime may not have been read yet, so their silence
            # means nothing, and how long they took cannot be known from here.
            for attempt in self.running.values():
                attempt.heard = now
                attempt.began += still
            return
        for attempt in list(self.running.values()):
            silent = now - attempt.heard
            limit = self.run.lease if attempt.up else max(self.run.lease, _STARTING)
            if now - attempt.began > (allowed := self.allowed(attempt.trial)):
                hint = ""
                if self.run.timeout is None:
                    hint = f", {_GENEROUS:g} times what was predicted; run.timeout sets another"
                reason = f"timeout: not done after {round(allowed, 1):g} seconds{hint}"
                self.end(attempt, Kind.FAILURE, {"reason": reason, "cause": "timeout"})
            elif silent > limit:
                reason = f"no sign of life for {limit:g} seconds"
                self.end(attempt, Kind.LOST, {"reason": reason})
            elif not attempt.up and now - attempt.beaten > self.run.lease / 5:
                self.store.beat(attempt.trial.id, attempt.attempt)
                attempt.beaten = now

    def end(self, attempt: _Running, kind: Kind, payload: dict[str, Any]) -> None:
        """Kill an attempt, then say how it ended: its retry never meets it alive."""
        self.executor.kill(attempt.trial.id, attempt.attempt)
        self.take([Event(kind, attempt.trial.id, attempt.attempt, payload)])

    def abandon(self, reason: str) -> None:
        """Kill everything now and give it back; nobody's attempts are counted as failed."""
        self.executor.close()
        with suppress(StoreError), self.store.batch():
            for attempt in self.running.values():
                payload = {"reason": reason, "killed": True}
                self.store.record(Event(Kind.LOST, attempt.trial.id, attempt.attempt, payload))
        self.running.clear()

    def tell(self, event: Event) -> None:
        self.store.note(event.payload["text"], event.trial, event.attempt)
        self.observe(event)

    def outcome(self, word: str) -> Outcome:
        statuses = [row.status for row in self.store.rows()]
        count = statuses.count
        failed, timeout = count(Status.FAILED), count(Status.TIMEOUT)
        if word == "complete" and (failed or timeout):
            word = "partial"
        return Outcome(
            word=word,
            trials=len(statuses),
            complete=count(Status.COMPLETE),
            capped=count(Status.CAPPED),
            stopped=count(Status.STOPPED),
            diverged=count(Status.DIVERGED),
            failed=failed,
            timeout=timeout,
            unfinished=count(Status.PLANNED) + count(Status.RUNNING),
            ran=self.ran,
            retried=self.retried,
            seconds=lease.now() - self.begun,
            error=_how_all_failed(list(self.failed.values())) if word == "failed" else None,
        )


def _cause(event: Event) -> str:
    """Of a failure: 'error', 'oom', 'timeout', 'start', 'data', 'answer' (what the user's code
    returned) or 'changed' (other code than the study began with)."""
    return str(event.payload.get("cause", "")) if event.kind in _FAILED else ""


def _how_all_failed(payloads: Sequence[dict[str, Any]]) -> str:
    """The most frequent reason, once, with the last lines of its traceback."""
    reasons = [str(payload["reason"]) for payload in payloads]
    most = max(dict.fromkeys(reasons), key=reasons.count)
    same = reasons.count(most)
    head = f"every trial failed, {same} of {len(reasons)} with: {most}"
    detail = next((p.get("detail") for p in payloads if p["reason"] == most), None)
    lines = (detail or "").rstrip().splitlines()[-_LAST_LINES:]
    return "\n".join([head, *(f"    {line}" for line in lines)])


def _pack(one: Wanted | Job) -> tuple[Any, ...]:
    """What trials of a pack have in common: all but seed and learning rate."""
    trial = one.trial
    rest = [pair for pair in trial.hyperparameters if pair[0] != "learning_rate"]
    return trial.permutation, trial.items, trial.size, tuple(rest), one.up_to_steps


def _left(want: Wanted, row: Row | None) -> bool:
    """Whether a wanted trial is still to be run: not ended, or stopped short of what is wanted."""
    measured = None if row is None else row.measurement
    if measured is None:
        return True
    if measured.status != Status.STOPPED:
        return False
    return want.up_to_steps is None or want.up_to_steps > measured.steps
