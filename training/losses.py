"""SFT and preference losses from weighted sums per answer; pure functions of tensors. docs/losses.md compares them.

With w_t the weight of token t of answer y, and s_t what precedes it::

    log pi(y)      logps      [B]  sum_t w_t log pi(y_t | s_t)
    m_y            logratios  [B]  sum_t w_t (log pi(y_t | s_t) - log pi_ref(y_t | s_t))
    K_y            kl         [B]  sum_t w_t KL(pi_ref(. | s_t) || pi(. | s_t))
    |y|            tokens     [B]  sum_t w_t

Weights of one on the whole answer give the losses as published; weights on spans give the granular ones. Sums, not
means, but for SimPO and the SFT term, which divide by |y|. y_w is the chosen answer and y_l the rejected one. B pairs;
every tensor is floating point of any precision, and results keep it. What each loss needs is a table in
`training.objectives`.

- DPO: Rafailov et al. 2023, "Direct Preference Optimization", arXiv:2305.18290, equation 7.
- cDPO: Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO", ericmitchell.ai/cdpo.pdf,
  equation 3.
- rDPO: Ray Chowdhury, Kini, Natarajan 2024, "Provably Robust DPO", arXiv:2403.00409, the loss of robust DPO.
- IPO: Azar et al. 2023, "A General Theoretical Paradigm to Understand Learning from Human Preferences",
  arXiv:2310.12036, equation 17.
- SimPO: Meng, Xia, Chen 2024, "SimPO: Simple Preference Optimization with a Reference-Free Reward", arXiv:2405.14734.
- TDPO1, TDPO2: Zeng et al. 2024, "Token-level Direct Preference Optimization", arXiv:2404.11999, L_TDPO1 and L_TDPO2.
- The SFT term: Pang et al. 2024, "Iterative Reasoning Preference Optimization", arXiv:2404.19733, its NLL term.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from training.logps import weighted_sums
from training.objectives import OBJECTIVES, Loss


class Scored(Protocol):
    """Which positions count for which answer: M entries, one for each weighted token of each of A answers.

    A `training.batches.Batch` is one. Answers that share a prefix have entries of their own at one position.
    """

    @property
    def scored(self) -> Tensor:
        """int64 [M], the position of the entry, in 0..N-1."""

    @property
    def answer(self) -> Tensor:
        """int64 [M], its answer, in 0..A-1, ascending."""

    @property
    def weights(self) -> Tensor:
        """float [M], the weight of its token."""


class Side(NamedTuple):
    """The weighted sums of one side of B pairs, [B] each; `preference_loss` says which of them a loss reads.

    Attributes:
        logps: of the policy's log-probs.
        logratios: of what they exceed the reference's by; None for a loss without reference.
        kl: of KL(reference || policy) at each position; None where it was not computed.
        tokens: of the weights themselves, |y|.
    """

    logps: Tensor
    logratios: Tensor | None = None
    kl: Tensor | None = None
    tokens: Tensor | None = None


class PreferenceLoss(NamedTuple):
    """What a loss says of B pairs.

    Attributes:
        losses: [B], with the SFT term and times the rows' weights where there are any.
        chosen_rewards: [B], detached.
        rejected_rewards: [B], detached.
        chosen_nll: [B], detached: what the SFT term was, before its weight; None without one.
    """

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    chosen_nll: Tensor | None = None


def sides(
    batch: Scored, pairs: int, logps: Tensor, reference_logps: Tensor | None = None, kl: Tensor | None = None
) -> tuple[Side, Side]:
    """The weighted sums of both sides of B pairs, from what was found at the N predictions of their batch.

    Args:
        batch: which of the N count for which answer, and how much: answers 0..B-1 are the chosen ones, B..2B-1 the
            rejected ones, as `training.batches.collate_pairs` has them.
        pairs: B.
        logps: log-probabilities of the targets, float [N].
        reference_logps: the same under the reference, [N]; None for a loss that has none.
        kl: KL(reference || policy), [N], for the losses that need it.
    """
    ratios = None if reference_logps is None else logps - reference_logps
    answers = [_sums(values, batch, 2 * pairs) for values in (logps, ratios, kl, torch.ones_like(logps))]
    return _part(answers, slice(pairs)), _part(answers, slice(pairs, None))


def _sums(values: Tensor | None, batch: Scored, answers: int) -> Tensor | None:
    """``sum_t w_t value_t`` of every answer, [A], from values at N positions."""
    return None if values is None else weighted_sums(values[batch.scored], batch.weights, batch.answer, answers)


def _part(answers: list[Tensor | None], part: slice) -> Side:
    logps, ratios, kl, tokens = (None if sums is None else sums[part] for sums in answers)
    assert logps is not None
    return Side(logps, ratios, kl, tokens)


def token_mean(logps: Tensor, tokens: Tensor) -> Tensor:
    """``log pi(y) / |y|``, and 0 for an answer without weight; all [B]."""
    return logps / torch.where(tokens > 0, tokens, 1)


def sft(logps: Tensor, row_weights: Tensor | None = None) -> Tensor:
    """The negative log likelihood of every answer, ``-v_i sum_t w_t log pi(y_t)``, v_i the weight of its row.

    A token mean is this, summed over answers and divided by the sum of all w_t (without v_i: see `preference_loss`);
    the caller, who knows the whole batch over all ranks, divides.

    Args:
        logps: weighted sums, [B].
        row_weights: v, [B]; all 1 by default.

    Returns:
        [B].
    """
    return -logps if row_weights is None else -row_weights * logps


def dpo(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float) -> Tensor:
    """``-log sigmoid(beta (m_w - m_l))``, DPO's equation 7; all [B]. ln 2 where policy and reference agree."""
    return -functional.logsigmoid(beta * (chosen_logratios - rejected_logratios))


