"""The command line: JSON that parses, exit codes, one sentence for bad input, light imports."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

import tiny
from steep.cli import app
from steep.cli.terminal import clear_errors
from steep.laws.surface import Reference
from steep.laws.surfaces import SURFACES
from steep.plan import clock
from steep.stats.surface_posterior import Model

CSV = "samples,error\n" + "".join(f"{2**k * 100},{3 * (2**k * 100) ** -0.3}\n" for k in range(7))
TWO = "model,samples,error\n" + "".join(
    f"{name},{2**k * 100},{a * (2**k * 100) ** -0.3 * (1 + 0.01 * (-1) ** k)}\n"
    for name, a in (("a", 3.0), ("b", 2.5))
    for k in range(7)
)


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


Steep = Callable[..., Said]


@pytest.fixture
def steep(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> Steep:
    """Run a command in an empty folder with three tables."""
    monkeypatch.chdir(tmp_path)
    Path("results.csv").write_text(CSV)
    Path("two.csv").write_text(TWO)
    Path("loss.csv").write_text(CSV.replace(",0.", ",3."))

    def call(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["steep", *arguments])
        code: Any = 0
        try:
            app.main()
        except SystemExit as exit_:
            code = exit_.code or 0
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code, said.out, said.err)

    return call


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study. Tests only read it."""
    from steep import Study

    folder = tmp_path_factory.mktemp("cli") / "study"
    Study(tiny.spec(family={"sizes": [2, 4, 8]}), folder).run()
    return folder


