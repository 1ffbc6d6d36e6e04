"""What a joint fit answers, of draws made by hand: one parameter spread evenly, all others held."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import t

from steep.laws.surfaces.chinchilla import SURFACE
from steep.questions.allocation import _by_law, _line
from steep.questions.surface import (
    best_for_use,
    errors_at,
    frontier,
    frontier_exponents,
    samples_for,
)
from steep.records import NOT_REACHABLE, Interval, JointDraws, JointFit, JointLaw, JointRow

HELD = {"E": 1.7, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36}
EVEN = np.linspace(-0.5, 0.5, 101)
SCALE = 0.01
"""Standard deviation of a run's log error."""


def loss(n: float, d: float, a: float = 400.0) -> float:
    return float(1.7 + a * n**-0.34 + 1500 * d**-0.36)


ROWS = tuple(
    JointRow(i + 1, n, d, d, loss(n, d))
    for i, (n, d) in enumerate(product((1e7, 1e8, 1e9), (1e9, 1e10, 1e11)))
)
MIDDLE = [np.mean(np.log([getattr(r, f) for r in ROWS])) for f in ("parameters", "error")]
A = float(np.exp(np.log(1 / 3) + 0.34 * MIDDLE[0] + MIDDLE[1]))
"""At the middle of its prior, a third of the typical error at the runs' middle."""
WIDTH = 1.5
"""Of log A over draws whose scores lie evenly over one: the prior's standard deviation."""


def made(free: str = "A") -> JointFit:
    """A fit whose draws have the parameter ``free`` at the scores ``EVEN``; errors are forecast
    from its middle, by an exact law."""
    scores = tuple((float(z),) for z in EVEN)
    middle = ((0.0,),) * len(EVEN)
    draws = JointDraws("chinchilla", middle, (0,) * len(EVEN), (SCALE**2,) * len(EVEN), scores)
    known = tuple(Interval(v, v, v, 0.9) for v in HELD.values())
    law = JointLaw("chinchilla", "ok", names=tuple(HELD), parameters=known, weight=1.0)
    fixed = tuple((name, value) for name, value in HELD.items() if name != free)
    return JointFit("ok", laws=(law,), rows=ROWS, runs=9, draws=(draws,), fixed=fixed, df=5.0)


def ends(found: Interval) -> list[float]:
    assert found.value is not None
    assert found.lower is not None
    assert found.upper is not None
    return [found.lower, found.value, found.upper]


def evenly(middle: float, width: float, level: float) -> np.ndarray:
    """Lower end, median and upper end of what lies evenly over ``width`` in logs."""
    return middle * np.exp(0.5 * width * np.array([-level, 0.0, level]))


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_error_of_a_new_run_is_that_of_its_t(level: float) -> None:
    n, d = 3e8, 2e11
    half = SCALE * t.ppf(0.5 + level / 2, 5)
    found = errors_at(made(), np.array([n]), np.array([d]), np.array([d]), level)[0]
    assert found == pytest.approx(loss(n, d, A) * np.exp([-half, 0.0, half]), rel=1e-4)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_best_split_has_the_quantiles_of_its_draws(level: float) -> None:
    """N = (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta)), D the rest of C."""
    flops = 6e20
    best = (0.34 * A / (0.36 * 1500)) ** (1 / 0.7) * (flops / 6) ** (0.36 / 0.7)
    (found,) = frontier(made(), flops, level)
    expected = evenly(best, WIDTH / 0.7, level)
    assert ends(found.parameters) == pytest.approx(expected, rel=0.01)
    assert ends(found.samples) == pytest.approx(flops / 6 / expected[::-1], rel=0.01)
    assert found.error.value == pytest.approx(loss(best, flops / 6 / best, A), rel=1e-3)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_exponents_of_the_best_split_have_the_quantiles_of_their_draws(level: float) -> None:
    """N goes as C^(beta/(alpha+beta)), and as D^(beta/alpha)."""
    alpha = SURFACE.priors[3].value(EVEN)
    in_compute, in_data = frontier_exponents(made("alpha"), level)
    at = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    assert ends(in_compute) == pytest.approx(np.quantile(0.36 / (alpha + 0.36), at), rel=0.01)
    assert ends(in_data) == pytest.approx(np.quantile(0.36 / alpha, at), rel=0.01)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_least_compute_for_an_error_has_the_quantiles_of_its_draws(level: float) -> None:
    """Where nothing is served the parts of the error above its floor are as beta to alpha: N goes
    as A^(1/alpha), and D does not move."""
    error = 2.5
    n = (A * 0.7 / ((error - 1.7) * 0.36)) ** (1 / 0.34)
    d = (1500 * 0.7 / ((error - 1.7) * 0.34)) ** (1 / 0.36)
    found = best_for_use(made(), error, 0.0, level)
    assert found.outcome == "ok"
    assert found.flops is not None
    assert ends(found.flops) == pytest.approx(evenly(6 * n * d, WIDTH / 0.34, level), rel=0.01)
    served = best_for_use(made(), error, 30 * d, level)
    assert served.training_only is not None
    assert served.parameters is not None
    assert served.training_only.value == pytest.approx(n, rel=0.1)  # sizes lie 17 % apart
    assert served.parameters.value < 0.8 * n  # type: ignore[operator]


