"""Reading files that somebody else named: a device, a pipe or a socket is no file of data.

``/dev/zero`` never ends and a pipe without a writer never answers, so both are refused before they
are opened.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
_STREAMS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Pipes that a shell hands over on purpose: ``<(command)``."""


def read_file(path: Path) -> bytes:
    """The whole content. Raises OSError, with a sentence as ``strerror``, for what is no file."""
    refuse_special(path)
    return path.read_bytes()


def refuse_special(path: Path) -> None:
    """Raise OSError where ``path`` exists and is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return  # whoever opens it says so
    except ValueError as error:  # a zero byte in its name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise OSError(errno.EINVAL, f"it is {name}, not a file", str(path))


def is_stream(path: Path) -> bool:
    """Whether ``path`` is a pipe that the shell has opened for this process."""
    return str(path).startswith(_STREAMS)
