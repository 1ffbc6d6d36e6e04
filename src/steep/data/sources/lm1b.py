"""The Billion Word Benchmark, the paper's set of words: 30 million sentences of news.

Its sentences are shuffled by its makers, so that a file of them is a group without a meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steep.contracts.source import Counts, Hub, Source, Tell
from steep.data.sources.hub import origin, rows
from steep.data.sources.writing import write_sentences_by_part

SOURCE = Source(
    title="Billion Word Benchmark (the paper's)",
    domains=("words", "characters"),
    files="train",
    counts={},
    licence="see its page: news of WMT 2011",
    # The repository itself holds a script, which the library no longer runs.
    hub=Hub("billion-word-benchmark/lm1b", revision="refs/convert/parquet"),
)
PARTS = {"test": ("test",), "train": ("train",)}


def prepare(folder: Path, limit: int | None, tell: Tell) -> tuple[dict[str, Any], Counts]:
    assert SOURCE.hub is not None
    found = rows(SOURCE.hub, PARTS, lambda row: [row["text"]], limit, tell)
    sentences = ((part, row["text"]) for part, row in found)
    return origin(SOURCE.hub), write_sentences_by_part(folder, sentences)
