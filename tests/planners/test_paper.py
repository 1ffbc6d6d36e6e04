"""The paper's procedure: capacity first, a careful search at both ends, draws between them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import worlds
from steep.contracts.planner import TrialRequest
from steep.planners import paper
from steep.records import Measurement, Shard, Status, Trial
from steep.select import select


def run(world: worlds.World, **asked: object) -> tuple[list[list[TrialRequest]], list[Measurement]]:
    """Every plan, and every result."""
    p = worlds.search_space("paper", **asked)  # type: ignore[arg-type]
    plans, found = [], {}
    while requests := paper.plan(p, list(found.values()), (), None):
        plans.append(requests)
        found |= {request.trial: world.measure(request.trial) for request in requests}
    return plans, list(found.values())


def overfitting_from(smallest: int, world: worlds.World) -> worlds.World:
    """The same world, in which models below ``smallest`` only underfit: their training loss stays
    where it was when the validation loss turns."""

    class Kind:
        def measure(self, trial: Trial) -> Measurement:
            m = world.measure(trial)
            if trial.size >= smallest:
                return m
            flat = tuple(replace(e, train_loss=e.validation_loss) for e in m.curve)
            return replace(m, curve=flat)

    return Kind()  # type: ignore[return-value]


def test_the_smallest_model_that_overfits_is_found_size_by_size() -> None:
    world = overfitting_from(5, worlds.World(worlds.bowl()))
    plans, _ = run(world)
    probes = [w.trial for plan in plans for w in plan if "overfits" in w.why]
    for samples in (125.0, 4000.0):
        assert [t.size for t in probes if t.samples == samples] == [2, 3, 5]
    assert {t.samples for t in probes} == {125.0, 4000.0}
    assert {t.seed for t in probes} == {0}


def test_overfitting_is_a_rise_that_the_training_loss_does_not_share() -> None:
    m = worlds.World(worlds.bowl()).measure(Trial(0, 125, 125.0, 8, (("learning_rate", 0.1),), 0))
    assert paper.overfits(m)
    assert not paper.overfits(replace(m, curve=m.curve[:-2]))  # V had not turned yet
    flat = tuple(replace(e, train_loss=e.validation_loss) for e in m.curve)
    assert not paper.overfits(replace(m, curve=flat))
    assert paper.overfits(replace(m, curve=()))  # nobody can tell
    assert not paper.overfits(replace(m, status=Status.DIVERGED))


def test_the_search_at_an_end_goes_on_while_the_best_is_at_its_end() -> None:
    """Size 2 overfits; the best size at the large end is three steps further than first tried."""
    world = worlds.World(worlds.bowl(sigma=200.0))
    _, found = run(world)
    at_end = {m.trial.size for m in found if m.trial.samples == 4000.0}
    best = world_best(world, 4000.0)
    assert best >= 20
    assert best in at_end
    seeds = {m.trial.seed for m in found if m.trial.size == best and m.trial.samples == 4000.0}
    assert seeds == {0, 1}


def world_best(world: worlds.World, samples: float) -> int:
    configs = [(world.excess(samples, s, r), s) for s in worlds.SIZES for r in worlds.RATES]
    return min(configs)[1]


def test_between_the_ends_it_draws_about_the_power_law() -> None:
    world = worlds.World(worlds.bowl(sigma=60.0), noise=0.002)
    plans, found = run(world, draws=6)
    ends = {b.samples: b for b in best_fits(found)}
    low, high = ends[125.0].best, ends[4000.0].best
    for samples in (250.0, 500.0, 1000.0, 2000.0):
        share = math.log(samples / 125) / math.log(32)
        center = math.log(low.size) * (1 - share) + math.log(high.size) * share
        drawn = {w.trial.size for plan in plans for w in plan if w.trial.samples == samples}
        configs = {m.trial.candidate for m in found if m.trial.samples == samples}
        assert 1 < len(configs) <= 7
        nearest = min(worlds.SIZES, key=lambda s: abs(math.log(s) - center))
        assert nearest in drawn
        assert all(abs(math.log(s) - center) < 4 * 0.47 for s in drawn)


def best_fits(found: list[Measurement]) -> tuple:  # type: ignore[type-arg]
    shards = [Shard(0, m, float(m), "items") for m in worlds.SAMPLES]
    return select(found, shards, seeds=2)


def test_the_study_seed_decides_the_draws() -> None:
    world = worlds.World(worlds.bowl(sigma=60.0))
    one, again = run(world)[1], run(world)[1]
    assert one == again
    p = worlds.search_space("paper")
    other = worlds.search_space("paper")
    other = replace(other, spec=other.spec.model_copy(update={"seed": 1}))
    found = [set(worlds.search(q, paper.plan, world)) for q in (p, other)]
    assert found[0] != found[1]


@pytest.mark.parametrize("sigma", [30.0, 100.0])
def test_it_finds_models_near_the_optimum(sigma: float) -> None:
    total = []
    for seed in range(5):
        world = worlds.World(worlds.bowl(sigma=sigma), seed=seed)
        for b in best_fits(run(world)[1]):
            at_rate = float(dict(b.best.hyperparameters)["learning_rate"])
            configs = [world.excess(b.samples, s, r) for s in worlds.SIZES for r in worlds.RATES]
            total.append(world.excess(b.samples, b.best.size, at_rate) - min(configs))
    assert sum(total) / len(total) < 0.03
