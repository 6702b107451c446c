"""What is run and what is predicted, and the order of training as a pure function of the step."""

from __future__ import annotations

from collections import Counter
from itertools import chain, product
from math import ceil

import pytest
import torch
from families import random_pairs
from hypothesis import given
from hypothesis import strategies as st

from pipeline.failures import UserError
from training.attention import mask
from training.batches import Batch, collate, collate_pairs, on, sample_order
from training.tokens import Example, PairExample


def example(*ids: int, weights: tuple[float, ...] = ()) -> Example:
    """An answer after a prompt of one token; each of its tokens weighs 0.5 unless said otherwise."""
    return Example("r", ids, (0.0, *(weights or (0.5,) * (len(ids) - 1))), 1)


def pair(chosen: Example, rejected: Example) -> PairExample:
    return PairExample("r", chosen, rejected)


def seen(batch: Batch) -> dict[int, list[int]]:
    """For every place in [R * T] the places that attention lets it see, in their order, itself the last."""
    rows, longest = batch.input_ids.shape
    if batch.layout is None:
        return {own: list(range(own - own % longest, own + 1)) for own in range(rows * longest)}
    found, asked, held = {}, 0, 0
    for (answers, queries, keys), positions in batch.layout.groups:
        own_places = batch.layout.asking[asked : asked + answers * queries].view(answers, queries)
        places = batch.layout.places[held : held + answers * keys].view(answers, keys)
        order = torch.arange(queries).expand(answers, queries) if positions is None else positions
        for answer, query in product(range(answers), range(queries)):
            own = int(own_places[answer, query])
            if batch.layout.back[own] == asked + answer * queries + query:  # or it is padding
                found[own] = places[answer, : order[answer, query] + 1].tolist()
        asked, held = asked + answers * queries, held + answers * keys
    if batch.layout.branches is not None:
        sees = mask(batch.layout.branches)[:, 0]
        for own, places_seen in found.items():
            row, place = divmod(own, longest)
            assert (sees[row, place].nonzero().squeeze(1) + row * longest).tolist() == places_seen
    return found


def entries(batch: Batch) -> list[tuple[int, int, int, float]]:
    """(answer, token, offset, weight) of every entry."""
    targets = batch.targets[batch.scored]
    columns = (batch.answer.tolist(), targets.tolist(), batch.offset.tolist(), batch.weights.tolist())
    return list(zip(*columns, strict=True))


def test_collate_pads_on_the_right_and_leaves_out_the_last_token_which_nothing_needs() -> None:
    batch = collate([example(5, 6, 7, 8), example(8, 9, 2)], pad_id=1)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2], [0, 1, 0]]
    assert batch.index.tolist() == [0, 1, 2, 3, 4]
    assert entries(batch) == [(0, 6, 0, 0.5), (0, 7, 1, 0.5), (0, 8, 2, 0.5), (1, 9, 0, 0.5), (1, 2, 1, 0.5)]
    assert batch.tokens == 5
    assert {part.dtype for part in batch[:-3]} == {torch.int64} and batch.weights.dtype == torch.float32


def test_what_follows_the_last_weighted_token_is_cut_off_and_answers_without_weight_are_not_run() -> None:
    rows = [
        example(5, 6, 7, 8, weights=(1.0, 0.0, 0.0)),
        example(5, 6, weights=(0.0,)),
        example(8, 9, 2, 3, weights=(0.0, 2.0, 0.0)),
    ]
    batch = collate(rows, pad_id=1)
    assert batch.input_ids.tolist() == [[5, 1], [8, 9]]
    assert entries(batch) == [(0, 6, 0, 1.0), (2, 2, 1, 2.0)]
    assert batch.index.tolist() == [0, 3]


def test_a_batch_without_any_weight_still_runs_a_token() -> None:
    batch = collate([example(5, 6, weights=(0.0,))], pad_id=1)
    assert batch.input_ids.tolist() == [[5]] and batch.tokens == 1
    assert all(len(part) == 0 for part in batch[3:-2])
    assert batch.scored.dtype == torch.int64


