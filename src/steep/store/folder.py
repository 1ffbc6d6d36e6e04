"""The files of a study folder besides its database: frozen spec, checkpoints, per-item errors.

This module and ``store.py`` are the only code that writes into a study folder. Every file is
written to a temporary one, flushed to the disk and renamed, so a reader sees either the old or the
new one and a full disk destroys neither. Workers use it only for their own files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from steep.base.plainfile import read_file
from steep.records import Sample
from steep.spec import load, yaml_reader

SPEC = "study.yaml"
PUBLISHED = "study.json"
"""The file of a folder of published tables that takes the place of ``SPEC``."""
CHECKPOINTS = "checkpoints"
ITEMS = "items"
SAMPLES = "samples"
FAILURES = "failures"
IN_USE = ".in_use"
KEPT = 2
"""Checkpoints kept per trial: the newest, and the one to fall back on if that is damaged."""
_MAGIC = b"steep checkpoint 1\n"


class StoreError(Exception):
    """A study folder cannot be used as requested; the message is one sentence for the user."""


class StudyExists(StoreError):
    """The folder in which a study was to be created has one already, perhaps since a moment ago."""


# ---------------------------------------------------------------- writing


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """A lock on ``folder`` that one process at a time holds; it ends with its holder."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes at the very same moment are not excluded
        yield
        return
    path = folder / ".lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise StoreError(write_failed(path, error)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def in_use(folder: Path, alone: bool = False) -> Iterator[None]:
    """Hold ``folder`` as one of its drivers or, if ``alone``, as the only one.

    Raises StoreError if another process excludes that. The lock ends with its holder, and a copy
    of the folder has a lock of its own."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = folder / IN_USE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise StoreError(write_failed(path, error)) from None
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            activity = "being run" if alone else "being recovered"
            raise StoreError(
                f"{folder} is {activity} by another process; nothing was changed: wait for its "
                "end, or stop it"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


def has_other_drivers(folder: Path) -> bool:
    """Whether another process holds ``folder``. Call it before this process holds it."""
    try:
        with in_use(folder, alone=True):
            return False
    except StoreError:
        return True


def is_held(folder: Path) -> bool:
    """Whether a process holds ``folder``; writes nothing. False where that cannot be known. A
    driver that starts at this very moment may be refused: ask only where one seems to be there."""
    try:
        import fcntl

        handle = os.open(folder / IN_USE, os.O_RDONLY | os.O_NOFOLLOW)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False


def write_atomic(folder: Path, name: str, data: bytes, flush: bool = True) -> None:
    """Replace the file ``name`` of a study by ``data``, durably, or leave it as it was. Without
    ``flush``, a machine that crashes may lose the file, or leave it empty.

    Raises StoreError, also if a symbolic link would lead out of the study."""
    path = folder / name
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    refuse_links(folder, path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
            file.write(data)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if flush:
            _flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(write_failed(path, error)) from error


def refuse_links(folder: Path, path: Path) -> None:
    """Raise StoreError if ``path``, or a folder between it and the study's folder, is a link."""
    while path != folder and path.is_relative_to(folder):
        if path.is_symlink():
            raise StoreError(f"{path} is a symbolic link, which a study does not follow: remove it")
        path = path.parent


def _flush_folder(folder: Path) -> None:
    """Make a rename durable. Windows cannot open folders; its file system journals renames."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def removed(folder: Path) -> str:
    """The message to the user if a study's folder is gone under its driver."""
    return (
        f"{folder} was removed, moved or replaced while it was in use: nothing more is recorded. "
        "Where it was moved, run the same command with its new place"
    )


def write_failed(path: Path, error: Exception) -> str:
    """The message to the user if ``path`` cannot be written."""
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError) and not path.parent.exists():
        return removed(path.parent)
    if "space" in text or "disk is full" in text or "quota" in text.lower():
        return (
            f"no space left on the disk that holds {path}: free some and run the same command; "
            "everything recorded so far is safe"
        )
    return f"cannot write {path}: {text}"


# ---------------------------------------------------------------- the frozen spec


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that quotes the strings that steep's YAML reader would not read as strings."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = yaml_reader.scalar(text) != text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_text)


def compose_study_yaml(
    loaded: load.Loaded,
    data_files: Mapping[str, str],
    learnt: Mapping[str, Any] | None = None,
    code: Mapping[str, str] | None = None,
) -> str:
    """The text of a study's ``study.yaml``: its spec with every default written out, the SHA-256
    of each data file, what the domain has learnt from them, and digests of the user's own code.

    So neither new defaults of a later version nor added data change a frozen study."""
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
    """The content of a study's ``study.yaml``."""

    version: str
    loaded: load.Loaded
    data: Mapping[str, str]
    """SHA-256 of each data file, by the name it was read under."""


_PUT_BACK = "'steep salvage {}' puts it back as it was"


