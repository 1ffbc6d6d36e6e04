"""The house rules of the design, enforced: who imports whom, who writes, who formats, how long."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import steep

PACKAGE = Path(steep.__file__).parent
ROOT = PACKAGE.parent.parent
FILES = sorted(PACKAGE.rglob("*.py"))
STAGES = {"plan.dry_run", "shards", "train", "select", "fit", "forecast", "questions.compare",
          "questions.diagnose", "cost.projection", "report", "questions.backtest"}  # fmt: skip
KNOW_THE_ORDER = {
    "study",
    "analysis",
    "plan.clock",
    "propose",
    "cli",
    "planners.frugal",
    "testing",
    "integrations.scikit_learn",
    "",
}
"""Modules and packages below steep; the last one is steep itself."""
TORCH_FREE = ["analysis", "base", "cli", "contracts", "cost", "data", "fit", "forecast", "laws",
              "planners", "present", "questions", "records", "report", "select", "shards", "spec",
              "stats", "store", "tables"]  # fmt: skip
MEMBERS = {
    "domains": "DOMAINS", "models": "FAMILIES", "trainers": "TRAINERS", "planners": "PLANNERS",
    "executors": "EXECUTORS", "laws": "LAWS", "data/sources": "SOURCES",
}  # fmt: skip
"""What can be added: the folder of its files, and the name of its table."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(["steep", *(parts[:-1] if parts[-1] == "__init__" else parts)])


