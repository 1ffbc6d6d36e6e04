"""Adaptive importance sampling, on densities whose integrals are known."""

import numpy as np
import pytest

from steep.laws.law import Array
from steep.stats.importance import sample


def test_evidence_and_moments_of_a_normal_likelihood() -> None:
    """Prior N(0, 1), likelihood N(x | z, s**2) in each dimension: closed forms."""
    x, s = np.array([1.0, -2.0, 0.5]), np.array([0.1, 0.5, 2.0])

    def log_likelihood(z: Array) -> Array:
        return np.asarray(-0.5 * (((x - z) / s) ** 2).sum(axis=1))

    z, _, log_weight = sample(log_likelihood, 3, first=1000, later=(1000, 1000, 1000))
    top = log_weight.max()
    evidence = top + np.log(np.exp(log_weight - top).sum())
    expected = np.sum(0.5 * np.log(s**2 / (1 + s**2)) - 0.5 * x**2 / (1 + s**2))
    assert evidence == pytest.approx(expected, abs=0.04)
    weight = np.exp(log_weight - top)
    weight /= weight.sum()
    mean = weight @ z
    assert mean == pytest.approx(x / (1 + s**2), abs=0.05)
    variance = weight @ (z - mean) ** 2
    assert variance == pytest.approx(s**2 / (1 + s**2), rel=0.08)


def test_the_same_draws_every_time() -> None:
    one, _, _ = sample(lambda z: -(z**2).sum(axis=1), 2, first=100, later=(50, 50))
    other, _, _ = sample(lambda z: -(z**2).sum(axis=1), 2, first=100, later=(50, 50))
    assert np.array_equal(one, other)
