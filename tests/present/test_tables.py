"""Tables: plain cells, drawn by rich without reading markup into them."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from steep.analysis.result_tables import best_fit_table as best_fit_csv
from steep.fit import points_of
from steep.present import table as plain
from steep.present import tables
from steep.records import (
    ALREADY_MET,
    PERHAPS_NOT,
    UNFINISHED,
    Backtest,
    Fit,
    Forecast,
    ForecastPoint,
    Interval,
    Point,
    RequiredSamples,
    Score,
)


def drawn(table: plain.Table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_best_fits(made_study):
    table = tables.best_fit_table(made_study.analysis.best_fits, "error")
    assert table.columns[:2] == ("images", "error rate")
    assert [row[0] for row in table.rows][-2:] == ["4,000", "8,000"]
    assert "held out" in table.rows[-1][-1]
    assert "42." in drawn(table)


def test_hyperparameters_that_were_searched_have_a_column(made_study):
    best = made_study.analysis.best_fits[0]
    other = replace(best.best, hyperparameters=(("learning_rate", 0.3),))
    table = tables.best_fit_table([replace(best, candidates=(best.best, other))], "error")
    assert "learning rate" in table.columns
    assert "0.1" in table.rows[0]


def test_what_has_no_curve_has_a_column(made_study):
    """A domain's score of what a model writes: BLEU of each best fit, in the report and on disk."""
    analysis = made_study.analysis
    assert analysis.measures == ()
    assert "bleu" not in best_fit_csv(analysis)
    scored = [replace(b, metrics=(*b.metrics, ("bleu", 12.34))) for b in analysis.best_fits]
    analysis = replace(analysis, best_fits=(*scored[:-1], analysis.best_fits[-1]))
    assert analysis.measures == ("bleu",)
    table = tables.best_fit_table(analysis.best_fits, "error", analysis.measures)
    column = table.columns.index("BLEU")
    assert [row[column] for row in table.rows] == ["12.3"] * (len(scored) - 1) + ["–"]
    assert best_fit_csv(analysis)["bleu"].tolist()[:-1] == [12.34] * (len(scored) - 1)


def test_remarks_say_where_a_ladder_ends_and_why_a_row_is_no_point_of_the_fit(made_study):
    best = made_study.analysis.best_fits[2]
    inside = replace(best, plateau=False, edge="", adequate_edge="", flags=())
    at_end = replace(inside, edge="high", adequate_edge="high", flags=("edge high",))
    flat = replace(inside, plateau=True, edge="high", flags=("plateau", "edge high"))
    few = replace(at_end, flags=("incomplete", "edge high"))
    open_ = replace(at_end, flags=("incomplete", "edge high", "withheld"), withheld=UNFINISHED)
    capped = replace(inside, best=replace(best.best, capped=True), flags=("capped",))
    small = replace(inside, samples=7.0)
    fit = Fit("ok", (Point(7.0, 0.9, used=False, reason="small-data"), Point(best.samples, 0.4)))
    rows = tables.best_fit_table(
        [inside, at_end, flat, few, open_, capped, small], "error", fit=fit
    ).rows
    assert [row[-1] for row in rows] == [
        "",
        "best at the largest size tried",
        "plateau",  # its smallest adequate size lies inside
        "fewer seeds than requested",  # larger sizes may be tried yet
        "fewer seeds than requested, an upper bound of the fit: its search is not finished",
        "an upper bound of the fit: capped",
        "not in the fit: small-data",
    ]


def test_the_metric_of_the_headline_comes_first_and_a_switch_is_said(made_study):
    """Images are answered by their error rate, also where cross-entropy chose the models."""
    analysis = made_study.analysis
    best_fits = tuple(
        replace(b, metrics=(("cross_entropy", b.best.score), ("error", 0.5)))
        for b in analysis.best_fits
    )
    loss, rate = analysis.curves[2], analysis.curves[0]
    made = replace(analysis, metric="cross_entropy", best_fits=best_fits, curves=(loss, rate, loss))
    table = tables.study_table(made)
    assert table.columns[1:5] == (
        "error rate",
        "chosen by cross-entropy",
        "its cross-entropy seed s.e.",
        "its cross-entropy test",
    )
    assert {row[1] for row in table.rows} == {"50.0 %"}
    assert all(row[2].endswith("nats") for row in table.rows)
    assert tables.study_table(analysis).columns[1] == "error rate"  # chosen by it: no switch


