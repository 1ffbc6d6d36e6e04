"""The executor that a run names: opened, and how many workers it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steep.base.registry import EXECUTORS
from steep.contracts.trainer import Trainer
from steep.executors import mailbox
from steep.records import ENDED, Status, TrialStanding
from steep.spec.load import member
from steep.spec.sections import Run


def open_chosen(
    folder: Path, run: Run, workers: int | None = None, trainer: Trainer | None = None
) -> Any:
    """The executor of ``run`` for the study in ``folder``, with so many ``workers`` at a time if it
    is told; ``trainer`` replaces the spec's own by one that lives in this process.

    Workers that an earlier run has left on other machines are ended where this one has no use for
    them. Raises StoreError where the executor cannot be had."""
    module = member(EXECUTORS, run.executor.name)
    if not hasattr(module, "open_engine") and mailbox.sessions(folder):
        from steep.executors.remote import end_abandoned

        end_abandoned(folder)
    if workers is not None:
        run = run.model_copy(update={"workers": workers})
    return module.open_executor(folder, run, trainer)


def worker_count(run: Run, function: bool = False) -> int:
    """How many workers a run would have; ``function``: its trainer lives in this process."""
    module = member(EXECUTORS, run.executor.name)
    if hasattr(module, "slots"):
        count: int = module.slots(run)
        return count
    from steep.executors.local import cpus

    return run.workers or (1 if function else cpus())


def placed(rows: Sequence[TrialStanding], folder: Path) -> list[TrialStanding]:
    """The rows of a study with the places of its trials on other machines. Those run or wait also
    when their driver is gone, with which trials on this machine end."""
    places = mailbox.places(folder)
    return [
        replace(row, status=Status.RUNNING, reason=None, place=places[row.trial.id])
        if row.trial.id in places and row.status not in ENDED
        else row
        for row in rows
    ]
