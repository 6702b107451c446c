"""Examples to padded tensors, and the order in which training sees them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.failures import UserError
from training.tokens import Example, PairExample


class Batch(NamedTuple):
    """R examples, padded on the right to the longest, T tokens.

    Attributes:
        input_ids: int64 [R, T].
        attention_mask: int64 [R, T], 1 on tokens, 0 on padding. Padding and EOS may share an id: trust this, not ids.
        weights: fp32 [R, T], aligned with `input_ids` as they stand, 0 on prompts and padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    weights: Tensor


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Examples as one right-padded batch, in their order: [R, T] each."""
    longest = max(len(example.input_ids) for example in examples)
    padding = [longest - len(example.input_ids) for example in examples]
    rows = list(zip(examples, padding, strict=True))
    return Batch(
        input_ids=torch.tensor([[*example.input_ids, *[pad_id] * pad] for example, pad in rows]),
        attention_mask=torch.tensor([[1] * len(example.input_ids) + [0] * pad for example, pad in rows]),
        weights=torch.tensor([[*example.weights, *[0.0] * pad] for example, pad in rows], dtype=torch.float32),
    )


def collate_pairs(pairs: Sequence[PairExample], pad_id: int) -> Batch:
    """B pairs as one batch of 2B rows: all chosen answers, then all rejected ones in the same order."""
    return collate([*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)], pad_id)


def sample_order(n: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """The rows of every training step: ``ceil(epochs * n / batch_size)`` lists of `batch_size` indices into `n` rows.

    One permutation after another, each from ``(seed, epoch)`` alone, cut into batches without regard to epochs. So the
    batch of a step does not depend on how a run got there, all batches are equally large (the last is filled from the
    next permutation), and fewer rows than one batch are simply gone through again.
    """
    if n == 0:
        raise UserError(
            "data", "an empty data set cannot be trained on.", hint="See the input's rejected rows for reasons."
        )
    # Rounded first, so that 0.1 epochs of 30 rows are 3 rows in spite of binary fractions.
    steps = math.ceil(math.ceil(round(epochs * n, 6)) / batch_size)
    stream = _permutations(n, seed)
    return [list(islice(stream, batch_size)) for _ in range(steps)]


def _permutations(n: int, seed: int) -> Iterator[int]:
    for epoch in count():
        order = list(range(n))
        random.Random(f"{seed}:{epoch}").shuffle(order)
        yield from order
