"""Per-token log-probabilities and KL at weighted positions alone, without a full-precision [B, T, V] tensor.

Shapes: B answers, T tokens, V vocabulary entries, D hidden size, N weighted positions of the batch in row order.

Only positions that carry weight are looked at: `shift` finds them, `select` takes their hidden states (or logits), and
the per-token functions work through N positions in chunks. A chunk is cast to fp32 (float64 stays), and computed anew
in the backward pass, so that no more than one chunk is ever held in that precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 2**26
"""Logits worked on at once: 256 MiB in fp32, 523 positions of a vocabulary of 128,256. A choice, not a measurement."""


class Positions(NamedTuple):
    """The N weighted positions of a batch.

    Attributes:
        index: int64 [N], where the logits that predict the token stand in a [B, T] batch laid out as [B * T].
        row: int64 [N], the answer it belongs to, in 0..B-1, ascending.
        targets: int64 [N], the token to predict.
        weights: float [N], its weight, never zero.
    """

    index: Tensor
    row: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def scored(self) -> Tensor:
        """int64 [N]: every position counts for one answer."""
        return torch.arange(len(self.row), device=self.row.device)

    @property
    def answer(self) -> Tensor:
        """int64 [N], as `row`."""
        return self.row


def shift(input_ids: Tensor, weights: Tensor) -> Positions:
    """Align weights and targets with the logits that predict them. The only place that does.

    The token at t is predicted by the logits at t - 1; so the first token of a row has no prediction, and its weight
    (zero in every `training.tokens.Example`) is not looked at.

    Args:
        input_ids: int64 [B, T].
        weights: float [B, T], aligned with `input_ids`.
    """
    row, before = torch.nonzero(weights[:, 1:], as_tuple=True)
    return Positions(
        index=row * input_ids.shape[1] + before,
        row=row,
        targets=input_ids[row, before + 1],
        weights=weights[row, before + 1],
    )


def select(values: Tensor, positions: Positions) -> Tensor:
    """The hidden states or logits that predict the weighted tokens: [B, T, D] -> [N, D], dtype kept."""
    return values.flatten(0, 1).index_select(0, positions.index)


def token_logps(logits: Tensor, targets: Tensor, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """``log pi(target)`` at every position.

    Args:
        logits: any floating dtype, [N, V].
        targets: int64 [N].
        chunk_elements: logits worked on at once.

    Returns:
        fp32 (float64 for float64 logits), [N].
    """
    return _in_chunks(_chunk_logps, logits, targets, chunk_elements)


def position_kl(policy_logits: Tensor, reference_logits: Tensor, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """``KL(pi_ref || pi) = sum_v pi_ref(v) (log pi_ref(v) - log pi(v))`` at every position.

    The forward KL of TDPO (arXiv:2404.11999, D_SeqKL). The reference is a constant: no gradient reaches it.

    Args:
        policy_logits: any floating dtype, [N, V].
        reference_logits: the same, [N, V].
        chunk_elements: logits of either model worked on at once.

    Returns:
        fp32 (float64 for float64 logits), [N].
    """
    return _in_chunks(_chunk_kl, policy_logits, reference_logits.detach(), chunk_elements)


def weighted_sums(values: Tensor, weights: Tensor, row: Tensor, rows: int) -> Tensor:
    """``sum_t weight_t value_t`` per answer.

    Summed along a [B, N] table rather than by index_add, whose order, and so whose rounding, varies on GPUs.

    Args:
        values: float [N].
        weights: float [N].
        row: int64 [N], the answer of each position.
        rows: B.

    Returns:
        [B]; zero for an answer without weighted positions.
    """
    mine = row == torch.arange(rows, device=row.device).unsqueeze(1)
    return torch.where(mine, values * weights, 0).sum(1)


def _in_chunks(function: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor, elements: int) -> Tensor:
    """``function`` over slices of N, recomputed in the backward pass instead of kept."""
    size = max(1, elements // first.shape[1])
    pairs = zip(first.split(size), second.split(size), strict=True)
    return torch.cat([checkpoint(function, *pair, use_reentrant=False, preserve_rng_state=False) for pair in pairs])


def _exact(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _chunk_logps(logits: Tensor, targets: Tensor) -> Tensor:
    return -functional.cross_entropy(_exact(logits), targets, reduction="none")


def _chunk_kl(policy_logits: Tensor, reference_logits: Tensor) -> Tensor:
    policy = _exact(policy_logits).log_softmax(-1)
    reference = _exact(reference_logits).log_softmax(-1)
    # An entry that the reference rules out (a logit of -inf) contributes 0, not 0 * inf.
    difference = (reference - policy).masked_fill(reference.isneginf(), 0)
    return (reference.exp() * difference).sum(-1)
