"""Sizes and metric values as users write them: '10x', '2M', '0.05', '5%', '95%'."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from steep.base.metrics import (
    ACCURACIES,
    LOSSES,
    HigherIsBetter,
    Perplexity,
    is_share,
    may_be_percent,
    original,
)
from steep.records import Analysis, Curve, Fit, Forecast, JointFit
from steep.spec.load import QuestionError
from steep.tables.amounts import Writing, number


@dataclass(frozen=True)
class Place:
    """A data size: a number of samples or, if ``relative``, a multiple of a curve's largest."""

    value: float
    relative: bool

    def samples(self, largest: float | None) -> float | None:
        """In samples; None if it is relative and the curve has no points."""
        if not self.relative:
            return self.value
        return None if largest is None else self.value * largest


def place_of(text: str) -> Place:
    """'10x', '1e6', '2M' or '1,000,000'. Raises QuestionError for anything else."""
    plain = text.strip()
    relative = plain[-1:] in ("x", "X")
    try:
        value, percent = number(plain[:-1] if relative else plain, Writing(size=True))
    except ValueError:
        value, percent = None, False
    if value is None or percent or not 0 < value < math.inf:
        raise QuestionError(
            f"--at {text!r}: write 10x (of the largest size used), 1e6, 2M or 1,000,000"
        )
    return Place(value, relative)


@dataclass(frozen=True)
class Goal:
    """A target value of a metric: an error of '0.05' or '5%', a loss of '1.2 nats', an accuracy of
    '0.95' or '95%'. ``of`` converts it to an error in a curve's own metric."""

    text: str
    value: float
    """The number; 0.05 for '5%'."""
    option: str
    """The command-line option that it came from, for messages."""

    @property
    def percent(self) -> bool:
        return "%" in self.text

    @property
    def of_a_loss(self) -> bool:
        """Whether the value has the unit of a loss."""
        return self.text.rstrip().endswith(UNITS)

    def of(self, metric: str, largest: float = 0.0) -> float:
        """The value as an error of a curve of ``metric`` with errors up to ``largest``.

        Raises QuestionError if that metric cannot have the value."""
        made_of = original(metric)
        if isinstance(made_of, HigherIsBetter):
            return self._of_higher(made_of)
        if made_of is not None:
            return self._of_perplexity(made_of)
        is_rate = may_be_percent(metric, largest)
        if self.percent and not is_rate:
            if metric in LOSSES:
                raise self._wrong(f"a loss ({metric}) is not an error rate: write {self.value:g}")
            raise self._wrong(
                f"errors up to {largest:g} are taken as a loss, not an error rate: write a number, "
                "or put a percent sign in the name of a column that holds percentages"
            )
        if self.of_a_loss and metric not in LOSSES:
            raise self._wrong(f"{metric} has no unit: write a number")
        if is_share(metric) and largest <= 1.0 and self.value > 1.0:
            hint = "" if self.percent else f"; did you mean {self.value:g}%?"
            raise self._wrong(f"an error rate is at most 100 %{hint}")
        return self.value

    def _of_higher(self, metric: HigherIsBetter) -> float:
        """The error 1 - value of a metric of which higher values are better."""
        top, name = metric.divisor, metric.name
        if self.of_a_loss:
            raise self._wrong(f"{name} has no unit: write a number")
        score = self.value if self.percent else self.value / top
        if score > 1.0:
            is_accuracy = name in ACCURACIES
            maximum = "100 %" if is_accuracy else f"{top:g}"
            hint = f"; did you mean {self.value:g}%?" if is_accuracy and not self.percent else ""
            raise self._wrong(f"{name} is at most {maximum}{hint}")
        if score == 1.0:
            raise self._wrong(f"no amount of data makes {name} perfect: choose a lower target")
        return 1.0 - score

    def _of_perplexity(self, metric: Perplexity) -> float:
        """The logarithm of a perplexity."""
        if self.percent or self.of_a_loss:
            what = "a percentage" if self.percent else "a loss"
            raise self._wrong(f"the curve is of {metric.name}, not {what}: write a number above 1")
        if self.value <= 1.0:
            raise self._wrong(
                f"a {metric.name} of 1 is a perfect prediction, which no amount of data brings: "
                "choose a target above 1"
            )
        return metric.error(self.value)

    def _wrong(self, reason: str) -> QuestionError:
        return QuestionError(f"{self.option} {self.text!r}: {reason}")


UNITS = ("nats", "bits")


