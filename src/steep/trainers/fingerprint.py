"""Which code a study's own function runs, as digests: it must not change under a begun study.

``code_of(function, base)`` follows a function to all of the user's own code that it uses:

- a function or class of a file (a module, not the script that was started): that whole file, with
  its ``if __name__ == "__main__"`` part left out, and the user's files that it imports, wherever in
  it; scripts (.py, .sh) that are named in a text of it;
- one of the script that was started, or of a notebook: its bytecode, and the functions, classes
  and plain values (numbers, texts, lists and mappings of them, arrays) that it uses;
- of a closure, a partial, a method or an instance: the values that it carries, too.

Comments, docstrings and layout count for nothing, and neither does what the code itself changes
while it runs (a list of calls, a counter). The standard library, installed packages and steep are
not followed. What cannot be known (compiled code, objects of other libraries) is 'unknown'.
"""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import importlib.util
import inspect
import logging
import re
import shlex
import site
import sys
import sysconfig
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from importlib.machinery import PathFinder, SourceFileLoader
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np

UNKNOWN = "unknown"
"""In place of a digest: whether it changes is unknown."""
VERSION = "Python"
"""The key of the version whose bytecode was digested."""
LARGEST_ARRAY = 1 << 28
"""Bytes of an array that is still read for its digest."""
_MUTATORS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear",
             "remove", "discard", "appendleft", "sort", "reverse", "put", "write"}  # fmt: skip
_SCRIPT = re.compile(r"[^\s'\"]+\.(?:py|sh)\b")


def code_of(function: Callable[..., Any], base: Path) -> dict[str, str]:
    """Digests (SHA-256, or ``UNKNOWN``) of all the code of the user's own that ``function`` uses,
    by what it is called; files relative to ``base``."""
    walk = _Walk(base.resolve())
    walk.follow(_named(function), function, _named(function))
    if not walk.found:
        walk.found[_named(function)] = UNKNOWN
    version = ".".join(map(str, sys.version_info[:2]))
    return {VERSION: version} | dict(sorted(walk.settled().items()))


def code_of_command(command: str, base: Path) -> dict[str, str]:
    """The same of a command line: the files of the user's that it names (train.py, run.sh, a
    configuration), the modules after ``-m``, and what those import; {} where it names none."""
    walk = _Walk(base.resolve())
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote, say: the shell will report it
        words = command.split()
    for before, word in pairwise(["", *words]):
        place = base / word
        if before == "-m":
            for path in _import(word, base.resolve() / "__command__.py"):
                walk._file(path, started=True)
        elif "{" not in word and _is_script(place):
            walk._file(place.resolve(), started=True)
        elif len(word.split()) > 1:  # sh -c '...'
            walk._scripts(word, base)
    return dict(sorted(walk.found.items()))


def code_of_files(paths: Sequence[Path], base: Path) -> dict[str, str]:
    """The same of modules of the user's own, and of what they import."""
    walk = _Walk(base.resolve())
    for path in paths:
        walk._file(path)
    return dict(sorted(walk.found.items()))


LARGEST_SCRIPT = 1 << 20
"""Bytes of a file that counts as code where a command names it; a larger one is data."""