@pytest.fixture(scope="module")
def published(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the same study."""
    from steep.cli.answers import Source
    from steep.cli.reports import report_of

    place = tmp_path_factory.mktemp("tables") / "study"
    report_of(Source(str(study)), place.parent / "report.html", None, place)
    return place


def write_spec(path: str = "spec.yaml", **sections: Any) -> str:
    values = tiny.spec(family={"sizes": [2, 4]}, shards={"smallest": 1000, "held_out": 0})
    Path(path).write_text(yaml.safe_dump(values | sections))
    return path


# ---------------------------------------------------------------- JSON

TABLES = [
    ("fit", "results.csv"),
    ("read", "results.csv"),
    ("read", "two.csv", "--by", "model"),
    ("fit", "two.csv", "--by", "model"),
    ("forecast", "results.csv", "--at", "10x", "--target", "0.05"),
    ("forecast", "results.csv", "--target", "5%", "--level", "0.5"),
    ("compare", "two.csv", "--by", "model"),
    ("compare", "two.csv", "--by", "model", "--error", "20%", "--unpaired"),
    ("diagnose", "results.csv"),
    ("backtest", "results.csv"),
    ("report", "results.csv"),
]


@pytest.mark.parametrize("command", TABLES, ids=lambda c: " ".join(c))
def test_every_question_of_a_table_in_words_and_in_json(
    command: tuple[str, ...], steep: Steep
) -> None:
    said = steep(*command)
    assert said.code == 0, said.err
    assert said.out.strip()
    assert "nan" not in said.out.lower().split()
    in_json = steep(*command, "--json")
    assert in_json.code == 0, in_json.err
    assert in_json.json


SWEEP = "n_train,lr,val_acc,params\n" + "".join(
    f"{2**k * 100},{lr},{100 - 300 * worse * (2**k * 100) ** -0.3},{2**k * 10}\n"
    for k in range(7)
    for lr, worse in ((0.1, 1.3), (0.01, 1.0))
)


@pytest.mark.parametrize(
    "command",
    ["fit", "forecast", "diagnose", "backtest", "report", "compare --by lr", "cost --target 10%"],
)
def test_what_was_done_to_a_table_is_said_in_words_and_in_json(command: str, steep: Steep) -> None:
    Path("sweep.csv").write_text(SWEEP)
    name, *options = command.split()
    said = steep(name, "sweep.csv", *options)
    assert said.code == 0, said.err
    in_json = steep(name, "sweep.csv", *options, "--json").out
    wanted = [
        "Column 'val_acc' is an accuracy in percent (values lie above 1): the error, 1 - accuracy"
    ]
    if "--by" not in options:
        wanted.append("Rows of one size differ in 'lr': the best of each size counts.")
    for note in wanted:
        assert said.out.count(note) == 1
        assert in_json.count(note) == 1


def test_the_best_rate_of_a_sweep_or_all_of_them(steep: Steep) -> None:
    Path("sweep.csv").write_text(SWEEP)

    def points(*options: str) -> list[float]:
        (found,) = steep("fit", "sweep.csv", *options, "--json").json
        return [found["points"][0]["error"], found["points"][0]["replicates"]]

    best = 3 * 100**-0.3
    assert points() == pytest.approx([best, 1])
    assert points("--all-rows") == pytest.approx([best * 1.3**0.5, 2])


def test_one_scale_for_the_answer_and_its_table(steep: Steep) -> None:
    """A curve that begins above 1 is a loss, though it was below 1 at most sizes."""
    Path("one.csv").write_text(CSV.replace("100,0.7", "100,1.1", 1))
    loss = steep("forecast", "one.csv", "--at", "10x").out
    assert "%" not in loss.replace("90 %", "")
    Path("wer.csv").write_text(CSV.replace("100,0.7", "100,1.1", 1).replace("error", "wer"))
    rate = steep("forecast", "wer.csv", "--at", "10x", "--target", "5%").out
    assert re.match(r"10x the data: [\d.]+ % .*; 5 % ", rate)
    assert "word error rate" in rate


def test_the_answers_are_right(steep: Steep) -> None:
    (fit,) = steep("fit", "results.csv", "--json").json
    assert fit["beta_g"]["value"] == pytest.approx(-0.3, abs=1e-3)
    (made,) = steep("forecast", "results.csv", "--at", "64k", "--json").json
    assert made["at"][0]["samples"] == 64_000
    assert made["at"][0]["error"] == pytest.approx(3 * 64_000**-0.3, rel=0.02)
    (made,) = steep("forecast", "results.csv", "--target", "10%", "--json").json
    assert made["targets"][0]["samples"] == pytest.approx((0.1 / 3) ** (1 / -0.3), rel=0.2)


def test_what_rises_is_carried_on_by_no_law_in_words_and_in_json(steep: Steep) -> None:
    Path("rising.csv").write_text("samples,error\n100,0.3\n200,0.35\n400,0.4\n800,0.5\n")
    said = steep("forecast", "rising.csv", "--at", "10x")
    assert said.code == 3
    assert said.out.startswith("No forecast: the error rises with more samples (30.0 % at 100")
    assert "so no law was fitted; the last points are extended: 10x the data:" in said.out
    (made,) = steep("forecast", "rising.csv", "--at", "10x", "--json").json
    assert made["outcome"] == "not a power law"
    assert made["at"][0]["lower"] < 0.5 < made["at"][0]["upper"]
    (fit,) = steep("fit", "rising.csv", "--json").json
    assert (fit["outcome"], fit["regions"], fit["laws"]) == ("not a power law", [], [])


@pytest.mark.parametrize(
    ("errors", "why"),
    [
        ("0.3 0.25", "2 sizes are too few to fit a law"),
        ("0.3 0.3 0.3 0.3 0.3 0.3 0.3", "the points show no significant decrease"),
        ("0.301 0.299 0.304 0.301 0.297 0.302 0.308", "the points show no significant decrease"),
        ("0.2 0.21 0.22 0.23 0.24 0.26 0.27", "the error rises with more samples"),
    ],
    ids=["two", "flat", "noisy", "rising"],
)
def test_no_answer_is_said_before_any_number_and_by_the_exit_code(
    errors: str, why: str, steep: Steep
) -> None:
    rows = [f"{1000 * 2**i},{e}" for i, e in enumerate(errors.split())]
    Path("none.csv").write_text("samples,error\n" + "\n".join(rows) + "\n")
    for command in ("fit", "forecast"):
        said = steep(command, "none.csv")
        assert said.code == 3
        assert said.out.startswith("No "), said.out
        assert why in said.out
        assert steep(command, "none.csv", "--json").code == 3
    said = steep("cost", "none.csv", "--target", "5%")
    assert (said.code, why in said.err) == (3, True)
    if why.startswith("2 sizes"):
        assert (
            steep("backtest", "none.csv").code == steep("backtest", "none.csv", "--json").code == 3
        )
    for command in ("forecast", "backtest", "cost"):
        assert steep(command, "results.csv").code == 0


def test_curves_that_cannot_be_compared_are_no_answer(steep: Steep) -> None:
    Path("far.csv").write_text("samples,error\n" + "".join(f"{10**i},0.1\n" for i in (7, 8, 9)))
    said = steep("compare", "results.csv", "far.csv")
    assert (said.code, "cannot be compared" in said.out) == (3, True)
    assert steep("compare", "results.csv", "results.csv").code == 0


def test_three_points_are_no_evidence_and_everything_says_so(steep: Steep) -> None:
    Path("three.csv").write_text("samples,error\n1000,0.3\n2000,0.25\n4000,0.21\n")
    why = "3 sizes are too few to test a law; the intervals rest on prior assumptions."
    for command in ("fit", "forecast", "diagnose"):
        said = steep(command, "three.csv")
        assert (said.code, why in said.out) == (0, True), said.out
        assert "Evidence" not in said.out
    (fit,) = steep("fit", "three.csv", "--json").json
    assert {law["law"] for law in fit["laws"]} == {"power", "power+floor", "shifted power"}


def test_help_tells_the_exit_codes(steep: Steep) -> None:
    assert "3 no answer" in " ".join(steep("--help").out.split())


QUESTIONS = ["fit", "forecast", "diagnose", "backtest", "joint", "cost", "status"]


@pytest.mark.parametrize("command", QUESTIONS)
def test_every_question_of_a_study_and_of_its_published_tables(
    command: str, steep: Steep, study: Path, published: Path
) -> None:
    told = []
    for path in (study, published):
        said = steep(command, str(path))
        assert (said.code, bool(said.out.strip())) == (0, True), said.err
        assert steep(command, str(path), "--json").json
        told.append(said.out.replace(str(path), "STUDY"))
    lines = [{line for line in text.splitlines() if "nothing is left" not in line} for text in told]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("command", ["plan", "run", "salvage"])
def test_what_trains_says_what_published_tables_lack(
    command: str, steep: Steep, published: Path
) -> None:
    said = steep(command, str(published))
    assert said.code == 2
    assert "holds the tables of a published study, without its data" in said.err


def test_a_folder_within_a_study_is_no_table(steep: Steep, study: Path) -> None:
    for command in ("fit", "forecast", "report", "status", "plan"):
        said = steep(command, str(study / "results"))
        assert said.code == 2
        assert f"part of a study: name the study's own folder, {study}" in said.err
    assert steep("compare", str(study / "results"), "results.csv").code == 2
    assert steep("fit", str(study / "results" / "best_fit.csv")).code == 0


def test_other_files_of_a_study_point_to_its_best_fits(steep: Steep, study: Path) -> None:
    for name, what in (("fits.json", "fits"), ("trials.csv", "trials")):
        said = steep("fit", str(study / "results" / name))
        assert said.code == 2
        assert f"these are a study's {what}, not its learning curve" in said.err
        assert "the best_fit.csv beside this file" in said.err
    said = steep("read", str(study / "results" / "best_fit.csv"), "--out", "tidy.csv")
    assert (said.code, Path("tidy.csv").exists()) == (2, False)
    assert "is read as it is: copy it" in said.err, "a tidy table would lose what it is fitted with"


def test_error_against_data_and_model_size_of_a_study(steep: Steep, study: Path) -> None:
    """Every size on every shard at its best hyperparameters, as the trials' table has them."""
    (found,) = steep("joint", str(study), "--json").json
    trials = pd.read_csv(study / "results" / "trials.csv")
    assert found["fit"]["runs"] == len(trials.groupby(["samples", "size"]))
    assert found["frontier"] == []
    said = steep("joint", str(study), "--flops", "1e12")
    assert (said.code, "steep cost" in said.err) == (2, True)


def test_runs_over_data_and_model_size(steep: Steep) -> None:
    """On a surface known beforehand: its parameters, and the frontier of its closed form."""
    e, a, b, alpha, beta = 1.5, 400.0, 2000.0, 0.34, 0.37
    sizes = [(n, d) for n in (1e7, 1e8, 1e9, 1e10) for d in (1e9, 1e10, 1e11)]
    rows = [f"{n},{d},{e + a / n**alpha + b / d**beta}" for n, d in sizes]
    Path("runs.csv").write_text("\n".join(["parameters,samples,loss", *rows]))
    told = steep("joint", "runs.csv", "--flops", "6e20", "--at", "1B,100B")
    assert told.code == 0
    assert told.out.startswith("1B parameters on 100B samples: loss ")
    assert "Best split of compute" in told.out
    assert "beta_p = " in told.out
    (found,) = steep("joint", "runs.csv", "--flops", "6e20", "--json").json
    values = {name: p["value"] for name, p in found["fit"]["parameters"].items()}
    assert values == pytest.approx({"E": e, "A": a, "B": b, "alpha": alpha, "beta": beta}, rel=0.03)
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    best = g * 1e20 ** (beta / (alpha + beta))
    assert found["frontier"][0]["parameters"]["value"] == pytest.approx(best, rel=3e-2)
    assert found["frontier"][0]["samples"]["value"] == pytest.approx(1e20 / best, rel=3e-2)
    assert found["beta_p"]["value"] == pytest.approx(beta / alpha, rel=3e-2)
    assert "draws" not in found["fit"]
    held = steep("joint", "runs.csv", "--fix", "alpha=0.34", "--tie", "alpha=beta", "--json").json
    assert held[0]["fit"]["parameters"]["beta"]["value"] == 0.34
    asked = steep("joint", "runs.csv", "--target", "2.0", "--serve", "1e13", "--backtest")
    assert "Cheapest for an error of 2.00 with 10T samples served" in asked.out
    assert "Forecasting the runs of most compute" in asked.out


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--at", "1e9"), "PARAMETERS,SAMPLES"),
        (("--at", "1e9,-5"), "positive"),
        (("--at", "x,5"), "number"),
        (("--fix", "alpha"), "NAME=VALUE"),
        (("--fix", "alhpa=0.3"), "'alpha'"),
        (("--tie", "alpha"), "NAME=NAME"),
        (("--serve", "1e12"), "--target"),
        (("--draws",), "--json"),
        (("--run", "nothing"), "'nothing'"),
    ],
)
def test_wrong_options_of_joint_are_sentences(
    steep: Steep, option: tuple[str, ...], said: str
) -> None:
    rows = [
        f"{n},{d},{2 + 1e3 / d**0.3 + 1e2 / n**0.3}" for n in (1e7, 1e8, 1e9) for d in (1e9, 1e10)
    ]
    Path("few.csv").write_text("\n".join(["parameters,samples,loss", *rows]))
    told = steep("joint", "few.csv", *option)
    assert (told.code, said in told.err) == (2, True), told.err


