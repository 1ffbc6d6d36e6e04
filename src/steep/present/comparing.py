"""What a comparison says, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from steep.present import numbers
from steep.records import Comparison, Interval, Pair

OWN_VALIDATION = (
    "The curves' validation sets are treated as independent: if they share items, the offset is "
    "more certain than its interval."
)
NO_VALIDATION = "The validation set's part of the offset's uncertainty is unknown here."
BY_SIZE = (
    "The curves are paired by size: if equal sizes are not the same data, compare without pairing "
    "(--unpaired)."
)
_HEADLINE = 2
"""Sentences of a pair that answer the question: the verdict and the multiplier."""


def sentences(pair: Pair, unit: str, metric: str) -> tuple[str, ...]:
    """Verdict, data multiplier (or why there is none) and crossing of a pair; then how it was
    compared, and what that could have shown."""
    text = (
        _say_verdict(pair),
        _say_multiplier(pair, metric),
        _say_crossing(pair, unit),
        _say_how(pair, unit),
        _say_power(pair),
    )
    return tuple(s for s in text if s)


def notes_of_curves(notes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What was done to the input of each curve, by name; once for all where it is the same."""
    by_note: dict[str, list[str]] = {}
    for name, notes_of_one in notes.items():
        for note in notes_of_one:
            by_note.setdefault(note, []).append(name)
    return tuple(
        note if len(names) == len(notes) else f"{', '.join(names)}: {note}"
        for note, names in by_note.items()
    )


def lines(found: Comparison) -> list[str]:
    """What ``steep compare`` prints: the answer, the pairs, and what was done to the input."""
    if len(found.pairs) == 1:
        return [found.sentence, *found.pairs[0].sentences[_HEADLINE:], *found.notes]
    text = [found.sentence]
    for pair in found.pairs:
        text += ["", f"{pair.first} against {pair.second}", *pair.sentences]
    return [*text, "", *found.notes]


def headline(pairs: Sequence[Pair]) -> str:
    """The answer: one pair's verdict and multiplier, or how many pairs got which verdict."""
    if len(pairs) == 1:
        return " ".join(pairs[0].sentences[:_HEADLINE])
    counts = Counter(p.verdict for p in pairs)
    lines = [f"{verdict}: {count} of {len(pairs)} pairs" for verdict, count in counts.most_common()]
    return "; ".join(lines) + "."


def _say_verdict(pair: Pair) -> str:
    percent = numbers.Scale("", 100.0, "%")
    margin = numbers.share(pair.margin)
    difference = numbers.interval(pair.relative_difference, percent)
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


def _rounded(found: Interval | None) -> Interval | None:
    """Slopes of curves that are copies of each other differ by rounding errors only."""
    if found is None or found.value is None or found.lower is None or found.upper is None:
        return found
    value, lower, upper = (round(v, 6) + 0.0 for v in (found.value, found.lower, found.upper))
    return Interval(value, lower, upper, found.level)


def _say_multiplier(pair: Pair, metric: str) -> str:
    how = numbers.scale(metric, max((high for _, high in pair.errors), default=None))
    if pair.no_multiplier:
        return _say_no_multiplier(pair, how)
    if pair.times is None:
        return ""
    needs, times = pair.needs_more, numbers.times(pair.times)
    of = pair.second if needs == pair.first else pair.first
    if pair.multiplier_at is None:
        return f"{needs} needs {times} the data of {of} at any error of the common range."
    at = numbers.standing(pair.multiplier_at, how)
    if not pair.extrapolates:
        return f"{needs} needs {times} the data of {of} at {at}."
    one, two = (
        f"{numbers.measured(high, how)} to {numbers.measured(low, how)}"
        for low, high in pair.errors
    )
    what = how.label if how.own else "errors"
    return (
        f"Extrapolated to {at}, {needs} would need {times} the data of {of}: {pair.first} had "
        f"{what} from {one}, {pair.second} from {two}."
    )


def _say_no_multiplier(pair: Pair, how: numbers.Scale) -> str:
    if pair.no_multiplier == "an error does not fall":
        return "No data multiplier: at least one error does not decrease with data."
    if pair.no_multiplier == "out of reach":
        at = numbers.standing(pair.multiplier_at or 0.0, how)
        who = f"the forecast of {pair.unreached[0]} does not reach it"
        if len(pair.unreached) > 1:
            who = "neither forecast reaches it"
        return f"No data multiplier at {at}: {who}."
    if pair.no_multiplier == "too far apart":
        return "No data multiplier: it would be more than a trillion."
    one, two = (
        f"{name} ({numbers.number(high)} to {numbers.number(low)})"
        for name, (low, high) in zip((pair.first, pair.second), pair.errors, strict=True)
    )
    return (
        f"No data multiplier: is one of {one} and {two} in percent and the other a fraction? Then "
        "put a percent sign in the name of its column, or divide it by 100."
    )


def _say_crossing(pair: Pair, unit: str) -> str:
    crossing = pair.crossing
    if crossing is None or crossing.outcome == "cannot tell":
        return ""
    largest = numbers.count(pair.end)
    if crossing.samples is not None and crossing.samples.value is not None:
        beyond = crossing.samples.value > (pair.end or 0.0)
        extrapolated = f", extrapolated beyond {largest}" if beyond else ""
        return f"The curves cross at {numbers.counts(crossing.samples)} {unit}{extrapolated}."
    return (
        f"The curves do not cross between {numbers.count(crossing.start)} and {largest} {unit}, "
        f"nor when extrapolated to {numbers.count(crossing.end)}."
    )


def _say_how(pair: Pair, unit: str) -> str:
    place = f"{numbers.count(pair.start)} to {numbers.count(pair.end)} {unit}"
    slopes = " and ".join(numbers.interval(_rounded(s)) for s in pair.slopes)
    points = f"{pair.points[0]} and {pair.points[1]} points"
    how = f"Compared without pairing, by straight lines through {points}, {place}"
    if pair.paired:
        how = f"Compared size by size, by straight lines through {pair.points[0]} sizes, {place}"
    return f"{how}: slopes {slopes} (the exponents of 'steep fit' differ: its laws may bend)."


def _say_power(pair: Pair) -> str:
    return (
        f"Power: {numbers.share(pair.power_different)} to detect a difference of "
        f"{numbers.share(pair.margin)} in slope, {numbers.share(pair.power_same)} to confirm "
        "equality."
    )
