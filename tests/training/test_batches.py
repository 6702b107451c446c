"""Padding, and the order of training as a pure function of the step."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from math import ceil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.failures import UserError
from training.batches import collate, collate_pairs, sample_order
from training.tokens import Example, PairExample


def example(*ids: int) -> Example:
    return Example("r", ids, (0.0, *[0.5] * (len(ids) - 1)), 1)


def test_collate_pads_on_the_right() -> None:
    batch = collate([example(5, 6, 7), example(8, 9)], pad_id=1)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.weights.tolist() == [[0, 0.5, 0.5], [0, 0.5, 0]]
    assert [tensor.dtype for tensor in batch] == [torch.int64, torch.int64, torch.float32]


def test_pairs_come_as_all_chosen_then_all_rejected() -> None:
    pairs = [PairExample("a", example(1, 2), example(3, 4, 5)), PairExample("b", example(6, 7), example(8, 9))]
    assert collate_pairs(pairs, pad_id=0).input_ids.tolist() == [[1, 2, 0], [6, 7, 0], [3, 4, 5], [8, 9, 0]]


@settings(deadline=None)
@given(n=st.integers(1, 40), batch_size=st.integers(1, 60), epochs=st.integers(1, 5), seed=st.integers(0, 9))
def test_sample_order_is_equal_batches_of_whole_permutations(n: int, batch_size: int, epochs: int, seed: int) -> None:
    order = sample_order(n, batch_size, epochs, seed)
    assert len(order) == ceil(epochs * n / batch_size)
    assert {len(batch) for batch in order} == {batch_size}
    stream = list(chain.from_iterable(order))
    for first in range(0, len(stream) - n + 1, n):
        assert sorted(stream[first : first + n]) == list(range(n))
    seen = Counter(stream)
    assert max(seen.values()) - min(seen[row] for row in range(n)) <= 1
    assert order == sample_order(n, batch_size, epochs, seed)
    assert order == sample_order(n, batch_size, epochs + 1, seed)[: len(order)]


def test_epochs_and_seeds_differ() -> None:
    first, second = sample_order(50, 50, 2, seed=0)
    assert first != second
    assert first != sample_order(50, 50, 1, seed=1)[0]


@pytest.mark.parametrize(("n", "epochs", "steps"), [(30, 0.1, 3), (10, 0.05, 1), (3, 1.5, 5)])
def test_fractions_of_an_epoch(n: int, epochs: float, steps: int) -> None:
    assert len(sample_order(n, 1, epochs, seed=0)) == steps


def test_an_empty_data_set_is_an_error_for_the_user() -> None:
    with pytest.raises(UserError, match="empty data set") as caught:
        sample_order(0, 4, 1, seed=0)
    assert caught.value.kind == "data"
