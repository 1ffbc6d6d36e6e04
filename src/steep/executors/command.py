"""Command: workers that your own commands start, on any engine with a shared folder.

``submit`` is a shell command with {script} in it, a file to be run on some machine: SkyPilot,
Kubernetes, HTCondor, ssh. It returns at once, and the last line that it prints is the worker's id,
which ``status`` and ``cancel`` may name as {id}.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from steep.contracts.trainer import Trainer
from steep.executors.engine import State, worker_script
from steep.executors.mailbox import Mailbox
from steep.executors.remote import Remote, open_remote
from steep.spec.sections import Duration, Few, Run, Strict
from steep.store.folder import StoreError

_PATIENCE = 120.0
"""Seconds that a command may take."""
_AT_ONCE = 8
"""Commands that run beside each other."""


def _with_script(template: str) -> str:
    if "{script}" not in template:
        raise ValueError("has no {script}, the file that a machine is to run")
    return _known(template)


def _known(template: str) -> str:
    try:
        template.format(script="", name="", output="", id="")
    except (KeyError, IndexError, ValueError, AttributeError):
        raise ValueError(
            "may name {script}, {name}, {output} and {id}; write other braces twice: {{ }}"
        ) from None
    return template


class Options(Strict):
    submit: Annotated[str, AfterValidator(_with_script)]
    """Starts a worker and returns: {script} is a file to run on some machine, {name} a name for it,
    {output} a file for what it prints. The last line printed is the worker's id."""
    status: Annotated[str, AfterValidator(_known)] | None = None
    """Exit code 0 while the worker {id} (or {name}) waits or runs. None: only its own silence shows
    that it has ended."""
    cancel: Annotated[str, AfterValidator(_known)] | None = None
    """Ends the worker {id}. None: it is requested to end, through the shared folder."""
    slots: Few | None = None
    """Workers at a time. None: 8; `run.workers` and `--workers` set it, too."""
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of a trial. Results are the same to the last bit only for one number."""
    walltime: Duration | None = None
    """Time that a worker has: near its end it saves what it trains and takes no more. None: no
    end."""
    grace: Duration = "2m"
    """How long before the end of the walltime that is."""
    idle: Duration = "5m"
    """A worker that found nothing to do for so long ends."""
    setup: str | None = None
    """Lines of shell before the worker starts, such as `source env/bin/activate`."""
    shared: str | None = None
    """A folder that this machine and the workers' see under this path, where the study's own folder
    is not one: workers read and write there. None: the study's own."""
    python: str | None = None
    """Python on the workers' machines, with steep. None: as here."""


def open_executor(folder: Path, run: Run, trainer: Trainer | None = None) -> Remote:
    """Workers by the commands of ``run.executor``. Raises StoreError."""
    options = Options.model_validate(run.executor.options)
    return open_remote(folder, "command", options, open_engine(options), slots(run), trainer)


def slots(run: Run) -> int:
    """Workers at a time."""
    return run.workers or Options.model_validate(run.executor.options).slots or 8


def open_engine(options: Options) -> Commands:
    return Commands(options)


class Commands:
    """See ``engine.Engine``."""

    title = "the submit command"

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, box: Mailbox) -> None:
        """Nothing is known before a worker is wanted."""

    @property
    def tells(self) -> bool:
        return self._options.status is not None

    def submit(self, box: Mailbox, batch: str, count: int) -> list[str | None]:
        def one(worker: str) -> str | StoreError:
            box.write_script(
                f"output/{worker}.sh", worker_script(box, self._options, worker, self._options.cpus)
            )
            try:
                printed = self._run(self._options.submit, box, worker, "")
            except StoreError as error:  # others may have started
                return error
            lines = printed.split("\n")
            return lines[-1].strip()

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            submitted = list(pool.map(one, (f"{batch}-{i}" for i in range(count))))
        started = [None if isinstance(one, StoreError) else one for one in submitted]
        for failed in submitted:
            if isinstance(failed, StoreError) and not any(one is not None for one in started):
                raise failed
        return started

    def states(self, box: Mailbox, batches: Mapping[str, Any]) -> Mapping[str, State] | None:
        template = self._options.status
        if template is None:
            return {worker: State("running") for worker, _ in _workers(batches)}

        def one(pair: tuple[str, str]) -> tuple[str, State]:
            worker, known = pair
            if not known and "{name}" not in template:  # a driver ended before it knew the id
                heard = any(name.startswith(f"{worker}.") for name in box.names("workers"))
                return worker, State("running") if heard else State("ended", "is gone")
            alive = self._exit_code(template, box, *pair) == 0
            return worker, State("running") if alive else State("ended", "has ended")

        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                return dict(pool.map(one, _workers(batches)))
        except StoreError:
            return None

    def cancel(self, box: Mailbox, batches: Mapping[str, Any], worker: str | None = None) -> None:
        template = self._options.cancel
        if template is None:
            return
        for name, known in _workers(batches):
            if worker in (None, name) and (known or "{id}" not in template):
                with suppress(StoreError):  # the others are to end all the same
                    self._exit_code(template, box, name, known)

    def _run(self, template: str, box: Mailbox, worker: str, known: str) -> str:
        """What a command printed. Raises StoreError where it failed."""
        with tempfile.TemporaryFile() as out:  # no pipe: a worker in the background may hold it
            code = self._exit_code(template, box, worker, known, out)
            out.seek(0)
            printed = out.read().decode(errors="replace").strip()
        if code:
            last = printed.splitlines()[-3:]
            raise StoreError(
                f"the submit command failed, exit code {code}" + "".join(f"\n  {x}" for x in last)
            )
        return printed

    @staticmethod
    def _exit_code(template: str, box: Mailbox, worker: str, known: str, out: Any = None) -> int:
        place = box.folder / "output"
        values = {
            "script": place / f"{worker}.sh",
            "output": place / f"{worker}.txt",
            "name": f"steep-{box.folder.name}-{worker}",
            "id": known,
        }
        command = template.format(**{n: shlex.quote(str(v)) for n, v in values.items()})
        try:
            return subprocess.run(
                command,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=out or subprocess.DEVNULL,
                stderr=out or subprocess.DEVNULL,
                timeout=_PATIENCE,
                start_new_session=True,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise StoreError(f"not done after {_PATIENCE:g} seconds: {command}") from None


def _workers(batches: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The workers of the batches with their ids, '' where the driver ended before it knew one."""
    for batch, about in batches.items():
        known = about["id"] or [""] * about["count"]
        yield from ((f"{batch}-{i}", one) for i, one in enumerate(known) if one is not None)
