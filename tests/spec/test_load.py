"""Malformed specs: every problem at once, each with its path and line, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from steep.cli import app
from steep.spec import load as loading
from steep.spec import yaml_reader
from steep.spec.load import SpecError, from_values, load, parse
from steep.spec.sections import parse_duration
from steep.store.spec_changes import Change, changes, only_adds
from steep.study import Study

GOOD = """\
study: letters
domain:
  name: external
  items: 4000
family:
  name: none
  sizes: [2, 4, 8]
shards:
  smallest: 125
  largest: 2000
split:
  validation: 200
  test: 0.1
search:
  seeds: 2
  hyperparameters:
    learning_rate: [1e-3, 0.1]
trainer:
  name: synthetic
  a: 3.0
"""


def line_of(text: str, start: str) -> int:
    lines = [i for i, line in enumerate(text.splitlines(), 1) if line.strip().startswith(start)]
    assert len(lines) == 1, f"{start!r} is on lines {lines}"
    return lines[0]


def problems(text: str) -> list[loading.Problem]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return caught.value.problems


def with_(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def test_a_good_spec_reads_as_written() -> None:
    loaded = parse(GOOD)
    assert loaded.spec.search.hyperparameters == {"learning_rate": (0.001, 0.1)}
    assert loaded.spec.domain.options == {"items": 4000}
    assert loaded.spec.family.sizes == (2, 4, 8)
    assert loaded.lines["search.hyperparameters.learning_rate"] == 17


# (mutation, path of the one problem, what marks its line, words of its message)
MUTATIONS = {
    "typo in a section": (with_("search:", "serach:"), "serach", "serach:", "unknown key"),
    "typo in a key": (with_("seeds: 2", "sedes: 2"), "search.sedes", "sedes:", "unknown key"),
    "wrong type": (with_("seeds: 2", "seeds: two"), "search.seeds", "seeds:", "integer"),
    "number as text": (with_("seeds: 2", 'seeds: "2"'), "search.seeds", "seeds:", "integer"),
    "fraction for a count": (with_("seeds: 2", "seeds: 2.5"), "search.seeds", "seeds:", "integer"),
    "truth for a number": (
        with_("smallest: 125", "smallest: true"), "shards.smallest", "smallest:", "number"),
    "negative": (
        with_("smallest: 125", "smallest: -125"), "shards.smallest", "smallest:", "greater"),
    "zero seeds": (with_("seeds: 2", "seeds: 0"), "search.seeds", "seeds:", "greater"),
    "NaN": (with_("smallest: 125", "smallest: .nan"), "shards.smallest", "smallest:", "finite"),
    "infinity": (
        with_("smallest: 125", "smallest: .inf"), "shards.smallest", "smallest:", "finite"),
    "a number too large for a float": (
        with_("smallest: 125", "smallest: 1e999"), "shards.smallest", "smallest:", "finite"),
    "NaN in a grid": (
        with_("[1e-3, 0.1]", "[.nan, 0.1]"),
        "search.hyperparameters.learning_rate.0", "learning_rate:", "finite"),
    "empty grid": (
        with_("[1e-3, 0.1]", "[]"),
        "search.hyperparameters.learning_rate", "learning_rate:", "at least 1 item"),
    "empty ladder": (with_("[2, 4, 8]", "[]"), "family.sizes", "sizes:", "at least 1 item"),
    "a size of zero": (with_("[2, 4, 8]", "[0, 4, 8]"), "family.sizes.0", "sizes:", "greater"),
    "descending ladder": (with_("[2, 4, 8]", "[8, 4, 2]"), "family.sizes", "sizes:", "ascend"),
    "a size twice": (with_("[2, 4, 8]", "[2, 4, 4]"), "family.sizes", "sizes:", "ascend"),
    "one size, not a list": (with_("[2, 4, 8]", "4"), "family.sizes", "sizes:", "list"),
    "duplicate key": (
        GOOD.replace("  seeds: 2\n", "  seeds: 2\n  seeds : 3\n"),
        "search.seeds", "seeds :", "given twice"),
    "unknown member": (
        with_("name: synthetic", "name: sythetic"),
        "trainer.name", "name: sythetic", "there are: "),
    "unknown domain": (
        with_("name: external", "name: movies"), "domain.name", "name: movies", "there are: "),
    "unknown family": (
        with_("name: none", "name: perceptron"), "family.name", "name: perceptron", "there are: "),
    "unknown planner": (
        with_("seeds: 2", "planner: oracle"), "search.planner", "planner:", "there are: "),
    "unknown executor": (
        GOOD + "run:\n  executor: cloud\n", "run.executor", "executor:", "there are: "),
    "unknown option of a member": (with_("a: 3.0", "aa: 3.0"), "trainer.aa", "aa:", "unknown key"),
    "bad option of a member": (with_("a: 3.0", "a: -3"), "trainer.a", "a:", "greater"),
    "missing option of a member": (
        with_("  items: 4000\n", ""), "domain.items", "name: external", "missing"),
    "option of a family without a name": (
        with_("name: none", "depth: 3"), "family.depth", "depth:", "unknown key"),
    "unknown hyperparameter": (
        with_("learning_rate:", "lr:"), "search.hyperparameters.lr", "lr:", "no hyperparameter of"),
    "hyperparameter both fixed and searched": (
        GOOD + "training:\n  learning_rate : 0.1\n",
        "training.learning_rate", "learning_rate :", "keep one"),
    "largest below smallest": (
        with_("largest: 2000", "largest: 100"), "shards.largest", "largest:", "smaller"),
    "a share above one": (
        with_("validation: 200", "validation: 1.5"), "split.validation", "validation:", "share"),
    "factor of one": (with_("largest: 2000", "factor: 1.0"), "shards.factor", "factor:", "greater"),
    "a list for a section": (
        with_("search:", "metric: error\nrun: [1, 2]\nsearch:"), "run", "run:", "mapping"),
    "a name that is no file name": (with_("letters", "../letters"), "study", "study:", "pattern"),
    "tag on a value": (with_("a: 3.0", "a: !!float 3.0"), "trainer.a", "a:", "tag"),
    "tag on a mapping": (
        with_("trainer:", "trainer: !!python/object:os.system"), "trainer", "trainer:", "tag"),
    "tag that runs code": (
        with_("letters", "!!python/object/apply:os.system [id]"), "study", "study:", "tag"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_one_mutation_one_problem_at_its_place(name: str) -> None:
    text, path, mark, words = MUTATIONS[name]
    found = problems(text)
    assert [p.path for p in found if words in p.message] == [path], found
    assert found[0].line is not None
    at = next(p for p in found if p.path == path and words in p.message)
    expected = line_of(text, mark)
    assert at.line in ({expected} if "missing" not in words else {expected, expected - 1})
    others = [p for p in found if p is not at and p.line == at.line]
    assert not others, f"one mistake told more than once: {found}"
    assert "Traceback" not in at.message
    assert "pydantic" not in at.message.lower()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mapping"),
        ("# nothing\n", "mapping"),
        ("- a\n- b\n", "mapping"),
        ("just words\n", "mapping"),
        ("study: [unclosed\n", "not YAML"),
        ("study: a\n  domain: b\n", "not YAML"),
        ("study: a\n---\nstudy: b\n", "not YAML"),
        ("\tstudy: a\n", "not YAML"),
        ("study: a\x00b\n", "not YAML"),
        ("a: &a [x]\nb: *a\n", "aliases"),
        ("a: " + "[" * 5000 + "]" * 5000, "not YAML"),
        ("study: " + "x" * 1_000_001, "larger than"),
        ("? [a, b]\n: c\n" + GOOD, "plain word"),
    ],
)
def test_what_is_no_spec_at_all(text: str, words: str) -> None:
    found = problems(text)
    assert words in str(found[0])


def test_an_alias_bomb_is_refused_where_it_starts() -> None:
    text = GOOD + "x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol]\n"
    for k in range(1, 30):
        text += f"x{k}: &x{k} [" + ", ".join([f"*x{k - 1}"] * 8) + "]\n"
    found = problems(text)
    assert len(found) == 1
    assert found[0].line == line_of(text, "x0:")


def test_several_errors_are_told_at_once_with_all_their_lines() -> None:
    text = (
        GOOD.replace("letters", "le/tters")
        .replace("seeds: 2", "seeds: -1")
        .replace("a: 3.0", "aa: 3.0")
        .replace("name: none", "name: perceptron")
        .replace("smallest: 125", "smallest: .nan")
        .replace("test: 0.1", "tset: 0.1")
        .replace("items: 4000", "items: many")
    )
    found = problems(text)
    assert {(p.path, p.line) for p in found} == {
        ("study", 1),
        ("domain.items", 4),
        ("family.name", 6),
        ("shards.smallest", 9),
        ("split.tset", 13),
        ("search.seeds", 15),
        ("trainer.aa", 20),
    }
    assert [p.line for p in found] == sorted(p.line or 0 for p in found)


def test_missing_sections_are_all_named() -> None:
    found = problems("study: x\n")
    assert {p.path for p in found} == {"domain", "family", "shards"}
    assert {p.message for p in found} == {"missing"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("12", 12),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("0x10", "0x10"),
        ("010", 10),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("~", None),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    values, _, found = yaml_reader.read(f"key: {text}\n")
    assert not found
    assert values["key"] == value
    assert type(values["key"]) is type(value)


# ---------------------------------------------------------------- files and the command line


@pytest.mark.parametrize("data", [b"\xff\xfe\x00\x01", b"\x89PNG\r\n\x1a\n\x00\x00", b""])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=r"spec\.yaml"):
        load(path)


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.yaml: spec: no such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        load(tmp_path)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says on the way out with code 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["steep", *arguments])
        with pytest.raises(SystemExit) as caught:
            app.main()
    said = capsys.readouterr()
    assert caught.value.code == 2, said.err
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_command_line_tells_all_and_writes_nothing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(GOOD.replace("seeds: 2", "seeds: x").replace("a: 3.0", "b: 1"))
    said = refused([command, "bad.yaml"], capsys)
    assert "bad.yaml: search.seeds (line 15): " in said
    assert "bad.yaml: trainer.b (line 20): unknown key" in said
    assert [p.name for p in tmp_path.iterdir()] == ["bad.yaml"]


FOUND_LATER = {
    "sizes larger than the data": (
        with_("largest: 2000", "largest: 1e6"), "shards.largest (line 10)", "holds"),
    "smallest larger than the data": (
        GOOD.replace("smallest: 125", "smallest: 9000").replace("  largest: 2000\n", ""),
        "shards.smallest (line 9)", "holds"),
    "all for validation": (
        with_("validation: 200", "validation: 4000"), "split.validation (line 12)", "leave"),
    "no validation": (
        with_("  validation: 200\n", ""), "split (line 11)|split.validation (line 11)",
        "validation"),
    "too many held out": (
        with_("largest: 2000", "held_out: 9"), "shards.held_out (line 10)", "fewer than 2"),
    "unknown metric": (GOOD + "metric: accuracy\n", "metric (line 21)", "there are: error"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND_LATER)
def test_what_only_the_data_can_tell_has_its_line_too(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    text, places, words = FOUND_LATER[name]
    monkeypatch.chdir(tmp_path)
    Path("late.yaml").write_text(text)
    for command in ("plan", "run"):
        said = refused([command, "late.yaml"], capsys)
        assert any(f"late.yaml: {place}: " in said for place in places.split("|")), said
        assert words in said
    assert [p.name for p in tmp_path.iterdir()] == ["late.yaml"]


def test_a_family_of_the_wrong_kind_has_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "study: x\ndomain:\n  name: characters\n  train: a.txt\nfamily:\n  name: resnet\n"
    text += "  sizes: [4]\nshards:\n  smallest: 100\nsplit:\n  validation: 0.2\n"
    Path("kind.yaml").write_text(text)
    Path("a.txt").write_text("\n\n".join(f"line {i} of a text about nothing" for i in range(99)))
    said = refused(["plan", "kind.yaml"], capsys)
    assert "kind.yaml: family.name (line 6): resnet is made for a classifier" in said


@pytest.mark.parametrize(("name", "data"), [("gone.txt", None), ("empty.txt", b"")])
def test_a_data_file_that_cannot_be_used_is_named(
    name: str,
    data: bytes | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    if data is not None:
        Path(name).write_bytes(data)
    text = f"study: x\ndomain:\n  name: characters\n  train: {name}\nfamily:\n  name: lstm\n"
    Path("s.yaml").write_text(text + "  sizes: [8, 16]\nshards:\n  smallest: 100\n")
    for command in ("plan", "run"):
        assert name in refused([command, "s.yaml"], capsys)


def test_a_truncated_image_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03\x00\x00\x00\x09\x00\x00")
    Path("t-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x02\x00\x01")
    text = "study: x\ndomain:\n  name: images\n  train: t-images-idx3-ubyte\nfamily:\n"
    Path("s.yaml").write_text(text + "  name: resnet\n  sizes: [8]\nshards:\n  smallest: 2\n")
    assert "t-images-idx3-ubyte" in refused(["plan", "s.yaml"], capsys)


# ---------------------------------------------------------------- specs from Python


def test_a_mapping_is_checked_like_a_file_but_has_no_lines() -> None:
    values = yaml.safe_load(GOOD)
    values["search"]["seeds"] = 0
    with pytest.raises(SpecError) as caught:
        from_values(values)
    assert [(p.path, p.line) for p in caught.value.problems] == [("search.seeds", None)]


def test_values_that_python_users_write_are_taken() -> None:
    values: dict[str, Any] = yaml.safe_load(GOOD)
    values["family"]["sizes"] = (np.int64(2), 4)
    values["shards"]["smallest"] = np.float64(125)
    values["search"]["hyperparameters"] = {"learning_rate": np.array([0.01, 0.1])}
    values["domain"]["labels"] = Path("labels.npy")
    values["domain"]["unit"] = "1e-3"  # text that looks like a number stays text
    spec = from_values(values).spec
    assert spec.family.sizes == (2, 4)
    assert spec.search.hyperparameters == {"learning_rate": (0.01, 0.1)}
    assert spec.domain.options == {"items": 4000, "labels": "labels.npy", "unit": "1e-3"}


def test_a_value_that_no_spec_can_hold_is_a_problem_not_a_crash() -> None:
    values: dict[str, Any] = yaml.safe_load(GOOD)
    values["trainer"] = {"name": "function", "function": print}
    with pytest.raises(SpecError, match=r"trainer\.function"):
        from_values(values)


def test_a_study_from_a_mapping_with_a_bad_metric_names_no_line() -> None:
    values: dict[str, Any] = yaml.safe_load(GOOD)
    values["metric"] = "accuracy"
    with pytest.raises(SpecError, match=r"^spec: metric: no metric of external named 'accuracy'"):
        Study(values).check()


# ---------------------------------------------------------------- changes


def changed(edit: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """(path, whether --extend may take it) of each change that ``edit`` makes to GOOD."""
    values = yaml.safe_load(GOOD)
    values["search"]["hyperparameters"] = {"learning_rate": [0.001, 0.1]}
    old = from_values(values).spec
    for path, value in edit.items():
        section, _, key = path.partition(".")
        values.setdefault(section, {})[key] = value
    return [(c.path, only_adds(c)) for c in changes(old, from_values(values).spec)]


def test_only_more_of_the_same_extends_a_study() -> None:
    assert changed({}) == []
    assert changed({"run.workers": 7}) == []
    assert changed({"family.sizes": [2, 4, 8, 16]}) == [("family.sizes", True)]
    assert changed({"family.sizes": [2, 4, 16]}) == [("family.sizes", False)]
    assert changed({"search.seeds": 3}) == [("search.seeds", True)]
    assert changed({"search.seeds": 1}) == [("search.seeds", False)]
    assert changed({"shards.largest": 3000}) == [("shards.largest", True)]
    assert changed({"shards.largest": None}) == [("shards.largest", True)]
    assert changed({"shards.largest": 1000}) == [("shards.largest", False)]
    assert changed({"shards.permutations": 2}) == [("shards.permutations", True)]
    assert changed({"shards.smallest": 100}) == [("shards.smallest", False)]
    assert changed({"shards.held_out": 1}) == [("shards.held_out", False)]
    assert changed({"trainer.a": 3.5}) == [("trainer.a", False)]
    assert changed({"search.until": {"flops": 1e9}}) == [("search.until", False)]
    assert changed({"domain.items": 5000}) == [("domain.items", True)]
    assert changed({"domain.items": 3000}) == [("domain.items", False)]
    rates = "search.hyperparameters"
    assert changed({rates: {"learning_rate": [0.001, 0.1, 1]}}) == [(rates, True)]
    assert changed({rates: {"learning_rate": [0.1]}}) == [(rates, False)]
    assert changed({rates: {}}) == [(rates, False)]


ALMOST = {
    "a section": (GOOD.replace("search:", "serch:"), "serch", "did you mean 'search'?"),
    "a key of a section": (GOOD.replace("smallest:", "smalest:"), "shards.smalest",
                           "did you mean 'smallest'?"),
    "a key two levels down": (GOOD.replace("search:", "search:\n  until: {flop: 1e9}", 1),
                              "search.until.flop", "did you mean 'flops'?"),
    "a key of a member's options": (GOOD.replace("name: external", "name: external\n  itms: 5", 1),
                                    "domain.itms", "did you mean 'items'?"),
    "sizes are the family's": (GOOD.replace("sizes:", "size:"), "family.size",
                               "did you mean 'sizes'?"),
    "another section's key": (GOOD + "seeds: 3\n", "seeds", "belongs under 'search'"),
    "a trainer": (GOOD.replace("name: synthetic", "name: sythetic"), "trainer.name",
                  "did you mean 'synthetic'?"),
    "an executor": (GOOD + "run: {executor: Locale}\n", "run.executor", "did you mean 'local'?"),
    "nothing like any": (GOOD + "run: {colour: red}\n", "run.colour", "there are: executor"),
}  # fmt: skip


@pytest.mark.parametrize("case", ALMOST)
def test_a_key_that_is_almost_right_is_corrected(case: str) -> None:
    text, path, said = ALMOST[case]
    with pytest.raises(SpecError) as error:
        parse(text)
    messages = {problem.path: problem.message for problem in error.value.problems}
    assert said in messages[path]


# ---------------------------------------------------------------- durations


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5 h", 5400)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "ten minutes", "-5m", "1..2h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)
    with pytest.raises(SpecError, match=r"run.budget.*no duration"):
        parse(f"{GOOD}run: {{budget: {text!r}}}\n", Path())


@pytest.mark.parametrize(
    ("old", "new", "adds"),
    [
        ({"flops": 1e9}, {"flops": 5e9}, True),
        ({"flops": 5e9}, {"flops": 1e9}, False),
        ({"flops": 1e9}, None, True),
        (None, {"flops": 1e9}, False),
        ({"forecast_interval": 0.2}, {"forecast_interval": 0.1}, True),
        ({"forecast_interval": 0.1}, {"forecast_interval": 0.2}, False),
        ({"forecast_interval": 0.1}, None, True),
    ],
)
def test_a_later_end_of_the_search_extends_a_study(
    old: dict[str, float] | None, new: dict[str, float] | None, adds: bool
) -> None:
    """A search with ``forecast_interval`` ends as soon as the forecast is so narrow."""
    assert only_adds(Change("search.until", old, new)) == adds


@pytest.mark.parametrize("planner", ["grid", "paper", "optuna"])
def test_a_planner_that_does_not_know_an_end_has_none_to_set(planner: str) -> None:
    values: dict[str, Any] = {
        "study": "s",
        "domain": {"name": "external", "items": 4000},
        "family": {"name": "none", "sizes": [2, 4]},
        "shards": {"smallest": 125},
        "search": {"planner": planner, "until": {"flops": 1e9}},
        "trainer": {"name": "synthetic"},
        "split": {"validation": 100},
    }
    study = Study(values)
    with pytest.raises(SpecError, match=rf"search\.until.*the planner {planner} does not know it"):
        study.check()
