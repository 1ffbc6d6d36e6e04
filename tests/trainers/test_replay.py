"""A replayed study is the study it was made of, and tells nothing that was not paid for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from steep import Study
from steep.records import Status
from steep.trainers import replay


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study of the synthetic trainer, and its table."""
    folder = tmp_path_factory.mktemp("measured")
    study = Study(
        tiny.spec(search={"hyperparameters": {"learning_rate": [0.05, 0.1]}}), folder / "s"
    )
    assert study.run().word == "complete"
    replay.table(study.measurements()).to_csv(folder / "grid.csv.gz", index=False)
    return study, folder


def replayed(folder: Path, **sections: Any) -> Study:
    grid = {"hyperparameters": {"learning_rate": [0.05, 0.1]}}
    values: dict[str, Any] = tiny.spec(search=grid)
    values["trainer"] = {"name": "replay", "table": str(folder / "grid.csv.gz")}
    for section, keys in sections.items():
        values[section] = {**values.get(section, {}), **keys} if isinstance(keys, Mapping) else keys
    return Study(values, folder / yaml.dump(sections).replace("/", "")[:40].strip())


def test_the_same_study_again(measured: tuple[Study, Path]) -> None:
    original, folder = measured
    study = replayed(folder)
    assert study.run().word == "complete"
    before, after = original.analyse(), study.analyse()
    assert [b.best.score for b in after.best_fits] == pytest.approx(
        [b.best.score for b in before.best_fits]
    )
    assert [b.best.size for b in after.best_fits] == [b.best.size for b in before.best_fits]
    found, expected = after.curves[0].fit.beta_g, before.curves[0].fit.beta_g
    assert found is not None
    assert expected is not None
    assert found.value == expected.value
    # the table has no errors of single items, by which the study knows its validation set's noise
    assert (found.lower, found.upper) == pytest.approx((expected.lower, expected.upper), abs=0.02)
    spent = [sum(m.flops or 0.0 for m in s.measurements()) for s in (original, study)]
    assert spent[1] == pytest.approx(spent[0])


def test_a_trial_that_is_stopped_shows_and_costs_its_part(measured: tuple[Study, Path]) -> None:
    original, folder = measured
    whole = next(m for m in original.measurements() if len(m.curve) > 2)
    grid = replay.read(folder / "grid.csv.gz", 0.0)
    handle = Handle(up_to_steps=whole.curve[1].step)
    part = replay.replayed(grid.find(whole.trial), whole.trial, handle)
    assert part.status == Status.STOPPED
    assert [e.step for e in part.curve] == [e.step for e in whole.curve[:2]]
    assert handle.told == list(part.curve)
    assert part.flops == pytest.approx((whole.flops or 0) * part.steps / whole.steps)
    assert part.test_error is None
    again = replay.replayed(grid.find(whole.trial), whole.trial, Handle(None))
    assert (again.status, again.validation_error) == (whole.status, whole.validation_error)


class Handle:
    def __init__(self, up_to_steps: int | None) -> None:
        self.attempt, self.up_to_steps = 1, up_to_steps
        self.told: list[Any] = []

    def progress(self, evaluation: Any) -> None:
        self.told.append(evaluation)

    def save(self, step: int, state: bytes) -> None: ...

    def load(self) -> None:
        return None

    def due(self) -> bool:
        return False

    def stop_requested(self) -> bool:
        return False

    def items(self, errors: Any) -> None: ...


def test_what_was_not_measured_is_refused(measured: tuple[Study, Path]) -> None:
    _, folder = measured
    study = replayed(folder, family={"sizes": [2, 4, 6]}, search={"extend": 0})
    outcome = study.run()
    assert outcome.word == "partial"
    failed = [m for m in study.measurements() if m.status == Status.FAILED]
    assert {m.trial.size for m in failed} == {6}
    assert "the table has no trial of size 6" in str(failed[0].reason)


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("samples,error\n1,2\n")
    with pytest.raises(ValueError, match="no column permutation"):
        replay.read(tmp_path / "t.csv", 0.0)
