"""Fashion-MNIST: 28 x 28 grey images of ten kinds of clothes, as the IDX files they come in."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from steep.contracts.source import Counts, Members, Package, Source, SourceError, Tell

PACKAGE = Package(
    "apt", "dataset-fashion-mnist", "0.0~git20200523.55506a9-1", 30_900_652,
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)  # fmt: skip
PIXELS = 28 * 28
PARTS = {"training images": "train", "test images": "t10k"}

SOURCE = Source(
    title="Fashion-MNIST: grey images of clothes, ten classes",
    domains=("images",),
    files="train-images-idx3-ubyte.gz",
    counts={"training images": 60000, "test images": 10000, "test images that are in training": 0},
    licence="MIT",
    packages=(PACKAGE,),
)


def prepare(members: Members, folder: Path, tell: Tell) -> Counts:
    tell("unpacking", 0.0)
    root = "usr/share/datasets/fashion-mnist/"
    images: dict[str, set[bytes]] = {}
    counts: dict[str, int | float] = {}
    for name, content in members(PACKAGE.name, lambda n: n.startswith(root) and n.endswith(".gz")):
        (folder / Path(name).name).write_bytes(content)
        for what, part in PARTS.items():
            if name.endswith(f"/{part}-images-idx3-ubyte.gz"):
                found = _images(content)
                counts[what], images[part] = len(found), set(found)
    if len(images) < len(PARTS):
        raise SourceError(f"{PACKAGE.name}: holds no images in {root}")
    counts["test images that are in training"] = len(images["train"] & images["t10k"])
    return dict(sorted(counts.items(), reverse=True))


def _images(content: bytes) -> list[bytes]:
    """A digest of each image: 16 bytes of header, then its pixels."""
    pixels = gzip.decompress(content)[16:]
    starts = range(0, len(pixels), PIXELS)
    return [hashlib.blake2b(pixels[n : n + PIXELS], digest_size=16).digest() for n in starts]
