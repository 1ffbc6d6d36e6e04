"""Optuna's samplers inside a shard: pure, repeatable, told what was found."""

from __future__ import annotations

import sys
from dataclasses import replace
from statistics import median
from typing import Any

import pytest

import worlds
from steep.config import QuestionError
from steep.planners import optuna as planner

pytest.importorskip("optuna")


def searched(sampler: str, draws: int = 12, seed: int = 0) -> dict[Any, Any]:
    p = worlds.problem("optuna", samples=(125, 500), sampler=sampler, draws=draws, seeds=1)
    p = replace(p, spec=p.spec.model_copy(update={"seed": seed}))
    return worlds.search(p, planner.plan, worlds.World(worlds.bowl(sigma=60.0)))


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler"])
def test_each_shard_gets_its_draws_and_no_more(sampler: str) -> None:
    found = searched(sampler)
    for samples in (125.0, 500.0):
        here = [t for t in found if t.samples == samples]
        assert 6 <= len(here) <= 12  # a suggestion made twice is trained once
    assert searched(sampler) == found
    assert set(searched(sampler, seed=1)) != set(found)


def test_what_was_found_is_told() -> None:
    """TPE goes where errors are low: late draws are mostly better than the first ones."""
    early, late = [], []
    for seed in range(3):
        for samples in (125.0, 500.0):
            found = [m for t, m in searched("TPESampler", 20, seed).items() if t.samples == samples]
            early += [m.validation_error for m in found[:7]]
            late += [m.validation_error for m in found[-5:]]
    assert median(late) < 0.9 * median(early)


def test_a_sampler_that_there_is_not() -> None:
    with pytest.raises(QuestionError, match="no sampler 'OracleSampler'"):
        searched("OracleSampler")
    with pytest.raises(QuestionError, match="no sampler 'create_study'"):
        searched("create_study")


def test_without_optuna_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from steep.terminal import clear_errors

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit), clear_errors():
        searched("TPESampler")
    assert "pip install 'steep[optuna]'" in capsys.readouterr().err
