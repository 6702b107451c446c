"""What the reference of a preference run says of each micro-batch: read from a cache, or computed at every step.

A cache is made by all ranks together before the policy is loaded, and the reference is let go of then: the two models
are never in memory at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from training.batches import Batch, on
from training.families import longest
from training.head import HeadWeights
from training.reference_cache import Kept, ReferenceCache
from training.reference_making import Origin, Unfit, cached
from training.reference_model import Frozen
from training.reference_plan import choose, model_size, refused
from training.scoring import CachedHidden, LiveReference, Scorer, ShortForm
from training.scoring import Reference as Source
from training.tokens import PairExample


class Said(NamedTuple):
    """What a policy is compared with at the N predictions of a batch.

    Attributes:
        source: for `training.scoring.Scorer`, which finds a KL with it, and log-probs where these are not known yet.
        logps: the reference's log-probs of the targets, fp32 [N], where they are known.
    """

    source: Source | None = None
    logps: Tensor | None = None


class Reference(Protocol):
    """The reference of one run on one rank; `facts` is what the run's manifest says of it."""

    facts: dict[str, Any]

    def of(self, batch: Batch, pairs: Sequence[PairExample], policy: Scorer) -> Said:
        """What it says of a batch (on the CPU) of these pairs, on the policy's device."""
        ...


def prepare(origin: Origin, pairs: Sequence[PairExample], *, kl: bool) -> Reference:
    """The reference of a run, computed and kept where its config says so. All ranks call this, before the policy is.

    Args:
        origin: where it comes from.
        pairs: all those that the run trains on, on every rank.
        kl: whether the loss needs a KL.
    """
    config, where = origin.config, f"node {origin.work.name}"
    choice = choose(config, kl, pairs, model_size(origin.start.model, config.dtype), where)
    if choice.form is not None:
        try:
            cache = cached(origin, choice.form, pairs)
            apart = choice.form == "hidden" and config.lora is None
            return Cached(cache, origin.device, _head_of(cache, origin.device) if apart else None)
        except Unfit as unfit:
            choice = refused(config, str(unfit), where)
    facts = {"reference": "live", **({"reference_note": choice.note} if choice.note else {})}
    if config.lora is not None:
        return Live(facts, kl, None)
    return Live(facts, kl, Frozen(origin.load, config, origin.device, longest(pairs)))


class Live:
    """A reference that is run at every step: a frozen copy, or the policy itself with its adapter switched."""

    def __init__(self, facts: dict[str, Any], kl: bool, frozen: Frozen | None) -> None:
        self.facts = facts
        self._kl = kl
        self._frozen = frozen

    def of(self, batch: Batch, pairs: Sequence[PairExample], policy: Scorer) -> Said:
        frozen = self._frozen
        if frozen is None:
            return Said(LiveReference(policy))
        if not frozen.sharded or frozen.scorer.plain:
            return Said(LiveReference(frozen.scorer))
        # The policy's pass could not gather what the reference's head lacks on this rank: it gets the whole head.
        with torch.no_grad():
            there = on(batch, frozen.head.weight.device)
            if self._kl:
                return Said(CachedHidden(frozen.scorer.hidden(there), frozen.head))
            return Said(None, frozen.scorer(there).logps)


class Cached:
    """A reference that was run before."""

    def __init__(self, cache: ReferenceCache, device: torch.device, head: HeadWeights | None) -> None:
        self.facts = {"reference": "cached", "reference_key": cache.directory.name, "reference_form": cache.form}
        self._cache = cache
        self._device = device
        self._head = head

    def of(self, batch: Batch, pairs: Sequence[PairExample], policy: Scorer) -> Said:
        kept = Kept(*(None if part is None else part.to(self._device) for part in look_up(self._cache, batch, pairs)))
        if kept.states is None:
            return Said(None, kept.logps)
        if kept.entropy is not None:
            return Said(ShortForm(kept.states, kept.entropy), kept.logps)
        head = None if self._head is None else self._head._replace(cap=policy.head.cap)
        return Said(CachedHidden(kept.states, head), kept.logps)


def _head_of(cache: ReferenceCache, device: torch.device) -> HeadWeights:
    weight, bias = cache.head()
    return HeadWeights(weight.to(device), None if bias is None else bias.to(device))


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
