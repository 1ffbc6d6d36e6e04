"""A corner of the coverage grid: intervals hold the truth about as often as they say.

The full grid is ``make bench-coverage``. Seeds are fixed, so a failure is a change, not bad luck.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_simulation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["power", "floor"])
def test_well_specified_truths(simulation: ModuleType, kind: str) -> None:
    """60 curves: the bounds are three Monte Carlo errors about the nominal level."""
    held = simulation.run(kind, 60, seed=0, noise=0.01, sizes=8, seeds=2)
    for reach in ("4x", "10x", "100x"):
        assert held[f"{reach} 90%"] >= 0.78
        assert 0.31 <= held[f"{reach} 50%"] <= 0.75
        assert held[f"{reach} 50%"] < held[f"{reach} 90%"]
    assert held["4x width"] < 1.3
    assert held["100x width"] < 3.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["power", "floor"])
@pytest.mark.parametrize(("noise", "sizes"), [(0.005, 5), (0.005, 12), (0.05, 5), (0.05, 12)])
def test_every_cell_holds_four_in_five(
    simulation: ModuleType, kind: str, noise: float, sizes: int
) -> None:
    held = simulation.run(kind, 300, seed=1, noise=noise, sizes=sizes)
    for reach in ("4x", "10x", "100x"):
        assert held[f"{reach} 90%"] >= 0.80


@pytest.mark.slow
def test_averaged_over_truths(simulation: ModuleType) -> None:
    rows = [simulation.run(kind, 400, seed=2) for kind in simulation.WELL_SPECIFIED]
    for reach in ("4x", "10x", "100x"):
        for level in (0.5, 0.8, 0.9):
            held = sum(row[f"{reach} {level:.0%}"] for row in rows) / len(rows)
            assert abs(held - level) <= 0.05 + 2 * (level * (1 - level) / 800) ** 0.5
