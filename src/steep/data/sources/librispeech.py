"""LibriSpeech: 960 hours of English audiobooks, an open counterpart of the paper's speech data.

The paper's speech data is not public. Groups are speakers, none of whom is in two parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steep.contracts.source import Counts, Hub, Source, Tell
from steep.data.sources.hub import Row, origin, rows
from steep.data.sources.speech import Clip, write_clips_by_part

SOURCE = Source(
    title="LibriSpeech, 960 hours of audiobooks, English",
    domains=("speech",),
    files="train.jsonl",
    counts={},
    licence="CC-BY-4.0",
    hub=Hub("openslr/librispeech_asr", "all"),
)
PARTS = {
    "validation": ("validation.clean", "validation.other"),
    "test": ("test.clean", "test.other"),
    "train": ("train.clean.100", "train.clean.360", "train.other.500"),
}


def prepare(folder: Path, limit: int | None, tell: Tell) -> tuple[dict[str, Any], Counts]:
    assert SOURCE.hub is not None
    found = rows(SOURCE.hub, PARTS, lambda row: [row["text"]], limit, tell)
    return origin(SOURCE.hub), write_clips_by_part(folder, _clips(found))


def _clips(found: Iterator[tuple[str, Row]]) -> Iterator[tuple[str, Clip]]:
    for part, row in found:
        yield part, Clip(row["id"], row["audio"]["bytes"], row["text"], str(row["speaker_id"]))
