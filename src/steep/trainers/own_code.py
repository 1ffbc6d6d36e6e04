"""What trainers of the user's own code have in common: before it has run nothing is known of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from steep.contracts.domain import Domain
from steep.contracts.trainer import Cost
from steep.records import Trial, Value
from steep.spec.load import Loaded
from steep.trainers import fingerprint
from steep.trainers.answer import CodeChangedError

OWN_VALIDATION = True
"""Whether the code may have validation data of its own, so that steep need not cut any."""


def recipe(family: str) -> Mapping[str, Value] | None:
    """Any hyperparameter goes: they are passed on as they are."""
    return None


def cost(loaded: Loaded, domain: Domain, size: int) -> Cost | None:
    """Not known before the code has run."""
    return None


def extent(
    loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray
) -> tuple[float, float] | None:
    """Not known before the code has run."""
    return None


def refuse_changed(loaded: Loaded, now: Mapping[str, str]) -> None:
    """Raise CodeChangedError where the code's digests ``now`` are not those that the study began
    with."""
    if edited := fingerprint.changed(loaded.code, now):
        words = ", ".join(f"{name} is {what}" for name, what in edited.items())
        raise CodeChangedError(
            f"the training code changed while the study ran ({words}): put it back and run the "
            "same command, or give the new code a new folder (--out)"
        )
