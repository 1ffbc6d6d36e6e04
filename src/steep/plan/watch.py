"""A run's clock: how much longer it takes, estimated anew as trials end, and when it must end."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from steep.analysis import decisions
from steep.contracts.executor import Event, Kind
from steep.plan import clock, timings
from steep.plan.budget import OVERRUN, Budget
from steep.plan.calibrate import StepTimes
from steep.plan.estimate import SCENARIOS, STARTING, bounded, shortened
from steep.records import Interval, Measurement, Prediction, StepCost, Trial, encode
from steep.store import lease

if TYPE_CHECKING:
    from steep.store.store import Store
    from steep.study import Study

EVERY = 20.0
"""Seconds between estimates, at least;"""
SHARE = 0.1
"""and at most this share of the time goes into them, in a thread that gives way to workers."""
GROWN = 20
"""How often a budget is made half as large again, to find one that suffices: to 3,000 times."""
AGAIN = 2
"""Scenarios of an estimate during the run: many, soon after each other, make up for few."""
FIRST = 60.0
"""Seconds for which a run that is over waits for its first estimate, at most: what was predicted is
compared with what it took."""
ABOUT = 15
"""Seconds that timing takes, without the pilot."""


class Watch:
    """Of one run. Estimates are made in a thread of their own, beside the trials."""

    def __init__(
        self,
        study: Study,
        store: Store,
        budget: Budget,
        workers: int,
        observe: Callable[[Event], None] | None,
    ) -> None:
        self._study, self._store, self._budget = study, store, budget
        self._workers, self._observer = workers, observe
        self._begun: dict[str, float] = {}
        """When running trials were seen to start, by id."""
        self._thread: threading.Thread | None = None
        self._closed = False
        self._made: Prediction | None = None
        """By the thread, as of ``_at``; what is shown is what others can read, too."""
        self._shown: decisions.TimeLeft | None = None
        self._fresh = False
        self._at = self._next = lease.now()
        spec_left = clock.time_left(study, store)
        self._study_ends = (
            None if spec_left is None else self._at + max(spec_left, budget.seconds or 0.0)
        )
        """When the spec's budget ends: what is left of a study does not hang on one run's."""
        self._cost = 0.0
        self._first = not store.decisions("time") and not store.measurements()
        self._steps: Sequence[StepCost] = ()
        # No daemon: a thread within torch would not survive the end of the process.
        self._counting = threading.Thread(target=self._count)
        if not decisions.steps(store):
            self._counting.start()
        self._timing = timings.registered(store) or self._measure()
        usual = clock.lengths(study, self._timing)
        if usual is not None:
            budget.timed_by(usual.expected, by_steps=usual.by_steps)
        self._estimate(SCENARIOS)

    def _measure(self) -> StepTimes | None:
        """None where timing fails: what is wrong with a trial is reported when it runs."""
        with suppress(Exception):
            seconds = self._budget.seconds
            ends = math.inf if seconds is None else self._at + clock.OF_CLOCK * seconds
            return timings.pace(self._study, self._pilot_seconds, self._tell, ends)
        return None

    @property
    def _pilot_seconds(self) -> float:
        return clock.pilot_seconds(self._budget.seconds)

    def _tell(self, what: str, done: float) -> None:
        if self._observer is not None and not done:
            most = ABOUT + self._pilot_seconds
            text = f"{what}: {ABOUT} to {round(most)} seconds"
            self._observer(Event(Kind.NOTE, "", 0, {"text": text}))

    # ------------------------------------------------------------ when it must end

    def search_ends(self) -> float | None:
        """On the monotonic clock; the search's last trials may run over by a little."""
        if self._budget.seconds is None:
            return None
        return self._budget.search_ends() + 0.05 * self._budget.seconds

    def all_ends(self) -> float | None:
        if self._budget.seconds is None:
            return None
        return self._budget.began + (1 + OVERRUN) * self._budget.seconds

    def enough(self) -> float | None:
        """A time budget, in seconds, in which what the search wants next fits: the one given times
        a power of 1.5, with a fifth of that and the start of workers on top. None where no time
        bounds the run, or none would do."""
        if self._budget.seconds is None:
            return None
        finished = self._store.measurements()
        known = clock.lengths(self._study, self._timing)
        budget = clock.spending(
            self._study, finished, self._workers, seconds=1.0, known=known, now=lambda: 0.0
        )
        for k in range(GROWN):
            budget.seconds = max(self._budget.seconds, 1.0) * 1.5**k
            requests = self._study.search(finished, (), budget.left({}), timed=budget.timed)
            if any(budget.affords(request.trial, {}) for request in requests):
                return 1.2 * budget.seconds + STARTING
        return None

    def tell_end(self) -> None:
        """Say where ``search.until`` ended the search, or bounded what its trials do not report."""
        search, finished = self._study.spec.search, self._store.measurements()
        if search.until is None or self._observer is None:
            return
        text = "search.until ended the search: a spec that allows more, with --extend, continues it"
        if search.until.flops is not None and not any(m.flops for m in finished):
            text = "search.until.flops bounded nothing: the trials report no FLOPs"
        else:
            freely = search.model_copy(update={"until": None})
            spec = self._study.spec.model_copy(update={"search": freely})
            search_space = replace(self._study.search_space, spec=spec)
            if not self._study.planner.plan(search_space, finished, (), None):
                return
        self._observer(Event(Kind.NOTE, "", 0, {"text": text}))

    # ------------------------------------------------------------ how much longer

    def left(self) -> Interval | None:
        """Seconds on the clock from now; None while nobody can know."""
        shown, now = self._shown, lease.now()
        if shown is None:
            return None
        most = None if shown.ends is None else max(shown.ends - now, 1.0)
        return bounded(shortened(shown.prediction, now - shown.at).clock, most)

    def observe(self, event: Event) -> None:
        """Take an event of the driver, in whose thread this runs, and pass it on."""
        if event.kind == Kind.STARTED:
            self._begun[event.trial] = lease.now()
        elif event.kind in (Kind.RESULT, Kind.FAILURE, Kind.LOST, Kind.DRAINED):
            self._begun.pop(event.trial, None)
        if lease.now() > self._next:
            self._estimate(AGAIN)
        self._register()
        if self._observer is not None:
            self._observer(event)

    def close(self) -> None:
        """Wait for the estimate that is being made where it is the study's first and no budget is
        over; any other is given up, since the report waits for its processor."""
        if self._thread is not None and self._first:
            left = self._budget.seconds_left()
            self._thread.join(FIRST if left is None else min(FIRST, max(left, 0.0)))
        self._closed = True
        if self._counting.ident is not None:
            self._counting.join()
        self._register()

    def _count(self) -> None:
        """What steps of all sizes cost takes seconds, too: counted while trials run, since after
        the last one everybody waits for it."""
        with suppress(Exception):  # counted after the run, where the error is reported
            self._steps = self._study.prices.steps()

    def _register(self) -> None:
        """Write down what the threads have found: the store is the driver's alone."""
        if self._steps:
            decisions.register_steps(self._store, lambda: self._steps)
            self._steps = ()
        if not self._fresh or self._made is None:
            return
        self._fresh = False
        if self._first:
            self._first = False
            _register_prediction(self._store, self._made, self._timing)
        left = self._budget.seconds_left()
        ends = None if left is None else lease.now() + left
        of_run = self._budget.flops is not None
        self._shown = decisions.TimeLeft(self._made, self._at, ends, of_run)
        decisions.register_time_left(self._store, self._shown)

    def _estimate(self, count: int) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        finished = self._store.measurements()
        if clock.lengths(self._study, self._timing, finished) is None:
            return
        now = lease.now()
        trials = {row.trial.id: row.trial for row in self._store.rows()} if self._begun else {}
        begun = {trials[name]: now - at for name, at in self._begun.items() if name in trials}
        self._next = now + max(EVERY, self._cost / SHARE)
        flops = self._budget.flops_left()
        seconds = None if self._study_ends is None else max(self._study_ends - now, 1.0)
        self._thread = threading.Thread(
            target=self._predict, args=(finished, begun, flops, seconds, count, now), daemon=True
        )
        self._thread.start()

    def _predict(
        self,
        finished: Sequence[Measurement],
        begun: Mapping[Trial, float],
        flops: float | None,
        seconds: float | None,
        count: int,
        now: float,
    ) -> None:
        _give_way()
        started = time.thread_time()
        with suppress(Exception):  # an estimate is never worth a study
            made = clock.prediction(
                self._study, self._timing, self._workers, finished=finished, begun=begun,
                flops=flops, seconds=seconds, count=count, wanted=lambda: not self._closed,
            )  # fmt: skip
            if made is not None:
                self._made, self._at, self._fresh = made, now, True
        self._cost = time.thread_time() - started


def _give_way() -> None:
    """Of this thread to the workers."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _register_prediction(store: Store, made: Prediction, timing: StepTimes | None) -> None:
    """Write down how long the study was expected to take before its first trial ended, and the
    pace of the machine on which that was timed; once."""
    if not store.decisions("time"):
        rows = None if timing is None else [encode(row) for row in timing.rows]
        units = None if timing is None else timing.validation
        pace = {"rows": rows, "validation": units}
        store.decide("time", {"prediction": encode(made), "pace": pace})
