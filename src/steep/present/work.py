"""A line for long work of one piece: what is being done, how far it is, and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from steep.present.numbers import duration, share

SMOOTH = 3.0
"""Seconds before the speed is trusted for the time left."""
APART = 10.0
"""Seconds between two lines where there is no terminal to draw in."""


class Work:
    """``tell(what, share)`` draws on standard error; the time left is of the kind of work at hand,
    that is since the first word of ``what`` last changed."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._kind = ""
        self._begun = self._said = 0.0
        self._start = 0.0
        self._console: Any = None
        self._status: Any = None

    def __enter__(self) -> Work:
        if not self._quiet:
            from rich.console import Console

            self._console = Console(stderr=True)
            if self._console.is_terminal:
                self._status = self._console.status("")
                self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, what: str, done: float) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        kind = what.partition(" ")[0]
        if kind != self._kind or done < self._start:
            self._kind, self._begun, self._start = kind, now, done
        elif now - self._said < (0.2 if self._status is not None else APART):
            return
        self._said = now
        text = f"{what}, {share(done)}{self._left(now, done)}"
        if self._status is not None:
            self._status.update(text)
        else:
            self._console.print(text, markup=False, highlight=False)

    def _left(self, now: float, done: float) -> str:
        elapsed, covered = now - self._begun, done - self._start
        if elapsed < SMOOTH or covered <= 0:
            return ""
        return f", about {duration(elapsed * (1 - done) / covered)} left"
