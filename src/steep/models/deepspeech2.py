"""Deep Speech 2 (Amodei et al. 2016, arXiv:1512.02595) with connectionist temporal classification.

Two convolutions over time and bands, bidirectional LSTMs, a softmax over characters and blank,
CTC (Graves et al. 2006). The size is the width of every LSTM, per direction; the convolutions stay
as they are. Known of the paper's model: two convolutions, four bidirectional LSTMs, CTC, Adam.
Unsure, and chosen here: both convolutions halve time and bands, so that a second has 25 steps;
kernels of 11 x 11 and 11 x 5 (time x bands: the original's, scaled from 161 to 40 bands); few
channels; batch norm after each convolution and between LSTMs, over the frames of all clips and
never over padding (the original's 'sequence-wise' norm, on an LSTM's input instead of its input
product); forget gates open by one; no weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steep.contracts.family import Family, parameters_under
from steep.models.ragged import RECIPE, BiLSTM, Ragged, initialise
from steep.spec.sections import Count, Strict

BLANK = 0
CLIPPED = 20.0
"""The original's rectifier ends here."""


class Options(Strict):
    layers: Count = 4
    """Bidirectional LSTMs."""
    channels: Count = 8
    """Of both convolutions; the original has 32."""


class DeepSpeech2(nn.Module):
    """See 'speech model' in contracts/family.py."""

    engine = "torch"

    def __init__(self, width: int, shape: Mapping[str, int], options: Options) -> None:
        super().__init__()
        channels = options.channels
        self.first = nn.Conv2d(1, channels, (11, 11), 2, padding=(5, 5), bias=False)
        self.second = nn.Conv2d(channels, channels, (11, 5), 2, padding=(5, 2), bias=False)
        inputs = channels * -(-shape["bands"] // 4)
        self.layers = nn.ModuleList(
            BiLSTM(2 * width if layer else inputs, width) for layer in range(options.layers)
        )
        self.classifier = nn.Linear(2 * width, shape["vocabulary"])
        for module in (self.first, self.second, self.classifier):
            initialise(module)
        self.conv_norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))
        self.layer_norms = nn.ModuleList(
            nn.BatchNorm1d(2 * width) for _ in range(options.layers - 1)
        )

    def hear(self, x_BxTxF: Tensor, frames_B: np.ndarray) -> tuple[Tensor, Ragged]:
        """Logits rows_NxV of each step, a fourth of the frames, and where they belong."""
        ragged = Ragged(frames_B, x_BxTxF.device)
        x = x_BxTxF[:, None]  # BxCxTxF
        for convolution, norm in zip((self.first, self.second), self.conv_norms, strict=True):
            ragged = ragged.halved()
            rows_NxCxF = norm(ragged.rows(convolution(x).transpose(1, 2)))
            rows_NxCxF = rows_NxCxF.clamp(0.0, CLIPPED)
            x = ragged.padded(rows_NxCxF).transpose(1, 2)
        h_NxH = rows_NxCxF.flatten(1)
        for layer, lstm in enumerate(self.layers):
            if layer:
                h_NxH = self.layer_norms[layer - 1](h_NxH)
            h_NxH = lstm(h_NxH, ragged)
        return self.classifier(h_NxH), ragged

    def forward(self, x_BxTxF: Tensor, frames_B: np.ndarray, text_BxL: Tensor) -> Tensor:
        """logits_BxTxV, T a fourth; they do not look at the text."""
        rows_NxV, ragged = self.hear(x_BxTxF, frames_B)
        return ragged.padded(rows_NxV)

    def nats(
        self, encoded: tuple[Tensor, Ragged], text_BxL: Tensor, characters_B: np.ndarray
    ) -> Tensor:
        """nats_B. A clip with fewer steps than its text needs has infinite nats."""
        rows_NxV, ragged = encoded
        log_probability_TxBxV = ragged.padded(rows_NxV.log_softmax(-1)).transpose(0, 1)
        # CUDA's gradient of CTC is not deterministic; the arrays are small.
        nats_B = F.ctc_loss(
            log_probability_TxBxV.cpu(),
            text_BxL.cpu(),
            torch.from_numpy(ragged.frames_B),
            torch.from_numpy(characters_B),
            BLANK,
            reduction="none",
        )
        return nats_B.to(rows_NxV.device)

    def transcribe(self, encoded: tuple[Tensor, Ragged]) -> list[list[int]]:
        rows_NxV, ragged = encoded
        best_BxT = ragged.padded(rows_NxV.argmax(-1)).cpu().numpy()
        return [collapse(best[:n]) for best, n in zip(best_BxT, ragged.frames_B, strict=True)]


def collapse(path_T: np.ndarray) -> list[int]:
    """A path's text: repeats are one symbol, then blanks go (Graves et al. 2006, section 3.1)."""
    kept = np.ones(len(path_T), bool)
    kept[1:] = path_T[1:] != path_T[:-1]
    return [int(symbol) for symbol in path_T[kept] if symbol != BLANK]


def build(size: int, shape: Mapping[str, int], options: Any) -> nn.Module:
    return DeepSpeech2(size, shape, options)


FAMILY = Family(
    "deepspeech2",
    build,
    kind="speech",
    dial="width",
    recipe=RECIPE,
    embeddings=parameters_under("classifier"),
)
