"""Planted faults are found and named; clean simulated studies raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulated import SAMPLES, at_large, measure, with_
from steep.fit import fit, points_of
from steep.questions.diagnose import diagnose
from steep.questions.search_findings import faults
from steep.questions.search_summary import Grid, SearchSummary
from steep.records import (
    Evaluation,
    Finding,
    ForecastPoint,
    HeldOutForecast,
    Measurement,
    Point,
    Status,
)
from steep.trainers.synthetic import Options

LAWS = ("power", "power+floor")


def findings(seed: int, options: Options | None = None, **how: Any) -> tuple[Finding, ...]:
    best_fits, measurements = measure(seed, options, **how)
    points = points_of(best_fits)
    found = fit(points=points, laws=LAWS, unit="images", metric="error")
    return diagnose(fit=found, best_fits=best_fits, measurements=measurements)


def clean(seed: int) -> tuple[Finding, ...]:
    random = np.random.default_rng(seed)
    floor = float(random.choice([0.0, 0.02]))
    beta_g = -float(random.uniform(0.12, 0.6))
    return findings(seed, Options(beta_g=beta_g, floor=floor, a=float(random.uniform(2, 6))))


def alarms(count: int) -> float:
    return float(np.mean([any(f.severity == "serious" for f in clean(s)) for s in range(count)]))


def test_clean_studies_raise_no_serious_finding() -> None:
    assert alarms(25) <= 0.05


@pytest.mark.slow
def test_clean_studies_raise_no_serious_finding_in_long_runs() -> None:
    assert alarms(1000) <= 0.05


def test_clean_tables_raise_no_serious_finding() -> None:
    """Noise of 0.5 to 5 %, 5 to 12 sizes, exponents down to 0.15, floors or none."""
    random = np.random.default_rng(7)
    alarmed = []
    for _ in range(120):
        sizes = 100.0 * 2.0 ** np.arange(random.integers(6, 13))
        law = 2 * sizes ** -random.uniform(0.15, 0.6) + random.choice([0.0, 0.02])
        error = law * np.exp(random.uniform(0.005, 0.05) * random.normal(size=len(sizes)))
        found = diagnose(pd.DataFrame({"samples": sizes, "error": error}))
        alarmed.append(any(f.severity == "serious" for f in found))
    assert np.mean(alarmed) <= 0.05


def capped(m: Measurement) -> Measurement:
    return replace(m, status=Status.CAPPED, best_step=m.steps)


def improving(m: Measurement) -> Measurement:
    factors = ((10, 2.0), (20, 1.5), (40, 1.2), (80, 1.1), (160, 1.0))
    error = m.validation_error or 0.0
    curve = tuple(Evaluation(s, s, s, error, error * f, error * f) for s, f in factors)
    return replace(m, curve=curve, best_step=160)


def diverging(m: Measurement) -> Measurement:
    if m.trial.size % 4 == 0 or m.trial.hyperparameter("learning_rate") != 0.1:
        return replace(m, status=Status.DIVERGED, validation_error=None, curve=())
    return m


def peak(height: float, *where: int) -> Callable[[int], float]:
    return lambda m: height if m in where else 1.0


OUTLIER, FLAT = SAMPLES[3], 0.3
PLANTED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a shard above the trend": ("off trend", "serious", {"shard_error": peak(1.3, OUTLIER)}),
    "a leaked shard below it": ("off trend", "serious", {"shard_error": peak(0.75, OUTLIER)}),
    "a rise": ("not monotone", "warning", {"shard_error": peak(1.6, SAMPLES[4])}),
    "learning rates too small": ("undertuned", "serious", {"rates": (0.003, 0.01, 0.03)}),
    "a cap on the large shards": ("capped", "warning", {"change": at_large(capped)}),
    "a cap everywhere": ("capped", "serious", {"change": capped}),
    "most trials diverged": ("diverged", "serious", {"change": diverging}),
    "a ladder too short": ("edge", "serious", {"widths": (2, 3, 4)}),
    "a bend by capacity": ("bend: capacity", "serious", {"widths": (2, 3)}),
    "a bend by training": (
        "bend: tuning",
        "serious",
        {
            "change": at_large(improving, SAMPLES[4]),
            "shard_error": lambda m: (max(m, SAMPLES[3]) / SAMPLES[3]) ** 0.15,
        },
    ),
    "ended while improving": ("still improving", "serious", {"change": improving}),
    "a small validation set": ("validation set", "serious", {"change": None}),
    "two engines": (
        "mixed engines",
        "serious",
        {"change": at_large(with_(engine="engine 2"))},
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    kind, severity, how = PLANTED[fault]
    if kind == "validation set":
        how = {"change": lambda m: replace(m, validation_error_se=0.4 * m.validation_error)}
    found = []
    for seed in range(6):
        best_fits, measurements = measure(seed, **how)
        said = diagnose(best_fits=best_fits, measurements=measurements)
        of_kind = [f for f in said if f.kind == kind]
        found.append(
            severity in [f.severity for f in of_kind] or (severity == "warning" and bool(of_kind))
        )
        assert all(f.evidence and f.next_step and f.where for f in of_kind)
    assert np.mean(found) >= 0.8, found


# Errors 0.4 down to 0.1, a factor of 2^-0.5 a step: the last step changes log error by 0.347.
HALVING = pd.DataFrame(
    {"samples": 100.0 * 2.0 ** np.arange(5), "error": 0.4 * 2 ** (np.arange(5) / -2)}
)


def of_validation(found: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(f.severity, f.evidence) for f in found if f.kind == "validation set"]


@pytest.mark.parametrize(
    ("items", "percent", "severity"),
    [(36, "50", "serious"), (90, "32", "serious"), (144, "", ""), (10_000, "", "")],
)
def test_too_few_validation_items_of_a_table(items: int, percent: str, severity: str) -> None:
    """An error of 0.1 over N items has a standard error of 3 / sqrt(N) of itself."""
    found = of_validation(diagnose(HALVING, validation_items=items))
    assert [s for s, _ in found] == [severity] * bool(severity)
    for _, evidence in found:
        assert evidence.startswith(
            f"One standard error of {items} validation items is {percent} % of the error; "
            "the last step of the curve changes it by 29 %."
        )


def test_a_step_smaller_than_its_noise_is_a_warning() -> None:
    """The last step is 0.108 in log error: 900 items know it to 0.1, 625 to 0.12."""
    frame = pd.DataFrame({"samples": [100, 200, 400, 800], "error": 0.1 * 0.9 ** np.arange(-3, 1)})
    assert of_validation(diagnose(frame)) == []
    assert of_validation(diagnose(frame, validation_items=900)) == []
    ((severity, evidence),) = of_validation(diagnose(frame, validation_items=625))
    assert (severity, "is 12 % of the error" in evidence) == ("warning", True)
    fitted = fit(frame)
    assert of_validation(diagnose(fitted, validation_items=625)) == [(severity, evidence)]


def test_standard_errors_of_the_table_go_before_the_number_of_items() -> None:
    exact, vague = (HALVING.assign(se=share * HALVING.error) for share in (0.01, 0.4))
    assert of_validation(diagnose(exact, validation_items=10)) == []
    assert of_validation(diagnose(vague)) == []  # it may be of seeds
    ((severity, evidence),) = of_validation(diagnose(vague, validation_items=10**6))
    assert severity == "serious"
    assert evidence.startswith("The standard error given with the largest size is 40 % of")


def test_a_study_knows_its_validation_set_better_than_a_number() -> None:
    best_fits, measurements = measure(
        0, change=lambda m: replace(m, validation_error_se=0.4 * (m.validation_error or 0.0))
    )
    study: dict[str, Any] = {"best_fits": best_fits, "measurements": measurements}
    known = of_validation(diagnose(**study))
    assert [severity for severity, _ in known] == ["serious"]
    assert of_validation(diagnose(**study, validation_items=10**9)) == known
    unknown = [replace(b, validation_se=None) for b in best_fits]
    assert of_validation(diagnose(best_fits=unknown)) == []
    ((severity, evidence),) = of_validation(diagnose(best_fits=unknown, validation_items=2))
    assert severity == "serious"  # not its seeds' standard error, of 1 %
    assert "2 validation items" in evidence


def test_only_rates_are_measured_on_a_number_of_items() -> None:
    for items in (0, -5):
        with pytest.raises(ValueError, match=f"at least 1 validation item, not {items}"):
            diagnose(HALVING, validation_items=items)
    with pytest.raises(ValueError, match=r"error rates, from 0 to 1; an error of 4 is not one"):
        diagnose(HALVING.assign(error=10 * HALVING.error), validation_items=100)
    loss = fit(HALVING, metric="cross_entropy")
    with pytest.raises(ValueError, match="cross_entropy is not one"):
        diagnose(loss, validation_items=100)


def test_noise_larger_than_the_trend() -> None:
    random = np.random.default_rng(1)
    sizes = 100.0 * 2.0 ** np.arange(6)
    kinds = []
    for _ in range(20):
        error = 0.5 * sizes**-0.03 * np.exp(0.1 * random.normal(size=6))
        found = diagnose(pd.DataFrame({"samples": sizes, "error": error}))
        kinds.append("noise" in [f.kind for f in found if f.severity == "serious"])
    assert np.mean(kinds) >= 0.75


def test_no_fall_is_found_where_the_fit_shows_none() -> None:
    """A straight line alone, through four points known to 5 %, has a slope of -0.09 [-0.20, 0.01];
    the fit, which knows that they scatter less, has -0.17 to -0.02."""
    errors = np.array([3.08, 2.89, 2.70, 2.53])
    frame = pd.DataFrame({"samples": 16e3 * 2 ** np.arange(4), "error": errors})
    for spread in (0.05, 0.08, 0.15, 0.3):
        fitted = fit(frame.assign(se=spread * errors), metric="cross_entropy")
        serious = [f.evidence for f in diagnose(fitted) if f.severity == "serious"]
        falls = fitted.beta_g is not None and (fitted.beta_g.upper or 0) < 0
        assert any("do not show" in evidence for evidence in serious) is not falls, spread
        assert falls is (spread == 0.05)


def test_a_shard_in_the_fit_with_a_wide_error_is_not_one_that_lacks_seeds() -> None:
    best_fits, _ = measure(0)
    flags = [("incomplete", "rough"), ("incomplete",), (), (), ()]
    some = [replace(b, flags=f) for b, f in zip(best_fits, flags, strict=False)]
    found = diagnose(best_fits=some)
    unfinished = [(f.severity, f.where, f.evidence[:15]) for f in found if f.kind == "unfinished"]
    first, second = (f"{int(b.samples):,} images" for b in some[:2])
    assert unfinished == [
        ("serious", first, "Too few trials "),
        ("warning", second, "The best model "),
    ]


def shape(*errors: float, se: float = 0.0, rows: int = 1, noise: float = 0.0) -> pd.DataFrame:
    """A table of these errors at sizes in steps of two."""
    sizes = 100.0 * 2.0 ** np.arange(len(errors))
    drawn = np.exp(noise * np.random.default_rng(1).normal(size=(len(errors), rows)))
    error = (np.array(errors)[:, None] * drawn).ravel()
    frame = pd.DataFrame({"samples": np.repeat(sizes, rows), "error": error})
    return frame.assign(se=se * error) if se else frame


def told(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Of the curve, without what was not measured; the same whoever fits it."""
    fitted = fit(frame, se="se" if "se" in frame else None)
    found = [(f.kind, f.severity) for f in diagnose(frame)]
    assert found == [(f.kind, f.severity) for f in diagnose(fitted)]
    return [f for f in found if f[0] != "replicates"]


