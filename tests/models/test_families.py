"""Families: contract, parameter counts in closed form, and one golden optimizer step each."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from steep import testing
from steep.contracts.family import Family
from steep.engine.count import cost, parameters
from steep.engine.optimizers import OPTIMIZERS
from steep.models import attention, deepspeech2, lstm, none, resnet, rhn, seq2seq, transformer

IMAGE = {"channels": 1, "height": 14, "width": 14, "classes": 10}
TEXT = {"vocabulary": 98}
CLIP = {"bands": 40, "vocabulary": 29, "frames": 200, "characters": 25, "frames_per_second": 100}
CASES = {
    "resnet": (resnet, IMAGE, 4),
    "lstm": (lstm, TEXT, 8),
    "rhn": (rhn, TEXT, 8),
    "transformer": (transformer, TEXT, 32),
    "seq2seq": (seq2seq, TEXT, 8),
    "deepspeech2": (deepspeech2, CLIP, 8),
    "attention": (attention, CLIP, 8),
}
GOLDEN = Path(__file__).with_name("golden.json")


@pytest.mark.parametrize("name", CASES)
def test_contract(name: str) -> None:
    module, shape, _ = CASES[name]
    testing.check_member(module, "FAMILY")
    testing.check_family(module.FAMILY, module.Options(), shape)


def built(module, size: int, shape, **options) -> nn.Module:
    return module.FAMILY.build(size, shape, module.Options(**options))


@pytest.mark.parametrize("h", [1, 8, 33])
def test_parameters_in_closed_form(h: int) -> None:
    v = TEXT["vocabulary"]
    assert parameters(built(rhn, h, TEXT)) == 22 * h * h + 2 * h * v + 20 * h + v
    assert parameters(built(lstm, h, TEXT)) == 16 * h * h + 2 * h * v + 8 * h + v
    k = 10
    stem, bodies, shortcuts, norms = 9 * h, (18 + 54 + 216) * h * h, (2 + 8) * h * h, 42 * h
    assert parameters(built(resnet, h, IMAGE)) == stem + bodies + shortcuts + norms + 4 * h * k + k


def test_flops_in_closed_form() -> None:
    """Three times the forward pass (two gradients), less the first layer's input gradient."""
    w = 8
    places = {1: 14 * 14, 2: 7 * 7, 4: 4 * 4}
    stem = 2 * 9 * w * places[1]
    blocks = sum(
        2 * places[m] * w * w * (9 * m * max(m // 2, 1) + 9 * m * m + (m * m // 2 if m > 1 else 0))
        for m in places
    )
    head = 2 * 4 * w * 10
    counted = cost(resnet.FAMILY, w, IMAGE, resnet.Options()).flops
    assert counted == 3 * (stem + blocks + head) - stem
    h, v = 16, TEXT["vocabulary"]
    assert cost(lstm.FAMILY, h, TEXT, lstm.Options()).flops == 6 * (16 * h * h + h * v)
    assert cost(rhn.FAMILY, h, TEXT, rhn.Options()).flops == 6 * (20 * h * h + h * v)
    without = cost(rhn.FAMILY, h, TEXT, rhn.Options()).parameters_without_embeddings
    assert without == 22 * h * h + 20 * h


def test_channels_last_only_where_it_is_safe() -> None:
    for width, name in ((4, "torch"), (8, "torch-channels-last")):
        model = built(resnet, width, IMAGE, engine="torch")
        assert model.engine == name
        weight = model.blocks[0].first.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == (width >= 8)


def test_rhn_equations_token_by_token() -> None:
    """The published equations, written with scalars' worth of care, against the module."""
    torch.manual_seed(0)
    model = built(rhn, 5, {"vocabulary": 7}, depth=3)
    tokens_BxT = torch.randint(7, (2, 4))
    hidden_BxTxH, last_BxH = model.hidden(tokens_BxT, None)
    s_BxH = torch.zeros(2, 5)
    for time in range(4):
        x_BxH = model.embedding(tokens_BxT[:, time])
        for layer in range(3):
            both = s_BxH @ model.recurrent_weight[layer] + model.bias[layer]
            if layer == 0:
                both = both + x_BxH @ model.input_weight
            h, t = torch.tanh(both[:, :5]), torch.sigmoid(both[:, 5:])
            s_BxH = h * t + s_BxH * (1 - t)
        torch.testing.assert_close(hidden_BxTxH[:, time], s_BxH)
    torch.testing.assert_close(last_BxH, s_BxH)
    assert (model.bias[:, 5:] == rhn.TRANSFORM_BIAS).all()


def test_lstm_equals_torch_with_both_biases() -> None:
    torch.manual_seed(0)
    model = built(lstm, 6, TEXT)
    plain = nn.LSTM(6, 6, 2, batch_first=True)
    with torch.no_grad():
        for layer in range(2):
            for ours, theirs in (("input_weight", "weight_ih"), ("recurrent_weight", "weight_hh")):
                weight = model.get_parameter(f"{ours}_{layer}")
                plain.get_parameter(f"{theirs}_l{layer}").copy_(weight)
            plain.get_parameter(f"bias_ih_l{layer}").copy_(model.get_parameter(f"bias_{layer}"))
            plain.get_parameter(f"bias_hh_l{layer}").zero_()
    tokens_BxT = torch.randint(98, (3, 9))
    expected, _ = plain(model.embedding(tokens_BxT))
    torch.testing.assert_close(model.hidden(tokens_BxT, None)[0], expected)


def test_none_has_no_model() -> None:
    testing.check_member(none, "FAMILY")
    with pytest.raises(ValueError, match="no model"):
        none.FAMILY.build(1, {}, none.Options())


# ---------------------------------------------------------------- golden steps


def first_step(family: Family, model: nn.Module, shape) -> dict[str, float]:
    """Losses before and after one step of the family's recipe, and the step's length."""
    generator = torch.Generator().manual_seed(1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = OPTIMIZERS[str(family.recipe["optimizer"])](model.parameters(), family.recipe)

    def loss() -> torch.Tensor:
        if family.kind == "stream":
            y_BxT = torch.randint(shape["vocabulary"], (4, 6), generator=generator.manual_seed(2))
            logits_BxTxV, _ = model(y_BxT, None)
            return nn.functional.cross_entropy(logits_BxTxV.flatten(0, 1), y_BxT.flatten())
        if family.kind == "pairs":
            y_BxT = torch.randint(shape["vocabulary"], (4, 6), generator=generator.manual_seed(2))
            logits_BxTxV = model(y_BxT, torch.tensor([6, 5, 3, 1]), y_BxT.roll(1, 1))
            return nn.functional.cross_entropy(logits_BxTxV.flatten(0, 1), y_BxT.flatten())
        if family.kind == "speech":
            frames_B, characters_B = np.array([60, 43]), np.array([5, 3])
            x_BxTxF = torch.randn(2, 60, shape["bands"], generator=generator.manual_seed(2))
            x_BxTxF[1, 43:] = 0.0
            text_BxL = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]])
            return model.nats(model.hear(x_BxTxF, frames_B), text_BxL, characters_B).sum() / 8
        y_B = torch.arange(6) % shape["classes"]
        sizes = (6, shape["channels"], shape["height"], shape["width"])
        x_BxCxHxW = torch.randn(sizes, generator=generator.manual_seed(2))
        return nn.functional.cross_entropy(model(x_BxCxHxW), y_B)

    start = loss()
    start.backward()
    optimizer.step()
    moved = [
        (new.detach() - old).square().sum()
        for new, old in zip(model.parameters(), before, strict=True)
    ]
    length = math.sqrt(float(sum(moved)))
    return {"loss": start.item(), "loss_after": loss().item(), "moved": length}


@pytest.mark.parametrize("name", CASES)
def test_golden_first_step(name: str) -> None:
    module, shape, size = CASES[name]
    torch.manual_seed(0)
    now = first_step(module.FAMILY, built(module, size, shape), shape)
    golden = json.loads(GOLDEN.read_text())
    assert now == pytest.approx(golden[name], rel=1e-4), (
        f"\nThe first optimizer step of {name!r} is not what it was: {now}.\n"
        "Every study trained before is then not comparable with one trained after.\n"
        "If you did not mean to change the model, its initialisation or its recipe, undo that.\n"
        f"If you did: say so in CHANGELOG.md and put the values above into {GOLDEN.name}."
    )
