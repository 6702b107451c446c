"""Scores of weighted tokens alone against a plain implementation: every answer by itself, full logits, loops.

For every family: trunk, chunked head, cut, shared prefixes and cancelled tokens, in value and in gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from families import APART, SHARING, VOCABULARY, build, random_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.failures import UserError
from training import lora
from training.batches import collate, collate_pairs
from training.configs import LoraConfig
from training.families import probe
from training.head import predict
from training.losses import Loss, Side, preference_loss, sides
from training.scoring import CachedHidden, LiveReference, Scorer, ShortForm
from training.tokens import Example, PairExample

BETA, ALPHA = 0.3, 0.7
LOSSES: list[Loss] = ["dpo", "tdpo1", "tdpo2"]


def plain_sums(policy: Any, reference: Any, example: Example) -> tuple[Tensor, Tensor, Tensor]:
    """logps, log-ratio and KL of one answer, summed token by token from its full logits."""
    ids = torch.tensor([example.input_ids])
    mine, theirs = policy(ids).logits[0].log_softmax(-1), reference(ids).logits[0].log_softmax(-1).detach()
    logps = ratio = kl = torch.zeros(())
    for token, weight in enumerate(example.weights):
        if weight:
            target = example.input_ids[token]
            logps = logps + weight * mine[token - 1, target]
            ratio = ratio + weight * (mine[token - 1, target] - theirs[token - 1, target])
            kl = kl + weight * (theirs[token - 1].exp() * (theirs[token - 1] - mine[token - 1])).sum()
    return logps, ratio, kl


def plain_loss(loss: Loss, policy: Any, reference: Any, pairs: Sequence[PairExample]) -> Tensor:
    both = [[plain_sums(policy, reference, example) for example in (pair.chosen, pair.rejected)] for pair in pairs]
    chosen, rejected = (Side(*map(torch.stack, zip(*column, strict=True))) for column in zip(*both, strict=True))
    return preference_loss(loss, chosen, rejected, beta=BETA, alpha=ALPHA).losses.mean()


def loss_of(
    loss: Loss,
    scorer: Scorer,
    reference: LiveReference,
    pairs: Sequence[PairExample],
    *,
    share: bool = True,
    cancel: bool = False,
    pack: bool = False,
) -> Tensor:
    batch = collate_pairs(pairs, 0, share, cancel, pack)
    scores = scorer(batch, reference, kl=loss != "dpo")
    both = sides(batch, len(pairs), scores.logps, scores.reference, scores.kl)
    return preference_loss(loss, *both, beta=BETA, alpha=ALPHA).losses.mean()


def gradient(loss: Tensor, model: Any) -> Tensor:
    model.zero_grad()
    loss.backward(retain_graph=True)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def same(found: Tensor, expected: Tensor, model: Any) -> None:
    """Values to 1e-5, and gradients to 1e-5 of the largest."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    mine, plain = gradient(found, model), gradient(expected, model)
    torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5 * max(1.0, plain.abs().max().item()))


@pytest.fixture(scope="module")
def llamas() -> tuple[Scorer, Scorer]:
    return Scorer(build("llama", 0)), Scorer(build("llama", 1).requires_grad_(False))


@pytest.mark.parametrize("family", [*SHARING, *APART])
def test_every_family_gives_the_losses_and_gradients_of_full_logits(family: str) -> None:
    policy, reference = Scorer(build(family, 0)), Scorer(build(family, 1).requires_grad_(False))
    pairs = random_pairs(seed=3)
    for loss in LOSSES:
        expected = plain_loss(loss, policy.model, reference.model, pairs)
        # Rows are shared in two ways: by our attention where a family takes part, and by a mask.
        layouts = [(False, False, True)]
        # A mask of ours would be taken for the window's as well.
        if family in SHARING and family not in ("mistral, window of 9", "gemma2, capped logits"):
            layouts += [(True, False, True)]
        if family in SHARING and "gpt-j" not in family:
            layouts += [(True, False, False), (True, True, False), (False, True, False)]
        for share, pack, masks in layouts:
            policy.masks = reference.masks = masks
            found = loss_of(loss, policy, LiveReference(reference), pairs, share=share, pack=pack)
            same(found, expected, policy.model)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    loss=st.sampled_from(LOSSES),
    share=st.booleans(),
    cancel=st.booleans(),
    pack=st.booleans(),
)
def test_no_layout_changes_a_loss(
    llamas: tuple[Scorer, Scorer], seed: int, loss: Loss, share: bool, cancel: bool, pack: bool
) -> None:
    policy, reference = llamas
    pairs = random_pairs(seed)
    expected = plain_loss(loss, policy.model, reference.model, pairs)
    layout = {"share": share, "cancel": cancel and loss != "tdpo2", "pack": pack}
    found = loss_of(loss, policy, LiveReference(reference), pairs, **layout)
    same(found, expected, policy.model)


