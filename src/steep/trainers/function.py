"""A user's plain Python function as the trainer of a study.

The spec names it as ``module:function`` or ``path/file.py:function``; it is called as

    function(shard, size, seed, **hyperparameters)

with ``shard.train``, ``shard.validation``, ``shard.test`` arrays of item numbers, and returns
the validation error, or a mapping with ``validation_error`` and any of ``test_error``,
``train_error``, ``validation_loss``, ``parameters``, ``flops``, ``steps`` and ``items`` (the
errors of each validation item, for paired comparisons). NaN or infinity ends the trial as
DIVERGED. A function with a parameter ``handle`` gets the trial's ``Handle`` too: progress,
checkpoints, resume.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steep.config import Loaded
from steep.domains.contract import Domain
from steep.records import Measurement, Status, Trial, Value
from steep.spec import Strict
from steep.trainers.contract import Cost, Handle, ShardItems, Trainer


class Options(Strict):
    function: str | None = None
    """``module:function`` or ``path/file.py:function``, relative to the spec; None for one given
    in Python: ``Study(..., trainer=function)``."""


class FunctionError(ValueError):
    """The function cannot be found, or returned something that is not a measurement."""


_NUMBERS = ("test_error", "test_loss", "train_error", "validation_loss", "validation_error_se")
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
    return wrap(found(loaded), loaded.spec.metric or domain.metrics[0])


def found(loaded: Loaded) -> Callable[..., Any]:
    """The function that the spec names. Raises FunctionError."""
    name = loaded.spec.trainer.options.get("function")
    if name is None:
        raise FunctionError("none is named: give it in Python, Study(..., trainer=function)")
    return find(name, loaded.base)


def check(function: Callable[..., Any], hyperparameters: Sequence[str]) -> None:
    """Raise FunctionError where the function cannot be called with these hyperparameters."""
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
            return answer
        return _measurement(trial, metric, answer, seconds, len(shard.validation), handle)

    return train


def _measurement(
    trial: Trial, metric: str, answer: Any, seconds: float, validation: int, handle: Handle
) -> Measurement:
    if not isinstance(answer, Mapping):
        answer = {"validation_error": answer}
    known = {"validation_error", "flops", "items", *_NUMBERS, *_COUNTS}
    if unknown := sorted(map(str, set(answer) - known)):
        raise FunctionError(f"the function returned {unknown}; known are {sorted(known)}")
    if answer.get("validation_error") is None:
        raise FunctionError(f"no validation_error in what the function returned: {answer!r}")
    error = _number(answer, "validation_error", float)
    if not math.isfinite(error):
        reason = f"the function returned {error}"
        return Measurement(trial, Status.DIVERGED, reason, seconds=seconds, engine="function")
    if answer.get("items") is not None:
        errors = _per_item(answer["items"], validation)
        handle.items({"count": np.ones_like(errors), metric: errors})
    values = {n: _number(answer, n, float) for n in _NUMBERS if answer.get(n) is not None}
    values |= {n: _number(answer, n, int) for n in _COUNTS if answer.get(n) is not None}
    if answer.get("flops") is not None:
        values["flops"] = _number(answer, "flops", float)
    return Measurement(
        trial,
        Status.COMPLETE,
        validation_error=error,
        seconds=seconds,
        engine="function",
        metrics=((metric, error),),
        **values,
    )


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
