"""One question until its answer has the right form: a malformed reply is told what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.llm.base import Failure, Generator, Message, Reply, Request
from pipeline.llm.forms import schema_of
from pipeline.llm.prompts import messages

Said = TypeVar("Said", bound=BaseModel)

MALFORMED = "malformed"
PROBLEMS = 8
"""Problems told at a time: a model that mends these is asked about the next."""

_FENCED = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n[ \t]*```\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Answer(Generic[Said]):
    """What was said in the right form, after how many attempts, and the tokens of all of them."""

    said: Said
    attempts: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class NoAnswer:
    """Why there is none, after how many attempts, and the tokens of all of them."""

    failure: Failure
    attempts: int
    prompt_tokens: int
    completion_tokens: int


async def converse(
    generator: Generator,
    opening: Sequence[Message],
    model: type[Said],
    problems: Callable[[Said], list[str]],
    attempts: int,
    hidden: str = "",
) -> Answer[Said] | NoAnswer:
    """Ask until the reply fits `model` and has no `problems`.

    In the end a reply that fits the model counts, problems or not: the stage says what it can use of it.
    """
    turns, schema = tuple(opening), schema_of(model)
    prompt_tokens = completion_tokens = 0
    found: Said | list[str] = []
    for attempt in range(1, attempts + 1):
        reply = await generator.generate(Request(turns, schema, hidden))
        if isinstance(reply, Failure):
            return NoAnswer(reply, attempt, prompt_tokens, completion_tokens)
        prompt_tokens += reply.prompt_tokens
        completion_tokens += reply.completion_tokens
        found = read(reply, model)
        wrong = found if isinstance(found, list) else problems(found)
        if not wrong:
            break
        turns = (*turns, Message("assistant", reply.text), Message("user", _complaint(wrong)))
    if isinstance(found, list):
        failure = Failure(MALFORMED, f"after {attempts} attempts: {'; '.join(found)}")
        return NoAnswer(failure, attempt, prompt_tokens, completion_tokens)
    return Answer(found, attempt, prompt_tokens, completion_tokens)


def read(reply: Reply, model: type[Said]) -> Said | list[str]:
    """The reply as `model`, or what is wrong with it, in words for its author."""
    fenced = _FENCED.fullmatch(reply.text)
    try:
        return model.model_validate_json(fenced.group(1) if fenced else reply.text)
    except ValidationError as error:
        told = [_in_words(one["loc"], one["msg"]) for one in error.errors(include_url=False, include_input=False)]
        cut = ["the reply was cut off because it was too long"] if reply.finish_reason == "length" else []
        return [*cut, *told][:PROBLEMS]


def _in_words(location: Sequence[int | str], message: str) -> str:
    place = ".".join(map(str, location))
    return f"{place}: {message}" if place else message


def _complaint(problems: Sequence[str]) -> str:
    return messages("retry", {"problems": list(problems[:PROBLEMS])})[1].content
