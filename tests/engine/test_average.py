"""Polynomial-decay averaging against its closed form, and in place without a trace."""

import torch
from torch import nn

from steep.engine.average import Average


def _weights(values: list[float], eta: float) -> float:
    """The average of a one-weight model that held ``values`` after steps 1, 2, ..."""
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, eta)
    for step, value in enumerate(values, start=1):
        model.weight.data.fill_(value)
        average.update(step)
    return float(average.weights["weight"])


def test_eta_zero_is_the_plain_mean() -> None:
    values = [3.0, -1.0, 4.0, 1.0, -5.0]
    assert abs(_weights(values, 0.0) - sum(values) / 5) < 1e-6


def test_the_first_step_is_taken_whole_whatever_came_before() -> None:
    assert _weights([7.0], 8.0) == 7.0


def test_weights_fall_off_as_the_closed_form_says() -> None:
    """eta 3: the share of step i in the average after t is prod_(j>i) (1 - w_j) * w_i."""
    eta, t = 3.0, 20
    share = [(eta + 1) / (i + eta) for i in range(1, t + 1)]
    for i in (1, 7, 20):
        expected = share[i - 1]
        for later in share[i:]:
            expected *= 1 - later
        found = _weights([float(j == i) for j in range(1, t + 1)], eta)
        assert abs(found - expected) < 1e-6


def test_in_place_gives_the_weights_back() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = Average(model, 8.0)
    for step in range(1, 4):
        model(torch.randn(4, 1, 5, 5))
        for parameter in model.parameters():
            parameter.data.add_(1.0)
        average.update(step)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with average.in_place():
        assert not torch.equal(model[0].weight, before["0.weight"])
        assert torch.equal(model[1].running_mean, average.weights["1.running_mean"])
        assert int(model[1].num_batches_tracked) == 3
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
