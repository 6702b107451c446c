"""Kintsugi's side: the modules of the training package as its workers put them together, without Ray and DeepSpeed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from benchmarks import training_workload as work
from benchmarks.training_measure import Meter
from benchmarks.training_workload import Answer, Case
from training.batches import Batch, collate_pairs
from training.engine import keep_freed_memory
from training.losses import metrics, preference_loss, sides
from training.scoring import CachedHidden, LiveReference, Reference, Scorer
from training.tokens import Example, PairExample


def run(case: Case, meter: Meter) -> None:
    """Train on the same pairs again and again."""
    keep_freed_memory()
    policy = Scorer(work.model(case))
    reference, cached_logps = _reference(case, policy)
    adamw = work.optimizer(policy)
    meter.ready()
    for _ in range(case.steps + 1):
        batch = collated(case)
        scores = policy(batch, reference, kl=case.loss == "tdpo2")
        logps = cached_logps if scores.reference is None else scores.reference
        assert logps is not None
        chosen, rejected = sides(batch, case.pairs, scores.logps, logps, scores.kl)
        result = preference_loss(case.loss, chosen, rejected, beta=work.BETA, alpha=work.ALPHA)
        metrics(result, chosen, rejected)
        meter.step(work.update(policy, adamw, result.losses.mean()))


def collated(case: Case) -> Batch:
    """The pairs of a step, laid out as training does."""
    pairs = [
        PairExample(str(number), _example(number, case, chosen), _example(number, case, rejected))
        for number, (chosen, rejected) in enumerate(work.pairs(case))
    ]
    share = bool(case.settings.get("share", True))
    return collate_pairs(pairs, work.PAD, share=share, cancel=case.loss == "dpo", pack=True)


def _example(number: int, case: Case, answer: Answer) -> Example:
    return Example(str(number), tuple(answer.input_ids), tuple(answer.weights), case.prompt)


@torch.no_grad()
def _reference(case: Case, policy: Scorer) -> tuple[Reference | None, Tensor | None]:
    """What is compared with, and log-probabilities that are cached rather than computed with the KL."""
    if case.reference == "live":
        return LiveReference(Scorer(copy.deepcopy(policy.model).eval().requires_grad_(False))), None
    batch = collated(case)
    if case.loss == "dpo":
        return None, policy(batch).logps
    head = copy.deepcopy(policy.head).requires_grad_(False)
    return CachedHidden(policy.hidden(batch), head.weights()), None
