"""A user's plain Python function as the trainer of a study.

The spec names it as ``module:function`` or ``path/file.py:function``; it is called as

    function(shard, size, seed, **hyperparameters)

with ``shard.train``, ``shard.validation``, ``shard.test`` arrays of item numbers, and returns
the metric that the spec declares (``domain: metric``), on the validation set:

- ``error`` (the default) or another error rate: a share from 0 to 1. 95.0 ends the trial as FAILED
  with a sentence, and so does a negative error;
- ``loss`` or any other name: a number from 0 on;
- ``accuracy``, ``f1``, ``r2``, ``bleu`` and others of which higher is better: as it is.

Or a mapping, see ``trainers/answer.py``: ``{"validation_error": 0.1, "parameters": 1000}``; where
the spec declares no metric, ``{"accuracy": 0.93}`` is read as the metric that it names. NaN or
infinity ends the trial as DIVERGED. A function with a parameter ``handle`` gets the trial's
``Handle`` too: progress, checkpoints, resume.
"""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steep.base.metrics import outside
from steep.base.userfile import arguments_of, from_file, search_also
from steep.contracts.domain import Domain
from steep.contracts.trainer import Handle, ShardItems, Trainer
from steep.records import Measurement, Trial
from steep.spec.load import Loaded
from steep.spec.sections import Strict
from steep.trainers import fingerprint
from steep.trainers.answer import (
    OwnCodeError,
    StudyMetric,
    measurement,
    study_metric,
)
from steep.trainers.own_code import OWN_VALIDATION as OWN_VALIDATION
from steep.trainers.own_code import cost as cost
from steep.trainers.own_code import extent as extent
from steep.trainers.own_code import recipe as recipe
from steep.trainers.own_code import refuse_changed


class Options(Strict):
    function: str | None = None
    """``module:function`` or ``path/file.py:function``, relative to the spec; None for one given
    in Python: ``Study(..., trainer=function)``."""


def open_trainer(loaded: Loaded, domain: Domain) -> Trainer:
    """The function of the spec, wrapped. Raises OwnCodeError when it cannot be found."""
    function = found(loaded)
    refuse_changed(loaded, code(loaded, function))
    return wrap(function, study_metric(loaded, domain))


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
    """The function that the spec names. Raises OwnCodeError."""
    name = loaded.spec.trainer.options.get("function")
    if name is None:
        raise OwnCodeError("none is named: give it in Python, Study(..., trainer=function)")
    return find(name, loaded.base)


def check(function: Callable[..., Any], hyperparameters: Sequence[str]) -> None:
    """Raise OwnCodeError where the function cannot be called with these hyperparameters, or its
    file says something else by now."""
    if (file := fingerprint.edited(function)) is not None:
        raise OwnCodeError(
            f"{file.name} was edited after it was imported: start Python anew, so that what runs "
            "is what is written"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a few built-in callables have none
        return
    if taken := sorted({"shard", "size", "seed", "handle"} & set(hyperparameters)):
        raise OwnCodeError(f"{', '.join(taken)} cannot be a hyperparameter: steep fills it in")
    given = {"size", "seed", *hyperparameters, *({"handle"} & set(signature.parameters))}
    try:
        signature.bind(None, **dict.fromkeys(given))
    except TypeError as error:
        text = "called as f(shard, size, seed, **hyperparameters) it would fail"
        raise OwnCodeError(f"{text}: {error}") from None


def find(name: str, base: Path) -> Callable[..., Any]:
    """The function called ``module:function`` or ``file.py:function``. Modules beside the file,
    or in the folder of the spec, can be imported as if Python had been started there."""
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise OwnCodeError(f"{name!r}: write it as module:function or file.py:function")
    try:
        with arguments_of(place):
            if place.endswith(".py"):
                module = from_file((base / place).resolve())
            else:
                search_also(base.resolve())
                module = importlib.import_module(place)
        function = getattr(module, attribute)
    except SystemExit as error:  # argparse, say
        raise OwnCodeError(
            f"{name!r}: {place} ended Python while it was imported (exit code {error.code}): put "
            "what it does as a script under if __name__ == '__main__'"
        ) from None
    except Exception as error:  # the user's module may raise anything while it is imported
        message = f"{type(error).__name__}: {error}"
        raise OwnCodeError(f"{name!r} cannot be found: {message}") from None
    if not callable(function):
        raise OwnCodeError(f"{name!r} is not a function")
    callable_: Callable[..., Any] = function
    return callable_


def wrap(function: Callable[..., Any], metric: StudyMetric | None = None) -> Trainer:
    """A plain function as a trainer: times it, checks what it returns. ``metric``: what its errors
    are; by default an error rate."""
    metric_ = metric or StudyMetric()
    takes_handle = "handle" in inspect.signature(function).parameters

    def train(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        extra = {"handle": handle} if takes_handle else {}
        start = time.perf_counter()
        with arguments_of(function.__code__.co_filename if hasattr(function, "__code__") else ""):
            answer = function(
                shard, size=trial.size, seed=trial.seed, **dict(trial.hyperparameters), **extra
            )
        seconds = time.perf_counter() - start
        if isinstance(answer, Measurement):
            error = answer.validation_error
            message = f"the function returned validation_error = {error!r}"
            if error is not None and (problem := outside(metric_.name, error, message)):
                raise OwnCodeError(problem)
            return answer
        return measurement(trial, metric_, answer, seconds, len(shard.validation), handle)

    return train
