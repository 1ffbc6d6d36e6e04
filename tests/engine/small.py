"""Forty images and sixty lines of text for the tests of the loop, and the setup of either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from steep.contracts.family import Family
from steep.domains import characters, images
from steep.domains.stream import Stream
from steep.engine.loop import Setup
from steep.spec.sections import Stop

STOP = Stop(evaluations=3, patience=1, first=3, ratio=1.5)
TEXT = "\n\n".join(f"the {n} th line of {n * n} in all" for n in range(60))


def pixels(learnable: bool = True) -> images.Images:
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 3
    noise = generator.integers(0, 128, (40, 1, 6, 6))
    shape = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
    labels = labels if learnable else generator.permutation(labels)
    return images.Images(shape, labels, np.zeros(40, np.int8), {})


def text(folder: Path) -> Stream:
    (folder / "a.txt").write_text(TEXT)
    return characters.open_domain(characters.Options(train="a.txt"), folder)


def setup_of(family: Family, options: Any, folder: Path, stop: Stop = STOP, **more: Any) -> Setup:
    """Of trials on the domain of the family's kind; ``more`` of Setup's own."""
    domain = pixels() if family.kind == "classifier" else text(folder)
    values = {**family.recipe, "batch_size": 4, "sequence_length": 9, "clip": 0.5}
    group = domain.items().group
    return Setup(domain, family, options, values, stop, "cross_entropy", group, **more)
