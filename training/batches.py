"""Examples to what a model runs on, and the order in which training sees them.

A batch says two things apart: which tokens go through the model (R rows of T), and which of their hidden states predict
tokens that carry weight. So tokens that decide nothing are not run, and what two answers share is run once:

- Everything after the last weighted token of an answer is left out: attention is causal, nothing before it sees it.
- An answer without weight is not run at all.
- The tokens with which both answers of a pair begin (the prompt, and often most of the answer) are run once, with both
  tails behind them: ``[prefix | chosen tail | rejected tail]``. Positions count from the end of the prefix in both
  tails, and neither tail sees the other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, count, islice
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.failures import UserError
from training import attention
from training.attention import Layout
from training.tokens import Example, PairExample


class Batch(NamedTuple):
    """A answers as R rows of T tokens, padded on the right, and the M places where they carry weight.

    An answer of `collate` is its example; of `collate_pairs` with B pairs, b is the chosen and B + b the rejected
    answer of pair b.

    Attributes:
        input_ids: int64 [R, T].
        attention_mask: int64 [R, T], 1 on tokens, 0 on padding.
        position_ids: int64 [R, T].
        index: int64 [N], ascending: the places in [R * T] whose hidden state predicts a token that carries weight. One
            entry for each (place, token): a place stands here twice where the answers of a pair part.
        targets: int64 [N], the token predicted there.
        scored: int64 [M], which of the N predictions an entry is about; two entries share one where answers do.
        answer: int64 [M], whose entry it is: 0..A-1, ascending.
        offset: int64 [M], which token of its answer it is, 0 being the first after the prompt.
        weights: fp32 [M], never 0.
        tokens: those that go through the model, without padding.
        layout: where rows hold several answers, which tokens are whose; None where each has a row of its own.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    index: Tensor
    targets: Tensor
    scored: Tensor
    answer: Tensor
    offset: Tensor
    weights: Tensor
    tokens: int
    layout: Layout | None = None


def on(batch: Batch, device: torch.device | str) -> Batch:
    """The batch with its tensors on a device."""

    return Batch._make(part.to(device) if isinstance(part, Tensor | Layout) else part for part in batch)


def collate(examples: Sequence[Example], pad_id: int, pack: bool = False) -> Batch:
    """Examples as one batch, in their order; with `pack` in one row, one behind the other (`training.attention`)."""
    rows = _Rows()
    for answer, example in enumerate(examples):
        rows.alone(answer, example, example.weights)
    return rows.batch(pad_id, examples[0].input_ids[0], pack)


def collate_pairs(
    pairs: Sequence[PairExample], pad_id: int, share: bool = True, cancel: bool = False, pack: bool = False
) -> Batch:
    """B pairs as one batch of 2B answers: all chosen ones, then all rejected ones in the same order.

    Args:
        pairs: whose weights decide what is run.
        pad_id: any id of the vocabulary: what it stands at is never seen.
        share: whether what the answers of a pair begin with is run once, in a row for both (`training.attention`).
        cancel: whether to leave out tokens that both answers share, with equal weights and before they part. In a
            difference of weighted sums, chosen less rejected, they cancel, in value and in gradient.
        pack: whether everything stands in one row, so that nothing is padded.
    """
    rows = _Rows()
    weights = [_without_common(pair) if cancel else (pair.chosen.weights, pair.rejected.weights) for pair in pairs]
    alone: list[tuple[int, Example, Sequence[float]]] = []
    for number, (pair, (chosen, rejected)) in enumerate(zip(pairs, weights, strict=True)):
        if share and any(chosen) and any(rejected):
            rows.together((number, len(pairs) + number), pair, (chosen, rejected))
        else:
            alone += [(number, pair.chosen, chosen), (len(pairs) + number, pair.rejected, rejected)]
    for row in sorted(alone, key=lambda row: row[0]):
        rows.alone(*row)
    return rows.batch(pad_id, pairs[0].chosen.input_ids[0], pack)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def _without_common(pair: PairExample) -> tuple[list[float], list[float]]:
    """The weights of both sides, 0 on tokens that both share and weigh the same."""
    chosen, rejected = list(pair.chosen.weights), list(pair.rejected.weights)
    for place in range(common_prefix(pair.chosen.input_ids, pair.rejected.input_ids)):
        if chosen[place] == rejected[place]:
            chosen[place] = rejected[place] = 0.0
    return chosen, rejected


def _needed(weights: Sequence[float]) -> int:
    """How many tokens must be run to predict the last that carries weight: all before it."""
    return max((place for place, weight in enumerate(weights) if weight), default=0)


