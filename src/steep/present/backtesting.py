"""What a back-test says, in one sentence."""

from __future__ import annotations

import math

from steep.present import numbers
from steep.records import Backtest

FEW = 5
"""Held-out sizes below which coverage is not assessed."""


def sentence(found: Backtest) -> str:
    """How far forecasts of hidden sizes were off, whether their intervals held, and beside what."""
    if not found.scores or found.log_error is None:
        return "Too few sizes to hide any: a back-test needs at least five."
    far = max(s.factor for s in found.scores)
    nearest = min(s.factor for s in found.scores)
    span = (
        f"{numbers.factor(nearest)} to {numbers.factor(far)}"
        if far > nearest * 1.01
        else (numbers.factor(far))
    )
    fitted = numbers.scale(found.metric).fitted
    held = sum(s.inside for s in found.scores)
    text = (
        f"Forecasting the largest sizes from the smaller ones, {span} beyond them, missed by "
        f"{_percent(found.log_error)} of the {fitted} on average (assuming no change: "
        f"{_percent(found.last_value)}); {held} of {len(found.scores)} errors lay inside their "
        f"{numbers.level(found.level)} intervals"
    )
    return text + _judged(found, held) + "."


def _percent(log_error: float | None) -> str:
    """|log ratio| as a relative error."""
    if log_error is None:
        return numbers.UNKNOWN
    return f"{numbers.number(100 * math.expm1(log_error), 2)} %"


def _judged(found: Backtest, held: int) -> str:
    """Forecasts of one curve share its points: only the cuts count as independent."""
    cuts = len({s.points for s in found.scores})
    if len(found.scores) < FEW or cuts < 3:
        return ", too few to assess the intervals"
    if held / len(found.scores) < found.level - 2.0 * math.sqrt(
        found.level * (1 - found.level) / cuts
    ):
        return ": the intervals are too narrow for this curve"
    return ""
