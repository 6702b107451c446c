"""Measures the model in training on held-out rows. It changes no weight and draws no random number.

Experiments ask for it in a node's `evaluate`, sweeps for all of their trials. The figures are in `training.figures`.
Sweeps look at `eval/nll` and `eval/exact`, the policy alone, teacher-forced on good answers: margins and accuracies of
pairs compare with the reference, and go on rising while a policy that is trained too hard forgets how to answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

from pipeline.contract import NOTES, Source, Work
from training.batches import collate, on
from training.configs import ModelConfig
from training.figures import Scored, Sums, answer_sums, figures, pair_sums
from training.held_out import HeldOutRow, held_out_rows
from training.micro_batches import MicroBatch, in_budget
from training.reference import Reference, Said
from training.samples import greedy_samples, sample_line
from training.tokens import Example, PairExample


@dataclass(frozen=True)
class Evaluation:
    """Which rows to look at (the first `limit`), and how often.

    Attributes:
        times: evaluations spread evenly over the run, the last at its end; as sweeps want them.
        every: rows trained on between evaluations, one more before the first step and one after the last.
        samples: prompts that are answered each time.
        beta: of the measure.
    """

    source: Source
    times: int | None = None
    every: int | None = None
    limit: int | None = None
    samples: int = 0
    beta: float = 0.1

    @property
    def rows(self) -> tuple[Source, int | None]:
        """What is looked at: a source, and how many rows of it."""
        return self.source, self.limit

    def asked(self) -> dict[str, Any]:
        """What is measured, for the model's manifest."""
        how = {"every": self.every, "limit": self.limit, "samples": self.samples, "beta": self.beta}
        return {"data": self.source.identity, **how, **({"times": self.times} if self.times else {})}

    def due(self, steps: int, batch_size: int) -> dict[int, int]:
        """The numbers of steps after which to evaluate, each with the number of that evaluation."""
        if self.times is not None:
            return {math.ceil(steps * number / self.times): number for number in range(1, self.times + 1)}
        every = self.every or steps * batch_size
        marks = range(0, steps * batch_size, every)
        found = {math.ceil(rows / batch_size) for rows in marks} | {steps}
        return {step: number for number, step in enumerate(sorted(found))}


def evaluation_of(work: Work) -> Evaluation | None:
    """What the node's own config asks for."""
    asked = work.config.evaluate
    if asked is None:
        return None
    return Evaluation(
        work.source("evaluate.data"), every=asked.every, limit=asked.limit, samples=asked.samples, beta=asked.beta
    )


class HeldOut:
    """The held-out rows of one run on one rank, and when it looks at them."""

    def __init__(self, evaluation: Evaluation, tokenizer: Any, config: ModelConfig, steps: int) -> None:
        self.due = evaluation.due(steps, config.batch_size)
        self.evaluation = evaluation
        self.data = held_out_rows(tokenizer, evaluation.source, evaluation.limit, config)
        self._tokenizer = tokenizer
        self._config = config

    def figures(self, engine: Any, reference: Reference | None) -> dict[str, float]:
        """The figures of the policy as it is; all ranks call this, and all get the same.

        Args:
            engine: the policy.
            reference: the model that the run started from, where it is held to one.
        """
        started = time.perf_counter()
        types, beta = self.data.types, self.evaluation.beta
        with evaluating(engine), torch.no_grad():
            sums = self._sums(engine, reference if self.data.paired else None).flat().to(engine.device)
        distributed.all_reduce(sums)
        total = Sums.zero(len(types) + 1).from_flat(sums.cpu())
        found = figures(total, types, beta, reference=reference is not None)
        return {**found, "evaluation_seconds": round(time.perf_counter() - started, 4)}

    def samples(self, engine: Any, step: int) -> list[dict[str, Any]]:
        """A line for each prompt that is answered, on the first rank; all ranks call this."""
        rows = self.data.rows[: self.evaluation.samples]
        if not rows or (distributed.get_rank() and engine.zero_optimization_stage() < 3):
            return []
        examples = [row.answers[0] for row in rows]
        with evaluating(engine):
            model, device = engine.module.model, engine.device
            made = greedy_samples(model, self._tokenizer, examples, self._config.max_length, device)
        return [
            sample_line(self._tokenizer, step, row.answers[0].id, row.prompt, answer)
            for row, answer in zip(rows, made, strict=True)
        ]

    def facts(self, trained: Sequence[Example | PairExample]) -> dict[str, Any]:
        """What the manifest says of it, apart from figures; `trained` is what the run learns from."""
        return {"asked": self.evaluation.asked(), **self.data.facts(trained)}

    def _sums(self, engine: Any, reference: Reference | None) -> Sums:
        """The sums over this rank's rows."""
        parts = len(self.data.types) + 1
        sums = Sums.zero(parts)
        for micro in self._split(distributed.get_rank(), distributed.get_world_size()):
            rows = [self.data.rows[place] for place in micro.rows]
            found = scored(engine, rows, self._tokenizer.pad_token_id or 0, reference)
            if micro.counts and self.data.paired:
                sums = sums.plus(pair_sums(found, len(rows), parts, self.evaluation.beta))
            elif micro.counts:
                sums = sums.plus(answer_sums(found, len(rows), parts))
        return sums

    def _split(self, rank: int, world: int) -> list[MicroBatch]:
        """A rank's batches, of as many tokens or rows as in training, for which there is memory."""
        lengths = [row.tokens for row in self.data.rows]
        at_once = max(1, self._config.batch_size // (world * self._config.accumulation))
        return in_budget(lengths, world, self._config.micro_tokens or at_once * max(lengths))[rank]


def scored(engine: Any, rows: Sequence[HeldOutRow], pad_id: int, reference: Reference | None) -> Scored:
    """What policy and reference say of every response token of these rows; pairs' chosen answers come first."""
    sides = range(len(rows[0].answers))
    # Plain rows, one for each answer: what is measured owes nothing to how training saves work.
    batch = collate([row.answers[side] for side in sides for row in rows], pad_id)
    paired = reference is not None
    said = reference.of(batch, [row.pair for row in rows], engine.module, kl=True) if reference else Said()
    batch = on(batch, engine.device)
    scores = engine(batch, said.source, kl=paired, top=True)
    their_logps = said.logps_or(scores)
    parts = [row.parts[side] for side in sides for row in rows]
    entries = zip(batch.answer.tolist(), batch.offset.tolist(), strict=True)
    return Scored(
        answer=batch.answer,
        part=torch.tensor([parts[answer][token] for answer, token in entries]),
        logps=scores.logps[batch.scored],
        best=(scores.top == batch.targets)[batch.scored],
        reference=None if their_logps is None else their_logps[batch.scored],
        kl=None if scores.kl is None else scores.kl[batch.scored],
    )


def with_evaluation(facts: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
    """A run's facts with those of its evaluation, and with notes on what a user should hear of without looking."""
    said = {"left_out": "left out", "prompt_trained_on": "not held out: their prompts are trained on"}
    read = evaluation["rows"] + evaluation["left_out"]
    notes = [f"{evaluation[name]} of {read} held-out rows {what}" for name, what in said.items() if evaluation[name]]
    noted = {NOTES: [*facts.get(NOTES, []), *notes]} if notes else {}
    return {**facts, "evaluation": evaluation, **noted}


@contextmanager
def evaluating(engine: Any) -> Iterator[None]:
    """Within, there is no dropout."""
    engine.eval()
    try:
        yield
    finally:
        engine.train()
