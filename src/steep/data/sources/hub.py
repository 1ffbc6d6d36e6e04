"""Sets of the Hugging Face hub, through its library ``datasets`` (extra ``hub``), split by split.

With a limit, rows are streamed in a shuffled order and only what is taken is downloaded; without,
the library downloads all of it, into its own cache, and resumes by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from steep.contracts.source import Hub, SourceError, Tell
from steep.data.sources.prose import bare

Row = Mapping[str, Any]
Keys = Callable[[Row], Iterable[str]]
"""Texts of a row: no training row may share one with a row of another part."""

BUFFER = 1000
"""Rows among which a stream is shuffled, beside the order of the set's files."""


def rows(
    hub: Hub, parts: Mapping[str, tuple[str, ...]], keys: Keys, limit: int | None, tell: Tell
) -> Iterator[tuple[str, Row]]:
    """(part, row) of each part's splits, at most ``limit`` rows a part. ``parts`` names training
    last: its rows that repeat a text of another part, but for case and punctuation, are left out.
    Audio and images come as the bytes of their files."""
    found = _opened(hub, limit)
    held: set[int] = set()
    for part, splits in parts.items():
        missing = [split for split in splits if split not in found]
        if missing:
            raise SourceError(f"{hub.path}: has no split {missing[0]}, only {', '.join(found)}")
        expected = limit or max(sum(len(found[split]) for split in splits), 1)
        kept = _new(_read(hub, found, splits), keys, held, part)
        for number, row in enumerate(islice(kept, limit)):
            tell(f"reading {hub.path}, {part}, row {number}", number / expected)
            yield part, row


def _new(found: Iterable[Row], keys: Keys, held: set[int], part: str) -> Iterator[Row]:
    for row in found:
        texts = {hash(bare(text)) for text in keys(row)}
        if not texts & held:
            if part != "train":
                held |= texts
            yield row


def _opened(hub: Hub, limit: int | None) -> Any:
    import datasets

    try:
        found = datasets.load_dataset(
            hub.path, hub.config, revision=hub.revision, streaming=limit is not None
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _sentence(hub, error) from None
    for name, kind in (("audio", datasets.Audio), ("image", datasets.Image)):
        found = type(found)(
            {
                split: part.cast_column(name, kind(decode=False))
                if name in (part.column_names or ())
                else part
                for split, part in found.items()
            }
        )
    return found if limit is None else found.shuffle(seed=0, buffer_size=BUFFER)


def _read(hub: Hub, found: Any, splits: Iterable[str]) -> Iterator[Row]:
    for split in splits:
        try:
            yield from found[split]
        except (OSError, RuntimeError) as error:
            raise _sentence(hub, error) from None


def _sentence(hub: Hub, error: Exception) -> SourceError:
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    hint = ""
    if hub.gated:
        hint = "; it is gated: accept its terms on its page, then log in with 'hf auth login'"
    return SourceError(f"{hub.path}: the hub did not give it: {message}{hint}")


def origin(hub: Hub) -> dict[str, Any]:
    """What SOURCE.json says of where it came from."""
    import datasets

    return {"hub": vars(hub), "versions": {"datasets": datasets.__version__}}
