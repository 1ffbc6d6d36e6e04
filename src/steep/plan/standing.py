"""How far a study is, from its store alone: what ``steep status`` and ``steep watch`` show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from steep.analysis import decisions, from_store
from steep.executors.chosen import placed
from steep.plan import clock
from steep.plan.estimate import shortened, within
from steep.records import SCORED, Prediction, Standing, Status
from steep.store.folder import read_frozen
from steep.store.spec_changes import changes

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
    if found.done or found.used_up:
        return found  # nothing goes on, so there is no time left to speak of
    rest = left(store, found.going, budget)
    return replace(found, left=None if rest is None else rest.clock)


def left_by_run(study: Study, store: Store) -> Prediction | None:
    """What is left by the estimate of the last run, where it is one of this spec."""
    begun_as = read_frozen(study.folder).loaded.spec
    if changes(begun_as, study.spec) or begun_as.run.budget != study.spec.run.budget:
        return None
    found = standing(study, store, analysed=False)
    if found.done or found.used_up:
        return None
    return left(store, found.going, found.budget_left)


def left(store: Store, going: bool, budget: float | None) -> Prediction | None:
    """What is left of a study by the last estimate of a run: what ``status``, ``plan`` and the
    progress bar say. ``budget`` is what the spec's leaves, which a run's own may exceed."""
    registered = decisions.time_left(store, going)
    if registered is None:
        return None
    prediction, age, ends = registered
    return within(shortened(prediction, age), ends if going and ends else budget or None)
