"""What the audit counts is what an oracle over characters counts, and the counts add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import debugbench
import made_tokenizers as make
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.diffs import diff
from pipeline.failures import UserError
from pipeline.records import PreferenceRecord, Reject
from pipeline.spans import Span, spans_of
from training.audit import Audit, partial_tokens
from training.encoding import Row, encoded, texts_of
from training.policies import Mask, MaskName
from training.tokens import PairExample, pair_of
from training.truncation import SPANS_CUT, TOO_LONG, Cut, TooLong, fitted

MASKS = get_args(MaskName)
SIDES = ("chosen", "rejected")


def mark(text: str, start: int, end: int) -> Span:
    return Span(start, end, "", text[start:end])


@pytest.fixture(scope="module")
def letters() -> Any:
    return with_eos(make.byte_level([], 256))


def with_eos(tokenizer: Any) -> Any:
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    return tokenizer


Steps = list[tuple[PreferenceRecord, Row | Reject, Row | Reject, PairExample | Reject]]


def audited(
    tokenizer: Any, records: Sequence[PreferenceRecord], mask: Mask, max_length: int, too_long: TooLong
) -> tuple[Audit, Steps]:
    """The audit of some records, and each record's steps."""
    audit, steps = Audit.of(*SIDES), []
    for record in records:
        row = encoded(tokenizer, record.id, record.prompt, texts_of(record))
        fit = row if isinstance(row, Reject) else fitted(tokenizer, row, max_length, too_long)
        made = fit if isinstance(fit, Reject) else pair_of(fit, mask, 0)
        audit.add(texts_of(record), row, fit, made)
        steps.append((record, row, fit, made))
    return audit, steps


# By hand


def test_one_cut_row_by_hand(letters: Any) -> None:
    """20 tokens: 4 of the prompt, 16 of each answer."""
    good = (mark("a" * 40, 2, 4), mark("a" * 40, 15, 25), mark("a" * 40, 30, 31))
    record = PreferenceRecord("r", "0123456789", "a" * 40, "b" * 5, good, ())
    audit, _ = audited(letters, [record], "granular", 20, Cut(min_prompt=4))
    assert audit.as_facts() == {
        "rows": {"read": 1, "trained_on": 1, "left_out": {}},
        "truncation": {"rows": 1, "prompts": 1, "answers": 1, "spans_cut_in_part": 1},
        "spans": {"read": 3, "with_tokens": 2, "cut_off": 1, "in_rows_left_out": 0},
        "sides": {
            "chosen": {
                "answers": 1,
                "without_weight": 0,
                "spans": 2,
                "tokens": 16,
                "weighted_tokens": 3,
                "partial_tokens": 0,
                "weight": 3.0,
                "mean_share": 3 / 16,
            },
            "rejected": {
                "answers": 1,
                "without_weight": 1,
                "spans": 0,
                "tokens": 6,
                "weighted_tokens": 0,
                "partial_tokens": 0,
                "weight": 0.0,
                "mean_share": 0.0,
            },
        },
    }
    assert audit.notes(20) == [
        "1 of 1 rows cut to 20 tokens (prompts 1, answers 1); of 3 spans 1 lost, 1 cut in part",
    ]


def test_rows_that_are_left_out_keep_their_reasons(letters: Any) -> None:
    records = [
        PreferenceRecord("fine", "p", "ab", "ac", (), (mark("ac", 1, 2),)),
        PreferenceRecord("long", "p", "a" * 40, "b", (mark("a" * 40, 0, 1), mark("a" * 40, 3, 4)), ()),
        PreferenceRecord("bare", "p", "a", "b"),
    ]
    audit, _ = audited(letters, records, "granular", 20, "reject")
    facts = audit.as_facts()
    assert facts["rows"] == {"read": 3, "trained_on": 1, "left_out": {"no-weight": 1, "too-long": 1}}
    assert facts["spans"] == {"read": 3, "with_tokens": 1, "cut_off": 0, "in_rows_left_out": 2}
    assert audit.notes(20) == ["2 of 3 rows left out: no-weight 1, too-long 1"]
    assert audit.tried == 1, "spans of rows that are left out as too long are not lost to truncation"


def test_nothing_to_say_of_rows_that_are_whole(letters: Any) -> None:
    record = PreferenceRecord("fine", "p", "ab", "ac", (), (mark("ac", 1, 2),))
    assert audited(letters, [record], "response", 20, "cut")[0].notes(20) == []


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(0, 3)], 0),
        ([(1, 3)], 1),
        ([(2, 4)], 2),
        ([(0, 1), (1, 3)], 0),  # together in full
        ([(4, 4)], 0),  # an anchor covers nothing
        ([(6, 7)], 0),
    ],
)
def test_partly_covered_tokens_by_hand(spans: list[tuple[int, int]], expected: int) -> None:
    assert partial_tokens([(0, 3), (3, 6), (6, 7)], [mark("abcdefg", *span) for span in spans]) == expected