def no_spec(folder: Path) -> str:
    """The message to the user about a folder without a frozen spec."""
    if (folder / PUBLISHED).exists():
        return (
            f"{folder} holds the tables of a published study, without its data and models: fit, "
            "forecast, cost, joint, compare, diagnose, backtest, status and report answer from "
            "them; plan and run need a spec and its data"
        )
    if inside := inside_a_study(folder):
        return inside
    if not holds_results(folder):
        return f"{folder} holds no study: it has no {SPEC}"
    return (
        f"{folder} holds results of a study but no {SPEC}; nothing was changed. Put {SPEC} back "
        f"from a copy, or let 'steep salvage {folder}' write it anew from what the database keeps"
    )


def inside_a_study(folder: Path) -> str:
    """The message that a folder is a part of a study, if it is one, else ''."""
    parent = folder.resolve().parent
    if folder.is_dir() and (parent / SPEC).exists() and holds_results(parent):
        study = folder.parent if folder.name not in ("", "..") else parent
        return f"{folder} is a part of a study: name the study's own folder, {study}"
    return ""


def holds_results(folder: Path) -> bool:
    """Whether a folder has results, which only a study leaves there."""
    from steep.store.database import holds_trials

    log = folder / "acknowledged.log"
    has_results = (log.exists() and log.stat().st_size > 0) or holds_trials(folder)
    return has_results or any((folder / ITEMS).glob("*.npz"))


def read_frozen(folder: Path | str) -> Frozen:
    """The frozen spec of a study. Raises StoreError if there is none or it is damaged."""
    path = Path(folder) / SPEC
    try:
        values, _, problems = yaml_reader.read(read_file(path).decode())
    except FileNotFoundError:
        raise StoreError(no_spec(Path(folder))) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path} is damaged: it is not text; {_PUT_BACK.format(folder)}") from None
    if problems or not isinstance(values, dict) or not isinstance(values.get("spec"), dict):
        damage = problems[0] if problems else "it has no spec"
        raise StoreError(f"{path} is damaged: {damage}; {_PUT_BACK.format(folder)}")
    try:
        loaded = _reparse(values["spec"], Path(str(values.get("base", folder))))
    except load.SpecError as error:
        raise StoreError(
            f"{path} is not a spec that this version of steep reads:\n{error}"
        ) from None
    learnt, data, code = (values.get(name) or {} for name in ("learnt", "data", "code"))
    if not all(isinstance(part, dict) for part in (learnt, data, code)):
        raise StoreError(f"{path} is damaged; {_PUT_BACK.format(folder)}")
    loaded = replace(loaded, learnt=learnt, code={str(k): str(v) for k, v in code.items()})
    return Frozen(str(values.get("steep", "")), loaded, {str(k): str(v) for k, v in data.items()})


