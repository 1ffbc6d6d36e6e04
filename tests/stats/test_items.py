"""The standard error over shared validation items, against repeated draws of the items."""

from __future__ import annotations

import numpy as np
import pytest

from steep.stats.items import Items, log_ratio_se


def draw(random: np.random.Generator, count: int, groups: int) -> tuple[Items, Items, np.ndarray]:
    """Two models' errors on one validation set: hard groups are hard for both."""
    group = np.repeat(np.arange(groups), count // groups)
    hard = random.exponential(size=groups)[group]
    counts = random.integers(1, 20, size=count).astype(float)
    first, second = (hard * counts * random.gamma(4, s / 4, size=count) for s in (0.2, 0.3))
    return (first, counts), (second, counts), group


@pytest.mark.parametrize("groups", [50, 400])
def test_it_is_the_spread_over_validation_sets(groups: int) -> None:
    random = np.random.default_rng(1)
    logs, said = [], []
    for _ in range(300):
        first, second, group = draw(random, 400, groups)
        logs.append(np.log(first[0].sum() / second[0].sum()))
        said.append(log_ratio_se([first], [second], group))
    assert np.mean(said) == pytest.approx(np.std(logs), rel=0.1)


def test_it_is_less_than_for_two_validation_sets() -> None:
    random = np.random.default_rng(2)
    first, second, _ = draw(random, 400, 400)
    paired = log_ratio_se([first], [second])
    other = np.random.default_rng(3).permutation(400)
    apart = log_ratio_se([first], [(second[0][other], second[1][other])])
    assert paired is not None
    assert apart is not None
    assert paired < 0.7 * apart


def test_several_sizes_are_averaged_and_equal_models_do_not_differ() -> None:
    first, second, group = draw(np.random.default_rng(4), 100, 100)
    once = log_ratio_se([first], [second], group)
    assert log_ratio_se([first, first], [second, second], group) == pytest.approx(once)
    assert log_ratio_se([first], [first], group) == pytest.approx(0.0)


def test_nothing_to_compare_is_none() -> None:
    first, second, _ = draw(np.random.default_rng(5), 10, 10)
    assert log_ratio_se([], []) is None
    assert log_ratio_se([first], [(0 * second[0], second[1])]) is None
    assert log_ratio_se([first], [second], np.zeros(10)) is None


def test_two_items_by_hand() -> None:
    """Shares of the errors 1/4 and 3/4 against 2/5 and 3/5, counts the same: both differ by 0.15,
    and n / (n - 1) is 2. As two groups of two halves each they say the same."""
    counts = np.array([10.0, 10.0])
    first, second = (np.array([1.0, 3.0]), counts), (np.array([2.0, 3.0]), counts)
    assert log_ratio_se([first], [second]) == pytest.approx((2 * 2 * 0.15**2) ** 0.5)
    halves = [(np.repeat(s, 2) / 2, np.repeat(c, 2) / 2) for s, c in (first, second)]
    found = log_ratio_se(halves[:1], halves[1:], np.array([7, 7, 9, 9]))
    assert found == pytest.approx((2 * 2 * 0.15**2) ** 0.5)
    # of counts 5 and 15 the first's errors lie as its units do, and only the second's differ
    uneven = (np.array([1.0, 3.0]), np.array([5.0, 15.0]))
    assert log_ratio_se([uneven], [second]) == pytest.approx((2 * 2 * 0.1**2) ** 0.5)