DESCENTS = (0.50, 0.42, 0.36, 0.44, 0.40, 0.31, 0.25, 0.21)


@pytest.mark.parametrize(
    ("frame", "where"),
    [
        (shape(0.5, 0.4, 0.3, 0.45, se=0.01), "400 to 800 samples"),
        (shape(0.5, 0.42, 0.36, 0.31, 0.30, 0.33, 0.38, 0.45), "1,600 to 12,800 samples"),
        (shape(0.5, 0.42, 0.36, 0.31, 0.30, 0.33, 0.38, 0.45, se=0.01), "1,600 to 12,800 samples"),
        (shape(*DESCENTS, rows=3, noise=0.01), "400 to 800 samples"),
        (shape(0.30, 0.35, 0.40, 0.46, 0.50, 0.55, rows=3, noise=0.01), "the whole curve"),
        (shape(0.3, 0.35, 0.4, 0.5, 0.55), "the whole curve"),
    ],
)
def test_a_curve_that_turns_is_not_noisy_and_has_no_floor(frame: pd.DataFrame, where: str) -> None:
    assert told(frame) == [("not monotone", "serious")]
    found = diagnose(frame)[0]
    assert found.where == where
    assert "noise" not in found.next_step


def test_known_noise_decides_what_is_to_be_done_about_a_rise() -> None:
    turn = (0.5, 0.42, 0.36, 0.31, 0.30, 0.33, 0.38, 0.45)
    assert diagnose(shape(*turn))[0].next_step.startswith("Repeat both sizes with more seeds")
    assert diagnose(shape(*turn, se=0.01))[0].next_step.startswith("Search both sizes again")
    assert "fit the sizes beyond it" in diagnose(shape(*DESCENTS, se=0.01))[0].next_step