def test_compute_of_one_table_in_that_of_another(steep: Steep) -> None:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    for name, worth in (("A", 1.0), ("B", 1.5)):
        loss = 1.7 + 400 * (worth**0.5 * n) ** -0.34 + 1500 * (worth**0.5 * d) ** -0.36
        rows = [f"{x},{y},{e}" for x, y, e in zip(n, d, loss, strict=True)]
        Path(f"{name}.csv").write_text("\n".join(["parameters,samples,loss", *rows]))
    told = steep("compare", "A.csv", "B.csv", "--axis", "compute", "--flops", "1e20")
    assert told.out.startswith("B.csv is worth 1.5")
    assert "the compute of A.csv at 1.0e20 FLOPs." in told.out
    found = steep("compare", "A.csv", "B.csv", "--axis", "compute", "--shared-floor", "--json").json
    assert found["pairs"][0]["multiplier"][0]["value"] == pytest.approx(1.5, rel=0.03)
    assert found["pairs"][0]["shared_floor"] == pytest.approx(1.7, rel=0.02)
    for wrong in (("--flops", "1e20"), ("--axis", "time")):
        assert steep("compare", "A.csv", "B.csv", *wrong).code == 2


def test_beta_p_of_a_table_is_printed(steep: Steep) -> None:
    rows = [f"{m},{3 * m**-0.3},{2 * m**0.7}" for m in (1e3, 2e3, 4e3, 8e3, 16e3)]
    Path("sized.csv").write_text("\n".join(["samples,error,parameters", *rows]))
    for command in ("fit", "forecast"):
        assert "beta_p (best fit) = 0.7" in steep(command, "sized.csv").out
        (found,) = steep(command, "sized.csv", "--json").json
        assert found["beta_p"]["value"] == pytest.approx(0.7, abs=0.01)
    (found,) = steep("fit", "results.csv", "--json").json
    assert found["beta_p"] is None


