"""Beam search: the likeliest sequences that a step-by-step model writes by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Any, Tensor], tuple[Any, Tensor]]
"""(state of N rows, last symbol_N) -> (next state, log-probabilities_NxV)."""


def beam_search(step: Step, state: Any, width: int, end: int, longest_B: Tensor) -> list[list[int]]:
    """For each of B rows the best sequence found, without its ``end``.

    ``state`` is a nest of tuples of tensors whose first dimension is B. A row keeps its ``width``
    likeliest sequences; one that ends is compared with the others by its mean log-probability per
    symbol, the end counted (without that the shortest wins); a row is done when ``width`` have
    ended, or at ``longest`` symbols, where what is open counts as it stands. Width 1 is greedy."""
    rows, device = len(longest_B), longest_B.device
    state = _map(state, lambda x: x.repeat_interleave(width, 0))
    symbol_N = torch.full((rows * width,), end, device=device)
    # At first all beams of a row are alike: only one may be followed.
    total_BxK = torch.full((rows, width), float("-inf"), device=device, dtype=torch.float64)
    total_BxK[:, 0] = 0.0
    written_BxKxT = torch.empty((rows, width, 0), dtype=torch.long, device=device)
    best: list[tuple[float, list[int]]] = [(float("-inf"), [])] * rows
    ended = [0] * rows
    limit = longest_B.tolist()
    first_B = torch.arange(rows, device=device)[:, None] * width
    for length in range(1, max(limit) + 1):
        state, log_NxV = step(state, symbol_N)
        symbols = log_NxV.shape[1]
        reached = total_BxK[:, :, None] + log_NxV.double().view(rows, width, symbols)
        # Twice as many as are kept: at most ``width`` of them end, one a beam.
        among = min(2 * width, width * symbols)
        total, place = reached.flatten(1).topk(among, 1)
        beam, symbol = place // symbols, place % symbols
        ends = (symbol == end) & total.isfinite()
        for row, rank in ends[:, :width].nonzero().tolist():  # likely enough to be kept
            if ended[row] < width and length <= limit[row]:
                ended[row] += 1
                score = float(total[row, rank]) / length
                if score > best[row][0]:
                    best[row] = score, written_BxKxT[row, beam[row, rank]].tolist()
        total, rank = total.masked_fill(symbol == end, float("-inf")).topk(width, 1)
        beam, symbol = beam.gather(1, rank), symbol.gather(1, rank)
        written = written_BxKxT.gather(1, beam[:, :, None].expand(-1, -1, length - 1))
        written_BxKxT = torch.cat([written, symbol[:, :, None]], 2)
        total_BxK = total
        for row in range(rows):
            if length == limit[row] and ended[row] < width:
                score = float(total_BxK[row, 0]) / length
                if score > best[row][0]:
                    best[row] = score, written_BxKxT[row, 0].tolist()
                ended[row] = width
        if min(ended) >= width:
            break
        came_from_N = (first_B + beam).flatten()
        state = _map(state, lambda x: x.index_select(0, came_from_N))  # noqa: B023
        symbol_N = symbol.flatten()
    return [sequence for _, sequence in best]


def _map(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest of tuples with every tensor changed."""
    if isinstance(state, tuple):
        inner = [_map(part, change) for part in state]
        return type(state)(*inner) if hasattr(state, "_fields") else tuple(inner)
    return change(state)
