"""Clips and their transcripts as the speech domain reads them, whatever they were encoded in."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steep.contracts.source import SourceError, Tell


def spelt(text: str) -> str | None:
    """The transcript with its blanks folded; None where it is not spelt as it is spoken: where
    anything but letters and common punctuation is left in it."""
    text = " ".join(text.split())
    wrong = re.search(r"[^A-Za-z .,:;!?'\"-]", text) or not re.search("[A-Za-z]", text)
    return None if wrong else text


@dataclass(frozen=True)
class Clip:
    """One utterance: an audio file's content, what is said in it, and its group."""

    name: str
    audio: bytes
    text: str
    group: str
    raw: Mapping[str, Any] = field(default_factory=dict)
    """How to read audio without a header: soundfile's format, subtype, samplerate, channels."""


def write_clips(folder: Path, clips: Sequence[Clip], tell: Tell) -> dict[str, int | float]:
    """Clips and manifest.jsonl: see ``write_clips_by_part``."""

    def all_clips() -> Iterator[tuple[str, Clip]]:
        for number, clip in enumerate(clips):
            tell(f"decoding clip {number} of {len(clips)}", number / len(clips))
            yield "manifest", clip

    found = write_clips_by_part(folder, all_clips())
    return {name.removeprefix("manifest "): count for name, count in found.items()}


def write_clips_by_part(folder: Path, clips: Iterable[tuple[str, Clip]]) -> dict[str, int | float]:
    """Each clip as 16-bit WAV in ``clips`` at its own sample rate, and PART.jsonl, whose lines hold
    audio (path), text, seconds and group. Of clips with equal samples the first is kept."""
    import soundfile

    (folder / "clips").mkdir()
    seen: set[bytes] = set()
    parts: dict[str, list[dict[str, Any]]] = {}
    for part, clip in clips:
        try:
            samples, rate = soundfile.read(io.BytesIO(clip.audio), dtype="int16", **clip.raw)
        except soundfile.LibsndfileError as error:
            raise SourceError(f"clip {clip.name}: cannot be decoded: {error}") from None
        if not len(samples):
            raise SourceError(f"clip {clip.name}: holds no sound")
        digest = hashlib.blake2b(samples.tobytes(), digest_size=16).digest()
        if digest in seen:
            continue
        seen.add(digest)
        path = f"clips/{clip.name}.wav"
        soundfile.write(folder / path, samples, rate, subtype="PCM_16")
        row = {"audio": path, "text": clip.text, "seconds": round(len(samples) / rate, 4)}
        parts.setdefault(part, []).append(row | {"group": clip.group})
    counts: dict[str, int | float] = {}
    for part, lines in parts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines)
        (folder / f"{part}.jsonl").write_text(text, encoding="utf-8")
        counts[f"{part} clips"] = len(lines)
        counts[f"{part} hours"] = round(sum(row["seconds"] for row in lines) / 3600, 3)
        counts[f"{part} groups"] = len({row["group"] for row in lines})
    return counts
