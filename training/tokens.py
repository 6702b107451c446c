"""From spans over characters to weights over tokens. Pure: no torch, nothing is ever searched for in token ids.

The response is tokenised alone and the tokenizer's own character offsets say which tokens a span touches. Weights are
aligned with **unshifted** input ids (`training.logps.shift` alone shifts), zero on the prompt, and the last position of
every example is EOS.

Offsets and spans are half-open and count Unicode code points of the response.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.chat import Tokenizer, prompt_ids
from pipeline.failures import UserError
from pipeline.records import PreferenceRecord, Reject
from pipeline.spans import Span

Mask = Literal["response", "granular", "granular-one-sided", "random"]
"""Which tokens of an answer carry weight; see `token_weights`."""
Side = Literal["chosen", "rejected"]
Offset = tuple[int, int]

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
    """

    id: str
    input_ids: tuple[int, ...]
    weights: tuple[float, ...]
    response_start: int

    def __post_init__(self) -> None:
        assert len(self.input_ids) == len(self.weights), "one weight per token"
        assert 1 <= self.response_start < len(self.input_ids), "a response follows a prompt and holds at least EOS"
        assert not any(self.weights[: self.response_start]), "the prompt carries no weight"


@dataclass(frozen=True, slots=True)
class PairExample:
    """The two sides of a preference pair; their prompt is the same."""

    id: str
    chosen: Example
    rejected: Example


def encode_response(tokenizer: Tokenizer, response: str) -> tuple[list[int], list[Offset]]:
    """The ids of a response on its own, without special tokens, and the characters that each id stands for.

    Several tokens inside one multi-byte character share its offset. Text that looks like a special token stays text.
    Where a byte-level tokenizer trims its offsets or leaves them empty they are rebuilt from its tokens.

    Raises:
        UserError: config, if the offsets leave a character out; data, if they do so because the tokenizer composes
            characters and the text is not in Unicode's NFC form.
    """
    if not tokenizer.is_fast:
        raise _refusal(tokenizer, "is not a fast tokenizer and gives no character offsets")
    encoded = tokenizer(
        response, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True, verbose=False
    )
    ids = list(encoded["input_ids"])
    offsets = [(start, end) for start, end in encoded["offset_mapping"]]
    if _covers(offsets, response):
        return ids, offsets
    rebuilt = _byte_level_offsets(tokenizer, ids, response)
    if rebuilt is None:
        raise _uncovered(tokenizer, response)
    return ids, rebuilt


def span_weights(offsets: Sequence[Offset], spans: Sequence[Span], length: int) -> list[float]:
    """The weight of every token of a response and, last, of its EOS: ``len(offsets) + 1`` weights.

    A token whose characters overlap a span takes the span's weight: in full if it is covered in part, the largest if
    spans overlap. An empty span takes the token that holds its position (all of them, where several share one
    character), or EOS at the end of the text. Tokens outside all spans weigh nothing.

    Args:
        offsets: one ``(start, end)`` per token, as from `encode_response`.
        spans: spans of this response; weights are not negative.
        length: characters in the response.
    """
    weights = [0.0] * (len(offsets) + 1)
    for span in spans:
        assert 0 <= span.start <= span.end <= length and span.weight >= 0, f"not a span of this response: {span}"
        for position in _touched(offsets, span, length):
            weights[position] = max(weights[position], span.weight)
    return weights


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


def sft_example(tokenizer: Tokenizer, record_id: str, prompt: str, response: str, max_length: int) -> Example | Reject:
    """A prompt and the answer to learn, every token of the answer and EOS weighing 1; skipped if too long."""
    try:
        prompt_tokens = prompt_ids(tokenizer, prompt)
        ids, offsets = encode_response(tokenizer, response)
    except UserError as error:
        return _skipped_for(error, record_id)
    weights = token_weights("response", offsets, (), len(response), side="chosen")
    return _too_long(_example(tokenizer, record_id, prompt_tokens, ids, weights), max_length)


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
    return PairExample(record.id, chosen, rejected)


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
    return _example(tokenizer, record.id, prompt, ids, weights)


