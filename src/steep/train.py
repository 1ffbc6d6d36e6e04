"""Train: run the trials that the plan requests, until it requests no more.

The driver calls the plan, starts workers, and is the only one to record what they send. All state
that it decides on is in the store: killing it at any moment loses nothing that was recorded, and
running it again resumes the study. Several drivers may share one study.
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
from steep.contracts.executor import Event, Executor, Job, Kind, Lasting
from steep.contracts.planner import TrialRequest
from steep.executors.failures import (
    FAILURES,
    Failures,
    cause,
    counts,
    final_status,
    without_blame,
)
from steep.executors.time_limits import TimeLimits
from steep.executors.trial_queue import Queue, must_run, pack_of
from steep.plan.budget import Budget
from steep.records import Measurement, Status, Trial
from steep.spec.sections import Run
from steep.store import lease
from steep.store.recordable import recordable
from steep.store.store import Store, StoreError

Plan = Callable[[Sequence[Measurement], Sequence[Trial], float | None], Sequence[TrialRequest]]
"""(finished, running, FLOPs left or None if unlimited) -> the unfinished trials to run; [] when
the search is over."""

_OVER = (Kind.RESULT, Kind.FAILURE, Kind.DRAINED, Kind.LOST)
_GRACE = 0.1
"""Seconds by which a stop request may reach this process later than a worker: a worker that it
ends in between has not failed."""
_POLL = 0.2
"""Seconds between checks of the clock, of a stop request and of the other drivers."""
_STARTING = 120.0
"""Seconds that a worker may take to start: importing torch from a cold disk takes long."""
_SUSPENDED = 2.0
"""A longer gap between two checks of the clock means that this process was suspended (Ctrl-Z, a
sleeping machine). Such a gap, in seconds, counts against no trial."""
_NO_START = 60.0
"""Seconds without any worker after which the run is given up."""
_RETRY_SLOT = 30.0
"""Seconds after which one more worker is tried, once the machine refused to start one."""


class StudyFailed(RuntimeError):
    """Every trial failed, so the cause is not in a single trial. The message has the reason."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and the status of the study's trials."""

    word: str
    """'complete'; 'partial': some trials FAILED or reached their TIMEOUT; 'drained': stopped on
    request; 'budget': what is left costs more than the budget; 'failed': no trial of the study
    has succeeded, and all of the smallest shard's have failed."""
    trials: int
    complete: int
    capped: int
    stopped: int
    diverged: int
    failed: int
    timeout: int
    unfinished: int
    """Planned or running."""
    ran: int
    """Results recorded by this run."""
    retried: int
    """Attempts of this run that failed."""
    seconds: float
    error: str | None = None
    """With 'failed': the most frequent reason."""
    enough: float | None = None
    """With 'budget', if it was a time: the seconds that the next requested trials would need."""

    def then(self, follow: Outcome, cut_short: bool = False) -> Outcome:
        """The joint outcome of this run and of ``follow``, the next one on the same study.

        ``cut_short``: if ``follow`` was stopped, the end of the budget stopped it."""
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
    """Run the trials that ``plan`` requests until it requests no more.

    Trials start in the order of their ``cost`` (FLOPs): the most expensive first, or the cheapest
    first if the ``budget`` does not suffice for all. A trial whose expected ``memory`` (bytes)
    exceeds what the running ones leave waits for them.

    ``budget`` limits what this call starts; a part of it is reserved for ``held_out`` trials.
    ``observe`` receives every event after it was recorded. Raises StoreError when the store
    cannot record; what was recorded stays, and the same call resumes."""
    store.lease = run.lease
    free = None if isinstance(executor, Lasting) else free_memory()
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
    """An attempt at a trial that a worker of this driver runs."""

    trial: Trial
    attempt: int
    worker: int
    """The worker's number; the members of a pack share one."""
    began: float
    last_event: float
    """When its worker last sent anything, on the monotonic clock."""
    renewed: float
    """When the driver last renewed its lease, which it does until the worker has started."""
    started: bool = False
    """Its worker has started."""

    def note_event(self, kind: Kind) -> None:
        """Register a sign of life; the deadline counts from the first of its worker."""
        self.last_event = lease.now()
        if not self.started:
            self.started, self.began = kind != Kind.QUEUED, self.last_event


