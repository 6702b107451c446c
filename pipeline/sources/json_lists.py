"""The items of a JSON list, one after the other, out of a text that may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from pipeline.sources.places import LONGEST_ROW

CHUNK = 2**20
_SPACE = " \t\r\n"


def items(stream: TextIO) -> Iterator[Any]:
    """The items, parsed as `json.loads` would.

    Raises `JSONDecodeError` with the place in the whole text, `EOFError` where there is no text at all, `TypeError`
    where it holds something else than a list.
    """
    window = _Window(stream)
    if not window.peek():
        raise EOFError
    if window.peek() != "[":
        window.value()
        window.end()
        raise TypeError("the file does not hold a list")
    window.skip()
    closed = window.peek() == "]"
    while not closed:
        yield window.value()
        closed = window.peek() == "]"
        if not closed:
            window.expect(",")
            if window.peek() == "]":
                raise window.error("Illegal trailing comma before end of array")
    window.skip()
    window.end()


class _Window:
    """The part of a text that is in memory: `text[at:]` is still to be parsed."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.text = ""
        self.at = 0
        self.lines = 0
        self.column = 0
        self.decoder = json.JSONDecoder()

    def more(self) -> bool:
        """Drop what is parsed and read on: as much again as is left, so that long items cost no more than twice."""
        dropped, left = self.text[: self.at], self.text[self.at :]
        if len(left) > LONGEST_ROW:
            return False
        self.lines += dropped.count("\n")
        self.column = len(dropped) - dropped.rindex("\n") - 1 if "\n" in dropped else self.column + len(dropped)
        chunk = self.stream.read(max(CHUNK, len(left)))
        self.text, self.at = left + chunk, 0
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in _SPACE:
                    return self.text[self.at]
                self.at += 1
            if not self.more():
                return ""

    def skip(self) -> None:
        self.at += 1

    def value(self) -> Any:
        """The value that begins here. What ends with the window may go on behind it."""
        self.peek()
        while True:
            try:
                found, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                behind = error.pos - self.at
                if not self.more():
                    raise self.error(error.msg, self.at + behind) from None
                continue
            if end < len(self.text) or not self.more():
                self.at = end if end < len(self.text) else len(self.text)
                return found

    def expect(self, character: str) -> None:
        if self.peek() != character:
            raise self.error(f"Expecting '{character}' delimiter")
        self.skip()

    def end(self) -> None:
        if self.peek():
            raise self.error("Extra data")

    def error(self, message: str, position: int | None = None) -> json.JSONDecodeError:
        """An error here, or at a position of the window, with its line and column in the whole text."""
        at = self.at if position is None else position
        error = json.JSONDecodeError(message, self.text, min(at, len(self.text)))
        error.colno += self.column if error.lineno == 1 else 0
        error.lineno += self.lines
        return error