def test_the_samples_for_an_error_are_those_of_the_law() -> None:
    n, d = 3e8, 2e11
    found = samples_for(made(), loss(n, d, A), n)
    assert found.samples == pytest.approx(d, rel=1e-3)
    assert found.factor == pytest.approx(2.0, rel=1e-3)
    assert found.outcome == "ok"
    assert samples_for(made(), 1.7, n).outcome == NOT_REACHABLE


# ---------------------------------------------------------------- ways to the best split


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_split_by_the_law_has_the_quantiles_of_its_draws(level: float) -> None:
    flops = np.array([6e20, 6e22])
    best = (0.34 * A / (0.36 * 1500)) ** (1 / 0.7) * (flops / 6) ** (0.36 / 0.7)
    found = _by_law(made(), flops, level)
    for size, middle in zip(found.parameters, best, strict=True):
        assert ends(size) == pytest.approx(evenly(middle, WIDTH / 0.7, level), rel=0.01)
    alpha = SURFACE.priors[3].value(EVEN)
    exponent = _by_law(made("alpha"), flops, level).exponent
    assert exponent is not None
    at = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    assert ends(exponent) == pytest.approx(np.quantile(0.36 / (alpha + 0.36), at), rel=0.01)


def test_lines_through_minima_that_lie_on_lines_are_those() -> None:
    """Draws with slopes of their own through one point: between any places, and beyond."""
    x, slope = np.array([0.0, 1.0, 2.0, 4.0]), 0.5 + 0.1 * EVEN
    values, slopes = _line(x, 3.0 + slope * (x[:, None] + 1.0), np.array([9.0]))
    assert slopes == pytest.approx(slope)
    assert values[:, 0] == pytest.approx(3.0 + slope * 10.0)


def test_minima_that_scatter_more_than_their_draws_widen_the_line() -> None:
    """Of 0, 3, 0 the line is at 1, off by -1, 2, -1: six squares on one degree of freedom. Draws
    that are a common shift of standard deviation 0.1 become 6**0.5."""
    shift = 0.1 * EVEN / EVEN.std()
    y = np.array([0.0, 3.0, 0.0])[:, None] + shift
    values, slopes = _line(np.array([-1.0, 0.0, 1.0]), y, np.array([0.0, 5.0]))
    assert values.mean(axis=0) == pytest.approx([1.0, 1.0])
    assert values.std(axis=0) == pytest.approx([6**0.5] * 2)
    assert slopes == pytest.approx(0.0 * slopes, abs=1e-9)
