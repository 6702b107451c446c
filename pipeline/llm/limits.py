"""What is held back: an even pace, and a budget that is never overdrawn."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pipeline.llm.base import Reply, Request
from pipeline.llm.config import Writer

PER_MESSAGE = 16
"""Tokens that a chat template may add to each message; templates in use add three to eight."""


FIRST_GUESS = 0.25
"""Of the bound of a request's tokens, before any reply was seen: text in English has four bytes to a token."""

MEMORY = 0.9
"""How much of what is typical stays when a reply comes."""


class Pace:
    """So many units a minute, spread evenly: each taker waits for its place in the line. No bursts."""

    def __init__(self, per_minute: float | None) -> None:
        self.seconds = 60 / per_minute if per_minute else 0.0
        self.free = 0.0

    async def take(self, amount: float = 1) -> None:
        if self.seconds:
            now = asyncio.get_running_loop().time()
            start = max(now, self.free)
            self.free = start + amount * self.seconds
            await asyncio.sleep(start - now)

    def give_back(self, amount: float) -> None:
        """Some of what was taken was not used (or, negative, more was)."""
        self.free -= amount * self.seconds


def most_tokens(request: Request, max_tokens: int) -> tuple[int, int]:
    """Bounds of the tokens of a prompt and of its reply: no tokenizer has more tokens than the text has bytes."""
    prompt = sum(len(message.content.encode()) + PER_MESSAGE for message in request.messages)
    return prompt + len(request.schema.encode()), max_tokens


class Typical:
    """The tokens that a request takes, by those before it."""

    def __init__(self) -> None:
        self.mean: float | None = None

    def of(self, request: Request, max_tokens: int) -> float:
        bound = sum(most_tokens(request, max_tokens))
        return bound * FIRST_GUESS if self.mean is None else min(self.mean, bound)

    def learn(self, tokens: int) -> None:
        self.mean = tokens if self.mean is None else MEMORY * self.mean + (1 - MEMORY) * tokens


@dataclass
class Budget:
    """What may still be spent. What is under way counts with the most that it can take, so it is never overdrawn."""

    writer: Writer
    prompt_tokens: int = 0
    completion_tokens: int = 0
    stopped: str = ""
    _reserved: list[tuple[int, int]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _began: float | None = None

    @property
    def cost(self) -> float:
        return self.writer.cost(self.prompt_tokens, self.completion_tokens)

    async def reserve(self, request: Request) -> tuple[int, int] | None:
        """Room for one request, waiting for others to end where that may help. None: there is none left."""
        wanted = most_tokens(request, self.writer.max_tokens)
        async with self._changed:
            await self._changed.wait_for(lambda: self.stopped or not self._reserved or not self._lacks(wanted))
            self.stopped = self.stopped or self._lacks(wanted)
            if self.stopped:
                self._changed.notify_all()
                return None
            self._reserved.append(wanted)
        return wanted

    async def settle(self, reserved: tuple[int, int], reply: Reply | None) -> None:
        """Book what a request really took, and free the rest."""
        async with self._changed:
            self._reserved.remove(reserved)
            if reply is not None:
                self.prompt_tokens += reply.prompt_tokens
                self.completion_tokens += reply.completion_tokens
            self._changed.notify_all()

    def _lacks(self, wanted: tuple[int, int]) -> str:
        """What there is too little of for one more request, in words; empty where all is well."""
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        prompt = self.prompt_tokens + wanted[0] + sum(one for one, _ in self._reserved)
        completion = self.completion_tokens + wanted[1] + sum(one for _, one in self._reserved)
        limit = self.writer
        if limit.budget_tokens is not None and prompt + completion > limit.budget_tokens:
            return f"{self.prompt_tokens + self.completion_tokens} of {limit.budget_tokens} tokens are spent"
        if limit.budget_cost is not None and limit.cost(prompt, completion) > limit.budget_cost:
            return f"{self.cost:.4f} of {limit.budget_cost} (money) are spent"
        if limit.budget_minutes is not None and now - self._began > 60 * limit.budget_minutes:
            return f"{limit.budget_minutes:g} minutes are over"
        return ""
