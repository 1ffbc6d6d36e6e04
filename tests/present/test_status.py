"""What ``steep status`` says of a study's budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steep.cli.answers import Source, forecasts_of
from steep.present.lines import largest_line, status_lines
from steep.present.sentences import serious_sentence
from steep.records import (
    ONE_SEED,
    Curve,
    Finding,
    Fit,
    Forecast,
    Interval,
    Point,
    Standing,
    Status,
    Trial,
    TrialStanding,
)
from steep.records.trials import UNFINISHED
from steep.spec.sections import parse_duration, written_duration

LEFT = Interval(60.0, 30.0, 120.0, 0.9)


def rows(status: Status) -> tuple[TrialStanding, ...]:
    return (TrialStanding(Trial(0, 10, 10.0, 2, (), 0), status, 1, None, 30.0),)


def test_what_is_the_largest_shard_with_a_best_fit_is_said_with_its_metric(
    made_study: Any,
) -> None:
    analysis = made_study.analysis
    line = largest_line(analysis)
    assert line.startswith("largest shard so far: error rate ")
    first, *others = analysis.best_fits
    cut = replace(analysis, best_fits=(first, *(replace(b, withheld=UNFINISHED) for b in others)))
    line = largest_line(cut)
    assert line.startswith("largest shard with a best fit so far: error rate ")
    assert f" on {first.samples:,.0f} images, " in line
    assert line.endswith("; larger shards' searches are unfinished")
    (curve, *rest) = cut.curves
    last = curve.fit.points[-1]
    points = (*curve.fit.points[:-1], replace(last, used=False, reason=UNFINISHED))
    known = replace(cut, curves=(replace(curve, fit=replace(curve.fit, points=points)), *rest))
    assert largest_line(known).endswith(f"{100 * last.error:.1f} % by now on {last.samples:,.0f}")
    once = replace(analysis, best_fits=tuple(replace(b, withheld=ONE_SEED) for b in others))
    assert largest_line(once).endswith(f"; {ONE_SEED}")


def test_where_there_is_no_forecast_yet_no_place_is_named_from_which_it_goes(
    made_study: Any,
) -> None:
    analysis = made_study.analysis
    one = Fit("too few points", (Point(1e3, 0.2, used=False, reason="one seed"),))
    curves = (Curve("error", "validation", one, Forecast("too few points")),)
    standing = Standing(rows(Status.COMPLETE), replace(analysis, curves=curves), LEFT, False)
    lines = status_lines(standing)
    assert "no forecast so far: too few training-set sizes to fit a law." in lines
    assert not any("forecast so far, from" in line for line in lines)


def test_serious_findings_stand_beside_the_forecast_that_they_put_in_doubt(
    made_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tuple(
        Finding(kind, severity, where, "evidence", "step")
        for kind, severity, where in [
            ("missed forecast", "serious", "800 images"), ("edge", "serious", "400 images"),
            ("edge", "serious", "200 images"), ("unfinished", "serious", "100 images"),
            ("noise", "warning", "the whole curve"),
        ]
    )  # fmt: skip
    doubt = (
        "In doubt: missed forecast (800 images); the best size is the largest tried (400 images, "
        "200 images). 'steep diagnose' says why, and what to do."
    )
    analysis = replace(made_study.analysis, findings=found)
    lines = status_lines(Standing(rows(Status.COMPLETE), analysis, LEFT, False))
    assert lines.index(doubt) > next(n for n, x in enumerate(lines) if x.startswith("forecast so"))
    assert serious_sentence(found[-1:]) == serious_sentence(()) == ""
    monkeypatch.setattr(Source, "is_study", True)
    asked_study = SimpleNamespace(analyse=lambda **_: analysis)
    monkeypatch.setattr(Source, "study", lambda _: asked_study)
    (asked,) = forecasts_of(Source("a study"), ["10x"], [])
    assert doubt in asked.forecast.notes


def test_a_budget_that_is_used_up_names_the_command_that_goes_on() -> None:
    used_up = Standing(rows(Status.COMPLETE), None, None, False, "6m", 0.0)
    lines = status_lines(used_up, Path("a b"))
    assert "  'steep run 'a b' --budget 6m' goes on for 6 min more" in lines
    for other in (
        replace(used_up, rows=rows(Status.RUNNING)),
        replace(used_up, complete=True),
        replace(used_up, budget_left=5.0),
    ):
        assert not any("goes on for" in line for line in status_lines(other, Path("a b")))


def test_between_two_trials_a_live_driver_goes_on() -> None:
    lines = status_lines(Standing(rows(Status.COMPLETE), None, LEFT, False, driven=True))
    assert any(line.startswith("time: about 60 s left") for line in lines)
    idle = status_lines(Standing(rows(Status.COMPLETE), None, LEFT, False))
    assert any("more once it goes on" in line for line in idle)


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
