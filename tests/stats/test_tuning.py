"""The tuning certificate: what best fits lose by hyperparameters that were not tried, where it is
known: worlds whose best rate drifts with the data, searched with half of the rates hidden."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from steep.questions.diagnose import diagnose
from steep.records import BestFit, Candidate, Measurement, Shard, SizeCurve, Status, Trial
from steep.select import select
from steep.stats.searched import with_size_curves
from steep.stats.tuning import certificate, following

SAMPLES = (100, 200, 400, 800, 1600)
BETA = -0.3
BEND = 0.05
"""Excess log error by the squared logarithm of the rate over the best one."""


def best_rate(samples: float, drift: float) -> float:
    """0.1 on the smallest shard."""
    return 0.1 * (samples / SAMPLES[0]) ** drift


def study(
    rates: tuple[float, ...], drift: float, seed: int = 0, bend: float = 0.03, noise: float = 0.005
) -> tuple[tuple[BestFit, ...], list[Measurement], np.ndarray]:
    """Best fits of a grid of three sizes and these rates, two seeds each; and by how much, in log
    error, the best fit of each shard is above the best of any rate."""
    random = np.random.default_rng(seed)
    measured, shards = [], [Shard(0, m, float(m), "items") for m in SAMPLES]

    def above(m: int, size: int, rate: float) -> float:
        off = math.log(rate / best_rate(m, drift))
        wide = math.log(size / (4 * (m / 100) ** 0.3))
        return bend * off**2 + 0.05 * wide**2

    for m in SAMPLES:
        for size in (2, 4, 8, 16):
            for rate in rates:
                for k in (0, 1):
                    error = math.exp(above(m, size, rate) + noise * random.normal()) * 2 * m**BETA
                    trial = Trial(0, m, float(m), size, (("learning_rate", rate),), k)
                    measured.append(
                        Measurement(trial, Status.COMPLETE, validation_error=error,
                                    parameters=100 * size**2, parameters_without_embeddings=1)
                    )  # fmt: skip
    found = with_size_curves(select(measured, shards, seeds=2), measured)
    lost = []
    for b in found:
        rate = float(dict(b.best.hyperparameters)["learning_rate"])
        lost.append(bend * math.log(rate / best_rate(b.samples, drift)) ** 2)
    return found, measured, np.array(lost)


def test_a_grid_with_the_best_rates_inside_is_certified_tight() -> None:
    found, measured, _ = study((0.0125, 0.05, 0.2, 0.8), drift=0.0)
    told = certificate(found)
    assert told is not None
    assert max(told.at_most) < 0.03
    assert told.beta_g.lower < 0 < told.beta_g.upper  # type: ignore[operator]
    assert abs(told.beta_g.value) < 0.005  # type: ignore[arg-type]
    assert not [f for f in diagnose(best_fits=found, measurements=measured)
                if f.kind == "uneven tuning"]  # fmt: skip


@pytest.mark.parametrize("drift", [-0.7, 0.7])
def test_hidden_rates_are_in_the_certificate(drift: float) -> None:
    """The best rate drifts out of the list towards the larger shards: what they lose, and the slope
    of it, lie below what the certificate says at most, in 85 to 100 % of studies."""
    rates = (0.05, 0.1, 0.2)
    inside, slopes, truths = [], [], []
    for seed in range(20):
        found, _, _ = study(rates, drift, seed, bend=BEND)
        told = certificate(found)
        assert told is not None
        # one step beyond the list at most is certified: where the best lies
        step = [min(max(best_rate(m, drift), 0.025), 0.4) for m in SAMPLES]
        known = [
            BEND * (math.log(r / best_rate(m, drift)) ** 2 - math.log(s / best_rate(m, drift)) ** 2)
            for b, m, s in zip(found, SAMPLES, step, strict=True)
            for r in [float(dict(b.best.hyperparameters)["learning_rate"])]
        ]
        inside += [1 - math.exp(-k) <= most for k, most in zip(known, told.at_most, strict=True)]
        x = np.log(SAMPLES)
        truth = -np.polyfit(x, known, 1)[0]
        truths.append(truth)
        slopes.append(told.beta_g.lower <= truth <= told.beta_g.upper)  # type: ignore[operator]
    assert np.mean(inside) > 0.85
    assert np.mean(slopes) > 0.8
    assert abs(np.mean(truths)) > 0.008  # there is something to tell


def test_a_badly_tuned_end_is_named() -> None:
    """Small shards want a rate far below the list: the curve is too steep there."""
    found, measured, lost = study((0.3, 0.6, 1.2), drift=0.6, bend=0.1)
    assert lost[0] > lost[-1] + 0.02
    (finding,) = [
        f for f in diagnose(best_fits=found, measurements=measured) if f.kind == "uneven tuning"
    ]
    assert finding.where == "100 items"
    assert "less steep" in finding.evidence


def curve(mean: float, sd: float) -> SizeCurve:
    nothing = (0.0, 0.0, 0.0)
    return SizeCurve((1, 2), (1, 2), (1, 1), (1, 1), (1, 1), nothing, nothing, 0.0, 0.01, mean, sd)


def test_the_slope_by_hand() -> None:
    """Losses of 4, 2 and 0 % on 100, 200 and 400: the slope is less steep by 0.02 / log 2."""
    best = Candidate(1, (), (0,), (0.1,), 0.1, 1, 1)
    one = BestFit(0, 0.0, "items", False, best, best, False, "", "", None, None, None, (), (best,))
    fits = [
        replace(one, samples=m, size_curve=curve(loss, 0.01))
        for m, loss in ((100.0, 0.04), (200.0, 0.02), (400.0, 0.0))
    ]
    told = certificate(fits)
    assert told is not None
    assert told.beta_g.value == pytest.approx(0.02 / math.log(2))
    spread = 1.645 * 0.01 / (math.sqrt(2) * math.log(2))
    assert told.beta_g.upper == pytest.approx(0.02 / math.log(2) + spread, rel=1e-3)
    assert told.below == pytest.approx([1 - math.exp(-0.04), 1 - math.exp(-0.02), 0.0])
    assert told.at_most[2] == pytest.approx(1 - math.exp(-0.01645), rel=1e-3)
    assert certificate(fits[:2]) is None
    assert certificate([replace(b, held_out=True) for b in fits]) is None


def test_a_step_beyond_a_list() -> None:
    assert following("learning_rate", 0.4, (0.1, 0.2, 0.4)) == pytest.approx(0.8)
    assert following("learning_rate", 0.1, (0.1, 0.2, 0.4)) == pytest.approx(0.05)
    assert following("learning_rate", 0.2, (0.1, 0.2, 0.4)) is None
    assert following("dropout", 0.6, (0.3, 0.6)) is None  # 1.2 is no share
    assert following("optimizer", "sgd", ("adam", "sgd")) is None
    assert following("layers", 2, (1, 2)) == 4
