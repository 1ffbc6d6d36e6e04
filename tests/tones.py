"""Clips whose text can be heard by anybody: each character is a tone of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

LETTERS = "abcde "
RATE = 8000
TONE = 0.12
"""Seconds of each character."""


def sound(text: str, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Samples of ``text``, with a little noise."""
    time = np.arange(round(TONE * rate)) / rate
    tones = [np.sin(2 * np.pi * 300 * 1.4 ** LETTERS.index(c) * time) for c in text]
    clean = np.concatenate([tone * np.hanning(len(time)) for tone in tones])
    return 0.3 * clean + np.random.default_rng(seed).normal(0, 0.01, len(clean))


def texts(count: int, low: int = 3, high: int = 9, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    drawn = ("".join(rng.choice(list(LETTERS), rng.integers(low, high))) for _ in range(count))
    return [" ".join(text.split()) or "a" for text in drawn]


def write(folder: Path, spoken: list[str], name: str = "manifest.jsonl", **columns: list) -> str:
    """A manifest of ``spoken`` with its audio; further columns by name. Returns its name."""
    rows = []
    for number, text in enumerate(spoken):
        file = f"{Path(name).stem}-{number}.wav"
        soundfile.write(folder / file, sound(text, seed=number), RATE)
        rows.append({"audio": file, "text": text} | {k: v[number] for k, v in columns.items()})
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name
