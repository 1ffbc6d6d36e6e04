"""What a user's own training code answered, checked and made into a measurement.

One reading for functions, commands and library callbacks: a mapping with ``validation_error`` (or
the study's own metric by name: ``accuracy``, ``validation_accuracy``, ``eval_accuracy``) and any of
``test_error``, ``train_error``, ``validation_loss``, ``parameters``, ``flops`` (of the whole run),
``epochs`` (passes over the shard), ``steps``, ``metrics`` (others by name) and ``items`` (the
errors of each validation item). A spec that declares no metric takes the one that is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steep.base.metrics import (
    LOSSES,
    RATES,
    SHARES,
    HigherIsBetter,
    Perplexity,
    as_error,
    higher,
    is_higher,
    is_perplexity,
    metric_of,
    original,
    outside,
    perplexity,
    plain_name,
)
from steep.contracts.domain import Domain
from steep.contracts.trainer import Handle
from steep.records import Measurement, Status, Trial, settings
from steep.spec.load import Loaded
from steep.tables.words import own_metric


class OwnCodeError(ValueError):
    """The user's own code cannot be found, or answered something that is not a measurement: it
    would do so again. ``detail``: what it printed."""

    cause = "answer"

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class CodeChangedError(RuntimeError):
    """The user's code is not that which the study began with."""

    cause = "changed"


@dataclass(frozen=True)
class StudyMetric:
    """What a study's errors are."""

    name: str = "error"
    """As they are kept: 'error', 'loss', '1 - accuracy'."""
    declared: bool = True
    """Whether the spec says so; else the first answer may name another one."""

    @property
    def own(self) -> str:
        """As the user calls it: 'error', 'accuracy'."""
        made_of = original(self.name)
        return self.name if made_of is None else made_of.name

    def reported(self, error: float) -> tuple[str, float]:
        """The key and the value under which own code would report this ``error`` on V."""
        made_of = original(self.name)
        if made_of is None or (self.declared and higher(self.name) is not None):
            return "validation_error", error
        return f"validation_{made_of.name}", made_of.value(error)


PARTS = ("validation", "test", "train")
_PREFIXES = dict.fromkeys(("validation", "val", "valid", "eval", "dev"), "validation")
_PREFIXES |= {"test": "test", "train": "train"}
_NUMBERS = ("validation_loss", "test_loss", "validation_error_se")
_COUNTS = ("parameters", "parameters_without_embeddings", "steps", "best_step")
_PLAIN = {"flops", "epochs", "items", "metrics", *_NUMBERS, *_COUNTS}


def study_metric(loaded: Loaded, domain: Domain) -> StudyMetric:
    """The metric that a study's own code answers."""
    declared = loaded.spec.metric is not None or getattr(domain, "declared", True)
    return StudyMetric(metric_of(loaded.spec.metric, domain.metrics), declared)


def answered(measurements: Sequence[Measurement], default: str) -> str:
    """The metric that a study's trials answered, where its spec declares none. Raises OwnCodeError
    where some answered another than others."""
    names: set[str] | None = None
    for one in measurements:
        if one.validation_error is not None and one.metrics:
            own = {name for name, value in one.metrics if value == one.validation_error}
            names = own if names is None else names & own
    if names is None or default in names:
        return default
    if not names:
        raise OwnCodeError(
            "some trials answered another metric than others: say in the spec which one the study "
            "is about (domain: metric: accuracy), and give it a new folder"
        )
    return sorted(names)[0]


def known_metric(name: str) -> str | None:
    """The error that a metric of a well-known name becomes; None for other names."""
    known = plain_name(name) in {*LOSSES, *RATES, *SHARES}
    return as_error(name) if known or is_higher(name) or is_perplexity(name) else None


