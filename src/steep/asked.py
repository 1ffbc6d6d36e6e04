"""Sizes and errors as people write them: 10x, 2M, 5%."""

from __future__ import annotations

import math
import re

from steep.config import QuestionError

_SUFFIX = {"k": 1e3, "K": 1e3, "M": 1e6, "m": 1e6, "G": 1e9, "B": 1e9, "b": 1e9, "T": 1e12}


def place_of(text: str) -> tuple[float, bool]:
    """('10x' -> (10, relative)), ('2M' -> (2e6, absolute)). Raises QuestionError."""
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*([xX]|[kKmMgGbBT])?\s*", text)
    try:
        value = float(match.group(1)) if match else 0.0
    except ValueError:
        value = 0.0
    if match is None or not 0 < value < math.inf:
        raise QuestionError(f"--at {text!r}: write 10x (of the largest size used), 1e6 or 2M")
    suffix = match.group(2) or ""
    if suffix in ("x", "X"):
        return value, True
    return value * _SUFFIX.get(suffix, 1.0), False


def samples_at(place: tuple[float, bool], largest: float | None) -> float | None:
    """A size in samples; None where it is relative to a curve that has no point."""
    value, relative = place
    if not relative:
        return value
    return None if largest is None else value * largest


def target_of(text: str) -> float:
    """'5%' is 0.05. Raises QuestionError."""
    try:
        value = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise QuestionError(f"--target {text!r}: write an error such as 0.05 or 5%")
    return value
