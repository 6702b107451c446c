"""The last layer where it is read: as little work as promised, and the values and gradients of all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from families import SHARING, VOCABULARY, build, random_pairs
from torch import Tensor, nn

from training.batches import Batch, collate, collate_pairs
from training.families import probe
from training.scoring import Scorer
from training.tokens import Example, PairExample

EVERYWHERE = {"llama", "qwen2", "qwen3", "mistral", "mistral, window of 9", "gpt2", "gpt-neox", "gemma2, capped logits"}


def long_prompts(weighted: int) -> list[PairExample]:
    """Pairs with prompts of 30 tokens and answers of 10, of which the last `weighted` carry weight."""
    draw = torch.Generator().manual_seed(3)

    def example(ids: list[int]) -> Example:
        return Example("a", tuple(ids), (*[0.0] * (40 - weighted), *[1.0] * weighted), 30)

    def words(count: int) -> list[int]:
        return torch.randint(1, VOCABULARY, (count,), generator=draw).tolist()

    starts = [words(34) for _ in range(3)]
    return [PairExample("a", *(example([*start, first, *words(5)]) for first in (7, 8))) for start in starts]


@contextmanager
def counted(layers: Any) -> Iterator[list[tuple[int, int]]]:
    """Of every layer that runs: tokens that go through its feed-forward part, tokens that ask."""
    asked, seen, hooks = [], [], []
    plain = nn.functional.scaled_dot_product_attention

    def attend(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        asked[-1] += query.shape[0] * query.shape[2]
        return plain(query, *args, **kwargs)

    for layer in layers:
        hooks.append(layer.register_forward_pre_hook(lambda *_: asked.append(0)))
        hooks.append(layer.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel())))
    found: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "scaled_dot_product_attention", attend)
        yield found
    for hook in hooks:
        hook.remove()
    found += zip(seen, asked, strict=True)


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
@pytest.mark.parametrize("pack", [False, True])
def test_only_what_is_read_goes_through_the_last_layer(family: str, pack: bool) -> None:
    scorer = Scorer(build(family))
    layers = getattr(scorer.trunk, "layers", None) or scorer.trunk.h
    batch = collate_pairs(long_prompts(weighted=4), 0, pack=pack)
    with counted(layers) as found:
        scorer(batch)
    before, last = found
    # Prompt and common start, 34 tokens, and two tails of 5: the token that is predicted last is not run.
    assert before == (batch.input_ids.numel(), 3 * (39 + 5))
    assert last == (3 * 2 * 4, 3 * 2 * 4)


def test_where_nearly_all_is_read_nothing_is_left_out() -> None:
    scorer = Scorer(build("llama"))
    sides = [Example("a", (5, 6, first, *range(10, 27)), (0.0, *[1.0] * 19), 1) for first in (7, 8)]
    batch = collate_pairs([PairExample("a", *sides)] * 2, 0, pack=True)
    with counted(scorer.trunk.layers) as found:
        scorer(batch)
    assert found[0] == found[1]
    assert batch.layout is not None and batch.layout.read is None and batch.layout.last is None


def test_packed_answers_without_partners_leave_their_prompts_out_too() -> None:
    scorer = Scorer(build("llama"))
    examples = [pair.chosen for pair in long_prompts(weighted=4)]
    with counted(scorer.trunk.layers) as found:
        scorer(collate(examples, 0, pack=True))
    assert found == [(3 * 39, 3 * 39), (3 * 4, 3 * 4)]


@pytest.mark.parametrize("family", sorted(SHARING))
@pytest.mark.parametrize("weighted", [1, 4, 9])
def test_values_and_gradients_are_those_of_whole_layers(family: str, weighted: int) -> None:
    scorer, pairs = Scorer(build(family)).eval(), long_prompts(weighted)
    allowed = probe(scorer, 40)
    assert allowed.shared

    def both(batch: Batch) -> tuple[Tensor, Tensor]:
        logps = scorer(batch).logps[batch.scored]
        scorer.zero_grad(set_to_none=True)
        (logps * torch.arange(1, len(logps) + 1)).sum().backward()
        parameters = (each.grad for each in scorer.model.parameters() if each.grad is not None)
        return logps.detach(), torch.cat([each.flatten() for each in parameters])

    expected, found = both(collate_pairs(pairs, 0, share=False)), both(collate_pairs(pairs, 0, pack=allowed.packed))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def test_a_second_scorer_of_a_model_changes_nothing() -> None:
    model, pairs = build("llama"), random_pairs(seed=2)
    batch = collate_pairs(pairs, 0, pack=True)
    expected = Scorer(model)(batch).logps
    assert torch.equal(Scorer(model)(batch).logps, expected)


def test_a_feed_forward_part_that_looks_at_other_tokens_is_found_out() -> None:
    model = build("llama")
    mlp = model.model.layers[-1].mlp
    plain = mlp.forward
    mlp.forward = lambda states: plain(states) + states.mean(1, keepdim=True)
    scorer = Scorer(model)
    assert not probe(scorer, 40).shared


def test_a_family_with_its_parts_elsewhere_runs_whole_layers() -> None:
    model = build("llama")
    for layer in model.model.layers:
        layer.other = layer.mlp
        del layer.mlp
        layer.mlp = layer.other.forward
    scorer = Scorer(model)
    assert scorer.trunk.layers[-1]._forward_pre_hooks == {}
    assert probe(scorer, 40).packed
