"""A held-out shard: forecast first, confronted once, and data like any other from then on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tiny
from steep import Study
from steep.analysis import decisions, from_store
from steep.analysis.analyse import Facts, analyse, confrontation, held_out_trials
from steep.analysis.published import Published
from steep.analysis.result_tables import best_fit_table
from steep.cli.answers import Source, backtests_of, findings_of, fits_of, forecasts_of
from steep.cli.comparisons import comparison_of
from steep.cli.cost_answers import Law, Where, cost_of
from steep.cli.reports import report_of
from steep.present import sentences
from steep.present.costs import cost_lines
from steep.present.tables import backtest_table, forecast_text, study_table
from steep.questions.diagnose import diagnose
from steep.records import (
    ONE_SIZE,
    Analysis,
    Finding,
    HeldOutForecast,
    Measurement,
    Point,
    Shard,
    Status,
    Trial,
    settings,
)
from steep.spec.load import from_values

SPEC = from_values(tiny.spec(family={"sizes": [2, 4, 8, 16]})).spec
SAMPLES = (125, 250, 500, 1000, 2000, 4000)
HELD = 8000
VALUES = settings({"learning_rate": 0.1})


def facts(held: tuple[int, ...] = (HELD,), permutations: int = 1) -> Facts:
    shards = [
        Shard(draw, m, float(m), "items", held_out=m in held)
        for draw in range(permutations)
        for m in (*SAMPLES, *held)
    ]
    sizes = {s: (100 * s * s, 600.0 * s * s) for s in range(1, 65)}
    groups = np.arange(50)
    return Facts(SPEC, tuple(shards), "items", "error", ("error",), {}, groups, sizes)


def truth(samples: float, size: int, bend: float = 1.0) -> float:
    """3 m**-0.3, best at size 3 (m / 125)**0.35; from ``HELD`` on ``bend`` times that."""
    best = 3 * (samples / 125) ** 0.35
    error = 3 * samples**-0.3 * (1 + 0.2 * math.log(size / best) ** 2)
    return error * (bend if samples >= HELD else 1.0)


def measured(trial: Trial, bend: float = 1.0, noise: float = 0.01, **changes: Any) -> Measurement:
    place = (trial.permutation, trial.items, trial.size, trial.seed)
    luck = float(np.random.default_rng(place).normal(0.0, noise))
    error = truth(trial.samples, trial.size, bend) * math.exp(luck)
    made = Measurement(
        trial,
        Status.COMPLETE,
        validation_error=error,
        validation_error_se=0.02 * error,
        test_error=1.1 * error,
        metrics=settings({"error": error}),
        parameters=100 * trial.size**2,
        parameters_without_embeddings=90 * trial.size**2,
        samples_seen=7.0 * trial.samples,
    )
    return replace(made, **changes)


def searched(known: Facts, noise: float = 0.01) -> list[Measurement]:
    return [
        measured(Trial(s.permutation, s.items, s.samples, size, VALUES, seed), noise=noise)
        for s in known.shards
        if not s.held_out
        for size in SPEC.family.sizes
        for seed in (0, 1)
    ]


def nothing(trial: str) -> None:
    return None


def registered(known: Facts, done: list[Measurement]) -> list[HeldOutForecast]:
    before = analyse(known, done, nothing)
    held = [s for s in known.shards if s.held_out and s.permutation == 0]
    made = [confrontation(known, s, before, 0.9, "2026-01-01T00:00:00+00:00") for s in held]
    return [c for c in made if c is not None]


def confronted(
    bend: float = 1.0, known: Facts | None = None, noise: float = 0.01
) -> tuple[Analysis, list[Measurement]]:
    """The analysis of a study whose held-out shards are measured, and its measurements."""
    known = known or facts()
    done = searched(known, noise)
    told = registered(known, done)
    done += [measured(t, bend, noise) for t in held_out_trials(told, known)]
    return analyse(known, done, nothing, told, at=[float(HELD)]), done


def flagged(analysis: Analysis, done: list[Measurement]) -> dict[str, Finding]:
    found = diagnose(
        fit=analysis.curves[0].fit,
        best_fits=analysis.best_fits,
        measurements=done,
        confrontations=analysis.confrontations,
    )
    return {f.kind: f for f in found}


# ---------------------------------------------------------------- the fit


@pytest.mark.parametrize("bend", [0.6, 0.8, 0.95, 1.0, 1.05, 1.25])
def test_a_forecast_at_the_measured_size_agrees_with_the_measurement(bend: float) -> None:
    """Whether the registered forecast held or not: by less than one standard deviation."""
    analysis, _ = confronted(bend)
    (met,), fit = analysis.confrontations, analysis.curves[0].fit
    (here,) = [a for a in analysis.curves[0].forecast.at if a.samples == HELD]
    assert met.error is not None
    assert here.lower < met.error < here.upper
    deviation = math.log(here.upper / here.lower) / (2 * 1.645)
    assert abs(math.log(here.error / met.error)) < deviation
    assert fit.reference == fit.at_hand == HELD
    assert here.factor == 1.0


def test_factors_count_from_the_largest_size_that_is_measured() -> None:
    known = facts()
    done = searched(known)
    before = analyse(known, done, nothing, times=[3.0])
    after, _ = confronted()
    factors = [a.samples for a in before.curves[0].forecast.at]
    assert factors == [8000, 12_000, 16_000, 40_000], "of 4,000; twice that is the held-out size"
    assert [a.samples for a in after.curves[0].forecast.at] == [8000, 16_000, 32_000, 80_000]
    assert before.curves[0].fit.at_hand == 4000
    assert after.curves[0].fit.at_hand == 8000


def test_the_error_bar_of_one_model_that_no_search_chose_is_wider_than_its_seeds() -> None:
    analysis, _ = confronted()
    *others, held = analysis.curves[0].fit.points
    (best,) = [b for b in analysis.best_fits if b.held_out]
    seeds = (best.seed_se or 0.0) / best.best.score
    assert held.se_log is not None
    assert held.se_log >= seeds
    assert held.se_log >= np.median([p.se_log or 0.0 for p in others])
    assert held.se_log < 0.03, "0.01 of noise a seed"


def test_a_better_score_than_expected_weighs_as_much_as_an_expected_one() -> None:
    """A worse one weighs less: a better model may have been missed there."""
    low, expected, high = (
        confronted(bend)[0].curves[0].fit.points[-1].se_log or 0.0 for bend in (0.85, 1.0, 1.15)
    )
    assert low == pytest.approx(expected, rel=0.25)
    assert expected < high < 3 * expected


def test_one_size_is_no_optimum() -> None:
    known = facts()
    before = dict(analyse(known, searched(known), nothing).size_laws)
    after = dict(confronted(known=known)[0].size_laws)
    for name in ("smallest adequate", "lowest score"):
        assert after[name] == before[name]
    assert after["fitted minimum"].two_sided == before["fitted minimum"].two_sided


def test_the_passes_over_the_data_are_those_of_the_largest_shard() -> None:
    known = facts()
    done = searched(known)
    told = registered(known, done)
    done += [measured(t, samples_seen=3.0 * HELD) for t in held_out_trials(told, known)]
    at = analyse(known, done, nothing, told).curves[0].forecast.at[0]
    assert at.parameters is not None
    assert at.flops is not None
    assert at.flops.value == pytest.approx(6 * at.parameters.value * at.samples * 3, rel=0.05)


# ---------------------------------------------------------------- hit and miss


def test_a_hit_narrows_and_a_miss_widens_what_follows() -> None:
    """At four times the searched data, 16,000 items, of which the registered forecast knew."""
    known = facts()
    before = analyse(known, searched(known), nothing).curves[0].forecast

    def width(forecast: Any) -> float:
        (at,) = [a for a in forecast.at if a.samples == 16_000]
        return math.log(at.upper / at.lower)

    hit, low, high = (confronted(bend)[0] for bend in (1.0, 0.7, 1.3))
    assert width(hit.curves[0].forecast) < width(before)
    assert width(low.curves[0].forecast) > 2 * width(hit.curves[0].forecast)
    assert width(high.curves[0].forecast) > 2 * width(hit.curves[0].forecast)
    told = [a.curves[0].forecast.at[-1].error for a in (low, hit, high)]
    assert told[0] < told[1] < told[2], "later forecasts follow what was measured"


@pytest.mark.parametrize(("bend", "side"), [(0.7, "below"), (1.3, "above")])
def test_a_miss_is_a_finding_of_its_own(bend: float, side: str) -> None:
    analysis, done = confronted(bend)
    (met,) = analysis.confrontations
    assert met.inside is False
    found = flagged(analysis, done)["missed forecast"]
    end = met.forecast.lower if side == "below" else met.forecast.upper
    off = 100 * abs((met.error or 0.0) - end)
    which = "lower" if side == "below" else "upper"
    assert f"{off:.1f} points {side} the {which} end of the interval." in found.evidence
    assert found.where == "8,000 items"
    assert found.severity == "serious", "farther out than the interval is wide on that side"
    assert "off trend" not in flagged(analysis, done)


def test_a_near_miss_is_a_warning_and_a_hit_is_none() -> None:
    analysis, done = confronted()
    (met,) = analysis.confrontations
    assert met.error is not None
    assert met.inside
    assert "missed forecast" not in flagged(analysis, done)
    near = replace(met, error=met.forecast.upper * 1.01, inside=False)
    found = flagged(replace(analysis, confrontations=(near,)), done)["missed forecast"]
    assert found.severity == "warning"


def test_a_curve_that_flattens_at_a_held_out_shard_alone_is_not_called_a_floor() -> None:
    """One model was trained there: it may as well be a poor one."""
    analysis, done = confronted()

    def kinds(errors: list[float]) -> set[str]:
        curve = [
            Point(125.0 * 2**k, e, 0.005, held_out=k == len(errors) - 1)
            for k, e in enumerate(errors)
        ]
        found = diagnose(curve, best_fits=analysis.best_fits, measurements=done)
        return {f.kind for f in found if f.kind.startswith("bend")}

    straight = [2.0 ** (-0.3 * k) for k in range(9)]
    assert kinds(straight) == set()
    late = [*straight[:-2], 1.05 * straight[-2], 1.2 * straight[-1]]
    assert kinds(late) == {"bend: floor, capacity or tuning"}
    assert kinds([e + 0.1 for e in straight]) == {"bend: floor"}


def test_images_chosen_by_cross_entropy_are_forecast_and_confronted_in_error_rates() -> None:
    """One answer is in one metric: what was chosen by, and a switch, are said in words."""
    domain = SPEC.domain.model_copy(update={"name": "images"})
    images = SPEC.model_copy(update={"domain": domain})
    known = replace(
        facts(), spec=images, metric="cross_entropy", metrics=("cross_entropy", "error")
    )

    def both(m: Measurement) -> Measurement:
        error = m.validation_error or 0.0
        return replace(m, metrics=settings({"cross_entropy": error, "error": 0.4 * error}))

    done = [both(m) for m in searched(known)]
    (written,) = told = registered(known, done)
    assert written.told is not None
    assert written.told.error == pytest.approx(0.4 * written.forecast.error, rel=0.02)
    waiting = analyse(known, done, nothing, told)
    last = sentences.study_lines(waiting)[-1]
    assert "%" in last
    assert last.endswith("; not yet measured.")
    assert "nats" not in last
    done += [both(measured(t)) for t in held_out_trials(told, known)]
    analysis = analyse(known, done, nothing, told)
    ((metric, met),) = analysis.headline_forecasts
    (chosen,) = analysis.confrontations
    assert (metric, met.inside, chosen.inside) == ("error", True, True)
    assert met.error == pytest.approx(0.4 * (chosen.error or 0.0))
    lines = sentences.study_lines(analysis)
    switch = "Models are chosen by cross-entropy; the answer is about their error rate."
    assert switch in lines
    (table,) = [block for block in lines if " nats" in block]
    assert table.startswith("items  error rate  chosen by cross-entropy")
    best = best_fit_table(analysis)
    assert best["error_rate"].tolist() == pytest.approx((0.4 * best["error"]).tolist())
    old = replace(chosen, told=None, told_error=None)  # registered by an earlier version
    (said,) = sentences.held_out_sentences(replace(analysis, confrontations=(old,)))
    assert said.startswith("Of cross-entropy: Forecast for the held-out 8,000 items")


# ---------------------------------------------------------------- not all of it measured


def test_a_shard_counts_from_its_first_seed_and_says_how_many_there_are() -> None:
    known = facts()
    done = searched(known)
    told = registered(known, done)
    first, _ = held_out_trials(told, known)
    before = analyse(known, done, nothing, told)
    one = measured(first)
    some = analyse(known, [*done, one], nothing, told)
    fit = some.curves[0].fit
    assert fit.at_hand == 8000
    (point,) = [p for p in fit.points if p.samples == HELD]
    assert (point.used, point.error) == (True, one.validation_error)
    (met,) = some.confrontations
    assert (met.error, met.inside, met.remark) == (
        one.validation_error,
        None,
        "1 of 2 seeds so far",
    )
    said = sentences.held_out_sentence(met, sentences.numbers.scale("error"), "items")
    assert said.endswith(", 1 of 2 seeds so far.")
    every = analyse(known, [*done, *map(measured, held_out_trials(told, known))], nothing, told)
    (whole,) = [p for p in every.curves[0].fit.points if p.samples == HELD]
    assert point.se_log > whole.se_log, "one seed says less than two"
    # no answer lies above what is measured nearer by
    for a in some.curves[0].forecast.at:
        assert a.error < one.validation_error, a.samples
    assert "The held-out 8,000 items are not in the fit: not measured yet." in (
        before.curves[0].fit.notes
    )
    assert HELD in [a.samples for a in before.curves[0].forecast.at]
    diverged = analyse(known, [*done, measured(first, status=Status.DIVERGED)], nothing, told)
    (met,) = diverged.confrontations
    assert (met.error, met.remark) == (None, "1 of 2 seeds so far, 1 diverged")


def test_a_capped_one_is_an_upper_bound() -> None:
    known = facts()
    done = searched(known)
    told = registered(known, done)
    late = [measured(t, status=Status.CAPPED) for t in held_out_trials(told, known)]
    found = analyse(known, [*done, *late], nothing, told)
    (met,), fit = found.confrontations, found.curves[0].fit
    assert met.error is not None
    assert (met.inside, met.remark) == (None, "capped: an upper bound")
    assert fit.reference == 4000
    assert fit.at_hand == 8000, "the data are there"
    note = "The held-out 8,000 items are in the fit as an upper bound: capped."
    assert note in fit.notes
    (at,) = [a for a in found.curves[0].forecast.at if a.factor == 2.0]
    assert at.upper <= met.error, "more data is no worse"
    low = [replace(m, validation_error=0.5 * told[0].forecast.lower) for m in late]
    (met,) = analyse(known, [*done, *low], nothing, told).confrontations
    assert met.inside is False, "below the interval already"
    assert "capped" in flagged(found, [*done, *late])


def test_one_whose_seeds_diverge_says_so() -> None:
    known = facts()
    done = searched(known)
    told = registered(known, done)
    gone = {"status": Status.DIVERGED, "validation_error": None}
    late = [measured(t, **gone) for t in held_out_trials(told, known)]
    found = analyse(known, [*done, *late], nothing, told)
    (met,) = found.confrontations
    helps = "; with more data (--extend) the study searches the shard"
    assert (met.error, met.remark) == (None, f"2 diverged{helps}")
    assert found.curves[0].fit.at_hand == 4000


# ---------------------------------------------------------------- several, draws, growth


def test_two_held_out_shards_join_one_by_one() -> None:
    known = facts(held=(8000, 16_000))
    done = searched(known)
    told = registered(known, done)
    assert [c.samples for c in told] == [8000, 16_000]
    trials = held_out_trials(told, known)
    one = analyse(known, [*done, *map(measured, trials[:2])], nothing, told)
    fit = one.curves[0].fit
    assert (fit.at_hand, len(fit.used)) == (8000, 7)
    assert fit.notes == (
        "Fitted to 125 to 8,000 items, the held-out 8,000 included, now that it is measured.",
        "The held-out 16,000 items are not in the fit: not measured yet.",
    )
    assert [a.samples for a in one.curves[0].forecast.at] == [16_000, 32_000, 80_000]
    both = analyse(known, [*done, *map(measured, trials)], nothing, told)
    now, *regrets = both.curves[0].fit.notes
    assert now == (
        "Fitted to 125 to 16,000 items, the held-out 8,000 and 16,000 included, now that they "
        "are measured."
    )
    assert all("one model was trained, of a predicted size" in note for note in regrets)
    assert [c.forecast for c in both.confrontations] == [c.forecast for c in told]


def test_what_draws_differ_by_is_in_the_error_bar_of_a_single_one() -> None:
    """Draws 6 % apart (one standard deviation); the held-out shard is measured on one of them."""
    known = facts(permutations=3)
    shift = {0: 0.0, 1: 0.06, 2: -0.06}
    done = [
        replace(
            m, validation_error=(m.validation_error or 0.0) * math.exp(shift[m.trial.permutation])
        )
        for m in searched(known)
    ]
    told = registered(known, done)
    done += [measured(t) for t in held_out_trials(told, known)]
    fit = analyse(known, done, nothing, told).curves[0].fit
    *others, held = fit.points
    assert {p.replicates for p in others} == {3}
    assert held.used
    assert held.se_log == pytest.approx(0.06, rel=0.25)
    assert max(p.se_log or 0.0 for p in others) < 0.02


def test_a_forecast_is_registered_from_the_searched_shards_alone(tmp_path: Path) -> None:
    """Also where one held-out shard is measured before the other's forecast is written down."""
    values = tiny.spec(shards={"smallest": 250, "held_out": 2}, family={"sizes": [2, 4, 8]})
    study = Study(values, tmp_path / "study")
    assert study.run().word == "complete"
    with study.store() as store:
        known, done = from_store.facts(store, study.spec, study.cut), store.measurements()
        first, second = decisions.registered(store)
        alone = [m for m in done if m.trial.samples <= 2000]
        before = analyse(known, alone, store.items).curves[0].forecast
    assert next(a for a in before.at if a.samples == 8000) == second.forecast

    class Forgetful:
        """The store, in which the second forecast is not written down yet."""

        def __init__(self, store: Any) -> None:
            self.told = store.decisions("forecast")[:1]
            self.store, self.items, self.measurements = store, store.items, store.measurements
            self.tried = store.tried

        def decisions(self, kind: str) -> list[Any]:
            return self.told

        def decide(self, kind: str, payload: dict[str, Any]) -> None:
            self.told = [*self.told, replace(self.told[0], payload=payload)]

    with study.store() as store:
        again = from_store.register_forecasts(Forgetful(store), known)  # type: ignore[arg-type]
    assert [c.samples for c in again] == [first.samples, second.samples] == [4000, 8000]
    assert again[1].forecast == second.forecast


