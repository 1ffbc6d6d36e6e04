"""``steep cost`` and what a study keeps for it: a real small study, a law by hand, bad input."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny
from steep.analysis import costs, decisions, from_store
from steep.cli import cost_answers
from steep.cli.answers import Source
from steep.cli.app import app
from steep.plan import timings
from steep.records import Status
from steep.spec.load import NoAnswer
from steep.study import Study

LAW = "--alpha 10 --beta-g -0.25 --sigma 100 --beta-p 0.5 --have 1e6"


def said(command: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == code, result.output
    return result.output


def refused(command: str) -> str:
    """As a user meets it: one sentence, exit code 2, no traceback."""
    words = [sys.executable, "-m", "steep", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("steep: ")
    assert "Traceback" not in done.stderr
    return done.stderr


# ---------------------------------------------------------------- a law by hand


def test_a_law_by_hand_in_words() -> None:
    told = said(f"cost {LAW} --target 0.1 --unit clips --machine h100 --price 3")
    assert "To reach 10 % you need 100M clips (100x the data), a model of 1M parameters" in told
    assert "Data-limited" in told
    assert "price" in told
    short = said(f"cost {LAW} --flops 1e11")
    assert "Compute-limited" in short
    assert "0.31" not in short.splitlines()[0]  # the usual targets are below today's error
    within = said(f"cost {LAW} --within 1s --machine h100")  # 1 s holds far more than 6e11 FLOPs
    assert "Data-limited" in within


def test_json_has_the_same_numbers() -> None:
    (answer,) = json.loads(said(f"cost {LAW} --target 10% --machine v100 --json"))
    (found,) = answer["projections"]
    assert found["samples"]["value"] == pytest.approx(1e8, rel=1e-3)
    assert found["outcome"] == "ok"
    assert answer["machine"]["name"] == "v100"
    # 6e14 FLOPs at 80 % of 15.7 TFLOP/s
    assert found["seconds"]["value"] == pytest.approx(6e14 / (0.8 * 15.7e12), rel=3e-3)
    assert found["joules"]["value"] == pytest.approx(300 * found["seconds"]["value"])


@pytest.mark.parametrize(("loss", "verdict"), [(0.10, "worth it"), (0.60, "not worth it")])
def test_faster_but_less_accurate(loss: float, verdict: str) -> None:
    """Ten times the compute is worth 10^(0.25 / 1.5): even at 46.8 % more error."""
    told = said(f"cost {LAW} --faster 10 --loss {loss}").splitlines()[-1]
    assert f"is {verdict}" in told
    assert "46.8 %" in told


def test_the_paper() -> None:
    told = said("cost --paper")
    assert "Table 3: at the target error" in told
    assert "from 9.5 % to 4 % at -0.291 is a factor of 19.5" in told
    made = json.loads(said("cost --paper --json"))
    assert len(made["answers"]) == 5
    assert sum(not c["agrees"] for c in made["claims"]) == 32


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("cost", "give a law"),
        ("cost --alpha 3", "--beta-g, --sigma, --beta-p"),
        (f"cost {LAW} --machine abacus", "there are: cpu"),
        (f"cost {LAW} --target 0", "--target"),
        (f"cost {LAW} --devices 8", "--machine"),
        (f"cost {LAW} --devices 8 --machine h100", "--batch"),
        (f"cost {LAW} --price 3", "--price: of which --machine"),
        (f"cost {LAW} --epochs 0 --machine h100", "--epochs: a positive number"),
        (f"cost {LAW} --target 105%", "at most 100 %"),
        (f"cost {LAW} --loss 0.1", "--faster"),
        (f"cost {LAW} --machine cpu --devices 2 --batch 10", "alone"),
        (f"cost {LAW} --within soon", "no duration"),
        (f"cost {LAW} --precision int3 --machine h100", "no rate"),
        ("cost --alpha 3 --beta-g -0.2 --sigma 1 --beta-p 0.5", "--target"),
        ("cost --alpha 3 --beta-g 0.2 --sigma 1 --beta-p 0.5 --target 1", "beta_g < 0"),
        ("cost no/such/place.csv", "no/such/place.csv"),
        ("cost {table} --machine h100", "--parameters"),
        ("cost {table} --have 100 --target 0.1", "--have: for a law given by hand only"),
        ("cost {table} --unit words --floor 0.1", "--floor and --unit: for a law"),
    ],
)
def test_bad_questions(command: str, sentence: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = "".join(f"{2**k * 100},{3 * (2**k * 100) ** -0.3}\n" for k in range(6))
    table.write_text("samples,error\n" + rows)
    assert sentence in refused(command.replace("{table}", str(table)))


def test_a_table_with_model_sizes(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = "".join(
        f"{2**k * 100},{3 * (2**k * 100) ** -0.3 * (1 + 0.01 * (-1) ** k)},{20 * 2 ** (k // 2)}\n"
        for k in range(8)
    )
    table.write_text("samples,error,parameters\n" + rows)
    told = said(f"cost {table} --target 10% --parameters parameters --machine cpu").splitlines()
    assert told[0].startswith("Assumed, not measured: a dense model of 6 FLOPs per parameter")
    assert "one pass over the data" in told[0]
    assert told[1].startswith("To reach 10 % you need ")
    assert told[1].endswith("on this computer.")
    assert "a step" not in "".join(told)  # nobody said how many samples a step has
    known = "--flops-per-parameter 4 --epochs 20 --machine h100"
    told = said(f"cost {table} --target 10% --parameters parameters {known}").splitlines()
    assert "pass over" not in told[0]
    assert "FLOPs per" not in told[0]


def test_a_table_tells_data_and_model_and_what_would_add_the_rest(tmp_path: Path) -> None:
    """Nobody measured a step: no machine is thought of, and no FLOPs."""
    table = tmp_path / "table.csv"
    rows = "".join(
        f"{2**k * 100},{3 * (2**k * 100) ** -0.3 * (1 + 0.01 * (-1) ** k)},{20 * 2**k}\n"
        for k in range(8)
    )
    table.write_text("samples,error,parameters\n" + rows)
    told = said(f"cost {table} --target 10%")
    assert "H100" not in told
    assert "FLOPs [" not in told
    assert "Compute and time are not estimated: neither was measured. --flops-per" in told
    asked = ["--target", "10%", "--json"]
    (answer,) = json.loads(said(f"cost {table} {' '.join(asked)}"))
    (forecast,) = json.loads(said(f"forecast {table} {' '.join(asked)}"))
    (projection,), (target,) = answer["projections"], forecast["targets"]
    for name in ("value", "lower", "upper"):  # one question, one answer
        own = target["samples" if name == "value" else name]
        assert projection["samples"][name] == own
        assert projection["parameters"][name] == target["parameters"][name]
    (tmp_path / "plain.csv").write_text("samples,error\n" + re.sub(r",\d+\n", "\n", rows))
    told = said(f"cost {tmp_path / 'plain.csv'} --target 10%")
    assert told.startswith("To reach 10 % you need 8")
    assert "Model size, compute and time are not estimated" in told


def test_it_needs_no_torch_and_little_time() -> None:
    code = (
        "import sys, time; begun = time.process_time()\n"
        "from steep.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, time.process_time() - begun)"
    )
    words = [sys.executable, "-c", code, *shlex.split(f"cost {LAW} --target 0.1")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded, took = done.stdout.splitlines()[-1].split()
    assert loaded == "False"
    assert float(took) < 2.0  # half a second on an idle core


# ---------------------------------------------------------------- a study


@pytest.mark.parametrize(
    ("trainer", "how"),
    [("command", "report 'parameters' in the JSON line"), ("function", "return 'parameters' from")],
)
def test_how_model_sizes_are_told_depends_on_the_trainer(
    trainer: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = SimpleNamespace(spec=SimpleNamespace(trainer=SimpleNamespace(name=trainer)))
    monkeypatch.setattr(Source, "is_study", True)
    monkeypatch.setattr(Source, "study", lambda source: opened)
    assert cost_answers._how_to_say_sizes(Source("mine")).startswith(how)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A real study of the engine, in seconds: four shards of bundled images and one held out."""
    pytest.importorskip("torch")
    import steep.data

    place = steep.data.FOLDER / "fashion_mnist_14x14"
    values: dict[str, Any] = {
        "study": "small",
        "domain": {
            "name": "images",
            "train": str(place / "train-images-idx3-ubyte.gz"),
        },
        "split": {"validation": 300, "test": 100},
        "family": {"name": "resnet", "engine": "torch", "sizes": [2, 4]},
        "shards": {"smallest": 60, "largest": 960, "held_out": 1},
        "search": {"seeds": 1, "extend": 0},
        "training": {"learning_rate": 0.2},
        "stop": {"evaluations": 4, "patience": 1, "ratio": 1.5},
        "run": {"executor": "inline"},
    }
    study = Study(values, tmp_path_factory.mktemp("small") / "study")
    assert study.run().word == "complete"
    return study


