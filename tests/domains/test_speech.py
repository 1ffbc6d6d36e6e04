"""Speech: manifests and their faults, batches, edits against jiwer, and tones that are learnt."""

import csv
import json
from itertools import islice
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch

import tones
from steep import testing
from steep.contracts.domain import POOL, TEST, TRAIN, VALIDATION, DataError
from steep.contracts.trainer import ShardItems
from steep.domains import speech
from steep.engine import loop
from steep.engine.average import Average
from steep.models import attention, deepspeech2
from steep.records import Trial
from steep.shards import cut
from steep.spec.load import from_values
from steep.spec.sections import Stop

FAMILIES = {"deepspeech2": deepspeech2, "attention": attention}


def opened(folder: Path, **options) -> speech.Speech:
    options = {"train": "manifest.jsonl", "cache": "cache"} | options
    return speech.open_domain(speech.Options(**options), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred clips of tones."""
    folder = tmp_path_factory.mktemp("tones")
    tones.write(folder, tones.texts(100))
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_contract(folder: Path, name: str) -> None:
    module = FAMILIES[name]
    values = {**module.FAMILY.recipe, "batch_size": 5}
    testing.check_member(speech, "open_domain")
    testing.check_domain(opened(folder), module.FAMILY, module.Options(), 4, values)


# ---------------------------------------------------------------- manifests


def test_what_a_manifest_says(tmp_path: Path) -> None:
    spoken = ["a bad cab", "ace", "A, bad cab!", "dead"]
    tones.write(tmp_path, [speech.normalised(text) for text in spoken])
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "audio", "mood"])
        writer.writerows(
            [text, row["audio"], "any"] for text, row in zip(spoken, rows, strict=True)
        )
    domain = opened(tmp_path)
    items = domain.items()
    assert domain.alphabet == " abcde"
    assert domain.shape["vocabulary"] == 7
    assert items.size == pytest.approx([len(r["text"]) * tones.TONE / 3600 for r in rows])
    assert items.group[0] == items.group[2], "equal transcripts are one group"
    assert len(set(items.group)) == 3
    assert len(set(items.digest)) == 4, "two recordings of one text are two items"
    assert set(items.part) == {POOL}
    again = opened(tmp_path, train="manifest.csv").items()
    assert (again.digest == items.digest).all()
    assert (again.group == items.group).all()


def test_parts_groups_and_fingerprints(tmp_path: Path) -> None:
    names = [f"{part}.jsonl" for part in ("train", "valid", "test")]
    for name, count in zip(names, (4, 3, 2), strict=True):
        tones.write(tmp_path, tones.texts(count), name, group=["one", "two", "one", "two"][:count])
    domain = opened(tmp_path, train=names[0], validation=names[1], test=names[2])
    items = domain.items()
    assert items.part.tolist() == [TRAIN] * 4 + [VALIDATION] * 3 + [TEST] * 2
    assert items.group.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 1]
    assert set(items.files) == {*names, "audio of all clips"}
    before = items.files["audio of all clips"]
    soundfile.write(tmp_path / "test-1.wav", tones.sound("bead"), tones.RATE)
    items = opened(tmp_path, train=names[0], validation=names[1], test=names[2]).items()
    assert items.files["audio of all clips"] != before


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  You're   asking\tfor trouble, King. ", "you're asking for trouble king"),
        ("I\u2019m 2 \u201cyoung\u201d\u2026", "i'm 2 young"),
        ("Fu\u0308r \ufb01ve", "f\u00fcr five"),
        ("...", ""),
    ],
)
def test_normalised(text: str, normal: str) -> None:
    assert speech.normalised(text) == normal


def test_clips_too_long_or_too_dense_are_left_out(tmp_path: Path) -> None:
    tones.write(tmp_path, ["abcdea", "abc", "aabb"])  # 8.3 characters a second, then 12.5
    short = opened(tmp_path, longest=0.5).items()
    assert len(short.size) == 2
    assert short.left_out == len(opened(tmp_path).items().size) - 2 > 0
    assert len(opened(tmp_path, fastest=9.0).items().size) == 2
    with pytest.raises(DataError, match=r"manifest\.jsonl: no clip within longest and fastest"):
        opened(tmp_path, fastest=1.0)


ROW = '{"audio": "manifest-0.wav", "text": "a"}\n'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.jsonl", ROW + "{audio}", r"m\.jsonl:2: not JSON"),
        ("m.jsonl", ROW + "\n[1]\n", r"m\.jsonl:3: not an object with audio and text"),
        ("m.jsonl", ROW + '{"text": "a"}', r"m\.jsonl:2: no audio"),
        ("m.jsonl", ROW + '{"audio": "a.wav", "text": 3}', r"m\.jsonl:2: no text"),
        ("m.jsonl", '{"audio": "a.wav", "text": "?!"}', r"m\.jsonl:1: no letter or digit in '\?!'"),
        ("m.jsonl", ROW[:-2] + ', "seconds": "long"}', r"m\.jsonl:1: seconds: not a number"),
        ("m.jsonl", ROW[:-2] + ', "seconds": 9}', r"manifest-0\.wav: 0\.\d+ s of audio where .*:1"),
        ("m.jsonl", '{"audio": "no.wav", "text": "a"}', r"no\.wav: no such file"),
        ("m.jsonl", '{"audio": "m.jsonl", "text": "a"}', r"m\.jsonl: not audio that can be read"),
        ("m.jsonl", "\n", r"m\.jsonl: holds no clip"),
        ("m.csv", "audio,text\nmanifest-0.wav\n", r"m\.csv:2: not as many fields as the header"),
        ("m.csv", 'audio,text\na.wav,"a"b\n', r"m\.csv:2: not CSV"),
        ("m.csv", "file,text\na.wav,a\n", r"m\.csv:2: no audio"),
        ("m.txt", "a", r"m\.txt: a manifest is JSON lines"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    tones.write(tmp_path, ["abc"])
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        opened(tmp_path, train=name)


def test_what_else_cannot_be_used(tmp_path: Path) -> None:
    tones.write(tmp_path, ["abc", "cab"])
    with pytest.raises(DataError, match=r"manifest\.jsonl:1: 'c' is not in domain\.alphabet"):
        opened(tmp_path, alphabet="ab ")
    (tmp_path / "latin.jsonl").write_bytes(b'{"audio": "\xe4"}')
    with pytest.raises(DataError, match=r"latin\.jsonl: not UTF-8 text: byte 11"):
        opened(tmp_path, train="latin.jsonl")
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        opened(tmp_path, train="none.jsonl")


# ---------------------------------------------------------------- batches and scores


def test_batches_hold_clips_of_like_length(folder: Path) -> None:
    domain = opened(folder)
    shard = np.arange(3, 90)
    steps = domain.steps_per_epoch(shard, {"batch_size": 8})
    assert steps == 11
    epoch = [batch for batch, _ in islice(domain.batches(shard, {"batch_size": 8}, 1, (0, 0)), 11)]
    assert sorted(np.concatenate(epoch)) == shard.tolist(), "each clip once an epoch"
    assert {len(batch) for batch in epoch} == {7, 8}
    spread = np.mean([np.ptp(domain._frames[batch]) for batch in epoch])
    assert spread < 0.2 * np.ptp(domain._frames[shard])
    assert domain.units(epoch[0]) == pytest.approx(domain.items().size[epoch[0]].sum())


def test_a_transcript_is_on_one_side_whoever_speaks_it(tmp_path: Path) -> None:
    """Scenes share lines: the recordings differ, but a model could know the text by heart."""
    spoken = [*tones.texts(20), *tones.texts(20)]
    scenes = [f"scene {n // 4}" for n in range(40)]
    tones.write(tmp_path, spoken, group=scenes)
    items = opened(tmp_path).items()
    assert items.dedup_key is not None
    assert len(set(items.digest)) == 40
    assert len(set(items.dedup_key)) == len(set(spoken))
    spec = {
        "study": "s",
        "domain": {"name": "speech", "train": "manifest.jsonl"},
        "family": {"name": "deepspeech2", "sizes": [4]},
        "shards": {"smallest": 1e-4},
        "split": {"validation": 8, "test": 4},
    }
    found = cut(from_values(spec), items, "hours")
    kept_out = {spoken[i] for i in np.concatenate([found.validation, found.test])}
    assert found.removed > 0
    assert not {spoken[i] for i in found.orders[0]} & kept_out


class Reads:
    """A model that reads what it is told."""

    def __init__(self, written: dict[int, str], alphabet: str) -> None:
        self.written, self.alphabet = written, alphabet

    def hear(self, x_BxTxF, frames_B) -> np.ndarray:
        return frames_B

    def nats(self, heard, text_BxL, characters_B) -> torch.Tensor:
        return torch.from_numpy(2.0 * characters_B)

    def transcribe(self, heard) -> list[list[int]]:
        return [[1 + self.alphabet.index(c) for c in self.written[int(n)]] for n in heard]


def test_errors_against_jiwer(tmp_path: Path) -> None:
    spoken = ["a bad cab", "ace", "deed a bad bee"]
    heard = ["a bed cab b", "", "deed bad abee"]
    tones.write(tmp_path, spoken)
    domain = opened(tmp_path)
    model = Reads(dict(zip(domain._frames.tolist(), heard, strict=True)), domain.alphabet)
    rows = np.array([2, 0, 1])
    scores = domain.evaluate(model, rows)
    true, read = [spoken[r] for r in rows], [heard[r] for r in rows]
    assert scores.mean("cer") == pytest.approx(jiwer.cer(true, read))
    assert scores.count.tolist() == [14, 9, 3]
    assert scores.sums["cer"].tolist() == [3, 3, 3]
    assert scores.mean("cross_entropy") == 2.0
    assert domain.decoded(model, rows)["wer"] == pytest.approx(jiwer.wer(true, read))
    assert domain.transcripts(model, rows) == read


def test_best_guess(tmp_path: Path) -> None:
    tones.write(tmp_path, ["aab", "ba"])
    guess = opened(tmp_path).best_guess(np.array([0]), np.array([1]))
    # ends 1, a 2, b 1; plus one each: 2, 3, 2 of 7; "ba" and its end over two characters
    assert guess["cross_entropy"] == pytest.approx(-np.log(2 / 7 * 3 / 7 * 2 / 7) / 2)
    assert guess["cer"] == 1.0


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("name", "width", "steps"), [("deepspeech2", 24, 160), ("attention", 32, 300)]
)
def test_tones_are_learnt(tmp_path: Path, name: str, width: int, steps: int) -> None:
    """Texts that were not trained on are read almost without a fault."""
    tones.write(tmp_path, tones.texts(150, low=2, high=6, seed=1))
    domain, family = opened(tmp_path), FAMILIES[name].FAMILY
    torch.manual_seed(0)
    model = family.build(width, domain.shape, FAMILIES[name].Options())
    optimizer, average = torch.optim.Adam(model.parameters(), lr=0.007), Average(model, 8.0)
    batches = domain.batches(np.arange(110), {"batch_size": 10}, 0, (0, 0))
    for step, (batch, _) in enumerate(islice(batches, steps), 1):
        optimizer.zero_grad()
        total, count, _ = domain.loss(model, batch, None)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(step)
    model.eval()
    with torch.inference_mode(), average.in_place():
        assert domain.evaluate(model, np.arange(110, 150)).mean("cer") < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_fifty_clips_are_overfitted(tmp_path: Path, name: str) -> None:
    """Clips as long as spoken sentences, through the loop that studies use: CER below 5 %."""
    tones.write(tmp_path, tones.texts(60, low=15, high=30, seed=2))
    domain, module = opened(tmp_path), FAMILIES[name]
    setup = loop.Setup(
        domain,
        module.FAMILY,
        module.Options(),
        {**module.FAMILY.recipe, "batch_size": 8},
        Stop(evaluations=4, patience=2, first=200, ratio=1.5),
        "cross_entropy",
        domain.items().group,
    )
    shard = ShardItems(np.arange(50), np.arange(50), np.arange(50, 60))
    measured = loop.train(setup, Trial(0, 50, 1.0, 48, (), 0), shard, testing.MemoryHandle())
    assert dict(measured.metrics)["cer"] < 0.05
    assert dict(measured.metrics)["wer"] < 0.2
