"""Every planner passes the shipped suite, and survives being killed after any result."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import worlds
from steep import testing
from steep.base.registry import PLANNERS
from steep.records import Measurement, Status, Trial

SMALL: dict[str, Any] = {
    "sizes": (2, 4, 8, 16),
    "rates": (0.03, 0.1, 0.3),
    "samples": (125, 500, 2000),
}


def plan_of(name: str) -> Any:
    if name == "optuna":
        pytest.importorskip("optuna")
    return importlib.import_module(PLANNERS[name]).plan


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_passes_the_suite(name: str) -> None:
    world = worlds.World(worlds.bowl(), diverges_above=0.2)
    found = testing.check_planner(plan_of(name), worlds.search_space(name, **SMALL), world.measure)
    assert {m.trial.samples for m in found} == {125.0, 500.0, 2000.0}


@pytest.mark.parametrize("name", sorted(PLANNERS))
@pytest.mark.parametrize("stop_after", [1, 3])
def test_killed_and_resumed_it_makes_the_same_decisions(name: str, stop_after: int) -> None:
    world, p = worlds.World(worlds.bowl()), worlds.search_space(name, **SMALL)
    straight = worlds.search(p, plan_of(name), world)
    assert worlds.search(p, plan_of(name), world, stop_after) == straight


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_failed_trials_end_no_search(name: str) -> None:
    """A size that never works is given up like one that diverges."""
    whole = worlds.World(worlds.bowl(sigma=200.0))

    def measure(trial: Trial) -> Measurement:
        m = whole.measure(trial)
        failed = Measurement(trial, Status.FAILED, "out of memory")
        return failed if trial.size == 16 else m

    found = testing.check_planner(plan_of(name), worlds.search_space(name, **SMALL), measure)
    best = min((m for m in found if m.trial.samples == 2000 and m.validation_error), key=error)
    assert best.trial.size == 8


def error(m: Measurement) -> float:
    return float(m.validation_error or 0.0)


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_every_draw_of_the_data_is_trained(name: str) -> None:
    p = worlds.search_space(name, permutations=2, **SMALL)
    found = worlds.search(p, plan_of(name), worlds.World(worlds.bowl()))
    for samples in (125.0, 500.0, 2000.0):
        seeds = {t.seed for t in found if t.permutation == 1 and t.samples == samples}
        assert seeds == {0, 1}
