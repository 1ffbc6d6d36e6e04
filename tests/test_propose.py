"""Proposals: specs that steep itself reads, within the budget, honest about what they answer."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from steep import propose as proposing
from steep.contracts.domain import DataError
from steep.plan import clock
from steep.plan.calibrate import StepTimes, Timed
from steep.present.numbers import count
from steep.propose import Draft, Proposal, guess_domain, place, propose, study_name
from steep.spec.load import QuestionError, parse
from steep.spec.sections import parse_duration
from steep.study import Study

PACE = StepTimes(
    tuple(Timed(s, (10, 100), (s / 1e4, s / 1e3), s / 1e2, 0.1) for s in (2, 128)), 100.0
)


def text(path: Path, paragraphs: int = 1500, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    words = ["the", "steep", "curve", "of", "learning", "falls", "as", "more", "words", "come"]
    lines = (" ".join(rng.choice(words, 12)) + f" {seed} {i}." for i in range(paragraphs))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(lines))
    return path


def images(path: Path, count: int, side: int = 4) -> Path:
    rng = np.random.default_rng(count)
    pixels = rng.integers(0, 256, (count, side, side), np.uint8)
    labels = rng.integers(0, 3, count).astype(np.uint8)
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *pixels.shape) + pixels.tobytes())
    name = path.name.replace("images-idx3", "labels-idx1")
    path.with_name(name).write_bytes(struct.pack(">HBBI", 0, 8, 1, count) + labels.tobytes())
    return path


@pytest.fixture(autouse=True)
def speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose speed is known: nothing is trained."""
    monkeypatch.setattr(clock, "pace", lambda *args: PACE)
    monkeypatch.setattr(proposing, "SCENARIOS", 1)


