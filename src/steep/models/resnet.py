"""Residual networks for small images (He et al. 2016, arXiv:1512.03385, section 4.2).

The dial is the filter multiplier: ``width`` filters in the first stage, doubled in each further
one, whose first block halves height and width. Hyperparameter-reduced: batch norm stays, weight
decay and augmentation go; the last scale of each block starts at zero (Goyal et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steep.config import Count, Strict
from steep.models.contract import Family

SAFE_CHANNELS_LAST = 8
"""Narrowest width whose convolutions may run channels-last: torch 2.13 corrupts memory at 4."""


class Options(Strict):
    blocks: Count = 1
    """Residual blocks in each stage. Layers in all: 2 * stages * blocks + 2, e.g. 8."""
    stages: Count = 3


class ResNet(nn.Module):
    """x_BxCxHxW -> logits_BxK."""

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.channels_last = width >= SAFE_CHANNELS_LAST
        self.engine = "torch-channels-last" if self.channels_last else "torch"
        self.stem = nn.Conv2d(shape["channels"], width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList()
        inner = width
        for stage in range(options.stages):
            outer = width * 2**stage
            for block in range(options.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                self.blocks.append(Block(inner, outer, stride))
                inner = outer
        self.classifier = nn.Linear(inner, shape["classes"])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x_BxCxHxW: Tensor) -> Tensor:
        if self.channels_last:
            x_BxCxHxW = x_BxCxHxW.contiguous(memory_format=torch.channels_last)
        x_BxCxHxW = F.relu(self.stem_norm(self.stem(x_BxCxHxW)))
        for block in self.blocks:
            x_BxCxHxW = block(x_BxCxHxW)
        return self.classifier(x_BxCxHxW.mean((2, 3)))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where shapes differ."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outer)
        self.second = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outer)
        nn.init.zeros_(self.second_norm.weight)
        self.shortcut = nn.Sequential()
        if stride != 1 or inner != outer:
            self.shortcut.append(nn.Conv2d(inner, outer, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outer))

    def forward(self, x_BxCxHxW: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x_BxCxHxW)))
        return F.relu(self.shortcut(x_BxCxHxW) + self.second_norm(self.second(inner)))


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return ResNet(size, shape, options)


FAMILY = Family(
    "resnet",
    build,
    kind="classifier",
    dial="width",
    recipe={
        "optimizer": "momentum",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "batch_size": 64,
        "clip": 0.0,
    },
)
