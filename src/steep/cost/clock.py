"""A study's expected time: what ``estimate.py`` needs to know of it, gathered."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from steep import shards
from steep.cost.calibrate import Pace, Timed, timed, whole
from steep.cost.estimate import WORLDS, Ask, predict
from steep.cost.lengths import Learnt, Lengths, timeable
from steep.cost.lengths import Timed as TimedLengths
from steep.cost.stops import Kind, ended, expected, finished_studies, learnt
from steep.planners.contract import Wanted
from steep.records import Measurement, Prediction, Trial
from steep.select import select

if TYPE_CHECKING:
    from steep.study import Study
    from steep.trainers.contract import Trainer

Tell = Callable[[str, float], None]
"""(what is being done, share done)."""


def _silent(what: str, done: float) -> None: ...


TIMING_STEPS = "Timing steps of this machine and the first trials"
TRAIN_ITEMS = 1000
"""Of a trial's shard, evaluated at its end (the engine's default)."""


PILOT = 8.0
"""Seconds of the processor that the first trials of the search may take before it begins."""


def pace(study: Study, tell: Tell = _silent, pilot: bool = True) -> Pace | None:
    """Steps and evaluations of the ladder's ends and two between, timed in this process, in ten
    seconds or less unless a few steps take longer; then a pilot, which shows when trials stop here
    and which models are good. None for a trainer whose steps are its own. ``tell`` is told what is
    being done, and the share that is done."""
    sizes = sorted(study.spec.family.sizes)
    last = len(sizes) - 1
    chosen = sorted({sizes[k] for k in (0, last // 3, last - last // 3, last)})
    if study.prices.schedule(_trial(study, chosen[0])) is None:
        return None
    trainer = study.trainer()
    rows = []
    for k, size in enumerate((chosen[0], *chosen)):  # the first one twice: it loads and compiles
        tell(TIMING_STEPS, k / (len(chosen) + 2))
        row = _timed(study, trainer, size)
        if row is None:
            return None
        rows.append(row)
    found = Pace(tuple(rows[1:]), _units(study, study.cut.validation))
    tell(TIMING_STEPS, 1 - 1 / (len(chosen) + 2))
    return replace(found, pilot=_pilot(study, trainer)) if pilot else found


def with_size(study: Study, timing: Pace, size: int) -> Pace:
    """``timing`` with a larger size timed, too; the same where its steps cannot be seen."""
    row = _timed(study, study.trainer(), size)
    return timing if row is None else replace(timing, rows=(*timing.rows, row))


def _pilot(study: Study, trainer: Trainer) -> tuple[Measurement, ...]:
    """The first trials of the search, as many as end in time."""
    opened = time.process_time()
    found: list[Measurement] = []
    while wanted := study.search(found, (), None, rehearsed=True):
        trial = wanted[0].trial
        left = PILOT - (time.process_time() - opened)
        if left <= 0 or any(trial == m.trial for m in found):
            break
        ran = whole(trainer, trial, shards.trial_items(study.cut, trial), left)
        if ran is None:
            break
        found.append(ran)
    return tuple(found)


def _timed(study: Study, trainer: Trainer, size: int) -> Timed | None:
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
        trainer,
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


def lengths(
    study: Study, timing: Pace | None, finished: Sequence[Measurement] = ()
) -> Lengths | None:
    """How long the study's trials take; None where nobody can know yet."""
    own = timeable(finished)
    if timing is None:
        return Learnt(study.spec, own) if own else None
    kind = Kind(
        study.spec.domain.name,
        study.spec.family.name,
        str(dict(study.first_choice()).get("optimizer", "none")),
        study.metric,
    )
    stopped = ended(finished)
    usual = expected(kind, finished_studies(study.spec.stop.improvement))
    # The pilot is a trial of the study's own; it need not be told twice.
    shown = stopped or ended(timing.pilot)
    stopping = learnt(usual, study.spec, shown)
    validation = _units(study, study.cut.validation)
    test = _units(study, study.cut.test)

    def last_looks(trial: Trial) -> float:
        part = min(1.0, TRAIN_ITEMS / trial.items) * trial.samples
        return (part + test) / validation

    def schedule(trial: Trial) -> tuple[tuple[int, ...], int]:
        found = study.prices.schedule(trial)
        assert found is not None
        return found

    return TimedLengths(
        study.spec,
        stopping,
        timing,
        schedule=schedule,
        last_looks=last_looks,
        cost=study.prices.cost,
        finished=[m for m in stopped if m.seconds > 0],
    )


def prediction(
    study: Study,
    timing: Pace | None,
    workers: int | None = None,
    *,
    finished: Sequence[Measurement] = (),
    begun: Mapping[Trial, float] | None = None,
    ask: Ask | None = None,
    count: int = WORLDS,
) -> Prediction | None:
    """What is left of the study's time when these trials have ``finished`` and those ``begun``, so
    many seconds ago; of one not begun, all. None where nobody can know yet.

    ``ask`` is how the search is asked, where a budget bounds it. In fewer worlds than ``WORLDS`` it
    is asked in a coarser way, which takes a third of the time and a fifth of the trials less."""
    known = lengths(study, timing, finished)
    if known is None:
        return None

    def unbounded(
        done: Sequence[Measurement], running: Sequence[Trial], now: float, spent: float
    ) -> Sequence[Wanted]:
        wanted: Sequence[Wanted] = study.search(done, running, None, rehearsed=count < WORLDS)
        return wanted

    return predict(
        study.problem,
        known,
        ask or unbounded,
        workers=workers or study.worker_count(),
        held_out=lambda done: held_out(study, done),
        finished=finished,
        shown=finished or (() if timing is None else timing.pilot),
        begun=begun,
        count=count,
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def held_out(study: Study, done: Sequence[Measurement]) -> list[Trial]:
    """The trials that will confront the forecast, about: those of the held-out shards not measured
    yet, at the size that is best on the largest shard by now."""
    fitted = [s for s in study.problem.shards if s.permutation == 0]
    best = select(done, fitted, seeds=study.spec.search.seeds)
    trials = study.held_out_at_most()
    sizes = sorted(study.spec.family.sizes)
    trials = [replace(t, size=sizes[len(sizes) // 2]) for t in trials]
    if best:
        size, values = best[-1].best.size, best[-1].best.hyperparameters
        trials = [replace(t, size=size, hyperparameters=values) for t in trials]
    there = {(m.trial.samples, m.trial.seed) for m in done}
    return [t for t in trials if (t.samples, t.seed) not in there]