def test_curvature_is_not_noise() -> None:
    sizes = 10.0 * 2.0 ** np.arange(16)
    law = np.minimum(0.9, 12 * sizes**-0.45) + 0.04
    assert "noise" not in [kind for kind, _ in told(shape(*law, noise=0.01))]


def test_replicates_that_differ_more_than_neighbours_are_noise() -> None:
    law = 0.5 * 1.025 ** -np.arange(6.0)
    frame = shape(*law, rows=3, noise=0.1)
    assert told(frame) == [("noise", "warning")]
    assert "known to within" in diagnose(frame)[0].evidence
    assert told(shape(*law, rows=3, noise=0.005)) == []


def test_scatter_that_seeds_do_not_explain_asks_for_a_search() -> None:
    frame = shape(0.50, 0.42, 0.47, 0.40, 0.45, 0.37, 0.42, 0.35, se=0.03)
    (found,) = [f for f in diagnose(frame) if f.kind == "noise"]
    assert "more than their own noise of 3.0 %; the error falls by" in found.evidence
    assert found.next_step.startswith("Search every size again")


def test_a_curve_that_stays_where_it_is_is_flat() -> None:
    assert told(shape(0.5, 0.5, 0.5, 0.5, 0.5)) == [("flat", "serious")]
    assert diagnose(shape(0.5, 0.5, 0.5, 0.5))[0].evidence == "The error is 50.0 % at every size."
    found = diagnose(shape(*[0.5] * 8, noise=0.01))[0]
    assert found.kind == "flat"
    assert "twice the data takes" in found.evidence


