"""The compute multiplier: what one recipe's compute is worth of another's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import steep
from steep.questions.compute import _ratio, by_compute, compute_multiplier
from steep.questions.joint import joint

WORTH = 1.3


def runs(worth: float, seed: int) -> pd.DataFrame:
    """A grid of runs each of which is as good as one of ``worth`` times its compute."""
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(1e9, 3e11, 6)))
    better = worth**0.5
    loss = 1.7 + 400 * (better * n) ** -0.34 + 1500 * (better * d) ** -0.36
    loss *= np.exp(np.random.default_rng(seed).normal(0, 0.002, len(n)))
    return pd.DataFrame({"parameters": n, "samples": d, "loss": loss})


@pytest.fixture(scope="module")
def pair() -> tuple[steep.records.JointFit, steep.records.JointFit]:
    return joint(runs(1.0, 1), law="chinchilla"), joint(runs(WORTH, 2), law="chinchilla")


def test_a_recipe_that_is_worth_a_third_more(pair: tuple) -> None:
    a, b = pair
    found = compute_multiplier(("a", a), ("b", b), [1e21, 1e23])
    for m in found.multiplier:
        assert m.lower < WORTH < m.upper
    assert found.extrapolates == (False, True)
    back = compute_multiplier(("b", b), ("a", a), [1e21])
    assert back.multiplier[0].value == pytest.approx(1 / found.multiplier[0].value, rel=0.03)


def test_a_shared_floor_narrows_what_is_far_away(pair: tuple) -> None:
    a, b = pair
    own, shared = (
        compute_multiplier(("a", a), ("b", b), [1e24], shared_floor=s).multiplier[0]
        for s in (False, True)
    )
    assert shared.lower < WORTH < shared.upper
    assert np.log(shared.upper / shared.lower) < np.log(own.upper / own.lower)


def test_what_the_first_never_reaches_is_open(pair: tuple) -> None:
    a, _ = pair
    lower = runs(1.0, 3).assign(loss=runs(1.0, 3).loss - 0.5)
    found = compute_multiplier(("a", a), ("b", joint(lower, law="chinchilla")), [1e23])
    assert found.multiplier[0].upper is None


def test_by_a_column_of_compute(tmp_path: object) -> None:
    c = np.geomspace(1e18, 1e21, 9)
    fits = []
    for name, worth in (("a", 1.0), ("b", 2.0)):
        path = f"{tmp_path}/{name}.csv"
        loss = 1.8 + 2 * (worth * c / 1e19) ** -0.2
        noise = np.random.default_rng(0).normal(0, 0.001, 9)
        pd.DataFrame({"flops": c, "loss": loss * np.exp(noise)}).to_csv(path, index=False)
        fits += by_compute(path, None, None, None, 0.9)
    found = compute_multiplier(*fits, [1e20])
    assert found.multiplier[0].lower < 2.0 < found.multiplier[0].upper
    with pytest.raises(ValueError, match="needs model sizes"):
        compute_multiplier(*fits, [1e20], shared_floor=True)
    with pytest.raises(ValueError, match="positive"):
        compute_multiplier(*fits, [-1.0])


def test_a_ladder_has_no_multiplier(pair: tuple) -> None:
    n = np.geomspace(5e7, 3e9, 8)
    ladder = joint({"parameters": n, "samples": 20 * n, "loss": 1.7 + 400 * n**-0.34})
    found = compute_multiplier(("a", pair[0]), ("ladder", ladder), [1e21])
    assert found.outcome == "not measured"
    assert "ladder: model size and data grow together" in found.reason


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_interval_of_a_multiplier_holds_its_share_of_the_draws(level: float) -> None:
    """Draws that lie evenly over a factor of e, and those of which some never get there."""
    even = np.linspace(0, 1, 1001)
    found = _ratio(even, level)
    expected = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    assert np.log([found.lower, found.value, found.upper]) == pytest.approx(expected, abs=2e-3)
    open_end = _ratio(np.where(even > 0.5 + 0.4 * level, np.inf, even), level)
    assert (open_end.lower, open_end.upper) == (found.lower, None)
