"""What happens to a row that is longer than `max_length`: left out, or cut so that its spans stay. Pure: no torch.

Decided on the record alone: its prompt, all of its answers, and the spans of all of them. No mask, loss or seed is
asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.chat import Tokenizer, prompt_ids
from pipeline.records import Reject
from pipeline.spans import Span
from training.encoding import Answer, Row

TOO_LONG = "too-long"
SPANS_CUT = "spans-cut"


class Cut(BaseModel):
    """How a row that is too long is cut: its prompt first, then its answers behind the last span.

    Where the spans still do not fit, the prompt gives way until they do. A span that does not fit even so is lost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Literal["end", "start"] = Field(default="end", description="Which part of a shortened prompt is kept.")
    min_prompt: int | None = Field(
        default=None,
        gt=0,
        description="Tokens of the prompt that are kept as long as the spans fit beside them; by default half of "
        "max_length.",
    )


TooLong = Literal["reject", "cut"] | Cut
"""What becomes of a row that is too long; `cut` is `Cut()`."""


def fitted(tokenizer: Tokenizer, row: Row, max_length: int, too_long: TooLong = "reject") -> Row | Reject:
    """The row, cut where prompt and longest answer are more than `max_length` tokens, or a `Reject`.

    Rejected are rows that are too long where `too_long` says so, those whose prompt leaves no room for an answer even
    without its text, and those that have spans of which none could be kept.
    """
    prompt, longest = len(row.prompt_ids), max(len(answer.ids) for answer in row.answers.values())
    if prompt + longest <= max_length:
        return row
    if too_long == "reject":
        return _too_long(row, max_length)
    cut = Cut() if too_long == "cut" else too_long
    least = min(prompt, len(prompt_ids(tokenizer, "", control=row.control)))
    if least >= max_length:
        detail = f"the prompt takes {least} tokens without its text, max_length is {max_length}"
        return Reject(row.id, TOO_LONG, detail)
    wanted = max_length - longest
    floor = max(least, min(prompt, cut.min_prompt or max_length // 2))
    if wanted < floor:
        wanted = min(floor, max_length - _needed(row, max_length - least))
    ids = row.prompt_ids if wanted >= prompt else shortened(tokenizer, row.prompt, wanted, cut.keep, row.control)
    room = max_length - len(ids)
    answers = {name: replace(answer, kept=min(len(answer.ids), room)) for name, answer in row.answers.items()}
    if row.spans and sum(len(lost_spans(answer)) for answer in answers.values()) == row.spans:
        return Reject(row.id, SPANS_CUT, f"none of its {row.spans} spans is left in {max_length} tokens")
    return replace(row, prompt_ids=ids, answers=answers)


def shortened(
    tokenizer: Tokenizer, prompt: str, length: int, keep: Literal["end", "start"], control: Sequence[str] = ()
) -> tuple[int, ...]:
    """The ids of as much of a prompt as fits into `length` tokens.

    The text is shortened and goes through the chat template anew: so the template stays whole, the generation prompt
    included, and the ids are those that generation has for the shortened prompt. An empty text must fit.
    """
    fits, fails = 0, len(prompt)
    while fails - fits > 1:
        half = (fits + fails) // 2
        short = len(prompt_ids(tokenizer, _part(prompt, half, keep), control=control)) <= length
        fits, fails = (half, fails) if short else (fits, half)
    return tuple(prompt_ids(tokenizer, _part(prompt, fits, keep), control=control))


def _part(prompt: str, characters: int, keep: Literal["end", "start"]) -> str:
    return prompt[:characters] if keep == "start" else prompt[len(prompt) - characters :]


def _needed(row: Row, room: int) -> int:
    """The positions of an answer, at least 1, that hold every span which `room` positions can hold."""
    ends = [max(positions, default=0) + 1 for answer in row.answers.values() for positions in answer.touched]
    return max((end for end in ends if end <= room), default=1)


def _too_long(row: Row, max_length: int) -> Reject:
    name, answer = next(
        (name, answer) for name, answer in row.answers.items() if len(row.prompt_ids) + len(answer.ids) > max_length
    )
    which = "" if len(row.answers) == 1 else f" with the {name} answer"
    return Reject(
        row.id, TOO_LONG, f"{len(row.prompt_ids) + len(answer.ids)} tokens{which}, max_length is {max_length}"
    )


def lost_spans(answer: Answer) -> list[Span]:
    """The spans of which no token is kept."""
    touched = zip(answer.spans, answer.touched, strict=True)
    return [span for span, positions in touched if not any(position < answer.kept for position in positions)]


def shortened_spans(answer: Answer) -> list[Span]:
    """The spans of which some tokens are kept and others are not."""
    touched = zip(answer.spans, answer.touched, strict=True)
    return [span for span, positions in touched if positions and min(positions) < answer.kept <= max(positions)]
