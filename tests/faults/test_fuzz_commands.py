"""Every question of the command line, with nearly right tables, studies and options: an answer or
a sentence, within a minute; no warning of a library, no number that cannot be.

make fuzz    looks longer
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.cli.app import app
from steep.cli.terminal import clear_errors

from .conftest import Driven
from .test_fuzz import EXAMPLES, cells, fuzz, specs

Expected = dict[tuple[str, ...], str]
CODES = (0, 1, 2, 3)
some = settings(fuzz, max_examples=max(EXAMPLES // 3, 10))


def asked(*arguments: str) -> tuple[int, str, str]:
    """A command in this process: (exit code, output, errors). Whatever it raises comes out."""
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    code: Any = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            with clear_errors():
                app(args=list(arguments), prog_name="steep")
        except SystemExit as end:
            code = end.code or 0
    assert time.process_time() - began < 60, arguments
    assert code in CODES, (arguments, code)
    said = err.getvalue()
    assert code != 2 or said.startswith(("steep: ", "Usage: ", "╭─ Error")), (arguments, said)
    assert "Traceback" not in said, (arguments, said)
    return code, out.getvalue(), said


# ---------------------------------------------------------------- tables


sizes = st.one_of(
    st.integers(1, 10**7), st.sampled_from([0, -5, 1.5, 1e12, 1e300, 1e-300]), st.floats(1, 1e6)
)
headers = {
    "samples": ["samples", "n_train", "size", "tokens", "log10_samples", "samples_k", "epoch"],
    "error": ["error", "val_loss", "accuracy", "acc", "rmse", "error_pct", "perplexity", "score"],
    "extra": ["seed", "model", "lr", "parameters", "se", "std", "lower", "upper", "fold", "status",
              "unit", "split", "params_m", "flops", "run", "metric", "x"],
}  # fmt: skip


@st.composite
def curves(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows that follow a law, of one or two models, with a few cells that do not."""
    x, y = draw(st.sampled_from(headers["samples"])), draw(st.sampled_from(headers["error"]))
    extra = draw(st.lists(st.sampled_from(headers["extra"]), max_size=3, unique=True))
    scale = draw(st.sampled_from([0.001, 1.0, 4.0, 90.0, 1e6]))
    slope, floor = draw(st.floats(-1, 0.3)), draw(st.sampled_from([0.0, 0.0, 0.1, 1.0]))
    first, factor = draw(st.sampled_from([1, 10, 125, 10**6])), draw(st.sampled_from([1, 1.3, 2]))
    rows = []
    for number in range(draw(st.integers(0, 14))):
        m = first * factor ** (number // draw(st.sampled_from([1, 1, 2])))
        noise = draw(st.sampled_from([1.0, 1.0, 1.02, 0.97, 1.5]))
        row: dict[str, Any] = {x: m, y: scale * (float(m) ** slope + floor) * noise}
        for name in extra:
            row[name] = draw(st.sampled_from([number, number % 2, "ab"[number % 2], 0.1, 1e5 * m]))
        rows.append(row)
    for _ in range(draw(st.integers(0, 3)) if rows else 0):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        row[draw(st.sampled_from(sorted(row)))] = draw(st.one_of(cells, sizes, st.none()))
    return rows


def written(rows: list[dict[str, Any]], how: str) -> bytes:
    if how == "json":
        return json.dumps(rows).encode(errors="replace")
    if how == "jsonl":
        return "\n".join(map(json.dumps, rows)).encode(errors="replace")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["samples"], delimiter=how)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="replace")


