"""Replies on disk by the hash of what was asked, so that nothing is paid for twice.

``<store>/replies/<who>/part-<unique>.jsonl``: each process appends to a file of its own, one line a reply, as replies
come. A line that a kill cut short is no line. A row that was asked once is found again in larger data, in another
experiment, and after a kill.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.llm.base import Failure, Generator, Reply, Request, Tally
from pipeline.llm.limits import Budget
from pipeline.store import content_key

BUDGET = "budget"
"""The reason of what was not asked because the budget is spent: such rows are left for the next run."""


class ReplyCache:
    """The replies of one model. In memory there is only where each stands. `spent` is what `owner` paid so far."""

    def __init__(self, root: Path, identity: Mapping[str, Any], owner: str) -> None:
        self.folder = root / content_key(dict(identity))
        self.owner = owner
        self.spent = [0, 0]
        self.places: dict[str, tuple[Path, int]] = {}
        self.file: int | None = None
        self.path = self.folder / f"part-{uuid.uuid4().hex}.jsonl"
        for path in sorted(self.folder.glob("part-*.jsonl")):
            self._index(path)

    def _index(self, path: Path) -> None:
        with path.open("rb") as lines:
            offset = 0
            for line in lines:
                value = _parsed(line)
                if value is not None:
                    self.places[value["key"]] = (path, offset)
                    self._book(value)
                offset += len(line)

    def _book(self, value: dict[str, Any]) -> None:
        if value["owner"] == self.owner:
            self.spent[0] += value["reply"]["prompt_tokens"]
            self.spent[1] += value["reply"]["completion_tokens"]

    def get(self, key: str) -> Reply | None:
        """The reply to what has this key, if it was ever given."""
        if key not in self.places:
            return None
        path, offset = self.places[key]
        with path.open("rb") as lines:
            lines.seek(offset)
            value = _parsed(lines.readline())
        return None if value is None else Reply(**value["reply"])

    def put(self, key: str, reply: Reply) -> None:
        """Append it. One write of a whole line: a killed process leaves a whole line or none that counts."""
        if self.file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        value = {"key": key, "owner": self.owner, "reply": asdict(reply)}
        offset = os.lseek(self.file, 0, os.SEEK_END)
        os.write(self.file, (json.dumps(value, ensure_ascii=False) + "\n").encode())
        self.places[key] = (self.path, offset)
        self._book(value)

    def sync(self) -> None:
        """Make what was written outlast the machine."""
        if self.file is not None:
            os.fsync(self.file)

    def close(self) -> None:
        if self.file is not None:
            self.sync()
            os.close(self.file)
            self.file = None


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line of the cache; None where it was cut short."""
    try:
        value = json.loads(line)
        Reply(**value["reply"])
        return value if isinstance(value["key"], str) and "owner" in value else None
    except (ValueError, TypeError, KeyError):
        return None


class Remembering:
    """A generator that looks into the cache first, keeps every reply as it comes, and spends no more than it may.

    The same request asked twice at a time is sent once.
    """

    def __init__(self, inner: Generator, cache: ReplyCache, budget: Budget, tally: Tally) -> None:
        self.inner = inner
        self.identity = inner.identity
        self.cache = cache
        self.budget = budget
        self.tally = tally
        self.under_way: dict[str, asyncio.Future[Reply | Failure]] = {}
        self.slots = asyncio.Semaphore(budget.writer.width)
        budget.prompt_tokens, budget.completion_tokens = cache.spent

    async def generate(self, request: Request) -> Reply | Failure:
        key = request.key(self.identity)
        if key in self.under_way:
            return await asyncio.shield(self.under_way[key])
        known = self.cache.get(key)
        if known is not None:
            self.tally.from_cache += 1
            return known
        task = asyncio.ensure_future(self._in_turn(key, request))
        self.under_way[key] = task
        try:
            return await task
        finally:
            del self.under_way[key]

    async def _in_turn(self, key: str, request: Request) -> Reply | Failure:
        async with self.slots:
            return await self._ask(key, request)

    async def _ask(self, key: str, request: Request) -> Reply | Failure:
        reserved = await self.budget.reserve(request)
        if reserved is None:
            return Failure(BUDGET, self.budget.stopped)
        reply: Reply | None = None
        try:
            said = await self.inner.generate(request)
            if isinstance(said, Reply):
                reply = said
                self.cache.put(key, said)
            return said
        finally:
            await self.budget.settle(reserved, reply)

    async def close(self) -> None:
        self.cache.close()
        await self.inner.close()
