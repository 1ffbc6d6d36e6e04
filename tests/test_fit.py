"""Known curves must come back with the right law, exponent and outcome."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from steep.fit import _widened, fit, fit_size_law, points_of
from steep.forecast import forecast
from steep.present import numbers
from steep.records import BestFit, Candidate, Fit, Interval, Point, SizeLaw, decode, encode
from steep.tables.read import read

SIZES = np.geomspace(100, 10_000, 8)


def noisy(error: np.ndarray, seed: int, scatter: float = 0.01) -> np.ndarray:
    return error * np.exp(scatter * np.random.default_rng(seed).normal(size=len(error)))


def test_a_pure_power_law_comes_back() -> None:
    found = fit(samples=SIZES, error=noisy(5 * SIZES**-0.3, 1))
    assert found.outcome == "ok"
    assert found.beta_g is not None
    assert found.beta_g.lower < -0.3 < found.beta_g.upper
    assert found.beta_g.upper - found.beta_g.lower < 0.05


def test_a_law_is_fitted_to_the_best_error_that_is_expected_below_a_point() -> None:
    """Where the model measured is expected 0.2 above the best, the fit and its forecasts are those
    of an error lower by as much, and the point keeps what was measured."""
    error = noisy(5 * SIZES**-0.3, 1)
    better = error * np.exp(np.where(SIZES > 9000, -0.2, 0.0))

    def points(errors: np.ndarray, regret: float) -> list[Point]:
        pairs = zip(SIZES, errors, strict=True)
        last = SIZES[-1]
        return [Point(m, e, 0.02, regret=regret if m == last else 0.0) for m, e in pairs]

    found, expected = fit(points=points(error, 0.2)), fit(points=points(better, 0.0))
    assert found.used[-1].error == pytest.approx(error[-1])
    forecasts = [forecast(one, at=[40_000]).at[0] for one in (found, expected)]
    assert forecasts[0].error == pytest.approx(forecasts[1].error, rel=1e-6)
    assert forecasts[0].upper == pytest.approx(forecasts[1].upper, rel=1e-6)


def test_a_visible_floor_wins_the_evidence() -> None:
    found = fit(samples=SIZES, error=noisy(5 * SIZES**-0.5 + 0.1, 2, 0.003))
    assert found.law("power").weight < 0.05
    gamma = found.law("power+floor").parameter("gamma")
    assert gamma.lower < 0.1 < gamma.upper


def test_without_noise_parameters_come_back_to_six_digits() -> None:
    found = fit(samples=SIZES, error=5 * SIZES**-0.3 + 0.1)
    values = [p.value for p in found.law("power+floor").parameters]
    assert values == pytest.approx([5, -0.3, 0.1], rel=1e-6)


def test_few_points_carry_both_laws_and_say_so() -> None:
    found = fit(samples=SIZES[:5], error=noisy(5 * SIZES[:5] ** -0.3, 3, 0.02))
    assert min(found.law("power").weight, found.law("power+floor").weight) > 0.1
    assert "too few to show whether the error has a floor" in found.supports


def test_two_sizes_are_too_few() -> None:
    found = fit(samples=[100, 200], error=[0.5, 0.4])
    assert found.outcome == "too few points"
    assert found.beta_g is None
    assert found.laws == ()


def test_rising_errors_are_not_a_power_law() -> None:
    found = fit(samples=SIZES, error=0.1 * SIZES**0.2)
    assert found.outcome == "not a power law"
    assert found.beta_g is None
    assert "rises" in found.beta_g_reason
    assert (found.laws, found.regions) == ((), ())  # no law, so nothing of one
    carried_on = found.predict([2 * SIZES[-1]]).iloc[0]
    assert carried_on.lower < found.used[-1].error < carried_on.upper


def test_a_constant_shows_no_fall_whatever_its_rounding() -> None:
    for error in (np.full(5, 0.5), 0.5 - 1e-15 * np.arange(5), 0.5 + 1e-15 * np.arange(5)):
        found = fit(samples=SIZES[:5], error=error)
        assert found.outcome == "not a power law"
        assert "show no significant decrease" in found.beta_g_reason


def test_whether_it_falls_is_decided_with_the_noise() -> None:
    """Constants with 2 % noise are hardly ever a law, half of which a sign would make one; a slow
    fall in 1 % noise always is."""
    noise = [np.random.default_rng(k).normal(size=6) for k in range(40)]
    m = SIZES[:6]
    flat = [fit(samples=m, error=0.4 * np.exp(0.02 * e), intervals=False).outcome for e in noise]
    slow = [fit(samples=m, error=m**-0.05 * np.exp(0.01 * e), intervals=False) for e in noise]
    assert flat.count("not a power law") >= 28
    assert all(f.outcome == "ok" for f in slow)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ([0.5, 0.2, 0.19, 0.19, 0.19, 0.19, 0.19, 0.19], "ok"),  # on its floor since
        ([0.5, 0.4, 0.35, 0.33, 0.331, 0.328, 0.332, 0.33], "ok"),
        ([0.5, 0.42, 0.36, 0.31, 0.3, 0.33, 0.38, 0.45], "not a power law"),  # back up again
    ],
)
def test_a_curve_that_fell_may_lie_on_its_floor(error: list[float], outcome: str) -> None:
    assert fit(samples=SIZES, error=error).outcome == outcome


def test_sizes_beside_each_other_make_no_curve() -> None:
    found = fit(samples=[100, 100.0001, 100.0002, 100.0003], error=[0.5, 0.4, 0.3, 0.2])
    assert found.outcome == "too few points"
    assert "too near to each other" in found.supports


@pytest.mark.filterwarnings("error")
def test_the_largest_and_smallest_of_numbers_do_not_break_a_fit() -> None:
    """1e308 is refused, 1e-320 is as good as zero; what lies within 1e30 is fitted, or no law."""
    with pytest.raises(ValueError, match="no error lies above 1e30"):
        fit(samples=SIZES[:4], error=[1e308, 0.5, 0.4, 0.3])
    found = fit(samples=[100, 200, 400, 800], error=[1e-320, 0.5, 0.4, 0.3])
    assert [p.samples for p in found.used] == [200, 400, 800]
    for order in itertools.permutations([1e-29, 0.5, 0.4, 9e29]):
        fit(samples=SIZES[:4], error=order).summary()


def test_repeated_sizes_are_replicates() -> None:
    m = np.repeat(SIZES, 3)
    found = fit(samples=m, error=noisy(5 * m**-0.3, 4, 0.05))
    assert [p.replicates for p in found.points] == [3] * len(SIZES)
    assert found.noise.replicate == pytest.approx(0.05, rel=0.5)
    assert found.noise.replicate_df == 2 * len(SIZES)


def test_replicates_narrow_the_slope() -> None:
    once = fit(samples=SIZES[:4], error=noisy(5 * SIZES[:4] ** -0.3, 5, 0.05))
    m = np.repeat(SIZES[:4], 8)
    often = fit(samples=m, error=noisy(5 * m**-0.3, 5, 0.05))
    assert once.beta_g is not None
    assert often.beta_g is not None
    assert often.beta_g.upper - often.beta_g.lower < once.beta_g.upper - once.beta_g.lower


def test_best_guess_points_are_set_aside() -> None:
    error = np.minimum(20 * SIZES**-0.5, 0.9)
    found = fit(samples=SIZES, error=error, best_guess=0.9)
    assert [p.reason for p in found.points if not p.used] == ["small-data"] * int(
        np.sum(error == 0.9)
    )
    assert found.beta_g is not None
    assert found.beta_g.value == pytest.approx(-0.5, rel=1e-6)


def test_arrays_and_frames_are_read_by_the_rules_of_a_table() -> None:
    m = [100, 200, 400, 800, 1600]
    found = fit(samples=m, error=[0.5, math.nan, 0.3, 0.24, 0.0])
    assert [p.samples for p in found.points] == [100, 400, 800]
    assert "Rows without a size or an error are left out (row 2)." in found.notes
    assert any("Zero errors have no logarithm" in note for note in found.notes)
    with pytest.raises(ValueError, match="row 2, column 'error': an error cannot be negative"):
        fit(samples=m[:2], error=[0.5, -0.1])
    with pytest.raises(ValueError, match="row 1, column 'samples': a size must be positive"):
        fit(samples=[-1, 200], error=[0.5, 0.4])


def test_a_frame_means_what_a_file_means(tmp_path: Path) -> None:
    """Accuracies in percent, standard errors beside them, one of which is missing."""
    error = noisy(2 * SIZES**-0.3, 6)
    frame = pd.DataFrame({"n_train": SIZES, "val_acc": 100 - 100 * error, "se": 2.0})
    frame.loc[3, "se"] = math.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    (curve,) = read(tmp_path / "t.csv").curves
    of_frame, of_file = fit(frame), fit(curve)
    assert of_frame.points == of_file.points
    assert (of_frame.beta_g, of_frame.noise.given) == (of_file.beta_g, True)
    assert any("is an accuracy in percent" in note for note in of_frame.notes)
    assert [p.error for p in of_frame.points] == pytest.approx(error)
    assert fit(read(tmp_path / "t.csv")) == of_file


def test_frame_arrays_and_points_agree() -> None:
    error = noisy(5 * SIZES**-0.3, 6)
    by_array = fit(samples=SIZES, error=error)
    by_frame = fit(pd.DataFrame({"n": SIZES, "loss": error}), x="n", y="loss")
    points = [Point(float(m), float(e)) for m, e in zip(SIZES, error, strict=True)]
    assert by_array.points == by_frame.points
    assert by_array.beta_g == by_frame.beta_g == fit(points=points).beta_g
    assert (by_array.metric, by_frame.metric) == ("error", "loss")
    assert by_array.draws == by_frame.draws


def test_arrays_may_stand_beside_a_frame() -> None:
    error = noisy(5 * SIZES**-0.3, 6)
    frame = pd.DataFrame({"samples": SIZES, "error": error, "stderr": 0.5 * error})
    found = fit(frame, se=0.01 * error, parameters=10 * SIZES)
    assert [p.se_log for p in found.points] == pytest.approx([0.01] * len(SIZES))
    assert [p.parameters for p in found.points] == pytest.approx(10 * SIZES)
    assert fit(frame, se="stderr").points[0].se_log == pytest.approx(0.5)


def test_a_size_without_a_standard_error_gets_the_typical_one() -> None:
    m, error = SIZES[:5], noisy(5 * SIZES[:5] ** -0.3, 6)
    whole = fit(samples=m, error=error, se=0.1 * error)
    gap = fit(samples=m, error=error, se=[*(0.1 * error[:-1]), math.nan])
    assert gap.beta_g == pytest.approx(whole.beta_g)
    assert gap.noise.given
    assert any("get the typical one" in note for note in gap.notes)
    few = fit(samples=m, error=error, se=[0.05, 0.05, *[math.nan] * 3])
    assert few.beta_g == fit(samples=m, error=error).beta_g
    assert "Column 'se': only 2 of 5 rows have a standard error, and none is used." in few.notes


@pytest.mark.parametrize("given", ["a.csv", Path("a.csv")])
def test_a_path_is_not_read_but_said(given: object) -> None:
    with pytest.raises(ValueError, match=r"steep\.read\('a\.csv'\)"):
        fit(given)  # type: ignore[arg-type]


def test_several_curves_are_not_one() -> None:
    frame = pd.DataFrame({"curve": list("aabb"), "samples": [1, 2] * 2, "error": [0.5, 0.4] * 2})
    with pytest.raises(ValueError, match="this needs one curve, not 'a', 'b'"):
        fit(frame)
    with pytest.raises(ValueError, match="int is no table"):
        fit(5)  # type: ignore[arg-type]


def test_units_of_samples_do_not_matter() -> None:
    error = noisy(5 * SIZES**-0.3, 7)
    one, thousand = fit(samples=SIZES, error=error), fit(samples=SIZES * 1000, error=error)
    assert one.beta_g is not None
    assert thousand.beta_g is not None
    assert thousand.beta_g.value == pytest.approx(one.beta_g.value, rel=1e-9)
    assert thousand.laws[0].weight == pytest.approx(one.laws[0].weight, rel=1e-6)


def test_a_fit_survives_json() -> None:
    found = fit(samples=SIZES, error=noisy(5 * SIZES**-0.3, 8))
    assert decode(Fit, encode(found)) == found


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no column 'y2'"):
        fit(pd.DataFrame({"samples": SIZES, "error": SIZES}), y="y2")
    with pytest.raises(ValueError, match="different lengths"):
        fit(samples=SIZES, error=SIZES[:3])
    with pytest.raises(ValueError, match="no law named"):
        fit(samples=SIZES, error=SIZES, laws=["linear"])


class TestSizeLaw:
    def test_recovers_the_exponent(self) -> None:
        found = fit_size_law(SIZES, 3e3 * SIZES**0.7)
        assert found.beta_p is not None
        assert found.beta_p.value == pytest.approx(0.7, abs=2e-3)
        assert found.beta_p.lower < 0.7 < found.beta_p.upper

    def test_edge_points_are_one_sided(self) -> None:
        """Sizes cut off by the ladder's top would flatten the slope if taken as values."""
        m = 2.0 ** np.arange(7, 15)
        true = noisy(3e3 * m**0.7, 9, 0.1)
        seen = np.minimum(true, true[5])
        edge = [""] * 5 + ["high"] * 3
        censored, naive = fit_size_law(m, seen, edge), fit_size_law(m, seen)
        assert censored.beta_p is not None
        assert naive.beta_p is not None
        assert censored.beta_p.lower < 0.7 < censored.beta_p.upper
        assert naive.beta_p.value < censored.beta_p.value

    def test_with_three_optima_it_is_not_measured(self) -> None:
        found = fit_size_law(SIZES[:5], SIZES[:5], ["low", "", "", "", "high"])
        assert found.outcome == "not measured"
        assert found.beta_p is None
        assert "3 of the best fits" in found.reason

    def test_a_coarse_ladder_widens_the_interval_as_it_must(self) -> None:
        """Optima on an exact law, each the nearest size of a ladder with steps of four: most
        shards share a size, so that a line of the wrong slope fits them exactly."""
        rng = np.random.default_rng(0)
        m, step = 1000.0 * 2.0 ** np.arange(5), np.log(4.0)
        held = {True: 0, False: 0}
        for _ in range(100):
            exponent, onset = rng.uniform(0.05, 0.4), rng.uniform(5.0, 15.0)
            rungs = np.round((onset + exponent * np.log(m / m[0])) / step)
            for told in held:
                found = fit_size_law(m, np.exp(rungs * step), step=[4.0] * 5 if told else None)
                assert found.beta_p is not None
                held[told] += found.beta_p.lower <= exponent <= found.beta_p.upper
        assert held[True] >= 85
        assert held[False] < 60  # what the points alone say: too sure

    def test_a_fine_ladder_changes_nothing(self) -> None:
        """Scatter of 20 % about the law says more than steps of 5 % can hide."""
        size = noisy(3e3 * SIZES**0.7, 3, 0.2)
        coarse, fine = fit_size_law(SIZES, size), fit_size_law(SIZES, size, step=[1.05] * 8)
        assert coarse.beta_p is not None
        assert fine.beta_p is not None
        assert fine.beta_p.value == pytest.approx(coarse.beta_p.value, abs=1e-3)
        width = coarse.beta_p.upper - coarse.beta_p.lower
        assert fine.beta_p.upper - fine.beta_p.lower == pytest.approx(width, rel=0.05)

    def test_steps_are_ratios(self) -> None:
        with pytest.raises(ValueError, match="a step is the ratio"):
            fit_size_law(SIZES, SIZES, step=[0.5] * len(SIZES))

    def test_survives_json(self) -> None:
        found = fit_size_law(SIZES, 3e3 * SIZES**0.7)
        assert decode(SizeLaw, encode(found)) == found

    def test_wrong_edge_is_refused(self) -> None:
        with pytest.raises(ValueError, match="edge is"):
            fit_size_law(SIZES, SIZES, ["left"] * len(SIZES))


