"""Attributes of answers with Python: which error one has, and whether its code is explained."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.attributes.base import Item, Label
from pipeline.errors import ERROR_TYPES
from pipeline.errors.answers import code_of
from pipeline.errors.base import Finding
from pipeline.errors.completions import program_for
from pipeline.sandbox import run, values

CLEAN, ERROR, OTHER = "clean", "err", "other"
EXPLAINED, BARE = "explained", "bare"


@dataclass(frozen=True)
class Errors:
    """`err:TYPE` of the first recognised error in the order of `error_types`; `clean` where none is and tests pass.

    An answer that fails its tests by no error that is recognised is `err:other`. Without tests only recognisers count.
    """

    error_types: tuple[str, ...]

    def __call__(self, items: Sequence[Item]) -> list[Label]:
        return [self._label(item) for item in items]

    def _label(self, item: Item) -> Label:
        for name in self.error_types:
            found = ERROR_TYPES[name].recognise(
                item.text, reference=item.reference or None, tests=item.tests, prompt=item.prompt
            )
            if isinstance(found, Finding) and found.present:
                return Label(label_of(name), 1.0, found.explanation)
        return _by_tests(item)


def label_of(error_type: str) -> str:
    """`off-by-one-errors` as `err:off-by-one`."""
    return f"{ERROR}:{error_type.removesuffix('-errors')}"


def _by_tests(item: Item) -> Label:
    """What running says of an answer in which nothing was recognised."""
    if not item.tests or any(map(values.why_unscored, item.tests)):
        return Label(CLEAN, 0.0, "no error is recognised; there are no tests to run")
    program = program_for(item.prompt, item.text, item.source)
    if not program:
        return Label(f"{ERROR}:{OTHER}", 1.0, "the answer has no Python code block")
    if run.passed(run.execute(program, item.tests), item.tests):
        return Label(CLEAN, 0.0, "no error is recognised, and the tests pass")
    return Label(f"{ERROR}:{OTHER}", 1.0, "the tests fail, by no error that is recognised")


def explained(items: Sequence[Item]) -> list[Label]:
    """`explained` where the code has a comment or a docstring, `bare` where it has neither."""
    return [_explained(item) for item in items]


def _explained(item: Item) -> Label:
    code = code_of(item.text)
    if code is None:
        return Label(None, None, "unlabelled: there is no Python that parses")
    documented = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    if any(isinstance(node, documented) and ast.get_docstring(node) for node in ast.walk(code.tree)):
        return Label(EXPLAINED, 1.0, "a docstring")
    tokens = tokenize.generate_tokens(io.StringIO(code.text).readline)
    if any(token.type == tokenize.COMMENT for token in tokens):
        return Label(EXPLAINED, 1.0, "a comment")
    return Label(BARE, 0.0, "neither comment nor docstring")
