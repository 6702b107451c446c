"""From per-token values of held-out pairs to figures: pure functions of tensors, in float64.

Every arm is measured alike, whatever its loss, mask and beta: all response tokens and EOS weigh one, and the measure is
DPO's (Rafailov et al. 2023, arXiv:2305.18290, equation 7) with a beta of the measure's own. With
r_t = log pi(y_t | s_t) - log pi_ref(y_t | s_t), m = sum_t r_t and KL_t = KL(pi_ref(. | s_t) || pi(. | s_t))::

    eval/loss                      mean over pairs of -log sigmoid(beta (m_w - m_l))
    eval/rewards/SIDE              mean over pairs of beta m; SIDE is chosen or rejected
    eval/rewards/margins           mean over pairs of beta (m_w - m_l)
    eval/rewards/accuracies        share of pairs whose chosen reward is strictly the larger
    eval/logps/SIDE                mean over pairs of sum_t log pi
    eval/kl/SIDE                   mean over pairs of sum_t KL_t
    eval/kl_per_token/SIDE         mean over tokens of KL_t

Each token is in one part: outside all spans, or inside a span of one error type. Sums over a part are divided by *all*
pairs, so that inside and outside add up to the whole, and types to inside; what is per token, by the part's tokens::

    eval/rewards/SIDE/PART         PART is inside, outside, or inside/TYPE
    eval/kl/SIDE/PART
    eval/kl_per_token/SIDE/PART    where the part has tokens
    eval/rewards/margins/TYPE      over the pairs that have a span of that type on either side, where there are any
    eval/rewards/accuracies/TYPE

Without a reference, as in supervised runs, only these, which pairs and single answers have::

    eval/nll                       mean over the tokens of good answers of -log pi
    eval/exact                     share of good answers whose every token is the most likely one
    eval/nll_rejected              eval/nll of rejected answers
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.losses import dpo

SIDES = ("chosen", "rejected")
OUTSIDE = 0
"""The part of tokens in no span; part n is the n-th error type, from 1."""


class Scored(NamedTuple):
    """The M response tokens of B pairs or of A single answers, with what was computed of them.

    Attributes:
        answer: int64 [M], the token's answer, in 0..A-1. Of pairs: chosen b is b, rejected b is B + b.
        part: int64 [M], where it stands: `OUTSIDE`, or the number of an error type.
        logps: float [M], the policy's log-probability of it.
        best: bool [M], whether it is the policy's most likely token.
        reference: float [M], the reference's log-probability of it, where there is a reference.
        kl: float [M], KL(reference || policy) there, where there is a reference.
    """

    answer: Tensor
    part: Tensor
    logps: Tensor
    best: Tensor
    reference: Tensor | None = None
    kl: Tensor | None = None


class Sums(NamedTuple):
    """What is added up over batches and ranks; float64.

    Attributes:
        parts: [2, P, 4], for each side and part: tokens, and the sums of log-probabilities, log-ratios and KL.
        pairs: [P, 4], over all pairs (row 0) and over those with a span of the n-th type (row n): pairs, and the sums
            of loss, margin m_w - m_l, and accuracy.
        exact: [2], good answers whose every token is the most likely one, and good answers.
    """

    parts: Tensor
    pairs: Tensor
    exact: Tensor

    @classmethod
    def zero(cls, parts: int) -> Sums:
        """Nothing yet, with room for so many parts."""
        shapes = ((len(SIDES), parts, 4), (parts, 4), (2,))
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    def plus(self, other: Sums) -> Sums:
        return Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def flat(self) -> Tensor:
        """All of them in one vector, for one reduction over ranks."""
        return torch.cat([tensor.flatten() for tensor in self])

    def from_flat(self, values: Tensor) -> Sums:
        """Such a vector as sums of this shape."""
        split = values.split([tensor.numel() for tensor in self])
        return Sums(*(part.view_as(mine) for part, mine in zip(split, self, strict=True)))


def answer_sums(scored: Scored, answers: int, parts: int) -> Sums:
    """The sums over single good answers, which count as chosen ones."""
    table = _by_answer_and_part(scored, answers, parts)
    zero = Sums.zero(parts)
    return zero._replace(parts=torch.stack([table.sum(0), zero.parts[1]]), exact=_exact(scored, answers))


def pair_sums(scored: Scored, pairs: int, parts: int, beta: float) -> Sums:
    """The sums over B pairs.

    Args:
        scored: their response tokens, all of both sides.
        pairs: B.
        parts: P, error types and one.
        beta: of the measure.
    """
    table = _by_answer_and_part(scored, 2 * pairs, parts).view(2, pairs, parts, 4)
    chosen, rejected = table[..., 2].sum(-1)
    measures = [torch.ones_like(chosen), dpo(chosen, rejected, beta), chosen - rejected, (chosen > rejected).double()]
    # Which pairs each row of sums is over: all of them, then those that have a token of each type.
    over = (table[..., 0].sum(0) > 0).double()
    over[:, OUTSIDE] = 1
    return Sums(table.sum(1), over.T @ torch.stack(measures, dim=1), _exact(scored, pairs))


def _by_answer_and_part(scored: Scored, answers: int, parts: int) -> Tensor:
    """Tokens, log-probabilities, log-ratios and KL, added up: float64 [answers, parts, 4].

    On the CPU, where index_add adds in order: on a GPU its rounding varies.
    """
    logps = scored.logps.double().cpu()
    ratios = torch.zeros_like(logps) if scored.reference is None else logps - scored.reference.double().cpu()
    kl = torch.zeros_like(logps) if scored.kl is None else scored.kl.double().cpu()
    values = torch.stack([torch.ones_like(logps), logps, ratios, kl], dim=1)
    place = scored.answer.cpu() * parts + scored.part.cpu()
    return values.new_zeros(answers * parts, 4).index_add(0, place, values).view(answers, parts, 4)


def _exact(scored: Scored, good: int) -> Tensor:
    """Among the first `good` answers those without a token that is not the most likely, and their number."""
    missed = scored.answer[~scored.best].cpu().unique()
    return torch.tensor([good - int((missed < good).sum()), good], dtype=torch.float64)


def figures(sums: Sums, types: Sequence[str], beta: float, *, reference: bool) -> dict[str, float]:
    """The figures by name, see above.

    Args:
        sums: over all batches and ranks.
        types: the error types, T = P - 1.
        beta: of the measure.
        reference: whether there was a reference, and so log-ratios and KL.
    """
    tokens, logps = sums.parts[..., 0].sum(1).tolist(), sums.parts[..., 1].sum(1).tolist()
    exact, good = sums.exact.tolist()
    found = {"nll": -logps[0] / tokens[0], "exact": exact / good}
    if tokens[1]:
        found["nll_rejected"] = -logps[1] / tokens[1]
        if reference:
            found |= dict(_whole(sums, beta))
            if types:
                found |= dict(_parts(sums, types, beta))
    return {f"eval/{name}": value for name, value in found.items()}


def _whole(sums: Sums, beta: float) -> Iterator[tuple[str, float]]:
    pairs, loss, margin, accuracy = sums.pairs[0].tolist()
    yield "loss", loss / pairs
    yield "rewards/margins", beta * margin / pairs
    yield "rewards/accuracies", accuracy / pairs
    for side, values in zip(SIDES, sums.parts.sum(1), strict=True):
        yield f"logps/{side}", float(values[1]) / pairs
        yield from _of_part(values, side, pairs, beta)


def _parts(sums: Sums, types: Sequence[str], beta: float) -> Iterator[tuple[str, float]]:
    pairs = float(sums.pairs[0, 0])
    for side, parts in zip(SIDES, sums.parts, strict=True):
        yield from _of_part(parts[1:].sum(0), f"{side}/inside", pairs, beta)
        yield from _of_part(parts[OUTSIDE], f"{side}/outside", pairs, beta)
        for name, values in zip(types, parts[1:], strict=True):
            yield from _of_part(values, f"{side}/inside/{name}", pairs, beta)
    for name, values in zip(types, sums.pairs[1:], strict=True):
        having, _, margin, accuracy = values.tolist()
        if having:
            yield f"rewards/margins/{name}", beta * margin / having
            yield f"rewards/accuracies/{name}", accuracy / having


def _of_part(values: Tensor, where: str, pairs: float, beta: float) -> Iterator[tuple[str, float]]:
    tokens, _, ratios, kl = values.tolist()
    yield f"rewards/{where}", beta * ratios / pairs
    yield f"kl/{where}", kl / pairs
    if tokens:
        yield f"kl_per_token/{where}", kl / tokens
