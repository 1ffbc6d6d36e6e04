"""Laws of data and model size: the Chinchilla points, known surfaces, the frontier's formulas."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steep.joint import fit_joint, frontier, frontier_exponents, predict_joint
from steep.laws.surface import SURFACES
from steep.records import JointFit, decode, encode

POINTS = Path(__file__).parents[2] / "benchmarks" / "data" / "chinchilla_points.csv"
PUBLISHED = {  # Besiroglu et al. 2024: estimate, standard error
    "E": (1.817, 0.026),
    "A": (482.01, 124.5),
    "B": (2085.43, 1293.0),
    "alpha": (0.348, 0.015),
    "beta": (0.366, 0.021),
}


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return pd.read_csv(POINTS).sort_values("samples")


@pytest.fixture(scope="module")
def published(points: pd.DataFrame) -> JointFit:
    kept = points.iloc[5:]
    assert len(kept) == 240
    return fit_joint(kept["samples"], kept["parameters"], kept["loss"], level=0.68)


def test_published_estimates_within_their_standard_errors(published: JointFit) -> None:
    assert published.outcome == "ok"
    for name, (value, se) in PUBLISHED.items():
        assert abs(published.parameter(name).value - value) < 0.5 * se, name


def test_bootstrap_errors_are_the_published_ones(published: JointFit) -> None:
    """Half of the 68 % interval is a standard error; B's is too skewed to compare."""
    for name in ("E", "alpha", "beta"):
        interval = published.parameter(name)
        half = (interval.upper - interval.lower) / 2
        assert half == pytest.approx(PUBLISHED[name][1], rel=0.35), name


def test_five_outliers_move_the_fit_of_all_245(points: pd.DataFrame) -> None:
    found = fit_joint(points["samples"], points["parameters"], points["loss"], resamples=20)
    assert found.parameter("B").value == pytest.approx(12_845, rel=0.01)
    assert found.parameter("beta").value == pytest.approx(0.453, abs=0.001)


def test_frontier_is_where_the_loss_is_least(published: JointFit) -> None:
    """No other split of the same compute gives a lower loss."""
    flops = 1e22
    best = frontier(published, [flops])[0]
    n = best.parameters.value * np.geomspace(0.2, 5, 41)
    losses = predict_joint(published, flops / 6 / n, n)
    assert int(np.argmin(losses)) == 20
    assert losses[20] == pytest.approx(best.error.value)
    assert best.parameters.value * best.samples.value * 6 == pytest.approx(flops)
    assert best.error.lower < best.error.value < best.error.upper


def test_exponent_of_the_frontier(published: JointFit) -> None:
    """Besiroglu et al.: N ~ C^0.513 (0.020)."""
    a, beta_p = frontier_exponents(published)
    assert a.value == pytest.approx(0.513, abs=0.01)
    assert a.lower < 0.513 < a.upper
    assert beta_p.value == pytest.approx(0.366 / 0.348, abs=0.03)


def grid() -> tuple[np.ndarray, np.ndarray]:
    n, d = np.meshgrid(np.geomspace(1e4, 1e7, 6), np.geomspace(1e5, 1e8, 6))
    return n.ravel(), d.ravel()


@pytest.mark.parametrize(
    ("law", "truth"),
    [
        ("chinchilla", (0.5, 30.0, 60.0, 0.3, 0.4)),
        ("rosenfeld", (0.02, 30.0, 60.0, 0.45, 0.4, 0.9)),
    ],
)
def test_recovers_known_surfaces(law: str, truth: tuple[float, ...]) -> None:
    n, d = grid()
    surface = SURFACES[law]
    search = np.where(surface.logs, np.log(truth), truth)[None, :]
    error = np.exp(surface.log_surface(search, np.log(n), np.log(d), np.log(d))[0])
    found = fit_joint(d, n, error, law=law, delta=1.0, resamples=2)
    np.testing.assert_allclose([p.value for p in found.parameters], truth, rtol=1e-3)
    np.testing.assert_allclose(predict_joint(found, d, n), error, rtol=1e-6)


