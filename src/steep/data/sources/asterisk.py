"""Asterisk's English telephone prompts: one professional speaker, 8 kHz, exact texts.

Small: to try speech models on within minutes. A text is left out where it describes a sound, or is
not spelt as it is spoken but for single digits, which are. Prompts of one text are one group.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from steep.contracts.source import Counts, Members, Package, Source, SourceError, Tell
from steep.data.sources.prose import bare
from steep.data.sources.speech import Clip, spelt, write_clips

TEXTS = Package(
    "apt", "asterisk-core-sounds-en", "1.6.1-1", 22_844,
    "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
)  # fmt: skip
SOUNDS = Package(
    "apt", "asterisk-core-sounds-en-gsm", "1.6.1-1", 2_417_168,
    "ddc33205a56aebf54c73a0fb95c3a0d8131087878d74857a4e54bcab2b0d72ae",
)  # fmt: skip
GSM = {"format": "RAW", "subtype": "GSM610", "samplerate": 8000, "channels": 1}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SOURCE = Source(
    title="Asterisk telephone prompts, one speaker, English",
    domains=("speech",),
    files="manifest.jsonl",
    counts={"clips": 544, "hours": 0.378, "groups": 502, "prompts": 568},
    licence="CC-BY-SA-3.0, recorded by Allison Smith",
    packages=(TEXTS, SOUNDS),
)


def prepare(members: Members, folder: Path, tell: Tell) -> Counts:
    ((_, listed),) = members(TEXTS.name, lambda n: n.endswith("/core-sounds-en.txt.gz"))
    texts = dict(transcripts(gzip.decompress(listed).decode("utf-8")))
    sounds = {
        re.sub(r".*/sounds/[^/]+/", "", name).removesuffix(".gsm"): content
        for name, content in members(SOUNDS.name, lambda n: n.endswith(".gsm"))
    }
    if not sounds:
        raise SourceError(f"{SOUNDS.name}: holds no .gsm file")
    first: dict[str, str] = {}
    clips = [
        Clip(name.replace("/", "_"), sounds[name], text, first.setdefault(bare(text), name), GSM)
        for name, text in texts.items()
        if name in sounds
    ]
    return write_clips(folder, clips, tell) | {"prompts": len(sounds)}


def transcripts(listed: str) -> Iterator[tuple[str, str]]:
    """(prompt, text) of the lines ``prompt: text``, less remarks in brackets."""
    for line in listed.splitlines():
        name, colon, text = line.partition(": ")
        if colon and not line.startswith(";"):
            spoken = re.sub(r"\[[^\[\]]*\]|\([^()]*\)|\.\.\.", " ", text)
            spoken = re.sub(r"(?<![\w.])\d(?!\w)", lambda digit: DIGITS[int(digit[0])], spoken)
            if words := spelt(spoken):
                yield name.strip(), words