def test_the_report_of_a_table_of_runs_has_its_surface(steep: Steep) -> None:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    loss = 1.7 + 400 * n**-0.34 + 1500 * d**-0.36
    rows = [f"{x},{y},{e}" for x, y, e in zip(n, d, loss, strict=True)]
    Path("runs.csv").write_text("\n".join(["parameters,samples,loss", *rows]))
    assert steep("report", "runs.csv", "--out", "r.html").code == 0
    page = Path("r.html").read_text()
    for part in (
        "Data and model size together",
        "Residuals of the law over data and model size",
        "best parameters",
        "Forecasting the runs of most compute",
    ):
        assert part in page, part
    steep("report", "results.csv", "--out", "plain.html")
    assert "Data and model size together" not in Path("plain.html").read_text()


def test_runs_over_repeated_data(steep: Steep) -> None:
    """On the surface of Muennighoff et al. 2023 with three constants of its own."""
    sizes, distinct, epochs = (1e7, 1e8, 1e9, 1e10), (1e8, 1e9, 1e10), (1, 4, 16, 64)
    n, u, e = (np.array(v) for v in zip(*product(sizes, distinct, epochs), strict=True))
    held = {"E": 1.5, "A": 500.0, "B": 1500.0, "alpha": 0.3, "beta": 0.35, "R_D": 12.0, "R_N": 4.0}
    law = Model(SURFACES["repeated"], Reference(18.0, 22.0, 1.0), held)
    loss = np.exp(law.log_error(np.zeros((1, 0)), np.log(n), np.log(u * e), np.log(u))[0])
    rows = [",".join(map(repr, map(float, row))) for row in zip(n, u * e, u, loss, strict=True)]
    Path("runs.csv").write_text("\n".join(["params,tokens,unique_tokens,loss", *rows]))
    asked = ("joint", "runs.csv", "--law", "repeated")
    (found,) = steep(*asked, "--unique", "unique_tokens", "--json").json
    values = {name: p["value"] for name, p in found["fit"]["parameters"].items()}
    assert values == pytest.approx(held, rel=0.05)
    assert "R_D = 12" in steep(*asked, "--unique", "unique_tokens").out
    said = steep(*asked)
    assert (said.code, "unique samples" in said.err) == (2, True)


