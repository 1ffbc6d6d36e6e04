"""Sizes and errors as people ask for them: '10x', '2M', '0.05', '5%'."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from steep.amounts import SUFFIXES
from steep.columns import LOSSES, may_be_percent
from steep.config import QuestionError
from steep.records import Curve


@dataclass(frozen=True)
class Place:
    """A size: so many samples or, ``relative``, so many times the largest size of a curve."""

    value: float
    relative: bool

    def samples(self, largest: float | None) -> float | None:
        """In samples; None where it is relative to a curve that has no point."""
        if not self.relative:
            return self.value
        return None if largest is None else self.value * largest


def place_of(text: str) -> Place:
    """'10x', '1e6' or '2M'. Raises QuestionError for anything else."""
    match = re.fullmatch(rf"\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*([xX{''.join(SUFFIXES)}])?\s*", text)
    try:
        value = float(match.group(1)) if match else 0.0
    except ValueError:
        value = 0.0
    if match is None or not 0 < value < math.inf:
        raise QuestionError(f"--at {text!r}: write 10x (of the largest size used), 1e6 or 2M")
    suffix = match.group(2) or ""
    if suffix in ("x", "X"):
        return Place(value, True)
    return Place(value * SUFFIXES.get(suffix, 1.0), False)


@dataclass(frozen=True)
class Goal:
    """An error that was asked for. '5%' is 0.05, of a rate only."""

    text: str
    value: float
    option: str

    def of(self, metric: str, largest: float = 0.0) -> float:
        """In the metric of a curve up to ``largest``. Raises QuestionError for '5%' of a loss."""
        if "%" not in self.text or may_be_percent(metric, largest):
            return self.value
        if metric in LOSSES:
            why = f"a loss ({metric}) is no rate: write a number such as {self.value:g}"
        else:
            why = (
                f"errors up to {largest:g} are taken as a loss and no rate: write a number, or put "
                "a percent sign in the name of a column that holds percentages"
            )
        raise QuestionError(f"{self.option} {self.text!r}: {why}")


def asked_about(curves: Sequence[Curve], goals: Sequence[Goal]) -> Curve:
    """Of a study's curves the one that ``goals`` are about: the first, by which its models were
    selected, unless a percentage is asked and another one is an error rate.

    Raises QuestionError where none is."""
    first = curves[0]
    if first.metric in LOSSES and any("%" in goal.text for goal in goals):
        rates = [c for c in curves if c.metric not in LOSSES and c.part == first.part]
        first = (rates or [first])[0]
        if rates and not all("%" in goal.text for goal in goals):
            both = ", ".join(goal.text for goal in goals)
            raise QuestionError(
                f"--target {both}: percentages of {first.metric} and others of "
                f"{curves[0].metric} are two questions"
            )
    for goal in goals:
        goal.of(first.metric)
    return first


def goal_of(text: str, option: str = "--target") -> Goal:
    """'0.05' or '5%'. Raises QuestionError for anything else."""
    try:
        value = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise QuestionError(f"{option} {text!r}: write an error such as 0.05 or 5%")
    return Goal(text, value, option)