@pytest.fixture
def by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times by the number of cells, for what does not hang on them: playing a search takes a
    while. That proposals keep to what the estimator says is tested without this."""

    def seconds(draft: Draft, *extent: Any, scenarios: int = 1) -> float:
        smallest, largest, sizes, seeds, _ = extent
        return float((largest or draft.total) / smallest * len(sizes) * seeds)

    monkeypatch.setattr(Draft, "seconds", seconds)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No feature is left in the cache of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def proposal(base: Path, *data: Path, seconds: float = 1e9, **asked: Any) -> Proposal:
    options = {"domain": None, "family": None, "workers": 2} | asked
    return propose(data, seconds=seconds, base=base, **options)


def expected(found: Proposal, base: Path) -> float:
    """Seconds on the clock, as plan would say."""
    predicted = Study(parse(found.text, base)).prediction(PACE, 2, 1)
    assert predicted is not None
    return predicted.clock.value or 0.0


def test_a_proposal_is_a_spec_that_runs(tmp_path: Path, by_count: None) -> None:
    found = proposal(tmp_path, text(tmp_path / "corpus.txt"))
    loaded = parse(found.text, tmp_path)
    spec = loaded.spec
    assert (spec.domain.name, spec.family.name) == ("characters", "rhn")
    assert spec.domain.options == {"train": "corpus.txt"}
    assert (spec.split.validation, spec.split.test) == (0.1, 0.1)
    study = Study(loaded, tmp_path / "study")
    study.check()
    assert [s.held_out for s in study.cut.shards][-2:] == [False, True]
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("family", ["lstm", "rhn", "transformer"])
def test_words(family: str, tmp_path: Path, by_count: None) -> None:
    for number in range(12):
        text(tmp_path / "speeches" / f"{number}.txt", 700, number)
    asked = None if family == "lstm" else family
    found = proposal(tmp_path, tmp_path / "speeches", domain="words", family=asked)
    loaded = parse(found.text, tmp_path)
    assert (loaded.spec.domain.name, loaded.spec.family.name) == ("words", family)
    assert loaded.spec.domain.options == {"train": "speeches", "vocabulary": 10_000}
    Study(loaded, tmp_path / "study").check()
    assert "words to train on" in found.notes[1]


def test_a_small_budget_gives_a_smaller_study_and_says_so(tmp_path: Path) -> None:
    path = text(tmp_path / "corpus.txt")
    whole = proposal(tmp_path, path)
    full = expected(whole, tmp_path)
    small = proposal(tmp_path, path, seconds=full / 3)
    study = Study(parse(small.text, tmp_path))
    took, more = expected(small, tmp_path), small.notes[0].startswith("This study does not fit")
    assert took < full
    assert took <= full / 3 or more  # the smallest study that bears a forecast may take longer
    most = Study(parse(whole.text, tmp_path))
    fewer_sizes = len(study.spec.family.sizes) < len(proposing.LADDER["rhn"])
    assert fewer_sizes or len(study.shards) < len(most.shards)
    said = "are left out to fit the budget" if fewer_sizes else "would need a larger budget"
    assert any(said in note for note in small.notes)
    nothing = proposal(tmp_path, path, seconds=1e-9)
    longer = nothing.notes[0]
    assert longer.startswith("This study does not fit: it is expected to take ")
    assert "shards are perhaps not reached at all" in longer
    (budget,) = re.findall(r"--budget (\w+) would hold it all", longer)
    least = expected(nothing, tmp_path)
    assert least <= parse_duration(budget) < least + 61
    assert any("an exponent would not be reliable" in note for note in nothing.notes)
    assert any(re.search("A budget of .*[ms] would hold 5 shards", note) for note in nothing.notes)


@pytest.mark.parametrize(
    ("seconds", "smallest", "shards", "sizes", "held"),
    [
        (9.0, 8000, 7, 4, 6),
        (4.1, 8000, 6, 4, 5),  # 8,000 to 128,000, and 256,000 held out, of four sizes
        (2.1, 4000, 6, 4, 5),
        (0.8, 2000, 6, 3, 5),
        (0.6, 2000, 6, 3, 5),  # takes 0.77: a budget cuts trials, and no shards
        (0.3, 2000, 5, 3, 4),
        (0.01, 2000, 3, 3, 0),
    ],
)
def test_a_tight_budget_gets_a_curve_of_smaller_shards_and_fewer_sizes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    smallest: float,
    shards: int,
    sizes: int,
    held: int,
) -> None:
    """Where a study takes a second for each 250,000 characters and size, whatever its first shard
    is. It had two or three shards to fit, which bear no forecast."""

    def taken(draft: Draft, *extent: Any, scenarios: int = 1) -> float:
        return float((extent[1] or draft.total) * len(extent[2]) * extent[3] / 2 / 250_000)

    monkeypatch.setattr(Draft, "seconds", taken)
    path = text(tmp_path / "corpus.txt", 50_000)
    found = proposal(tmp_path, path, seconds=seconds)
    study = Study(parse(found.text, tmp_path))
    assert study.spec.shards.smallest == smallest
    assert (len(study.shards), found.fitted) == (shards, held)
    assert len(study.spec.family.sizes) == sizes
    if held >= 4:  # of the largest shard, held out or not, as steep forecast counts
        answered = f"what {count(4 * study.shards[-1].samples)} characters would bring"
        assert any(answered in note for note in found.notes)


def test_the_smallest_shard_does_not_hang_on_data_that_no_budget_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 233 million characters it was 190,000: two shards within the budget."""
    path = text(tmp_path / "corpus.txt", 2000)
    monkeypatch.setattr(Draft, "total", 2e8)
    draft = Draft("x", "characters", "rhn", {"train": str(path)}, tmp_path, 1)
    assert draft.extent(5, 4)[:2] == (8000, 256_000)
    assert draft.extent(15, 4)[:2] == (200_000, None)


