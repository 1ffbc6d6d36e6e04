"""Decoder-only transformers (Vaswani et al. 2017, arXiv:1706.03762), as they are built today.

Not in Hestness et al. 2017; here to stand beside the LSTM and the RHN on the same text. Layers are
normalised at their entrance (root mean square, Zhang & Sennrich 2019) and have no biases;
positions are rotary (Su et al. 2021, arXiv:2104.09864):

    x = x + Attention(norm(x));   x = x + W2 gelu(W1 norm(x)), four times as wide inside

The size is the width h. Every head has h // heads entries, what is left over of h goes without
attention: with a = heads * (h // heads), L layers and V symbols it has
L (4 h a + 8 h^2 + 2 h) + h + 2 h V + V parameters.

It carries nothing from one sequence to the next: the state is None. No symbol sees more than
``context`` symbols, itself included. A longer sequence, in an evaluation, is read in windows of
that length that overlap by half: each symbol sees all before it up to ``context``, and then at
least half of that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from steep.contracts.family import Family
from steep.engine.plain import only_plain
from steep.models.language import RECIPE, embeddings
from steep.records import Value
from steep.spec.sections import Count, Strict

HEAD = 16
"""Entries of a head at least, where ``heads`` is left to the width."""
WAVELENGTH = 10_000.0
"""Of the slowest rotation, over 2 pi: that of the rotary paper."""


class Options(Strict):
    layers: Count = 4
    """Blocks of attention and feed-forward layers."""
    heads: Count | None = None
    """At most one per unit of width. None: width // 16, at least one."""
    context: Annotated[int, Field(ge=2)] = 64
    """Symbols that a symbol can see, itself included. It must not exceed sequence_length, or
    evaluations would show the model distances that it was never trained on."""


