"""The progress bar of a running study: trials by cost, an ETA, and what was just measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cached_property
from types import TracebackType
from typing import Any

from steep.executors.contract import Event, Kind
from steep.present.numbers import duration, exact, measured, scale
from steep.records import Status, Trial

_SMOOTH = 20.0
"""Seconds before the speed is trusted for an ETA."""


class Progress:
    """A bar on standard error; one line per finished shard size where there is no terminal.

    The bar counts expected FLOPs rather than trials, because trials differ a hundredfold."""

    def __init__(
        self, expected: Callable[[], Iterable[tuple[Trial, float]]], metric: str, quiet: bool
    ) -> None:
        """``expected`` is asked at the first event: pricing needs what the run imports anyway."""
        self._expected = expected
        self._metric, self._quiet = metric, quiet
        self._done: set[str] = set()
        self._partly: dict[str, float] = {}
        self._spent = 0.0
        self._begun = time.monotonic()
        self._said = 0.0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._quiet:
            return self
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[eta]}"),
            )
            self._bar = Bar(*columns, console=console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("starting workers", total=1.0, eta="")
        else:
            self._console = console
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def observe(self, event: Event) -> None:
        """Take one event of the driver."""
        if self._quiet:
            return
        if event.kind == Kind.RESULT:
            self._finish(event)
        elif event.kind == Kind.PROGRESS:
            self._partly[event.trial] = event.payload.seconds
        elif event.kind in (Kind.NOTE, Kind.FAILURE, Kind.LOST):
            payload = event.payload or {}
            self._say(f"{event.kind.value}: {payload.get('reason') or payload.get('text')}")
        self._draw()

    def _finish(self, event: Event) -> None:
        trial = event.payload.trial
        self._done.add(trial.id)
        self._partly.pop(trial.id, None)
        cost = self._cost.get(trial.id)
        if cost is None:  # an extension of the ladder, or a trial that hyperparameters moved
            cost = self._total / max(len(self._cost), 1)
        self._spent += cost
        if event.payload.status not in (Status.COMPLETE, Status.CAPPED):
            self._say(f"{event.payload.status.value}: {self._line(event.payload)}")
        self._last = self._line(event.payload)

    def _line(self, found: Any) -> str:
        how = scale(self._metric)
        trial = found.trial
        place = f"{exact(trial.samples)} samples, size {trial.size}"
        return f"{place}: {measured(found.validation_error, how)}"

    @cached_property
    def _cost(self) -> dict[str, float]:
        return {trial.id: cost for trial, cost in self._expected()}

    @cached_property
    def _total(self) -> float:
        return sum(self._cost.values()) or 1.0

    def _share(self) -> float:
        return min(self._spent / self._total, 0.999)

    def _eta(self) -> str:
        elapsed = time.monotonic() - self._begun
        share = self._share()
        if share <= 0 or elapsed < _SMOOTH:
            return f"{duration(elapsed)} so far"
        return f"about {duration(elapsed * (1 - share) / share)} left"

    def _draw(self) -> None:
        text = f"{len(self._done)} trials done"
        last = getattr(self, "_last", "")
        if self._bar is not None:
            eta = f"{self._eta()}  {last}"
            self._bar.update(self._task, completed=self._share(), description=text, eta=eta)
        elif time.monotonic() - self._said > _SMOOTH and self._done:
            self._said = time.monotonic()
            self._say(f"{text}, {self._eta()}; {last}")

    def _say(self, text: str) -> None:
        (self._bar.console if self._bar is not None else self._console).print(text, markup=False)
