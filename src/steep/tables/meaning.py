"""The meaning of a column's numbers: scales of sizes, percentages, logarithms, accuracies.

Sizes: the name shows logarithms ('log10_tokens'), multiples ('params_M', 'tokens (B)',
'n_thousands') or shares of the data set ('fraction', 'pct', cells like '5%'); otherwise
``--x-scale`` gives the scale.

Errors:
- cells or a name with a percent sign (or 'percent', 'pct'): divided by 100;
- an accuracy by a word of its name ('acc', 'auc', 'f1', 'r2', ...), or ``higher_is_better``: 1 -
  value is the error, and values above 1 make the whole column percent. Words that may be either
  ('score', 'map', 'recall') are accuracies where they rise with the data;
- a rate by its name ('wer', 'cer', 'error_rate', ...) whose median is above 1: percent;
- a perplexity: its logarithm; a logarithm: undone; a negated error ('neg_mse'): its negative;
- anything else is taken as it is: a column 'error' above 1 is a loss, not a percentage.
Percent and fraction in one column are an error: some cells with a sign and some without, or bare
accuracies on both sides of 1 with a gap of more than 20x between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from steep.base.metrics import (
    ACCURACIES,
    OF_100,
    PLAIN,
    RATES,
    UNBOUNDED,
    as_error,
    higher_metric,
    is_perplexity,
)
from steep.tables import words
from steep.tables.raw import Array
from steep.tables.words import SCALES, Scale

_ABSURD = {1e3: 1e8, 1e6: 1e5, 1e9: 1e5, 1e12: 1e4}
"""By multiple: values this large must be plain numbers, although the name says a multiple."""

UNSURE = 0.5
"""A score that falls with the size, by a weaker rank correlation than this, may be one that is
saturated."""


class Unclear(ValueError):
    """The meaning of a column's numbers is unclear: the message asks the user."""


# ---------------------------------------------------------------- sizes


@dataclass(frozen=True)
class Sizes:
    """How to convert the numbers of a column to sizes."""

    scale: Scale
    unit: str
    note: str = ""

    def plain(self, values: Array) -> Array:
        if self.scale.kind in ("log10", "log2", "ln"):
            return np.array([words.logarithm_undone(self.scale, v) for v in values])
        return values * self.scale.times


def sizes_of(
    column: str,
    values: Array,
    percent: Array,
    suffixed: bool,
    option: str | None,
    shares: bool = True,
) -> Sizes:
    """The scale of a column of sizes. ``shares``: they may be shares of the data set. Raises
    ``Unclear``."""
    scale = SCALES[option] if option else words.scale_of(column)[1]
    unit = words.size_unit(column) or words.other_unit(column) or "samples"
    unit = "samples" if unit == words.SHARE_UNIT else unit
    subject = f"column {column!r}"
    if shares and percent.any() and not option:
        if not percent.all():
            raise Unclear(f"{subject}: some sizes carry a percent sign and some do not")
        scale = SCALES["percent"]
    low, high = float(values.min()), float(values.max())
    if option == "plain":
        return Sizes(scale, unit)
    if scale.kind == "log":
        raise Unclear(
            f"{subject} holds logarithms by its name, but of which base? Say --x-scale log10 or ln "
            "(or plain, where it holds sizes)"
        )
    if scale.kind in ("log10", "log2", "ln"):
        base = {"log10": "10", "log2": "2", "ln": "e"}[scale.kind]
        return Sizes(scale, unit, f"{subject} holds logarithms: sizes are {base} to its values.")
    if scale.kind == "times":
        if suffixed:
            raise Unclear(
                f"{subject}: its name says a scale and so do cells like '4K'; say --x-scale plain"
            )
        if not option and low >= _ABSURD.get(scale.times, math.inf):
            raise Unclear(
                f"{subject} holds values from {low:g} on, too many to be multiples of "
                f"{scale.times:g} as its name says: say --x-scale plain or, where they are, "
                f"--x-scale {_letter(scale.times)}"
            )
        return Sizes(
            scale, unit, f"{subject} is multiplied by {scale.times:g} ({scale.word or option})."
        )
    if not shares:
        return Sizes(Scale(), unit)
    if scale.kind == "share":
        if scale.times == 1.0 and high > 1.0:
            raise Unclear(
                f"{subject}: shares up to {high:g}? Say --x-scale percent, or plain for sizes"
            )
        kind = "percent" if scale.times != 1.0 else "shares"
        note = f"{subject} holds {kind} of the data set: sizes are multiples of the whole of it."
        return Sizes(scale, words.SHARE_UNIT, note)
    if unit == "samples" and 0 < low < high <= 1.0:
        note = f"{subject} lies between 0 and 1 and is taken for shares of the data set."
        return Sizes(SCALES["share"], words.SHARE_UNIT, note)
    return Sizes(Scale(), unit)


