"""The meaning of column names: sizes and their units, metrics, spreads, steps, runs, scales.

A name is split into words ('metrics.val/Acc (%)' into val, acc); the functions below look at these.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from steep.base.metrics import (
    ALIASES,
    HIGHER,
    LOSSES,
    PLAIN,
    RATES,
    as_error,
    higher_metric,
    is_perplexity,
    plain_name,
)
from steep.base.metrics import SHARES as SHARES_OF_ITEMS
from steep.tables.amounts import Writing, number

_SETTINGS = {"params", "param", "hparams", "config", "user", "attrs"}
_PREFIXES = {*_SETTINGS, "metrics", "summary", "data", "tags", "metric", "throughput"}
PERCENT = {"pct", "percent", "percentage", "percentages"}
SHARES = {"fraction", "frac", "share", "portion", "proportion", "ratio", "fractions"}

_UNITS = {
    **{f"{u}s"[:n]: f"{u}s" for n in (-1, None) for u in (
        "sample", "example", "image", "token", "word", "character", "sentence", "utterance", "hour",
        "document", "row", "instance", "observation", "molecule", "structure", "demonstration",
        "video", "clip", "graph", "protein", "sequence", "review", "article", "byte", "shot",
        "datapoint", "patient", "trajectorie", "question", "prompt", "episode", "frame", "record",
        "label", "annotation", "event")},
    "char": "characters", "chars": "characters", "doc": "documents", "docs": "documents",
    "obs": "observations", "demos": "demonstrations", "pairs": "pairs", "datapoints": "samples",
    "datapoint": "samples", "mb": "bytes", "gb": "bytes", "kb": "bytes", "tb": "bytes",
}  # fmt: skip
"""Units of training sets."""
_FILL = {"n", "num", "number", "nr", "no", "of", "train", "training", "tr", "trained", "seen",
         "total", "set", "size", "sizes", "count", "used", "consumed", "processed", "per", "class",
         "data", "dataset", "trainset", "labeled", "labelled", "pretraining", "pretrain",
         "finetuning", "finetune", "input", "in", "the", "all", "k", "few", "budget",
         "approx"}  # fmt: skip
_SET = {"train", "training", "tr", "trainset", "data", "dataset", "labeled", "labelled",
        "pretraining", "finetuning", "finetune"}  # fmt: skip
_SIZE = {"n", "num", "number", "size", "sizes", "count", "nr", "rows"}
_SURE = {"n", "m", "anchor", "ntrain", "ntr", "trainsize", "datasize", "nsamples", "ndata"}
_PERHAPS = {"size", "sizes", "data", "train", "training", "x", "subset", "subset_size", "shard",
            "shard_size", "data_points", "points", "num_points", "labeled", "labelled",
            "annotated", "labels", "events", "budget", "training_data", "train_data",
            "training_set", "train_set"}  # fmt: skip
"""Names of training-set sizes if no other column can hold them."""

_ITEMS = {"label", "event"}
"""Units that name the item or the curve of a row where they stand alone."""

_PARTS = {"val", "valid", "validation", "dev", "test", "eval", "heldout", "cv", "mean", "avg",
          "average", "median", "best", "final", "last", "min", "max", "overall",
          "none"}  # fmt: skip
"""Words for the part of the data, or for the statistic, of a metric."""
_TRAINED = {"train", "training", "fit"}
_ERRORS = {"error", "err", "errors", "loss", "losses", "xent", "nll", "mse", "rmse", "mae", "mape",
           "smape", "rmsle", "cer", "wer", "eer", "ter", "der", "fid", "perplexity", "ppl", "bpc",
           "bpb", "bits", "regret", "brier", "deviance", "entropy", "crossentropy", "logloss",
           "crps", "ece", "misclassification", "crossentropyloss", "risk"}  # fmt: skip
_HIGHER = {"acc", "accuracy", "accuracies", "auc", "auroc", "auprc", "aupr", "rocauc", "f1",
           "f1score", "fscore", "r2", "rsquared", "bleu", "sacrebleu", "miou", "iou", "rouge",
           "rougel", "rouge1", "rouge2", "chrf", "ndcg", "mrr", "dice", "top1", "top5", "pearson",
           "pearsonr", "spearman", "spearmanr", "kappa", "mcc", "map50"}  # fmt: skip
_RISING = {"score", "scores", "map", "las", "uas", "precision", "recall", "em", "exact", "match",
           "success", "hits", "pass", "correct", "win", "winrate", "reward", "sensitivity",
           "specificity", "comet", "meteor", "tpr", "agreement", "corr", "correlation", "ap",
           "performance", "solved"}  # fmt: skip
"""Metrics of which higher is better if they rise with the data; otherwise they are errors."""
_NEGATED = {"neg", "negative"}
_TIMES_OR_RANKS = {"time", "seconds", "rank", "runtime", "duration", "second"}

_SE = {"se", "sem", "stderr", "stde"}
_SD = {"std", "sd", "stdev", "stddev", "stds", "sigma"}
_OTHER_SPREAD = {"var", "variance", "ci", "ci95", "ci90", "lower", "upper", "lo", "hi", "low",
                 "high", "iqr", "errorbar", "yerr", "interval", "bound", "q05", "q95", "q25", "q75",
                 "lcb", "ucb"}  # fmt: skip
_LOW = {"lower", "lo", "low", "lcb"}
_HIGH = {"upper", "hi", "high", "ucb"}

_STEPS = {"step", "global_step", "epoch", "iteration", "iter", "update", "current_epoch",
          "training_step", "train_step"}  # fmt: skip
"""Names for the point in a run at which a row was measured. 'epochs' and 'steps' are not among
them: they may be the length of a whole run."""
_COUNTED_STEPS = {"epoch", "epochs", "step", "steps", "iteration", "iterations", "iter", "iters",
                  "round", "rounds"}  # fmt: skip
NOT_SIZES = {*_STEPS, "steps", "epochs", "iterations", "iters", "updates", "time", "index",
             "seconds", "wall_time", "walltime", "seed", "run", "id", "rank", "layers", "width",
             "depth", "training_steps", "train_steps", "global_steps", "checkpoint", "batches",
             "relative_time", "num_steps", "num_epochs", "n_epochs", "n_steps"}  # fmt: skip
"""Columns of growing whole numbers that are not training-set sizes."""
RUNS = {"seed", "run", "run_id", "run_name", "name", "id", "trial", "trial_id", "replicate",
        "replica", "repeat", "repetition", "rep", "random_state", "replication", "bootstrap",
        "resample", "attempt", "init", "number", "row_name", "index", "trial_number", "reps",
        "repeats", "seeds", "iteration_id", "try", "draw_id"}  # fmt: skip
DRAWS = {"permutation", "fold", "draw", "data_seed", "split_seed", "subset_seed", "cv_fold", "cv",
         "fold_id", "folds", "shuffle"}  # fmt: skip
_PARAMETERS = {"parameters", "params", "param", "parameter"}
_OF_PARAMETERS = {*_PARAMETERS, "n", "num", "number", "of", "model", "total", "trainable", "count",
                  "size", "nr", "in"}  # fmt: skip


# ---------------------------------------------------------------- words


@lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    """The words in lower case, without the run of a W&B chart and with camel case split."""
    run, _, metric = name.rpartition(" - ")
    text = name if run.strip().isdecimal() else metric  # in '1 - accuracy', 1 is not a run
    text = re.split(r"±|\+/-", text)[0] or text  # 'accuracy (mean ± SD)' holds means
    for mixed in ("mAP", "mIoU"):
        text = text.replace(mixed, mixed.lower())
    text = re.sub(r"(?i)\btop[-_ ](?=\d)", "top", text)
    text = re.sub(
        r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[a-z]{2})(?=[A-Z]{2})",
        " ",
        text.replace("²", "2").replace("R^2", "R2"),
    )
    return tuple(t for t in re.split(r"[^a-z0-9]+", text.lower()) if t)


def tokens(name: str) -> list[str]:
    """'metrics.val/Acc (%)' -> ['val', 'acc']."""
    words = list(_words(name))
    while len(words) > 1 and words[0] in _PREFIXES and not _is_multiple(words):
        words = words[1:]
    return [t for t in words if t not in PERCENT] or words or [name.lower()]


def _is_multiple(words: list[str]) -> bool:
    """Whether the words name a size and its multiplier, as in 'params_M' (millions of parameters);
    that is not a run's setting called M."""
    return words[0] in ("params", "data") and words[1] in {*"kmbgt", *_TIMES, "in"}


