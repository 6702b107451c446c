"""Losses against the golden file, against hand-derived numbers, and against a plain DPO written here."""

from __future__ import annotations

import json
from math import exp, log1p
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from training import logps, losses
from training.losses import Loss, Side

GOLDEN = json.loads((Path(__file__).parents[1] / "assets" / "masked_losses.json").read_text())["cases"]
NAMES = list(get_args(Loss))
golden = pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"seed{case['seed']}")


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sides(policy: Tensor, reference: Tensor, input_ids: Tensor, weights: Tensor) -> tuple[Side, Side]:
    """From logits [2B, T, V], ids and weights [2B, T] to the sums of both sides, as a training step does it."""
    positions = logps.shift(input_ids, weights)
    policy_logits, reference_logits = logps.select(policy, positions), logps.select(reference, positions)
    token = logps.token_logps(policy_logits, positions.targets)
    ratio = token - logps.token_logps(reference_logits, positions.targets)
    kl = logps.position_kl(policy_logits, reference_logits)
    rows = len(input_ids)
    sums = [logps.weighted_sums(v, positions.weights, positions.row, rows) for v in (token, ratio, kl)]
    return Side(*(s[: rows // 2] for s in sums)), Side(*(s[rows // 2 :] for s in sums))


def inputs(case: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    labels = torch.tensor(case["labels"])
    weights = ((labels != -100) & (torch.tensor(case["loss_mask"]) == 1)).double()
    return (
        double(case["policy_logits"]).requires_grad_(),
        double(case["reference_logits"]),
        labels.clamp(min=0),
        weights,
    )


def same(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found.detach(), double(expected), rtol=0, atol=1e-9)


@golden
def test_sums_agree_with_the_golden_file(case: dict[str, Any]) -> None:
    chosen, rejected = sides(*inputs(case))
    same(torch.cat([chosen.logps, rejected.logps]), case["policy_logps"])
    same(torch.cat([chosen.logratios, rejected.logratios]), case["logps_margin"])
    assert chosen.kl is not None and rejected.kl is not None
    same(torch.cat([chosen.kl, rejected.kl]), case["sequential_kl"])


@golden
@pytest.mark.parametrize("name", NAMES)
def test_preference_losses_and_gradients_agree_with_the_golden_file(case: dict[str, Any], name: Loss) -> None:
    logits, *rest = inputs(case)
    expected = case["expected"][name]
    result = losses.preference_loss(name, *sides(logits, *rest), beta=case["beta"], alpha=case["alpha"])
    same(result.losses, expected["losses"])
    same(result.chosen_rewards, expected["chosen_rewards"])
    same(result.rejected_rewards, expected["rejected_rewards"])
    (gradient,) = torch.autograd.grad(result.losses.mean(), logits)
    same(gradient.norm(), expected["grad_norm_of_mean_loss_wrt_policy_logits"])
    same(gradient.abs().sum((1, 2)), expected["grad_abs_sum_per_sequence"])


@golden
def test_sft_and_its_gradient_agree_with_the_golden_file(case: dict[str, Any]) -> None:
    logits, *rest = inputs(case)
    chosen, rejected = sides(logits, *rest)
    found = losses.sft(torch.cat([chosen.logps, rejected.logps]))
    same(found, case["expected"]["sft"]["losses"])
    (gradient,) = torch.autograd.grad(found.mean(), logits)
    same(gradient.norm(), case["expected"]["sft"]["grad_norm_of_mean_loss_wrt_policy_logits"])


# m_w = 1, m_l = -1, K_w = 0.2, K_l = 0.6, beta = 0.5, alpha = 0.25; z is what the sigmoid sees.
@pytest.mark.parametrize(
    ("name", "z", "kl_gradients", "rewards"),
    [
        ("dpo", 0.5 * 2.0, (None, None), (0.5, -0.5)),
        ("tdpo1", 0.5 * (2.0 - 0.4), (-0.5, 0.5), (0.6, -0.2)),
        ("tdpo2", 0.5 * (2.0 - 0.25 * 0.4), (None, 0.125), (0.6, -0.2)),
    ],
)
def test_hand_derived_losses_rewards_and_gradients(
    name: Loss, z: float, kl_gradients: tuple[float | None, float | None], rewards: tuple[float, float]
) -> None:
    m_w, m_l, k_w, k_l = (double([value]).requires_grad_() for value in (1.0, -1.0, 0.2, 0.6))
    result = losses.preference_loss(name, Side(m_w, m_w, k_w), Side(m_l, m_l, k_l), beta=0.5, alpha=0.25)
    same(result.losses, [log1p(exp(-z))])
    same(result.chosen_rewards, [rewards[0]])
    same(result.rejected_rewards, [rewards[1]])
    assert not result.chosen_rewards.requires_grad and not result.rejected_rewards.requires_grad
    result.losses.sum().backward()
    slope = 1 / (1 + exp(z))  # sigmoid(-z)
    expected = (-0.5, 0.5, *kl_gradients)
    for tensor, factor in zip((m_w, m_l, k_w, k_l), expected, strict=True):
        if factor is None:
            assert tensor.grad is None
        else:
            assert tensor.grad is not None
            same(tensor.grad, [factor * slope])


def test_sft_is_the_negative_sum() -> None:
    same(losses.sft(double([-1.5, 0.0])), [1.5, 0.0])


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck_through_the_whole_chain(name: Loss) -> None:
    generator = torch.Generator().manual_seed(3)
    policy = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    ids = torch.randint(3, (4, 5), generator=generator)
    weights = double([[0, 0, 1, 0.5, 1], [0, 1, 0, 0, 2], [0, 0, 0, 1, 0], [0, 1, 1, 1, 1]])

    def loss(logits: Tensor) -> Tensor:
        chosen, rejected = sides(logits, reference, ids, weights)
        # The stopped gradient of TDPO2 is no derivative: there the chosen KL is held fixed.
        fixed = chosen._replace(kl=torch.ones_like(chosen.logps)) if name == "tdpo2" else chosen
        return losses.preference_loss(name, fixed, rejected, beta=0.3, alpha=0.7).losses

    assert torch.autograd.gradcheck(loss, (policy,))


def test_weights_of_one_are_plain_dpo() -> None:
    """An implementation of DPO's equation 7 with loops: prompt of 2 tokens, answers to the end."""
    generator = torch.Generator().manual_seed(5)
    policy, reference = torch.randn(2, 6, 7, 9, generator=generator, dtype=torch.float64)
    ids = torch.randint(9, (6, 7), generator=generator)

    def log_ratio(row: int) -> Tensor:
        total = double(0.0)
        for t in range(2, 7):
            token = ids[row, t]
            total += (
                torch.log_softmax(policy[row, t - 1], 0)[token] - torch.log_softmax(reference[row, t - 1], 0)[token]
            )
        return total

    plain = [-torch.log(torch.sigmoid(0.1 * (log_ratio(pair) - log_ratio(pair + 3)))) for pair in range(3)]
    weights = double([[0, 0, 1, 1, 1, 1, 1]] * 6)
    result = losses.preference_loss("dpo", *sides(policy, reference, ids, weights), beta=0.1)
    torch.testing.assert_close(result.losses, torch.stack(plain), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_margins_stay_finite(name: Loss) -> None:
    m = torch.tensor([1e5, -1e5], requires_grad=True)
    side = Side(m, m, torch.zeros(2))
    result = losses.preference_loss(name, side, Side(-m, -m, torch.zeros(2)), beta=1.0)
    result.losses.sum().backward()
    assert result.losses.tolist() == [0.0, 2e5]
    assert m.grad is not None and m.grad.tolist() == [0.0, -2.0]


def test_tdpo_refuses_to_run_without_kl() -> None:
    side = Side(torch.zeros(1), torch.zeros(1))
    with pytest.raises(AssertionError, match="tdpo2 needs the KL"):
        losses.preference_loss("tdpo2", side, side)


def test_metrics_have_the_names_of_the_field() -> None:
    chosen = Side(double([-2.0, -4.0]), double([1.0, 1.0]), double([0.5, 0.1]))
    rejected = Side(double([-1.0, -3.0]), double([0.0, 1.0]), double([0.2, 0.4]))
    found = losses.metrics(losses.preference_loss("dpo", chosen, rejected, beta=2.0), chosen, rejected)
    assert found == pytest.approx(
        {
            "loss": (log1p(exp(-2)) + log1p(1)) / 2,
            "rewards/chosen": 2.0,
            "rewards/rejected": 1.0,
            "rewards/margins": 1.0,
            "rewards/accuracies": 0.5,  # a tie is no win
            "logps/chosen": -3.0,
            "logps/rejected": -2.0,
            "kl/chosen": 0.3,
            "kl/rejected": 0.3,
        }
    )


def test_metrics_leave_out_a_kl_that_was_not_computed() -> None:
    side = Side(torch.zeros(2), torch.zeros(2))
    found = losses.metrics(losses.preference_loss("dpo", side, side), side, side)
    assert not any(name.startswith("kl/") for name in found)
