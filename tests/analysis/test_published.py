"""A published study says what the study says, from its tables alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tiny
from steep import Study
from steep.analysis.published import Published, tables
from steep.analysis.result_tables import result_files
from steep.cli.answers import Source, forecasts_of
from steep.cli.comparisons import comparison_of
from steep.cli.reports import report_of
from steep.spec.load import QuestionError
from steep.store.folder import StoreError

RATES = {"hyperparameters": {"learning_rate": [0.05, 0.1]}}
NOISE = {"item_noise": 0.8, "own_item_noise": 0.4, "capacity": 0.05}


def begun(folder: Path, name: str, **trainer: float) -> Study:
    study = Study(tiny.spec(trainer, search=RATES, study=name), folder / name)
    assert study.run().word == "complete"
    return study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies on the same items, and the tables of both beside them."""
    place = tmp_path_factory.mktemp("published")
    for name, a in (("one", 5.0), ("other", 6.0)):
        study = begun(place, name, a=a, **NOISE)
        report_of(Source(str(study.folder)), None, None, place / "tables" / name)
    return place


def test_the_same_files_to_the_last_digit(folder: Path) -> None:
    study, published = Study.open(folder / "one"), Published.open(folder / "tables" / "one")
    asked = {"at": [123456.0], "targets": [0.01], "level": 0.8}
    assert result_files(published.analyse(**asked)) == result_files(study.analyse(**asked))
    assert (folder / "tables" / "one" / "pairs.csv").read_text().count("\n") > 5


def test_the_same_measurements(folder: Path) -> None:
    before = Study.open(folder / "one").measurements()
    after = Published.open(folder / "tables" / "one").measurements()
    assert [m.trial.id for m in after] == [m.trial.id for m in before]
    for one, other in zip(before, after, strict=True):
        assert other.evaluations == one.evaluations > 0
        assert other.curve[-1].validation_error == pytest.approx(
            one.curve[-1].validation_error, rel=1e-6
        )
        same = ("status", "validation_error", "test_error", "metrics", "versions", "flops", "steps")
        for name in same:
            assert getattr(other, name) == getattr(one, name), name


def test_what_plateaus_rest_on_is_read_not_guessed(folder: Path, tmp_path: Path) -> None:
    """Larger errors of the differences in the table make smaller models adequate."""
    place = tmp_path / "copy"
    shutil.copytree(folder / "tables" / "one", place)
    header, *rows = (place / "pairs.csv").read_text().splitlines()
    vague = [row.rsplit(",", 1)[0] + ",1.0" for row in rows]
    (place / "pairs.csv").write_text("\n".join([header, *vague]) + "\n")
    sizes = [
        [b.adequate.size for b in Published.open(p).analyse().best_fits]
        for p in (folder / "tables" / "one", place)
    ]
    assert all(b <= a for a, b in zip(*sizes, strict=True))
    assert sum(sizes[1]) < sum(sizes[0])


def test_questions_are_answered_alike(folder: Path) -> None:
    def sources(kind: str) -> list[Source]:
        return [Source(str(folder / kind / name)) for name in ("one", "other")]

    studies = comparison_of(sources("."))
    published = comparison_of(sources("tables"))
    assert published.pairs[0].sentences == studies.pairs[0].sentences
    forecasts = [forecasts_of(sources(k)[0], ["10x"], []) for k in (".", "tables")]
    assert forecasts[0] == forecasts[1]


def test_the_report_is_the_study_s(folder: Path, tmp_path: Path) -> None:
    study = Study.open(folder / "one")
    study.report()
    out = tmp_path / "report.html"
    (path,) = report_of(Source(str(folder / "tables" / "one")), out, None).paths
    ours = (folder / "one" / "report.html").read_text()
    assert len(path.read_text()) == pytest.approx(len(ours), rel=0.01)


def test_published_twice_is_the_same_folder(folder: Path) -> None:
    for name, content in tables(Study.open(folder / "one")).items():
        assert (folder / "tables" / "one" / name).read_bytes() == content, name


def test_damage_is_told(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    shutil.copytree(folder / "tables" / "one", place)
    (place / "trials.csv").unlink()
    with pytest.raises(StoreError, match=r"trials\.csv cannot be read"):
        Published.open(place).analyse()
    (place / "study.json").write_text("{")
    with pytest.raises(StoreError, match=r"study\.json cannot be read"):
        Published.open(place)
    (place / "study.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(StoreError, match="has no spec"):
        Published.open(place)


def test_only_a_study_is_published(folder: Path, tmp_path: Path) -> None:
    table = folder / "tables" / "one" / "best_fit.csv"
    for source in (table, folder / "tables" / "one"):
        with pytest.raises(QuestionError, match="--publish"):
            report_of(Source(str(source)), None, None, tmp_path / "out")
