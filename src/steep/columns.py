"""Which column is which, and what its numbers mean: stated rules, each said when it is applied.

Names. A column asked for is matched exactly, else without case, punctuation and the prefixes of
trackers ('metrics.val_acc', 'params.train_size', 'config/n'). One not asked for is guessed from the
common spellings below, only when exactly one column fits.

Meaning of the error column:
- cells or a name with a percent sign (or 'percent', 'pct'): divided by 100;
- an accuracy by its name ('acc', 'accuracy', 'auc', 'f1'), or ``higher_is_better``: 1 - value is
  the error, and values above 1 make the whole column percent;
- a rate by its name ('wer', 'cer', 'error_rate', 'top1_error', ...) whose median is above 1:
  percent;
- anything else is taken as it is: a column 'error' above 1 is a loss, not a percentage.
Percent and fraction in one column are an error: some cells with a sign and some without, or bare
accuracies on both sides of 1 with a gap of more than 20x between them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from statistics import median
from typing import Any

_PREFIXES = {"params", "metrics", "config", "summary", "data", "tags", "hparams", "param", "metric"}
_PERCENT = {"pct", "percent", "percentage"}
_PARTS = ("", "val", "valid", "validation", "dev", "test", "eval")
_ACCURACIES = (
    "accuracy", "acc", "auc", "auroc", "f1", "f1_score", "balanced_accuracy",
    "top1_accuracy", "top5_accuracy", "top1_acc", "top5_acc",
)  # fmt: skip
_RATES = (
    "error_rate", "err_rate", "wer", "cer", "top1_error", "top5_error", "top1_err", "top5_err",
    "misclassification_rate", "word_error_rate", "character_error_rate", "token_error",
)  # fmt: skip
LOSSES = ("loss", "cross_entropy", "xent", "nll", "log_loss", "mse", "rmse", "mae", "bpc",
           "bits_per_character", "bits_per_word")  # fmt: skip
_PLAIN = ("error", "err")

X_NAMES = {
    **dict.fromkeys(
        ("samples", "n", "m", "train_size", "training_size", "trainset_size", "training_set_size",
         "train_set_size", "dataset_size", "data_size", "n_train", "num_train", "ntrain",
         "train_samples", "training_samples", "num_samples", "n_samples", "nsamples",
         "num_train_samples", "n_train_samples", "sample_size", "anchor", "train_n"),
        "samples",
    ),
    **{
        f"{prefix}{unit}": unit
        for unit in ("examples", "images", "tokens", "words", "characters", "sentences",
                     "sentence_pairs", "utterances", "hours", "documents")
        for prefix in ("", "num_", "n_", "train_", "training_", "num_train_", "n_train_")
    },
}  # fmt: skip
Y_NAMES = {
    f"{part}_{base}".strip("_")
    for part in _PARTS
    for base in (*_PLAIN, *_RATES, *LOSSES, *_ACCURACIES)
}
SE_NAMES = {"se", "stderr", "std_error", "standard_error", "error_se", "error_stderr", "sem"}
PARAMETER_NAMES = {"parameters", "params", "num_parameters", "n_parameters", "num_params",
                   "n_params", "parameter_count", "model_parameters"}  # fmt: skip
_EMPTY = {"", "nan", "<na>", "na", "n/a", "none", "null", "-", "inf", "-inf", "+inf", "infinity"}
_SUFFIX = {"k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
FIRST = ("samples", "error", "validation_error")
"""steep's own names go before other spellings."""


def normal(name: str) -> str:
    """'metrics.val/Acc (%)' -> 'val_acc'."""
    tokens = [t for t in re.split(r"[^a-z0-9]+", name.lower()) if t]
    while len(tokens) > 1 and tokens[0] in _PREFIXES:
        tokens = tokens[1:]
    kept = [t for t in tokens if t not in _PERCENT]
    return "_".join(kept or tokens)


def find(asked: str, columns: Sequence[str]) -> str | None:
    """The column called ``asked``, exactly or without case, punctuation and prefixes."""
    if asked in columns:
        return asked
    alike = [c for c in columns if normal(c) == normal(asked)]
    return alike[0] if len(alike) == 1 else None


