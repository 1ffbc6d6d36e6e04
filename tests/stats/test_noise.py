"""The covariance of a curve's points, entry by entry against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad

from steep.records import Point
from steep.stats import noise
from steep.stats.noise import departures, noise_model

SIZES = 100 * 4.0 ** np.arange(4)
LOG_RATIO = np.log(SIZES / SIZES[-1])
POINTS = [Point(float(m), 0.3) for m in SIZES]


def covariance(model: noise.Noise, j: int) -> np.ndarray:
    root = np.linalg.inv(model.whiten[j])
    return root @ root.T


def test_discrepancy_decays_with_the_noise_by_0_3_a_power() -> None:
    """Noise whose variance goes as m**-growth takes the discrepancy with it: m**(-0.3 growth)."""
    model = noise_model(POINTS)
    growth = np.repeat([0.0, 1.0, 2.0], len(noise.RATIOS))
    assert model.fade == pytest.approx(0.3 * growth)
    j = int(np.flatnonzero((model.fade == 0.6) & (model.wander == 10) & (model.bend == 0))[0])
    # a random walk from the largest size, whose variance per unit of log m is 10 * m**(-0.6 * 2)
    walk = [[10 * (np.exp(-1.2 * max(a, b)) - 1) / 1.2 for b in LOG_RATIO] for a in LOG_RATIO]
    expected = np.array(walk) + np.diag(np.exp(-2.0 * LOG_RATIO))
    assert covariance(model, j) == pytest.approx(expected)


def test_a_reverting_slope_is_the_double_integral_of_its_covariance() -> None:
    model = noise_model(POINTS)
    j = int(np.flatnonzero((model.fade == 0.3) & (model.wander == 0) & (model.bend == 10))[0])
    a, b = LOG_RATIO[0], LOG_RATIO[2]
    integral, _ = dblquad(
        lambda u, v: 10 * np.exp(-0.7 * abs(u - v) - 0.3 * (u + v)), a, 0, b, 0, epsabs=1e-8
    )
    assert departures(model, np.array(a), np.array(b))[j] == pytest.approx(integral, rel=1e-6)


def test_beyond_the_data_the_discrepancy_does_not_decay() -> None:
    model = noise_model(POINTS)
    j = int(np.flatnonzero((model.fade == 0.6) & (model.wander == 10) & (model.bend == 0))[0])
    assert departures(model, np.array(1.5), np.array(2.0))[j] == pytest.approx(10 * 1.5)
    assert departures(model, np.array(1.5), np.array(-2.0))[j] == 0.0