def test_what_lies_in_a_folder_and_is_not_read_is_said(tmp_path: Path, by_count: None) -> None:
    folder = tmp_path / "docs"
    for number in range(3):
        text(folder / f"{number}.txt", 700, number)
    assert not any("left aside" in note for note in proposal(tmp_path, folder).notes)
    for name in ("a.rst", "b.rst", "deep/c.rst", "readme.md", ".git/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("words")
    (note,) = (n for n in proposal(tmp_path, folder).notes if "left aside" in n)
    assert f"in {folder} 3 .txt are read; left aside: 3 .rst, 1 .md." in note


def test_what_systems_leave_beside_data_disturbs_nothing(tmp_path: Path) -> None:
    """A .DS_Store or Thumbs.db among images ended init, a README beside sounds made them text."""
    for k in range(3):
        for name in (f"photos/cat/{k}.png", f"texts/{k}.txt", f"sounds/{k}.wav"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    stray = (".lock", ".DS_Store", "Thumbs.db", "._0.txt", "__MACOSX/a.txt", "readme.txt")
    for folder in ("photos", "texts", "sounds", "photos/cat", "nothing"):
        for name in stray if folder != "nothing" else stray[:-1]:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).touch()
    (tmp_path / "texts" / "logo.png").touch()
    assert guess_domain([tmp_path / "photos"])[0] == "images"
    assert guess_domain([tmp_path / "texts"])[0] == "characters"
    with pytest.raises(QuestionError, match="for speech name a manifest"):
        guess_domain([tmp_path / "sounds"])
    with pytest.raises(QuestionError, match="is empty"):
        guess_domain([tmp_path / "nothing"])
    (said,) = proposing.left_aside([tmp_path / "texts"], "characters")
    assert "4 .txt are read; left aside: 1 .png." in said
    readme = tmp_path / "photos" / "README"
    (said,) = proposing.left_aside([tmp_path / "photos"], "images", [readme])
    assert said == "Left aside, since no image: README (1 in all)."


def test_class_folders_without_an_image_are_said(tmp_path: Path) -> None:
    for name in ("cat", "dog", "empty"):
        (tmp_path / name).mkdir()
    for name in ("cat", "dog"):
        (tmp_path / name / "1.png").write_bytes(b"")
    (note,) = proposing.left_aside([tmp_path], "images")
    assert note.endswith(
        "has 3 folders, and 1 of them without an image, which are no classes: empty."
    )


@pytest.mark.parametrize(
    ("seconds", "written"), [(900, "15m"), (5400, "90m"), (45, "45s"), (100, "1m40s"), (1e9, None)]
)
def test_the_budget_is_written_down(
    tmp_path: Path, by_count: None, seconds: float, written: str | None
) -> None:
    found = proposal(tmp_path, text(tmp_path / "corpus.txt"), seconds=seconds)
    budget = parse(found.text, tmp_path).spec.run.budget
    assert budget is not None
    assert written in (budget, None)
    assert parse_duration(budget) == pytest.approx(seconds, rel=0.01)


def test_a_plan_within_a_budget_is_of_what_it_buys(tmp_path: Path, by_count: None) -> None:
    """Half of the time that the study would take: as much training as that holds, and over."""
    study = Study(parse(proposal(tmp_path, text(tmp_path / "corpus.txt")).text, tmp_path))
    whole = study.prediction(PACE, 2, 1)
    assert whole is not None
    seconds = (whole.clock.value or 0.0) / 2
    half = clock.prediction(study, PACE, 2, seconds=seconds, count=1)
    assert half is not None
    assert half.training.value is not None
    assert 0.4 * seconds < half.training.value / 2 <= 1.1 * seconds
    assert (half.clock.upper or 0.0) <= 1.1 * seconds


def test_images_with_a_test_part(tmp_path: Path, by_count: None) -> None:
    train = images(tmp_path / "train-images-idx3-ubyte", 900)
    test = images(tmp_path / "t10k-images-idx3-ubyte", 50)
    labels = [p for p in tmp_path.iterdir() if "idx1" in p.name]
    found = proposal(tmp_path, train, test, *labels)
    spec = parse(found.text, tmp_path).spec
    assert spec.domain.options == {"train": train.name, "test": test.name}
    assert (spec.split.validation, spec.split.test) == (0.1, None)
    assert "810 images to train on; 90 items are kept to validate, 50 to test" in found.notes[1]


def test_speech_by_its_manifest(tmp_path: Path, by_count: None) -> None:
    # Clips of half a minute each, so that few of them are hours.
    rows = []
    for number in range(75):
        sound = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(tmp_path / f"{number}.wav", np.tile(sound, 18), 8000)
        rows.append({"audio": f"{number}.wav", "text": f"this is clip {number}"})
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = proposal(tmp_path, manifest)
    assert "Read as speech (guessed from manifest.jsonl" in found.notes[0]
    assert proposal(tmp_path, tmp_path).text == found.text  # of the folder, the same
    loaded = parse(found.text, tmp_path)
    assert loaded.spec.study == tmp_path.name
    assert (loaded.spec.domain.name, loaded.spec.family.name) == ("speech", "deepspeech2")
    assert loaded.spec.domain.options == {"train": "manifest.jsonl"}
    study = Study(loaded, tmp_path / "study")
    study.check()
    assert study.cut.shards[0].samples == pytest.approx(0.025, abs=0.01)  # little data
    assert "hours to train on" in found.notes[1]


def test_a_validation_part_of_its_own(tmp_path: Path, by_count: None) -> None:
    data = [text(tmp_path / name, 900, i) for i, name in enumerate(["a_train.txt", "a_valid.txt"])]
    loaded = parse(proposal(tmp_path, *data).text, tmp_path)
    assert loaded.spec.domain.options == {"train": "a_train.txt", "validation": "a_valid.txt"}
    Study(loaded).check()


def test_pairs_of_sentences(tmp_path: Path, by_count: None) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(3000)]
    rows = [" ".join(rng.choice(words, 9)) for _ in range(8000)]
    lines = [f"{row}\t{row.upper()}" for row in rows]
    (tmp_path / "pairs.tsv").write_text("\n".join(["source\ttarget", *lines]))
    found = proposal(tmp_path, tmp_path / "pairs.tsv", domain="translation")
    loaded = parse(found.text, tmp_path)
    assert (loaded.spec.domain.name, loaded.spec.family.name) == ("translation", "seq2seq")
    assert loaded.spec.domain.options == {"train": "pairs.tsv"}
    study = Study(loaded)
    study.check()
    assert study.cut.shards[0].unit == "word pieces"
    assert len(study.cut.validation) == len(study.cut.test) == 800


