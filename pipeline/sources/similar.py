"""Texts that nearly say the same: MinHash signatures, and the rows that one row stands for.

Word 5-grams as in Lee et al. 2022 (Deduplicating Training Data Makes Language Models Better), who take texts as copies
from a Jaccard similarity of 0.8 on. Signatures and the number of bands are datasketch's. The bands are compared as
sorted arrays, since an index of Python objects takes some 4 KB a row and this takes 8 bytes a band; signatures lie in
files, and are read for those rows alone that share a band.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

WORDS = 5
"""Words of a shingle: Lee et al. 2022, section 4.2."""
SIMILARITY = 0.8
"""The Jaccard similarity from which on two rows are copies: Lee et al. 2022, section 4.2."""
PERMUTATIONS = 128
"""Hash functions of a signature. The estimate's standard error at 0.8 is sqrt(0.8 x 0.2 / 128) = 0.035."""
SEED = 1
PAIRS_AT_A_TIME = 10_000

Array = Any
_WORD = re.compile(r"\w+|[^\w\s]")


def signatures(texts: Sequence[str]) -> Array:
    """uint32 [texts, PERMUTATIONS]: the MinHash of each text's shingles."""
    return np.stack([_signature(text) for text in texts]) if texts else np.zeros((0, PERMUTATIONS), np.uint32)


def _signature(text: str) -> Array:
    found = _empty().copy()
    found.update_batch(shingles(text))
    return found.hashvalues.astype(np.uint32)


@cache
def _empty() -> Any:
    from datasketch import MinHash
    from xxhash import xxh32_intdigest

    return MinHash(num_perm=PERMUTATIONS, seed=SEED, hashfunc=xxh32_intdigest, scheme="affine32")


def shingles(text: str) -> list[bytes]:
    """The word n-grams of a text; marks count as words, for they tell one program from another."""
    words = _WORD.findall(text.lower())
    if len(words) <= WORDS:
        return [" ".join(words).encode()]
    return [
        gram.encode() for gram in {" ".join(gram) for gram in zip(*(words[i:] for i in range(WORDS)), strict=False)}
    ]


def bands(found: Array, similarity: float) -> Array:
    """uint64 [texts, bands]: rows that agree in one of these may be similar."""
    from datasketch import MinHashLSH
    from xxhash import xxh3_64_intdigest

    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    cut = [np.ascontiguousarray(found[:, i * index.r : (i + 1) * index.r]) for i in range(index.b)]
    hashed = [[xxh3_64_intdigest(row.tobytes()) for row in band] for band in cut]
    return np.array(hashed, dtype=np.uint64).reshape(index.b, len(found)).T


def copies(banded: Array, rank: Array, similarity: float, signatures_of: Callable[[Array], Array]) -> Array:
    """For each row the row that stands for it: itself, or the one of lowest rank that it is a copy of.

    Copies of copies are one cluster. In a band rows are compared with the first of theirs only.
    """
    pairs = _pairs(banded, rank)
    parent = np.arange(len(rank))
    for start in range(0, len(pairs), PAIRS_AT_A_TIME):
        some = pairs[start : start + PAIRS_AT_A_TIME]
        alike = (signatures_of(some[:, 0]) == signatures_of(some[:, 1])).mean(axis=1) >= similarity
        for first, second in some[alike]:
            a, b = sorted((_root(parent, int(first)), _root(parent, int(second))), key=lambda row: (rank[row], row))
            parent[b] = a
    return np.array([_root(parent, row) for row in range(len(parent))], dtype=np.int64)


def _pairs(banded: Array, rank: Array) -> Array:
    """int64 [pairs, 2]: in each band every row with the first of those that share it; each pair once."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    place = np.arange(len(rank))
    for band in banded.T:
        order = np.lexsort((place, rank, band))
        same = np.flatnonzero(band[order][1:] == band[order][:-1]) + 1
        starts = np.concatenate([[0], np.flatnonzero(band[order][1:] != band[order][:-1]) + 1])
        leaders = order[starts[np.searchsorted(starts, same, side="right") - 1]]
        found.append(np.stack([leaders, order[same]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _root(parent: Array, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row
