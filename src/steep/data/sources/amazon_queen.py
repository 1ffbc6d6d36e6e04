"""Speech of the 1995 adventure game Flight of the Amazon Queen: English actors, exact transcripts.

All is in one file, ``queen.1c``: an index, MP3 clips (11,025 Hz, mono), and the game's dialogue,
cut scenes and comments, which name the clip of each text by its speaker and segment. A line that
is not spelt as it is spoken (digits, sounds such as <gulp> or (sigh)) is left out.

A dialogue or cut scene is one group (its lines answer each other), a comment on an object is one of
its own. The hero speaks in all of them, so groups are not speakers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from steep.contracts.source import Counts, Members, Package, Source, SourceError, Tell
from steep.data.sources.speech import Clip, spelt, write_clips

PACKAGE = Package(
    "apt", "flight-of-the-amazon-queen", "1.0.0-9", 34_859_620,
    "40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1",
)  # fmt: skip

SOURCE = Source(
    title="Flight of the Amazon Queen: spoken lines of an adventure game, English",
    domains=("speech",),
    files="manifest.jsonl",
    counts={"clips": 6482, "hours": 4.472, "groups": 723, "clips with a text": 6544},
    licence="freeware: may be copied and changed, not sold on its own; keep its readme",
    packages=(PACKAGE,),
)

MP3 = 1
MARK = re.compile(r"\^_|@@")
"""Typography: a raised TM, a heart."""
FIRST_COMMENT = 41
"""Line 0 of the comments is clip JOE0041."""


def prepare(members: Members, folder: Path, tell: Tell) -> Counts:
    import soundfile  # noqa: F401  before minutes are spent: is the extra installed?

    path = "usr/share/scummvm/flight-of-the-amazon-queen/queen.1c"
    found = [content for _, content in members(PACKAGE.name, path.__eq__)]
    if not found:
        raise SourceError(f"{PACKAGE.name}: has no {path}")
    game = Game.read(found[0])
    lines = {line.clip: line for line in transcripts(game) if line.clip in game.index}
    spoken = {name: text for name in lines if (text := spelt(MARK.sub("", lines[name].text)))}
    clips = [
        Clip(name.removesuffix(".SB").lower(), game[name], text, lines[name].group)
        for name, text in sorted(spoken.items())
    ]
    made = write_clips(folder, clips, tell)
    return made | {"clips with a text": len(lines)}


@dataclass(frozen=True)
class Game:
    """The resource file: where each named resource begins, and how long it is."""

    data: bytes
    index: Mapping[str, tuple[int, int]]

    @staticmethod
    def read(data: bytes) -> Game:
        """A 15-byte header (magic, version, compression, count), then 21 bytes a resource."""
        if data[:4] != b"QTBL":
            raise SourceError("queen.1c: not the game's resource file: it does not begin with QTBL")
        compression, count = struct.unpack_from(">BH", data, 12)
        if compression != MP3:
            raise SourceError(f"queen.1c: clips of compression {compression}, not MP3 ({MP3})")
        index = {}
        for entry in range(count):
            name, _, offset, size = struct.unpack_from(">12sBII", data, 15 + 21 * entry)
            index[name.rstrip(b"\0").decode("ascii")] = offset, size
        if any(offset + size > len(data) for offset, size in index.values()):
            raise SourceError("queen.1c: truncated")
        return Game(data, index)

    def __getitem__(self, name: str) -> bytes:
        offset, size = self.index[name]
        return self.data[offset : offset + size]


@dataclass(frozen=True)
class Line:
    """One segment of text and the clip that speaks it, if the game has that clip."""

    clip: str
    text: str
    group: str


def transcripts(game: Game) -> Iterator[Line]:
    """Every segment of text. Of two texts for one clip, which three clips have, the game speaks
    the first: callers keep that one."""
    seen = set()
    for line in _lines(game):
        if line.clip not in seen:
            seen.add(line.clip)
            yield line


def _lines(game: Game) -> Iterator[Line]:
    for name in sorted(game.index):
        stem, _, kind = name.rpartition(".")
        if kind == "DOG":
            for prefix, text in _dialogue(game[name][20:]):
                yield from _segments(prefix, text, name)
        elif kind == "CUT":
            for prefix, text in _cut_scene(game[name][20:], stem):
                yield from _segments(prefix, text, name)
    for number, line in enumerate(game["QUEEN2.JAS"].decode("cp437").split("\r\n")):
        prefix = f"JOE{number + FIRST_COMMENT:04d}"
        yield from _segments(prefix, line, prefix)


def _segments(prefix: str, text: str, group: str) -> Iterator[Line]:
    """Segments end with a ``*`` and two characters (a gesture; ``*XY`` has eleven more); their
    number, from 1 and in hex, ends the clip's name. Segments without words have no clip."""
    for number, part in enumerate(re.split(r"\*XY.{11}|\*..", text, flags=re.DOTALL), 1):
        if part.strip():
            clip = f"{prefix}{number:X}".replace(" ", "0").upper()
            yield Line(f"{clip}.SB", " ".join(part.split()), group)


def _dialogue(data: bytes) -> Iterator[tuple[str, str]]:
    """(start of the clips' names, text) of a conversation: the hero J and a person P."""
    levels, key = _i16(data, 0), _i16(data, 4)
    hero, person, again = 32 + 96 * abs(levels), _i16(data, 22), _i16(data, 26)
    for who, place, count in (("J", hero, _i16(data, 6)), ("P", person, _i16(data, 8))):
        for _ in range(count):
            number = struct.unpack_from(">H", data, place + 2)[0]
            text, place = _string(data, place + 4, 4)
            if (who, number) == ("J", 0):
                yield f"{key:2d}SSSS{who}", text  # the first greeting
            yield f"{key:2d}{number:4x}{who}", text
    for who in "PJ":  # when they meet again
        text, again = _string(data, again, 2)
        yield f"{key:2d}XXXX{who}", text


def _cut_scene(data: bytes, stem: str) -> Iterator[tuple[str, str]]:
    _, place = _string(data, struct.unpack_from(">H", data, 8)[0], 2)  # said on entering: no clip
    for number in range(1, abs(_i16(data, 2)) + 1):
        text, place = _string(data, place, 2)
        yield f"{stem.ljust(5, '_')[:5]}{number:02d}", text


def _i16(data: bytes, place: int) -> int:
    return int(struct.unpack_from(">h", data, place)[0])


def _string(data: bytes, place: int, align: int) -> tuple[str, int]:
    """(a string behind its length byte, the place after it, a multiple of ``align``). An empty
    one is not padded."""
    length = data[place]
    end = place + 1 + length
    text = data[place + 1 : end].decode("cp437")
    return text, end + (-end % align if length else 0)
