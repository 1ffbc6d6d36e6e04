"""In place of a seed that diverged or failed another one is tried, so many more at most."""

from __future__ import annotations

from dataclasses import replace

import pytest

import worlds
from steep.plan.clock import missing
from steep.planners import frugal
from steep.records import Measurement, Shard, Status, Trial, settings
from steep.select import select

SETTINGS = settings({"learning_rate": 0.1})
HELD_OUT = Shard(0, 8000, 8000.0, "items", held_out=True)
PAIR = [Trial(0, 8000, 8000.0, 4, SETTINGS, seed) for seed in (0, 1)]


def ended(seed: int, status: Status, error: float | None = None) -> Measurement:
    return Measurement(replace(PAIR[0], seed=seed), status, validation_error=error)


def seeds(*found: Measurement) -> list[int]:
    return [request.trial.seed for request in missing(PAIR)(found, (), None)]


@pytest.mark.parametrize("status", [Status.DIVERGED, Status.FAILED])
def test_a_held_out_model_gets_another_seed(status: Status) -> None:
    good = ended(0, Status.COMPLETE, 0.2)
    assert seeds() == [0, 1]
    assert seeds(good) == [1]
    assert seeds(good, ended(1, status)) == [2]
    assert seeds(good, ended(1, status), ended(2, Status.COMPLETE, 0.2)) == []
    assert seeds(good, *(ended(k, status) for k in (1, 2, 3))) == []


def test_a_trial_that_takes_too_long_is_not_tried_again() -> None:
    assert seeds(ended(0, Status.COMPLETE, 0.2), ended(1, Status.TIMEOUT)) == []


def test_a_held_out_model_is_measured_by_the_seeds_that_did_not_diverge() -> None:
    found = [ended(0, Status.COMPLETE, 0.2), *(ended(k, Status.DIVERGED) for k in (1, 2, 3))]
    (best,) = select(found, [HELD_OUT], seeds=2)
    assert best.best.score == 0.2
    assert best.best.seeds == (0,)
    assert "diverged seeds" in best.flags
    assert select(found, [replace(HELD_OUT, held_out=False)], seeds=2) == ()


def test_a_search_replaces_seeds_that_failed() -> None:
    """Every second further seed crashes: every shard has all its seeds in the end."""
    world = worlds.World(worlds.bowl(sigma=60.0), noise=0.01)
    p = worlds.search_space(sizes=(2, 4, 8), samples=(125, 250, 500, 1000, 2000))
    found: dict[Trial, Measurement] = {}
    while requests := frugal.plan(p, tuple(found.values()), (), None):
        for request in requests:
            trial = request.trial
            crashed = trial.seed and (trial.items // 125 + trial.size + trial.seed) % 2
            whole = world.measure(trial)
            found[trial] = Measurement(trial, Status.FAILED) if crashed else whole
    best = select(found.values(), p.shards, seeds=p.spec.search.seeds)
    assert len(best) == 5
    assert any(m.status is Status.FAILED for m in found.values())
    assert all(len(b.best.seeds) == 2 for b in best)


def test_a_candidate_whose_first_seed_failed_is_tried_again() -> None:
    """The first seed of the best configuration crashes on every shard, and of no other one."""
    world = worlds.World(worlds.bowl(sigma=60.0), noise=0.005)
    p = worlds.search_space(
        sizes=(4, 8), rates=(0.02, 0.1, 0.5), samples=(125, 500, 2000), extend=0
    )
    found: dict[Trial, Measurement] = {}
    while requests := frugal.plan(p, tuple(found.values()), (), None):
        for request in requests:
            trial = request.trial
            crashed = trial.seed == 0 and worlds.rate(trial) == 0.1
            whole = world.measure(trial)
            found[trial] = Measurement(trial, Status.FAILED) if crashed else whole
    best = select(found.values(), p.shards, seeds=p.spec.search.seeds)
    assert {dict(b.best.hyperparameters)["learning_rate"] for b in best} == {0.1}
