"""Clips and their transcripts as the speech domain reads them, whatever they were encoded in."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steep.sources.contract import SourceError, Tell


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


def write_clips(
    folder: Path, clips: Iterable[Clip], count: int, tell: Tell
) -> dict[str, int | float]:
    """Each clip as 16-bit WAV in ``clips`` at its own sample rate, and manifest.jsonl, whose lines
    hold audio (path), text, seconds and group. Of clips with equal samples the first is kept."""
    import soundfile

    (folder / "clips").mkdir(exist_ok=True)
    lines: list[str] = []
    seen: set[bytes] = set()
    seconds, groups = 0.0, set()
    for number, clip in enumerate(clips):
        tell(f"decoding clip {number} of {count}", number / max(count, 1))
        try:
            samples, rate = soundfile.read(io.BytesIO(clip.audio), dtype="int16", **clip.raw)
        except soundfile.LibsndfileError as error:
            raise SourceError(f"clip {clip.name}: cannot be decoded: {error}") from None
        if not len(samples):
            raise SourceError(f"clip {clip.name}: holds no sound")
        content = samples.tobytes()
        if content in seen:
            continue
        seen.add(content)
        path = f"clips/{clip.name}.wav"
        soundfile.write(folder / path, samples, rate, subtype="PCM_16")
        long = len(samples) / rate
        row = {"audio": path, "text": clip.text, "seconds": round(long, 4), "group": clip.group}
        lines.append(json.dumps(row, ensure_ascii=False))
        seconds, groups = seconds + long, groups | {clip.group}
    (folder / "manifest.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return {"clips": len(lines), "hours": round(seconds / 3600, 3), "groups": len(groups)}
