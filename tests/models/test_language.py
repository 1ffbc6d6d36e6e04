"""Language models against their equations, written down once more in float64 and plain numpy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from steep.engine.count import cost, parameters
from steep.models import lstm, rhn, transformer
from steep.spec.load import SpecError, from_values

V = 11
TEXT = {"vocabulary": V}


def built(module, width: int, **options) -> nn.Module:
    torch.manual_seed(0)
    model = module.FAMILY.build(width, TEXT, module.Options(**options))
    with torch.no_grad():  # nothing shall be right only because it begins at nought or one
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model.double().eval()


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def tokens(batch: int, time: int) -> Tensor:
    return torch.randint(V, (batch, time), generator=torch.Generator().manual_seed(1))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@torch.no_grad()
def logits(model: nn.Module, given: Tensor) -> np.ndarray:
    return model(given, None)[0].numpy()


# ---------------------------------------------------------------- recurrent


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_lstm_equations(layers: int) -> None:
    width, given = 5, tokens(2, 7)
    model = built(lstm, width, layers=layers)
    w = arrays(model)
    for row, expected in zip(given.tolist(), logits(model, given), strict=True):
        h, c = np.zeros((layers, width)), np.zeros((layers, width))
        for token, answer in zip(row, expected, strict=True):
            x = w["embedding.weight"][token]
            for k in range(layers):
                gates = w[f"input_weight_{k}"] @ x + w[f"recurrent_weight_{k}"] @ h[k]
                i, f, g, o = (gates + w[f"bias_{k}"]).reshape(4, width)
                c[k] = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
                x = h[k] = sigmoid(o) * np.tanh(c[k])
            mine = w["decoder.weight"] @ x + w["decoder.bias"]
            np.testing.assert_allclose(answer, mine, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 5, 10])
def test_rhn_equations(depth: int) -> None:
    width, given = 5, tokens(2, 7)
    model = built(rhn, width, depth=depth, engine="plain")
    w = arrays(model)
    for row, expected in zip(given.tolist(), logits(model, given), strict=True):
        s = np.zeros(width)
        for token, answer in zip(row, expected, strict=True):
            x = w["embedding.weight"][token]
            for k in range(depth):
                both = s @ w["recurrent_weight"][k] + w["bias"][k]
                both = both + x @ w["input_weight"] if k == 0 else both
                h, t = np.tanh(both[:width]), sigmoid(both[width:])
                s = h * t + s * (1 - t)
            mine = w["decoder.weight"] @ s + w["decoder.bias"]
            np.testing.assert_allclose(answer, mine, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layers", [2, 4])
def test_where_recurrent_models_begin(layers: int) -> None:
    """Uniform(-0.1, 0.1); forget gates open by one, transform gates shut by four."""
    model = lstm.FAMILY.build(32, TEXT, lstm.Options(layers=layers))
    for k in range(layers):
        bias = model.get_parameter(f"bias_{k}")
        assert bias.tolist() == [0.0] * 32 + [1.0] * 32 + [0.0] * 64
    other = rhn.FAMILY.build(32, TEXT, rhn.Options())
    assert (other.bias[:, :32] == 0).all()
    assert (other.bias[:, 32:] == -4).all()
    for made in (model, other):
        assert (made.decoder.bias == 0).all()
        for name, parameter in made.named_parameters():
            if "bias" not in name:
                assert 0.09 < parameter.abs().max() <= 0.1
                assert parameter.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.2)


@pytest.mark.parametrize("h", [1, 8, 33])
def test_parameters_in_closed_form(h: int) -> None:
    """As Catamount counts the paper's graphs: one bias a gate."""

    def counted(module, **options) -> int:
        return parameters(module.FAMILY.build(h, TEXT, module.Options(**options)))

    table = 2 * h * V + V
    assert counted(lstm, layers=2) == 16 * h * h + 8 * h + table
    assert counted(lstm, layers=4) == 32 * h * h + 16 * h + table
    assert counted(rhn, depth=10) == 22 * h * h + 20 * h + table
    assert counted(rhn, depth=5) == 12 * h * h + 10 * h + table


# ---------------------------------------------------------------- transformer


def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.finfo(float).eps) * gain


