"""The meta device, where models have shapes and no values: they are counted there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"


@contextmanager
def meta() -> Iterator[None]:
    """``torch.device("meta")`` for the block.

    What torch works out in Python there is marked as not to be compiled, and the mark imports the
    compiler: 820 modules, 1.4 s of a process that compiles nothing. Inside the block a stand-in
    knows the mark alone; whoever asks it for more gets the real one."""
    if _COMPILER in sys.modules:
        with torch.device("meta"):
            yield
        return
    stand_in = _StandIn(_COMPILER)
    sys.modules[_COMPILER] = stand_in
    torch._dynamo = stand_in
    try:
        with torch.device("meta"):
            yield
    finally:
        stand_in.leave()


class _StandIn(ModuleType):
    def disable(
        self, fn: Callable[..., Any], recursive: bool = True, wrapping: bool = True
    ) -> Callable[..., Any]:
        return fn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system looks for __spec__ and __path__
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(_COMPILER), name)

    def leave(self) -> None:
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
            del torch._dynamo
