"""The rows of a table for a joint fit: rows of one run, and the best rows of an untuned sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steep.base.spelling import did_you_mean
from steep.questions.surface import model_of, runs_of
from steep.records import JointRow
from steep.stats.untuned import best_of_cells
from steep.tables.columns import find
from steep.tables.words import normal

RUNS = ("run", "run_name", "run_id", "name")
STEPS = ("step", "steps", "global_step", "iteration", "iterations")
SETTINGS = {"lr", "learning_rate", "peak_lr", "max_lr", "batch_size", "bs", "weight_decay", "wd",
            "beta1", "beta2", "adam_beta1", "adam_beta2", "momentum", "warmup", "warmup_steps",
            "dropout", "optimizer", "schedule", "lr_schedule", "init_std"}  # fmt: skip
"""Columns of hyperparameters that do not change a model's size."""
MOST = 16
"""The most rows of one run that are kept, evenly over log samples."""
RISE = 0.002
"""A run has overfitted if its error is above that of fewer epochs by more than this share."""
FEWEST = 30
"""A sweep of fewer rows than this is kept whole."""


@dataclass(frozen=True)
class JointTable:
    rows: tuple[JointRow, ...]
    total: int
    has_unique: bool
    cells: dict[str, list[object]]
    """Other columns, by row."""
    notes: tuple[str, ...] = ()


def rows_of(curve: Any, run: str | None = None) -> JointTable:
    """The rows of a curve that was read with ``every_size``. Raises ValueError without model sizes,
    or if the column of runs does not exist."""
    columns = curve.columns
    if "parameters" not in columns:
        raise ValueError("a joint fit needs the model size of every run: --parameters")
    n, d, error = (np.array(columns[c], float) for c in ("parameters", "samples", "error"))
    u = np.array(columns.get("unique", columns["samples"]), float)
    u = np.where(np.isfinite(u), u, d)
    kept = np.flatnonzero(np.isfinite(n))
    notes: list[str] = []
    if len(kept) < len(n):
        notes.append(f"{len(n) - len(kept)} rows without a model size are left out.")
    if np.any(u > d * (1 + 1e-9)):
        first = int(np.flatnonzero(u > d * (1 + 1e-9))[0])
        raise ValueError(f"row {curve.lines[first]}: more unique samples than samples seen")
    overfitted = _past_the_best(n, d, u, error)
    if overfitted.any():
        kept = kept[~overfitted[kept]]
        notes.append(
            f"{int(overfitted.sum())} rows repeat their data until the error rises again, which no "
            "law has: they are set aside."
        )
    lines = curve.lines or range(1, len(n) + 1)
    names, more_notes = _runs(curve, run, n)
    notes += more_notes
    kept, more_notes = _thinned(kept, names, d)
    notes += more_notes
    rows = tuple(
        JointRow(lines[i], float(n[i]), float(d[i]), float(u[i]), float(error[i]), names[i])
        for i in kept
    )
    cells = {c: [cells[i] for i in kept] for c, cells in curve.others.items()}
    table = JointTable(rows, len(n), "unique" in columns, cells)
    tuned, more_notes = _tuned(table)
    indices = (
        [i for i, row in enumerate(rows) if row in set(tuned)] if more_notes else range(len(rows))
    )
    cells = {c: [values[i] for i in indices] for c, values in cells.items()}
    return JointTable(tuned, len(n), "unique" in columns, cells, (*notes, *more_notes))


def _past_the_best(n: np.ndarray, d: np.ndarray, u: np.ndarray, error: np.ndarray) -> np.ndarray:
    """A mask of the rows of repeated data whose error is above that of fewer epochs of the same
    data with a model of the same size."""
    past = np.zeros(len(n), bool)
    places = np.unique(np.stack([n, u]), axis=1, return_inverse=True)[1].ravel()
    for place in np.unique(places[u < d]):
        rows = np.flatnonzero(places == place)
        rows = rows[np.argsort(d[rows], kind="stable")]
        before = np.minimum.accumulate(error[rows])[:-1]
        past[rows[1:]] = error[rows[1:]] > before * (1 + RISE)
    return past


# ---------------------------------------------------------------- rows of one run


def _runs(curve: Any, requested: str | None, n: np.ndarray) -> tuple[list[str], list[str]]:
    """The run of each row ('' if each row is a run of its own), and notes."""
    others = curve.others
    alone = [""] * len(n)
    if requested is not None:
        name = find(requested, list(others))
        if name is None:
            hint = did_you_mean(requested, list(others)) or "."
            raise ValueError(f"no column {requested!r}{hint} The columns are {', '.join(others)}")
    else:
        candidates = [c for c in others if normal(c) in RUNS]
        name = candidates[0] if len(candidates) == 1 else None
    step = next((c for c in others if normal(c) in STEPS), None)
    if name is not None:
        labels = [str(v) for v in others[name]]
    elif step is not None:
        name = step
        same = [
            c for c in others if c != step and normal(c) in SETTINGS | {"seed", "width", "depth"}
        ]
        labels = [
            "/".join(map(str, (size, *(others[c][i] for c in same)))) for i, size in enumerate(n)
        ]
    else:
        return alone, []
    count = len(set(labels))
    if count == len(labels):
        return alone, []
    mixed = {
        label for label in set(labels)
        if len({size for size, run_of in zip(n, labels, strict=True) if run_of == label}) > 1
    }  # fmt: skip
    if mixed and requested is None:
        return alone, [
            f"Column {name!r} is not taken for runs: {sorted(mixed)[0]!r} has several model sizes."
        ]
    basis = f"Rows of one run (column {name!r}) share its error"
    return labels, [f"{basis}: {len(labels)} rows are {count} runs."]


def _thinned(kept: np.ndarray, names: Sequence[str], d: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """At most ``MOST`` rows of each run, those nearest to even steps of log samples, and notes."""
    if not any(names):
        return kept, []
    chosen: list[int] = []
    run_of = np.array(names)[kept]
    for label in dict.fromkeys(run_of.tolist()):
        rows = kept[run_of == label]
        rows = rows[np.argsort(d[rows])]
        if len(rows) > MOST:
            log_d = np.log(d[rows])
            places = np.linspace(log_d[0], log_d[-1], MOST)
            near = np.abs(log_d[:, None] - places).argmin(axis=0)
            rows = rows[np.unique(near)]
        chosen += rows.tolist()
    if len(chosen) == len(kept):
        return kept, []
    return np.sort(np.array(chosen)), [
        f"At most {MOST} rows of each run are used, evenly over log samples: {len(chosen)} of "
        f"{len(kept)}."
    ]


# ---------------------------------------------------------------- untuned sweeps


def _tuned(table: JointTable) -> tuple[tuple[JointRow, ...], list[str]]:
    """The best rows of a sweep over hyperparameters, or all rows of another table, and notes."""
    rows = table.rows
    differing = [
        c for c, cells in table.cells.items()
        if normal(c) in SETTINGS and len(set(map(str, cells))) > 1
    ]  # fmt: skip
    if not differing or any(r.run for r in rows) or len(rows) < FEWEST:
        return rows, []
    runs = runs_of(rows)
    chosen = best_of_cells(model_of("chinchilla", runs), runs)
    if chosen is None:
        return rows, []
    columns = ", ".join(repr(c) for c in differing[:4])
    return tuple(rows[i] for i in chosen), [
        f"Rows differ in {columns}: the best of each cell of neighbours in log N and log D carries "
        f"the law, {len(chosen)} of {len(rows)} rows."
    ]
