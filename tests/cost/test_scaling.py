"""From a fit to what costs are projected from: whose draws, about which size of data."""

from __future__ import annotations

import numpy as np
import pytest

import steep
from steep.cost.scaling import scaling
from steep.records import CAPPED, Point, SizeLaw

M = 1000 * 2.0 ** np.arange(6)


def test_an_assumed_size_law_starts_at_the_model_and_the_data_at_hand() -> None:
    """beta_p from 0.5 to 1, evenly; a capped model's shard is data at hand, though no point."""
    points = [Point(float(m), float(5 * m**-0.3)) for m in M[:5]]
    fit = steep.fit(
        points=[*points, Point(float(M[5]), 0.4, used=False, reason=CAPPED)], laws=["power"]
    )
    made = scaling(fit, parameters=1e4)
    assert made.samples == M[5]
    assert made.size_center == pytest.approx(np.log(M[5]))
    levels, slopes = np.array(made.size_draws).T
    assert levels == pytest.approx(np.log(1e4))
    assert np.sort(slopes) == pytest.approx(np.linspace(0.5, 1.0, len(slopes)))
    assert (made.first, made.smallest) == (M[0], 1e4)
    assert made.highest == max(p.error for p in fit.points)
    only = scaling(fit, parameters=1e4, fixed=True)
    assert (only.size_center, only.size_draws) == (
        pytest.approx(np.log(M[5])),
        ((pytest.approx(np.log(1e4)), 0.0),),
    )
    assert scaling(fit).size_draws == ()


def test_a_measured_size_law_is_taken_as_it_is() -> None:
    fit = steep.fit(samples=M, error=5 * M**-0.3, laws=["power"])
    law = SizeLaw("ok", center=(7.0, 9.0), draws=((9.0, 0.6), (9.1, -0.1)))
    made = scaling(fit, law, parameters=1e4)
    assert (made.size_center, made.size_draws) == (7.0, law.draws)
    assert any("leaves open whether the best model grows" in text for text in made.assumptions)
    grows = SizeLaw("ok", center=(7.0, 9.0), draws=((9.0, 0.6),))
    assert scaling(fit, grows, parameters=1e4).assumptions == ()


def test_an_error_that_does_not_fall_projects_nothing() -> None:
    rising = steep.fit(samples=M, error=0.1 * M**0.3, laws=["power"])
    assert rising.outcome == "not a power law"
    with pytest.raises(ValueError, match="nothing to project from"):
        scaling(rising, parameters=1e4)
