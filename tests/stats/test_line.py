"""Lines with their limits, against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from steep.stats.line import Series, fit_line, paired_lines, ratio_set, separate_lines, weights

X = np.log(100.0 * 2.0 ** np.arange(7))


def test_a_line_is_the_textbooks() -> None:
    y = 1 - 0.3 * X + 0.05 * np.random.default_rng(1).normal(size=7)
    line = fit_line(X, y)
    expected = stats.linregress(X, y)
    assert line.slope == pytest.approx(expected.slope)
    assert line.covariance[1, 1] ** 0.5 == pytest.approx(expected.stderr)
    assert line.df == 5
    assert line.level == pytest.approx(y.mean())


def test_known_variances_weigh_and_set_a_floor() -> None:
    y = 1 - 0.3 * X
    known = np.full(7, 0.01)
    exact = fit_line(X, y, known)
    assert exact.variance == pytest.approx(0.01)
    known[0] = 1.0
    assert weights(X, y, known)[0] < 0.02 * weights(X, y, known)[1]


def test_scatter_beyond_the_known_variances_evens_the_weights() -> None:
    y = 1 - 0.3 * X + 0.2 * np.random.default_rng(1).normal(size=7)
    known = np.array([1e-6] * 6 + [1e-4])
    assert weights(X, y, known) == pytest.approx(np.ones(7), abs=0.01)


def test_fieller_has_its_coverage() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        first = 1.0 - 0.3 * X + 0.01 * random.normal(size=7)
        second = 1.1 - 0.35 * X + 0.01 * random.normal(size=7)
        lines = separate_lines(Series(X, first, None), Series(X, second, None))
        kind, low, high = ratio_set((1, 0, -1, 0), (0, 1, 0, -1), lines, 0.9)
        truth = 2.0 - lines.centre
        held += (low <= truth <= high) if kind == "inside" else not low < truth < high
    assert held / 400 >= 0.86


def test_parallel_lines_have_an_unbounded_crossing() -> None:
    noise = 0.01 * np.random.default_rng(3).normal(size=(2, 7))
    lines = paired_lines(X, 1 - 0.3 * X + noise[0], 1.5 - 0.3 * X + noise[1])
    kind, low, high = ratio_set((1, 0, -1, 0), (0, 1, 0, -1), lines, 0.9)
    assert kind == "outside"
    assert low < 0 < high


def test_pairs_and_separate_curves_agree_on_the_lines_without_noise() -> None:
    first, second = 1 - 0.3 * X, 2 - 0.4 * X
    paired = paired_lines(X, first, second)
    separate = separate_lines(Series(X, first, None), Series(X, second, None))
    assert paired.theta == pytest.approx(separate.theta)
    assert paired.contrast((0, 1, 0, -1)).value == pytest.approx(0.1)