def _reparse(spec: Mapping[str, Any], base: Path) -> load.Loaded:
    """The frozen spec, read by the same code as a user's file."""
    text = yaml.dump(dict(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return load.parse(text, base, SPEC, frozen=True)


def frozen_text(folder: Path) -> str:
    """The text of ``study.yaml``. Raises StoreError if it cannot be read."""
    path = folder / SPEC
    try:
        return read_file(path).decode()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path} is damaged: it is not text; {_PUT_BACK.format(folder)}") from None


def read_spec(folder: Path | str) -> load.Loaded:
    """A study's frozen spec, as ``load.load`` would give it. Raises StoreError."""
    return read_frozen(folder).loaded


def as_begun(loaded: load.Loaded, folder: Path) -> load.Loaded:
    """``loaded`` with what the study in ``folder``, if there is one, has learnt from its data.

    A study of another domain is ignored here; ``spec_changes`` refuses it. Raises StoreError."""
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
    name = f"{attempt:06d}-{step:012d}.checkpoint"
    path = folder / CHECKPOINTS / trial / name
    write_atomic(
        folder,
        f"{CHECKPOINTS}/{trial}/{name}",
        _MAGIC + json.dumps(header).encode() + b"\n" + state,
    )
    for suspect in path.parent.glob("*.suspect"):
        suspect.unlink(missing_ok=True)
    # A worker that was given up but still runs must not remove its successor's files.
    earlier = [other for other in _checkpoints(folder, trial) if other.name <= path.name]
    for old in earlier[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(
    folder: Path, trial: str, without: Collection[str] = ()
) -> tuple[str, bytes | None, list[str]]:
    """(file name, state, notes) of the newest intact checkpoint that is not among ``without``, or
    ('', None, notes). The notes describe the damaged ones that were passed over."""
    notes: list[str] = []
    for path in reversed(_checkpoints(folder, trial)):
        if path.name in without:
            continue
        try:
            return path.name, read_checkpoint(path, trial)[1], notes
        except StoreError as error:
            notes.append(f"{error}; going back to the one before")
    return "", None, notes


def read_checkpoint(path: Path, trial: str) -> tuple[int, bytes]:
    """(step, state) of one checkpoint file. Raises StoreError when it is damaged."""
    try:
        data = read_file(path)
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


def drop_checkpoint(folder: Path, trial: str, name: str) -> None:
    """Rename a checkpoint so that no attempt loads it again."""
    path = folder / CHECKPOINTS / trial / name
    with suppress(OSError):
        os.replace(path, path.with_suffix(".suspect"))


def remove_checkpoints(folder: Path, trial: str) -> None:
    """Remove the checkpoints of a trial that has ended."""
    home = folder / CHECKPOINTS / trial
    if home.is_dir() and not home.is_symlink() and not home.parent.is_symlink():
        shutil.rmtree(home, ignore_errors=True)


def _checkpoints(folder: Path, trial: str) -> list[Path]:
    """A trial's checkpoints, oldest first: by attempt, then by step."""
    return sorted((folder / CHECKPOINTS / trial).glob("[0-9]*.checkpoint"))


# ---------------------------------------------------------------- per-item errors


def write_items(folder: Path, trial: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the per-item validation sums and counts of a trial's best step, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    write_atomic(folder, f"{ITEMS}/{trial}.npz", buffer.getvalue())


def read_items(folder: Path, trial: str) -> dict[str, np.ndarray] | None:
    """The arrays that ``write_items`` wrote, or None. Raises StoreError for a damaged file."""
    path = folder / ITEMS / f"{trial}.npz"
    try:
        with np.load(io.BytesIO(read_file(path)), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and numpy each raise their own kind
        raise StoreError(
            f"{path} is damaged ({error}): restore it from a copy, or remove it and do without "
            "this trial in paired comparisons"
        ) from None


def write_samples(folder: Path, trial: str, samples: Sequence[Sample]) -> None:
    """Write what a trial's model made of a few validation items. Raises StoreError."""
    text = json.dumps([asdict(sample) for sample in samples], ensure_ascii=False, indent=1)
    write_atomic(folder, f"{SAMPLES}/{trial}.json", text.encode(errors="replace"))


def read_samples(folder: Path, trial: str) -> tuple[Sample, ...]:
    """What ``write_samples`` wrote; nothing where the file is gone or says something else, as it
    is for reading alone. Raises StoreError for a link."""
    path = folder / SAMPLES / f"{trial}.json"
    refuse_links(folder, path)
    try:
        rows = json.loads(read_file(path))
        return tuple(Sample(*(str(row[field.name]) for field in fields(Sample))) for row in rows)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def write_failure(folder: Path, trial: str, attempt: int, text: str) -> None:
    """Write the whole message of a failed attempt, if it is too long for the database."""
    write_atomic(folder, failure_file(trial, attempt), text.encode(errors="replace"))


def read_failure(folder: Path, trial: str, attempt: int) -> str | None:
    """The message that ``write_failure`` wrote, or None. Raises StoreError for a link."""
    path = folder / failure_file(trial, attempt)
    refuse_links(folder, path)
    try:
        return read_file(path).decode(errors="replace")
    except OSError:
        return None


def failure_file(trial: str, attempt: int) -> str:
    return f"{FAILURES}/{trial}-{attempt}.txt"


# ---------------------------------------------------------------- files for own training code

SHARD_FILES = "shards/files"
_UNTOUCHED = 1_000_000_000
"""Modification time that a shard's file is given; a different one shows that it was altered."""


def write_shard_file(folder: Path, name: str, data: Callable[[], bytes]) -> Path:
    """A shard as a file for the user's own code, written once and again after it was altered.

    Two workers that need it at the same time may both write it, with the same content. Raises
    StoreError."""
    path = (folder / SHARD_FILES / name).resolve()
    with suppress(OSError):
        if int(path.stat().st_mtime) == _UNTOUCHED:
            return path
    write_atomic(folder, f"{SHARD_FILES}/{name}", data())
    os.utime(path, (_UNTOUCHED, _UNTOUCHED))
    with suppress(OSError):
        path.chmod(0o444)
    return path


def trial_folder(folder: Path, trial: str, attempt: int) -> tuple[Path, bool]:
    """A folder for the files that a trial's own code saves, and whether it already has some from
    an earlier attempt.

    The earlier attempt's folder is renamed, so that a worker that was given up but still runs
    cannot write into this one. Raises StoreError."""
    home = folder / CHECKPOINTS / trial
    refuse_links(folder, home)
    current = home / f"files-{attempt:06d}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        for earlier in sorted(home.glob("files-*"))[::-1]:
            if earlier.name < current.name and not current.exists():
                earlier.rename(current)
        current.mkdir(exist_ok=True)
        return current.resolve(), any(current.iterdir())
    except OSError as error:
        raise StoreError(write_failed(current, error)) from error


def drop_trial_folder(path: Path) -> None:
    """Remove the files that a trial's own code saved."""
    shutil.rmtree(path, ignore_errors=True)
