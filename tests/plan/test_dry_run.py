"""The dry run: bounds that hold in every scenario, and None where nobody can know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from steep.contracts.planner import SearchSpace
from steep.contracts.trainer import Cost
from steep.plan.dry_run import plan, simulate
from steep.planners import grid
from steep.records import Shard, Trial, settings
from steep.spec.load import from_values


def search_space(sizes: list[int], **search: Any) -> SearchSpace:
    values = {
        "study": "s",
        "domain": {"name": "external", "items": 10},
        "family": {"name": "none", "sizes": sizes},
        "shards": {"smallest": 1},
        "search": {"seeds": 2} | search,
        "trainer": {"name": "synthetic"},
    }
    shards = tuple(Shard(0, m, float(m), "items") for m in (100, 200, 400))
    return SearchSpace(from_values(values).spec, shards, settings({"learning_rate": 0.1}))


def cost(size: int) -> Cost:
    return Cost(10 * size, 9 * size, 60.0 * size)


def extent(trial: Trial) -> tuple[float, float]:
    return 5 * trial.samples, 20 * trial.samples


SCENARIOS: list[Callable[[Trial], float]] = [
    lambda t: 1.0 + t.size,
    lambda t: 1.0 / t.size,
    lambda t: 1.0 + abs(t.size - 8) / 100,
    lambda t: 1.0,
    lambda t: 1.0 + t.seed,
    lambda t: 1.0 / t.size if t.samples > 150 else 1.0 * t.size,
]


@pytest.mark.parametrize("sizes", [[4, 8, 16], [4, 8], [8], [4, 5, 6, 7]])
@pytest.mark.parametrize("scenario", range(len(SCENARIOS)))
def test_no_world_wants_more_than_the_plan_says(sizes: list[int], scenario: int) -> None:
    p = search_space(sizes)
    found = plan(p, grid.plan, cost=cost, extent=extent, validation_items=100)
    requests = simulate(p, grid.plan, SCENARIOS[scenario])
    assert len(requests) <= found.most_trials
    assert found.flops is not None
    spent = sum(extent(t)[1] * cost(t.size).flops for t in requests)
    assert spent <= found.flops.high
    assert found.flops.low <= found.flops.high


def test_the_numbers_by_hand() -> None:
    p = search_space([4, 8, 16], extend=0)
    held_out = [Trial(0, 800, 800.0, 16, (), seed) for seed in (0, 1)]
    found = plan(
        p, grid.plan, cost=cost, extent=extent, validation_items=100, held_out=held_out,
        seconds_per_flop=lambda size: 1e-9 * size,
    )  # fmt: skip
    assert (len(found.trials), found.most_trials, found.held_out_trials) == (18, 20 - 2, 2)
    units = 2 * (100 + 200 + 400) * (4 + 8 + 16) + 2 * 800 * 16
    assert found.flops is not None
    assert found.flops.low == pytest.approx(5 * 60 * units)
    assert found.flops.high == pytest.approx(20 * 60 * units)
    squares = 2 * (100 + 200 + 400) * (16 + 64 + 256) + 2 * 800 * 256
    assert found.seconds is not None
    assert found.seconds.low == pytest.approx(5 * 60 * squares * 1e-9)
    assert found.parameters == ((4, 40), (8, 80), (16, 160))
    assert found.disk > 20 * 2 * 100


def test_what_nobody_can_know_is_none() -> None:
    p = search_space([4, 8])
    blind = plan(p, grid.plan, cost=lambda s: None, extent=extent, validation_items=9)
    assert (blind.flops, blind.seconds, blind.parameters) == (None, None, ())
    endless = plan(p, grid.plan, cost=cost, extent=lambda t: None, validation_items=9)
    assert endless.flops is None
    slow = plan(p, grid.plan, cost=cost, extent=extent, validation_items=9)
    assert slow.seconds is None