def test_a_robust_fit_is_asked_for_by_an_option(steep: Steep, study: Path) -> None:
    right, place = f"400,{3 * 400**-0.3}", "The point at 400 samples lies off the trend"
    assert right in CSV
    Path("off.csv").write_text(CSV.replace(right, f"400,{6 * 400**-0.3}"))
    for command in ("fit", "forecast", "backtest", "report"):
        assert place not in steep(command, "off.csv").out
        said = steep(command, "off.csv", "--robust")
        assert said.code == 0, said.err
        assert said.out.count(place) == 1
    (fit,) = steep("fit", "off.csv", "--robust", "--json").json
    assert fit["beta_g"]["value"] == pytest.approx(-0.3, abs=0.01)
    (score,) = steep("backtest", "off.csv", "--robust", "--json").json
    (plain,) = steep("backtest", "off.csv", "--json").json
    assert score["log_error"] < plain["log_error"]
    said = steep("fit", str(study), "--robust")
    assert (said.code, "--robust: for tables only" in said.err) == (2, True)


def test_a_joint_fit_needs_model_sizes_and_a_law(steep: Steep) -> None:
    said = steep("joint", "results.csv")
    assert (said.code, "--parameters" in said.err) == (2, True)
    said = steep("joint", "results.csv", "--law", "quadratic")
    assert (said.code, "chinchilla" in said.err) == (2, True)


def test_a_comparison_by_compute_of_a_table_without_any_is_refused(steep: Steep) -> None:
    said = steep("compare", "results.csv", "results.csv", "--axis", "compute", "--flops", "1e20")
    assert said.code == 2
    assert "a comparison by compute needs model sizes or a column of flops" in said.err


def test_a_study_and_its_best_fits_tell_the_same_exponent(steep: Steep, study: Path) -> None:
    of_study = steep("fit", str(study), "--json").json[0]["beta_g"]["value"]
    (of_file,) = steep("fit", str(study / "results" / "best_fit.csv"), "--json").json
    assert [p["samples"] for p in of_file["points"]][-1] == 8000, "held out, and measured"
    assert of_file["beta_g"]["value"] == pytest.approx(of_study, abs=0.03)


def test_a_report_of_a_study_and_where_it_went(steep: Steep, study: Path) -> None:
    told = steep("report", str(study), "--json").json
    assert told == {"written": [str(study / "report.html")], "notes": []}


