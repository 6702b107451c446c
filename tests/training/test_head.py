"""The chunked last layer against plain formulas on full logits, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from training.head import HeadWeights, Predictions, predict

N, D, THEIR_D, V = 11, 6, 4, 17


def double(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HIDDEN, WEIGHT, BIAS = double(N, D, seed=1), double(V, D, seed=2), double(V, seed=3)
THEIRS = double(N, THEIR_D, seed=4), HeadWeights(double(V, THEIR_D, seed=5), double(V, seed=6))
TARGETS = torch.randint(V, (N,), generator=torch.Generator().manual_seed(7))
# The gradients that a loss sends back. KL has none at every second position, as on TDPO2's chosen side, and two
# positions have none at all.
BACK = double(3, N, seed=8)
BACK[2, ::2] = 0
BACK[:, 4] = BACK[:, 5] = 0


def plain(hidden: Tensor, head: HeadWeights, reference: tuple[Tensor, HeadWeights]) -> Predictions:
    """The definitions, on logits of all positions."""

    def logits(states: Tensor, of: HeadWeights) -> Tensor:
        z = states @ of.weight.t() + (0 if of.bias is None else of.bias)
        return z if of.cap is None else of.cap * torch.tanh(z / of.cap)

    z, z_r = logits(hidden, head), logits(*reference)
    log_p, log_r = z.log_softmax(1), z_r.log_softmax(1)
    places = torch.arange(N)
    kl = (log_r.exp() * (log_r - log_p)).sum(1)
    return Predictions(log_p[places, TARGETS], z.logsumexp(1), kl, log_r[places, TARGETS], z.argmax(1))


def leaves(bias: bool, cap: float | None) -> tuple[Tensor, HeadWeights, list[Tensor]]:
    hidden, weight = HIDDEN.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
    head = HeadWeights(weight, BIAS.clone().requires_grad_() if bias else None, cap)
    return hidden, head, [tensor for tensor in (hidden, *head[:2]) if tensor is not None]


def sent_back(found: Predictions) -> Tensor:
    return sum(((value * back).sum() for value, back in zip(found[:3], BACK, strict=True)), torch.zeros(()))


@pytest.mark.parametrize(("bias", "cap"), [(False, None), (True, None), (False, 2.0), (True, 1.5)])
@pytest.mark.parametrize("chunk_elements", [1, 3 * V, 10**6])
@pytest.mark.parametrize("kept_elements", [0, 4 * V, 10**6])
def test_values_and_gradients_are_those_of_full_logits(
    bias: bool, cap: float | None, chunk_elements: int, kept_elements: int
) -> None:
    hidden, head, tensors = leaves(bias, cap)
    reference = THEIRS[0], THEIRS[1]._replace(cap=cap)
    expected = plain(hidden, head, reference)
    gradients = torch.autograd.grad(sent_back(expected), tensors)
    sizes = {"chunk_elements": chunk_elements, "kept_elements": kept_elements}
    found = predict(hidden, head, TARGETS, reference, top=True, **sizes)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(sent_back(found), tensors), gradients)
    frozen = HeadWeights(*(None if part is None else part.detach() for part in head[:2]), cap)
    found = predict(hidden, frozen, TARGETS, reference, **sizes)
    torch.testing.assert_close(torch.autograd.grad(sent_back(found), hidden), gradients[:1])


@pytest.mark.parametrize("back", [(1, 0), (0, 1), (1, 1)], ids=["logps", "lse", "both"])
@pytest.mark.parametrize(("bias", "cap"), [(False, None), (True, None), (True, 1.5)])
@pytest.mark.parametrize("kept_elements", [0, 4 * V, 10**6])
def test_without_a_reference(back: tuple[int, int], bias: bool, cap: float | None, kept_elements: int) -> None:
    hidden, head, tensors = leaves(bias, cap)
    expected = plain(hidden, head, THEIRS)

    def gradients(found: Predictions, towards: list[Tensor]) -> tuple[Tensor, ...]:
        columns = zip(found[:2], BACK[:2], back, strict=True)
        loss = sum((value * row).sum() for value, row, used in columns if used)
        return torch.autograd.grad(loss, towards, retain_graph=True)

    found = predict(hidden, head, TARGETS, chunk_elements=4 * V, kept_elements=kept_elements)
    assert found.kl is None and found.reference is None and found.top is None
    torch.testing.assert_close(found[:2], expected[:2])
    torch.testing.assert_close(gradients(found, tensors), gradients(expected, tensors))
    frozen = HeadWeights(*(None if part is None else part.detach() for part in head[:2]), cap)
    found = predict(hidden, frozen, TARGETS, chunk_elements=4 * V)
    torch.testing.assert_close(gradients(found, [hidden]), gradients(expected, [hidden]))


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("kept_elements", [0, 3 * V])
def test_gradcheck(cap: float | None, kept_elements: int) -> None:
    *_, tensors = leaves(True, cap)

    def values(*inputs: Tensor) -> tuple[Tensor, ...]:
        weights = HeadWeights(*inputs[1:], cap)
        found = predict(inputs[0], weights, TARGETS, THEIRS, chunk_elements=4 * V, kept_elements=kept_elements)
        return found.logps, found.lse, found.kl

    # It goes back twice through one graph: what was kept the first time is computed again the second time.
    assert torch.autograd.gradcheck(values, tensors, nondet_tol=1e-12)


def test_the_same_model_has_no_divergence_from_itself_at_all() -> None:
    hidden, weight = HIDDEN.float(), HeadWeights(WEIGHT.float())
    found = predict(hidden, weight, TARGETS, (hidden, weight), chunk_elements=3 * V)
    assert not found.kl.any()
    assert torch.equal(found.logps, found.reference)


def test_hand_derived_divergence() -> None:
    """p = (1/4, 3/4), p_r = (1/2, 1/2)."""
    three = torch.tensor(3.0, dtype=torch.float64)
    head = HeadWeights(torch.eye(2, dtype=torch.float64))
    policy, theirs = torch.stack([three * 0, three.log()])[None], torch.zeros(1, 2, dtype=torch.float64)
    found = predict(policy, head, torch.tensor([0]), (theirs, head))
    assert found.kl.item() == pytest.approx(
        0.5 * torch.tensor(2.0).log().item() + 0.5 * torch.tensor(2 / 3).log().item()
    )
    assert found.logps.item() == pytest.approx(-torch.tensor(4.0).log().item())


def kept(head: HeadWeights, **sizes: int) -> list[tuple[int, ...]]:
    """Shapes of the exponentials that the backward pass will find."""
    found: Any = predict(HIDDEN.clone().requires_grad_(), head, TARGETS, THEIRS, **sizes)
    return [tuple(side.exponentials.shape) for _, *sides in found.logps.grad_fn.kept for side in sides]


def test_exponentials_are_kept_as_far_as_allowed_and_never_for_a_frozen_head() -> None:
    trained = HeadWeights(WEIGHT.clone().requires_grad_())
    assert kept(trained, kept_elements=2 * 4 * V) == [(4, V), (4, V)]
    assert kept(trained, kept_elements=0) == []
    assert kept(HeadWeights(WEIGHT), kept_elements=10**6) == []


def test_nothing_to_predict_gives_no_values_and_gradients_of_zero() -> None:
    for frozen in (False, True):
        hidden, weight = HIDDEN[:0].clone().requires_grad_(), WEIGHT.clone().requires_grad_(not frozen)
        found = predict(hidden, HeadWeights(weight), TARGETS[:0], (THEIRS[0][:0], THEIRS[1]), top=True)
        assert all(value.shape == (0,) for value in found)
        (found.logps.sum() + found.kl.sum()).backward()
        assert hidden.grad.shape == (0, D)
        assert frozen or not weight.grad.any()


def test_extreme_logits_give_no_nan() -> None:
    hidden = torch.tensor([[1e4, 0.0], [0.0, -1e4]], requires_grad=True)
    head = HeadWeights(torch.eye(2).requires_grad_())
    theirs = torch.tensor([[0.0, 1e4], [0.0, 0.0]]), HeadWeights(torch.eye(2))
    found = predict(hidden, head, torch.tensor([1, 0]), theirs)
    gradients: Any = torch.autograd.grad((found.logps + found.kl).sum(), (hidden, head.weight))
    assert (found.kl[0].item(), found.logps[0].item()) == (1e4, -1e4)
    assert all(torch.isfinite(tensor).all() for tensor in (found.logps, found.kl, *gradients))


def test_low_precision_weights_give_fp32_values_and_gradients_of_their_own_kind() -> None:
    hidden, weight = (tensor.to(torch.bfloat16).requires_grad_() for tensor in (HIDDEN, WEIGHT))
    theirs = THEIRS[0].to(torch.bfloat16), HeadWeights(THEIRS[1].weight.to(torch.bfloat16))
    found = predict(hidden, HeadWeights(weight), TARGETS, theirs, chunk_elements=3 * V, kept_elements=2 * V)
    assert found.logps.dtype == found.kl.dtype == torch.float32
    (found.logps + found.kl).sum().backward()
    assert hidden.grad.dtype == weight.grad.dtype == torch.bfloat16
    # The same numbers in float64: what is left is the rounding of logits to bf16.
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    expected = plain(exact[0], HeadWeights(exact[1]), (theirs[0].double(), HeadWeights(theirs[1].weight.double())))
    (expected.logps + expected.kl).sum().backward()
    torch.testing.assert_close(found.logps.double(), expected.logps, rtol=0.02, atol=0.03)
    torch.testing.assert_close(found.kl.double(), expected.kl, rtol=0.02, atol=0.03)
    for mine, theirs_ in zip((hidden, weight), exact, strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs_.grad, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kept_elements", [0, 10**6])
def test_what_little_a_sure_model_has_to_learn_survives_low_precision(kept_elements: int) -> None:
    """Of 1 - p that is rounded alone as much is left as of any number; of what p and 1 are rounded to, nothing."""
    hidden = torch.tensor([[8.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[1.0, 0.5], [0.0, 0.25], [0.0, -0.5]], dtype=torch.bfloat16, requires_grad=True)
    target = torch.tensor([0])
    predict(hidden, HeadWeights(weight), target, kept_elements=kept_elements).logps.sum().backward()
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    (exact[0] @ exact[1].t()).log_softmax(1)[0, 0].backward()
    assert exact[1].grad.abs().max() < 0.005
    for mine, expected in zip((hidden, weight), exact, strict=True):
        torch.testing.assert_close(mine.grad.double(), expected.grad, rtol=0.02, atol=0)
