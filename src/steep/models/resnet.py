"""Residual networks for small images (He et al. 2016, arXiv:1512.03385, section 4.2).

The size is the filter multiplier: ``width`` filters in the first stage, doubled in each further
one, whose first block halves height and width. Hyperparameter-reduced: batch norm stays, weight
decay and augmentation go; the last scale of each block starts at zero (Goyal et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steep.contracts.family import Family
from steep.engine import image_kernel
from steep.engine.compiled import NoKernel
from steep.engine.plain import only_plain
from steep.spec.sections import Count, Strict

SAFE_CHANNELS_LAST = 8
"""Narrowest width whose convolutions may run channels-last: torch 2.13 corrupts memory at 4."""


COMPILED_UP_TO = 32
"""Widest network that 'auto' gives to the compiled kernel: beyond, oneDNN catches up."""


class Options(Strict):
    blocks: Count = 1
    """Residual blocks in each stage. Layers in all: 2 * stages * blocks + 2, e.g. 8."""
    stages: Count = 3
    """Stages of ``blocks`` blocks; each after the first halves height and width and doubles the
    channels."""
    engine: Literal["auto", "kernel", "torch"] = "auto"
    """'auto': the compiled kernel for widths up to 32 where it can be built (CPU), else torch.
    A trial records which one it ran on, as 'resnet-kernel', 'torch' or 'torch-channels-last'."""


class ResNet(nn.Module):
    """x_BxCxHxW -> logits_BxK."""

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.width, self.wanted = width, options.engine
        self._networks: dict[tuple[int, int, int], image_kernel.Network] = {}
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
        if self.engine == "torch-channels-last":
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def engine(self) -> str:
        """Which engine runs on the device where the model is now."""
        if only_plain():
            return "torch"
        on_cpu = self.stem.weight.is_cpu
        if self.wanted == "kernel" and not self.stem.weight.is_meta:
            return "resnet-kernel"
        if self.wanted == "auto" and on_cpu and self.width <= COMPILED_UP_TO and _compiled():
            return "resnet-kernel"
        return "torch-channels-last" if self.width >= SAFE_CHANNELS_LAST else "torch"

    def forward(self, x_BxCxHxW: Tensor) -> Tensor:
        engine = self.engine
        if engine == "resnet-kernel":
            features_BxC = self._network(*x_BxCxHxW.shape[1:])(x_BxCxHxW, self.training)
            return self.classifier(features_BxC)
        if engine == "torch-channels-last":
            x_BxCxHxW = x_BxCxHxW.contiguous(memory_format=torch.channels_last)
        x_BxCxHxW = F.relu(self.stem_norm(self.stem(x_BxCxHxW)))
        for block in self.blocks:
            x_BxCxHxW = block(x_BxCxHxW)
        return self.classifier(x_BxCxHxW.mean((2, 3)))

    def _network(self, channels: int, height: int, width: int) -> image_kernel.Network:
        """The same layers up to the pooled features, for the compiled kernel."""
        if (channels, height, width) not in self._networks:
            network = image_kernel.Network(channels, (height, width))
            x = network.convolution(network.images, self.stem)
            x = network.norm(x, self.stem_norm, relu=True)
            for block in self.blocks:
                x = block.append_to(network, x)  # type: ignore[operator]
            network.pool(x)
            self._networks[channels, height, width] = network
        return self._networks[channels, height, width]


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where shapes differ."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outer)
        self.second = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outer)
        nn.init.zeros_(self.second_norm.weight)
        self.shortcut: nn.Conv2d | None = None
        self.shortcut_norm: nn.BatchNorm2d | None = None
        if stride != 1 or inner != outer:
            self.shortcut = nn.Conv2d(inner, outer, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(outer)

    def forward(self, x_BxCxHxW: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x_BxCxHxW)))
        if self.shortcut is not None and self.shortcut_norm is not None:
            x_BxCxHxW = self.shortcut_norm(self.shortcut(x_BxCxHxW))
        return F.relu(x_BxCxHxW + self.second_norm(self.second(inner)))

    def append_to(self, network: image_kernel.Network, x: image_kernel.Buffer) -> Any:
        """``forward``, for the compiled kernel."""
        inner = network.norm(network.convolution(x, self.first), self.first_norm, relu=True)
        inner = network.convolution(inner, self.second)
        if self.shortcut is not None and self.shortcut_norm is not None:
            shortcut = network.convolution(x, self.shortcut)
            x = network.norm(shortcut, self.shortcut_norm, relu=False)
        return network.norm(inner, self.second_norm, relu=True, residual=x)


def _compiled() -> bool:
    try:
        image_kernel.kernel()
    except NoKernel:
        return False
    return True


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return ResNet(size, shape, options)


FAMILY = Family(
    "resnet",
    build,
    kind="classifier",
    dial="width",
    # of one channel a search that stepped down spent a sixth of its time, and learnt nothing
    smallest=2,
    recipe={
        "optimizer": "momentum",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "batch_size": 64,
        "clip": 0.0,
        "averaging": 8.0,
    },
    plain=True,
)
