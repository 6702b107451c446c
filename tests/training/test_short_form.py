"""The short form of the KL against the definition: values, gradients, precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.logps import position_kl, token_logps
from training.short_form import short_kl, summarise

N, D, V = 7, 5, 11


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def short(hidden: Tensor, reference: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    made = summarise(reference, torch.zeros(len(reference), dtype=torch.int64), weight, bias)
    lse = torch.nn.functional.linear(hidden, weight, bias).logsumexp(-1)
    return short_kl(lse, hidden, made.expectation, made.entropy)


def test_two_words_by_hand() -> None:
    """W = [[1], [0]]: the reference at h_r = ln 3 says 3/4, the policy at h = 0 says 1/2."""
    weight = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    made = summarise(torch.tensor([[math.log(3)]], dtype=torch.float64), torch.tensor([1]), weight)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert made.expectation.tolist() == [[pytest.approx(0.75)]]
    assert made.entropy.tolist() == [pytest.approx(entropy)]
    assert made.logps.tolist() == [pytest.approx(math.log(0.25))]
    lse, hidden = torch.tensor([math.log(2)], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert short_kl(lse, hidden, made.expectation, made.entropy).tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize("biased", [False, True])
def test_value_and_gradient_are_those_of_the_definition(biased: bool) -> None:
    weight, reference = drawn(V, D, seed=1), drawn(N, D, seed=2)
    bias = drawn(V, seed=3) if biased else None
    hidden = drawn(N, D, seed=4).requires_grad_()
    direct = position_kl(
        torch.nn.functional.linear(hidden, weight, bias), torch.nn.functional.linear(reference, weight, bias)
    )
    (expected,) = torch.autograd.grad(direct.sum(), hidden)
    found = short(hidden, reference, weight, bias)
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    assert float(direct.detach().min()) > 0.01
    torch.testing.assert_close(found, direct, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_gradcheck() -> None:
    weight, reference, hidden = drawn(V, D, seed=1), drawn(N, D, seed=2), drawn(N, D, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda states: short(states, reference, weight), hidden)


def test_the_entropy_is_the_references_entropy_and_the_log_prob_its_log_prob() -> None:
    weight, reference, targets = drawn(V, D, seed=1), drawn(N, D, seed=2), torch.arange(N)
    made = summarise(reference, targets, weight)
    logits = reference @ weight.T
    torch.testing.assert_close(made.entropy, torch.distributions.Categorical(logits=logits).entropy())
    torch.testing.assert_close(made.logps, token_logps(logits, targets))


def test_chunks_change_nothing() -> None:
    weight, reference, targets = drawn(V, D, seed=1), drawn(N, D, seed=2), torch.arange(N)
    whole, parts = summarise(reference, targets, weight), summarise(reference, targets, weight, chunk_elements=2 * V)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_zero_where_the_policy_is_the_reference(dtype: torch.dtype) -> None:
    """With a vocabulary and logits of real size: the constant is computed as the KL is, so its rounding cancels."""
    weight, hidden = drawn(32_000, 64, seed=1, dtype=dtype), drawn(200, 64, seed=2, dtype=dtype)
    made = summarise(hidden, torch.zeros(200, dtype=torch.int64), weight)
    lse = (hidden @ weight.T).float().logsumexp(-1)
    kl = short_kl(lse, hidden, made.expectation, made.entropy)
    assert float(lse.min()) > 15
    assert made.expectation.dtype == made.entropy.dtype == made.logps.dtype == torch.float32
    assert float(kl.abs().max()) < 5e-6
    assert abs(float(kl.sum())) < 5e-5
