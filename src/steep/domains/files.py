"""The files of a domain, read and classified: errors are sentences that name the file."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path

from steep.base.plainfile import read_file
from steep.contracts.domain import POOL, TEST, TRAIN, VALIDATION, DataError

RATIO, UNPACKED = 100, 1 << 30
"""What a packed file may unpack to: so many times its size, or so many bytes. Text and pixels
shrink to a tenth; a file made to fill the memory, to a thousandth."""


def by_part(train: str, validation: str | None, test: str | None) -> dict[int, str]:
    """The file of each part of the data (``Items.part``). ``train`` holds the training items if
    validation and test part have files of their own, else the pool that they are drawn from."""
    others = {VALIDATION: validation, TEST: test}
    first = TRAIN if all(others.values()) else POOL
    return {first: train} | {part: path for part, path in others.items() if path}


SYSTEMS_OWN = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin"}
"""Files and folders that systems leave beside data, in lower case."""


def is_data(file: Path, folder: Path) -> bool:
    """Whether a file in ``folder`` is neither hidden, by itself or by a folder, nor a system's."""
    parts = file.relative_to(folder).parts
    return not any(part[0] == "." or part.lower() in SYSTEMS_OWN for part in parts)


def content(path: Path) -> bytes:
    """The whole file, as it lies there. Raises DataError."""
    try:
        return read_file(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def unzipped(path: Path, data: bytes) -> bytes:
    """``data``, the content of ``path``, without gzip where it has it. Raises DataError."""
    try:
        if data[:2] != b"\x1f\x8b":
            return data
        most = max(UNPACKED, RATIO * len(data))
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            found = packed.read(most + 1)
        if len(found) > most:
            raise DataError(f"{path}: unpacks to more than {RATIO} times its size")
        return found
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged: {error}") from None


def digest_of(item: bytes) -> int:
    """64 bits for ``Items.digest``: equal content, equal digest."""
    return int.from_bytes(hashlib.blake2b(item, digest_size=8).digest(), "little")
