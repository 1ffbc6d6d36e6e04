"""LSTM language models (Hochreiter & Schmidhuber 1997; sizes as in Jozefowicz et al. 2016).

The size is the width of every layer, the embedding included. Full softmax, no projection, no
dropout; forget gates start open by one; uniform(-0.1, 0.1). With 2 layers of width h and V
symbols it has 16 h^2 + 2 h V + 8 h + V parameters: one bias a gate. torch's LSTM wants two; the
second is a buffer of zeros, which nothing trains or counts. What of this is the paper's, and how
sure that is: see ``language.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steep.contracts.family import Family
from steep.models.language import RECIPE, embeddings, initialise
from steep.spec.sections import Count, Strict

State = tuple[Tensor, Tensor]


class Options(Strict):
    layers: Count = 2
    """LSTM layers, one on the other."""


class LSTM(nn.Module):
    """(tokens_BxT, state) -> (logits_BxTxV, state); state: (h, c), each [layers, B, H]."""

    engine = "torch"

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.layers, self.width = options.layers, width
        self.embedding = nn.Embedding(shape["vocabulary"], width)
        gates = 4 * width  # input, forget, cell, output: torch's order
        for layer in range(options.layers):
            for name in ("input", "recurrent"):
                weight = nn.Parameter(torch.empty(gates, width))
                self.register_parameter(f"{name}_weight_{layer}", weight)
            self.register_parameter(f"bias_{layer}", nn.Parameter(torch.zeros(gates)))
        self.register_buffer("second_bias", torch.zeros(gates), persistent=False)
        self.decoder = nn.Linear(width, shape["vocabulary"])
        initialise(self)
        with torch.no_grad():
            self.decoder.bias.zero_()
            for layer in range(options.layers):
                self.get_parameter(f"bias_{layer}")[width : 2 * width] = 1.0

    def hidden(self, tokens_BxT: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The top layer's outputs, h_BxTxH, and the next state."""
        weights: list[Tensor] = []
        for layer in range(self.layers):
            weights.append(self.get_parameter(f"input_weight_{layer}"))
            weights.append(self.get_parameter(f"recurrent_weight_{layer}"))
            weights.append(self.get_parameter(f"bias_{layer}"))
            weights.append(self.get_buffer("second_bias"))
        x_BxTxH = self.embedding(tokens_BxT)
        if state is None:
            zero = x_BxTxH.new_zeros(self.layers, len(tokens_BxT), self.width)
            state = zero, zero
        # has_biases, layers, dropout, training, bidirectional, batch_first
        h_BxTxH, h, c = torch.lstm(
            x_BxTxH, state, weights, True, self.layers, 0.0, self.training, False, True
        )
        return h_BxTxH, (h, c)

    def forward(self, tokens_BxT: Tensor, state: State | None) -> tuple[Tensor, State]:
        h_BxTxH, state = self.hidden(tokens_BxT, state)
        return self.decoder(h_BxTxH), state


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return LSTM(size, shape, options)


FAMILY = Family(
    "lstm",
    build,
    kind="stream",
    dial="width",
    recipe=RECIPE,
    embeddings=embeddings,
)