def test_a_study_that_grows_beyond_it_keeps_what_was_confronted(tmp_path: Path) -> None:
    """The shard is searched then: its best fit may be better than the model that was predicted."""
    short: dict[str, Any] = {"family": {"sizes": [2, 4, 8]}}
    study = Study(tiny.spec(shards={"smallest": 500}, **short), tmp_path / "study")
    study.run()
    (old,) = study.analyse().confrontations
    more = tiny.spec(domain={"items": 20_000}, shards={"smallest": 500, "largest": 16_000}, **short)
    grown = Study(more, study.folder)
    assert grown.run(extend=True).word == "complete"
    analysis = grown.analyse()
    first, second = analysis.confrontations
    assert first == old
    best = {b.samples: b for b in analysis.best_fits}
    assert len({c.size for c in best[8000].candidates}) > 1
    assert best[8000].best.score <= (old.error or 0.0)
    assert (best[8000].held_out, best[16_000].held_out) == (False, True)
    assert analysis.curves[0].fit.at_hand == second.samples == 16_000
    with grown.store() as store:
        known = from_store.facts(store, grown.spec, grown.cut)
        below = [m for m in store.measurements() if m.trial.samples <= 8000]
        before = analyse(known, below, store.items).curves[0].forecast
    assert next(a for a in before.at if a.samples == 16_000) == second.forecast