def test_pairs_come_as_all_chosen_then_all_rejected() -> None:
    pairs = [pair(example(1, 2, 9), example(1, 4, 5, 9)), pair(example(6, 7, 9), example(6, 8, 9))]
    batch = collate_pairs(pairs, pad_id=0, share=False)
    assert batch.input_ids.tolist() == [[1, 2, 0], [6, 7, 0], [1, 4, 5], [6, 8, 0]]
    assert batch.answer.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3]


def test_the_answers_of_a_pair_share_a_row_and_do_not_see_each_other() -> None:
    """[5 6 7] is shared, then 10 11 and 20: 5 tokens are run twice over in a row of 6, not in two of 5 and 4."""
    both = pair(example(5, 6, 7, 10, 11, 9), example(5, 6, 7, 20, 9))
    batch = collate_pairs([both], pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7, 10, 11, 20]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert batch.tokens == 6
    assert batch.layout is not None and batch.layout.branches is not None
    assert batch.layout.branches.tolist() == [[0, 0, 0, 1, 1, 2]]
    # The short tail asks alone, with what it shares among what it sees.
    assert batch.layout.groups[0] == ((1, 5, 5), None) and batch.layout.groups[1].shape == (1, 1, 4)
    assert batch.layout.places.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 5]
    assert batch.layout.asking.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.layout.back.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.layout.groups[1].positions.tolist() == [[3]]
    assert mask(batch.layout.branches)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],
    ]
    # 6 and 7 are predicted once for both answers; after 7 each predicts its own token, from the same hidden state.
    assert list(zip(batch.index.tolist(), batch.targets.tolist(), strict=True)) == [
        (0, 6), (1, 7), (2, 10), (2, 20), (3, 11), (4, 9), (5, 9),
    ]  # fmt: skip
    assert batch.scored.tolist() == [0, 1, 2, 4, 5, 0, 1, 3, 6]
    assert batch.answer.tolist() == [0] * 5 + [1] * 4
    assert batch.offset.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]


def test_packed_answers_stand_in_one_row_without_padding() -> None:
    pairs = [pair(example(5, 6, 7, 9), example(5, 8, 9)), pair(example(1, 2, 9), example(1, 3, 9, weights=(0, 0)))]
    batch = collate_pairs(pairs, pad_id=0, pack=True)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 1, 2]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 1, 0, 1]]
    assert batch.attention_mask.tolist() == [[1] * 6] and batch.tokens == 6
    assert batch.layout is not None and batch.layout.branches is None
    assert [group.shape for group in batch.layout.groups] == [(1, 3, 3), (2, 2, 2)]
    assert batch.layout.places.tolist() == [0, 1, 2, 0, 3, 4, 5]
    assert batch.layout.back.tolist() == [3, 1, 2, 4, 5, 6]
    assert entries(batch) == entries(collate_pairs(pairs, pad_id=0, share=False))
    rows = collate([example(5, 6, 7), example(1, 2)], pad_id=0, pack=True)
    assert rows.input_ids.tolist() == [[5, 6, 1]] and rows.index.tolist() == [0, 1, 2]
    # A single answer is a row as it is.
    assert collate([example(5, 6, 7)], pad_id=0, pack=True).layout is None


def test_padding_of_shared_rows_is_seen_by_nothing_and_sees_something() -> None:
    """A row of the softmax without an entry would be NaN."""
    pairs = [pair(example(5, 6, 7, 9), example(5, 8, 7, 9)), pair(example(5, 6, 9), example(5, 8, 9))]
    batch = collate_pairs(pairs, pad_id=0)
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch.layout is not None and batch.layout.branches is not None
    sees = mask(batch.layout.branches)[1, 0]
    assert sees[:3].int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]]
    assert sees.any(1).all() and not sees[:3, 3:].any()


def test_a_shared_row_ends_with_the_last_token_that_either_answer_needs() -> None:
    """The chosen answer is weighed on shared tokens alone: it has no tail, and the rejected one needs it whole."""
    both = pair(example(5, 6, 7, 10, 9, weights=(1, 0, 0, 0)), example(5, 6, 7, 20, 9, weights=(0, 0, 0, 1)))
    batch = collate_pairs([both], pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7, 20]]
    assert entries(batch) == [(0, 6, 0, 1.0), (1, 9, 3, 1.0)]
    assert batch.layout is None
    one_sided = pair(example(5, 6, 7, weights=(0, 0)), example(5, 8, 7, 9, weights=(0, 1, 0)))
    assert collate_pairs([one_sided], pad_id=0).input_ids.tolist() == [[5, 8]]


