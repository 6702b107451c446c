"""From spans over characters to weights over tokens. Pure: no torch, nothing is ever searched for in token ids.

The response is tokenised alone and the tokenizer's own character offsets say which tokens a span touches
(`pipeline.offsets`). Weights are aligned with **unshifted** input ids (`training.logps.shift` alone shifts) and zero on
the prompt. The last position of an example is EOS, unless its answer was cut (`training.truncation`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.chat import Tokenizer
from pipeline.offsets import Offset, encode_response, span_weights
from pipeline.records import PreferenceRecord, Reject
from pipeline.spans import Span
from training.encoding import NO_OFFSETS, Row, encoded, texts_of
from training.policies import POLICIES, Mask, PairPolicies, Side, TokenPolicy, policy_of, policy_weights
from training.truncation import SPANS_CUT, TOO_LONG, TooLong, fitted

__all__ = [
    "NO_OFFSETS",
    "NO_WEIGHT",
    "SPANS_CUT",
    "TOO_LONG",
    "Example",
    "Mask",
    "PairExample",
    "Side",
    "encode_response",
    "flagged_side",
    "pair_example",
    "pair_of",
    "sft_example",
    "sft_of",
    "span_weights",
    "token_weights",
]

NO_WEIGHT = "no-weight"


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with one response, as tokens.

    Attributes:
        input_ids: prompt, response and EOS: T ids. A response that was cut has no EOS.
        weights: T weights, aligned with `input_ids` as they stand; zero before `response_start`.
        response_start: where the response begins; at least 1, since the first token of a sequence has no prediction.
        weight: the row's: what its loss is multiplied by.
    """

    id: str
    input_ids: tuple[int, ...]
    weights: tuple[float, ...]
    response_start: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        assert len(self.input_ids) == len(self.weights), "one weight per token"
        assert 1 <= self.response_start < len(self.input_ids), "a response follows a prompt and is not empty"
        assert not any(self.weights[: self.response_start]), "the prompt carries no weight"


@dataclass(frozen=True, slots=True)
class PairExample:
    """The two sides of a preference pair; their prompt is the same. `weight` is what its loss is multiplied by."""

    id: str
    chosen: Example
    rejected: Example
    weight: float = 1.0


def token_weights(
    mask: Mask,
    offsets: Sequence[Offset],
    spans: Sequence[Span],
    length: int,
    *,
    side: Side,
    flagged: Side = "rejected",
    seed: int = 0,
    record_id: str = "",
) -> list[float]:
    """The weights of one answer's tokens and EOS under a mask: ``len(offsets) + 1`` weights.

    - ``response``: 1 on every token and EOS.
    - ``granular``: the tokens in spans.
    - ``granular-one-sided``: the tokens in spans, and EOS, on the `flagged` side; nothing on the other side, and
      nothing at all if the flagged side has no spans.
    - ``outside``: 1 on every token that is in no span, EOS among them.
    - ``random``: the weights of ``granular`` on tokens drawn from the others (EOS among them) by
      ``(seed, record_id, side)``; tokens in spans are drawn only when the others run out.
    - a `PairPolicies`: what it says for this side.
    """
    granular = span_weights(offsets, spans, length)
    draw = _draw(seed, record_id, side)
    return policy_weights(policy_of(mask, side, flagged), granular, marked=bool(spans), ends=True, draw=draw)


def sft_example(
    tokenizer: Tokenizer,
    record_id: str,
    prompt: str,
    response: str,
    max_length: int,
    weight: float = 1.0,
    *,
    too_long: TooLong = "reject",
) -> Example | Reject:
    """A prompt and the answer to learn, every token of the answer and EOS weighing 1; see `pair_example`."""
    row = encoded(tokenizer, record_id, prompt, {"response": (response, ())}, weight)
    fit = row if isinstance(row, Reject) else fitted(tokenizer, row, max_length, too_long)
    return fit if isinstance(fit, Reject) else sft_of(fit, "response", POLICIES["response"], 0)


def pair_example(
    tokenizer: Tokenizer,
    record: PreferenceRecord,
    mask: Mask,
    max_length: int,
    seed: int,
    *,
    too_long: TooLong = "reject",
) -> PairExample | Reject:
    """A preference pair with the weights of a mask.

    Reject if either side is longer than `max_length` tokens and is not to be cut, or if no token of either side
    carries weight, since such a pair has no gradient.
    """
    row = encoded(tokenizer, record.id, record.prompt, texts_of(record), record.weight)
    fit = row if isinstance(row, Reject) else fitted(tokenizer, row, max_length, too_long)
    return fit if isinstance(fit, Reject) else pair_of(fit, mask, seed)


def pair_of(row: Row, mask: Mask, seed: int) -> PairExample | Reject:
    """The pair of a row that fits, with the weights of a mask, or a `Reject` if no token carries weight."""
    flagged = flagged_side(row)
    chosen = _example(row, "chosen", policy_of(mask, "chosen", flagged), seed)
    rejected = _example(row, "rejected", policy_of(mask, "rejected", flagged), seed)
    if not any(chosen.weights) and not any(rejected.weights):
        name = "as given" if isinstance(mask, PairPolicies) else mask
        return Reject(row.id, NO_WEIGHT, f"mask {name} selects no token of either answer")
    return PairExample(row.id, chosen, rejected, row.weight)


def sft_of(row: Row, target: str, policy: TokenPolicy, seed: int) -> Example | Reject:
    """One answer of a row that fits, with the weights of a policy, or a `Reject` if no token carries weight."""
    example = _example(row, target, policy, seed)
    return example if any(example.weights) else Reject(row.id, NO_WEIGHT, f"mask {policy.tokens} selects no token")


def flagged_side(row: Row) -> Side:
    """The side that the one-sided mask trains on: the rejected one, unless only the chosen side has spans.

    A seed row with flag +1 marks the correct answer alone and arrives with chosen spans only.
    """
    return "chosen" if row.answers["chosen"].spans and not row.answers["rejected"].spans else "rejected"


def _example(row: Row, name: str, policy: TokenPolicy, seed: int) -> Example:
    """Weights are those of the kept positions alone: what `random` draws is as much as spans have left, elsewhere."""
    answer = row.answers[name]
    draw = _draw(seed, row.id, name)
    weights = policy_weights(policy, answer.span_weights(), marked=bool(answer.spans), ends=answer.ends, draw=draw)
    start = len(row.prompt_ids)
    return Example(row.id, (*row.prompt_ids, *answer.ids[: answer.kept]), (*[0.0] * start, *weights), start, row.weight)


def _draw(seed: int, record_id: str, side: str) -> random.Random:
    return random.Random(f"{seed}:{record_id}:{side}")
