"""Digests of a user's training code: what changes them, and what does not."""

from __future__ import annotations

import json
import linecache
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep import Study
from steep.records import Status
from steep.spec.load import SpecError
from steep.store.folder import StoreError
from steep.trainers.fingerprint import UNKNOWN, VERSION, changed, code_of, edited, unknown
from steep.trainers.function import find


def notebook(text: str, name: str = "train") -> Any:
    """What cells of a notebook define: code without a file."""
    names: dict[str, Any] = {"__name__": "__main__", "np": np, "math": math}
    file = f"<cell {hash(text)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # as IPython does
    exec(compile(text, file, "exec"), names)
    return names[name]


def differ(one: Any, other: Any) -> dict[str, str]:
    here = Path.cwd()
    return changed(code_of(one, here), code_of(other, here))


PLAIN = """
RATE = 0.3
SETTINGS = {"a": [1, 2], "b": (3.0, "x")}
TABLE = np.arange(5)
calls = []
count = 0

def helper(n):
    return 0.9 * n ** -RATE

class Model:
    depth = 2
    def error(self, n):
        return helper(n) * self.depth

def train(shard, size, seed, steps=10):
    global count
    count += 1
    calls.append(size)
    return Model().error(len(shard.train)) + SETTINGS["a"][0] + TABLE.sum() + math.sin(size)
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("0.9 * n", "0.5 * n", "helper"),
        ("RATE = 0.3", "RATE = 0.1", "RATE"),
        ('"a": [1, 2]', '"a": [1, 3]', "SETTINGS"),
        ("np.arange(5)", "np.arange(6)", "TABLE"),
        ("depth = 2", "depth = 3", "Model.depth"),
        ("* self.depth", "+ self.depth", "Model.error"),
        ("steps=10", "steps=20", "train: steps"),
        ("math.sin(size)", "math.cos(size)", "train"),
        ("seed, steps", "other, steps", "train"),
    ],
)
def test_a_change_of_whatever_a_notebooks_function_uses_is_named(
    old: str, new: str, told: str
) -> None:
    assert old in PLAIN
    assert differ(notebook(PLAIN), notebook(PLAIN.replace(old, new))) == {told: "changed"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    global count\n", "    # of calls\n\n    global count\n"),
        ("def helper(n):\n", 'def helper(n):\n    """0.9 of a power."""\n'),
        ("count = 0", "count = 7"),  # the code itself changes it
        ("calls = []", "calls = [3]"),
        ("RATE = 0.3", "UNUSED = 3\nRATE = 0.3"),
    ],
)
def test_what_changes_nothing_is_not_told(old: str, new: str) -> None:
    assert old in PLAIN
    assert differ(notebook(PLAIN), notebook(PLAIN.replace(old, new))) == {}


def test_values_that_a_function_carries_count() -> None:
    def made(rate: float, seen: list[int]) -> Callable[..., float]:
        def train(shard: Any, size: int, seed: int) -> float:
            seen.append(size)
            return rate

        return train

    assert differ(made(0.1, []), made(0.1, [4])) == {}
    assert differ(made(0.1, []), made(0.2, [])) == {"train: rate": "changed"}


def test_partials_methods_and_instances_are_followed() -> None:
    from functools import partial

    text = """
class Own:
    def __init__(self, rate):
        self.rate, self.calls = rate, 0
    def __call__(self, shard, size, seed):
        self.calls += 1
        return self.rate
    def fit(self, shard, size, seed):
        return self.rate
"""
    kind = notebook(text, "Own")
    one, same, other = kind(0.1), kind(0.1), kind(0.2)
    one(None, 1, 0)
    assert differ(one, same) == {}
    assert list(differ(one, other)) == ["Own: rate"]
    assert list(differ(one.fit, other.fit)) == ["Own: rate"]
    changed_class = notebook(text.replace("return self.rate", "return 2 * self.rate"), "Own")
    assert set(differ(one, changed_class(0.1))) == {"Own.__call__", "Own.fit"}
    train = notebook(PLAIN)
    assert differ(partial(train, steps=3), partial(train, steps=4)) == {"train: steps": "changed"}


def test_what_cannot_be_known_is_unknown_and_equal() -> None:
    builtin = code_of(math.hypot, Path.cwd())
    assert unknown(builtin) == ["hypot"]
    text = "G = np.random.default_rng(0)\ndef train(shard, size, seed):\n    return G.random()"
    found = code_of(notebook(text), Path.cwd())
    assert found["G"] == UNKNOWN
    assert differ(notebook(text), notebook(text)) == {}


def test_another_version_of_python_compares_files_only() -> None:
    old = {VERSION: "3.10", "train": "a", "mine.py": "b"}
    assert changed(old, old | {VERSION: "3.11", "train": "z"}) == {}
    assert changed(old, old | {VERSION: "3.11", "mine.py": "z"}) == {"mine.py": "changed"}
    assert changed({}, old) == {}  # begun by a version that kept none


# ---------------------------------------------------------------- files

MINE = """\
'''My training code.'''
import os, numpy
from deep.inner import factor

def train(shard, size, seed):
    from lazy_{tag} import late
    command = "bash script.sh --fast"
    return factor(size) + late()

