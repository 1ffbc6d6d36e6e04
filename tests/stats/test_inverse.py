"""Where draws meet an error, on lines whose meeting is known: log error = level - log m / 2."""

from __future__ import annotations

import numpy as np
import pytest

from steep.records import ALREADY_MET, ALREADY_REACHED, BEYOND_REACH, NOT_REACHABLE, PERHAPS_NOT
from steep.stats.inverse import best_fit_sizes, first_crossings, target_crossing

GRID = np.log(1000.0) + np.linspace(-10.0, 30.0, 400)


def lines(*levels: float, floors: int = 0) -> np.ndarray:
    """Draws that are 1 at exp(2 * level) samples, and some that never fall below 2."""
    draws = [level - 0.5 * GRID for level in levels] + [np.full(400, np.log(2.0))] * floors
    return np.array(draws)


def test_a_line_meets_an_error_where_it_must() -> None:
    found = first_crossings(lines(4.0, 5.0, floors=1), GRID, 1.0, None)
    assert found.tolist() == pytest.approx([8.0, 10.0, np.inf])


def test_what_is_below_the_error_at_the_smallest_size_met_it_there() -> None:
    assert first_crossings(lines(2.0, 4.0), GRID, 1.0, 100.0) == pytest.approx([np.log(100.0), 8.0])


def told(log_m: list[float], level: float = 0.9) -> tuple:
    found = target_crossing(np.array(log_m), level, smallest=100.0, largest=1000.0)
    samples = found.samples
    return found.outcome, samples.value, samples.lower, samples.upper, found.smallest


def test_the_outcome_is_that_of_most_draws_and_says_no_at_the_level() -> None:
    inf, here, near, first = np.inf, np.log(1000.0), np.log(500.0), np.log(100.0)
    already = (ALREADY_REACHED, pytest.approx(500), pytest.approx(500), pytest.approx(500), None)
    assert told([near] * 10) == already
    assert told([here + 1] * 10)[0] == "ok"
    assert told([here + 20] * 10) == (BEYOND_REACH, None, None, None, None)
    assert told([here + 1] * 4 + [inf] * 6)[:3] == (PERHAPS_NOT, None, pytest.approx(1000 * np.e))
    assert told([here + 1] * 4 + [inf] * 6, level=0.6)[0] == NOT_REACHABLE
    assert told([here + 1] + [inf] * 9)[0] == NOT_REACHABLE
    assert told([first] * 10) == (ALREADY_MET, 100, None, 100, 100)
    assert told([first] * 3 + [near] * 7) == (
        ALREADY_REACHED, pytest.approx(500), None, pytest.approx(500), 100,
    )  # fmt: skip
    assert told([near] * 8 + [inf] * 2)[3] is None


def test_between_places_a_curve_is_a_straight_line() -> None:
    """It falls from 3 to 1 over four places of log m, and is at 1.5 after three of them."""
    log_m = np.array([9.0, 10.0, 14.0, 20.0])
    found = first_crossings(np.array([[9.0, 3.0, 1.0, 0.0]]), log_m, np.exp(1.5), None)
    assert found == pytest.approx([13.0])


def test_sizes_of_best_models_are_those_of_the_laws_draws() -> None:
    """log p = level + slope (log m - center), each draw used equally often, and from the data at
    hand on none below the smallest adequate size there."""
    draws = ((2.0, 0.5), (3.0, -1.0))
    log_m = np.full(10, 8.0)
    found = best_fit_sizes(log_m, draws, 6.0)
    assert np.sort(found) == pytest.approx([1.0] * 5 + [3.0] * 5)
    least = np.exp(2.5)
    assert np.sort(best_fit_sizes(log_m, draws, 6.0, least, here=8.0)) == pytest.approx(
        [2.5] * 5 + [3.0] * 5
    )
    assert np.sort(best_fit_sizes(log_m, draws, 6.0, least, here=8.1)) == pytest.approx(
        [1.0] * 5 + [3.0] * 5
    )
    places = best_fit_sizes(np.full((10, 2), [6.0, 8.0]), draws, 6.0)
    assert places.shape == (10, 2)
    assert sorted(map(tuple, np.round(places, 9))) == [(2.0, 3.0)] * 5 + [(3.0, 1.0)] * 5


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_interval_holds_its_share_of_the_draws(level: float) -> None:
    """Places that lie evenly over a factor of e beyond 2,000 samples, of 1,000 at hand."""
    places = np.log(2000.0) + np.random.default_rng(0).permutation(np.arange(1001) / 1000)
    found = target_crossing(places, level, smallest=100.0, largest=1000.0)
    ends = np.log([found.samples.lower, found.samples.value, found.samples.upper]) - np.log(2000)
    assert ends == pytest.approx([0.5 - level / 2, 0.5, 0.5 + level / 2], abs=2e-3)
    assert found.factor == pytest.approx(2 * np.exp(0.5), rel=2e-3)
    assert (found.outcome, found.unreachable) == ("ok", 0.0)
