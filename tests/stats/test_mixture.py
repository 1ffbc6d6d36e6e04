"""Quantiles of mixtures and draws by weight, where both are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from steep.stats.mixture import quantiles, systematic

LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])


@pytest.mark.parametrize("df", [1.0, 4.0, 30.0])
def test_a_mixture_of_equal_parts_is_the_part(df: float) -> None:
    """At several places, each with its own centre and scale."""
    centre, scale = np.array([-1.0, 5.0]), np.array([0.01, 2.0])
    found = quantiles(np.tile(centre, (7, 1)), np.tile(scale, (7, 1)), df, LEVELS)
    expected = centre[:, None] + scale[:, None] * t.ppf(LEVELS, df)
    assert (found - expected) / scale[:, None] == pytest.approx(np.zeros((2, 5)), abs=0.01)


def test_normal_parts_about_normal_centres_are_a_wider_normal() -> None:
    """Of variances 3 and 4 squared the sum has 5 squared."""
    centre = 3.0 * norm.ppf((np.arange(1000) + 0.5) / 1000)[:, None]
    found = quantiles(centre, np.full((1000, 1), 4.0), 1e6, LEVELS)
    assert found[0] == pytest.approx(5.0 * norm.ppf(LEVELS), abs=0.02)


def test_two_sharp_parts_share_the_quantiles() -> None:
    """To within the step of the grid, a hundredth of what lies between them."""
    centre = np.array([0.0] * 3 + [10.0])[:, None]
    found = quantiles(centre, np.full((4, 1), 1e-3), 10.0, np.array([0.7, 0.8]))
    assert found[0] == pytest.approx([0.0, 10.0], abs=0.1)


def test_systematic_draws_are_as_many_as_the_weight_says() -> None:
    chosen = systematic(np.array([1.0, 0.0, 2.0, 5.0]), 80)
    assert np.bincount(chosen).tolist() == [10, 0, 20, 50]
    assert np.all(np.diff(chosen) >= 0)
