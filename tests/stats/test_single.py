"""Fits of single laws decide by a margin: what differs in the last bits gives the same answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steep.fit import fit
from steep.records import Fit, LawFit

ROOT = Path(__file__).parents[2]
SIZES = 1000 * 2.0 ** np.arange(8)
Curve = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def published() -> Iterator[tuple[str, Curve]]:
    """The best-fit models of every study, with their standard errors and without."""
    for path in sorted((ROOT / "studies" / "results").glob("*/best_fit.csv")):
        table = pd.read_csv(path).query("not held_out")
        m, error = table.samples.to_numpy(float), table.error.to_numpy(float)
        yield path.parent.name, (m, error, None)
        yield f"{path.parent.name} with errors", (m, error, table.score_se.to_numpy() * error)


def measured_elsewhere(every: int) -> Iterator[tuple[str, Curve]]:
    """Some of LCDB 1.1, thinned to about ten sizes."""
    table = pd.read_csv(ROOT / "benchmarks" / "data" / "lcdb11_dev.csv")
    for name, curve in list(table.groupby("curve", sort=False))[::every]:
        thin = curve.iloc[:: -max(1, len(curve) // 10)][::-1]
        yield str(name), (thin.samples.to_numpy(float), thin.error.to_numpy(float), None)


CURVES = dict([*published(), *measured_elsewhere(32)])


def moved(error: np.ndarray, seed: int) -> np.ndarray:
    """``error`` with other last bits, as another processor would have them."""
    return error * (1 + 1e-13 * np.random.default_rng(seed).choice([-1, 1], len(error)))


def near(one: float | None, other: float | None, width: float = 0.0) -> bool:
    """To 1e-4 or a hundredth of an interval's ``width``; what is open is open in both."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= max(1e-4 * max(abs(one), abs(other)), 0.01 * width)


def agree(one: Fit, other: Fit) -> None:
    """The same outcomes, and numbers that are near each other."""
    assert [(f.law, f.outcome, f.reason) for f in one.laws] == [
        (f.law, f.outcome, f.reason) for f in other.laws
    ]
    for a, b in zip(one.laws, other.laws, strict=True):
        assert near(a.scatter, b.scatter), a.law
        assert near(a.log_likelihood, b.log_likelihood), a.law
        for x, y in zip(a.parameters, b.parameters, strict=True):
            width = 0.0 if x.lower is None or x.upper is None else x.upper - x.lower
            ends = [(x.value, y.value), (x.lower, y.lower), (x.upper, y.upper)]
            assert all(near(v, w, width) for v, w in ends), f"{a.law}: {x}, {y}"


@pytest.mark.parametrize("name", CURVES)
def test_the_last_bits_of_the_errors_decide_nothing(name: str) -> None:
    m, error, se = CURVES[name]
    plain = fit(samples=m, error=error, se=se)
    for seed in range(2):
        agree(plain, fit(samples=m, error=moved(error, seed), se=se))


@pytest.mark.parametrize("law", ["plateau+power", "M4", "broken power"])
def test_nor_where_a_law_is_fitted_alone(law: str) -> None:
    """Six points: the laws with many parameters are at the end of what points can tell."""
    for name in ("images-grid", "characters-rhn10-adam with errors"):
        m, error, se = CURVES[name]
        agree(*(fit(samples=m, error=e, se=se, laws=[law]) for e in (error, moved(error, 0))))


@pytest.mark.parametrize("unit", [1e-3, 1e3, 1e6])
def test_units_decide_nothing(unit: float) -> None:
    """A law whose parameters have units: of samples, and of the error."""
    rng = np.random.default_rng(2)
    error = 0.5 * (SIZES / 1000 + 0.4) ** -0.5 * np.exp(0.01 * rng.normal(size=8))
    a = fit(samples=SIZES, error=error, laws=["plateau+power"]).laws[0]
    b = fit(samples=SIZES * unit, error=error, laws=["plateau+power"]).laws[0]
    assert (a.outcome, a.reason) == (b.outcome, b.reason)
    for name in ("beta_g", "gamma"):
        assert numbers_of(a, name) == pytest.approx(numbers_of(b, name), rel=1e-6, abs=1e-9)
    onset = [v * unit for v in numbers_of(a, "onset")]
    assert onset == pytest.approx(numbers_of(b, "onset"), rel=1e-6)


def numbers_of(law: LawFit, name: str) -> list[float]:
    found = law.parameter(name)
    return [-1.0 if v is None else v for v in (found.value, found.lower, found.upper)]


def test_what_points_do_not_tell_apart_has_no_numbers() -> None:
    """Of a power law, M4's best-guess level is anything far above the points: no value of it is
    better than another."""
    law = fit(samples=SIZES, error=2.0 * SIZES**-0.3, laws=["M4"]).laws[0]
    assert (law.outcome, law.parameters) == ("not converged", ())
    assert "not identifiable" in law.reason


def test_a_floor_that_a_law_does_not_need_is_at_its_bound() -> None:
    """The points bend upwards in logs, so that the best floor is zero: exactly, on any path."""
    error = 0.5 * (SIZES / 1000) ** -0.3 * np.exp(-0.01 * np.linspace(-1, 1, 8) ** 2)
    law = fit(samples=SIZES, error=error, laws=["power+floor"]).laws[0]
    assert (law.outcome, law.reason) == ("bound hit", "gamma")
    assert law.parameter("gamma").value == 0.0