if __name__ == "__main__":
    print("only as a script")
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own modules, as a study sees it in a fresh process each time."""
    tag = tmp_path.name.replace("-", "_")
    (tmp_path / "mine.py").write_text(MINE.format(tag=tag))
    (tmp_path / f"lazy_{tag}.py").write_text("def late():\n    return 1\n")
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    (tmp_path / "script.sh").write_text("echo 1\n")
    package = tmp_path / "deep"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("from . import most\ndef factor(n):\n    return most.f(n)\n")
    (package / "most.py").write_text("def f(n):\n    return 0.9 * n\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def fresh(folder: Path) -> dict[str, str]:
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    return code_of(find("mine.py:train", folder), folder)


def test_files_that_are_imported_from_anywhere_in_a_file_are_followed(files: Path) -> None:
    before = fresh(files)
    lazy = next(p.name for p in files.glob("lazy_*.py"))
    names = {"mine.py", "deep/__init__.py", "deep/inner.py", "deep/most.py", lazy, "script.sh"}
    assert set(before) == {VERSION, *names}
    for name in sorted(names - {"deep/__init__.py"}):
        path = files / name
        text = path.read_text()
        path.write_text(
            text.replace("1", "2")
            .replace("0.9", "0.5")
            .replace("factor(s", "-factor(s")
            .replace("most.f(n)", "-most.f(n)")
        )
        assert path.read_text() != text
        assert changed(before, fresh(files)) == {name: "changed"}
        path.write_text(text)
    assert changed(before, fresh(files)) == {}


def test_comments_docstrings_layout_and_the_scripts_own_part_do_not_count(files: Path) -> None:
    before = fresh(files)
    path = files / "mine.py"
    text = path.read_text().replace("My training code", "Mine").replace("only as", "run as")
    path.write_text(text.replace("    command", "    # what is run\n    command"))
    assert changed(before, fresh(files)) == {}


def test_a_file_that_was_edited_after_its_import_is_noticed(files: Path) -> None:
    function = find("mine.py:train", files)
    assert edited(function) is None
    path = files / "mine.py"
    path.write_text(path.read_text().replace("factor(size)", "2 * factor(size)"))
    assert edited(function) == path


# ---------------------------------------------------------------- a study

SPEC = {
    "study": "own",
    "domain": {"name": "external", "items": 1000},
    "family": {"sizes": [2]},
    "shards": {"smallest": 100, "largest": 400},
    "split": {"validation": 100},
    "search": {"planner": "grid", "seeds": 1, "extend": 0},
}
CELL = "def train(shard, size, seed):\n    return 0.9 * len(shard.train) ** -0.3\n"


def test_a_study_refuses_other_code_before_any_work_and_says_which(tmp_path: Path) -> None:
    study = Study(SPEC, tmp_path / "study", trainer=notebook(CELL))
    study.run()
    before = study.results()
    again = Study(SPEC, tmp_path / "study", trainer=notebook(CELL.replace("0.9", "0.5")))
    for extend in (False, True):
        with pytest.raises(SpecError, match=r"other training code[^:]*new folder[^\n]*train: chan"):
            again.run(extend=extend)
    assert study.results().equals(before)
    assert Study(SPEC, tmp_path / "study", trainer=notebook(CELL)).run().ran == 0
    assert len(Study.open(tmp_path / "study").analyse().best_fits) == 3  # reading needs no code


def test_code_that_cannot_be_known_is_said_once(tmp_path: Path) -> None:
    text = "G = np.random.default_rng(0)\n" + CELL.replace("0.9", "(0.9 + 0 * G.random())")
    said: list[Any] = []
    study = Study(SPEC, tmp_path / "study", trainer=notebook(text))
    study.run(observe=said.append)
    study.run(observe=said.append)
    notes = [e.payload["text"] for e in said if e.kind == "note"]
    assert len(notes) == 1
    assert "The content of G cannot be compared" in notes[0]


def test_a_study_begun_by_a_version_without_digests_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Study, "code", {})
        Study(SPEC, tmp_path / "study", trainer=notebook(CELL)).run()
    assert "code:" not in (tmp_path / "study" / "study.yaml").read_text()
    Study(SPEC, tmp_path / "study", trainer=notebook(CELL)).run()
    with pytest.raises(SpecError, match="other training code"):
        Study(SPEC, tmp_path / "study", trainer=notebook(CELL.replace("0.9", "0.5"))).run()


def test_code_that_changes_while_a_study_runs_ends_it(tmp_path: Path) -> None:
    """What a worker would run is compared, too; what had finished stays, and goes on when the code
    is back."""
    code = tmp_path / "mine.py"
    text = (
        "from pathlib import Path\n"
        "def train(shard, size, seed):\n"
        "    if len(shard.train) == 200:\n"
        "        path = Path(__file__)\n"
        "        path.write_text(path.read_text().replace('0.9', '0.5'))\n"
        "    return 0.9 * len(shard.train) ** -0.3\n"
    )
    code.write_text(text)
    spec = tmp_path / "spec.yaml"
    values = SPEC | {
        "trainer": {"name": "function", "function": "mine.py:train"},
        "run": {"workers": 1},
    }
    spec.write_text(json.dumps(values))
    with pytest.raises(StoreError, match=r"changed while the study ran \(mine.py is changed\)"):
        Study(spec, tmp_path / "study").run()
    study = Study.open(tmp_path / "study")
    done = [m for m in study.measurements() if m.status == Status.COMPLETE]
    assert done
    assert all(m.validation_error == 0.9 * m.trial.samples**-0.3 for m in done)
    with study.store() as store:
        assert not [store.failures(row.trial.id) for row in store.rows() if row.attempts > 1]