class _Entry(NamedTuple):
    answer: int
    row: int
    place: int
    target: int
    offset: int
    weight: float


@dataclass
class _Rows:
    """Rows in the making: per token its id, its position, and the branch it is on; and what is predicted where.

    Branch 0 is seen by all that comes after it, the others by themselves alone.
    """

    ids: list[list[int]] = field(default_factory=list)
    positions: list[list[int]] = field(default_factory=list)
    branches: list[list[int]] = field(default_factory=list)
    entries: list[_Entry] = field(default_factory=list)

    def alone(self, answer: int, example: Example, weights: Sequence[float]) -> None:
        """A row for one answer; none where it carries no weight."""
        if length := _needed(weights):
            self._score(answer, example, weights, prefix=length, tail=0)
            self._row(list(example.input_ids[:length]), list(range(length)), [0] * length)

    def together(self, answers: tuple[int, int], pair: PairExample, weights: tuple[Sequence[float], ...]) -> None:
        """One row for both answers of a pair."""
        chosen, rejected = pair.chosen.input_ids, pair.rejected.input_ids
        needed = [_needed(side) for side in weights]
        prefix = min(common_prefix(chosen, rejected), max(needed))
        ends = [max(prefix, length) for length in needed]
        tails = chosen[prefix : ends[0]], rejected[prefix : ends[1]]
        self._score(answers[0], pair.chosen, weights[0], prefix, tail=prefix)
        self._score(answers[1], pair.rejected, weights[1], prefix, tail=ends[0])
        longer = chosen if needed[0] >= needed[1] else rejected
        # A tail that is alone is as good as a part of the prefix.
        first, second = (1, 2) if all(tails) else (0, 0)
        self._row(
            [*longer[:prefix], *tails[0], *tails[1]],
            [*range(ends[0]), *range(prefix, ends[1])],
            [*[0] * prefix, *[first] * len(tails[0]), *[second] * len(tails[1])],
        )

    def _row(self, ids: list[int], positions: list[int], branches: list[int]) -> None:
        self.ids.append(ids)
        self.positions.append(positions)
        self.branches.append(branches)

    def _score(self, answer: int, example: Example, weights: Sequence[float], prefix: int, tail: int) -> None:
        """The entries of an answer in the row to come, its tokens after the first `prefix` standing from `tail` on."""
        for token, weight in enumerate(weights):
            if weight:
                before = token - 1
                place = before if before < prefix else tail + before - prefix
                target, offset = example.input_ids[token], token - example.response_start
                self.entries.append(_Entry(answer, len(self.ids), place, target, offset, weight))

    def batch(self, pad_id: int, any_id: int, pack: bool) -> Batch:
        """The tensors. Where no answer carries weight, one token is run: workers must all go through the model."""
        if not self.ids:
            self._row([any_id], [0], [0])
        lengths = [len(row) for row in self.ids]
        pack = pack and len(lengths) > 1
        starts = [*accumulate(lengths[:-1], initial=0)] if pack else [max(lengths) * row for row in range(len(lengths))]
        ids, positions, branches = (
            _padded([list(chain(*rows))] if pack else rows, value)
            for rows, value in ((self.ids, pad_id), (self.positions, 0), (self.branches, -1))
        )
        predictions, layout = self._predictions(starts), None
        if pack or (branches > 0).any():
            read = set(predictions["index"].tolist())
            layout = attention.layout(self.branches, starts, ids.numel(), read)
            layout = layout._replace(branches=None if pack else branches)
        return Batch(
            input_ids=ids,
            attention_mask=(branches >= 0).to(torch.int64),
            position_ids=positions,
            tokens=sum(lengths),
            layout=layout,
            **predictions,
        )

    def _predictions(self, starts: Sequence[int]) -> dict[str, Tensor]:
        """What is predicted where, rows beginning at these places."""
        entries = sorted(self.entries, key=lambda entry: entry.answer)
        predicted = [(starts[entry.row] + entry.place, entry.target) for entry in entries]
        unique = sorted(set(predicted))
        number = {prediction: place for place, prediction in enumerate(unique)}
        columns = {
            "index": [place for place, _ in unique],
            "targets": [target for _, target in unique],
            "scored": [number[prediction] for prediction in predicted],
            "answer": [entry.answer for entry in entries],
            "offset": [entry.offset for entry in entries],
        }
        weights = torch.tensor([entry.weight for entry in entries], dtype=torch.float32)
        return {name: torch.tensor(column, dtype=torch.int64) for name, column in columns.items()} | {
            "weights": weights
        }


def _padded(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], dtype=torch.int64)


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