def normal(name: str) -> str:
    """'metrics.val/Acc (%)' -> 'val_acc'; 'run-a - val/error' of a chart of W&B -> 'val_error'."""
    return "_".join(tokens(name))


def run_of(name: str) -> str:
    """The run before a metric's name in a chart of W&B: 'vit' of 'vit - val/loss'."""
    run, _, metric = name.rpartition(" - ")
    return run.strip() if metric and run.strip() and not run.strip().isdecimal() else ""


def tracked_setting(name: str) -> bool:
    """Whether a tracker lists the column among the settings of a run: 'params.lr'."""
    words = _words(name)
    return len(words) > 1 and words[0] in _SETTINGS


def number_in(text: str) -> float | None:
    """A size such as '1000' or '1k' as a number; None for other text."""
    try:
        return number(text, Writing(size=True))[0] if re.match(r"\d", text) else None
    except ValueError:
        return None


def is_replicate(name: str) -> bool:
    """Whether a column distinguishes repeated measurements, such as a seed."""
    joined = normal(name)
    return (
        joined in RUNS
        or joined in DRAWS
        or joined.endswith(("seed", "split"))
        or joined in ("s", "k")
    )


def is_history(name: str) -> bool:
    """Whether a column is the point in a run at which a row was measured."""
    words = [t for t in tokens(name) if t not in ("trainer", "wandb", "charts")]
    return "_".join(words) in _STEPS


