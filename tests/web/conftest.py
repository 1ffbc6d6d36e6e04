"""Studies that are served by ``steep watch`` in a process of its own, and a browser to look."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from steep.analysis.published import tables
from steep.contracts.executor import Event, Kind
from steep.records import Evaluation, Measurement, Status, Trial
from steep.store.store import Store
from steep.study import Study

pytest.importorskip("uvicorn")

HOSTILE = '<img src=x onerror="document.title=1">'
SHOTS = Path(__file__).parents[2] / "out" / "web"


@dataclass
class Served:
    url: str
    process: subprocess.Popen[str]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@contextmanager
def served(source: Path, *options: str) -> Iterator[Served]:
    """``steep watch`` of a source, on a port that was free."""
    process = subprocess.Popen(
        [sys.executable, "-m", "steep", "watch", str(source), *options],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        place = re.search(r"http://\S+", line)
        assert place is not None, line
        yield Served(place[0], process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        process.stdout.close()


def until(what: Callable[[], Any], name: str, patience: float = 60.0) -> Any:
    """Wait until ``what()`` is true; its value."""
    end = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < end, f"waited in vain for {name}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched") / "study"
    values = tiny.spec(
        family={"sizes": [2, 4, 8]}, shards={"smallest": 250, "largest": 2000, "held_out": 1}
    )
    assert Study(values, folder).run(progress=False).word == "complete"
    return folder


@dataclass
class Running:
    """A study of which a trial is being trained by this process, with a hostile note."""

    folder: Path
    store: Store
    trial: Trial
    attempt: int

    def evaluates(self, step: int, error: float) -> None:
        seen = Evaluation(step, 100.0 * step, 0.5, 2 * error, 1.5 * error, error)
        assert self.store.record(Event(Kind.PROGRESS, self.trial.id, self.attempt, seen))

    def ends(self, error: float) -> None:
        curve = tuple(self.store.progress(self.trial.id))
        measured = Measurement(self.trial, Status.COMPLETE, validation_error=error, curve=curve,
                               seconds=3.0, steps=20, best_step=20)  # fmt: skip
        assert self.store.record(Event(Kind.RESULT, self.trial.id, self.attempt, measured))


@pytest.fixture
def running(finished: Path, tmp_path: Path) -> Iterator[Running]:
    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    with Store.open(folder) as store:
        like = store.rows()[0].trial
        trial = replace(like, seed=77)
        store.add([trial, replace(like, seed=78)], f"one more seed {HOSTILE}")
        attempt = store.claim(trial, store.owner)
        assert attempt is not None
        store.record(Event(Kind.STARTED, trial.id, attempt, {"pid": os.getpid()}))
        store.record(Event(Kind.NOTE, trial.id, attempt, {"text": f"a note {HOSTILE}"}))
        one = Running(folder, store, trial, attempt)
        one.evaluates(5, 0.8125)
        one.evaluates(7, 0.75)
        yield one


@pytest.fixture(scope="session")
def gallery(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for name in ("published", "as it was"):
        (folder / name).mkdir()
        for file, content in tables(Study.open(finished)).items():
            (folder / name / file).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    assert program is not None, "apt-get install chromium"
    with api.sync_playwright() as playwright:
        # in a container, and as root, Chromium's own sandbox does not start
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