def cdpo(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """Conservative DPO: cross-entropy with labels that are right with probability 1 - e, the cDPO note's equation 3.

    ``-(1 - e) log sigmoid(z) - e log sigmoid(-z)`` with ``z = beta (m_w - m_l)`` and e the `label_smoothing`; all [B].
    Least where sigmoid(z) = 1 - e, so a margin has an end. DPO for e = 0, ln 2 where policy and reference agree.
    """
    right = dpo(chosen_logratios, rejected_logratios, beta)
    flipped = dpo(rejected_logratios, chosen_logratios, beta)
    return (1 - label_smoothing) * right + label_smoothing * flipped


def rdpo(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """Robust DPO: on labels of which a share e is flipped at random, its mean is DPO's on the right labels.

    ``(-(1 - e) log sigmoid(z) + e log sigmoid(-z)) / (1 - 2e)`` with ``z = beta (m_w - m_l)`` and e the
    `label_smoothing`, below 0.5; all [B]. It falls without bound as z grows. DPO for e = 0, ln 2 where policy and
    reference agree.
    """
    right = dpo(chosen_logratios, rejected_logratios, beta)
    flipped = dpo(rejected_logratios, chosen_logratios, beta)
    return ((1 - label_smoothing) * right - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def ipo(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float) -> Tensor:
    """``(m_w - m_l - 1 / (2 beta))^2``, IPO's equation 17 with beta for its tau; all [B].

    The paper's h is a log-ratio of whole answers, so m are sums. TRL divides each by its tokens, since 2024: with T
    tokens a side, its beta b asks for the margin that b / T asks for here. ``(1 / (2 beta))^2`` where policy and
    reference agree.
    """
    return (chosen_logratios - rejected_logratios - 1 / (2 * beta)) ** 2


def simpo(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    beta: float,
    gamma: float,
) -> Tensor:
    """``-log sigmoid(beta log pi(y_w) / |y_w| - beta log pi(y_l) / |y_l| - gamma)``, SimPO's objective; all [B].

    No reference. A side without weight counts as 0.
    """
    margins = token_mean(chosen_logps, chosen_tokens) - token_mean(rejected_logps, rejected_tokens)
    return -functional.logsigmoid(beta * margins - gamma)


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
    """``-log sigmoid(beta (m_w - m_l - alpha (K_l - stopgrad(K_w))))``, TDPO's L_TDPO2; all [B]. DPO for alpha = 0."""
    margins = chosen_logratios - rejected_logratios - alpha * (rejected_kl - chosen_kl.detach())
    return -functional.logsigmoid(beta * margins)


class _Form(NamedTuple):
    """A loss as a function of what it reads of both sides, and the reward that it implies for one side, over beta."""

    function: Callable[..., Tensor]
    reads: tuple[str, ...]
    reward: Callable[..., Tensor]


_DPO = (("logratios",), operator.pos)
_TDPO = (("logratios", "kl"), operator.add)
_FORMS: dict[Loss, _Form] = {
    "dpo": _Form(dpo, *_DPO),
    "cdpo": _Form(cdpo, *_DPO),
    "rdpo": _Form(rdpo, *_DPO),
    "ipo": _Form(ipo, *_DPO),
    "simpo": _Form(simpo, ("logps", "tokens"), token_mean),
    "tdpo1": _Form(tdpo1, *_TDPO),
    "tdpo2": _Form(tdpo2, *_TDPO),
}


def preference_loss(
    loss: Loss,
    chosen: Side,
    rejected: Side,
    *,
    beta: float | None = None,
    alpha: float | None = None,
    label_smoothing: float | None = None,
    gamma: float | None = None,
    sft_weight: float = 0.0,
    row_weights: Tensor | None = None,
) -> PreferenceLoss:
    """A preference loss by name, with the implicit rewards of both sides.

    Rewards are ``beta m`` (DPO's section 4), for TDPO ``beta (m + K)`` (as in its authors' code), for SimPO
    ``beta log pi(y) / |y|`` (its reward).

    The SFT term adds ``-sft_weight log pi(y_w) / |y_w|``: the mean over the chosen answer's weighted tokens. A row's
    weight multiplies all of its loss. The loss of a step is the mean over its rows, whatever their weights: so a row
    of weight 2 pulls twice as hard as one of weight 1, one of weight 0 not at all, and none depends on which rows it
    meets in a batch.

    Args:
        loss: its name. SimPO reads `logps` and `tokens` of the sides, the others `logratios`, TDPO `kl` as well.
        chosen: sums over the chosen answers, [B] each.
        rejected: sums over the rejected answers, [B] each.
        beta: how closely the policy is held to the reference; for SimPO the scale of rewards.
        alpha: weight of TDPO2's difference of KLs.
        label_smoothing: of cDPO and rDPO, the share of pairs whose labels are taken to be the wrong way round.
        gamma: SimPO's margin.
        sft_weight: weight of the SFT term; it needs `tokens` of the chosen side.
        row_weights: [B]; all 1 by default.

    A parameter that is None is the loss's default in `training.objectives`; what a loss does not read is not looked at.
    """
    form = _FORMS[loss]
    given = {"beta": beta, "alpha": alpha, "label_smoothing": label_smoothing, "gamma": gamma}
    parameters = {
        name: default if (value := given[name]) is None else value
        for name, default in OBJECTIVES[loss].defaults.items()
    }
    of_chosen, of_rejected = _read(loss, form, chosen), _read(loss, form, rejected)
    losses = form.function(*chain(*zip(of_chosen, of_rejected, strict=True)), **parameters)
    nll = None
    if sft_weight:
        assert chosen.tokens is not None, "an SFT term needs the tokens of the chosen side"
        nll = -token_mean(chosen.logps, chosen.tokens)
        losses = losses + sft_weight * nll
    if row_weights is not None:
        losses = losses * row_weights
    chosen_rewards, rejected_rewards = (
        parameters["beta"] * form.reward(*values).detach() for values in (of_chosen, of_rejected)
    )
    return PreferenceLoss(losses, chosen_rewards, rejected_rewards, None if nll is None else nll.detach())


def _read(loss: Loss, form: _Form, side: Side) -> list[Tensor]:
    """What a loss reads of a side."""
    values = [getattr(side, name) for name in form.reads]
    for name, value in zip(form.reads, values, strict=True):
        assert value is not None, f"{loss} needs the {name} of both sides"
    return values


def metrics(result: PreferenceLoss, chosen: Side, rejected: Side) -> dict[str, float]:
    """Means over B pairs under the field's names; ``kl/*`` only where KL was computed, ``nll/chosen`` with an SFT term.

    ``loss`` is what training descends on, rows' weights included; all others count every row once.
    ``rewards/accuracies`` is the share of pairs whose chosen reward is strictly the larger. ``logps/*`` and ``kl/*``
    are the weighted sums that the loss saw: under a granular mask, over spans alone; of a batch without the positions
    that cancel, over the others.
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
    if result.chosen_nll is not None:
        values["nll/chosen"] = result.chosen_nll
    # One transfer from the device for all of them.
    means = torch.stack([value.detach().mean() for value in values.values()]).tolist()
    return dict(zip(values, means, strict=True))
