"""The words that families share. Lists are moderate on purpose: a tiny model must be able to copy every one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from random import Random
from typing import Any

Words = tuple[str, ...]

NOUNS: Words = (
    "apples", "birds", "boats", "books", "cards", "chairs", "clouds", "coins", "cups", "doors", "eggs", "flags",
    "games", "gifts", "hats", "lamps", "leaves", "maps", "pages", "pens", "plants", "rings", "roads", "rocks", "rooms",
    "seeds", "ships", "shoes", "songs", "stars", "trees", "wheels",
)  # fmt: skip
"""The second half of function names. None is a parameter name, so a copied name cannot be mistaken for one."""

LISTS: Words = ("values", "numbers", "scores", "prices", "sizes", "points", "marks", "levels", "ages", "items")
TEXTS: Words = ("text", "line", "phrase", "message", "title", "label", "sentence", "comment")
NUMBERS: Words = ("n", "number", "limit", "size", "amount", "level", "top", "last")
KEYS: Words = ("names", "words", "labels", "codes", "tags", "wanted")

ASKING: Words = (
    "Write a Python function `{call}` that {request}.",
    "Write `{call}` in Python. It {request}.",
    "I need a function `{call}` that {request}.",
    "How do I write `{call}`? It {request}.",
)

OPENING: Words = (
    "Here is `{name}`, which {summary}.",
    "The function `{name}` {summary}.",
    "This version of `{name}` {summary}.",
)

NOTES: Words = ("", "", "", '    """{remark}"""\n', "    # {remark}\n")
"""Two functions in five carry a docstring or a comment."""

EMPTY: tuple[int | None, ...] = (-1, None)
"""What a guard returns on empty input. Never what the code would give without the guard, so that dropping it shows."""

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
}

RELATIONS: dict[str, str] = {"above": ">", "of at least": ">="}
"""How entries compare with a number, in words and in Python."""

AMOUNTS: dict[str, str] = {"more than": ">", "at least": ">="}
"""How a count compares with a number, in words and in Python."""

SAMPLE: Words = (
    "red",
    "tree",
    "house",
    "a",
    "river",
    "it",
    "stone",
    "orange",
    "to",
    "letter",
    "silent",
    "on",
    "island",
)
"""Words for the texts that functions are tried on."""


def integers(random: Random, low: int, high: int, length: int) -> list[int]:
    """A typical list for a test call."""
    return [random.randint(low, high) for _ in range(length)]
