"""Laws of data and model size: published constants, closed forms, and held parameters."""

from __future__ import annotations

import numpy as np
import pytest

from steep.laws.surface import Reference
from steep.laws.surfaces import SURFACES
from steep.stats.surface_posterior import Model

ANYWHERE = Reference(np.log(3e8), np.log(2e10), np.log(2.7))
MUENNIGHOFF = {
    "E": np.exp(0.62548), "A": np.exp(6.2554), "B": np.exp(7.3050), "alpha": 0.35266,
    "beta": 0.35266, "R_D": 15.3878, "R_N": 5.3097,
}  # fmt: skip
"""Of C4 (Muennighoff et al. 2023, appendix A)."""


def errors(
    law: str,
    held: dict[str, float],
    n: object,
    d: object,
    u: object = None,
    at: Reference = ANYWHERE,
) -> np.ndarray:
    """The law with all its parameters held, (places,)."""
    model = Model(SURFACES[law], at, held)
    assert model.free == []
    n, d, u = (np.log(np.atleast_1d(v)) for v in (n, d, d if u is None else u))
    return np.exp(model.log_error(np.zeros((1, 0)), *np.broadcast_arrays(n, d, u))[0])


def sizes() -> tuple[np.ndarray, np.ndarray]:
    n, d = np.meshgrid(np.geomspace(1e6, 1e11, 7), np.geomspace(1e8, 1e13, 7))
    return n.ravel(), d.ravel()


def test_chinchilla_is_its_formula() -> None:
    n, d = sizes()
    held = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    np.testing.assert_allclose(
        errors("chinchilla", held, n, d), 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28, rtol=1e-12
    )


def test_kaplan_is_the_published_formula() -> None:
    """Equation 1.5 of Kaplan et al. 2020 with its constants."""
    n, d = sizes()
    n_c, d_c, alpha, beta = 8.8e13, 5.4e13, 0.076, 0.095
    published = ((n_c / n) ** (alpha / beta) + d_c / d) ** beta
    held = {"A": n_c**alpha, "B": d_c**beta, "alpha": alpha, "beta": beta}
    np.testing.assert_allclose(errors("kaplan", held, n, d), published, rtol=1e-10)


def test_rosenfeld_is_the_modulus_of_the_complex_formula() -> None:
    """With eta = e_0: the published form is unchanged when e and eta are scaled alike."""
    n, d = sizes()
    held = {"E": 0.02, "A": 30.0, "B": 60.0, "alpha": 0.45, "beta": 0.4, "e_0": 0.9}
    e = 30.0 * n**-0.45 + 60.0 * d**-0.4 + 0.02
    expected = 0.9 * np.abs(e / (e - 0.9j))
    np.testing.assert_allclose(errors("rosenfeld", held, n, d), expected, rtol=1e-12)
    np.testing.assert_allclose(0.9 * np.abs(7 * e / (7 * e - 6.3j)), expected, rtol=1e-12)


def test_interacting_is_chinchilla_without_its_two_constants() -> None:
    n, d = sizes()
    held = {"E": 1.7, "A": 400.0, "B": 0.3, "alpha": 0.34, "beta": 0.3, "gamma": 0.0, "delta": 0.0}
    b = 0.3 * np.exp(0.3 * ANYWHERE.log_d)
    plain = 1.7 + 400 * n**-0.34 + b * d**-0.3
    np.testing.assert_allclose(errors("interacting", held, n, d), plain, rtol=1e-10)
    bent = errors("interacting", held | {"gamma": 0.1, "delta": 0.2}, n, d)
    x, y = n / 3e8, d / 2e10
    np.testing.assert_allclose(
        bent, 1.7 + 400 * n**-0.34 + 0.3 * x**0.2 * y ** -(0.3 * x**-0.1), rtol=1e-9
    )


