"""Gradients in bfloat16: near those in float32, and nothing else changes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import setup_of
from test_packed import shard, trials

from steep import testing
from steep.engine import loop
from steep.models import resnet, rhn, transformer
from steep.testing import MemoryHandle


@pytest.fixture(params=["resnet", "transformer", "rhn"])
def case(request, tmp_path: Path) -> loop.Setup:
    family, options = {
        "resnet": (resnet.FAMILY, resnet.Options(stages=2)),
        "transformer": (transformer.FAMILY, transformer.Options(layers=2)),
        "rhn": (rhn.FAMILY, rhn.Options(depth=2)),
    }[request.param]
    return setup_of(family, options, tmp_path, precision="bfloat16")


def first_gradient(setup: loop.Setup) -> tuple[float, torch.Tensor]:
    trial = trials(8)[0]
    values = {**setup.hyperparameters, **dict(trial.hyperparameters)}
    run = loop._begin(setup, trial, values)
    batch, _ = next(setup.domain.batches(shard().train, values, trial.seed, (0, 0)))
    loss = loop.gradient(setup, run, batch)
    gradients = [parameter.grad for parameter in run.model.parameters()]
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    return float(loss.total), torch.cat([gradient.flatten() for gradient in gradients])


def test_gradients_are_rounded_and_no_more(case: loop.Setup) -> None:
    """bfloat16 keeps 8 bits: a few rounding errors of 2^-9 are 1 %; none at all would mean that
    nothing was computed in it."""
    total, narrow = first_gradient(case)
    exact, wide = first_gradient(replace(case, precision="float32"))
    assert total == pytest.approx(exact, rel=0.01)
    error = float((narrow - wide).norm() / wide.norm())
    assert 1e-4 < error < 0.05


def test_the_trial_says_so_and_resumes_bit_for_bit(case: loop.Setup) -> None:
    def trainer(trial: Any, parts: Any, handle: Any) -> Any:
        return loop.train(case, trial, parts, handle)

    measured = testing.check_trainer(trainer, trials(8)[0], shard())
    assert measured.engine in ("torch-bfloat16", "rhn-plain-bfloat16")
    plain = loop.train(replace(case, precision="float32"), trials(8)[0], shard(), MemoryHandle())
    assert measured.validation_error == pytest.approx(plain.validation_error, rel=0.02)
    assert measured.weights_hash != plain.weights_hash


def test_evaluations_stay_in_float32(case: loop.Setup) -> None:
    seen = set()
    evaluate = case.domain.evaluate

    def watched(model: Any, items: np.ndarray) -> Any:
        seen.add(torch.is_autocast_enabled("cpu"))
        return evaluate(model, items)

    case.domain.evaluate = watched  # type: ignore[method-assign]
    loop.train(case, trials(8)[0], shard(), MemoryHandle())
    assert seen == {False}
