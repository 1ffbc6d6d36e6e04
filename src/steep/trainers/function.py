"""A user's plain Python function as the trainer of a study.

The spec names it as ``module:function`` or ``path/file.py:function``; it is called as

    function(shard, size, seed, **hyperparameters)

with ``shard.train``, ``shard.validation``, ``shard.test`` arrays of item numbers, and returns
the metric that the spec declares (``domain: metric``), on the validation set:

- ``error`` (the default) or another error rate: a share from 0 to 1. 95.0 ends the trial as FAILED
  with a sentence, and so does a negative error;
- ``loss`` or any other name: a number from 0 on;
- ``accuracy``, ``f1``, ``r2``, ``bleu`` and others of which higher is better: as it is.

Or a mapping with ``validation_error`` (``validation_accuracy`` of an accuracy) and any of
``test_error``, ``train_error`` (``test_accuracy`` ...), ``validation_loss``, ``parameters``,
``flops`` (of the whole run), ``epochs`` (passes over the shard), ``steps``, ``metrics`` (others by
name, checked alike) and ``items`` (the errors of each validation item, for paired comparisons).
NaN or infinity ends the trial as DIVERGED. A function with a parameter ``handle`` gets the trial's
``Handle`` too: progress, checkpoints, resume.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steep.config import Loaded
from steep.domains.contract import Domain
from steep.metrics import as_error, higher, is_higher, metric_of, outside
from steep.records import Measurement, Status, Trial, Value, settings
from steep.spec import Strict
from steep.trainers import fingerprint
from steep.trainers.contract import Cost, Handle, ShardItems, Trainer


class Options(Strict):
    function: str | None = None
    """``module:function`` or ``path/file.py:function``, relative to the spec; None for one given
    in Python: ``Study(..., trainer=function)``."""


class FunctionError(ValueError):
    """The function cannot be found, or returned something that is not a measurement: it would do so
    again."""

    cause = "answer"


class CodeChangedError(RuntimeError):
    """The user's code is not that which the study began with."""

    cause = "changed"


_PARTS = ("validation", "test", "train")
_ERRORS = ("validation_error", "test_error", "train_error")
_NUMBERS = ("validation_loss", "test_loss", "validation_error_se")
_COUNTS = ("parameters", "parameters_without_embeddings", "steps", "best_step")


def recipe(family: str) -> Mapping[str, Value] | None:
    """Any hyperparameter goes: they are the function's keyword arguments."""
    return None


def cost(loaded: Loaded, domain: Domain, size: int) -> Cost | None:
    """Not known before the function has run."""
    return None


def extent(
    loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray
) -> tuple[float, float] | None:
    """Not known before the function has run."""
    return None


def open_trainer(loaded: Loaded, domain: Domain) -> Trainer:
    """The function of the spec, wrapped. Raises FunctionError when it cannot be found."""
    function = found(loaded)
    if edited := fingerprint.changed(loaded.code, code(loaded, function)):
        words = ", ".join(f"{name} is {what}" for name, what in edited.items())
        raise CodeChangedError(
            f"the training code changed while the study ran ({words}): put it back and run the "
            "same command, or give the new code a new folder (--out)"
        )
    return wrap(function, metric_of(loaded.spec.metric, domain.metrics))


def code(loaded: Loaded, function: Callable[..., Any] | None = None) -> dict[str, str]:
    """Digests of the code that a study's function runs: its own and that of the user's modules
    which it uses. ``function``: the one that was given in Python, else the spec's."""
    if function is None or loaded.spec.trainer.options.get("function") is not None:
        return fingerprint.code_of(function or found(loaded), loaded.base)
    try:
        base = Path(inspect.getfile(inspect.unwrap(function))).parent
    except (TypeError, OSError):
        base = loaded.base
    return fingerprint.code_of(function, base)


