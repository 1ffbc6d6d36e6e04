"""Back-tests of known curves: what is hidden, how it is scored, what is said."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

import steep
from steep.fit import fit as fit_all
from steep.questions.backtest import backtest, interval_score
from steep.records import Backtest, Fit, Point, decode, encode

fit = partial(fit_all, laws=("power", "power+floor"))
SIZES = 100.0 * 2.0 ** np.arange(8)


def curve(seed: int, scatter: float = 0.02, law: np.ndarray | None = None) -> list[Point]:
    law = 3 * SIZES**-0.3 if law is None else law
    error = law * np.exp(scatter * np.random.default_rng(seed).normal(size=len(SIZES)))
    return [Point(float(m), float(e)) for m, e in zip(SIZES, error, strict=True)]


def test_every_cut_hides_one_more_and_keeps_four() -> None:
    found = backtest(curve(1), fit=fit)
    assert found.outcome == "ok"
    cuts = {s.points for s in found.scores}
    assert cuts == {4, 5, 6, 7}
    assert len(found.scores) == 1 + 2 + 3 + 4
    assert [s.factor for s in found.scores] == [2.0] * 4 + [4.0] * 3 + [8.0] * 2 + [16.0]
    assert all(s.last == SIZES[s.points - 1] for s in found.scores)


def test_a_power_law_is_forecast_to_about_its_noise() -> None:
    found = [backtest(curve(seed), fit=fit) for seed in range(5)]
    assert np.mean([f.log_error for f in found]) < 0.08  # type: ignore[misc]
    assert np.mean([f.last_value for f in found]) > 0.2  # type: ignore[misc]
    assert np.mean([f.coverage for f in found]) > 0.75  # type: ignore[misc]


def test_the_fit_never_sees_what_is_hidden() -> None:
    seen: list[float] = []

    def watching(**options: object) -> Fit:
        points: list[Point] = options["points"]  # type: ignore[assignment]
        seen.append(max(p.samples for p in points))
        return fit(**options)  # type: ignore[arg-type]

    found = backtest(curve(2), fit=watching)
    assert seen == list(SIZES[-2:2:-1])
    assert all(s.samples > s.last for s in found.scores)


def test_a_sudden_wall_is_missed_and_said() -> None:
    law = np.maximum(3 * SIZES**-0.5, 0.12)
    found = backtest(curve(1, 0.003, law), fit=fit)
    assert found.coverage is not None
    assert found.coverage < 0.7
    assert "the intervals are too narrow" in found.sentence


def test_the_interval_score_is_width_and_fines() -> None:
    assert interval_score(-1.0, 1.0, 0.5, 0.9) == pytest.approx(2.0)
    assert interval_score(-1.0, 1.0, 1.1, 0.9) == pytest.approx(2.0 + 20 * 0.1)
    score = backtest(curve(1), fit=fit).scores[0]
    expected = interval_score(
        math.log(score.lower), math.log(score.upper), math.log(score.error), 0.9
    )
    assert score.interval_score == pytest.approx(expected)


def test_four_sizes_have_no_backtest() -> None:
    found = backtest(curve(1)[:4], fit=fit)
    assert found.outcome == "too few points"
    assert "needs at least five" in found.sentence
    assert decode(Backtest, encode(found)) == found


def test_a_fit_a_table_and_points_are_tested_alike() -> None:
    points = curve(3)
    table = pd.DataFrame({"n": [p.samples for p in points], "err": [p.error for p in points]})
    found = backtest(table, fit=fit, x="n", y="err")
    again = backtest(fit(points=points), fit=fit)
    assert again.interval_score == pytest.approx(found.interval_score)
    assert decode(Backtest, encode(found)) == found
    assert backtest(points, fit=fit) == backtest(points, fit=fit)


def test_the_terms_of_a_fit_are_kept() -> None:
    found = backtest(fit(points=curve(3), unit="words", metric="cross_entropy"), fit=fit)
    assert (found.unit, found.metric) == ("words", "cross_entropy")
    assert found.sentence.startswith("Forecasting the largest sizes from the smaller ones, 2x to")


def test_the_package_hands_over_its_own_fit() -> None:
    fitted = fit_all(points=curve(4))
    assert steep.backtest(fitted) == backtest(fitted, fit=fit_all)
    assert steep.backtest.__doc__ == backtest.__doc__
    with pytest.raises(ValueError, match=r"fit=steep\.fit"):
        backtest(fitted)


def test_a_table_keeps_its_metric_and_its_rules() -> None:
    points = curve(2)
    table = pd.DataFrame({"words": SIZES, "accuracy": [1 - p.error for p in points]})
    found = backtest(table, fit=fit)
    assert (found.unit, found.metric) == ("words", "1 - accuracy")
    expected = backtest(points, fit=fit)
    assert found.log_error == pytest.approx(expected.log_error, rel=1e-6)
