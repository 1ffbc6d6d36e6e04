"""Work beside the requests: one thread that reads stores, one that analyses, in their own time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

SHARE = 0.1
"""At most this share of a processor goes into analyses of one study, however fast it grows;"""
PAUSE = 2.0
"""and so many seconds lie between two of them."""


class Worker:
    """A thread that does one thing after another. It does not keep the program from ending."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        done: Future[Result] = Future()
        self._waiting.put((done, work))
        return done

    def _run(self) -> None:
        while True:
            done, work = self._waiting.get()
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)


class Newest(Generic[Result]):
    """The newest result of slow work, made anew when what it is made of has changed.

    ``value`` is the last result, ``error`` why the last attempt failed; both are None at first."""

    def __init__(self, worker: Worker, share: float | None = None) -> None:
        """``share`` of the processor's time goes into it at most; None: ``SHARE``."""
        self._worker, self._share = worker, share
        self._lock = threading.Lock()
        self._job: Future[tuple[Result, float]] | None = None
        self._key: Hashable = None
        self._next = 0.0
        self.value: Result | None = None
        self.error: Exception | None = None

    @property
    def busy(self) -> bool:
        return self._job is not None

    def follow(self, key: Hashable, work: Callable[[], Result], wait: bool = False) -> None:
        """Begin ``work`` if ``key`` is not that of the last one and it is time; with ``wait``,
        begin at once and return when the result is there."""
        with self._lock:
            self._take(wait)
            if key != self._key and self._job is None and (wait or time.monotonic() >= self._next):
                self._key = key
                self._job = self._worker.submit(lambda: _timed(work))
                self._take(wait)

    def _take(self, wait: bool) -> None:
        if self._job is None or not (wait or self._job.done()):
            return
        took = 0.0
        try:
            self.value, took = self._job.result()
            self.error = None
        except Exception as error:
            self.error = error
        self._job = None
        self._next = time.monotonic() + max(PAUSE, took / (self._share or SHARE))


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    began = time.thread_time()
    return work(), time.thread_time() - began
