"""How many items measured an error rate counts in every answer of a study, as of a table."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from steep import Study
from steep.analysis.analyse import Facts, analyse, confrontation, held_out_trials
from steep.analysis.result_tables import result_files
from steep.cli.answers import Source, findings_of, fits_of, forecasts_of
from steep.cli.comparisons import comparison_of
from steep.cli.cost_answers import Law, Where, cost_of
from steep.fit import fit
from steep.present.sentences import SAME_ITEMS, held_out_sentences
from steep.questions.backtest import backtest
from steep.records import Analysis, Measurement, Shard, Status, Trial, settings
from steep.spec.load import from_values

ITEMS = 50
SAMPLES = (100, 200, 400, 800, 1600, 3200)
HELD = 6400
VALUES = settings({"learning_rate": 0.1})


def error_at(samples: float) -> float:
    return 3.0 * samples**-0.4


def share(error: float, items: float = ITEMS) -> float:
    """Binomial, relative."""
    return math.sqrt((1 - error) / (error * items))


def width(lower: float | None, upper: float | None) -> float:
    return math.inf if not lower or upper is None else math.log(upper / lower)


# ---------------------------------------------------------------- own code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of own code, measured alike: 'known' on 50 items of a split, 'unknown' elsewhere."""
    place = tmp_path_factory.mktemp("own")

    def train(shard: Any, size: int, seed: int) -> dict[str, float]:
        luck = math.exp(0.01 * (-1) ** (seed + size))
        return {"validation_error": error_at(len(shard.train)) * luck, "parameters": 10 * size}

    for name, split in (("known", {"validation": ITEMS}), ("unknown", {})):
        values = {
            "study": name,
            "domain": {"name": "external", "items": 3200 + split.get("validation", 0)},
            "family": {"sizes": [1, 2]},
            "shards": {"smallest": 100, "largest": 3200, "held_out": 0},
            "search": {"planner": "grid", "seeds": 2},
            "run": {"executor": "inline"},
        }
        study = Study(values | ({"split": split} if split else {}), place / name, trainer=train)
        assert study.run(progress=False).word == "complete"
    return place


def widths(source: Source) -> dict[str, float]:
    """The width of an interval of each question, in log error or log samples."""
    (told,) = forecasts_of(source, ["10x"], ["5%"])
    made = next(iter(fits_of(source))).fit
    at = next(a for a in told.forecast.at if a.factor == pytest.approx(10))
    target = told.forecast.targets[0]
    found = {
        "fit": made.beta_g.upper - made.beta_g.lower,  # type: ignore[union-attr,operator]
        "forecast": width(at.lower, at.upper),
        "target": width(target.lower, target.upper),
    }
    if source.is_study:
        (cost,) = cost_of(source, Law(), ["5%"], Where())
        needed = cost.projections[0].samples
        assert needed is not None
        found["cost"] = width(needed.lower, needed.upper)
    return found


def test_every_question_of_a_study_counts_them(folder: Path) -> None:
    with_items, without = (widths(Source(str(folder / name))) for name in ("known", "unknown"))
    last = share(error_at(3200))
    normal = 2 * 1.645 * last
    assert with_items["forecast"] > 0.98 * math.hypot(normal, without["forecast"])
    for question in ("target", "cost"):
        assert with_items[question] > 0.7 * normal / 0.4, question
        assert without[question] < 0.6 * with_items[question], question
    assert with_items["fit"] > without["fit"]
    worth = comparison_of([Source(str(folder / "known"))] * 2).pairs[0].multiplier
    assert worth is not None
    assert width(worth.lower, worth.upper) > normal
    status = Study.open(folder / "known").standing().analysis
    assert status is not None
    assert status.headline.fit.noise.validation == pytest.approx(last, rel=0.02)
    assert status.headline.fit.noise.validation_items == ITEMS


def test_the_same_points_with_so_many_items_have_the_same_intervals(folder: Path) -> None:
    (of_study,) = fits_of(Source(str(folder / "known")))
    made = fit(points=of_study.fit.points, validation_items=ITEMS)
    assert made.noise == of_study.fit.noise
    assert made.beta_g == of_study.fit.beta_g


