"""How far a study is, from its store alone: what ``steep status`` and ``steep watch`` show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from steep.analysis import decisions, from_store
from steep.executors.chosen import placed
from steep.plan import clock
from steep.plan.estimate import bounded, shortened
from steep.records import SCORED, Standing, Status

if TYPE_CHECKING:
    from steep.store.store import Store
    from steep.study import Study


def standing(study: Study, store: Store, analysed: bool = True) -> Standing:
    """The study's progress; without its analysis, which takes seconds, unless ``analysed``."""
    rows = store.rows()
    # trials planned again after a failed attempt are shown with the last failure's reason
    retried = [r.trial.id for r in rows if r.status == Status.PLANNED and r.attempts]
    failures = {name: store.failures(name) for name in retried}
    reasons = {name: failed[-1] for name, failed in failures.items() if failed}
    registered = decisions.time_left(store)
    took = decisions.prediction_and_took(store)[1]
    budget = clock.time_left(study, store)
    analysis = None
    if analysed and any(row.status in SCORED for row in rows):
        analysis = from_store.analysis(store, study.spec, study.cut)
    complete = took is not None and took.complete
    standings = tuple(
        replace(r, reason=r.reason or reasons.get(r.trial.id, r.reason))
        for r in placed(rows, study.folder)
    )
    facts = store.decisions("facts")
    found = Standing(
        standings,
        analysis,
        None,
        complete,
        study.spec.run.budget,
        budget,
        store.driven(),
        str(facts[-1].payload["unit"]) if facts else "samples",
    )
    if registered is None or found.done or found.used_up:
        return found  # nothing goes on, so there is no time left to speak of
    prediction, age = registered
    rest = bounded(shortened(prediction, age if found.going else 0.0).clock, budget or None)
    return replace(found, left=rest)
