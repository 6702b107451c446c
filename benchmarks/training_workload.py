"""What every side of the training benchmark is given: model, optimizer and pairs, all from the case alone."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

SEED = 0
BETA, ALPHA = 0.1, 0.5
LEARNING_RATE, ADAM_BETAS, CLIP = 2e-5, (0.9, 0.95), 1.0
PAD, EOS, FIRST_WORD = 0, 1, 2
WEIGHTED_SHARE = 0.05
"""How much of an answer's tokens the granular and scattered workloads weight, at uniform positions."""


@dataclass(frozen=True)
class Case:
    """One measurement: a side on a workload.

    Attributes:
        side: whose code runs.
        loss: which loss, with BETA and ALPHA.
        weights: which tokens of the answers carry weight: all; those of one span in each, as errors are; or single
            ones all over each, which no answer has, so that nothing can be cut off.
        shared: how much of the answer, from its start, chosen and rejected have in common.
        reference: whether its log-probabilities are computed in every step or, before the first, for all.
        prompt: tokens of every prompt.
        response: tokens of every answer, EOS included.
        pairs: pairs in one optimizer step.
        steps: steps measured, after one that is not.
        settings: what else the side is told.
    """

    side: Literal["naive", "trl", "kintsugi"]
    loss: Literal["dpo", "tdpo2"]
    weights: Literal["response", "granular", "scattered"] = "response"
    shared: float = 0.0
    vocabulary: int = 32_768
    reference: Literal["live", "cached"] = "live"
    prompt: int = 128
    response: int = 384
    pairs: int = 4
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    steps: int = 3
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def workload(self) -> tuple[object, ...]:
        """What is the same for every side that does the same work."""
        given = asdict(self)
        return tuple(given[name] for name in given if name not in {"side", "reference", "steps", "settings"})


@dataclass(frozen=True)
class Answer:
    """Unshifted ids of prompt and answer, and a weight for each: 0 on the prompt."""

    input_ids: list[int]
    weights: list[float]


def model(case: Case) -> Any:
    """A Llama of random weights, fp32, head not tied. The same for every side and in every process."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=case.vocabulary,
        hidden_size=case.hidden,
        intermediate_size=case.hidden * 8 // 3 // 8 * 8,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        max_position_embeddings=max(4096, case.prompt + case.response),
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=EOS,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def optimizer(trained: Any) -> torch.optim.Optimizer:
    """AdamW in its fastest form, TRL's default too."""
    return torch.optim.AdamW(
        trained.parameters(), lr=LEARNING_RATE, betas=ADAM_BETAS, eps=1e-8, weight_decay=0.0, fused=True
    )


def update(trained: Any, adamw: torch.optim.Optimizer, loss: Tensor) -> float:
    """One optimizer step, as Trainer and DeepSpeed take it: backward, clip, step, forget. The loss, as a number."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained.parameters(), CLIP)
    adamw.step()
    adamw.zero_grad(set_to_none=True)
    return float(loss.detach())


def pairs(case: Case) -> list[tuple[Answer, Answer]]:
    """(chosen, rejected): random words that differ from the end of the common part on, then EOS."""
    draw = random.Random(f"{SEED}:{case.vocabulary}:{case.shared}")
    return [_pair(case, draw) for _ in range(case.pairs)]


def _pair(case: Case, draw: random.Random) -> tuple[Answer, Answer]:
    common = round(case.shared * case.response)
    start = _words(case, draw, case.prompt + common)
    answers = []
    for first in draw.sample(range(FIRST_WORD, case.vocabulary), 2):
        rest = [first, *_words(case, draw, case.response - common - 2), EOS]
        answers.append(Answer([*start, *rest], [*[0.0] * case.prompt, *_weights(case, draw)]))
    return answers[0], answers[1]


def _words(case: Case, draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(FIRST_WORD, case.vocabulary) for _ in range(count)]


def _weights(case: Case, draw: random.Random) -> list[float]:
    if case.weights == "response":
        return [1.0] * case.response
    count = max(1, round(WEIGHTED_SHARE * case.response))
    if case.weights == "granular":
        start = draw.randrange(case.response - count + 1)
        chosen = set(range(start, start + count))
    else:
        chosen = set(draw.sample(range(case.response), count))
    return [float(position in chosen) for position in range(case.response)]
