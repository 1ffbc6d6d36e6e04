"""The first line is the answer, the second its largest caveat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steep.present import sentences
from steep.present.fits import law_lines
from steep.questions.diagnose import diagnose
from steep.records import (
    ALREADY_MET,
    PERHAPS_NOT,
    Fit,
    Forecast,
    ForecastPoint,
    Interval,
    LawFit,
    NoiseParts,
    Point,
    Region,
    RequiredSamples,
    SizeLaw,
)

AT = (
    ForecastPoint(8e3, 2.0, 0.15, 0.14, 0.16),
    ForecastPoint(1.6e4, 4.0, 0.12, 0.11, 0.13),
    ForecastPoint(4e4, 10.0, 0.0812, 0.072, 0.094),
)
NEVER = RequiredSamples(0.05, "not reachable with this model family", unreachable=0.8)
ASKED = Forecast("ok", at=AT[2:], targets=(NEVER,), unit="images", caveat="five points only")


def test_the_answer_is_one_sentence():
    expected = "10x the data: 8.1 % [7.2, 9.4]; 5 % is not reachable with this family"
    assert sentences.answer(ASKED) == expected


def test_of_many_sizes_the_answer_names_the_farthest_two():
    text = sentences.answer(replace(ASKED, at=AT, targets=()))
    assert text == "4x the data: 12.0 % [11.0, 13.0]; 10x: 8.1 % [7.2, 9.4]"


def test_sizes_that_were_asked_for_are_all_named():
    text = sentences.answer(replace(ASKED, at=AT, targets=()), requested=[8e3, 1.6e4, 4e4])
    assert text.startswith("2x the data: 15.0 % [14.0, 16.0]; 4x: 12.0 % [11.0, 13.0]; 10x: 8.1 %")
    assert sentences.answer(replace(ASKED, at=AT, targets=()), requested=[8e3]).startswith("2x the")
    assert ";" not in sentences.answer(replace(ASKED, at=AT, targets=()), requested=[8e3])


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (RequiredSamples(0.05, "ok", 1.2e5, 8e4, 2.6e5, 30.0),
         "5 % needs 120k [80k, 260k] images (30x the data)"),
        (RequiredSamples(0.05, "ok", 1.2e5, 8e4, None, 30.0),
         "5 % needs 120k [80k, no limit] images (30x the data)"),
        (RequiredSamples(0.2, "already reached", 3e3, 2.5e3, 3.5e3, 0.75),
         "20 % is reached at 3k [2.5k, 3.5k] images, within the data"),
        (RequiredSamples(0.2, "already reached", 1300, None, 1900, 0.75, smallest=1e3),
         "20 % is reached at 1.3k [below 1k, 1.9k] images, within the data"),
        (RequiredSamples(0.5, "already met at the smallest size", 1e3, None, 1e3, 0.1,
                         smallest=1e3),
         "50 % is already met at the smallest size, 1,000 images"),
        (RequiredSamples(0.1, PERHAPS_NOT, lower=9821, unreachable=0.64),
         "10 % is probably out of reach for this family (probability 64 %); otherwise it takes at "
         "least 9.8k images"),
        (RequiredSamples(0.001, "beyond reach"),
         "0.1 % is beyond reach (more than a million times the data)"),
        (RequiredSamples(0.001, "beyond reach", lower=2e6),
         "0.1 % is beyond reach (more than a million times the data, at least 2M images)"),
    ],
)  # fmt: skip
def test_targets(found, text):
    assert sentences.answer(Forecast("ok", targets=(found,), unit="images")) == text


def test_a_target_is_reached_where_a_size_has_reached_it_or_its_interval_lies_within_the_data():
    points = (Point(1e3, 0.5), Point(1.2e4, 0.305), Point(2.5e4, 0.309))
    curve = Fit("ok", points, reference=2.5e4, metric="1 - accuracy", unit="rows")

    def said(target: float, upper: float | None) -> str:
        found = RequiredSamples(target, "already reached", 1.7e4, 8.3e3, upper, 0.68)
        return sentences.answer(
            Forecast("ok", targets=(found,), unit="rows", metric="1 - accuracy"), curve
        )

    assert said(0.3, None) == (
        "accuracy 70 % needs 17k [8.3k, no limit] rows, which is within the data at hand, though "
        "none of the sizes measured reached it"
    )
    assert "none of the sizes measured" in said(0.3, 2.6e4)
    assert said(0.3, 2.4e4).endswith("is reached at 17k [8.3k, 24k] rows, within the data")
    assert said(0.306, None).endswith("is reached at 17k [8.3k, no limit] rows, within the data")


def test_a_size_that_is_no_round_factor_is_named():
    at = ForecastPoint(12_345, 3.0863, 0.1, 0.09, 0.11)
    text = sentences.answer(Forecast("ok", at=(at,), unit="words", metric="cross_entropy"))
    assert text == "12.3k words: 0.100 nats [0.090, 0.110]"


def test_the_data_are_the_largest_shard_even_where_the_fit_could_not_use_it():
    points = (Point(1e3, 0.2), Point(4e3, 0.1, used=False, reason="capped"),
              Point(8e3, 0.09, used=False, reason="held out"))  # fmt: skip
    at = ForecastPoint(4e4, 40.0, 0.0812, 0.072, 0.094)  # 40 times the largest used point
    text = sentences.answer(Forecast("ok", at=(at,)), Fit("ok", points, reference=1e3))
    assert text.startswith("10x the data: ")


def test_an_error_above_one_gets_no_percent_sign():
    at = ForecastPoint(4e4, 10.0, 8.12, 7.2, 9.4)
    assert sentences.answer(Forecast("ok", at=(at,))) == "10x the data: 8.1 [7.2, 9.4]"


@pytest.mark.parametrize("outcome", ["too few points", "not converged"])
def test_a_failed_fit_is_never_an_answer(outcome):
    text = sentences.answer(Forecast(outcome, at=AT), Fit(outcome))
    assert text.startswith("No forecast: ")
    assert "%" not in text


def test_what_does_not_fall_is_told_with_its_errors():
    points = tuple(Point(m, e) for m, e in ((100, 0.5), (200, 0.3), (400, 0.35), (800, 0.45)))
    fit = Fit("not a power law", points, beta_g_reason="the error rises with more samples")
    text = sentences.answer(Forecast("not a power law"), fit)
    errors = "50.0 % at 100, 30.0 % at 200, 45.0 % at 800 samples"
    assert text == (
        f"No forecast: the error rises with more samples ({errors}), so no law was fitted"
    )


def test_a_target_does_not_change_what_the_errors_are():
    """150 % of an error rate is no reason to show it as a fraction."""
    met = RequiredSamples(1.5, ALREADY_MET, 1e3, None, 1e3, 0.1, smallest=1e3)
    fit = Fit("ok", (Point(1e3, 0.2), Point(4e3, 0.1)), reference=4e3)
    text = sentences.answer(Forecast("ok", at=AT[2:], targets=(met,)), fit)
    assert text.startswith("10x the data: 8.1 % [7.2, 9.4]; 150 % is already met at the smallest")


def test_the_caveat_is_a_sentence():
    assert sentences.caveat(ASKED) == "Five points only."
    assert sentences.caveat(Forecast("ok")) == ""


def test_nothing_asked_is_answered_with_the_slope(made_study):
    fit = made_study.analysis.curves[0].fit
    text = sentences.answer(Forecast("ok"), fit)
    assert text.startswith("beta_g = -0.3")
    assert "twice the data takes 1" in text


def test_a_fit_in_sentences(made_study):
    lines = sentences.fit_lines(made_study.analysis.curves[0].fit)
    text = "\n".join(lines)
    assert all(line.endswith(".") for line in lines)
    assert "7 of 7 points used, 125 to 8,000 images." in lines
    assert "Evidence among the laws: " in text


def test_regions_say_where_and_how_sure():
    bend = Interval(400.0, 150.0, 600.0)
    regions = (Region("small-data", None, bend, 2, 0.9), Region("irreducible-error"))
    lines = sentences.region_sentences(Fit("ok", regions=regions, unit="images"))
    assert lines == [
        "small-data region up to 400 [150, 600] images (probability that there is one: 90 %)"
    ]


def test_the_power_law_region_is_told_with_its_points():
    points = tuple(Point(100.0 * 2**k, 0.5) for k in range(6))
    bend = Interval(300.0, 150.0, 600.0)

    def told(beta_g: Interval | None = Interval(-0.3, -0.4, -0.2), **probability: float) -> str:
        small, floor = probability.get("small", 0.0), probability.get("floor", 0.0)
        regions = (Region("small-data", None, bend, 2, small),
                   Region("power-law", bend, Interval(1000.0, 900.0, 1100.0), 4, 1.0),
                   Region("irreducible-error", None, None, 0, floor))  # fmt: skip
        fit = Fit("ok", points, beta_g=beta_g, regions=regions, unit="images")
        return sentences.power_law_sentence(fit)

    assert told() == "power-law region: all 6 points, 100 to 3,200 images"
    assert told(small=0.7).endswith("its ends are uncertain, beta_g is the slope of all 6")
    assert told(small=0.95) == (
        "power-law region: from 300 [150, 600] images, 4 of the 6 points, of which beta_g is the "
        "slope"
    )
    assert "from 300 [150, 600] up to 1k [900, 1.1k] images, 2 of" in told(small=0.95, floor=0.95)
    assert told(None, small=0.95, floor=0.95) == "power-law region: none was found"
    assert sentences.power_law_sentence(Fit("not a power law", points)) == ""


def test_a_typical_point_may_be_a_mean():
    noise = NoiseParts(scatter=0.01, replicate=0.02, replicate_df=4)
    fit = Fit("ok", (Point(100, 0.5, replicates=3), Point(200, 0.4, replicates=3)), noise=noise)
    assert "1.0 % for one typical point, a mean of 3 runs" in sentences.noise_sentences(fit)[0]


def test_a_summary_fits_a_terminal(made_study):
    text = made_study.analysis.curves[0].fit.summary()
    assert "beta_g = -0.3" in text
    assert "8,000" in text
    assert "profile-likelihood" in text
    assert max(map(len, text.split("Laws, ")[1].splitlines())) <= 100
    assert "\u00a0" not in text


def test_a_size_law_says_why_it_is_not_measured():
    law = SizeLaw("not measured", "only 2 optima lie inside the ladder")
    text = sentences.size_sentence("smallest adequate", law)
    assert text.endswith("is not measured: only 2 optima lie inside the ladder.")
    found = SizeLaw("ok", beta_p=Interval(0.7, 0.5, 0.9), two_sided=5, censored=1)
    assert "0.70 [0.50, 0.90]" in sentences.size_sentence("lowest score", found)


def test_the_forecast_and_its_truth(made_study):
    met = made_study.analysis.confrontations[0]
    how = sentences.numbers.scale("error")
    text = sentences.held_out_sentence(met, how, "images")
    assert "held-out 8,000 images" in text
    assert text.endswith(("inside the interval.", "outside the interval."))
    waiting = replace(met, error=None, inside=None)
    assert sentences.held_out_sentence(waiting, how, "images").endswith("not yet measured.")
    lost = replace(waiting, remark="1 of 2 seeds so far, 1 diverged")
    text = sentences.held_out_sentence(lost, how, "images")
    assert text.endswith("not yet measured (1 of 2 seeds so far, 1 diverged).")
    bound = replace(met, inside=None, remark="capped: an upper bound")
    text = sentences.held_out_sentence(bound, how, "images")
    assert text.endswith("%, capped: an upper bound.")


def test_one_draw_of_the_data_is_said(made_study):
    assert "One draw" in sentences.unmeasured_sentence(made_study.analysis)


def test_a_study_for_a_terminal(made_study):
    lines = sentences.study_lines(made_study.analysis)
    assert lines[0].startswith("4x the data: ")
    text = "\n".join(lines)
    for part in ("beta_g = ", "beta_p (", "10x the data", "held-out 8,000", "diverged"):
        assert part in text


def test_the_shares_of_all_laws_are_told_and_those_of_untested_ones_explained():
    """A law without parameters, and one that the points cannot test, have a share, too."""
    used = tuple(Point(m, 0.5 * m**-0.3) for m in (1e3, 2e3, 4e3, 8e3))
    laws = (
        LawFit("power", "ok", weight=0.4),
        LawFit("plateau+power", "too few points", weight=0.35, reason="4 parameters, 4 sizes"),
        LawFit("M4", "ok", weight=0.247, reason="too light to matter"),
        LawFit("broken power", "ok", weight=0.003),
    )
    fit = Fit("ok", used, laws)
    text = sentences.weights_sentence(fit)
    assert text == (
        "Evidence among the laws: power 40 %, plateau+power 35 %, M4 25 % (that of plateau+power "
        "mostly its prior: the points are too few to test it)"
    )
    lines = law_lines(fit).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["40", "–", "25", "<1"]
    assert "M4             (too light to matter)" in lines[3]


def test_a_sentence_on_few_sizes_counts_what_it_speaks_of() -> None:
    """Five sizes were measured, three of them of no use to a law: it said that there were two."""
    few_sizes = sentences.few_sizes
    assert few_sizes(2, 2) == "2 sizes are too few to fit a law; at least three are needed."
    whole = "2 of 5 sizes are usable, too few to fit a law; at least three are needed."
    assert few_sizes(2, 5) == whole
    assert few_sizes(1, 4).startswith("1 of 4 sizes is usable, too few to fit a law")
    assert few_sizes(3, 4).startswith("3 of 4 sizes are usable, too few to test a law")
    assert few_sizes(0, 4).startswith("No training-set size could be used")
    assert few_sizes(4, 9) == ""
    points = [Point(m, m**-0.3, used=m < 300) for m in (100.0, 200.0, 400.0, 800.0, 1600.0)]
    found = [one.evidence for one in diagnose(Fit("too few points", tuple(points)))]
    assert whole in found
