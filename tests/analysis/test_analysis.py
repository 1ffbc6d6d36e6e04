"""From measurements to what a study says: pairs over items, curves, held-out shards, sizes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tiny
from steep.analysis.analyse import (
    Facts,
    analyse,
    confrontation,
    held_out_trials,
    paired_by,
)
from steep.analysis.held_out_size import _grown, predicted_size
from steep.analysis.size_laws import WHOLE_SURFACE, size_laws
from steep.contracts.domain import Scores
from steep.records import (
    Candidate,
    ForecastPoint,
    HeldOutForecast,
    Measurement,
    Shard,
    SizeLaw,
    Status,
    Trial,
    settings,
)
from steep.spec.load import from_values
from steep.stats.importance import quasi_normal

SPEC = from_values(tiny.spec(family={"sizes": [2, 4, 8, 16]})).spec
SAMPLES = (125, 250, 500, 1000, 2000, 4000)
VALUES = settings({"learning_rate": 0.1})


def facts(groups: np.ndarray | None = None, **changes: Any) -> Facts:
    shards = [Shard(0, m, float(m), "items") for m in SAMPLES]
    shards.append(Shard(0, 9001, 9001.0, "items", held_out=True))
    made = Facts(
        SPEC, tuple(shards), "items", "error", ("error", "loss"), {"error": 0.9, "loss": 2.3},
        np.arange(50) if groups is None else groups,
        {s: (100 * s * s, 600.0 * s * s) for s in range(1, 65)},
    )  # fmt: skip
    return replace(made, **changes)


def measurements(samples: tuple[int, ...] = SAMPLES) -> list[Measurement]:
    """error = 3 m^-0.3, best at size (m/125)**0.35 * 3; loss is twice the error, test 1.1 times."""
    found = []
    for m in samples:
        best = 3 * (m / 125) ** 0.35
        for size in SPEC.family.sizes:
            for seed in (0, 1):
                error = 3 * m**-0.3 * (1 + 0.2 * math.log(size / best) ** 2)
                error *= math.exp(0.005 * (-1) ** (seed + m // 125 + size))
                found.append(
                    Measurement(
                        Trial(0, m, float(m), size, VALUES, seed),
                        Status.COMPLETE,
                        validation_error=error,
                        validation_error_se=0.02 * error,
                        test_error=1.1 * error,
                        metrics=settings({"error": error, "loss": 2 * error}),
                        parameters=100 * size**2,
                        parameters_without_embeddings=90 * size**2,
                        samples_seen=7.0 * m,
                        flops=600.0 * size**2 * 7 * m,
                    )
                )
    return found


def nothing(trial: str) -> None:
    return None


# ---------------------------------------------------------------- pairs over items


def candidate(size: int) -> Candidate:
    return Candidate(size, VALUES, (0, 1), (0.2, 0.2), 0.2, 1, 1)


SHARD = Shard(0, 125, 125.0, "items")


def test_pairs_take_the_difference_item_by_item() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(size=50)  # what makes an item hard for every model
    kept = {
        Trial(0, 125, 125.0, size, VALUES, seed).id: {
            "error": hard + 0.1 * rng.normal(size=50), "count": np.ones(50)
        }
        for size in (2, 4) for seed in (0, 1)
    }  # fmt: skip
    found = paired_by(facts(), kept.get)(candidate(2), candidate(4), SHARD)
    both = [
        np.mean([kept[Trial(0, 125, 125.0, s, VALUES, k).id]["error"] for k in (0, 1)], axis=0)
        for s in (2, 4)
    ]
    expected = np.std(both[0] - both[1], ddof=1) / math.sqrt(50)
    assert found == pytest.approx(expected)
    assert found is not None
    assert found < 0.03, "the items' own difficulty cancels"


def test_pairs_are_clustered_like_a_single_models_error() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(10), 5)
    count = rng.integers(1, 9, 50).astype(float)
    one = rng.random(50) * count
    kept = {
        Trial(0, 125, 125.0, size, VALUES, 0).id: {"error": e, "count": count}
        for size, e in ((2, one), (4, np.zeros(50)))
    }
    found = paired_by(facts(groups), kept.get)(candidate(2), candidate(4), SHARD)
    assert found == pytest.approx(Scores(count, {"error": one}).standard_error("error", groups))


def test_pairs_that_do_not_match_are_none() -> None:
    kept = {"error": np.zeros(50), "count": np.ones(50)}
    ask = (candidate(2), candidate(4), SHARD)
    assert paired_by(facts(), nothing)(*ask) is None
    assert paired_by(facts(), lambda t: {"count": np.ones(50)})(*ask) is None
    assert paired_by(facts(np.arange(49)), lambda t: kept)(*ask) is None, "another V"
    assert paired_by(facts(np.zeros(50)), lambda t: kept)(*ask) is None, "one cluster"


# ---------------------------------------------------------------- curves


def test_every_metric_has_its_curve_and_the_selection_metric_is_first() -> None:
    found = analyse(facts(), measurements(), nothing)
    assert [(c.metric, c.part) for c in found.curves] == [
        ("error", "validation"),
        ("error", "test"),
        ("loss", "validation"),
    ]
    validation, test, loss = (c.fit for c in found.curves)
    for one, other, factor in ((validation, test, 1.1), (validation, loss, 2.0)):
        assert one.beta_g is not None
        assert other.beta_g is not None
        assert other.beta_g.value == pytest.approx(one.beta_g.value, abs=0.01)
        for p, q in zip(one.points, other.points, strict=True):
            assert q.error == pytest.approx(factor * p.error, rel=0.02)
    assert validation.best_guess == 0.9
    assert loss.best_guess == 2.3


def test_the_forecast_looks_at_the_default_factors_the_held_out_and_what_is_asked() -> None:
    found = analyse(facts(), measurements(), nothing, at=[123.0], targets=[0.2], level=0.8)
    first = found.curves[0].forecast
    assert [a.samples for a in first.at] == [123.0, 8000.0, 9001.0, 16000.0, 40000.0]
    assert [t.target for t in first.targets] == [0.2]
    assert first.level == 0.8
    assert found.curves[1].forecast.targets == (), "a target is one of the selection metric"


@pytest.mark.parametrize(("there", "more"), [(0.0, False), (9001.0, False), (60_000.0, True)])
def test_all_the_data_there_is_is_forecast_where_a_study_uses_a_part(
    there: float, more: bool
) -> None:
    (curve, *_) = analyse(facts(training_samples=there), measurements(), nothing).curves
    assert (60_000.0 in [a.samples for a in curve.forecast.at]) == more
    said = [n for n in curve.forecast.notes if "to train on in all" in n]
    assert (
        said
        == [
            "There are 60,000 items to train on in all, of which the largest training set of this "
            "study has 9,001."
        ]
        * more
    )


def test_compute_is_of_the_passes_that_were_made() -> None:
    at = analyse(facts(), measurements(), nothing).curves[0].forecast.at[0]
    assert at.parameters is not None
    assert at.flops is not None
    assert at.flops.value == pytest.approx(6 * at.parameters.value * at.samples * 7, rel=0.05)


def test_a_missing_test_error_leaves_the_test_curve_out() -> None:
    some = [replace(m, test_error=None) if m.trial.samples == 500 else m for m in measurements()]
    found = analyse(facts(), some, nothing)
    assert [(c.metric, c.part) for c in found.curves] == [
        ("error", "validation"), ("loss", "validation"),
    ]  # fmt: skip


def test_nothing_measured_says_nothing() -> None:
    found = analyse(facts(), [], nothing)
    assert found.best_fits == ()
    assert found.curves[0].fit.outcome == "too few points"
    assert {law.outcome for _, law in found.size_laws} == {"not measured"}


def test_size_laws_follow_the_definitions() -> None:
    found = dict(analyse(facts(), measurements(), nothing).size_laws)
    beta_p = found["lowest score"].beta_p
    assert beta_p is not None
    assert beta_p.value == pytest.approx(0.7, abs=0.25)
    assert set(found) >= {"smallest adequate", "lowest score"}
    no_count = [replace(m, parameters=None) for m in measurements()]
    laws = dict(analyse(facts(), no_count, nothing).size_laws)
    assert laws["lowest score"].outcome == "not measured"
    assert "how many parameters" in laws["lowest score"].reason


def test_a_size_law_knows_the_steps_of_the_ladder() -> None:
    """Every shard's best fit on the same rung: the scatter is a uniform error within the step."""
    best = [b for b in analyse(facts(), measurements(), nothing).best_fits if not b.held_out]
    one = next(b for b in best if b.edge == "")
    same = [replace(one, samples=b.samples) for b in best]
    counts = sorted({c.parameters for c in one.candidates})
    at = counts.index(one.best.parameters)
    step = math.log(counts[at + 1] / counts[at - 1]) / 2
    found = dict(size_laws(same))["lowest score"]
    assert found.beta_p is None or found.beta_p.lower < 0 < found.beta_p.upper
    assert found.scatter is not None
    assert found.scatter >= step / 12**0.5