def is_steps(name: str) -> bool:
    """Whether a column counts steps, epochs or time rather than training data."""
    words = [t for t in tokens(name) if t not in ("trainer", "wandb", "charts")]
    if counts_steps(name):
        return True
    return "_".join(words) in {*_STEPS, *NOT_SIZES} - {"id", "width", "depth", "layers"}


def counts_steps(name: str) -> bool:
    """Whether a column counts steps or epochs by a word of its name."""
    return bool({*tokens(name)} & _COUNTED_STEPS) and not {*tokens(name)} & {*_UNITS}


def is_compute(name: str) -> bool:
    """Whether a column holds training FLOPs."""
    words = scale_of(name)[0]
    return bool({*words} & {"flops", "flop", "compute"}) or words == ["c"]


def is_parameters(name: str) -> bool:
    """Whether a column holds model sizes, in parameters."""
    words = scale_of(name)[0]
    return bool({*words} & _PARAMETERS) and {*words} <= _OF_PARAMETERS


# ---------------------------------------------------------------- scales


@dataclass(frozen=True)
class Scale:
    """How to convert the numbers of a column to plain ones."""

    kind: str = "plain"
    """'plain', 'log10', 'ln', 'log2', 'log' (of an unknown base), 'times' or 'share'."""
    times: float = 1.0
    word: str = ""
    """The word of the name that shows it."""


