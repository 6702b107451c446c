"""Minor syntax errors: a colon, a bracket or a quote is gone, `==` became `=`, or a line is indented wrongly.

Recognised in the answer alone: its Python does not compile.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence

from pipeline.errors.answers import Code, code_of
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.compiling import broken_python, python_blocks
from pipeline.records import FunctionTest
from pipeline.spans import edit_at

NAME = "minor-syntax-errors"

Token = tokenize.TokenInfo
Change = tuple[int, int, str]
"""Start, end and new text, in code points of the answer."""

_NO_CODE = {tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


class SyntaxErrors:
    """Breaks one token, in blocks that are tagged as Python: without a tag nobody can tell what a broken block was."""

    name: str = NAME
    level: Level = "static"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None or broken_python(response) is not None:
            return []
        tagged = [(block.lines[0].start, block.lines[-1].next) for block in python_blocks(response) if block.lines]
        edits = {
            edit_at(response, start, end, new, NAME)
            for start, end, new in _changes(code)
            if any(first <= start < last for first, last in tagged)
        }
        return alone(edits)

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where the good answer compiles and the bad one does not. Nothing is run."""
        before, after = broken_python(case.good), broken_python(case.bad)
        if code_of(case.good) is None or before is not None:
            return Verification(False, self.level, "the good answer does not compile")
        if after is None or not after.is_syntax:
            return Verification(False, self.level, "equivalent: the Python still compiles")
        return Verification(True, self.level, after.explanation)

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        broken = broken_python(response)
        if broken is not None and broken.is_syntax:
            return Finding(True, broken.explanation, broken.start, broken.end)
        if broken is not None:
            return Unscored(f"the compiler gives up: {broken.explanation}")
        if code_of(response) is None:
            return Unscored("the answer holds no block that is known to be Python")
        return Finding(False, "the Python compiles")


def _changes(code: Code) -> Iterator[Change]:
    tokens = _tokens(code)
    yield from _colons(code, tokens)
    yield from _indents(code, tokens)
    for token in tokens:
        if token.type == tokenize.OP and token.string in "()[]{}":
            yield *_place(code, token), ""
        elif token.type == tokenize.OP and token.string == "==":
            yield *_place(code, token), "="
        elif token.type == tokenize.STRING:
            yield from _quotes(token, *_place(code, token))


def _tokens(code: Code) -> list[Token]:
    try:
        return list(tokenize.generate_tokens(io.StringIO(code.text).readline))
    except (tokenize.TokenError, SyntaxError):  # what the parser takes, the tokenizer may still refuse
        return []


def _place(code: Code, token: Token) -> tuple[int, int]:
    return code.at_token(*token.start), code.at_token(*token.end)


def _quotes(token: Token, start: int, end: int) -> Iterator[Change]:
    """The string without its first quote and without its last; of an empty one both are the same."""
    prefix = re.match(r"\w*", token.string)
    opening = start + (prefix.end() if prefix else 0)
    if end - opening > 2:
        yield opening, opening + 1, ""
    yield end - 1, end, ""


def _colons(code: Code, tokens: Sequence[Token]) -> Iterator[Change]:
    """The colon before each block of statements; those of dictionaries, slices and annotations stay."""
    places = {_place(code, token)[0]: index for index, token in enumerate(tokens) if token.type not in _NO_CODE}
    for first in _first_statements(code.tree):
        index = places.get(code.start(first), 0) - 1
        while index > 0 and (tokens[index].type in _NO_CODE or tokens[index].string in ("@", "case")):
            index -= 1
        if index > 0 and tokens[index].string == ":":
            yield *_place(code, tokens[index]), ""


def _first_statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The first statement of every block, or its first decorator; of a `match` the first pattern."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Match):
            yield node.cases[0].pattern
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                decorators = getattr(block[0], "decorator_list", [])
                yield decorators[0] if decorators else block[0]


def _indents(code: Code, tokens: Sequence[Token]) -> Iterator[Change]:
    """The first line of a block without its indentation, another line with a space too many."""
    outer, fresh = [""], True
    for token in tokens:
        if token.type == tokenize.INDENT:
            line = token.start[0]
            yield code.at_token(line, len(outer[-1])), code.at_token(line, len(token.string)), ""
            outer, fresh = [*outer, token.string], False
        elif token.type == tokenize.DEDENT:
            outer = outer[:-1]
        elif token.type == tokenize.NEWLINE:
            fresh = True
        elif token.type not in _NO_CODE:
            if fresh and len(outer) > 1:
                yield code.at_token(*token.start), code.at_token(*token.start), " "
            fresh = False