# ---------------------------------------------------------------- held out


def law(sigma: float, beta_p: float, spread: float = 0.0) -> SizeLaw:
    """A size law known at 1,000 samples whose exponent has this standard deviation."""
    center = (math.log(1000.0), math.log(sigma) + beta_p * math.log(1000.0))
    exponents = beta_p + spread * np.random.default_rng(0).standard_normal(4000)
    return SizeLaw("ok", center=center, draws=tuple((center[1], b) for b in exponents))


@pytest.mark.parametrize("beta_p", [0.2, 0.5, 1.0, 1.3])
def test_measured_growth_of_the_best_size_is_not_drawn_to_the_common_one(beta_p: float) -> None:
    """Six best sizes on a ladder of octaves of width, so that the law is known to +- 0.14: at twice
    the data the log of the parameters is off by less than 0.08 (it was by 0.08 to 0.26)."""
    draws = [(8.0 + 0.16 * u, beta_p + 0.14 * v) for u, v in quasi_normal(400, 2)]
    at = _grown((math.log(707.0), 8.0), draws, 8000.0)
    assert at == pytest.approx(8.0 + beta_p * math.log(8000.0 / 707.0), abs=0.08)


def test_the_predicted_size_is_nearest_in_log_to_the_size_law() -> None:
    best = [b for b in analyse(facts(), measurements(), nothing).best_fits if not b.held_out]
    # 100 s**2 = 8 * 9001**0.8 = 11660: s = 10.8, nearest in log of the sizes known
    size, why = predicted_size(facts(), 9001.0, best, {"smallest adequate": law(8.0, 0.8)})
    assert size == min(facts().sizes, key=lambda s: abs(math.log(s / 10.8)))
    assert best[-1].best.size < size
    assert "nearest to the size law" in why
    # 2916 parameters are fewer than the largest fitted shard's best fit has: that one is trained
    size, why = predicted_size(facts(), 9001.0, best, {"smallest adequate": law(2.0, 0.8)})
    assert size == best[-1].best.size == 8
    assert "no larger" in why


