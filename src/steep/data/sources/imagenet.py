"""ImageNet 2012, the paper's image set: 1.3 million photographs of 1,000 classes, as class folders.

Give a study ``side``: the photographs are of all sizes. The test part has no labels, and is not
taken.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from steep.contracts.source import Counts, Hub, Source, SourceError, Tell
from steep.data.sources.hub import origin, rows

SOURCE = Source(
    title="ImageNet 2012, 1,000 classes (the paper's)",
    domains=("images",),
    files="train",
    counts={},
    licence="see its page: research only",
    hub=Hub("ILSVRC/imagenet-1k", gated=True),
)
PARTS = {"validation": ("validation",), "train": ("train",)}
KINDS = {b"\xff\xd8": "jpg", b"\x89P": "png"}


def prepare(folder: Path, limit: int | None, tell: Tell) -> tuple[dict[str, Any], Counts]:
    assert SOURCE.hub is not None
    counts: Counter[str] = Counter()
    classes = set()
    found = rows(SOURCE.hub, PARTS, lambda row: [_digest(row)], limit, tell)
    for part, row in found:
        content = row["image"]["bytes"]
        kind = KINDS.get(content[:2])
        if kind is None:
            raise SourceError(f"{SOURCE.hub.path}: an image of {part} is neither JPEG nor PNG")
        place = folder / part / f"class_{row['label']:04d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{counts[part]:07d}.{kind}").write_bytes(content)
        counts[part] += 1
        classes.add(row["label"])
    return origin(SOURCE.hub), {**counts, "classes": len(classes)}


def _digest(row: Any) -> str:
    return hashlib.blake2b(row["image"]["bytes"], digest_size=16).hexdigest()
