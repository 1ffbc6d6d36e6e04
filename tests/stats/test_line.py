"""Lines with their limits, against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from steep.stats import line as module
from steep.stats.line import (
    Contrast,
    Series,
    TwoLines,
    fit_line,
    paired_lines,
    ratio_set,
    separate_lines,
    weights,
)

X = np.log(100.0 * 2.0 ** np.arange(7))


def test_a_line_is_the_textbooks() -> None:
    y = 1 - 0.3 * X + 0.05 * np.random.default_rng(1).normal(size=7)
    line = fit_line(X, y)
    expected = stats.linregress(X, y)
    assert line.slope == pytest.approx(expected.slope)
    assert line.covariance[1, 1] ** 0.5 == pytest.approx(expected.stderr)
    assert line.df == 5
    assert line.level == pytest.approx(y.mean())


def test_three_points_have_one_degree_of_freedom() -> None:
    """Off a line by -1, 2, -1: the variance is six."""
    line = fit_line(np.array([0.0, 1.0, 2.0]), np.array([4.0, 7.0, 4.0]))
    assert (line.df, line.variance, line.slope) == (1, pytest.approx(6.0), pytest.approx(0.0))


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
    assert (paired.points, separate.points) == (7, 14)
    assert paired.contrast((0, 1, 0, -1)).value == pytest.approx(0.1)


def test_a_new_point_has_the_variance_of_the_line_and_its_own() -> None:
    """sigma^2 (1 + 1 / n + (x - mean)^2 / Sxx), of any textbook."""
    y = 1 - 0.3 * X + 0.05 * np.random.default_rng(1).normal(size=7)
    line = fit_line(X, y)
    value, variance = line.at(X[-1] + 1.0)
    off = X[-1] + 1.0 - X.mean()
    squares = float(line.residual @ line.residual) / 5
    assert variance == pytest.approx(squares * (1 + 1 / 7 + off**2 / ((X - X.mean()) ** 2).sum()))
    assert value == pytest.approx(y.mean() + line.slope * off)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_limits_of_a_contrast_are_those_of_its_t(level: float) -> None:
    half = 0.02 * stats.t.ppf(0.5 + level / 2, 6)
    assert Contrast(0.1, 0.02, 6.0).interval(level) == pytest.approx((0.1 - half, 0.1 + half))


def two(first: np.ndarray, second: np.ndarray, theta: list[float]) -> TwoLines:
    return TwoLines(0.0, np.array(theta), ((first, 4.0), (second, 8.0)), 14)


def test_degrees_of_freedom_are_welchs_and_satterthwaites() -> None:
    """Variances 1 on 4 and 3 on 8: (1 + 3)^2 / (1 / 4 + 9 / 8)."""
    lines = two(np.diag([0.0, 1.0, 0.0, 0.0]), np.diag([0.0, 0.0, 0.0, 3.0]), [0, 2.0, 0, 0.5])
    found = lines.contrast((0, 1, 0, -1))
    assert (found.value, found.se, found.df) == pytest.approx((1.5, 2.0, 16 / 1.375))


@pytest.mark.parametrize(("slope", "kind"), [(-2.0, "inside"), (-0.5, "outside")])
def test_at_the_ends_of_fiellers_set_the_ratio_is_just_refused(slope: float, kind: str) -> None:
    """top + ratio * bottom is t standard errors from zero there, on the denominator's degrees."""
    half = np.array([[0.2, 0.05], [0.05, 0.1]])
    first, second = np.zeros((4, 4)), np.zeros((4, 4))
    first[:2, :2], second[2:, 2:] = half, half
    lines = two(first, second, [3.0, slope, 0.5, 0.0])
    top, bottom = np.array([1.0, 0, -1, 0]), np.array([0, 1.0, 0, -1])
    found, *ends = ratio_set(top, bottom, lines, 0.9)
    assert found == kind
    t = stats.t.ppf(0.95, lines.contrast(bottom).df)
    for ratio in ends:
        contrast = lines.contrast(top + ratio * bottom)
        assert abs(contrast.value) / contrast.se == pytest.approx(t)
    assert ends[0] < ends[1]


def paired(monkeypatch: pytest.MonkeyPatch, *structures: tuple[float, float]) -> Contrast:
    noise = 0.05 * np.random.default_rng(3).normal(size=(2, 7))
    monkeypatch.setattr(module, "SHARED", structures)
    return paired_lines(X, 1 - 0.3 * X + noise[0], 1.5 - 0.2 * X + noise[1]).contrast((0, 1, 0, -1))


