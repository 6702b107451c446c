"""The plain way: full logits of policy and reference, fp32 [2B, T, V], as the seed's equations are written.

DPO (arXiv:2305.18290, equation 7) and TDPO2 (arXiv:2404.11999) with a mask over tokens. With M the weighted positions
of an answer, m = sum over M of log pi(y_t) - log pi_ref(y_t) and K = sum over M of KL(pi_ref(.|s_t) || pi(.|s_t))::

    DPO    -log sigmoid(beta (m_w - m_l))
    TDPO2  -log sigmoid(beta (m_w - m_l - alpha (K_l - stopgrad(K_w))))

Nothing here comes from the training package, so that equal losses say something.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import training_workload as work
from benchmarks.training_measure import Meter
from benchmarks.training_workload import Case


def run(case: Case, meter: Meter) -> None:
    """Train on the same pairs again and again."""
    policy = work.model(case)
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    adamw = work.optimizer(policy)
    meter.ready()
    for _ in range(case.steps + 1):
        input_ids, mask = _batch(case)
        with torch.no_grad():
            reference_logits = reference(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
        logits = policy(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
        loss = _losses(case, logits, reference_logits, input_ids, mask).mean()
        meter.step(work.update(policy, adamw, loss))
        del logits, reference_logits, loss


def _batch(case: Case) -> tuple[Tensor, Tensor]:
    """Chosen rows, then rejected ones: int64 [2B, T] and the weights, [2B, T]. All are equally long here."""
    pairs = work.pairs(case)
    answers = [chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs]
    return torch.tensor([answer.input_ids for answer in answers]), torch.tensor([answer.weights for answer in answers])


def _losses(case: Case, logits: Tensor, reference_logits: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
    margins, kl = _sums(logits, reference_logits, input_ids, mask, with_kl=case.loss == "tdpo2")
    (chosen, rejected), (chosen_kl, rejected_kl) = margins.chunk(2), kl.chunk(2)
    if case.loss == "dpo":
        return -functional.logsigmoid(work.BETA * (chosen - rejected))
    difference = chosen - rejected - work.ALPHA * (rejected_kl - chosen_kl.detach())
    return -functional.logsigmoid(work.BETA * difference)


def _sums(logits: Tensor, reference_logits: Tensor, input_ids: Tensor, mask: Tensor, *, with_kl: bool) -> Any:
    """m and K of every answer, [2B] each. The token at t is predicted by the logits at t - 1."""
    targets, mask = input_ids[:, 1:].unsqueeze(-1), mask[:, 1:]
    logps = logits[:, :-1].float().log_softmax(-1)
    reference_logps = reference_logits[:, :-1].float().log_softmax(-1)
    margins = logps.gather(-1, targets).squeeze(-1) - reference_logps.gather(-1, targets).squeeze(-1)
    if not with_kl:
        return (margins * mask).sum(-1), torch.zeros(len(margins))
    kl = (reference_logps.exp() * (reference_logps - logps)).sum(-1)
    return (margins * mask).sum(-1), (kl * mask).sum(-1)
