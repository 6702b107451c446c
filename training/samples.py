"""What the model in training answers to held-out prompts, word for word, beside the figures.

Decoding is greedy, so a sample draws no random number and the run goes on as if there had been none. What a model
writes is a stranger's text: JSON escapes it in the file, and whoever shows it must escape it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from training.tokens import Example

SAMPLE_TOKENS = 128
"""Tokens of a sample at most: enough to see how a model answers, few enough not to hold training up."""


def greedy_samples(
    model: Any, tokenizer: Any, examples: Sequence[Example], max_length: int, device: torch.device
) -> list[list[int]]:
    """The most likely continuation of each prompt, up to EOS, all in one left-padded batch.

    Under ZeRO-3 all ranks call this: each holds a part of the model, which is in eval mode.

    Args:
        model: a causal language model of transformers, or a peft model around one.
        examples: their prompts are continued.
        max_length: tokens of prompt and answer at most, as in training.
        device: where the model runs; its weights may lie elsewhere.

    Returns:
        Token ids of each continuation, at most `SAMPLE_TOKENS`, EOS included where it was reached.
    """
    from transformers import GenerationConfig

    prompts = [list(example.input_ids[: example.response_start]) for example in examples]
    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max(1, min(SAMPLE_TOKENS, max_length - longest)),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=pad,
    )
    with torch.no_grad(), _generating_by(model, settings):
        made = model.generate(input_ids=ids, attention_mask=mask)[:, longest:].tolist()
    return [_up_to(answer, tokenizer.eos_token_id) for answer in made]


def sample_line(tokenizer: Any, step: int, record_id: str, prompt: str, answer: Sequence[int]) -> dict[str, Any]:
    """A sample as a line of the file."""
    stopped = answer[-1:] == [tokenizer.eos_token_id]
    return {
        "step": step,
        "id": record_id,
        "prompt": prompt,
        "response": tokenizer.decode(answer[:-1] if stopped else answer, clean_up_tokenization_spaces=False),
        "finish_reason": "stop" if stopped else "length",
    }


@contextmanager
def _generating_by(model: Any, settings: Any) -> Iterator[None]:
    """Within, these settings and no others hold: what the model's own say too is added to those given to `generate`."""
    own = model.generation_config
    model.generation_config = settings
    try:
        yield
    finally:
        model.generation_config = own


def _up_to(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids
