"""Which column is which, and what its numbers mean: stated rules, each said when it is applied.

Names. A column asked for is matched exactly, else without case, punctuation and the prefixes of
trackers ('metrics.val_acc', 'params.train_size', 'config/n'). One not asked for is guessed from the
common spellings below, only when exactly one column fits; for sizes then from words that can mean
them ('size', 'data'); and of two columns the one that grows in whole numbers holds the sizes, the
other the errors.

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
from statistics import median

from steep.amounts import Writing, number
from steep.desk import Desk
from steep.metrics import (
    ACCURACIES,
    HIGHER,
    LOSSES,
    OF_100,
    PLAIN,
    RATES,
    SCORES,
    UNBOUNDED,
    made_higher,
)
from steep.spelling import did_you_mean

_SETTINGS = {"params", "param", "hparams", "config"}
_PREFIXES = {*_SETTINGS, "metrics", "summary", "data", "tags", "metric"}
_PERCENT = {"pct", "percent", "percentage"}
_PARTS = ("", "val", "valid", "validation", "dev", "test", "eval")

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
X_PERHAPS = {"size", "sizes", "data", "train", "training", "examples_seen", "x", "rows", "subset",
             "subset_size", "shard", "shard_size", "data_points", "datapoints"}  # fmt: skip
"""What training-set sizes may be called where nothing else is called so."""
NOT_SIZES = {"step", "steps", "epoch", "epochs", "iteration", "iterations", "iter", "time", "index",
             "seconds", "wall_time", "seed", "run", "id", "rank", "layers", "width",
             "depth"}  # fmt: skip
"""What grows in whole numbers and is no training-set size."""
Y_NAMES = {
    f"{part}_{base}".strip("_")
    for part in _PARTS
    for base in (*PLAIN, *RATES, *LOSSES, *ACCURACIES, *SCORES)
}
SE_NAMES = {"se", "stderr", "std_error", "standard_error", "error_se", "error_stderr", "sem"}
PARAMETER_NAMES = {"parameters", "params", "num_parameters", "n_parameters", "num_params",
                   "n_params", "parameter_count", "model_parameters"}  # fmt: skip
COMPUTE_NAMES = {"flops", "compute", "flop", "train_flops", "training_flops", "total_flops",
                 "training_compute", "c"}  # fmt: skip
_SCALARS = {"wall_time", "step", "value"}
"""The columns of a scalar that TensorBoard exports."""
FIRST = ("samples", "error", "validation_error")
"""steep's own names go before other spellings."""


def normal(name: str) -> str:
    """'metrics.val/Acc (%)' -> 'val_acc'; 'run-a - val/error' of a chart of W&B -> 'val_error'."""
    tokens = _tokens(name)
    while len(tokens) > 1 and tokens[0] in _PREFIXES:
        tokens = tokens[1:]
    kept = [t for t in tokens if t not in _PERCENT]
    return "_".join(kept or tokens)


def _tokens(name: str) -> list[str]:
    run, _, own = name.rpartition(" - ")
    text = name if run.strip().isdecimal() else own  # '1 - accuracy' is no run called 1
    return [t for t in re.split(r"[^a-z0-9]+", text.lower()) if t]


def tracked_setting(name: str) -> bool:
    """Whether a tracker lists the column among the settings of a run: 'params.lr'."""
    tokens = _tokens(name)
    return len(tokens) > 1 and tokens[0] in _SETTINGS


def find(asked: str, columns: Sequence[str]) -> str | None:
    """The column called ``asked``, exactly or without case, punctuation and prefixes."""
    if asked in columns:
        return asked
    alike = [c for c in columns if normal(c) == normal(asked)]
    return alike[0] if len(alike) == 1 else None


def missing(asked: str, columns: Sequence[str]) -> str:
    """What to say of a column that is not there."""
    hint = did_you_mean(asked, columns) or "."
    return f"no column {asked!r}{hint} The columns are {', '.join(columns)}"


def guess(columns: Sequence[str], known: Sequence[str] | set[str]) -> list[str]:
    """Columns whose name is one of ``known``: steep's own name alone, where there is one."""
    own = [c for c in FIRST if c in columns and c in known]
    return own[:1] or [c for c in columns if normal(c) in known]


# ---------------------------------------------------------------- the choice


