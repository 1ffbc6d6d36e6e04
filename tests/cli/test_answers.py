"""Questions of any source: places and targets as people write them, curves told apart, pairing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tiny
from steep import Study
from steep.cli.answers import (
    Source,
    backtests_of,
    findings_of,
    fits_of,
    forecasts_of,
    joint_fits_of,
)
from steep.cli.comparisons import comparison_of
from steep.cli.reports import report_of
from steep.present import sentences
from steep.spec.load import QuestionError


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two studies of the same data, the second one twice as bad; a third of other data."""
    place = tmp_path_factory.mktemp("studies")
    made = []
    for name, a, seed in (("one", 4.0, 0), ("two", 8.0, 0), ("other", 4.0, 1)):
        values = tiny.spec(
            {"a": a, "item_noise": 0.1}, family={"sizes": [2, 4, 8]}, seed=seed, study=name,
            search={"extend": 0},
        )  # fmt: skip
        Study(values, place / name).run()
        made.append(str(place / name))
    return made


def table(path: Path, **curves: float) -> str:
    rows = [
        {"model": name, "samples": 100 * 2**k, "error": a * (100 * 2**k) ** -0.3}
        for name, a in curves.items()
        for k in range(7)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


def test_what_is_a_study(tmp_path: Path, studies: list[str]) -> None:
    assert Source(studies[0]).is_study
    assert not Source("-").is_study
    assert not Source(str(tmp_path)).is_study


def test_a_relative_place_is_relative_to_the_largest_size_used(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", one=3.0)
    (found,) = forecasts_of(Source(source), ["10x", "1M"], ["10%"])
    assert [a.samples for a in found.forecast.at] == [64_000, 1_000_000]
    assert found.forecast.targets[0].target == pytest.approx(0.1)


def test_a_studys_forecast_counts_from_all_the_data_it_measured(studies: list[str]) -> None:
    (found,) = forecasts_of(Source(studies[0]), ["10x"], ["0.1"], 0.8)
    assert found.requested == (80_000,), "10x of 8000, which was held out and is measured"
    assert 80_000 in [a.samples for a in found.forecast.at]
    assert found.forecast.level == 0.8
    assert [t.target for t in found.forecast.targets] == [0.1]


def test_each_curve_of_a_table_has_its_name(tmp_path: Path) -> None:
    source = Source(table(tmp_path / "t.csv", one=3.0, two=2.0), by="model")
    assert [c.name for c in fits_of(source)] == ["one", "two"]


def test_studies_are_compared_by_their_first_curve(studies: list[str]) -> None:
    found = comparison_of([Source(path) for path in studies[:2]])
    assert found.curves == ("one", "two")
    pair = found.pair("one", "two")
    assert pair.paired, "same data, same split: size by size"
    assert pair.multiplier is not None
    assert pair.multiplier.value == pytest.approx(2 ** (-1 / 0.3), rel=0.5)


def test_studies_of_other_splits_are_not_paired(studies: list[str]) -> None:
    found = comparison_of([Source(studies[0]), Source(studies[2])])
    assert not found.pairs[0].paired


def test_equal_names_are_kept_apart(tmp_path: Path) -> None:
    one = table(tmp_path / "t.csv", one=3.0)
    (tmp_path / "b").mkdir()
    other = table(tmp_path / "b" / "t.csv", one=2.0)
    found = comparison_of([Source(one), Source(other), Source(one)])
    assert len(set(found.curves)) == 3


@pytest.mark.parametrize("bad", [{"margin": 0.0}, {"margin": 1.5}, {"error": "-1"}])
def test_a_comparison_that_cannot_be_asked(bad: dict[str, Any], tmp_path: Path) -> None:
    source = Source(table(tmp_path / "t.csv", one=3.0, two=2.0), by="model")
    with pytest.raises(QuestionError, match="--"):
        comparison_of([source], **bad)


def test_validation_items_are_too_few_for_the_curve_of_low_errors(tmp_path: Path) -> None:
    """500 items know 14 % to 0.11 of itself and 1.4 % to 0.37; a step of the curves is 0.21."""
    path = table(tmp_path / "t.csv", high=2.0, low=0.2)
    found = findings_of(Source(path, by="model", validation_items=500))
    said = {c.name: [f.evidence for f in c.findings if f.kind == "validation set"] for c in found}
    assert said["high"] == []
    assert "500 validation items is 37 % of" in said["low"][0]


def test_no_error_seen_is_half_an_error_of_the_items(tmp_path: Path) -> None:
    """An error of 0.01 over 50 items: sqrt(0.99 / 0.5)."""
    path = tmp_path / "t.csv"
    path.write_text("samples,error\n100,0.4\n200,0.3\n400,0.2\n800,0.1\n1600,0\n")
    source = Source(str(path), validation_items=50)
    (found,) = findings_of(source)
    assert "50 validation items is 140 % of" in next(
        f.evidence for f in found.findings if f.kind == "validation set"
    )
    assert fits_of(source)[0].fit.points[-1].error == pytest.approx(0.01)
    assert [p.samples for p in fits_of(Source(str(path)))[0].fit.points] == [100, 200, 400, 800]


@pytest.mark.parametrize("told", [{"validation_items": 50}, {"best_guess": "0.9"}])
def test_a_study_is_not_told_what_it_has_counted(
    told: dict[str, object], studies: list[str]
) -> None:
    for ask in (findings_of, fits_of):
        with pytest.raises(QuestionError, match="for tables"):
            ask(Source(studies[0], **told))  # type: ignore[arg-type,operator]


# ---------------------------------------------------------------- what was done to a table

PERCENT = "samples,accuracy (%)\n" + "".join(
    f"{100 * 2**k},{100 - 300 * (100 * 2**k) ** -0.3}\n" for k in range(7)
)


def test_notes_of_a_table_reach_every_answer(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PERCENT + "12800,\n")
    source = Source(str(path))
    found = [
        fits_of(source)[0].fit.notes,
        forecasts_of(source, ["10x"], [])[0].forecast.notes,
        findings_of(source)[0].notes,
        backtests_of(source)[0].notes,
        report_of(source, tmp_path / "r.html", None).notes,
    ]
    for notes in found:
        assert "Rows without a size or an error are left out (line 9)." in notes
        assert any("is an accuracy in percent" in note for note in notes)
    assert "is an accuracy in percent" in (tmp_path / "r.html").read_text()


def test_a_comparison_says_what_was_done_to_which_table(tmp_path: Path) -> None:
    (tmp_path / "percent.csv").write_text(PERCENT)
    (tmp_path / "plain.csv").write_text("samples,accuracy\n" + PERCENT.partition("\n")[2])
    names = ["percent.csv", "plain.csv"]
    paths = [str(tmp_path / name) for name in names]
    found = comparison_of([Source(path) for path in paths])
    assert f"{paths[0]}: Column 'accuracy (%)' is taken for the errors." in found.notes
    same = comparison_of([Source(paths[0]), Source(paths[0])])
    assert "Column 'accuracy (%)' is taken for the errors." in same.notes


def test_runs_of_every_size_of_model_make_a_joint_fit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [(n, d) for n in (1e6, 1e7, 1e8) for d in (1e8, 1e9, 1e10)]
    text = "".join(f"{n},{d},{1.5 + 400 / n**0.34 + 2000 / d**0.37}\n" for n, d in rows)
    path.write_text("parameters,samples,loss\n" + text)
    ((_, found),) = joint_fits_of(str(path), {}, None, {"flops_per_parameter_sample": 6.0})
    assert found.runs == 9
    assert not any("Rows of one size" in note for note in found.notes)
    (best,) = fits_of(Source(str(path)))
    assert [p.parameters for p in best.fit.points] == pytest.approx([1e8] * 3)


def test_a_best_guess_sets_points_aside(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [(50, 0.9), (100, 0.9), *((m, 5 * m**-0.4) for m in (200, 400, 800, 1600))]
    path.write_text("samples,error\n" + "".join(f"{m},{e}\n" for m, e in rows))
    for written in ("0.9", "90%"):
        (found,) = fits_of(Source(str(path), best_guess=written))
        assert [p.samples for p in found.fit.used] == [200, 400, 800, 1600]
    with pytest.raises(QuestionError, match="--best-guess 'low': write a value"):
        fits_of(Source(str(path), best_guess="low"))


def test_a_share_of_a_loss_is_no_target(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", one=300.0)
    with pytest.raises(QuestionError, match=r"'5%': errors up to 75\.3566 are taken as a loss"):
        forecasts_of(Source(source), ["10x"], ["5%"])
    (found,) = forecasts_of(Source(source), ["10x"], ["5"])
    assert found.forecast.targets[0].target == 5.0


def test_the_sizes_asked_for_are_those_that_the_answer_names(studies: list[str]) -> None:
    """A study forecasts 2x, 4x and 10x in any case."""
    (found,) = forecasts_of(Source(studies[0]), ["3x", "5x", "7x"], [])
    assert found.requested == (24_000, 40_000, 56_000)
    told = sentences.answer(found.forecast, found.fit, found.requested)
    assert [part.split(": ")[0] for part in told.split("; ")] == ["3x the data", "5x", "7x"]
    assert {a.factor for a in found.forecast.at} >= {2.0, 4.0, 10.0}


def test_a_table_with_model_sizes_forecasts_them(tmp_path: Path) -> None:
    """s(m) = 20 m^0.7; of compute nothing is told, for nobody said what a step takes."""
    rows = [(m, 3 * m**-0.3, 20 * m**0.7) for m in (100 * 2**k for k in range(7))]
    path = tmp_path / "sized.csv"
    pd.DataFrame(rows, columns=["samples", "error", "n"]).to_csv(path, index=False)
    (found,) = forecasts_of(Source(str(path), parameters="n"), ["10x"], ["10%"])
    (at,), (target,) = found.forecast.at, found.forecast.targets
    assert at.parameters is not None
    assert at.parameters.value == pytest.approx(20 * at.samples**0.7, rel=0.02)
    assert target.parameters is not None
    assert (at.flops, target.flops) == (None, None)
    assert not any("Model sizes" in note for note in found.notes)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [([10] * 5, "all points have the same one"), ([10, 20, 40, "", ""], "the exponent needs 4")],
)
def test_why_model_sizes_are_not_forecast(tmp_path: Path, sizes: list, reason: str) -> None:
    path = tmp_path / "sized.csv"
    m = [100 * 2**k for k in range(5)]
    table = {"samples": m, "error": [3 * v**-0.3 for v in m], "n": sizes}
    pd.DataFrame(table).to_csv(path, index=False)
    (found,) = forecasts_of(Source(str(path), parameters="n"), ["10x"], [])
    assert found.forecast.at[0].parameters is None
    (note,) = (note for note in found.notes if note.startswith("Model sizes are not forecast: "))
    assert reason in note


def test_a_study_says_why_model_sizes_are_missing(studies: list[str]) -> None:
    (found,) = forecasts_of(Source(studies[0]), ["10x"], [])
    law = dict(Source(studies[0]).study().analyse().size_laws)["smallest adequate"]
    measured = law.outcome == "ok"
    assert bool(found.forecast.at[0].parameters) is measured
    assert any("Model sizes are not forecast" in n for n in found.notes) is not measured


def test_accuracies_are_asked_for_and_answered_as_such(tmp_path: Path) -> None:
    """accuracy = 1 - 3 n^-0.3: 95 % takes 850k samples; ten times 6,400 have 89.2 %."""
    path = tmp_path / "accuracies.csv"
    lines = [f"{100 * 2**k},{1 - 3 * (100 * 2**k) ** -0.3}" for k in range(7)]
    path.write_text("\n".join(["samples,accuracy", *lines]))
    (found,) = forecasts_of(Source(str(path)), ["10x"], ["95%"])
    assert found.fit.metric == "1 - accuracy"
    (target,) = found.forecast.targets
    assert target.samples == pytest.approx(60 ** (1 / 0.3), rel=0.2)
    told = sentences.answer(found.forecast, found.fit, found.requested)
    assert told.startswith("10x the data: accuracy 89.")
    assert "; accuracy 95 % needs " in told
    at = found.forecast.at[0]
    assert 1 - at.upper < 1 - 3 * 64_000**-0.3 < 1 - at.lower
    with pytest.raises(QuestionError, match="at most 100 %"):
        forecasts_of(Source(str(path)), ["10x"], ["950%"])


def test_a_single_run_is_asked_of_runs(studies: list[str], tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rng = np.random.default_rng(0)
    m = np.repeat(100 * 2.0 ** np.arange(6), 4)
    error = 3 * m**-0.3 * np.exp(0.05 * rng.normal(size=len(m)))
    pd.DataFrame({"samples": m, "error": error, "s": 0.01}).to_csv(path, index=False)
    made = [
        forecasts_of(Source(str(path)), ["10x"], [], single_run=one)[0].forecast
        for one in (False, True)
    ]
    assert [f.runs for f in made] == [4, 1]
    assert made[1].at[0].upper > made[0].at[0].upper
    one_a_size = pd.read_csv(path).groupby("samples", as_index=False).first()
    one_a_size.to_csv(path, index=False)
    with pytest.raises(QuestionError, match="--single-run: how single runs differ"):
        forecasts_of(Source(str(path), se="s"), ["10x"], [], single_run=True)
    with pytest.raises(QuestionError, match="--single-run is for tables"):
        forecasts_of(Source(studies[0]), ["10x"], [], single_run=True)


def test_of_what_rises_everything_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rising.csv"
    path.write_text("samples,error\n100,0.3\n200,0.35\n400,0.4\n800,0.5\n1600,0.55\n")
    (found,) = forecasts_of(Source(str(path)), ["10x"], ["20%"])
    assert (found.fit.outcome, found.forecast.outcome) == ("not a power law", "not a power law")
    assert found.forecast.targets[0].samples is None
    told = sentences.answer(found.forecast, found.fit, found.requested)
    why = (
        "No forecast: the error rises with more samples (30.0 % at 100, 55.0 % at 1,600 samples), "
    )
    assert told.startswith(f"{why}so no law was fitted; the last points are extended: 10x the data")
    assert told.endswith("20 %: no answer")
    report_of(Source(str(path)), tmp_path / "r.html", None)
    page = (tmp_path / "r.html").read_text().split("<body")[1]
    assert "No forecast: the error rises with more samples" in page
    assert "power-law region" not in page