columns = st.sampled_from([*(n for group in headers.values() for n in group), "nowhere", ""])
numbers = st.sampled_from(
    ["0", "1", "-1", "0.5", "5%", "10x", "1e6", "2M", "1e400", "nan", "inf", "", "x", "7e9,4e12",
     "1,2", "0.05", "90", "1e-12", "0x", "100000x", "1e308"]
)  # fmt: skip
TABLE = {
    "--x": columns, "--y": columns, "--by": columns, "--se": columns, "--sd": columns,
    "--runs": st.one_of(columns, numbers), "--ci": st.just("lower,upper"),
    "--x-scale": st.sampled_from(["log10", "ln", "k", "M", "percent", "share", "plain", "z"]),
    "--y-scale": st.sampled_from(["log10", "ln", "percent", "plain", "z"]),
    "--higher-is-better": None, "--all-rows": None, "--validation-items": numbers,
}  # fmt: skip
FIT = TABLE | {"--parameters": columns, "--best-guess": numbers, "--robust": None}
LEVEL = {"--level": st.sampled_from(["0.9", "0.5", "0.999", "0.01", "1", "0", "nan"])}
QUESTIONS: dict[str, dict[str, Any]] = {
    "read": TABLE | {"--parameters": columns, "--unique": columns},
    "fit": FIT | LEVEL | {"--draws": None, "--plot": None},
    "forecast": FIT | LEVEL | {"--at": numbers, "--target": numbers, "--single-run": None,
                               "--plot": None},
    "compare": TABLE | LEVEL | {"--margin": numbers, "--error": numbers, "--unpaired": None,
                                "--axis": st.sampled_from(["data", "compute"]), "--flops": numbers},
    "diagnose": FIT | LEVEL,
    "backtest": FIT | LEVEL,
    "cost": FIT | LEVEL | {"--target": numbers, "--devices": numbers, "--batch": numbers,
                           "--machine": st.sampled_from(["a100", "v100", "cpu", "z"]),
                           "--within": st.sampled_from(["7d", "0", "1e9d", "x"]),
                           "--flops": numbers, "--faster": numbers, "--loss": numbers,
                           "--flops-per-parameter": numbers, "--epochs": numbers},
    "joint": {k: TABLE[k] for k in ("--x", "--y", "--by", "--higher-is-better", "--all-rows")}
    | {"--parameters": columns, "--at": numbers, "--flops": numbers, "--target": numbers,
       "--fix": st.sampled_from(["alpha=0.3", "alpha=nan", "z=1", "alpha"]), "--floor": numbers,
       "--tie": st.sampled_from(["alpha=beta", "alpha=alpha", "z=y"]), "--run": columns,
       "--law": st.sampled_from(["chinchilla", "kaplan", "z"]), "--backtest": None},
}  # fmt: skip


@st.composite
def options(draw: st.DrawFn, question: str) -> list[str]:
    """A few options of a question, most of them with a value that it takes."""
    known = QUESTIONS[question] | {"--json": None}
    given: list[str] = []
    for name in draw(st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True)):
        given += [name] if known[name] is None else [name, draw(known[name])]
    return given


