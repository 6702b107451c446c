"""The last layer, chunk by chunk: log-probabilities and KL from hidden states, without the logits of a whole batch.

Shapes: N positions, D hidden size, V vocabulary entries. With z = W h + b the logits of a position, p its softmax, and
z_r, p_r the same of the reference::

    lse      log sum_v exp z(v)                                  gradient towards z:  p
    logp     z(target) - lse                                                          onehot(target) - p
    kl       sum_v p_r(v) (z_r(v) - z(v)) - (lse_r - lse)                             p - p_r

`kl` is KL(pi_ref || pi), the forward KL of TDPO (arXiv:2404.11999, D_SeqKL), written so that it is exactly 0 where both
models agree. No more than a chunk of logits is worked on at once, in fp32 (float64 stays). The backward pass computes
them again, but for the first positions, whose exponentials are kept as far as `KEPT_ELEMENTS` go. Where the head is
frozen, as with LoRA, nothing is computed again: the forward pass leaves W' p and W' p_r, [N, D] each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise, repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = {"cpu": 2**23, "cuda": 2**27}
"""Logits worked on at once, by kind of device: 32 MiB in fp32, or 256 positions of a vocabulary of 32,768, on a CPU,
where twice or half as many took as long (2 cores of a Zen 4, D = 256). A GPU wants more of them at a time."""
BLOCK_ELEMENTS = 2**20
"""Of these, logits that a CPU takes the exponentials of at once: 4 MiB, which its caches hold."""
KEPT_ELEMENTS = 2**27
"""Exponentials, both models' together, that are kept for the backward pass rather than computed again: 512 MiB."""


class HeadWeights(NamedTuple):
    """What makes logits of hidden states: z = W h + b, or with a cap ``cap * tanh((W h + b) / cap)``.

    Attributes:
        weight: W, [V, D].
        bias: b, [V].
        cap: Gemma's final_logit_softcapping.
    """

    weight: Tensor
    bias: Tensor | None = None
    cap: float | None = None

    @property
    def frozen(self) -> bool:
        return not (self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad))


class Predictions(NamedTuple):
    """What a head says of N positions; each [N], in fp32 (float64 for float64 hidden states).

    Attributes:
        logps: log-probability of the target.
        lse: log of the sum of the exponentials of all logits.
        kl: KL(reference || policy), where there is a reference.
        reference: log-probability of the target under the reference; no gradient.
        top: int64, the most likely token, where asked for.
    """

    logps: Tensor
    lse: Tensor
    kl: Tensor | None = None
    reference: Tensor | None = None
    top: Tensor | None = None


def predict(
    hidden: Tensor,
    head: HeadWeights,
    targets: Tensor,
    reference: tuple[Tensor, HeadWeights] | None = None,
    *,
    top: bool = False,
    chunk_elements: int | None = None,
    kept_elements: int = KEPT_ELEMENTS,
) -> Predictions:
    """Log-probabilities of targets, and KL to a reference, from hidden states.

    Args:
        hidden: those that predict the targets, [N, D], of the dtype of the head.
        head: the policy's.
        targets: int64 [N].
        reference: hidden states of the reference, [N, any size], and its head over the same vocabulary; constants.
        top: whether to find the most likely tokens.
        chunk_elements: logits worked on at once; by default, `CHUNK_ELEMENTS`.
        kept_elements: exponentials kept for the backward pass, both models' together.
    """
    theirs, their_head = reference or (None, None)
    learns = torch.is_grad_enabled() and (hidden.requires_grad or not head.frozen)
    keeps = learns and not head.frozen and head.cap is None
    chunk = chunk_rows(head.weight, chunk_elements)
    kept = kept_elements // len(head.weight) // (1 if theirs is None else 2) if keeps else 0
    how = _How(head.cap, their_head, learns, top, chunk, kept)
    return Predictions(*_Predict.apply(hidden, head.weight, head.bias, targets, theirs, how))


