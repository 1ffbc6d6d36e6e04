"""Shards: nested training subsets, and the validation and test parts disjoint from all of them.

``cut`` divides the data once, by the items' sizes, labels, groups and digests. ``to_files`` and
``from_files`` write and read the result with checksums; ``items_of`` gives a worker its items.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steep.base.plainfile import read_file
from steep.contracts.domain import POOL, TEST, TRAIN, VALIDATION, Items
from steep.contracts.trainer import ShardItems
from steep.records import Shard, Trial
from steep.spec.load import Loaded

IntArray = np.ndarray


class ShardsError(ValueError):
    """The shards on disk, or the data that they index, have changed."""


@dataclass(frozen=True)
class DataSplit:
    """The data, divided. Arrays hold item numbers (rows of ``Items``), int64.

    ``orders`` has one permutation of the training items per draw of the data; every shard is a
    prefix of one. ``digests`` (uint64, all items) find the same items again after data was
    appended. ``removed`` counts training items dropped because V or the test part holds a copy.
    """

    orders: tuple[IntArray, ...]
    validation: IntArray
    test: IntArray
    digests: np.ndarray
    validation_group: np.ndarray
    """Group of each validation item; standard errors are clustered by it."""
    shards: tuple[Shard, ...]
    files: Mapping[str, str]
    removed: int = 0
    labelled: np.ndarray | None = None
    """Like ``digests``, but of content and label together; None in studies that an earlier version
    began."""


def cut(loaded: Loaded, items: Items, unit: str, old: DataSplit | None = None) -> DataSplit:
    """Divide the data according to the spec.

    With ``old``, its permutations and parts are kept and new items are appended to them. Raises
    SpecError when there are too few data for the spec, and ShardsError when items of ``old`` are
    gone."""
    spec = loaded.spec
    if old is None:
        train, validation, test = _parts(loaded, items)
        begun: tuple[IntArray, ...] = ()
    else:
        begun, validation, test = _find_again(old, items)
        train = _new_items(items, np.concatenate([begun[0], validation, test]), validation, test)
    dedup_key = items.digest if items.dedup_key is None else items.dedup_key
    # drop training items of which V or the test part holds a copy
    clean = train[~np.isin(dedup_key[train], dedup_key[np.r_[validation, test]])]
    everything = np.sort(np.concatenate([begun[0], clean])) if begun else clean

    def order(draw: int) -> IntArray:
        if draw >= len(begun):
            return nested_order(items.label, everything, spec.seed, draw)
        return np.concatenate([begun[draw], nested_order(items.label, clean, spec.seed, draw)])

    orders = tuple(order(draw) for draw in range(spec.shards.permutations))
    removed = len(train) - len(clean) + (old.removed if old else 0)
    shards = tuple(
        shard
        for draw, order_ in enumerate(orders)
        for shard in _ladder(loaded, items.size[order_], unit, draw, old.shards if old else ())
    )
    group = items.group[validation]
    digests, files = items.digest, dict(items.files)
    labelled = with_labels(items)
    return DataSplit(orders, validation, test, digests, group, shards, files, removed, labelled)


def with_labels(items: Items) -> np.ndarray:
    """Keys that identify the same item later: its digest mixed with its label and its size, since
    a trial learns from these as well."""
    keys = items.digest.astype(np.uint64)
    for column in (items.label, items.size):
        if column is not None:
            bits = np.ascontiguousarray(column.astype(np.float64)).view(np.uint64)
            keys = _hashed(keys ^ _hashed(bits))
    return keys


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64: a bijection that changes about half of the bits."""
    with np.errstate(over="ignore"):
        numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return numbers ^ (numbers >> np.uint64(31))


def trial_items(cut: DataSplit, trial: Trial) -> ShardItems:
    """The items that a trial may use: a prefix of its permutation, V, and the test part."""
    return ShardItems(cut.orders[trial.permutation][: trial.items], cut.validation, cut.test)


