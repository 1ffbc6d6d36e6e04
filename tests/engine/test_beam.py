"""Beam search on models small enough to know the answer."""

import itertools

import torch
from torch import Tensor

from steep.engine.beam import beam_search

END = 0


def markov(table: list[list[float]]):
    """A model whose next symbol depends on the last one only; rows of probabilities."""
    log_VxV = torch.tensor(table).log()

    def step(state: Tensor, symbol_N: Tensor) -> tuple[Tensor, Tensor]:
        return state + 1, log_VxV[symbol_N]

    return step


# From the start (0): 1 is likelier than 2, but what follows 2 is certain.
TRAP = [[0.0, 0.6, 0.4], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]


def search(table: list[list[float]], width: int, *longest: int) -> list[list[int]]:
    return beam_search(markov(table), torch.zeros(len(longest)), width, END, torch.tensor(longest))


def test_greedy_falls_into_the_trap_and_two_beams_do_not() -> None:
    # per symbol: '2 end' sqrt(.4); '1 end' sqrt(.6 * .5), '1 1 end' (.6 * .25)^(1/3), ...
    assert search(TRAP, 1, 6) == [[1]]
    assert search(TRAP, 2, 6) == [[2]]


def test_the_longest_and_rows_of_their_own() -> None:
    forever = [[0.0, 1.0], [0.1, 0.9]]
    assert search(forever, 1, 3, 1, 5) == [[1] * 3, [1], [1] * 5]
    assert search([[1.0, 0.0], [1.0, 0.0]], 2, 4) == [[]]


def test_a_wide_beam_finds_the_best_of_all_sequences() -> None:
    """Against every sequence there is, by mean log-probability per symbol."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        table = torch.rand((4, 4), generator=generator).pow(2).softmax(1).tolist()
        log = torch.tensor(table).log()

        def score(sequence: tuple[int, ...], log: Tensor = log) -> float:
            path = [END, *sequence]
            return sum(float(log[a, b]) for a, b in itertools.pairwise(path)) / len(sequence)

        ended = [(*body, END) for n in range(4) for body in itertools.product((1, 2, 3), repeat=n)]
        opened = list(itertools.product((1, 2, 3), repeat=4))
        best = max([*ended, *opened], key=score)
        found = search(table, 200, 4)[0]
        assert found == [symbol for symbol in best if symbol != END]


def test_the_state_follows_its_beam() -> None:
    """The state counts the 2s written so far; three of them, and nothing else, end a sequence."""

    def step(state: tuple[Tensor], symbol_N: Tensor) -> tuple[tuple[Tensor], Tensor]:
        count_N = state[0] + (symbol_N == 2)
        likely_NxV = torch.tensor([[0.01, 0.5, 0.49]]).repeat(len(count_N), 1)
        likely_NxV[count_N == 3] = torch.tensor([0.98, 0.01, 0.01])
        return (count_N,), likely_NxV.log()

    found = beam_search(step, (torch.zeros(1),), 12, END, torch.tensor([6]))
    assert found == [[2, 2, 2]]
