"""What a study writes down beside its trials: facts of its data and models, forecasts before the
held-out shards are trained, times predicted and taken, and what a training step costs."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steep.records import Confrontation, Prediction, StepCost, Took, decode, encode
from steep.store import lease
from steep.store.database import Decision
from steep.store.folder import StoreError
from steep.store.store import Store

if TYPE_CHECKING:
    from steep.contracts.domain import Domain
    from steep.shards import Cut
    from steep.train import Outcome

MOST_COMPARED = 30_000
"""Items of a shard, at most, on which a baseline is computed: seconds."""

# ---------------------------------------------------------------- facts


def register_facts(store: Store, facts: Mapping[str, Any]) -> None:
    """Keep what later analysis needs of the data and the models; once, unless it changed."""
    processor = platform.processor()
    machine = f"{platform.system()} {platform.machine()}" + (f", {processor}" if processor else "")
    full = {**facts, "python": platform.python_version(), "machine": machine}
    known = store.decisions("facts")
    if not known or known[-1].payload != full:
        store.decide("facts", full)


def payload(store: Store) -> dict[str, Any]:
    known = store.decisions("facts")
    if not known:
        raise StoreError(f"{store.folder} has trained nothing yet: run it first")
    return known[-1].payload


def baseline(store: Store, domain: Domain, cut: Cut) -> dict[str, Any]:
    """What a simple method reaches on each shard, as far as the domain has one: computed once and
    for shards of up to ``MOST_COMPARED`` items."""
    known = store.decisions("facts")
    shards = [s for s in cut.shards if s.permutation == 0 and s.items <= MOST_COMPARED]
    sizes = [s.samples for s in shards]
    if known and "baseline" in known[-1].payload:
        made: dict[str, Any] = known[-1].payload["baseline"]
        if [size for size, _ in made["values"]] == sizes:
            return {"baseline": made}
    compute = getattr(domain, "baseline", None)
    if compute is None or not shards:
        return {}
    found = [compute(cut.orders[0][: s.items], cut.validation) for s in shards]
    what, metric, _ = found[0]
    values = [[size, value] for size, (*_, value) in zip(sizes, found, strict=True)]
    return {"baseline": {"what": what, "metric": metric, "values": values}}


# ---------------------------------------------------------------- forecasts


def registered(store: Store) -> list[Confrontation]:
    """Every forecast written down. Two drivers may both have made one: the first counts."""
    first: dict[float, Confrontation] = {}
    for decision in store.decisions("forecast"):
        made = decode(Confrontation, decision.payload["confrontation"])
        late = decision.payload.get("afterwards")
        if late is None:  # an earlier version did not look
            late = _ended_before(store, made.samples, decision.at)
        first.setdefault(made.samples, replace(made, afterwards=late))
    return list(first.values())


def _ended_before(store: Store, samples: float, at: float) -> bool:
    """Whether a trial of a shard had ended by then, or nobody knows when it did."""
    ends = [store.stamp(m.trial.id) for m in store.measurements() if m.trial.samples == samples]
    return any(end is None or end <= at for end in ends)


# ---------------------------------------------------------------- times


def register_time_left(store: Store, made: Prediction) -> None:
    """Write down how much longer the study is expected to take from now."""
    # When, on the clock that nobody sets: it says how much of that has passed.
    payload = {"boot": lease.boot_id(), "clock": lease.now()}
    store.decide("time left", {"prediction": encode(made)} | payload)


def time_left(store: Store) -> tuple[Prediction, float] | None:
    """The last estimate of what is left, and seconds since it was made; none since then where the
    machine was started anew."""
    told = store.decisions("time left")
    if not told:
        return None
    last = told[-1].payload
    same_boot = last.get("boot") == lease.boot_id()
    return decode(Prediction, last["prediction"]), lease.now() - last["clock"] if same_boot else 0.0


def register_start(store: Store) -> None:
    """Write down that a run begins: of one that is killed nothing else says how long it took."""
    store.decide("run", {"boot": lease.boot_id(), "clock": lease.now()})


def register_run(store: Store, outcome: Outcome) -> None:
    """How long a run took: ``clock`` with all that it did before its first trial, which its budget
    counts; ``seconds`` from the first trial on, as is predicted."""
    over = outcome.word in ("complete", "partial")
    begun = store.decisions("run")[-1].payload["clock"]
    took = {"seconds": outcome.seconds, "clock": lease.now() - begun}
    store.decide("ran", {**took, "trials": outcome.ran, "over": over})


def ran(store: Store) -> float:
    """Seconds on the clock of all runs: of one that goes on until now, of one that was killed until
    the last sign of life of its trials."""
    total, begun = 0.0, None
    for decision in store.decisions():
        if decision.kind == "run":
            total += 0.0 if begun is None else _until_killed(store, begun, decision.at)
            begun = decision
        elif decision.kind == "ran":
            total += float(decision.payload.get("clock", decision.payload["seconds"]))
            begun = None
    return total + (0.0 if begun is None else _until_killed(store, begun, math.inf))


def _until_killed(store: Store, begun: Decision, next_at: float) -> float:
    """Seconds of a run that wrote down no end, before another began at ``next_at`` (Unix time)."""
    ended = [row.finished for row in store.trials().values() if row.finished is not None]
    until = max((at for at in ended if begun.at <= at < next_at), default=begun.at)
    seconds = until - begun.at
    if begun.payload["boot"] == lease.boot_id():
        clock = begun.payload["clock"]
        seconds = max(seconds, store.last_beat(clock) - clock)
    return max(min(seconds, next_at - begun.at), 0.0)


def prediction_and_took(store: Store) -> tuple[Prediction | None, Took | None]:
    """What was predicted of the study's time, and what it has taken; None: not written down."""
    told = store.decisions("time")
    predicted = decode(Prediction, told[0].payload["prediction"]) if told else None
    runs = [decision.payload for decision in store.decisions("ran")]
    runs = [run for run in runs if run.get("trials", 1)]
    if not runs:
        return predicted, None
    done = store.measurements()
    training = sum(m.seconds for m in done)
    clock = sum(float(run["seconds"]) for run in runs)
    return predicted, Took(len(done), training, clock, runs[-1]["over"])


# ---------------------------------------------------------------- what steps cost


def register_steps(store: Store, count: Callable[[], Sequence[StepCost]]) -> None:
    """Keep what a training step of models of any size takes; counted once."""
    if not store.decisions("steps"):
        store.decide("steps", {"steps": [encode(step) for step in count()]})


def steps(store: Store) -> tuple[StepCost, ...]:
    """Counted steps, smallest model first; () where none were counted."""
    known = store.decisions("steps")
    return tuple(decode(StepCost, text) for text in known[-1].payload["steps"]) if known else ()