@pytest.mark.parametrize(
    "name",
    ["no: 1.txt", "a #b.txt", "1e3.txt", "@home.txt", "ünïcode text.txt", "'q'.txt", "- x.txt"],
)
def test_any_file_name_survives_the_spec(name: str, tmp_path: Path, by_count: None) -> None:
    found = proposal(tmp_path, text(tmp_path / name))
    assert parse(found.text, tmp_path).spec.domain.options == {"train": name}


def test_files_elsewhere_are_named_whole(tmp_path: Path, by_count: None) -> None:
    path = text(tmp_path / "far" / "corpus.txt")
    (tmp_path / "near").mkdir()
    found = proposal(tmp_path / "near", path)
    assert parse(found.text, tmp_path).spec.domain.options == {"train": str(path.resolve())}


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train.txt", "val.txt", "test.txt"], ["train", "validation", "test"]),
        (["latest.txt", "dev.txt"], ["train", "validation"]),
        (["valley.txt", "x-test-1.txt"], ["train", "test"]),
        (["test.txt"], ["train"]),
        (["contest_train.npz", "T10K.npz"], ["train", "test"]),
    ],
)
def test_parts_by_the_words_of_their_names(
    names: list[str], parts: list[str], tmp_path: Path
) -> None:
    found = place([tmp_path / name for name in names], tmp_path)
    assert found == dict(zip(parts, names, strict=True))


