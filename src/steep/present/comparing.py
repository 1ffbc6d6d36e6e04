"""What a comparison says, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from steep.present import numbers
from steep.records import Interval, Pair


def sentences(pair: Pair, metric: str, slope: float) -> tuple[str, ...]:
    """Verdict, data multiplier and crossing of a pair whose curves have the mean ``slope``."""
    said = (_say_verdict(pair, abs(slope)), _say_multiplier(pair, metric), _say_crossing(pair))
    return tuple(s for s in said if s)


def headline(pairs: Sequence[Pair]) -> str:
    """The answer: one pair's verdict and multiplier, or how many pairs got which verdict."""
    if len(pairs) == 1:
        return " ".join(pairs[0].sentences[:2])
    told = Counter(p.verdict for p in pairs)
    said = [f"{verdict}: {count} of {len(pairs)} pairs" for verdict, count in told.most_common()]
    return "; ".join(said) + "."


def _say_verdict(pair: Pair, typical: float) -> str:
    percent = numbers.Scale("", 100.0 / typical, "%")
    margin = numbers.share(pair.margin)
    difference = numbers.interval(pair.difference, percent)
    if pair.verdict == "same exponent":
        return (
            f"{pair.first} and {pair.second} have the same exponent: their slopes differ by "
            f"{difference} of the slope, within the margin of {margin}."
        )
    if pair.verdict == "different exponents":
        slopes = [numbers.interval(s) for s in pair.slopes]
        return (
            f"{pair.first} and {pair.second} have different exponents, {slopes[0]} and "
            f"{slopes[1]}: a difference of {difference} of the slope."
        )
    smallest = numbers.share(pair.smallest_margin or 0.0)
    return (
        f"Cannot tell whether {pair.first} and {pair.second} have the same exponent: the slopes "
        f"differ by {difference} of the slope, and these points could show equality only to "
        f"within {smallest}, not {margin}."
    )


def _say_multiplier(pair: Pair, metric: str) -> str:
    k = pair.multiplier
    if k is None or k.value is None:
        return ""
    needs, of = pair.first, pair.second
    if k.value < 1:
        needs, of = of, needs
        k = Interval(
            1 / k.value,
            1 / k.upper if k.upper else None,
            1 / k.lower if k.lower else None,
            k.level,
        )
    where = "at any error of the common range"
    if pair.multiplier_at is not None:
        how = numbers.scale(metric, pair.multiplier_at)
        where = f"at an error of {numbers.measured(pair.multiplier_at, how)}"
    return f"{needs} needs {numbers.times(k)} the data of {of} {where}."


def _say_crossing(pair: Pair) -> str:
    crossing = pair.crossing
    if crossing is None or crossing.outcome == "cannot tell":
        return ""
    if crossing.outcome == "cross":
        return f"They cross at {numbers.counts(crossing.samples)}."
    ends = f"{numbers.count(crossing.start)} and {numbers.count(crossing.end)}"
    return f"They do not cross between {ends}."