@some
@given(st.data())
@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_any_question_of_a_table_is_answered_or_refused(
    tmp_path_factory: pytest.TempPathFactory, question: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{question}.txt"
    how = data.draw(st.sampled_from([",", ",", ";", "\t", "json", "jsonl"]))
    path.write_bytes(written(data.draw(curves()), how))
    code, out, _ = asked(question, str(path), *(given := data.draw(options(question))))
    if code in (0, 3) and "--json" in given:
        _numbers_can_be(json.loads(out))


@settings(some, max_examples=max(EXAMPLES // 6, 5))
@given(curves(), st.sampled_from([",", "json"]))
def test_any_table_is_reported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], how: str
) -> None:
    place = tmp_path_factory.getbasetemp()
    (place / "reported.txt").write_bytes(written(rows, how))
    code, _, _ = asked("report", str(place / "reported.txt"), "--out", str(place / "r.html"))
    if code == 0:
        page = (place / "r.html").read_text()
        assert page.rstrip().endswith("</html>")
        assert ">nan<" not in page.lower()


def _numbers_can_be(answer: Any) -> None:
    """No NaN or infinity, and every interval holds its value."""
    if isinstance(answer, list):
        for one in answer:
            _numbers_can_be(one)
    elif isinstance(answer, dict):
        for one in answer.values():
            _numbers_can_be(one)
        low, high = answer.get("lower"), answer.get("upper")
        value = answer.get("error", answer.get("value"))
        value = None if "last" in answer else value  # of a back-test: measured, maybe outside
        if all(isinstance(n, (int, float)) for n in (low, high, value)):
            assert low <= value <= high or math.isclose(low, high, rel_tol=1e-6), answer
    elif isinstance(answer, float):
        assert math.isfinite(answer)


# ---------------------------------------------------------------- one table, written in many ways


@fuzz
@given(st.data())
def test_a_table_is_read_as_it_was_meant_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The same points in another notation: never other points."""
    place, draw = tmp_path_factory.getbasetemp(), data.draw
    count = draw(st.integers(5, 12))
    first = draw(st.sampled_from([100, 1000, 60_000]))
    slope, floor = draw(st.floats(0.1, 0.6)), draw(st.sampled_from([0.0, 0.02]))
    points = [(m := first * 2**k, round(0.9 * (m / first) ** -slope + floor * 0.1, 6))
              for k in range(count)]  # fmt: skip
    xs = {
        "samples": lambda m: m, "n_train": lambda m: m, "log10_samples": lambda m: math.log10(m),
        "samples_k": lambda m: m / 1000, "samples (M)": lambda m: m / 1e6,
        "train size": lambda m: f"{m:,}",
    }  # fmt: skip
    ys = {
        "error": lambda e: e, "accuracy": lambda e: round(1 - e, 6),
        "error_pct": lambda e: round(100 * e, 4), "acc (%)": lambda e: round(100 * (1 - e), 4),
        "val_error_rate": lambda e: f"{100 * e:.4f}%", "log10_error": lambda e: math.log10(e),
        "top1 accuracy": lambda e: f"{100 * (1 - e):.4f} %",
    }  # fmt: skip
    x, y = draw(st.sampled_from(sorted(xs))), draw(st.sampled_from(sorted(ys)))
    rows = [{x: xs[x](m), y: ys[y](e)} for m, e in points]
    for name, value in {"lr": 0.1, "epochs": 20, "optimizer": "sgd", "wall_s": None}.items():
        if draw(st.booleans()):
            for number, row in enumerate(rows):
                row[name] = 30.0 * 2**number if value is None else value
    if draw(st.booleans()):
        rows = [{"run": f"run-{number}"} | row for number, row in enumerate(rows)]
    if draw(st.booleans()):
        rows.reverse()
    path = place / "meant.txt"
    path.write_bytes(written(rows, draw(st.sampled_from([",", ";", "\t", "json", "jsonl"]))))
    (place / "tidy.csv").unlink(missing_ok=True)
    code, _, _ = asked("read", str(path), "--out", str(place / "tidy.csv"))
    if code != 0:
        return
    with (place / "tidy.csv").open(newline="") as file:
        found = sorted((float(r["samples"]), float(r["error"])) for r in csv.DictReader(file))
    assert len(found) == count, (found, rows)
    for (m, e), (samples, error) in zip(sorted(points), found, strict=True):
        assert samples == pytest.approx(m, rel=1e-4), (found, rows)
        assert error == pytest.approx(e, rel=1e-2, abs=2e-6), (found, rows)


# ---------------------------------------------------------------- study folders


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that is done, with a held-out shard."""
    driven = Driven(tmp_path_factory.mktemp("done"), "inline")
    driven.spec({"seconds_per_step": 0.0}, shards={"smallest": 125, "largest": 2000, "held_out": 1})
    assert driven.steep().code == 0
    return driven.folder


STUDY = ("status", "report", "forecast", "fit", "diagnose", "cost", "joint", "backtest", "compare",
         "read", "salvage", "plan")  # fmt: skip


@some
@given(st.data())
def test_any_question_of_a_damaged_study_is_answered_or_refused(
    study: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "asked"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(study, folder)
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    for _ in range(data.draw(st.integers(1, 2))):
        path = folder / data.draw(st.sampled_from(files))
        content = bytearray(path.read_bytes()) if path.is_file() else bytearray()
        how = data.draw(st.sampled_from(["flip", "zero", "cut", "gone", "folder", "more"]))
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        if how in ("gone", "folder"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if how == "folder":
                path.mkdir()
            continue
        if path.is_dir():
            continue
        if how == "flip" and content:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "zero":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        elif how == "cut":
            del content[at:]
        else:
            content += data.draw(st.binary(min_size=1, max_size=40))
        path.write_bytes(content)
    out = str(folder.with_name("asked.html"))
    questions = data.draw(st.lists(st.sampled_from(STUDY), min_size=1, max_size=3))
    for question in questions:
        asked(question, str(folder), *(["--out", out] if question == "report" else []))


@settings(fuzz, max_examples=max(EXAMPLES // 6, 5))
@given(specs(), st.lists(st.sampled_from(["--retry-failed", "--extend", "-q"]), unique=True))
def test_any_small_study_is_run_or_refused_and_then_answered(
    tmp_path_factory: pytest.TempPathFactory, spec: dict[str, Any], given: list[str]
) -> None:
    """What can be planned can be run, and what was run can be asked."""
    place = tmp_path_factory.getbasetemp()
    shutil.rmtree(place / "ran", ignore_errors=True)
    if isinstance(run := spec.setdefault("run", {}), dict):
        run["executor"] = "inline"
    path = place / "ran.yaml"
    path.write_text(yaml.safe_dump(spec, allow_unicode=False))
    code, out, _ = asked("plan", str(path), "--json")
    if code != 0 or json.loads(out)["most_trials"] > 30:
        return
    code, _, _ = asked("run", str(path), "--out", str(place / "ran"), "--budget", "20s", *given)
    if code in (0, 1, 3) and (place / "ran/study.yaml").exists():
        for question in ("status", "forecast", "fit", "report"):
            asked(question, str(place / "ran"))