@pytest.mark.parametrize(("most", "stops"), [(0.0, True), (0.32, True), (0.34, False), (1.0, False)])
@pytest.mark.parametrize("mask", MASKS)
def test_too_many_lost_spans_stop_the_run(letters: Any, most: float, stops: bool, mask: Mask) -> None:
    good = (mark("a" * 40, 2, 4), mark("a" * 40, 15, 25), mark("a" * 40, 30, 31))
    record = PreferenceRecord("r-17", "0123456789", "a" * 40, "b" * 5, good, ())
    audit, _ = audited(letters, [record], mask, 20, Cut(min_prompt=4))
    if not stops:
        audit.refuse_losses(most, 20, "node mended, rows of pairs")
        return
    with pytest.raises(UserError) as caught:
        audit.refuse_losses(most, 20, "node mended, rows of pairs")
    error = caught.value
    assert (error.kind, error.where) == ("data", "node mended, rows of pairs")
    assert "1 of 3 spans are lost (33.3%)" in error.what
    assert "such as r-17" in error.what
    assert "max_length" in error.hint


def test_no_span_is_no_loss(letters: Any) -> None:
    audit, _ = audited(letters, [PreferenceRecord("r", "p", "a" * 40, "b")], "response", 20, "cut")
    audit.refuse_losses(0.0, 20, "here")


# Against an oracle over characters


def characters(tokenizer: Any, ids: Sequence[int], text: str) -> list[set[int]]:
    """The characters that each token of a byte-level tokenizer spells, and what EOS stands for; no offsets."""
    owner = [i for i, letter in enumerate(text) for _ in letter.encode()]
    sets, reached = [], 0
    for token in tokenizer.convert_ids_to_tokens(ids[:-1]):
        sets.append(set(owner[reached : reached + len(token)]))
        reached += len(token)
    assert reached == len(owner)
    return [*sets, {len(text)}]


def wanted(span: Span) -> set[int]:
    return set(range(span.start, span.end)) or {span.start}


def check(tokenizer: Any, audit: Audit, steps: Steps) -> None:
    """Every count again, from characters and from the examples as they are."""
    facts = audit.as_facts()
    rows, spans, cut = facts["rows"], facts["spans"], facts["truncation"]
    assert rows["read"] == len(steps) == rows["trained_on"] + sum(rows["left_out"].values())
    assert spans["read"] == sum(len(record.chosen_spans) + len(record.rejected_spans) for record, *_ in steps)
    assert spans["read"] == spans["with_tokens"] + spans["cut_off"] + spans["in_rows_left_out"]
    reasons = [made.reason for *_, made in steps if isinstance(made, Reject)]
    assert rows["left_out"] == {reason: reasons.count(reason) for reason in set(reasons)}
    lost = in_part = cut_rows = cut_prompts = cut_answers = left_out = 0
    for record, row, fit, made in steps:
        here = len(record.chosen_spans) + len(record.rejected_spans)
        gone = here if isinstance(fit, Reject) and fit.reason == SPANS_CUT else 0
        if isinstance(fit, Row):
            assert isinstance(row, Row)
            cut_rows += fit != row
            cut_prompts += fit.prompt_ids != row.prompt_ids
            for side in SIDES:
                text, marked = texts_of(record)[side]
                kept = fit.answers[side].kept
                tokens = characters(tokenizer, row.answers[side].ids, text)
                cut_answers += kept < len(tokens)
                for span in marked:
                    inside = [bool(letters & wanted(span)) for letters in tokens]
                    gone += not any(inside[:kept])
                    in_part += any(inside[:kept]) and any(inside[kept:])
        lost += gone
        left_out += here - gone if isinstance(made, Reject) else 0
    assert (spans["cut_off"], spans["in_rows_left_out"]) == (lost, left_out)
    assert cut == {"rows": cut_rows, "prompts": cut_prompts, "answers": cut_answers, "spans_cut_in_part": in_part}
    for side in SIDES:
        check_side(tokenizer, facts["sides"][side], side, steps)
    assert spans["with_tokens"] == sum(facts["sides"][side]["spans"] for side in SIDES)