# ---------------------------------------------------------------- dividing


def _parts(loaded: Loaded, items: Items) -> tuple[IntArray, IntArray, IntArray]:
    """Training, validation and test items. Items that the data assigns to no part are drawn by
    whole groups, so that no group (source file, speaker) is in two parts."""
    split = loaded.spec.split
    rng = np.random.default_rng([loaded.spec.seed, 1])
    placed = {part: np.flatnonzero(items.part == part) for part in (TRAIN, VALIDATION, TEST)}
    pool = np.flatnonzero(items.part == POOL)
    available = len(pool)
    drawn: dict[int, IntArray] = {}
    problems = []
    for part, name, requested in (
        (VALIDATION, "validation", split.validation),
        (TEST, "test", split.test),
    ):
        if len(placed[part]) and requested is not None:
            problems.append(
                loaded.problem(f"split.{name}", f"the data brings its own {name} part: remove")
            )
        if len(placed[part]) or requested is None:
            drawn[part] = placed[part]
            continue
        count = int(requested) if requested >= 1 else round(requested * available)
        if count >= len(pool):
            message = f"{count} items of {len(pool)} leave nothing"
        elif not count:
            message = f"a share of {requested} of {available} items is none"
        else:
            message = ""
        if message:
            problems.append(loaded.problem(f"split.{name}", message))
            drawn[part] = pool[:1]  # so that this mistake is not reported a second time below
            continue
        drawn[part], pool = _draw_groups(items.group, pool, count, rng)
    if not len(pool) + len(placed[TRAIN]):
        problems.append(loaded.problem("split", "leaves no training items (too few groups?)"))
    if not len(drawn[VALIDATION]) and not items.own_validation:
        problems.append(
            loaded.problem("split.validation", "no validation part: give the data one or a split")
        )
    if problems:
        raise loaded.error(problems)
    return np.concatenate([placed[TRAIN], pool]), drawn[VALIDATION], drawn[TEST]


