"""What sizes gain by rates of their own, where log error is a parabola whose minimum is known."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from steep.stats.own_rates import TriedRate, gains_of_own_rates

COARSE = (0.01, 0.03, 0.1, 0.3)
BEND = 0.1


def best_rate(samples: float, size: int, by_size: float, by_data: float) -> float:
    return 0.05 * (size / 8) ** by_size * (samples / 400) ** by_data


def tried(
    by_size: float,
    by_data: float = 0.0,
    rates: dict[int, tuple[float, ...]] | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> list[TriedRate]:
    """Of sizes 2 to 32 on three shards, each at the coarse list or at its own ``rates``."""
    random = np.random.default_rng(seed)
    return [
        TriedRate(
            m,
            size,
            rate,
            1.0
            - 0.3 * log(m)
            + 0.05 * log(size / 8) ** 2
            + BEND * log(rate / best_rate(m, size, by_size, by_data)) ** 2
            + noise * random.normal(),
            max(noise, 1e-4) ** 2,
        )
        for m in (100.0, 400.0, 1600.0)
        for size in (2, 4, 8, 16, 32)
        for rate in (rates or {}).get(size, COARSE)
    ]


def truth(rows: list[TriedRate], by_size: float, by_data: float = 0.0) -> dict[tuple, float]:
    lowest: dict[tuple, TriedRate] = {}
    for t in rows:
        key = (t.samples, t.size)
        lowest[key] = min(lowest.get(key, t), t, key=lambda one: one.log_error)
    return {
        at: BEND * log(t.rate / best_rate(*at, by_size, by_data)) ** 2 for at, t in lowest.items()
    }


@pytest.mark.parametrize(("by_size", "by_data"), [(-1.0, 0.0), (-0.5, -0.3), (0.0, 0.2)])
def test_a_parabola_gives_what_each_size_gains(by_size: float, by_data: float) -> None:
    rows = tried(by_size, by_data)
    known = truth(rows, by_size, by_data)
    found = gains_of_own_rates(rows, 400)
    assert found.keys() == known.keys()
    assert max(known.values()) > 0.02
    for at, gain in found.items():
        assert np.median(gain) == pytest.approx(known[at], abs=0.004)


def test_of_noisy_errors_the_intervals_hold_what_sizes_gain() -> None:
    """Some sizes have one rate: what they gain follows from the others on their shard."""
    inside = []
    for seed in range(12):
        by_size = -float(np.random.default_rng(seed).choice([0.0, 0.5, 1.0]))
        rows = tried(by_size, rates={4: (0.03,), 16: (0.03, 0.01)}, noise=0.01, seed=seed)
        known = truth(rows, by_size)
        for at, gain in gains_of_own_rates(rows, 400).items():
            low, high = np.quantile(gain, [0.05, 0.95])
            inside.append(low - 1e-3 <= known[at] <= high + 1e-3)
    assert np.mean(inside) > 0.85


def test_what_no_rate_brackets_is_open() -> None:
    """Only the size in the middle was compared at several rates: a larger one may gain as much as
    rates gain that fall with size as commonly they do, or nothing."""
    rows = tried(-1.0, rates=dict.fromkeys((2, 4, 16, 32), (0.03,)))
    found = gains_of_own_rates(rows, 400)
    low, high = np.quantile(found[400.0, 32], [0.05, 0.95])
    assert low < 0.01
    assert high > truth(rows, -1.0)[400.0, 32] > 0.05
    beside = np.quantile(found[400.0, 8], [0.05, 0.95])
    assert beside[1] - beside[0] < 0.1 * (high - low)


def test_where_no_size_has_two_rates_nothing_is_said() -> None:
    assert (
        gains_of_own_rates(tried(-1.0, rates=dict.fromkeys((2, 4, 8, 16, 32), (0.03,))), 10) == {}
    )
    assert gains_of_own_rates([], 10) == {}
