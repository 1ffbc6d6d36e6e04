"""The inside of a worker: its handle, and how bad ends are told."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.contracts.executor import Job, Kind
from steep.contracts.trainer import Diverged
from steep.executors.worker import Line, failure, finite, work
from steep.records import Evaluation, Measurement, Status, Trial

TRIAL = Trial(0, 10, 10.0, 2, (), 0)


def line(folder: Path, sent: list[Any], every: float = 1000.0) -> Line:
    job = Job(folder, TRIAL, 2, 50)
    return Line(job, lambda kind, payload: sent.append((kind, payload)), threading.Event(), every)


def point(step: int, error: float = 0.5) -> Evaluation:
    return Evaluation(step, 10.0 * step, 0.1, None, error, error)


def test_a_handle_saves_tells_and_loads(tmp_path: Path) -> None:
    sent: list[Any] = []
    handle = line(tmp_path, sent)
    assert (handle.attempt, handle.up_to_steps) == (2, 50)
    assert handle.load() is None
    for step in (1, 2, 3):
        handle.save(step, b"state %d" % step)
    assert handle.load() == b"state 3"
    assert [kind for kind, _ in sent] == [Kind.CHECKPOINT] * 3
    assert len(list((tmp_path / "checkpoints" / TRIAL.id).iterdir())) == 2


def test_saving_is_due_by_the_clock(tmp_path: Path) -> None:
    assert line(tmp_path, [], every=0.0).due()
    assert not line(tmp_path, []).due()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_progress_without_a_number_diverges(tmp_path: Path, bad: float) -> None:
    sent: list[Any] = []
    handle = line(tmp_path, sent)
    handle.progress(point(1))
    with pytest.raises(Diverged, match=f"validation_error is {bad} at step 2"):
        handle.progress(point(2, bad))
    measured = handle.diverged("reason")
    assert (measured.status, measured.steps, measured.curve) == (Status.DIVERGED, 2, (point(1),))
    assert len(sent) == 1


def test_a_finite_measurement_is_left_alone() -> None:
    measured = Measurement(TRIAL, Status.COMPLETE, validation_error=0.5, curve=(point(1),))
    assert finite(measured) == measured


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), "oom"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "oom"),
        (OSError(12, "Cannot allocate memory: not enough memory"), "oom"),
        (RuntimeError("shape mismatch"), "error"),
        (ValueError("the parser ran out of memory of the past"), "error"),
        (SystemExit(3), "error"),
        (KeyboardInterrupt(), "error"),
    ],
)
def test_causes_are_told_apart(error: BaseException, cause: str) -> None:
    payload = failure(error)
    assert payload["cause"] == cause
    assert type(error).__name__ in payload["reason"]
    assert "\n" not in payload["reason"]


def test_a_study_that_cannot_be_opened_is_a_failure(tmp_path: Path) -> None:
    sent: list[Any] = []
    work([Job(tmp_path, TRIAL, 1)], sent.append, threading.Event())
    assert [event.kind for event in sent] == [Kind.STARTED, Kind.FAILURE]
    assert "study.yaml" in sent[-1].payload["reason"]
    assert "Traceback" in sent[-1].payload["detail"]


def test_items_are_kept_for_the_end(tmp_path: Path) -> None:
    sent: list[Any] = []
    handle = line(tmp_path, sent)
    handle.items({"error": np.ones(3)})
    handle.items({"error": np.zeros(3)})
    assert sent == []
    assert list(handle.kept["error"]) == [0, 0, 0]