def test_the_size_at_a_held_out_shard_of_own_code_grows_as_its_trials_count_parameters() -> None:
    """The trainer counts none before it runs. Its held-out shard was given no size above the
    largest searched shard's best, and a forecast that held was called missed."""
    best = [b for b in analyse(facts(), measurements(), nothing).best_fits if not b.held_out]
    own = facts(sizes={})
    # 10.8 as above: more than a quarter of the step from 8 to 16, the next size of the ladder
    size, why = predicted_size(own, 9001.0, best, {"smallest adequate": law(8.0, 0.8)})
    assert size == 16
    assert "parameters as the trials report them" in why
    size, why = predicted_size(own, 9001.0, best, {"smallest adequate": law(2.0, 0.8)})
    assert size == best[-1].best.size
    assert "no larger" in why
    # beyond the ladder by the slope of its last step, as far as the search would extend it
    large = {"smallest adequate": law(80.0, 0.8)}
    assert predicted_size(own, 9001.0, best, large)[0] == 32
    assert predicted_size(own, 9e9, best, large)[0] == 64
    size, why = predicted_size(own, 9e9, best, large, lambda m, size: size != 32)
    assert size == 16
    assert "size 32 failed" in why
    unmeasured = {"smallest adequate": SizeLaw("not measured", "two points")}
    size, why = predicted_size(own, best[-1].samples * 16, best, unmeasured)
    assert size == 32  # 8 * 16**0.35 = 21
    assert "data**0.7" in why


@pytest.mark.parametrize("count", [0, 7])
def test_where_no_parameters_grow_with_the_size_the_size_itself_takes_their_place(
    count: int,
) -> None:
    runs = [replace(m, parameters=count) for m in measurements()]
    own = facts(sizes={})
    found = analyse(own, runs, nothing)
    best = [b for b in found.best_fits if not b.held_out]
    laws = dict(found.size_laws)
    size, why = predicted_size(own, 9001.0, best, laws)
    assert (best[-1].best.size, size) == (8, 16)
    assert "the size itself" in why
    assert predicted_size(own, 4001.0, best, laws)[0] == 8