_LOGS = {"log10": "log10", "ln": "ln", "log2": "log2", "lg": "log10", "loge": "ln", "log": "log"}
_BASES = {"10": "log10", "2": "log2", "e": "ln"}
_TIMES = {
    "thousand": 1e3, "thousands": 1e3, "1e3": 1e3, "1000s": 1e3, "kb": 1e3,
    "million": 1e6, "millions": 1e6, "mio": 1e6, "mn": 1e6, "1e6": 1e6, "mb": 1e6,
    "billion": 1e9, "billions": 1e9, "bn": 1e9, "1e9": 1e9, "gb": 1e9,
    "trillion": 1e12, "trillions": 1e12, "1e12": 1e12, "tb": 1e12,
}  # fmt: skip
_LETTERS = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_POWER = re.compile(r"[x×*/]\s*(?:10(?:\^|\*\*)(\d+)|1e(\d+)|(1[,.]?000(?:[,.]?000)*))\b")
SCALES = {
    "plain": Scale(), "log10": Scale("log10"), "ln": Scale("ln"), "log2": Scale("log2"),
    "k": Scale("times", 1e3), "M": Scale("times", 1e6), "B": Scale("times", 1e9),
    "T": Scale("times", 1e12), "percent": Scale("share", 0.01), "share": Scale("share"),
}  # fmt: skip
"""Scales by the names that a user can give."""


def scale_of(name: str) -> tuple[list[str], Scale]:
    """The words of a name without its scale, and the scale."""
    words = tokens(name)
    if words[0] in _LOGS and len(words) > 1:
        if words[0] == "log" and words[1] in _BASES and len(words) > 2:
            return words[2:], Scale(_BASES[words[1]], 1.0, f"{words[0]}{words[1]}")
        return words[1:], Scale(_LOGS[words[0]], 1.0, words[0])
    if words[-1] in _LOGS and len(words) > 1:
        return words[:-1], Scale(_LOGS[words[-1]], 1.0, words[-1])
    if power := _POWER.search(name.lower()):
        exponent = power[1] or power[2]
        times = 10.0 ** int(exponent) if exponent else float(re.sub(r"[,.]", "", power[3]))
        return [t for t in words if not re.search(r"\d", t)] or words, Scale(
            "times", times, power[0]
        )
    if {*_words(name)} & PERCENT or "%" in name:
        kept = [t for t in words if t not in {*SHARES, *PERCENT}]
        return kept or ["share"], Scale("share", 0.01, "percent")
    if {*words} & SHARES:
        return [t for t in words if t not in SHARES] or ["share"], Scale("share", 1.0, "share")
    return _multiple(name, words)


def _multiple(name: str, words: list[str]) -> tuple[list[str], Scale]:
    """The words without the multiple at their end, and the scale: 'params_M', 'tokens (B)',
    'n_thousands', 'tokensB', 'size_mb'."""
    if len(words) < 2:
        letter = re.search(r"(?<=[a-z])[KMBT]$", name)
        if letter is None:
            return words, Scale()
        return [words[0][:-1]], Scale("times", _LETTERS[letter[0]], letter[0])
    last, written = words[-1], re.split(r"[^A-Za-z0-9]+", name.strip(" )]}"))[-1]
    kept = [t for t in words[:-1] if t != "in"]
    if last in _TIMES:
        unit = ["bytes"] if _UNITS.get(last) == "bytes" else []
        return kept + unit, Scale("times", _TIMES[last], written)
    sized = size_rank_of(kept) == 2 or bool({*kept} & _PARAMETERS)
    if (sized and last in {*"kmbt"}) or (written in _LETTERS and not metric_kind(name)):
        return kept, Scale("times", _LETTERS[last.upper()], written)  # 'RMSE (K)' is in kelvins
    return words, Scale()


def logarithm_undone(scale: Scale, value: float) -> float:
    """A value on this scale as a plain number."""
    if scale.kind in ("log10", "log2", "ln"):
        base = {"log10": 10.0, "log2": 2.0, "ln": math.e}[scale.kind]
        return base**value if abs(value * math.log(base)) < 700 else math.inf
    return value * scale.times


# ---------------------------------------------------------------- sizes


