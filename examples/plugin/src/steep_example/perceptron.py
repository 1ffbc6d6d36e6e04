"""A family of models of images: a perceptron with one hidden layer, whose width is the size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from steep.contracts.family import Family
from steep.spec.sections import Strict


class Options(Strict):
    activation: Literal["relu", "tanh"] = "relu"
    """Of the hidden layer."""


def build(size: int, shape: Mapping[str, int], options: Options):
    from torch import nn  # late: a plan needs no torch

    pixels = shape["channels"] * shape["height"] * shape["width"]
    activation = nn.ReLU() if options.activation == "relu" else nn.Tanh()
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, size), activation, nn.Linear(size, shape["classes"])
    )


FAMILY = Family(
    "perceptron",
    build,
    kind="classifier",
    recipe={"optimizer": "adam", "learning_rate": 0.003, "batch_size": 32},
)
