"""A study's trials in a tracker; what goes wrong there stops nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steep.cli.app import app
from steep.contracts.executor import Event, Kind
from steep.integrations.tracking import Tracker, open_tracker
from steep.records import Evaluation, Measurement, Status, Trial, settings

TRIAL = Trial(0, 50, 50.0, 4, settings({"rate": 0.1}), 1)
CURVE = tuple(Evaluation(s, 0.0, 0.1, None, 1.0, 1 / s) for s in (2, 4))
FOUND = Measurement(
    TRIAL, Status.COMPLETE, validation_error=0.25, parameters=70, metrics=(("error", 0.25),),
    curve=CURVE,
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("default")


class Kept:
    """A tracker that keeps what it is told, and fails at its third run where asked to."""

    def __init__(self, fails: bool = False) -> None:
        self.runs: list[tuple[str, Mapping[str, Any], Any, Mapping[str, float]]] = []
        self._fails = fails

    def run(
        self, name: str, configuration: Any, steps: Any, result: Any, figure: Any = None
    ) -> None:
        if self._fails and len(self.runs) == 2:
            raise ConnectionError("the network is down")
        self.runs.append((name, configuration, list(steps), result))


def test_a_trial_is_a_run_with_its_evaluations_and_result() -> None:
    kept = Kept()
    Tracker(kept, print).observe(Event(Kind.RESULT, TRIAL.id, 1, FOUND))
    Tracker(kept, print).observe(Event(Kind.HEARTBEAT, TRIAL.id, 1, {}))
    ((name, configuration, steps, result),) = kept.runs
    assert "50 samples, size 4, seed 1" in name
    assert configuration["rate"] == 0.1
    assert configuration["status"] == "complete"
    assert [(step, n["validation_error"]) for step, n in steps] == [(2, 0.5), (4, 0.25)]
    assert result["validation_error"] == result["error"] == 0.25
    assert result["parameters"] == 70


def test_a_tracker_that_fails_is_told_of_once_and_not_asked_again() -> None:
    kept, told = Kept(fails=True), []
    tracker = Tracker(kept, told.append)
    for _ in range(5):
        tracker.observe(Event(Kind.RESULT, TRIAL.id, 1, FOUND))
    assert len(kept.runs) == 2
    assert told == [
        "nothing more is tracked, and the study goes on: ConnectionError: the network is down"
    ]


SPEC = """
study: tracked
domain: {name: external, items: 800}
family: {sizes: [2]}
shards: {smallest: 100}
split: {validation: 100}
search: {planner: grid, seeds: 1}
trainer: {name: synthetic, steps: 20}
run: {executor: inline}
"""


def track(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    (folder / "s.yaml").write_text(SPEC)
    done = CliRunner().invoke(app, ["run", "s.yaml", "--quiet", "--track", name])
    assert done.exit_code == 0, done.output
    assert "nothing more is tracked" not in done.output, done.output
    return done


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboardX")
    track("tensorboard", tmp_path, monkeypatch)
    runs = list((tmp_path / "tracked" / "tensorboard").iterdir())
    assert len(runs) == 5  # four trials and the study
    assert all(list(run.glob("events.*")) for run in runs)


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    track("mlflow", tmp_path, monkeypatch)
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "tracked"]
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 5
    (study,) = [run for run in runs if run.info.run_name == "study tracked"]
    assert study.data.metrics["beta_g"] < 0
    assert any("final" not in key for run in runs for key in run.data.metrics)


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    track("wandb", tmp_path, monkeypatch)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 5


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("trackio")
    track("trackio", tmp_path, monkeypatch)
    assert list((tmp_path / "trackio").glob("tracked*"))


def test_a_tracker_that_nobody_knows_or_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SPEC)
    done = CliRunner().invoke(app, ["run", "s.yaml", "--track", "paper"])
    assert done.exit_code == 2
    assert "there are wandb, trackio, mlflow, tensorboard" in done.output
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install wandb"):
        open_tracker("wandb", "x", tmp_path, print)
