"""Rows and points of one size pooled: two errors, a factor of four apart."""

from __future__ import annotations

import math

import pytest

from steep.records import Point
from steep.stats.curve import curve_from_columns, curve_from_points

LN2 = math.log(2)


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
    assert (curve.within_squares, curve.within_df) == (pytest.approx(2 * LN2**2), 1)


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
    assert (curve.within_squares, curve.within_df) == (pytest.approx(2 * LN2**2), 1)


def test_a_standard_error_that_some_lack_is_none_of_the_mean() -> None:
    (pooled,) = curve_from_points((Point(100, 0.2, se_log=0.03), Point(100, 0.8))).used
    assert pooled.se_log is None
    (of_some,) = curve_from_columns(
        {"samples": [1, 1], "error": [0.2, 0.8], "parameters": [10, math.nan]}
    ).points
    assert of_some.parameters is None
