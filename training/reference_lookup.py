"""From a reference cache to the predictions of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.batches import Batch
from training.reference_cache import Kept, ReferenceCache
from training.tokens import PairExample


def look_up(cache: ReferenceCache, batch: Batch, pairs: Sequence[PairExample]) -> Kept:
    """What a cache keeps of the N predictions of a batch, in their order: `logps` [N], `states` [N, D] and so on.

    Args:
        cache: of the run's pairs.
        batch: of `training.batches.collate_pairs`, on the CPU.
        pairs: the B pairs that it was made of.
    """
    sides = [cache.side(pair, "chosen") for pair in pairs] + [cache.side(pair, "rejected") for pair in pairs]
    entries = batch.offset.split(torch.bincount(batch.answer, minlength=len(sides)).tolist())
    found = [_at(kept, offsets) for kept, offsets in zip(sides, entries, strict=True)]
    # Entries of both answers may be about one prediction: the first, the chosen answer's, speaks for it.
    first = torch.from_numpy(np.unique(batch.scored.numpy(), return_index=True)[1])
    assert len(first) == len(batch.targets), "every prediction is about a token of an answer"
    columns = zip(*found, strict=True)
    return Kept(*(None if column[0] is None else torch.cat(column)[first] for column in columns))


def _at(kept: Kept, offsets: Tensor) -> Kept:
    """What is kept of some tokens of an answer, int64 [n]."""
    wanted = offsets.to(kept.offsets.dtype)
    rows = torch.searchsorted(kept.offsets, wanted)
    assert torch.equal(kept.offsets[rows.clamp(max=len(kept.offsets) - 1)], wanted), "the cache has these tokens"
    return Kept(*(None if column is None else column[rows] for column in kept))