# ---------------------------------------------------------------- one question, one answer


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A finished study and its published tables."""
    place = tmp_path_factory.mktemp("doors")
    study = Study(tiny.spec({"item_noise": 0.2}, family={"sizes": [2, 4, 8]}), place / "study")
    assert study.run().word == "complete"
    report_of(Source(str(study.folder)), None, None, place / "published")
    return str(study.folder), str(place / "published")


def test_every_command_gives_the_same_numbers_and_they_are_the_trials(
    doors: tuple[str, str], tmp_path: Path
) -> None:
    told = []
    for path in doors:
        source = Source(path)
        (forecast,) = forecasts_of(source, ["1x", "2x", "4x", "10x"], ["0.2"])[:1]
        fit = fits_of(source)[0].fit
        (cost,) = cost_of(source, Law(), ["0.2"], Where())
        findings = findings_of(source)[0]
        study = Published.open(path) if path == doors[1] else Study.open(path)
        analysis = study.analyse(times=[1.0], targets=[0.2])
        tested = backtests_of(source)[0].backtest
        assert forecast.fit == fit == analysis.curves[0].fit
        at = {a.factor: a for a in forecast.forecast.at}
        shown = {a.factor: a for a in analysis.curves[0].forecast.at}
        assert all(shown[f] == at[f] for f in (1.0, 2.0, 4.0, 10.0))
        (goal,), (projected,) = forecast.forecast.targets, cost.projections
        (known,) = analysis.curves[0].forecast.targets
        assert replace(known, flops=None) == goal, "what it takes to train is asked of cost"
        assert projected.samples is not None
        assert projected.samples.value == pytest.approx(goal.samples)
        assert (projected.samples.lower, projected.samples.upper) == (goal.lower, goal.upper)
        assert projected.parameters is not None
        assert goal.parameters is not None
        assert projected.parameters.value == pytest.approx(goal.parameters.value)
        assert projected.factor == goal.factor == pytest.approx((goal.samples or 0.0) / 8000)
        assert cost.limit is not None
        assert cost.limit.samples == 8000
        assert findings.findings == analysis.findings
        assert tested.scores[0].samples == 8000
        # each says what it stands on
        basis = (
            "Fitted to 125 to 8,000 items, the held-out 8,000 included, now that it is measured."
        )
        assert basis in fit.notes
        assert basis in forecast.forecast.notes
        assert basis in findings.notes
        assert basis in cost_lines(cost)
        assert basis in sentences.study_lines(analysis)
        report = Path(path, "report.html")
        if path == doors[1]:
            report = report_of(source, tmp_path / "report.html", None).paths[0]
        page = report.read_text()
        assert basis in page
        assert sentences.answer(study.analyse().curves[0].forecast, fit) in page.replace(
            "\xa0", " "
        )
        files = Path(path) if path == doors[1] else Path(path, "results")
        rows = pd.read_csv(files / "forecasts.csv")
        rows = rows[(rows["question"] == "error at samples") & (rows["part"] == "validation")]
        assert rows["samples"].tolist() == [16_000, 32_000, 80_000]
        published = [at[f].error for f in (2.0, 4.0, 10.0)]
        assert rows["error"].tolist() == pytest.approx(published, rel=1e-5)
        best = pd.read_csv(files / "best_fit.csv")
        assert best["used"].tolist() == [True] * 7
        trials = pd.read_csv(files / "trials.csv")
        for row in best.itertuples():
            of_best = trials[(trials["samples"] == row.samples) & (trials["size"] == row.size)]
            assert row.error == pytest.approx(of_best["validation_error"].median(), rel=1e-5)
        (met,) = analysis.confrontations
        held = trials[trials["samples"] == 8000]["validation_error"]
        assert met.error == pytest.approx(held.median(), rel=1e-5)
        assert fit.used[-1].error == met.error
        assert at[1.0].lower < met.error < at[1.0].upper
        fits = json.loads((files / "fits.json").read_text())
        assert fits["curves"][0]["points"][-1]["used"] is True
        told.append(
            (forecast, cost.projections, findings.findings, tested, analysis.confrontations)
        )
    one, other = told
    assert one == other


def test_a_study_and_its_published_tables_are_the_same_curve(doors: tuple[str, str]) -> None:
    (pair,) = comparison_of([Source(path) for path in doors]).pairs
    assert pair.difference.value == pytest.approx(0.0, abs=1e-9)


def test_a_search_that_goes_on_after_its_budget_chooses_the_held_out_model_anew(
    tmp_path: Path,
) -> None:
    """Where a budget ended the search early, the forecast was registered with the model that was
    best by then. The finished study trains the one that an uninterrupted study trains, too, and its
    held-out point is that one's; the registered forecast stays."""

    def train(shard: Any, size: int, seed: int) -> dict[str, float]:
        m, p = len(shard.train), 1000 * size
        error = 1.5 * m**-0.35 * (1 + 0.3 * math.log(p / (20 * m**0.7)) ** 2)
        return {
            "validation_error": error * (1 + 1e-3 * math.sin(37 * seed + size + m)),
            "parameters": p,
            "flops": 6.0 * p * m,
        }

    spec = {
        "study": "budget",
        "domain": {"name": "external", "items": 20_000},
        "family": {"sizes": [1, 2, 4, 8, 16]},
        "shards": {"smallest": 250, "largest": 16_000, "held_out": 1},
        "split": {"validation": 2000},
    }
    whole = Study(spec, tmp_path / "whole", trainer=train)
    assert whole.run(progress=False).word == "complete"
    cut = Study(spec, tmp_path / "cut", trainer=train)
    assert cut.run(budget=1.2e9, progress=False).word == "budget"
    first = cut.analyse().confrontations[0]
    again = Study(spec, tmp_path / "cut", trainer=train)
    assert again.run(progress=False).word == "complete"
    point = {b.samples: b.best for b in again.analyse().best_fits}[16_000]
    expected = {b.samples: b.best for b in whole.analyse().best_fits}[16_000]
    assert point.score <= expected.score * 1.01
    later = again.analyse().confrontations[0]
    assert (later.forecast, later.size) == (first.forecast, first.size)
    assert Study(spec, tmp_path / "cut", trainer=train).run(progress=False).ran == 0


