"""How a command reports: JSON lines that it prints, a result file, or what it writes anyway.

    {"step": 100, "validation_error": 0.31}        a line with a step is progress
    {"validation_error": 0.12, "test_error": 0.14} one without is the result

Lines that name no error and no metric are the command's own business. ``pattern``, ``csv`` and
``trainer_state`` read a result from output that knows nothing of steep.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steep.base.plainfile import read_file
from steep.records import Evaluation
from steep.tables.words import own_metric
from steep.trainers.answer import (
    OwnCodeError,
    StudyMetric,
    error_under,
    known_metric,
    named_metric,
    number_under,
    own_keys,
    part_and_name,
)

NUMBER = r"([-+]?(?:(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[nN]a[nN]|NAN|[iI]nf(?:inity)?))"
"""What ``{number}`` in a pattern stands for: NaN too, lest an earlier line is taken."""
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}((,\d{3})+\.\d*|(,\d{3}){2,})([eE][-+]?\d+)?")
"""Commas that can be nothing else: 1,234.5 and 1,234,567, but not 1,234."""
WHO = "the command reported"
STEPS = ("step", "steps", "global_step", "iteration", "epoch")
"""Names of a column that says how far a training is."""

Row = tuple[float | None, float]
"""(step, value as it was written)."""


@dataclass
class Reported:
    """What the lines of one attempt contained."""

    metric: StudyMetric
    results: list[dict[str, Any]] = field(default_factory=list)
    curve: list[Evaluation] = field(default_factory=list)
    of: StudyMetric | None = None
    """What the evaluations of ``curve`` are errors of, where the spec declares no metric."""

    def take(self, line: str, samples: float, seconds: float) -> Evaluation | None:
        """Read a JSON line; the evaluation in it, if it is progress."""
        try:
            values = json.loads(line)
        except ValueError:
            return None
        if not isinstance(values, dict) or not _says_something(values, self.metric):
            return None
        if "step" not in values:
            if values not in self.results:
                self.results.append(values)
            return None
        metric = self.metric if self.metric.declared else named_metric(values, self.metric, WHO)
        found = _evaluation(values, metric, samples, seconds)
        if found is not None:
            self.curve.append(found)
            self.of = metric
        return found

    def best(self) -> dict[str, Any] | None:
        """The result of a command that printed progress and no result: its lowest error."""
        if not self.curve:
            return None
        best = min(self.curve, key=lambda e: e.validation_error)
        key, value = (self.of or self.metric).reported(best.validation_error)
        return {
            key: value,
            "validation_loss": best.validation_loss,
            "best_step": best.step,
        }


def is_json(line: bytes) -> bool:
    return line.lstrip().startswith(b"{")


def _says_something(values: Mapping[str, Any], metric: StudyMetric) -> bool:
    """Whether any key names an error or a metric on V."""
    for key in values:
        part, name = part_and_name(key)
        if part == "validation" and (name in ("error", "loss") or known_metric(name)):
            return True
        named = own_metric(name) == metric.name or (known_metric(name) and not metric.declared)
        if part == "" and named and not (name == "loss" and "step" in values):
            return True  # a loss beside a step is that of training
    return False


def _evaluation(
    values: Mapping[str, Any], metric: StudyMetric, samples: float, seconds: float
) -> Evaluation | None:
    """A progress line as a point of the training curve; None where it says no error in the study's
    metric. Raises OwnCodeError."""
    keys = [key for key, part in own_keys(values, metric).items() if part == "validation"]
    if not keys:
        return None
    step = number_under(values, "step", float)
    if not step >= 0 or not math.isfinite(step):
        raise OwnCodeError(f"{WHO} step = {values['step']!r}")
    error = error_under(values, keys[0], metric, WHO)
    loss = values.get("validation_loss")
    return Evaluation(
        round(step),
        samples * number_under(values, "epoch", float) if "epoch" in values else 0.0,
        seconds,
        None if values.get("train_loss") is None else number_under(values, "train_loss", float),
        error if loss is None else number_under(values, "validation_loss", float),
        error,
    )


# ---------------------------------------------------------------- results that lie about


def of_file(path: Path) -> dict[str, Any] | None:
    """What $STEEP_RESULT holds: a JSON object, or a number; None where there is no such file."""
    try:
        text = read_file(path).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OwnCodeError(f"$STEEP_RESULT cannot be read: {error.strerror}") from None
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            raise OwnCodeError(
                f"$STEEP_RESULT holds {text[:80]!r}: a JSON object such as "
                '{"validation_error": 0.12} is wanted'
            ) from None
    return dict(value) if isinstance(value, Mapping) else {"": value}


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of the spec. Raises ValueError where it has not one number to find."""
    text = pattern.replace("{number}", NUMBER)
    try:
        found = re.compile(text)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if found.groups != 1:
        raise ValueError(f"{pattern!r} must have one {{number}} (or one group in brackets)")
    return found


