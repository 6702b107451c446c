"""Spans select exactly the tokens they should; checked against an oracle over characters."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pipeline.failures import UserError
from pipeline.records import PreferenceRecord, Reject
from pipeline.spans import Span
from training.tokens import (
    NO_OFFSETS,
    NO_WEIGHT,
    TOO_LONG,
    Example,
    Mask,
    PairExample,
    Side,
    encode_response,
    pair_example,
    sft_example,
    span_weights,
    token_weights,
)

PIECES = [
    "item",
    "items",
    " ",
    "  ",
    "\r\n",
    "\t",
    "\n    ",
    "12",
    "é",
    "e\u0301",
    "你好",
    "🎉",
    "👩‍👩‍👧",
    "<|end|>",
    "return",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(st.characters(codec="utf-8"), max_size=30)
)


def mark(text: str, start: int, end: int, weight: float = 1.0) -> Span:
    return Span(start, end, "", text[start:end], weight)


@st.composite
def marked(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text and spans in it, some empty, some overlapping."""
    text = draw(TEXTS)
    ends = st.integers(0, len(text))
    places = draw(st.lists(st.tuples(ends, ends, st.sampled_from([0.25, 1.0, 2.0])), max_size=4))
    return text, [mark(text, min(a, b), max(a, b), weight) for a, b, weight in places]


def characters_of_tokens(tokenizer: Any, ids: list[int], text: str) -> list[set[int]]:
    """Which characters each token spells, from the bytes of tokens alone: no offsets."""
    owner = [i for i, character in enumerate(text) for _ in character.encode()]
    sets, reached = [], 0
    for token in tokenizer.convert_ids_to_tokens(ids):  # one letter per byte
        sets.append(set(owner[reached : reached + len(token)]))
        reached += len(token)
    assert reached == len(owner)
    return sets


def oracle(tokenizer: Any, ids: list[int], text: str, spans: list[Span]) -> list[float]:
    tokens = [*characters_of_tokens(tokenizer, ids, text), {len(text)}]  # EOS stands behind the last character
    weights = [0.0] * len(tokens)
    for span in spans:
        wanted = set(range(span.start, span.end)) or {span.start}
        for i, characters in enumerate(tokens):
            if characters & wanted:
                weights[i] = max(weights[i], span.weight)
    return weights


def record(chosen: str, rejected: str, good: tuple[Span, ...] = (), bad: tuple[Span, ...] = ()) -> PreferenceRecord:
    return PreferenceRecord("r1", "Sum?", chosen, rejected, good, bad)


def pair(tokenizer: Any, row: PreferenceRecord, mask: Mask) -> PairExample:
    made = pair_example(tokenizer, row, mask, 100, seed=0)
    assert isinstance(made, PairExample)
    return made


def weighted(tokenizer: Any, example: Example) -> list[str]:
    chosen = [token for token, weight in zip(example.input_ids, example.weights, strict=True) if weight]
    return [tokenizer.decode([token]) for token in chosen]


@settings(max_examples=300)
@given(case=marked())
def test_spans_select_the_tokens_that_an_oracle_selects(tokenizer: Any, case: tuple[str, list[Span]]) -> None:
    text, spans = case
    ids, offsets = encode_response(tokenizer, text)
    assert tokenizer.decode(ids) == text
    assert span_weights(offsets, spans, len(text)) == oracle(tokenizer, ids, text, spans)


@given(text=TEXTS)
def test_trimmed_offsets_are_rebuilt(tokenizer: Any, text: str) -> None:
    trimming = copy.deepcopy(tokenizer)
    trimming.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert encode_response(trimming, text) == encode_response(tokenizer, text)


def test_added_tokens_keep_their_characters_when_offsets_are_rebuilt(tokenizer: Any) -> None:
    """GPT-NeoX trims, and has runs of spaces as added tokens whose text is not byte-level."""
    trimming = copy.deepcopy(tokenizer)
    trimming.add_tokens(["    "])
    trimming.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    ids, offsets = encode_response(trimming, "é    é é")
    assert offsets[trimming.convert_ids_to_tokens(ids).index("    ")] == (1, 5)
    assert offsets[-1][1] == 8


