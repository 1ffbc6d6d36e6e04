"""What a study does now, and what it holds of one trial, read from its store."""

from __future__ import annotations

import datetime

import numpy as np

from steep.base.memory import memory_of
from steep.records import Evaluation, Standing, Status
from steep.records.live import Attempt, ItemErrors, LiveState, RunningTrial, TrialRecord
from steep.store.folder import read_samples
from steep.store.store import Store

WORST = 10
"""Validation items with the largest errors that are named."""


def live_state(store: Store, standing: Standing) -> LiveState:
    """The study at this moment; ``standing`` is its progress, read from the same store."""
    workers = store.workers()
    running = []
    for row in standing.rows:
        if row.status == Status.RUNNING:
            worker = workers.get(row.trial.id)
            running.append(
                RunningTrial(
                    row.trial,
                    row.attempts or 1,
                    row.seconds or 0.0,
                    tuple(store.progress(row.trial.id)),
                    worker,
                    None if worker is None else memory_of(worker),
                )
            )
    rows = store.trials()
    queue = [r.trial for r in standing.rows if r.status == Status.PLANNED]
    facts = store.decisions("facts")
    return LiveState(
        standing,
        tuple(running),
        tuple((trial, rows[trial.id].why) for trial in queue),
        tuple(store.measurements()),
        {key: row.finished for key, row in rows.items() if row.finished is not None},
        facts[-1].payload["metric"] if facts else None,
        facts[-1].payload["unit"] if facts else "samples",
    )


def trial_record(store: Store, standing: Standing, trial: str, metric: str) -> TrialRecord | None:
    """All that the store holds of the trial with that id; None if there is no such trial."""
    numbers = {row.trial.id: n for n, row in enumerate(standing.rows, 1)}
    if trial not in numbers:
        return None
    number = numbers[trial]
    row = store.trials()[trial]
    measured = row.measurement
    curve: tuple[Evaluation, ...] = () if measured is None else measured.curve
    attempts = tuple(
        Attempt(
            one["number"],
            one["state"],
            one["reason"],
            store.whole_failure(trial, one["number"]) or one["detail"],
        )
        for one in store.attempts(trial)
    )
    return TrialRecord(
        number,
        standing.rows[number - 1],
        row.why,
        curve or tuple(store.progress(trial)),
        measured,
        attempts,
        tuple((_moment(at), text) for at, text in store.log_of(trial)),
        item_errors(store, trial, metric),
        read_samples(store.folder, trial),
    )


def item_errors(store: Store, trial: str, metric: str) -> ItemErrors | None:
    """The trial's errors on the single validation items; None where they were not kept."""
    items = store.items(trial)
    if items is None or metric not in items or "count" not in items:
        return None
    counts = np.asarray(items["count"], float)
    errors = np.asarray(items[metric], float) / np.where(counts > 0, counts, np.nan)
    measured = np.flatnonzero(np.isfinite(errors))
    order = measured[np.argsort(-errors[measured], kind="stable")][:WORST]
    return ItemErrors(
        metric,
        len(measured),
        tuple((int(i), float(errors[i]), float(counts[i])) for i in order),
        int((errors[measured] == 0).sum()),
    )


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds")
