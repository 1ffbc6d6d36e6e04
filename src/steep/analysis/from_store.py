"""A study's analysis, forecasts, results and report, from its store alone.

Nothing here needs the data, so a study can be analysed on a machine that lacks them.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steep.analysis.analyse import Facts, analyse, confrontation, with_findings
from steep.analysis.costs import with_cost
from steep.analysis.decisions import payload, prediction_and_took, registered, steps
from steep.analysis.held_out_size import Allowed, failed_sizes
from steep.analysis.result_tables import result_files
from steep.records import (
    Analysis,
    Baseline,
    HeldOutForecast,
    Measurement,
    Settings,
    Shard,
    encode,
    settings,
    total_flops,
)
from steep.select import table
from steep.shards import DataSplit
from steep.spec.sections import Spec
from steep.stats.zeros import counted
from steep.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from steep.report import Page


LEVEL = 0.9
"""Coverage of the intervals of registered forecasts."""


def facts(store: Store, spec: Spec, cut: DataSplit) -> Facts:
    """The facts that the store holds. Raises StoreError if nothing was trained yet."""
    return facts_of(payload(store), spec, cut.shards, cut.validation_group)


def facts_of(
    recorded: Mapping[str, Any], spec: Spec, shards: tuple[Shard, ...], group: np.ndarray
) -> Facts:
    """The facts that ``decisions.payload`` returned, as a record. Earlier versions did not record
    the number of items of V, which has one ``group`` each."""
    return Facts(
        spec,
        shards,
        recorded["unit"],
        recorded["metric"],
        tuple(recorded["metrics"]),
        recorded["best_guess"],
        group,
        {int(s): (int(p), float(f)) for s, (p, f) in recorded["sizes"].items()},
        items_of(recorded)[0] or len(group),
        float(recorded.get("training_samples", 0)),
    )


def measured(store: Store, cut: DataSplit) -> list[Measurement]:
    """The study's measurements, with errors of zero replaced so that they have a logarithm."""
    return counted(store.measurements(), len(cut.validation), len(cut.test))


def items_of(recorded: Mapping[str, Any]) -> tuple[int, int]:
    """The numbers of items in V and in the test part; 0 if an earlier version did not record
    them."""
    return int(recorded.get("validation_items", 0)), int(recorded.get("test_items", 0))


# ---------------------------------------------------------------- forecasts


def register_forecasts(
    store: Store, facts: Facts, affordable: Allowed = lambda samples, size: True
) -> list[HeldOutForecast]:
    """Register each held-out shard's forecast once, before that shard is trained.

    It uses the searched shards alone, even if another held-out shard has been measured: all
    registered forecasts of a study rest on the same data."""
    forecast_samples = {c.samples for c in registered(store)}
    tried_samples = {trial.samples for trial in store.tried()}
    for forecast in _forecasts_now(store, facts, forecast_samples, affordable):
        late = forecast.samples in tried_samples
        store.decide("forecast", {"confrontation": encode(forecast), "afterwards": late})
    return registered(store)


def chosen_since(store: Store, facts: Facts, sizes: Collection[float]) -> list[HeldOutForecast]:
    """The models that a finished search chooses for the held-out shards of the given ``sizes``, if
    they differ from those of the registered forecasts.

    They differ if a budget had ended the search early when the forecasts were registered. The
    registered forecast and its model stay; the new ones are trained in addition, so that the
    shard's point is that of the model that the whole search would choose."""
    registered_models = {(c.samples, c.size, c.hyperparameters) for c in registered(store)}
    others = {s.samples for s in facts.shards} - set(sizes)
    return [
        c
        for c in _forecasts_now(store, facts, others)
        if (c.samples, c.size, c.hyperparameters) not in registered_models
    ]


def _forecasts_now(
    store: Store,
    facts: Facts,
    excluded: Collection[float],
    affordable: Allowed = lambda samples, size: True,
) -> list[HeldOutForecast]:
    """Forecasts of the held-out shards, except ``excluded`` sizes, from the searched shards."""
    shards = [s for s in facts.shards if s.held_out and s.permutation == 0]
    shards = [s for s in shards if s.samples not in excluded]
    if not shards:
        return []
    searched = {(s.permutation, s.samples) for s in facts.shards if not s.held_out}
    finished = [
        m for m in store.measurements() if (m.trial.permutation, m.trial.samples) in searched
    ]
    searched_only = analyse(facts, counted(finished, *items_of(payload(store))), store.items)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    failed = failed_sizes(finished)

    def allowed(samples: float, size: int) -> bool:
        return size not in failed and affordable(samples, size)

    forecasts = [confrontation(facts, s, searched_only, LEVEL, now, allowed) for s in shards]
    return [c for c in forecasts if c is not None]


