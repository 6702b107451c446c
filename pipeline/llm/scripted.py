"""A model whose replies are written down: for tests, demonstrations and documentation, without a server or a key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.llm.base import Failure, Reply, Request, Tally
from pipeline.store import file_hash

Script = Callable[[Request], Reply | Failure]


@dataclass(frozen=True)
class Line:
    """One line of a script: said to requests that hold `when`, to the n-th attempt the n-th of `replies`."""

    when: str
    replies: tuple[str, ...]


class Scripted:
    """Says what its script says. Tokens are counted in words, so that budgets and prices can be tried."""

    def __init__(self, script: Script, name: str = "script", tally: Tally | None = None) -> None:
        self.script = script
        self.tally = tally or Tally()
        self.identity: Mapping[str, Any] = {"backend": "scripted", "script": name}
        self.requests: list[Request] = []

    @classmethod
    def saying(cls, *replies: str | Failure) -> Scripted:
        """These replies, one after the other; an error where there are more requests."""
        left = list(replies)

        def script(request: Request) -> Reply | Failure:
            said = left.pop(0)
            return said if isinstance(said, Failure) else reply_to(request, said)

        return cls(script, json.dumps([str(reply) for reply in replies]))

    @classmethod
    def from_file(cls, path: Path, tally: Tally | None = None) -> Scripted:
        """The script of a .jsonl file: `{"when": ..., "reply": ...}`, the first line that fits answers.

        `reply` is a text, a JSON object, or a list of these for one attempt after the other.
        """
        lines = read_script(path)
        return cls(lambda request: _answer(lines, request), file_hash(path), tally)

    async def generate(self, request: Request) -> Reply | Failure:
        self.requests.append(request)
        said = self.script(request)
        self.tally.sent(said)
        return said

    async def close(self) -> None:
        return None


def reply_to(request: Request, text: str) -> Reply:
    """A reply with its words as tokens."""
    prompt = sum(len(message.content.split()) for message in request.messages)
    return Reply(text, "stop", prompt, len(text.split()))


def read_script(path: Path) -> list[Line]:
    """The lines of a script. Raises a config error that names the line."""
    lines = []
    for number, text in enumerate(_text(path).splitlines(), 1):
        try:
            value = json.loads(text)
            replies = value["reply"] if isinstance(value["reply"], list) else [value["reply"]]
            lines.append(Line(str(value["when"]), tuple(_as_text(reply) for reply in replies)))
        except (ValueError, TypeError, KeyError):
            hint = 'Each line is like {"when": "text of the request", "reply": {...}}.'
            raise UserError("config", "this is no line of a script.", f"{path}:{number}", hint) from None
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("config", f"cannot read the script: {error}.", str(path)) from None


def _as_text(reply: Any) -> str:
    return reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)


def _answer(lines: Sequence[Line], request: Request) -> Reply | Failure:
    asked = next(message.content for message in request.messages if message.role == "user")
    attempt = sum(message.role == "assistant" for message in request.messages)
    for line in lines:
        if line.when in asked:
            return reply_to(request, line.replies[min(attempt, len(line.replies) - 1)])
    return Failure("not-in-script", f"no line of the script fits {asked[:100]!r}")