def test_plan_run_status_and_run_again(steep: Steep) -> None:
    spec = write_spec()
    planned = steep("plan", spec, "--json").json
    assert planned["most_trials"] >= len(planned["trials"]) >= 4 * 2 * 2
    assert set(planned["flops"]) == {"low", "high"}
    assert str(len(planned["trials"])) in steep("plan", spec).out
    assert not Path("tiny").exists()
    ran = steep("run", spec, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["report"] == "tiny/report.html"
    state = steep("status", "tiny", "--json").json
    trials = state["trials"]
    assert len(trials) >= 16
    largest = max(t["samples"] for t in trials)
    with open("tiny/results/best_fit.csv") as table:
        row = next(row for row in csv.DictReader(table) if float(row["samples"]) == largest)
    assert state["largest_shard"]["samples"] == largest
    assert state["largest_shard"]["size"] == int(row["size"])
    assert state["largest_shard"]["error"] == pytest.approx(float(row["error"]), rel=1e-6)
    of_best = [
        t["error"] for t in trials if (t["samples"], t["size"]) == (largest, int(row["size"]))
    ]
    assert min(of_best) <= state["largest_shard"]["error"] <= max(of_best)
    assert state["forecast"]["at"] == steep("forecast", "tiny", "--json").json[0]["at"]
    assert {t["status"] for t in trials} == {"complete"}
    assert (state["complete"], state["seconds_left"]) == (True, None)
    done = f"tiny is complete: {len(trials)} trials have ended"
    assert steep("plan", "tiny").out.startswith(done)
    assert steep("plan", "tiny", "--json").json["ended"] == len(trials)
    begun = steep("plan", write_spec(search={"planner": "grid", "seeds": 3})).out
    assert begun.startswith(done)
    assert "shards to fit" in begun, "what the larger spec asks for"
    assert steep("run", "tiny", "--quiet").code == 0
    assert len(steep("status", "tiny", "--json").json["trials"]) == len(trials)
    extended = steep(
        "run", write_spec(search={"planner": "grid", "seeds": 3}), "--extend", "--json"
    )
    assert extended.code == 0, extended.err
    assert {t["seed"] for t in steep("status", "tiny", "--json").json["trials"]} == {0, 1, 2}


# ---------------------------------------------------------------- exit codes


def test_some_trials_failed_is_one(steep: Steep) -> None:
    trainer = tiny.spec()["trainer"] | {"faults": [{"kind": "raise", "size": 4}]}
    said = steep("run", write_spec(trainer=trainer), "--quiet")
    assert said.code == 1
    assert re.search(r"\d+ of \d+ trials failed: 'steep status tiny' says why", said.err)
    assert "simulated failure" in steep("status", "tiny").out


BAD = [
    (("plan", "absent.yaml"), "absent.yaml"),
    (("run", "absent.yaml"), "absent.yaml"),
    (("run", "."), "holds no study"),
    (("status", "absent"), "absent"),
    (("status", "results.csv"), "results.csv"),
    (("fit", "absent.csv"), "absent.csv"),
    (("fit", "."), "."),
    (("forecast", "results.csv", "--at", "ten"), "--at 'ten'"),
    (("forecast", "results.csv", "--at", "-5x"), "--at '-5x'"),
    (("forecast", "results.csv", "--at", "1e999"), "--at '1e999'"),
    (("forecast", "results.csv", "--target", "low"), "--target 'low'"),
    (("forecast", "results.csv", "--target", "nan"), "--target 'nan'"),
    (("forecast", "results.csv", "--target", "inf"), "--target 'inf'"),
    (("forecast", "results.csv", "--target", "0"), "--target '0'"),
    (("forecast", "results.csv", "--level", "2"), "level"),
    (("forecast", "results.csv", "--level", "nan"), "level"),
    (("fit", "results.csv", "--x", "size"), "size"),
    (("compare", "results.csv"), "one curve cannot be compared"),
    (("compare", "two.csv", "--by", "model", "--margin", "-1"), "margin"),
    (("compare", "two.csv", "--by", "model", "--error", "nan"), "--error 'nan'"),
    (("compare", "results.csv", "loss.csv", "--error", "5%"), "are taken as a loss, not an"),
    (("compare", "results.csv", "absent.csv"), "absent.csv"),
    (("diagnose", "absent.csv"), "absent.csv"),
    (("diagnose", "results.csv", "--validation-items", "0"), "--validation-items 0: at least 1"),
    (("forecast", "loss.csv", "--target", "5%"), "--target '5%': errors up to 3.7"),
    (("cost", "loss.csv", "--target", "5%"), "--target '5%': errors up to 3.7"),
    (("fit", "results.csv", "--best-guess", "low"), "--best-guess 'low'"),
    (
        ("diagnose", "loss.csv", "--validation-items", "9"),
        "error rates, from 0 to 1; an error of 3.75",
    ),
    (("backtest", "absent.csv"), "absent.csv"),
    (("report", "absent.csv"), "absent.csv"),
    (("report", "results.csv", "--out", "results.csv/r.html"), "results.csv: File exists"),
    (("report", "tiny", "--out", "r.html"), "tiny"),
    (("report", "results.csv", "--figures", "results.csv"), "results.csv"),
    (("run", "spec.yaml", "--budget", "lots"), "--budget"),
    (("run", "spec.yaml", "--budget", "-5"), "--budget"),
    (("run", "spec.yaml", "--budget", "nan"), "--budget"),
    (("run", "spec.yaml", "--workers", "0"), "workers"),
    (("run", "spec.yaml", "--out", "results.csv"), "results.csv"),
    (("init",), "name your files"),
    (("init", "--data", "absent.txt"), "absent.txt"),
    (("init", "absent.txt"), "absent.txt"),
    (("init", "results.csv", "--budget", "lots"), "--budget"),
    (("init", "results.csv"), "--domain"),
    (("init", "two.csv", "--out", "results.csv"), "results.csv exists"),
    (("frobnicate",), "frobnicate"),
    (("fit", "results.csv", "--frobnicate"), "frobnicate"),
]


@pytest.mark.parametrize(("command", "words"), BAD, ids=lambda c: " ".join(c)[:60])
def test_bad_input_is_one_sentence_and_two(
    command: tuple[str, ...], words: str, steep: Steep
) -> None:
    write_spec()
    before = sorted(p.name for p in Path().rglob("*"))
    said = steep(*command)
    assert said.code == 2, said
    plain = re.sub(r"[│╭╮╰╯─\s]+", " ", said.err)
    assert words in plain, said.err
    assert len(said.err.splitlines()) <= 8
    assert not said.out
    assert sorted(p.name for p in Path().rglob("*")) == before


def test_curves_are_compared_without_pairing_on_request(steep: Steep) -> None:
    command = ("compare", "two.csv", "--by", "model", "--json")
    assert steep(*command).json["pairs"][0]["paired"]
    assert not steep(*command, "--unpaired").json["pairs"][0]["paired"]


def test_a_bad_row_is_named_by_line_and_column(steep: Steep) -> None:
    Path("bad.csv").write_text(CSV.replace("400,", "many,"))
    said = steep("fit", "bad.csv")
    assert "line 4" in said.err + said.out
    assert "samples" in said.err + said.out


def test_asking_a_study_that_has_trained_nothing(steep: Steep) -> None:
    steep("run", write_spec(), "--budget", "1 FLOPs", "--quiet")
    for command in ("fit", "forecast", "diagnose", "backtest", "report"):
        said = steep(command, "tiny")
        assert said.code in (0, 2, 3), said
        assert (said.out + said.err).strip()


def test_a_budget_of_the_spec_that_is_used_up_names_the_command_that_goes_on(
    steep: Steep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that ticks once a look, far ahead of the real one: a busy machine used up what was
    to suffice for the rest."""
    ticks = (1e12 + 0.002 * k for k in count())
    monkeypatch.setattr(clock, "spending", partial(clock.spending, now=lambda: next(ticks)))
    spec = write_spec(run={"budget": "0.001s"})
    for _ in range(2):
        said = steep("run", spec, "--quiet")
        assert "Stopped at the budget" in said.err
        (more,) = re.findall(r"'steep run tiny --budget (\S+)' goes on", said.err)
        told = steep("status", "tiny").out
        assert "the budget of 0.001s is used up" in told
        assert "'steep run tiny --budget 0.001s' goes on for a few seconds more" in told
        assert steep("status", "tiny", "--json").json["seconds_left"] is None
    whole = steep("run", "tiny", "--budget", more, "--quiet")
    assert (whole.code, whole.err) == (0, "")
    again = steep("run", spec, "--quiet")
    assert (again.code, again.err) == (0, "")


# ---------------------------------------------------------------- a process of its own


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steep", *arguments],
        capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); sys.argv = ['steep', '--help']\n"
        "from steep.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'pydantic', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), time.process_time())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    loaded, took = lines[-1].rsplit(" ", 1)
    assert loaded == "[]"
    assert float(took) < 0.5, f"{took} s of processor time"
    commands = ["init", "plan", "run", "status", "fit", "forecast", "compare", "report", "demo"]
    places = [next(i for i, ln in enumerate(lines) if ln.split()[:1] == [c]) for c in commands]
    assert places == sorted(places), "subcommands in pipeline order"


@pytest.mark.parametrize("command", [TABLES[2], TABLES[4], TABLES[7]], ids=lambda c: c[0])
def test_questions_of_a_table_need_no_torch(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(CSV)
    (tmp_path / "two.csv").write_text(TWO)
    block = tmp_path / "blocked"
    block.mkdir()
    (block / "torch.py").write_text("raise RuntimeError('torch was imported')\n")
    done = process(*command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(block)})
    assert done.returncode == 0, done.stderr


def test_what_needs_torch_says_so_where_there_is_none(tmp_path: Path) -> None:
    text = "One paragraph about nothing.\n\n" * 3
    (tmp_path / "a.txt").write_text("".join(f"{i} {text}" for i in range(200)))
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')\n")
    (tmp_path / "spec.yaml").write_text(
        "study: x\ndomain:\n  name: characters\n  train: a.txt\nfamily:\n  name: lstm\n"
        "  sizes: [8, 16]\nshards:\n  smallest: 1000\nsplit:\n  validation: 0.2\n"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = process("plan", "spec.yaml", cwd=tmp_path, env=env)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip() == "steep: this needs torch: pip install 'steep[train]'"


@pytest.mark.parametrize("command", ["fit", "status"])
def test_a_reader_that_leaves_early_is_fine(command: str, tmp_path: Path, study: Path) -> None:
    """As in ``steep fit results.csv --json | head -1``."""
    with subprocess.Popen(
        [sys.executable, "-m", "steep", command, str(study), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
        assert running.wait(60) in (0, 1, 141)
    assert said == ""


def test_ctrl_c_keeps_what_is_done_and_is_130(tmp_path: Path) -> None:
    trainer = tiny.spec()["trainer"] | {"seconds_per_step": 0.05}
    spec = write_spec(str(tmp_path / "spec.yaml"), trainer=trainer)
    running = subprocess.Popen(
        [sys.executable, "-m", "steep", "run", spec, "--quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    database = tmp_path / "tiny" / "trials.sqlite"
    until = time.monotonic() + 60
    while not database.exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.0)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "The same command resumes" in said
    assert "Traceback" not in said
    done = process("status", "tiny", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_version_of_the_package_is_the_one_installed() -> None:
    import importlib.metadata

    import steep

    assert steep.__version__ == importlib.metadata.version("steep")


# ---------------------------------------------------------------- help, figures, pages


def test_help_has_whole_summaries_within_80_columns(steep: Steep) -> None:
    told = steep("--help").out
    assert "..." not in told.partition("\n")[2]  # after the usage
    assert max(map(len, told.splitlines())) <= 80
    assert steep("-h").out == told
    for command in ("fit", "run", "report", "data"):
        assert steep(command, "-h").out == steep(command, "--help").out != ""


def test_the_version_is_told_by_command_and_by_module(steep: Steep) -> None:
    import steep as package

    assert steep("--version").out == f"steep {package.__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "steep", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"steep {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("forcast", "results.csv"), "forecast"),
        (("forecast", "results.csv", "--targt", "5%"), "--target"),
        (("fit", "results.csv", "--y", "eror"), "'error'"),
        (("joint", "results.csv", "--law", "chinchila"), "'chinchilla'"),
        (
            (
                "cost",
                "--alpha",
                "3",
                "--beta-g",
                "-0.3",
                "--sigma",
                "9",
                "--beta-p",
                "0.5",
                "--have",
                "9e3",
                "--machine",
                "h10",
            ),
            "'h100'",
        ),
        (("data", "get", "fashion-mnst", "--to", "x"), "'fashion-mnist'"),
    ],
)
def test_what_is_almost_right_is_corrected(
    arguments: tuple[str, ...], meant: str, steep: Steep
) -> None:
    said = steep(*arguments)
    assert said.code == 2
    assert meant in said.err


@pytest.mark.parametrize("command", ["fit", "forecast"])
def test_a_curve_in_the_terminal_and_as_a_file(command: str, steep: Steep) -> None:
    pytest.importorskip("matplotlib")
    plain = steep(command, "results.csv").out
    said = steep(command, "results.csv", "--plot", "--png", "a.png")
    assert said.out.startswith(plain)
    drawn = said.out[len(plain) :]
    assert drawn.count("●") == 7 + 1  # seven points and the legend
    assert "training samples" in drawn
    assert max(map(len, drawn.splitlines())) <= 80
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert steep(command, "results.csv", "--png", "a.jpg").code == 2


def test_a_comparison_has_a_figure_and_a_page(steep: Steep) -> None:
    pytest.importorskip("matplotlib")
    files = ("--plot", "--png", "c.svg", "--html", "c.html")
    said = steep("compare", "two.csv", "--by", "model", *files)
    assert "● a   ◆ b" in said.out
    assert Path("c.svg").read_text().startswith("<?xml")
    page = Path("c.html").read_text()
    assert "have the same exponent" in page
    assert page.count("<svg class=") >= 2
    steep("report", "two.csv", "results.csv", "--out", "d.html")


def test_json_has_draws_only_where_they_are_asked_for(steep: Steep) -> None:
    said = steep("fit", "results.csv", "--json")
    assert "draws" not in said.json[0]
    assert len(said.out) < 10_000
    assert steep("fit", "results.csv", "--json", "--draws").json[0]["draws"]
    assert steep("fit", "results.csv", "--draws").code == 2


def test_a_study_whose_trials_all_diverge_gives_no_answer(steep: Steep) -> None:
    Path("nothing.py").write_text(
        "def train(shard, size, seed):\n"
        "    return {'validation_error': float('nan'), 'parameters': 100 * size}\n"
    )
    trainer = {"name": "function", "function": "nothing.py:train"}
    values = tiny.spec(search={"seeds": 1}, family={"sizes": [1, 2]})
    Path("spec.yaml").write_text(json.dumps(values | {"trainer": trainer}))
    said = steep("run", "spec.yaml", "--out", "diverged", "--quiet")
    assert said.code == 3
    assert "All 12 trials diverged" in said.err


def test_no_answer_is_json_where_json_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command's own option, not by the words of the process that it runs in."""
    monkeypatch.setattr("sys.argv", ["pytest", "--json"])
    (tmp_path / "one.csv").write_text("samples,error\n1,0.001\n")
    for given, is_json in ((["--json"], True), ([], False)):
        with pytest.raises(SystemExit) as ended, clear_errors():
            app.app(args=["cost", str(tmp_path / "one.csv"), *given], prog_name="steep")
        out = capsys.readouterr().out
        assert ended.value.code == 3
        assert (json.loads(out)["outcome"] if is_json else out) == ("no answer" if is_json else "")
