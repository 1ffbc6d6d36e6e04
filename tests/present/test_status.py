"""What ``steep status`` says of a study's budget."""

from __future__ import annotations

import pytest

from steep.present.lines import status_lines
from steep.records import Interval, Standing, Status, Trial, TrialStanding
from steep.spec.sections import parse_duration, written_duration

LEFT = Interval(60.0, 30.0, 120.0, 0.9)


def rows(status: Status) -> tuple[TrialStanding, ...]:
    return (TrialStanding(Trial(0, 10, 10.0, 2, (), 0), status, 1, None, 30.0),)


def test_a_budget_that_is_used_up_is_said_in_place_of_the_time_left() -> None:
    """While a trial still runs, and where something is left, the estimate stands."""
    used_up = status_lines(Standing(rows(Status.COMPLETE), None, LEFT, False, "10m", 0.0))
    assert used_up[0].startswith("1 trial: 1 complete")
    assert "time: the budget of 10m is used up (run: budget)" in used_up
    assert not any(line.startswith("time: about") for line in used_up)
    running = status_lines(Standing(rows(Status.RUNNING), None, LEFT, False, "10m", 0.0))
    assert any(line.startswith("time: about") and "left" in line for line in running)
    half = status_lines(Standing(rows(Status.COMPLETE), None, LEFT, False, "10m", 300.0))
    assert any(line.startswith("budget: 5 min") for line in half)
    complete = status_lines(Standing(rows(Status.COMPLETE), None, LEFT, True, "10m", 300.0))
    assert not any("budget" in line for line in complete)
    free = status_lines(Standing(rows(Status.COMPLETE), None, LEFT, False))
    assert not any("budget" in line for line in free)


@pytest.mark.parametrize("seconds", [0.2, 1, 59, 60, 61, 100, 900, 5400, 1e6])
def test_a_duration_that_is_written_is_read_back_no_shorter(seconds: float) -> None:
    assert seconds <= parse_duration(written_duration(seconds)) < seconds + 1
