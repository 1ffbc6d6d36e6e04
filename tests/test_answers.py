"""Questions of any source: places and targets as people write them, curves told apart, pairing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tiny
from steep import Study, answers
from steep.answers import Source, findings_of, fits_of, forecasts_of
from steep.comparisons import comparison_of
from steep.config import QuestionError


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


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("10x", (10.0, True)),
        ("2.5X", (2.5, True)),
        ("0.5x", (0.5, True)),
        ("1e6", (1e6, False)),
        ("1E+6", (1e6, False)),
        ("2M", (2e6, False)),
        ("2m", (2e6, False)),
        ("3k", (3e3, False)),
        ("1.5B", (1.5e9, False)),
        ("2G", (2e9, False)),
        ("1T", (1e12, False)),
        (" 500 ", (500.0, False)),
        ("2e3 k", (2e6, False)),
    ],
)
def test_places_as_people_write_them(written: str, place: tuple[float, bool]) -> None:
    assert answers._place(written) == (pytest.approx(place[0]), place[1])


@pytest.mark.parametrize(
    "written", ["", "x", "ten", "-1", "0", "0x", "1.2.3", "1e999", "nan", "10xx", "5%", "1 000"]
)
def test_what_is_no_place(written: str) -> None:
    with pytest.raises(QuestionError, match="write 10x"):
        answers._place(written)


def test_targets_as_people_write_them() -> None:
    assert answers.target_of("0.05") == 0.05
    assert answers.target_of("5%") == pytest.approx(0.05)
    assert answers.target_of(" 5 % ") == pytest.approx(0.05)
    for written in ("", "%", "-0.1", "0", "nan", "inf", "low", "5%%x"):
        with pytest.raises(QuestionError, match="write an error"):
            answers.target_of(written)


def test_what_is_a_study(tmp_path: Path, studies: list[str]) -> None:
    assert Source(studies[0]).is_study
    assert not Source("-").is_study
    assert not Source(str(tmp_path)).is_study


def test_a_relative_place_is_relative_to_the_largest_size_used(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", one=3.0)
    (found,) = forecasts_of(Source(source), ["10x", "1M"], ["10%"])
    assert [a.samples for a in found.forecast.at] == [64_000, 1_000_000]
    assert found.forecast.targets[0].target == pytest.approx(0.1)


def test_a_studys_forecast_knows_sizes_and_leaves_out_the_held_out(studies: list[str]) -> None:
    (found,) = forecasts_of(Source(studies[0]), ["10x"], ["0.1"], 0.8)
    assert 40_000 in [a.samples for a in found.forecast.at], "10x of 4000, not of the held-out 8000"
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
    source = Source(table(tmp_path / "t.csv", high=2.0, low=0.2), by="model")
    found = dict(findings_of(source, 500))
    said = {
        name: [f.evidence for f in fs if f.kind == "validation set"] for name, fs in found.items()
    }
    assert said["high"] == []
    assert "500 validation items is 37 % of" in said["low"][0]


def test_no_error_seen_is_half_an_error_of_the_items(tmp_path: Path) -> None:
    """An error of 0.01 over 50 items: sqrt(0.99 / 0.5)."""
    source = tmp_path / "t.csv"
    source.write_text("samples,error\n100,0.4\n200,0.3\n400,0.2\n800,0.1\n1600,0\n")
    ((_, found),) = findings_of(Source(str(source)), 50)
    assert "50 validation items is 140 % of" in next(
        f.evidence for f in found if f.kind == "validation set"
    )


def test_a_study_is_told_no_number_of_items(studies: list[str]) -> None:
    with pytest.raises(QuestionError, match="for tables"):
        findings_of(Source(studies[0]), 50)


def test_figures_of_a_table_go_where_asked(tmp_path: Path) -> None:
    source = Source(table(tmp_path / "t.csv", one=3.0, two=2.0), by="model")
    written = answers.report_of(source, tmp_path / "r.html", None)
    assert [p.name for p in written] == ["r-1.html", "r-2.html"]
    assert all("<html" in p.read_text() for p in written)
