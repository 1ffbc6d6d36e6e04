"""Every door, with whatever comes: a sentence of ours, or an answer; never another exception.

STEEP_FUZZ=5000 pytest -m faults tests/faults/test_fuzz.py    looks longer
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steep.analysis.asked import goal_of, place_of
from steep.cli.answers import Source, forecasts_of
from steep.contracts.domain import DataError
from steep.records import Measurement, Status, Trial
from steep.shards import ShardsError
from steep.spec import load
from steep.spec.load import QuestionError, SpecError
from steep.spec.sections import parse_duration
from steep.store.folder import StoreError
from steep.store.store import Store, compose_study_yaml
from steep.study import Study
from steep.tables.read import TableError, read

OURS = (SpecError, QuestionError, TableError, StoreError, ShardsError, DataError)
EXAMPLES = int(os.environ.get("STEEP_FUZZ", "60"))
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def told(error: Exception | bool) -> None:
    """Every refusal says something."""
    assert error
    assert str(error)


BASE: dict[str, Any] = {
    "study": "oracle",
    "domain": {"name": "external", "items": 4000},
    "family": {"name": "none", "sizes": [2, 4]},
    "shards": {"smallest": 250, "largest": 1000},
    "split": {"validation": 100, "test": 100},
    "search": {"planner": "grid", "seeds": 2, "extend": 0},
    "trainer": {"name": "synthetic", "steps": 40},
    "run": {"workers": 2},
}
SECTIONS: dict[str, dict[str, Any]] = {
    "domain": {"items": 0, "unit": 0, "metric": 0, "labels": 0, "name": 0, "train": 0},
    "family": {"name": 0, "sizes": 0},
    "shards": {"smallest": 0, "largest": 0, "factor": 0, "held_out": 0, "permutations": 0},
    "split": {"validation": 0, "test": 0},
    "search": {"planner": 0, "seeds": 0, "confirm": 0, "hyperparameters": 0, "extend": 0,
               "draws": 0, "until": 0, "compare_at": 0},
    "stop": {"evaluations": 0, "patience": 0, "ratio": 0, "first": 0, "max_steps": 0},
    "trainer": {"name": 0, "steps": 0, "function": 0, "faults": 0, "beta_g": 0},
    "run": {"executor": 0, "workers": 0, "device": 0, "lease": 0, "timeout": 0, "pack": 0},
    "training": {"learning_rate": 0},
}  # fmt: skip
numbers = st.one_of(
    st.integers(-3, 20), st.sampled_from([0.1, 0.5, 1e-9, 1e9, 1e300, 10**20, -0.0, 1.01, 3999.5]),
    st.floats(),
)  # fmt: skip
names = st.sampled_from(
    ["grid", "frugal", "paper", "all", "function", "local", "inline", "external", "images", "none",
     "/dev/zero", "../x", "", "\x00", "é", "x" * 5000, "mine.py:f", "os:system", "cuda", "\ud800"]
)  # fmt: skip
leaves = st.one_of(numbers, names, st.none(), st.booleans())
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["learning_rate", "a"]), inner)
    ),
    max_leaves=5,
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    spec = json.loads(json.dumps(BASE))
    for _ in range(draw(st.integers(1, 3))):
        section = draw(st.sampled_from([*SECTIONS, "study", "metric", "seed"]))
        if section in SECTIONS and draw(st.integers(0, 9)):
            key = draw(st.sampled_from(sorted(SECTIONS[section])))
            place = spec.setdefault(section, {})
            if isinstance(place, dict):
                place[key] = draw(values)
        else:
            spec[section] = draw(values)
    return spec


@fuzz
@given(specs())
def test_any_spec_is_planned_or_refused(spec: dict[str, Any]) -> None:
    try:
        Study(spec, "nowhere").plan()
    except OURS as error:
        told(error)


@fuzz
@given(st.data())
def test_any_text_is_a_spec_or_refused(data: st.DataObject) -> None:
    text = yaml.safe_dump(BASE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        more = data.draw(
            st.one_of(st.text(max_size=5), st.sampled_from(list("{}[]:&*!|>%@`#'\"\t\x00")))
        )
        text = text[:at] + more + text[at + data.draw(st.integers(0, 3)) :]
    try:
        load.parse(text)
    except SpecError as error:
        told(error)


cells = st.one_of(
    st.sampled_from(["", "nan", "inf", "-1", "0", "1e400", "1e-400", "1,5", "12%", "100", "0.1",
                     "ok", "1_000", "9" * 400, "\x00", '"', "0x10", "True", "2M", "½"]),
    st.floats().map(str), st.integers(1, 10**6).map(str), st.text(max_size=4),
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    columns = draw(st.lists(st.sampled_from(
        ["samples", "error", "accuracy", "loss", "seed", "lr", "se", "parameters",
         "model", "status", "samples", "epoch", "", "held_out", "unit"]), min_size=1,
        max_size=5))  # fmt: skip
    mark = draw(st.sampled_from([",", ";", "\t", " ", "|"]))
    rows = draw(st.lists(st.lists(cells, min_size=len(columns), max_size=len(columns)), max_size=7))
    kind = draw(st.sampled_from(["csv", "json", "jsonl", "bytes"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    objects = [dict(zip(columns, row, strict=True)) for row in rows]
    if kind == "json":
        return json.dumps(objects).encode(errors="replace")
    if kind == "jsonl":
        return "\n".join(map(json.dumps, objects)).encode(errors="replace")
    return "\n".join(mark.join(row) for row in [columns, *rows]).encode(errors="replace")


@fuzz
@given(
    tables(), st.sampled_from([None, "samples", "epoch"]), st.sampled_from([None, "seed", "model"])
)
def test_any_table_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, x: str | None, by: str | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_bytes(data)
    try:
        read(str(path), x=x, by=by)
    except OURS as error:
        told(error)


sizes = st.one_of(st.floats(1e-3, 1e12), st.integers(1, 10**7))
errors = st.one_of(st.floats(1e-12, 1e6), st.sampled_from([0.0, 1e-300, 0.5, 1.0]))


@settings(fuzz, max_examples=max(EXAMPLES // 4, 10))
@given(st.lists(st.tuples(sizes, errors), max_size=9), st.sampled_from(["10x", "1e9", "0.01x"]))
def test_any_curve_is_forecast_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float]], at: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "curve.csv"
    path.write_text("samples,error\n" + "".join(f"{m!r},{e!r}\n" for m, e in rows))
    try:
        forecasts_of(Source(str(path)), [at], ["5%"] if rows and rows[0][1] < 1 else [])
    except OURS as error:
        told(error)


@fuzz
@given(
    st.one_of(st.text(max_size=12), st.from_regex(r"[-+]?[0-9.]{0,5}(e-?[0-9]{1,4})?[xkMGT%hms]?"))
)
def test_any_option_is_understood_or_refused(text: str) -> None:
    for ask in (place_of, goal_of, parse_duration):
        try:
            ask(text)  # type: ignore[operator]
        except QuestionError as error:
            told(error)
        except ValueError as error:  # parse_duration's, worded by whoever asked
            told(ask is parse_duration and error)
            told(error)


# ---------------------------------------------------------------- study folders


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a result, an open attempt, a decision and a note."""
    folder = tmp_path_factory.mktemp("whole") / "st"
    loaded = load.parse(yaml.safe_dump(BASE), folder.parent)
    with Store.create(folder, compose_study_yaml(loaded, {})) as store:
        trials = [Trial(0, 250, 250.0, 2, (("learning_rate", 0.1),), seed) for seed in range(6)]
        store.add(trials)
        from steep.contracts.executor import Event, Kind

        for trial in trials[:4]:
            attempt = store.claim(trial, store.owner) or 0
            measured = Measurement(trial, Status.COMPLETE, validation_error=0.25, seconds=1.0)
            store.record(Event(Kind.RESULT, trial.id, attempt, measured))
        store.claim(trials[4], store.owner)
        store.decide("forecast", {"error": 0.4})
        store.note("a remark")
    return folder


@fuzz
@given(st.data())
def test_any_damage_to_a_study_is_refused_or_harmless_and_recovery_never_loses_more(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    name = data.draw(st.sampled_from(["trials.sqlite", "acknowledged.log", "study.yaml"]))
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["flip", "zero", "cut"]))
        if how == "cut" and at > 1:
            del content[at:]
        elif how == "zero":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        else:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(content)
    try:
        with Store.open(folder) as store:
            found = {m.trial.seed: m.validation_error for m in store.measurements()}
        assert found == dict.fromkeys(range(4), 0.25)  # harmless
        return
    except StoreError as error:
        told(error)
    try:
        Store.restore(folder)
        with Store.open(folder) as store:
            found = {m.trial.seed: m.validation_error for m in store.measurements()}
            decided = [d.payload for d in store.decisions("forecast")]
        assert found == dict.fromkeys(range(4), 0.25)  # one file of the two is whole
        assert decided == [{"error": 0.4}]
    except StoreError as error:
        told(error)