class _Driver:
    """The training loop and its state: what is queued, what runs, what has failed."""

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
        self.cost, self.memory = cost, memory_budget
        self.observe, self.budget = observe, budget
        self.requests: Sequence[TrialRequest] = ()
        """What the plan returned last."""
        self.queue = Queue()
        self.running: dict[tuple[str, int], _Running] = {}
        self.stale = True
        """Results have changed since the plan was last called."""
        self.requeue = True
        """The queue must be rebuilt: more has changed than trials of this driver that ended."""
        self.held_out = False
        self.over_budget = False
        self.failures = Failures()
        self.ran = self.retried = self.workers = 0
        self.begun = lease.now()
        self.last_reclaim = -math.inf
        self.last_watch = lease.now()
        self.elsewhere: set[Trial] = set()
        """Requested trials that another driver runs."""
        self.slots = executor.slots
        """Workers at a time: fewer than the executor's if the machine refuses to start more."""
        self.not_started: list[float] = []
        """When starting a worker failed, since a worker last ran."""
        self.limits = TimeLimits(run.timeout, cost, store.measurements())

    def loop(self) -> Outcome:
        stop_requested = False
        while True:
            if self.stop.is_set():
                if getattr(self.stop, "now", False):
                    self.abandon("stopped at once")
                    return self.outcome("drained")
                if not stop_requested:
                    self.executor.ask_to_stop()
                    self.give_up_starting()
                    stop_requested = True
            self.follow_other_drivers()
            if not stop_requested:
                self.fill()
            if self.failures.hopeless():
                self.abandon("every trial fails")
                return self.outcome("failed")
            if not self.running and (stop_requested or not self.waiting()):
                break
            events = self.executor.poll(_POLL)
            self.take([event for event in events if cause(event) != "changed"])
            for event in events:
                if cause(event) == "changed":  # no attempt is to blame: nothing may go on
                    raise StoreError(event.payload["reason"])
            self.watch()
        if stop_requested:
            return self.outcome("drained")
        return self.outcome("budget" if self.over_budget else "complete")

    # ------------------------------------------------------------ what to run

    def follow_other_drivers(self) -> None:
        """Notice what other drivers recorded, and take over the attempts of dead ones."""
        if self.store.changed():
            self.stale = self.requeue = True
        if lease.now() - self.last_reclaim > min(2.0, self.run.lease / 4):
            self.last_reclaim = lease.now()
            self.adopt()
            for gone in self.store.reclaim():
                self.stale = self.requeue = True
                text = f"attempt {gone.attempt} was given up: {gone.reason}"
                self.note(Event(Kind.NOTE, gone.trial, gone.attempt, {"text": text}))

    def fill(self) -> None:
        """Call the plan if results changed, and start trials while slots are free.

        A plan may return the next trial only after the last one has started, so it is called
        again while slots are free and the queue is empty."""
        if self.stale:
            self.call_plan()
        if self.waiting_to_retry():
            return
        while self.free():
            jobs: list[Job] = []
            self.workers += 1
            while len(jobs) < self.run.pack and (request := self.following(jobs)) is not None:
                self.queue.remove(request.trial)
                claimed = self.claimed(request)
                self.register(claimed)
                jobs += claimed
                more = self.free() or len(jobs) < self.run.pack
                if claimed and not self.queue and more:  # after a refusal it would return the same
                    self.call_plan()
            if not jobs:
                break
            self.executor.start(*jobs)

    def register(self, jobs: Sequence[Job]) -> None:
        """Count attempts as running, in the worker that was numbered last."""
        now = lease.now()
        for job in jobs:
            attempt = _Running(job.trial, job.attempt, self.workers, now, now, now)
            self.running[job.trial.id, job.attempt] = attempt

    def adopt(self) -> None:
        """Go on with attempts of drivers that are gone, if their workers have outlived them."""
        if isinstance(self.executor, Lasting):
            for jobs in self.executor.adopt(self.store.abandoned()):
                self.workers += 1
                self.register([job for job in jobs if self.store.adopt(job.trial.id, job.attempt)])
                self.stale = self.requeue = True  # they are not another driver's any more
                if self.stop.is_set():
                    self.executor.ask_to_stop()

    def free(self) -> bool:
        """Whether a worker could start."""
        return len({attempt.worker for attempt in self.running.values()}) < self.slots

    def waiting_to_retry(self) -> bool:
        """Whether to wait before starting another worker, because the last one could not start."""
        if not self.not_started:
            return False
        since = lease.now() - self.not_started[-1]
        if self.running:
            if since > _RETRY_SLOT:
                self.slots = min(self.slots + 1, self.executor.slots)
                self.not_started = []
            return False
        return since < min(2.0 ** len(self.not_started) / 4, 10.0)

    def could_not_start(self, event: Event) -> None:
        """Continue with fewer workers; give up after a minute without any."""
        reason, now = event.payload["reason"], lease.now()
        self.slots = max(1, len({attempt.worker for attempt in self.running.values()}))
        if not self.not_started:
            text = f"{reason}: trying again, with {self.slots} at a time"
            self.note(Event(Kind.NOTE, event.trial, event.attempt, {"text": text}))
        self.not_started.append(now)
        if not self.running and now - self.not_started[0] > _NO_START:
            raise StoreError(
                f"{reason}, for {_NO_START:g} seconds. No trial has failed for it: raise the limit "
                "and run the same command"
            )

    def following(self, pack: Sequence[Job]) -> TrialRequest | None:
        """The first queued trial that fits into ``pack`` and into the memory that is free."""
        others = [attempt.trial for attempt in self.running.values()]
        for request in self.queue:
            if pack and not self.together(request, pack[0]):
                continue
            if self.memory.admits(request.trial, others):
                return request
        return None

    def together(self, request: TrialRequest, first: Job) -> bool:
        """Whether two trials may share a worker. One that has failed is retried alone, since its
        next failure would end the others."""
        alike = pack_of(request) == pack_of(first)
        return alike and not any(self.store.failures(one.trial.id) for one in (request, first))

    def claimed(self, request: TrialRequest) -> list[Job]:
        """A job for the trial; none if it exceeds the budget or another driver has claimed it."""
        if self.budget and not self.budget.affords(request.trial, self.going(), self.held_out):
            self.over_budget = True
            return []
        attempt = self.store.claim(request.trial, self.store.owner, request.up_to_steps)
        if attempt is None:
            self.stale = self.requeue = True
            return []
        folder, packed = self.store.folder, self.run.pack > 1
        return [Job(folder, request.trial, attempt, request.up_to_steps, packed)]

    def going(self) -> dict[Trial, float]:
        """The trials that this driver runs, with the seconds since each began."""
        now = lease.now()
        return {attempt.trial: now - attempt.began for attempt in self.running.values()}

    def call_plan(self) -> None:
        """Call the plan and queue the trials that it requests.

        If it returns the same object again, it requests nothing new and the queue stays: trials
        that have ended since have left it."""
        self.stale = False
        finished, running = self.store.measured(), self.store.running()
        self.failures.finished(finished)
        if self.budget is not None:
            self.budget.update(finished)
        left = None if self.budget is None else self.budget.left(self.going())
        requests = self.plan(finished, running, left)
        # until a trial succeeds, those that were not tried yet go first, smallest shard first
        doubtful = self.failures.doubtful
        if self.requeue or doubtful or requests is not self.requests:
            self.requests, self.requeue = requests, doubtful
            self.plan_queue(running, doubtful)
        sign = 1 if left is not None and self.queue.total(self.price) > left else -1

        def rank(request: TrialRequest) -> tuple[Any, ...]:
            by_cost = (not request.early, 0.0 if request.early else sign * self.price(request))
            return (*self.failures.order(request), *by_cost) if doubtful else by_cost

        self.queue.rank(rank)
        self.over_budget = False

    def plan_queue(self, running: Sequence[Trial], doubtful: bool) -> None:
        """Add requested trials that are new to the store, and queue those that have not ended;
        ``doubtful`` ones are not grouped by price, as each is ranked by itself."""
        rows = self.store.trials()
        missing = [
            request for request in self.requests if must_run(request, rows.get(request.trial.id))
        ]
        new: dict[str, list[Trial]] = {}
        for request in missing:
            if request.trial.id not in rows:
                new.setdefault(request.why, []).append(request.trial)
        for why, trials in new.items():
            self.store.add(trials, why)
        self.failures.requested(missing)
        mine = {attempt.trial for attempt in self.running.values()}
        waiting = [request for request in missing if request.trial not in mine]
        self.queue = Queue(waiting) if doubtful else Queue(waiting, self.alike)
        self.elsewhere = set(running) - mine
        self.elsewhere &= {request.trial for request in missing}

    def alike(self, request: TrialRequest) -> tuple[Any, ...]:
        """The properties that trials of equal price share."""
        return request.early, self.cost(request.trial), request.trial.samples, request.trial.size

    def price(self, request: TrialRequest) -> float:
        """The trial's expected cost; with a budget, predicted from the trials that have ended."""
        predicted = None if self.budget is None else self.budget.cost(request.trial)
        return self.cost(request.trial) if predicted is None else predicted

    def waiting(self) -> bool:
        """Whether more trials may come: queued here, or run by another driver."""
        return bool(self.queue or self.stale or self.elsewhere)

    # ------------------------------------------------------------ events of the workers

    def take(self, events: Sequence[Event]) -> None:
        """Record events in one transaction, then pass them to the observer."""
        if not events:
            return
        recorded: list[Event] = []
        fenced: list[Event] = []
        over: set[tuple[str, int]] = set()
        if any(event.kind in FAILURES for event in events):
            time.sleep(_GRACE)  # a stop request that caused the failure may arrive a moment later
        with self.store.batch():
            for event in events:
                key = (event.trial, event.attempt)
                attempt = self.running.get(key)
                if attempt is None or key in over:
                    continue  # a late heartbeat, or an event of an attempt that was ended here
                attempt.note_event(event.kind)
                event = without_blame(recordable(event, attempt.trial), self.stop.is_set())
                final = self.final_failure(event, attempt)
                accepted = self.store.record(event, final)
                (recorded if accepted else fenced).append(event)
                if not accepted or event.kind in _OVER:
                    over.add(key)
        for event in fenced:
            text = f"attempt {event.attempt} had been taken over: what it sent is not used"
            self.executor.kill(event.trial, event.attempt)
            self.forget(event)
            self.note(Event(Kind.NOTE, event.trial, event.attempt, {"text": text}))
        for event in recorded:
            if event.kind in _OVER:
                self.settle(event)
            elif event.kind != Kind.STARTED and self.slots == self.executor.slots:
                self.not_started = []
            self.observe(event)
        for event in recorded:
            if cause(event) == "start":
                self.could_not_start(event)
            elif cause(event) == "data":
                raise StoreError(
                    f"the data under {self.store.folder} changed during the run, and no trial was "
                    f"trained on what they are now: {event.payload['reason']}. Put them back and "
                    "run the same command"
                )

    def settle(self, event: Event) -> None:
        """Free the slot of an attempt that is over and recorded, and count how it ended."""
        attempt = self.forget(event)
        if attempt is None:
            return
        if counts(event):
            self.retried += 1
            self.failures.failed(event)
        elif event.kind == Kind.RESULT:
            self.ran += 1
            self.failures.finished([event.payload])
            self.memory.learn(event.payload)
            self.limits.learn(event.payload)

    def forget(self, event: Event) -> _Running | None:
        """Remove the event's attempt from the running ones and return it."""
        self.stale = True
        if event.kind != Kind.RESULT or event.payload.status == Status.STOPPED:
            self.requeue = True
        return self.running.pop((event.trial, event.attempt), None)

    def final_failure(self, event: Event, attempt: _Running) -> Measurement | None:
        """The measurement of a trial whose last attempt failed; None if it is to be retried."""
        if not counts(event):
            return None
        attempts = len(self.store.failures(event.trial)) + 1
        final = final_status(event, attempts, self.run.max_attempts)
        if final is None:
            return None
        self.failures.give_up(event.trial)
        curve = tuple(self.store.progress(event.trial))
        steps = curve[-1].step if curve else 0
        seconds = lease.now() - attempt.began
        return Measurement(attempt.trial, *final, steps=steps, seconds=seconds, curve=curve)

    def watch(self) -> None:
        """End attempts that hang or went silent; renew the leases of those still starting."""
        now = lease.now()
        gap = now - self.last_watch
        self.last_watch = now
        if gap > _SUSPENDED:
            # Events that the workers sent in the meantime may not have been read yet, so they
            # are not silent, and the gap counts neither as their time nor as idle time.
            for attempt in self.running.values():
                attempt.last_event = now
                attempt.began += gap
            return
        for attempt in list(self.running.values()):
            silent = now - attempt.last_event
            limit = self.run.lease if attempt.started else max(self.run.lease, _STARTING)
            if now - attempt.began > self.limits.allowed(attempt.trial):
                reason = self.limits.exceeded(attempt.trial)
                self.end(attempt, Kind.FAILURE, {"reason": reason, "cause": "timeout"})
            elif silent > limit:
                reason = f"no sign of life for {limit:g} seconds"
                self.end(attempt, Kind.LOST, {"reason": reason})
            elif not attempt.started and now - attempt.renewed > self.run.lease / 5:
                self.store.beat(attempt.trial.id, attempt.attempt)
                attempt.renewed = now

    def end(self, attempt: _Running, kind: Kind, payload: dict[str, Any]) -> None:
        """Kill an attempt, then record how it ended: its retry must not run beside it."""
        self.executor.kill(attempt.trial.id, attempt.attempt)
        self.take([Event(kind, attempt.trial.id, attempt.attempt, payload)])

    def give_up_starting(self) -> None:
        """End the attempts whose workers have not started: nothing is lost with them, and on a busy
        machine they start minutes after a budget is over."""
        if not isinstance(self.executor, Lasting):
            for attempt in [one for one in self.running.values() if not one.started]:
                self.end(attempt, Kind.LOST, {"reason": "stopped before it started"})

    def abandon(self, reason: str) -> None:
        """Kill all attempts now and release their trials; none counts as a failure."""
        self.executor.close()
        with suppress(StoreError), self.store.batch():
            for attempt in self.running.values():
                payload = {"reason": reason, "killed": True}
                self.store.record(Event(Kind.LOST, attempt.trial.id, attempt.attempt, payload))
        self.running.clear()

    def note(self, event: Event) -> None:
        """Store a note about an attempt and pass it to the observer."""
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
            error=self.failures.most_frequent() if word == "failed" else None,
        )