def test_where_the_size_law_says_nothing_models_grow_as_they_commonly_do() -> None:
    """A model trained to confront a forecast was too small because the exponent of four noisy
    optima, -0.23 [-1.14, 0.70], asked for no larger one than the largest searched shard's."""
    best = [b for b in analyse(facts(), measurements(), nothing).best_fits if not b.held_out]
    largest = best[-1]
    sizes = {s: (100.0 * s**2, 600.0 * s**2) for s in range(1, 65)}
    dense = facts(sizes=sizes)
    samples = largest.samples * 16
    unmeasured = {"smallest adequate": SizeLaw("not measured", "two points")}
    size, why = predicted_size(dense, samples, best, unmeasured)
    # parameters go with the square of the size: 16**(0.7 / 2) = 2.64 times as wide
    assert size == round(largest.best.size * 16**0.35)
    assert "data**0.7" in why
    few = facts(sizes={s: c for s, c in sizes.items() if s <= largest.best.size})
    size, why = predicted_size(few, samples, best, unmeasured)
    assert size == largest.best.size
    assert "two points" in why

    at = math.log(1000.0)
    for mean, spread in ((-0.23, 0.56), (0.4, 0.01), (0.7, 5.0)):
        # the product of two normals: of the law, and of how models commonly grow
        narrow = 1 / 0.6**2 if spread else 0.0
        grown = (mean / spread**2 + 0.7 * narrow) / (1 / spread**2 + narrow)
        start = 1.5 * largest.best.size
        known = law(100.0 * start**2 / 1000.0**mean, mean, spread)
        size, _ = predicted_size(dense, 9000.0, best, {"smallest adequate": known})
        expected = start * math.exp(grown * (math.log(9000.0) - at) / 2)
        assert size == pytest.approx(expected, abs=1.0)


def test_a_confrontation_from_registering_to_the_truth() -> None:
    known, shard = facts(), facts().shards[-1]
    analysis = analyse(known, measurements(), nothing)
    made = confrontation(known, shard, analysis, 0.9, "2026-01-01T00:00:00+00:00")
    assert made is not None
    assert (made.samples, made.error, made.inside) == (9001.0, None, None)
    trials = held_out_trials([made], known)
    assert [t.seed for t in trials] == [0, 1]
    assert {(t.items, t.samples, t.size) for t in trials} == {(9001, 9001.0, made.size)}
    truth = made.forecast.error * 1.001
    held = [Measurement(t, Status.COMPLETE, validation_error=truth, parameters=7) for t in trials]
    (met,) = analyse(known, [*measurements(), *held], nothing, [made]).confrontations
    assert (met.error, met.inside, met.parameters) == (pytest.approx(truth), True, 7)
    off = [replace(m, validation_error=made.forecast.upper * 1.5) for m in held]
    (missed,) = analyse(known, [*measurements(), *off], nothing, [made]).confrontations
    assert missed.inside is False
    assert missed.forecast == made.forecast, "what was registered does not move"


def test_nothing_to_forecast_from_is_no_confrontation() -> None:
    known = facts()
    assert confrontation(known, known.shards[-1], analyse(known, [], nothing), 0.9, "") is None


def test_a_confrontation_of_a_shard_that_is_gone_stays_as_it_was() -> None:
    at = ForecastPoint(5.0, 1.0, 0.2, 0.1, 0.3)
    lost = HeldOutForecast(5.0, at, 0.9, 4, "", VALUES, "")
    assert held_out_trials([lost], facts()) == []
    assert analyse(facts(), measurements(), nothing, [lost]).confrontations == (lost,)


def test_the_whole_surface_tells_how_the_best_model_grows(made_study: Any) -> None:
    """The made study's best size is 40 * m**0.75 parameters, on a ladder of five sizes."""
    law = dict(size_laws(made_study.analysis.best_fits))[WHOLE_SURFACE]
    assert law.outcome == "ok"
    assert law.places == 29  # the thirtieth has a diverged seed of two
    assert law.beta_p is not None
    assert law.beta_p.lower is not None
    assert law.beta_p.upper is not None
    assert law.beta_p.lower < 0.75 < law.beta_p.upper
