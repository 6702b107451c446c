"""Whether the Python of an answer compiles, and where it does not.

Every block tagged as Python counts, not only those that `code_of` can use: one block that parses does not speak for one
that does not. Console transcripts are no programs. An indented piece of a class that parses on its own is no error.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.errors.answers import PYTHON_TAGS, Block, Code, Line, blocks, code_of

_PROMPT = re.compile(r"\s*(>>>|In \[\d*\]:|[$!%])")


@dataclass(frozen=True, slots=True)
class Broken:
    """Python that does not compile: why, and which characters of the answer the compiler points at.

    `is_syntax` is false where the program is too much for the compiler rather than wrong.
    """

    explanation: str
    start: int
    end: int
    is_syntax: bool


def compile_failure(program: str, flags: int = 0) -> Exception | None:
    """What compiling a program raises, if anything. It is never run, and warnings go nowhere."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(program, "<answer>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        return error
    return None


def described(error: Exception) -> str:
    """A failure in one line: its class, the line where there is one, and what the compiler says."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__} in line {error.lineno}: {error.msg}"
    return f"{type(error).__name__}: {error}"


@lru_cache(maxsize=64)
def broken_python(answer: str) -> Broken | None:
    """The first Python of an answer that does not compile."""
    for block in python_blocks(answer):
        error = _parse_failure(_text(answer, block.lines))
        if error is not None:
            return _broken(answer, block.lines, error)
    code = code_of(answer)  # it parses; a `return` outside a function only shows now
    error = compile_failure(code.text) if code else None
    return _broken(answer, code.lines, error) if code and error else None


def sound_code(answer: str) -> Code | str:
    """The answer's Python, or why its syntax tree says nothing about the answer."""
    code = code_of(answer)
    if code is None:
        return "the answer holds no Python that parses"
    broken = broken_python(answer)
    return f"the answer's Python does not compile: {broken.explanation}" if broken else code


def python_blocks(answer: str) -> list[Block]:
    """The blocks tagged as Python that hold a program."""
    tagged = [block for block in blocks(answer) if block.tag in PYTHON_TAGS]
    return [block for block in tagged if not _PROMPT.match(_text(answer, block.lines))]


def _text(answer: str, lines: Sequence[Line]) -> str:
    return "".join(answer[line.code : line.end] + "\n" for line in lines)


def _parse_failure(text: str) -> Exception | None:
    error = compile_failure(text, ast.PyCF_ONLY_AST)
    if isinstance(error, IndentationError) and compile_failure(textwrap.dedent(text), ast.PyCF_ONLY_AST) is None:
        return None
    return error


def _broken(answer: str, lines: Sequence[Line], error: Exception) -> Broken:
    start, end = _place(answer, lines, error)
    return Broken(described(error), start, end, isinstance(error, SyntaxError | ValueError))


def _place(answer: str, lines: Sequence[Line], error: Exception) -> tuple[int, int]:
    """The compiler counts lines and code points from 1, and may point behind the last of either."""
    if not lines:
        return 0, 0
    if not isinstance(error, SyntaxError) or error.lineno is None:
        return lines[0].code, lines[0].end
    line = lines[min(max(error.lineno, 1), len(lines)) - 1]
    start = min(line.code + max((error.offset or 1) - 1, 0), line.end)
    reaches = (error.end_offset or 0) - (error.offset or 0) if error.end_lineno == error.lineno else 0
    return start, min(start + max(reaches, 0), line.end)
