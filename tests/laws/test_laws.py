"""Every law of ours: one formula in two coordinate systems, recovered from its own points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from steep import testing
from steep.fit import fit
from steep.laws import LAWS, Law
from steep.laws.law import floor_share

TRUTHS = {
    "power": (5.0, -0.3),
    "power+floor": (5.0, -0.4, 0.08),
    "shifted power": (4.0, -0.45, 2e-4),
    "plateau+power": (30.0, -0.5, 800.0, 0.05),
    "M4": (40.0, -0.7, 0.8, 0.05, 0.9),
    "broken power": (1.2, 0.1, 0.35, 2000.0, 0.3, 0.03),
}


def test_every_law_has_a_truth_here() -> None:
    assert set(TRUTHS) == set(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_contract(name: str) -> None:
    assert LAWS[name].name == name
    testing.check_law(LAWS[name], TRUTHS[name])


@pytest.mark.parametrize("name", [n for n in LAWS if n != "broken power"])
def test_errors_never_rise_with_data(name: str) -> None:
    law = LAWS[name]
    z = np.random.default_rng(2).normal(size=(50, len(law.shape)))
    curves = law.log_shape(np.linspace(-8.0, 14.0, 40), z)
    assert np.all(np.diff(curves, axis=0) <= 1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_recovered_to_six_digits_without_noise(name: str) -> None:
    m = np.geomspace(50, 500_000, 24)
    error = LAWS[name].curve(m, *TRUTHS[name])
    found = fit(samples=m, error=error, laws=[name]).laws[0]
    assert found.outcome == "ok"
    np.testing.assert_allclose([p.value for p in found.parameters], TRUTHS[name], rtol=1e-6)
    for value, truth in zip(found.parameters, TRUTHS[name], strict=True):
        assert value.lower is None or value.lower <= truth * (1 + 1e-9 * np.sign(truth))
        assert value.upper is None or value.upper >= truth * (1 - 1e-9 * np.sign(truth))


@pytest.mark.parametrize(
    "truth",
    [(1.5, -0.35, 0.8, 0.04, 0.95), (1.5, -0.35, 1.3, 0.04, 0.95), (3.0, -0.5, 0.8, 0.1, 0.9)],
)
def test_m4_comes_back_where_its_valley_is_long(truth: tuple[float, ...]) -> None:
    m = 100 * 2.0 ** np.arange(12)
    found = fit(samples=m, error=LAWS["M4"].curve(m, *truth), laws=["M4"]).laws[0]
    assert found.outcome == "ok"
    np.testing.assert_allclose([p.value for p in found.parameters], truth, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_intervals_hold_their_estimate_or_there_are_none(seed: int) -> None:
    m = 100 * 2.0 ** np.arange(12)
    noise = np.exp(0.005 * np.random.default_rng(seed).normal(size=len(m)))
    error = LAWS["M4"].curve(m, 1.5, -0.35, 0.8, 0.04, 0.95) * noise
    found = fit(samples=m, error=error, laws=["M4"]).laws[0]
    known = [p for p in found.parameters if p.lower is not None and p.upper is not None]
    assert all(p.lower < p.value < p.upper or found.outcome == "bound hit" for p in known)
    if found.outcome == "not converged":
        assert not known
        assert found.reason


def numeric_slope(law: Law, m: float, natural: tuple[float, ...]) -> float:
    h = 1e-5
    high, low = (np.log(law.curve(m * np.exp(s), *natural)) for s in (h, -h))
    return float(high - low) / (2 * h)


def test_slopes_are_those_of_the_formulas() -> None:
    """d log error / d log m in closed form against finite differences of the code."""
    m = 700.0
    alpha, beta, gamma = TRUTHS["power+floor"]
    power = alpha * m**beta
    slope = numeric_slope(LAWS["power+floor"], m, TRUTHS["power+floor"])
    assert slope == pytest.approx(beta * power / (power + gamma), rel=1e-7)

    _, beta, shift = TRUTHS["shifted power"]
    slope = numeric_slope(LAWS["shifted power"], m, TRUTHS["shifted power"])
    assert slope == pytest.approx(beta * (1 / m) / (1 / m + shift), rel=1e-7)

    _, c, join, low, high = TRUTHS["M4"]
    e = float(LAWS["M4"].curve(m, *TRUTHS["M4"]))
    implicit = c / (e * (1 / (e - low) + join / (high - e)))
    assert numeric_slope(LAWS["M4"], m, TRUTHS["M4"]) == pytest.approx(implicit, rel=1e-7)


def test_m4_solves_its_equation() -> None:
    beta, c, alpha, low, high = TRUTHS["M4"]
    m = np.geomspace(1, 1e7, 30)
    e = LAWS["M4"].curve(m, *TRUTHS["M4"])
    np.testing.assert_allclose((e - low) / (high - e) ** alpha, beta * m**c, rtol=1e-9)


def test_the_broken_law_has_its_two_slopes() -> None:
    alpha, early, change, d, width, _ = TRUTHS["broken power"]
    law, natural = LAWS["broken power"], (alpha, early, change, d, width, 0.0)
    assert numeric_slope(law, d * 1e-4, natural) == pytest.approx(-early, abs=1e-6)
    assert numeric_slope(law, d * 1e4, natural) == pytest.approx(-early - change, abs=1e-6)


def test_a_floor_is_as_likely_as_none_before_the_data() -> None:
    """However many laws have a floor: they share 4 of 9 parts."""
    without = 0.0
    for law in LAWS.values():
        floor = [s for s in law.shape if s.name in ("floor_share", "shift_share")]
        without += law.prior * (floor[0].none if floor else 1.0)
    assert without / sum(law.prior for law in LAWS.values()) == pytest.approx(5.2 / 9)


def test_a_floor_is_exactly_zero_with_the_probability_none() -> None:
    """At the quantile u of the prior the share is 0 up to u = none, and beyond it has the quantile
    (u - none) / (1 - none) of the prior without ``none``."""
    half, always = floor_share(none=0.5), floor_share()
    assert half.value(ndtri(np.array([1e-6, 0.3, 0.499]))) == pytest.approx(0.0, abs=1e-30)
    rest = half.value(ndtri(np.array([0.6, 0.75, 0.95])))
    assert rest == pytest.approx(always.value(ndtri(np.array([0.2, 0.5, 0.9]))))
    assert rest[1] == pytest.approx(0.5, abs=1e-4)
