"""The size law of best fits that lie on a line exactly: all that is uncertain is the ladder's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import digamma
from scipy.stats import chi2, t

from steep.records import Point, SizeLaw
from steep.stats.size_law import fit_size_law, mixed, size_law_of

M = 100 * 2.0 ** np.arange(4)
ON_A_LINE = 3.0 * M**0.5  # in steps of ln 2 / 2
X = np.log(M) - np.log(M).mean()
UNIFORM = 1 / 12**0.5
"""Standard deviation of what lies evenly within half a step to both sides."""


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_where_no_steps_are_known_the_smallest_difference_is_one_observation(level: float) -> None:
    """Scatter: n - 1 = 3 degrees of freedom, and as sum of squares the variance of a uniform."""
    found = fit_size_law(M, ON_A_LINE, level=level)
    resolution = math.log(2) / 2 * UNIFORM
    expected = math.log(resolution) - 0.5 * (digamma(1.5) + math.log(2))
    assert math.log(found.scatter) == pytest.approx(expected, abs=2e-3)
    assert found.df == 3.0
    half = resolution / (3 * X @ X) ** 0.5 * t.ppf(0.5 + level / 2, 3)
    assert found.beta_p is not None
    ends = [found.beta_p.lower, found.beta_p.value, found.beta_p.upper]
    assert ends == pytest.approx([0.5 - half, 0.5, 0.5 + half], abs=0.02 * half)


def test_where_steps_are_known_no_scatter_is_below_theirs() -> None:
    """Steps of four: the scatter is that of three degrees of freedom, cut off at its scale."""
    found = fit_size_law(M, ON_A_LINE, step=[4.0] * 4)
    least = math.log(4) * UNIFORM
    beyond, _ = quad(lambda x: -0.5 * math.log(x) * chi2.pdf(x, 3), 0, 1)
    assert math.log(found.scatter) == pytest.approx(math.log(least) + beyond, abs=2e-3)


def test_of_unequal_steps_the_variances_are_averaged_over_those_inside() -> None:
    """Of ln 2 and ln 8 those are 1 and 9 times as large; that at the edge does not count."""
    m, size = np.append(M, 1600.0), np.append(ON_A_LINE, 3.0 * 1600.0**0.5)
    edge = ["", "", "", "", "high"]
    mixed = fit_size_law(m, size, edge, step=[2.0, 8.0, 2.0, 8.0, 1e6])
    alike = fit_size_law(m, size, edge, step=[2.0**5**0.5] * 5)
    assert mixed.scatter == pytest.approx(alike.scatter)
    assert (mixed.two_sided, mixed.censored) == (4, 1)


def test_the_center_is_where_level_and_slope_are_independent() -> None:
    found = fit_size_law(M, ON_A_LINE)
    assert found.level == 0.9
    center = float(np.log(M).mean())
    assert found.center == pytest.approx((center, math.log(3.0) + 0.5 * center), abs=1e-3)
    level, slope = np.array(found.draws).T
    assert abs(np.corrcoef(level, slope)[0, 1]) < 0.2
    assert found.sigma is not None
    assert found.sigma.value == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize(("side", "sign"), [("high", 1), ("low", -1)])
def test_a_one_sided_point_counts_by_how_likely_it_lies_beyond(side: str, sign: int) -> None:
    """One that is far beyond the line to its side bends it there, one far inside says nothing."""
    m, edge = np.append(M, 6400.0), ["", "", "", "", side]
    on_the_line = 3.0 * 6400.0**0.5
    free = fit_size_law(M, ON_A_LINE).beta_p
    bent = fit_size_law(m, np.append(ON_A_LINE, on_the_line * 2.0**sign), edge).beta_p
    idle = fit_size_law(m, np.append(ON_A_LINE, on_the_line * 1e6 ** (-sign)), edge).beta_p
    assert free is not None
    assert bent is not None
    assert idle is not None
    assert idle.value == pytest.approx(free.value, abs=1e-3)
    assert sign * (bent.value - free.value) > 0.05  # type: ignore[operator]


def test_points_with_one_size_of_model_have_no_law() -> None:
    points = [Point(m, 0.3, parameters=1e5) for m in M]
    found = size_law_of(points)
    assert found is not None
    assert found.outcome == "not measured"
    assert size_law_of([Point(m, 0.3) for m in M]) is None


def test_one_number_that_cannot_be_is_enough_to_refuse() -> None:
    with pytest.raises(ValueError, match="a step is the ratio"):
        fit_size_law(M, ON_A_LINE, step=[2.0, 2.0, 2.0, 0.5])
    for m, size in (([*M[:3], -1.0], ON_A_LINE), (M, [*ON_A_LINE[:3], math.inf])):
        with pytest.raises(ValueError, match="must be positive"):
            fit_size_law(m, size)
    with pytest.raises(ValueError, match="different lengths"):
        fit_size_law(M, ON_A_LINE, step=[2.0] * 3)


def test_equal_laws_say_together_what_each_says() -> None:
    one = fit_size_law(M, ON_A_LINE, step=[4.0] * 4)
    both = mixed([one, one])
    assert one.beta_p is not None
    assert both.beta_p is not None
    for end in ("lower", "value", "upper"):
        assert getattr(both.beta_p, end) == pytest.approx(getattr(one.beta_p, end), abs=0.05)
    assert both.center == pytest.approx(one.center, abs=0.05)


def test_laws_apart_say_together_all_that_they_say_apart() -> None:
    """At the sizes of data of the one and the other, 100 and 3,200 samples."""
    one = fit_size_law(M, M**0.5)
    other = fit_size_law(4 * M, (4 * M) ** 0.9)
    both = mixed([one, other])
    assert both.beta_p is not None
    assert both.beta_p.lower < 0.5 < 0.9 < both.beta_p.upper  # type: ignore[operator]
    assert both.center is not None
    level, slope = np.array(both.draws).T
    for exponent in (0.5, 0.9):
        near = level[abs(slope - exponent) < 0.02]
        assert np.median(near) == pytest.approx(exponent * both.center[0], abs=0.1)


def test_laws_that_are_not_measured_open_the_interval_and_most_of_them_undo_it() -> None:
    one, none = fit_size_law(M, ON_A_LINE), SizeLaw("not measured", "why")
    few = mixed([one] * 19 + [none])  # 2.5 % to either side are less than the 5 % beyond an end
    assert few.beta_p is not None
    assert few.beta_p.lower is not None
    some = mixed([one] * 8 + [none] * 2)
    assert some.beta_p is not None
    assert (some.beta_p.lower, some.beta_p.upper) == (None, None)
    assert mixed([one, none]).reason == "why"
