"""Replays a table of measured trials: searches are compared in seconds on what once took hours.

The table holds a whole grid, one row per evaluation of each trial (``table`` makes it of a study's
measurements): where the trial stands in the grid, its status, then the evaluation. A trial costs
what it cost when it was measured, up to the step at which it is stopped, and what was not asked for
is not seen. Shards are found by their samples, to a hundredth: the replaying study cuts items of
its own (domain ``external``) in the same sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.contracts.domain import Domain
from steep.contracts.trainer import Cost, Handle, Interrupted, ShardItems, Trainer
from steep.records import Evaluation, Measurement, Settings, Status, Trial, Value, settings
from steep.spec.load import Loaded
from steep.spec.sections import Strict

if TYPE_CHECKING:
    import pandas as pd

PLACE = ("permutation", "samples", "size", "seed")
ENDED = ("status", "parameters", "flops_per_unit", "seconds", "steps", "test_error")
POINT = ("step", "samples_seen", "train_loss", "validation_loss", "validation_error")
"""Columns; all others are hyperparameters."""
NEAR = 0.01
"""Largest difference of samples, in log, at which two shards are the same one."""


class Options(Strict):
    table: str
    """A .csv or .csv.gz made by ``table``; a relative path starts from the spec's folder."""


@dataclass(frozen=True)
class Grid:
    """The table, read: every trial's measurement, by where it stands."""

    configs: Mapping[tuple[int, int, int, Settings], tuple[Measurement, ...]]
    """By permutation, size, seed and hyperparameters: one of each shard, by samples."""
    costs: Mapping[int, Cost]
    """By size."""
    seeds: int

    def find(self, trial: Trial) -> Measurement:
        """The trial as it was measured. Raises ValueError for one that was not."""
        names = {name for *_, given in self.configs for name, _ in given}
        known = settings({n: v for n, v in trial.hyperparameters if n in names})
        cell = self.configs.get((trial.permutation, trial.size, trial.seed, known), ())
        near = [m for m in cell if abs(np.log(m.trial.samples / trial.samples)) < NEAR]
        if not near:
            raise ValueError(
                f"the table has no trial of size {trial.size} on {trial.samples:g} samples with "
                f"seed {trial.seed} and {dict(known)}"
            )
        return near[0]


def table(measurements: Iterable[Measurement]) -> pd.DataFrame:
    """The table of a study's finished trials, one row per evaluation."""
    import pandas as pd

    rows = []
    for m in measurements:
        if m.status not in (Status.COMPLETE, Status.CAPPED, Status.DIVERGED) or not m.samples_seen:
            continue
        t = m.trial
        place = (t.permutation, t.samples, t.size, t.seed)
        per_unit = (m.flops or 0.0) / m.samples_seen
        ended = (str(m.status), m.parameters, per_unit, m.seconds, m.steps, m.test_error)
        for e in m.curve:
            point = (e.step, e.samples_seen, e.train_loss, e.validation_loss, e.validation_error)
            row = dict(zip((*PLACE, *ENDED, *POINT), (*place, *ended, *point), strict=True))
            rows.append({**row, **dict(t.hyperparameters)})
    return pd.DataFrame(rows)


@cache
def read(path: Path, modified: float) -> Grid:
    """The grid of a table. Raises ValueError naming a column that it lacks."""
    import pandas as pd

    frame = pd.read_csv(path)
    missing = [name for name in (*PLACE, *ENDED, *POINT) if name not in frame.columns]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}: not a table to replay")
    names = [str(c) for c in frame.columns if c not in (*PLACE, *ENDED, *POINT)]
    configs: dict[tuple[int, int, int, Settings], list[Measurement]] = {}
    costs: dict[int, Cost] = {}
    for _, rows in frame.groupby([*PLACE, *names], sort=True, dropna=False):
        measured = _measurement(rows.to_dict("records"), names)
        trial = measured.trial
        key = (trial.permutation, trial.size, trial.seed, trial.hyperparameters)
        configs.setdefault(key, []).append(measured)
        count = measured.parameters or 0
        costs[trial.size] = Cost(count, count, float(rows["flops_per_unit"].iloc[0]))
    seeds = int(frame["seed"].max()) + 1
    return Grid({key: tuple(found) for key, found in configs.items()}, costs, seeds)


