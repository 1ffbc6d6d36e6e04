"""The engine's benchmark compares like with like: both ways see the same losses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/engine.py, which imports its neighbours by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("STEEP_MALLOC", "0")  # it cannot be taken back in this process
    import engine

    yield engine
    for name in ("engine", "plain"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("family", ["rhn", "lstm", "resnet"])
def test_both_ways_take_the_same_steps(engine: Any, family: str) -> None:
    case = next(case for case in engine.CASES if case.family == family)
    plain, steep = (engine.one(case, way, 1, 3) for way in ("plain", "engine"))
    assert steep["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    assert steep["engine"] != "plain"
    assert plain["engine"] == "plain"
