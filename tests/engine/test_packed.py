"""Packed trials take the steps that they would take alone."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from steep.engine.optimizers import OPTIMIZERS
from steep.engine.packed import Packed
from steep.models import resnet, rhn

RATES = (0.01, 0.03, 0.1)
TEXT = {"vocabulary": 11}
IMAGE = {"channels": 1, "height": 6, "width": 6, "classes": 3}


def models(family: str) -> list[Any]:
    made = []
    for seed in range(len(RATES)):
        torch.manual_seed(seed)
        if family == "rhn":
            made.append(rhn.FAMILY.build(5, TEXT, rhn.Options(depth=2, engine="plain")))
        else:
            options = resnet.Options(stages=2, engine="torch")
            made.append(resnet.FAMILY.build(4, IMAGE, options))
    return made


def batch(family: str, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    if family == "rhn":
        tokens = torch.randint(11, (len(RATES), 4, 8), generator=generator)
        return tokens[..., :-1], tokens[..., 1:]
    x = torch.randn(len(RATES), 6, 1, 6, 6, generator=generator)
    return x, torch.randint(3, (len(RATES), 6), generator=generator)


def loss(family: str, model: Any, given: Any) -> tuple[torch.Tensor, float]:
    x, y = given
    logits = model(x, None)[0] if family == "rhn" else model(x)
    total = F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="sum")
    return total, float(y.numel())


@pytest.mark.parametrize(
    ("family", "optimizer", "clip"),
    [("rhn", "adam", 0.3), ("rhn", "sgd", 0.0), ("resnet", "momentum", 0.3), ("resnet", "adam", 0)],
)
def test_equals_the_trials_alone(family: str, optimizer: str, clip: float) -> None:
    packed = Packed(models(family), RATES, optimizer, clip=clip)
    generator = torch.Generator().manual_seed(0)
    batches = [batch(family, generator) for _ in range(3)]
    together = torch.stack(
        [packed.step(lambda model, given: loss(family, model, given), b) for b in batches]
    )
    for k, model in enumerate(models(family)):
        values = {"learning_rate": RATES[k], "momentum": 0.9}
        alone = OPTIMIZERS[optimizer](model.parameters(), values)
        for step, (x, y) in enumerate(batches):
            alone.zero_grad()
            total, count = loss(family, model, (x[k], y[k]))
            (total / count).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            alone.step()
            torch.testing.assert_close(together[step, k], (total / count).detach())
        state = packed.unpacked(k)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)


def test_a_diverged_trial_leaves_the_others_alone() -> None:
    packed = Packed(models("rhn"), (0.01, 1e30, 0.1), "sgd")
    x, y = batch("rhn", torch.Generator().manual_seed(0))
    for _ in range(3):
        losses = packed.step(lambda model, given: loss("rhn", model, given), (x, y))
    assert losses[[0, 2]].isfinite().all()
    assert not packed.unpacked(1)["recurrent_weight"].abs().max() < 1e10
