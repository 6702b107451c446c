"""Tiny causal models of many families, with weights large enough that attention and heads matter."""

from __future__ import annotations

import random
from typing import Any

import torch

from training.tokens import Example, PairExample

VOCABULARY = 97
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "sliding_window": None,
}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_NEO = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 9,
    "max_position_embeddings": 64,
}
_BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4}

SHARING: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _LLAMA),
    "llama-tied": ("llama", {**_LLAMA, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", _LLAMA),
    "qwen3": ("qwen3", _LLAMA),
    "mistral": ("mistral", _LLAMA),
    "mistral, window of 64": ("mistral", {**_LLAMA, "sliding_window": 64}),
    "mistral, window of 9": ("mistral", {**_LLAMA, "sliding_window": 9}),
    "gpt2": ("gpt2", _GPT),
    "gpt-neox": ("gpt_neox", _LLAMA),
    "gpt-j, a head with a bias": ("gptj", {**_GPT, "rotary_dim": 4}),
    "gemma2, capped logits": ("gemma2", {**_LLAMA, "sliding_window": 9, "final_logit_softcapping": 2.0}),
    "cohere, scaled logits": ("cohere", _LLAMA),
    "granite, scaled logits": ("granite", {**_LLAMA, "logits_scaling": 4.0}),
    "mixtral": ("mixtral", {**_LLAMA, "num_local_experts": 4}),
}
"""Families whose answers can share rows."""
APART: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt-neo, window of 9": ("gpt_neo", _NEO),
    "bloom, positions by distance": ("bloom", _BLOOM),
    "mamba, no attention": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
}
"""Families whose answers need rows of their own."""


def build(name: str, seed: int = 0) -> Any:
    """A model in evaluation mode, weights drawn from `seed` and larger than families start with."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, settings = (SHARING | APART)[name]
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2, **settings)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval()
        for name, parameter in model.named_parameters():
            if "A_log" not in name:
                parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.1))
    return model


def random_pairs(seed: int, count: int = 3, longest_tail: int = 9) -> list[PairExample]:
    """Pairs of random tokens with a prompt and perhaps more in common, and float weights, some of them 0."""
    draw = random.Random(seed)

    def words(size: int) -> list[int]:
        return [draw.randrange(3, VOCABULARY) for _ in range(size)]

    def answer(start: list[int], first: int, prompt: int) -> Example:
        ids = [*start, first, *words(draw.randint(0, longest_tail - 1))]
        weights = [draw.choice([0.0, 0.5, 1.0, 1.0, 2.0]) for _ in ids[prompt:]]
        if draw.random() < 0.8 and not any(weights):
            weights[-1] = 1.0
        return Example("pair", tuple(ids), (*[0.0] * prompt, *weights), prompt)

    pairs = []
    for _ in range(count):
        prompt = draw.randint(1, 5)
        start, firsts = words(prompt + draw.choice([0, 0, 3, 6])), draw.sample(range(3, VOCABULARY), 2)
        pairs.append(PairExample("pair", *(answer(start, first, prompt) for first in firsts)))
    return pairs
