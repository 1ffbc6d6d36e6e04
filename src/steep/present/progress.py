"""The progress bar of a running study: how much longer it takes, and what was just measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from steep.contracts.executor import Event, Kind
from steep.present.numbers import duration, exact, measured, scale, several
from steep.records import Interval, Status

_EVERY = 20.0
"""Seconds between lines where there is no terminal."""
_FEW = 10.0
"""Seconds of which fewer are not counted."""
_WIDE = 1.5
"""Upper over lower end from which on a time is given as an interval."""


def time_left(left: Interval) -> str:
    """ "about 5 min left", "about 5 min left (3 min to 9 min)"."""
    low, value, high = left.lower or 0.0, left.value or 0.0, left.upper or 0.0
    text = f"{coarse(value)} left" if value < _FEW else f"about {coarse(value)} left"
    if high > _WIDE * low and coarse(low) != coarse(high):
        text += f" ({coarse(low)} to {coarse(high)})"
    return text


def coarse(seconds: float) -> str:
    """A time as it can be known beforehand."""
    if seconds < _FEW:
        return "a few seconds"
    if seconds < 150:
        return f"{10 * round(seconds / 10)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class _Text:
    """Made anew at every look: the bar counts down between events, too."""

    make: Callable[[], str]

    def __str__(self) -> str:
        return self.make()


class Progress:
    """A bar on standard error; one line now and then where there is no terminal."""

    def __init__(
        self,
        left: Callable[[], Interval | None],
        metric: str,
        unit: Callable[[], str],
        quiet: bool,
    ) -> None:
        """``left`` returns how many seconds the run takes from now, ``unit`` what m counts."""
        self._left, self._metric, self._unit, self._quiet = left, metric, unit, quiet
        self._done: set[str] = set()
        self._begun = time.monotonic()
        self._said = self._begun
        self._bar: Any = None
        self._task: Any = None
        self._last = self._line_before = ""

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
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[last]}"),
            )
            self._bar = Bar(*columns, console=console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(
                "starting workers", total=1.0, left=_Text(self.eta), last=""
            )
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
        elif event.kind in (Kind.NOTE, Kind.FAILURE, Kind.LOST):
            payload = event.payload or {}
            self._say(f"{event.kind.value}: {payload.get('reason') or payload.get('text')}")
        self._draw()

    def _finish(self, event: Event) -> None:
        trial = event.payload.trial
        self._done.add(trial.id)
        if event.payload.status not in (Status.COMPLETE, Status.CAPPED, Status.STOPPED):
            self._say(f"{event.payload.status.value}: {self._line(event.payload)}")
        self._last = self._line(event.payload)

    def _line(self, found: Any) -> str:
        how = scale(self._metric)
        trial = found.trial
        place = f"{exact(trial.samples)} {self._unit()}, size {trial.size}, seed {trial.seed}"
        error = dict(found.metrics).get(self._metric, found.validation_error)
        return f"{how.label} {measured(error, how)}: {place}"

    def eta(self) -> str:
        """How much longer it takes, as far as that is known."""
        left = self._left()
        if left is None:
            return f"{duration(time.monotonic() - self._begun)} so far"
        return time_left(left)

    def _share(self) -> float:
        left = self._left()
        elapsed = time.monotonic() - self._begun
        return 0.0 if left is None else elapsed / (elapsed + max(left.value or 0.0, 1.0))

    def _draw(self) -> None:
        text = f"{several(len(self._done), 'trial')} done"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._share(), description=text, last=self._last)
        elif time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            news, self._last = self._last, ""
            line = f"{text}, {self.eta()}"
            if news or line != self._line_before:  # a log needs no line twice
                self._say(f"{line}{f'; {news}' if news else ''}")
            self._line_before = line

    def _say(self, text: str) -> None:
        (self._bar.console if self._bar is not None else self._console).print(
            text, markup=False, highlight=False, soft_wrap=True
        )
