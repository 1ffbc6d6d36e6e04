"""The follow-up's figures, worked out by hand from its own constants."""

from __future__ import annotations

import pytest

from steep.cost.follow_up import claims, domain_scaling, domains, target_of
from steep.cost.machines import machine
from steep.cost.projection import TOO_LARGE, cost


def test_the_follow_ups_figures() -> None:
    """Worked out by hand from the printed constants (see the audit in the data file)."""
    found = {(c.domain.split()[0], c.what): c for c in claims()}
    assert found["images", "data, times"].computed == pytest.approx(80.46, abs=0.01)
    assert found["translation", "data, times"].agrees
    speech = found["speech", "data, times"]
    assert speech.computed == pytest.approx(19.54, abs=0.01)
    assert not speech.agrees
    assert "3.4 %" in speech.remark
    character = found["character", "error now, bits per character"]
    assert (character.printed, character.agrees) == (1.30, False)
    assert pytest.approx(1.30, abs=0.005) == 9.39 * 3.48e9**-0.0900  # as its remark says
    assert pytest.approx(146e3, rel=0.02) == 1.03e-6 * 3.4e12**0.89
    assert found["translation", "TFLOP a step"].computed == pytest.approx(270.3, abs=0.1)
    for domain in ("word", "character", "translation", "speech", "images"):
        assert found[domain, "seconds a step"].agrees
    assert found["word", "seconds a step"].computed == pytest.approx(115.2, abs=0.1)


def test_every_difference_is_explained_and_no_more() -> None:
    for claim in claims():
        assert claim.agrees or claim.remark, f"{claim.domain}, {claim.what}: {claim.computed}"
    assert sum(not c.agrees for c in claims()) == 32


def test_its_targets_as_projections() -> None:
    site = machine("follow-up")
    for name in domains():
        (found,) = cost(domain_scaling(name), [target_of(name)], machine=site).projections
        assert found.outcome in ("ok", TOO_LARGE)
    (word,) = cost(domain_scaling("words"), [2.48], machine=site).projections
    assert word.outcome == TOO_LARGE
    assert word.parameters is not None
    assert word.memory is not None
    assert word.parameters.value == pytest.approx(24.3e9, rel=0.01)
    assert word.memory.value == pytest.approx(11.94 * 24.3e9, rel=0.01)
    (image,) = cost(domain_scaling("images"), [0.05], machine=site).projections
    assert image.bound == "compute"
    assert image.seconds is not None
    assert image.seconds.value == pytest.approx(79.4 * 86_400, rel=0.02)
