"""Optuna's samplers inside a shard: pure, repeatable, told what was found."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

import worlds
from steep.planners import optuna as planner
from steep.spec.load import QuestionError

pytest.importorskip("optuna")


def searched(
    sampler: str, draws: int = 12, seed: int = 0, excess: worlds.Excess | None = None
) -> dict[Any, Any]:
    p = worlds.search_space("optuna", samples=(125, 500), sampler=sampler, draws=draws, seeds=1)
    p = replace(p, spec=p.spec.model_copy(update={"seed": seed}))
    world = worlds.World(excess or worlds.bowl(sigma=60.0))
    return worlds.search(p, planner.plan, world)


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler"])
def test_each_shard_gets_its_draws_and_no_more(sampler: str) -> None:
    found = searched(sampler)
    for samples in (125.0, 500.0):
        here = [t for t in found if t.samples == samples]
        assert 6 <= len(here) <= 12  # a suggestion made twice is trained once
    assert searched(sampler) == found
    assert set(searched(sampler, seed=1)) != set(found)


def test_what_was_found_is_told() -> None:
    """TPE begins at random whatever is found, then goes where errors are low."""
    small, large = worlds.bowl(sigma=30.0), worlds.bowl(sigma=800.0)
    one, other = (list(searched("TPESampler", 20, excess=e)) for e in (small, large))
    on = [[t.candidate for t in trials if t.samples == 500.0] for trials in (one, other)]
    assert on[0][:6] == on[1][:6]
    sizes = [{size for _, _, size, _ in trials[6:]} for trials in on]
    assert sum(sizes[0]) / len(sizes[0]) < sum(sizes[1]) / len(sizes[1])


def test_a_sampler_that_there_is_not() -> None:
    with pytest.raises(QuestionError, match="no sampler 'OracleSampler'"):
        searched("OracleSampler")
    with pytest.raises(QuestionError, match="no sampler 'create_study'"):
        searched("create_study")


def test_without_optuna_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from steep.cli.terminal import clear_errors

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit), clear_errors():
        searched("TPESampler")
    assert "pip install 'steep[optuna]'" in capsys.readouterr().err