def test_an_answer_that_goes_on_where_the_other_ends() -> None:
    batch = collate_pairs([pair(example(5, 6, 9), example(5, 6, 9, 7, 9))], pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 9, 7]]
    assert [entry[:2] for entry in entries(batch)] == [(0, 6), (0, 9), (1, 6), (1, 9), (1, 7), (1, 9)]
    assert batch.tokens == 4


def test_shared_tokens_of_equal_weight_cancel_on_request() -> None:
    both = pair(example(5, 6, 7, 10, 9, weights=(1, 2, 1, 1)), example(5, 6, 7, 20, 9, weights=(1, 1, 1, 1)))
    batch = collate_pairs([both], pad_id=0, cancel=True)
    assert entries(batch) == [(0, 7, 1, 2), (0, 10, 2, 1), (0, 9, 3, 1), (1, 7, 1, 1), (1, 20, 2, 1), (1, 9, 3, 1)]
    assert batch.input_ids.tolist() == [[5, 6, 7, 10, 20]]
    # 9 stands in both at the same place and weighs the same, but after the answers have parted.
    same = pair(example(5, 6, 10, 9, weights=(1, 0, 0)), example(5, 6, 20, 9, weights=(1, 0, 0)))
    assert collate_pairs([same], pad_id=0, cancel=True).tokens == 1


def test_batches_move_whole() -> None:
    batch = on(collate_pairs([pair(example(5, 6, 7), example(5, 8, 7, 9))], pad_id=0), "meta")
    assert batch.layout is not None and batch.tokens == 4
    layout = batch.layout
    positions = [group.positions for group in layout.groups if group.positions is not None]
    tensors = (*batch[:-2], layout.places, layout.asking, layout.back, layout.branches, *positions)
    assert all(part.device.type == "meta" for part in tensors)


def test_answers_attend_with_those_that_are_about_as_long() -> None:
    """Seven eighths as long: 8 and 7 together, padded; 6 apart. Padding is asked for by nothing."""
    rows = [example(*range(3, 3 + length + 1)) for length in (6, 8, 7)]
    layout = collate(rows, pad_id=0, pack=True).layout
    assert layout is not None and layout.groups == (((2, 8, 8), None), ((1, 6, 6), None))
    assert layout.places.tolist() == [*range(6, 14), *range(14, 21), 14, *range(6)]
    assert layout.back.tolist() == [*range(16, 22), *range(8), *range(8, 15)]


@given(seed=st.integers(0, 10**6), share=st.booleans(), pack=st.booleans())
def test_every_weighted_token_is_predicted_from_what_precedes_it(seed: int, share: bool, pack: bool) -> None:
    """Whatever the layout: what a place sees is its answer up to there, each token at its own position."""
    pairs = random_pairs(seed)
    batch = collate_pairs(pairs, 0, share, pack=pack)
    ids, positions, sees = batch.input_ids.flatten(), batch.position_ids.flatten(), seen(batch)
    answers = [p.chosen for p in pairs] + [p.rejected for p in pairs]
    assert batch.answer.tolist() == sorted(batch.answer.tolist())
    assert len(set(zip(batch.index.tolist(), batch.targets.tolist(), strict=True))) == len(batch.index)
    found: list[dict[int, float]] = [{} for _ in answers]
    for scored, answer, offset, weight in zip(
        batch.scored.tolist(), batch.answer.tolist(), batch.offset.tolist(), batch.weights.tolist(), strict=True
    ):
        own = int(batch.index[scored])
        token = answers[answer].response_start + offset
        assert ids[sees[own]].tolist() == list(answers[answer].input_ids[:token])
        assert positions[sees[own]].tolist() == list(range(token))
        assert int(batch.targets[scored]) == answers[answer].input_ids[token]
        found[answer][token] = weight
    for answer, example in zip(found, answers, strict=True):
        assert answer == {token: weight for token, weight in enumerate(example.weights) if weight}


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
