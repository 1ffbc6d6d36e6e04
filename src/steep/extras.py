"""Optional packages: which extra of steep brings each, and one sentence where one is missing."""

from __future__ import annotations

import importlib
from typing import Any

EXTRAS = {
    "torch": "train",
    "PIL": "train",
    "psutil": "train",
    "safetensors": "train",
    "matplotlib": "plots",
    "pyarrow": "parquet",
    "soundfile": "speech",
    "kaldi_native_fbank": "speech",
    "rapidfuzz": "speech",
    "sentencepiece": "translation",
    "sacrebleu": "translation",
    "datasets": "hub",
    "optuna": "optuna",
}


class MissingExtra(ImportError):
    """A package that is needed and not installed; the message is the pip command that brings it."""


def sentence(package: str) -> str:
    """What to say where ``package``, one of EXTRAS, is missing."""
    return f"this needs {package}: pip install 'steep[{EXTRAS[package]}]'"


def need(module: str) -> Any:
    """The module. Raises MissingExtra where it belongs to an extra that is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingExtra(sentence(package), name=package) from None
