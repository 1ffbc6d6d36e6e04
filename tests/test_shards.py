"""Shards: nested, disjoint from V and the test part, exact, and the same for ever after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep import shards
from steep.contracts.domain import POOL, TEST, TRAIN, VALIDATION, Items
from steep.records import Trial
from steep.shards import DataSplit, ShardsError, cut, from_files, items_of, to_files
from steep.spec.load import Loaded, SpecError, from_values
from steep.store.spec_changes import changed_files


def loaded(**sections: Any) -> Loaded:
    return from_values(
        {
            "study": "s",
            "domain": {"name": "external", "items": 10},
            "family": {"name": "none", "sizes": [1]},
            "trainer": {"name": "synthetic"},
        }
        | sections
    )


def made(
    count: int,
    *,
    seed: int = 0,
    classes: int = 0,
    groups: int | None = None,
    copies: int = 0,
    sizes: Sequence[float] = (1.0,),
    parts: Sequence[int] = (POOL,),
    first: int = 0,
) -> Items:
    """``count`` items; ``copies`` of them repeat the content of others."""
    rng = np.random.default_rng([seed, first])
    digest = np.arange(first, first + count).astype(np.uint64)
    if copies:
        digest[rng.choice(count, copies, replace=False)] = digest[rng.choice(count, copies)]
    group = np.arange(first, first + count)
    if groups is not None:
        group = rng.integers(0, groups, count)
    return Items(
        size=rng.choice(np.array(sizes, float), count),
        digest=digest,
        group=group.astype(np.int64),
        part=rng.choice(np.array(parts, np.int8), count),
        label=rng.integers(0, classes, count).astype(np.int64) if classes else None,
        files={"data.bin": f"{count:064d}"},
    )


def joined(one: Items, other: Items) -> Items:
    """``other`` appended to ``one``."""
    both = {
        name: np.concatenate([getattr(one, name), getattr(other, name)])
        for name in ("size", "digest", "group", "part")
    }
    label = None
    if one.label is not None and other.label is not None:
        label = np.concatenate([one.label, other.label])
    return Items(**both, label=label, files=other.files)


def prefixes(found: DataSplit, draw: int = 0) -> list[np.ndarray]:
    return [found.orders[draw][: s.items] for s in found.shards if s.permutation == draw]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Loaded, Items]:
    count = draw(st.integers(60, 400))
    items = made(
        count,
        seed=draw(st.integers(0, 10_000)),
        classes=draw(st.sampled_from([0, 2, 7])),
        groups=draw(st.sampled_from([None, 30, 45])),
        copies=draw(st.sampled_from([0, 5, count // 3])),
        sizes=draw(st.sampled_from([(1.0,), (1.0, 2.0, 17.0), (0.01, 0.3)])),
    )
    spec = loaded(
        shards={
            "smallest": float(items.size.sum() / 20),
            "factor": draw(st.sampled_from([1.5, 2.0, 3.0])),
            "permutations": draw(st.sampled_from([1, 3])),
        },
        split={
            "validation": draw(st.sampled_from([0.1, 7, 20])),
            "test": draw(st.sampled_from([None, 0.15, 9])),
        },
        seed=draw(st.integers(0, 2**32 - 1)),
    )
    return spec, items


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_what_holds_of_every_cut(case: tuple[Loaded, Items]) -> None:
    spec, items = case
    try:
        found = cut(spec, items, "items")
    except SpecError:  # so many copies that too little is left
        return
    kept_out = np.concatenate([found.validation, found.test])
    assert len(set(found.validation) & set(found.test)) == 0
    for draw, order in enumerate(found.orders):
        assert order.dtype == np.int64
        assert len(set(order)) == len(order), "an item twice"
        assert set(order) == set(found.orders[0]), "draws of different data"
        assert not set(items.digest[order]) & set(items.digest[kept_out]), "a copy in training"
        assert not set(items.group[order]) & set(items.group[kept_out]), "a group on two sides"
        ladder = [s for s in found.shards if s.permutation == draw]
        for small, large in pairwise(prefixes(found, draw)):
            assert (large[: len(small)] == small).all(), "not nested"
        assert all(a.samples < b.samples for a, b in pairwise(ladder)), "not ascending"
        for shard in ladder:
            assert shard.samples == pytest.approx(items.size[order[: shard.items]].sum(), rel=1e-12)
            assert 1 <= shard.items <= len(order)
        assert ladder[-1].items == len(order), "not all of the data"
    lost = len(items.size) - len(kept_out) - len(found.orders[0])
    assert found.removed == lost


def test_what_a_model_could_remember_is_not_on_two_sides() -> None:
    """Fifty transcripts in a hundred recordings: none is in training and in V or the test part."""
    items = made(100)
    text = np.arange(100, dtype=np.uint64) % 50
    whole, apart = (
        cut(loaded(shards={"smallest": 1}, split={"validation": 10, "test": 10}), given, "hours")
        for given in (items, replace(items, dedup_key=text))
    )
    assert whole.removed == 0
    assert len(whole.orders[0]) == 80
    kept_out = np.concatenate([apart.validation, apart.test])
    assert (kept_out == np.concatenate([whole.validation, whole.test])).all()
    assert not set(text[apart.orders[0]]) & set(text[kept_out])
    assert apart.removed == sum(text[i] in text[kept_out] for i in whole.orders[0]) > 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_every_prefix_has_the_proportions_of_the_classes(case: tuple[Loaded, Items]) -> None:
    spec, items = case
    if items.label is None:
        return
    try:
        found = cut(spec, items, "items")
    except SpecError:
        return
    for order in found.orders:
        labels = items.label[order]
        for name in np.unique(labels):
            share = np.cumsum(labels == name) - np.arange(1, len(order) + 1) * np.mean(
                labels == name
            )
            assert np.abs(share).max() <= 1


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases())
def test_the_cut_survives_the_disk(case: tuple[Loaded, Items]) -> None:
    spec, items = case
    try:
        found = cut(spec, items, "items")
    except SpecError:
        return
    files = to_files(found)
    assert list(files)[-1] == "shards/manifest.json"
    assert to_files(cut(spec, items, "items")) == files, "the same data, another cut"


def written(folder: Path, found: DataSplit) -> Path:
    for name, data in to_files(found).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


SPEC = loaded(shards={"smallest": 20, "held_out": 1}, split={"validation": 0.2, "test": 0.1})


def test_disk_round_trip_and_what_a_worker_reads(tmp_path: Path) -> None:
    spec = loaded(shards={"smallest": 20, "permutations": 2}, split={"validation": 0.2})
    found = cut(spec, made(300, classes=4), "items")
    back = from_files(written(tmp_path, found))
    assert back.shards == found.shards
    assert dict(back.files) == dict(found.files)
    assert back.removed == found.removed
    for name in ("validation", "test", "digests", "validation_group"):
        one, other = getattr(back, name), getattr(found, name)
        assert one.dtype == other.dtype
        assert (one == other).all()
    assert all((a == b).all() for a, b in zip(back.orders, found.orders, strict=True))
    shard = found.shards[-2]
    assert shard.permutation == 1
    read = items_of(tmp_path, Trial(1, shard.items, shard.samples, 1, (), 0))
    assert (read.train == found.orders[1][: shard.items]).all()
    assert (read.validation == found.validation).all()


@pytest.mark.parametrize("victim", ["order_0.npy", "validation.npy", "test.npy", "digests.npy"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
def test_a_tampered_index_file_is_refused_and_named(tmp_path: Path, victim: str, harm: str) -> None:
    path = written(tmp_path, cut(SPEC, made(300), "items")) / "shards" / victim
    data = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    else:
        data[-1] ^= 1
        path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    with pytest.raises(ShardsError, match=victim):
        from_files(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"checksums": []}', "{}", "\xff", "null"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, cut(SPEC, made(300), "items")) / "shards" / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ShardsError, match="cannot be read"):
        from_files(tmp_path)


def test_a_pickle_in_an_index_file_is_never_opened(tmp_path: Path) -> None:
    import hashlib

    written(tmp_path, cut(SPEC, made(300), "items"))
    path = tmp_path / "shards" / "test.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    manifest["checksums"]["test.npy"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ShardsError, match="cannot be read"):
        from_files(tmp_path)


# ---------------------------------------------------------------- parts and ladders


def test_a_share_is_of_all_that_is_split() -> None:
    found = cut(SPEC, made(1000), "items")
    assert (len(found.validation), len(found.test), len(found.orders[0])) == (200, 100, 700)


def test_parts_that_the_data_brings_are_taken_as_they_are() -> None:
    items = made(600, parts=(TRAIN, TRAIN, TRAIN, VALIDATION, TEST))
    found = cut(loaded(shards={"smallest": 20}), items, "items")
    assert (np.sort(found.validation) == np.flatnonzero(items.part == VALIDATION)).all()
    assert (np.sort(found.test) == np.flatnonzero(items.part == TEST)).all()
    assert (np.sort(found.orders[0]) == np.flatnonzero(items.part == TRAIN)).all()
    with pytest.raises(SpecError, match="brings its own validation part"):
        cut(loaded(shards={"smallest": 20}, split={"validation": 0.1}), items, "items")


def test_the_ladder_as_the_spec_says() -> None:
    items = made(1000)

    def ladder(**section: Any) -> list[float]:
        spec = loaded(shards={"smallest": 25} | section, split={"validation": 100})
        return [s.samples for s in cut(spec, items, "items").shards]

    assert ladder(largest=800) == [25, 50, 100, 200, 400, 800]
    assert ladder(largest=850) == [25, 50, 100, 200, 400, 850], "stretched to the largest"
    assert ladder(largest=600) == [25, 50, 100, 200, 400, 600], "half a step in log is a step"
    assert ladder() == [25, 50, 100, 200, 400, 900]
    assert ladder(factor=3) == [25, 75, 225, 900]
    spec = loaded(shards={"smallest": 25, "held_out": 2}, split={"validation": 100})
    assert [s.held_out for s in cut(spec, items, "items").shards] == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"shards": {"smallest": 20, "largest": 5000}}, r"shards.largest: .* holds 240 items"),
        ({"shards": {"smallest": 5000}}, r"shards.smallest: .* holds 240 items"),
        (
            {"shards": {"smallest": 20, "held_out": 4}},
            r"shards.held_out: 5 in all, 4 of them held out, leave fewer than 2",
        ),
        ({"split": {"validation": 300}}, r"split.validation: 300 items of 300 leave nothing"),
        ({"split": {"validation": 0.2, "test": 0.9}}, r"split.test: 270 items of 240 leave"),
        ({"split": {"validation": 1e-6}}, r"split.validation: a share of 1e-06 of 300 items"),
        ({"split": {}}, r"split.validation: no validation part"),
    ],
)
def test_what_the_data_cannot_carry_is_refused(sections: dict[str, Any], words: str) -> None:
    spec = loaded(**({"shards": {"smallest": 20}, "split": {"validation": 0.2}} | sections))
    with pytest.raises(SpecError, match=words) as caught:
        cut(spec, made(300), "items")
    assert len(caught.value.problems) == 1


def test_one_group_that_holds_everything_cannot_be_split() -> None:
    with pytest.raises(SpecError, match="too few groups"):
        cut(SPEC, made(300, groups=1), "items")


def test_all_training_items_copies_of_the_validation_part() -> None:
    items = replace(made(300), digest=np.zeros(300, np.uint64))
    with pytest.raises(SpecError, match="holds 0 items"):
        cut(SPEC, items, "items")


# ---------------------------------------------------------------- the data changes


def test_changed_data_is_told_file_by_file() -> None:
    before = {"a": "1", "b": "2", "c": "3"}
    found = changed_files(before, {"a": "1", "b": "9", "d": "4"})
    assert [(p.path, p.message.split()[0]) for p in found] == [
        ("b", "changed"),
        ("c", "gone"),
        ("d", "new"),
    ]
    assert changed_files(before, dict(before)) == []


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases(), st.integers(1, 300))
def test_appended_data_keeps_what_was(case: tuple[Loaded, Items], more: int) -> None:
    spec, items = case
    try:
        old = cut(spec, items, "items")
    except SpecError:
        return
    groups = None if items.group.max() >= 60 else 60
    extra = made(more, seed=1, first=1000, classes=7 if items.label is not None else 0)
    if groups:
        extra = replace(extra, group=extra.group % groups)
    copies = min(more // 3, len(items.digest))
    extra.digest[:copies] = items.digest[:copies]
    both = joined(items, extra)
    new = cut(spec, both, "items", old)
    assert (new.validation == old.validation).all()
    assert (new.test == old.test).all()
    for draw, order in enumerate(old.orders):
        assert (new.orders[draw][: len(order)] == order).all(), "old items moved"
        before = [s for s in old.shards if s.permutation == draw]
        after = [s for s in new.shards if s.permutation == draw]
        assert [(s.items, s.samples) for s in after[: len(before)]] == [
            (s.items, s.samples) for s in before
        ], "an old shard is gone"
        assert len(set(new.orders[draw])) == len(new.orders[draw])
    kept_out = np.concatenate([new.validation, new.test])
    assert not set(both.digest[new.orders[0]]) & set(both.digest[kept_out])
    assert not set(both.group[new.orders[0]]) & set(both.group[kept_out])


def test_appended_data_makes_larger_shards() -> None:
    spec = loaded(shards={"smallest": 25, "held_out": 1}, split={"validation": 100})
    old = cut(spec, made(1000), "items")
    assert [s.samples for s in old.shards] == [25, 50, 100, 200, 400, 900]
    new = cut(spec, joined(made(1000), made(2000, first=1000)), "items", old)
    assert [s.samples for s in new.shards] == [25, 50, 100, 200, 400, 900, 1800, 2900]
    assert [s.held_out for s in new.shards] == [False] * 7 + [True]
    few = cut(spec, joined(made(1000), made(50, first=1000)), "items", old)
    assert few.shards == old.shards, "too little for a step: the shards stay"


def test_more_draws_of_a_begun_study_are_draws_of_their_own() -> None:
    one = loaded(shards={"smallest": 25}, split={"validation": 100})
    three = loaded(shards={"smallest": 25, "permutations": 3}, split={"validation": 100})
    old = cut(one, made(1000, classes=3), "items")
    new = cut(three, made(1000, classes=3), "items", old)
    fresh = cut(three, made(1000, classes=3), "items")
    assert all((a == b).all() for a, b in zip(new.orders, fresh.orders, strict=True))
    assert new.shards == fresh.shards
    assert len({tuple(order[:25]) for order in new.orders}) == 3


def test_data_that_lost_items_cannot_extend() -> None:
    old = cut(SPEC, made(300), "items")
    with pytest.raises(ShardsError, match=r"\d+ of the study's 300 items are no longer"):
        cut(SPEC, made(299), "items", old)


def test_data_in_another_order_is_found_again() -> None:
    items, rng = made(300, copies=40), np.random.default_rng(5)
    old = cut(SPEC, items, "items")
    order = rng.permutation(300)
    moved = Items(
        items.size[order], items.digest[order], items.group[order], items.part[order],
        files=items.files,
    )  # fmt: skip
    new = cut(SPEC, moved, "items", old)
    assert (moved.digest[new.orders[0]] == items.digest[old.orders[0]]).all()
    assert (moved.digest[new.validation] == items.digest[old.validation]).all()


def test_two_draws_differ_and_a_seed_is_a_cut() -> None:
    spec = loaded(shards={"smallest": 20, "permutations": 2}, split={"validation": 0.2})
    found = cut(spec, made(300), "items")
    assert set(found.orders[0]) == set(found.orders[1])
    assert (found.orders[0] != found.orders[1]).any()
    other = loaded(shards={"smallest": 20}, split={"validation": 0.2}, seed=1)
    assert (cut(other, made(300), "items").validation != found.validation).any()
    assert shards.trial_items(found, Trial(1, 20, 20.0, 1, (), 0)).train.tolist() == list(
        found.orders[1][:20]
    )


def test_a_seed_gives_the_same_shards_for_ever() -> None:
    """Written down once. Where this fails, every study begun gets other shards: such a change
    needs a new version of the spec, not new numbers here."""
    spec = loaded(split={"validation": 3, "test": 2}, shards={"smallest": 5})
    found = cut(spec, made(20), "items")
    assert found.orders[0].tolist() == [1, 19, 4, 3, 7, 9, 11, 17, 8, 13, 6, 5, 12, 16, 14]
    assert (found.validation.tolist(), found.test.tolist()) == ([0, 10, 15], [2, 18])
    labels, items = np.arange(12) % 3, np.arange(12)
    by_class = shards.nested_order(labels, items, seed=0, draw=0)
    assert by_class.tolist() == [0, 10, 2, 1, 5, 6, 8, 7, 3, 11, 4, 9]
    other = shards.nested_order(labels, items, seed=7, draw=1)
    assert other.tolist() == [1, 6, 11, 9, 2, 4, 5, 0, 10, 8, 3, 7]


def test_keys_are_hashed_by_splitmix64() -> None:
    """Its first three numbers of seed 0, as published: shards stay what they are for ever."""
    state = np.array([0, 1, 2], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert shards._hashed(state).tolist() == expected


def test_a_new_permutation_has_the_sizes_of_the_first() -> None:
    """A study that began with shards of 15 and 45 goes on by its factor, up to all of the data."""
    spec = loaded(shards={"smallest": 10, "factor": 2, "held_out": 1})
    begun = tuple(shards.Shard(0, n, float(n), "items") for n in (15, 45))
    for draw in (0, 1):
        found = shards._ladder(spec, np.ones(200), "items", draw, begun)
        assert [s.items for s in found] == [15, 45, 90, 200]
        assert [s.held_out for s in found] == [False, False, False, True]
    own = (*begun, shards.Shard(1, 20, 20.0, "items"))
    assert shards._ladder(spec, np.ones(200), "items", 1, own)[0].items == 20
    fresh = shards._ladder(spec, np.ones(200), "items", 1)
    assert [s.items for s in fresh] == [10, 20, 40, 80, 200], (
        "160 is nearer to all than half a step"
    )
