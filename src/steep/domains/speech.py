"""Speech: audio clips with their transcripts, named by a manifest.

Unit: hours of audio. The error is the character error rate of greedy decoding without a language
model: edits over characters of the true transcripts. The vocabulary belongs to the task, not to a
shard: it is the option ``alphabet``, or every character of all transcripts; symbol 0 is the blank
of CTC and the end of attention's transcripts.

A manifest is JSON lines (.jsonl) or CSV with a header (.csv), a row a clip: ``audio``, a path
relative to the manifest; ``text``; where known ``group`` (speaker, source: never on two sides of a
split; else equal transcripts are one group) and ``seconds``, held against the audio. Other columns
are ignored.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.contracts.domain import (
    DataError,
    Items,
    Position,
    Scores,
    by_length,
    epochs,
)
from steep.domains import audio
from steep.domains.files import by_part, content, digest_of
from steep.engine.compiled import cache_folder
from steep.records import Sample
from steep.spec.sections import Count, Positive, Strict

if TYPE_CHECKING:
    import torch

BUCKETS = 16
"""Batches whose clips are sorted by length together: little padding, other company each epoch."""

EVALUATION_FRAMES = 40_000
"""Frames, padding included, in one batch of an evaluation."""


class Options(Strict):
    """Where the manifests are. Relative paths start from the spec's folder."""

    train: str
    """A manifest, .jsonl or .csv."""
    validation: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    test: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    alphabet: str | None = None
    """The characters of the transcripts, the blank among them. None: all that occur."""
    sample_rate: Count | None = None
    """Hz that every clip is resampled to. None: the lowest of all clips, so that none of them is
    known by the width of its band."""
    bands: Count = 40
    """Mel filters."""
    longest: Positive = 20.0
    """Seconds; longer clips are left out."""
    fastest: Positive = 22.0
    """Characters a second; clips with more are left out. A repeated one counts twice: CTC has to
    write a blank between. Models that leave a fourth of 100 frames could write 25 at most."""
    cache: str | None = None
    """Folder of the computed features. None: steep's in the user's cache ($XDG_CACHE_HOME)."""


def open_domain(options: Options, base: Path) -> Speech:
    """Read and check every file; compute features that the cache does not hold. Raises DataError
    naming the manifest and its line, or the audio file, that cannot be used."""
    manifests = by_part(options.train, options.validation, options.test)
    rows: list[Row] = []
    part: list[int] = []
    files: dict[str, str] = {}
    for number, name in manifests.items():
        found, digest = _manifest(base / name, options.alphabet)
        rows += found
        part += [number] * len(found)
        files[name] = digest
    clips = list(dict.fromkeys(row.audio for row in rows))
    digests = {path: hashlib.sha256(content(path)).hexdigest() for path in clips}
    together = "".join(digests[path] for path in clips)
    files["audio of all clips"] = hashlib.sha256(together.encode()).hexdigest()
    computed = audio.features(
        clips,
        list(digests.values()),
        audio.Analysis(options.sample_rate, options.bands),
        base / options.cache if options.cache else cache_folder(),
    )
    place = {path: number for number, path in enumerate(clips)}
    clip = np.array([place[row.audio] for row in rows])
    seconds = computed.seconds[clip]
    kept = np.array([_fits(row, s, options) for row, s in zip(rows, seconds, strict=True)])
    if not kept.any():
        raise DataError(f"{base / options.train}: no clip within longest and fastest")
    alphabet = options.alphabet or "".join(sorted({c for row in rows for c in row.text}))
    return Speech(
        [row for row, keep in zip(rows, kept, strict=True) if keep],
        [digests[row.audio] for row, keep in zip(rows, kept, strict=True) if keep],
        np.array(part, np.int8)[kept],
        clip[kept],
        computed,
        alphabet,
        files,
        int(np.sum(~kept)),
    )


