"""WMT 2016 German-English, the paper's translation set: 4.5 million pairs of sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steep.contracts.source import Counts, Hub, Source, Tell
from steep.data.sources.hub import Row, origin, rows
from steep.data.sources.prose import bare
from steep.data.sources.writing import write_pairs_by_part

SOURCE = Source(
    title="WMT16 German-English sentences (the paper's)",
    domains=("translation",),
    files="train.tsv",
    counts={},
    licence="see its page: Europarl, Common Crawl, News Commentary",
    hub=Hub("wmt/wmt16", "de-en"),
)
PARTS = {"validation": ("validation",), "test": ("test",), "train": ("train",)}


def prepare(folder: Path, limit: int | None, tell: Tell) -> tuple[dict[str, Any], Counts]:
    assert SOURCE.hub is not None
    found = rows(SOURCE.hub, PARTS, lambda row: row["translation"].values(), limit, tell)
    return origin(SOURCE.hub), write_pairs_by_part(folder, _pairs(found))


def _pairs(found: Iterator[tuple[str, Row]]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """The group is the English side: its pairs are translations of one sentence."""
    for part, row in found:
        german, english = row["translation"]["de"], row["translation"]["en"]
        if german.strip() and english.strip():
            group = hashlib.blake2b(bare(english).encode(), digest_size=8).hexdigest()
            yield part, (german, english, group)
