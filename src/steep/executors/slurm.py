"""Slurm: workers are the tasks of job arrays, each of which trains one trial after another.

Near the end of its walltime, and when it is preempted, a worker saves what it trains and gives it
back: no attempt is charged, and a later worker goes on from there. All of a study's workers are
asked after with one ``squeue``, which needs no accounting.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from steep.base.memory import parse_bytes
from steep.contracts.trainer import Trainer
from steep.executors.engine import State, worker_script
from steep.executors.mailbox import Mailbox
from steep.executors.remote import Remote, open_remote
from steep.spec.sections import Duration, Few, Resources, Run, Strict, parse_duration
from steep.store.folder import StoreError

_PATIENCE = 60.0
"""Seconds that a command of Slurm may take."""
_QUEUED = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD",
           "SPECIAL_EXIT"}  # fmt: skip
_ENDS = {
    "COMPLETED": State("ended", "ended without a word"),
    "FAILED": State("ended", "failed"),
    "OUT_OF_MEMORY": State("ended", "oom: ran out of its Slurm job's memory", cause="oom"),
    "TIMEOUT": State("ended", "met its walltime before its trial was saved"),
    "DEADLINE": State("ended", "met its deadline before its trial was saved"),
    "PREEMPTED": State("ended", "was preempted", blame=False),
    "NODE_FAIL": State("ended", "was on a node that failed", blame=False),
    "BOOT_FAIL": State("ended", "was on a node that did not boot", blame=False),
    "CANCELLED": State("ended", "was cancelled", blame=False),
    "REVOKED": State("ended", "was revoked", blame=False),
}
"""Slurm's states of a job that has ended; a trial is to blame where it may have been the cause."""


class Options(Strict):
    slots: Few | None = None
    """Workers at a time. None: 8; `run.workers` and `--workers` set it, too."""
    partition: str | None = None
    """Partition. None: Slurm's default."""
    account: str | None = None
    """Account. None: the user's default."""
    walltime: Duration | None = None
    """Time limit of a worker, which trains many trials in it: 4h. None: the partition's own."""
    grace: Duration = "2m"
    """How long before the end of the walltime a worker saves what it trains."""
    resources: Resources = Resources()
    """What a worker gets, and with it a trial."""
    setup: str | None = None
    """Lines of shell before the worker starts, such as `module load cuda`."""
    shared: str | None = None
    """A folder that this machine and the workers' see under this path, where the study's own folder
    is not one: workers read and write there. None: the study's own."""
    python: str | None = None
    """Python on the nodes, with steep. None: the path that it has here."""
    idle: Duration = "5m"
    """A worker that found nothing to do for so long ends."""
    arguments: tuple[str, ...] = Field(default=(), strict=False)
    """More arguments of `sbatch`: `--qos=long`."""


def open_executor(folder: Path, run: Run, trainer: Trainer | None = None) -> Remote:
    """Workers in Slurm jobs, as ``run.executor`` says. Raises StoreError where Slurm is not
    installed, does not answer or would refuse such a job."""
    options = Options.model_validate(run.executor.options)
    return open_remote(folder, "slurm", options, open_engine(options), slots(run), trainer)


def slots(run: Run) -> int:
    """Workers at a time."""
    return run.workers or Options.model_validate(run.executor.options).slots or 8


def open_engine(options: Options) -> Slurm:
    return Slurm(options)


class Slurm:
    """See ``engine.Engine``. A batch is a job array; jobs are found by their names, so that one
    that was submitted the moment before its driver died is found, too."""

    title = "Slurm"
    tells = True

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, box: Mailbox) -> None:
        if shutil.which("sbatch") is None:
            raise StoreError("Slurm is not installed here: there is no sbatch on the PATH")
        walltime = self._options.walltime
        if walltime and parse_duration(walltime) <= parse_duration(self._options.grace):
            raise StoreError(
                f"run.executor.walltime ({walltime}) must be longer than grace "
                f"({self._options.grace}), the time that a trial has to save itself"
            )
        self._submit(box, "check", 1, "--test-only")

    def submit(self, box: Mailbox, batch: str, count: int) -> str:
        return self._submit(box, batch, count, "--parsable").partition(";")[0].strip()

    def _submit(self, box: Mailbox, batch: str, count: int, *more: str) -> str:
        worker, threads = f"{batch}-${{SLURM_ARRAY_TASK_ID}}", self._options.resources.cpus
        text = worker_script(box, self._options, worker, threads)
        script = box.write_script(f"output/{batch}.sh", text)
        return _slurm("sbatch", *more, *self._arguments(box, batch, count), str(script))

    def _arguments(self, box: Mailbox, batch: str, count: int) -> list[str]:
        options, resources = self._options, self._options.resources
        given = [
            f"--job-name={_job_name(box, batch)}",
            f"--array=0-{count - 1}",
            f"--output={box.folder.resolve()}/output/{batch}-%a.txt",
            "--open-mode=append",
            "--ntasks=1",
            f"--cpus-per-task={resources.cpus}",
            f"--signal=B:USR1@{math.ceil(parse_duration(options.grace))}",
        ]
        if options.walltime is not None:
            given.append(f"--time={math.ceil(parse_duration(options.walltime) / 60)}")
        if resources.memory is not None:
            given.append(f"--mem={math.ceil(parse_bytes(resources.memory) / 2**20)}M")
        if resources.gpus:
            given.append(f"--gpus={resources.gpus}")
        given += [f"--partition={options.partition}"] if options.partition else []
        given += [f"--account={options.account}"] if options.account else []
        return [*given, *options.arguments]

    def states(self, box: Mailbox, batches: Mapping[str, Any]) -> Mapping[str, State] | None:
        names = {_job_name(box, batch): batch for batch in batches}
        try:
            listed = _slurm(
                "squeue", "--noheader", "--array", "--states=all", f"--name={','.join(names)}",
                "--format=%j|%K|%T",
            )  # fmt: skip
        except StoreError:  # it is restarted, say
            return None
        found = {}
        for line in listed.splitlines():
            name, task, word = line.split("|")
            if name in names:
                found[f"{names[name]}-{task}"] = _state(word.strip())
        return found

    def cancel(self, box: Mailbox, batches: Mapping[str, Any], worker: str | None = None) -> None:
        if worker is not None:
            batch, _, task = worker.rpartition("-")
            if known := batches.get(batch, {}).get("id"):
                _slurm("scancel", f"{known}_{task}")
            return
        known = [about["id"] for about in batches.values() if about["id"]]
        if known:
            _slurm("scancel", "--quiet", *known)
        for batch, about in batches.items():
            if not about["id"]:
                _slurm("scancel", "--quiet", f"--name={_job_name(box, batch)}")


def _job_name(box: Mailbox, batch: str) -> str:
    return f"steep-{box.folder.name}-{batch}"


def _state(word: str) -> State:
    if word in _QUEUED:
        return State("queued")
    return _ENDS.get(word, State("running"))


def _slurm(*command: str) -> str:
    """What a command of Slurm printed. Raises StoreError where it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StoreError(f"Slurm does not answer: {command[0]} took a minute") from None
    except OSError as error:
        raise StoreError(f"Slurm is not installed here: {command[0]}: {error.strerror}") from None
    if done.returncode:
        raise StoreError(f"{command[0]} of Slurm says: {_said(done.stderr)}")
    return done.stdout


def _said(text: str) -> str:
    lines: Sequence[str] = [line.split("error: ")[-1] for line in text.strip().splitlines()]
    return "; ".join(lines[-2:]) or "nothing, but it failed"
