"""Clips of unequal length: no layer of the speech models sees padding.

All frames of a batch lie in one array of rows, clip after clip. Batch norm and projections take
rows, so that padding cannot reach them; convolutions, pooling and recurrences take the padded form,
where what is beyond a clip's end is as if the batch ended there: a recurrence that runs backward
starts at each clip's own last frame.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from steep.records import Value

State = tuple[Tensor, Tensor]

RECIPE: dict[str, Value] = {
    "optimizer": "adam",
    "learning_rate": 0.003,
    "momentum": 0.9,
    "batch_size": 16,
    "clip": 1.0,
    "averaging": 8.0,
}
"""Of both speech families."""


class Ragged:
    """Which steps of a padded batch (B clips, T steps) are frames: packs them and unpads."""

    def __init__(self, frames_B: np.ndarray, device: torch.device) -> None:
        self.frames_B, self.longest = frames_B, int(frames_B.max())
        time_T = np.arange(self.longest)
        kept_BxT = time_T < frames_B[:, None]
        mirror_BxT = np.where(kept_BxT, frames_B[:, None] - 1 - time_T, time_T)
        mirror_BxT += self.longest * np.arange(len(frames_B))[:, None]
        self.kept_BxT = torch.from_numpy(kept_BxT).to(device)
        self._index = torch.from_numpy(np.flatnonzero(kept_BxT)).to(device)
        self._mirror = torch.from_numpy(mirror_BxT.ravel()).to(device)

    def rows(self, x_BxT: Tensor) -> Tensor:
        """[B, T, ...] -> [N, ...], N the frames of all clips; T may be longer than any."""
        return x_BxT[:, : self.longest].flatten(0, 1).index_select(0, self._index)

    def padded(self, rows_N: Tensor, value: float = 0.0) -> Tensor:
        """[N, ...] -> [B, T, ...], ``value`` beyond each clip's end."""
        shape = (len(self.frames_B), self.longest)
        flat = rows_N.new_full((shape[0] * shape[1], *rows_N.shape[1:]), value)
        return flat.index_copy(0, self._index, rows_N).unflatten(0, shape)

    def mirrored(self, x_BxT: Tensor) -> Tensor:
        """Each clip's frames in reverse order; what is beyond its end stays where it is."""
        return x_BxT.flatten(0, 1).index_select(0, self._mirror).view_as(x_BxT)

    def halved(self) -> Ragged:
        """After a layer of stride 2: the last of an odd number of frames stays alone."""
        return Ragged((self.frames_B + 1) // 2, self._index.device)


class BiLSTM(nn.Module):
    """A bidirectional LSTM, rows_NxI -> rows_Nx2H: forward and backward outputs side by side.

    Two padded passes: torch's packed form costs a CPU time in the square of the length (each
    step's gradient fills an array as large as all steps; 3 to 10 times as long at our shapes)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.forwards, self.backwards = LSTM(inputs, width), LSTM(inputs, width)

    def forward(self, x_NxI: Tensor, ragged: Ragged) -> Tensor:
        x_BxTxI = ragged.padded(x_NxI)
        ahead_BxTxH = self.forwards(x_BxTxI)
        back_BxTxH = ragged.mirrored(self.backwards(ragged.mirrored(x_BxTxI)))
        return ragged.rows(torch.cat([ahead_BxTxH, back_BxTxH], -1))


class LSTM(nn.Module):
    """One direction: the weights, a step of it, and a whole padded sequence.

    One bias a gate, as in lstm.py; forget gates start open by one; weights uniform within
    sqrt(3 / fan_in), as in the paper's graphs."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        gates = 4 * width  # input, forget, cell, output: torch's order
        self.input_weight = nn.Parameter(torch.empty(gates, inputs))
        self.recurrent_weight = nn.Parameter(torch.empty(gates, width))
        self.bias = nn.Parameter(torch.empty(gates))
        self.register_buffer("second_bias", torch.zeros(gates), persistent=False)
        initialise(self)
        with torch.no_grad():
            self.bias[width : 2 * width] = 1.0

    @property
    def weights(self) -> list[Tensor]:
        second = self.get_buffer("second_bias")
        return [self.input_weight, self.recurrent_weight, self.bias, second]

    def step(self, x_BxI: Tensor, state: State | None) -> State:
        """(h_BxH, c_BxH), from zeros where ``state`` is None."""
        if state is None:
            zero = x_BxI.new_zeros(len(x_BxI), self.width)
            state = zero, zero
        return torch.lstm_cell(x_BxI, state, *self.weights)

    def forward(self, x_BxLxI: Tensor) -> Tensor:
        """h_BxLxH, from zeros."""
        zero = x_BxLxI.new_zeros(1, len(x_BxLxI), self.width)
        # has_biases, layers, dropout, training, bidirectional, batch_first
        h_BxLxH, _, _ = torch.lstm(
            x_BxLxI, (zero, zero), self.weights, True, 1, 0.0, self.training, False, True
        )
        return h_BxLxH


def initialise(module: nn.Module) -> None:
    """Weights uniform within sqrt(3 / fan_in), biases zero."""
    for name, parameter in module.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
        else:
            bound = (3.0 / parameter[0].numel()) ** 0.5
            nn.init.uniform_(parameter, -bound, bound)
