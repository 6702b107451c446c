"""What the reference of a preference run says of each micro-batch: read from a cache, or computed at every step.

A cache is made by all ranks together before the policy is loaded, and the reference is let go of then: the two models
are never in memory at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

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
from training.scoring import CachedHidden, LiveReference, Scorer, Scores, ShortForm
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

    def logps_or(self, scores: Scores) -> Tensor | None:
        """The reference's log-probs [N]: known already, or found along with the scores of the policy."""
        return scores.reference if self.logps is None else self.logps


class Reference(ABC):
    """The reference of one run on one rank.

    Attributes:
        facts: what the run's manifest says of it.
        notes: what a user should hear of it without looking.
    """

    facts: dict[str, Any]
    notes: list[str]

    @abstractmethod
    def of(self, batch: Batch, pairs: Sequence[PairExample], policy: Scorer, *, kl: bool) -> Said:
        """What it says of a batch, on the device of the policy.

        Args:
            batch: of the answers of these pairs, chosen ones first, on the CPU.
            pairs: B pairs of the run.
            policy: what is compared with it.
            kl: whether the KL is wanted.
        """

    @abstractmethod
    def release(self) -> None:
        """Give back what would stay in memory after the run. Nothing is asked of it afterwards but its facts."""


def prepare(origin: Origin, pairs: Sequence[PairExample], *, kl: bool) -> Reference:
    """The reference of a run, computed and kept where its config says so. All ranks call this before the policy is
    loaded.

    Args:
        origin: where it comes from.
        pairs: all that it will be asked about, on every rank.
        kl: whether a KL will be wanted.
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
    if config.lora is not None:
        return Live(note=choice.note)
    frozen = Frozen(origin.load, config, origin.device, longest(pairs))
    return InParts(frozen, choice.note) if frozen.sharded else Live(frozen.scorer, choice.note)


def for_measuring(origin: Origin, pairs: Sequence[PairExample], held_to: Reference | None) -> Reference:
    """The reference that a run is measured against on held-out pairs, with a KL. All ranks call this, likewise.

    A reference that is run anyway serves, and so does a LoRA policy, which has its own within it.
    """
    if isinstance(held_to, Live | InParts):
        return held_to
    return Live() if origin.config.lora is not None else prepare(origin, pairs, kl=True)


class Live(Reference):
    """A reference that is run at every step: a frozen copy, or else the policy itself with its adapter switched."""

    def __init__(self, scorer: Scorer | None = None, note: str = "") -> None:
        self.facts, self.notes = {"reference": "live"}, [note] if note else []
        self._scorer = scorer

    def of(self, batch: Batch, pairs: Sequence[PairExample], policy: Scorer, *, kl: bool) -> Said:
        return Said(LiveReference(self._scorer or policy))

    def release(self) -> None:
        del self._scorer


class InParts(Reference):
    """A frozen copy that is run at every step, and of which each rank holds a part.

    Its hidden states are found apart: the policy's pass would not gather what the reference's head lacks on a rank. So
    every rank has the whole head.
    """

    def __init__(self, frozen: Frozen, note: str = "") -> None:
        self.facts, self.notes = {"reference": "live"}, [note] if note else []
        self._frozen = frozen

    @torch.no_grad()
    def of(self, batch: Batch, pairs: Sequence[PairExample], policy: Scorer, *, kl: bool) -> Said:
        scorer, head = self._frozen.scorer, self._frozen.head
        if scorer.plain:
            return Said(LiveReference(scorer))
        there = on(batch, head.weight.device)
        return Said(CachedHidden(scorer.hidden(there), head)) if kl else Said(None, scorer(there).logps)

    def release(self) -> None:
        self._frozen.release()


class Cached(Reference):
    """A reference that was run before."""

    def __init__(self, cache: ReferenceCache, device: torch.device, head: HeadWeights | None) -> None:
        self.facts = {"reference": "cached", "reference_key": cache.directory.name, "reference_form": cache.form}
        self.notes = []
        self._cache = cache
        self._device = device
        self._head = head

    def of(self, batch: Batch, pairs: Sequence[PairExample], policy: Scorer, *, kl: bool) -> Said:
        assert not kl or self._cache.form != "logps", "a KL takes more than log-probs"
        kept = Kept(*(None if part is None else part.to(self._device) for part in look_up(self._cache, batch, pairs)))
        if kept.states is None:
            return Said(None, kept.logps)
        if kept.entropy is not None:
            return Said(ShortForm(kept.states, kept.entropy), kept.logps)
        head = None if self._head is None else self._head._replace(cap=policy.head.cap)
        return Said(CachedHidden(kept.states, head), kept.logps)

    def release(self) -> None:
        del self._cache, self._head


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