@dataclass(frozen=True)
class Names:
    """The columns of a table that are read."""

    x: str
    y: str
    by: str | None
    se: str | None
    parameters: str | None
    unique: str | None


def choose(
    desk: Desk,
    x: str | None,
    y: str | None,
    by: str | None,
    se: str | None,
    size: str | None,
    unique: str | None,
) -> Names:
    """Which column is which: as asked, or guessed; what is missing is a problem on the desk."""
    x, y = _of_two(desk, x, y)
    chosen_x = _needed(desk, "--x", "training-set sizes", x, "samples", set(X_NAMES))
    chosen_y = _needed(desk, "--y", "errors", y, "error", Y_NAMES)
    taken = {chosen_x, chosen_y}
    chosen_by = _asked(desk, by)
    if by is None and "curve" in desk.rows.columns and "curve" not in taken:
        chosen_by = "curve"
        desk.notes.append("Column 'curve' tells curves apart.")
    chosen_se = _optional(desk, se, SE_NAMES, "standard errors", taken)
    chosen_size = _optional(desk, size, PARAMETER_NAMES, "model sizes", taken)
    return Names(chosen_x, chosen_y, chosen_by, chosen_se, chosen_size, _asked(desk, unique))


def samples_from_compute(
    desk: Desk, compute: str | None, parameters: str | None, per_parameter_sample: float
) -> None:
    """Adds the column 'samples' = compute / (k * model size) to a table of runs without sizes of
    data, and says so."""
    names = desk.rows.columns
    if compute is None and guess(names, set(X_NAMES)):
        return
    flops = [_asked(desk, compute)] if compute else guess(names, COMPUTE_NAMES)
    sizes = [_asked(desk, parameters)] if parameters else guess(names, PARAMETER_NAMES)
    if len(flops) != 1 or len(sizes) != 1 or flops[0] is None or sizes[0] is None:
        return
    made: list[object] = []
    for c, n in zip(desk.rows.cells[flops[0]], desk.rows.cells[sizes[0]], strict=True):
        try:
            product, size = (number(cell, Writing(size=True))[0] for cell in (c, n))
            made.append(product / (per_parameter_sample * size) if product and size else None)
        except ValueError:
            made.append(None)
    if "samples" in desk.rows.cells:
        desk.problems.append(f"samples are in the table: leave out the column {flops[0]!r}")
        return
    desk.rows.cells["samples"] = made
    desk.notes.append(
        f"Samples are computed from C = {per_parameter_sample:g} N D, C the column {flops[0]!r}."
    )


def _of_two(desk: Desk, x: str | None, y: str | None) -> tuple[str | None, str | None]:
    """What was asked for; of a table of two columns whose names do not tell, the one that grows in
    whole numbers as the sizes and the other one as the errors."""
    names = desk.rows.columns
    told = bool(guess(names, X_PERHAPS | set(X_NAMES))) and bool(guess(names, Y_NAMES))
    if len(names) != 2 or (x or "samples", y or "error") != ("samples", "error") or told:
        return x, y
    growing = [name for name in names if _grows(desk.rows.cells[name])]
    if len(growing) != 1 or guess(growing, Y_NAMES | NOT_SIZES | PARAMETER_NAMES):
        return x, y
    sizes = growing[0]
    errors = names[1 - names.index(sizes)]
    if guess([errors], set(X_NAMES)):
        return x, y
    desk.notes.append(f"Column {sizes!r} grows, and is taken for the sizes; {errors!r} for errors.")
    return sizes, errors


def _grows(cells: Sequence[object]) -> bool:
    """Whether these are whole numbers from 1 on, each at least the one before, not all alike."""
    try:
        values = [number(cell, Writing(size=True))[0] for cell in cells]
    except ValueError:
        return False
    whole = [v for v in values if v is not None]
    if len(whole) < 2 or len(whole) < len(values) or any(v < 1 or v % 1 for v in whole):
        return False
    return whole == sorted(whole) and whole[0] < whole[-1]


