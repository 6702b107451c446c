"""Rows that are too long: cut from the record alone, spans kept wherever they can be."""

from __future__ import annotations

from typing import Any, get_args

import made_tokenizers as make
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.chat import prompt_ids
from pipeline.records import PreferenceRecord, Reject
from pipeline.spans import Span
from training.encoding import Row, encoded, texts_of
from training.policies import MaskName
from training.tokens import NO_WEIGHT, PairExample, pair_example, sft_example
from training.truncation import SPANS_CUT, TOO_LONG, Cut, fitted, lost_spans, shortened, shortened_spans

MASKS = get_args(MaskName)


def mark(text: str, start: int, end: int) -> Span:
    return Span(start, end, "", text[start:end])


def with_eos(tokenizer: Any) -> Any:
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    return tokenizer


@pytest.fixture(scope="module")
def letters() -> Any:
    """A token for each byte, no template: lengths can be counted by hand. An empty prompt is one token (EOS)."""
    return with_eos(make.byte_level([], 256))


@pytest.fixture(scope="module", params=["templated", "byte-level", "sentencepiece", "unigram"])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Any, texts: list[str]) -> Any:
    made = {
        "templated": lambda: tokenizer,
        "byte-level": lambda: with_eos(make.byte_level(texts, 400)),
        "sentencepiece": lambda: with_eos(make.sentencepiece_bpe(texts, 600)),
        "unigram": lambda: with_eos(make.unigram(texts, 500)),
    }
    return made[request.param]()


# By hand


def row_of(tokenizer: Any, prompt: str, chosen: int, rejected: int, good: Any = (), bad: Any = ()) -> Row:
    """A row of so many letters on each side, with spans at these places."""
    texts = {
        "chosen": ("a" * chosen, [mark("a" * chosen, *place) for place in good]),
        "rejected": ("b" * rejected, [mark("b" * rejected, *place) for place in bad]),
    }
    row = encoded(tokenizer, "r", prompt, texts)
    assert isinstance(row, Row)
    return row


def kept(tokenizer: Any, row: Row, cut: Cut, max_length: int = 20) -> tuple[str, int, int]:
    fit = fitted(tokenizer, row, max_length, cut)
    assert isinstance(fit, Row), fit
    return tokenizer.decode(fit.prompt_ids), fit.answers["chosen"].kept, fit.answers["rejected"].kept


PROMPT = "0123456789"


@pytest.mark.parametrize(
    ("sizes", "good", "bad", "expected"),
    [
        ((9, 5), [], [], (PROMPT, 10, 6)),  # 10 + 9 + EOS = 20: whole
        ((10, 5), [], [], ("123456789", 11, 6)),  # the prompt gives way first
        ((15, 5), [], [], ("6789", 16, 6)),  # down to min_prompt
        ((16, 5), [], [], ("6789", 16, 6)),  # then answers: EOS and more are cut
        ((40, 5), [(1, 3)], [(5, 5)], ("6789", 16, 6)),  # the spans fit: the prompt stays
        ((40, 5), [(12, 17)], [], ("789", 17, 6)),  # the span needs 17
        ((40, 30), [(12, 17)], [(10, 18)], ("89", 18, 18)),  # the other one 18
        ((40, 30), [(12, 17)], [(18, 19)], ("9", 19, 19)),  # of the prompt one token is left
        ((40, 30), [(12, 17)], [(19, 20)], ("789", 17, 17)),  # what cannot be kept costs the prompt nothing
        ((40, 30), [(12, 17)], [(30, 30)], ("789", 17, 17)),  # such as EOS of a long answer
        ((40, 30), [(15, 25)], [], ("6789", 16, 16)),  # kept in part
        ((40, 30), [], [], ("6789", 16, 16)),  # no spans
    ],
)
def test_cuts_by_hand(
    letters: Any, sizes: tuple[int, int], good: list[Any], bad: list[Any], expected: tuple[str, int, int]
) -> None:
    assert kept(letters, row_of(letters, PROMPT, *sizes, good, bad), Cut(min_prompt=4)) == expected


def test_the_start_of_a_prompt_is_kept_where_that_is_wanted(letters: Any) -> None:
    assert kept(letters, row_of(letters, PROMPT, 12, 5), Cut(keep="start", min_prompt=4)) == ("0123456", 13, 6)