def test_the_time_was_predicted_and_is_confronted(small: Study) -> None:
    with small.store() as store:
        predicted, took = decisions.prediction_and_took(store)
        first = store.measurements()[0]
    assert predicted is not None
    assert took is not None
    assert predicted.made
    assert predicted.trials == took.trials == 9  # four shards of two sizes, and the held-out one
    assert predicted.family == "resnet"
    assert took.complete
    assert took.clock is not None
    assert took.clock >= took.training * 0.9
    # a machine may stumble in a study of a second, but not by tens
    assert 0.1 < took.training / (predicted.training.value or 0.0) < 10
    assert first.seconds < took.training
    html = (small.folder / "report.html").read_text()
    assert "Predicted before training" in html
    assert "What lower errors take" in html


def test_a_machine_that_cannot_be_timed_stops_no_run(
    small: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(timings, "pace", broken)
    untimed = Study(small.loaded, tmp_path / "untimed")
    assert untimed.run(budget=1.0).word == "budget"
    with untimed.store() as store:
        assert decisions.prediction_and_took(store)[0] is None


def test_running_again_predicts_nothing_new(small: Study) -> None:
    with small.store() as store:
        before = decisions.prediction_and_took(store)
    small.run()
    with small.store() as store:
        assert decisions.prediction_and_took(store) == before
        assert len(store.decisions("steps")) == 1


def test_a_plan_of_a_begun_study_rests_on_its_own_trials(small: Study) -> None:
    found = small.plan().prediction
    assert found is not None
    ended = [m for m in small.measurements() if m.status is not Status.STOPPED]
    assert found.own_trials == len(ended) > 5


def test_steps_are_kept_and_asked_without_torch(small: Study) -> None:
    with small.store() as store:
        rows = decisions.steps(store)
    assert [r.size for r in rows[:2]] == [2, 4]
    assert rows[-1].parameters > 1e11
    code = (
        "import sys\nsys.modules['torch'] = None\n"  # importing it fails
        "from steep.cli.app import app\napp(sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, "cost", str(small.folder), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["machine"]["name"] == "here"
    assert answer["unit"] == "images"
    assert len(answer["projections"]) == 3
    assert answer["first_order"]
    assert len(answer["purchases"]) == 3


def test_other_machines_are_told_of_only_where_steps_were_counted(
    small: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLOPs alone would have an accelerator train a small model in a millisecond."""
    told = small.analyse_with_cost().cost
    assert told is not None
    assert [a.machine.name for a in told.elsewhere] == list(costs.ELSEWHERE)
    monkeypatch.setattr(from_store, "steps", lambda _: ())
    told = small.analyse_with_cost().cost
    assert told is not None
    assert told.elsewhere == ()
    assert [curve.machine.name for curve in told.curves] == ["here"]
    assert costs.ONLY_FLOPS in told.answer.assumptions


def test_a_trainer_that_counts_nothing_has_assumptions(tmp_path: Path) -> None:
    study = Study(tiny.spec(), tmp_path / "study")
    study.run()
    with study.store() as store:
        assert decisions.steps(store) == ()
    told = said(f"cost {study.folder} --machine h100")
    assert "Assumed: Of a step only FLOPs are known" in told
    assert "H100" in told


def test_a_curve_without_a_law_is_named_and_the_others_answered(tmp_path: Path) -> None:
    table = tmp_path / "two.csv"
    falling = [f"good,{m},{(m / 100) ** -0.3}" for m in (100, 200, 400, 800, 1600)]
    flat = [f"flat,{m},0.5" for m in (100, 200, 400, 800, 1600)]
    table.write_text("\n".join(["model,samples,error", *flat, *falling]))
    told = said(f"cost {table} --by model --target 20%")
    assert re.search(r"^To reach 20 % you need 2\d,?\d*k", told, re.M), told  # 100 * 5**(1 / .3)
    assert "This is of good. No answer: flat: nothing to project from" in told
    table.write_text("\n".join(["model,samples,error", *flat]))
    none = CliRunner().invoke(app, shlex.split(f"cost {table} --by model"))
    assert isinstance(none.exception, NoAnswer)


def test_an_own_error_above_one_is_no_percentage(tmp_path: Path) -> None:
    """The largest error measured says what it is, whatever is asked."""
    table = tmp_path / "loss.csv"
    rows = [f"{m},{5 * (m / 100) ** -0.3}" for m in (100, 200, 400, 800, 1600)]
    table.write_text("\n".join(["samples,error", *rows]))
    assert "To reach 0.9 you need" in said(f"cost {table} --target 0.9")
