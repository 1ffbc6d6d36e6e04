"""Noise of seeds against simulations whose noise is known, and its own likelihood."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steep.stats.seeds import WORSE, seed_noise


def test_of_equals_it_is_the_pooled_variance() -> None:
    logs = [np.array([-0.01, 0.01]), np.array([-0.03, 0.0, 0.03]), np.array([0.0])]
    variance, freedom = seed_noise([logs, [np.array([-5.02, -4.98])]])
    assert variance == pytest.approx((2 * 1e-4 + 2 * 9e-4 + 2 * 4e-4) / 4)
    assert freedom == pytest.approx(4)


def test_no_repeats_know_nothing_and_equal_ones_know_that_there_is_none() -> None:
    assert seed_noise([]) == (0.0, 0.0)
    assert seed_noise([[np.array([0.1]), np.array([0.2])], []]) == (0.0, 0.0)
    assert seed_noise([[np.array([0.1, 0.1]), np.array([0.2, 0.2])]]) == (0.0, 2.0)


@pytest.mark.parametrize(("sigma", "worse"), [(0.003, WORSE), (0.05, WORSE), (0.01, 0.0)])
def test_the_noise_that_was_put_in(sigma: float, worse: float) -> None:
    """200 shards of two good and three worse candidates, three seeds each."""
    random, shards = np.random.default_rng(0), []
    for _ in range(200):
        gaps = [0.0, 0.0, *random.uniform(0.05, 0.2, 3)]
        sd = [math.hypot(sigma, worse * gap) for gap in gaps]
        shards.append([g + s * random.standard_normal(3) for g, s in zip(gaps, sd, strict=True)])
    variance, freedom = seed_noise(shards)
    assert 0.96 * sigma < variance**0.5 < 1.08 * sigma
    assert 700 < freedom < 2000
    pooled = np.mean([np.var(logs, ddof=1) for shard in shards for logs in shard]) ** 0.5
    assert pooled > 1.09 * sigma or not worse


def test_a_candidate_counts_by_its_variance() -> None:
    """The answer is a fixed point that is checked by hand: s = sum(w v) / sum(w) of two."""
    best, worse = np.array([-0.01, 0.01]), np.array([0.07, 0.13])  # variances 2e-4, 18e-4
    variance, freedom = seed_noise([[best, worse]] * 8)
    weight = (variance / (variance + (WORSE * 0.1) ** 2)) ** 2
    assert variance == pytest.approx((2e-4 + weight * 18e-4) / (1 + weight))
    assert freedom == pytest.approx(8 * (1 + weight))
    assert 2e-4 < variance < 1e-3


def test_a_few_good_candidates_do_not_decide_alone() -> None:
    """Two seeds of one, or of a discrete metric, may agree by chance."""
    best, worse = np.array([0.0, 0.0]), np.array([0.07, 0.13])
    variance, freedom = seed_noise([[best, worse]] * 3)
    assert variance == pytest.approx(9e-4)
    assert freedom == 6
    many, counted = seed_noise([[best, worse]] * 8)
    assert 0 < many < 3e-4
    assert counted >= 8
    every, counted = seed_noise([[best, best, worse]] * 200)
    assert every < 1e-11
    assert counted == pytest.approx(400)


def test_a_bad_candidate_that_hardly_learns_decides_nothing() -> None:
    """0.1 about a mean 0.2 above the best, as in studies/results/characters-rhn10-sgd."""
    good = [np.array([0.004, -0.004])] * 8
    variance, freedom = seed_noise([[*good, np.array([0.1, 0.3])]])
    assert variance**0.5 == pytest.approx(0.004 * 2**0.5, rel=0.1)
    assert 8 <= freedom < 9


def test_one_that_learns_with_one_seed_alone_is_left_out() -> None:
    good = [np.array([0.01, -0.01])] * 3
    assert seed_noise([[*good, np.array([0.0, 1.0])]]) == seed_noise([good])


def test_only_how_far_candidates_lie_apart_matters() -> None:
    """Not the size of the errors of their shard."""
    shard = [np.array([-0.01, 0.01]), np.array([0.07, 0.13]), np.array([0.3, 0.4])]
    here, there = (seed_noise([[logs + by for logs in shard]] * 8) for by in (0.0, -5.0))
    assert there == pytest.approx(here)
