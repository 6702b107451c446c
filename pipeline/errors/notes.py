"""Comments and docstrings of an answer's Python: where their text stands, and what the rest of the code is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pipeline.errors.answers import Code, code_of
from pipeline.errors.guards import is_docstring
from pipeline.errors.prose import LONGEST

_STRING_OR_COMMENT = re.compile(
    r"\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''"
    r"|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
    r"|(?P<comment>#[^\n]*)",
    re.DOTALL,
)
"""The tokenizer takes as long as everything else together. That every comment found is one, verification makes sure."""

_NO_NOTE = re.compile(r"#+[!:]|#.*coding[:=]|#\s*(?:type:|noqa|pylint|fmt:)")

_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


@dataclass(frozen=True, slots=True)
class Note:
    """The text of a comment or of one line of a docstring, ``answer[start:end]``, in line `line` of the code."""

    kind: Literal["comment", "docstring"]
    start: int
    end: int
    line: int


@lru_cache(maxsize=64)
def notes_of(answer: str) -> tuple[Note, ...]:
    """Every comment, and every line of every docstring but its examples, in order of position.

    None where the answer is longer than `LONGEST`.
    """
    code = code_of(answer) if len(answer) <= LONGEST else None
    if code is None:
        return ()
    return tuple(sorted([*_comments(code), *_docstrings(code)], key=lambda note: note.start))


def without_docstrings(code: Code) -> str:
    """The syntax tree as text, docstrings left out."""
    tree = ast.parse(code.text)  # a tree of our own to cut; copying the known one takes longer
    for node in _documented(tree):
        del node.body[0]
    return ast.dump(tree)


def _documented(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
    return [node for node in nodes if node.body and is_docstring(node.body[0])]


def _comments(code: Code) -> Iterator[Note]:
    if "#" not in code.text:
        return
    starts = [0, *(found.end() for found in re.finditer("\n", code.text))]
    line = 1
    for found in _STRING_OR_COMMENT.finditer(code.text):
        if not found["comment"] or _NO_NOTE.match(found["comment"]):
            continue
        while line < len(starts) and starts[line] <= found.start():
            line += 1
        text = found["comment"].lstrip("#")
        column = found.start() - starts[line - 1] + len(found["comment"]) - len(text.lstrip())
        start = code.at_token(line, column)
        if text.strip():
            yield Note("comment", start, start + len(text.strip()), line)


def _docstrings(code: Code) -> Iterator[Note]:
    for node in _documented(code.tree):
        docstring = node.body[0]
        last = docstring.end_lineno or docstring.lineno
        example = False
        for line in range(docstring.lineno, last + 1):
            start = code.start(docstring) if line == docstring.lineno else code.lines[line - 1].code
            end = code.end(docstring) if line == last else code.lines[line - 1].end
            text = code.answer[start:end]
            example = ">>>" in text or (example and bool(text.strip()))  # until the next blank line
            if not example and text.strip():
                yield _line(text, start, line)


def _line(text: str, start: int, line: int) -> Note:
    """One line of a docstring without its quotes."""
    opening = re.match(r"\s*(?:[rRuU]{0,2}(?:\"\"\"|'''|\"|'))?\s*", text)
    first = opening.end() if opening else 0
    closing = re.search(r"\s*(?:\"\"\"|'''|\"|')?\s*$", text[first:])
    last = first + (closing.start() if closing else len(text))
    return Note("docstring", start + first, start + last, line)
