"""What a study's trials have measured by now, for those who keep something of it as it grows.

Whoever decides after every trial (a planner, a budget) would read all of them each time. So the
driver hands out a list that knows its followers: what a follower made of the earlier measurements
stays, and it receives those that came since it was last requested. A plain list has no followers,
and everything is made of it anew; the outcome is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, overload

from steep.records import Measurement


class Follower(Protocol):
    """What is made of measurements, one after the other."""

    def add(self, place: int, measurement: Measurement) -> None:
        """A trial's first measurement, or one that replaces it: ``place`` is the trial's own."""
        ...


F = TypeVar("F", bound=Follower)


class Measurements(Sequence[Measurement]):
    """One measurement a trial, in the order of the trials' places (when they were planned)."""

    def __init__(self, measurements: Iterable[Measurement] = ()) -> None:
        self._places: list[int] = []
        self._held: list[Measurement] = []
        self._came: list[tuple[int, Measurement]] = []
        """In order of arrival: what followers receive."""
        self._followers: dict[Hashable, tuple[Follower, int]] = {}
        """With how much of ``_came`` each has received."""
        for place, measurement in enumerate(measurements):
            self.add(place, measurement)

    def add(self, place: int, measurement: Measurement) -> None:
        """Take a trial's measurement, in place of its earlier one."""
        at = bisect_left(self._places, place)
        if at < len(self._places) and self._places[at] == place:
            self._held[at] = measurement
        else:
            self._places.insert(at, place)
            self._held.insert(at, measurement)
        self._came.append((place, measurement))

    def follow(self, key: Hashable, make: Callable[[], F]) -> F:
        """The follower called ``key``, up to date; made if there is none."""
        follower, seen = self._followers.get(key, (None, 0))
        if follower is None:
            follower = make()
        for place, measurement in self._came[seen:]:
            follower.add(place, measurement)
        self._followers[key] = follower, len(self._came)
        return follower  # type: ignore[return-value]

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> list[Measurement]: ...
    def __getitem__(self, index: int | slice) -> Measurement | list[Measurement]:
        return self._held[index]

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def followed(measurements: Sequence[Measurement]) -> Measurements:
    """As a list with followers: itself where it is one. Of a trial that is in a plain list twice
    the last measurement counts."""
    if isinstance(measurements, Measurements):
        return measurements
    return Measurements({m.trial: m for m in measurements}.values())