def size_rank_of(name_words: Iterable[str]) -> int:
    """Whether words mean training-set sizes: 2 certainly, 1 possibly, 0 not."""
    words = [*name_words]
    joined, every = "_".join(words), {*words}
    if joined in _SURE:
        return 2
    if joined in _PERHAPS or joined == "share":
        return 1
    if joined in _ITEMS:
        return 0
    if words[-2:] == ["per", "class"] and every <= {*_FILL, *_UNITS}:
        return 2
    if every <= {*_FILL, *_UNITS} and every & {*_UNITS}:
        return 2
    return 2 if every <= {*_FILL, *_SIZE} and every & _SET and every & _SIZE else 0


def size_rank(name: str) -> int:
    """As ``size_rank_of``, for a column's name."""
    rest, scale = scale_of(name)
    rest = [t for t in rest if t not in ("best", "mean", "cv")] or rest
    shared = {*_FILL, *_ITEMS, "share", "subset", "samples", "examples"}
    if scale.kind == "share" and {*rest} <= shared:
        return 1
    return size_rank_of(rest)


def size_unit(name: str) -> str:
    """The unit of the training-set sizes that a column may hold; '' for other columns."""
    if not size_rank(name):
        return ""
    rest, scale = scale_of(name)
    if scale.kind == "share":
        return SHARE_UNIT
    if rest[-2:] == ["sentence", "pairs"]:
        return "sentence_pairs"
    unit = next((_UNITS[t] for t in rest if t in _UNITS), "samples")
    return f"{unit} per class" if rest[-2:] == ["per", "class"] else unit


SHARE_UNIT = "times the data set"


def other_unit(name: str) -> str:
    """The unit of a column that is not training data but may be requested as the sizes: model size
    or compute; else ''."""
    if is_parameters(name):
        return "parameters"
    return "FLOPs" if {*tokens(name)} & {"flops", "flop", "compute", "pflops", "macs"} else ""


# ---------------------------------------------------------------- metrics


def spread_kind(name: str) -> str:
    """'se', 'sd', 'low', 'high' or 'other' for a column that holds a spread; '' for others."""
    words = tokens(name)
    every = {*words}
    pairs = {*pairwise(words)}
    if every & _SE or pairs & {("std", "err"), ("std", "error"), ("standard", "error")}:
        return "se"
    if every & _SD or ("standard", "deviation") in pairs:
        return "sd"
    if every & _LOW:
        return "low"
    if every & _HIGH:
        return "high"
    if (
        re.search(r"^\s*±|(±|\+/-)\s*$", name)
        or ("error", "bar") in pairs
        or ("error", "bars") in pairs
        or every & _OTHER_SPREAD
        or (len(words) > 1 and words[-1] in ("min", "max"))
    ):
        return "other"
    return ""


def metric_kind(name: str) -> str:
    """The kind of metric that a column holds: 'error', 'higher' (higher is better), 'rising'
    (higher is better if it rises with the data) or 'negated'; '' for other columns."""
    words = tokens(name)
    every = {*words}
    if spread_kind(name) or every & _TIMES_OR_RANKS or every & {"size", "num", "count"}:
        return ""
    if words[0] in _NEGATED or any(a in _NEGATED for a in words):
        return "negated"
    turned = words[0] == "1" or {"one", "minus"} <= every
    if every & _ERRORS or turned:
        return "error"
    if every & _HIGHER or ("r", "squared") in pairwise(words):
        return "higher"
    if "_".join(words) in HIGHER or metric_base(name) in HIGHER:
        return "higher"
    return "rising" if every & _RISING else ""


@lru_cache
def own_metric(name: str) -> str:
    """The error that a study's own metric becomes, however its name is written: '1 - accuracy' of
    'val_acc' and of 'Accuracy'. A name that says nothing is an error by that name."""
    plain = plain_name(name)
    part, _, rest = plain.partition("_")
    if rest and part in ("validation", "val", "valid", "eval", "dev", "test"):
        plain = rest
    if plain in {*PLAIN, *LOSSES, *RATES, *SHARES_OF_ITEMS, *HIGHER} or is_perplexity(plain):
        return as_error(plain)
    rises = metric_kind(plain) in ("higher", "rising")
    return higher_metric(plain).metric if rises else name