def test_every_token_of_a_split_character_is_selected(tokenizer: Any) -> None:
    text = "a🦊b"  # not in the vocabulary: several byte tokens
    _, offsets = encode_response(tokenizer, text)
    assert offsets.count((1, 2)) > 1
    expected = [0.0, *[1.0] * offsets.count((1, 2)), 0.0, 0.0]
    assert span_weights(offsets, [mark(text, 1, 2)], 3) == expected
    assert span_weights(offsets, [mark(text, 1, 1)], 3) == expected


OFFSETS = [(0, 3), (3, 6), (6, 7)]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(3, 6, 1.0)], [0, 1, 0, 0]),
        ([(2, 4, 1.0)], [1, 1, 0, 0]),  # covered in part: in full
        ([(0, 6, 0.5), (5, 7, 2.0)], [0.5, 2, 2, 0]),  # overlapping: the largest
        ([(5, 7, 2.0), (0, 6, 0.5)], [0.5, 2, 2, 0]),
        ([(3, 3, 1.0)], [0, 1, 0, 0]),  # empty: the token that starts here, not the one that ends
        ([(7, 7, 1.0)], [0, 0, 0, 1]),  # empty at the end: EOS
        ([], [0, 0, 0, 0]),
    ],
)
def test_hand_made_spans(spans: list[tuple[int, int, float]], expected: list[float]) -> None:
    assert span_weights(OFFSETS, [mark("abcdefg", *span) for span in spans], 7) == expected


def test_an_empty_span_in_an_empty_response_is_eos(tokenizer: Any) -> None:
    assert encode_response(tokenizer, "") == ([], [])
    assert span_weights([], [mark("", 0, 0)], 0) == [1.0]


def test_response_mask_weighs_everything_but_the_prompt(tokenizer: Any) -> None:
    example = pair(tokenizer, record("return 1", "return 2"), "response").chosen
    assert "".join(weighted(tokenizer, example)) == "return 1<|end|>"
    assert set(example.weights[example.response_start :]) == {1.0}


def test_granular_mask_weighs_the_spans_of_both_sides(tokenizer: Any) -> None:
    made = pair(
        tokenizer, record("return 1", "return 2", (mark("return 1", 7, 8),), (mark("return 2", 7, 8),)), "granular"
    )
    assert (weighted(tokenizer, made.chosen), weighted(tokenizer, made.rejected)) == (["1"], ["2"])


def test_one_sided_mask_weighs_the_bad_span_and_its_eos(tokenizer: Any) -> None:
    row = record("return 1", "return 2", (mark("return 1", 7, 8),), (mark("return 2", 7, 8),))
    made = pair(tokenizer, row, "granular-one-sided")
    assert (weighted(tokenizer, made.chosen), weighted(tokenizer, made.rejected)) == ([], ["2", "<|end|>"])


def test_one_sided_mask_follows_a_flag_on_the_correct_answer(tokenizer: Any) -> None:
    made = pair(tokenizer, record("return 1", "return 2", (mark("return 1", 7, 8),)), "granular-one-sided")
    assert (weighted(tokenizer, made.chosen), weighted(tokenizer, made.rejected)) == (["1", "<|end|>"], [])


@given(case=marked(), seed=st.integers(0, 5), side=st.sampled_from(["chosen", "rejected"]))
def test_random_mask_is_as_much_weight_elsewhere(
    tokenizer: Any, case: tuple[str, list[Span]], seed: int, side: Side
) -> None:
    text, spans = case
    _, offsets = encode_response(tokenizer, text)
    granular = token_weights("granular", offsets, spans, len(text), side=side)
    drawn = token_weights("random", offsets, spans, len(text), side=side, seed=seed, record_id="r")
    assert sorted(drawn) == sorted(granular)
    inside, elsewhere = ({i for i, weight in enumerate(weights) if weight} for weights in (granular, drawn))
    assert len(inside & elsewhere) == max(0, 2 * len(inside) - len(granular))


