"""Python values as JSON that keeps their types: tuples, sets, dictionaries with any keys, complex numbers.

Both sides of the sandbox use it, so it needs the standard library alone. What is no such value stays as it is, for JSON
to take or to refuse.
"""

from __future__ import annotations

from json import dumps
from typing import Any

TUPLE, SET, DICT, COMPLEX = "$tuple", "$set", "$dict", "$complex"


def tagged(value: Any) -> Any:
    """A value in which each object has one key, that says what it stands for."""
    if isinstance(value, tuple):
        return {TUPLE: [tagged(item) for item in value]}
    if isinstance(value, list):
        return [tagged(item) for item in value]
    if isinstance(value, set | frozenset):
        return {SET: sorted((tagged(item) for item in value), key=dumps)}
    if isinstance(value, dict):
        return {DICT: [[tagged(key), tagged(item)] for key, item in value.items()]}
    if isinstance(value, complex):
        return {COMPLEX: [value.real, value.imag]}
    return value


def untagged(value: Any) -> Any:
    """The Python value. Raises ValueError or TypeError for what `tagged` does not give."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    [(tag, items)] = value.items()
    if tag == COMPLEX:
        return complex(*items)
    if tag not in (TUPLE, SET, DICT) or not isinstance(items, list):
        raise ValueError(f"{tag} is no tag of a value")
    if tag == DICT:
        return {untagged(key): untagged(item) for key, item in items}
    plain = [untagged(item) for item in items]
    return tuple(plain) if tag == TUPLE else set(plain)


def text_of(value: Any) -> str:
    """A tagged value as Python writes it. Unlike `repr` of a set the same in every process."""
    if isinstance(value, list):
        return f"[{_joined(value)}]"
    if not isinstance(value, dict):
        return repr(value)
    [(tag, items)] = value.items()
    if tag == TUPLE:
        return f"({_joined(items)}{',' * (len(items) == 1)})"
    if tag == SET:
        return f"{{{_joined(items)}}}" if items else "set()"
    if tag == DICT:
        return "{" + ", ".join(f"{text_of(key)}: {text_of(item)}" for key, item in items) + "}"
    return repr(untagged(value))


def _joined(items: list[Any]) -> str:
    return ", ".join(map(text_of, items))
