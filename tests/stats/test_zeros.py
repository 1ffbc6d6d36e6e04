"""An error of zero counts as half an item, everywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import steep
from steep.records import Evaluation, Measurement, Status, Trial
from steep.spec.load import NoAnswer
from steep.stats.zeros import counted, half_an_item
from steep.study import Study

TRIAL = Trial(0, 10, 10.0, 2, (), 0)


def test_a_zero_is_half_an_item_and_nothing_else_changes() -> None:
    point = Evaluation(1, 10.0, 0.1, None, 0.0, 0.0)
    zero = Measurement(
        TRIAL, Status.COMPLETE, validation_error=0.0, validation_error_se=0.0, test_error=0.0,
        metrics=(("cross_entropy", 0.3), ("error", 0.0)), curve=(point,),
    )  # fmt: skip
    (found,) = counted([zero], 200, 50)
    assert (found.validation_error, found.test_error) == (0.5 / 200, 0.5 / 50)
    assert found.validation_error_se == pytest.approx(math.sqrt(0.0025 * 0.9975 / 200))
    assert dict(found.metrics) == {"cross_entropy": 0.3, "error": 0.0025}
    assert found.curve[0].validation_error == half_an_item(200)
    point = Evaluation(1, 10.0, 0.1, None, 0.3, 0.0)  # no error, but a loss
    (kept,) = counted([Measurement(TRIAL, Status.COMPLETE, curve=(point,))], 200, 50)
    assert (kept.curve[0].validation_loss, kept.curve[0].validation_error) == (0.3, 0.0025)
    other = Measurement(TRIAL, Status.COMPLETE, validation_error=0.1, validation_error_se=0.01)
    assert counted([other], 200, 50) == [other]
    assert counted([zero], 0, 0) == [zero]


@pytest.mark.parametrize("planner", ["grid", "frugal"])
@pytest.mark.parametrize("zero_from", [0, 200, 800])
def test_a_study_with_errors_of_zero_is_answered(
    tmp_path: Path, planner: str, zero_from: int
) -> None:
    spec: dict[str, Any] = {
        "study": "easy",
        "domain": {"name": "external", "items": 2000},
        "family": {"name": "none", "sizes": [2, 4]},
        "shards": {"smallest": 50, "largest": 1600},
        "split": {"validation": 100, "test": 100},
        "search": {"planner": planner, "seeds": 2, "extend": 0},
    }

    def train(shard: Any, size: int, seed: int) -> dict[str, float]:
        m = len(shard.train)
        error = 0.0 if m >= zero_from else 2 * m**-0.7 * (1 + 0.01 * seed) / size**0.1
        return {"validation_error": error, "test_error": error, "parameters": 100 * size**2}

    study = Study(spec, tmp_path / "study", trainer=train)
    outcome = study.run()
    assert outcome.word == "complete"
    analysis = study.analyse()
    zeros = [b for b in analysis.best_fits if b.samples >= zero_from]
    assert zeros
    assert all(b.best.score == 0.5 / 100 for b in zeros)
    assert (study.results().validation_error == 0).any()  # the table has what was measured
    assert (tmp_path / "study/report.html").exists()
    study.report()
    if zero_from:
        study.scaling()
    else:  # nothing falls: said in a sentence
        with pytest.raises(NoAnswer, match="nothing to project from"):
            study.scaling()
    assert steep.diagnose(study.analyse().curves[0].fit) is not None


def test_an_error_that_falls_to_zero_at_once_leaves_a_wide_error_and_no_overflow(
    tmp_path: Path,
) -> None:
    """From 21 % to half of one of 500 items: the surface knows next to nothing there."""

    def train(shard: Any, size: int, seed: int) -> float:
        m = len(shard.train)
        random = np.random.default_rng([m, size, seed])
        width = size / (0.05 * m**0.6)
        error = 3 * m**-0.3 * (0.6 + 0.25 * width**-0.7 + 0.15 * width**0.4)
        return 0.0 if m >= 2000 else float(error * math.exp(0.02 * random.normal()))

    spec: dict[str, Any] = {
        "study": "sudden",
        "domain": {"name": "external", "items": 8000},
        "family": {"name": "none", "sizes": [2, 4, 8]},
        "shards": {"smallest": 250, "largest": 4000},
        "split": {"validation": 500},
        "search": {"seeds": 2},
    }
    study = Study(spec, tmp_path / "study", trainer=train)
    assert study.run(progress=False).word == "complete"
    last = max(study.analyse().best_fits, key=lambda b: b.samples)
    assert last.best.score == 0.5 / 500
    (at,) = [a for a in study.analyse().headline.forecast.at if a.factor == 4]
    assert at.lower is not None
    assert at.upper is not None
    assert at.upper > 10 * at.lower
