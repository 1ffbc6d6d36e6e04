"""Ray: workers are actors, each of which trains one trial after another.

They are detached, so they outlive the driver, and lie in a namespace of the driver's session, where
the next driver finds them by name. A worker that Ray takes its node away from saves what it
trains: no attempt is charged.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

import steep
from steep.base.extras import EXTRAS
from steep.base.memory import parse_bytes
from steep.contracts.trainer import Trainer
from steep.executors import ray_process
from steep.executors.engine import GONE, State, worker_script
from steep.executors.mailbox import Mailbox
from steep.executors.remote import Remote, open_remote
from steep.spec.sections import Duration, Few, Resources, Run, Strict, parse_duration
from steep.store.folder import StoreError

_PATIENCE = 120.0
"""Seconds that Ray may take to start workers, or to say what it has."""
_STATES, _CANCEL = 1.0, 30.0
"""Seconds that the driver waits for what it can do without."""
_CLOSE = 10.0
"""Seconds that the process which speaks to Ray may take to end."""


class Options(Strict):
    address: str | None = None
    """Ray's address: `10.0.0.5:6379`. None: `RAY_ADDRESS`, else the Ray that this machine is in."""
    slots: Few | None = None
    """Workers at a time. None: 8; `run.workers` and `--workers` set it, too."""
    resources: Resources = Resources()
    """What a worker gets, and with it a trial."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """More options of a Ray actor: `{accelerator_type: H100, runtime_env: {...}}`."""
    autoscale: bool = False
    """Whether to wait for nodes that Ray does not have now. Else resources that no node has are
    refused."""
    walltime: Duration | None = None
    """Time that a worker has: near its end it saves what it trains and takes no more. None: no
    end."""
    grace: Duration = "2m"
    """How long before the end of the walltime that is."""
    idle: Duration = "5m"
    """A worker that found nothing to do for so long ends, and gives back what it has of Ray."""
    setup: str | None = None
    """Lines of shell before the worker starts, such as `module load cuda`."""
    shared: str | None = None
    """A folder that this machine and the workers' see under this path, where the study's own folder
    is not one: workers read and write there. None: the study's own."""
    python: str | None = None
    """Python on the nodes, with steep. None: the one that Ray runs there."""


def open_executor(folder: Path, run: Run, trainer: Trainer | None = None) -> Remote:
    """Workers in Ray, as ``run.executor`` says. Raises StoreError where Ray is not installed, does
    not answer, or has no node for such a worker."""
    options = Options.model_validate(run.executor.options)
    return open_remote(folder, "ray", options, open_engine(options), slots(run), trainer)


def slots(run: Run) -> int:
    """Workers at a time."""
    return run.workers or Options.model_validate(run.executor.options).slots or 8


def open_engine(options: Options) -> Ray:
    return Ray(options)


class Ray:
    """See ``engine.Engine``. A worker is a named actor, so that one that was started the moment
    before its driver died is found, too."""

    title = "Ray"
    tells = True

    def __init__(self, options: Options) -> None:
        self._options = options
        self._asked: int | None = None
        """The question about states that has not been answered."""
        self._ended: dict[str, State] = {}
        """Workers that have left their exit code."""

    @property
    def _line(self) -> Line:
        return line(self._options.address or os.environ.get("RAY_ADDRESS") or "auto")

    def check(self, box: Mailbox) -> None:
        if importlib.util.find_spec("ray") is None:
            raise StoreError(f"Ray is not installed here: pip install 'steep[{EXTRAS['ray']}]'")
        walltime = self._options.walltime
        if walltime and parse_duration(walltime) <= parse_duration(self._options.grace):
            raise StoreError(
                f"run.executor.walltime ({walltime}) must be longer than grace "
                f"({self._options.grace}), the time that a trial has to save itself"
            )
        found = self._line.ask("look", options=self._actor(), file=str(box.job_file))
        if not found["fit"] and not self._options.autoscale:
            needs = found["needs"]
            have = dict.fromkeys(_amounts(node, needs) for node in found["nodes"])
            raise StoreError(
                f"no node of the Ray at {self._line.where} has {_amounts(needs, needs)}; what they "
                f"have: {' or '.join(have)}. Ask for less in run.executor.resources, or, where Ray "
                "starts nodes when they are asked for, set run.executor.autoscale: true"
            )
        if found["blind"]:
            raise StoreError(
                f"{', '.join(found['blind'])} of Ray cannot see {box.site.resolve()}: put the "
                "study where all nodes see it, under the same path, or name a folder that they do "
                "(run.executor.shared)"
            )

    def submit(self, box: Mailbox, batch: str, count: int) -> list[str | None]:
        python = shlex.quote(self._options.python) if self._options.python else '"$2"'
        cpus = self._options.resources.cpus
        text = worker_script(box, self._options, '"$1"', cpus, python)
        started: list[str | None] = self._line.ask(
            "start",
            space=_space(box),
            workers=[f"{batch}-{i}" for i in range(count)],
            script=str(box.write_script(f"output/{batch}.sh", text).resolve()),
            options=self._actor(),
        )["started"]
        return started

    def states(self, box: Mailbox, batches: Mapping[str, Any]) -> Mapping[str, State] | None:
        workers = [name for name in _workers(batches) if name not in self._ended]
        try:
            if self._asked is None:
                self._asked = self._line.send("states", space=_space(box), workers=workers)
            answer = self._line.answer(self._asked, _STATES)
        except StoreError:
            self._asked = None
            return None
        if answer is None:  # it comes later
            return None
        self._asked = None
        heard = {name.partition(".")[0] for name in box.names("workers")}
        said = answer["states"]
        states = {
            name: self._state(box, name, name in heard, *said.get(name, ("queued", "")))
            for name in workers
        }
        return states | self._ended

    def _state(self, box: Mailbox, worker: str, heard: bool, word: str, why: str) -> State:
        if word != "gone":
            return State("running") if heard else State(word)
        code = box.read(f"output/{worker}.ended")
        if code is not None:
            how = "ended without a word" if code == 0 else f"failed, exit code {code}"
            self._ended[worker] = State("ended", how)
            return self._ended[worker]
        return GONE if heard else State("ended", f"died ({why})" if why else "died")

    def cancel(self, box: Mailbox, batches: Mapping[str, Any], worker: str | None = None) -> None:
        workers = [name for name in _workers(batches) if worker in (None, name)]
        if workers:
            self._line.ask("cancel", _CANCEL, space=_space(box), workers=workers)

    def _actor(self) -> dict[str, Any]:
        """A worker's options, as Ray calls them."""
        resources = self._options.resources
        options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
        if resources.memory is not None:
            options["memory"] = parse_bytes(resources.memory)
        return options | self._options.arguments


