"""What ``steep data`` prints: the table of sources, and what one of them has become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steep.contracts.source import Counts, Source
from steep.present import numbers
from steep.present.table import LEFT, RIGHT, Table

COLUMNS = ("name", "for", "what", "holds", "download", "through", "licence")


def source_table(sources: Mapping[str, Source]) -> Table:
    """One row a source. What the sets of the hub hold is not known before they are streamed."""
    rows = [
        (
            name,
            ", ".join(source.domains),
            source.title,
            counts_text(source.counts) or numbers.UNKNOWN,
            numbers.memory(source.size) if source.packages else "streamed",
            _through(source),
            source.licence,
        )
        for name, source in sources.items()
    ]
    sides = tuple(RIGHT if column == "download" else LEFT for column in COLUMNS)
    return Table("", COLUMNS, tuple(rows), sides)


def source_lines(sources: Mapping[str, Source]) -> list[str]:
    """For a terminal: three lines a source, each short enough for one."""
    lines = []
    for name, source in sources.items():
        size = numbers.memory(source.size) if source.packages else "streamed"
        lines.append(f"{name}  ({', '.join(source.domains)}): {source.title}")
        lines.append(f"    {counts_text(source.counts)}" if source.counts else "    not counted")
        lines.append(f"    {size} through {_through(source)}; {source.licence}")
    return lines


def counts_text(counts: Counts) -> str:
    """6,482 clips, 4.47 hours."""
    return ", ".join(
        f"{numbers.exact(count) if isinstance(count, int) else numbers.number(count)} {name}"
        for name, count in counts.items()
    )


def record_lines(record: Mapping[str, Any], folder: str, files: str, there: bool) -> list[str]:
    """What was made and where it is, and what is not as it was tested."""
    word = "is already there, whole" if there else "is made"
    lines = [f"{record['name']} {word}: {counts_text(record['counts'])}"]
    lines += [
        f"{package['name']} {package['version']} is not the version steep was tested with: counts"
        " may differ from the documented ones"
        for package in record.get("packages", ())
        if not package["tested"]
    ]
    return [
        *lines,
        f"Licence: {record['licence']}",
        f"Point a spec or 'steep init' at {folder}/{files}",
    ]


def _through(source: Source) -> str:
    if source.hub is not None:
        return f"datasets: {source.hub.path}{' (gated)' if source.hub.gated else ''}"
    client = {"apt": "apt-get", "npm": "npm"}[source.packages[0].client]
    names = [package.name for package in source.packages]
    few = names if len(names) < 4 else [names[0], f"{len(names) - 1} more"]
    return f"{client}: {', '.join(few)}"
