"""Names that are almost right: what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``"; did you mean 'shards'?"``, or '' where no name is near. Case does not count, nor whether
    words are joined by '-', '_' or a blank."""
    plain = {_plain(name): name for name in known}
    near = get_close_matches(_plain(given), plain, n=1)
    return f"; did you mean {plain[near[0]]!r}?" if near else ""


def no_such(kind: str, given: str, known: Iterable[str]) -> str:
    """What to say of a name that nothing has: what was probably meant, and what there is."""
    known = list(known)
    hint = did_you_mean(given, known) or ";"
    return f"no {kind} named {given!r}{hint} there are: {', '.join(known)}"


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