def _example(
    tokenizer: Tokenizer, record_id: str, prompt: list[int], response: list[int], weights: list[float]
) -> Example:
    if tokenizer.eos_token_id is None:
        raise UserError(
            "config",
            "the tokenizer has no EOS token, so a model could not learn where to stop.",
            f"tokenizer {tokenizer.name_or_path}",
            "Set eos_token in its tokenizer_config.json.",
        )
    input_ids = (*prompt, *response, int(tokenizer.eos_token_id))
    return Example(record_id, input_ids, (*[0.0] * len(prompt), *weights), len(prompt))


def _too_long(example: Example, max_length: int) -> Example | Reject:
    if len(example.input_ids) <= max_length:
        return example
    return Reject(example.id, TOO_LONG, f"{len(example.input_ids)} tokens, max_length is {max_length}")


def _skipped_for(error: UserError, record_id: str) -> Reject:
    """One record's text is the record's fault and is counted; a tokenizer's fault stops the run."""
    if error.kind != "data":
        raise error
    return Reject(record_id, NO_OFFSETS, error.what)


def _touched(offsets: Sequence[Offset], span: Span, length: int) -> list[int]:
    """The positions that a span selects; EOS has position ``len(offsets)``."""
    if span.start < span.end:
        return [i for i, (start, end) in enumerate(offsets) if start < span.end and span.start < end]
    if span.start == length:
        return [len(offsets)]
    return [i for i, (start, end) in enumerate(offsets) if start <= span.start < end]


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


def _covers(offsets: Sequence[Offset], text: str) -> bool:
    """Whether every character of `text` belongs to a token and no token to characters outside it."""
    reached = 0
    for start, end in sorted(offsets):
        if start > reached:
            return False
        reached = max(reached, end)
    return reached == len(text)


def _byte_level_offsets(tokenizer: Tokenizer, ids: list[int], text: str) -> list[Offset] | None:
    """Offsets from the bytes that byte-level tokens spell, or None where they do not spell `text`.

    Needed for tokenizers with ``trim_offsets`` (GPT-NeoX and Pythia: `` the`` covers ``the`` alone).
    """
    from tokenizers.pre_tokenizers import ByteLevel

    byte_level = ByteLevel(add_prefix_space=False, use_regex=False)

    def spelled(plain: str) -> str:
        return "".join(piece for piece, _ in byte_level.pre_tokenize_str(plain))

    added = tokenizer.get_added_vocab()
    tokens = [spelled(token) if token in added else token for token in tokenizer.convert_ids_to_tokens(ids)]
    if "".join(tokens) != spelled(text):
        return None
    character = [i for i, letter in enumerate(text) for _ in letter.encode()]
    offsets, reached = [], 0
    for token in tokens:
        offsets.append((character[reached], character[reached + len(token) - 1] + 1))
        reached += len(token)
    return offsets


def _uncovered(tokenizer: Tokenizer, text: str) -> UserError:
    """Whether the text or the tokenizer is to blame for characters without a token."""
    if unicodedata.normalize("NFC", text) != text:
        return UserError(
            "data",
            "the response is not in Unicode's NFC form and the tokenizer composes its characters.",
            f"tokenizer {tokenizer.name_or_path}",
            "Normalise the text with unicodedata.normalize('NFC', text) before spans are made.",
        )
    return _refusal(tokenizer, "leaves characters of a response without a token")


def _refusal(tokenizer: Tokenizer, fault: str) -> UserError:
    return UserError(
        "config",
        f"the tokenizer {fault}, so spans cannot be turned into token weights.",
        f"tokenizer {tokenizer.name_or_path}",
        "Use a model with a fast byte-level or sentencepiece tokenizer (a tokenizer.json file).",
    )
