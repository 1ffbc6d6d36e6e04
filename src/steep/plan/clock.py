"""A study's expected time: what ``estimate.py`` needs to know of it, gathered."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from steep import shards
from steep.analysis import decisions
from steep.analysis.held_out_size import commonly_grown, parameters_by_trials
from steep.contracts.planner import TrialRequest
from steep.engine.schedule import LEARNT
from steep.plan.budget import OVERRUN, Budget
from steep.plan.calibrate import StepTimes, Timed, timed, whole
from steep.plan.estimate import SCENARIOS, predict
from steep.plan.lengths import LearnedLengths, Lengths, timeable, timed_before
from steep.plan.lengths import Timed as TimedLengths
from steep.plan.stops import Kind, ended, expected, finished_studies, learnt
from steep.records import REPLACED, Measurement, Prediction, Trial
from steep.select import select
from steep.spec.sections import parse_duration

if TYPE_CHECKING:
    from steep.contracts.trainer import Trainer
    from steep.store.store import Store
    from steep.study import Study

Tell = Callable[[str, float], None]
"""(what is being done, share done)."""


def _silent(what: str, done: float) -> None: ...


TIMING_STEPS = "Timing steps of this machine and the first trials"
TRAIN_ITEMS = 1000
"""Of a trial's shard, evaluated at its end (the engine's default)."""


PILOT, SEARCH = 60.0, 8.0
"""Seconds of the processor that trials before a study may take: of four that show when trials stop,
and of these and the search's first trials together where the four are quicker."""
OF_CLOCK = 0.2
"""Share of a time budget after which nothing more is timed: on a busy machine eight seconds of the
processor took three minutes, and a budget of one trained nothing."""
OF_BUDGET = 0.03
"""Share of a time budget for the pilot, between these two."""
LATER = 2
"""The four are of the smallest shard and of the one so many later, at the smallest and the middle
size: of the published studies they take 2 % of the training, and bring 13 of 14 within 0.67 to 1.5
of the time taken, where one of the smallest shard brings 8 (tests/plan/test_early_ends.py)."""