class Speech:
    """The opened domain: transcripts as symbols, and where each clip's frames lie."""

    unit = "hours"
    kind = "speech"
    metrics = ("cer", "cross_entropy")

    def __init__(
        self,
        rows: list[Row],
        digests: list[str],
        part: np.ndarray,
        clip: np.ndarray,
        computed: audio.Features,
        alphabet: str,
        files: Mapping[str, str],
        left_out: int = 0,
    ) -> None:
        """``clip`` [N]: each row's clip in ``computed``; ``digests`` of its audio; ``left_out``:
        how many others there were."""
        self._left_out = left_out
        self.alphabet = "".join(sorted(set(alphabet)))
        symbol = {character: 1 + n for n, character in enumerate(self.alphabet)}
        self._texts = [row.text for row in rows]
        self._symbols = [np.array([symbol[c] for c in text]) for text in self._texts]
        self._characters = np.array([len(text) for text in self._texts], np.int64)
        self._hours = computed.seconds[clip] / 3600
        self._frames = computed.frames[clip]
        self._start = (np.cumsum(computed.frames) - computed.frames)[clip]
        self._features, self._part, self._files = computed.rows_NxF, part, files
        groups = [f"text {row.text}" if row.group is None else f"group {row.group}" for row in rows]
        self._group = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        named = [f"{digest} {text}" for digest, text in zip(digests, self._texts, strict=True)]
        self._digest = np.array([digest_of(name.encode()) for name in named], np.uint64)
        self.shape = {
            "bands": self._features.shape[1],
            "vocabulary": len(self.alphabet) + 1,
            # What FLOPs are counted on: the mean clip.
            "frames": round(float(self._frames.mean())),
            "characters": round(float(self._characters.mean())),
            "frames_per_second": audio.FRAMES_PER_SECOND,
        }
        self._device = "cpu"

    def items(self) -> Items:
        transcript = np.array([digest_of(text.encode()) for text in self._texts], np.uint64)
        return Items(
            self._hours,
            self._digest,
            self._group,
            self._part,
            files=self._files,
            dedup_key=transcript,
            left_out=self._left_out,
        )

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        """An empty transcript: all characters are missing. Cross-entropy: the add-one unigram of
        characters and end, whatever the audio; what CTC's best constant does lies near it."""
        count = self._count(items) + 1
        seen = self._count(validation)
        nats = float(-(seen * np.log(count / count.sum())).sum())
        return {"cer": 1.0, "cross_entropy": nats / float(self._characters[validation].sum())}

    def _count(self, items: np.ndarray) -> np.ndarray:
        """Occurrences of each symbol; one end a transcript."""
        symbols = np.concatenate([self._symbols[item] for item in items])
        count = np.bincount(symbols, minlength=self.shape["vocabulary"])
        count[0] = len(items)
        return count

    def steps_per_epoch(self, items: np.ndarray, hyperparameters: Mapping[str, Any]) -> int:
        return -(-len(items) // int(hyperparameters["batch_size"]))

    def batches(
        self, items: np.ndarray, hyperparameters: Mapping[str, Any], seed: int, position: Position
    ) -> Iterator[tuple[Any, Position]]:
        """Batches of item numbers: clips of like length together, the batches in random order."""
        steps = self.steps_per_epoch(items, hyperparameters)
        for generator, epoch, taken in epochs(seed, position):
            order = items[generator.permutation(len(items))]
            # Cut evenly, so that no epoch ends in a batch of one.
            cuts = np.linspace(0, len(items), steps + 1).round().astype(int)
            for first in range(0, steps, BUCKETS):
                span = slice(cuts[first], cuts[min(first + BUCKETS, steps)])
                order[span] = order[span][np.argsort(self._frames[order[span]], kind="stable")]
            turn = generator.permutation(steps)
            for index in range(taken, steps):
                after = (epoch, index + 1) if index + 1 < steps else (epoch + 1, 0)
                yield order[cuts[turn[index]] : cuts[turn[index] + 1]], after

    def units(self, batch: np.ndarray) -> float:
        """Hours of audio in a batch."""
        return float(self._hours[batch].sum())

    def loss(self, model: Any, batch: np.ndarray, state: Any) -> tuple[torch.Tensor, float, None]:
        """Minus the log-probability of the transcripts, over their characters."""
        nats_B = model.nats(model.hear(*self._audio(batch)), *self._transcripts(batch))
        return nats_B.sum(), float(self._characters[batch].sum()), None

    def evaluate(self, model: Any, items: np.ndarray) -> Scores:
        from rapidfuzz.distance import Levenshtein

        edits, nats = np.zeros(len(items)), np.zeros(len(items))
        for rows in by_length(self._frames[items], EVALUATION_FRAMES):
            encoded = model.hear(*self._audio(items[rows]))
            nats_B = model.nats(encoded, *self._transcripts(items[rows]))
            nats[rows] = nats_B.double().cpu().numpy()
            texts = self._written(model.transcribe(encoded))
            edits[rows] = [
                Levenshtein.distance(self._texts[item], text)
                for item, text in zip(items[rows], texts, strict=True)
            ]
        count = self._characters[items].astype(float)
        return Scores(count, {"cer": edits, "cross_entropy": nats})

    def decoded(self, model: Any, items: np.ndarray) -> Mapping[str, float]:
        """``wer``: edits of words over words of the true transcripts."""
        from rapidfuzz.distance import Levenshtein

        edits = words = 0
        for item, text in zip(items, self.transcripts(model, items), strict=True):
            true = self._texts[item].split()
            edits += Levenshtein.distance(true, text.split())
            words += len(true)
        return {"wer": edits / words} if words else {}

    def transcripts(self, model: Any, items: np.ndarray) -> list[str]:
        """What the model reads in the clips, in the order of ``items``."""
        found = [""] * len(items)
        for rows in by_length(self._frames[items], EVALUATION_FRAMES):
            texts = self._written(model.transcribe(model.hear(*self._audio(items[rows]))))
            for row, text in zip(rows, texts, strict=True):
                found[row] = text
        return found

    def samples(self, model: Any, items: np.ndarray) -> list[Sample]:
        """Each clip, its transcript and the model's."""
        return [
            Sample(f"clip {item}", self._texts[item], text)
            for item, text in zip(items, self.transcripts(model, items), strict=True)
        ]

    def to(self, device: str) -> None:
        self._device = device

    def _audio(self, items: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """(x_BxTxF, zero beyond each clip's end; frames_B)."""
        import torch

        frames_B = self._frames[items]
        x_BxTxF = np.zeros((len(items), int(frames_B.max()), self.shape["bands"]), np.float32)
        for place, (start, frames) in enumerate(zip(self._start[items], frames_B, strict=True)):
            x_BxTxF[place, :frames] = self._features[start : start + frames]
        return torch.from_numpy(x_BxTxF).to(self._device), frames_B

    def _transcripts(self, items: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """(text_BxL, zero beyond each transcript's end; characters_B)."""
        import torch

        characters_B = self._characters[items]
        text_BxL = np.zeros((len(items), int(characters_B.max())), np.int64)
        for place, item in enumerate(items):
            text_BxL[place, : characters_B[place]] = self._symbols[item]
        return torch.from_numpy(text_BxL).to(self._device), characters_B

    def _written(self, transcripts: list[list[int]]) -> list[str]:
        return ["".join(self.alphabet[symbol - 1] for symbol in text) for text in transcripts]


# ---------------------------------------------------------------- reading manifests


@dataclass(frozen=True)
class Row:
    """One row of a manifest."""

    where: str
    """Manifest and line, for messages."""
    audio: Path
    text: str
    """Normalised."""
    group: str | None
    seconds: float | None


def normalised(text: str) -> str:
    """Lower case letters, digits and apostrophes, single blanks between words (NFKC)."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text).split())


def _manifest(path: Path, alphabet: str | None) -> tuple[list[Row], str]:
    """(rows, SHA-256 of the file). Raises DataError naming the line that cannot be used."""
    data = content(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: byte {error.start}") from None
    if path.suffix not in (".jsonl", ".csv"):
        raise DataError(f"{path}: a manifest is JSON lines (.jsonl) or CSV (.csv)")
    lines = _json_lines if path.suffix == ".jsonl" else _csv_lines
    rows = [
        _row(path, f"{path}:{number}", values, alphabet) for number, values in lines(path, text)
    ]
    if not rows:
        raise DataError(f"{path}: holds no clip")
    return rows, hashlib.sha256(data).hexdigest()


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(values, dict):
            raise DataError(f"{path}:{number}: not an object with audio and text")
        yield number, values


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for values in reader:
            if None in values or None in values.values():
                raise DataError(f"{path}:{reader.line_num}: not as many fields as the header")
            yield reader.line_num, {name: value for name, value in values.items() if value}
    except csv.Error as error:
        raise DataError(f"{path}:{reader.reader.line_num}: not CSV: {error}") from None


def _row(path: Path, where: str, values: Mapping[str, Any], alphabet: str | None) -> Row:
    for key in ("audio", "text"):
        if not isinstance(values.get(key), str) or not values[key].strip():
            raise DataError(f"{where}: no {key}")
    text = normalised(values["text"])
    if not text:
        raise DataError(f"{where}: no letter or digit in {values['text']!r}")
    strange = sorted(set(text) - set(alphabet or text))
    if strange:
        raise DataError(f"{where}: {strange[0]!r} is not in domain.alphabet")
    seconds = values.get("seconds")
    if seconds is not None:
        try:
            seconds = float(seconds)
        except (TypeError, ValueError):
            raise DataError(f"{where}: seconds: not a number: {seconds!r}") from None
    group = values.get("group")
    return Row(
        where, path.parent / values["audio"], text, None if group is None else str(group), seconds
    )


def _fits(row: Row, seconds: float, options: Options) -> bool:
    """Whether the clip is to be used. Raises DataError where its length is not the row's."""
    if row.seconds is not None and abs(row.seconds - seconds) > 0.25 + 0.05 * seconds:
        raise DataError(f"{row.audio}: {seconds} s of audio where {row.where} says {row.seconds} s")
    repeats = sum(a == b for a, b in pairwise(row.text))
    return seconds <= options.longest and len(row.text) + repeats <= options.fastest * seconds
