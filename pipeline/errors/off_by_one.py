"""Off-by-one errors: a range, slice, index, comparison or loop constant is wrong by one.

Recognised relative to a good answer: the same tree but for a boundary.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from pipeline.errors.answers import Code, code_of, integer
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.boundaries import SWAPPED, WRITTEN, bounds, moved_number, operator_place
from pipeline.errors.executions import shown
from pipeline.errors.trees import first_of
from pipeline.records import FunctionTest
from pipeline.spans import Edit, edit_at

NAME = "off-by-one-errors"

_TIGHT = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript)


class OffByOne:
    """Moves one boundary by one."""

    name: str = NAME
    level: Level = "executed"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None:
            return []
        edits = {*_comparisons(code), *(edit for bound in bounds(code.nodes) for edit in _shifts(code, bound))}
        return alone(edits)

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where the good answer passes its tests and the bad one gives something else on at least one."""
        return shown(case, execute)

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        return first_of("boundary", response, reference, "every boundary is the good answer's")


def _comparisons(code: Code) -> Iterator[Edit]:
    for node in code.nodes:
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            place = operator_place(code, left, right, WRITTEN.get(type(operator), ""))
            if place is not None:
                yield edit_at(code.answer, *place, SWAPPED[type(operator)], NAME)


def _shifts(code: Code, bound: ast.expr) -> Iterator[Edit]:
    """The bound one lower and one higher, with as few characters changed as possible."""
    if integer(bound) is not None:
        yield from moved_number(code, bound, NAME)
    elif isinstance(bound, ast.BinOp) and isinstance(bound.op, ast.Add | ast.Sub):
        yield from _shifted_sum(code, bound)
    elif isinstance(bound, _TIGHT) or (isinstance(bound, ast.BinOp) and isinstance(bound.op, ast.Mult | ast.FloorDiv)):
        yield from _added(code, bound)


def _shifted_sum(code: Code, bound: ast.BinOp) -> Iterator[Edit]:
    """`x + 1` loses its ` + 1`; another constant moves by one; to anything else one is added."""
    right = integer(bound.right)
    gap = code.answer[code.end(bound.left) : code.start(bound.right)]
    if right == 1 and re.fullmatch(r"[ \t]*[+-][ \t]*", gap):  # no parenthesis stands between
        yield edit_at(code.answer, code.end(bound.left), code.end(bound), "", NAME)
    elif right is not None and right != 1:
        yield from moved_number(code, bound.right, NAME)
    elif right is None:
        yield from _added(code, bound)


def _added(code: Code, bound: ast.expr) -> Iterator[Edit]:
    for change in (" + 1", " - 1"):
        yield edit_at(code.answer, code.end(bound), code.end(bound), change, NAME)