def test_what_cannot_be_placed_is_said(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"a\.txt and .*b\.txt both look like the train part"):
        place([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path)
    with pytest.raises(QuestionError, match="none of the files looks like training data"):
        place([tmp_path / "val.txt", tmp_path / "test.txt"], tmp_path)


def test_domains_by_what_the_files_are_called(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    for name in ("1.JPG", "2.JPG"):
        (tmp_path / "photos" / "cat" / name).touch()
    (tmp_path / "page.TXT").touch()
    (tmp_path / "sheet.xlsx").touch()
    (tmp_path / "empty").mkdir()
    assert guess_domain([tmp_path / "photos"]) == ("images", " from .jpg files")
    assert guess_domain([tmp_path / "page.TXT"]) == ("characters", " from .txt files")
    with pytest.raises(QuestionError, match="neither images nor text"):
        guess_domain([tmp_path / "sheet.xlsx"])


@pytest.mark.parametrize(
    ("name", "asked", "sentence"),
    [
        ("empty", {}, "is empty: there is nothing to read"),
        ("empty", {"domain": "images"}, "is empty: there is nothing to read"),
        ("one", {}, "is one image: a learning curve needs some hundred"),
        ("sounds", {}, "for speech name a manifest of the audio files"),
        ("sounds", {"domain": "speech"}, "speech is read from a manifest"),
        ("page.txt", {"family": "resnet"}, "resnet models images, and this is read as characters"),
        ("page.txt", {"domain": "images", "family": "lstm"}, "lstm models characters and words"),
    ],
)
def test_what_cannot_be_proposed_is_said(
    tmp_path: Path, name: str, asked: dict[str, Any], sentence: str
) -> None:
    for folder, file in (("one", "a.png"), ("sounds", "a.wav"), ("sounds", "b.wav")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / file).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.txt").write_text("a page")
    with pytest.raises(QuestionError, match=sentence):
        proposal(tmp_path, tmp_path / name, **asked)


def test_the_study_is_named_after_its_data(tmp_path: Path, by_count: None) -> None:
    """Never as what is there: its own folder will be made beside it."""
    away = tmp_path / "specs"
    away.mkdir()
    for path, name in (
        ("birds/cat/1.png", "birds"),
        ("old news/a.txt", "old-news"),
        ("speeches.txt.gz", "speeches"),
        ("fashion/train-images-idx3-ubyte.gz", "fashion"),
    ):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        given = file if name in ("speeches", "fashion") else tmp_path / path.split("/")[0]
        assert study_name([given], away, "images") == name
    assert study_name([tmp_path / "birds"], tmp_path, "images") == "birds-study"


def test_what_there_is_no_proposal_for(tmp_path: Path) -> None:
    path = text(tmp_path / "corpus.txt")
    with pytest.raises(QuestionError, match=r"no such file: .*absent"):
        proposal(tmp_path, tmp_path / "absent")
    with pytest.raises(QuestionError, match="no domain named 'music'"):
        proposal(tmp_path, path, domain="music")
    with pytest.raises(QuestionError, match="no family named 'mlp'"):
        proposal(tmp_path, path, family="mlp")
    with pytest.raises(QuestionError, match="too few"):
        proposal(tmp_path, text(tmp_path / "short.txt", 40))
    (tmp_path / "hollow.txt").write_text("")
    with pytest.raises(DataError, match=r"hollow\.txt"):
        proposal(tmp_path, tmp_path / "hollow.txt")


def test_every_ladder_has_its_rates() -> None:
    assert (
        set(proposing.LADDER)
        == set(proposing.RATES)
        >= {names[0] for names in proposing.FAMILIES.values()}
    )