def test_what_a_trainer_does_not_say_is_unknown_and_not_zero(made_study):
    analysis = made_study.analysis
    mute = [
        replace(
            b,
            best=replace(b.best, parameters=0, parameters_without_embeddings=0),
            adequate=replace(b.adequate, size=1, parameters=0, parameters_without_embeddings=0),
            size_curve=None,
        )
        for b in analysis.best_fits
    ]
    table = tables.best_fit_table(mute, "error")
    column = table.columns.index("parameters")
    assert {row[column] for row in table.rows} == {"–"}
    assert {row[column + 1] for row in table.rows} == {"1", "–"}
    csv = best_fit_csv(replace(analysis, best_fits=tuple(mute)))
    assert csv[["parameters", "adequate_parameters"]].isna().all(axis=None)
    assert all(p.parameters is None for p in points_of(mute))


def test_forecasts(made_study):
    first = made_study.analysis.curves[0]
    table = tables.forecast_table(first.forecast, first.fit)
    assert [row[0] for row in table.rows] == [
        "2x the data", "4x the data", "10x the data", "to reach 5 %",
    ]  # fmt: skip
    assert "90 % intervals" in tables.forecast_text(first.forecast)


def test_an_unreachable_target_says_so_in_its_row():
    never = RequiredSamples(0.05, "not reachable with this model family", unreachable=0.83)
    table = tables.forecast_table(Forecast("ok", targets=(never,), unit="images"))
    row = table.rows[0]
    assert row == ("to reach 5 %", "5 % (never: 83 %)", "not reachable with this model family")


def test_a_target_that_is_perhaps_out_of_reach_keeps_its_lower_end():
    perhaps = RequiredSamples(0.05, PERHAPS_NOT, lower=9821, unreachable=0.64)
    met = RequiredSamples(0.5, ALREADY_MET, 1e3, None, 1e3, 0.1, smallest=1e3)
    table = tables.forecast_table(Forecast("ok", targets=(perhaps, met), unit="images"))
    assert [row[2] for row in table.rows] == [f"{PERHAPS_NOT}, else at least 9.8k", "1k or less"]


def test_whose_errors_an_interval_holds():
    at = ForecastPoint(8e3, 2.0, 0.15, 0.14, 0.16)
    fit = Fit("ok", (Point(4e3, 0.2, replicates=5),), reference=4e3)
    notes = [
        tables.forecast_table(Forecast("ok", at=(at,), runs=runs), fit).note
        for runs in (5, 1, None)
    ]
    assert "of errors, prediction intervals for one new mean of 5 runs." in notes[0]
    assert "for one new run (the points are means of 5)." in notes[1]
    assert "of errors" not in notes[2]


def test_a_forecast_with_sizes_but_no_compute_has_their_column_alone():
    at = ForecastPoint(8e3, 2.0, 0.15, 0.14, 0.16, parameters=Interval(1e6, 5e5, 2e6))
    table = tables.forecast_table(Forecast("ok", at=(at,)))
    assert table.columns[-1] == "parameters"
    assert table.rows[0][-1] == "1M [500k, 2M]"


def test_laws_metrics_and_sizes(made_study):
    analysis = made_study.analysis
    laws = tables.law_table(analysis.curves[0].fit)
    assert laws.rows[0][0]
    assert laws.columns[3] == "formula"
    slopes = tables.slope_table(analysis)
    assert [row[:2] for row in slopes.rows] == [
        ("error rate", "validation"), ("error rate", "test"), ("cross-entropy", "validation"),
    ]  # fmt: skip
    assert "nats" in tables.curves_table(analysis.curves).rows[2][2]
    assert len(tables.size_law_table(analysis).rows) == 2


def test_named_columns_decide_how_numbers_look():
    rows = [
        {"samples": 8000.0, "flops": 3.4e15, "train_seconds": 75.0, "state": "[red]running"},
        {"samples": 16000.0, "flops": None, "train_seconds": 1.0, "state": "planned"},
    ]
    table = plain.status_table(rows)
    assert table.rows[0] == ("8,000", "3.4 PFLOPs", "1 min 15 s", "[red]running")
    assert table.sides[-1] == plain.LEFT
    assert "[red]running" in drawn(table)
    assert plain.plan_table(rows).text().count("\n") == 2


def test_the_back_test():
    score = Score(8e3, 2e3, 5, 0.12, 0.13, 0.11, 0.15, 0.08, True, 0.4, 0.3)
    table = tables.backtest_table(Backtest("ok", 0.9, (score,), unit="images"))
    assert table.rows[0][:3] == ("4x", "5 points", "8,000")
    assert "inside" in table.rows[0]


def test_findings_come_serious_first(made_study):
    table = tables.finding_table(made_study.analysis.findings)
    assert [row[0] for row in table.rows] == ["warning", "note"]