def pace(
    study: Study, pilot: float, tell: Tell = _silent, ends: float = math.inf
) -> StepTimes | None:
    """Steps and evaluations of the ladder's ends and two between, timed in this process, in ten
    seconds or less unless a few steps take longer; then a pilot of at most so many seconds, which
    shows when trials stop here and which models are good. None for a trainer whose steps are its
    own. ``tell`` is called with what is being done, and the share that is done. On a busy machine
    fewer sizes are timed, and the pilot is cut: neither goes on after ``ends`` (monotonic)."""
    sizes = sorted(study.spec.family.sizes)
    last = len(sizes) - 1
    chosen = sorted({sizes[k] for k in (0, last // 3, last - last // 3, last)})
    if study.prices.schedule(_trial(study, chosen[0])) is None:
        return None
    trainer = study.trainer()
    rows: list[Timed] = []
    for k, size in enumerate((chosen[0], *chosen)):  # the first one twice: it loads and compiles
        if rows and time.monotonic() > ends:
            break
        tell(TIMING_STEPS, k / (len(chosen) + 2))
        row = _timed(study, trainer, size)
        if row is None:
            return None
        rows.append(row)
    found = StepTimes(tuple(rows[1:] or rows), _units(study, study.cut.validation))
    tell(TIMING_STEPS, 1 - 1 / (len(chosen) + 2))
    return replace(found, pilot=_pilot(study, trainer, pilot, ends))


def with_size(study: Study, timing: StepTimes, size: int) -> StepTimes:
    """``timing`` with a larger size timed, too; the same where its steps cannot be seen."""
    row = _timed(study, study.trainer(), size)
    return timing if row is None else replace(timing, rows=(*timing.rows, row))


def pilot_seconds(budget: float | None) -> float:
    """Of the processor, for the pilot of a study that may take so many seconds on the clock."""
    return PILOT if budget is None else min(PILOT, max(SEARCH, OF_BUDGET * budget))


def _pilot(study: Study, trainer: Trainer, seconds: float, ends: float) -> tuple[Measurement, ...]:
    """Trials that show when trials stop and which models are good, as many as end in time."""
    opened = time.process_time()
    found: list[Measurement] = []

    def ran(trial: Trial, most: float) -> bool:
        left = min(most - (time.process_time() - opened), ends - time.monotonic())
        items = shards.trial_items(study.cut, trial)
        measured = whole(trainer, trial, items, left, ends) if left > 0 else None
        found.extend([measured] if measured else [])
        return measured is not None

    if all(ran(trial, seconds) for trial in pilot_trials(study)):
        while requests := study.search(found, (), None, simulated=True):
            trial = requests[0].trial
            if any(trial == m.trial for m in found) or not ran(trial, min(SEARCH, seconds)):
                break
    return tuple(found)


def pilot_trials(study: Study) -> list[Trial]:
    """The four, cheapest first."""
    fitted = sorted(
        (s for s in study.search_space.shards if not s.permutation), key=lambda s: s.items
    )
    sizes = sorted(study.spec.family.sizes)
    return [
        Trial(0, shard.items, shard.samples, size, study.middle_choice(), seed=0)
        for shard in dict.fromkeys((fitted[0], fitted[min(LATER, len(fitted) - 1)]))
        for size in dict.fromkeys((sizes[0], sizes[len(sizes) // 2]))
    ]


def _timed(study: Study, trainer: Trainer, size: int) -> Timed | None:
    full = _trial(study, size)
    found = study.prices.schedule(full)
    assert found is not None
    items = shards.trial_items(study.cut, full)
    # As much data as one step takes: V is evaluated soonest there, after eight steps.
    first = min(study.search_space.shards, key=lambda s: s.items)
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
    largest = max(study.search_space.shards, key=lambda s: s.items)
    return Trial(0, largest.items, largest.samples, size, study.middle_choice(), seed=0)


def _units(study: Study, items: np.ndarray) -> float:
    return float(study.items.size[items].sum())


def seconds_per_flop(study: Study, timing: StepTimes | None) -> Callable[[int], float] | None:
    """Model size -> seconds per training FLOP of a full batch on one worker."""
    if timing is None:
        return None
    units = timing.rows[0].units[1]

    def seconds(size: int) -> float:
        cost = study.prices.cost(size)
        return timing.step(size, units) / (units * cost.flops) if cost else math.nan

    return seconds


def lengths(
    study: Study, timing: StepTimes | None, finished: Sequence[Measurement] = ()
) -> Lengths | None:
    """How long the study's trials take; None where nobody can know yet."""
    if timing is None:
        own = timeable(finished)
        # What init timed says something of large trials as long as only small ones have finished.
        own = [*own, *timed_before(study.spec)]
        return LearnedLengths(study.spec, own) if own else None
    kind = Kind(
        study.spec.domain.name,
        study.spec.family.name,
        str(dict(study.middle_choice()).get("optimizer", "none")),
        study.metric,
    )
    stopped = ended(finished)
    usual = expected(kind, finished_studies(study.spec.stop.improvement))
    # The pilot is a trial of the study's own: it counts once.
    shown = stopped or ended(timing.pilot)
    stopping = learnt(usual, study.spec, shown, _best_guess(study))
    validation = _units(study, study.cut.validation)
    test = _units(study, study.cut.test)

    def last_looks(trial: Trial) -> float:
        part = min(1.0, TRAIN_ITEMS / trial.items) * trial.samples
        return part + test

    def schedule(trial: Trial) -> tuple[tuple[int, ...], int]:
        found = study.prices.schedule(trial)
        assert found is not None
        return found

    return TimedLengths(
        study.spec,
        stopping,
        timing,
        schedule=schedule,
        validation=validation,
        last_looks=last_looks,
        cost=study.prices.cost,
        finished=[m for m in stopped if m.seconds > 0],
    )


def _best_guess(study: Study) -> float:
    """No number where no rule asks for it."""
    if not study.spec.stop.improvement:
        return math.inf
    return float(study.best_guess.get(study.metric, math.inf))


class NotWanted(Exception):
    """A prediction takes seconds; whom it was for has gone on without it."""


def prediction(
    study: Study,
    timing: StepTimes | None,
    workers: int | None = None,
    *,
    finished: Sequence[Measurement] = (),
    begun: Mapping[Trial, float] | None = None,
    flops: float | None = None,
    seconds: float | None = None,
    count: int = SCENARIOS,
    wanted: Callable[[], bool] = lambda: True,
) -> Prediction | None:
    """What is left of the study's time when these trials have ``finished`` and those ``begun``, so
    many seconds ago; of one not begun, all. None where nobody can know yet.

    ``flops`` and ``seconds`` on the clock are what it may still take. The search decides
    more coarsely than in a run, in a third of the time. Raises NotWanted once it is no longer
    ``wanted``."""
    known = lengths(study, timing, finished)
    if known is None:
        return None
    workers = workers or study.worker_count()
    clock = 0.0
    budget = None
    if flops is not None or seconds is not None:
        bounds = {"flops": flops, "seconds": seconds}
        budget = spending(study, finished, workers, **bounds, known=known, now=lambda: clock)
    search = partial(study.search, simulated=True, timed=budget is not None and budget.timed)

    def ask(
        done: Sequence[Measurement], running: Sequence[Trial], now: float, spent: float
    ) -> Sequence[TrialRequest]:
        nonlocal clock
        if not wanted():
            raise NotWanted
        clock = now
        if budget is None:
            return search(done, running, None)
        budget.update(done)
        going = {trial: (budget.time(trial) or 0.0) / 2 for trial in running}  # half over, about
        requests = search(done, running, budget.left(going))
        return [request for request in requests if budget.affords(request.trial, going)]

    return predict(
        study.search_space,
        known,
        ask,
        workers=workers,
        most_seconds=None if seconds is None else (1 + OVERRUN) * seconds,
        held_out=lambda done: held_out(study, done),
        finished=finished,
        shown=finished or (() if timing is None else timing.pilot),
        begun=begun,
        count=count,
        adaptive=study.planner.ADAPTIVE,
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def spending(
    study: Study,
    measured: Sequence[Measurement],
    workers: int,
    *,
    flops: float | None = None,
    seconds: float | None = None,
    known: Lengths | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Budget:
    """What a run may spend beyond what was ``measured`` before it, where so much is ``known`` of
    how long trials take."""
    found = Budget(
        study.search_space,
        study.prices.flops,
        counted=study.prices.cost(min(study.spec.family.sizes)) is not None,
        workers=workers,
        held_out=lambda done: held_out(study, done),
        before=measured,
        flops=flops,
        seconds=seconds,
        learnt_below=LEARNT * _best_guess(study),
        now=now,
    )
    if known is not None:
        found.timed_by(known.expected, by_steps=known.by_steps)
    return found


def time_left(study: Study, store: Store | None) -> float | None:
    """Seconds on the clock that the spec's budget leaves to the study's next run, if there is one:
    what its runs by now have not spent."""
    if study.spec.run.budget is None:
        return None
    spent = 0.0 if store is None else decisions.ran(store)
    return max(parse_duration(study.spec.run.budget) - spent, 0.0)


def held_out_at_most(study: Study) -> list[Trial]:
    """The trials of the held-out shards, of the largest model."""
    values, size = study.middle_choice(), max(study.spec.family.sizes)
    return [
        Trial(0, shard.items, shard.samples, size, values, seed)
        for shard in study.search_space.held_out
        for seed in range(study.spec.search.seeds)
    ]


def held_out(study: Study, done: Sequence[Measurement]) -> list[Trial]:
    """The trials that will confront the forecast, about: those of the held-out shards not measured
    yet, of the size that is adequate on the largest shard by now, grown as models commonly grow;
    sizes are compared as where it is chosen in the end (``analysis/held_out_size.py``)."""
    fitted = [s for s in study.search_space.shards if s.permutation == 0]
    best = select(done, fitted, seeds=study.spec.search.seeds)
    trials = held_out_at_most(study)
    sizes = sorted(study.spec.family.sizes)
    trials = [replace(t, size=sizes[len(sizes) // 2]) for t in trials]
    if best:
        last, values = best[-1], best[-1].best.hyperparameters
        costs = {size: study.prices.cost(size) for size in sizes}
        known = {size: float(cost.parameters) for size, cost in costs.items() if cost is not None}
        if not known and len(sizes) > 1:
            known = parameters_by_trials(best, sizes, study.spec.search.extend)[0]
        trials = [
            replace(t, size=commonly_grown(known, last, t.samples), hyperparameters=values)
            for t in trials
        ]
    there = {(m.trial.samples, m.trial.seed) for m in done}
    return [t for t in trials if (t.samples, t.seed) not in there]


def missing(trials: Sequence[Trial]) -> Callable[..., list[TrialRequest]]:
    """A plan that requests those of a fixed list of held-out trials that have not finished, and in
    place of each that diverged or failed another seed, of a model as many more as it has."""
    models: dict[tuple[object, ...], list[Trial]] = {}
    for trial in trials:
        models.setdefault(trial.candidate, []).append(trial)

    def plan(
        finished: Sequence[Measurement], running: Sequence[Trial], left: float | None
    ) -> list[TrialRequest]:
        ended = {m.trial: m.status for m in finished}
        requests = []
        for members in models.values():
            following = max(t.seed for t in members) + 1
            others = [replace(members[-1], seed=following + k) for k in range(len(members))]
            kept = [t for t in (*members, *others) if ended.get(t) not in REPLACED]
            requests += [t for t in kept[: len(members)] if t not in ended]
        return [TrialRequest(t, why="confronts a forecast") for t in requests]

    return plan
