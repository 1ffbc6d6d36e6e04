"""Recurrent highway networks (Zilly et al. 2017, arXiv:1607.03474), one layer of given depth.

Each step of time passes through ``depth`` highway sublayers; only the first one sees the input:

    a_l, b_l = halves of  s_{l-1} R_l + bias_l  (+ x_t W in the first sublayer)
    s_l = s_{l-1} + sigmoid(b_l) * (tanh(a_l) - s_{l-1})        coupled carry gate

Transform biases start at -4, all else uniform(-0.1, 0.1), biases zero. At depth 10, width h and V
symbols: 22 h^2 + 2 h V + 20 h + V parameters (the char LM of Hestness et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steep.config import Count, Strict
from steep.models.contract import Family
from steep.models.lstm import embeddings

TRANSFORM_BIAS = -4.0


class Options(Strict):
    depth: Count = 10


class RHN(nn.Module):
    """(tokens_BxT, s_BxH or None) -> (logits_BxTxV, s_BxH)."""

    engine = "torch"

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(shape["vocabulary"], width)
        self.input_weight = nn.Parameter(torch.empty(width, 2 * width))
        self.recurrent_weight = nn.Parameter(torch.empty(options.depth, width, 2 * width))
        self.bias = nn.Parameter(torch.zeros(options.depth, 2 * width))
        self.decoder = nn.Linear(width, shape["vocabulary"])
        for name, parameter in self.named_parameters():
            if "bias" not in name:
                nn.init.uniform_(parameter, -0.1, 0.1)
        with torch.no_grad():
            self.decoder.bias.zero_()
            self.bias[:, width:] = TRANSFORM_BIAS

    def hidden(self, tokens_BxT: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs of the last sublayer, h_BxTxH, and the next state."""
        # The input product leaves the time loop, and is made once a symbol, not once a token.
        table_Vx2H = self.embedding.weight @ self.input_weight + self.bias[0]
        x_TxBx2H = nn.functional.embedding(tokens_BxT.t(), table_Vx2H)
        if state is None:
            state = x_TxBx2H.new_zeros(tokens_BxT.shape[0], self.width)
        return recurrence(x_TxBx2H, state, self.recurrent_weight, self.bias)

    def forward(self, tokens_BxT: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        h_BxTxH, state = self.hidden(tokens_BxT, state)
        return self.decoder(h_BxTxH), state


def recurrence(
    x_TxBx2H: Tensor, s_BxH: Tensor, weight_LxHx2H: Tensor, bias_Lx2H: Tensor
) -> tuple[Tensor, Tensor]:
    """The equations above as they stand; x holds the first sublayer's input product and bias."""
    weights, biases = weight_LxHx2H.unbind(0), bias_Lx2H.unbind(0)
    outputs = []
    for x_Bx2H in x_TxBx2H.unbind(0):
        for layer, weight_Hx2H in enumerate(weights):
            offset = x_Bx2H if layer == 0 else biases[layer]
            a_BxH, b_BxH = (s_BxH @ weight_Hx2H + offset).chunk(2, dim=1)
            s_BxH = s_BxH + torch.sigmoid(b_BxH) * (torch.tanh(a_BxH) - s_BxH)
        outputs.append(s_BxH)
    return torch.stack(outputs, dim=1), s_BxH


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return RHN(size, shape, options)


FAMILY = Family(
    "rhn",
    build,
    kind="stream",
    dial="width",
    recipe={
        "optimizer": "adam",
        "learning_rate": 0.003,
        "momentum": 0.9,
        "batch_size": 32,
        "sequence_length": 64,
        "clip": 1.0,
    },
    embeddings=embeddings,
)
