"""No n-gram of tokens twice, as `no_repeat_ngram_size` of transformers' `generate` has it."""

from __future__ import annotations

from collections import defaultdict
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Ban:
    """The n-grams of one answer and its prompt, taken as one text; called for each token, with all so far."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ids: list[int] = []
        self.answered = 0
        self.begun = 0
        self.ends: dict[tuple[int, ...], set[int]] = defaultdict(set)
        """The last token of every n-gram so far, by the tokens before it."""

    def __call__(self, prompt: list[int], answer: list[int], logits: torch.Tensor) -> torch.Tensor:
        """`logits` [V] of the next token, minus infinity where it would end an n-gram that is there already."""
        self.ids += (prompt if not self.ids else []) + answer[self.answered :]
        self.answered = len(answer)
        for start in range(self.begun, len(self.ids) - self.size + 1):
            *before, last = self.ids[start : start + self.size]
            self.ends[tuple(before)].add(last)
        self.begun = max(0, len(self.ids) - self.size + 1)
        banned = self.ends.get(tuple(self.ids[self.begun :])) if len(self.ids) + 1 >= self.size else None
        if banned:
            logits[list(banned)] = -inf
        return logits
