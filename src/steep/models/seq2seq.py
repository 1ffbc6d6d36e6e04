"""Attentional encoder-decoder for sentence pairs: bidirectional LSTM, LSTM, Luong attention.

The encoder has ``layers`` bidirectional LSTM layers. The decoder is one LSTM that reads the last
target symbol's embedding and the attention layer's last output (input feeding); ``h_t`` attends to
the encoder with Luong's 'general' score, and the attention layer's output goes to the softmax:

    score_ts = h_t . (K e_s),   feed_t = tanh(W [h_t; sum_s softmax_s(score) e_s])

The size is the width h of every LSTM, of the two embeddings and of the attention layer. With V
word pieces: 33 h^2 + 3 h V + 12 h + (layers - 1) (24 h^2 + 8 h) parameters, one bias a gate, none
elsewhere; ``layers: 1`` is the 2019 graph of Hestness et al.'s group (h 1,024, V 36,548). Their
2017 encoder had two layers; that the decoder had one, we read from that, it is not known. Unknown
too, and chosen here: the decoder starts from the mean of both directions' last states; the
attention layer has Luong's tanh; forget gates start open by one (tensorflow/nmt's default).
The dropout of 0.2 that the graph has is left out. uniform(-0.1, 0.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from steep.contracts.family import PAIR_LENGTH, Family
from steep.engine.attention_decoder import decode
from steep.engine.beam import beam_search
from steep.engine.tally import Tally
from steep.models.lstm import embeddings
from steep.spec.sections import Count, Strict

DIRECTIONS = ("onward", "backward")
HOLD = 100.0
"""Into the gates at padding of the source: the input gate is shut, the forget gate open. An exact
0 and 1 in float32 but for denormals."""


class Options(Strict):
    layers: Count = 1
    """Of the encoder."""
    engine: Literal["auto", "function", "plain"] = "auto"
    """'auto' is 'function', the decoder's gradient written by hand; 'plain' is torch's own. They
    agree but for rounding."""


class Memory(NamedTuple):
    """What the decoder knows of the source sentences."""

    keys_BxSxH: Tensor
    values_BxSx2H: Tensor
    outside_BxS: Tensor
    """True at padding."""


class State(NamedTuple):
    h_BxH: Tensor
    c_BxH: Tensor
    feed_BxH: Tensor


class Seq2Seq(nn.Module):
    """(source_BxS, length_B, read_BxT) -> logits_BxTxV; see ``hidden``."""

    hold: Tensor

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.width, self.layers, self.wanted = width, options.layers, options.engine
        symbols, gates = shape["vocabulary"], 4 * width  # input, forget, cell, output
        self.embedding_source = nn.Embedding(symbols, width)
        self.embedding_target = nn.Embedding(symbols, width)
        for layer in range(options.layers):
            for direction in DIRECTIONS:
                self._add(f"{direction}_input_{layer}", gates, width if layer == 0 else 2 * width)
                self._add(f"{direction}_recurrent_{layer}", gates, width)
                self._add(f"{direction}_bias_{layer}", gates)
        self.target_input = nn.Parameter(torch.zeros(gates, width))
        self.target_recurrent = nn.Parameter(torch.zeros(gates, 2 * width))
        self.target_bias = nn.Parameter(torch.zeros(gates))
        self.key = nn.Linear(2 * width, width, bias=False)
        self.attention = nn.Linear(3 * width, width, bias=False)
        self.decoder = nn.Linear(width, symbols, bias=False)
        self.register_buffer("second_bias", torch.zeros(gates), persistent=False)
        hold = torch.tensor([-HOLD, HOLD, 0.0, 0.0]).repeat_interleave(width)
        self.register_buffer("hold", hold[:, None], persistent=False)
        for name, parameter in self.named_parameters():
            if "bias" in name:
                with torch.no_grad():
                    parameter[width : 2 * width] = 1.0
            else:
                nn.init.uniform_(parameter, -0.1, 0.1)

    def _add(self, name: str, *sizes: int) -> None:
        self.register_parameter(name, nn.Parameter(torch.zeros(*sizes)))

    @property
    def engine(self) -> str:
        if self.key.weight.is_meta:  # only counted, never run
            return "seq2seq-plain"
        return f"seq2seq-{'function' if self.wanted == 'auto' else self.wanted}"

    # ------------------------------------------------------------ encoder

    def encode(self, source_BxS: Tensor, length_B: Tensor | None) -> tuple[Memory, State]:
        """Memory, and the decoder's first state. Padding, at the rows' ends, changes neither;
        ``length`` None: there is none."""
        batch, longest = source_BxS.shape
        place_S = torch.arange(longest, device=source_BxS.device)
        ends = torch.full_like(source_BxS[:, 0], longest) if length_B is None else length_B
        outside_BxS = place_S >= ends[:, None]
        x = self.embedding_source(source_BxS)
        zero_2xBxH = x.new_zeros(2, batch, self.width)
        for layer in range(self.layers):
            weights = [w for direction in DIRECTIONS for w in self._weights(direction, layer)]
            if length_B is not None:
                # One more input, 1 at padding: cells keep what they hold there. So a row's last
                # cell is that of its own end, and the other direction begins at its end.
                x = torch.cat([x, outside_BxS[:, :, None].to(x)], 2)
                weights[0::4] = [torch.cat([w, self.hold], 1) for w in weights[0::4]]
            # has_biases, layers, dropout, training, bidirectional, batch_first
            x, last_2xBxH, c_2xBxH = torch.lstm(
                x, (zero_2xBxH, zero_2xBxH), weights, True, 1, 0.0, self.training, True, True
            )
        onward_Bx1xH = x[:, :, : self.width].gather(
            1, (ends - 1)[:, None, None].expand(-1, 1, self.width)
        )
        h_BxH = (onward_Bx1xH[:, 0] + last_2xBxH[1]) / 2
        memory = Memory(self.key(x), x, outside_BxS)
        return memory, State(h_BxH, c_2xBxH.mean(0), torch.zeros_like(h_BxH))

    def _weights(self, direction: str, layer: int) -> list[Tensor]:
        names = ("input", "recurrent", "bias")
        own = [self.get_parameter(f"{direction}_{name}_{layer}") for name in names]
        return [*own, self.get_buffer("second_bias")]

    # ------------------------------------------------------------ decoder

    def step(self, memory: Memory, state: State, symbol_B: Tensor) -> State:
        """One step of the decoder, as the equations stand; ``feed`` is what the softmax reads."""
        x_BxH = self.embedding_target(symbol_B)
        last_Bx2H = torch.cat([state.feed_BxH, state.h_BxH], 1)
        gates_Bx4H = nn.functional.linear(x_BxH, self.target_input, self.target_bias)
        gates_Bx4H = gates_Bx4H + nn.functional.linear(last_Bx2H, self.target_recurrent)
        i, f, g, o = gates_Bx4H.chunk(4, 1)
        c_BxH = f.sigmoid() * state.c_BxH + i.sigmoid() * g.tanh()
        h_BxH = o.sigmoid() * c_BxH.tanh()
        score_BxS = torch.bmm(memory.keys_BxSxH, h_BxH[:, :, None])[:, :, 0]
        share_BxS = score_BxS.masked_fill(memory.outside_BxS, float("-inf")).softmax(1)
        context_Bx2H = torch.bmm(share_BxS[:, None], memory.values_BxSx2H)[:, 0]
        return State(h_BxH, c_BxH, self.attention(torch.cat([h_BxH, context_Bx2H], 1)).tanh())

    def hidden(self, source_BxS: Tensor, length_B: Tensor | None, read_BxT: Tensor) -> Tensor:
        """What the softmax reads, h_BxTxH, where the decoder's step t reads ``read``'s column t.
        Padding, at the rows' ends, changes nothing before it."""
        memory, state = self.encode(source_BxS, length_B)
        if self.engine == "seq2seq-plain":
            fed = []
            for symbol_B in read_BxT.unbind(1):
                state = self.step(memory, state, symbol_B)
                fed.append(state.feed_BxH)
            return torch.stack(fed, 1)
        of_h, of_context = self.attention.weight.split([self.width, 2 * self.width], 1)
        x_TxBx4H = nn.functional.linear(
            self.embedding_target(read_BxT.t()), self.target_input, self.target_bias
        )
        feed_TxBxH = decode(
            x_TxBx4H,
            state.h_BxH,
            state.c_BxH,
            memory.keys_BxSxH,
            nn.functional.linear(memory.values_BxSx2H, of_context),
            memory.outside_BxS,
            self.target_recurrent.t(),
            of_h.t(),
        )
        return feed_TxBxH.transpose(0, 1)

    def write(
        self, source_BxS: Tensor, length_B: Tensor, beam: int, longest_B: Tensor
    ) -> list[list[int]]:
        """The likeliest target of each row by beam search, without its end (symbol 0)."""
        memory, first = self.encode(source_BxS, length_B)
        wide = Memory(*(part.repeat_interleave(beam, 0) for part in memory))

        def step(state: State, symbol_N: Tensor) -> tuple[State, Tensor]:
            state = self.step(wide, state, symbol_N)
            return state, self.decoder(state.feed_BxH).log_softmax(1)

        return beam_search(step, first, beam, 0, longest_B)

    def forward(self, source_BxS: Tensor, length_B: Tensor | None, read_BxT: Tensor) -> Tensor:
        return self.decoder(self.hidden(source_BxS, length_B, read_BxT))


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return Seq2Seq(size, shape, options)


def flops(model: nn.Module, shape: Mapping[str, int]) -> float:
    """Training FLOPs per target word piece, of pairs of PAIR_LENGTH pieces on either side, the ends
    counted: three times the forward matrix products (each has two gradients)."""
    tokens = torch.zeros(1, PAIR_LENGTH, dtype=torch.long)
    with Tally() as counter, torch.no_grad():
        model(tokens, None, tokens)
    return 3 * counter.products / PAIR_LENGTH


FAMILY = Family(
    "seq2seq",
    build,
    kind="pairs",
    dial="width",
    recipe={
        "optimizer": "adam",
        "learning_rate": 0.005,
        "momentum": 0.9,
        "batch_size": 32,
        "clip": 5.0,
        "averaging": 8.0,
    },
    embeddings=embeddings,
    flops=flops,
)
