"""What a study of the user's own code costs: by what its own trials reported, and how long they
took."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from steep import Study
from steep.analysis.analyse import smallest_adequate
from steep.analysis.costs import machine_of, reported_epochs, reported_steps, trial_times
from steep.cli.app import app
from steep.cost.projection import trial_seconds
from steep.records import Measurement, Status, Trial

M = (100, 200, 400, 800, 1600)


def trials(**values: Any) -> list[Measurement]:
    """t = 0.003 m^1.2 p^0.5 seconds, with 1 % noise, and a second to start up."""
    rng = np.random.default_rng(3)
    made = []
    for m in M:
        for size in (2, 4, 8):
            p = 100 * size**2
            seconds = 0.003 * m**1.2 * p**0.5 * np.exp(0.01 * rng.normal()) + 1.0
            own = {name: value(m, p) for name, value in values.items()}
            trial = Trial(0, m, float(m), size, (), 0)
            made.append(
                Measurement(trial, Status.COMPLETE, parameters=p, seconds=float(seconds), **own)
            )
    return made


def test_the_time_of_larger_runs_follows_from_the_trials_own() -> None:
    found = trial_times(trials())
    assert found is not None
    assert (found.trials, found.largest) == (9, 1600)  # the three largest shards
    seconds = trial_seconds(found, np.full(400, 16_000.0), np.full(400, 40_000.0))
    lower, middle, upper = np.quantile(seconds, [0.05, 0.5, 0.95])
    truth = 0.003 * 16_000**1.2 * 40_000**0.5
    assert middle == pytest.approx(truth, rel=0.03)
    assert lower < truth < upper
    assert trial_times(trials()[:3]) is None  # one size of data


def test_what_the_function_reports_is_what_a_run_takes() -> None:
    found = trials(flops=lambda m, p: 18.0 * m * p, samples_seen=lambda m, p: 3.0 * m)
    steps = reported_steps(found)
    assert steps is not None
    assert [(s.parameters, s.flops) for s in steps] == [
        (p, pytest.approx(6.0 * p)) for p in (400, 1600, 6400)
    ]
    assert reported_epochs(found) == 3.0
    whole = trials(flops=lambda m, p: 18.0 * m * p)  # passes not told: they are in the FLOPs
    steps = reported_steps(whole)
    assert steps is not None
    assert steps[0].flops == pytest.approx(18.0 * 400)
    assert reported_epochs(whole) == 1.0
    assert reported_steps(trials()) is None
    assert reported_epochs(trials()) is None


SPEC = {
    "study": "own",
    "domain": {"name": "external", "items": 5000, "unit": "rows"},
    "family": {"sizes": [2, 4]},
    "shards": {"smallest": 100, "largest": 1600},
    "split": {"validation": 200},
    "search": {"planner": "grid", "seeds": 2, "extend": 0},
}


def own(shard: Any, size: int, seed: int) -> dict[str, Any]:
    n = len(shard.train)
    error = 2.2 * n**-0.35 * (1 + 0.3 / size) * (1 + 0.01 * seed)
    return {"validation_error": error, "parameters": 100 * size**2}


def told(command: str) -> list[str]:
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_own_code_is_priced_on_no_machine_and_by_no_guess(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    Study(SPEC, folder, trainer=own).run()
    said = told(f"cost {folder} --target 5%")
    assert said[0].startswith("To reach 5 % you need ")
    assert said[0].endswith(" on this study's machine.")
    everything = "\n".join(said)
    for wrong in ("H100", "FLOPs [", "a step", "limited by", "Assumed, not"):
        assert wrong not in everything
    assert "extrapolated from its 12 trials on up to 1,600 rows" in everything
    assert "Compute is not estimated: no FLOPs were reported." in everything
    (answer,) = json.loads("\n".join(told(f"cost {folder} --target 5% --json")))
    (forecast,) = json.loads("\n".join(told(f"forecast {folder} --target 5% --json")))
    (projection,), (target,) = answer["projections"], forecast["targets"]
    assert projection["samples"]["value"] == target["samples"]
    assert projection["samples"]["lower"] == target["lower"]
    first = told(f"cost {folder} --target 5% --machine h100")[0]
    assert first.startswith("Assumed, not measured: a dense model of 6 FLOPs")
    assert "one pass over the data" in first
    first = told(f"cost {folder} --target 5% --machine h100 --epochs 4 --flops-per-parameter 3")[0]
    assert "pass" not in first
    assert "dense" not in first


def test_the_rate_of_the_machine_is_that_of_models_of_about_todays_size() -> None:
    """A model of 3,000 parameters took 103 s; it was said to take 10 s, by the rate of the largest
    one, which was trained on little data."""
    found = trials(flops=lambda m, p: float(m * p**2))
    most = [m for m in found if m.trial.size == 4]

    def rate(which: list[Measurement]) -> float:
        return float(np.median([(m.flops or 0.0) / m.seconds for m in which]))

    machine = machine_of(found, 1500.0)
    assert machine is not None
    assert (machine.flops, machine.source) == (rate(most), "the median of 5 trials of size 4")
    few = [m for m in found if m.trial.size < 8 or m.trial.samples < 1600]
    machine = machine_of(few)
    assert machine is not None
    assert machine.source.endswith("of size 4")  # the largest on the most data


def test_todays_model_is_no_smaller_than_what_the_held_out_shard_was_trained_with(
    made_study: Any,
) -> None:
    last = [b for b in made_study.analysis.best_fits if not b.held_out][-1]
    large = replace(last.adequate, parameters=10 * last.adequate.parameters)
    held = replace(last, samples=2 * last.samples, held_out=True, adequate=large)
    assert smallest_adequate([last]) == last.adequate.parameters
    assert smallest_adequate([last, held]) == large.parameters
    assert smallest_adequate([last, replace(held, adequate=last.adequate)]) == (
        last.adequate.parameters
    )
