"""From spans over characters to weights over tokens. Pure: no torch, nothing is ever searched for in token ids.

The response is tokenised alone and the tokenizer's own character offsets say which tokens a span touches
(`pipeline.offsets`). Weights are aligned with **unshifted** input ids (`training.logps.shift` alone shifts), zero on
the prompt, and the last position of every example is EOS.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.chat import Tokenizer, prompt_ids
from pipeline.failures import UserError
from pipeline.offsets import Offset, encode_response, span_weights
from pipeline.records import PreferenceRecord, Reject
from pipeline.spans import Span

Mask = Literal["response", "granular", "granular-one-sided", "random"]
"""Which tokens of an answer carry weight; see `token_weights`."""
Side = Literal["chosen", "rejected"]

TOO_LONG = "too-long"
NO_WEIGHT = "no-weight"
NO_OFFSETS = "no-offsets"


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with one response, as tokens.

    Attributes:
        input_ids: prompt, response and EOS: T ids.
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
        assert 1 <= self.response_start < len(self.input_ids), "a response follows a prompt and holds at least EOS"
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
    - ``random``: the weights of ``granular`` on tokens drawn from the others (EOS among them) by
      ``(seed, record_id, side)``; tokens in spans are drawn only when the others run out.
    """
    if mask == "response":
        return [1.0] * (len(offsets) + 1)
    granular = span_weights(offsets, spans, length)
    if mask == "granular":
        return granular
    if mask == "random":
        return _moved_elsewhere(granular, random.Random(f"{seed}:{record_id}:{side}"))
    if side != flagged or not spans:
        return [0.0] * len(granular)
    return [*granular[:-1], max(granular[-1], 1.0)]


def sft_example(
    tokenizer: Tokenizer, record_id: str, prompt: str, response: str, max_length: int, weight: float = 1.0
) -> Example | Reject:
    """A prompt and the answer to learn, every token of the answer and EOS weighing 1; skipped if too long."""
    try:
        prompt_tokens = prompt_ids(tokenizer, prompt)
        ids, offsets = encode_response(tokenizer, response)
    except UserError as error:
        return _skipped_for(error, record_id)
    weights = token_weights("response", offsets, (), len(response), side="chosen")
    return _too_long(_example(tokenizer, record_id, prompt_tokens, ids, weights, weight), max_length)


def pair_example(
    tokenizer: Tokenizer, record: PreferenceRecord, mask: Mask, max_length: int, seed: int
) -> PairExample | Reject:
    """A preference pair with the weights of a mask.

    Reject if either side is longer than `max_length` tokens (a cut could remove the span), or if no token of either
    side carries weight, since such a pair has no gradient.
    """
    try:
        prompt = prompt_ids(tokenizer, record.prompt)
        chosen = _side_example(tokenizer, record, prompt, "chosen", mask, seed)
        rejected = _side_example(tokenizer, record, prompt, "rejected", mask, seed)
    except UserError as error:
        return _skipped_for(error, record.id)
    for example in (chosen, rejected):
        if isinstance(checked := _too_long(example, max_length), Reject):
            return checked
    if not any(chosen.weights) and not any(rejected.weights):
        return Reject(record.id, NO_WEIGHT, f"mask {mask} selects no token of either answer")
    return PairExample(record.id, chosen, rejected, record.weight)


def flagged_side(record: PreferenceRecord) -> Side:
    """The side that the one-sided mask trains on: the rejected one, unless only the chosen side has spans.

    A seed row with flag +1 marks the correct answer alone and arrives with chosen spans only.
    """
    return "chosen" if record.chosen_spans and not record.rejected_spans else "rejected"


def _side_example(
    tokenizer: Tokenizer, record: PreferenceRecord, prompt: list[int], side: Side, mask: Mask, seed: int
) -> Example:
    chosen = side == "chosen"
    response, spans = (record.chosen, record.chosen_spans) if chosen else (record.rejected, record.rejected_spans)
    ids, offsets = encode_response(tokenizer, response)
    weights = token_weights(
        mask,
        offsets,
        spans,
        len(response),
        side=side,
        flagged=flagged_side(record),
        seed=seed,
        record_id=record.id,
    )
    return _example(tokenizer, record.id, prompt, ids, weights, record.weight)


def _example(
    tokenizer: Tokenizer,
    record_id: str,
    prompt: list[int],
    response: list[int],
    weights: list[float],
    weight: float,
) -> Example:
    if tokenizer.eos_token_id is None:
        raise UserError(
            "config",
            "the tokenizer has no EOS token, so a model could not learn where to stop.",
            f"tokenizer {tokenizer.name_or_path}",
            "Set eos_token in its tokenizer_config.json.",
        )
    input_ids = (*prompt, *response, int(tokenizer.eos_token_id))
    return Example(record_id, input_ids, (*[0.0] * len(prompt), *weights), len(prompt), weight)


def _too_long(example: Example, max_length: int) -> Example | Reject:
    if len(example.input_ids) <= max_length:
        return example
    return Reject(example.id, TOO_LONG, f"{len(example.input_ids)} tokens, max_length is {max_length}")


def _skipped_for(error: UserError, record_id: str) -> Reject:
    """One record's text is the record's fault and is counted; a tokenizer's fault stops the run."""
    if error.kind != "data":
        raise error
    return Reject(record_id, NO_OFFSETS, error.what)


def _moved_elsewhere(granular: list[float], draw: random.Random) -> list[float]:
    """The same weights in the same order on as many other positions, EOS among the candidates."""
    inside = [i for i, weight in enumerate(granular) if weight > 0]
    outside = [i for i, weight in enumerate(granular) if weight == 0]
    drawn = draw.sample(outside, min(len(inside), len(outside)))
    drawn += draw.sample(inside, len(inside) - len(drawn))
    weights = [0.0] * len(granular)
    for position, source in zip(sorted(drawn), inside, strict=True):
        weights[position] = granular[source]
    return weights
