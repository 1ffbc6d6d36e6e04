"""Recurrent highway networks (Zilly et al. 2017, arXiv:1607.03474), one layer of given depth.

Each step of time passes through ``depth`` highway sublayers; only the first one sees the input:

    a_l, b_l = halves of  s_{l-1} R_l + bias_l  (+ x_t W in the first sublayer)
    s_l = s_{l-1} + sigmoid(b_l) * (tanh(a_l) - s_{l-1})        coupled carry gate

Transform biases start at -4, all else uniform(-0.1, 0.1), biases zero. At depth 10, width h and V
symbols: 22 h^2 + 2 h V + 20 h + V parameters (the char LM of Hestness et al. 2017; their word LM
has depth 5). What of this is the paper's, and how sure that is: see ``language.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steep.contracts.family import Family
from steep.engine import rhn_function, rhn_kernel
from steep.engine.compiled import NoKernel
from steep.engine.plain import only_plain
from steep.models.language import RECIPE, embeddings, initialise
from steep.spec.sections import Count, Strict

TRANSFORM_BIAS = -4.0


ENGINES = {
    "kernel": rhn_kernel.recurrence,
    "function": rhn_function.recurrence,
    "plain": rhn_function.plain,
}
"""Ways to compute the same recurrence, fastest first. They agree but for rounding."""


class Options(Strict):
    depth: Count = 10
    """Highway sublayers that each step of time passes through."""
    engine: Literal["auto", "kernel", "function", "plain"] = "auto"
    """'auto': the compiled kernel where it can be built (CPU), else the hand-written gradient.
    A trial records which one it ran on, as 'rhn-kernel', ..."""


class RHN(nn.Module):
    """(tokens_BxT, s_BxH or None) -> (logits_BxTxV, s_BxH)."""

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.width, self.wanted = width, options.engine
        self.embedding = nn.Embedding(shape["vocabulary"], width)
        self.input_weight = nn.Parameter(torch.empty(width, 2 * width))
        self.recurrent_weight = nn.Parameter(torch.empty(options.depth, width, 2 * width))
        self.bias = nn.Parameter(torch.zeros(options.depth, 2 * width))
        self.decoder = nn.Linear(width, shape["vocabulary"])
        initialise(self)
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
        recurrence = ENGINES[self.engine.removeprefix("rhn-")]
        h_TxBxH, state = recurrence(x_TxBx2H, state, self.recurrent_weight, self.bias)
        return h_TxBxH.transpose(0, 1), state

    @property
    def engine(self) -> str:
        """Which engine runs on the device where the model is now."""
        if self.recurrent_weight.is_meta or only_plain():  # only counted, never run; or packed
            return "rhn-plain"
        if self.wanted != "auto":
            return f"rhn-{self.wanted}"
        return "rhn-kernel" if self.recurrent_weight.is_cpu and _compiled() else "rhn-function"

    def forward(self, tokens_BxT: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        h_BxTxH, state = self.hidden(tokens_BxT, state)
        return self.decoder(h_BxTxH), state


def _compiled() -> bool:
    try:
        rhn_kernel.kernel()
    except NoKernel:
        return False
    return True


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return RHN(size, shape, options)


FAMILY = Family(
    "rhn",
    build,
    kind="stream",
    dial="width",
    recipe=RECIPE,
    embeddings=embeddings,
    plain=True,
)
