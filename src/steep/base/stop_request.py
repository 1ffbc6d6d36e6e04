"""Asking a run to stop: by Ctrl-C, by a deadline, by whoever holds the ``Stop``."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

_SAVING = "Stopping: running trials save what they have. Once more stops at once."
_SAME = 1.0
"""Seconds within which a second SIGTERM or SIGHUP is the same request."""
_AT_ONCE = "Stopping at once; what was saved before is kept."


class Stop(Protocol):
    """What ``train`` asks whether to stop; ``threading.Event`` will do."""

    def is_set(self) -> bool: ...


class StopRequest:
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
    def on_signals(self) -> Iterator[StopRequest]:
        """Take Ctrl-C, SIGTERM and SIGHUP as requests, inside the ``with`` block, and say on
        standard error what they do. Only the main thread may: in any other one this does nothing.
        A SIGHUP that is ignored (nohup) stays so."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        names = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            names.append(signal.SIGHUP)

        last = -1.0

        def hear(number: int, *_: object) -> None:
            nonlocal last
            again, last = time.monotonic() - last < _SAME and self.is_set(), time.monotonic()
            if again and number != signal.SIGINT:
                return  # a terminal that closes, or systemd, sends several for one
            self.set()
            message = _SAVING if not self.now else _AT_ONCE
            if self.requests <= 2:
                with suppress(OSError):  # nobody listens any more
                    os.write(2, f"{message}\n".encode())  # print() may be what was interrupted

        before = {name: signal.signal(name, hear) for name in names}
        try:
            yield self
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


class Deadline:
    """A request to stop that also comes when time is over."""

    def __init__(self, request: StopRequest, ends: Callable[[], float | None]) -> None:
        """``ends`` is called each time: on the monotonic clock, or None for no end."""
        self._request, self._ends = request, ends

    @property
    def over(self) -> bool:
        ends = self._ends()
        return ends is not None and time.monotonic() > ends

    @property
    def now(self) -> bool:
        return self._request.now

    def is_set(self) -> bool:
        return self._request.is_set() or self.over