def missing(asked: str, columns: Sequence[str]) -> str:
    """What to say of a column that is not there."""
    near = get_close_matches(asked, columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no column {asked!r}{hint} The columns are {', '.join(columns)}"


def guess(columns: Sequence[str], known: Sequence[str] | set[str]) -> list[str]:
    """Columns whose name is one of ``known``: steep's own name alone, where there is one."""
    own = [c for c in FIRST if c in columns and c in known]
    return own[:1] or [c for c in columns if normal(c) in known]


# ---------------------------------------------------------------- cells


def decimal_comma(cells: Sequence[object]) -> bool:
    """Whether numbers are written as in 0,25 (where commas do not separate the cells)."""
    return any(re.fullmatch(r"-?\d+,\d+ ?%?", str(c)) for c in cells)


def number(cell: Any, comma: bool, suffix: bool) -> tuple[float | None, bool]:
    """(number or None, percent sign?). ValueError for anything else."""
    if isinstance(cell, bool):
        raise ValueError
    if cell is None or isinstance(cell, (int, float)):
        empty = cell is None or not math.isfinite(cell)
        return (None if empty else float(cell or 0.0)), False
    text = str(cell).strip()
    if text.lower() in _EMPTY:
        return None, False
    percent = text.endswith("%")
    text = text.rstrip("% ")
    if comma:
        text = text.replace(",", ".")
    elif re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d*)?", text):
        text = text.replace(",", "")
    times = 1.0
    if suffix and text[-1:] in _SUFFIX:
        text, times = text[:-1].rstrip(), _SUFFIX[text[-1]]
    value = float(text) * times
    if not math.isfinite(value):
        raise ValueError
    return value, percent


# ---------------------------------------------------------------- what the numbers mean


@dataclass(frozen=True)
class Meaning:
    """How the numbers of the error column become errors."""

    divisor: float = 1.0
    accuracy: bool = False
    metric: str = "error"
    note: str = ""

    def error(self, value: float) -> float:
        value = value / self.divisor
        return 1.0 - value if self.accuracy else value


def meaning(
    column: str, values: Sequence[float], signed: Sequence[bool], higher_is_better: bool
) -> Meaning | str:
    """The meaning of a column, or what is wrong with it. ``signed``: cells with a percent sign."""
    name = _base(normal(column))
    accuracy = higher_is_better or name in _ACCURACIES
    metric = "error" if accuracy or name in _PLAIN else name
    if any(signed) and not all(signed):
        return "some values carry a percent sign and some do not"
    said = all(signed) or _says_percent(column)
    why = "it says so"
    if not said and accuracy:
        small, large = [v for v in values if v <= 1], [v for v in values if v > 1]
        if small and large and min(large) > 20 * max(max(small), 0.0):
            return (
                "fractions and percentages in one column: some values lie above 1, some far below"
            )
        said, why = bool(large), "values lie above 1"
    elif not said and name in _RATES:
        said, why = median(values) > 1, "most values lie above 1"
    divisor = 100.0 if said else 1.0
    largest = max(values) / divisor
    if accuracy and not 0 <= min(values) / divisor <= largest <= 1:
        return "higher is better, but only values from 0 to 1 (or 100 %) become errors by 1 - value"
    return Meaning(divisor, accuracy, metric, _note(column, name, accuracy, said, why, largest))


def _base(name: str) -> str:
    """Without the part it was measured on: 'val_acc' -> 'acc'."""
    head, _, rest = name.partition("_")
    return rest if rest and head in _PARTS else name


def _says_percent(column: str) -> bool:
    tokens = set(re.split(r"[^a-z]+", column.lower()))
    return "%" in column or bool(tokens & _PERCENT)


def _note(column: str, name: str, accuracy: bool, percent: bool, why: str, largest: float) -> str:
    scale = f"in percent ({why})" if percent else "as a fraction"
    if accuracy:
        return f"Column {column!r} is an accuracy {scale}: 1 - accuracy is the error."
    if percent:
        return f"Column {column!r} is {scale}: its values are divided by 100."
    if name in _PLAIN and largest > 1:
        return (
            f"Column {column!r} has values above 1 and is taken as a loss; if it is a percentage, "
            "put a percent sign in its name."
        )
    return f"Column {column!r} is taken as a fraction." if name in (*_PLAIN, *_RATES) else ""
