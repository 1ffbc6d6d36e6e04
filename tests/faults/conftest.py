"""Studies that are driven from outside: the command line, real signals, a log beside them.

The trials append (what, trial, attempt, process, step) to a file of their own before and after, so
that what really ran is known from somewhere else than the study."""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from steep.store import lease

PATIENCE = 240.0
"""Seconds for anything that takes two on an idle machine."""
STEEP = (sys.executable, "-m", "steep")
EXECUTORS = ("inline", "local")
HELD_OUT = {
    "shards": {"smallest": 125, "largest": 2000, "held_out": 1},
    "family": {"name": "none", "sizes": [2, 4, 8]},
}
"""Sections of a study that registers a forecast and confronts it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture(autouse=True, scope="session")
def _hang_ups_are_heard() -> None:
    """Also where the tests are run under nohup, which every process below would inherit."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def until(what: Callable[[], Any], name: str) -> Any:
    """Wait until ``what()`` is true; its value."""
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, f"waited in vain for {name}"
        time.sleep(0.02)
    return found


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


@dataclass
class Driven:
    """A study of twelve synthetic trials of 54 steps, and the commands about it."""

    place: Path
    executor: str = "local"
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.place / "st"

    @property
    def log(self) -> Path:
        return self.place / "side.log"

    def spec(
        self, trainer: Mapping[str, Any] | None = None, run: Mapping[str, Any] | None = None,
        **sections: Any,
    ) -> Path:  # fmt: skip
        options = {"steps": 40, "seed_noise": 0.02, "item_noise": 0.3, "own_item_noise": 0.1}
        options |= {"seconds_per_step": 0.005, "log": str(self.log)}
        values: dict[str, Any] = {
            "study": "oracle",
            "domain": {"name": "external", "items": 4000},
            "family": {"name": "none", "sizes": [2, 4]},
            "shards": {"smallest": 250, "largest": 1000},
            "split": {"validation": 100, "test": 100},
            "search": {"planner": "grid", "seeds": 2, "extend": 0},
            "stop": {"patience": 1, "evaluations": 6},
            "trainer": {"name": "synthetic"} | options | dict(trainer or {}),
            "run": {"executor": self.executor, "workers": 2, "checkpoint": 0.05} | dict(run or {}),
        }
        if values["trainer"]["name"] != "synthetic":
            values["trainer"] = dict(trainer or {})
        path = self.place / "s.yaml"
        path.write_text(yaml.safe_dump(values | sections, sort_keys=False))
        return path

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """A command, in a session of its own as a service manager would start it."""
        process = subprocess.Popen(
            [*more.pop("before", ()), *STEEP, *(arguments or ("run", "s.yaml", "--out", "st"))],
            cwd=self.place, text=True, start_new_session=True,
            stdout=more.pop("stdout", subprocess.PIPE), stderr=more.pop("stderr", subprocess.PIPE),
            stdin=subprocess.DEVNULL, **more,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def steep(self, *arguments: str, **more: Any) -> Ended:
        """A command to its end. Nobody is ever shown a traceback."""
        return self.ended(self.start(*arguments, **more))

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        out, err = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in (err or ""), err
        assert "database is locked" not in (err or ""), err
        return Ended(process.returncode, out or "", err or "")

    # ------------------------------------------------------------ what happened

    def lines(self, what: str) -> list[list[str]]:
        if not self.log.exists():
            return []
        found = [line.split() for line in self.log.read_text().splitlines()]
        return [line for line in found if line[0] == what]

    def wait(self, what: str, count: int) -> None:
        until(lambda: len(self.lines(what)) >= count, f"{count} times '{what}'")

    def running(self, count: int) -> list[list[str]]:
        """Wait until so many trials run at once; their lines, without those that have ended."""

        def lines() -> list[list[str]]:
            ended = [line[1:3] for line in self.lines("ends")]
            alive = set(self.workers())
            begun = self.lines("begins")
            return [line for line in begun if line[1:3] not in ended and int(line[3]) in alive]

        return until(lambda: len(found := lines()) >= count and found, f"{count} running trials")

    def wait_done(self, count: int) -> None:
        until(lambda: self.states().count("complete") >= count, f"{count} trials")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        path = self.folder / "trials.sqlite"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            try:
                return db.execute(query).fetchall()
            except sqlite3.OperationalError:  # no table yet
                return []

    def states(self) -> list[str]:
        return [state for (state,) in self.rows("SELECT status FROM trials")]

    def attempts(self) -> list[tuple[str, str, str]]:
        """(trial, state, reason) of every attempt."""
        return self.rows("SELECT trial, state, coalesce(reason, '') FROM attempts ORDER BY 1")

    def table(self) -> dict[tuple[str, ...], str]:
        """What ``results/trials.csv`` says each trial measured."""
        with (self.folder / "results/trials.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        keys = ("permutation", "samples", "size", "seed")
        return {tuple(row[k] for k in keys if k in row): row["validation_error"] for row in rows}

    def workers(self) -> list[int]:
        """Processes that trials have run in and that still run, the driver not among them."""
        own = {process.pid for process in self.processes}
        pids = {int(line[3]) for line in self.lines("begins")} - own
        return [pid for pid in pids if lease.start_time(pid)]

    def kill_all(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        for pid in self.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
        until(lambda: not self.workers(), "the end of the workers")

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture(params=EXECUTORS)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driven]:
    """On every executor."""
    driven = Driven(tmp_path, request.param)
    yield driven
    driven.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Driven]:
    """Where workers are processes of their own."""
    driven = Driven(tmp_path, "local")
    yield driven
    driven.close()


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """What the twelve trials measure when nothing goes wrong."""
    driven = Driven(tmp_path_factory.mktemp("expected"), "inline")
    driven.spec({"seconds_per_step": 0.0})
    assert driven.steep().code == 0
    return driven.table()


# ---------------------------------------------------------------- registered forecasts


def held_out_forecast(ended: Ended) -> str:
    """What a run says of the forecast for the held-out shard."""
    (line,) = (line for line in ended.out.splitlines() if "Forecast for the held-out" in line)
    return line


def alter_the_forecast(study: Driven) -> None:
    """Flip a bit of the error that was forecast, in the database."""
    path = study.folder / "trials.sqlite"
    data = bytearray(path.read_bytes())
    mark = b'\\"error\\":0.'
    data[data.index(mark) + len(mark)] ^= 1
    path.write_bytes(data)


def lose_the_forecast(study: Driven) -> None:
    """Alter it in the database and take it out of the log."""
    log = study.folder / "acknowledged.log"
    kept = [line for line in log.read_bytes().splitlines() if b'"forecast"' not in line]
    log.write_bytes(b"\n".join(kept) + b"\n")
    alter_the_forecast(study)
