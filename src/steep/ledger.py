"""What a study writes down beside its trials, and what is made of that: facts, forecasts, results.

Everything here is read from the store, so that a study can be analysed where its data is not.
"""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from steep import lease
from steep.analysis import Facts, analyse, confrontation, with_findings
from steep.cost.calibrate import Pace, Timed
from steep.cost.of_study import with_cost
from steep.database import Decision
from steep.folder import StoreError
from steep.records import (
    Analysis,
    Baseline,
    Confrontation,
    Measurement,
    Prediction,
    Settings,
    Shard,
    StepCost,
    Took,
    decode,
    encode,
    settings,
    total_flops,
)
from steep.results import result_files
from steep.select import next_size, table
from steep.shards import Cut
from steep.spec import Spec
from steep.store import Store
from steep.zeros import counted

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from steep.train import Outcome

LEVEL = 0.9
"""Of the forecasts that held-out shards confront."""


def register_facts(store: Store, facts: Mapping[str, Any]) -> None:
    """Keep what later analysis needs of the data and the models; once, unless it changed."""
    processor = platform.processor()
    machine = f"{platform.system()} {platform.machine()}" + (f", {processor}" if processor else "")
    full = {**facts, "python": platform.python_version(), "machine": machine}
    known = store.decisions("facts")
    if not known or known[-1].payload != full:
        store.decide("facts", full)


def facts(store: Store, spec: Spec, cut: Cut) -> Facts:
    """What was kept. Raises StoreError where nothing was trained yet."""
    return facts_of(payload(store), spec, cut.shards, cut.validation_group)


def facts_of(
    known: Mapping[str, Any], spec: Spec, shards: tuple[Shard, ...], group: np.ndarray
) -> Facts:
    """``payload`` as a record."""
    return Facts(
        spec,
        shards,
        known["unit"],
        known["metric"],
        tuple(known["metrics"]),
        known["best_guess"],
        group,
        {int(s): (int(p), float(f)) for s, (p, f) in known["sizes"].items()},
    )


def payload(store: Store) -> dict[str, Any]:
    known = store.decisions("facts")
    if not known:
        raise StoreError(f"{store.folder} has trained nothing yet: run it first")
    return known[-1].payload


def measured(store: Store, cut: Cut) -> list[Measurement]:
    """What the study's trials measured, ready for logarithms: see ``zeros``."""
    return counted(store.measurements(), len(cut.validation), len(cut.test))


def items_of(known: Mapping[str, Any]) -> tuple[int, int]:
    """How many items V and the test part hold, of ``payload``'s facts; 0 where an earlier version
    did not note it."""
    return int(known.get("validation_items", 0)), int(known.get("test_items", 0))


def dial(sizes: Sequence[int]) -> list[int]:
    """The sizes a study may come to train: its ladder, four steps between, two extensions."""
    ladder = list(sizes)
    for direction in ("high", "high", "low", "low"):
        extra = next_size(ladder, direction)
        ladder = sorted({*ladder, extra}) if extra is not None else ladder
    between = {
        round(low * (high / low) ** (k / 4)) for low, high in pairwise(ladder) for k in range(4)
    }
    return sorted(between | set(ladder))


# ---------------------------------------------------------------- time, predicted and taken


def register_prediction(store: Store, made: Prediction, timing: Pace | None) -> None:
    """Write down how long the study was expected to take before its first trial ended, and the
    pace of the machine on which that was timed; once."""
    if not store.decisions("time"):
        rows = None if timing is None else [encode(row) for row in timing.rows]
        units = None if timing is None else timing.validation
        pace = {"rows": rows, "validation": units}
        store.decide("time", {"prediction": encode(made), "pace": pace})


def pace(store: Store) -> Pace | None:
    """The pace that was written down; None where there is none."""
    kept = [d.payload["pace"] for d in store.decisions("time") if d.payload.get("pace")]
    if not kept or kept[0]["rows"] is None:
        return None
    rows = tuple(decode(Timed, row) for row in kept[0]["rows"])
    return Pace(rows, kept[0]["validation"])


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


# ---------------------------------------------------------------- forecasts


def register_forecasts(store: Store, known: Facts) -> list[Confrontation]:
    """Write each held-out shard's forecast down before that shard is trained; once.

    It is made from the searched shards alone, also where another held-out shard is measured by now:
    what was registered together stands on the same."""
    told = {c.samples for c in registered(store)}
    tried = {trial.samples for trial in store.tried()}
    for made in _forecasts_now(store, known, told):
        late = made.samples in tried
        store.decide("forecast", {"confrontation": encode(made), "afterwards": late})
    return registered(store)


def chosen_since(store: Store, known: Facts, told: Collection[float]) -> list[Confrontation]:
    """What a finished search would train on the held-out shards of sizes ``told``, where that is
    another model than the one whose forecast was registered: a budget had ended the search before
    it knew. The registered forecast and its model stay; these are trained beside them, so that the
    shard's point is not of a model that nobody would choose."""
    before = {(c.samples, c.size, c.hyperparameters) for c in registered(store)}
    others = {s.samples for s in known.shards} - set(told)
    return [
        c
        for c in _forecasts_now(store, known, others)
        if (c.samples, c.size, c.hyperparameters) not in before
    ]