def test_half_of_the_room_is_the_prompts_by_default(letters: Any) -> None:
    assert kept(letters, row_of(letters, "x" * 40, 40, 40), Cut()) == ("x" * 10, 10, 10)
    assert kept(letters, row_of(letters, PROMPT[:3], 40, 40), Cut()) == ("012", 17, 17)


def test_lost_spans_are_told_from_shortened_ones(letters: Any) -> None:
    fit = fitted(letters, row_of(letters, PROMPT, 40, 40, [(2, 4), (15, 25), (30, 31)]), 20, Cut(min_prompt=4))
    assert isinstance(fit, Row)
    answer = fit.answers["chosen"]
    assert [span.start for span in lost_spans(answer)] == [30]
    assert [span.start for span in shortened_spans(answer)] == [15]


def test_a_row_that_keeps_no_span_is_left_out_whatever_the_mask(letters: Any) -> None:
    record = PreferenceRecord("r", PROMPT, "a" * 40, "b", (mark("a" * 40, 30, 32),))
    for mask in MASKS:
        made = pair_example(letters, record, mask, 20, 0, too_long=Cut(min_prompt=4))
        assert made == Reject("r", SPANS_CUT, "none of its 1 spans is left in 20 tokens")


def test_a_template_without_room_is_too_long(tokenizer: Any) -> None:
    template = len(prompt_ids(tokenizer, ""))
    row = row_of(tokenizer, "Hi?", 1, 1)
    fit = fitted(tokenizer, row, template, Cut())
    assert isinstance(fit, Reject) and (fit.reason, fit.detail) == (
        TOO_LONG,
        f"the prompt takes {template} tokens without its text, max_length is {template}",
    )
    fit = fitted(tokenizer, row, template + 1, "cut")
    assert isinstance(fit, Row)
    assert fit.prompt_ids == tuple(prompt_ids(tokenizer, ""))
    assert fit.answers["chosen"].kept == 1


def test_left_out_unless_it_is_to_be_cut(letters: Any) -> None:
    assert fitted(letters, row_of(letters, PROMPT, 5, 10), 20) == Reject(
        "r", TOO_LONG, "21 tokens with the rejected answer, max_length is 20"
    )
    assert sft_example(letters, "r", PROMPT, "a" * 10, 20) == Reject("r", TOO_LONG, "21 tokens, max_length is 20")


def test_an_answer_that_was_cut_ends_without_eos(letters: Any) -> None:
    example = sft_example(letters, "r", PROMPT, "a" * 40, 20, too_long=Cut(min_prompt=4))
    assert not isinstance(example, Reject)
    assert letters.decode(example.input_ids) == "6789" + "a" * 16
    assert example.weights == (*[0.0] * 4, *[1.0] * 16)


# Whatever the text, the spans and the tokenizer

