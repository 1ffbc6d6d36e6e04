"""Asking a run to stop: by Ctrl-C, by a deadline, by whoever holds the ``Stop``."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Stop(Protocol):
    """What ``train`` asks whether to stop; ``threading.Event`` will do."""

    def is_set(self) -> bool: ...


class Drain:
    """A request to stop: once, and running trials save and stop; twice, and they are killed."""

    def __init__(self) -> None:
        self.requests = 0

    def set(self) -> None:
        self.requests += 1

    def is_set(self) -> bool:
        return self.requests >= 1

    @property
    def now(self) -> bool:
        return self.requests >= 2

    @contextmanager
    def on_signals(self) -> Iterator[Drain]:
        """Take Ctrl-C and SIGTERM as requests, inside the ``with`` block. Only the main thread may:
        in any other one this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        names = (signal.SIGINT, signal.SIGTERM)
        before = {name: signal.signal(name, lambda *_: self.set()) for name in names}
        try:
            yield self
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


class Deadline:
    """A drain that also runs out of time."""

    def __init__(self, drain: Drain, ends: Callable[[], float | None]) -> None:
        """``ends`` is asked each time: on the monotonic clock, or None for no end."""
        self._drain, self._ends = drain, ends

    @property
    def over(self) -> bool:
        ends = self._ends()
        return ends is not None and time.monotonic() > ends

    @property
    def now(self) -> bool:
        return self._drain.now

    def is_set(self) -> bool:
        return self._drain.is_set() or self.over
