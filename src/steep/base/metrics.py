"""What metrics are, by their names: losses, error rates, scores and perplexities.

Everything inside steep is an error: a number above 0 that falls as data grows. A metric of which
higher is better (accuracy, F1, R2, BLEU) becomes one by 1 - value, and its name says so:
'1 - accuracy', or '1 - bleu / 100' where the values run to 100. ``present.numbers`` shows such an
error as the metric that it was made of, and ``analysis.asked`` reads targets in that metric.

A perplexity is the exponential of a loss in nats, and no less than 1: its logarithm is fitted,
under the name 'log of perplexity', because a loss falls towards a floor as the laws describe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PLAIN = ("error", "err")
"""Names that may be an error rate or any other error; where values lie above 1, they are none."""
SHARES = frozenset({
    "error", "error_rate", "err_rate", "misclassification_rate", "token_error",
    "top1_error", "top5_error", "top1_err", "top5_err",
})  # fmt: skip
"""Error rates that are a share of the items: none lies above 1."""
RATES = (
    "error_rate", "err_rate", "wer", "cer", "top1_error", "top5_error", "top1_err", "top5_err",
    "misclassification_rate", "word_error_rate", "character_error_rate", "token_error",
)  # fmt: skip
"""What may be given in percent. Word and character errors may exceed 100 %: insertions count."""
LOSSES = ("loss", "cross_entropy", "xent", "nll", "log_loss", "mse", "rmse", "mae", "bpc",
          "bits_per_character", "bits_per_word")  # fmt: skip
ACCURACIES = (
    "accuracy", "acc", "balanced_accuracy", "top1_accuracy", "top5_accuracy", "top1_acc",
    "top5_acc",
)  # fmt: skip
"""Of which higher is better, given in percent."""
SCORES = ("f1", "f1_score", "auc", "auroc", "r2", "r2_score", "bleu")
"""Of which higher is better, given as a plain number."""
OTHER_SCORES = ("macro_f1", "micro_f1", "precision", "recall", "average_precision", "iou", "miou",
                "dice", "exact_match", "roc_auc", "sacrebleu", "rouge", "chrf", "mcc")  # fmt: skip
"""The same, under names that might be something else: known where somebody chose the column."""
HIGHER = (*ACCURACIES, *SCORES, *OTHER_SCORES)
UNBOUNDED = ("r2", "r2_score", "mcc")
"""Scores that may lie below 0."""
OF_A_CLASS = ("auc", "average_precision", "f1", "macro_f1", "precision", "recall", "mcc",
              "balanced_accuracy")  # fmt: skip
"""Scores whose sampling error the rarer class decides, and not the number of all items."""
OF_100 = ("bleu", "sacrebleu", "chrf")
"""Scores that are usually written from 0 to 100."""
MOST_INSERTIONS = 10.0
"""A word or character error rate above this (1,000 %) is taken for a percentage."""


ALIASES = {
    "acc": "accuracy", "top1_acc": "top1_accuracy", "top5_acc": "top5_accuracy", "f1_score": "f1",
    "roc_auc": "auc", "auroc": "auc", "r2_score": "r2", "sacrebleu": "bleu",
    "ppl": "perplexity",
}  # fmt: skip


@dataclass(frozen=True)
class HigherIsBetter:
    """A metric of which higher is better, as an error: 1 - value / ``divisor``."""

    name: str
    divisor: float = 1.0

    @property
    def metric(self) -> str:
        """The name of the error: '1 - accuracy', '1 - bleu / 100'."""
        return f"1 - {self.name}" + ("" if self.divisor == 1.0 else f" / {self.divisor:g}")

    def error(self, value: float) -> float:
        return 1.0 - value / self.divisor

    def value(self, error: Any) -> Any:
        """The metric, of an error or of many."""
        return (1.0 - error) * self.divisor


_LOG_OF = "log of "


@dataclass(frozen=True)
class Perplexity:
    """A perplexity, as an error: its natural logarithm."""

    name: str

    @property
    def metric(self) -> str:
        """The name of the error: 'log of perplexity'."""
        return f"{_LOG_OF}{self.name}"

    def error(self, value: float) -> float:
        """NaN of what is not above 0."""
        return math.log(value) if value > 0 else math.nan

    def value(self, error: Any) -> Any:
        """The perplexity, of an error or of many."""
        if isinstance(error, (int, float)):
            return math.exp(error) if error < 700 else math.inf
        return math.e**error


Original = HigherIsBetter | Perplexity
"""What an error was computed from."""


def perplexity(metric: str) -> Perplexity | None:
    """The perplexity that an error such as 'log of perplexity' is the logarithm of."""
    return Perplexity(metric.removeprefix(_LOG_OF)) if metric.startswith(_LOG_OF) else None


def original(metric: str) -> Original | None:
    """The user's own metric that an error was computed from; None if it is that error itself."""
    return higher(metric) or perplexity(metric)


def is_perplexity(name: str) -> bool:
    """Whether a user's metric of this name is a perplexity: 'perplexity', 'val_ppl'; no logarithm
    of one."""
    words = plain_name(name).split("_")
    return bool({"perplexity", "ppl"} & {*words}) and not {"log", "ln", "log2"} & {*words}


