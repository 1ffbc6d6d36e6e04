"""Profile likelihood against the closed form where there is one."""

from __future__ import annotations

import numpy as np
from scipy import stats

from steep.laws import LAWS
from steep.stats.profile import fit_law

SIZES = 1000 * 2.0 ** np.arange(9)


def test_a_power_law_has_the_t_limits_of_a_straight_line() -> None:
    x = np.log(SIZES)
    y = np.log(0.5 * (SIZES / 1000) ** -0.3) + 0.02 * np.random.default_rng(0).normal(size=9)
    start = np.array([[4.0, -0.3]])
    found = fit_law(LAWS["power"], SIZES, y, np.eye(9), start, 0.0, 7, 0.9)
    design = np.stack([np.ones(9), x], axis=1)
    normal = np.linalg.inv(design.T @ design)
    value = normal @ design.T @ y
    half = stats.t.ppf(0.95, 7) * np.sqrt(np.sum((y - design @ value) ** 2) / 7 * np.diag(normal))
    np.testing.assert_allclose(np.log(found.lower[0]), value[0] - half[0], rtol=1e-6)
    np.testing.assert_allclose(np.log(found.upper[0]), value[0] + half[0], rtol=1e-6)
    np.testing.assert_allclose([found.lower[1], found.upper[1]], value[1] + [-half[1], half[1]])


def test_the_limits_of_a_floor_are_where_the_profile_says() -> None:
    """At each limit of gamma the best of the other parameters is worse by exactly t squared."""
    law = LAWS["power+floor"]
    noise = 0.01 * np.random.default_rng(1).normal(size=9)
    y = np.log(0.5 * (SIZES / 1000) ** -0.5 + 0.05) + noise
    found = fit_law(law, SIZES, y, np.eye(9), np.array([[15.0, -0.5, 0.05]]), 0.0, 6, 0.9)
    cutoff = found.squares * stats.t.ppf(0.95, 6) ** 2 / 6
    for gamma in (found.lower[2], found.upper[2]):
        b = np.linspace(-0.8, -0.3, 40_001)[:, None]
        shape = (SIZES / 1000) ** b
        # alpha by a few Newton steps on its log at fixed b and gamma
        log_a = np.full((len(b), 1), np.log(0.5))
        for _ in range(20):
            power = np.exp(log_a) * shape
            residual = y - np.log(power + gamma)
            slope = power / (power + gamma)
            step = np.sum(slope * residual, axis=1) / np.sum(slope**2, axis=1)
            log_a = log_a + step[:, None]
        least = np.min(np.sum((y - np.log(np.exp(log_a) * shape + gamma)) ** 2, axis=1))
        np.testing.assert_allclose(least - found.squares, cutoff, rtol=2e-3)


def test_a_floor_that_is_not_there_is_open_below() -> None:
    law = LAWS["power+floor"]
    noise = 0.03 * np.random.default_rng(3).normal(size=9)
    y = np.log(0.5 * (SIZES / 1000) ** -0.3) + noise
    found = fit_law(law, SIZES, y, np.eye(9), np.array([[4.0, -0.3, 0.01]]), 0.0, 6, 0.9)
    assert found.lower[2] == 0.0
    assert found.upper[2] > 0.0