def _is_script(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= LARGEST_SCRIPT
    except (OSError, ValueError):
        return False


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What differs, by name: 'changed', 'new' or 'gone'. {} where ``before`` was never recorded.

    Bytecode of another version of Python cannot be compared: then only files are."""
    if not before:
        return {}
    names = (set(before) | set(now)) - {VERSION}
    if before.get(VERSION) != now.get(VERSION):
        names = {n for n in names if n.endswith((".py", ".sh"))}
    words = {}
    for name in sorted(names):
        if before.get(name) != now.get(name):
            words[name] = "new" if name not in before else "gone" if name not in now else "changed"
    return words


def edited(function: Callable[..., Any]) -> Path | None:
    """The file that ``function`` was imported from, where it says something else by now: what
    would run is not what is written. None where it does not, or that is unknown."""
    inner = inspect.unwrap(function) if hasattr(function, "__wrapped__") else function
    if not isinstance(inner, types.FunctionType) or (file := _module_file(inner)) is None:
        return None
    if type(getattr(sys.modules.get(inner.__module__), "__loader__", None)) is not SourceFileLoader:
        return None
    try:
        written = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return file
    same = [code for code in _codes(written) if code.co_qualname == inner.__code__.co_qualname]
    mine = _bytecode(inner.__code__)
    return None if not same or any(_bytecode(code) == mine for code in same) else file


def unknown(code: Mapping[str, str]) -> list[str]:
    """The names of what cannot be compared."""
    return [name for name, digest in code.items() if digest == UNKNOWN]


def _named(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


class _Walk:
    """What was found so far; values are settled last, when it is known which of them change."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.found: dict[str, str] = {}
        self._values: list[tuple[str, str, Any]] = []
        self._seen: dict[int, Any] = {}
        self._files: set[Path] = set()
        self._changing: set[str] = set()

    def settled(self) -> dict[str, str]:
        values = {
            label: UNKNOWN if (text := plain(value)) is None else _digest(text)
            for label, name, value in self._values
            if name not in self._changing
        }
        return values | self.found

    def follow(self, label: str, value: Any, name: str = "") -> None:
        """Any object that the function, or something it uses, refers to as ``name``."""
        if not isinstance(value, _SCALARS):
            if id(value) in self._seen:
                return
            self._seen[id(value)] = value  # kept, so that no other object gets its id
        inner = getattr(value, "__wrapped__", None) or getattr(value, "py_func", None)
        if isinstance(value, types.FunctionType) and _is_own(value.__code__.co_filename):
            self._function(label, value)
        elif isinstance(value, functools.partial):
            self.follow(label, value.func)
            given = {f"argument {i + 1}": one for i, one in enumerate(value.args)}
            for key, one in (given | value.keywords).items():
                self.follow(f"{label}: {key}", one, key)
        elif inspect.ismethod(value):
            self.follow(label, value.__func__)
            self.follow(label.rpartition(".")[0] or label, value.__self__)
        elif callable(inner):  # wrapped by a library
            self.follow(label, inner)
        elif isinstance(value, types.ModuleType):
            self._file(_source(value))
        elif inspect.isclass(value):
            self._class(value)
        elif callable(value) and isinstance(getattr(value, "__name__", None), str):
            return  # a function of a library, or built in
        elif plain(value) is None and _is_own_class(type(value)):
            self._instance(label, value)
        elif not isinstance(value, logging.Logger):
            self._values.append((label, name or label, value))

    # ------------------------------------------------------------ code

    def _function(self, label: str, function: types.FunctionType) -> None:
        code, file = function.__code__, _module_file(function)
        if file is not None:
            self._file(file)
        else:
            self.found[label] = _digest(_bytecode(code))
            self._used(code, function.__globals__)
        if function.__name__ not in _MAKERS:
            self._changing |= _changing(function)
        if file is None or "<locals>" in function.__qualname__:
            for name, parameter in inspect.signature(function).parameters.items():
                if parameter.default is not parameter.empty:
                    self.follow(f"{label}: {name}", parameter.default, name)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not yet bound
                self.follow(f"{label}: {name}", cell.cell_contents, name)

    def _used(self, code: types.CodeType, names: Mapping[str, Any]) -> None:
        """What the code of a script or notebook loads by name, and the modules it imports."""
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name in names:
                self.follow(name, names[name])
            elif instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                self._changing.add(name)
            elif instruction.opname == "IMPORT_NAME":
                for path in _import(str(name)):
                    self._file(path)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._used(constant, names)
            elif isinstance(constant, str):
                self._scripts(constant, Path.cwd())

    def _class(self, kind: type) -> None:
        if not _is_own_class(kind):
            return
        file = _source(sys.modules.get(kind.__module__))
        if file is not None and kind.__module__ != "__main__":
            self._file(file)
            if "<locals>" not in kind.__qualname__:
                return
        for base in kind.__bases__:
            self.follow(base.__qualname__, base)
        for name, value in vars(kind).items():
            inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            if isinstance(inner, types.FunctionType) or not name.startswith("__"):
                self.follow(f"{kind.__qualname__}.{name}", inner, name)

    def _instance(self, label: str, value: Any) -> None:
        """An object of a class of the user's own: the class, and what the object holds, but for
        what its methods set."""
        kind = type(value)
        self._class(kind)
        for one in kind.__mro__:
            for name, method in vars(one).items():
                if isinstance(method, types.FunctionType) and name not in _MAKERS:
                    self._changing |= _changing(method)
        for name, held in getattr(value, "__dict__", {}).items():
            self.follow(f"{label}: {name}", held, name)

    # ------------------------------------------------------------ files

    def _file(self, path: Path | None, started: bool = False) -> None:
        """A file of the user's own, and those that it imports or names. ``started``: what it does
        as a script counts, too."""
        if path is None or path in self._files or not _is_own(str(path)):
            return
        self._files.add(path)
        try:
            data = path.read_bytes()
        except OSError:
            return
        label = _label(path, self.base)
        try:
            tree = _stripped(ast.parse(data), started)
        except (SyntaxError, ValueError):  # another language, or compiled
            self.found[label] = hashlib.sha256(data).hexdigest()
            return
        self.found[label] = _digest(ast.unparse(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._files_of(alias.name, path, 0)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    inner = ".".join(filter(None, (node.module, alias.name)))
                    self._files_of(inner, path, node.level)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                self._scripts(node.value, path.parent)

    def _files_of(self, name: str, importer: Path, level: int) -> None:
        for path in _import(name, importer, level):
            self._file(path)

    def _scripts(self, text: str, folder: Path) -> None:
        """Scripts that a text names, such as the command 'bash train.sh --fast'."""
        for name in _SCRIPT.findall(text) if len(text) < 1000 else ():
            for place in (folder, self.base):
                path = place / name
                if path.is_file():
                    self._file(path.resolve())
                    break


_SCALARS = (int, float, complex, str, bytes, type(None))
_MAKERS = ("__init__", "__post_init__", "__new__", "__setstate__")


# ---------------------------------------------------------------- code as text


def _bytecode(code: types.CodeType) -> str:
    """What code does, without its docstring, line numbers and names of files."""
    parts = [str(code.co_argcount), str(code.co_kwonlyargcount), str(code.co_flags & 0x0F)]
    parts += code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        operand = _bytecode(value) if isinstance(value, types.CodeType) else _constant(value)
        if instruction.opname in ("RESUME", "NOP"):
            continue
        parts.append(f"{instruction.opname} {operand}")
    return "\n".join(parts)


def _constant(value: Any) -> str:
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(repr, value))})"
    return repr(value)


