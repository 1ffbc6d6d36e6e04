"""The surface of a search: recovers what it was drawn from, knows what it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from steep.stats import response


def truth(at: np.ndarray) -> np.ndarray:
    """A power law of exponent -0.3 under a bowl in size and rate."""
    x, z, v = at.T
    return -1.0 - 0.3 * x + 0.08 * (z - 0.2 * x) ** 2 + 0.1 * (v + 1.5) ** 2


def grid() -> np.ndarray:
    axes = (np.linspace(0, 3.5, 6), np.linspace(-1.5, 1.5, 7), np.log([0.03, 0.1, 0.3, 0.9]))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def fitted(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, response.Surface]:
    random, configs = np.random.default_rng(seed), grid()
    at = configs[random.permutation(len(configs))[:count]]
    y = truth(at) + noise * random.normal(size=count)
    ones, zeros = np.ones(count), np.zeros(count)
    return configs, response.fit_surface(at, y, ones, zeros, (noise**2, 20.0), configs)


def test_forty_trials_show_a_surface_of_168_cells() -> None:
    configs, surface = fitted(40, 0.01)
    off = surface.mean - truth(configs)
    assert np.sqrt(np.mean(off**2)) < 0.03
    assert surface.noise == pytest.approx(0.01, rel=0.6)


def test_its_standard_errors_are_right_on_average() -> None:
    scores = []
    for seed in range(12):
        configs, surface = fitted(30, 0.02, seed)
        sd = np.sqrt(np.diag(surface.covariance))
        scores.append((surface.mean - truth(configs)) / sd)
    z = np.concatenate(scores)
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.5
    assert np.mean(np.abs(z) < 1.645) > 0.8


def test_repeats_tell_the_noise() -> None:
    quiet, loud = (fitted(40, noise)[1].noise for noise in (0.005, 0.06))
    assert quiet < 0.012
    assert loud > 0.04


def test_the_order_of_the_measurements_does_not_matter() -> None:
    random, configs = np.random.default_rng(0), grid()
    at = configs[random.permutation(len(configs))[:30]]
    turn = random.permutation(30)
    ones, zeros = np.ones(30), np.zeros(30)
    one = response.fit_surface(at, truth(at), ones, zeros, (0.0, 0.0), configs)
    other = response.fit_surface(at[turn], truth(at[turn]), ones, zeros, (0.0, 0.0), configs)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-8)


def test_a_vague_measurement_says_less() -> None:
    at, configs = np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0]])
    ones, none = np.ones(2), np.zeros(2)
    sure = response.fit_surface(at, none, ones, none, (0, 0), configs)
    vague = response.fit_surface(at, none, ones, np.array([0.0, 0.3**2]), (0, 0), configs)
    assert vague.covariance[0, 0] > 2 * sure.covariance[0, 0]


def test_the_knowledge_gradient_by_simulation() -> None:
    """Against its definition: the expected fall of the lowest posterior mean, shard by shard."""
    random = np.random.default_rng(3)
    root = random.normal(size=(6, 6)) * 0.1
    surface = response.Surface(random.normal(size=6) * 0.05, root @ root.T, 0.02)
    shards, options = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 4])
    variance = np.array([0.02**2, 0.05**2])
    found = response.knowledge_gradient(surface, shards, options, variance)
    for k, (cell, v) in enumerate(zip(options, variance, strict=True)):
        column = surface.covariance[:, cell]
        sd = np.sqrt(column[cell] + v)
        told = surface.mean[:, None] + (column / sd)[:, None] * random.normal(size=200_000)
        fall = sum(
            surface.mean[shards == s].min() - told[shards == s].min(axis=0).mean() for s in (0, 1)
        )
        assert found[k] == pytest.approx(fall, rel=0.05)
    sure = response.Surface(surface.mean, surface.covariance * 1e-12, 0.02)
    assert response.knowledge_gradient(sure, shards, options, variance).max() < 1e-9


def test_squash_keeps_order_and_small_differences() -> None:
    excess = np.array([0.0, 0.01, 0.1, 1.0, 5.0, np.inf])
    found = response.squash(excess)
    assert (np.diff(found) >= 0).all()
    assert found[1] == pytest.approx(0.01, rel=0.02)
    assert found[-1] == response.FAR


def test_squash_is_undone_and_bears_lucky_seeds() -> None:
    """Seeds of a task that is learnt by heart differ by a factor of a thousand."""
    excess = np.array([-7.0, -0.6, -0.2, 0.0, 0.3, 0.7])
    found = response.squash(excess)
    assert response.unsquash(found) == pytest.approx(np.maximum(excess, -response.BEND / 2))


def test_of_one_setting_it_is_the_posterior_of_a_gaussian_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a law with a normal level and slope, a smooth surface, noise, and a deviation of each
    configuration's own that a measured configuration takes along, configurations of one place with
    each other."""
    for name, value in (("AMPLITUDES", 0.1), ("ALONG_DATA", 2.0), ("ALONG_SIZE", 0.7)):
        monkeypatch.setattr(response, name, (value,))
    monkeypatch.setattr(response, "ALONG_OTHERS", (1.3,))
    monkeypatch.setattr(response, "NOISES", (1.0,))
    random = np.random.default_rng(4)
    at = random.normal(size=(6, 3))
    configs = np.concatenate([at[:2], random.normal(size=(3, 3)), at[:1] + np.eye(3)[:1]])
    y, counts, extra = random.normal(-1.0, 0.1, 6), np.array([1.0, 2, 1, 3, 1, 1]), np.zeros(6)
    extra[3] = 0.02
    surface = response.fit_surface(at, y, counts, extra, (0.05**2, 1e12), configs)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares = ((a[:, None] - b[None]) / [2.0, 0.7, 1.3]) ** 2
        law = response.LEVEL**2 + response.SLOPE_SD**2 * np.outer(a[:, 0], b[:, 0])
        own = response.ROUGH * 0.05**2 * np.all(a[:, None] == b[None], axis=2)
        return law + 0.1**2 * np.exp(-0.5 * squares.sum(axis=2)) + own

    a, b = at - at.mean(axis=0), configs - at.mean(axis=0)
    trend = np.mean(y - response.SLOPE * a[:, 0])
    noisy = kernel(a, a) + np.diag(0.05**2 / counts + extra)
    gain = kernel(b, a) @ np.linalg.inv(noisy)
    mean = trend + response.SLOPE * b[:, 0] + gain @ (y - trend - response.SLOPE * a[:, 0])
    assert surface.mean == pytest.approx(mean)
    assert surface.covariance == pytest.approx(kernel(b, b) - gain @ kernel(a, b))
    assert surface.noise == pytest.approx(0.05, rel=1e-4)