class TestPointsOfAStudy:
    def best_fit(self, samples: float, error: float, **changes: object) -> BestFit:
        candidate = Candidate(
            size=8,
            hyperparameters=(),
            seeds=(0, 1),
            errors=(error, error),
            score=error,
            parameters=1000,
            parameters_without_embeddings=900,
            capped=bool(changes.pop("capped", False)),
        )
        values = {"permutation": 0, "held_out": False, "seed_se": 0.01 * error} | changes
        return BestFit(
            samples=samples,
            unit="images",
            best=candidate,
            adequate=candidate,
            plateau=False,
            edge="",
            adequate_edge="",
            validation_se=None,
            test_error=None,
            metrics=(),
            candidates=(candidate,),
            **values,
        )

    def test_capped_points_are_shown_but_not_used(self) -> None:
        best = [self.best_fit(m, 5 * m**-0.3) for m in SIZES[:6]]
        best.append(self.best_fit(SIZES[6], 0.9, capped=True))
        found = fit(points=points_of(best))
        assert [p.reason for p in found.points[6:]] == ["capped"]
        assert found.reference == SIZES[5]
        assert found.at_hand == SIZES[6], "the data are there, though no law may rest on them"
        assert found.noise.given
        assert found.beta_g.value == pytest.approx(-0.3, rel=1e-6)

    def test_a_held_out_point_is_used_once_it_is_measured(self) -> None:
        best = [self.best_fit(m, 5 * m**-0.3) for m in SIZES[:6]]
        held = self.best_fit(SIZES[7], 0.3, held_out=True, flags=("incomplete",))  # its first seed
        found = fit(points=points_of([*best, held]))
        assert (found.points[-1].used, found.points[-1].held_out) == (True, True)
        assert found.at_hand == found.reference == SIZES[7]

    def test_permutations_of_one_size_are_replicates(self) -> None:
        best = [
            self.best_fit(m, 5 * m**-0.3 * (1 + 0.02 * sign), permutation=int(sign > 0))
            for m in SIZES
            for sign in (-1, 1)
        ]
        found = fit(points=points_of(best))
        assert [p.replicates for p in found.points] == [2] * len(SIZES)
        assert found.noise.replicate_df == len(SIZES)