def test_tdpo2_would_be_another_loss_if_shared_tokens_were_left_out(llamas: tuple[Scorer, Scorer]) -> None:
    """They cancel in its value, and not in its gradient: that of the chosen KL is stopped."""
    policy, reference = llamas
    start = (5, 6, 7, 8, 9)
    answers = [Example("a", (*start, tail, 4), (0.0, 0.0, *[1.0] * 5), 2) for tail in (10, 11)]
    pairs = [PairExample("a", *answers)]
    found = [loss_of("tdpo2", policy, LiveReference(reference), pairs, cancel=cancel) for cancel in (0, 1)]
    torch.testing.assert_close(*found)
    gradients = [gradient(loss, policy.model) for loss in found]
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


def test_a_pair_of_which_all_cancels_has_a_loss_and_gradients_of_zero(llamas: tuple[Scorer, Scorer]) -> None:
    """There must be gradients: with several workers each has to come along."""
    policy, reference = llamas
    answers = [Example("a", (5, 6, 7, tail), (0.0, 1.0, 2.0, 0.0), 1) for tail in (8, 9)]
    found = loss_of("dpo", policy, LiveReference(reference), [PairExample("a", *answers)], cancel=True, pack=True)
    assert found.item() == pytest.approx(math.log(2))
    policy.zero_grad(set_to_none=True)
    found.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in policy.parameters())


@pytest.mark.parametrize("share", [False, True])
def test_layers_that_are_computed_again_in_the_backward_pass_know_the_layout(share: bool) -> None:
    policy, reference = Scorer(build("llama", 0)), Scorer(build("llama", 1).requires_grad_(False))
    pairs = random_pairs(seed=11)
    expected = plain_loss("tdpo2", policy.model, reference.model, pairs)
    value, slope = expected.item(), gradient(expected, policy.model)
    policy.model.train().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    found = loss_of("tdpo2", policy, LiveReference(reference), pairs, share=share, pack=True)
    assert found.item() == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(gradient(found, policy.model), slope, rtol=1e-5, atol=1e-5 * slope.abs().max().item())


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt-j, a head with a bias", "gemma2, capped logits"])
def test_a_policy_that_is_its_reference_starts_at_ln_2(family: str, share: bool) -> None:
    policy, reference = Scorer(build(family)), Scorer(build(family).requires_grad_(False))
    pairs = random_pairs(seed=5, count=6, longest_tail=30)
    batch = collate_pairs(pairs, 0, share)
    scores = policy(batch, LiveReference(reference), kl=True)
    assert not scores.kl.any()
    assert torch.equal(scores.logps, scores.reference)
    for loss in LOSSES:
        found = loss_of(loss, policy, LiveReference(reference), pairs, share=share)
        assert found.item() == pytest.approx(math.log(2), abs=1e-6)


def test_an_adapter_is_held_to_its_base(llamas: tuple[Scorer, Scorer]) -> None:
    base = build("llama", 0)
    policy = Scorer(lora.wrap(build("llama", 0), LoraConfig(rank=4), base="base", seed=0))
    itself = LiveReference(policy)
    pairs = random_pairs(seed=7)
    found = loss_of("tdpo2", policy, itself, pairs)
    assert found.item() == pytest.approx(math.log(2), abs=1e-6)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    for loss in LOSSES:
        expected = plain_loss(loss, policy.model, base, pairs)
        same(loss_of(loss, policy, itself, pairs), expected, policy.model)
    assert policy.head.weight.grad is None


@pytest.mark.parametrize("cached", ["hidden", "short"])
def test_what_is_cached_of_a_reference_does_as_well_as_the_reference(cached: str) -> None:
    policy = Scorer(lora.wrap(build("llama", 0), LoraConfig(rank=4), base="base", seed=0))
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    reference = Scorer(build("llama", 0).requires_grad_(False))
    batch = collate_pairs(random_pairs(seed=8), 0)
    hidden, weight = reference.hidden(batch), reference.head.weight
    if cached == "hidden":
        known: Any = CachedHidden(hidden, reference.head.weights())
    else:
        p = (hidden @ weight.t()).softmax(-1)
        known = ShortForm(p @ weight, -(p * p.log()).sum(-1))
    live, found = policy(batch, LiveReference(reference), kl=True), policy(batch, known, kl=True)
    torch.testing.assert_close(found.kl, live.kl, rtol=1e-5, atol=2e-6)
    assert torch.equal(found.logps, live.logps)
    assert found.reference is None if cached == "short" else torch.equal(found.reference, live.reference)
    back = torch.linspace(-1, 1, len(live.kl))
    mine, theirs = (gradient((scores.kl * back).sum(), policy.model) for scores in (found, live))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_most_likely_tokens(llamas: tuple[Scorer, Scorer]) -> None:
    policy, _ = llamas
    example = Example("a", (5, 6, 7, 8), (0.0, 0.0, 1.0, 1.0), 2)
    best = policy.model(torch.tensor([example.input_ids])).logits[0].argmax(-1)
    assert policy(collate([example], 0), top=True).top.tolist() == best[1:3].tolist()


