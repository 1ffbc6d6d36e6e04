"""Speech models: CTC by enumeration, attention and recurrences transcribed, padding never seen."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from steep.engine import count
from steep.engine.count import cost, parameters
from steep.models import attention, deepspeech2
from steep.models.ragged import LSTM, BiLSTM, Ragged

CLIP = {"bands": 40, "vocabulary": 29, "frames": 200, "characters": 25, "frames_per_second": 100}
FRAMES = np.array([6, 9, 1, 4])


def model_of(module, size: int, shape=CLIP, **options) -> nn.Module:
    torch.manual_seed(0)
    return module.FAMILY.build(size, shape, module.Options(**options))


# ---------------------------------------------------------------- clips of unequal length


def test_rows_and_back() -> None:
    ragged = Ragged(FRAMES, torch.device("cpu"))
    x_BxTxF = torch.randn(4, 9, 3)
    rows = ragged.rows(x_BxTxF)
    assert torch.equal(rows, torch.cat([x[:n] for x, n in zip(x_BxTxF, FRAMES, strict=True)]))
    back, mirrored = ragged.padded(rows, 7.0), ragged.mirrored(x_BxTxF)
    for row, n in enumerate(FRAMES):
        assert torch.equal(back[row, :n], x_BxTxF[row, :n])
        assert (back[row, n:] == 7.0).all()
        assert torch.equal(mirrored[row, :n], x_BxTxF[row, :n].flip(0))
    assert ragged.halved().frames_B.tolist() == [3, 5, 1, 2]


def test_bidirectional_lstm_is_torchs_on_packed_clips() -> None:
    torch.manual_seed(0)
    ours, theirs = BiLSTM(5, 6), nn.LSTM(5, 6, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for way, suffix in ((ours.forwards, "l0"), (ours.backwards, "l0_reverse")):
            for weight, name in zip(
                way.weights, ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), strict=True
            ):
                theirs.get_parameter(f"{name}_{suffix}").copy_(weight)
    x_BxTxI = torch.randn(4, 9, 5)
    packed = nn.utils.rnn.pack_padded_sequence(
        x_BxTxI, torch.from_numpy(FRAMES), batch_first=True, enforce_sorted=False
    )
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    ragged = Ragged(FRAMES, torch.device("cpu"))
    found = ragged.padded(ours(ragged.rows(x_BxTxI), ragged))
    torch.testing.assert_close(found, expected)
    assert (ours.forwards.bias[6:12] == 1).all(), "forget gates start open"


def test_lstm_by_steps_is_the_whole() -> None:
    lstm = LSTM(5, 6)
    x_BxLxI = torch.randn(3, 4, 5)
    state, steps = None, []
    for x_BxI in x_BxLxI.unbind(1):
        state = lstm.step(x_BxI, state)
        steps.append(state[0])
    torch.testing.assert_close(torch.stack(steps, 1), lstm(x_BxLxI))


def batch(frames: np.ndarray = np.array([37, 60, 22])) -> tuple[torch.Tensor, np.ndarray]:
    torch.manual_seed(1)
    clips = [torch.randn(n, 40) for n in frames]
    return nn.utils.rnn.pad_sequence(clips, batch_first=True), frames


def test_batch_norm_sees_no_padding() -> None:
    """In training: the statistics are those of the clips' own convolutions, one by one."""
    model = model_of(deepspeech2, 8)
    x_BxTxF, frames_B = batch()
    model.train()
    model.hear(x_BxTxF, frames_B)
    alone = [model.first(x[None, None, :n]) for x, n in zip(x_BxTxF, frames_B, strict=True)]
    rows_CxN = torch.cat([a.transpose(0, 1).flatten(1) for a in alone], 1)
    norm = model.conv_norms[0]
    torch.testing.assert_close(norm.running_mean, 0.1 * rows_CxN.mean(1))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * rows_CxN.var(1))


def test_what_lies_beyond_the_ends_is_never_seen() -> None:
    """The same batch, with more of the padding, in training: the same to the last digits."""
    text_BxL, characters_B = torch.tensor([[1, 2, 3], [4, 5, 0], [6, 0, 0]]), np.array([3, 2, 1])
    for module in (deepspeech2, attention):
        model = model_of(module, 8).train()
        x_BxTxF, frames_B = batch()
        nats_B = model.nats(model.hear(x_BxTxF, frames_B), text_BxL, characters_B)
        wide = model.hear(F.pad(x_BxTxF, (0, 0, 0, 13)), frames_B)
        wide_B = model.nats(wide, F.pad(text_BxL, (0, 4)), characters_B)
        torch.testing.assert_close(wide_B, nats_B, rtol=1e-6, atol=0)


