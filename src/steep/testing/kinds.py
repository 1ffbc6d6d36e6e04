"""What a model of each kind promises (contracts/family.py), checked on a model that is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np


def _check_classifier(model: Any, shape: Mapping[str, int]) -> None:
    import torch

    pixels = torch.randn(3, shape["channels"], shape["height"], shape["width"])
    assert model(pixels).shape == (3, shape["classes"]), "logits are not BxK"


def _check_stream(model: Any, shape: Mapping[str, int]) -> None:
    """Logits BxTxV, causal, and the state, where there is one, carries all of the past."""
    import torch

    tokens = torch.randint(shape["vocabulary"], (3, 8))
    model.eval()
    with torch.no_grad():
        logits, _ = model(tokens, None)
        assert logits.shape == (3, 8, shape["vocabulary"]), "logits are not BxTxV"
        decoded = model.decoder(model.hidden(tokens, None)[0])
        torch.testing.assert_close(decoded, logits, rtol=1e-4, atol=1e-5)
        head, state = model(tokens[:, :5], None)
        torch.testing.assert_close(head, logits[:, :5], rtol=1e-4, atol=1e-5)
        if state is not None:
            tail, _ = model(tokens[:, 5:], state)
            torch.testing.assert_close(tail, logits[:, 5:], rtol=1e-4, atol=1e-5)


def _check_pairs(model: Any, shape: Mapping[str, int]) -> None:
    """Logits BxTxV, causal in the target, blind to padding; one beam writes what is likeliest."""
    import torch

    symbols = shape["vocabulary"]
    source, read = torch.randint(symbols, (3, 7)), torch.randint(symbols, (3, 8))
    length = torch.tensor([7, 4, 1])
    model.eval()
    with torch.no_grad():
        logits = model(source, length, read)
        assert logits.shape == (3, 8, symbols), "logits are not BxTxV"
        close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
        close(model.decoder(model.hidden(source, length, read)), logits)
        close(model(source, length, read[:, :5]), logits[:, :5])
        for row in range(3):
            own = slice(row, row + 1)
            close(model(source[own, : length[row]], None, read[own]), logits[own])
        written = model.write(source, length, 1, torch.tensor([5, 3, 1]))
        for row, most in enumerate((5, 3, 1)):
            greedy = [0]
            while len(greedy) <= most:
                greedy.append(
                    int(model(source, length, torch.tensor([greedy] * 3))[row, -1].argmax())
                )
                if greedy[-1] == 0:
                    break
            assert written[row] == [s for s in greedy[1:] if s], "beam 1 is not greedy"


def _check_speech(model: Any, shape: Mapping[str, int]) -> None:
    """A clip alone and in a batch with padding: the same nats, gradients and transcript."""
    import torch

    frames, characters = np.array([64, 41, 50]), np.array([3, 2, 4])
    clips = [torch.randn(n, shape["bands"]) for n in frames]
    texts = [torch.randint(1, shape["vocabulary"], (n,)) for n in characters]
    pad = torch.nn.utils.rnn.pad_sequence

    def run(rows: list[int]) -> tuple[Any, list[list[int]], list[Any]]:
        x_BxTxF = pad([clips[row] for row in rows], batch_first=True)
        text_BxL = pad([texts[row] for row in rows], batch_first=True)
        model.zero_grad()
        encoded = model.hear(x_BxTxF, frames[rows])
        nats_B = model.nats(encoded, text_BxL, characters[rows])
        nats_B.sum().backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        return nats_B.detach(), model.transcribe(encoded), gradients

    model.eval()
    nats_B, read, gradients = run([0, 1, 2])
    assert nats_B.shape == (3,), "nats are not one a clip"
    assert (nats_B > 0).all(), "nats of a probability above one"
    alone = [run([row]) for row in range(3)]
    torch.testing.assert_close(torch.cat([a[0] for a in alone]), nats_B, rtol=1e-4, atol=1e-4)
    assert [a[1][0] for a in alone] == read, "a transcript depends on the other clips"
    for whole, *parts in zip(gradients, *(a[2] for a in alone), strict=True):
        torch.testing.assert_close(sum(parts), whole, rtol=1e-3, atol=1e-4)
    assert all(0 < symbol < shape["vocabulary"] for text in read for symbol in text)


CHECK_MODEL: Mapping[str, Callable[[Any, Mapping[str, int]], None]] = {
    "classifier": _check_classifier,
    "stream": _check_stream,
    "pairs": _check_pairs,
    "speech": _check_speech,
}