def test_where_nobody_says_how_many_nothing_is_assumed_and_it_is_said_once(folder: Path) -> None:
    (of_study,) = fits_of(Source(str(folder / "unknown")))
    assert of_study.fit.noise.validation is None
    said = {
        name: [f.next_step for f in findings_of(Source(str(folder / name)))[0].findings
               if "is not known" in f.evidence]
        for name in ("known", "unknown")
    }  # fmt: skip
    assert said["known"] == []
    assert ["validation_error_se" in step for step in said["unknown"]] == [True]


# ---------------------------------------------------------------- images


def facts(**changes: Any) -> Facts:
    values = tiny.spec(family={"sizes": [2, 4]})
    spec = from_values(values).spec
    spec = spec.model_copy(update={"domain": spec.domain.model_copy(update={"name": "images"})})
    shards = [Shard(0, m, float(m), "images", held_out=m == HELD) for m in (*SAMPLES, HELD)]
    sizes = {s: (100 * s * s, 600.0 * s * s) for s in (2, 4)}
    known = Facts(
        spec, tuple(shards), "images", "cross_entropy", ("cross_entropy", "error"),
        {"cross_entropy": 2.3, "error": 0.9}, np.empty(0), sizes, items=ITEMS,
    )  # fmt: skip
    return replace(known, **changes)


def measured(trial: Trial) -> Measurement:
    """Cross-entropy selects; the standard error that is measured is of it."""
    luck = math.exp(0.01 * (-1) ** (trial.seed + trial.size))
    error = error_at(trial.samples) * luck
    return Measurement(
        trial, Status.COMPLETE, validation_error=3 * error, validation_error_se=0.02 * error,
        metrics=settings({"cross_entropy": 3 * error, "error": error}), parameters=100,
        samples_seen=5.0 * trial.samples,
    )  # fmt: skip


def trials(*sizes: int) -> list[Measurement]:
    return [
        measured(Trial(0, m, float(m), size, VALUES, seed))
        for m in sizes
        for size in (2, 4)
        for seed in (0, 1)
    ]


def nothing(trial: str) -> None:
    return None


def analysed(known: Facts) -> Analysis:
    return analyse(known, trials(*SAMPLES), nothing)


def test_the_error_rate_that_answers_are_about_has_them_where_another_metric_selects() -> None:
    headline, rest = analysed(facts()).headline, analysed(facts(items=0)).headline
    assert headline.metric == "error"
    assert headline.fit.noise.validation == pytest.approx(share(error_at(3200)), rel=0.03)
    assert rest.fit.noise.validation is None
    first, other = (next(a for a in c.forecast.at if a.factor == 10) for c in (headline, rest))
    assert width(first.lower, first.upper) > 2 * width(other.lower, other.upper)


def test_items_that_hold_many_units_are_no_binomial_share() -> None:
    """Paragraphs: an error of characters is an average over many of each item."""
    shards = tuple(replace(s, samples=70.0 * s.items) for s in facts().shards)
    assert analysed(facts(shards=shards)).curves[-1].fit.noise.validation is None


def test_items_in_groups_count_as_fewer_and_graded_ones_as_they_were_measured() -> None:
    def made(se_of: Any) -> Any:
        rows = [
            replace(m, validation_error=e, validation_error_se=se_of(e))
            for m in trials(*SAMPLES)
            for e in [dict(m.metrics)["error"]]
        ]
        known = facts(metric="error", metrics=("error",), items=1000)
        return analyse(known, rows, nothing).headline.fit.noise

    alone = made(lambda e: math.sqrt(e * (1 - e) / 999))
    assert alone.validation_items == 1000
    grouped = made(lambda e: 2 * math.sqrt(e * (1 - e) / 999))
    assert grouped.validation_items == pytest.approx(250.75, abs=0.1)
    graded = made(lambda e: 0.01 * e)
    assert (graded.validation_items, graded.validation) == (None, pytest.approx(0.01))


# ---------------------------------------------------------------- the same items


