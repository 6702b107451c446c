"""Values of a row, checked for their type; a row that cannot be used raises `BadRow`."""

from __future__ import annotations

from typing import Any

from pipeline.records import Row


class BadRow(ValueError):
    """A row that cannot be used: a named reason, and what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


def text(row: Row, field: str, where: str = "") -> str:
    """A text field that is not empty."""
    found = string(row[field], where + field)
    if not found.strip():
        raise BadRow("empty", f"field '{where}{field}' is empty.")
    return found


def string(value: Any, field: str) -> str:
    """`value` as text that UTF-8 can hold: JSON lets lone surrogates through and Arrow does not."""
    found: str = typed(value, str, field)
    try:
        found.encode()
    except UnicodeEncodeError as error:
        seen = ascii(found[error.start])
        raise BadRow("encoding", f"field '{field}' holds {seen} at {error.start}: not Unicode text.") from None
    return found


def typed(value: Any, expected: type | tuple[type, ...], field: str) -> Any:
    """`value`, if it is of the expected type; a truth value is not a number."""
    if isinstance(value, expected) and not isinstance(value, bool):
        return value
    wanted = json_kind(expected if isinstance(expected, type) else expected[-1])
    raise BadRow("wrong-type", f"field '{field}' should be {wanted} but is {json_kind(type(value))}.")


def json_kind(found: type) -> str:
    """What JSON calls a value of this Python type; Parquet has types besides, which keep their own names."""
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
    return {**names, dict: "an object", type(None): "null"}.get(found, f"of type {found.__name__}")
