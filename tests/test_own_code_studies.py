"""Studies of the user's own code, from the spec to the answer."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from steep.cli.app import app
from steep.contracts.executor import Kind
from steep.present.sentences import study_lines
from steep.spec.load import SpecError
from steep.study import Study
from steep.trainers.answer import OwnCodeError


def spec(**sections: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "study": "own",
        "domain": {"name": "external", "items": 800},
        "family": {"sizes": [1]},
        "shards": {"smallest": 50},
        "search": {"planner": "grid", "seeds": 1},
    }
    return values | sections


def test_no_split_has_to_be_invented(tmp_path: Path) -> None:
    """The code has validation data of its own; a falling error is fitted all the same."""

    def train(shard: Any, size: int, seed: int) -> float:
        assert len(shard.validation) == len(shard.test) == 0
        return float(len(shard.train) ** -0.5)

    study = Study(spec(), tmp_path / "own", trainer=train)
    assert study.run(progress=False).word == "complete"
    analysis = study.analyse()
    assert analysis.headline.fit.beta_g.value == pytest.approx(-0.5, abs=0.01)
    assert [s.samples for s in study.shards] == [50, 100, 200, 400, 800]


@pytest.mark.parametrize(
    ("answer", "metric", "error"),
    [
        (lambda n: {"accuracy": 1 - n**-0.5}, "1 - accuracy", 800**-0.5),
        (lambda n: {"val_f1": 1 - n**-0.5}, "1 - f1", 800**-0.5),
        (lambda n: {"loss": 10 * n**-0.5}, "loss", 10 * 800**-0.5),
        (lambda n: n**-0.5, "error", 800**-0.5),
    ],
)
def test_an_answer_names_its_metric(tmp_path: Path, answer: Any, metric: str, error: float) -> None:
    def train(shard: Any, size: int, seed: int) -> Any:
        return answer(len(shard.train))

    study = Study(spec(), tmp_path / "own", trainer=train)
    study.run(progress=False)
    found = study.analyse()
    assert found.metric == metric
    assert found.headline.metric == metric
    assert found.best_fits[-1].best.score == pytest.approx(error)
    assert study.begun


def test_answers_of_two_metrics_are_no_curve(tmp_path: Path) -> None:
    def train(shard: Any, size: int, seed: int) -> Any:
        return {"accuracy": 0.9} if len(shard.train) > 100 else {"f1": 0.8}

    with pytest.raises(OwnCodeError, match="another metric than others: say in the spec"):
        Study(spec(), tmp_path / "own", trainer=train).run(progress=False)


def test_a_script_with_argparse_is_a_module_of_a_function(tmp_path: Path) -> None:
    """Neither at import nor when it is called is it given steep's own arguments."""
    (tmp_path / "train.py").write_text(
        textwrap.dedent(
            """
            import argparse
            parser = argparse.ArgumentParser()
            parser.add_argument("--rate", type=float, default=0.5)
            args = parser.parse_args()

            def train(shard, size, seed):
                again = parser.parse_args()
                return len(shard.train) ** -again.rate
            """
        )
    )
    text = """
        study: own
        domain: {name: external, items: 400}
        family: {sizes: [1]}
        shards: {smallest: 50}
        search: {planner: grid, seeds: 1}
        run: {executor: %s}
        trainer: {name: function, function: "train.py:train"}
    """
    for executor in ("inline", "local"):
        (tmp_path / "own.yaml").write_text(textwrap.dedent(text % executor))
        done = subprocess.run(
            [sys.executable, "-m", "steep", "run", "own.yaml", "--out", executor, "--quiet"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        study = Study.open(tmp_path / executor)
        errors = {m.trial.items: m.validation_error for m in study.measurements()}
        assert errors[400] == pytest.approx(0.05)


def test_a_script_that_wants_arguments_is_told_of_as_such(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()\n"
    )
    values = spec(trainer={"name": "function", "function": str(tmp_path / "train.py") + ":train"})
    with pytest.raises(SpecError, match=r"ended Python while it was imported \(exit code 2\): put"):
        Study(values, tmp_path / "own").check()


def test_no_family_is_a_sentence(tmp_path: Path) -> None:
    values = spec()
    with pytest.raises(SpecError, match="'none' has no model for steep's engine to train"):
        Study(values, tmp_path / "own").check()


def test_a_synthetic_study_needs_validation_items(tmp_path: Path) -> None:
    values = spec(trainer={"name": "synthetic"})
    with pytest.raises(SpecError, match="no validation part"):
        Study(values, tmp_path / "own").check()


# ---------------------------------------------------------------- steep init --command


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = [f"{x:.9f},{'ab'[int(x > 0)]}" for x in rng.normal(size=900)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,class", *lines, ""]))
    (tmp_path / "train.py").write_text(
        "import json, sys\n"
        "rows = open(sys.argv[1]).read().splitlines()\n"
        "assert rows[0] == 'x,class'\n"
        "error = (len(rows) - 1) ** -0.5 / min(int(sys.argv[3]), 2)\n"
        "print(json.dumps({'step': 1, 'validation_accuracy': 0.5}))\n"
        "print(json.dumps({'accuracy': 1 - error}))\n"
    )
    return tmp_path


COMMAND = "{python} train.py {shard} {validation} {size} {seed}"


def steep(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_init_writes_a_spec_and_runs_the_command_once(rows: Path) -> None:
    done = steep(
        "init", "rows.csv", "--command", COMMAND, "--values", "size=1,2", "--label", "class"
    )
    assert done.exit_code == 0, done.output
    assert "on the smallest shard (13 of 810 rows): accuracy 72.3 %" in done.output
    assert "1 line of progress" in done.output
    text = (rows / "study.yaml").read_text()
    assert "metric: accuracy" in text
    timed = Study("study.yaml").spec.run.timed
    assert [(round(one.samples), one.size) for one in timed][:2] == [(13, 1), (13, 2)]
    assert max(one.samples for one in timed) > 100
    assert f"{len(timed) - 1} more, of more data or of the largest model" in done.output
    assert "time: about" in steep("plan", "study.yaml").output
    ran = steep("run", "study.yaml", "--out", "own", "--workers", "2", "--quiet")
    assert ran.exit_code == 0, ran.output
    analysis = Study.open(rows / "own").analyse()
    assert analysis.metric == "1 - accuracy"
    assert analysis.headline.fit.beta_g.value == pytest.approx(-0.5, abs=0.02)
    shards = sorted((rows / "own/shards/files").glob("0-*.csv"), key=lambda p: p.stat().st_size)
    contents = [path.read_text() for path in shards]
    assert len(contents) == 7
    assert all(b.startswith(a) for a, b in pairwise(contents)), "nested"


def test_init_writes_down_the_budget_and_the_workers_that_it_is_given(rows: Path) -> None:
    given = ("init", "rows.csv", "--command", COMMAND, "--values", "size=1,2", "--out", "a b.yaml")
    done = steep(*given, "--budget", "5m", "--workers", "2")
    assert done.exit_code == 0, done.output
    assert "steep plan 'a b.yaml'; steep run 'a b.yaml'" in done.output
    run = Study("a b.yaml").spec.run
    assert (run.budget, run.workers) == ("5m", 2)
    steep(*given, "--force")
    run = Study("a b.yaml").spec.run
    assert (run.budget, run.workers) == (None, None)
    refused = steep(*given, "--force", "--budget", "ten")
    assert (refused.exit_code, "no duration" in refused.output) == (2, True)


def test_init_reads_percentages_and_says_which_way_a_metric_goes(rows: Path) -> None:
    """With a $ before it a brace is the shell's, and a value that is listed twice is tried once."""
    (rows / "train.py").write_text("print('psnr 30.5'); print('acc 75.5 %')")
    command = f"{sys.executable} train.py {{shard}} {{lr}} ${{HOME}}"
    given = ("init", "rows.csv", "--command", command, "--values", "lr=1,2,1", "--force")
    done = steep(*given, "--pattern", "acc {number} %", "--metric", "val_acc")
    assert done.exit_code == 0, done.output
    assert "accuracy 75.5 %" in done.output
    assert "Lower values" not in done.output
    spec = Study("study.yaml").spec
    assert spec.trainer.options["percent"] is True
    assert spec.search.hyperparameters == {"lr": (1, 2)}
    done = steep(*given, "--pattern", "psnr {number}", "--metric", "psnr")
    assert done.exit_code == 0, done.output
    assert "Lower values of psnr are taken for better ones" in done.output
    assert "percent" not in Study("study.yaml").spec.trainer.options


def test_init_says_what_the_command_lacks(rows: Path) -> None:
    (rows / "train.py").write_text("print('training'); print('done')")
    done = steep("init", "rows.csv", "--command", COMMAND, "--values", "size=1,2")
    assert done.exit_code == 1
    assert "its command does not work yet" in done.output
    assert "reported no result" in done.output
    assert "training | done" in done.output
    assert (rows / "study.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rows.csv", "--command", "x {shard} {lr}"], "give --values lr=..."),
        (["rows.csv", "--command", "x {shard} {size}"], "--values size=16,32,64"),
        (["rows.csv", "--command", "x {shard}", "--values", "lr=1"], "the command has no {lr}"),
        (["rows.csv", "--command", "awk '{print}' {shard}"], "leave a blank in them: { print }"),
        (
            ["rows.csv", "--command", "x {lr} {shard}", "--values", "lr=1", "--values", "lr=2"],
            "--values lr is given twice",
        ),
        (
            ["rows.csv", "--command", "x {shard}", "--metric", "loss", "--pattern", "loss"],
            "trainer.pattern (line 12): 'loss' must have one {number}",
        ),
        (["rows.csv", "--command", "x {shard}", "--values", "lr"], "write a name and values"),
        (["--command", "x {samples}"], "--items 50000"),
        (["rows.csv", "--items", "7"], "are about a --command"),
        (["no.csv", "--command", "x {shard}"], "no such file: no.csv"),
        (["rows.csv", "--command", "x"], "it is given no training data"),
        (["rows.csv", "--command", "x 'a b {shard}"], "a quotation in it is not closed"),
    ],
)
def test_init_refuses_what_cannot_become_a_spec(
    rows: Path, arguments: list[str], words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "steep", "init", *arguments], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def falling(shard: Any, size: int, seed: int) -> dict[str, float]:
    m = len(shard.train)
    error = m**-0.3 * (1 + 20 * size**2 / m + m / (300 * size**2))
    return {"error": error, "flops": 6.0 * m * 100 * size**2, "parameters": 100 * size**2}


def test_one_model_that_bends_is_not_called_a_floor_of_the_labels(tmp_path: Path) -> None:
    values = spec(family={"sizes": [2]}, domain={"name": "external", "items": 6400})
    study = Study(values, tmp_path / "own", trainer=falling)
    study.run(progress=False)
    (bend,) = [f for f in study.analyse().findings if f.kind.startswith("bend")]
    assert bend.kind == "bend: floor or capacity"
    assert "one size" in bend.evidence


def test_a_search_that_until_ended_says_so_and_goes_on_with_more(tmp_path: Path) -> None:
    values = spec(family={"sizes": [2, 4, 8]}, search={"seeds": 2, "until": {"flops": 1e6}})
    notes: list[str] = []

    def observe(event: Any) -> None:
        if event.kind == Kind.NOTE:
            notes.append(event.payload["text"])

    study = Study(values, tmp_path / "own", trainer=falling)
    study.run(observe=observe)
    assert any("search.until ended the search" in note for note in notes)
    few = len(study.measurements())
    values["search"]["until"]["flops"] = 1e7
    more = Study(values, tmp_path / "own", trainer=falling)
    more.run(observe=observe, extend=True)
    assert len(more.measurements()) > few
    notes.clear()
    unbounded = spec(family={"sizes": [2, 4]}, search={"seeds": 1, "until": {"flops": 1.0}})
    Study(unbounded, tmp_path / "u", trainer=lambda shard, size, seed: 0.5).run(observe=observe)
    assert any("the trials report no FLOPs" in note for note in notes)


def test_held_out_shards_without_a_forecast_are_named(tmp_path: Path) -> None:
    values = spec(shards={"smallest": 50, "held_out": 3}, family={"sizes": [2, 4]})
    study = Study(values, tmp_path / "own", trainer=falling)
    study.run(progress=False)
    assert "Nothing was forecast for the held-out 200, 400 and 800 items" in "\n".join(
        study_lines(study.analyse())
    )


def test_what_own_code_prints_is_not_in_the_json(tmp_path: Path) -> None:
    (tmp_path / "fn.py").write_text(
        "import os\n\n\ndef train(shard, size, seed):\n    print('printed')\n"
        "    os.system('echo below')\n    return len(shard.train) ** -0.4\n"
    )
    (tmp_path / "own.yaml").write_text(
        "study: own\ndomain: {name: external, items: 400}\nfamily: {sizes: [1]}\n"
        "shards: {smallest: 50}\ntrainer: {name: function, function: fn.py:train}\n"
        "search: {seeds: 1}\nrun: {executor: inline}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "steep", "run", "own.yaml", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["study"] == "own"
    assert "printed" in done.stderr
    assert "below" in done.stderr