def check_side(tokenizer: Any, counts: dict[str, Any], side: str, steps: Steps) -> None:
    weights, partial, shares = [], 0, []
    for record, row, fit, made in steps:
        if isinstance(made, Reject):
            continue
        assert isinstance(row, Row) and isinstance(fit, Row)
        example = getattr(made, side)
        weights.append(example.weights[example.response_start :])
        shares.append(sum(weight > 0 for weight in weights[-1]) / len(weights[-1]))
        text, marked = texts_of(record)[side]
        covered = set().union(*(range(span.start, span.end) for span in marked))
        tokens = characters(tokenizer, row.answers[side].ids, text)[: fit.answers[side].kept]
        partial += sum(bool(token & covered) and not token <= covered for token in tokens)
    assert counts["answers"] == len(weights)
    assert counts["without_weight"] == sum(not any(one) for one in weights)
    assert counts["tokens"] == sum(map(len, weights))
    assert counts["weighted_tokens"] == sum(weight > 0 for one in weights for weight in one)
    assert counts["weight"] == pytest.approx(sum(map(sum, weights)))
    assert counts["partial_tokens"] == partial
    assert counts["mean_share"] == pytest.approx(sum(shares) / len(shares) if shares else 0, abs=1e-6)


PIECES = ["item ", "return x", "\n    ", "12", "é", "你好", "🎉", "  ", "def f(x):", "<|end|>", "x" * 12]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=15).map("".join)


@st.composite
def records(draw: st.DrawFn) -> list[PreferenceRecord]:
    def side() -> tuple[str, tuple[Span, ...]]:
        text = draw(TEXTS)
        ends = st.integers(0, len(text))
        places = draw(st.lists(st.tuples(ends, st.integers(0, 8)), max_size=3))
        return text, tuple(mark(text, start, min(len(text), start + size)) for start, size in places)

    def record(number: int) -> PreferenceRecord:
        prompt, (chosen, good), (rejected, bad) = draw(TEXTS), side(), side()
        return PreferenceRecord(f"r{number}", prompt, chosen, rejected, good, bad)

    return [record(number) for number in range(draw(st.integers(1, 4)))]


@settings(max_examples=150)
@given(
    found=records(),
    mask=st.sampled_from(MASKS),
    max_length=st.integers(10, 60),
    too_long=st.sampled_from(["reject", "cut", Cut(keep="start", min_prompt=6)]),
)
def test_counts_are_those_of_an_oracle(
    tokenizer: Any, found: list[PreferenceRecord], mask: Mask, max_length: int, too_long: TooLong
) -> None:
    check(tokenizer, *audited(tokenizer, found, mask, max_length, too_long))


@settings(max_examples=80)
@given(found=records(), max_length=st.integers(10, 60))
def test_what_is_cut_and_lost_is_the_same_for_all_masks(
    tokenizer: Any, found: list[PreferenceRecord], max_length: int
) -> None:
    audits = [audited(tokenizer, found, mask, max_length, "cut")[0] for mask in MASKS]
    assert len({(audit.tried, audit.spans["cut_off"], tuple(audit.losers)) for audit in audits}) == 1
    assert all(audit.truncation == audits[0].truncation for audit in audits)


# On real pairs


@debugbench.needs_debugbench
@pytest.mark.parametrize("max_length", [64, 160, 4096])
def test_pairs_of_debugbench(max_length: int) -> None:
    """Every span of 400 real pairs is accounted for; those that fit behind one token of prompt are kept."""
    tokenizer = with_eos(make.byte_level(debugbench.texts(), 1000))
    found = []
    for number, (good, bad) in enumerate(debugbench.pairs()):
        chosen, rejected = spans_of(diff(good, bad), good)
        found.append(PreferenceRecord(str(number), "Mend this. " * 20, good, bad, tuple(chosen), tuple(rejected)))
    audit, steps = audited(tokenizer, found, "granular", max_length, "cut")
    check(tokenizer, audit, steps)
    facts = audit.as_facts()
    print(f"\nmax_length {max_length}: {facts['rows']}, {facts['truncation']}, {facts['spans']}")
    out_of_reach = 0
    for _, row, _, _ in steps:
        assert isinstance(row, Row)
        for answer in row.answers.values():
            out_of_reach += sum(min(positions) >= max_length - 1 for positions in answer.touched)
    assert facts["spans"]["cut_off"] >= out_of_reach
    if max_length == 4096:
        assert (facts["spans"]["cut_off"], facts["truncation"]["rows"], out_of_reach) == (0, 0, 0)


def test_a_reason_is_named_for_rows_that_do_not_fit_at_all(letters: Any) -> None:
    audit, steps = audited(letters, [PreferenceRecord("r", "p" * 9, "a" * 30, "b")], "response", 20, "reject")
    assert [made.reason for *_, made in steps if isinstance(made, Reject)] == [TOO_LONG]
    assert audit.left_out == {TOO_LONG: 1}