MODULES = {name_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def short(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path, *, late: bool = True) -> set[str]:
    """Full names of what a module imports; without ``late``, at import time only. What only a
    type checker sees does not count."""
    found: set[str] = set()
    _collect(tree(path).body, late, found)
    return found


def _collect(body: list[ast.stmt], late: bool, found: set[str]) -> None:
    for node in body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            _collect(node.orelse, late, found)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if late:
                _collect(node.body, late, found)
        else:
            for part in ("body", "orelse", "finalbody"):
                _collect(getattr(node, part, []), late, found)
            for handler in getattr(node, "handlers", []):
                _collect(handler.body, late, found)


def reached(start: str, *, late: bool = False) -> set[str]:
    """Every module that importing ``start`` imports, ours followed."""
    found, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in MODULES:
            waiting += imports(MODULES[name], late=late)
            if "." in name:
                waiting.append(name.rpartition(".")[0])
    return found


def within(folder: str) -> list[str]:
    if not folder:
        return ["steep"]
    return [m for m in MODULES if m == f"steep.{folder}" or m.startswith(f"steep.{folder}.")]


# ---------------------------------------------------------------- imports


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stages_do_not_import_each_other(stage: str) -> None:
    others = {f"steep.{other}" for other in STAGES - {stage}}
    found = imports(MODULES[f"steep.{stage}"], late=True) & others
    assert not found, f"{stage} knows {sorted(found)}: only study, cli and what they call may"


def test_only_the_few_know_the_order_of_the_stages() -> None:
    stages = {f"steep.{stage}" for stage in STAGES}
    few = {name for part in KNOW_THE_ORDER | STAGES for name in within(part)}
    offenders = {
        name: sorted(found)
        for name, path in MODULES.items()
        if name not in few and len(found := imports(path) & stages) > 1
    }
    assert not offenders


@pytest.mark.parametrize("start", TORCH_FREE)
def test_what_must_not_import_torch_does_not(start: str) -> None:
    for name in within(start):
        found = {m for m in reached(name) if m.split(".")[0] in ("torch", "torchvision")}
        assert not found, f"{name} reaches {found}"


NEVER = ["base", "cost", "fit", "forecast", "laws", "present", "questions", "records", "report",
         "select", "stats", "tables"]  # fmt: skip


@pytest.mark.parametrize("start", NEVER)
def test_not_even_inside_a_function(start: str) -> None:
    for name in within(start):
        found = {m for m in reached(name, late=True) if m.split(".")[0] == "torch"}
        assert not found, f"{name} may come to import {found}"


def run(code: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=120,
        check=False, env=os.environ | {"PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_nor_at_run_time() -> None:
    names = [name for start in TORCH_FREE for name in within(start)]
    names = [n for n in names if not n.endswith("plots")]  # imports matplotlib, an extra, if asked
    code = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    assert "torch" not in run(code + "print(*(m for m in sys.modules if m == 'torch'))")


def test_importing_steep_is_quick_and_light() -> None:
    code = (
        "import sys, time; start = time.process_time()\n"
        "import steep\n"
        "print(time.process_time() - start, *sorted({m.split('.')[0] for m in sys.modules}))"
    )
    took, *loaded = run(code).split()
    assert not {"numpy", "pandas", "scipy", "torch", "pydantic", "yaml"} & set(loaded)
    assert float(took) < 0.3


def test_public_names_are_what_they_say() -> None:
    for name in steep.__all__:
        assert callable(getattr(steep, name)), name
    importlib.import_module("steep.fit")
    importlib.import_module("steep.report")
    assert callable(steep.fit)
    assert callable(steep.report)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = steep.nonsense


# ---------------------------------------------------------------- shapes of the code

MAY_BE_SUBCLASSED = {
    # framework bases that are made for it
    "Strict", "BaseModel", "Member", "Module", "Function", "Protocol", "NamedTuple", "Enum",
    "StrEnum", "IntEnum", "ModuleType", "SafeDumper", "SafeLoader", "ABC", "Generic", "TypedDict",
    "HTMLParser", "Handler", "Formatter", "TorchDispatchMode", "TyperCommand", "Sequence",
    "TrainerCallback", "Callback",
}  # fmt: skip


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                yield path, node


def test_nothing_concrete_is_subclassed() -> None:
    errors = {"Exception", "ValueError", "RuntimeError", "ImportError", "BaseException"}
    ours = {node.name: [ast.unparse(b).split(".")[-1] for b in node.bases] for _, node in classes()}

    def is_error(name: str) -> bool:
        return name in errors or any(is_error(base) for base in ours.get(name, []))

    offenders = [
        f"{short(path)}: {node.name}({ast.unparse(base)})"
        for path, node in classes()
        for base in node.bases
        if (name := ast.unparse(base).split("[")[0].split(".")[-1]) not in MAY_BE_SUBCLASSED
        and not is_error(name)
    ]
    assert not offenders


NOT_MEMBERS = {"__init__", "law", "none"}
"""Files beside the members. Other helpers are named by what imports them."""


@pytest.mark.parametrize("folder", sorted(MEMBERS))
def test_a_member_is_a_file_and_a_line(folder: str) -> None:
    place = PACKAGE / ("laws/__init__.py" if folder == "laws" else "base/registry.py")
    (table,) = [
        node.value for node in tree(place).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        and ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        == MEMBERS[folder]
    ]  # fmt: skip
    assert isinstance(table, ast.Dict), "a literal, not computed"
    listed = ast.unparse(table)
    package = f"steep.{folder.replace('/', '.')}"
    members = {p.stem for p in (PACKAGE / folder).glob("*.py")} - NOT_MEMBERS
    helpers = {
        stem
        for stem in members
        if any(f"{package}.{stem}" in imports(p) for p in FILES if p != place)
    }
    for stem in members - helpers:
        assert re.search(rf"\b{stem}\b", listed), f"{folder}/{stem}.py has no line in {place.name}"
    for value in table.values:
        if isinstance(value, ast.Constant):
            assert value.value in MODULES, f"no module {value.value}"


WRITES = {"write_text", "write_bytes", "mkdir", "unlink", "rename", "replace", "rmtree", "rmdir",
          "to_csv", "savez", "savez_compressed", "touch", "makedirs"}  # fmt: skip
MAY_WRITE = {
    # into a study folder: the store and its parts
    "store/store.py", "store/folder.py", "store/recovery.py", "store/database.py", "store/lease.py",
    # the folder in it through which workers on other machines speak
    "executors/mailbox.py", "executors/ray_process.py",
    # files that the user asked for by name
    "cli/app.py", "cli/reports.py", "present/plots.py",
    # into the folder that 'steep data get' is given
    "data/sources/get.py", "data/sources/packages.py", "data/sources/apt.py",
    "data/sources/writing.py", "data/sources/speech.py", "data/sources/fashion_mnist.py",
    "data/sources/imagenet.py",
    # caches of compiled code, features and times, outside of studies; a side log of the rehearsals
    "engine/compiled.py", "domains/audio.py", "plan/timings.py", "trainers/synthetic.py",
    # the temporary folder of a trial that is tested without a study
    "testing/__init__.py",
}  # fmt: skip


def writes(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        text = ast.unparse(node)
        if name in WRITES and isinstance(called, ast.Attribute):
            on = ast.unparse(called.value)
            is_text = name == "replace" and (on != "os" and len(node.args) == 2)
            in_memory = name == "to_csv" and not (node.args and "path" in ast.unparse(node.args[0]))
            if not is_text and not in_memory and "buffer" not in text and on != "self":
                yield f"{short(path)}:{node.lineno}: {text[:60]}"
        modes = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
        modes += [k.value.value for k in node.keywords
                  if k.arg == "mode" and isinstance(k.value, ast.Constant)]  # fmt: skip
        if name == "open" and any(
            isinstance(m, str) and re.match(r"[wax]b?\+?$|r\+", m) for m in modes
        ):
            yield f"{short(path)}:{node.lineno}: {text[:60]}"


def test_only_the_store_writes_into_a_study() -> None:
    offenders = [w for p in FILES if short(p) not in MAY_WRITE for w in writes(p)]
    assert not offenders


MAY_FORMAT = {
    "propose.py": "writes numbers into a spec, not for show",
    "planners/grid.py": "rounds a learning rate to two digits",
}


def number_formats(path: Path) -> Iterator[str]:
    """Format specs that turn a float into text: precision or one of e, f, g, %."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            spec = "".join(
                str(v.value) for v in ast.walk(node.format_spec) if isinstance(v, ast.Constant)
            )
            if spec != "g" and re.search(r"[.,_]\d*|[eEfFgG%]$", spec):
                yield f"{short(path)}:{node.lineno}: {spec}"
        if (
            isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod)
            and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
        ):  # fmt: skip
            yield f"{short(path)}:{node.lineno}: {node.left.value!r} %"


def test_only_present_formats_numbers() -> None:
    """Elsewhere a number in a message stands as Python writes it; a setting that is quoted may
    lose its '.0' (a bare ``:g``), but no digits are chosen."""
    offenders = [
        found
        for path in FILES
        if path.parent.name != "present" and short(path) not in MAY_FORMAT
        for found in number_formats(path)
    ]
    assert not offenders


def test_no_code_parses_an_id() -> None:
    """``trial.id`` is compared and stored; nothing takes it apart."""
    methods = {"split", "partition", "rpartition", "startswith", "endswith", "index", "find"}
    offenders = []
    for path in FILES:
        for node in ast.walk(tree(path)):
            inner = None
            if isinstance(node, ast.Subscript) or getattr(node, "attr", None) in methods:
                inner = node.value
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "int" and node.args:
                inner = node.args[0]
            if isinstance(inner, ast.Attribute) and inner.attr == "id":
                offenders.append(f"{short(path)}:{node.lineno}")
    assert not offenders


LONGEST = 650
"""A smell detector, not a goal."""


def test_no_file_is_long() -> None:
    lengths = {short(p): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert not {name: n for name, n in lengths.items() if n > LONGEST}


def test_functions_fit_on_a_screen() -> None:
    tall = {
        f"{short(path)}:{node.name}": height(node)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and height(node) > 60
    }
    assert not tall


def height(node: ast.FunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports a test file by its bare name: the second of two ends the suite."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_modules_say_what_they_are() -> None:
    silent = [short(p) for p in FILES if p.read_text().strip() and not ast.get_docstring(tree(p))]
    assert not silent


# ---------------------------------------------------------------- the tree


def test_no_place_of_one_machine_is_in_the_tree() -> None:
    """No home or working folder of whoever wrote it, no address of a private package index."""
    home = r"/(?:home|Users|work|root)/\w+"
    index = r"index[-_]url|https?://(?:\d+\.){3}\d+|https?://localhost:\d{4,5}/simple"
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    offenders = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".gz", ".png", ".npz", ".svg"} or not path.is_file():
            continue
        if path == Path(__file__) or path.stat().st_size > 2_000_000:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(f"{home}|{index}", line):
                offenders.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not offenders
