"""What a study's store holds besides trials: facts about its data and models, the forecasts
registered before the held-out shards are trained, times predicted and taken, and what a training
step costs."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from steep.base.metrics import is_perplexity
from steep.records import HeldOutForecast, Prediction, StepCost, TimeSpent, decode, encode
from steep.store import lease
from steep.store.database import Decision
from steep.store.folder import StoreError
from steep.store.store import Store

if TYPE_CHECKING:
    from steep.contracts.domain import Domain
    from steep.shards import DataSplit
    from steep.train import Outcome

MOST_COMPARED = 30_000
"""Largest shard, in items, on which a baseline is computed: it takes seconds."""

# ---------------------------------------------------------------- facts


def register_facts(store: Store, facts: Mapping[str, Any]) -> None:
    """Store what later analyses need to know about the data and the models, if it changed."""
    processor = platform.processor()
    machine = f"{platform.system()} {platform.machine()}" + (f", {processor}" if processor else "")
    full = {**facts, "python": platform.python_version(), "machine": machine}
    earlier = store.decisions("facts")
    if earlier:
        _refuse_plain_perplexity(store, earlier[-1].payload)
    if not earlier or earlier[-1].payload != full:
        store.decide("facts", full)


def payload(store: Store) -> dict[str, Any]:
    """The stored facts. Raises StoreError if nothing was trained yet."""
    facts = store.decisions("facts")
    if not facts:
        raise StoreError(f"{store.folder} has trained nothing yet: run it first")
    _refuse_plain_perplexity(store, facts[-1].payload)
    return facts[-1].payload


def _refuse_plain_perplexity(store: Store, facts: Mapping[str, Any]) -> None:
    """Raise StoreError for a study whose trials were recorded as perplexities, before these were
    kept as logarithms: no answer may mix the two."""
    if is_perplexity(str(facts.get("metric"))):
        raise StoreError(
            f"{store.folder} was begun by a version of steep that fitted perplexities themselves: "
            "begin a new folder, or ask the table of what it measured, "
            f"{store.folder}/results/best_fit.csv"
        )


def baseline(store: Store, domain: Domain, cut: DataSplit) -> dict[str, Any]:
    """The error of a simple method on each shard of up to ``MOST_COMPARED`` items, if the domain
    has such a method; computed once."""
    facts = store.decisions("facts")
    shards = [s for s in cut.shards if s.permutation == 0 and s.items <= MOST_COMPARED]
    sizes = [s.samples for s in shards]
    if facts and "baseline" in facts[-1].payload:
        stored: dict[str, Any] = facts[-1].payload["baseline"]
        if [size for size, _ in stored["values"]] == sizes:
            return {"baseline": stored}
    compute = getattr(domain, "baseline", None)
    if compute is None or not shards:
        return {}
    results = [compute(cut.orders[0][: s.items], cut.validation) for s in shards]
    what, metric, _ = results[0]
    values = [[size, value] for size, (*_, value) in zip(sizes, results, strict=True)]
    return {"baseline": {"what": what, "metric": metric, "values": values}}


# ---------------------------------------------------------------- forecasts


def registered(store: Store) -> list[HeldOutForecast]:
    """The registered forecasts. If two drivers registered one of the same shard, the first
    counts."""
    first: dict[float, HeldOutForecast] = {}
    for decision in store.decisions("forecast"):
        confrontation = decode(HeldOutForecast, decision.payload["confrontation"])
        late = decision.payload.get("afterwards")
        if late is None:  # an earlier version did not record it
            late = _ended_before(store, confrontation.samples, decision.at)
        first.setdefault(confrontation.samples, replace(confrontation, afterwards=late))
    return list(first.values())


def _ended_before(store: Store, samples: float, at: float) -> bool:
    """Whether a trial of the shard had ended by ``at``, or its end was not recorded."""
    ends = [store.stamp(m.trial.id) for m in store.measurements() if m.trial.samples == samples]
    return any(end is None or end <= at for end in ends)


# ---------------------------------------------------------------- times


@dataclass(frozen=True)
class TimeLeft:
    """What a run expected to be left, at a moment of it."""

    prediction: Prediction
    at: float
    """That moment, on the monotonic clock, which is never set (``lease.now``);"""
    ends: float | None = None
    """when the budget of that run ends, on the same clock;"""
    of_run: bool = False
    """whether what is left of the study may be more, since the run had a budget of FLOPs."""


def register_time_left(store: Store, left: TimeLeft) -> None:
    """Register how much longer the study is expected to take."""
    payload = {"boot": lease.boot_id(), "clock": left.at, "ends": left.ends, "of_run": left.of_run}
    # A study that pauses does not get shorter by it: what its runs took by then.
    payload["ran"] = ran(store) - (lease.now() - left.at)
    store.decide("time left", {"prediction": encode(left.prediction)} | payload)


def time_left(store: Store, going: bool) -> tuple[Prediction, float, float | None] | None:
    """The last estimate of the time left, the seconds of running since it was made, and the seconds
    until the run that is ``going`` must end; None where nothing is known of what is left."""
    estimates = store.decisions("time left")
    if not estimates:
        return None
    last = estimates[-1].payload
    prediction = decode(Prediction, last["prediction"])
    if going and last.get("boot") == lease.boot_id():
        ends = last.get("ends")
        now = lease.now()
        return prediction, now - last["clock"], None if ends is None else max(ends - now, 1.0)
    if last.get("of_run"):
        return None
    return prediction, max(ran(store) - last["ran"], 0.0) if "ran" in last else 0.0, None


def register_start(store: Store) -> None:
    """Register that a run begins. If it is killed, this is the only record of its start."""
    store.decide("run", {"boot": lease.boot_id(), "clock": lease.now()})


def register_run(store: Store, outcome: Outcome) -> None:
    """Register how long a run took. ``clock`` includes the preparation before the first trial, as
    a budget does; ``seconds`` count from the first trial on, as a prediction does."""
    over = outcome.word in ("complete", "partial")
    begun = store.decisions("run")[-1].payload["clock"]
    took = {"seconds": outcome.seconds, "clock": lease.now() - begun}
    store.decide("ran", {**took, "trials": outcome.ran, "over": over})


def ran(store: Store) -> float:
    """Seconds that all runs have taken: a current run until now, a killed one until the last sign
    of life of its trials."""
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
    """Seconds of a run without a recorded end; the next one began at ``next_at`` (Unix time)."""
    ended = [row.finished for row in store.trials().values() if row.finished is not None]
    until = max((at for at in ended if begun.at <= at < next_at), default=begun.at)
    seconds = until - begun.at
    if begun.payload["boot"] == lease.boot_id():
        clock = begun.payload["clock"]
        seconds = max(seconds, store.last_beat(clock) - clock)
    return max(min(seconds, next_at - begun.at), 0.0)


def prediction_and_took(store: Store) -> tuple[Prediction | None, TimeSpent | None]:
    """The predicted time of the study and the time that it has taken; None if not recorded."""
    predictions = store.decisions("time")
    predicted = decode(Prediction, predictions[0].payload["prediction"]) if predictions else None
    runs = [decision.payload for decision in store.decisions("ran")]
    runs = [run for run in runs if run.get("trials", 1)]
    if not runs:
        return predicted, None
    measurements = store.measurements()
    training = sum(m.seconds for m in measurements)
    clock = sum(float(run["seconds"]) for run in runs)
    return predicted, TimeSpent(len(measurements), training, clock, runs[-1]["over"])


# ---------------------------------------------------------------- cost of steps


def register_steps(store: Store, count: Callable[[], Sequence[StepCost]]) -> None:
    """Store what a training step of each model size costs; counted once."""
    if not store.decisions("steps"):
        store.decide("steps", {"steps": [encode(step) for step in count()]})


def steps(store: Store) -> tuple[StepCost, ...]:
    """The counted steps, smallest model first; () if none were counted."""
    recorded = store.decisions("steps")
    return (
        tuple(decode(StepCost, text) for text in recorded[-1].payload["steps"]) if recorded else ()
    )