def test_rosenfeld_is_the_modulus_of_the_complex_formula() -> None:
    """With eta = e_0: the published form is unchanged when e and eta are scaled alike."""
    c, a, b, alpha, beta, guess = 0.02, 30.0, 60.0, 0.45, 0.4, 0.9
    n, d = grid()
    e = a * n**-alpha + b * d**-beta + c
    expected = guess * np.abs(e / (e - 1j * guess))
    search = np.array([[np.log(c), np.log(a), np.log(b), alpha, beta, np.log(guess)]])
    scaled = 7 * e  # the invariance that makes eta redundant
    np.testing.assert_allclose(guess * np.abs(scaled / (scaled - 7j * guess)), expected)
    found = SURFACES["rosenfeld"].log_surface(search, np.log(n), np.log(d), np.log(d))[0]
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-12)


def repeated_runs() -> list[tuple[float, float, float]]:
    """(parameters, samples seen, distinct ones) over up to 64 epochs."""
    sizes, distinct, epochs = (1e7, 1e8, 1e9, 1e10), (1e8, 1e9, 1e10), (1, 4, 16, 64)
    return [(n, u * e, u) for n, u, e in product(sizes, distinct, epochs)]


class TestRepeatedData:
    """The constants of Muennighoff et al. 2023 for C4: a 6.2554, b 7.3050, e 0.62548, exponents
    0.35266, R_D* 15.3878, R_N* 5.3097."""

    SEARCH = np.array(
        [[0.62548, 6.2554, 7.3050, 0.35266, 0.35266, np.log(15.3878), np.log(5.3097)]]
    )

    def loss(self, n: float, unique: float, epochs: float) -> float:
        logs = (np.log([n]), np.log([unique * epochs]), np.log([unique]))
        return float(np.exp(SURFACES["repeated"].log_surface(self.SEARCH, *logs)[0, 0]))

    def test_one_epoch_of_a_small_model_is_chinchilla(self) -> None:
        n, d = 1e8, 1e10
        plain = np.exp(0.62548) + np.exp(6.2554) * n**-0.35266 + np.exp(7.3050) * d**-0.35266
        assert self.loss(n, d, 1) == pytest.approx(plain, rel=1e-9)

    def test_four_epochs_are_nearly_as_good_as_fresh_data(self) -> None:
        fresh, repeated, one = (
            self.loss(1e9, 4e10, 1),
            self.loss(1e9, 1e10, 4),
            self.loss(1e9, 1e10, 1),
        )
        assert fresh < repeated < one
        assert (repeated - fresh) < 0.15 * (one - fresh)

    def test_many_epochs_are_worth_a_bounded_amount(self) -> None:
        """At most 1 + R_D* times the unique data, here with a model too small to be in excess."""
        bound = self.loss(1e8, 1e10 * 16.3878, 1)
        assert self.loss(1e8, 1e10, 1e5) == pytest.approx(bound, rel=1e-9)

    def test_effective_data_by_the_published_formula(self) -> None:
        n, unique, epochs = 1e8, 1e10, 10.0
        worth = unique + unique * 15.3878 * (1 - np.exp(-(epochs - 1) / 15.3878))
        plain = np.exp(0.62548) + np.exp(6.2554) * n**-0.35266 + np.exp(7.3050) * worth**-0.35266
        assert self.loss(n, unique, epochs) == pytest.approx(plain, rel=1e-6)

    def test_a_fit_recovers_the_constants(self) -> None:
        n, d, u = map(np.array, zip(*repeated_runs(), strict=True))
        error = np.exp(
            SURFACES["repeated"].log_surface(self.SEARCH, np.log(n), np.log(d), np.log(u))[0]
        )
        found = fit_joint(d, n, error, unique=u, law="repeated", resamples=2)
        truth = SURFACES["repeated"].natural(self.SEARCH)[0]
        np.testing.assert_allclose([p.value for p in found.parameters], truth, rtol=1e-5)
        np.testing.assert_allclose(predict_joint(found, d, n, u), error, rtol=1e-9)

    def test_fitting_needs_the_unique_samples(self) -> None:
        with pytest.raises(ValueError, match="unique"):
            fit_joint([1, 2], [1, 2], [1, 2], law="repeated")


def test_too_few_runs_are_said() -> None:
    found = fit_joint([1e3, 1e4, 1e5], [1e3, 1e4, 1e5], [0.5, 0.4, 0.3])
    assert found.outcome == "too few points"
    assert "parameters need more runs" in found.reason
    with pytest.raises(ValueError, match="frontier"):
        frontier(found, [1e15])


def test_a_joint_fit_survives_json(published: JointFit) -> None:
    assert decode(JointFit, encode(published)) == published
