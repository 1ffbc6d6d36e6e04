"""The catalogue of machines, and this computer, measured."""

from __future__ import annotations

import pytest

from steep.cost.machines import machine, names, this_computer
from steep.spec.load import QuestionError


def test_the_catalogue() -> None:
    assert set(names()) == {
        "cpu", "follow-up", "v100", "a100", "h100", "h200", "b200", "tpu-v5p", "tpu-v6e",
    }  # fmt: skip
    for name in names()[1:]:
        found = machine(name)
        assert 1e13 < found.flops < 3e15
        assert found.bandwidth is not None
        assert 5e11 < found.bandwidth < 1e13
        assert found.source
        assert 0 < found.flops_share < 1
    assert machine("H100").precision == "tf32"
    assert machine("h100", "bf16").flops == 2 * machine("h100").flops
    assert machine("v100", "fp32").flops_share == 0.80
    assert machine("h100", share=0.5).flops_share == 0.5
    for bad in ({"name": "h101"}, {"name": "v100", "precision": "bf16"},
                {"name": "h100", "share": 1.5}, {"name": "cpu", "precision": "bf16"}):  # fmt: skip
        with pytest.raises(QuestionError):
            machine(**bad)  # type: ignore[arg-type]


def test_this_computer_is_measured() -> None:
    """The truth is not known; but no computer that runs this has less, or a thousand times more."""
    found = this_computer()
    assert 1e9 < found.flops < 1e14
    assert found.bandwidth is not None
    assert 5e8 < found.bandwidth < 1e13
    assert found.memory is None or found.memory > 1e8