def higher(metric: str) -> HigherIsBetter | None:
    """What an error such as '1 - accuracy' was made of; None for other metrics."""
    found = re.fullmatch(r"1 - (.+?)(?: / (\d+))?", metric)
    return None if found is None else HigherIsBetter(found[1], float(found[2] or 1))


def is_higher(name: str) -> bool:
    """Whether a user's metric of this name is one of which higher is better."""
    return plain_name(name) in HIGHER


def as_error(name: str) -> str:
    """The error that a user's metric of this name becomes: '1 - accuracy'; a loss is one."""
    if is_perplexity(name):
        known = ALIASES.get(plain_name(name), name)
        return Perplexity(known).metric
    if not is_higher(name):
        return name
    return higher_metric(name, 100.0 if plain_name(name) in OF_100 else 1.0).metric


def higher_metric(name: str, divisor: float = 1.0) -> HigherIsBetter:
    """The higher-is-better metric ``name``, under its usual name ('acc' is 'accuracy').
    Accuracies become fractions; any other score is divided by ``divisor``."""
    known = ALIASES.get(plain_name(name), name)
    return HigherIsBetter(known, 1.0 if known in ACCURACIES else divisor)


def plain_name(name: str) -> str:
    """In small letters, with underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def metric_of(requested: str | None, metrics: Sequence[str]) -> str:
    """Which of a domain's ``metrics`` selects models: the requested one, by its own name or by the
    name of the score that it is computed from, by default the first. Any other name is returned
    unchanged."""
    if requested is None:
        return metrics[0]
    return as_error(requested) if as_error(requested) in metrics else requested


def answered_metric(domain: str, selects: str, metrics: Sequence[str]) -> str:
    """The metric that answers of a study are about: the one that ``selects``, but of images the
    error rate, whatever selects."""
    return "error" if domain == "images" and selects in LOSSES and "error" in metrics else selects


def is_share(metric: str) -> bool:
    """Whether no error of this metric can lie above 1."""
    made_of = higher(metric)
    return metric in SHARES or (made_of is not None and made_of.name not in UNBOUNDED)


def counts_items(metric: str) -> bool:
    """Whether an error of this metric is the share of the items that are wrong, so that the number
    of items gives its sampling error."""
    made_of = higher(metric)
    if made_of is not None:
        return made_of.name in ("accuracy", "top1_accuracy", "top5_accuracy")
    return metric in SHARES and metric != "token_error"


def counts_a_class(metric: str) -> bool:
    """Whether an error of this metric is of the items of a class, so that its sampling error
    depends on how many of them are positive: an AUC, an F1, a recall."""
    made_of = higher(metric)
    return made_of is not None and plain_name(made_of.name) in OF_A_CLASS


def check_items(items: float, metric: str, largest: float) -> None:
    """Raises ValueError where a number of validation ``items`` does not give the noise of errors of
    ``metric`` up to ``largest``."""
    if not items >= 1:
        raise ValueError(f"there must be at least 1 validation item, not {items:g}")
    told = perplexity(metric)
    if metric in LOSSES or not may_be_percent(metric, largest) or largest > 1:
        what = metric if metric in LOSSES else f"an error of {largest:g}"
        what = f"a {told.name}" if told is not None else what
        raise ValueError(
            f"a number of items gives the noise of error rates, from 0 to 1; {what} is not one"
        )


def may_be_percent(metric: str, largest: float) -> bool:
    """Whether a metric whose largest error is ``largest`` can be '5 %': whether it is a rate."""
    if higher(metric) is not None or metric in RATES:
        return True
    return metric not in LOSSES and perplexity(metric) is None and largest <= 1.0


def outside(metric: str, error: float, returned: str) -> str | None:
    """Why an ``error`` is no valid value of this metric, as a message that begins with ``returned``
    (what the user's code returned); None if it is valid. Only rates have an upper limit."""
    made_of = higher(metric)
    if made_of is not None:
        if error > 1.0 and made_of.name in UNBOUNDED:
            return None
        if 0.0 <= error <= 1.0:
            return None
        value, top = made_of.value(error), made_of.divisor
        if top == 1.0 and 1.0 < value <= 100.0:
            return (
                f"{returned}, but {made_of.name} lies between 0 and 1: is it a percentage? Return "
                f"{round(value / 100, 12)!r} for {value!r} %, or say of what a command prints "
                "that it is one (trainer: percent: true)"
            )
        return f"{returned}, but {made_of.name} lies between 0 and {top:g}"
    if perplexity(metric) is not None:
        return None if error >= 0.0 else f"{returned}, and a perplexity is at least 1"
    if error < 0.0:
        return (
            f"{returned}, and an error cannot be negative: a score of which higher is better is "
            "declared in the spec (domain: metric: accuracy) and returned as it is"
        )
    most = 1.0 if metric in SHARES else MOST_INSERTIONS if metric in RATES else None
    if most is None or error <= most:
        return None
    if error <= 100.0:
        return (
            f"{returned}, but {metric} is a rate from 0 to 1: is it a percentage? Return "
            f"{round(error / 100, 12)!r} for {error!r} %, or say of what a command prints that it "
            "is one (trainer: percent: true). A loss may lie above 1: say so in the spec (domain: "
            "metric: loss)"
        )
    return (
        f"{returned}, but {metric} is a rate from 0 to 1. A loss may lie above 1: say so in the "
        "spec (domain: metric: loss)"
    )
