"""What a stage and a model say to each other, and the one protocol that every back end has.

A back end takes one request at a time and is asked many times at once; how it bundles, limits or repeats them is its
own affair. What it cannot answer is a `Failure` with a reason, which belongs to one row. What stops everything (a wrong
key, a spent budget) is an exception.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from pipeline.store import content_key

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation to be continued. `schema` is the JSON schema of the reply as canonical text.

    `hidden` is what no model is shown: what is right, for a judge whose error rate is set (`pipeline.llm.erring`).
    """

    messages: tuple[Message, ...]
    schema: str = ""
    hidden: str = ""

    def key(self, identity: Mapping[str, Any]) -> str:
        """The hash of everything that decides the reply: who is asked, and what."""
        messages = [asdict(message) for message in self.messages]
        hidden = {"hidden": self.hidden} if self.hidden else {}
        return content_key({"by": dict(identity), "messages": messages, "schema": self.schema, **hidden})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, how it ended (`stop`, `length`), and the tokens it took."""

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no reply: a named reason and what was seen. It costs one row, not the run."""

    reason: str
    detail: str


class Generator(Protocol):
    """A back end. `identity` is all of its settings that decide what it says."""

    identity: Mapping[str, Any]

    async def generate(self, request: Request) -> Reply | Failure:
        """The reply to one request. Raises UserError where no further request makes sense."""
        ...

    async def close(self) -> None:
        """Let go of connections and processes."""
        ...


@dataclass
class Tally:
    """What one run asked: every request that was sent either gave a reply or is counted under why it did not.

    ``requests == replies + sum(failed.values())`` once nothing is under way; `repeated` counts those of the failed ones
    that were asked again.
    """

    requests: int = 0
    replies: int = 0
    from_cache: int = 0
    repeated: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def sent(self, said: Reply | Failure | str) -> None:
        """Count one request that was sent, by what came of it: a reply, a failure, or the reason why neither did."""
        self.requests += 1
        if isinstance(said, Reply):
            self.replies += 1
        else:
            self.failed[said.reason if isinstance(said, Failure) else said] += 1

    def as_facts(self) -> dict[str, Any]:
        return {**asdict(self), "failed": dict(sorted(self.failed.items()))}
