"""How numbers look: three significant digits, intervals with the digits their width supports.

A metric's scale (percent, nats, bits) is decided here and nowhere else, by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from steep.base import metrics
from steep.records import Fit, Forecast, Interval

SMALLEST, LARGEST = 1e-6, 1e7
"""Where an interval reaches beyond these, its numbers are written with exponents."""
OPEN = "no limit"
"""The end of an interval that has none."""
UNCOUNTABLE = 1e15
"""Sizes from here on are rounded."""
LARGEST_EXPONENT = 700.0
"""The exponential of more is no number."""
UNKNOWN = "–"
"""A number that does not exist."""


@dataclass(frozen=True)
class Scale:
    """How one metric is shown: ``factor`` times the value, followed by ``unit``."""

    label: str
    factor: float = 1.0
    unit: str = ""
    higher: bool = False
    """Of which higher is better: what is measured is an error, and 1 - error is shown."""
    exponential: bool = False
    """A perplexity: what is measured is its logarithm."""

    def shown(self, error: float) -> float:
        """The number that stands for an error: 96.1 of 0.039, where accuracies are shown."""
        if self.exponential:
            return math.exp(error) if error < LARGEST_EXPONENT else math.inf
        return self.factor * (1.0 - error if self.higher else error)

    def drawn(self, error: float) -> float:
        """Where an error lies on an axis, which is of errors, but of perplexities for those."""
        return self.shown(error) if self.exponential else self.factor * error

    @property
    def own(self) -> bool:
        """Whether what is shown is another number than the error that was fitted."""
        return self.higher or self.exponential

    @property
    def title(self) -> str:
        """The title of an axis, which is of errors: the label with its unit."""
        label = self.complement if self.higher else self.label
        return f"{label} ({self.unit})" if self.unit else label

    @property
    def complement(self) -> str:
        """The error that is fitted where ``label`` is shown: 1 - accuracy, 100 - BLEU, the log of
        a perplexity."""
        if self.exponential:
            return f"log of {self.label}"
        return f"{1.0 if self.unit else self.factor:g} - {self.label}"

    @property
    def fitted(self) -> str:
        """What relative changes are those of: the error, or the log of a perplexity."""
        return self.complement if self.exponential else "error"

    @property
    def spread(self) -> Scale:
        """How differences of the metric are shown, such as a standard error; of a perplexity, see
        ``standard_error``."""
        return replace(self, higher=False, exponential=False)

    @property
    def suffix(self) -> str:
        """What follows a number, with its space."""
        return f" {self.unit}" if self.unit else ""


PLAIN = Scale("")
PERCENT = Scale("", 100.0, "%")

_RATES = {
    "error": "error rate",
    "error_rate": "error rate",
    "top1_error": "top-1 error rate",
    "top5_error": "top-5 error rate",
    "token_error": "token error rate",
    "cer": "character error rate",
    "character_error_rate": "character error rate",
    "wer": "word error rate",
    "word_error_rate": "word error rate",
}
_OTHERS = {
    "cross_entropy": Scale("cross-entropy", 1.0, "nats"),
    "bits_per_character": Scale("cross-entropy per character", 1.0, "bits"),
    "bleu": Scale("BLEU"),
    "bits_per_word": Scale("cross-entropy per word", 1.0, "bits"),
}


_NAMES = {"f1": "F1", "auc": "AUC", "r2": "R2", "bleu": "BLEU", "chrf": "chrF", "iou": "IoU",
          "miou": "mIoU", "mcc": "MCC", "rouge": "ROUGE"}  # fmt: skip


def scale(metric: str, largest: float | None = None) -> Scale:
    """How ``metric`` is shown. An error computed from an accuracy is shown as an accuracy.
    ``largest`` is the largest error measured: a column called ``error`` with values above 1 is not
    a rate and gets no percent sign. Word error rates may exceed 100 %."""
    if metric in _OTHERS:
        return _OTHERS[metric]
    log = metrics.perplexity(metric)
    if log is not None:
        return Scale(log.name.replace("_", " "), exponential=True)
    made_of = metrics.higher(metric)
    if made_of is not None:
        label = _NAMES.get(made_of.name, made_of.name.replace("_", " "))
        if made_of.name in metrics.ACCURACIES:
            return Scale(label, 100.0, "%", higher=True)
        percent = made_of.divisor == 100.0 and made_of.name not in metrics.OF_100
        return Scale(label, made_of.divisor, "%" if percent else "", higher=True)
    if metric in _RATES and (metric != "error" or largest is None or largest <= 1.0):
        return Scale(_RATES[metric], 100.0, "%")
    return Scale(metric.replace("_", " "))


def fit_scale(fit: Fit) -> Scale:
    """The scale of a fit's metric, with its points as witnesses that an error is a rate."""
    return scale(fit.metric, max((p.error for p in fit.points), default=None))


