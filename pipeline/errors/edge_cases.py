"""Improper handling of edge cases: a guard, a `try`, or a fallback is gone.

Recognised relative to a good answer: the same tree without one of its guards.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from pipeline.errors.answers import Code, code_of, has_long_string
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.edge_inputs import is_edge_case
from pipeline.errors.executions import differing
from pipeline.errors.guards import default_keyword, fallback, looked_up, opening_guards, plain_try
from pipeline.errors.trees import first_of
from pipeline.records import FunctionTest
from pipeline.spans import Edit, edit_at

NAME = "improper-handling-of-edge-cases"


class EdgeCases:
    """Takes one precaution away."""

    name: str = NAME
    level: Level = "executed"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None:
            return []
        edits = {*_without_guards(code), *_without_try(code), *_without_fallbacks(code)}
        return alone(edits)

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where the answers differ on an edge case, and agree on an ordinary input, on most of them."""
        seen = differing(case, execute)
        if isinstance(seen, Verification):
            return seen
        edges = {index for index, test in enumerate(case.tests) if is_edge_case(test)}
        on_edges = sum(index in edges for index in seen.differing)
        agreeing = sum(index not in edges for index in seen.agreeing)
        ordinary = len(case.tests) - len(edges)
        if not on_edges:
            return Verification(False, self.level, "differs on ordinary inputs only")
        if 2 * agreeing <= ordinary or not agreeing:
            return Verification(False, self.level, f"agrees on {agreeing} of {ordinary} ordinary inputs only")
        reason = f"differs on {on_edges} of {len(edges)} edge cases, agrees on {agreeing} of {ordinary} ordinary inputs"
        return Verification(True, self.level, reason)

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        return first_of("guard", response, reference, "every guard of the good answer is there")


def _without_guards(code: Code) -> Iterator[Edit]:
    for guard in opening_guards(code.tree):
        place = code.whole_lines(guard)
        if place is not None:
            yield edit_at(code.answer, *place, "", NAME)


def _without_try(code: Code) -> Iterator[Edit]:
    for node in code.nodes:
        attempt = plain_try(node)
        place = code.whole_lines(attempt) if attempt else None
        body = _dedented_body(code, attempt) if attempt else None
        if place is not None and body is not None:
            yield edit_at(code.answer, *place, body, NAME)


def _dedented_body(code: Code, attempt: ast.Try) -> str | None:
    """The body's own lines, moved left to where `try` stands; None where a line does not allow it."""
    first, last = attempt.body[0], attempt.body[-1]
    if first.lineno == attempt.lineno or last.end_lineno == attempt.handlers[0].lineno or has_long_string(attempt):
        return None
    return code.dedented(code.lines[attempt.lineno : attempt.handlers[0].lineno - 1], first, attempt)


def _without_fallbacks(code: Code) -> Iterator[Edit]:
    for node in code.nodes:
        kept, found, keyword = fallback(node), looked_up(node), default_keyword(node)
        if kept is not None and _is_value(code, node):
            yield from _cut(code, code.end(kept), code.end(node), r"[ \t]*(or|if)\b")
        elif found is not None:
            yield from _indexed(code, node, *found)
        elif keyword is not None and isinstance(node, ast.Call):
            before = max((*node.args, *(k.value for k in node.keywords[:-1])), key=code.end)
            yield from _cut(code, code.end(before), code.end(keyword), r"[ \t]*,\s*default\b")


def _is_value(code: Code, node: ast.AST) -> bool:
    """Whether the expression is a value that something is done with, not a condition."""
    parent = code.parents.get(node)
    return not isinstance(parent, ast.If | ast.While | ast.IfExp | ast.BoolOp | ast.UnaryOp | ast.comprehension)


def _cut(code: Code, start: int, end: int, pattern: str) -> Iterator[Edit]:
    """Delete from `start` to `end` where what goes begins as expected: no parenthesis or comment between."""
    if re.match(pattern, code.answer[start:end]):
        yield edit_at(code.answer, start, end, "", NAME)


def _indexed(code: Code, node: ast.AST, table: ast.expr, key: ast.expr) -> Iterator[Edit]:
    """`.get(k, d)` -> `[k]`."""
    start, first, end = code.end(table), code.start(key), code.end(node)
    if re.fullmatch(r"\.get\([ \t]*", code.answer[start:first]):
        yield edit_at(code.answer, start, end, f"[{code.source(key)}]", NAME)
