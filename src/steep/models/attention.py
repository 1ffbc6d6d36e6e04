"""Attention-based speech recognition (Chorowski et al. 2015; Battenberg et al. 2017, 1707.07413).

Encoder: bidirectional LSTMs with a max-pool of stride 2 in time between each two, so that three
layers leave a fourth of the frames. Decoder, one character a step: an attention LSTM takes the last
character and the last context; hybrid attention, by content and by where the last weights lay,
makes the next context; a decoder LSTM and a softmax read both. The size is the encoder's width, per
direction; the decoder's two LSTMs have half of it. Known of the paper's model: three bidirectional
LSTMs, two max-pools, hybrid attention, cross-entropy, Adam; and from the graphs shipped in 2019:
decoder widths of half the encoder's, 128 attention units, 4 location filters of 50 steps, weights
uniform within sqrt(3 / fan_in). Unsure, and chosen here: how the two LSTMs of the decoder are
wired, the embedding (the decoder's width), forget gates open by one. Left out: scheduled sampling
(an operation in the graph; whether it was on is not known) and weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steep.contracts.family import Family, parameters_under
from steep.engine.hybrid_decoder import Weights, decode
from steep.models.ragged import LSTM, RECIPE, BiLSTM, Ragged, State, initialise
from steep.spec.sections import Count, Strict

END = 0
"""Symbol that starts a transcript as an input, and ends it as an output."""


class Options(Strict):
    layers: Count = 3
    """Bidirectional LSTMs of the encoder; a max-pool between each two."""
    units: Count = 128
    """Of the attention."""
    filters: Count = 4
    """Of the attention's location part."""
    reach: Count = 50
    """Steps that a location filter sees."""
    engine: Literal["auto", "function", "plain"] = "auto"
    """'function' has its gradient written by hand; 'plain' is autograd's, the reference."""


class Memory(NamedTuple):
    """What the decoder looks at: outputs of the encoder, S steps of each clip."""

    value_BxSxE: Tensor
    key_BxSxA: Tensor
    kept_BxS: Tensor
    """Steps that belong to the clip."""


Encoded = tuple[Memory, np.ndarray]
"""The memory, and how many steps of it each clip has."""


