"""Other rows for a row, drawn from all of them by `(seed, id)`.

Consistent hashing (Karger et al. 1997, STOC): items stand on a ring by a hash of seed and id, and a row takes those
that follow its own place. So what a row draws depends neither on order nor on shards, and an item that is added or
removed changes the draws of its neighbours alone.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ring(Generic[Item]):
    """Items under ids of their own, to draw from."""

    def __init__(self, items: Iterable[tuple[str, Item]], seed: int) -> None:
        self._seed = seed
        placed = sorted(((_place(f"{seed}:item:{id}"), id, item) for id, item in items), key=lambda one: one[:2])
        self._places = [place for place, _, _ in placed]
        self._items = [(id, item) for _, id, item in placed]

    def __len__(self) -> int:
        return len(self._items)

    def after(self, id: str) -> Iterator[Item]:
        """All items but the one called `id`, each once, from the place of row `id` on."""
        first = bisect(self._places, _place(f"{self._seed}:row:{id}"))
        for step in range(len(self._items)):
            known, item = self._items[(first + step) % len(self._items)]
            if known != id:
                yield item


def _place(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