def _needed(
    desk: Desk, option: str, what: str, asked: str | None, default: str, known: set[str]
) -> str:
    names = desk.rows.columns
    if asked is not None and (asked != default or asked in names):
        return _asked(desk, asked) or ""
    found = guess(names, known)
    if not found and option == "--x":
        found = [c for c in names if normal(c) in X_PERHAPS]
    if not found and option == "--y" and {normal(c) for c in names} >= _SCALARS:
        found = [c for c in names if normal(c) == "value"]
    if len(found) == 1:
        if found[0] != default:
            desk.notes.append(f"Column {found[0]!r} is taken for the {what}.")
        return found[0]
    if found:
        which = " or ".join(repr(name) for name in found)
        desk.problems.append(f"the {what} could be {which}: choose with {option}")
    else:
        desk.problems.append(_unlike(names, option, what))
    return ""


def _unlike(names: Sequence[str], option: str, what: str) -> str:
    """What to say where no column looks like ``what``."""
    step = next((c for c in names if normal(c) == "step"), None)
    if option == "--x" and step is not None:
        return (
            f"no column looks like {what}. {step!r} is taken for the steps of one training run, "
            f"which make no learning curve; where it holds training-set sizes, say --x {step}"
        )
    said = f"no column looks like {what}: name it with {option}"
    return f"{said}. The columns are {', '.join(names)}"


def _asked(desk: Desk, asked: str | None) -> str | None:
    if asked is None:
        return None
    found = find(asked, desk.rows.columns)
    if found is None:
        desk.problems.append(missing(asked, desk.rows.columns))
    elif found != asked:
        desk.notes.append(f"{asked!r} is column {found!r}.")
    return found


def _optional(
    desk: Desk, asked: str | None, known: set[str], what: str, taken: set[str]
) -> str | None:
    if asked is not None:
        return _asked(desk, asked)
    found = [c for c in desk.rows.columns if normal(c) in known and c not in taken]
    if len(found) != 1:
        return None
    desk.notes.append(f"Column {found[0]!r} is taken for the {what}.")
    return found[0]


# ---------------------------------------------------------------- what the numbers mean


@dataclass(frozen=True)
class Meaning:
    """How the numbers of the error column become errors."""

    column: str = ""
    name: str = "error"
    divisor: float = 1.0
    accuracy: bool = False
    why: str = ""
    """Of percentages: what says so."""

    @property
    def metric(self) -> str:
        if self.accuracy:
            return made_higher(self.name, self.divisor).metric
        return "error" if self.name in PLAIN else self.name

    def error(self, value: float) -> float:
        value = value / self.divisor
        return 1.0 - value if self.accuracy else value

    def note(self, largest: float) -> str:
        """What is said of it, on a curve whose largest error is ``largest``."""
        scale = f"in percent ({self.why})" if self.why else "as a fraction"
        if self.accuracy:
            if self.name in OF_100 and self.why:
                scale = "from 0 to 100"
            made_of = made_higher(self.name, self.divisor)
            what = "an accuracy" if made_of.name in ACCURACIES else "a score"
            return f"Column {self.column!r} is {what} {scale}: the error, {self.metric}, is fitted."
        if self.why:
            return f"Column {self.column!r} is {scale}: its values are divided by 100."
        if self.name in PLAIN and largest > 1:
            return (
                f"Column {self.column!r} has values above 1 and is taken as a loss; if it is a "
                "percentage, put a percent sign in its name."
            )
        known = self.name in (*PLAIN, *RATES)
        return f"Column {self.column!r} is taken as a fraction." if known else ""


def meaning(
    column: str, values: Sequence[float], signed: Sequence[bool], higher_is_better: bool
) -> Meaning | str:
    """The meaning of a column, or what is wrong with it. ``signed``: cells with a percent sign."""
    name = _base(normal(column))
    accuracy = higher_is_better or name in HIGHER
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
    elif not said and name in RATES:
        said, why = median(values) > 1, "most values lie above 1"
    divisor = 100.0 if said else 1.0
    largest = max(values) / divisor
    least = -math.inf if name in UNBOUNDED else 0.0
    if accuracy and not least <= min(values) / divisor <= largest <= 1:
        return "higher is better, but only values from 0 to 1 (or 100 %) become errors by 1 - value"
    return Meaning(column, name, divisor, accuracy, why if said else "")


def _base(name: str) -> str:
    """Without the part it was measured on: 'val_acc' -> 'acc'."""
    head, _, rest = name.partition("_")
    return rest if rest and head in _PARTS else name


def _says_percent(column: str) -> bool:
    tokens = set(re.split(r"[^a-z]+", column.lower()))
    return "%" in column or bool(tokens & _PERCENT)
