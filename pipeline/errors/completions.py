"""What to run for an answer to a prompt that is the beginning of a program, as HumanEval's are.

Models answer in two ways. Asked in words they write the whole function into a fenced block, often without the imports
and helpers that the prompt begins with; so the prompt stays in front, and the block's function takes the place of its
own. A model that only continues text writes what comes after the prompt, and then goes on to other things; it is cut
where its function ends, as the stop sequences of Chen et al. 2021 (arXiv 2107.03374, section 2.1) do.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator

from pipeline.errors.answers import program_of
from pipeline.errors.compiling import compile_failure
from pipeline.sources.humaneval import COMPLETED

INDENT = "    "


def program_for(prompt: str, answer: str, source: str) -> str:
    """What to run for an answer: to a prompt of a source in `COMPLETED` its completion, else its Python alone.

    Of several ways to read it the first that compiles, else the first, for the error that it gives. Empty where there
    is nothing to run.
    """
    if source not in COMPLETED:
        return program_of(answer)
    ways = list(_readings(prompt.rstrip("\n") + "\n", answer))
    return next((program for program in ways if compile_failure(program) is None), ways[0] if ways else "")


def _readings(prompt: str, answer: str) -> Iterator[str]:
    block = program_of(answer)
    text = (block or answer).strip("\n")
    if block or _is_program(text):
        yield f"{prompt}\n\n{text}\n"
        yield f"{text}\n"
    if not text.strip():
        return
    if text[0].isspace():
        yield prompt + _function_body(text)
    else:  # tokenizers and chats drop indentation: of all lines, or of the first
        yield prompt + textwrap.indent(text, INDENT) + "\n"
        yield prompt + _function_body(INDENT + text)


def _is_program(text: str) -> bool:
    """Whether a text without fences is a whole program that defines something."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in body)


def _function_body(text: str) -> str:
    """The lines up to the first that is not indented."""
    lines = text.split("\n")
    end = next((number for number, line in enumerate(lines) if line and not line[0].isspace()), len(lines))
    return "\n".join(lines[:end]).rstrip() + "\n"