def measurement(
    trial: Trial,
    metric: StudyMetric,
    answer: Any,
    seconds: float,
    validation: int,
    handle: Handle,
    who: str = "the function returned",
    engine: str = "function",
    strict: bool = True,
) -> Measurement:
    """What own code answered as errors of the study's ``metric``: COMPLETE, or DIVERGED where V's
    is not finite. ``validation``: items of V. Not ``strict``: keys that say nothing here are
    ignored, for they were printed for somebody else. Raises OwnCodeError."""
    if not isinstance(answer, Mapping):
        answer = {f"validation_{metric.own}": answer}
    answer = {str(key): value for key, value in answer.items() if value is not None}
    if not metric.declared:
        metric = named_metric(answer, metric, who)
    errors: dict[str, float] = {}
    keys = own_keys(answer, metric)
    for key, part in keys.items():
        error = error_under(answer, key, metric, who)
        if math.isfinite(error):
            errors[part] = error
        elif part == "validation":
            reason = f"{who} {key} = {number_under(answer, key, float)}"
            return Measurement(trial, Status.DIVERGED, reason, seconds=seconds, engine=engine)
    others = _beside(answer, keys, who, strict)
    if "validation" not in errors:
        raise OwnCodeError(f"no validation_{metric.own} in what {who}: {answer or None!r}")
    if "items" in answer:
        _keep_items(answer, keys, metric, validation, handle)
    return Measurement(
        trial,
        Status.COMPLETE,
        validation_error=errors["validation"],
        seconds=seconds,
        engine=engine,
        metrics=settings({**others, metric.name: errors["validation"]}),
        test_error=errors.get("test"),
        train_error=errors.get("train"),
        **_amounts(answer, trial, who, metric, errors["validation"]),
    )


def part_and_name(key: str) -> tuple[str, str]:
    """('validation', 'accuracy') of 'eval_accuracy'; ('', 'accuracy') of 'accuracy'."""
    prefix, _, rest = key.partition("_")
    if rest and prefix in _PREFIXES:
        return _PREFIXES[prefix], rest
    return "", key


def named_metric(answer: Mapping[str, Any], metric: StudyMetric, who: str) -> StudyMetric:
    """The metric that an answer names itself, where it names no error."""
    if any(part == "validation" for part in own_keys(answer, metric).values()):
        return metric
    found: dict[str, str] = {}
    for key in answer:
        part, name = part_and_name(key)
        if part in ("", "validation") and key not in _PLAIN and (known := known_metric(name)):
            found.setdefault(known, name)
    if len(found) > 1:
        found.pop("loss", None)  # what stands beside a metric everywhere
    if len(found) > 1:
        raise OwnCodeError(
            f"{who} {' and '.join(found.values())}: say which of them the study is about (domain: "
            f"metric: {next(iter(found.values()))})"
        )
    if not found and "validation_loss" in answer:
        found = {"loss": "loss"}
    return StudyMetric(next(iter(found)), declared=False) if found else metric


def own_keys(answer: Mapping[str, Any], metric: StudyMetric) -> dict[str, str]:
    """The keys that hold errors in the study's own metric, each with its part. An accuracy may be
    given as such or as an error."""
    found = {}
    for key in answer:
        part, name = part_and_name(key)
        if key in _PLAIN and not (metric.name == "loss" and name == "loss"):
            continue
        if (name == "error" and part) or own_metric(name) == metric.name:
            found[key] = part or "validation"
    return found


def _converted(key: str, metric: StudyMetric) -> HigherIsBetter | Perplexity | None:
    """What the numbers under ``key`` are, where that is not the error itself. An error beside an
    accuracy is one; where the study is of a perplexity there is no other number than that."""
    if part_and_name(key)[1] == "error" and higher(metric.name) is not None:
        return None
    return original(metric.name)


def error_under(answer: Mapping[str, Any], key: str, metric: StudyMetric, who: str) -> float:
    """What stands under ``key`` as an error, checked; it may be NaN or infinite."""
    value = number_under(answer, key, float)
    made_of = _converted(key, metric)
    if isinstance(made_of, Perplexity) and value <= 0:
        raise OwnCodeError(f"{who} {key} = {value!r}, and a perplexity is at least 1")
    error = value if made_of is None else made_of.error(value)
    kind = "error" if made_of is None and higher(metric.name) is not None else metric.name
    if math.isfinite(error) and (problem := outside(kind, error, f"{who} {key} = {value!r}")):
        raise OwnCodeError(problem)
    return error


