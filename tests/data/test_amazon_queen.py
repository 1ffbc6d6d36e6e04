"""The game's resource file, written by hand after its description, and its texts and clips."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from making import make_deb, members_of, silent

from steep.contracts.source import SourceError
from steep.data.sources import amazon_queen as source
from steep.data.sources.amazon_queen import Game, transcripts
from steep.data.sources.speech import spelt


def padded(text: bytes, offset: int, align: int) -> bytes:
    """A string with its length byte; what follows it starts at a multiple of ``align``."""
    data = bytes([len(text)]) + text
    return data + b"\0" * (-(offset + len(data)) % align if text else 0)


Lines = list[tuple[int, bytes]]


def records(offset: int, texts: Lines) -> bytes:
    data = b""
    for number, text in texts:
        data += struct.pack(">HH", 0xFFFF, number)
        data += padded(text, offset + len(data), 4)
    return data


def dialogue(key: int, joe: Lines, person: Lines, again: list[bytes]) -> bytes:
    levels = -2
    start = 32 + 96 * 2
    first = records(start, joe)
    middle = start + len(first)
    second = records(middle, person)
    last = middle + len(second)
    third = b""
    for text in again:
        third += padded(text, last + len(third), 2)
    head = struct.pack(">hhhhh", levels, 0, key, len(joe), len(person))
    head += b"\0" * 12 + struct.pack(">hhh", middle, 0, last) + b"\0" * 4
    return b"AmBk" + b"\0" * 16 + head + b"\0" * 192 + first + second + third


def cut_scene(entry: bytes, texts: list[bytes]) -> bytes:
    offset = 40
    data = b""
    for text in (entry, *texts):
        data += padded(text, offset + len(data), 2)
    head = struct.pack(">hhhhH", 0, -len(texts), 0, 0, offset)
    return b"AmBk" + b"\0" * 16 + head + b"\0" * (offset - 10) + data


def game(resources: dict[str, bytes], compression: int = 1) -> bytes:
    index, data = b"", b""
    start = 15 + 21 * len(resources)
    for name, content in resources.items():
        index += struct.pack(">12sBII", name.encode(), 0, start + len(data), len(content))
        data += content
    return (
        b"QTBL"
        + b"CEM10\0"
        + b"\0\0"
        + struct.pack(">BH", compression, len(resources))
        + index
        + data
    )


DOG = dialogue(
    7,
    [(0, b"Hello, I'm Joe.*03"), (6, b"*FRYes.*02No way!"), (300, b"Bye")],
    [(1, b"Who are you?"), (6, b"*XY12345678901*04*05Go <gulp> now.")],
    [b"You again!", b"Me again*01"],
)
TEXTS = {
    "07SSSSJ1.SB": "Hello, I'm Joe.",
    "070000J1.SB": "Hello, I'm Joe.",
    "070006J2.SB": "Yes.",
    "070006J3.SB": "No way!",
    "07012CJ1.SB": "Bye",
    "070001P1.SB": "Who are you?",
    "070006P4.SB": "Go <gulp> now.",
    "07XXXXP1.SB": "You again!",
    "07XXXXJ1.SB": "Me again",
}
CUT = cut_scene(b"an entry", [b"Look out*02", b"", b"Ten  men^_ came."])
CUT_TEXTS = {"C1___011.SB": "Look out", "C1___031.SB": "Ten men^_ came."}
JAS = b"Nice view*24\r\nIt's 5 o'clock\r\n*02\r\nLook out"
JAS_TEXTS = {"JOE00411.SB": "Nice view", "JOE00421.SB": "It's 5 o'clock", "JOE00441.SB": "Look out"}


def test_transcripts() -> None:
    made = Game.read(game({"BOB.DOG": DOG, "C1.CUT": CUT, "QUEEN2.JAS": JAS}))
    found = {line.clip: line for line in transcripts(made)}
    assert {clip: line.text for clip, line in found.items()} == TEXTS | CUT_TEXTS | JAS_TEXTS
    assert {line.group for clip, line in found.items() if clip in TEXTS} == {"BOB.DOG"}
    assert {line.group for clip, line in found.items() if clip in CUT_TEXTS} == {"C1.CUT"}
    assert len({line.group for clip, line in found.items() if clip in JAS_TEXTS}) == 3


def test_of_two_texts_for_one_clip_the_first_is_spoken() -> None:
    twice = dialogue(3, [(6, b"One"), (6, b"Two")], [], [b"", b""])
    made = Game.read(game({"A.DOG": twice, "QUEEN2.JAS": b"Hi\r\n"}))
    assert [line.text for line in transcripts(made) if line.clip == "030006J1.SB"] == ["One"]


def test_not_the_file() -> None:
    with pytest.raises(SourceError, match="does not begin with QTBL"):
        Game.read(b"something else entirely")
    with pytest.raises(SourceError, match=r"compression 2, not MP3"):
        Game.read(game({"A.SB": b"x"}, compression=2))
    with pytest.raises(SourceError, match="truncated"):
        Game.read(game({"A.SB": b"x" * 10})[:-4])


def test_spelt() -> None:
    assert spelt("  Don't you -  dare! ") == "Don't you - dare!"
    for text in ("It's 5 o'clock", "Go <gulp> now.", "(sigh)", "", "...", "caf\xe9"):
        assert spelt(text) is None, text


def tone(hertz: float, seconds: float) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    buffer = io.BytesIO()
    samples = np.sin(2 * np.pi * hertz * np.arange(int(11025 * seconds)) / 11025) * 0.5
    soundfile.write(buffer, samples, 11025, format="MP3")
    return buffer.getvalue()


def test_the_folder(tmp_path: Path) -> None:
    """Three clips: one is not spelt as it is spoken, one has no text, two have the same sound."""
    soundfile = pytest.importorskip("soundfile")
    low, high = tone(300, 0.5), tone(800, 0.25)
    clips = {"07SSSSJ1.SB": low, "070006J3.SB": high, "C1___031.SB": tone(500, 0.4)}
    clips |= {"070006P4.SB": tone(200, 0.3), "JOE00411.SB": low, "ZZZ.SB": high}
    data = game({"BOB.DOG": DOG, "C1.CUT": CUT, "QUEEN2.JAS": JAS, **clips})
    path = "usr/share/scummvm/flight-of-the-amazon-queen/queen.1c"
    name = "flight-of-the-amazon-queen"
    archives = {name: make_deb(tmp_path / f"{name}_1_all.deb", {path: data})}
    made = tmp_path / "made"
    made.mkdir()
    counts = source.prepare(members_of(archives), made, silent)
    rows = [json.loads(line) for line in (made / "manifest.jsonl").read_text().splitlines()]
    assert [(row["text"], row["group"]) for row in rows] == [
        ("No way!", "BOB.DOG"),
        ("Hello, I'm Joe.", "BOB.DOG"),
        ("Ten men came.", "C1.CUT"),
    ]
    assert counts["clips"] == 3
    assert counts["clips with a text"] == 5
    assert counts["groups"] == 2
    heard = {"No way!": (800, 0.25), "Hello, I'm Joe.": (300, 0.5), "Ten men came.": (500, 0.4)}
    for row in rows:
        samples, rate = soundfile.read(made / row["audio"])
        hertz, seconds = heard[row["text"]]
        assert rate == 11025
        assert row["seconds"] == pytest.approx(len(samples) / rate, abs=1e-4)
        assert seconds <= row["seconds"] < seconds + 0.2  # MP3 pads to whole frames
        peak = np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)
        assert peak == pytest.approx(hertz, rel=0.02)
    assert len(list((made / "clips").iterdir())) == 3
