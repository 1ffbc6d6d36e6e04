"""A study's analysis, forecasts, results and report, made of what its store holds.

Everything here is read from the store, so that a study can be analysed where its data is not.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steep.analysis.analyse import Facts, analyse, confrontation, with_findings
from steep.analysis.costs import with_cost
from steep.analysis.decisions import payload, prediction_and_took, registered, steps
from steep.analysis.result_tables import result_files
from steep.records import (
    Analysis,
    Baseline,
    Confrontation,
    Measurement,
    Settings,
    Shard,
    encode,
    settings,
    total_flops,
)
from steep.select import table
from steep.shards import Cut
from steep.spec.sections import Spec
from steep.stats.zeros import counted
from steep.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


LEVEL = 0.9
"""Of the forecasts that held-out shards confront."""


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


def measured(store: Store, cut: Cut) -> list[Measurement]:
    """What the study's trials measured, ready for logarithms: see ``zeros``."""
    return counted(store.measurements(), len(cut.validation), len(cut.test))


def items_of(known: Mapping[str, Any]) -> tuple[int, int]:
    """How many items V and the test part hold, of ``payload``'s facts; 0 where an earlier version
    did not note it."""
    return int(known.get("validation_items", 0)), int(known.get("test_items", 0))


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


# ---------------------------------------------------------------- what comes out


def analysis(store: Store, spec: Spec, cut: Cut, **asked: Any) -> Analysis:
    """Everything the study says; ``asked`` as for ``analyse.analyse``."""
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
    from steep.questions.diagnose import diagnose

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
    from steep.fit import fit
    from steep.questions.backtest import backtest
    from steep.report import report  # jinja2 is slow to import

    tested = None
    if made.curves:
        first = made.headline
        tested = backtest(first.fit, fit=fit, registered=made.registered_of(first))
    return report(made, measurements, tested)