def test_random_mask_depends_on_seed_record_and_side_alone() -> None:
    offsets = [(i, i + 1) for i in range(60)]

    def drawn(seed: int, record_id: str, side: Side) -> list[float]:
        spans = [mark("x" * 60, 0, 10)]
        return token_weights("random", offsets, spans, 60, side=side, seed=seed, record_id=record_id)

    first = drawn(0, "a", "chosen")
    assert first == drawn(0, "a", "chosen")
    assert first not in [drawn(1, "a", "chosen"), drawn(0, "b", "chosen"), drawn(0, "a", "rejected")]


def test_nothing_is_cut_unless_it_is_to_be(tokenizer: Any) -> None:
    row = record("1", "1 2 3")
    needed = len(pair(tokenizer, row, "response").rejected.input_ids)
    assert isinstance(pair_example(tokenizer, row, "response", needed, 0), PairExample)
    skipped = pair_example(tokenizer, row, "response", needed - 1, 0)
    assert skipped == Reject("r1", TOO_LONG, f"{needed} tokens with the rejected answer, max_length is {needed - 1}")


@pytest.mark.parametrize("mask", ["granular", "granular-one-sided", "random"])
def test_a_pair_without_any_weight_is_skipped(tokenizer: Any, mask: Mask) -> None:
    skipped = pair_example(tokenizer, record("1", "2"), mask, 100, 0)
    assert isinstance(skipped, Reject) and skipped.reason == NO_WEIGHT


def test_the_weight_of_a_row_reaches_its_examples(tokenizer: Any) -> None:
    made = pair(tokenizer, replace(record("a + b", "a - b"), weight=0.25), "response")
    assert (made.weight, made.chosen.weight, made.rejected.weight) == (0.25, 0.25, 0.25)
    assert pair(tokenizer, record("a + b", "a - b"), "response").weight == 1.0


def test_sft_example(tokenizer: Any) -> None:
    example = sft_example(tokenizer, "q", "Hi?", "yes", 100)
    assert isinstance(example, Example)
    assert tokenizer.decode(example.input_ids) == "<|user|>Hi?<|end|><|assistant|>yes<|end|>"
    assert "".join(weighted(tokenizer, example)) == "yes<|end|>"
    skipped = sft_example(tokenizer, "q", "Hi?", "yes", 3)
    assert isinstance(skipped, Reject) and skipped.reason == TOO_LONG


def test_text_like_a_special_token_does_not_end_the_answer(tokenizer: Any) -> None:
    ids, _ = encode_response(tokenizer, "a <|end|> b")
    assert tokenizer.eos_token_id not in ids


def test_a_tokenizer_that_leaves_characters_out_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UserError, match="leaves white space") as caught:
        encode_response(PreTrainedTokenizerFast(tokenizer_object=words), "a b")
    assert caught.value.kind == "config"


def test_a_tokenizer_without_offsets_is_refused() -> None:
    slow: Any = SimpleNamespace(is_fast=False, name_or_path="slow")
    with pytest.raises(UserError, match="not a fast tokenizer"):
        encode_response(slow, "a")


def test_a_tokenizer_without_eos_is_refused(tokenizer: Any) -> None:
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    with pytest.raises(UserError, match="no EOS"):
        sft_example(endless, "q", "Hi?", "yes", 100)


def test_text_that_the_tokenizer_composes_costs_the_record_not_the_run(tokenizer: Any) -> None:
    composing = copy.deepcopy(tokenizer)
    composing.backend_tokenizer.normalizer = normalizers.NFC()
    skipped = sft_example(composing, "q", "Hi?", "cafe\u0301", 100)
    assert isinstance(skipped, Reject) and skipped.reason == NO_OFFSETS
    assert isinstance(sft_example(composing, "q", "Hi?", "caf\u00e9", 100), Example)
