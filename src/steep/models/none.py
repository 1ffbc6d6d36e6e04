"""No model: for studies whose trainer brings its own (a function, a command, a known law)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steep.contracts.family import Family
from steep.spec.sections import Strict

if TYPE_CHECKING:
    import torch


class Options(Strict):
    """Nothing to set."""


def build(size: int, shape: Mapping[str, int], options: Any) -> torch.nn.Module:
    raise ValueError("family 'none' has no model for the engine to train; name a family")


FAMILY = Family("none", build, kind="none", dial="size")
