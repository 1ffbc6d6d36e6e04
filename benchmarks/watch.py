"""What it costs a driver that its study is watched: processor time and waiting per trial, with
requests and without, in turns.

    python benchmarks/watch.py [--trials 2000] [--requests 1000]

A study of the synthetic trainer runs in this process, ``steep watch`` in another, and a third asks
for the state of the page as fast as it gets it, while every second block of trials runs. Compared
are neighbouring blocks, so that other work on the machine touches both alike. Printed are

- driver: processor time of the driver's thread per trial, in milliseconds,
- waiting: seconds per trial between the begin of a transaction and its commit and in moving the
  journal, less the processor time in it: the disk, the locks, other programs,

each without requests, with them, and the ratio of blocks side by side with its standard error.
"""

from __future__ import annotations

import argparse
import http.client
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steep.contracts.executor import Event, Kind
from steep.store.database import Database
from steep.study import Study

BLOCK = 50
"""Trials."""


def spec(trials: int) -> dict[str, Any]:
    """A grid of about so many trials: 4 sizes, 5 rates, 10 shards, and seeds."""
    return {
        "study": "watched",
        "domain": {"name": "external", "items": 11_240},
        "family": {"name": "none", "sizes": [1, 2, 4, 8]},
        "shards": {"smallest": 20, "largest": 10_240},
        "split": {"validation": 100, "test": 100},
        "search": {
            "planner": "grid", "seeds": max(trials // 200, 1), "compare_at": "all", "extend": 0,
            "hyperparameters": {"learning_rate": [0.05, 0.07, 0.1, 0.14, 0.2]},
        },
        "stop": {"patience": 1, "evaluations": 4},
        "trainer": {"name": "synthetic", "steps": 8, "sigma": 8.0, "seed_noise": 0.01},
        "run": {"executor": "inline"},
    }  # fmt: skip


@dataclass
class Cost:
    """Of blocks of trials: seconds of the processor, and seconds of waiting, per trial."""

    processor: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)


@dataclass
class Result:
    trials: int
    requests: int
    failed: int
    slowest: float
    """Seconds of the slowest request."""
    quiet: Cost
    watched: Cost
    problems: list[str]
    """What the driver said of its store: none, if all is well."""

    def ratio(self) -> tuple[float, float]:
        """Processor time with requests over that without, of neighbouring blocks: the median, and
        its standard error."""
        pairs = zip(self.watched.processor, self.quiet.processor, strict=False)
        ratios = sorted(with_ / without for with_, without in pairs)
        spread = statistics.quantiles(ratios, n=4)
        middle = statistics.median(ratios)
        return middle, 1.25 * (spread[2] - spread[0]) / 1.35 / len(ratios) ** 0.5

    def extra_waiting(self) -> float:
        """Seconds per trial that transactions wait longer with requests: the median of blocks."""
        pairs = zip(self.watched.waiting, self.quiet.waiting, strict=False)
        return statistics.median(with_ - without for with_, without in pairs)


@contextmanager
def watching(folder: Path) -> Iterator[tuple[str, int]]:
    """``steep watch`` in a process of its own: its host and port."""
    command = [sys.executable, "-m", "steep", "watch", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        place = re.search(r"http://([\d.]+):(\d+)/", line)
        assert place is not None, line
        yield place[1], int(place[2])
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def visitor() -> None:
    """Another process: reads 'HOST PORT COUNT' lines, asks so often, answers 'failed slowest'."""
    for line in sys.stdin:
        host, port, count = line.split()
        failed, slowest = 0, 0.0
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        for _ in range(int(count)):
            began = time.monotonic()
            connection.request("GET", "/index.json")
            answer = connection.getresponse()
            failed += answer.status != 200 or b'"parts"' not in answer.read()
            slowest = max(slowest, time.monotonic() - began)
        connection.close()
        print(failed, slowest, flush=True)


def measure(trials: int, requests: int, folder: Path) -> Result:
    """Run the study in ``folder``, with blocks in which the page is asked for."""
    study = Study(spec(trials), folder)
    result = Result(0, 0, 0, 0.0, Cost(), Cost(), [])
    per_block = -(-requests // max(trials // BLOCK // 2, 1))
    asks = subprocess.Popen(
        [sys.executable, __file__, "--visitor"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert asks.stdin is not None
    assert asks.stdout is not None
    server: Any = None
    place: tuple[str, int] = ("", 0)
    block, busy = 0, False
    began, waited = time.thread_time(), _Waiting()

    def finish_requests() -> None:
        nonlocal busy
        if busy:
            failed, slowest = asks.stdout.readline().split()  # type: ignore[union-attr]
            result.requests += per_block
            result.failed += int(failed)
            result.slowest = max(result.slowest, float(slowest))
            busy = False

    def observe(event: Event) -> None:
        nonlocal server, place, block, busy, began
        if event.kind in (Kind.NOTE, Kind.FAILURE):
            result.problems.append(str(event.payload))
        if event.kind is not Kind.RESULT:
            return
        result.trials += 1
        if result.trials % BLOCK:
            return
        took = (time.thread_time() - began) / BLOCK
        if block > 1:  # the first two warm up
            cost = result.watched if block % 2 else result.quiet
            cost.processor.append(took)
            cost.waiting.append(waited.seconds / BLOCK)
        finish_requests()
        if server is None:
            server = watching(folder)
            place = server.__enter__()
        block += 1
        if block % 2 and result.requests < requests:
            asks.stdin.write(f"{place[0]} {place[1]} {per_block}\n")  # type: ignore[union-attr]
            asks.stdin.flush()  # type: ignore[union-attr]
            busy = True
        waited.seconds = 0.0
        began = time.thread_time()

    with waited.measured():
        outcome = study.run(observe=observe)
    finish_requests()
    assert outcome.word == "complete", outcome
    asks.stdin.close()
    asks.wait(60)
    asks.stdout.close()
    if server is not None:
        server.__exit__(None, None, None)
    return result


class _Waiting:
    """Seconds that the store's transactions take beyond the processor's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        settle, transaction = Database.settle, Database.transaction

        def settled(db: Database) -> None:
            with self._timed():
                settle(db)

        @contextmanager
        def entered(db: Database) -> Iterator[None]:
            if db._inside:
                yield
                return
            with self._timed(), transaction(db):
                yield

        Database.settle, Database.transaction = settled, entered  # type: ignore[method-assign]
        try:
            yield
        finally:
            Database.settle, Database.transaction = settle, transaction  # type: ignore[method-assign]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        clock, processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - clock - (time.thread_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--visitor", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.visitor:
        visitor()
        return
    with tempfile.TemporaryDirectory() as place:
        found = measure(asked.trials, asked.requests, Path(place) / "study")
    ratio, error = found.ratio()
    for name, cost in (("without", found.quiet), ("with", found.watched)):
        processor, waiting = (1000 * statistics.median(c) for c in (cost.processor, cost.waiting))
        print(f"{name:8} driver {processor:7.2f} ms/trial   waiting {waiting:7.2f} ms/trial")
    print(f"driver with over without: {ratio:.4f} +- {error:.4f}, {found.trials} trials")
    print(f"waiting, with less without: {1000 * found.extra_waiting():.3f} ms/trial")
    print(f"{found.requests} requests, {found.failed} failed, slowest {found.slowest:.2f} s")
    for problem in found.problems:
        print(problem)


if __name__ == "__main__":
    main()
