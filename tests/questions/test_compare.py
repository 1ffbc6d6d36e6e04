"""Comparisons of simulated curves: nominal sizes, stated power, multipliers that cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from steep import compare
from steep.fit import fit
from steep.questions.compare import (
    _multiplier_at,
    _multiplier_forecast,
    _Options,
    _powers,
    _Side,
    _smallest_margin,
)
from steep.records import Comparison, Draws, Fit, Interval, NoiseParts, Pair, Point, decode, encode
from steep.stats.line import TwoLines
from steep.tables.read import read

SIZES = 200.0 * 2.0 ** np.arange(6)


def points(
    error: np.ndarray, sizes: np.ndarray = SIZES, se_log: float | None = None
) -> list[Point]:
    return [Point(float(m), float(e), se_log) for m, e in zip(sizes, error, strict=True)]


def pair_of(
    random: np.random.Generator,
    *,
    slopes: tuple[float, float] = (-0.3, -0.3),
    multiplier: float = 1.5,
    noise: float = 0.02,
    shared: float = 0.0,
    sizes: np.ndarray = SIZES,
    se_log: float | None = None,
) -> tuple[list[Point], list[Point]]:
    """The first needs ``multiplier`` times the data of the second where slopes are equal."""
    common = shared * random.normal(size=len(sizes))
    noises = common + noise * random.normal(size=(2, len(sizes)))
    first = 2 * (sizes / multiplier) ** slopes[0] * np.exp(noises[0])
    second = 2 * sizes ** slopes[1] * np.exp(noises[1])
    return points(first, sizes, se_log), points(second, sizes, se_log)


def simulate(count: int, paired: bool | None = None, **how: object) -> list[Pair]:
    random = np.random.default_rng(5)
    return [
        compare(*pair_of(random, **how), paired=paired).pairs[0]  # type: ignore[arg-type]
        for _ in range(count)
    ]


def misses(pairs: list[Pair], truth: float) -> float:
    return float(
        np.mean([not p.difference.lower <= truth <= p.difference.upper for p in pairs])  # type: ignore[union-attr,operator]
    )


@pytest.mark.parametrize(("paired", "least"), [(True, 0.04), (False, 0.01)])
def test_the_slope_test_has_its_nominal_size(paired: bool, least: float) -> None:
    """10 % at the most; less where the draw of the data might have been in the noise."""
    found = simulate(300, paired=paired)
    assert least <= misses(found, 0.0) <= 0.12
    assert np.mean([p.verdict == "different exponents" for p in found]) <= 0.12


def nested(random: np.random.Generator, scale: float) -> np.ndarray:
    """Noise of the draw of nested shards: a running mean over the permutation."""
    steps = np.diff(SIZES, prepend=0.0)
    walk = np.cumsum(random.normal(size=len(SIZES)) * np.sqrt(steps))
    return scale * walk / SIZES * np.sqrt(SIZES[0])


@pytest.mark.parametrize(("common", "paired"), [(1.0, True), (0.5, True), (0.0, False)])
def test_nested_shards_are_covered(common: float, paired: bool) -> None:
    """The draw of the data is most of the noise, shared by both curves, in part, or not."""
    random = np.random.default_rng(6)
    held = []
    for _ in range(200):
        draw = nested(random, 0.03)
        curves = []
        for slope in (-0.33, -0.3):
            own = common * draw + (1 - common) * nested(random, 0.03)
            curves.append(points(2 * SIZES**slope * np.exp(own + 0.01 * random.normal(size=6))))
        pair = compare(*curves, paired=paired).pairs[0]
        assert pair.difference is not None
        held.append((pair.difference.lower or 0) <= -0.03 <= (pair.difference.upper or 0))
    assert np.mean(held) >= 0.82


def test_known_standard_errors_keep_the_size() -> None:
    assert misses(simulate(250, se_log=0.02), 0.0) <= 0.14
    assert 0.03 <= misses(simulate(250, se_log=0.002), 0.0) <= 0.14


def test_pairing_cancels_shared_noise_and_keeps_coverage() -> None:
    """Both curves on the same shards: a hard shard is hard for both."""
    paired = simulate(200, shared=0.05, slopes=(-0.33, -0.3))
    apart = simulate(200, shared=0.05, slopes=(-0.33, -0.3), paired=False)

    def width(pairs: list[Pair]) -> float:
        return float(np.median([p.difference.upper - p.difference.lower for p in pairs]))  # type: ignore[union-attr,operator]

    assert all(p.paired for p in paired)
    assert width(paired) < 0.6 * width(apart)
    assert 0.02 <= misses(paired, -0.03) <= 0.14


def test_the_stated_power_is_the_rate_of_same_for_equal_exponents() -> None:
    found = simulate(250, noise=0.015)
    said = np.mean([p.power_same for p in found])
    assert np.mean([p.verdict == "same exponent" for p in found]) == pytest.approx(said, abs=0.1)
    assert 0.5 < said < 0.95


def test_the_stated_power_to_find_the_margin_is_reached() -> None:
    found = simulate(250, slopes=(-0.315, -0.285), noise=0.015)
    detected = misses(found, 0.0)
    assert detected == pytest.approx(np.mean([p.power_different for p in found]), abs=0.07)


def test_exponents_that_differ_by_the_margin_are_rarely_called_the_same() -> None:
    found = simulate(250, slopes=(-0.3, -0.3 / 1.1055), noise=0.01)
    assert np.mean([p.verdict == "same exponent" for p in found]) <= 0.08


def test_without_power_the_word_same_is_never_used() -> None:
    found = simulate(300, noise=0.06)
    assert max(p.power_same for p in found if p.verdict != "same exponent") > 0.0
    assert all(p.power_same >= 0.5 for p in found if p.verdict == "same exponent")
    assert np.mean([p.verdict == "cannot tell" for p in found]) > 0.75
    assert "could show equality only to within" in found[0].sentences[0]
    assert found[0].smallest_margin is not None
    assert found[0].smallest_margin > 0.1


@pytest.mark.parametrize("how", [{}, {"shared": 0.03}, {"paired": False}])
def test_the_multiplier_covers(how: dict[str, object]) -> None:
    found = simulate(250, **how)  # type: ignore[arg-type]
    inside = [
        (p.multiplier.lower or 0.0) <= 1.5 <= (p.multiplier.upper or np.inf)  # type: ignore[union-attr]
        for p in found
    ]
    assert np.mean(inside) >= 0.85
    widths = [(p.multiplier.upper or np.inf) / (p.multiplier.lower or 0.1) for p in found]  # type: ignore[union-attr]
    assert np.median(widths) < (2.0 if how.get("paired") is False else 1.35)


def test_the_multiplier_covers_at_a_stated_error_where_slopes_differ() -> None:
    random = np.random.default_rng(3)
    at = 0.3
    truth = (at / 2) ** (1 / -0.35) * 1.5 / (at / 2) ** (1 / -0.25)
    inside = []
    for _ in range(200):
        curves = pair_of(random, slopes=(-0.35, -0.25))
        pair = compare(*curves, error=at).pairs[0]
        assert pair.multiplier is not None
        assert pair.multiplier_at == at
        inside.append((pair.multiplier.lower or 0) <= truth <= (pair.multiplier.upper or np.inf))
    assert np.mean(inside) >= 0.84


def test_forecast_and_compare_rank_curves_alike() -> None:
    """Errors beyond the points and among them, of straight and of bent curves: whatever takes less
    data by the one takes less by the other."""
    random = np.random.default_rng(5)
    seen = set()
    for k in range(12):
        floors = (0.0, 0.0) if k % 2 else (0.0, 0.12)
        slopes = random.uniform(-0.45, -0.2, 2)
        levels = 0.5 * (SIZES[0] / SIZES) ** 0.0
        curves = {
            name: fit(
                samples=SIZES,
                error=(levels * (SIZES / SIZES[0]) ** slope + floor)
                * np.exp(0.02 * random.normal(size=len(SIZES))),
                intervals=False,
            )
            for name, slope, floor in zip("AB", slopes, floors, strict=True)
        }
        for error in (0.3, 0.15, 0.05):
            pair = compare(curves, error=error).pairs[0]
            needed = [curves[name].samples_for(error).samples for name in "AB"]
            if pair.multiplier is None:
                assert {None, np.inf} & {*needed}
                assert pair.no_multiplier in ("out of reach", "an error does not fall")
                continue
            assert pair.multiplier.value is not None
            seen.add(pair.multiplier.value > 1)
            assert (pair.multiplier.value > 1) == (needed[0] > needed[1])  # type: ignore[operator]
            if pair.extrapolates:
                assert pair.multiplier.value == pytest.approx(needed[0] / needed[1])  # type: ignore[operator]
    assert seen == {True, False}


def test_an_error_that_a_forecast_does_not_reach_gives_no_multiplier() -> None:
    floored = fit(samples=SIZES, error=2 * SIZES**-0.5 + 0.2, intervals=False)
    power = fit(samples=SIZES, error=2 * SIZES**-0.3, intervals=False)
    pair = compare({"new": floored, "old": power}, error=0.05).pairs[0]
    assert (pair.multiplier, pair.unreached) == (None, ("new",))
    said = "No data multiplier at an error of 5.00 %: the forecast of new does not reach it."
    assert said in pair.sentences


def test_a_crossing_is_found_with_its_interval() -> None:
    random = np.random.default_rng(4)
    inside = []
    for _ in range(200):
        noise = 0.01 * random.normal(size=(2, 6))
        first = 0.2 * (SIZES / 1500) ** -0.4 * np.exp(noise[0])
        second = 0.2 * (SIZES / 1500) ** -0.3 * np.exp(noise[1])
        crossing = compare(points(first), points(second)).pairs[0].crossing
        assert crossing is not None
        assert crossing.outcome == "cross"
        assert crossing.samples is not None
        inside.append((crossing.samples.lower or 0) <= 1500 <= (crossing.samples.upper or np.inf))
    assert np.mean(inside) >= 0.84


def test_parallel_curves_do_not_cross() -> None:
    pair = simulate(1, multiplier=3.0, noise=0.005)[0]
    assert pair.crossing is not None
    assert pair.crossing.outcome == "do not cross"
    assert any("do not cross between 200 and" in s for s in pair.sentences)


def test_exact_curves_are_the_same_with_their_exact_multiplier() -> None:
    pair = compare(points(2 * SIZES**-0.3), points(3 * SIZES**-0.3), names=["new", "old"]).pairs[0]
    assert pair.verdict == "same exponent"
    assert pair.any_error
    assert pair.multiplier is not None
    assert 1 / (pair.multiplier.value or 0) == pytest.approx(1.5 ** (1 / 0.3))
    assert pair.sentences[1].startswith("old needs 3.86x [3.86, 3.86]")


def test_sizes_that_differ_are_compared_unpaired_on_the_common_range() -> None:
    sizes = np.geomspace(500, 50_000, 8)
    pair = compare(points(2 * SIZES**-0.3), points(3 * sizes**-0.3, sizes)).pairs[0]
    assert not pair.paired
    assert (pair.start, pair.end) == (500, 6400)
    assert pair.points == (4, 4)


def test_curves_apart_and_short_ones_say_so() -> None:
    apart = compare(points(2 * SIZES**-0.3), points(2 * (SIZES * 100) ** -0.3, SIZES * 100))
    assert apart.pairs[0].outcome == "no common range"
    short = compare(points(2 * SIZES**-0.3)[:2], points(3 * SIZES**-0.3))
    assert short.pairs[0].outcome == "too few points"
    assert "cannot be compared" in short.sentence


def test_a_curve_that_does_not_fall_has_no_multiplier() -> None:
    pair = compare(points(0.1 * SIZES**0.1), points(2 * SIZES**-0.3)).pairs[0]
    assert pair.multiplier is None
    assert pair.no_multiplier == "an error does not fall"
    assert (
        pair.sentences[1] == "No data multiplier: at least one error does not decrease with data."
    )
    assert pair.verdict == "different exponents"


def test_a_multiplier_of_an_error_that_one_never_had_says_so() -> None:
    """4.5 times the error at every size, with slopes of -0.1: 4.5^10 times the data."""
    good = 0.1 * SIZES**-0.1
    pair = compare(points(4.5 * good), points(good)).pairs[0]
    assert pair.verdict == "same exponent"
    assert pair.extrapolates
    assert not pair.any_error
    assert pair.sentences[1] == (
        "Extrapolated to an error of 10.5 %, A would need 3.41e6x [3.41e6, 3.41e6] the data of B: "
        "A had errors from 26.5 % to 18.7 %, B from 5.89 % to 4.16 %."
    )


def test_a_stated_error_is_measured_or_extrapolated() -> None:
    curves = points(0.9 * SIZES**-0.1), points(0.8 * SIZES**-0.1)
    inside, outside = (compare(*curves, error=e).pairs[0] for e in (0.4, 0.2))
    assert not inside.extrapolates
    assert inside.sentences[1].endswith("at an error of 40.0 %.")
    assert outside.extrapolates
    assert outside.sentences[1].startswith("Extrapolated to an error of 20.0 %, A would need")
    assert inside.errors[0] == pytest.approx((0.9 * 6400**-0.1, 0.9 * 200**-0.1))


@pytest.mark.parametrize(("times", "mixed"), [(100, True), (40, True), (3, False)])
def test_percent_beside_fractions_is_asked_about(times: float, mixed: bool) -> None:
    """A rate of 60 to 21 beside one of 0.6 to 0.21, and a loss beside a better one."""
    fraction = 3 * SIZES**-0.3
    found = compare(points(times * fraction), points(fraction), names=["pct", "old"])
    pair = found.pairs[0]
    assert pair.verdict == "same exponent"  # slopes have no unit
    assert (pair.multiplier is None, pair.crossing is None) == (mixed, mixed)
    assert (pair.no_multiplier == "mixed units") == mixed
    assert ("in percent and the other a fraction?" in found.sentence) == mixed


def test_what_was_done_to_the_curves_is_said_of_each() -> None:
    left_out = pd.DataFrame({"samples": [*SIZES, 9e3], "error": [*(3 * SIZES**-0.3), np.nan]})
    clean = pd.DataFrame({"samples": SIZES, "error": 2 * SIZES**-0.3})
    said = "Rows without a size or an error are left out (row 7)."
    assert f"B: {said}" in compare(fit(clean), fit(left_out)).notes
    assert f"B: {said}" in compare(clean, left_out).notes
    assert said in compare(left_out, left_out).notes


def test_the_text_says_how_curves_were_compared_and_what_that_can_show() -> None:
    curves = pair_of(np.random.default_rng(3), noise=0.015)
    together, apart = compare(*curves), compare(*curves, paired=False)
    pair = together.pairs[0]
    how, power = pair.sentences[-3:-1]
    assert how.startswith("Compared size by size, by straight lines through 6 sizes, 200 to 6.4k")
    assert "the exponents of 'steep fit' differ: its laws may bend" in how
    assert power == (
        f"Power: {100 * pair.power_different:.0f} % to detect a difference of 10 % in slope, "
        f"{100 * pair.power_same:.0f} % to confirm equality."
    )
    assert "--unpaired" in together.notes[0]
    assert compare(*curves, paired=True).notes == apart.notes == ()
    assert "Compared without pairing" in " ".join(apart.pairs[0].sentences)


def test_copies_of_a_curve_differ_by_nothing() -> None:
    curve = points(2 * SIZES**-0.3 * np.exp(0.02 * np.random.default_rng(1).normal(size=6)))
    copy = points(np.array([p.error for p in curve]) * 100 / 100)
    assert "slopes differ by 0 % [0, 0] of the slope" in compare(curve, copy).sentence


def test_a_crossing_beyond_the_sizes_says_that_the_lines_go_on() -> None:
    first, second = (0.2 * (SIZES / 2e4) ** slope for slope in (-0.4, -0.3))
    pair = compare(fit(samples=SIZES, error=first, unit="words"),
                   fit(samples=SIZES, error=second, unit="words")).pairs[0]  # fmt: skip
    assert pair.crossing is not None
    assert "The curves cross at 20k words, extrapolated beyond 6.4k." in pair.sentences
    parallel = compare(points(2 * SIZES**-0.3), points(3 * SIZES**-0.3)).pairs[0]
    assert parallel.sentences[2] == (
        "The curves do not cross between 200 and 6.4k samples, nor when extrapolated to 64k."
    )


def test_fits_frames_and_mappings_are_compared_alike() -> None:
    first, second = 2 * SIZES**-0.3, 3 * SIZES**-0.31
    fits = compare(fit(samples=SIZES, error=first), fit(samples=SIZES, error=second))
    frames = [pd.DataFrame({"n": SIZES, "err": e}) for e in (first, second)]
    named = compare(dict(zip(("A", "B"), frames, strict=True)), x="n", y="err")
    assert fits.pairs == named.pairs
    assert decode(Comparison, encode(fits)) == fits


def test_tables_are_read_by_the_rules_of_a_table() -> None:
    first, second = 2 * SIZES**-0.3, 3 * SIZES**-0.31
    fits = compare(fit(samples=SIZES, error=first), fit(samples=SIZES, error=second))
    (plain,) = read({"samples": SIZES, "accuracy": 1 - first}).curves
    found = compare(plain, pd.DataFrame({"samples": SIZES, "accuracy": 100 - 100 * second}))
    value, expected = (c.pairs[0].multiplier.value for c in (found, fits))
    assert value == pytest.approx(expected, rel=0.05)
    said = "B: Column 'accuracy' is an accuracy in percent"
    assert any(note.startswith(said) for note in found.notes)
    words = pd.DataFrame({"words": SIZES, "error": first})
    with pytest.raises(ValueError, match="different units"):
        compare(pd.DataFrame({"images": SIZES, "error": first}), words)


def test_three_curves_are_compared_each_with_each() -> None:
    random = np.random.default_rng(1)
    a, b = pair_of(random, noise=0.003)
    c, _ = pair_of(random, slopes=(-0.5, -0.5), noise=0.003)
    found = compare(a, b, c)
    assert [(p.first, p.second) for p in found.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert found.pair("A", "B").verdict == "same exponent"
    assert found.sentence == "different exponents: 2 of 3 pairs; same exponent: 1 of 3 pairs."


def test_the_validation_sets_own_noise_widens_the_offset_only() -> None:
    from dataclasses import replace

    curves = [fit(points=c) for c in pair_of(np.random.default_rng(2))]
    noisy = [replace(c, noise=NoiseParts(validation=0.05)) for c in curves]
    plain, wide = compare(*curves).pairs[0], compare(*noisy).pairs[0]
    shared = compare(*noisy, items_se=0.001).pairs[0]
    assert wide.difference == plain.difference

    def width(pair: Pair) -> float:
        return (pair.multiplier.upper or 0) - (pair.multiplier.lower or 0)  # type: ignore[union-attr]

    assert width(wide) > 2 * width(plain)
    assert width(shared) == pytest.approx(width(plain), rel=0.05)


def test_what_cannot_be_compared_is_refused() -> None:
    curve = points(2 * SIZES**-0.3)
    with pytest.raises(ValueError, match="at least two"):
        compare(curve)
    with pytest.raises(ValueError, match="different units"):
        compare(fit(points=curve, unit="words"), fit(points=curve, unit="images"))
    with pytest.raises(ValueError, match="names"):
        compare(curve, curve, names=["a", "a"])
    with pytest.raises(ValueError, match="no column 'err'"):
        compare(*[pd.DataFrame({"samples": SIZES, "error": SIZES})] * 2, y="err")
    with pytest.raises(ValueError, match="margin"):
        compare(curve, curve, margin=10)


def test_a_bent_curve_is_pointed_out() -> None:
    pair = compare(points(2 * SIZES**-0.5 + 0.05), points(2 * SIZES**-0.3)).pairs[0]
    assert pair.sentences[-1] == ("A bends within the common range: its slope is the mean over it.")


def test_compare_is_deterministic() -> None:
    curves = pair_of(np.random.default_rng(8), slopes=(-0.35, -0.25))
    assert compare(*curves, error=0.3) == compare(*curves, error=0.3)


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_powers_of_many_degrees_of_freedom_are_the_normals(level: float) -> None:
    """Of standard error 0.01 and a margin of 0.03: both tests reject beyond z standard errors."""
    z = stats.norm.ppf(0.5 + level / 2)
    same, different = _powers(0.01, 1e6, 0.03, level)
    assert same == pytest.approx(2 * stats.norm.cdf(3 - z) - 1, abs=1e-4)
    expected = stats.norm.cdf(3 - z) + stats.norm.cdf(-3 - z)
    assert different == pytest.approx(expected, abs=1e-4)
    margin = _smallest_margin(0.01, 5.0, level)
    assert margin == pytest.approx(0.01 * (stats.t.ppf(0.5 + level / 2, 5) + stats.t.ppf(0.9, 5)))
    assert _powers(0.01, 5.0, margin, level)[0] == pytest.approx(0.8)


def ends(found: Interval) -> list[float]:
    return np.log([found.lower, found.value, found.upper]).tolist()


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_a_multiplier_at_an_error_has_the_limits_of_its_t(level: float) -> None:
    """Of one line the level is known to 0.05 on 6 degrees of freedom: over its slope of 0.4."""
    covariance = np.zeros((4, 4))
    covariance[0, 0] = 0.05**2
    lines = TwoLines(0.0, np.array([-1.0, -0.4, -1.2, -0.5]), ((covariance, 6.0),), 14)
    middle = (-2.0 + 1.0) / -0.4 - (-2.0 + 1.2) / -0.5
    half = 0.05 / 0.4 * stats.t.ppf(0.5 + level / 2, 6)
    found = ends(_multiplier_at(lines, -2.0, level))
    assert found == pytest.approx([middle - half, middle, middle + half], abs=0.1 * half)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_a_multiplier_by_forecasts_is_over_all_pairs_of_draws(level: float) -> None:
    """The first needs 0 to 1 more, in logs, than the second, evenly: by its draws' levels."""
    exponent = float(np.exp(-0.3))  # of scores of zero
    options = _Options(0.05, level, 0.1, False, False, None, None, "samples", "loss")
    sides = []
    for name, spread in (("a", 1.0), ("b", 0.0)):
        levels = -1.0 + exponent * spread * np.linspace(0, 1, 201)
        draws = Draws("power", ((0.0,),) * 201, tuple(levels), (0.01,) * 201, (0,) * 201)
        used = tuple(Point(m, 0.4) for m in (100.0, 200.0, 400.0, 800.0))
        curve = Fit("ok", points=used, reference=800.0, df=6.0, draws=(draws,))
        sides.append(_Side(name, curve, *(np.array([]),) * 3, None, None, ()))
    found, unreached = _multiplier_forecast((sides[0], sides[1]), 0.1, options)
    assert unreached == ()
    expected = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    assert ends(found) == pytest.approx(expected, abs=0.01)
