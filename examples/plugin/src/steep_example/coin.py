"""A trainer that trains nothing: its error is a known power law with the noise of a coin."""

from __future__ import annotations

import numpy as np

from steep.records import Measurement, Status
from steep.spec.sections import Positive, Strict

OWN_VALIDATION = True


class Options(Strict):
    exponent: Positive = 0.3
    """How steeply it learns."""
    noise: float = 0.01
    """Standard deviation of the log error."""


def recipe(family):
    return {}


def cost(loaded, domain, size):
    return None


def extent(loaded, domain, trial, items):
    return None


def open_trainer(loaded, domain):
    options = Options.model_validate(loaded.spec.trainer.options)

    def train(trial, shard, handle):
        rng = np.random.default_rng([trial.seed, trial.size, trial.items])
        noise = np.exp(options.noise * rng.normal())
        error = float(trial.samples**-options.exponent * (1 + 1 / trial.size) / 2 * noise)
        return Measurement(
            trial, Status.COMPLETE, validation_error=error, parameters=trial.size,
            metrics=(("error", error),), engine="coin",
        )  # fmt: skip

    return train
