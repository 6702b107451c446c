"""Which tokens of an answer carry weight: a policy for each side, and names for the usual pairs. Pure: no torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_serializer, model_validator

from pipeline.failures import UserError, nearest

Side = Literal["chosen", "rejected"]
Tokens = Literal["response", "spans", "outside", "random", "none"]
Alike = Literal["response", "granular", "outside", "random"]
MaskName = Literal["response", "granular", "granular-one-sided", "outside", "random"]


class TokenPolicy(BaseModel):
    """Which tokens of one answer carry weight. A word stands for a policy of that `tokens` and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: Tokens = Field(
        description="`response`: all, with weight 1. `spans`: those that spans touch, with the spans' weights. "
        "`outside`: all others, with weight 1. `random`: the weights of `spans` on tokens elsewhere. `none`: none.",
    )
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="All weights are multiplied by it.")
    eos: bool | None = Field(
        default=None,
        description="Whether the end of the answer carries weight: 1 (or its span's, if more), or none. By default it "
        "is a token like others, and `spans` has it only where a span stands at the end of the text. With `spans` "
        "and `random`, `true` holds for answers that have spans.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"tokens": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> TokenPolicy:
        if self.tokens == "none" and (self.scale != 1 or self.eos is not None):
            raise ValueError("scale and eos mean nothing with tokens: none")
        return self

    @model_serializer
    def _shortest(self) -> str | dict[str, Any]:
        """One form for what means one thing, so that it has one key."""
        given = {"scale": self.scale} if self.scale != 1 else {}
        given |= {"eos": self.eos} if self.eos is not None else {}
        return {"tokens": self.tokens, **given} if given else self.tokens

    @property
    def reads_spans(self) -> bool:
        return self.tokens in ("spans", "outside", "random")


class PairPolicies(BaseModel):
    """A policy for each side of a pair: a word such as `spans`, or a mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chosen: TokenPolicy = Field(description="Of the chosen answer.")
    rejected: TokenPolicy = Field(description="Of the rejected answer.")

    @model_validator(mode="after")
    def _weighs_something(self) -> PairPolicies:
        if self.chosen.tokens == self.rejected.tokens == "none":
            raise ValueError("with `none` on both sides there is nothing to train on")
        return self


Mask = MaskName | PairPolicies
"""Which tokens of a pair carry weight; see `policy_of`."""
SftMask = Alike | TokenPolicy
"""Which tokens of the one answer that supervised fine-tuning learns carry weight."""

POLICIES: dict[Alike, TokenPolicy] = {
    "response": TokenPolicy(tokens="response"),
    "granular": TokenPolicy(tokens="spans"),
    "outside": TokenPolicy(tokens="outside"),
    "random": TokenPolicy(tokens="random"),
}
"""The masks that treat both sides alike."""
NONE = TokenPolicy(tokens="none")
ONE_SIDED = TokenPolicy(tokens="spans", eos=True)


def mask_of(value: Any) -> Mask:
    """A mask from its name, its policies, or a mapping of them. Raises a config error for anything else."""
    try:
        return TypeAdapter[Mask](Mask).validate_python(value)
    except ValidationError as error:
        hint = nearest(value, list(get_args(MaskName))) if isinstance(value, str) else "Name a policy for each side."
        raise UserError("config", f"{error.errors()[-1]['msg']}.", "mask", hint) from None


def pair_mask(mask: Mask) -> Mask:
    """The name of a mask, where policies say what a name says: so that what means one thing has one key."""
    if isinstance(mask, PairPolicies) and mask.chosen == mask.rejected:
        return next((name for name, policy in POLICIES.items() if policy == mask.chosen), mask)
    return mask


def sft_mask(mask: SftMask) -> SftMask:
    """The same for the mask of one answer."""
    return next((name for name, policy in POLICIES.items() if policy == mask), mask)


def policy_of(mask: Mask, side: Side, flagged: Side = "rejected") -> TokenPolicy:
    """What a mask means for one side. ``granular-one-sided`` trains on the `flagged` side alone."""
    if isinstance(mask, PairPolicies):
        return mask.chosen if side == "chosen" else mask.rejected
    if mask == "granular-one-sided":
        return ONE_SIDED if side == flagged else NONE
    return POLICIES[mask]


def sft_policy(mask: SftMask) -> TokenPolicy:
    """What a mask means for the one answer of a row."""
    return mask if isinstance(mask, TokenPolicy) else POLICIES[mask]


def policy_weights(
    policy: TokenPolicy, spans: Sequence[float], *, marked: bool, ends: bool, draw: random.Random
) -> list[float]:
    """The weight of every position of one answer under a policy.

    Args:
        policy: what carries weight.
        spans: the weight that spans give each position, as from `pipeline.offsets.span_weights`.
        marked: whether the answer has spans.
        ends: whether the last position is EOS, as it is unless the answer was cut.
        draw: what `random` draws with.
    """
    settled = ends and policy.eos is not None
    weights = _by_tokens(policy.tokens, spans[:-1] if settled else spans, draw)
    if settled:
        weights.append(_end_weight(policy, spans[-1], marked))
    return [weight * policy.scale for weight in weights]


def _by_tokens(tokens: Tokens, spans: Sequence[float], draw: random.Random) -> list[float]:
    match tokens:
        case "response":
            return [1.0] * len(spans)
        case "spans":
            return list(spans)
        case "outside":
            return [0.0 if weight else 1.0 for weight in spans]
        case "random":
            return _moved_elsewhere(spans, draw)
        case "none":
            return [0.0] * len(spans)


def _end_weight(policy: TokenPolicy, by_span: float, marked: bool) -> float:
    """What EOS weighs where the policy says so itself."""
    by_spans = policy.tokens in ("spans", "random")
    if not policy.eos or (by_spans and not marked):
        return 0.0
    return max(by_span, 1.0) if by_spans else 1.0


def _moved_elsewhere(spans: Sequence[float], draw: random.Random) -> list[float]:
    """The same weights in the same order on as many other positions; on those in spans only when the others run out."""
    inside = [i for i, weight in enumerate(spans) if weight > 0]
    outside = [i for i, weight in enumerate(spans) if weight == 0]
    drawn = draw.sample(outside, min(len(inside), len(outside)))
    drawn += draw.sample(inside, len(inside) - len(drawn))
    weights = [0.0] * len(spans)
    for position, source in zip(sorted(drawn), inside, strict=True):
        weights[position] = spans[source]
    return weights