class Attention(nn.Module):
    """Hybrid attention: energy = v . tanh(W query + V memory + U (filters * last weights) + b)."""

    def __init__(self, query: int, memory: int, options: Options) -> None:
        super().__init__()
        self.query = nn.Linear(query, options.units)
        self.key = nn.Linear(memory, options.units, bias=False)
        self.filters = nn.Conv1d(1, options.filters, options.reach, bias=False)
        self.location = nn.Linear(options.filters, options.units, bias=False)
        self.energy = nn.Linear(options.units, 1, bias=False)
        self._around = ((options.reach - 1) // 2, options.reach // 2)
        initialise(self)

    def forward(self, query_BxQ: Tensor, memory: Memory, last_BxS: Tensor) -> Tensor:
        """weights_BxS, zero beyond a clip's end, from the last step's."""
        found_BxSxK = self.filters(F.pad(last_BxS, self._around)[:, None]).transpose(1, 2)
        hidden_BxSxA = memory.key_BxSxA + self.location(found_BxSxK)
        hidden_BxSxA = torch.tanh(hidden_BxSxA + self.query(query_BxQ)[:, None])
        energy_BxS = self.energy(hidden_BxSxA).squeeze(-1)
        return energy_BxS.masked_fill(~memory.kept_BxS, -torch.inf).softmax(-1)


class Listener(nn.Module):
    """The encoder: x_BxTxF -> rows_NxE, and where the rows belong."""

    def __init__(self, bands: int, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            BiLSTM(2 * width if layer else bands, width) for layer in range(layers)
        )

    def forward(self, x_BxTxF: Tensor, frames_B: np.ndarray) -> tuple[Tensor, Ragged]:
        ragged = Ragged(frames_B, x_BxTxF.device)
        h_NxH = ragged.rows(x_BxTxF)
        for layer, lstm in enumerate(self.layers):
            if layer:
                # A clip's odd last frame is pooled with nothing: padding must never be larger.
                h_BxHxT = ragged.padded(h_NxH, -torch.inf).transpose(1, 2)
                pooled_BxHxT = F.max_pool1d(h_BxHxT, 2, ceil_mode=True)
                ragged = ragged.halved()
                h_NxH = ragged.rows(pooled_BxHxT.transpose(1, 2))
            h_NxH = lstm(h_NxH, ragged)
        return h_NxH, ragged


class AttentionModel(nn.Module):
    """See 'speech model' in contracts/family.py."""

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.wanted = options.engine
        half, memory = max(width // 2, 1), 2 * width
        self.listener = Listener(shape["bands"], width, options.layers)
        self.embedding = nn.Embedding(shape["vocabulary"], half)
        self.attention_lstm = LSTM(half + memory, half)
        self.attention = Attention(half, memory, options)
        self.decoder_lstm = LSTM(half + memory, half)
        self.classifier = nn.Linear(half + memory, shape["vocabulary"])
        initialise(self.embedding)
        initialise(self.classifier)

    @property
    def engine(self) -> str:
        if self.embedding.weight.is_meta:  # only counted, never run
            return "attention-plain"
        return f"attention-{'function' if self.wanted == 'auto' else self.wanted}"

    def hear(self, x_BxTxF: Tensor, frames_B: np.ndarray) -> Encoded:
        """The memory, and how many steps of it each clip has."""
        rows_NxE, ragged = self.listener(x_BxTxF, frames_B)
        key_NxA = self.attention.key(rows_NxE)
        memory = Memory(ragged.padded(rows_NxE), ragged.padded(key_NxA), ragged.kept_BxT)
        return memory, ragged.frames_B

    def look(self, x_BxH: Tensor, memory: Memory, last: AttentionStep | None) -> AttentionStep:
        """One step of the attention: x is the last character, embedded."""
        value_BxSxE = memory.value_BxSxE
        if last is None:
            context_BxE = value_BxSxE.new_zeros(value_BxSxE.shape[::2])
            last = AttentionStep(None, context_BxE, value_BxSxE.new_zeros(value_BxSxE.shape[:2]))
        state = self.attention_lstm.step(torch.cat([x_BxH, last.context_BxE], 1), last.state)
        weights_BxS = self.attention(state[0], memory, last.weights_BxS)
        context_BxE = (weights_BxS[:, None] @ value_BxSxE).squeeze(1)
        return AttentionStep(state, context_BxE, weights_BxS)

    def forward(self, x_BxTxF: Tensor, frames_B: np.ndarray, text_BxL: Tensor) -> Tensor:
        """logits_BxMxV of each character and of the end, M = L + 1, those before it given."""
        return self.spell(self.hear(x_BxTxF, frames_B), text_BxL)

    def spell(self, encoded: Encoded, text_BxL: Tensor) -> Tensor:
        """logits_BxMxV, see ``forward``."""
        memory, _ = encoded
        x_BxMxH = self.embedding(F.pad(text_BxL, (1, 0), value=END))
        if self.engine == "attention-plain":
            look, seen = None, []
            for x_BxH in x_BxMxH.unbind(1):
                look = self.look(x_BxH, memory, look)
                seen.append(look.seen)
            seen_BxMxD = torch.stack(seen, 1)
        else:
            seen_BxMxD = self._looked(x_BxMxH, memory)
        h_BxMxH = self.decoder_lstm(seen_BxMxD)
        context_BxMxE = seen_BxMxD[..., h_BxMxH.shape[-1] :]
        return self.classifier(torch.cat([h_BxMxH, context_BxMxE], -1))

    def _looked(self, x_BxMxH: Tensor, memory: Memory) -> Tensor:
        """What ``look`` has seen after each step, all steps in one function."""
        lstm, attention = self.attention_lstm, self.attention
        of_x, of_context = lstm.input_weight.split([lstm.width, memory.value_BxSxE.shape[2]], 1)
        weights = Weights(
            torch.cat([of_context, lstm.recurrent_weight], 1).t(),
            attention.query.weight.t(),
            attention.query.bias,
            attention.filters.weight[:, 0],
            attention.location.weight.t(),
            attention.energy.weight[0],
        )
        x_MxBxG = F.linear(x_BxMxH.transpose(0, 1), of_x, lstm.bias)
        found_MxBxD = decode(
            x_MxBxG, memory.key_BxSxA, memory.value_BxSxE, ~memory.kept_BxS, weights
        )
        context_MxBxE, h_MxBxH = found_MxBxD.split([of_context.shape[1], lstm.width], 2)
        return torch.cat([h_MxBxH, context_MxBxE], 2).transpose(0, 1)

    def nats(self, encoded: Encoded, text_BxL: Tensor, characters_B: np.ndarray) -> Tensor:
        """nats_B of the characters and the end."""
        logits_BxMxV = self.spell(encoded, text_BxL)
        next_BxM = F.pad(text_BxL, (0, 1), value=END)
        nats_BxM = F.cross_entropy(logits_BxMxV.transpose(1, 2), next_BxM, reduction="none")
        counted = np.arange(next_BxM.shape[1]) <= characters_B[:, None]
        return (nats_BxM * torch.from_numpy(counted).to(nats_BxM.device)).sum(1)

    def transcribe(self, encoded: Encoded) -> list[list[int]]:
        """Greedy: the likeliest character at each step, up to the end or, where none comes, to as
        many characters as the memory has steps, which is also the most that CTC could write."""
        memory, steps_B = encoded
        going_B = torch.from_numpy(steps_B).to(memory.value_BxSxE.device)
        best_B = torch.full_like(going_B, END)
        look, state = None, None
        found = []
        for _ in range(int(steps_B.max())):
            look = self.look(self.embedding(best_B), memory, look)
            state = self.decoder_lstm.step(look.seen, state)
            logits_BxV = self.classifier(torch.cat([state[0], look.context_BxE], 1))
            best_B = logits_BxV.argmax(1)
            going_B = torch.where(best_B == END, 0, going_B - 1)
            found.append(best_B)
            if not (going_B > 0).any():
                break
        texts = torch.stack(found, 1).cpu().numpy()
        return [until_end(text[:n]) for text, n in zip(texts, steps_B, strict=True)]


class AttentionStep(NamedTuple):
    """Where the attention stands after a step."""

    state: State | None
    context_BxE: Tensor
    weights_BxS: Tensor

    @property
    def seen(self) -> Tensor:
        """What the decoder reads: the attention LSTM's output and the context."""
        assert self.state is not None
        return torch.cat([self.state[0], self.context_BxE], 1)


def until_end(text: np.ndarray) -> list[int]:
    """The symbols before the first end."""
    ends = np.flatnonzero(text == END)
    return [int(symbol) for symbol in (text[: ends[0]] if len(ends) else text)]


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return AttentionModel(size, shape, options)


FAMILY = Family(
    "attention",
    build,
    kind="speech",
    dial="width",
    smallest=2,
    recipe=RECIPE,
    embeddings=parameters_under("embedding", "classifier"),
)
