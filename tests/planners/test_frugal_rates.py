"""Frugal where the best learning rate changes with model size, and with data."""

from __future__ import annotations

import math
from typing import Any

import worlds
from steep.planners import frugal
from steep.records import BestFit, Measurement
from steep.select import select
from steep.stats.searched import with_size_curves

SAMPLES = tuple(250 * 2**k for k in range(6))
SIZES, RATES = (8, 16, 32, 64), (0.01, 0.03, 0.1)


def falls_with_size(samples: float, size: int, rate: float) -> float:
    """The best size grows as data**0.4, the best rate falls as 1/size."""
    best = 2 * samples**0.4
    return 0.1 * math.log(size / best) ** 2 + 0.2 * math.log(rate * size) ** 2


def test_a_larger_size_is_compared_at_its_own_rate() -> None:
    """At one rate for all sizes the next larger one looks worse on every shard alike."""
    world = worlds.World(falls_with_size, noise=0.01)
    p = worlds.search_space(sizes=SIZES, rates=RATES, samples=SAMPLES)
    found = list(worlds.search(p, frugal.plan, world).values())
    best = select(found, p.shards, seeds=p.spec.search.seeds)
    for b in (best[0], best[-1]):
        larger = min(size for size in (*SIZES, 128, 256) if size > b.best.size)
        at_larger = {
            worlds.rate(m.trial)
            for m in found
            if (m.trial.samples, m.trial.size) == (b.samples, larger)
        }
        assert min(at_larger) < float(dict(b.best.hyperparameters)["learning_rate"])
    last = best[-1]
    rate = float(dict(last.best.hyperparameters)["learning_rate"])
    assert last.best.size >= 64
    assert rate <= 0.01
    lowest = min(falls_with_size(8000, s, r) for s in (*SIZES, 128, 256) for r in (*RATES, 0.00333))
    assert falls_with_size(8000, last.best.size, rate) < lowest + 0.03


def drifts(samples: float, size: int, rate: float) -> float:
    """The best rate falls as data**-0.6, from the lowest listed one on."""
    return 0.15 * math.log(rate / (0.1 * (samples / 250) ** -0.6)) ** 2


def drifting(**search: Any) -> tuple[tuple[BestFit, ...], list[Measurement]]:
    world = worlds.World(drifts, noise=0.01)
    p = worlds.search_space(sizes=(1,), rates=(0.1, 0.2, 0.4), samples=SAMPLES, **search)
    found = list(worlds.search(p, frugal.plan, world).values())
    best = select(found, p.shards, seeds=p.spec.search.seeds)
    return with_size_curves(best, found), found


def test_a_best_rate_that_drifts_with_data_is_followed() -> None:
    """Further beyond the list than the smallest shard may extend it."""
    best, found = drifting()
    assert min(worlds.rate(m.trial) for m in found) < 0.0125
    for b in best:
        value = float(dict(b.best.hyperparameters)["learning_rate"])
        assert drifts(b.samples, 1, value) < drifts(b.samples, 1, 2 * value)
        assert drifts(b.samples, 1, value) < drifts(b.samples, 1, value / 2) + 0.02


def test_what_lies_beyond_a_list_is_in_the_error_of_a_study_of_one_size() -> None:
    """On every shard whose best value is the last one, tried beside the next one there or not."""
    best, _ = drifting(extend=0)
    curves = [b.size_curve for b in best]
    assert all(curve is not None for curve in curves)
    for b, curve in zip(best[2:], curves[2:], strict=True):
        assert curve is not None
        assert curve.excess > 0.02
        assert curve.score_se > 5 * (b.seed_se or 0.0) / b.best.score
    rises = [curve.excess for curve in curves if curve is not None]
    assert rises[-1] > rises[0]


def test_no_lower_rate_is_asked_of_where_the_lowest_listed_one_is_best() -> None:
    world = worlds.World(lambda m, s, r: falls_with_size(m, s, r) + 0.5 * math.log(r / 0.01))
    p = worlds.search_space(sizes=SIZES, rates=RATES, samples=SAMPLES, extend=0)
    found = list(worlds.search(p, frugal.plan, world).values())
    best = select(found, p.shards, seeds=p.spec.search.seeds)
    assert {dict(b.best.hyperparameters)["learning_rate"] for b in best} == {0.01}


def test_a_larger_size_far_worse_is_not_compared_at_its_own_rate() -> None:
    """No lower rate makes up for it: nothing is spent on large models."""

    def excess(samples: float, size: int, rate: float) -> float:
        return 0.4 * math.log(size / (0.5 * samples**0.4)) ** 2 + 0.05 * math.log(rate / 0.03) ** 2

    world = worlds.World(excess, noise=0.005)
    p = worlds.search_space(sizes=(2, 4, 8, 16, 32, 64), rates=RATES, samples=SAMPLES)
    whys = set()
    found: dict[worlds.Trial, worlds.Measurement] = {}
    while requests := frugal.plan(p, tuple(found.values()), (), None):
        whys |= {request.why for request in requests}
        for request in requests:
            measured = world.measure(request.trial)
            found[request.trial] = worlds.seen(measured, request.up_to_steps)
    assert not any("larger size" in why for why in whys)