def asked_about(analysis: Analysis, goals: Sequence[Goal]) -> Curve:
    """The curve of a study that ``goals`` are about.

    This is its headline curve, unless a goal is a percentage and the headline metric is a loss, or
    a goal has the unit of a loss and the headline metric is not one. Raises QuestionError if no
    single curve fits all goals."""
    curves: dict[str, Curve] = {}
    for goal in goals:
        curve = _curve_of(analysis, goal)
        curves.setdefault(curve.metric, curve)
        goal.of(curve.metric, max((p.error for p in curve.fit.points), default=0.0))
    if len(curves) > 1:
        texts = ", ".join(goal.text for goal in goals)
        raise QuestionError(f"{goals[0].option} {texts}: {' and '.join(curves)} are two questions")
    return next(iter(curves.values()), analysis.headline)


def _curve_of(analysis: Analysis, goal: Goal) -> Curve:
    """The first curve whose metric can have the value: the headline curve, then the others."""
    headline = analysis.headline
    curves = [headline, *(c for c in analysis.curves if c.part == headline.part)]
    if goal.percent:
        return next((c for c in curves if c.metric not in LOSSES), headline)
    if goal.of_a_loss:
        return next((c for c in curves if c.metric in LOSSES), headline)
    return headline


def forecast(
    fit: Fit,
    at: float | str | Iterable[float | str] = (),
    target: float | str | Iterable[float | str] = (),
    level: float | None = None,
    **options: Any,
) -> Forecast:
    """Errors at the sizes ``at``, and the samples that each ``target`` needs, with intervals.

    Both may be one value or several. Sizes are numbers or text: '10x' (of the data), '1e6', '2M'.
    Targets are in the metric of the fit: 0.97 or '97%' if it is an accuracy. ``options`` are
    ``size_law``, ``smallest``, ``epochs``, ``flops_per_parameter_sample`` and ``single_run``, as in
    forecast.py. Raises ValueError for anything else."""
    from steep.forecast import forecast as forecast_errors

    goals = [error_asked(one, fit) for one in _several(target)]
    return forecast_errors(fit, sizes_asked(at, fit), goals, level, **options)


def _several(values: Any) -> list[Any]:
    """One value or several, as a list."""
    one = isinstance(values, str) or not isinstance(values, Iterable)
    return [values] if one else list(values)


def errors_asked(goals: Sequence[Goal | float], metric: str, largest: float = 0.0) -> list[float]:
    """The ``goals`` as errors of a curve of ``metric`` with errors up to ``largest``. Goals that
    this metric cannot have are left out; plain numbers are errors already."""
    errors = []
    for goal in goals:
        if isinstance(goal, Goal):
            with suppress(QuestionError):
                errors.append(goal.of(metric, largest))
        else:
            errors.append(goal)
    return errors


def sizes_asked(asked: Any, fit: Fit) -> list[float]:
    """One or several sizes, as numbers or text such as '10x', '1e6', '2M', in samples.

    Raises ValueError for anything else, and for '10x' if the fit has no points."""
    sizes = []
    for one in _several(asked):
        size = place_of(one).samples(fit.at_hand) if isinstance(one, str) else float(one)
        if size is None:
            raise ValueError(f"{one!r} is relative to the largest size measured, and none is")
        sizes.append(size)
    return sizes


def error_asked(asked: float | str, fit: Fit) -> float:
    """A target in the metric of a fit, a number or text such as '5%', as an error: an accuracy of
    0.97 is an error of 0.03. Raises ValueError for a value that the metric cannot have."""
    return _error_asked(asked, fit.metric, [p.error for p in fit.points])


def joint_error_asked(asked: float | str, fit: JointFit) -> float:
    """As ``error_asked``, for a joint fit."""
    return _error_asked(asked, fit.metric, [r.error for r in fit.rows])


def _error_asked(asked: float | str, metric: str, errors: Sequence[float]) -> float:
    if isinstance(asked, bool) or not isinstance(asked, (str, int, float)):
        raise ValueError(f"a target is a number or a text such as '5%', not {asked!r}")
    if not isinstance(asked, str):
        if not 0 < asked < math.inf:
            raise ValueError(f"a target must be a positive number, not {asked}")
        asked = repr(float(asked))
    return goal_of(asked, "error").of(metric, max(errors, default=0.0))


def goal_of(text: str, option: str = "--target") -> Goal:
    """'0.05', '5%' or '1.2 nats'. Raises QuestionError for anything else."""
    plain = text.strip()
    for unit in UNITS:
        plain = plain.removesuffix(unit)
    try:
        value = float(plain.rstrip("% ")) / (100 if plain.rstrip().endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise QuestionError(f"{option} {text!r}: write a value such as 0.05 or 5%")
    return Goal(text, value, option)