def on_training_data(name: str) -> bool:
    """Whether a metric was measured on the training data."""
    return bool({*tokens(name)} & _TRAINED) and not {*tokens(name)} & {
        "val",
        "valid",
        "validation",
        "test",
        "dev",
    }


def metric_base(name: str) -> str:
    """The name without the part it was measured on: 'val_acc' -> 'acc'."""
    words = tokens(name)
    while len(words) > 1 and words[0] in _PARTS:
        words = words[1:]
    while len(words) > 1 and words[-1] in _PARTS:
        words = words[:-1]
    joined = "_".join(words)
    return (
        "error"
        if joined in ("errors", "errs")
        else {"r_squared": "r2", "rsquared": "r2"}.get(joined, joined)
    )


def metric_label(name: str) -> str:
    """The usual name of a metric: 'mean_roc_auc' is auc, 'eval/CrossEntropyLoss' cross_entropy."""
    base = metric_base(name)
    if base in ALIASES or base in (*PLAIN, *RATES, *LOSSES) or metric_kind(name) != "error":
        return ALIASES.get(base, base)
    words = tokens(name)
    if "entropy" in words or "crossentropyloss" in words:
        return "cross_entropy"
    return next((t for t in words if t in (*LOSSES, *RATES)), base)


_STATISTICS = {"mean", "avg", "average", "median", "min", "max"}
_QUANTILE = re.compile(r"[pq]\d+")


def typical_of(name: str) -> tuple[str, str]:
    """The name without the words for a statistic, and its kind: 'typical' for a mean or a median,
    'other' for a minimum, a maximum or a quantile ('acc_p97_5'), else ''."""
    words = tokens(name)
    rest = [t for t in words if t not in _STATISTICS and not _QUANTILE.fullmatch(t)]
    rest = [t for t in rest if not t.isdigit()] if len(rest) < len(words) else rest
    kind = "typical" if {*words} & {"mean", "avg", "average", "median"} else "other"
    return "_".join(rest), kind if len(rest) < len(words) else ""


def is_statistic(name: str) -> bool:
    """Whether a name is that of a statistic and a part of the data alone: 'mean', 'val_mean'."""
    words = {*tokens(name)}
    return bool(words & {"mean", "avg", "average", "median"}) and words <= _PARTS


def counts_units(name: str) -> bool:
    """Whether a column counts units of any part of the data: '# Test examples'."""
    words = {*tokens(name)}
    return bool(words & {*_UNITS}) and words <= {*_UNITS, *_FILL, *_PARTS}


def beside_parts(names: Iterable[str]) -> bool:
    """Whether some of the names are a part of the data alone ('val', 'random test'), so that a
    column 'train' holds scores of the training data."""
    parts = {"val", "valid", "validation", "test", "dev"}
    return any({*tokens(n)} & parts and not metric_kind(n) and not counts_units(n) for n in names)


def time_or_rank(name: str) -> bool:
    """Whether a column holds times or ranks."""
    return bool({*tokens(name)} & _TIMES_OR_RANKS)


_OF_SPREAD = {
    *_SE,
    *_SD,
    *_OTHER_SPREAD,
    "err",
    "standard",
    "deviation",
    "bootstrap",
    "bar",
    "bars",
    "95",
    "90",
    "99",
}


def belongs(spread: str, metric: str) -> bool:
    """Whether a spread's name names exactly this metric, as 'acc_se' does for 'val_acc'. With
    ``metric`` '': whether it names none, so that it may belong to any."""
    rest = [t for t in tokens(spread) if t not in _OF_SPREAD and t not in _PARTS]
    if not rest or rest == ["error"]:
        return not metric or metric_base(metric) == "error"
    return bool(metric) and "_".join(rest) == metric_base(metric)