def matched(pattern: re.Pattern[str], lines: Sequence[str]) -> str | None:
    """The number in the last line that matches. Raises OwnCodeError for a comma that may be a
    decimal one."""
    for line in reversed(lines):
        if not (found := pattern.findall(line)):
            continue
        number = str(found[-1]).rstrip(",")
        if "," in number and not _THOUSANDS.fullmatch(number):
            raise OwnCodeError(
                f"{WHO} {number}, whose comma may be that of a decimal or of thousands: print "
                "numbers with a point"
            )
        return number.replace(",", "")
    return None


def of_csv(path: Path, column: str | None, metric: StudyMetric) -> list[Row]:
    """(step, value) of each row of a CSV that the command wrote. Raises OwnCodeError."""
    try:
        lines = read_file(path).decode("utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        raise OwnCodeError(f"the command wrote no {path.name}") from None
    except OSError as error:
        raise OwnCodeError(f"{path} cannot be read: {error.strerror}") from None
    rows = list(csv.DictReader(lines))
    if not rows:
        raise OwnCodeError(f"the {path.name} that the command wrote holds no row")
    name = _column(list(rows[0]), column, metric, path.name)
    step = next((s for s in STEPS if s in rows[0]), None)
    found = [(row.get(step) if step else None, row[name]) for row in rows if row.get(name)]
    return _rows(found, name, path.name)


def of_trainer_state(path: Path, column: str | None, metric: StudyMetric) -> list[Row]:
    """(step, value) of each evaluation in a ``trainer_state.json`` of Hugging Face's Trainer, which
    writes one into each of its checkpoints. Raises OwnCodeError."""
    candidates = [path] if path.is_file() else list(path.parent.glob(f"**/{path.name}"))
    if not candidates:
        raise OwnCodeError(f"the command wrote no {path.name}")
    newest = max(candidates, key=lambda p: p.stat().st_mtime)
    try:
        history = json.loads(read_file(newest))["log_history"]
        rows = [dict(row) for row in history]
    except (OSError, ValueError, KeyError, TypeError):
        raise OwnCodeError(f"{newest} is no trainer_state.json with a log_history") from None
    names = list(dict.fromkeys(key for row in rows for key in row))
    name = _column(names, column, metric, path.name)
    found = [(row.get("step"), row[name]) for row in rows if row.get(name) is not None]
    return _rows(found, name, path.name)


def _column(names: Sequence[str], wanted: str | None, metric: StudyMetric, file: str) -> str:
    if wanted is not None:
        if wanted not in names:
            raise OwnCodeError(f"{file} has no {wanted!r}; there are: {', '.join(map(str, names))}")
        return wanted
    own = {"error", metric.own}
    for name in names:
        part, rest = part_and_name(str(name))
        if part == "validation" and (rest in own or own_metric(rest) == metric.name):
            return name
    raise OwnCodeError(
        f"none of {', '.join(map(str, names))} in {file} is validation_{metric.own}: name the "
        "column in the spec (trainer: column)"
    )


def _rows(found: Sequence[tuple[Any, Any]], name: str, file: str) -> list[Row]:
    rows: list[Row] = []
    for step, text in found:
        try:
            rows.append((None if step in (None, "") else float(step), float(text)))
        except (TypeError, ValueError):
            raise OwnCodeError(f"{name} in {file} is {text!r}, which is not a number") from None
    if not rows:
        raise OwnCodeError(f"{file} has no value of {name}")
    return rows
