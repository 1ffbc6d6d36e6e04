"""The unit of a peak of memory, which systems report differently."""

from __future__ import annotations

import resource
import sys
from types import SimpleNamespace

import pytest

from steep.engine.environment import peak_memory


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_a_peak_is_in_bytes(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    """Linux counts the largest resident set in KiB, macOS in bytes."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3000))
    assert peak_memory("cpu") == 3000 * unit


def test_the_peak_of_this_process_is_no_less_than_what_it_holds() -> None:
    psutil = pytest.importorskip("psutil")
    held = psutil.Process().memory_info().rss
    peak = peak_memory("cpu")
    assert peak is not None
    assert 0.9 * held < peak < 100 * held