def _letter(times: float) -> str:
    return {1e3: "k", 1e6: "M", 1e9: "B", 1e12: "T"}[times]


# ---------------------------------------------------------------- errors


@dataclass(frozen=True)
class Meaning:
    """How to convert the numbers of an error column to errors."""

    column: str = ""
    name: str = "error"
    divisor: float = 1.0
    accuracy: bool = False
    why: str = ""
    """For percentages: the reason to take them as such; else ''."""
    turned: str = ""
    """'perplexity', 'negated', 'log10', 'ln' or 'log2' for numbers that must be transformed to
    errors; else ''."""
    remark: str = ""
    """Another note about the column."""

    @property
    def metric(self) -> str:
        if self.accuracy:
            return higher_metric(self.name, self.divisor).metric
        if self.turned == "perplexity":
            return as_error(self.name)
        return "error" if self.name in PLAIN else self.name

    def errors(self, values: Array) -> Array:
        with np.errstate(all="ignore"):
            if self.turned == "perplexity":
                return np.log(values)
            if self.turned == "negated":
                return -values
            if self.turned:
                plain = [words.logarithm_undone(SCALES[self.turned], v) for v in values]
                values = np.array(plain, float)
            values = values / self.divisor
            return 1.0 - values if self.accuracy else values

    def spread(self, values: Array, spreads: Array) -> Array:
        """Convert spreads in the unit of the column to spreads of the errors."""
        with np.errstate(all="ignore"):
            if self.turned == "perplexity":
                return spreads / values
            if self.turned in ("log10", "ln", "log2"):
                base = {"log10": math.log(10), "ln": 1.0, "log2": math.log(2)}[self.turned]
                return spreads * base * self.errors(values)
            return spreads / (1.0 if self.turned else self.divisor)

    def note(self, largest: float) -> str:
        """The note about the column, for a curve whose largest error is ``largest``."""
        return " ".join(part for part in (self.remark, self._scale(largest)) if part)

    def _scale(self, largest: float) -> str:
        scale = f"in percent ({self.why})" if self.why else "as a fraction"
        if self.accuracy:
            if self.name in OF_100 and self.why:
                scale = "from 0 to 100"
            higher = higher_metric(self.name, self.divisor)
            noun = "an accuracy" if higher.name in ACCURACIES else "a score"
            return f"Column {self.column!r} is {noun} {scale}: the error, {self.metric}, is fitted."
        if self.turned == "perplexity":
            return f"Column {self.column!r} is a perplexity: its logarithm is fitted."
        if self.turned == "negated":
            return f"Column {self.column!r} holds negated errors: their sign is turned."
        if self.turned:
            return f"Column {self.column!r} holds logarithms ({self.turned}): they are undone."
        if self.why:
            return f"Column {self.column!r} is {scale}: its values are divided by 100."
        if self.name in PLAIN and largest > 1:
            return (
                f"Column {self.column!r} has values above 1 and is taken as a loss; if it is a "
                "percentage, put a percent sign in its name, or say --y-scale percent."
            )
        is_share = self.name in (*PLAIN, *RATES)
        return f"Column {self.column!r} is taken as a fraction." if is_share else ""


def meaning(
    column: str,
    values: Array,
    percent: Array,
    sizes: Array,
    higher_is_better: bool,
    option: str | None,
    one_of_several: bool = False,
) -> Meaning:
    """The meaning of a column. Raises ``Unclear``.

    ``percent`` marks cells with a percent sign; ``sizes`` are those of the same rows.
    ``one_of_several``: the column's name may be that of a model rather than a metric."""
    name, kind = words.metric_label(column), words.metric_kind(column)
    if one_of_several and not kind:
        name = "score" if higher_is_better else "error"
    if percent.any() and not percent.all():
        raise Unclear("some values carry a percent sign and some do not")
    scale = SCALES[option] if option else words.scale_of(column)[1]
    turned = _turned(column, values, scale, kind, option)
    if turned is not None:
        return turned
    note = ""
    if option is None and scale.kind == "log":
        note = f"{column!r} is taken for the loss of that name, not for a logarithm."
    accuracy = higher_is_better or kind == "higher"
    if not accuracy and kind in ("rising", "") and option != "plain":
        direction = rank_correlation(sizes, values)
        within = values.min() >= 0.0 and values.max() <= 100.0
        if kind == "rising":
            accuracy = direction > 0 and within
            reading = (
                "rises with the data, and is an accuracy" if accuracy else "is taken for an error"
            )
            note = note or f"{column!r} {reading}."
            if -UNSURE < direction <= 0 and within and np.ptp(sizes) > 0:
                raise Unclear(
                    "it neither rises nor falls clearly with the size: say --higher-is-better for "
                    "a score, --y-scale plain for an error"
                )
            if direction > 0 and not within:
                raise Unclear(
                    "it rises with the data as a score does, but does not lie between 0 and 1 (or "
                    "100): keep its distance from the best possible value as a column of errors"
                )
        elif direction > 0:
            raise Unclear(
                "it rises with the size, as no error does: say --higher-is-better for an accuracy "
                "or a score (or --y-scale plain, where it is an error)"
            )
    return _in_percent(
        Meaning(column, name, accuracy=accuracy, remark=note), values, percent, scale, option
    )