def _space(box: Mailbox) -> str:
    return f"steep-{box.folder.name}"


def _workers(batches: Mapping[str, Any]) -> list[str]:
    return [
        f"{batch}-{i}"
        for batch, about in batches.items()
        for i in range(about["count"])
        if not isinstance(about["id"], list) or about["id"][i] is not None
    ]


def _amounts(has: Mapping[str, float], named: Mapping[str, float]) -> str:
    """Those of the resources that are named, for people."""
    amounts = {name: has.get(name, 0) for name in named}
    return ", ".join(
        f"{round(amount / 2**30)} GiB of memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in amounts.items()
    )


# ---------------------------------------------------------------- the process that speaks to Ray


class Line:
    """The driver's end of a process that speaks to Ray; begun when it is first needed, and again
    when it has ended."""

    def __init__(self, address: str) -> None:
        self.where = "this machine" if address == "auto" else address
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._number = self._first = 0
        """The last question, and the last one before this process."""
        self._answers: dict[int, dict[str, Any]] = {}
        self._part = b""

    def ask(self, do: str, patience: float = _PATIENCE, **request: Any) -> dict[str, Any]:
        """A question and its answer. Raises StoreError where none comes in time."""
        answer = self.answer(self.send(do, **request), patience)
        if answer is None:
            raise StoreError(f"the Ray at {self.where} does not answer")
        return answer

    def send(self, do: str, **request: Any) -> int:
        """A question's number. Raises StoreError."""
        if self._process is None or self._process.poll() is not None:
            self._begin()
        assert self._process is not None
        assert self._process.stdin is not None
        self._number += 1
        text = json.dumps({"number": self._number, "do": do, **request}, default=str)
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._lost() from None
        return self._number

    def answer(self, number: int, patience: float) -> dict[str, Any] | None:
        """What came of a question; None if nothing has yet. Raises StoreError where Ray refused, or
        cannot be reached any more."""
        end = time.monotonic() + patience
        while number not in self._answers:
            if number <= self._first or self._process is None:
                raise self._lost()
            assert self._process.stdout is not None
            ready, _, _ = select.select(
                [self._process.stdout], [], [], max(0.0, end - time.monotonic())
            )
            if not ready:
                return None
            self._receive(self._process.stdout.fileno())
        answer = self._answers.pop(number)
        if "error" in answer and "started" not in answer:
            raise StoreError(f"the Ray at {self.where}: {answer['error']}")
        return answer

    def _receive(self, handle: int) -> None:
        data = os.read(handle, 1 << 16)
        if not data:
            self.close()
            raise self._lost()
        *lines, self._part = (self._part + data).split(b"\n")
        for text in lines:
            answer = json.loads(text)
            self._answers[answer.pop("number")] = answer

    def _lost(self) -> StoreError:
        return StoreError(f"the Ray at {self.where} cannot be reached any more")

    def _begin(self) -> None:
        self.close()
        path = [str(Path(steep.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        self._first, self._part, self._answers = self._number, b"", {}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", ray_process.__name__, self._address],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise StoreError(f"no process could be started: {error.strerror}") from None

    def close(self) -> None:
        """End the process once it has done what it was asked to; workers go on."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_CLOSE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@cache
def line(address: str) -> Line:
    """One for all that this process asks of the Ray at ``address``."""
    made = Line(address)
    atexit.register(made.close)
    return made