PIECES = ["item ", "return x", "\n    ", "12", "é", "你好", "🎉", "  ", "def f(x):", "<|end|>"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@st.composite
def records(draw: st.DrawFn) -> PreferenceRecord:
    def side() -> tuple[str, tuple[Span, ...]]:
        text = draw(TEXTS)
        ends = st.integers(0, len(text))
        places = draw(st.lists(st.tuples(ends, st.integers(0, 8)), max_size=3))
        return text, tuple(mark(text, start, min(len(text), start + size)) for start, size in places)

    prompt = draw(TEXTS)
    (chosen, good), (rejected, bad) = side(), side()
    return PreferenceRecord("r", prompt, chosen, rejected, good, bad)


CUTS = st.builds(Cut, keep=st.sampled_from(["end", "start"]), min_prompt=st.one_of(st.none(), st.integers(1, 30)))


@settings(max_examples=150)
@given(record=records(), max_length=st.integers(8, 60), cut=CUTS)
def test_a_row_that_is_cut_fits_and_is_what_it_was(
    any_tokenizer: Any, record: PreferenceRecord, max_length: int, cut: Cut
) -> None:
    """Everything that is kept is what the whole row has there, template and weights included."""
    row = encoded(any_tokenizer, "r", record.prompt, texts_of(record))
    assert isinstance(row, Row)
    fit = fitted(any_tokenizer, row, max_length, cut)
    if isinstance(fit, Reject):
        assert fit.reason in (TOO_LONG, SPANS_CUT)
        return
    parts = range(len(record.prompt) + 1)
    shorter = [record.prompt[:n] if cut.keep == "start" else record.prompt[n:] for n in parts]
    assert list(fit.prompt_ids) in [prompt_ids(any_tokenizer, text) for text in shorter]
    for name, answer in fit.answers.items():
        assert len(fit.prompt_ids) + answer.kept <= max_length
        assert answer.kept >= 1
        assert answer.ids == row.answers[name].ids
    if not all(answer.ends for answer in fit.answers.values()):
        assert len(fit.prompt_ids) + max(answer.kept for answer in fit.answers.values()) == max_length, "room is left"
    whole = {mask: pair_example(any_tokenizer, record, mask, 10**6, 3) for mask in MASKS}
    for mask in MASKS:
        made = pair_example(any_tokenizer, record, mask, max_length, 3, too_long=cut)
        if isinstance(made, Reject):
            assert made.reason == NO_WEIGHT
            continue
        full = whole[mask]
        assert isinstance(full, PairExample)
        for example, before, name in ((made.chosen, full.chosen, "chosen"), (made.rejected, full.rejected, "rejected")):
            kept = fit.answers[name].kept
            assert example.input_ids == fit.prompt_ids + row.answers[name].ids[:kept]
            if mask != "random":
                assert example.weights[example.response_start :] == before.weights[before.response_start :][:kept]


@settings(max_examples=150)
@given(record=records(), max_length=st.integers(8, 60), cut=CUTS)
def test_random_has_as_much_as_spans_have_left(
    any_tokenizer: Any, record: PreferenceRecord, max_length: int, cut: Cut
) -> None:
    granular = pair_example(any_tokenizer, record, "granular", max_length, 0, too_long=cut)
    drawn = pair_example(any_tokenizer, record, "random", max_length, 0, too_long=cut)
    assert isinstance(granular, Reject) == isinstance(drawn, Reject)
    if isinstance(granular, PairExample) and isinstance(drawn, PairExample):
        for one, other in ((granular.chosen, drawn.chosen), (granular.rejected, drawn.rejected)):
            assert sorted(one.weights) == sorted(other.weights)


@settings(max_examples=150)
@given(record=records(), max_length=st.integers(8, 60), cut=CUTS)
def test_no_span_is_lost_that_could_be_kept(
    any_tokenizer: Any, record: PreferenceRecord, max_length: int, cut: Cut
) -> None:
    row = encoded(any_tokenizer, "r", record.prompt, texts_of(record))
    assert isinstance(row, Row) and row.spans == len(record.chosen_spans) + len(record.rejected_spans)
    room = max_length - len(prompt_ids(any_tokenizer, ""))
    assume(room >= 1)
    fit = fitted(any_tokenizer, row, max_length, cut)
    can_be_kept = {
        name: [span for span, at in zip(answer.spans, answer.touched, strict=True) if max(at) < room]
        for name, answer in row.answers.items()
    }
    if isinstance(fit, Reject):
        assert row.spans and not any(can_be_kept.values())
        return
    for name, answer in fit.answers.items():
        cut_spans = [*lost_spans(answer), *shortened_spans(answer)]
        assert not [span for span in can_be_kept[name] if span in cut_spans]


@settings(max_examples=60)
@given(prompt=TEXTS, room=st.integers(0, 20), keep=st.sampled_from(["end", "start"]))
def test_a_shortened_prompt_keeps_its_template_and_its_own_end(
    tokenizer: Any, prompt: str, room: int, keep: Any
) -> None:
    before, after = (
        list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("<|user|>", "<|end|><|assistant|>")
    )
    length = len(before) + len(after) + room
    ids = list(shortened(tokenizer, prompt, length, keep))
    assert len(ids) <= length
    assert (ids[: len(before)], ids[-len(after) :]) == (before, after)
    text = tokenizer.decode(ids[len(before) : -len(after)])
    assert prompt.endswith(text) if keep == "end" else prompt.startswith(text)