def _turned(
    column: str, values: Array, scale: Scale, kind: str, option: str | None
) -> Meaning | None:
    """The meaning of numbers that must be transformed to errors; None if they are errors as they
    are. Raises ``Unclear``."""
    name_words = words.tokens(column)
    if option == "plain":
        return None
    if {"perplexity", "ppl"} & {*name_words} and kind != "negated" and scale.kind == "plain":
        name = words.metric_label(column)
        name = name if is_perplexity(name) else "perplexity"
        return Meaning(column, name, turned="perplexity")
    if kind == "negated" and values.max() <= 0:
        plain = "_".join(t for t in name_words if t not in ("neg", "negative"))
        return Meaning(column, words.metric_label(plain) or "error", turned="negated")
    if scale.kind == "log" and (
        values.min() < 0 or not {"loss", "likelihood", "prob", "ppl", "perplexity"} & {*name_words}
    ):
        raise Unclear(
            "it holds logarithms by its name, but of which base? Say --y-scale log10 or ln (or "
            "plain)"
        )
    if scale.kind in ("log10", "ln", "log2"):
        if name_words[-1] == scale.word and kind == "error" and values.min() >= 0:
            raise Unclear(
                f"its name may say an error of {scale.word} values, or the {scale.word} of an "
                f"error: say --y-scale plain or --y-scale {scale.kind}"
            )
        if column.strip()[0] in "-\u2212" or {"neg", "minus"} & {*name_words}:
            raise Unclear("it holds negative logarithms by its name: turn their sign")
        rest = "_".join(words.scale_of(column)[0])
        return Meaning(column, words.metric_label(rest), turned=scale.kind)
    if scale.kind == "times" and scale.times != 100.0:
        raise Unclear(
            f"its name says multiples of {scale.times:g}: say --y-scale plain, or divide it"
        )
    return None


def _in_percent(
    meaning: Meaning, values: Array, percent: Array, scale: Scale, option: str | None
) -> Meaning:
    """``meaning`` with the divisor of percentages. Raises ``Unclear``."""
    is_percent = (
        bool(percent.all())
        or (scale.kind == "share" and scale.times != 1.0)
        or scale.times == 100.0
    )
    why = "it says so"
    if option:
        is_percent = option == "percent"
    elif not is_percent and meaning.accuracy:
        small, large = values[values <= 1], values[values > 1]
        if len(small) and len(large) and large.min() > 20 * max(small.max(), 0.0):
            raise Unclear(
                "fractions and percentages in one column: some values lie above 1, some far below"
            )
        is_percent, why = bool(len(large)), "values lie above 1"
    elif not is_percent and meaning.name in RATES:
        is_percent, why = bool(np.median(values) > 1), "most values lie above 1"
    divisor = 100.0 if is_percent else 1.0
    low, high = float(values.min()) / divisor, float(values.max()) / divisor
    unbounded = meaning.name in UNBOUNDED or (low < 0 < high)
    if meaning.accuracy and (high > 1 or (low < 0 and not unbounded)):
        raise Unclear(
            "higher is better, but only values from 0 to 1 (or 100 %) become errors by 1 - value"
        )
    return Meaning(
        meaning.column,
        meaning.name,
        divisor,
        meaning.accuracy,
        why if is_percent else "",
        remark=meaning.remark,
    )


def rank_correlation(sizes: Array, values: Array) -> float:
    """Spearman correlation between the size and the mean value at each; 0 for a single size."""
    each, place = np.unique(sizes, return_inverse=True)
    if len(each) < 2:
        return 0.0
    means = np.bincount(place, values) / np.bincount(place)
    ranks = np.argsort(np.argsort(means)).astype(float)
    if np.ptp(means) == 0:
        return 0.0
    return float(np.corrcoef(np.arange(len(each)), ranks)[0, 1])
