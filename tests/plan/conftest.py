"""Estimates of time are tested as users get them."""

import pytest


@pytest.fixture(autouse=True)
def as_users_get_them(every_world: None) -> None:
    """See ``every_world``."""
