"""A study's expected time: timed on this machine, from when trials like its own have stopped."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from steep import shards
from steep.cost.calibrate import Pace, Timed, timed
from steep.cost.estimate import ladder, predict
from steep.cost.stops import ended, learnt, typical
from steep.plan import worlds
from steep.records import Prediction, Trial

if TYPE_CHECKING:
    from steep.study import Study

TRAIN_ITEMS = 1000
"""Of a trial's shard, evaluated at its end (the engine's default)."""


def pace(study: Study) -> Pace | None:
    """Steps and evaluations of the ladder's ends and middle, timed in this process, in ten seconds
    or less unless a few steps take longer. None for a trainer whose steps are its own."""
    sizes = sorted(study.spec.family.sizes)
    chosen = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
    if study.prices.schedule(_trial(study, chosen[0])) is None:
        return None
    trainer = study.trainer()
    rows = []
    for size in (chosen[0], *chosen):  # the first one twice: it loads and compiles
        row = _timed(study, trainer, size)
        if row is None:
            return None
        rows.append(row)
    return Pace(rows[1:], _units(study, study.cut.validation))


def _timed(study: Study, trainer: object, size: int) -> Timed | None:
    full = _trial(study, size)
    found = study.prices.schedule(full)
    assert found is not None
    items = shards.trial_items(study.cut, full)
    # As much data as one step takes: V is evaluated soonest there, after eight steps.
    first = min(study.problem.shards, key=lambda s: s.items)
    small = Trial(0, first.items, first.samples, size, full.hyperparameters, 0)
    few = shards.trial_items(study.cut, small)
    steps = study.prices.schedule(small)
    assert steps is not None
    few = type(few)(few.train[: max(1, len(few.train) // steps[1])], few.validation, few.test)
    return timed(
        trainer,  # type: ignore[arg-type]
        (small, few, _units(study, few.train)),
        (full, items, full.samples / found[1]),
    )


def _trial(study: Study, size: int) -> Trial:
    largest = max(study.problem.shards, key=lambda s: s.items)
    return Trial(0, largest.items, largest.samples, size, study.first_choice(), seed=0)


def _units(study: Study, items: np.ndarray) -> float:
    return float(study.items.size[items].sum())


def seconds_per_flop(study: Study, timing: Pace | None) -> Callable[[int], float] | None:
    """Size on the dial -> seconds per training FLOP of a full batch on one worker."""
    if timing is None:
        return None
    units = timing.rows[0].units[1]

    def seconds(size: int) -> float:
        cost = study.prices.cost(size)
        return timing.step(size, units) / (units * cost.flops) if cost else math.nan

    return seconds


def expected_seconds(
    study: Study, speed: Callable[[int], float] | None, workers: int | None
) -> float:
    """Expected time of a run from the start by FLOPs alone, evaluations left out: quick enough to
    compare many studies of one data set."""
    if speed is None:
        return math.nan
    work = sum(cost * speed(trial.size) for trial, cost in study.expected())
    return work / (workers or study.worker_count())


def expectation(study: Study, workers: int | None = None) -> Prediction | None:
    """``prediction``, or None where timing fails: what is wrong with a trial is told when it runs,
    and costs that trial alone."""
    try:
        return prediction(study, pace(study), workers)
    except Exception:
        return None


def prediction(study: Study, timing: Pace | None, workers: int | None = None) -> Prediction | None:
    """The expected time of the whole study, from its beginning; with trials of its own finished,
    by when these stopped. None where ``pace`` found no ``timing``."""
    if timing is None:
        return None
    fewest, most = worlds(study.problem, study.planner)
    held_out = study.held_out_at_most()
    middle = ladder(study.spec.family.sizes, [s.samples for s in study.problem.shards])
    finished = ended(study.measurements()) if study.begun else []
    places = np.array([middle.place(m.trial) for m in finished]).reshape(-1, 2)
    validation = _units(study, study.cut.validation)
    test = _units(study, study.cut.test)

    def last_looks(trial: Trial) -> float:
        part = min(1.0, TRAIN_ITEMS / trial.items) * trial.samples
        return (part + test) / validation

    def schedule(trial: Trial) -> tuple[tuple[int, ...], int]:
        found = study.prices.schedule(trial)
        assert found is not None
        return found

    return predict(
        [fewest, held_out],
        stop=study.spec.stop,
        schedule=schedule,
        pace=timing,
        typical=learnt(
            typical(study.spec.family.name, study.metric), finished, places[:, 0], places[:, 1]
        ),
        middle=middle,
        workers=workers or study.worker_count(),
        last_looks=last_looks,
        most=len(most) + len(held_out),
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