# ---------------------------------------------------------------- deepspeech2


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([0, 0, 0], []),
        ([1, 1, 1], [1]),
        ([1, 0, 1], [1, 1]),
        ([0, 2, 2, 0, 0, 1, 1, 2], [2, 1, 2]),
        ([3], [3]),
        ([3, 3, 0, 3, 3, 4], [3, 3, 4]),
    ],
)
def test_collapse(path: list[int], text: list[int]) -> None:
    assert deepspeech2.collapse(np.array(path)) == text


def test_ctc_sums_over_every_path() -> None:
    """All 3**4 paths of 4 steps over a blank and two characters, each collapsed by hand."""
    model = model_of(deepspeech2, 8)
    logits = torch.randn(4 + 3, 3, dtype=torch.float64)
    heard = logits, Ragged(np.array([4, 3]), torch.device("cpu"))
    text_BxL, characters_B = torch.tensor([[1, 2], [1, 1]]), np.array([2, 2])
    nats = model.nats(heard, text_BxL, characters_B)
    for clip, (first, steps, text) in enumerate([(0, 4, [1, 2]), (4, 3, [1, 1])]):
        p = logits[first : first + steps].softmax(-1).numpy()
        total = sum(
            math.prod(p[t, s] for t, s in enumerate(path))
            for path in itertools.product(range(3), repeat=steps)
            if deepspeech2.collapse(np.array(path)) == text
        )
        assert nats[clip].item() == pytest.approx(-math.log(total), rel=1e-9)
    # [1, 1] in three steps is one path: 1, blank, 1
    assert total == pytest.approx(p[0, 1] * p[1, 0] * p[2, 1])


def test_a_text_that_does_not_fit_has_infinite_nats() -> None:
    model = model_of(deepspeech2, 8)
    x_BxTxF, frames_B = batch(np.array([8]))  # two steps; 'aa' needs three
    nats = model.nats(model.hear(x_BxTxF, frames_B), torch.tensor([[1, 1]]), np.array([2]))
    assert nats.tolist() == [math.inf]


def test_deepspeech2_in_closed_form() -> None:
    h, v, c, inputs, steps = 24, 29, 8, 80, 50
    convolutions = 121 * c + 55 * c * c
    recurrent = 2 * 4 * h * (inputs + h + 1) + 3 * 2 * 4 * h * (2 * h + h + 1)
    softmax = 2 * h * v + v
    found = cost(deepspeech2.FAMILY, h, CLIP, deepspeech2.Options())
    assert found.parameters == convolutions + 4 * c + recurrent + 3 * 4 * h + softmax
    assert found.parameters_without_embeddings == found.parameters - softmax
    products = 2 * 4 * h * (inputs + h) + 3 * 2 * 4 * h * 3 * h + 2 * h * v
    forward = 2 * (100 * 20 * 121 * c + steps * 10 * 55 * c * c + steps * products)
    # No gradient goes into the audio, nor into the zeros that each recurrence starts from.
    clip = 3 * forward - 2 * 100 * 20 * 121 * c - 2 * 8 * 4 * h * h
    assert found.flops == pytest.approx(clip * 3600 / 2, rel=1e-12)


def test_flops_of_a_clip_are_bilinear() -> None:
    """What four short clips tell of a long one is what the long one takes."""
    for module in (deepspeech2, attention):
        options = module.Options(layers=2)
        shape = CLIP | {"frames": 16, "characters": 4}
        with torch.device("meta"):
            model = module.FAMILY.build(8, shape, options)
            direct = count._clip(model, shape, 16, 4) / 2 * 3600 * 100 / 16
        assert cost(module.FAMILY, 8, shape, options).flops == pytest.approx(direct, rel=1e-12)


# ---------------------------------------------------------------- attention