def test_a_difference_of_slopes_is_the_slope_of_the_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = 0.05 * np.random.default_rng(3).normal(size=(2, 7))
    expected = stats.linregress(X, -0.5 - 0.1 * X + noise[0] - noise[1])
    found = paired(monkeypatch, (0.0, 1.0))
    assert (found.value, found.se) == pytest.approx((expected.slope, expected.stderr))
    assert found.df == pytest.approx(5)


def test_structures_of_the_noise_are_averaged_with_what_lies_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the law of total variance; prior odds of three to one triple the odds."""
    one, other = (paired(monkeypatch, (share, 1.0)) for share in (0.0, 0.7))
    odds = []
    for prior in (0.5, 0.75):
        both = paired(monkeypatch, (0.0, prior), (0.7, 1 - prior))
        b = (both.value - other.value) / (one.value - other.value)
        between = b * (1 - b) * (one.value - other.value) ** 2
        assert both.se**2 == pytest.approx(b * one.se**2 + (1 - b) * other.se**2 + between)
        odds.append(b / (1 - b))
    assert odds[1] / odds[0] == pytest.approx(3.0)
    assert odds[0] == pytest.approx(restricted(0.0) / restricted(0.7))


def restricted(share: float) -> float:
    """Restricted likelihood of the difference's line, up to a factor, where so much of the noise is
    that of a running mean over nested shards."""
    noise = 0.05 * np.random.default_rng(3).normal(size=(2, 7))
    y = -0.5 - 0.1 * X + noise[0] - noise[1]
    m = np.exp(X - X.max())
    nested = 1 / np.maximum.outer(m, m)
    v = (1 - share) * np.eye(7) + share * nested / np.mean(1 / m)
    design = np.stack([np.ones(7), X], axis=1)
    precision = np.linalg.inv(v)
    information = design.T @ precision @ design
    off = y - design @ np.linalg.solve(information, design.T @ precision @ y)
    squares = off @ precision @ off
    return float((np.linalg.det(v) * np.linalg.det(information)) ** -0.5 * squares ** (-5 / 2))


def test_separate_curves_add_their_variances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its own points and degrees of freedom, 5 and 3: those of Welch for the two."""
    monkeypatch.setattr(module, "APART", ((0.0, 1.0),))
    random = np.random.default_rng(5)
    first = Series(X, 1 - 0.3 * X + 0.05 * random.normal(size=7), None)
    second = Series(X[1:6], 2 - 0.4 * X[1:6] + 0.1 * random.normal(size=5), None)
    lines = separate_lines(first, second)
    one, two = (stats.linregress(x, y) for x, y, _ in (first, second))
    found = lines.contrast((0, 1, 0, -1))
    parts = one.stderr**2, two.stderr**2
    assert found.value == pytest.approx(one.slope - two.slope)
    assert found.se == pytest.approx(sum(parts) ** 0.5)
    assert found.df == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 5 + parts[1] ** 2 / 3))


def test_lucky_straight_lines_keep_the_known_variances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 0.01 a point and curve: the slope's is that over the squares of x, of two curves twice."""
    monkeypatch.setattr(module, "SHARED", ((0.0, 1.0),))
    monkeypatch.setattr(module, "APART", ((0.0, 1.0),))
    first, second, known = 1 - 0.3 * X, 2 - 0.4 * X, np.full(7, 0.01)
    expected = (0.02 / ((X - X.mean()) ** 2).sum()) ** 0.5
    for lines in (
        paired_lines(X, first, second, (known, known)),
        separate_lines(Series(X, first, known), Series(X, second, known)),
    ):
        assert lines.contrast((0, 1, 0, -1)).se == pytest.approx(expected)


def test_the_scatter_beside_known_variances_is_paules_and_mandels() -> None:
    """So large that weighted squares about the line are as many as its degrees of freedom."""
    known = np.array([0.001, 0.002, 0.003, 0.004, 0.003, 0.002, 0.02])
    y = 1 - 0.3 * X + 0.2 * np.random.default_rng(1).normal(size=7)
    found = weights(X, y, known)
    ratio = found[0] / found[6]  # (0.02 + scatter) / (0.001 + scatter)
    scatter = (0.02 - 0.001 * ratio) / (ratio - 1)
    w = 1 / (known + scatter)
    assert found == pytest.approx(w / w.mean())
    design = np.stack([np.ones(7), X], axis=1)
    off = y - design @ np.linalg.solve(design.T @ (w[:, None] * design), design.T @ (w * y))
    assert w @ off**2 == pytest.approx(5.0, rel=1e-4)
