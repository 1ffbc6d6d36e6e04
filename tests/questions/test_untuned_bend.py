"""A curve that flattens because of how it was searched is not said to have a floor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import worlds
from steep.questions.search_summary import SearchSummary, examine
from steep.records import Shard, Trial, settings
from steep.select import select


def falls_with_size(samples: float, size: int, rate: float) -> float:
    best = 2 * samples**0.4
    return 0.1 * math.log(size / best) ** 2 + 0.2 * math.log(rate * size) ** 2


def summary(*tried: tuple[int, float], excess: worlds.Excess = falls_with_size) -> SearchSummary:
    world = worlds.World(excess, noise=0.001)
    shards = [Shard(0, n, float(n), "items") for n in (2000, 4000, 8000)]
    trials = [
        Trial(0, s.items, s.samples, size, settings({"learning_rate": rate}), seed)
        for s in shards
        for size, rate in tried
        for seed in (0, 1)
    ]
    found = [world.measure(trial) for trial in trials]
    return examine(select(found, shards, seeds=2), found)


BOTH: Sequence[tuple[int, float]] = ((16, 0.03), (32, 0.01), (32, 0.03), (32, 0.1), (64, 0.03))


def test_larger_sizes_at_the_rate_of_smaller_ones_show_no_floor() -> None:
    cause, reasons, step = summary(*BOTH).cause_of_bend()
    assert cause == "tuning"
    assert "learning_rate that is best for smaller ones" in reasons
    assert "lower learning_rate" in step


def test_larger_sizes_at_a_lower_rate_do() -> None:
    def bowl(samples: float, size: int, rate: float) -> float:
        return 0.1 * math.log(size / 32) ** 2 + 0.2 * math.log(rate / 0.03) ** 2

    assert summary(*BOTH, (64, 0.01), excess=bowl).cause_of_bend()[0] == "floor"
    assert summary(*BOTH, excess=bowl).cause_of_bend()[0] == "tuning"


def test_a_best_rate_at_the_edge_counts_where_one_size_was_trained() -> None:
    def drifts(samples: float, size: int, rate: float) -> float:
        return 0.15 * math.log(rate / (0.1 * (samples / 250) ** -0.6)) ** 2

    assert summary((1, 0.1), (1, 0.2), (1, 0.4), excess=drifts).cause_of_bend()[0] == "tuning"
