import pytest
import torch

from steep.engine import environment


@pytest.fixture(autouse=True)
def deterministic():
    """As in a worker; torch's switch for the whole process is put back."""
    environment.make_deterministic()
    yield
    torch.use_deterministic_algorithms(False)