def _forecasts_now(store: Store, known: Facts, told: Collection[float]) -> list[Confrontation]:
    """Forecasts of the held-out shards but those ``told``, by what the searched shards say now."""
    wanted = [s for s in known.shards if s.held_out and s.permutation == 0]
    wanted = [s for s in wanted if s.samples not in told]
    if not wanted:
        return []
    searched = {(s.permutation, s.samples) for s in known.shards if not s.held_out}
    done = [m for m in store.measurements() if (m.trial.permutation, m.trial.samples) in searched]
    found = analyse(known, counted(done, *items_of(payload(store))), store.items)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = [confrontation(known, shard, found, LEVEL, now) for shard in wanted]
    return [c for c in made if c is not None]


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


# ---------------------------------------------------------------- what comes out


def analysis(store: Store, spec: Spec, cut: Cut, **asked: Any) -> Analysis:
    """Everything the study says; ``asked`` as for ``analysis.analyse``."""
    known = payload(store)
    made = concluded(
        facts_of(known, spec, cut.shards, cut.validation_group),
        measured(store, cut),
        registered(store),
        known,
        cut.files,
        items=store.items,
        **asked,
    )
    predicted, took = prediction_and_took(store)
    return replace(made, prediction=predicted, took=took)


def concluded(
    facts: Facts,
    measurements: Sequence[Measurement],
    registered: Sequence[Confrontation],
    known: Mapping[str, Any],
    files: Mapping[str, str],
    **asked: Any,
) -> Analysis:
    """The analysis with its findings, from records alone; ``known`` is ``payload``'s and
    ``files`` are the digests of the data."""
    from steep.diagnose import diagnose

    made = analyse(
        facts,
        measurements,
        registered=registered,
        provenance=_provenance(known, facts.spec, files, measurements),
        **asked,
    )
    found = diagnose(
        fit=made.curves[0].fit if made.curves else None,
        best_fits=[b for b in made.best_fits if not b.waits],
        measurements=measurements,
        confrontations=made.confrontations,
    )
    made = with_findings(made, found)
    if simple := known.get("baseline"):
        values = tuple((float(size), float(value)) for size, value in simple["values"])
        made = replace(made, baseline=Baseline(simple["what"], simple["metric"], values))
    return made


def _provenance(
    known: Mapping[str, Any],
    spec: Spec,
    files: Mapping[str, str],
    measurements: Sequence[Measurement],
) -> Settings:
    versions = {n: str(v) for m in measurements for n, v in m.versions}
    engines = sorted({m.engine for m in measurements if m.engine})
    flops = total_flops(measurements)
    return settings(
        {
            "machine": known["machine"],
            "python": known["python"],
            "engine": ", ".join(engines),
            "trials": len(measurements),
            "seconds": sum(m.seconds for m in measurements),
            "duplicates removed from training": int(known["removed_duplicates"]),
            "left out by the domain's options": int(known.get("left_out", 0)),
            "seed": spec.seed,
        }
        | ({} if flops is None else {"flops": flops})
        | {f"{n}: learnt once, known to every shard": "yes" for n in known.get("learnt", ())}
        | {f"version of {n}": v for n, v in versions.items()}
        | {f"sha256 of {n}": digest for n, digest in files.items()}
    )


def trials(store: Store, spec: Spec, cut: Cut) -> pd.DataFrame:
    """The long table: one row per trial."""
    return table(
        store.measurements(),
        study=spec.study,
        domain=spec.domain.name,
        family=spec.family.name,
        unit=cut.shards[0].unit,
    )


def analysis_with_cost(store: Store, spec: Spec, cut: Cut) -> Analysis:
    """The same with what lower errors take: what the report shows."""
    known, made = facts(store, spec, cut), analysis(store, spec, cut)
    return with_cost(made, known, measured(store, cut), steps(store))


def write_results(store: Store, spec: Spec, cut: Cut) -> None:
    """``results/`` and ``report.html``, anew."""
    made = analysis_with_cost(store, spec, cut)
    store.write("results/trials.csv", trials(store, spec, cut).to_csv(index=False).encode())
    for name, text in result_files(made).items():
        store.write(f"results/{name}", text.encode())
    store.write("report.html", report_of(made, measured(store, cut)).encode())


def report_text(store: Store, spec: Spec, cut: Cut) -> str:
    """The report's HTML, of a store that is only read."""
    return report_of(analysis_with_cost(store, spec, cut), measured(store, cut))


def report_of(made: Analysis, measurements: Sequence[Measurement]) -> str:
    """The report's HTML."""
    from steep.backtest import backtest
    from steep.fit import fit
    from steep.report import report  # jinja2 is slow to import

    tested = None
    if made.curves:
        first = made.headline
        tested = backtest(first.fit, fit=fit, registered=made.registered_of(first))
    return report(made, measurements, tested)