def test_logits_of_the_whole_batch_are_never_made(llamas: tuple[Scorer, Scorer], monkeypatch: Any) -> None:
    policy, reference = llamas
    shapes: list[tuple[int, ...]] = []

    def watched(hidden: Tensor, *rest: Any, **asked: Any) -> Any:
        shapes.append(tuple(hidden.shape))
        return predict(hidden, *rest, **asked)

    monkeypatch.setattr("training.scoring.predict", watched)
    monkeypatch.setattr(type(policy.model), "forward", None)
    tail = (0.0,) * 20
    answers = [Example("a", (5, 6, 7, first, *range(20)), (0.0, 0.0, 1.0, 1.0, *tail), 2) for first in (8, 9)]
    batch = collate_pairs([PairExample("a", *answers)], 0)
    policy(batch, LiveReference(reference), kl=True)
    # Token 2 for both, token 3 of either: 3 predictions from 3 tokens.
    assert shapes == [(3, 32)]
    assert batch.tokens == 3


@pytest.mark.parametrize("family", list(SHARING))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_families_that_share_are_known_to(family: str, dtype: torch.dtype) -> None:
    scorer = Scorer(build(family).to(dtype).train())
    found = probe(scorer, 20)
    assert (found.chunked, found.shared, found.notes) == (True, True, ())
    # GPT-J computes attention itself, which takes a mask.
    assert found.packed == (not scorer.masks) == (family != "gpt-j, a head with a bias")
    assert scorer.training and not scorer.plain


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("gpt-neo, window of 9", "its attention follows neither ours nor a mask"),
        ("bloom, positions by distance", "Error: "),
        ("mamba, no attention", "Error: "),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_families_that_do_not_share_are_known_not_to(family: str, why: str, dtype: torch.dtype) -> None:
    scorer = Scorer(build(family).to(dtype))
    found = probe(scorer, 20)
    if family.startswith("mamba") and dtype == torch.bfloat16:
        assert found.facts()["head"] == "full"  # On a CPU it does not run in bf16 at all.
        return
    assert (found.chunked, found.shared) == (True, False)
    assert why in found.notes[0]
    layout = {"head": "chunked", "prefixes": "repeated", "padding": "to the longest"}
    assert found.facts() == {**layout, "layout_notes": list(found.notes)}


def test_attention_that_ignores_the_mask_is_found_out(monkeypatch: Any) -> None:
    scorer = Scorer(build("llama"))
    inputs = Scorer._inputs
    without = {"attention_mask", "position_ids", "answer_layout"}
    monkeypatch.setattr(
        Scorer, "_inputs", lambda self, batch: {k: v for k, v in inputs(self, batch).items() if k not in without}
    )
    assert "follows neither" in probe(scorer, 20).notes[0]


def test_a_leak_between_answers_is_found_out(monkeypatch: Any) -> None:
    """However small: here a hundredth of a token's embedding."""
    scorer = Scorer(build("llama"))
    embed = scorer.trunk.embed_tokens.forward
    monkeypatch.setattr(
        scorer.trunk.embed_tokens,
        "forward",
        lambda ids: (x := embed(ids)) + 0.01 * x.cumsum(1).roll(1, 1) * (ids > -1)[..., None],
    )
    assert not probe(scorer, 20).shared


def test_a_last_layer_of_its_own_kind_is_taken_whole(monkeypatch: Any) -> None:
    """Logits that are squared on their way out: the head cannot know, and full logits are right."""
    policy, reference = build("llama", 0), build("llama", 1).requires_grad_(False)
    forward = type(policy).forward

    def squared(self: Any, *given: Any, **named: Any) -> Any:
        found = forward(self, *given, **named)
        found.logits = found.logits**2
        return found

    monkeypatch.setattr(type(policy), "forward", squared)
    scorer, other = Scorer(policy), Scorer(reference)
    found = probe(scorer, 20)
    assert (found.chunked, found.shared, scorer.plain) == (False, False, True)
    assert "no product" in found.notes[0]
    other.plain = True
    pairs = random_pairs(seed=9)
    for loss in LOSSES:
        expected = plain_loss(loss, policy, reference, pairs)
        same(loss_of(loss, scorer, LiveReference(other), pairs, share=False), expected, policy)
    batch = collate_pairs(pairs, 0, share=False)
    assert scorer(batch, top=True).top.shape == batch.targets.shape


def test_rows_too_long_for_a_model_are_refused_in_words() -> None:
    scorer = Scorer(build("gpt2"))
    with pytest.raises(UserError, match="rows have up to 66 tokens, and the model has positions for 64") as caught:
        probe(scorer, 66)
    assert caught.value.where == "max_length"
    # Rotary positions go on: 66 tokens are worse there, and no error.
    rotary = Scorer(build("llama"))
    assert probe(rotary, 66).shared


def test_a_model_is_saved_and_loaded_as_without_the_scorer(tmp_path: Path) -> None:
    model = build("llama")
    scorer = Scorer(model)
    assert {name.removeprefix("model.") for name in scorer.state_dict()} == set(model.state_dict())
    assert [name for name, _ in scorer.named_parameters()] == [f"model.{name}" for name, _ in model.named_parameters()]
    other = Scorer(build("llama", 1))
    other.load_state_dict(scorer.state_dict())
    assert torch.equal(other.head.weight, scorer.head.weight)
    assert scorer.head.weight.shape == (VOCABULARY, 32)
