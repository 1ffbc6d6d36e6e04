"""Python files of the user's own, loaded as modules."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def from_file(path: Path) -> Any:
    """The module in a file, loaded once; known to Python by a name that no other module has."""
    name = f"steep_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"no file {path}")
    search_also(path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look it up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def arguments_of(script: str) -> Iterator[None]:
    """The command line of ``script``, started without arguments: a script that reads its own must
    not be given steep's."""
    before, sys.argv = sys.argv, [script]
    try:
        yield
    finally:
        sys.argv = before


def search_also(folder: Path) -> None:
    """Let modules in ``folder`` be imported as if Python had been started there."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
