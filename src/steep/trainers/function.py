"""A user's plain Python function as the trainer of a study.

The spec names it as ``module:function`` or ``path/file.py:function``; it is called as

    function(shard, size, seed, **hyperparameters)

with ``shard.train``, ``shard.validation``, ``shard.test`` arrays of item numbers, and returns
the validation error, or a mapping with ``validation_error`` and any of ``test_error``,
``train_error``, ``validation_loss``, ``parameters``, ``flops``, ``steps`` and ``items`` (the
errors of each validation item, for paired comparisons). A function with a parameter ``handle``
gets the trial's ``Handle`` too: progress, checkpoints, resume.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from steep.config import Loaded, Strict
from steep.domains.contract import Domain
from steep.records import Measurement, Status, Trial, Value
from steep.trainers.contract import Cost, Handle, ShardItems, Trainer


class Options(Strict):
    function: str
    """``module:function`` or ``path/file.py:function``, relative to the spec."""


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
    return wrap(find(str(loaded.spec.trainer.options["function"]), loaded.base))


def find(name: str, base: Path) -> Callable[..., Any]:
    """The function called ``module:function`` or ``file.py:function``."""
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise FunctionError(f"{name!r}: write it as module:function or file.py:function")
    try:
        module = (
            _from_file(base / place) if place.endswith(".py") else importlib.import_module(place)
        )
        function = getattr(module, attribute)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise FunctionError(f"{name!r} cannot be found: {error}") from None
    if not callable(function):
        raise FunctionError(f"{name!r} is not a function")
    found: Callable[..., Any] = function
    return found


def _from_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ImportError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wrap(function: Callable[..., Any]) -> Trainer:
    """A plain function as a trainer: times it, checks what it returns."""
    takes_handle = "handle" in inspect.signature(function).parameters

    def train(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        extra = {"handle": handle} if takes_handle else {}
        start = time.perf_counter()
        answer = function(
            shard, size=trial.size, seed=trial.seed, **dict(trial.hyperparameters), **extra
        )
        return _measurement(trial, answer, time.perf_counter() - start, handle)

    return train


def _measurement(trial: Trial, answer: Any, seconds: float, handle: Handle) -> Measurement:
    if isinstance(answer, Measurement):
        return answer
    if not isinstance(answer, Mapping):
        answer = {"validation_error": answer}
    known = {"validation_error", "flops", "items", *_NUMBERS, *_COUNTS}
    if unknown := sorted(set(answer) - known):
        raise FunctionError(f"the function returned {unknown}; known are {sorted(known)}")
    try:
        error = float(answer["validation_error"])
    except (KeyError, TypeError, ValueError):
        raise FunctionError(
            f"no validation_error in what the function returned: {answer!r}"
        ) from None
    if not math.isfinite(error):
        reason = f"the function returned {error}"
        return Measurement(trial, Status.DIVERGED, reason, seconds=seconds, engine="function")
    if answer.get("items") is not None:
        errors = np.asarray(answer["items"], dtype=float)
        handle.items({"count": np.ones_like(errors), "error": errors})
    values: dict[str, Any] = {n: float(answer[n]) for n in _NUMBERS if answer.get(n) is not None}
    values |= {n: int(answer[n]) for n in _COUNTS if answer.get(n) is not None}
    if answer.get("flops") is not None:
        values["flops"] = float(answer["flops"])
    return Measurement(
        trial,
        Status.COMPLETE,
        validation_error=error,
        seconds=seconds,
        engine="function",
        metrics=(("error", error),),
        **values,
    )
