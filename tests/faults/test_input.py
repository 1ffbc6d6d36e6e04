"""What is typed, piped and handed over: every mistake is a sentence and an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import STEEP, Driven

Expected = dict[tuple[str, ...], str]

MUTATIONS = {
    "typo key": ("shards: {", "shrads: {"),
    "unknown option": ("steps: 40", "stepps: 40"),
    "text for a number": ("items: 4000", "items: many"),
    "negative": ("items: 4000", "items: -4000"),
    "zero": ("smallest: 250", "smallest: 0"),
    "nan": ("smallest: 250", "smallest: .nan"),
    "inf": ("largest: 1000", "largest: .inf"),
    "given twice": ("study: oracle", "study: oracle\nstudy: other"),
    "alias": ("study: oracle", "study: &a oracle"),
    "tag": ("study: oracle", "study: !!python/object:os.system oracle"),
    "sizes over data": ("largest: 1000", "largest: 100000"),
    "smallest over largest": ("smallest: 250", "smallest: 2000"),
    "no sizes": ("sizes: [2, 4]", "sizes: []"),
    "sizes descend": ("sizes: [2, 4]", "sizes: [4, 2]"),
    "size of nothing": ("sizes: [2, 4]", "sizes: [0, 4]"),
    "no such planner": ("planner: grid", "planner: oracle"),
    "no such domain": ("name: external", "name: nowhere"),
    "no such executor": ("workers: 2", "executor: slurmm"),
    "a list": ("split: {validation: 100, test: 100}", "split: [100, 100]"),
    "split leaves nothing": ("validation: 100", "validation: 4000"),
    "no seeds": ("seeds: 2", "seeds: 0"),
    "too many seeds": ("seeds: 2", "seeds: 1000000000"),
    "factor of one": ("largest: 1000", "largest: 1000, factor: 1.0"),
    "items of a tera": ("items: 4000", "items: 1000000000000"),
    "a device that is none": ("workers: 2", "workers: 2, lease: 0"),
    "not YAML": ("study: oracle", "study: [oracle"),
    "no mapping": ("study: oracle", "- study"),
    "deep": ("study: oracle", "study: " + "[" * 3000),
}
SPEC = """study: oracle
domain: {name: external, items: 4000}
family: {name: none, sizes: [2, 4]}
shards: {smallest: 250, largest: 1000}
split: {validation: 100, test: 100}
search: {planner: grid, seeds: 2, extend: 0}
trainer: {name: synthetic, steps: 40}
run: {workers: 2}
"""
MANY = """
import sys
from contextlib import redirect_stdout
from steep.cli import app
for path in sys.argv[1:]:
    sys.argv = ["steep", "plan", path]
    print(path, end=": ", file=sys.stderr, flush=True)
    try:
        app.main()
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr, flush=True)
"""


def test_f15_malformed_specs_are_refused_by_path_and_line(tmp_path: Path) -> None:
    paths = {}
    for number, (name, (old, new)) in enumerate(MUTATIONS.items()):
        assert old in SPEC
        paths[name] = tmp_path / f"{number}.yaml"
        paths[name].write_text(SPEC.replace(old, new))
    command = [sys.executable, "-c", MANY, *map(str, paths.values())]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    for name, path in paths.items():
        said = ended.stderr.partition(f"{path}: ")[2]
        said = said.partition("exit ")
        assert said[2][:1] == "2", (name, said[0], said[2][:5])
        assert said[0].startswith("steep: "), name


def test_several_mistakes_are_told_at_once(study: Driven) -> None:
    path = study.place / "s.yaml"
    path.write_text(SPEC.replace("items: 4000", "items: -1").replace("seeds: 2", "seeds: x"))
    ended = study.steep()
    assert ended.code == 2
    assert "domain.items (line 2)" in ended.err
    assert "search.seeds (line 6)" in ended.err
    assert not study.folder.exists()


# ---------------------------------------------------------------- streams


def test_f20_nobody_reads_the_progress(study: Driven) -> None:
    study.spec({"seconds_per_step": 0.005, "faults": [{"kind": "raise", "attempts": 1}]})
    reading, writing = os.pipe()
    os.close(reading)
    process = study.start(stdout=writing, stderr=writing)
    os.close(writing)
    process.wait(timeout=240)
    assert study.states() == ["complete"] * 12
    study.spec({"seconds_per_step": 0.005, "faults": [{"kind": "raise", "attempts": 1}]})
    with open("/dev/full", "w") as full:
        process = study.start("run", "s.yaml", "--out", "st2", stderr=full)
        assert study.ended(process).code == 0


def test_a_folder_that_is_gone_is_said(local: Driven) -> None:
    gone = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh"]
    for command in (("status", "st"), ("run", "s.yaml", "--out", "st"), ("forecast", "t.csv")):
        ended = local.steep(*command, before=gone)
        assert ended.code == 2, ended.said
        assert ended.err.startswith("steep: ")


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ('"$@" forecast t.csv | true; test ${PIPESTATUS[0]} = 0', 0),
        ('"$@" forecast t.csv > /dev/full', 2),
        ('"$@" forecast t.csv >&-', 2),
        ('"$@" forecast t.csv --json >&-', 2),
        ('"$@" forecast - <&-', 2),
        ('"$@" forecast nowhere.csv 2>&-', 2),
        ('"$@" forecast t.csv 2>/dev/full', 0),
    ],
)
def test_f20_streams_that_are_closed_or_full(tmp_path: Path, shell: str, code: int) -> None:
    _table(tmp_path / "t.csv", 8)
    command = ["bash", "-c", shell, "bash", *STEEP]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert "Traceback" not in ended.stderr
    assert ended.returncode == code, ended.stderr


def _table(path: Path, sizes: int) -> None:
    rows = [f"{100 + 100 * i},{4 * (100 + 100 * i) ** -0.3:.6f}" for i in range(sizes)]
    path.write_text("\n".join(["samples,error", *rows]) + "\n")


def test_a_table_of_thousands_of_sizes_is_binned_and_that_is_said(local: Driven) -> None:
    _table(local.place / "t.csv", 20_000)
    limit = ["sh", "-c", 'ulimit -v 8000000; exec "$@"', "sh"]
    ended = local.steep("forecast", "t.csv", "--at", "10x", before=limit)
    assert ended.code == 0
    assert "different sizes" in ended.out


def test_tables_that_are_none(local: Driven) -> None:
    place = local.place
    (place / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    digits = '[{"samples":' + "9" * 5000 + ',"error":0.1}]'
    (place / "digits.json").write_text(digits)
    (place / "binary.csv").write_bytes(os.urandom(3000))
    (place / "empty.csv").write_text("")
    (place / "folder").mkdir()
    for name in ("deep.json", "digits.json", "binary.csv", "empty.csv", "folder", "none.csv"):
        ended = local.steep("forecast", name, "--at", "10x")
        assert ended.code == 2, name
        assert ended.err.startswith("steep: "), name


# ---------------------------------------------------------------- functions that misbehave


def test_a_long_failure_is_cut_and_kept_whole_in_a_file(study: Driven) -> None:
    (study.place / "mine.py").write_text(
        "def f(shard, size, seed):\n"
        "    if size == 4 and seed == 0 and len(shard.train) < 300:\n"
        "        raise ValueError('x' * 100_000 + 'the end')\n"
        "    return {'validation_error': len(shard.train) ** -.3, 'parameters': size}\n"
    )
    study.spec({"name": "function", "function": "mine.py:f"})
    ended = study.steep()
    assert ended.code == 1
    assert len(ended.said) < 20_000
    assert len(study.steep("status", "st").out) < 3_000
    files = list((study.folder / "failures").iterdir())
    assert len(files) == 3
    assert all("the end" in file.read_text() for file in files)


def test_a_failure_whose_message_is_no_text_is_one(study: Driven) -> None:
    (study.place / "mine.py").write_text(
        "def f(shard, size, seed):\n"
        "    if size == 4 and seed == 0 and len(shard.train) < 300:\n"
        "        raise ValueError('not found: \\udcff.wav \\x00')\n"
        "    return {'validation_error': len(shard.train) ** -.3, 'parameters': size}\n"
    )
    study.spec({"name": "function", "function": "mine.py:f"})
    assert study.steep().code == 1
    assert study.states().count("complete") == 11
    assert "not found: \\udcff.wav" in study.steep("status", "st").out


def test_errors_of_zero_are_half_an_item(study: Driven) -> None:
    (study.place / "mine.py").write_text(
        "def f(shard, size, seed):\n"
        "    m = len(shard.train)\n"
        "    return {'validation_error': 0.0 if m > 600 else m ** -.7, 'parameters': size}\n"
    )
    study.spec({"name": "function", "function": "mine.py:f"})
    assert study.steep().code == 0
    for question in ("report", "forecast", "fit", "diagnose", "status"):
        assert study.steep(question, "st").code == 0, question
    fits = json.loads((study.folder / "results/fits.json").read_text())
    assert fits


def test_a_report_of_a_study_that_cannot_be_written_to(local: Driven) -> None:
    local.spec({"seconds_per_step": 0.0})
    assert local.steep().code == 0
    before = sorted((p, p.stat().st_mtime_ns) for p in (local.folder / "results").iterdir())
    assert local.steep("report", "st", "--out", "mine.html").code == 0
    page = (local.place / "mine.html").read_text()
    assert len(page) > 50_000
    assert page.rstrip().endswith("</html>")
    after = sorted((p, p.stat().st_mtime_ns) for p in (local.folder / "results").iterdir())
    assert before == after


def test_the_disk_that_a_plan_says_is_what_a_study_takes(local: Driven) -> None:
    local.spec({"seconds_per_step": 0.0})
    planned = json.loads(local.steep("plan", "s.yaml", "--json").out)["disk"]
    assert local.steep().code == 0
    taken = sum(path.stat().st_size for path in local.folder.rglob("*") if path.is_file())
    assert taken / 2 < planned < taken * 2