class TestRegions:
    M = 1000 * 2.0 ** np.arange(10)

    def by_name(self, found: Fit) -> dict:
        return {region.name: region for region in found.regions}

    def test_a_floor_ends_the_power_law_region(self) -> None:
        found = fit(samples=self.M, error=noisy(0.5 * (self.M / 1000) ** -0.5 + 0.1, 1))
        part = self.by_name(found)["irreducible-error"]
        truth = 1000 * (0.1 / 0.5) ** (1 / -0.5)  # half the steepest slope: near equal shares
        assert part.probability > 0.9
        assert part.start.lower < 4 * truth
        assert part.start.upper > truth
        assert part.points >= 3
        assert "left out" in found.beta_g_reason

    def test_guessing_precedes_the_power_law_region(self) -> None:
        error = noisy(0.9 * (1 + (self.M / 8000) ** 2) ** -0.25, 2)
        part = self.by_name(fit(samples=self.M, error=error))["small-data"]
        assert part.probability > 0.9
        assert part.end.lower < 8000 < part.end.upper * 1.2

    def test_a_power_law_has_one_region(self) -> None:
        parts = self.by_name(fit(samples=self.M, error=noisy(0.5 * (self.M / 1000) ** -0.3, 3)))
        assert parts["power-law"].points == len(self.M)
        assert parts["small-data"].probability < 0.2
        assert parts["irreducible-error"].probability < 0.2

    def test_points_at_the_best_guess_are_counted(self) -> None:
        error = np.minimum(5 * (self.M / 1000) ** -0.9, 0.9)
        found = fit(samples=self.M, error=error, best_guess=0.9)
        small = self.by_name(found)["small-data"]
        assert small.points == int(np.sum(error == 0.9))
        assert small.end.lower < small.end.value < small.end.upper


