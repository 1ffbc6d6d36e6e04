"""Machines: a small catalogue of accelerators, and this computer, measured on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from steep import data
from steep.base.spelling import no_such
from steep.records import Machine
from steep.spec.load import QuestionError

PRECISIONS = ("fp32", "tf32", "bf16")
HERE = "cpu"
"""The name of this computer."""
_MATRIX, _ARRAY = 1024, 1 << 24
_TRIES = 3


def _catalogue() -> Mapping[str, Any]:
    found: Mapping[str, Any] = data.values("hardware.yaml")
    return found


def names() -> list[str]:
    """Everything that ``machine`` knows."""
    return [HERE, *_catalogue()["machines"]]


def machine(name: str, precision: str | None = None, share: float | None = None) -> Machine:
    """A device of the catalogue, or this computer ('cpu').

    ``precision``: 'fp32', 'tf32' or 'bf16'; None: the fastest that keeps 32-bit numbers in memory,
    else bf16. ``share`` replaces the achievable share of its FLOP rate. Raises QuestionError."""
    if share is not None and not 0 < share <= 1:
        raise QuestionError(
            f"the achievable share of a FLOP rate lies between 0 and 1, not {share}"
        )
    key = name.lower()
    if key == HERE:
        if precision not in (None, "fp32"):
            raise QuestionError(f"this computer is measured in fp32, not in {precision}")
        return this_computer(share)
    entries = _catalogue()["machines"]
    if key not in entries:
        raise QuestionError(no_such("machine", name, names()))
    entry = entries[key]
    known = [p for p in PRECISIONS if p in entry]
    chosen = precision or next(p for p in ("tf32", "fp32", "bf16") if p in known)
    if chosen not in known:
        raise QuestionError(no_such(f"rate of {name}", chosen, known))
    achievable = _catalogue()["achievable"]
    return Machine(
        name=key,
        title=entry["title"],
        precision=chosen,
        flops=entry[chosen],
        bandwidth=entry["bandwidth"],
        memory=entry["memory"],
        link=entry.get("link"),
        watts=entry.get("watts"),
        launch=achievable["launch"],
        flops_share=share or achievable["fp32" if chosen == "fp32" else "tensor"],
        bandwidth_share=achievable["bandwidth"],
        link_share=achievable["link"],
        source=entry["source"],
    )


def this_computer(share: float | None = None) -> Machine:
    """All cores that numpy uses, by a product of two matrices and a sum of two arrays; 0.5 s.

    Both are what was reached, so that nothing is taken off."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, _MATRIX, _MATRIX), dtype=np.float32)
    product = _fastest(lambda: a @ b)
    x, y = np.ones((2, _ARRAY), dtype=np.float32)
    out = np.empty_like(x)
    moved = _fastest(lambda: np.add(x, y, out=out))
    return Machine(
        name=HERE,
        title="this computer",
        precision="fp32",
        flops=2.0 * _MATRIX**3 / product,
        bandwidth=3.0 * x.nbytes / moved,
        memory=_memory(),
        flops_share=share or 1.0,
        source="measured: the fastest of three products of matrices and of three sums of arrays",
    )


def _fastest(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(_TRIES):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def _memory() -> float | None:
    """Bytes of the machine, or what a container may use of it."""
    import os

    try:
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None
    from pathlib import Path

    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, float(limit.read_text()))
    except (OSError, ValueError):  # no such group, or 'max': no limit
        return total
