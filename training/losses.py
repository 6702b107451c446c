"""SFT, DPO and TDPO from weighted sums per answer; pure functions of tensors.

With w_t the weight of token t of answer y, and s_t what precedes it::

    log pi(y)      logps      [B]  sum_t w_t log pi(y_t | s_t)
    m_y            logratios  [B]  sum_t w_t (log pi(y_t | s_t) - log pi_ref(y_t | s_t))
    K_y            kl         [B]  sum_t w_t KL(pi_ref(. | s_t) || pi(. | s_t))

Weights of one on the whole answer give the losses as published; weights on spans give the granular ones. Sums, not
means. B pairs; every tensor is floating point of any precision, and results keep it.

- DPO: Rafailov et al. 2023, "Direct Preference Optimization", arXiv:2305.18290, equation 7.
- TDPO1, TDPO2: Zeng et al. 2024, "Token-level Direct Preference Optimization", arXiv:2404.11999, L_TDPO1 and L_TDPO2.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.batches import Batch
from training.logps import weighted_sums

Loss = Literal["dpo", "tdpo1", "tdpo2"]


class Side(NamedTuple):
    """The weighted sums of one side of B pairs: `logps` [B], `logratios` [B], and `kl` [B] where it was computed."""

    logps: Tensor
    logratios: Tensor
    kl: Tensor | None = None


class PreferenceLoss(NamedTuple):
    """What a loss says of B pairs: `losses` [B]; `chosen_rewards` [B] and `rejected_rewards` [B], both detached."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def sides(
    batch: Batch, pairs: int, logps: Tensor, reference_logps: Tensor, kl: Tensor | None = None
) -> tuple[Side, Side]:
    """The weighted sums of both sides of B pairs, from what was found at the N predictions of their batch.

    Args:
        batch: from `training.batches.collate_pairs`.
        pairs: B.
        logps: log-probabilities of the targets, [N].
        reference_logps: the same under the reference, [N].
        kl: KL(reference || policy), [N], for the losses that need it.
    """
    figures = [logps, logps - reference_logps, *([] if kl is None else [kl])]
    sums = [weighted_sums(values[batch.scored], batch.weights, batch.answer, 2 * pairs) for values in figures]
    return Side(*(values[:pairs] for values in sums)), Side(*(values[pairs:] for values in sums))


def sft(logps: Tensor) -> Tensor:
    """The negative log likelihood of every answer, ``-sum_t w_t log pi(y_t)``.

    A token mean is this, summed over answers and divided by the sum of all weights; the caller, who knows the whole
    batch over all ranks, divides.

    Args:
        logps: weighted sums, [B].

    Returns:
        [B].
    """
    return -logps


def dpo(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float) -> Tensor:
    """``-log sigmoid(beta (m_w - m_l))``, DPO's equation 7; all [B]."""
    return -functional.logsigmoid(beta * (chosen_logratios - rejected_logratios))


def tdpo1(
    chosen_logratios: Tensor, rejected_logratios: Tensor, chosen_kl: Tensor, rejected_kl: Tensor, beta: float
) -> Tensor:
    """``-log sigmoid(beta (m_w - m_l - (K_l - K_w)))``, TDPO's L_TDPO1; all [B]."""
    margins = chosen_logratios - rejected_logratios - (rejected_kl - chosen_kl)
    return -functional.logsigmoid(beta * margins)


def tdpo2(
    chosen_logratios: Tensor,
    rejected_logratios: Tensor,
    chosen_kl: Tensor,
    rejected_kl: Tensor,
    beta: float,
    alpha: float,
) -> Tensor:
    """``-log sigmoid(beta (m_w - m_l - alpha (K_l - stopgrad(K_w))))``, TDPO's L_TDPO2; all [B]."""
    margins = chosen_logratios - rejected_logratios - alpha * (rejected_kl - chosen_kl.detach())
    return -functional.logsigmoid(beta * margins)


def preference_loss(
    loss: Loss, chosen: Side, rejected: Side, *, beta: float = 0.1, alpha: float = 0.5
) -> PreferenceLoss:
    """A preference loss by name, with the implicit rewards of both sides.

    Rewards are ``beta m`` for DPO (its section 4) and ``beta (m + K)`` for TDPO (as in its authors' code).

    Args:
        loss: its name; DPO reads no KL, the others need it on both sides.
        chosen: sums over the chosen answers, [B] each.
        rejected: sums over the rejected answers, [B] each.
        beta: how closely the policy is held to the reference.
        alpha: weight of TDPO2's difference of KLs.
    """
    if loss == "dpo":
        losses = dpo(chosen.logratios, rejected.logratios, beta)
        return PreferenceLoss(losses, beta * chosen.logratios.detach(), beta * rejected.logratios.detach())
    assert chosen.kl is not None and rejected.kl is not None, f"{loss} needs the KL of both sides"
    sums = (chosen.logratios, rejected.logratios, chosen.kl, rejected.kl)
    losses = tdpo1(*sums, beta) if loss == "tdpo1" else tdpo2(*sums, beta, alpha)
    chosen_rewards = beta * (chosen.logratios + chosen.kl).detach()
    rejected_rewards = beta * (rejected.logratios + rejected.kl).detach()
    return PreferenceLoss(losses, chosen_rewards, rejected_rewards)


def metrics(result: PreferenceLoss, chosen: Side, rejected: Side) -> dict[str, float]:
    """Means over B pairs under the field's names; ``kl/*`` only where KL was computed.

    ``rewards/accuracies`` is the share of pairs whose chosen reward is strictly the larger. ``logps/*`` and ``kl/*``
    are the weighted sums that the loss saw: under a granular mask, over spans alone.
    """
    values = {
        "loss": result.losses,
        "rewards/chosen": result.chosen_rewards,
        "rewards/rejected": result.rejected_rewards,
        "rewards/margins": result.chosen_rewards - result.rejected_rewards,
        "rewards/accuracies": (result.chosen_rewards > result.rejected_rewards).to(result.losses.dtype),
        "logps/chosen": chosen.logps,
        "logps/rejected": rejected.logps,
    }
    if chosen.kl is not None and rejected.kl is not None:
        values |= {"kl/chosen": chosen.kl, "kl/rejected": rejected.kl}
    # One transfer from the device for all of them.
    means = torch.stack([value.detach().mean() for value in values.values()]).tolist()
    return dict(zip(values, means, strict=True))