def largest_measured(fit: Fit | None) -> float | None:
    """The size that '10x the data' refers to."""
    return None if fit is None else fit.at_hand


def forecast_scale(forecast: Forecast, fit: Fit | None = None) -> Scale:
    """The scale of a forecast's metric: that of its ``fit``, else with its own numbers as witnesses
    that an error is a rate."""
    if fit is not None and fit.points:
        return fit_scale(fit)
    known = [a.error for a in forecast.at] + [t.target for t in forecast.targets]
    return scale(forecast.metric, max(known, default=None))


def runs(count: int | None) -> str:
    """What is measured at one size: a mean of 5 runs, or one of them."""
    return f"mean of {count} runs" if count is not None and count > 1 else "measurement"


# ---------------------------------------------------------------- plain numbers


def number(value: float | None, digits: int = 3) -> str:
    """``digits`` significant digits, no exponent where a reader needs none."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if math.isinf(value):
        return OPEN
    # of the rounded value: 0.997 in two digits is 1.0, not 1.00
    magnitude = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -4 <= magnitude < 6:
        return _exponent(value, digits)
    return _decimals(value, digits - 1 - magnitude)


def _decimals(value: float, places: int) -> str:
    """Rounded to ``places`` and grouped; what rounds to zero has no sign."""
    return f"{round(value, places) + 0.0:,.{max(places, 0)}f}"


def _exponent(value: float, digits: int) -> str:
    """3.2e7, without a plus and zeros."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def count(value: float | None, digits: int = 3) -> str:
    """Samples or parameters, rounded: 812, 8.12k, 1.3M, 2B."""
    if value is None or not math.isfinite(value):
        return UNKNOWN if value is None or math.isnan(value) else OPEN
    return _suffixed(value, _SUFFIXES, digits)


def _suffixed(value: float, suffixes: tuple[tuple[float, str], ...], digits: int) -> str:
    if value == 0:
        return "0"
    # rounded first, so that 999,600 becomes 1M and not 1,000k
    rounded = float(f"{value:.{digits - 1}e}")
    for size, suffix in suffixes:
        if abs(rounded) >= size * 1e6:
            return number(rounded, digits)
        if abs(rounded) >= size:
            return f"{short(rounded / size, digits)}{suffix}"
    return short(rounded, digits)


def short(value: float, digits: int) -> str:
    """Without trailing zeros: 8 and not 8.00."""
    return _stripped(number(value, digits))


