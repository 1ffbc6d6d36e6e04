"""Colours that stay apart for colour-blind readers, each for light and for dark paper.

The categorical ones follow Okabe and Ito (2008); the sequence runs from blue through teal to
amber with steadily changing lightness, so that it survives a greyscale print.
"""

from __future__ import annotations

COLOURS: dict[str, tuple[str, str]] = {
    # name: (on light paper, on dark paper)
    "main": ("#0b5fa5", "#62b0f0"),
    "truth": ("#c2410c", "#ff9152"),
    "second": ("#0a7d5a", "#3fcf9f"),
    "quiet": ("#8a93a0", "#7f8998"),
    "faint": ("#b9c0ca", "#525c6b"),
    "text": ("#1c2430", "#e6eaf0"),
    "soft": ("#566071", "#a3adbb"),
    "paper": ("#ffffff", "#12161c"),
    "level": ("#8a5a00", "#e0b04a"),
    "shade-small-data": ("#f4ead6", "#2c2618"),
    "shade-power-law": ("#eaf2fa", "#172433"),
    "shade-irreducible-error": ("#f6e4e8", "#331b22"),
}
_SEQUENCE = (
    ("#3b1f8f", "#a99bff"),
    ("#2b4fb0", "#7fa8ff"),
    ("#1778a8", "#5cc3ee"),
    ("#0f8a72", "#3fd0ac"),
    ("#5b8c1f", "#a4d65a"),
    ("#a87b00", "#e8c34a"),
    ("#c45a10", "#ff9d57"),
    ("#b3264a", "#ff8099"),
)

LIGHT, DARK = 0, 1


def colour(name: str, paper: int = LIGHT) -> str:
    """The hex value of a colour's name on light or dark paper."""
    if name.startswith("step-"):
        return _between(int(name[5:]) / 1000, paper)
    return COLOURS[name][paper]


def sequence(length: int) -> list[str]:
    """``length`` names along the sequence, evenly spread over all of it."""
    return [f"step-{round(1000 * i / max(length - 1, 1))}" for i in range(length)]


def _between(place: float, paper: int) -> str:
    """The colour at ``place`` (0 to 1) of the sequence, mixed from its neighbours."""
    position = place * (len(_SEQUENCE) - 1)
    i = min(int(position), len(_SEQUENCE) - 2)
    ends = (_SEQUENCE[i][paper], _SEQUENCE[i + 1][paper])
    share = position - i
    mixed = (
        round((1 - share) * int(ends[0][k : k + 2], 16) + share * int(ends[1][k : k + 2], 16))
        for k in (1, 3, 5)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)
