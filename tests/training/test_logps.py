"""Log-probabilities and KL at weighted positions: alignment, numbers by hand, chunks, extremes."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from training import logps

# Probabilities (1/4, 3/4) and (1/2, 1/2) as logits.
POLICY = torch.tensor([[0.0, log(3)], [0.0, 0.0]], dtype=torch.float64)
REFERENCE = torch.tensor([[0.0, 0.0], [0.0, log(3)]], dtype=torch.float64)


def test_shift_pairs_each_weighted_token_with_the_logits_before_it() -> None:
    ids = torch.tensor([[10, 11, 12, 13], [20, 21, 22, 23]])
    positions = logps.shift(ids, torch.tensor([[0, 0, 1.0, 0], [0, 0.5, 0, 2.0]]))
    assert positions.index.tolist() == [1, 4, 6]  # (row 0, t 1), (row 1, t 0), (row 1, t 2) of 2 x 4
    assert positions.row.tolist() == [0, 1, 1]
    assert positions.targets.tolist() == [12, 21, 23]
    assert positions.weights.tolist() == [1.0, 0.5, 2.0]


def test_select_takes_the_rows_of_the_index() -> None:
    values = torch.arange(2 * 3 * 2.0).reshape(2, 3, 2)
    positions = logps.shift(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([[0, 0, 1.0], [0, 1.0, 0]]))
    assert logps.select(values, positions).tolist() == [values[0, 1].tolist(), values[1, 0].tolist()]


def test_hand_derived_log_probabilities_and_kl() -> None:
    found = logps.token_logps(POLICY, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([log(1 / 4), log(1 / 2)], dtype=torch.float64))
    kl = [0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75), 0.25 * log(0.25 / 0.5) + 0.75 * log(0.75 / 0.5)]
    torch.testing.assert_close(logps.position_kl(POLICY, REFERENCE), torch.tensor(kl, dtype=torch.float64))


def test_weighted_sums_per_row_keep_rows_apart() -> None:
    values = torch.tensor([1.0, 2.0, float("inf")])
    sums = logps.weighted_sums(values, torch.tensor([1.0, 0.5, 1.0]), torch.tensor([0, 0, 2]), 4)
    assert sums.tolist() == [2.0, 0.0, float("inf"), 0.0]


def test_nothing_weighted_gives_zeros_and_no_gradient() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    positions = logps.shift(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3))
    token = logps.token_logps(logps.select(logits, positions), positions.targets)
    sums = logps.weighted_sums(token, positions.weights, positions.row, 2)
    sums.sum().backward()
    assert sums.tolist() == [0.0, 0.0]
    assert logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("chunk_elements", [1, 10, 10**6])
def test_chunks_change_neither_values_nor_gradients(chunk_elements: int) -> None:
    generator = torch.Generator().manual_seed(1)
    policy = torch.randn(7, 5, generator=generator, requires_grad=True)
    reference = torch.randn(7, 5, generator=generator)
    targets = torch.randint(5, (7,), generator=generator)

    def both(elements: int) -> tuple[Tensor, Tensor]:
        values = logps.token_logps(policy, targets, elements) + logps.position_kl(policy, reference, elements)
        return values, torch.autograd.grad(values.square().sum(), policy)[0]

    torch.testing.assert_close(both(chunk_elements), both(10**9), rtol=0, atol=0)


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(2)
    policy = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(4, (5,), generator=generator)
    assert torch.autograd.gradcheck(lambda logits: logps.token_logps(logits, targets, 8), (policy,))
    assert torch.autograd.gradcheck(lambda logits: logps.position_kl(logits, reference.detach(), 8), (policy,))
    assert not logps.position_kl(policy.detach(), reference).requires_grad


def test_extreme_logits_give_no_nan() -> None:
    """softmax().log() is NaN here: the reference's probabilities underflow to 0."""
    reference = torch.tensor([[0.0, -1e4, 1e4], [0.0, float("-inf"), 1.0]])
    policy = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1.0, 1.0]], requires_grad=True)
    kl = logps.position_kl(policy, reference)
    token = logps.token_logps(policy, torch.tensor([2, 1]))
    (gradient,) = torch.autograd.grad((kl + token).sum(), policy)
    assert kl[0].item() == 2e4 and token[0].item() == -2e4
    assert torch.isfinite(kl).all() and torch.isfinite(token).all() and torch.isfinite(gradient).all()


def test_low_precision_logits_are_worked_on_in_fp32_and_not_kept_in_it() -> None:
    logits = torch.randn(6, 11, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    kept: list[Tensor] = []

    def remember(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        values = logps.token_logps(logits, torch.arange(6), 22) + logps.position_kl(logits, logits.detach(), 22)
        values.sum().backward()
    torch.testing.assert_close(values, logits.detach().float().log_softmax(-1)[torch.arange(6), torch.arange(6)])
    assert values.dtype == torch.float32
    assert not [tensor for tensor in kept if tensor.dtype == torch.float32 and tensor.shape[-1:] == (11,)]
    assert logits.grad is not None and logits.grad.dtype == torch.bfloat16
