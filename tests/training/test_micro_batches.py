"""How the rows of a step are split: every row once, the budget kept, as many micro-batches on every rank."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.batches import collate, collate_pairs
from training.micro_batches import MicroBatch, Split, in_budget, in_parts, row_length
from training.tokens import Example, PairExample

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)
WORLDS = st.integers(1, 5)
BUDGETS = st.integers(1, 200)


def counted(split: Split) -> list[MicroBatch]:
    return [part for rank in split for part in rank if part.counts]


def cost(part: MicroBatch, lengths: list[int]) -> int:
    return len(part.rows) * max(lengths[row] for row in part.rows)


def test_parts_by_hand() -> None:
    assert in_parts(8, 2, 2) == [
        [MicroBatch((0, 4)), MicroBatch((2, 6))],
        [MicroBatch((1, 5)), MicroBatch((3, 7))],
    ]


def test_a_rank_without_rows_goes_through_another_ones() -> None:
    assert in_parts(2, 3, 1)[2] == [MicroBatch((0,), counts=False)]


def test_a_budget_by_hand() -> None:
    """Alone the 9 and the 8 cost 9 and 8 of 12, and the rest 4 x 3; four micro-batches of about the same."""
    lengths = [2, 9, 3, 3, 8, 1]
    assert in_budget(lengths, 2, 12) == [
        [MicroBatch((1,)), MicroBatch((0, 5))],
        [MicroBatch((4,)), MicroBatch((2, 3))],
    ]


def test_rows_that_are_too_long_go_alone_and_the_last_rank_in_vain() -> None:
    assert in_budget([50, 70, 60], 2, 10) == [
        [MicroBatch((1,)), MicroBatch((1,), counts=False)],
        [MicroBatch((2,)), MicroBatch((0,))],
    ]


@given(LENGTHS, WORLDS, BUDGETS)
def test_every_row_counts_once_and_every_rank_has_as_many(lengths: list[int], world: int, budget: int) -> None:
    split = in_budget(lengths, world, budget)
    assert sorted(row for part in counted(split) for row in part.rows) == list(range(len(lengths)))
    assert len(split) == world
    assert len({len(parts) for parts in split}) == 1


@given(st.integers(1, 40), WORLDS, st.integers(1, 4))
def test_parts_count_every_row_once_too(rows: int, world: int, parts: int) -> None:
    split = in_parts(rows, world, parts)
    assert sorted(row for part in counted(split) for row in part.rows) == list(range(rows))
    assert [len(rank) for rank in split] == [parts] * world


@given(LENGTHS, WORLDS, BUDGETS)
def test_a_micro_batch_keeps_to_the_budget_or_is_one_row(lengths: list[int], world: int, budget: int) -> None:
    for rank in in_budget(lengths, world, budget):
        for part in rank:
            assert cost(part, lengths) <= budget or len(part.rows) == 1


@given(LENGTHS, WORLDS, BUDGETS)
def test_no_rank_runs_more_micro_batches_than_it_must(lengths: list[int], world: int, budget: int) -> None:
    """Against the fewest groups of rows by dynamic programming over the rows by length, which no split undercuts."""
    ordered = sorted(lengths, reverse=True)
    fewest = [0]
    for end in range(1, len(ordered) + 1):
        fits = [start for start in range(end) if end - start == 1 or ordered[start] * (end - start) <= budget]
        fewest.append(min(fewest[start] for start in fits) + 1)
    assert len(in_budget(lengths, world, budget)[0]) == -(-fewest[-1] // world)


@given(LENGTHS, WORLDS, BUDGETS)
def test_ranks_have_about_the_same_to_do(lengths: list[int], world: int, budget: int) -> None:
    split = in_budget(lengths, world, budget)
    most = max(cost(part, lengths) for rank in split for part in rank)
    work = [sum(cost(part, lengths) for part in rank if part.counts) for rank in split]
    assert max(work) - min(work) <= most


@st.composite
def pairs(draw: Any) -> PairExample:
    """Pairs of few words, so that they often begin the same, with weights anywhere or nowhere."""

    def side() -> Example:
        size = draw(st.integers(2, 8))
        words = st.lists(st.integers(1, 2), min_size=size, max_size=size)
        weights = st.lists(st.sampled_from([0.0, 0.5]), min_size=size - 1, max_size=size - 1)
        return Example("a", tuple(draw(words)), (0.0, *draw(weights)), 1)

    return PairExample("a", side(), side())


@given(pairs())
def test_lengths_are_those_that_are_run(pair: PairExample) -> None:
    assert row_length(pair.chosen) == collate([pair.chosen], 0).input_ids.numel()
    assert row_length(pair, share=True) == collate_pairs([pair], 0, share=True).input_ids.numel()
    assert row_length(pair) >= collate_pairs([pair], 0, share=False).input_ids.numel()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_equal_rows_are_split_evenly(world: int) -> None:
    assert {len(part.rows) for rank in in_budget([10] * 16, world, 45) for part in rank} == {4}
