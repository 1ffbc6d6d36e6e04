"""Optional packages: which extra of steep brings each, and one sentence where one is missing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXTRAS = {
    "torch": "train",
    "PIL": "train",
    "psutil": "train",
    "safetensors": "train",
    "matplotlib": "plots",
    "pyarrow": "parquet",
    "openpyxl": "excel",
    "soundfile": "speech",
    "kaldi_native_fbank": "speech",
    "rapidfuzz": "speech",
    "sentencepiece": "translation",
    "sacrebleu": "translation",
    "datasets": "hub",
    "optuna": "optuna",
    "sklearn": "sklearn",
    "joblib": "sklearn",
    "starlette": "web",
    "uvicorn": "web",
    "ray": "ray",
}


class MissingExtra(ImportError):
    """A package that is needed and not installed; the message is the pip command that brings it."""


def sentence(error: ModuleNotFoundError) -> str | None:
    """What to say of a missing package; None for one that no extra brings."""
    package = (error.name or "").partition(".")[0].replace("-", "_")
    if package not in EXTRAS:
        return None
    return f"this needs {package}: pip install 'steep[{EXTRAS[package]}]'"


def need(module: str) -> Any:
    """The module. Raises MissingExtra where it, or one that it imports, is of an extra that is not
    installed."""
    with named():
        return importlib.import_module(module)


@contextmanager
def named() -> Iterator[None]:
    """Work that may import packages of extras: MissingExtra for one that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (message := sentence(error)) is None:
            raise
        raise MissingExtra(message, name=error.name) from None