def _draw_groups(
    group: np.ndarray, pool: IntArray, count: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Whole groups, in random order, until ``count`` items are drawn; and the remaining items."""
    if not count:
        return pool[:0], pool
    names, sizes = np.unique(group[pool], return_counts=True)
    order = rng.permutation(len(names))
    taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1]
    chosen = np.isin(group[pool], names[taken])
    return pool[chosen], pool[~chosen]


def nested_order(labels: IntArray | None, train: IntArray, seed: int, draw: int) -> IntArray:
    """The items ``train`` in an order whose prefixes are the shards: a seeded permutation.

    With ``labels`` (of all items), every prefix has the classes' proportions to within one item
    of each class; within a class the order is random."""
    rng = np.random.default_rng([seed, 2, draw])
    shuffled = train[rng.permutation(len(train))]
    if labels is None:
        return shuffled
    names, label, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    by_class = np.argsort(label, kind="stable")
    starts = np.r_[0, np.cumsum(counts)[:-1]]
    turns = _turns(counts[rank := rng.permutation(len(names))])
    return shuffled[by_class[starts[rank[turns]] + _occurrence(turns)]]


def _turns(counts: np.ndarray) -> IntArray:
    """The class at each of the counts.sum() places, such that class i occurs k * share_i times
    among the first k places, to within one.

    This is Tijdeman's algorithm for the chairman assignment problem (Tijdeman 1980, Discrete
    Mathematics 32): of the classes that are due, the one with the earliest deadline comes next."""
    share = counts / counts.sum()
    slack = 1 / max(2 * len(counts) - 2, 1)
    debt = np.zeros(len(counts))  # k * share - places had
    turns = np.empty(int(counts.sum()), np.int64)
    for k in range(len(turns)):
        debt += share
        deadline = np.where(debt >= slack - 1e-9, (1 - slack - debt) / share, np.inf)
        turns[k] = deadline.argmin()
        debt[turns[k]] -= 1
    return turns


def _occurrence(turns: IntArray) -> IntArray:
    """For each place, how many earlier places have the same class."""
    order = np.argsort(turns, kind="stable")
    counts = np.bincount(turns)
    before = np.empty(len(turns), np.int64)
    before[order] = np.arange(len(turns)) - np.repeat(np.cumsum(counts) - counts, counts)
    return before


def _ladder(
    loaded: Loaded, size: np.ndarray, unit: str, draw: int, begun: tuple[Shard, ...] = ()
) -> list[Shard]:
    """The shards of one permutation: prefixes of about smallest * factor**k units, up to
    ``largest`` or all of the data. Shards of a study that has ``begun`` stay, and the ladder
    continues from the last of them."""
    options = loaded.spec.shards
    cumulative = np.cumsum(size)
    total = float(cumulative[-1]) if len(cumulative) else 0.0
    largest = total if options.largest is None else options.largest
    if largest > total or options.smallest > largest:
        path = "shards.largest" if largest > total else "shards.smallest"
        message = f"the training data holds {_plain(total)} {unit}"
        raise loaded.error([loaded.problem(path, message)])
    begun_sizes = [s.samples for s in begun if s.permutation == draw]
    begun_sizes = begun_sizes or [s.samples for s in begun if s.permutation == 0]
    first = begun_sizes or [options.smallest]
    targets = _targets(first, largest, options.factor, keep=len(first))
    counts = sorted({int(np.searchsorted(cumulative, t * (1 - 1e-12))) + 1 for t in targets})
    if options.held_out >= len(counts) - 1:
        message = (
            f"{len(counts)} in all, {options.held_out} of them held out, leave fewer than 2 to fit"
        )
        path = "shards.held_out" if options.held_out else "shards"
        raise loaded.error([loaded.problem(path, message)])
    fitted = len(counts) - options.held_out
    return [
        Shard(draw, n, float(cumulative[n - 1]), unit, held_out=k >= fitted)
        for k, n in enumerate(counts)
    ]


def _targets(first: list[float], largest: float, factor: float, keep: int) -> list[float]:
    """The sizes ``first``, then steps by ``factor`` up to ``largest``.

    If the remainder at the top is at least half a step (in log), ``largest`` becomes a step of its
    own; otherwise the last step is moved up to it, unless it is among the first ``keep``."""
    steps = int(np.floor(np.log(largest / first[-1]) / np.log(factor) + 1e-9))
    targets = first + [first[-1] * factor**k for k in range(1, steps + 1)]
    if largest / targets[-1] > factor**0.5:
        targets.append(largest)
    elif len(targets) > keep:
        targets[-1] = largest
    return targets


def _plain(total: float) -> str:
    """A count as an integer, a measure such as hours rounded to three decimals."""
    return str(int(total)) if total == int(total) else str(round(total, 3))


# ---------------------------------------------------------------- appended data


def _find_again(old: DataSplit, items: Items) -> tuple[tuple[IntArray, ...], IntArray, IntArray]:
    """The old permutations and parts as rows of the new data. Of items with equal digests the k-th
    stays the k-th."""
    before = _by_occurrence(old.digests if old.labelled is None else old.labelled)
    current_digests = items.digest if old.labelled is None else with_labels(items)
    row_of = {key: row for row, key in enumerate(_by_occurrence(current_digests))}
    rows = np.array([row_of.get(key, -1) for key in before], dtype=np.int64)
    used = np.concatenate([*old.orders, old.validation, old.test])
    missing = int((rows[np.unique(used)] < 0).sum())
    if missing:
        raise ShardsError(
            f"{missing} of the study's {len(np.unique(used))} items are no longer in the data with"
            " the content and label that they had: only appended data can extend a study"
        )
    return tuple(rows[order] for order in old.orders), rows[old.validation], rows[old.test]


def _by_occurrence(digests: np.ndarray) -> list[tuple[int, int]]:
    """Each digest with a running count of its occurrences, which makes the keys unique."""
    seen: dict[int, int] = {}
    keys = []
    for digest in digests.tolist():
        seen[digest] = seen.get(digest, 0) + 1
        keys.append((digest, seen[digest]))
    return keys


def _new_items(items: Items, old_train: IntArray, validation: IntArray, test: IntArray) -> IntArray:
    """The appended items, except those of groups that V or the test part contain."""
    evaluated_groups = items.group[np.r_[validation, test]]
    fresh = np.setdiff1d(np.arange(len(items.size)), old_train)
    fresh = fresh[np.isin(items.part[fresh], (POOL, TRAIN))]
    return fresh[~np.isin(items.group[fresh], evaluated_groups)]


# ---------------------------------------------------------------- on disk

FOLDER = "shards"


def to_files(cut: DataSplit) -> dict[str, bytes]:
    """The index files and a manifest with their checksums, by path within the study."""
    arrays = {f"order_{draw}.npy": order for draw, order in enumerate(cut.orders)}
    arrays |= {"validation.npy": cut.validation, "test.npy": cut.test, "digests.npy": cut.digests}
    arrays["validation_group.npy"] = cut.validation_group
    if cut.labelled is not None:
        arrays["labelled.npy"] = cut.labelled
    files = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        files[f"{FOLDER}/{name}"] = buffer.getvalue()
    manifest = {
        "checksums": {Path(p).name: hashlib.sha256(b).hexdigest() for p, b in files.items()},
        "data": dict(cut.files),
        "removed_duplicates": cut.removed,
        "shards": [vars(shard) for shard in cut.shards],
    }
    files[f"{FOLDER}/manifest.json"] = json.dumps(manifest, indent=1).encode()
    return files


def from_files(folder: Path) -> DataSplit:
    """Read a study's shards. Raises ShardsError when a file is missing or altered."""
    place = Path(folder) / FOLDER
    try:
        manifest = json.loads(read_file(place / "manifest.json"))
        arrays = {n: _read(place / n, sha) for n, sha in manifest["checksums"].items()}
        draws = sum(name.startswith("order_") for name in arrays)
        orders = [arrays[f"order_{d}.npy"] for d in range(draws)]
        return DataSplit(
            tuple(orders),
            arrays["validation.npy"],
            arrays["test.npy"],
            arrays["digests.npy"],
            arrays["validation_group.npy"],
            tuple(Shard(**values) for values in manifest["shards"]),
            manifest["data"],
            manifest["removed_duplicates"],
            arrays.get("labelled.npy"),
        )
    except ShardsError:
        raise
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ShardsError(f"{place}: the shards cannot be read: {error}") from None


def _read(path: Path, checksum: str) -> np.ndarray:
    data = read_file(path)
    if hashlib.sha256(data).hexdigest() != checksum:
        raise ShardsError(f"{path}: altered since the study began (checksum differs)")
    array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def items_of(folder: Path, trial: Trial) -> ShardItems:
    """The items that a worker uses for its trial: see ``trial_items``.

    The files are read and checked once, and again only after one has changed; the returned arrays
    are copies."""
    stamps = _stamps(folder)
    if not _opened or _opened[0][0] != stamps:
        _opened[:] = [(stamps, from_files(folder))]
    shared = trial_items(_opened[0][1], trial)
    return ShardItems(shared.train.copy(), shared.validation.copy(), shared.test.copy())


_opened: list[tuple[Any, DataSplit]] = []
"""The shards that were read last, with the stamps of their files."""


def _stamps(folder: Path) -> Any:
    """Names, sizes, times and inodes of the shards' files: they differ after any change."""
    place = Path(folder).absolute() / FOLDER
    try:
        with os.scandir(place) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries]
    except OSError as error:
        raise ShardsError(f"{place}: the shards cannot be read: {error}") from None
    return place, sorted((n, s.st_size, s.st_mtime_ns, s.st_ino) for n, s in stats)
