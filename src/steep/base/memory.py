"""Whether one more trial fits into this machine's memory beside those that run.

A worker that the system kills for memory costs its trial an attempt, and may take the user's other
programs with it. So a trial that would not fit waits until others have ended; alone, every trial is
tried.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from steep.base.control_groups import MEMBERSHIP, ROOT, groups

if TYPE_CHECKING:
    from steep.records import Measurement, Trial

SHARE = 0.9
"""Of the memory that is free at the start of a run, what trials may use together."""


_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_bytes(text: str) -> float:
    """Bytes of '4 GB', '512MiB', '2g'. Raises ValueError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in _UNITS or not float(found[1]):
        raise ValueError(f"{text!r} is no amount of memory: write 4 GB or 512 MB")
    return float(found[1]) * _UNITS[found[2]]


class MemoryBudget:
    """``limit`` bytes for all trials together, None: unknown, so that everything fits.

    ``expected`` gives a trial's bytes before any like it has run; afterwards the peak that was
    measured at its size counts, if it was higher."""

    def __init__(self, limit: float | None, expected: Callable[[Trial], float | None]) -> None:
        self._limit, self._expected = limit, expected
        self._measured: dict[int, float] = {}

    def learn(self, measurement: Measurement) -> None:
        """Take a finished trial's peak into account."""
        size, peak = measurement.trial.size, measurement.peak_memory or 0.0
        self._measured[size] = max(self._measured.get(size, 0.0), peak)

    def required(self, trial: Trial) -> float:
        """Bytes; 0 where nothing is known."""
        return max(self._expected(trial) or 0.0, self._measured.get(trial.size, 0.0))

    def admits(self, trial: Trial, running: Iterable[Trial]) -> bool:
        """True for a trial that would run alone, whatever it needs."""
        others = [self.required(other) for other in running]
        return (
            not others or self._limit is None or sum(others) + self.required(trial) <= self._limit
        )


def memory_of(process: int) -> float | None:
    """Bytes of memory that a process and those that it started hold now; None where that is
    unknown."""
    try:
        import psutil
    except ImportError:
        return None
    try:
        first = psutil.Process(process)
        return float(sum(p.memory_info().rss for p in (first, *first.children(recursive=True))))
    except psutil.Error:
        return None


_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Of a control group, by the system's version."""


def free_memory(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """Bytes that new processes may use: free on the machine, and left by the container or job."""
    try:
        import psutil
    except ImportError:
        return None
    free = float(psutil.virtual_memory().available)
    for home in groups("memory", root, membership):
        for limit, used in _LIMITS:
            with contextlib.suppress(OSError, ValueError):  # 'max': no limit
                left = float((home / limit).read_text()) - float((home / used).read_text())
                free = min(free, max(left, 0.0))
    return free
