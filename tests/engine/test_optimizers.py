"""Optimizers: torch's own steps, and their state through a checkpoint, to the last bit."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from steep.engine import checkpoint
from steep.engine.optimizers import OPTIMIZERS

VALUES = {"learning_rate": 0.1, "momentum": 0.9}
TORCH: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def model(layout: torch.memory_format) -> nn.Module:
    """A convolution, and a layer that gets a gradient in every other step only."""
    torch.manual_seed(0)
    made = nn.Conv2d(8, 4, 3).to(memory_format=layout)
    made.register_module("sometimes", nn.Linear(3, 1))
    return made


def steps(model: Any, optimizer: Any, numbers: range) -> None:
    for number in numbers:
        optimizer.zero_grad()
        torch.manual_seed(number)
        loss = model(torch.randn(2, 8, 5, 5)).square().sum()
        if number % 2 == 0:
            loss = loss + model.sometimes(torch.randn(3)).sum().square()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_steps_of_torch(name: str, layout: torch.memory_format) -> None:
    ours, theirs = model(layout), model(layout)
    steps(ours, OPTIMIZERS[name](ours.parameters(), VALUES), range(6))
    steps(theirs, TORCH[name](theirs.parameters()), range(6))
    assert checkpoint.weights_hash(ours) == checkpoint.weights_hash(theirs)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_go_on_where_they_were(name: str, layout: torch.memory_format) -> None:
    """Also where the parameters' memory format is not the checkpoint's."""
    whole, second = model(layout), model(layout)
    optimizer = OPTIMIZERS[name](whole.parameters(), VALUES)
    steps(whole, optimizer, range(3))
    saved = checkpoint.pack(optimizer.tensors(), {})
    second.load_state_dict(whole.state_dict())
    other = OPTIMIZERS[name](second.parameters(), VALUES)
    other.restore(checkpoint.unpack(saved)[0])
    steps(whole, optimizer, range(3, 6))
    steps(second, other, range(3, 6))
    assert checkpoint.weights_hash(whole) == checkpoint.weights_hash(second)


def test_training_does_not_import_the_compiler() -> None:
    """torch's compiler takes two seconds to import, which every process would pay."""
    code = (
        "import sys, torch; from steep.engine.optimizers import OPTIMIZERS\n"
        "m = torch.nn.Linear(2, 1)\n"
        "o = OPTIMIZERS['adam'](m.parameters(), {'learning_rate': 1})\n"
        "m(torch.ones(2)).sum().backward()\n"
        "torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0); o.step()\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
