"""The KL to a reference that shares the policy's frozen head, from D numbers a position instead of V. Pure.

Shapes: N positions, D hidden size, V vocabulary entries.

Under LoRA the head W [V, D] (and its bias b [V], where it has one) is the same for reference and policy, and never
changes. Then with z = W h + b, p = softmax(z), the reference's hidden state h_r and its p_r = softmax(W h_r + b)::

    KL(p_r || p) = sum_v p_r(v) (log p_r(v) - log p(v))
                 = -H_r - sum_v p_r(v) (z(v) - lse(z))          log p = z - lse(z), H_r = -sum_v p_r log p_r
                 = -H_r - h . (W^T p_r) - b . p_r + lse(z)      sum_v p_r(v) = 1
                 = lse(W h + b) - h . e - c                     e = W^T p_r, c = H_r + b . p_r

e [D] and c are all that the reference has to leave behind; lse(z) is computed for the log-prob anyway. The gradient is
W^T p - e with respect to h, which is W^T (p - p_r): the direct formula's. Putting h = h_r, where the KL is zero, gives
c = lse(W h_r + b) - h_r . e, and so it is computed here: by the very operations of the KL, whose rounding then cancels
where the policy still is the reference. Without a bias c is the entropy.

It does not hold where logits are capped, where the head trains, or where it was resized. Where logits are rounded to
bf16, the rounding of lse(z) stays in it, which the definition cancels between z_r and z: with random numbers, V = 32000
and a KL of 0.004, its root mean square error was 0.026 a position, against 0.002. Training takes the definition there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.head import chunk_rows


class Summary(NamedTuple):
    """What the reference leaves behind at N positions.

    Attributes:
        expectation: e, the head's rows averaged under the reference, fp32 (float64 for float64 heads) [N, D].
        entropy: c, the reference's entropy (plus b . p_r where the head has a bias), the same dtype [N].
        logps: the reference's log-prob of each target, the same dtype [N].
    """

    expectation: Tensor
    entropy: Tensor
    logps: Tensor


@torch.no_grad()
def summarise(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None = None, chunk_elements: int | None = None
) -> Summary:
    """The short form of a reference.

    Args:
        hidden: the reference's final hidden states, any floating dtype [N, D].
        targets: the token that follows each, int64 [N].
        weight: the head's, any floating dtype [V, D].
        bias: the head's, [V].
        chunk_elements: logits worked on at once; by default, those of `training.head`.
    """
    size, exact = chunk_rows(weight, chunk_elements), _exact(weight)
    chunks = zip(hidden.split(size), targets.split(size), strict=True)
    parts = [_summary(*chunk, weight, bias, exact) for chunk in chunks]
    return Summary(*(torch.cat(values) for values in zip(*parts, strict=True)))


def short_kl(lse: Tensor, hidden: Tensor, expectation: Tensor, entropy: Tensor) -> Tensor:
    """``KL(pi_ref || pi) = lse(W h + b) - h . e - c`` at every position; gradients reach `lse` and `hidden`.

    Args:
        lse: log-sum-exp of the policy's logits, fp32 or float64 [N].
        hidden: the policy's final hidden states, any floating dtype [N, D].
        expectation: e, from `summarise` [N, D].
        entropy: c, from `summarise` [N].

    Returns:
        The dtype of `lse`, [N]; as low as minus its rounding where it is zero.
    """
    return lse - (_exact(hidden) * expectation).sum(-1) - entropy


def _summary(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, exact: Tensor) -> Summary:
    # Rounded as the policy's logits are, in the precision of the model: see `training.head`.
    logits = _exact(hidden @ weight.t())
    if bias is not None:
        logits += bias
    lse = logits.logsumexp(-1)
    logps = logits.gather(1, targets.unsqueeze(1)).squeeze(1) - lse
    expectation = (logits - lse.unsqueeze(1)).exp() @ exact
    nothing = torch.zeros_like(lse)
    return Summary(expectation, short_kl(lse, hidden, expectation, nothing), logps)


def _exact(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
