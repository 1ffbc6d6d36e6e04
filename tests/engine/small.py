"""Two small domains for the loop's tests: forty images, and sixty lines of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from steep.domains import characters, images
from steep.domains.stream import Stream
from steep.spec import Stop

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
