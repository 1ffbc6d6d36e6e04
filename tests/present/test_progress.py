"""The lines of a run where there is no terminal."""

from __future__ import annotations

import pytest

from steep.contracts.executor import Event, Kind
from steep.present import progress
from steep.present.progress import Progress
from steep.records import Interval


def test_a_log_has_no_line_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While one trial ran for three minutes, eight lines of a log were the same."""
    monkeypatch.setattr(progress, "_EVERY", -1.0)
    left = [300.0, 300.0, 300.0, 120.0, 120.0]
    with Progress(
        lambda: Interval(left[0], left[0] / 2, 2 * left[0]), "error", lambda: "items", quiet=False
    ) as shown:
        while left:
            shown.observe(Event(Kind.STARTED, "a", 0))
            left.pop(0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" left")[0] for line in lines] == [
        "0 trials done, about 5 min",
        "0 trials done, about 120 s",
    ]
