"""The grid: a pure function of the set of results; waves; what extends a ladder and what not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

import worlds
from steep.contracts.planner import SearchSpace
from steep.planners import grid
from steep.records import Measurement, Status, Trial, settings
from worlds import rate

SAMPLES = (100, 200, 400, 1600)
World = Callable[[Trial], float | None]


def search_space(
    sizes: Sequence[int] = (4, 8, 16),
    rates: Sequence[float] = (0.01, 0.1),
    samples: Sequence[int] = SAMPLES,
    **asked: Any,
) -> SearchSpace:
    asked |= {"sizes": sizes, "rates": rates, "samples": samples, "recipe": {"learning_rate": 0.5}}
    return worlds.search_space("grid", **asked)


def measured(trial: Trial, error: float | None) -> Measurement:
    status = Status.DIVERGED if error is None else Status.COMPLETE
    return Measurement(trial, status, validation_error=error, parameters=trial.size)


def requests(
    p: SearchSpace, finished: Sequence[Measurement], running: Sequence[Trial] = ()
) -> list[Any]:
    return [w.trial for w in grid.plan(p, finished, running, None)]


def noisy(error: float, trial: Trial, spread: float = 0.01) -> float:
    """Seeds 0 and 1 are ``spread`` above and below, in log."""
    return error * math.exp(spread * (1 if trial.seed % 2 else -1))


def inside(trial: Trial) -> float | None:
    """The middle size is best, clearly; the best rate falls from 0.1 to 0.01 with the data."""
    best = 0.1 if trial.samples == SAMPLES[0] else 0.01
    error = 1 + abs(math.log(trial.size / 8)) + 0.3 * abs(math.log(rate(trial) / best))
    return noisy(error / trial.samples**0.3, trial)


def bigger(trial: Trial) -> float | None:
    return noisy(10 / trial.size, trial)


def smaller(trial: Trial) -> float | None:
    return noisy(float(trial.size), trial)


def whole(p: SearchSpace, world: World) -> list[Measurement]:
    """Every result of the search, in the order of planning."""
    finished: list[Measurement] = []
    for _ in range(10):
        trials = requests(p, finished)
        if not trials:
            return finished
        finished += [measured(t, world(t)) for t in trials]
    raise AssertionError("the search does not end")


@cache
def searched(world: World) -> tuple[Measurement, ...]:
    return tuple(whole(search_space(), world))


def on(trials: Sequence[Any], samples: float) -> list[Trial]:
    found = [t.trial if isinstance(t, Measurement) else t for t in trials]
    return [t for t in found if t.samples == samples]


# ---------------------------------------------------------------- waves


def test_the_first_wave_is_the_whole_grid_at_both_ends() -> None:
    first = requests(search_space(), [])
    assert {t.samples for t in first} == {100.0, 1600.0}
    assert len(first) == len(set(first)) == 2 * 3 * 2 * 2
    assert {(t.size, rate(t), t.seed) for t in on(first, 100)} == {
        (s, r, k) for s in (4, 8, 16) for r in (0.01, 0.1) for k in (0, 1)
    }
    assert all(t.items == t.samples for t in first)


def test_what_is_not_in_the_grid_comes_from_the_recipe_and_the_spec() -> None:
    p = search_space()
    assert grid.combinations(SearchSpace(p.spec, p.shards, settings({"momentum": 0.9}))) == (
        settings({"learning_rate": 0.01, "momentum": 0.9}),
        settings({"learning_rate": 0.1, "momentum": 0.9}),
    )


def test_the_second_wave_waits_for_both_ends_and_interpolates() -> None:
    p = search_space()
    ends = [measured(t, inside(t)) for t in requests(p, [])]
    assert on(requests(p, ends[:-1]), 400) == []
    second = requests(p, ends)
    assert {t.samples for t in second} == {200.0, 400.0}
    assert len(second) == 2 * 3 * 2
    # the best rate goes from 0.1 at 100 to 0.01 at 1600: a quarter and a half of the way in log
    assert {rate(t) for t in on(second, 200)} == {0.056}
    assert {rate(t) for t in on(second, 400)} == {0.032}


def test_each_size_has_its_own_preference() -> None:
    def world(t: Trial) -> float | None:
        best = 0.1 if t.size == 4 else 0.01
        return noisy(1 + abs(math.log(t.size / 8)) + abs(math.log(rate(t) / best)), t)

    p = search_space()
    second = requests(p, [measured(t, world(t)) for t in requests(p, [])])
    assert {(t.size, rate(t)) for t in on(second, 200)} == {(4, 0.1), (8, 0.01), (16, 0.01)}


def test_words_and_whole_numbers_between_the_ends() -> None:
    low = settings({"batch": 16, "optimizer": "sgd", "decay": 0.0, "nesterov": True})
    high = settings({"batch": 256, "optimizer": "adam", "decay": 0.1, "nesterov": False})
    assert dict(grid._between(low, high, 0.5)) == {
        "batch": 64, "optimizer": "adam", "decay": 0.1, "nesterov": False,
    }  # fmt: skip
    assert dict(grid._between(low, high, 0.25))["batch"] == 32
    assert isinstance(dict(grid._between(low, high, 0.3))["batch"], int)
    assert dict(grid._between(low, high, 0.49))["optimizer"] == "sgd"
    assert grid._between(low, low, 0.3) == low


def test_one_combination_needs_no_first_wave() -> None:
    first = requests(search_space(rates=[0.1]), [])
    assert len(first) == 4 * 3 * 2


def test_compare_at_all_tries_the_grid_everywhere() -> None:
    first = requests(search_space(compare_at="all"), [])
    assert len(first) == 4 * 3 * 2 * 2


def test_a_size_that_always_diverged_takes_the_overall_best() -> None:
    def world(t: Trial) -> float | None:
        return None if t.size == 16 else inside(t)

    p = search_space()
    second = requests(p, [measured(t, world(t)) for t in requests(p, [])])
    assert {rate(t) for t in on(second, 200) if t.size == 16} == {0.056}


def test_an_end_where_all_diverged_still_lets_the_search_go_on() -> None:
    def world(t: Trial) -> float | None:
        return None if t.samples == 100 else inside(t)

    assert whole(search_space(), world)


def test_other_draws_take_the_preference_of_the_first() -> None:
    p = search_space(permutations=2)
    first = requests(p, [])
    assert {t.permutation for t in first} == {0}
    second = requests(p, [measured(t, inside(t)) for t in first])
    assert {t.samples for t in second if t.permutation == 1} == {float(m) for m in SAMPLES}
    assert {rate(t) for t in second if t.permutation == 1 and t.samples == 100} == {0.1}
    assert {rate(t) for t in second if t.permutation == 1 and t.samples == 1600} == {0.01}


# ---------------------------------------------------------------- purity


@given_settings(max_examples=15, deadline=None, derandomize=True)
@given(
    st.sampled_from([inside, bigger, smaller]),
    st.integers(0, 200),
    st.randoms(use_true_random=False),
)
def test_the_plan_depends_on_the_set_of_results_only(
    world: World, keep: int, shuffle: random.Random
) -> None:
    p = search_space()
    finished = searched(world)
    some = shuffle.sample(finished, min(keep, len(finished)))
    plan = grid.plan(p, some, (), None)
    again = [*some, *shuffle.sample(some, len(some) // 2)]
    shuffle.shuffle(again)
    assert grid.plan(p, again, (), None) == plan, "order or repeats of results matter"
    trials = [w.trial for w in plan]
    assert len(set(trials)) == len(trials), "a trial requested twice"
    assert not {m.trial for m in some} & set(trials), "a finished trial wanted again"
    assert grid.plan(p, some, trials[::2], 1.0) == plan, "running trials stay wanted"


@pytest.mark.parametrize("world", [inside, bigger, smaller])
@pytest.mark.parametrize("stop", [5, 30])
def test_resuming_anywhere_ends_with_the_same_trials(world: World, stop: int) -> None:
    p = search_space()
    straight = {m.trial for m in whole(p, world)}
    finished: list[Measurement] = []
    while trials := requests(p, finished):
        finished += [measured(t, world(t)) for t in trials[:stop]]
    assert {m.trial for m in finished} == straight


def test_more_seeds_and_sizes_only_add_trials() -> None:
    finished = whole(search_space(), inside)
    done = {m.trial for m in finished}
    more = requests(search_space(seeds=3), finished)
    assert {t.seed for t in more} == {2}
    assert not set(more) & done
    larger = requests(search_space(sizes=[4, 8, 16, 32]), finished)
    assert {t.size for t in larger} == {32}


# ---------------------------------------------------------------- extension


def sizes_tried(p: SearchSpace, world: World) -> dict[float, list[int]]:
    found = whole(p, world)
    return {float(m): sorted({t.size for t in on(found, m)}) for m in SAMPLES}


def test_an_edge_that_is_best_extends_at_most_twice() -> None:
    assert set(map(tuple, sizes_tried(search_space(), bigger).values())) == {(4, 8, 16, 32, 64)}
    assert set(map(tuple, sizes_tried(search_space(extend=1), bigger).values())) == {(4, 8, 16, 32)}
    assert set(map(tuple, sizes_tried(search_space(extend=0), bigger).values())) == {(4, 8, 16)}


def test_a_low_edge_extends_down_to_the_smallest_size() -> None:
    assert set(map(tuple, sizes_tried(search_space(), smaller).values())) == {(1, 2, 4, 8, 16)}
    assert set(map(tuple, sizes_tried(search_space(smallest=2), smaller).values())) == {
        (2, 4, 8, 16)
    }
    assert set(map(tuple, sizes_tried(search_space(smallest=3), smaller).values())) == {(4, 8, 16)}


def test_an_optimum_inside_extends_nothing() -> None:
    assert set(map(tuple, sizes_tried(search_space(), inside).values())) == {(4, 8, 16)}


def test_an_edge_within_noise_extends_nothing() -> None:
    def world(t: Trial) -> float | None:
        return noisy(1.0 + 0.5 * (t.size == 4) - 0.001 * math.log(t.size), t, spread=0.05)

    assert set(map(tuple, sizes_tried(search_space(rates=[0.1]), world).values())) == {(4, 8, 16)}


def test_only_the_shard_whose_edge_is_best_extends() -> None:
    def world(t: Trial) -> float | None:
        return bigger(t) if t.samples == 400 else inside(t)

    tried = sizes_tried(search_space(rates=[0.1]), world)
    assert tried == {100.0: [4, 8, 16], 200.0: [4, 8, 16], 400.0: [4, 8, 16, 32, 64],
                     1600.0: [4, 8, 16]}  # fmt: skip


def test_an_extension_stops_when_the_optimum_is_found() -> None:
    def world(t: Trial) -> float | None:
        return noisy(1 + abs(math.log(t.size / 32)), t)

    tried = sizes_tried(search_space(rates=[0.1]), world)
    assert set(map(tuple, tried.values())) == {(4, 8, 16, 32, 64)}


def test_held_out_shards_are_never_planned() -> None:
    p = search_space()
    assert {m.trial.samples for m in whole(p, inside)} <= {float(m) for m in SAMPLES}


# ---------------------------------------------------------------- more seeds for the best


def test_the_best_fit_of_each_shard_gets_more_seeds_and_nothing_else_does() -> None:
    p = search_space(confirm=4)
    plain, found = whole(search_space(), inside), whole(p, inside)
    more = [m.trial for m in found if m.trial not in {n.trial for n in plain}]
    assert {(t.samples, t.size, t.seed) for t in more} == {
        (float(m), 8, seed) for m in SAMPLES for seed in (2, 3)
    }
    assert {rate(t) for t in on(more, 100)} == {0.1}
    assert {rate(t) for t in on(more, 1600)} == {0.01}
    assert all(w.why == "confirms" for w in grid.plan(p, plain, [], None))


def test_a_best_fit_that_was_lucky_loses_its_place_and_the_next_is_confirmed() -> None:
    """Size 4 is 2 % ahead of 8 by its first two seeds and 10 % behind by all others."""

    def lucky(trial: Trial) -> float | None:
        if trial.size == 4:
            return noisy(0.98 if trial.seed < 2 else 1.3, trial)
        return noisy(1.0 if trial.size == 8 else 2.0, trial)

    p = search_space(confirm=4, rates=(0.1,))
    found = [m.trial for m in whole(p, lucky)]
    for samples in SAMPLES:
        seeds = {s: {t.seed for t in on(found, samples) if t.size == s} for s in (4, 8, 16)}
        assert seeds == {4: {0, 1, 2, 3}, 8: {0, 1, 2, 3}, 16: {0, 1}}