def test_settings_averaged_as_if_they_were_seeds_are_found() -> None:
    """Three learning rates at each size: they differ alike, by 30 %, at all of them."""
    law = 2 * (100.0 * 2.0 ** np.arange(6)) ** -0.25
    frame = pd.concat([shape(*(law * rate), noise=0.01) for rate in (1.0, 1.3, 1.6)])
    assert told(frame) == [("mixed rows", "serious")]
    found = diagnose(frame)[0]
    assert found.evidence.startswith("Rows of one size differ by 27 % (one standard deviation)")
    assert "--by" in found.next_step
    assert told(shape(*law, rows=3, noise=0.05)) == []


def test_a_floor_is_the_likelier_cause_of_a_bend_without_edges() -> None:
    found = findings(3, Options(floor=0.2))
    bend = [f for f in found if f.kind.startswith("bend")]
    assert [f.kind for f in bend] == ["bend: floor"]
    assert bend[0].severity == "warning"


def test_a_table_alone_cannot_tell_a_floor_from_capacity() -> None:
    sizes = 100.0 * 2.0 ** np.arange(8)
    frame = pd.DataFrame({"m": sizes, "e": 2 * sizes**-0.5 + 0.05})
    bend = [f for f in diagnose(frame, x="m", y="e") if f.kind.startswith("bend")]
    assert [f.kind for f in bend] == ["bend: floor or capacity"]
    assert "cannot tell" in bend[0].evidence


def test_the_point_off_the_trend_is_the_one_that_is_named() -> None:
    off = [
        f
        for f in findings(2, shard_error=peak(1.3, OUTLIER))
        if f.kind == "off trend" and f.severity == "serious"
    ]
    assert [f.where for f in off] == ["2,000 images"]
    assert "above what the other points make expected" in off[0].evidence


def test_an_optimum_that_jumps_is_inconsistent() -> None:
    best_fits, measurements = measure(1, rates=(0.03, 0.1, 0.3), samples=SAMPLES[:3])
    jumping = []
    for m in measurements:
        rate = m.trial.hyperparameter("learning_rate")
        good = {250: 0.1, 500: 0.03, 1000: 0.1}[m.trial.items]
        for value in (0.03, 0.1):
            if rate == 0.1:
                trial = replace(m.trial, hyperparameters=(("learning_rate", value),))
                error = (m.validation_error or 0) * (1.0 if value == good else 1.4)
                jumping.append(replace(m, trial=trial, validation_error=error))
    from steep.records import Shard
    from steep.select import select

    shards = [Shard(0, m, float(m), "images") for m in SAMPLES[:3]]
    found = diagnose(best_fits=select(jumping, shards, seeds=2), measurements=jumping)
    said = [f for f in found if f.kind == "undertuned" and f.where == "learning_rate"]
    assert len(said) == 1
    assert "0.1" in said[0].evidence
    assert best_fits


