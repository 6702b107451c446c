"""Incorrect base case in recursion: the branch that ends it tests or gives the wrong thing, or is gone.

Recognised relative to a good answer: the same tree but for a base case. A function that comes back on every path is
recognised in the answer alone. A boundary that is off by one (`n < 1` for `n <= 1`) is an off-by-one error wherever it
stands, and none of these.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from pipeline.errors.answers import Code, code_of, has_long_string, integer
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.boundaries import SWAPPED, moved_number, operator_place
from pipeline.errors.compiling import sound_code
from pipeline.errors.endless import endless
from pipeline.errors.executions import shown
from pipeline.errors.recursion import BaseCase, base_cases, recursions
from pipeline.errors.trees import BOUNDARIES, compare_answers
from pipeline.errors.wrong_exits import WRITTEN, WRONG, compares, wrong_value
from pipeline.records import FunctionTest
from pipeline.spans import Edit, edit_at

NAME = "incorrect-base-case-in-recursion"

_ELSE = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:(?:\r\n|\r|\n)[ \t]*(?:#[^\r\n]*)?)+?(?=[ \t]*else\b)")


class BaseCases:
    """Spoils the first base case of a recursive function."""

    name: str = NAME
    level: Level = "executed"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None:
            return []
        first = [cases[0] for recursion in recursions(code.tree) if (cases := base_cases(recursion))]
        edits = {edit for case in first for edit in (*_tests(code, case), *_values(code, case), *_without(code, case))}
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
        code = sound_code(response)
        if isinstance(code, str):
            return Unscored(code)
        stuck = endless(code.tree)
        if stuck is not None:
            start = code.start(stuck)
            explanation = f"`{stuck.name}` calls itself on every path: it has no base case"
            return Finding(True, explanation, start, code.lines[stuck.lineno - 1].end)
        if not recursions(code.tree):
            return Finding(False, "no function calls itself")
        return _compared(response, reference)


def _compared(response: str, reference: str | None) -> Finding | Unscored:
    compared = compare_answers(response, reference)
    if isinstance(compared, Unscored):
        return compared
    wrong = [difference for difference in compared if difference.base_case and difference.kind != "boundary"]
    if len(wrong) > 1:
        return Unscored("the base case is another one than the good answer's, and may be right")
    if wrong:
        return wrong[0].finding
    return Finding(False, "every base case is the good answer's")


def _tests(code: Code, case: BaseCase) -> Iterator[Edit]:
    """Another comparison, another constant, a `not` less."""
    for node in compares(case.test):
        if isinstance(node, ast.UnaryOp):
            yield from _cut(code, code.start(node), code.start(node.operand), r"not\s+")
        if isinstance(node, ast.Compare):
            yield from _comparisons(code, node)


def _comparisons(code: Code, node: ast.Compare) -> Iterator[Edit]:
    sides = [node.left, *node.comparators]
    for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
        place = operator_place(code, left, right, WRITTEN.get(type(operator), ""))
        if place is not None:
            others = (wrong for wrong in WRONG[type(operator)] if {type(operator), wrong} not in BOUNDARIES)
            yield from (edit_at(code.answer, *place, WRITTEN[other], NAME) for other in others)
    for side in sides:
        if integer(side) is not None and not any(type(operator) in SWAPPED for operator in node.ops):
            yield from moved_number(code, side, NAME)


def _values(code: Code, case: BaseCase) -> Iterator[Edit]:
    value = case.value
    if value is None:
        return
    if integer(value) is not None:
        yield from moved_number(code, value, NAME)
    elif (wrong := wrong_value(value)) is not None:
        yield edit_at(code.answer, code.start(value), code.end(value), wrong, NAME)


def _without(code: Code, case: BaseCase) -> Iterator[Edit]:
    """The branch itself goes."""
    if isinstance(case.branch, ast.IfExp):
        yield from _without_side(code, case.branch, case.side)
    elif case.side == "body" and isinstance(case.branch, ast.If):
        yield from _without_body(code, case.branch)
    elif case.side == "orelse":
        yield from _without_else(code, case.branch)
    elif (place := code.whole_lines(case.branch)) is not None:
        yield edit_at(code.answer, *place, "", NAME)


def _without_side(code: Code, node: ast.IfExp, side: str) -> Iterator[Edit]:
    """`a if test else b` -> `b`, or `a`; not where parentheses stand between."""
    gaps = (code.end(node.body), code.start(node.test)), (code.end(node.test), code.start(node.orelse))
    if not all(re.fullmatch(r"\s+(if|else)\s+", code.answer[slice(*gap)]) for gap in gaps):
        return
    if side == "body":
        yield edit_at(code.answer, code.start(node), code.start(node.orelse), "", NAME)
    else:
        yield edit_at(code.answer, code.end(node.body), code.end(node), "", NAME)


def _without_body(code: Code, branch: ast.If) -> Iterator[Edit]:
    """An `if` or `elif` with its body; what follows it takes its place."""
    start, keyword = code.start(branch), code.source(branch)[:4]
    if not branch.orelse:
        place = code.whole_lines(branch)
        if place is not None and _leaves_something(code, branch):
            yield edit_at(code.answer, *place, "", NAME)
        return
    following = code.start(branch.orelse[0])
    if isinstance(branch.orelse[0], ast.If) and code.answer.startswith("elif", following):
        end = following if keyword == "elif" else following + len("el")
        yield edit_at(code.answer, start, end, "", NAME)
    elif (found := _ELSE.match(code.answer, code.end(branch.body[-1]))) is not None:
        if keyword == "elif":
            other = code.answer.index("else", found.end())
            yield edit_at(code.answer, start, other, "", NAME)
        else:
            yield from _dedented_else(code, branch)


def _leaves_something(code: Code, branch: ast.If) -> bool:
    """Whether the block that the branch stands in holds another statement; an `elif` leaves its `if`."""
    parent = code.parents[branch]
    blocks = [getattr(parent, name, []) for name in ("body", "orelse", "finalbody")]
    return code.source(branch).startswith("elif") or all(block != [branch] for block in blocks)


def _dedented_else(code: Code, branch: ast.If) -> Iterator[Edit]:
    """`if ...: return 1` and `else:` go, and what was under `else` moves left."""
    place, first = code.whole_lines(branch), branch.orelse[0]
    opening = _else_line(code, branch)
    if place is None or first.lineno <= opening or has_long_string(*branch.orelse):
        return
    body = code.dedented(code.lines[opening : branch.end_lineno], first, branch)
    if body is not None:
        yield edit_at(code.answer, *place, body, NAME)


def _else_line(code: Code, branch: ast.If) -> int:
    """The line, from 1, of the `else` of an `if` with one."""
    found = _ELSE.match(code.answer, code.end(branch.body[-1]))
    assert found is not None
    return next(number for number, line in enumerate(code.lines, 1) if line.start <= found.end() <= line.end)


def _without_else(code: Code, exit_: ast.stmt) -> Iterator[Edit]:
    """`else: return 1` goes."""
    branch = code.parents[exit_]
    assert isinstance(branch, ast.If)
    place, found = code.whole_lines(exit_), _ELSE.match(code.answer, code.end(branch.body[-1]))
    if found is None:
        return
    opening = code.lines[_else_line(code, branch) - 1]
    if place is not None or exit_.lineno == _else_line(code, branch):
        end = code.lines[(exit_.end_lineno or exit_.lineno) - 1].next
        yield edit_at(code.answer, opening.start, end, "", NAME)


def _cut(code: Code, start: int, end: int, pattern: str) -> Iterator[Edit]:
    if re.fullmatch(pattern, code.answer[start:end]):
        yield edit_at(code.answer, start, end, "", NAME)