def chunk_rows(weight: Tensor, elements: int | None = None) -> int:
    """How many positions are worked on at once with a head of this weight, [V, D]."""
    return max(1, (elements or CHUNK_ELEMENTS.get(weight.device.type, CHUNK_ELEMENTS["cuda"])) // len(weight))


class _How(NamedTuple):
    """What a call asks for, apart from what autograd must know of."""

    cap: float | None
    reference: HeadWeights | None
    learns: bool
    top: bool
    chunk: int
    kept: int


class _Predict(torch.autograd.Function):
    """`predict`. What it saves is [N] or [N, D], but for the exponentials of the first positions."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, theirs: Tensor | None, how: _How
    ) -> tuple[Tensor | None, ...]:
        head, scratch = HeadWeights(weight, bias, how.cap), _Scratch(how.chunk, hidden, len(weight))
        # So that the backward pass knows which of the columns the loss looked at.
        ctx.set_materialize_grads(False)
        ctx.how, ctx.frozen = how, not any(ctx.needs_input_grad[1:3])
        kept = 0 if ctx.frozen else min(how.kept, len(hidden))
        # Not among the saved tensors: the backward pass writes into them, and gives each back once it is used. A second
        # one, through a graph that was retained, computes them again.
        ctx.kept = deque()
        columns, slopes = [], []
        for rows in _chunks(kept, len(hidden), how.chunk):
            # What is kept is worked out where it stays.
            place = scratch.fresh if rows.stop <= kept else scratch
            z = _logits(hidden[rows], head, place(0, rows))
            z_r = None if theirs is None else _logits(theirs[rows], how.reference, place(1, rows))
            bent = _bent(z, how.cap)
            *found, total, total_r = _values(z, z_r, targets[rows], how.top)
            columns.append(tuple(found))
            said = _Softmax(z, total), None if z_r is None else _Softmax(z_r, total_r)
            if how.learns and ctx.frozen:
                slopes.append(_slopes(*said, targets[rows], bent, weight))
            elif rows.stop <= kept:
                ctx.kept.append((rows, *said))
        logps, lse, kl, reference, top, reference_lse = _joined(columns)
        ctx.mark_non_differentiable(*(value for value in (reference, top) if value is not None))
        ctx.save_for_backward(hidden, weight, bias, targets, theirs, lse, reference_lse, *_joined(slopes))
        return logps, lse, kl, reference, top

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, logps: Tensor | None, lse: Tensor | None, kl: Tensor | None, *_: Any
    ) -> tuple[Tensor | None, ...]:
        likelihood_alone = lse is None and kl is None
        nothing = torch.zeros_like(ctx.saved_tensors[5])
        logps, lse, kl = (nothing if each is None else each for each in (logps, lse, kl))
        # Towards the probabilities of the policy: that of the target apart, which logps adds.
        gradients = _Gradients(logps, lse + kl - logps, kl, likelihood_alone)
        if ctx.frozen:
            return _from_slopes(gradients, *ctx.saved_tensors[-3:]), *[None] * 5
        return *_from_logits(ctx, gradients), *[None] * 3


class _Gradients(NamedTuple):
    """Of the loss towards z: ``target onehot(target) + policy p - reference p_r``; each [N].

    `likelihood_alone`: it is ``policy (p - onehot(target))``.
    """

    target: Tensor
    policy: Tensor
    reference: Tensor
    likelihood_alone: bool


class _Softmax(NamedTuple):
    """The probabilities p of a chunk as exponentials, [n, V], and what their rows sum to, [n]."""

    exponentials: Tensor
    total: Tensor


def _values(z: Tensor, z_r: Tensor | None, targets: Tensor, top: bool) -> tuple[Tensor | None, ...]:
    """The columns of a chunk: those of `Predictions`, the reference's lse, and the totals that make both models'
    exponentials probabilities. The exponentials, of z less the row's largest, are left in the place of z and z_r."""
    size = max(1, BLOCK_ELEMENTS // z.shape[1]) if z.device.type == "cpu" else max(1, len(z))
    theirs = repeat(None) if z_r is None else z_r.split(size)
    blocks = zip(z.split(size), theirs, targets.split(size), strict=False)
    return tuple(_joined([_block_values(*block, top) for block in blocks]))


def _block_values(z: Tensor, z_r: Tensor | None, targets: Tensor, top: bool) -> tuple[Tensor | None, ...]:
    best = z.argmax(-1) if top else None
    picked = _picked(z, targets)
    if z_r is None:
        lse, total = _to_exponentials(z)
        return picked - lse, lse, None, None, best, None, total, None
    picked_r, difference = _picked(z_r, targets), z_r - z
    (lse, total), (lse_r, total_r) = _to_exponentials(z), _to_exponentials(z_r)
    kl = torch.einsum("nv,nv->n", z_r, difference) / total_r - (lse_r - lse)
    return picked - lse, lse, kl, picked_r - lse_r, best, lse_r, total, total_r


def _slopes(
    mine: _Softmax, theirs: _Softmax | None, targets: Tensor, bent: Tensor | None, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What `_Gradients` are multiplied with to give the gradient towards the hidden states; each [n, D]."""
    of_target = weight[targets]
    if bent is not None:
        of_target = of_target * _picked(bent, targets).unsqueeze(1).to(weight.dtype)

    def mean(said: _Softmax) -> Tensor:
        p = said.exponentials.div_(said.total.unsqueeze(1))
        return (p if bent is None else p.mul_(bent)).to(weight.dtype) @ weight

    return of_target, mean(mine), None if theirs is None else mean(theirs)


def _from_slopes(gradients: _Gradients, of_target: Tensor, of_policy: Tensor, of_reference: Tensor | None) -> Tensor:
    target, policy, reference = (gradient.unsqueeze(1) for gradient in gradients[:3])
    found = target * of_target + policy * of_policy
    return (found if of_reference is None else found - reference * of_reference).to(of_target.dtype)


def _from_logits(ctx: Any, gradients: _Gradients) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients towards hidden states, weight and bias, from exponentials that were kept or are computed again."""
    hidden, weight, bias, targets, theirs, lse, lse_r = ctx.saved_tensors
    how, scratch = ctx.how, _Scratch(ctx.how.chunk, hidden, len(weight))
    sums = _Sums(hidden, weight, bias, targets, gradients)
    needed = torch.stack(gradients[:3]).ne(0)
    needed[:, : ctx.kept[-1][0].stop if ctx.kept else 0] = False
    while ctx.kept:
        sums.add(*ctx.kept.popleft())
    for with_reference in (True, False):
        wanted = needed[2] if with_reference else needed[:2].any(0) & ~needed[2]
        rows_wanted = wanted.nonzero().squeeze(1)
        for rows in rows_wanted.split(how.chunk) if len(rows_wanted) else ():
            z = _logits(hidden[rows], HeadWeights(weight, bias, how.cap), scratch(0, rows))
            bent, whole = _bent(z, how.cap), torch.ones_like(lse[rows])
            mine, others = _Softmax(z.sub_(lse[rows].unsqueeze(1)).exp_(), whole), None
            if with_reference:
                z_r = _logits(theirs[rows], how.reference, scratch(1, rows))
                others = _Softmax(z_r.sub_(lse_r[rows].unsqueeze(1)).exp_(), whole)
            sums.add(rows, mine, others, bent)
    to_weight = torch.zeros_like(weight) if sums.to_weight is None else sums.to_weight
    return sums.to_hidden, to_weight, sums.to_bias


class _Sums:
    """The gradients towards hidden states, weight and bias, chunk by chunk; the last two are added up in fp32."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, gradients: _Gradients
    ) -> None:
        self._hidden, self._weight, self._targets, self._gradients = hidden, weight, targets, gradients
        self.to_hidden = torch.zeros_like(hidden)
        self.to_weight: Tensor | None = None
        self.to_bias = None if bias is None else torch.zeros_like(bias, dtype=_precise(bias.dtype))

    def add(
        self, rows: slice | Tensor, mine: _Softmax, theirs: _Softmax | None = None, bent: Tensor | None = None
    ) -> None:
        """A chunk. What the gradient towards its logits is a multiple of, row by row, is written into `mine`."""
        slope, scale = self._slope(rows, mine, theirs)
        del theirs
        if bent is not None:
            slope.mul_(bent)
        if self.to_bias is not None:
            self.to_bias += (slope.t() @ scale).squeeze(1)
        slope, scale = slope.to(self._weight.dtype), scale.to(self._weight.dtype)
        self.to_hidden[rows] = (slope @ self._weight).mul_(scale)
        hidden = self._hidden[rows] * scale
        if self.to_weight is None:
            self.to_weight = (slope.t() @ hidden).to(_precise(slope.dtype))
        elif self.to_weight.dtype == slope.dtype:
            self.to_weight.addmm_(slope.t(), hidden)
        else:
            self.to_weight += slope.t() @ hidden

    def _slope(self, rows: slice | Tensor, mine: _Softmax, theirs: _Softmax | None) -> tuple[Tensor, Tensor]:
        """The gradient towards the logits of a chunk as a product: [n, V], and [n, 1]."""
        target, policy, reference = (gradient[rows] for gradient in self._gradients[:3])
        slope, scale = mine.exponentials, (policy / mine.total).unsqueeze(1)
        # No two entries of a chunk are one: this adds in no order that could vary.
        entries = torch.arange(len(slope), device=slope.device), self._targets[rows]
        if self._gradients.likelihood_alone:
            # Scaling what the products make of it, [n, D], spares a pass over [n, V].
            slope[entries] -= mine.total
            return slope, scale
        slope.mul_(scale)
        if theirs is not None:
            slope.addcmul_(theirs.exponentials, (reference / theirs.total).unsqueeze(1), value=-1)
        slope[entries] += target
        return slope, torch.ones_like(scale)


class _Scratch:
    """Tensors of a chunk's logits, allocated once per pass: on a CPU, fresh memory costs as much as what fills it."""

    def __init__(self, chunk: int, hidden: Tensor, vocabulary: int) -> None:
        self._shape, self._like = (min(chunk, len(hidden)), vocabulary), hidden
        self._made: dict[int, Tensor] = {}

    def __call__(self, number: int, rows: slice | Tensor) -> Tensor:
        """The tensor of this number, as many rows of it: [n, V]."""
        if number not in self._made:
            self._made[number] = self._empty(self._shape[0])
        return self._made[number][: len(rows) if isinstance(rows, Tensor) else rows.stop - rows.start]

    def fresh(self, number: int, rows: slice) -> Tensor:
        """A tensor that nothing else will use."""
        return self._empty(rows.stop - rows.start)

    def _empty(self, rows: int) -> Tensor:
        return self._like.new_empty((rows, self._shape[1]), dtype=_precise(self._like.dtype))


def _precise(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32


def _chunks(kept: int, stop: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover 0..stop, one of them ending at `kept`; at least one, if empty."""
    ends = [*range(0, kept, size), *range(kept, stop, size), stop]
    return [slice(*pair) for pair in pairwise(ends)] or [slice(0, 0)]


def _logits(hidden: Tensor, head: HeadWeights | None, out: Tensor) -> Tensor:
    """z of a chunk, [n, V], written into `out`."""
    assert head is not None
    if out.dtype == hidden.dtype:
        torch.mm(hidden, head.weight.t(), out=out)
    else:
        out.copy_(hidden @ head.weight.t())
    if head.bias is not None:
        out += head.bias
    return out if head.cap is None else out.div_(head.cap).tanh_().mul_(head.cap)


def _bent(z: Tensor, cap: float | None) -> Tensor | None:
    """The derivative of a capped logit towards the uncapped one, [n, V]; None where nothing is capped."""
    return None if cap is None else 1 - (z / cap).square()


def _picked(values: Tensor, targets: Tensor) -> Tensor:
    """The entry of each row's target: [n, V] -> [n], a copy."""
    return values.gather(1, targets.unsqueeze(1)).squeeze(1)


def _to_exponentials(z: Tensor) -> tuple[Tensor, Tensor]:
    """Logits to the exponentials of what they are above the row's largest, in place; the log of the sum of the
    exponentials of the logits themselves, and the sum of those that are left, each [n]."""
    largest = z.amax(1)
    total = z.sub_(largest.unsqueeze(1)).exp_().sum(1)
    return largest + total.log(), total


def _joined(parts: Sequence[tuple[Tensor | None, ...]]) -> list[Tensor | None]:
    """Tuples of tensors (or of None) to one tuple of their concatenations."""
    columns = zip(*parts, strict=True)
    return [None if column[0] is None else torch.cat(column) for column in columns]
