"""Plain JSON values by shape: ordinary ones, edge cases, and small changes to given ones.

The mutations follow evalplus (Liu et al. 2023, table 1): they keep a value's type and change one thing in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

Kind = Literal["int", "float", "str", "bool", "list", "dict", "any"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = (
    "apple",
    "Banana",
    "level",
    "hello world",
    "a1b2c3",
    "The quick brown fox",
    "aabbbc",
    "racecar",
    "xyz",
    "Hi, Bob!",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a parameter takes. `inner`: a list's elements, a dictionary's values. Keys are text, as in JSON."""

    kind: Kind
    inner: Shape | None = None


ANY, INT, FLOAT, STR, BOOL = Shape("any"), Shape("int"), Shape("float"), Shape("str"), Shape("bool")
GUESSES = (INT, Shape("list", INT), STR, Shape("list", STR), FLOAT, Shape("dict", INT))
"""What a parameter that nothing is known of may take."""


def list_of(inner: Shape = INT) -> Shape:
    return Shape("list", inner)


def dict_of(inner: Shape = INT) -> Shape:
    return Shape("dict", inner)


def shape_of(value: Any) -> Shape:
    """The shape that a value shows."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, list):
        return list_of(shape_of(value[0]) if value else INT)
    if isinstance(value, dict):
        return dict_of(shape_of(next(iter(value.values()))) if value else INT)
    plain: dict[type, Shape] = {int: INT, float: FLOAT, str: STR}
    return plain.get(type(value), ANY)


@dataclass(frozen=True, slots=True)
class Pool:
    """Where values are drawn from: a generator, and the constants of the program that they are for."""

    draw: Random
    texts: Sequence[str] = ()
    numbers: Sequence[int] = ()

    def ordinary(self, shape: Shape) -> Any:
        """No edge case: two elements or more, numbers from two on."""
        if shape.kind == "any":
            shape = self.draw.choice(GUESSES)
        if shape.kind == "list":
            return self._list(shape.inner or INT)
        if shape.kind == "dict":
            keys = self.draw.sample((*WORDS, *LETTERS, *self.texts), self.draw.randint(2, 4))
            return {key: self.element(shape.inner or INT) for key in keys}
        single = {"int": self._int, "float": self._float, "str": self._str, "bool": self._bool}
        return single[shape.kind]()

    def element(self, shape: Shape) -> Any:
        """A value inside another, where nothing is an edge case."""
        if shape.kind == "int" and self.draw.random() < 0.4:
            return self.draw.randint(-9, 20)
        if shape.kind == "str" and self.draw.random() < 0.3:
            return self.draw.choice(LETTERS)
        return self.ordinary(shape)

    def _list(self, inner: Shape) -> list[Any]:
        made = [self.element(inner) for _ in range(self.draw.randint(2, 7))]
        how = self.draw.random()
        if how < 0.25 and inner.kind in ("int", "float", "str"):
            return sorted(made)
        if how < 0.5:
            made.insert(self.draw.randrange(len(made)), self.draw.choice(made))
        return made

    def _int(self) -> int:
        near = [number + step for number in self.numbers for step in (-1, 0, 1) if 2 <= number + step <= 1000]
        if near and self.draw.random() < 0.3:
            return self.draw.choice(near)
        return self.draw.randint(2, 12) if self.draw.random() < 0.8 else self.draw.randint(13, 120)

    def _float(self) -> float:
        return round(self.draw.uniform(2, 30), self.draw.randint(1, 2))

    def _str(self) -> str:
        how, known = self.draw.random(), [text for text in self.texts if len(text) > 1]
        if how < 0.3 and known:
            return self.draw.choice(known)
        alphabet = (
            "".join(sorted(set("".join(self.texts)))) if how < 0.6 else LETTERS + LETTERS.upper() + "0123456789 .,"
        )
        if how < 0.8 and alphabet.strip():
            return "".join(self.draw.choice(alphabet) for _ in range(self.draw.randint(3, 10))).strip() or "abc"
        return self.draw.choice(WORDS)

    def _bool(self) -> bool:
        return self.draw.random() < 0.5


def edges(shape: Shape) -> list[Any]:
    """Empty, zero, one, negative, a single element, None."""
    single: dict[str, list[Any]] = {
        "int": [0, 1, -1, -7],
        "float": [0.0, 1.0, -2.5],
        "str": ["", " ", "a", "Z", "7"],
        "bool": [],
        "any": [0, "", [], -1, [1]],
    }
    if shape.kind == "list":
        inner = shape.inner or INT
        return [[], *([value] for value in edges(inner)[:4] if value is not None), None]
    if shape.kind == "dict":
        return [{}, {"a": (edges(shape.inner or INT) or [True])[0]}, None]
    return [*single[shape.kind], None]


def mutated(value: Any, draw: Random) -> Any:
    """The value with one thing changed; its type stays."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + draw.choice((-2, -1, 1, 2, value))
    if isinstance(value, float):
        return round(value + draw.choice((-1.0, 0.5, 1.0, value)), 3)
    if isinstance(value, str):
        return _mutated_text(value, draw)
    if isinstance(value, list) and value:
        return draw.choice(_LIST_CHANGES)(list(value), draw.randrange(len(value)), draw)
    if isinstance(value, dict) and value:
        key = draw.choice(sorted(value))
        return {**value, key: mutated(value[key], draw)}
    return value


def _mutated_text(text: str, draw: Random) -> str:
    if not text:
        return draw.choice(LETTERS)
    at = draw.randrange(len(text))
    changes = (
        text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:],
        text[:at] + draw.choice(text) + text[at + 1 :],
    )
    return draw.choice((*changes, text + text, text.swapcase(), text[::-1]))


def _dropped(items: list[Any], at: int, draw: Random) -> list[Any]:
    return items[:at] + items[at + 1 :]


def _doubled(items: list[Any], at: int, draw: Random) -> list[Any]:
    return items[: at + 1] + items[at:]


def _changed(items: list[Any], at: int, draw: Random) -> list[Any]:
    return [*items[:at], mutated(items[at], draw), *items[at + 1 :]]


def _grown(items: list[Any], at: int, draw: Random) -> list[Any]:
    return [*items, mutated(items[at], draw)]


def _turned(items: list[Any], at: int, draw: Random) -> list[Any]:
    return items[::-1]


_LIST_CHANGES: tuple[Callable[[list[Any], int, Random], list[Any]], ...] = (
    _dropped,
    _doubled,
    _changed,
    _grown,
    _turned,
)


def is_json(value: Any) -> bool:
    """Whether a value comes back from JSON as it was: no tuples, no sets, no keys but text."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value) and "(" not in _types(value)
    except (TypeError, ValueError, RecursionError):
        return False


def _types(value: Any) -> str:
    """`(` for each tuple in it, which JSON would turn into a list."""
    if isinstance(value, tuple):
        return "("
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return "".join(map(_types, inner))
