"""The files of a study folder beside its database: frozen spec, checkpoints, per-item errors.

Part of the store: with ``store.py`` the only code that writes into a study folder. Every file is
written to a temporary one, flushed to the disk and renamed, so a reader sees the old or the new
one and a full disk destroys neither. Workers come here too, but only for their own checkpoints.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from steep import config, plainyaml

SPEC = "study.yaml"
CHECKPOINTS = "checkpoints"
ITEMS = "items"
KEPT = 2
"""Checkpoints of a trial that stay: the newest, and the one to fall back on."""
_MAGIC = b"steep checkpoint 1\n"


class StoreError(Exception):
    """A study folder that cannot be used as asked: one sentence for the user."""


class StudyExists(StoreError):
    """A study was to be begun where one is, perhaps by another driver a moment ago: open it."""


# ---------------------------------------------------------------- writing


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Only one process at a time is inside for ``folder``; the lock dies with its holder."""
    try:
        import fcntl
    except ImportError:  # Windows: two at the very same moment are not told apart
        yield
        return
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, durably, or leave it as it was. Raises StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(write_failed(path, error)) from error


def _flush_folder(folder: Path) -> None:
    """Make a rename durable. Windows cannot open folders, and journals renames itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_failed(path: Path, error: Exception) -> str:
    """What to tell the user when ``path`` cannot be written."""
    text = getattr(error, "strerror", None) or str(error)
    if "space" in text or "disk is full" in text or "quota" in text.lower():
        return (
            f"no space left on the disk that holds {path}: free some and run the same command; "
            "everything recorded so far is safe"
        )
    return f"cannot write {path}: {text}"


# ---------------------------------------------------------------- the frozen spec


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that steep's own reading of YAML would take for something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = plainyaml.scalar(text) != text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_text)


def compose_study_yaml(
    loaded: config.Loaded,
    data_files: Mapping[str, str],
    learnt: Mapping[str, Any] | None = None,
    code: Mapping[str, str] | None = None,
) -> str:
    """The text of a study's ``study.yaml``: its spec with every default written out, the SHA-256
    of each data file, what the domain has learnt from them, and digests of the user's own code.
    Neither a later version's defaults nor data that is added change a frozen study."""
    frozen = {
        "steep": importlib.metadata.version("steep"),
        "base": str(loaded.base.resolve()),
        "data": dict(sorted(data_files.items())),
        **({"learnt": dict(learnt)} if learnt else {}),
        **({"code": dict(code)} if code else {}),
        "spec": loaded.spec.model_dump(mode="json"),
    }
    return yaml.dump(frozen, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


@dataclass(frozen=True)
class Frozen:
    """A study's ``study.yaml``, read back."""

    version: str
    loaded: config.Loaded
    data: Mapping[str, str]
    """SHA-256 of each data file, by the name it was read under."""


def read_frozen(folder: Path | str) -> Frozen:
    """The frozen spec of a study. Raises StoreError where there is none or it is damaged."""
    path = Path(folder) / SPEC
    try:
        values, _, problems = plainyaml.read(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{folder} holds no study: it has no {SPEC}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    if problems or not isinstance(values, dict) or not isinstance(values.get("spec"), dict):
        raise StoreError(f"{path} is damaged: {problems[0] if problems else 'it has no spec'}")
    try:
        loaded = _reparse(values["spec"], Path(str(values.get("base", folder))))
    except config.SpecError as error:
        raise StoreError(
            f"{path} is not a spec that this version of steep reads:\n{error}"
        ) from None
    code = {str(k): str(v) for k, v in (values.get("code") or {}).items()}
    loaded = replace(loaded, learnt=values.get("learnt") or {}, code=code)
    data: dict[str, Any] = values.get("data") or {}
    return Frozen(str(values.get("steep", "")), loaded, {str(k): str(v) for k, v in data.items()})


def _reparse(spec: Mapping[str, Any], base: Path) -> config.Loaded:
    text = yaml.dump(dict(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return config.parse(text, base, SPEC, frozen=True)


def read_spec(folder: Path | str) -> config.Loaded:
    """A study's frozen spec, as ``config.load`` would give it. Raises StoreError."""
    return read_frozen(folder).loaded


def as_begun(loaded: config.Loaded, folder: Path) -> config.Loaded:
    """``loaded`` with what the study in ``folder`` has learnt from its data, if one has begun
    there. Another domain's study is left for ``changes`` to refuse. Raises StoreError."""
    if not (folder / SPEC).exists():
        return loaded
    begun = read_spec(folder)
    same = begun.spec.domain.name == loaded.spec.domain.name
    return replace(loaded, learnt=begun.learnt) if same else loaded


# ---------------------------------------------------------------- checkpoints


def save_checkpoint(folder: Path, trial: str, attempt: int, step: int, state: bytes) -> Path:
    """Write a checkpoint and drop all but the last two. Raises StoreError; the old ones stay."""
    header = {
        "trial": trial,
        "attempt": attempt,
        "step": step,
        "bytes": len(state),
        "sha256": hashlib.sha256(state).hexdigest(),
    }
    path = folder / CHECKPOINTS / trial / f"{attempt:06d}-{step:012d}.checkpoint"
    write_atomic(path, _MAGIC + json.dumps(header).encode() + b"\n" + state)
    # A worker that was given up and came back must not drop its successor's files.
    own = [other for other in _checkpoints(folder, trial) if other.name <= path.name]
    for old in own[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, trial: str) -> tuple[bytes | None, list[str]]:
    """The state in the newest checkpoint that is whole, or None; and a note on each damaged one
    that was passed over."""
    notes: list[str] = []
    for path in reversed(_checkpoints(folder, trial)):
        try:
            return read_checkpoint(path, trial)[1], notes
        except StoreError as error:
            notes.append(f"{error}; going back to the one before")
    return None, notes


def read_checkpoint(path: Path, trial: str) -> tuple[int, bytes]:
    """(step, state) of one checkpoint file. Raises StoreError when it is damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"checkpoint {path.name} cannot be read: {error.strerror}") from None
    damaged = StoreError(f"checkpoint {path.name} of trial {trial} fails its checksum")
    if not data.startswith(_MAGIC) or b"\n" not in data[len(_MAGIC) :]:
        raise damaged
    head, _, state = data[len(_MAGIC) :].partition(b"\n")
    try:
        header = json.loads(head)
        step, digest, length = int(header["step"]), header["sha256"], header["bytes"]
        owner = header["trial"]
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    if owner != trial or len(state) != length or hashlib.sha256(state).hexdigest() != digest:
        raise damaged
    return step, state


def remove_checkpoints(folder: Path, trial: str) -> None:
    """Drop the checkpoints of a trial that has ended."""
    home = folder / CHECKPOINTS / trial
    if home.is_dir() and not home.is_symlink():
        shutil.rmtree(home, ignore_errors=True)


def _checkpoints(folder: Path, trial: str) -> list[Path]:
    """A trial's checkpoints, oldest first: by attempt, then by step."""
    return sorted((folder / CHECKPOINTS / trial).glob("[0-9]*.checkpoint"))


# ---------------------------------------------------------------- per-item errors


def write_items(folder: Path, trial: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep the per-item validation sums and counts of a trial's best step, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    write_atomic(folder / ITEMS / f"{trial}.npz", buffer.getvalue())


def read_items(folder: Path, trial: str) -> dict[str, np.ndarray] | None:
    """The arrays that ``write_items`` kept, or None. Raises StoreError on a damaged file."""
    path = folder / ITEMS / f"{trial}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and numpy each raise their own kind
        raise StoreError(f"{path} is damaged: {error}") from None