# ---------------------------------------------------------------- analysis and results


def analysis(store: Store, spec: Spec, cut: DataSplit, **options: Any) -> Analysis:
    """The study's whole analysis; ``options`` as for ``analyse.analyse``."""
    recorded = payload(store)
    result = concluded(
        facts_of(recorded, spec, cut.shards, cut.validation_group),
        measured(store, cut),
        registered(store),
        recorded,
        cut.files,
        items=store.items,
        **options,
    )
    predicted, took = prediction_and_took(store)
    return replace(result, prediction=predicted, took=took)


def concluded(
    facts: Facts,
    measurements: Sequence[Measurement],
    registered: Sequence[HeldOutForecast],
    recorded: Mapping[str, Any],
    files: Mapping[str, str],
    **options: Any,
) -> Analysis:
    """The analysis with its findings, from records alone.

    ``recorded`` is what ``decisions.payload`` returned; ``files`` are the digests of the data."""
    from steep.questions.diagnose import diagnose

    analysis = analyse(
        facts,
        measurements,
        registered=registered,
        provenance=_provenance(recorded, facts.spec, files, measurements),
        **options,
    )
    answers = None
    if analysis.curves and analysis.headline.metric != analysis.metric:
        answers = analysis.headline.fit
    findings = diagnose(
        fit=analysis.curves[0].fit if analysis.curves else None,
        best_fits=analysis.best_fits,
        measurements=measurements,
        confrontations=analysis.confrontations,
        answers=answers,
    )
    analysis = with_findings(analysis, findings)
    if simple := recorded.get("baseline"):
        values = tuple((float(size), float(value)) for size, value in simple["values"])
        analysis = replace(analysis, baseline=Baseline(simple["what"], simple["metric"], values))
    return analysis


def _provenance(
    recorded: Mapping[str, Any],
    spec: Spec,
    files: Mapping[str, str],
    measurements: Sequence[Measurement],
) -> Settings:
    versions = {n: str(v) for m in measurements for n, v in m.versions}
    engines = sorted({m.engine for m in measurements if m.engine})
    flops = total_flops(measurements)
    return settings(
        {
            "machine": recorded["machine"],
            "python": recorded["python"],
            "engine": ", ".join(engines),
            "trials": len(measurements),
            "seconds": sum(m.seconds for m in measurements),
            "duplicates removed from training": int(recorded["removed_duplicates"]),
            "left out by the domain's options": int(recorded.get("left_out", 0)),
            "seed": spec.seed,
        }
        | ({} if flops is None else {"flops": flops})
        | {f"{n}: learnt once, known to every shard": "yes" for n in recorded.get("learnt", ())}
        | {f"version of {n}": v for n, v in versions.items()}
        | {f"sha256 of {n}": digest for n, digest in files.items()}
    )


def trials(store: Store, spec: Spec, cut: DataSplit) -> pd.DataFrame:
    """The long table: one row per trial."""
    return table(
        store.measurements(),
        study=spec.study,
        domain=spec.domain.name,
        family=spec.family.name,
        unit=cut.shards[0].unit,
    )


def analysis_with_cost(store: Store, spec: Spec, cut: DataSplit) -> Analysis:
    """What the report shows: the analysis, and what lower errors would cost."""
    study_facts, result = facts(store, spec, cut), analysis(store, spec, cut)
    return with_cost(result, study_facts, measured(store, cut), steps(store))


def write_results(store: Store, spec: Spec, cut: DataSplit) -> None:
    """Rewrite ``results/`` and ``report.html``."""
    result = analysis_with_cost(store, spec, cut)
    store.write("results/trials.csv", trials(store, spec, cut).to_csv(index=False).encode())
    for name, text in result_files(result).items():
        store.write(f"results/{name}", text.encode())
    store.write("report.html", report_of(result, measured(store, cut)).encode())


def report_text(store: Store, spec: Spec, cut: DataSplit) -> str:
    """The report as HTML; writes nothing."""
    return report_of(analysis_with_cost(store, spec, cut), measured(store, cut))


def report_of(analysis: Analysis, measurements: Sequence[Measurement]) -> str:
    """The report as HTML."""
    from steep.report import html_of  # jinja2 is slow to import

    return html_of(page_of(analysis, measurements))


def page_of(analysis: Analysis, measurements: Sequence[Measurement]) -> Page:
    """The report's page, with the back-test of its headline's curve."""
    from steep.fit import fit
    from steep.questions.backtest import backtest
    from steep.report import study_page

    tested = None
    if analysis.curves:
        headline = analysis.headline
        tested = backtest(headline.fit, fit=fit, registered=analysis.registered_of(headline))
    return study_page(analysis, measurements, tested)