def _measurement(rows: Sequence[Mapping[Any, Any]], names: Sequence[str]) -> Measurement:
    first = rows[0]
    given = {name: _plain(first[name]) for name in names if first[name] == first[name]}
    trial = Trial(
        int(first["permutation"]),
        round(first["samples"]),
        float(first["samples"]),
        int(first["size"]),
        settings(given),
        int(first["seed"]),
    )
    seconds, steps = float(first["seconds"]), int(first["steps"])
    curve = tuple(
        Evaluation(
            int(row["step"]),
            float(row["samples_seen"]),
            seconds * row["step"] / steps,
            _known(row["train_loss"]),
            float(row["validation_loss"]),
            float(row["validation_error"]),
        )
        for row in sorted(rows, key=lambda row: row["step"])
    )
    return Measurement(
        trial,
        Status(first["status"]),
        parameters=int(first["parameters"]),
        test_error=_known(first["test_error"]),
        steps=steps,
        seconds=seconds,
        flops=float(first["flops_per_unit"]),
        curve=curve,
    )


def _known(value: Any) -> float | None:
    return float(value) if value == value else None


def _plain(value: Any) -> Value:
    """What numpy made of a configuration, as the spec would have it."""
    return value.item() if isinstance(value, np.generic) else value


# ---------------------------------------------------------------- the trainer's contract


def recipe(family: str) -> Mapping[str, Value] | None:
    """Any name goes: the table says which there are."""
    return None


def cost(loaded: Loaded, domain: Domain, size: int) -> Cost | None:
    """None for a size that the table does not have."""
    return _grid(loaded).costs.get(size)


def extent(
    loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray
) -> tuple[float, float] | None:
    """What it took, which ``steep plan`` may know beforehand; None for a trial not in the table."""
    try:
        seen = _grid(loaded).find(trial).curve[-1].samples_seen
    except ValueError:
        return None
    return seen, seen


def open_trainer(loaded: Loaded, domain: Domain) -> Trainer:
    """A trainer of the table that the spec names. Raises ValueError where it cannot be read."""
    grid = _grid(loaded)

    def train(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        return replayed(grid.find(trial), trial, handle)

    return train


def _grid(loaded: Loaded) -> Grid:
    path = loaded.base / Options.model_validate(loaded.spec.trainer.options).table
    try:
        return read(path, path.stat().st_mtime)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def replayed(measured: Measurement, trial: Trial, handle: Handle) -> Measurement:
    """``measured`` up to where ``handle`` stops it."""
    if handle.stop_requested():
        raise Interrupted
    limit = handle.up_to_steps
    stopped = limit is not None and limit < measured.steps
    steps = limit if stopped and limit is not None else measured.steps
    curve = tuple(point for point in measured.curve if point.step <= steps)
    for point in curve:
        handle.progress(point)
    best = min(curve, key=lambda point: point.validation_error, default=None)
    seen = measured.curve[-1].samples_seen * steps / measured.steps
    found = replace(
        measured,
        trial=trial,
        steps=steps,
        samples_seen=seen,
        flops=(measured.flops or 0.0) * seen,
        seconds=measured.seconds * steps / measured.steps,
        best_step=best.step if best else 0,
        validation_error=best.validation_error if best else None,
        validation_loss=best.validation_loss if best else None,
        engine="replay",
        curve=curve,
    )
    if stopped:
        handle.save(steps, b"")  # a rung: the same trial goes on later
        reason = f"stopped after {steps} steps, as planned"
        return replace(found, status=Status.STOPPED, reason=reason, test_error=None)
    return found