def attention(x_TxH: np.ndarray, w: dict[str, np.ndarray], layer: str, heads: int) -> np.ndarray:
    """Position by position, head by head."""
    inner = w[f"{layer}.out.weight"].shape[1]
    head, pairs = inner // heads, inner // heads // 2
    q_TxA, k_TxA, v_TxA = np.split(x_TxH @ w[f"{layer}.query_key_value.weight"].T, 3, axis=1)
    y_TxA = np.zeros_like(v_TxA)

    def turned(vector: np.ndarray, position: int) -> np.ndarray:
        out = vector.copy()
        for p in range(pairs):
            angle = position * 10_000.0 ** (-p / pairs)
            turn = complex(vector[p], vector[pairs + p]) * complex(math.cos(angle), math.sin(angle))
            out[p], out[pairs + p] = turn.real, turn.imag
        return out

    for n in range(heads):
        own = slice(n * head, (n + 1) * head)
        for t in range(len(x_TxH)):
            q = turned(q_TxA[t, own], t)
            score = np.array([q @ turned(k_TxA[s, own], s) for s in range(t + 1)])
            weight = np.exp(score / math.sqrt(head))
            y_TxA[t, own] = weight @ v_TxA[: t + 1, own] / weight.sum()
    return y_TxA @ w[f"{layer}.out.weight"].T


def by_hand(model: nn.Module, row: list[int], heads: int) -> np.ndarray:
    w = arrays(model)
    x = w["embedding.weight"][row]
    for k in range(len(model.layers)):
        layer = f"layers.{k}"
        x = x + attention(norm(x, w[f"{layer}.attention_norm.weight"]), w, layer, heads)
        wide = norm(x, w[f"{layer}.network_norm.weight"]) @ w[f"{layer}.wide.weight"].T
        gelu = np.vectorize(lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))))(wide)
        x = x + gelu @ w[f"{layer}.narrow.weight"].T
    return norm(x, w["norm.weight"]) @ w["decoder.weight"].T + w["decoder.bias"]


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (8, 2), (11, 2), (7, 7), (1, None)])
def test_transformer_equations(width: int, heads: int | None) -> None:
    model, given = built(transformer, width, layers=2, heads=heads), tokens(2, 9)
    for row, expected in zip(given.tolist(), logits(model, given), strict=True):
        mine = by_hand(model, row, heads or 1)
        # rotations are kept in float32
        np.testing.assert_allclose(expected, mine, rtol=1e-5, atol=1e-5)


def test_a_later_token_changes_no_earlier_logit() -> None:
    model, given = built(transformer, 12, layers=3, context=8), tokens(2, 30)
    before = logits(model, given)
    for time in (1, 7, 8, 13, 29):
        other = given.clone()
        other[:, time] = (other[:, time] + 1) % V
        after = logits(model, other)
        assert np.array_equal(after[:, :time], before[:, :time])
        assert not np.allclose(after[:, time], before[:, time])


def test_padding_and_company_change_nothing() -> None:
    model, given = built(transformer, 12, layers=2, context=8), tokens(3, 21)
    whole = logits(model, given)
    for time in (5, 8, 9, 12, 20):
        np.testing.assert_allclose(logits(model, given[:, :time]), whole[:, :time], atol=1e-12)
    np.testing.assert_allclose(logits(model, given[1:2]), whole[1:2], atol=1e-12)


@pytest.mark.parametrize("context", [2, 7, 8])
def test_long_sequences_are_windows_that_overlap_by_half(context: int) -> None:
    model, given = built(transformer, 12, layers=2, context=context), tokens(1, 25)
    whole, fresh = logits(model, given)[0], context // 2
    for time in range(25):
        steps = max(0, -(-(time + 1 - context) // fresh))  # windows before the one that tells
        seen = given[:, steps * fresh : time + 1]
        assert len(seen[0]) <= context
        assert len(seen[0]) >= min(time + 1, context - fresh + 1)
        np.testing.assert_allclose(whole[time], logits(model, seen)[0, -1], atol=1e-12)


@pytest.mark.parametrize("h", [1, 15, 16, 37, 64])
def test_transformer_parameters_and_flops_in_closed_form(h: int) -> None:
    options = transformer.Options(layers=3, context=32)
    model = transformer.FAMILY.build(h, TEXT, options)
    heads = max(1, h // 16)
    a = heads * (h // heads)
    blocks, table = 3 * (4 * h * a + 8 * h * h + 2 * h) + h, 2 * h * V + V
    assert parameters(model) == blocks + table
    counted = cost(transformer.FAMILY, h, TEXT, options)
    assert counted.parameters_without_embeddings == blocks
    with (
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
        nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH),
    ):
        model(torch.zeros(2, 32, dtype=torch.long), None)
    assert counted.flops == 3 * counter.get_total_flops() / 64


def test_a_context_longer_than_the_training_sequences_is_refused() -> None:
    spec = {
        "study": "short",
        "domain": {"name": "words", "train": "a.txt"},
        "family": {"name": "transformer", "context": 64, "sizes": [8]},
        "shards": {"smallest": 100},
        "search": {"hyperparameters": {"sequence_length": [64, 128]}},
    }
    assert from_values(spec).spec.family.name == "transformer"
    spec["search"]["hyperparameters"]["sequence_length"] = [32, 64]
    with pytest.raises(SpecError, match=r"sequence_length 32 is shorter than .* context 64"):
        from_values(spec)