class Transformer(nn.Module):
    """(tokens_BxT, None) -> (logits_BxTxV, None)."""

    engine = "torch"

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        heads = min(options.heads or max(1, width // HEAD), width)
        self.context = options.context
        self.embedding = nn.Embedding(shape["vocabulary"], width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(options.layers))
        self.norm = nn.RMSNorm(width)
        self.decoder = nn.Linear(width, shape["vocabulary"])
        for name, table in rotations(options.context, width // heads).items():
            self.register_buffer(name, table, persistent=False)
        # Sums of 2 L contributions keep the size of one (Radford et al. 2019).
        shrink = 1 / math.sqrt(2 * options.layers)
        for name, parameter in self.named_parameters():
            if name.startswith(("embedding", "decoder")):
                nn.init.normal_(parameter, std=0.02)
            elif parameter.ndim == 2:
                scale = shrink if name.endswith(("out.weight", "narrow.weight")) else 1.0
                nn.init.normal_(parameter, std=scale / math.sqrt(parameter.shape[1]))
        nn.init.zeros_(self.decoder.bias)

    def hidden(self, tokens_BxT: Tensor, state: None) -> tuple[Tensor, None]:
        """The last layer's normalised outputs, h_BxTxH; a next state there is none."""
        batch, time = tokens_BxT.shape
        fresh = self.context // 2  # symbols that each further window adds
        if time <= self.context:
            return self._window(tokens_BxT), None
        padded = F.pad(tokens_BxT, (0, -(time - self.context) % fresh))
        windows_BxWxC = padded.unfold(1, self.context, fresh)
        h_BxWxCxH = self._window(windows_BxWxC.flatten(0, 1)).unflatten(0, (batch, -1))
        rest = h_BxWxCxH[:, 1:, self.context - fresh :].flatten(1, 2)
        return torch.cat([h_BxWxCxH[:, 0], rest], 1)[:, :time], None

    def _window(self, tokens_BxT: Tensor) -> Tensor:
        time = tokens_BxT.shape[1]
        cosine, sine = self.get_buffer("cosine")[:time], self.get_buffer("sine")[:time]
        x_BxTxH = self.embedding(tokens_BxT)
        for layer in self.layers:
            x_BxTxH = layer(x_BxTxH, cosine, sine)
        out: Tensor = self.norm(x_BxTxH)
        return out

    def forward(self, tokens_BxT: Tensor, state: None) -> tuple[Tensor, None]:
        return self.decoder(self.hidden(tokens_BxT, state)[0]), None


class Layer(nn.Module):
    """Causal self-attention, then the two-layer network: x_BxTxH -> x_BxTxH."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * (width // heads)
        self.attention_norm, self.network_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query_key_value = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BxTxH: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        both = self.query_key_value(self.attention_norm(x_BxTxH))
        # D: entries of a head; N: heads
        qkv_3xBxNxTxD = both.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q_BxNxTxD, k_BxNxTxD = rotated(qkv_3xBxNxTxD[:2], cosine, sine)
        attention = _plain_attention if only_plain() else _attention
        y_BxNxTxD = attention(q_BxNxTxD, k_BxNxTxD, qkv_3xBxNxTxD[2])
        x_BxTxH = x_BxTxH + self.out(y_BxNxTxD.transpose(1, 2).flatten(2))
        wide = F.gelu(self.wide(self.network_norm(x_BxTxH)))
        after: Tensor = x_BxTxH + self.narrow(wide)
        return after


def _attention(q_BxNxTxD: Tensor, k_BxNxTxD: Tensor, v_BxNxTxD: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q_BxNxTxD, k_BxNxTxD, v_BxNxTxD, is_causal=True)


def _plain_attention(q_BxNxTxD: Tensor, k_BxNxTxD: Tensor, v_BxNxTxD: Tensor) -> Tensor:
    """The same for ``torch.func``, which cannot batch the fused one on every device."""
    score_BxNxTxT = q_BxNxTxD @ k_BxNxTxD.mT / math.sqrt(q_BxNxTxD.shape[-1])
    later_TxT = torch.ones(score_BxNxTxT.shape[-2:], dtype=torch.bool, device=q_BxNxTxD.device)
    weight_BxNxTxT = score_BxNxTxT.masked_fill(later_TxT.triu(1), -math.inf).softmax(-1)
    return weight_BxNxTxT @ v_BxNxTxD


def rotations(time: int, head: int) -> dict[str, Tensor]:
    """cosine and sine, each [time, head // 2], of position * frequency; frequencies fall
    geometrically from 1 to about 1 / WAVELENGTH."""
    pairs = head // 2
    frequency = WAVELENGTH ** (-torch.arange(pairs) / max(pairs, 1))
    angle = torch.arange(time)[:, None] * frequency
    return {"cosine": angle.cos(), "sine": angle.sin()}


def rotated(x: Tensor, cosine_TxP: Tensor, sine_TxP: Tensor) -> Tensor:
    """[..., T, D] with entries p and P + p turned as a pair; an odd last entry stays."""
    pairs = cosine_TxP.shape[1]
    first, second, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    turned = first * cosine_TxP - second * sine_TxP, second * cosine_TxP + first * sine_TxP
    return torch.cat([*turned, rest], -1)


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return Transformer(size, shape, options)


def flops(model: Any, shape: Mapping[str, int]) -> float:
    """Training FLOPs a symbol, three times a forward pass: two for every weight of a product, and
    two products of the width of the heads with each of the ``context`` symbols, masked or not."""
    products = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2)
    products -= model.embedding.weight.numel()
    attention = sum(2 * model.context * layer.out.in_features for layer in model.layers)
    return 6.0 * (products + attention)


def misfit(options: Any, values: Mapping[str, Value]) -> str | None:
    length = values.get("sequence_length")
    if isinstance(length, int) and length < options.context:
        return f"sequence_length {length} is shorter than the family's context {options.context}"
    return None


FAMILY = Family(
    "transformer",
    build,
    kind="stream",
    dial="width",
    recipe=RECIPE | {"learning_rate": 0.003, "sequence_length": 64},
    embeddings=embeddings,
    flops=flops,
    misfit=misfit,
    plain=True,
)
