"""The size law from the whole surface, on surfaces whose law is known."""

import numpy as np
import pytest

from steep.laws.law import Array
from steep.stats.size_surface import Place, _sigma, size_law_of_surface

SIZES = np.geomspace(5e3, 3e5, 7)
SHARDS = 1000 * 2.0 ** np.arange(5)


def places(
    beta_p: float,
    middle: float,
    noise: float,
    seed: int = 0,
    sizes: Array = SIZES,
    alpha: float = 0.5,
    gamma: float = 0.3,
) -> list[Place]:
    """Errors about U-curves whose minimum is ``middle`` parameters at the middle shard."""
    rng = np.random.default_rng(seed)
    center = np.log(SHARDS).mean()
    rows = []
    for m in SHARDS:
        for n in sizes:
            u = np.log(n / middle) - beta_p * (np.log(m) - center)
            above = (gamma * np.exp(-alpha * u) + alpha * np.exp(gamma * u)) / (alpha + gamma) - 1
            y = 1.0 - 0.2 * np.log(m) + 0.3 * above + rng.normal(0, noise)
            rows.append(Place(float(m), float(n), float(y), noise**2))
    return rows


def test_a_law_inside_the_ladder_comes_back() -> None:
    found = size_law_of_surface(places(0.7, 4e4, 0.003))
    assert found.outcome == "ok"
    assert found.beta_p is not None
    assert found.beta_p.lower is not None
    assert found.beta_p.upper is not None
    assert found.beta_p.lower < 0.7 < found.beta_p.upper
    assert found.beta_p.upper - found.beta_p.lower < 0.3
    assert found.center is not None
    sizes = np.exp([a for a, _ in found.draws])
    low, high = np.quantile(sizes, [0.05, 0.95])
    assert low < 4e4 < high < 2 * 4e4


def test_without_noise_it_comes_back_nearly_exactly() -> None:
    found = size_law_of_surface(places(0.6, 4e4, 1e-5))
    assert found.beta_p is not None
    assert found.beta_p.value == pytest.approx(0.6, abs=0.05)


def test_sigma_is_where_its_draws_are_and_open_where_the_prior_bounds_the_size() -> None:
    """Logs that lie evenly from 2 to 3, of sizes inside the prior or at one end of it."""
    even, weight = np.linspace(0, 1, 1001), np.full(1001, 1 / 1001)
    prior = np.array([0.0, 10.0])
    for at, bounds in ((5.0, (2.25, 2.75)), (0.0, (None, 2.75)), (9.99, (2.25, None))):
        found = _sigma(2.0 + even, weight, 0.5, prior, at + 0.01 * even)
        assert found.value == pytest.approx(np.exp(2.5), rel=1e-3)
        for end, expected in zip((found.lower, found.upper), bounds, strict=True):
            assert end == (None if expected is None else pytest.approx(np.exp(expected), rel=1e-3))


def test_growth_is_seen_where_the_widest_model_is_best_everywhere() -> None:
    """All minima lie beyond the ladder: single optima say nothing at all, the left arms do."""
    found = size_law_of_surface(places(0.7, 3e6, 0.002, alpha=0.4))
    assert found.outcome == "ok"
    assert found.beta_p is not None
    assert found.beta_p.lower is not None
    assert 0.1 < found.beta_p.lower < 0.7
    assert found.beta_p.upper is None or found.beta_p.upper > 0.7


def test_where_the_prior_alone_bounds_the_size_it_is_open() -> None:
    found = size_law_of_surface(places(0.7, 3e7, 0.01, alpha=0.4))
    assert found.outcome == "not measured" or found.sigma is None or found.sigma.upper is None


def test_noise_alone_says_nothing() -> None:
    rng = np.random.default_rng(3)
    rows = [
        Place(float(m), float(n), float(1 - 0.2 * np.log(m) + rng.normal(0, 0.02)), 0.02**2)
        for m in SHARDS
        for n in SIZES
    ]
    found = size_law_of_surface(rows)
    if found.outcome == "ok":
        assert found.beta_p is not None
        low = -1.0 if found.beta_p.lower is None else found.beta_p.lower
        high = 3.0 if found.beta_p.upper is None else found.beta_p.upper
        assert high - low > 1.0
    else:
        assert "do not tell" in found.reason


def test_too_few_places_are_refused() -> None:
    few = size_law_of_surface(places(0.7, 4e4, 0.003)[:14])
    assert few.outcome == "not measured"
    assert "3" in few.reason
    alone = [p for p in places(0.7, 4e4, 0.003) if p.parameters == SIZES[0]]
    assert size_law_of_surface(alone).outcome == "not measured"


def test_the_last_bits_of_the_errors_do_not_matter() -> None:
    rows = places(0.7, 4e4, 0.01)
    rng = np.random.default_rng(0)
    near = [
        Place(p.samples, p.parameters, p.log_error * (1 + 1e-14 * rng.choice([-1, 1])), p.variance)
        for p in rows
    ]
    one, other = size_law_of_surface(rows).beta_p, size_law_of_surface(near).beta_p
    assert one is not None
    assert other is not None
    assert one.value == pytest.approx(other.value, abs=1e-3)
    assert one.lower == pytest.approx(other.lower, abs=1e-3)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """40 surfaces of all kinds, of which a 90 % interval may miss some: 40 * 0.1 + 2 * 1.9."""
    assert missed(range(40)) <= 8


@pytest.mark.slow
def test_intervals_hold_the_truth_in_many_surfaces() -> None:
    assert 4 <= missed(range(200)) <= 34


def missed(seeds: range) -> int:
    """How many of the surfaces' 90 % intervals of beta_p do not hold it.

    The minimum lies anywhere from the ladder's middle to far beyond its end, and the arms are of
    every steepness."""
    count = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        beta_p = rng.uniform(0.3, 1.1)
        middle = np.exp(rng.uniform(np.log(SIZES[2]), np.log(5 * SIZES[-1])))
        alpha, gamma = np.exp(rng.uniform(np.log([0.2, 0.05]), np.log([1.0, 0.6])))
        found = size_law_of_surface(
            places(beta_p, middle, 0.008, seed, alpha=alpha, gamma=gamma)
        ).beta_p
        if found is not None:
            count += found.lower is not None and found.lower > beta_p
            count += found.upper is not None and found.upper < beta_p
    return count