def _beside(
    answer: Mapping[str, Any], keys: Mapping[str, str], who: str, strict: bool
) -> dict[str, float]:
    """Further metrics on V as errors: {'f1': 0.9} is '1 - f1': 0.1. Raises OwnCodeError for keys
    that are not known, where ``strict``."""
    rest = [key for key in answer if key not in keys and key not in _PLAIN]
    named = {
        name: answer[key]
        for key in rest
        for part, name in [part_and_name(key)]
        if part in ("", "validation") and known_metric(name)
    }
    unknown = sorted(key for key in rest if part_and_name(key)[1] not in named)
    if "validation" in keys.values():
        found = _metrics(named, who, strict)
    else:  # metrics, and none of them the study's
        found, unknown = {}, sorted(rest)
    if unknown and (strict or "validation" not in keys.values()):
        known = ["validation_error", "test_error", "train_error", *sorted(_PLAIN)]
        raise OwnCodeError(f"{who} {unknown}; known are {known}{_declare(unknown)}")
    reported = answer.get("metrics")
    if reported is None:
        return found
    if not isinstance(reported, Mapping):
        raise OwnCodeError(f"metrics: needs a mapping of names to numbers, not {reported!r}")
    return found | _metrics(reported, who, strict)


def _metrics(reported: Mapping[str, Any], who: str, strict: bool) -> dict[str, float]:
    found = {}
    for name in reported:
        try:
            value = number_under(reported, name, float)
        except OwnCodeError:
            if strict:
                raise
            continue
        metric = as_error(str(name))
        made_of = original(metric)
        error = value if made_of is None else made_of.error(value)
        if not math.isfinite(error):
            continue  # no record may carry it, and the trial is judged by its own metric
        if problem := outside(metric, error, f"{who} {name} = {value!r}"):
            if strict:
                raise OwnCodeError(problem)
            continue
        found[metric] = error
    return found


def _amounts(
    answer: Mapping[str, Any], trial: Trial, who: str, metric: StudyMetric, error: float
) -> dict[str, Any]:
    """Losses and counts that stand beside the errors."""
    values = {n: number_under(answer, n, float) for n in _NUMBERS if n in answer}
    values |= {n: number_under(answer, n, int) for n in _COUNTS if n in answer}
    if "flops" in answer:
        values["flops"] = number_under(answer, "flops", float)
    if "epochs" in answer:
        values["samples_seen"] = number_under(answer, "epochs", float) * trial.samples
    for name, value in values.items():
        if not value >= 0:
            raise OwnCodeError(f"{who} {name} = {value!r}: it cannot be negative")
    log = perplexity(metric.name)
    if log is not None and "validation_error_se" in values:
        values["validation_error_se"] /= log.value(error)  # d log p = dp / p
    return values


def _declare(unknown: Sequence[str]) -> str:
    """What to say where an unknown key is a metric of which higher is better."""
    for key in unknown:
        name = part_and_name(key)[1]
        if is_higher(name):
            return (
                f". To study {name}, say so in the spec (domain: metric: {name}) and return "
                f"validation_{name}; beside an error, put it into metrics: {{{name!r}: ...}}"
            )
    return ""


def number_under(answer: Mapping[str, Any], name: str, kind: Callable[[Any], Any]) -> Any:
    try:
        if isinstance(answer[name], bool):
            raise TypeError
        return kind(answer[name])
    except (TypeError, ValueError, OverflowError):
        raise OwnCodeError(f"{name} is not a number: {answer[name]!r}") from None


def _keep_items(
    answer: Mapping[str, Any],
    keys: Mapping[str, str],
    metric: StudyMetric,
    validation: int,
    handle: Handle,
) -> None:
    """The errors of each validation item, for paired comparisons."""
    try:
        errors = np.asarray(answer["items"], dtype=float)
    except (TypeError, ValueError):
        errors = np.array(math.nan)
    if errors.shape != (validation,) or not np.isfinite(errors).all():
        raise OwnCodeError(f"items: one finite error for each of {validation} items is wanted")
    made_of = _converted([k for k, part in keys.items() if part == "validation"][-1], metric)
    if isinstance(made_of, HigherIsBetter):
        errors = 1.0 - errors / made_of.divisor
    elif made_of is not None:
        if not (errors > 0).all():
            raise OwnCodeError("items: the perplexity of an item is above 0")
        errors = np.log(errors)
    handle.items({"count": np.ones_like(errors), metric.name: errors})