def _stripped(tree: ast.Module, started: bool = False) -> ast.Module:
    """Without docstrings and, unless it is ``started``, without what runs only as a script."""
    tree.body = [node for node in tree.body if started or not _is_main_guard(node)]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        scope = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(node, scope) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]
    return tree


def _is_text(node: ast.stmt) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant and isinstance(node.value.value, str)  # type: ignore[attr-defined]


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).replace('"', "'") in (
        "__name__ == '__main__'",
        "'__main__' == __name__",
    )


def _changing(function: types.FunctionType) -> set[str]:
    """Names of variables and attributes that a function sets or changes from inside."""
    code = function.__code__
    found = {
        str(i.argval)
        for inner in _codes(code)
        for i in dis.get_instructions(inner)
        if i.opname in ("STORE_GLOBAL", "STORE_ATTR")
        or (i.opname == "STORE_DEREF" and i.argval in code.co_freevars)
    }
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            found |= _name(node.value)
        elif isinstance(node, ast.AugAssign):
            found |= _name(node.target)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found |= _name(node.func.value) if node.func.attr in _MUTATORS else set()
    return found


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all that are defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _name(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        return {node.id}
    return {node.attr} if isinstance(node, ast.Attribute) else set()


# ---------------------------------------------------------------- values as text


def plain(value: Any, depth: int = 0) -> str | None:
    """A value as text that is equal for equal values; None for what has no such text."""
    if depth > 20:
        return None
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | range):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, PurePath):
        return f"path {value}"
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject or array.nbytes > LARGEST_ARRAY:
            return None
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return f"array {array.dtype.str} {array.shape} {digest}"
    inner: list[str | None]
    if isinstance(value, tuple | list):
        inner = [plain(one, depth + 1) for one in value]
    elif isinstance(value, set | frozenset):
        inner = [plain(one, depth + 1) for one in value]
        inner = inner if None in inner else [*sorted(map(str, inner))]
    elif isinstance(value, dict):
        inner = [plain(pair, depth + 1) for pair in value.items()]
    else:
        return None
    return None if None in inner else f"{type(value).__name__} [{', '.join(map(str, inner))}]"


# ---------------------------------------------------------------- whose code


@functools.cache
def _libraries() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = {sysconfig.get_path(name) for name in names} | set(site.getsitepackages())
    return (*(Path(p).resolve() for p in places if p), Path(__file__).resolve().parents[1])


def _is_own(file: str) -> bool:
    """Whether code of this file is the user's: not the standard library's, an installed package's
    or steep's."""
    if file.startswith("<frozen"):
        return False
    if file.startswith("<"):  # a notebook, or text that was executed
        return True
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(library) for library in _libraries())


def _is_own_class(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return kind.__module__ == "__main__" or (file is not None and _is_own(file))


def _source(module: types.ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()


def _module_file(function: types.FunctionType) -> Path | None:
    """The file that the function's module was imported from; None for the script that was started,
    a notebook or executed text."""
    file = function.__code__.co_filename
    if function.__module__ == "__main__" or file.startswith("<"):
        return None
    path = Path(file).resolve()
    return path if path.is_file() else None


def _label(path: Path, base: Path) -> str:
    if path.is_relative_to(base):
        return path.relative_to(base).as_posix()
    return "/".join(path.parts[-2:])


def _import(name: str, importer: Path | None = None, level: int = 0) -> list[Path]:
    """Files of ``name`` and of the packages around it, as far as they can be found without
    importing any."""
    where: list[str] | None = None
    if level and importer is not None:
        where = [str(importer.parents[level - 1])]
    elif importer is not None:
        where = [str(importer.parent), *sys.path]
    found: list[Path] = []
    full = ""
    for part in name.split("."):
        full = f"{full}.{part}" if full else part
        try:
            spec = PathFinder.find_spec(part if where is not None else full, where)
            if spec is None and not found and not level:
                spec = importlib.util.find_spec(part)
        except (ImportError, ValueError, AttributeError):
            return found
        if spec is None:
            return found
        if spec.origin is not None and spec.has_location:
            if not _is_own(spec.origin):
                return found
            found.append(Path(spec.origin).resolve())
        if spec.submodule_search_locations is None:
            return found
        where = list(spec.submodule_search_locations)
    return found
