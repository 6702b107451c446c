"""The reference as a model: frozen, run, and let go of."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from training import engine
from training.batches import Batch, collate_pairs, on
from training.configs import PreferenceConfig
from training.families import probe
from training.head import HeadWeights
from training.reference_cache import Form, Kept
from training.reference_filling import Look
from training.scoring import Scorer
from training.short_form import summarise
from training.tokens import PairExample

Load = Callable[[], tuple[Any, Any]]
"""Loads the model as the policy starts, under ZeRO-3 in shards, and what must be kept for as long as it is loaded."""


class Frozen:
    """The model that a run starts from, frozen and without dropout; under ZeRO-3 each rank holds a part of it.

    Attributes:
        scorer: the model.
        family: what it allows.
        sharded: whether this rank holds a part alone: then all ranks must go through it equally often.
        head: its last layer, whole, on every rank.
    """

    def __init__(self, load: Load, config: PreferenceConfig, device: torch.device, tokens: int) -> None:
        """Load it for rows of up to so many `tokens`. All ranks call this."""
        model, self._keeper = load()
        self.scorer = Scorer(model.requires_grad_(False)).eval()
        self.sharded = config.zero == 3
        self._engine = engine.for_looking(self.scorer, config) if self.sharded else None
        if not self.sharded:
            self.scorer.to(device)
        self.family = probe(self.scorer, tokens, self._engine)
        with engine.gathered(self.scorer.head) if self.sharded else nullcontext():
            weight, bias, cap = self.scorer.head.weights()
            self.head = HeadWeights(weight.clone(), None if bias is None else bias.clone(), cap)

    def release(self) -> None:
        """Give its memory back."""
        if self._engine is not None:
            engine.release(self._engine)
        del self.scorer, self._engine, self._keeper
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def unfit(scorer: Scorer, form: Form) -> str:
    """Why this form cannot be had of a model; empty where it can."""
    if form != "logps" and scorer.plain:
        return "the logits of this kind of model do not follow from its hidden states by its head"
    if form == "short" and scorer.head.cap is not None:
        return "the model caps its logits, for which the KL has no short form"
    return ""


def looking(frozen: Frozen, form: Form, pad: int, device: torch.device) -> Look:
    """Asks the reference for what a cache of this form keeps."""

    @torch.no_grad()
    def look(pairs: Sequence[PairExample]) -> Kept:
        batch = on(collate_pairs(pairs, pad, frozen.family.shared, pack=frozen.family.packed), device)
        found = (column[batch.scored].cpu() for column in _found(frozen, form, batch))
        return Kept(batch.offset.int().cpu(), *found)

    return look


def _found(frozen: Frozen, form: Form, batch: Batch) -> Sequence[Tensor]:
    """At the N predictions of a batch: log-probs [N], and where the form has them states [N, D] and entropy [N]."""
    if form == "logps":
        return [frozen.scorer(batch).logps]
    hidden = frozen.scorer.hidden(batch)
    if form == "hidden":
        return frozen.scorer.head(hidden, batch.targets).logps, hidden
    found = summarise(hidden, batch.targets, *frozen.head[:2])
    return found.logps, found.expectation, found.entropy