@pytest.mark.parametrize("place", [2, 4, 7])
@pytest.mark.parametrize("times", [0.75, 1.6])
def test_a_robust_fit_is_that_without_the_point_off_the_trend(place: int, times: float) -> None:
    m = 1000 * 2.0 ** np.arange(8)
    error = noisy(0.5 * (m / 1000) ** -0.3, 4, 0.01)
    error[place] *= times
    plain, robust = (fit(samples=m, error=error, robust=r).beta_g for r in (False, True))
    dropped = fit(samples=np.delete(m, place), error=np.delete(error, place)).beta_g
    assert abs(robust.value - dropped.value) < 0.01
    assert robust.upper - robust.lower < 1.5 * (dropped.upper - dropped.lower)
    assert robust.upper - robust.lower < 0.5 * (plain.upper - plain.lower)
    notes = fit(samples=m, error=error, robust=True).notes
    assert [note for note in notes if "off the trend" in note] == [
        f"The point at {numbers.exact(m[place])} samples lies off the trend and weighs less."
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_robust_fit_of_a_clean_curve_is_the_plain_one(seed: int) -> None:
    m = 1000 * 2.0 ** np.arange(8)
    error = noisy(0.5 * (m / 1000) ** -0.3 + 0.05 * (seed % 2), seed, 0.02)
    plain, robust = (fit(samples=m, error=error, robust=r) for r in (False, True))
    assert robust.beta_g == plain.beta_g
    assert robust.notes == plain.notes


def test_given_standard_errors_set_the_width() -> None:
    m = 1000 * 2.0 ** np.arange(8)
    error = noisy(0.5 * (m / 1000) ** -0.3, 5, 0.01)
    small, large = (fit(samples=m, error=error, se=share * error).beta_g for share in (0.01, 0.05))
    assert large.upper - large.lower > 2 * (small.upper - small.lower)


def test_the_common_effect_of_one_validation_set_moves_the_level_only() -> None:
    m = 1000 * 2.0 ** np.arange(8)
    error = noisy(0.5 * (m / 1000) ** -0.3, 6)
    alone, common = (fit(samples=m, error=error, validation_se=v) for v in (None, 0.1))
    assert alone.beta_g == common.beta_g
    narrow, wide = (f.predict([m[-1] * 2]).iloc[0] for f in (alone, common))
    assert wide.upper / wide.lower > 1.2 * narrow.upper / narrow.lower


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_a_shared_validation_set_widens_the_exponent_by_the_normals_quantile(level: float) -> None:
    """Relative errors of 3 % and 5 % at the ends: 4 % over a factor of e^2 are 2 % of a slope."""
    found = _widened(
        Interval(-0.3, -0.33, -0.3, level), (0.03, 0.01, 0.05), np.exp([0.0, 1.0, 2.0])
    )
    half = 0.02 * ndtri(0.5 + level / 2)
    assert found is not None
    assert found.value == -0.3
    assert found.lower == pytest.approx(-0.3 - np.hypot(0.03, half))
    assert found.upper == pytest.approx(-0.3 + half)
    falling = _widened(found, (0.05, 0.03), np.exp([0.0, 2.0]))
    assert (falling.lower, falling.upper) == pytest.approx((found.lower, found.upper))


def test_no_change_is_told_in_the_metric_that_was_measured():
    """An accuracy should increase: that it does not is no missing 'decrease'."""
    flat = pd.DataFrame(
        {"n": [100, 200, 400, 800, 1600], "accuracy": [0.700, 0.702, 0.699, 0.701, 0.700]}
    )
    found = fit(flat, x="n", y="accuracy")
    assert found.outcome == "not a power law"
    assert found.beta_g_reason == "the points show no significant increase of accuracy"
    assert "may show an increase" in found.supports
    falling = flat.assign(accuracy=[0.90, 0.85, 0.80, 0.75, 0.70])
    found = fit(falling, x="n", y="accuracy")
    assert found.beta_g_reason == "the accuracy falls with more samples"
    assert "No law here falls" in found.supports


def test_of_a_metric_of_a_class_the_positives_are_said_to_be_unknown() -> None:
    """A thousand items of which ten are positive tell an AUC worse than an accuracy."""
    error = noisy(5 * SIZES**-0.3, 1) / 5

    def said(metric: str, **more: object) -> list[str]:
        found = fit(samples=SIZES, error=error, metric=metric, **more)  # type: ignore[arg-type]
        return [note for note in found.notes if "positive" in note]

    for metric in ("1 - auc", "1 - average_precision", "1 - f1", "1 - recall"):
        (plain,) = said(metric)
        assert plain.endswith("which is not known here: no interval has it.")
        (counted,) = said(metric, validation_items=1000)
        assert "that of an accuracy on as many items" in counted
        assert said(metric, se=0.01 * error) == said(metric, validation_se=0.05) == []
    for metric in ("error", "1 - accuracy", "1 - bleu / 100", "loss", "1 - r2"):
        assert said(metric) == []