@pytest.mark.parametrize("law", sorted(SURFACES))
def test_a_law_does_not_depend_on_its_reference(law: str) -> None:
    """But for 'interacting', whose n and d are relative to it: only where gamma is none."""
    held = {
        "E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37, "R_D": 15.0, "R_N": 5.0,
        "e_0": 9.0, "gamma": 0.0, "delta": 0.0,
    }  # fmt: skip
    held = {name: held[name] for name in SURFACES[law].names}
    n, d = sizes()
    elsewhere = Reference(np.log(2e7), np.log(1e12), np.log(0.4))
    if law == "interacting":
        held["B"] = 2000.0 * np.exp(-0.37 * ANYWHERE.log_d)
        one = errors(law, held, n, d, d / 3)
        held["B"] = 2000.0 * np.exp(-0.37 * elsewhere.log_d)
        other = errors(law, held, n, d, d / 3, at=elsewhere)
    else:
        one, other = errors(law, held, n, d, d / 3), errors(law, held, n, d, d / 3, at=elsewhere)
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("law", sorted(SURFACES))
def test_natural_parameters_of_what_is_held_are_what_is_held(law: str) -> None:
    surface = SURFACES[law]
    held = {name: 0.2 + 0.1 * i for i, name in enumerate(surface.names)}
    held |= {name: 700.0 for name in ("A", "B") if name in held}
    coordinates = Model(surface, ANYWHERE, held).coordinates(np.zeros((1, 0)))
    found = surface.natural(coordinates, ANYWHERE)[0]
    np.testing.assert_allclose(found, [held[name] for name in surface.names], rtol=1e-10)


def test_tied_parameters_are_equal() -> None:
    model = Model(SURFACES["chinchilla"], ANYWHERE, {"E": 1.5}, (("alpha", "beta"),))
    assert [SURFACES["chinchilla"].names[i] for i in model.free] == ["A", "B", "alpha"]
    z = np.random.default_rng(0).normal(size=(5, 3))
    natural = model.law.natural(model.coordinates(z), ANYWHERE)
    np.testing.assert_array_equal(natural[:, 3], natural[:, 4])
    np.testing.assert_allclose(natural[:, 0], 1.5)
    assert np.ptp(natural[:, 3]) > 0


class TestRepeatedData:
    def loss(self, n: float, unique: float, epochs: float) -> float:
        return float(errors("repeated", MUENNIGHOFF, n, unique * epochs, unique)[0])

    def fresh(self, n: float, d: float) -> float:
        c = MUENNIGHOFF
        return float(c["E"] + c["A"] * n ** -c["alpha"] + c["B"] * d ** -c["beta"])

    def test_one_epoch_of_a_small_model_is_chinchilla(self) -> None:
        assert self.loss(1e8, 1e10, 1) == pytest.approx(self.fresh(1e8, 1e10), rel=1e-9)

    def test_four_epochs_are_nearly_as_good_as_fresh_data(self) -> None:
        fresh, repeated, one = (self.loss(1e9, *v) for v in ((4e10, 1), (1e10, 4), (1e10, 1)))
        assert fresh < repeated < one
        assert (repeated - fresh) < 0.15 * (one - fresh)

    def test_many_epochs_are_worth_a_bounded_amount(self) -> None:
        """At most 1 + R_D times the unique data, here with a model too small to be in excess."""
        bound = self.loss(1e8, 1e10 * 16.3878, 1)
        assert self.loss(1e8, 1e10, 1e5) == pytest.approx(bound, rel=1e-9)

    def test_effective_data_by_the_published_formula(self) -> None:
        n, unique, epochs = 1e8, 1e10, 10.0
        worth = unique + unique * 15.3878 * (1 - np.exp(-(epochs - 1) / 15.3878))
        assert self.loss(n, unique, epochs) == pytest.approx(self.fresh(n, worth), rel=1e-6)

    def test_parameters_in_excess_are_worth_less_and_at_most_so_much(self) -> None:
        c, unique = MUENNIGHOFF, 1e8
        best = (c["A"] / c["B"]) ** (1 / c["alpha"]) * unique  # alpha = beta
        for times in (3.0, 1e6):
            worth = best * (1 + c["R_N"] * (1 - np.exp(-(times - 1) / c["R_N"])))
            assert self.loss(best * times, unique, 1) == pytest.approx(
                self.fresh(worth, unique), rel=1e-6
            )
