"""A wall clock that is set forward and back while a study runs, and between its runs."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import HELD_OUT, Driven, held_out_forecast, lose_the_forecast, until

Expected = dict[tuple[str, ...], str]
PLACES = ("usr/lib/*/faketime", "usr/lib*/faketime", "usr/local/lib/faketime")


@dataclass
class Clock:
    """The time of day that commands are given, as an offset from the true one."""

    file: Path
    library: Path

    def __post_init__(self) -> None:
        # libfaketime 0.9.10 answers EINVAL to the call that time.sleep makes since Python 3.11.
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(
            "import select, time\n"
            "time.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
        )
        self.set("+0")

    @property
    def site(self) -> Path:
        return self.file.with_name("site")

    def set(self, offset: str) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{offset}\n")
        os.replace(beside, self.file)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "LD_PRELOAD": str(self.library),
            "PYTHONPATH": os.pathsep.join([str(self.site), os.environ.get("PYTHONPATH", "")]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as on a machine whose clock is set
        }


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    found = [path for place in PLACES for path in Path("/").glob(f"{place}/libfaketimeMT.so.1")]
    if not found:
        pytest.skip("needs libfaketime (Debian: apt install libfaketime)")
    return Clock(tmp_path / "clock", found[0])


def test_f20_a_clock_that_jumps_during_a_run_changes_nothing(
    study: Driven, expected: Expected, clock: Clock
) -> None:
    study.spec({"seconds_per_step": 0.02})
    process = study.start(env=clock.environment)
    for done, offset in enumerate(("-1h", "+1d", "-1d", "+1h"), start=1):
        study.wait_done(2 * done)
        clock.set(offset)
    ended = study.ended(process)
    assert ended.code == 0
    assert study.table() == expected
    assert [state for _, state, _ in study.attempts()] == ["done"] * 12
    times = [at for (at,) in study.rows("SELECT finished FROM trials ORDER BY finished")]
    assert times[-1] - times[0] > 86_000  # the clocks were those that were set
    _no_time_is_odd(study, ended.said)


def test_a_study_goes_on_though_its_records_lie_in_the_future(
    study: Driven, expected: Expected, clock: Clock
) -> None:
    study.spec({"seconds_per_step": 0.02})
    process = study.start(env=clock.environment)
    study.wait_done(4)
    study.kill_all(process)
    done = {trial for trial, state, _ in study.attempts() if state == "done"}
    begun = len(study.lines("begins"))
    clock.set("-1d")
    process = study.start(env=clock.environment)
    until(lambda: len(study.lines("begins")) > begun, "a trial of the second run")
    said = study.steep("status", "st", env=clock.environment).out
    ended = study.ended(process)
    assert ended.code == 0
    assert not {line[1] for line in study.lines("begins")[begun:]} & done
    assert "failed" not in {state for _, state, _ in study.attempts()}
    assert study.table() == expected
    said += study.steep("status", "st", env=clock.environment).out
    _no_time_is_odd(study, said + ended.said)


def test_no_clock_makes_a_forecast_older_than_what_it_forecasts(
    local: Driven, clock: Clock
) -> None:
    local.spec({"seconds_per_step": 0.0}, **HELD_OUT)
    assert local.steep(env=clock.environment).code == 0
    first = held_out_forecast(local.steep(env=clock.environment))
    assert "made after" not in first
    clock.set("-1d")  # what it registers now would seem a day older than the held-out trials
    assert held_out_forecast(local.steep(env=clock.environment)) == first
    lose_the_forecast(local)
    assert local.steep("salvage", "st", env=clock.environment).code == 0
    assert "made after its training had begun" in held_out_forecast(
        local.steep(env=clock.environment)
    )


def _no_time_is_odd(study: Driven, said: str) -> None:
    """No duration is negative, or longer than the test."""
    with (study.folder / "results/trials.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    runs = study.rows("SELECT json_extract(payload, '$.seconds') FROM decisions WHERE kind='ran'")
    assert all(0 <= value < 600 for value in [*seconds, *(run for (run,) in runs)])
    assert not re.search(r"-\d[\d.]* (ms|s|min|h|days?)\b|\b\d+ (h|days?)\b", said), said
