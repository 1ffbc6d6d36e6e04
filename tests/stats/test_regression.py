"""A linear model with a normal prior: closed forms of one coefficient, and two ways to the same."""

from __future__ import annotations

import numpy as np
import pytest

from steep.stats.regression import Linear, Sums


def test_of_one_coefficient_precisions_add_up() -> None:
    """Prior 1 +- 0.5, noise 2, three observations at 1, 1 and 2: precisions 4 and 6 / 4."""
    found = Linear(np.array([1.0]), np.array([[0.25]]), 2.0).given(
        np.array([[1.0], [1.0], [2.0]]), np.array([3.0, 5.0, 4.0])
    )
    assert found.covariance[0, 0] == pytest.approx(1 / 5.5)
    assert found.mean[0] == pytest.approx((4 * 1.0 + (3 + 5 + 8) / 4) / 5.5)
    assert found.noise == 2.0


def test_sums_say_as_much_as_the_observations_and_forget_what_is_taken_out() -> None:
    random = np.random.default_rng(0)
    root = random.normal(size=(3, 3))
    prior = Linear(random.normal(size=3), root @ root.T, 0.3)
    x, y = random.normal(size=(7, 3)), random.normal(size=7)
    sums = Sums(3)
    for k in range(7):
        sums.add(x[k], y[k])
    sums.add(x[6], y[6], times=-1)
    one, other = prior.given(x[:6], y[:6]), prior.given_sums(sums)
    assert sums.count == 6
    assert other.mean == pytest.approx(one.mean)
    assert other.covariance == pytest.approx(one.covariance)


def test_draws_have_its_mean_and_covariance() -> None:
    model = Linear(np.array([1.0, -2.0]), np.array([[0.04, 0.03], [0.03, 0.09]]), 1.0)
    random = np.random.default_rng(1)
    draws = np.array([model.draw(random) for _ in range(4000)])
    assert draws.mean(axis=0) == pytest.approx(model.mean, abs=0.02)
    assert np.cov(draws.T) == pytest.approx(model.covariance, abs=0.006)
