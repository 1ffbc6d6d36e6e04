"""The encoder-decoder against its equations, its closed forms and its own plain engine."""

import numpy as np
import pytest
import torch
from torch import Tensor

from steep.engine.attention_decoder import AttentionDecoder
from steep.engine.count import cost, parameters
from steep.models import seq2seq
from steep.models.seq2seq import PAIR_LENGTH, Options, Seq2Seq

SHAPE = {"vocabulary": 11}
LENGTHS = torch.tensor([5, 3, 1])


def model(width: int = 7, engine: str = "auto", **options) -> Seq2Seq:
    torch.manual_seed(0)
    made = seq2seq.build(width, SHAPE, Options(engine=engine, **options)).double()
    with torch.no_grad():
        for parameter in made.parameters():  # far from where everything is linear
            parameter.mul_(8)
    return made


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(11, (3, 5), generator=generator)
    return source, LENGTHS, torch.randint(11, (3, 6), generator=generator)


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize(("h", "v", "layers"), [(1, 5, 1), (8, 98, 1), (33, 7, 2), (16, 50, 3)])
def test_parameters_in_closed_form(h: int, v: int, layers: int) -> None:
    made = seq2seq.build(h, {"vocabulary": v}, Options(layers=layers))
    more = (layers - 1) * (24 * h * h + 8 * h)
    assert parameters(made) == 33 * h * h + 3 * h * v + 12 * h + more
    assert parameters(made) - seq2seq.embeddings(made) == 33 * h * h + 12 * h + more


def test_parameters_of_the_2019_graph() -> None:
    with torch.device("meta"):
        assert parameters(seq2seq.build(1024, {"vocabulary": 36_548}, Options())) == 146_890_752


@pytest.mark.parametrize("layers", [1, 2])
def test_flops_in_closed_form(layers: int) -> None:
    """Three times the forward matrix products of one target piece, source and target alike long."""
    h, v = 24, 98
    encoder = 2 * 2 * 8 * h * h + (layers - 1) * 2 * 2 * 12 * h * h + 2 * 2 * h * h
    decoder = 2 * 12 * h * h + 2 * 3 * h * h
    attention = 2 * PAIR_LENGTH * h + 2 * PAIR_LENGTH * 2 * h
    counted = cost(seq2seq.FAMILY, h, {"vocabulary": v}, Options(layers=layers)).flops
    assert counted == 3 * (encoder + decoder + attention + 2 * h * v)


# ---------------------------------------------------------------- the equations


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, made: Seq2Seq, which: str, layer: str
) -> tuple:
    w, r, b = (
        made.get_parameter(f"{which}_{part}{layer}").detach().numpy()
        for part in ("input", "recurrent", "bias")
    )
    i, f, g, o = np.split(w @ x + r @ h + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def transcribed(made: Seq2Seq, source: list[int], read: list[int]) -> np.ndarray:
    """Logits of one pair, word by word, in float64 numpy."""
    weights = {name: p.detach().numpy() for name, p in made.named_parameters()}
    zero = np.zeros(made.width)
    e = [weights["embedding_source.weight"][s] for s in source]
    for layer in range(made.layers):
        h, c, onward = zero, zero, []
        for x in e:
            h, c = lstm(x, h, c, made, "onward", f"_{layer}")
            onward.append(h)
        first_h, first_c = h, c
        h, c, backward = zero, zero, []
        for x in reversed(e):
            h, c = lstm(x, h, c, made, "backward", f"_{layer}")
            backward.insert(0, h)
        e = [np.concatenate(both) for both in zip(onward, backward, strict=True)]
    h, c, feed = (first_h + h) / 2, (first_c + c) / 2, zero
    logits = []
    for symbol in read:
        x = weights["embedding_target.weight"][symbol]
        h, c = lstm(x, np.concatenate([feed, h]), c, made, "target", "")
        score = np.array([h @ weights["key.weight"] @ at for at in e])
        share = np.exp(score) / np.exp(score).sum()
        context = sum(a * at for a, at in zip(share, e, strict=True))
        feed = np.tanh(weights["attention.weight"] @ np.concatenate([h, context]))
        logits.append(weights["decoder.weight"] @ feed)
    return np.array(logits)


@pytest.mark.parametrize("engine", ["function", "plain"])
@pytest.mark.parametrize("layers", [1, 2])
def test_equations_word_by_word(engine: str, layers: int) -> None:
    made = model(engine=engine, layers=layers)
    source, length, read = pairs()
    found = made(source, length, read).detach().numpy()
    assert np.abs(found).max() > 0.1
    for row in range(3):
        words = source[row, : length[row]].tolist()
        expected = transcribed(made, words, read[row].tolist())
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-12)


def test_one_step_at_a_time_is_the_same() -> None:
    made = model()
    source, length, read = pairs()
    memory, state = made.encode(source, length)
    whole = made.hidden(source, length, read)
    for t in range(read.shape[1]):
        state = made.step(memory, state, read[:, t])
        torch.testing.assert_close(state.feed_BxH, whole[:, t], rtol=0, atol=1e-14)


# ---------------------------------------------------------------- gradients, padding


@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_by_hand_are_those_of_autograd(layers: int) -> None:
    found = []
    for engine in ("function", "plain"):
        made = model(engine=engine, layers=layers)
        assert made.engine == f"seq2seq-{engine}"
        logits = made(*pairs())
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        found.append({name: p.grad for name, p in made.named_parameters()})
    for name, gradient in found[1].items():
        assert gradient.abs().max() > 1e-6, name
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-9, atol=1e-12)


def test_gradients_by_hand_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    h, b, t, s = 3, 2, 3, 4
    sizes = [(t, b, 4 * h), (b, h), (b, h), (b, s, h), (b, s, h), (2 * h, 4 * h), (h, h)]
    inputs = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    inputs.insert(5, torch.tensor([[False] * 4, [False, False, True, True]]))
    assert torch.autograd.gradcheck(AttentionDecoder.apply, inputs)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_padding_changes_nothing(layers: int, kind: torch.dtype) -> None:
    made = model(layers=layers).to(kind)
    source, length, read = pairs()
    padded = made.hidden(source, length, read)
    close = 1e-14 if kind == torch.float64 else 1e-6
    for row in range(3):
        own = slice(row, row + 1)
        alone = made.hidden(source[own, : length[row]], None, read[own])
        torch.testing.assert_close(padded[own], alone, rtol=0, atol=close)
    wider = torch.nn.functional.pad(source, (0, 9), value=4)
    torch.testing.assert_close(made.hidden(wider, length, read), padded, rtol=0, atol=close)
