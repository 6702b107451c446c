"""Noise in pairs: each kind on hand-made cases; levels that are nested and differ in nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.contract import Source, Work
from pipeline.failures import UserError
from pipeline.noise.nodes import How, Noise, NoiseConfig
from pipeline.noise.ring import Ring
from pipeline.noise.stage import NOISES, NoiseStage, is_noisy, noted
from pipeline.records import PreferenceRecord
from pipeline.shards import read_records, write_shards
from pipeline.spans import Span
from pipeline.store import Manifest, read_manifest, verify

HOWS: tuple[How, ...] = get_args(How)


def span(text: str, start: int, end: int, **more: Any) -> Span:
    return Span(start, end, "off-by-one-errors", text[start:end], **more)


GOOD, BAD = "return values[:count]", "return values[:count - 1]"
PAIR = PreferenceRecord(
    "r1", "The first ones?", GOOD, BAD, (span(GOOD, 20, 20),), (span(BAD, 20, 24, weight=2.0),), '{"source": "s"}', 3.0
)
CODE = "Here:\n\n```python\ndef half(x):\n    return x / 2\n```\n"
WORSE = CODE.replace("/ 2", "/ 3")


def noisy(record: PreferenceRecord, how: How, others: Any = None, **more: Any) -> PreferenceRecord:
    kept, rejected = NoiseStage(how, 1.0, 0, others=others, **more)([record])
    assert not rejected
    return kept[0]


def reason(record: PreferenceRecord, how: How, others: Any = None, rate: float = 0.0) -> str:
    kept, rejected = NoiseStage(how, rate, 0, others=others)([record])
    assert not kept
    return rejected[0].reason


# The kinds


def test_every_kind_has_a_maker() -> None:
    assert tuple(NOISES) == HOWS


def test_a_flip_changes_the_sides_with_their_spans_and_nothing_else() -> None:
    found = noisy(PAIR, "flip")
    assert (found.chosen, found.rejected) == (BAD, GOOD)
    assert (found.chosen_spans, found.rejected_spans) == (PAIR.rejected_spans, PAIR.chosen_spans)
    assert (found.id, found.prompt, found.weight) == (PAIR.id, PAIR.prompt, PAIR.weight)


def test_a_random_rejected_answer_is_another_prompts_and_has_spans_where_it_differs() -> None:
    others = Ring([("r1", (PAIR.prompt, BAD)), ("r2", (PAIR.prompt, "same prompt")), ("r3", ("Other?", "values"))], 0)
    found = noisy(PAIR, "random-rejected", others)
    assert (found.chosen, found.rejected) == (GOOD, "values")
    assert [(one.start, one.end) for one in found.chosen_spans] == [(0, 21)]
    assert [(one.start, one.end) for one in found.rejected_spans] == [(0, 6)]


@pytest.mark.parametrize("answer", [GOOD, BAD])
def test_a_row_without_another_answer_is_rejected_at_every_rate(answer: str) -> None:
    assert reason(PAIR, "random-rejected", Ring([("r3", ("Other?", answer))], 0)) == "no-other-answer"


def test_a_weaker_rejected_answer_means_what_the_chosen_one_does() -> None:
    found = noisy(PreferenceRecord("r", "p", CODE, WORSE), "weaker")
    assert found.rejected == CODE.replace("x / 2", "(x / 2)")
    assert [one.text for one in found.rejected_spans] == ["(", ")"]
    assert reason(PAIR, "weaker") == "no-rewrite"


@pytest.mark.parametrize(
    ("start", "end", "length", "expected"),
    [
        (20, 24, 60, {(10, 14), (30, 34)}),
        (3, 5, 60, {(13, 15)}),
        (57, 59, 60, {(47, 49)}),
        (4, 8, 10, {(0, 4)}),
        (1, 8, 10, {(3, 10)}),
        (2, 8, 10, {(0, 6), (4, 10)}),
    ],
)
def test_a_shifted_span_keeps_its_length_and_moves_as_far_as_there_is_room(
    start: int, end: int, length: int, expected: set[tuple[int, int]]
) -> None:
    text = "".join(chr(97 + place % 26) for place in range(length))
    moved = set()
    for number in range(20):
        record = PreferenceRecord(f"r{number}", "p", text, "bad", (span(text, start, end),))
        found = noisy(record, "spans-shift").chosen_spans[0]
        moved.add((found.start, found.end))
    assert moved == expected


def test_a_span_without_room_has_no_noise() -> None:
    assert reason(PreferenceRecord("r", "p", "good", "bad", (span("good", 0, 4),)), "spans-shift") == "no-effect"
    assert reason(PreferenceRecord("r", "p", "good", "bad", (span("good", 0, 4),)), "spans-widen") == "no-effect"


def test_a_widened_span_reaches_further_on_both_sides() -> None:
    found = noisy(PAIR, "spans-widen", characters=3)
    assert [(one.start, one.end) for one in found.chosen_spans] == [(17, 21)]
    assert [(one.start, one.end, one.weight) for one in found.rejected_spans] == [(17, 25, 2.0)]


def test_one_span_is_dropped_and_never_the_last() -> None:
    sides = {
        (len(found.chosen_spans), len(found.rejected_spans))
        for found in (noisy(replace(PAIR, id=f"r{number}"), "spans-drop") for number in range(20))
    }
    assert sides == {(0, 1), (1, 0)}
    assert reason(replace(PAIR, chosen_spans=()), "spans-drop") == "one-span"
    two = replace(PAIR, chosen_spans=(span(GOOD, 0, 6), span(GOOD, 20, 20)), rejected_spans=())
    dropped = {noisy(replace(two, id=f"r{number}"), "spans-drop").chosen_spans[0].start for number in range(20)}
    assert dropped == {0, 20}


def test_spans_of_the_wrong_side_are_read_in_the_other_answer() -> None:
    found = noisy(PAIR, "spans-wrong-side")
    assert [(one.start, one.end, one.text) for one in found.chosen_spans] == [(20, 21, "]")]
    assert [(one.start, one.end, one.text) for one in found.rejected_spans] == [(20, 20, "")]
    same = PreferenceRecord("r", "p", "a < b", "a > b", (span("a < b", 2, 3),), (span("a > b", 2, 3),))
    assert reason(same, "spans-wrong-side") == "no-effect"


@pytest.mark.parametrize("how", [how for how in HOWS if how.startswith("spans-")])
def test_without_spans_there_is_no_noise_in_them(how: How) -> None:
    assert reason(replace(PAIR, chosen_spans=(), rejected_spans=()), how) == "no-spans"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", {"noise": ["flip"]}),
        ('{"source": "s"}', {"source": "s", "noise": ["flip"]}),
        ('{"noise": ["weaker"]}', {"noise": ["weaker", "flip"]}),
        ("[1]", {"given": "[1]", "noise": ["flip"]}),
        ("by hand", {"given": "by hand", "noise": ["flip"]}),
    ],
)
def test_a_noisy_row_says_what_was_done_to_it(before: str, after: dict[str, Any]) -> None:
    assert json.loads(noted(before, "flip")) == after
    assert is_noisy(noted(before, "flip"))


@pytest.mark.parametrize("provenance", ["", "{}", '{"source": "s"}', "[1]", "by hand", "null", '{"noise": []}'])
def test_other_rows_are_clean(provenance: str) -> None:
    assert not is_noisy(provenance)


# Levels

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@st.composite
def marked_text(draw: st.DrawFn) -> tuple[str, tuple[Span, ...]]:
    text = draw(TEXTS)
    ends = draw(st.lists(st.tuples(*[st.integers(0, len(text))] * 2), max_size=3))
    return text, tuple(span(text, min(pair), max(pair)) for pair in ends)


@st.composite
def pairs(draw: st.DrawFn) -> list[PreferenceRecord]:
    sides = draw(st.lists(st.tuples(TEXTS, marked_text(), marked_text()), min_size=1, max_size=8))
    return [
        PreferenceRecord(f"r{number}", prompt, good[0], bad[0], good[1], bad[1])
        for number, (prompt, good, bad) in enumerate(sides)
    ]


def ring(records: list[PreferenceRecord], seed: int) -> Any:
    return Ring(((one.id, (one.prompt, one.rejected)) for one in records), seed)


RATES = st.floats(0, 1)


@given(pairs(), st.sampled_from(HOWS), st.integers(0, 3), RATES, RATES)
def test_levels_are_nested_and_have_the_same_rows(
    records: list[PreferenceRecord], how: How, seed: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    levels = [NoiseStage(how, rate, seed, 3, ring(records, seed))(records) for rate in (0.0, low, high, 1.0)]
    clean, few, more, every = ({made.id: made for made in kept} for kept, _ in levels)
    assert list(clean) == list(few) == list(more) == list(every)
    assert all(rejected == levels[0][1] for _, rejected in levels)
    assert len(clean) + len(levels[0][1]) == len(records)
    given_rows = {record.id: record for record in records}
    for id, row in clean.items():
        assert row == given_rows[id]
        assert few[id] in (row, more[id]), "noisy at the lower rate, and not at the higher one, or in another way"
        assert more[id] in (row, every[id])
        assert is_noisy(every[id].provenance) and every[id] != row


@given(pairs(), st.sampled_from([how for how in HOWS if how != "random-rejected"]), st.integers(0, 3), RATES)
def test_what_becomes_of_a_row_does_not_depend_on_the_others(
    records: list[PreferenceRecord], how: How, seed: int, rate: float
) -> None:
    stage = NoiseStage(how, rate, seed)
    together = stage(records)
    alone = [stage([record]) for record in records]
    assert together == (
        [made for kept, _ in alone for made in kept],
        [lost for _, rejected in alone for lost in rejected],
    )


@given(pairs(), st.sampled_from([how for how in HOWS if how.startswith("spans-")]))
def test_noise_in_spans_leaves_the_answers_alone(records: list[PreferenceRecord], how: How) -> None:
    known = {record.id: record for record in records}
    for made in NoiseStage(how, 1.0, 0)(records)[0]:
        assert (made.prompt, made.chosen, made.rejected) == (
            known[made.id].prompt,
            known[made.id].chosen,
            known[made.id].rejected,
        )


def test_the_share_of_noisy_rows_is_the_rate() -> None:
    """1,000 draws at a rate of 0.3: within four standard errors of 0.0145."""
    records = [replace(PAIR, id=f"r{number}") for number in range(1000)]
    shares = []
    for seed in (0, 1):
        kept = NoiseStage("flip", 0.3, seed)(records)[0]
        shares.append({made.id for made in kept if is_noisy(made.provenance)})
        assert abs(len(shares[-1]) / 1000 - 0.3) < 0.058
    assert shares[0] != shares[1]


# The ring


@given(st.sets(st.text(max_size=3), min_size=1, max_size=12), st.text(max_size=3), st.integers(0, 2))
def test_a_ring_gives_every_other_item_once_in_an_order_that_is_not_theirs(ids: set[str], row: str, seed: int) -> None:
    listed = sorted(ids)
    found = list(Ring([(id, id) for id in listed], seed).after(row))
    assert sorted(found) == [id for id in listed if id != row]
    assert found == list(Ring([(id, id) for id in reversed(listed)], seed).after(row))
    fewer = [id for id in listed if id != found[0]] if found else listed
    assert list(Ring([(id, id) for id in fewer], seed).after(row)) == found[1:]


def test_rows_draw_different_items() -> None:
    made = Ring([(str(number), number) for number in range(50)], 0)
    assert len({next(made.after(f"row {number}")) for number in range(50)}) > 15


# The node


def make(folder: Path, records: list[PreferenceRecord], **config: Any) -> tuple[Manifest, list[PreferenceRecord]]:
    write_shards(folder / "pairs" / "data", records, PreferenceRecord.SCHEMA, 7)
    directory = folder / "noisy"
    directory.mkdir()
    known = NoiseConfig.model_validate({"kind": "noise", "input": "pairs", **config})
    source = Source("input", "pairs", "rows", "k", "", folder / "pairs")
    Noise().make([Work("e", "noisy", "noise", Noise.version, "rows", "0123", known, directory, [source])])
    manifest = read_manifest(directory)
    assert manifest is not None and not verify(directory)
    return manifest, list(read_records(directory / "data", PreferenceRecord))


def test_a_node_counts_noisy_rows_and_keeps_what_it_rejects(tmp_path: Path) -> None:
    records = [replace(PAIR, id=f"r{number}") for number in range(20)]
    records[3] = replace(records[3], chosen_spans=(), rejected_spans=())
    manifest, made = make(tmp_path, records, how="spans-drop", rate=0.5, limit=19)
    noisy = sum(is_noisy(row.provenance) for row in made)
    assert manifest.rows == {"in": 19, "out": 18, "rejected": 1}
    assert manifest.facts == {"noisy": noisy, "noisy_share": noisy / 18}
    assert 0 < noisy < 18
    rejected = pq.read_table(tmp_path / "noisy" / "rejected").to_pylist()
    assert [(row["id"], row["reason"]) for row in rejected] == [("r3", "no-spans")]


def test_a_node_draws_rejected_answers_from_all_shards(tmp_path: Path) -> None:
    records = [replace(PAIR, id=f"r{n}", prompt=f"p{n}", rejected=f"bad {n}", rejected_spans=()) for n in range(20)]
    _, made = make(tmp_path, records, how="random-rejected", rate=1)
    numbers = [int(row.rejected.split()[1]) for row in made]
    assert all(number != place for place, number in enumerate(numbers))
    assert any(number // 7 != place // 7 for place, number in enumerate(numbers))


def test_too_many_rows_that_cannot_be_noisy_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4 of 4 rows were rejected \\(no-rewrite 4\\)"):
        make(tmp_path, [replace(PAIR, id=f"r{number}") for number in range(4)], how="weaker", rate=0.1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"how": "flip", "rate": 1.5}, "less than or equal to 1"),
        ({"how": "swap", "rate": 0.5}, "Input should be 'flip'"),
        ({"how": "flip", "rate": 0.5, "characters": 3}, "flip does not read characters"),
    ],
)
def test_what_a_node_cannot_do_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NoiseConfig.model_validate({"kind": "noise", "input": "pairs", **config})
