"""Figures on held-out answers: numbers worked out by hand, and when they are due."""

import math
from pathlib import Path

import pytest
import torch

from pipeline.contract import Source
from training.batches import Batch
from training.held_out import BATCH_ROWS, Evaluation, answer_sums, shares
from training.scoring import Scores

SOURCE = Source("evaluation", "qa", "rows", "key", "validation", Path())


@pytest.mark.parametrize(("steps", "times", "due"), [
    (40, 4, {10: 1, 20: 2, 30: 3, 40: 4}),
    (10, 3, {4: 1, 7: 2, 10: 3}),
    (5, 1, {5: 1}),
    (2, 4, {1: 2, 2: 4}),
])  # fmt: skip
def test_evaluations_are_spread_evenly_and_the_last_is_at_the_end(steps, times, due):
    assert Evaluation(SOURCE, times).due(steps) == due


def test_sums_over_two_answers():
    """Three tokens of the first answer, one of the second, over a vocabulary of two."""
    likely = math.log(3)  # probabilities 3/4 and 1/4
    logits = torch.tensor([[likely, 0.0], [0.0, likely], [likely, 0.0], [likely, 0.0]])
    targets, row = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 0, 1])
    logps = logits.log_softmax(-1)[torch.arange(4), targets]
    # Tokens of both answers, in the order of the batch: two of its predictions have changed places.
    places = torch.tensor([0, 2, 1, 3])
    scores = Scores(logps[places], top=logits.argmax(-1)[places])
    nothing = torch.zeros(0)
    batch = Batch(nothing, nothing, nothing, nothing, targets[places], places, row, nothing, torch.ones(4), 4)
    nll, tokens, exact, answers = answer_sums(scores, batch, 2).tolist()
    # The third token is the unlikely one: only the second answer is right at every place.
    assert nll == pytest.approx(-3 * math.log(3 / 4) - math.log(1 / 4), rel=1e-6)
    assert (tokens, exact, answers) == (4, 1, 2)


@pytest.mark.parametrize("rows", [1, 2, BATCH_ROWS - 1, BATCH_ROWS + 1, 2 * BATCH_ROWS + 2])
def test_all_ranks_go_through_as_many_batches_and_every_row_counts_once(rows):
    examples = [f"row-{index}" for index in range(rows)]
    parts = [list(shares(examples, rank, 3)) for rank in range(3)]
    assert len({len(part) for part in parts}) == 1
    assert all(mine for part in parts for mine, _ in part)
    assert sorted(row for part in parts for mine, counts in part if counts for row in mine) == sorted(examples)
