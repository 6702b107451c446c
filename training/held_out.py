"""Figures on held-out good answers while a model trains. They change no weight, so no key knows of them.

Both look at the policy alone, teacher-forced on good answers. Margins and accuracies of preference pairs do not serve:
they compare with the reference, and go on rising while a policy that is trained too hard forgets how to answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from pipeline.contract import Source
from training.batches import Batch, collate, on
from training.examples import held_out_examples
from training.nodes import ModelConfig
from training.scoring import Scores
from training.tokens import Example

BATCH_ROWS = 32


@dataclass(frozen=True)
class Evaluation:
    """Which rows to look at (Q&A rows, the first `limit`), and how often: evenly over a run, last at its end."""

    source: Source
    times: int
    limit: int | None = None

    def due(self, steps: int) -> dict[int, int]:
        """The steps after which to evaluate, each with the number of that evaluation, from 1."""
        return {math.ceil(steps * number / self.times): number for number in range(1, self.times + 1)}


class HeldOut:
    """The held-out answers of one run on one rank."""

    def __init__(self, evaluation: Evaluation, tokenizer: Any, config: ModelConfig, steps: int) -> None:
        self.due = evaluation.due(steps)
        self._pad = tokenizer.pad_token_id or 0
        examples = held_out_examples(tokenizer, evaluation.source, evaluation.limit, config)
        # By length, so that little is padding.
        self.examples = sorted(examples, key=lambda example: len(example.input_ids))

    def figures(self, engine: Any) -> dict[str, float]:
        """`eval/nll`, the mean over tokens of all answers, and `eval/exact`, over answers; all ranks call this."""
        sums = torch.zeros(4, dtype=torch.float64, device=engine.device)
        engine.eval()
        with torch.no_grad():
            for rows, counts in shares(self.examples, distributed.get_rank(), distributed.get_world_size()):
                batch = on(collate(rows, self._pad), engine.device)
                sums += counts * answer_sums(engine(batch, top=True), batch, len(rows))
        engine.train()
        distributed.all_reduce(sums)
        nll, tokens, exact, answers = sums.tolist()
        return {"eval/nll": nll / tokens, "eval/exact": exact / answers}


def shares(examples: Sequence[Example], rank: int, world: int) -> Iterator[tuple[Sequence[Example], bool]]:
    """This rank's rows of each batch. Under ZeRO-3 ranks must go through as many batches, so one that has no row
    left goes through another's, which does not count."""
    for start in range(0, len(examples), BATCH_ROWS):
        batch = examples[start : start + BATCH_ROWS]
        mine = batch[rank::world]
        yield mine or batch[:1], bool(mine)


def answer_sums(scores: Scores, batch: Batch, rows: int) -> Tensor:
    """Negative log likelihood, tokens, answers whose every token is the most likely one, and answers.

    Args:
        scores: of the tokens of all answers, with the most likely ones.
        batch: these answers.
        rows: how many they are.

    Returns:
        float64 [4], sums over the batch.
    """
    assert scores.top is not None
    logps, wrong = scores.logps[batch.scored], (scores.top != batch.targets)[batch.scored].to(torch.float64)
    missed = torch.zeros(rows, dtype=torch.float64, device=logps.device).index_add(0, batch.answer, wrong)
    exact = (missed == 0).sum()
    return torch.stack([-logps.double().sum(), torch.tensor(len(logps)).to(exact), exact, torch.tensor(rows).to(exact)])