def found(loaded: Loaded) -> Callable[..., Any]:
    """The function that the spec names. Raises FunctionError."""
    name = loaded.spec.trainer.options.get("function")
    if name is None:
        raise FunctionError("none is named: give it in Python, Study(..., trainer=function)")
    return find(name, loaded.base)


def check(function: Callable[..., Any], hyperparameters: Sequence[str]) -> None:
    """Raise FunctionError where the function cannot be called with these hyperparameters, or its
    file says something else by now."""
    if (file := fingerprint.edited(function)) is not None:
        raise FunctionError(
            f"{file.name} was edited after it was imported: start Python anew, so that what runs "
            "is what is written"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a few built-in callables have none
        return
    if taken := sorted({"shard", "size", "seed", "handle"} & set(hyperparameters)):
        raise FunctionError(f"{', '.join(taken)} cannot be a hyperparameter: steep fills it in")
    given = {"size", "seed", *hyperparameters, *({"handle"} & set(signature.parameters))}
    try:
        signature.bind(None, **dict.fromkeys(given))
    except TypeError as error:
        text = "called as f(shard, size, seed, **hyperparameters) it would fail"
        raise FunctionError(f"{text}: {error}") from None


def find(name: str, base: Path) -> Callable[..., Any]:
    """The function called ``module:function`` or ``file.py:function``. Modules beside the file,
    or in the folder of the spec, can be imported as if Python had been started there."""
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise FunctionError(f"{name!r}: write it as module:function or file.py:function")
    try:
        if place.endswith(".py"):
            module = _from_file((base / place).resolve())
        else:
            _search_also(base.resolve())
            module = importlib.import_module(place)
        function = getattr(module, attribute)
    except Exception as error:  # the user's module may raise anything while it is imported
        said = f"{type(error).__name__}: {error}"
        raise FunctionError(f"{name!r} cannot be found: {said}") from None
    if not callable(function):
        raise FunctionError(f"{name!r} is not a function")
    callable_: Callable[..., Any] = function
    return callable_


def _from_file(path: Path) -> Any:
    """The module in a file, loaded once; known to Python by a name that no other module has."""
    name = f"steep_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"no file {path}")
    _search_also(path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look it up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search_also(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def wrap(function: Callable[..., Any], metric: str = "error") -> Trainer:
    """A plain function as a trainer: times it, checks what it returns. ``metric`` is the name
    under which its errors are kept."""
    takes_handle = "handle" in inspect.signature(function).parameters

    def train(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        extra = {"handle": handle} if takes_handle else {}
        start = time.perf_counter()
        answer = function(
            shard, size=trial.size, seed=trial.seed, **dict(trial.hyperparameters), **extra
        )
        seconds = time.perf_counter() - start
        if isinstance(answer, Measurement):
            error = answer.validation_error
            said = f"the function returned validation_error = {error!r}"
            if error is not None and (problem := outside(metric, error, said)):
                raise FunctionError(problem)
            return answer
        return _measurement(trial, metric, answer, seconds, len(shard.validation), handle)

    return train


def _measurement(
    trial: Trial, metric: str, answer: Any, seconds: float, validation: int, handle: Handle
) -> Measurement:
    """What the function returned, checked, as errors of the study's ``metric``."""
    made_of = higher(metric)
    own = "error" if made_of is None else made_of.name
    if not isinstance(answer, Mapping):
        answer = {f"validation_{own}": answer}
    known = {"flops", "epochs", "items", "metrics", *_ERRORS, *_NUMBERS, *_COUNTS}
    known |= {f"{part}_{own}" for part in _PARTS}
    if unknown := sorted(map(str, set(answer) - known)):
        raise FunctionError(
            f"the function returned {unknown}; known are {sorted(known)}{_declare(unknown)}"
        )
    errors: dict[str, float] = {}
    for key, value, error in _errors(answer, metric, own):
        part = key.partition("_")[0]
        if math.isfinite(error):
            errors[part] = error
        elif part == "validation":
            reason = f"the function returned {value}"
            return Measurement(trial, Status.DIVERGED, reason, seconds=seconds, engine="function")
    if "validation" not in errors:
        raise FunctionError(f"no validation_{own} in what the function returned: {answer!r}")
    if answer.get("items") is not None:
        per_item = _per_item(answer["items"], validation)
        if made_of is not None and f"validation_{own}" in answer:
            per_item = 1.0 - per_item / made_of.divisor
        handle.items({"count": np.ones_like(per_item), metric: per_item})
    values = {n: _number(answer, n, float) for n in _NUMBERS if answer.get(n) is not None}
    values |= {n: _number(answer, n, int) for n in _COUNTS if answer.get(n) is not None}
    if answer.get("flops") is not None:
        values["flops"] = _number(answer, "flops", float)
    if answer.get("epochs") is not None:
        values["samples_seen"] = _number(answer, "epochs", float) * trial.samples
    for name, value in values.items():
        if not value >= 0:
            raise FunctionError(f"the function returned {name} = {value!r}: it cannot be negative")
    values |= {f"{part}_error": error for part, error in errors.items() if part != "validation"}
    return Measurement(
        trial,
        Status.COMPLETE,
        validation_error=errors["validation"],
        seconds=seconds,
        engine="function",
        metrics=settings({**_others(answer.get("metrics")), metric: errors["validation"]}),
        **values,
    )


def _errors(answer: Mapping[str, Any], metric: str, own: str) -> Iterator[tuple[str, float, float]]:
    """(key, value returned, that as an error) of each part, checked. An accuracy may be returned as
    such or as an error."""
    made_of = higher(metric)
    for part in _PARTS:
        for key in dict.fromkeys((f"{part}_error", f"{part}_{own}")):
            if answer.get(key) is None:
                continue
            value = _number(answer, key, float)
            as_it_is = made_of is None or key != f"{part}_{own}"
            error = value if as_it_is else made_of.error(value)  # type: ignore[union-attr]
            kind = "error" if as_it_is and made_of is not None else metric
            said = f"the function returned {key} = {value!r}"
            if math.isfinite(error) and (problem := outside(kind, error, said)):
                raise FunctionError(problem)
            yield key, value, error


def _others(reported: Any) -> dict[str, float]:
    """Further metrics on V that the function reports, as errors: {'f1': 0.9} is '1 - f1': 0.1."""
    if reported is None:
        return {}
    if not isinstance(reported, Mapping):
        raise FunctionError(f"metrics: a mapping of names to numbers is wanted, not {reported!r}")
    found = {}
    for name in reported:
        value = _number(reported, name, float)
        metric = as_error(str(name))
        made_of = higher(metric)
        error = value if made_of is None else made_of.error(value)
        if not math.isfinite(error):
            continue  # no record may carry it, and the trial is judged by its own metric
        if problem := outside(metric, error, f"the function returned {name} = {value!r}"):
            raise FunctionError(problem)
        found[metric] = error
    return found


def _declare(unknown: Sequence[str]) -> str:
    """What to say where an unknown key is a metric of which higher is better."""
    for name in unknown:
        part, _, rest = name.partition("_")
        bare = rest if part in ("validation", "val", "test", "train") else name
        if is_higher(bare):
            return (
                f". To study {bare}, say so in the spec (domain: metric: {bare}) and return "
                f"validation_{bare}; beside an error, put it into metrics: {{{bare!r}: ...}}"
            )
    return ""


def _number(answer: Mapping[str, Any], name: str, kind: Callable[[Any], Any]) -> Any:
    try:
        return kind(answer[name])
    except (TypeError, ValueError, OverflowError):
        raise FunctionError(f"{name} is not a number: {answer[name]!r}") from None


def _per_item(values: Any, validation: int) -> np.ndarray:
    try:
        errors = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        errors = np.array(math.nan)
    if errors.shape != (validation,) or not np.isfinite(errors).all():
        raise FunctionError(f"items: one finite error for each of {validation} items is wanted")
    return errors
