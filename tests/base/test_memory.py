"""What fits into memory beside what runs."""

from pathlib import Path

import pytest

from steep.base.memory import MemoryBudget, free_memory
from steep.records import Measurement, Status, Trial


def trial(size: int, seed: int = 0) -> Trial:
    return Trial(0, 100, 100.0, size, (), seed)


def test_a_trial_waits_for_room_but_never_alone() -> None:
    budget = MemoryBudget(100.0, lambda t: 30.0 * t.size)
    assert budget.admits(trial(1), [trial(2)])
    assert not budget.admits(trial(2), [trial(2)])
    assert budget.admits(trial(50), [])


def test_what_was_measured_counts_where_it_is_more() -> None:
    budget = MemoryBudget(100.0, lambda t: 30.0)
    assert budget.admits(trial(7), [trial(7, 1)])
    budget.learn(Measurement(trial(7, 2), Status.COMPLETE, peak_memory=60))
    assert budget.required(trial(7)) == 60.0
    assert not budget.admits(trial(7), [trial(7, 1)])
    budget.learn(Measurement(trial(7, 3), Status.COMPLETE, peak_memory=10))
    assert budget.required(trial(7)) == 60.0
    assert budget.admits(trial(1), [trial(7)])


def test_nothing_known_means_no_waiting() -> None:
    assert MemoryBudget(None, lambda t: 1e30).admits(trial(1), [trial(2)])
    assert MemoryBudget(1.0, lambda t: None).admits(trial(1), [trial(2)])


@pytest.mark.parametrize(
    ("membership", "limit", "used"),
    [
        ("0::/", "memory.max", "memory.current"),
        ("0::/a/b", "a/memory.max", "a/memory.current"),
        ("4:memory:/", "memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
        ("4:memory:/a", "memory/a/memory.limit_in_bytes", "memory/a/memory.usage_in_bytes"),
    ],
)
def test_a_container_may_leave_less_than_the_machine(
    tmp_path: Path, membership: str, limit: str, used: str
) -> None:
    (tmp_path / "membership").write_text(membership + "\n")
    whole = free_memory(tmp_path, tmp_path / "membership")
    assert whole is not None
    assert whole > 1e7
    (tmp_path / limit).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / limit).write_text("max\n")
    (tmp_path / used).write_text("4000000\n")
    assert free_memory(tmp_path, tmp_path / "membership") == pytest.approx(whole, rel=0.2)
    (tmp_path / limit).write_text("5000000\n")
    assert free_memory(tmp_path, tmp_path / "membership") == 1e6
