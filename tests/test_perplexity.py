"""A perplexity is fitted as its logarithm and answered as itself, whichever way it comes in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import steep
from steep.analysis.asked import goal_of
from steep.base.metrics import as_error, check_items, is_perplexity, original
from steep.base.own_metric import with_own_metric
from steep.cli.app import app
from steep.present import numbers
from steep.present.fits import summary
from steep.present.learning import learning_curve
from steep.spec.load import QuestionError
from steep.store.folder import StoreError
from steep.study import Study
from steep.trainers.answer import OwnCodeError

SIZES = [1000 * 2**k for k in range(7)]
LOSSES = [(1.5 + 12 * m**-0.25) * (1 + 0.002 * (-1) ** k) for k, m in enumerate(SIZES)]
VALUES = [math.exp(loss) for loss in LOSSES]
TRUTH = math.exp(1.5 + 12 * 640_000**-0.25)
SPEC = {
    "study": "own", "domain": {"name": "external", "items": 64_000, "metric": "perplexity"},
    "family": {"sizes": [1]}, "shards": {"smallest": 1000},
    "search": {"planner": "grid", "seeds": 1}, "run": {"executor": "inline"},
}  # fmt: skip


def ask(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    return done.output


def study(folder: Path, answer: Any = None) -> Study:
    def train(shard: Any, size: int, seed: int) -> Any:
        value = dict(zip(SIZES, VALUES, strict=True))[len(shard.train)]
        return value if answer is None else answer(value)

    found = Study(SPEC, folder / "own", trainer=train)
    found.run(progress=False)
    return found


def test_by_their_names() -> None:
    assert is_perplexity("val_ppl")
    assert is_perplexity("word perplexity")
    assert not is_perplexity("log_perplexity")
    assert as_error("ppl") == as_error("perplexity") == "log of perplexity"
    made_of = original("log of perplexity")
    assert made_of is not None
    assert made_of.value(made_of.error(8.0)) == pytest.approx(8.0)
    with pytest.raises(ValueError, match="a perplexity is not one"):
        check_items(100, "log of perplexity", 0.5)


def test_table_python_and_study_give_one_answer_in_perplexity(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    table.write_text(pd.DataFrame({"n": SIZES, "perplexity": VALUES}).to_csv(index=False))
    of_table = steep.fit(pd.read_csv(table), x="n", y="perplexity")
    of_arrays = steep.fit(samples=SIZES, error=VALUES, metric="perplexity")
    renamed = pd.DataFrame({"samples": SIZES, "error": VALUES})
    of_frame = steep.fit(renamed, metric="perplexity")
    of_study = study(tmp_path).analyse().headline.fit
    frames = [one.predict("10x") for one in (of_table, of_arrays, of_frame, of_study)]
    for frame, one in zip(frames, (of_table, of_arrays, of_frame, of_study), strict=True):
        assert list(frame) == ["samples", "perplexity", "lower", "upper"]
        assert frame["lower"][0] < TRUTH < frame["upper"][0] < 1.4 * TRUTH
        assert one.metric == "log of perplexity"
        assert [p.error for p in one.points] == pytest.approx(LOSSES)
        pd.testing.assert_frame_equal(frame, frames[0])
    assert not any("taken as a loss" in note for note in (*of_arrays.notes, *of_frame.notes))
    out = ask("forecast", table, "--at", "10x", "--target", "6", "--target", "12")
    assert "10x the data: perplexity 7.0 [5.9, 8.2]" in out
    assert "perplexity 6 needs" in out
    assert "perplexity 12 is reached at" in out
    assert "already met" not in out
    assert "10x the data: perplexity" in ask("forecast", tmp_path / "own", "--at", "10x")
    assert "largest shard so far: perplexity 9.57" in ask("status", tmp_path / "own")


@pytest.mark.parametrize("target", ["1", "0.5", "50%", "2 nats"])
def test_targets_that_no_perplexity_has(target: str) -> None:
    with pytest.raises(QuestionError, match="above 1"):
        goal_of(target).of("log of perplexity")
    assert goal_of("6").of("log of perplexity") == pytest.approx(math.log(6))


def test_tables_figures_and_json_are_in_perplexity(tmp_path: Path) -> None:
    found = steep.fit(samples=SIZES, error=VALUES, metric="perplexity")
    how = numbers.fit_scale(found)
    assert numbers.estimate(math.log(8), math.log(7), math.log(9), how) == "8.0 [7.0, 9.0]"
    assert numbers.standard_error(0.01, math.log(8), how) == "0.080"
    assert numbers.standing(math.log(6), how) == "perplexity 6.00"
    text = summary(found)
    assert "38.1" in text
    assert "off the log of perplexity" in text
    drawing = learning_curve(found)
    assert drawing.y.title == "perplexity"
    points = [layer for layer in drawing.layers if layer.legend == "measured"]
    assert [y for layer in points for y in layer.y] == pytest.approx(VALUES)
    table = tmp_path / "results.csv"
    table.write_text(pd.DataFrame({"n": SIZES, "ppl": VALUES}).to_csv(index=False))
    (told,) = json.loads(ask("forecast", table, "--at", "10x", "--target", "6", "--json"))
    (at,), (goal,) = told["at"], told["targets"]
    assert at["perplexity_lower"] < at["perplexity"] < at["perplexity_upper"]
    assert math.log(at["perplexity"]) == pytest.approx(at["error"])
    assert goal["target_perplexity"] == pytest.approx(6.0)


def test_json_of_an_accuracy_has_it_beside_the_error() -> None:
    found = with_own_metric({"metric": "1 - accuracy", "at": [{"error": 0.1, "lower": 0.05}]})
    assert found["at"] == [
        {"error": 0.1, "lower": 0.05, "accuracy": 0.9, "accuracy_upper": 0.95}
    ]  # fmt: skip
    assert with_own_metric({"metric": "loss", "error": 2.0}) == {"metric": "loss", "error": 2.0}


def test_what_own_code_answers(tmp_path: Path) -> None:
    def answer(value: float) -> dict[str, float]:
        return {"validation_error": value, "validation_error_se": 0.01 * value}

    (first, *_) = study(tmp_path, answer).measurements()
    assert first.validation_error_se == pytest.approx(0.01)
    assert first.validation_error in [pytest.approx(loss) for loss in LOSSES]
    found = study(tmp_path / "dict", lambda value: {"ppl": value})
    assert {m.validation_error for m in found.measurements()} == {math.log(v) for v in VALUES}


def test_a_value_below_one_is_no_perplexity(tmp_path: Path) -> None:
    with pytest.raises((OwnCodeError, RuntimeError), match="a perplexity is at least 1"):
        study(tmp_path, lambda value: 0.5)
    with pytest.raises(ValueError, match="a perplexity is at least 1"):
        steep.fit(samples=SIZES, error=[v / 50 for v in VALUES], metric="perplexity")


def test_progress_in_perplexity_is_a_result_in_perplexity() -> None:
    from steep.trainers.answer import StudyMetric
    from steep.trainers.reported import Reported

    for metric in (StudyMetric("log of perplexity"), StudyMetric("error", declared=False)):
        printed = Reported(metric)
        for step, value in ((10, 30.0), (20, 20.0)):
            printed.take(json.dumps({"step": step, "val_ppl": value}), 100.0, 1.0)
        best = printed.best()
        assert best is not None
        assert best["validation_perplexity"] == pytest.approx(20.0)
        assert printed.curve[-1].validation_error == pytest.approx(math.log(20.0))


def test_a_study_of_plain_perplexities_is_refused(tmp_path: Path) -> None:
    """One that an earlier version began holds perplexities where logarithms are read now."""
    from steep.analysis.decisions import payload
    from steep.store.database import Decision

    class Earlier:
        folder = tmp_path

        def decisions(self, kind: str) -> list[Decision]:
            return [Decision(0.0, "facts", {"metric": "perplexity"})]

    with pytest.raises(StoreError, match="begin a new folder, or ask the table"):
        payload(Earlier())  # type: ignore[arg-type]
