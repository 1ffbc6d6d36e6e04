"""What trials are expected to cost, by a trainer whose counts are round."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from steep.contracts.trainer import Cost
from steep.plan import price
from steep.records import Trial


def prices(monkeypatch: pytest.MonkeyPatch, **trainer: Any) -> price.Prices:
    items = SimpleNamespace(train=np.arange(8))
    monkeypatch.setattr(price.shards, "trial_items", lambda cut, trial: items)
    return price.Prices(SimpleNamespace(**trainer), None, None, None)  # type: ignore[arg-type]


TRIAL = Trial(0, 8, 8.0, 5, (), 0)


def test_most_trials_end_a_third_of_the_way_on_the_geometric_grid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From 8 units to 512: the grid in between is 8, 32, 128, 512, and its first third 32."""
    made = prices(
        monkeypatch,
        cost=lambda loaded, domain, size: Cost(1, 1, 10.0 * size),
        extent=lambda loaded, domain, trial, items: (float(len(items)), 64.0 * len(items)),
    )
    assert made.flops(TRIAL) == pytest.approx(50 * 32)
    assert made.extent(TRIAL) == (8.0, 512.0)


def test_where_nothing_is_counted_trials_cost_data_times_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = prices(monkeypatch, cost=lambda *given: None, extent=lambda *given: (1.0, 2.0))
    assert made.flops(TRIAL) == 8.0 * 5
    assert (made.steps(), made.schedule(TRIAL), made.memory(TRIAL)) == ((), None, None)