def _stripped(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def setting(value: object) -> str:
    """A hyperparameter as its user wrote it: 0.03, not 0.0300."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def exact(value: float | None) -> str:
    """A size that was counted: every digit of a whole number, grouped."""
    if value is None:
        return UNKNOWN
    if abs(value) >= UNCOUNTABLE:
        return number(value, 4)
    return f"{value:,.0f}" if value == int(value) else number(value, 4)


def factor(value: float) -> str:
    """How many times: 10x, 2.5x, 1,000x, 59,000x, 6.2e29x."""
    if value >= 1e9:
        return f"{_exponent(value, 2)}x"
    near = round(value) if value < 1000 else float(f"{value:.3g}")
    if near >= 1 and abs(value - near) < 0.01 * near:
        return f"{near:,.0f}x"
    return f"{short(value, 2)}x"


def share(value: float) -> str:
    """A probability or weight in whole percent, with honest ends."""
    if 0 < value < 0.01:
        return "<1 %"
    if 0.99 < value < 1:
        return ">99 %"
    return f"{100 * value:.0f} %"


def relative(log_ratio: float) -> str:
    """The size of a difference of log error as a relative one: 12 %."""
    return f"{number(100 * abs(math.expm1(min(log_ratio, 700.0))), 2)} %"


def distance(one: float, other: float, how: Scale) -> str:
    """How far two values of a metric lie apart, in its unit: 0.4 points, 0.12 nats."""
    far = number(abs(how.shown(one) - how.shown(other)), 2)
    unit = " points" if how.unit == "%" else how.suffix
    return f"{far}{unit.removesuffix('s') if far == '1' else unit}"


def level(value: float) -> str:
    """The level of an interval: 90 %."""
    return f"{short(100 * value, 3)} %"


# ---------------------------------------------------------------- with a unit


def measured(value: float | None, how: Scale, digits: int = 3) -> str:
    """One value of a metric: 8.12 %. An accuracy near its top has the digits of its error."""
    if value is None or not math.isfinite(value) or not how.higher or value == 0:
        return UNKNOWN if value is None else f"{number(how.shown(value), digits)}{how.suffix}"
    shown, error = how.shown(value), abs(value * how.factor)
    places = max(digits - 1 - _magnitude(shown), digits - 2 - _magnitude(error))
    return f"{_decimals(shown, places)}{how.suffix}"


def standard_error(spread: float | None, value: float, how: Scale, digits: int = 2) -> str:
    """The standard error of one ``value``, in the unit in which that is shown."""
    slope = how.shown(value) if how.exponential else 1.0
    return measured(None if spread is None else spread * slope, how.spread, digits)


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def named(how: Scale) -> str:
    """What goes before a number that would be read as an error: 'accuracy '."""
    return f"{how.label} " if how.own else ""


def standing(value: float, how: Scale) -> str:
    """A value of a metric within a sentence: an error of 5 %, an accuracy of 95 %."""
    return (
        f"{named(how)}{measured(value, how)}" if how.own else f"an error of {measured(value, how)}"
    )


def target(value: float, how: Scale, name: bool = True) -> str:
    """A value that somebody typed: 5 % and not 5.00 %; accuracy 95 %."""
    return f"{named(how) if name else ''}{short(how.shown(value), 6 if how.own else 3)}{how.suffix}"


def span(lower: float | None, upper: float | None, how: Scale | None = None) -> str:
    """An interval alone: [7.2, 9.4] %."""
    how = how or PLAIN
    _, low, high = _shown(None, lower, upper, how)
    return f"[{low}, {high}]{how.suffix}"


def estimate(
    value: float | None, lower: float | None, upper: float | None, how: Scale | None = None
) -> str:
    """A value and its interval: 8.1 % [7.2, 9.4]."""
    how = how or PLAIN
    if value is None:
        return UNKNOWN
    middle, low, high = _shown(value, lower, upper, how)
    return f"{middle}{how.suffix} [{low}, {high}]"


def _shown(
    value: float | None, lower: float | None, upper: float | None, how: Scale
) -> tuple[str, str, str]:
    """The three numbers as texts, in the order in which they ascend."""
    if how.exponential:
        ends = [None if v is None else how.shown(v) for v in (value, lower, upper)]
        return _aligned(ends[0], ends[1], ends[2], 1.0)
    if not how.higher:
        return _aligned(value, lower, upper, how.factor)
    ends = [None if v is None else 1.0 - v for v in (value, upper, lower)]
    return _aligned(ends[0], ends[1], ends[2], how.factor)


def interval(found: Interval | None, how: Scale | None = None) -> str:
    """A record's value and interval; without ends, the value alone."""
    if found is None or found.value is None:
        return UNKNOWN
    if found.lower is None and found.upper is None:
        return measured(found.value, how or PLAIN)
    return estimate(found.value, found.lower, found.upper, how)


def counts(found: Interval | None, smallest: float | None = None) -> str:
    """An interval of samples or parameters: 120k [80k, 260k]; two digits where it is wide. A lower
    end that lies somewhere below the ``smallest`` size is written so: 1.3k [below 1k, 1.9k]."""
    if found is None or found.value is None:
        return UNKNOWN
    low, high = found.lower, found.upper
    if low == high and low in (None, found.value):
        return count(found.value)
    digits = 3 if low and high and high / low < 1.5 else 2
    least = UNKNOWN if low is None else count(low, digits)
    if smallest is not None:
        least = f"below {count(smallest)}"
    return f"{count(found.value, digits)} [{least}, {count(high or math.inf, digits)}]"


def operations(found: Interval | None) -> str:
    """An interval of FLOPs in the unit of its value: 1.2 PFLOPs [0.8, 3.1]."""
    return _in_one_unit(found, flops, _FLOPS, "FLOPs")


def memories(found: Interval | None) -> str:
    """An interval of bytes in the unit of its value: 1.2 GB [0.8, 3.1]."""
    return _in_one_unit(found, memory, _BYTES, "")


def energies(found: Interval | None) -> str:
    """An interval of joules, in watt-hours, in the unit of its value."""
    hours = None
    if found is not None:
        each = [None if v is None else v / 3600 for v in (found.value, found.lower, found.upper)]
        hours = Interval(each[0], each[1], each[2], found.level)
    return _in_one_unit(hours, lambda v: energy(None if v is None else 3600 * v), _WATT_HOURS, "Wh")


def _in_one_unit(
    found: Interval | None,
    alone: Callable[[float | None], str],
    units: tuple[tuple[float, str], ...],
    name: str,
) -> str:
    """A value with its unit, and the ends of its interval in the same one; where they lie too far
    from it to be read there, all in exponents of the plain unit."""
    if found is None or found.value is None:
        return UNKNOWN
    if found.lower == found.upper and found.lower in (None, found.value):
        return alone(found.value)
    known = [v for v in (found.value, found.lower, found.upper) if v]
    size, prefix = next(((s, p) for s, p in units if found.value >= s), (1.0, " "))
    if max(known) / size >= LARGEST_IN_UNIT or min(known) / size < SMALLEST_IN_UNIT:
        size, prefix = 1.0, " "
    # one notation for all three
    plain = all(v == 0 or 1e-4 <= v / size < LARGEST_IN_UNIT for v in known)

    def form(v: float | None, missing: str) -> str:
        if v is None or not math.isfinite(v):
            return missing
        if size == 1.0 and max(known) < LARGEST_IN_UNIT**2:
            return count(v, 2)
        return short(v / size, 2) if plain or v == 0 else _exponent(v / size, 2)

    unit = f"{prefix}{name}" if prefix.strip() or name else " B"
    low, high = form(found.lower, UNKNOWN), form(found.upper, OPEN)
    return f"{form(found.value, UNKNOWN)}{unit} [{low}, {high}]"


LARGEST_IN_UNIT, SMALLEST_IN_UNIT = 1e6, 1e-3
"""Numbers of one unit that are still read."""


def several(count: int, thing: str) -> str:
    """ "1 trial", "3 trials"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def times(found: Interval) -> str:
    """An interval of factors, in as few digits as keep its ends from its value: 1.3x [1.1, 1.5]."""
    ends = found.value, found.lower, found.upper
    narrow = found.lower and found.upper and found.upper < 1.1 * found.lower
    texts = [OPEN if v is None else number(v, 3 if narrow else 2) for v in ends]
    if not narrow and texts[0] in texts[1:]:
        texts = list(_aligned(*ends, 1.0))
    return f"{texts[0]}x [{texts[1]}, {texts[2]}]"


def _aligned(
    value: float | None, lower: float | None, upper: float | None, factor: float
) -> tuple[str, str, str]:
    """The three numbers in one notation, with common decimals where their sizes allow them."""
    wide = lower is not None and upper is not None and upper - lower > abs(value or 0)
    scaled = [None if v is None else v * factor for v in (value, lower, upper)]
    places = _places(*scaled)
    sizes = [abs(v) for v in scaled if v and math.isfinite(v)]
    plain = not sizes or (min(sizes) >= SMALLEST and max(sizes) < LARGEST)

    def form(v: float | None, missing: str) -> str:
        if v is None or not math.isfinite(v):
            return missing
        if v == 0:
            return "0"
        magnitude = math.floor(math.log10(abs(v * factor)))
        digits = 2 if wide or not plain else 3
        readable = 1e-3 <= abs(v * factor) < LARGEST and places is None
        if not plain and not readable:
            common = 0 if places is None else magnitude + 1 + places
            return _exponent(v * factor, max(digits, common))
        if places is None:
            return _stripped(_decimals(v * factor, digits - 1 - magnitude))
        return _decimals(v * factor, places)

    return form(value, UNKNOWN), form(lower, OPEN), form(upper, OPEN)


def _places(value: float | None, low: float | None, high: float | None) -> int | None:
    """Decimals for an interval; None where its ends differ too much for common decimals.

    Two digits of the half-width, but not more than three of the value unless the half-width
    would vanish otherwise: 8.1 [7.2, 9.4], 11.8 [11.5, 12.1], 17.120 [17.115, 17.125]; never more
    than ten."""
    if low is None or high is None or not math.isfinite(high - low) or high <= low:
        return None
    if low > 0 and high / low > 20:
        return None
    one = -math.floor(math.log10((high - low) / 2))
    middle = abs(value if value is not None else (low + high) / 2)
    three = 2 - math.floor(math.log10(middle)) if middle > 0 else one
    return min(one + 1, max(three, one), three + 7)


# ---------------------------------------------------------------- time, memory, work


def duration(seconds: float | None) -> str:
    """0.42 s, 12 s, 3 min 20 s, 2 h 05 min, 3 d 4 h, 85 d, 12 years."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{short(seconds, 2)} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest:02d} s" if minutes < 10 else f"{round(whole / 60)} min"
    minutes = round(whole / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(whole / 3600)
    if hours < 24 * 30:
        return f"{hours // 24} d {hours % 24} h"
    if hours < 24 * 730:
        return f"{round(hours / 24)} d"
    return f"{count(hours / 24 / 365.25, 2)} years"


def moment(text: str) -> str:
    """An ISO time to the minute: 2026-01-05 10:00."""
    return text[:16].replace("T", " ")


_BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"))
_FLOPS = ((1e24, " Y"), (1e21, " Z"), (1e18, " E"), (1e15, " P"), (1e12, " T"), (1e9, " G"))


def memory(value: float | None) -> str:
    """Bytes: 1.2 GB."""
    if value is None:
        return UNKNOWN
    return _suffixed(value, _BYTES, 2) + (" B" if value < 999 else "")


def flops(value: float | None) -> str:
    """Floating-point operations: 3.4 PFLOPs (a total, not a rate)."""
    if value is None:
        return UNKNOWN
    if value < 1e9:
        return f"{count(value, 2)} FLOPs"
    if value >= 1e6 * _FLOPS[0][0]:
        return f"{_exponent(value, 2)} FLOPs"
    return f"{_suffixed(value, _FLOPS, 2)}FLOPs"


def energy(joules: float | None) -> str:
    """Joules in watt-hours: 1.2 MWh."""
    if joules is None:
        return UNKNOWN
    return f"{_suffixed(joules / 3600, _WATT_HOURS, 2)}Wh"


_WATT_HOURS = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, " "), (1e-3, " m"))


def ends(found: Interval | None, form: Callable[[float], str]) -> str:
    """A value and its interval, each in its own unit: 3 h 05 min [1 h 10 min, no limit]."""
    if found is None or (found.value is None and found.lower is None):
        return UNKNOWN
    if found.value is None:
        return f"at least {form(found.lower or 0.0)}"
    if found.lower is None and found.upper is None:
        return form(found.value)
    low = UNKNOWN if found.lower is None else form(found.lower)
    return f"{form(found.value)} [{low}, {OPEN if found.upper is None else form(found.upper)}]"