def test_hybrid_attention_step_by_step() -> None:
    """energy_s = v . tanh(W q + K m_s + U f_s + b), f_s = filters * last weights, in float64."""
    torch.manual_seed(0)
    options = attention.Options(units=5, filters=2, reach=4)
    step = attention.Attention(3, 6, options).double()
    nn.init.normal_(step.query.bias)
    query, value = torch.randn(2, 3).double(), torch.randn(2, 7, 6).double()
    last = torch.rand(2, 7).double()
    kept = torch.arange(7) < torch.tensor([[7], [4]])
    found = step(query, attention.Memory(value, step.key(value), kept), last)
    weight = {name: p.detach().numpy() for name, p in step.named_parameters()}
    for clip, length in enumerate((7, 4)):
        energy = np.zeros(length)
        for s in range(length):
            hidden = weight["query.weight"] @ query[clip].numpy() + weight["query.bias"]
            hidden = hidden + weight["key.weight"] @ value[clip, s].numpy()
            for k in range(2):
                seen = 0.0
                for j in range(4):
                    place = s + j - 1  # one step back, two ahead
                    if 0 <= place < 7:
                        seen += weight["filters.weight"][k, 0, j] * last[clip, place].item()
                hidden = hidden + weight["location.weight"][:, k] * seen
            energy[s] = weight["energy.weight"][0] @ np.tanh(hidden)
        expected = np.exp(energy) / np.exp(energy).sum()
        np.testing.assert_allclose(found[clip, :length].detach(), expected, rtol=1e-12)
    assert (found[1, 4:] == 0).all()


def test_max_pool_of_an_odd_clip() -> None:
    """A clip of five frames pools to (1, 2), (3, 4), (5): its padding, zero, is never largest."""
    listener = attention.Listener(40, 2, 2)
    seen = []
    listener.layers[0].forward = lambda x, ragged: x[:, :4] - 100.0
    listener.layers[1].forward = lambda x, ragged: seen.append(x) or x
    x_BxTxF, frames_B = batch(np.array([5, 8]))
    listener(x_BxTxF, frames_B)
    x = x_BxTxF[0, :5, :4] - 100.0
    expected = torch.stack([x[:2].amax(0), x[2:4].amax(0), x[4]])
    torch.testing.assert_close(seen[0][:3], expected)


def test_greedy_transcripts_are_the_likeliest_next_characters() -> None:
    model = model_of(attention, 12).eval()
    nn.init.normal_(model.classifier.weight)
    x_BxTxF, frames_B = batch()
    read = model.transcribe(model.hear(x_BxTxF, frames_B))
    for clip, text in enumerate(read):
        n = int(frames_B[clip])
        most = math.ceil(math.ceil(n / 2) / 2)
        written: list[int] = []
        while len(written) < most:
            given = torch.tensor([written], dtype=torch.long).reshape(1, -1)
            logits = model(x_BxTxF[clip : clip + 1, :n], frames_B[clip : clip + 1], given)
            best = int(logits[0, -1].argmax())
            if best == attention.END:
                break
            written.append(best)
        assert text == written
    assert any(read)


def test_gradients_by_hand_are_those_of_autograd() -> None:
    """Also of filters longer than the memory, and of clips that end before it does."""
    for reach, layers in ((3, 1), (50, 2), (4, 2)):
        found = []
        for engine in ("function", "plain"):
            model = model_of(attention, 6, engine=engine, reach=reach, layers=layers, units=5)
            assert model.engine == f"attention-{engine}"
            model = model.double()
            with torch.no_grad():
                for parameter in model.parameters():  # far from where everything is linear
                    parameter.mul_(2)
            x_BxTxF, frames = batch()
            text_BxL = torch.randint(1, 29, (3, 7), generator=torch.Generator().manual_seed(2))
            x_BxTxF = x_BxTxF.double().requires_grad_()
            logits = model(x_BxTxF, frames, text_BxL)
            (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
            gradients = {n: p.grad for n, p in model.named_parameters()}
            found.append({"logits": logits.detach(), "x": x_BxTxF.grad, **gradients})
        for name, expected in found[1].items():
            assert expected.abs().max() > 1e-6, name
            torch.testing.assert_close(found[0][name], expected, rtol=1e-9, atol=1e-11, msg=name)


def test_attention_in_closed_form() -> None:
    w, v, units, filters, reach = 24, 29, 128, 4, 50
    half, memory = w // 2, 2 * w
    encoder = 2 * 4 * w * (40 + w + 1) + 2 * 2 * 4 * w * (2 * w + w + 1)
    hybrid = half * units + units + memory * units + filters * (reach + units) + units
    cells = 2 * 4 * half * (half + memory + half + 1)
    tables = v * half + v * (half + memory) + v
    assert parameters(model_of(attention, w)) == encoder + hybrid + cells + tables