def test_a_held_out_forecast_is_of_the_same_items() -> None:
    """Their common error moves forecast and measurement alike; what remains of a rate is that fewer
    errors vary more."""
    known = facts(metric="error", metrics=("error",))
    rows = [
        replace(m, validation_error=dict(m.metrics)["error"], validation_error_se=None)
        for m in trials(*SAMPLES)
    ]
    shard = known.shards[-1]
    widths = {}
    for items in (0, ITEMS):
        before = analyse(replace(known, items=items), rows, nothing)
        (answer,) = [a for a in before.headline.forecast.at if a.samples == HELD]
        told = confrontation(known, shard, before, 0.9, "2026-01-01T00:00:00+00:00")
        assert told is not None
        widths[items] = [width(a.lower, a.upper) for a in (answer, told.forecast)]
    (plain, same), (general, held) = widths[0], widths[ITEMS]
    assert plain == pytest.approx(same)
    last, next_ = share(error_at(3200)), share(error_at(HELD))
    grown = 2 * 1.645 * math.sqrt(next_**2 - last**2)
    assert general > 2 * 1.645 * last
    assert math.hypot(plain, grown) * 0.95 < held < math.hypot(plain, grown) * 1.3
    assert held < 0.8 * general
    waiting = replace(before, confrontations=(told,))
    assert SAME_ITEMS in held_out_sentences(waiting)


def test_a_backtest_is_of_the_same_items() -> None:
    samples = [100 * 2**k for k in range(7)]
    errors = [2.0 * m**-0.3 * math.exp(0.01 * (-1) ** m) for m in range(7) for m in [samples[m]]]
    loss = {"samples": samples, "error": errors, "metric": "loss"}
    alone = backtest(fit(**loss), fit=fit)  # type: ignore[arg-type]
    common = backtest(fit(**loss, validation_se=0.3), fit=fit)  # type: ignore[arg-type]
    assert common.width == pytest.approx(alone.width)


# ---------------------------------------------------------------- a study's own table


def same(study: Any, table: Any) -> None:
    assert (table.fit.unit, table.fit.metric) == (study.fit.unit, study.fit.metric)
    first, second = (
        next(a for a in c.forecast.at if a.factor == pytest.approx(10)) for c in (study, table)
    )
    for name in ("samples", "error", "lower", "upper"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), rel=1e-4), name
    assert table.fit.noise == study.fit.noise


RESULTS = Path(__file__).parents[2] / "studies" / "results"


@pytest.mark.parametrize(
    "name", ["images-grid", "characters-rhn10-sgd", "speech-attention", "words-lstm2"]
)
def test_a_published_study_and_its_table_of_best_fits_give_one_answer(name: str) -> None:
    """A rate on counted items, a loss with capped points, a rate of characters, a loss."""
    folder = RESULTS / name
    (study,) = forecasts_of(Source(str(folder)), ["10x"], [])
    (table,) = forecasts_of(Source(str(folder / "best_fit.csv")), ["10x"], [])
    same(study, table)


def test_so_do_own_code_and_a_study_that_another_metric_selects(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("known", "unknown"):
        (study,) = forecasts_of(Source(str(folder / name)), ["10x"], [])
        table = folder / name / "results" / "best_fit.csv"
        (read,) = forecasts_of(Source(str(table)), ["10x"], [])
        same(study, read)
    analysis = analysed(facts())
    (tmp_path / "best_fit.csv").write_text(result_files(analysis)["best_fit.csv"])
    for y, curve in ((None, analysis.headline), ("cross_entropy", analysis.curves[0])):
        (read,) = forecasts_of(Source(str(tmp_path / "best_fit.csv"), y=y), ["10x"], [])
        same(curve, read)


@pytest.mark.parametrize("file", ["trials.csv", "pairs.csv", "forecasts.csv", "items.csv.gz"])
def test_other_tables_of_a_study_are_no_learning_curve(file: str) -> None:
    from steep.tables.raw import TableError

    with pytest.raises(TableError, match=r"best_fit\.csv beside"):
        Source(str(RESULTS / "characters-sgd" / file)).table()


def test_held_out_trials_of_such_a_study_are_confronted() -> None:
    known = facts()
    before = analysed(known)
    told = confrontation(known, known.shards[-1], before, 0.9, "2026-01-01T00:00:00+00:00")
    assert told is not None
    assert told.told is not None
    rows = [*trials(*SAMPLES), *(measured(t) for t in held_out_trials([told], known))]
    (met,) = analyse(known, rows, nothing, [told]).headline_forecasts
    assert met[0] == "error"
    assert met[1].inside is True