def test_what_is_not_measured_is_noted() -> None:
    kinds = {f.kind: f.severity for f in findings(1)}
    assert kinds["draw of the data"] == "note"
    sizes = 100.0 * 2.0 ** np.arange(6)
    bare = diagnose(pd.DataFrame({"samples": sizes, "error": sizes**-0.3}))
    assert [f.kind for f in bare] == ["replicates"]


def test_three_points_are_too_few_and_nothing_is_nothing() -> None:
    frame = pd.DataFrame({"samples": [100, 200, 400], "error": [0.5, 0.4, 0.3]})
    assert diagnose(frame)[0].kind == "few points"
    assert diagnose() == ()


def test_best_fits_alone_are_a_curve() -> None:
    best_fits, measurements = measure(2, shard_error=peak(1.4, OUTLIER))
    found = diagnose(best_fits=best_fits, measurements=measurements)
    assert "off trend" in [f.kind for f in found]
    assert found == diagnose(best_fits=best_fits, measurements=measurements)


def test_the_most_serious_comes_first() -> None:
    order = [f.severity for f in findings(1, widths=(2, 3), change=capped)]
    assert order == sorted(order, key=["serious", "warning", "note"].index)


def test_an_accuracy_that_falls_is_not_called_an_error_that_rises() -> None:
    frame = pd.DataFrame(
        {"samples": [100, 200, 400, 800, 1600], "accuracy": [0.90, 0.85, 0.80, 0.76, 0.70]}
    )
    curve = fit(frame, y="accuracy")
    found = {f.kind: f for f in diagnose(curve)}["not monotone"]
    assert found.evidence.startswith("The accuracy falls with more samples: the slope is ")
    level = fit(frame.assign(accuracy=0.9), y="accuracy")
    found = {f.kind: f for f in diagnose(level)}["flat"]
    assert found.evidence == "The accuracy is 90.0 % at every size."


@pytest.mark.parametrize(
    ("metric", "error", "side", "text"),
    [
        ("1 - accuracy", 0.55, "below the lower", "5.0 points"),
        ("1 - accuracy", 0.36, "above the upper", "4.0 points"),
        ("1 - bleu / 100", 0.55, "below the lower", "5.0"),
        ("error", 0.55, "above the upper", "5.0 points"),
        ("error", 0.36, "below the lower", "4.0 points"),
        ("cross_entropy", 0.55, "above the upper", "0.050 nats"),
    ],
)  # fmt: skip
def test_a_missed_forecast_is_on_the_side_where_its_user_sees_it(
    metric: str, error: float, side: str, text: str
) -> None:
    at = ForecastPoint(3200.0, 2.0, 0.45, 0.4, 0.5)
    missed = HeldOutForecast(3200.0, at, 0.9, 1, "", (), "", error=error, inside=False)
    curve = fit(points=[Point(m, m**-0.1) for m in (200, 400, 800, 1600)], metric=metric)
    found = {f.kind: f for f in diagnose(curve, confrontations=[missed])}["missed forecast"]
    assert f"]: {text} {side} end of the interval. Forecasts" in found.evidence


def test_a_point_off_the_trend_is_on_the_side_where_its_user_sees_it() -> None:
    sizes = 100.0 * 2.0 ** np.arange(8)
    errors = sizes**-0.2 * (1 + 0.001 * (-1) ** np.arange(8))
    errors[3] *= 1.3
    frame = pd.DataFrame({"samples": sizes, "accuracy": 1 - errors})
    found = {f.kind: f for f in diagnose(fit(frame, y="accuracy"))}["off trend"]
    text = "65.9 % lies 7.8 points below what the other points make expected (73."
    assert found.evidence.startswith(text)


def test_how_much_better_is_a_share_of_the_next() -> None:
    grid = Grid(100.0, "images", "rate", 0.1, (0.01, 0.1), float(np.log(1.630 / 1.316)), True)
    found = faults(SearchSummary(grids=(grid,)))[0]
    assert "and 19 % better than the next" in found.evidence