def test_what_the_held_out_shards_leave_of_a_budget_goes_into_the_search(tmp_path: Path) -> None:
    """A part of the budget is kept for the held-out shard, which then takes a twentieth of what was
    expected: the same call goes on searching, and the forecast stays as it was written down."""
    trained: list[int] = []

    def train(shard: Any, size: int, seed: int) -> dict[str, float]:
        m, p = len(shard.train), 1000 * size
        trained.append(m)
        error = 1.5 * m**-0.35 * (1 + 0.3 * math.log(p / (20 * m**0.7)) ** 2)
        return {
            "validation_error": error * (1 + 0.02 * math.sin(37 * seed + size + m)),
            "parameters": p,
            "flops": 6.0 * p * m * (0.05 if m == 16_000 else 1.0),
        }

    spec = {
        "study": "budget",
        "domain": {"name": "external", "items": 20_000},
        "family": {"sizes": [1, 2, 4, 8, 16]},
        "shards": {"smallest": 250, "largest": 16_000, "held_out": 1},
        "split": {"validation": 2000},
        "search": {"seeds": 3},
    }
    study = Study(spec, tmp_path / "study", trainer=train)
    outcome = study.run(budget=2e9, progress=False)
    assert outcome.ran == len(trained)
    last = max(i for i, m in enumerate(trained) if m < 16_000)
    assert 16_000 in trained[:last], "the held-out shard came last, and something was left"
    spent = sum(m.flops or 0.0 for m in study.measurements())
    assert spent < 2e9
    (met,) = study.analyse().confrontations
    assert met.error is not None
    assert Study(spec, tmp_path / "study", trainer=train).run(progress=False).word == "complete"
    (later,) = study.analyse().confrontations
    assert (later.forecast, later.size, later.registered) == (
        met.forecast,
        met.size,
        met.registered,
    )


