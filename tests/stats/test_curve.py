"""Rows of one size pooled, and the noise of replicates as a power of size: known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steep.fit import fit
from steep.forecast import forecast
from steep.records import Point
from steep.stats.curve import ReplicateSpread, curve_from_columns, curve_from_points, run_noise

LN2 = math.log(2)
SIZES = 1000 * 2.0 ** np.arange(8)


def within(growth: float, df: int, variance: float = 1e-4) -> list[ReplicateSpread]:
    """Squares exactly as expected of a run's variance."""
    return [ReplicateSpread(m, df * variance * (m / SIZES[-1]) ** -growth, df) for m in SIZES]


@pytest.mark.parametrize("growth", [-0.5, 0.0, 0.75, 2.0])
def test_noise_that_is_a_power_of_size_is_found(growth: float) -> None:
    found = run_noise(within(growth, 19), SIZES[-1])
    assert found is not None
    assert found.df == 19 * len(SIZES)
    assert found.growth == pytest.approx(growth, abs=0.03)
    assert found.variance == pytest.approx(1e-4, rel=0.1)
    assert found.at(np.log([0.25])) == pytest.approx(1e-4 * 4.0**growth, rel=0.1)


def test_few_replicates_leave_the_power_near_nothing() -> None:
    """One pair at each of two neighbours can only guess: the prior about zero holds it."""
    found = run_noise([ReplicateSpread(1000, 4e-4, 1), ReplicateSpread(2000, 1e-4, 1)], 2000)
    assert found is not None
    assert abs(found.growth) < 0.5


def test_equal_replicates_are_no_noise_and_have_no_growth() -> None:
    found = run_noise([ReplicateSpread(1000, 0.0, 2)], 2000)
    assert found is not None
    assert (found.variance, found.growth) == (0.0, 0.0)
    assert run_noise([], 2000) is None
    columns = {"samples": [1000.0, 2000.0], "error": [0.3, 0.2]}
    assert curve_from_columns(columns).run_noise is None


def runs(seed: int, count: int, growth: float = 1.5) -> tuple[np.ndarray, float]:
    """(errors (sizes, count), true error at 8x): a run's noise falls from 50 % at the smallest."""
    rng = np.random.default_rng(seed)
    b, noise = rng.uniform(0.1, 0.5), 0.5 * (SIZES / SIZES[0]) ** (-growth / 2)
    every = rng.normal(size=(len(SIZES), 20))[:, :count]
    error = 0.3 * (SIZES / SIZES[-1])[:, None] ** -b * np.exp(noise[:, None] * every)
    return error, 0.3 * 8.0**-b


def eight_times(**columns: np.ndarray) -> np.ndarray:
    """log of lower, median and upper error at 8x."""
    answer = forecast(fit(**columns, intervals=False), at=[8 * SIZES[-1]]).at[0]  # type: ignore[arg-type]
    return np.log([answer.lower, answer.error, answer.upper])


def test_rows_and_their_means_give_the_same_forecast() -> None:
    """Twenty runs a size whose noise falls with size, as rows, and as mean and standard error.
    With one variance for all sizes, rows had intervals three times as wide."""
    pairs = []
    for seed in range(6):
        error, _ = runs(seed, 20)
        rows = eight_times(samples=np.repeat(SIZES, 20), error=error.ravel())
        mean, se = error.mean(axis=1), error.std(axis=1, ddof=1) / 20**0.5
        pairs.append((rows, eight_times(samples=SIZES, error=mean, se=se)))
    of_rows, of_means = np.array(pairs).swapaxes(0, 1)
    width = [each[:, 2] - each[:, 0] for each in (of_rows, of_means)]
    assert np.all(np.abs(of_rows[:, 1] - of_means[:, 1]) < 0.3 * np.minimum(*width))
    # errors of means are believed less (as ten observations): their intervals are a little wider
    assert 0.6 < np.mean(width[0]) / np.mean(width[1]) < 1.1


def test_more_runs_never_hurt() -> None:
    missed = {
        count: [
            abs(eight_times(samples=np.repeat(SIZES, count), error=error.ravel())[1] - np.log(true))
            for error, true in (runs(seed, count) for seed in range(12))
        ]
        for count in (2, 20)
    }
    assert np.mean(missed[20]) < np.mean(missed[2])
    assert np.mean(missed[20]) < 0.03


# ---------------------------------------------------------------- pooled


def test_rows_of_one_size_are_their_geometric_mean_with_what_they_scatter() -> None:
    """Logs of 0.2 and 0.8 lie ln 2 to both sides of that of 0.4."""
    curve = curve_from_columns(
        {
            "samples": [200, 100, 100],
            "error": [0.3, 0.2, 0.8],
            "se": [0.03, 0.006, 0.032],
            "parameters": [50, 10, 40],
        }
    )
    first, second = curve.points
    assert (first.samples, first.replicates, second.replicates) == (100.0, 2, 1)
    assert (first.error, first.parameters) == (pytest.approx(0.4), pytest.approx(20))
    # of the relative errors 3 % and 4 % the mean of both has 5 % / 2
    assert (first.se_log, second.se_log) == (pytest.approx(0.025), pytest.approx(0.1))
    (within,) = curve.within
    assert (within.samples, within.squares, within.df) == (100, pytest.approx(2 * LN2**2), 1)


def test_points_of_one_size_are_replicates_of_those_that_are_used() -> None:
    points = (
        Point(100, 0.2, se_log=0.03, replicates=2),
        Point(100, 0.8, se_log=0.04),
        Point(100, 0.9, used=False),
        Point(50, 0.5, se_log=0.1),
        Point(200, 0.3),
    )
    curve = curve_from_points(points)
    assert [p.samples for p in curve.points] == [50, 100, 100, 200]
    young, pooled, last = curve.used
    assert pooled.error == pytest.approx(0.4)
    assert (pooled.replicates, pooled.se_log) == (3, pytest.approx(0.025))
    assert (young.error, young.se_log, last.se_log) == (0.5, pytest.approx(0.1), None)
    (within,) = curve.within
    assert (within.samples, within.squares, within.df) == (100, pytest.approx(2 * LN2**2), 1)


def test_a_standard_error_that_some_lack_is_none_of_the_mean() -> None:
    (pooled,) = curve_from_points((Point(100, 0.2, se_log=0.03), Point(100, 0.8))).used
    assert pooled.se_log is None
    (of_some,) = curve_from_columns(
        {"samples": [1, 1], "error": [0.2, 0.8], "parameters": [10, math.nan]}
    ).points
    assert of_some.parameters is None
