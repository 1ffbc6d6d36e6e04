"""Which domain files are of, by their names, and what lies beside them that is not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from steep.domains.files import is_data
from steep.spec.load import QuestionError

IMAGES, TEXTS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"), (".txt", ".txt.gz")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff")
MANIFEST = (
    'a manifest of the audio files, JSON lines such as {"audio": "a.wav", "text": "what is said"} '
    "or a CSV with these columns"
)
DESCRIBED = {
    "manifest.jsonl": ("speech", " from manifest.jsonl"),
    "manifest.csv": ("speech", " from manifest.csv"),
    "pairs.tsv": ("translation", " from pairs.tsv"),
}
"""File names that say what the data is; of a folder, the file that it is read by."""


def guess_domain(data: Sequence[Path], named: str | None = None) -> tuple[str, str]:
    """(domain, why) by the names of the files: IDX, npz or folders of images; text files. ``named``
    is what the user says; an impossible one is an error all the same. Raises QuestionError."""
    listed = {path: [path] if path.is_file() else _inside(path) for path in data}
    for path, inside in listed.items():
        if not inside:
            raise QuestionError(f"{path} is empty: there is nothing to read in it")
    names = [p.name.lower() for inside in listed.values() for p in inside]
    sounds = sum(name.endswith(SOUNDS) for name in names)
    texts = sum(name.endswith(TEXTS) for name in names)
    pictures = [p for inside in listed.values() for p in inside if p.name.lower().endswith(IMAGES)]
    if named == "speech" and all(p.is_dir() or p.suffix.lower() in SOUNDS for p in data):
        raise QuestionError(f"speech is read from {MANIFEST}: name that file")
    if len(pictures) == 1 and len(names) == 1 and named in (None, "images"):
        raise QuestionError(
            f"{pictures[0]} is one image: a learning curve needs some hundred, in one folder a "
            "class"
        )
    if named is not None:
        return named, ""
    if len(names) == 1 and names[0] in DESCRIBED:
        return DESCRIBED[names[0]]
    if any("idx3-ubyte" in n for n in names):
        return "images", " from the IDX files"
    if any(n.endswith(".npz") for n in names):
        return "images", " from the .npz file"
    if len(pictures) > max(texts, sounds):
        return "images", f" from {pictures[0].suffix.lower()} files"
    if texts > sounds:
        return "characters", " from .txt files"
    if sounds:
        raise QuestionError(f"for speech name {MANIFEST}, with --domain speech")
    if pictures:
        return "images", f" from {pictures[0].suffix.lower()} files"
    suffixes = ", ".join(sorted({Path(n).suffix or n for n in names})[:5])
    raise QuestionError(f"neither images nor text in what you gave ({suffixes}): name the --domain")


def left_aside(
    data: Sequence[Path], domain: str, no_images: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Notes on what lies in the given folders and is not read: text files of other suffixes, class
    folders without an image, other files beside images (``no_images``)."""
    notes = []
    if no_images:
        names = ", ".join(file.name for file in no_images[:5])
        notes.append(
            f"Left aside, since no image: {names}{' and others' if len(no_images) > 5 else ''} "
            f"({len(no_images)} in all)."
        )
    for folder in (path for path in data if path.is_dir()):
        if domain == "images":
            classes = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
            empty = [
                p.name
                for p in classes
                if not any(f.is_file() and f not in no_images for f in p.glob("*") if is_data(f, p))
            ]
            if empty:
                names = f"{', '.join(empty[:5])}{' and others' if len(empty) > 5 else ''}"
                notes.append(
                    f"{folder} has {len(classes)} folders, and {len(empty)} of them without an "
                    f"image, which are no classes: {names}."
                )
        elif domain in ("characters", "words"):
            visible = (p for p in folder.rglob("*") if p.is_file() and is_data(p, folder))
            kinds = Counter(_kind(p) for p in visible)
            aside = [f"{n} {kind}" for kind, n in kinds.most_common() if kind not in TEXTS]
            if aside:
                mine = " and ".join(f"{kinds[kind]} {kind}" for kind in TEXTS if kinds[kind])
                notes.append(
                    f"Of the files in {folder} {mine} are read; left aside: "
                    f"{', '.join(aside[:5])}{' and others' if len(aside) > 5 else ''}. In "
                    "the spec, domain.train may be a pattern of files in place of the folder."
                )
    return tuple(notes)


def _kind(path: Path) -> str:
    """The suffix by which a file is read or not; its name where it has none."""
    name = path.name.lower()
    return next((s for s in TEXTS[::-1] if name.endswith(s)), path.suffix.lower() or name)


def _inside(folder: Path) -> list[Path]:
    """Some files of a folder and of its sub-folders."""
    inside = [*folder.glob("*"), *folder.glob("*/*")]
    return [p for p in inside if p.is_file() and is_data(p, folder)][:1000]