def test_where_no_forecast_can_be_made_a_budget_trains_the_held_out_shard_all_the_same(
    tmp_path: Path,
) -> None:
    """Two shards never make a forecast: what is kept for the third one is spent on it, a point of
    the curve, although the budget has ended the search."""

    def train(shard: Any, size: int, seed: int) -> dict[str, float]:
        m, p = len(shard.train), 1000 * size
        error = 1.5 * m**-0.35 * (1 + 0.3 * math.log(p / (20 * m**0.7)) ** 2)
        return {"validation_error": error, "parameters": p, "flops": 6.0 * p * m}

    spec = {
        "study": "few",
        "domain": {"name": "external", "items": 20_000},
        "family": {"sizes": [1, 2, 4, 8, 16, 32]},
        "shards": {"smallest": 4000, "largest": 16_000, "held_out": 1},
        "split": {"validation": 2000},
    }
    study = Study(spec, tmp_path / "study", trainer=train)
    assert study.run(budget=3e9, progress=False).word == "budget"
    analysis = study.analyse()
    assert analysis.confrontations == ()
    assert [p.samples for p in analysis.curves[0].fit.used] == [4000, 8000, 16_000]


def test_one_fixed_model_has_no_ladder_in_any_answer(tmp_path: Path) -> None:
    """Its size is known: no interval about it, no exponent, nothing of edges or larger models."""
    study = Study(tiny.spec(family={"sizes": [8]}), tmp_path / "one")
    study.run()
    analysis = study.analyse()
    law = dict(analysis.size_laws)["smallest adequate"]
    assert (law.outcome, law.reason, law.beta_p) == ("ok", ONE_SIZE, None)
    (forecast,) = forecasts_of(Source(str(study.folder)), ["2x", "10x"], [])[:1]
    sizes = {a.parameters for a in forecast.forecast.at}
    (size,) = sizes
    assert size is not None
    assert size.lower == size.value == size.upper == pytest.approx(6400)
    text = forecast_text(forecast.forecast, forecast.fit)
    assert "6.4k" in text
    assert "6.4k [" not in text
    (cost,) = cost_of(Source(str(study.folder)), Law(), ["0.2"], Where())
    assert "a model of 6.4k parameters" in "\n".join(cost_lines(cost))
    assert not any("size law" in text for text in cost.assumptions)
    page = study.report().read_text()
    said = " ".join(
        [
            page,
            *sentences.study_lines(analysis),
            *forecast.notes,
            *(f.evidence for f in analysis.findings),
        ]
    ).lower()
    for word in (
        "ladder",
        "beta_p",
        "adequate",
        "size law",
        "model-size",
        "larger models",
        "thin line",
    ):
        assert word not in said, word
    (met,) = analysis.confrontations
    assert met.size_reason == ONE_SIZE


def test_a_back_test_scores_the_registered_forecast_as_it_was(doors: tuple[str, str]) -> None:
    """One question, one answer: what was forecast for the held-out shard before it was trained."""
    for path in doors:
        analysis = (Published if path == doors[1] else Study).open(path).analyse()
        (met,) = analysis.confrontations
        tested = backtests_of(Source(path))[0].backtest
        (score,) = [s for s in tested.scores if s.registered]
        assert (score.samples, score.points) == (8000, 6)
        at = met.forecast
        assert (score.forecast, score.lower, score.upper) == (at.error, at.lower, at.upper)
        assert score.inside == met.inside
        table = backtest_table(tested)
        assert [row[0] for row in table.rows if "registered" in row[0]] == ["2x (registered)"]
        assert "as written down before that size was trained" in table.note
        others = backtests_of(Source(path))[1].backtest
        assert not any(s.registered for s in others.scores), "of the test part none was written"
        assert not any(s.registered for s in backtests_of(Source(path), 0.8)[0].backtest.scores)


def test_a_search_under_way_has_no_edge_to_speak_of() -> None:
    """Best fits at the largest size tried: with all seeds an edge, before that nobody knows."""
    small = [m for m in searched(facts()) if m.trial.size <= 4]
    under_way = analyse(facts(), [m for m in small if m.trial.seed == 0], nothing)
    finished = analyse(facts(), small, nothing)
    told = []
    for found in (under_way, finished):
        assert all(b.adequate_edge == "high" for b in found.best_fits if b.samples > 500)
        law = dict(found.size_laws)["smallest adequate"]
        assert law.outcome == "not measured"
        remarks = {row[-1] for row in study_table(found).rows}
        told.append(
            (law.reason == "the search is unfinished", "fewer seeds than requested" in remarks)
        )
        at_edge = any("best at the largest size tried" in remark for remark in remarks)
        assert at_edge == (found is finished)
    assert told == [(True, True), (False, False)]
