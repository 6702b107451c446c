"""Compares an answer's syntax tree with the good answer's, and finds the ways in which they may differ.

Names of local variables, docstrings, comments, annotations, imports and error messages are free. What is left must be
equal but for boundaries that are off by one, guards that are missing, base cases that are wrong or missing, loops
whose step or break is missing or turned about, and one variable in another's place; anything else makes two answers
incomparable.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.errors.answers import Code, code_of, functions, integer
from pipeline.errors.base import Finding, Unscored
from pipeline.errors.boundaries import bounds
from pipeline.errors.compiling import sound_code
from pipeline.errors.guards import default_keyword, fallback, is_docstring, looked_up, opening_guards, plain_try
from pipeline.errors.loops import OPPOSITE, breaks, steps, while_loops
from pipeline.errors.recursion import Exits
from pipeline.errors.wrong_exits import WRONG, is_wrong_value

MOST_STEPS = 50_000
"""Nodes compared before two trees count as incomparable: nested fallbacks can be matched in exponentially many ways."""

IGNORED = frozenset({"ctx", "annotation", "returns", "type_comment", "kind"})


BOUNDARIES = ({ast.Lt, ast.LtE}, {ast.Gt, ast.GtE})

Kind = Literal["boundary", "guard", "base case", "step", "reference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference, at ``answer[start:end]``; where something is missing, the place where it should be.

    `base_case`: it lies in the base case of a recursion, whatever its kind.
    """

    kind: Kind
    explanation: str
    start: int
    end: int
    base_case: bool = False

    @property
    def finding(self) -> Finding:
        return Finding(True, self.explanation, self.start, self.end)


Differences = list[Difference] | None
"""None: the trees differ in more than the kinds of difference that are known."""


def compare_answers(response: str, reference: str | None) -> list[Difference] | Unscored:
    """The differences of an answer from the good answer to the same prompt, in order of position."""
    if reference is None:
        return Unscored("there is no good answer to compare with")
    good, code = code_of(reference), sound_code(response)
    if good is None:
        return Unscored("the good answer holds no Python that parses")
    if isinstance(code, str):
        return Unscored(code)
    found = Comparison(_with_plain_names(good), _with_plain_names(code)).run()
    if found is None:
        return Unscored("the answer is built differently from the good one")
    return sorted(found, key=lambda difference: (difference.start, difference.end))


def first_of(kind: Kind, response: str, reference: str | None, none: str) -> Finding | Unscored:
    """The first difference of this kind from the good answer; `none` says that there is none."""
    compared = compare_answers(response, reference)
    if isinstance(compared, Unscored):
        return compared
    found = (difference.finding for difference in compared if difference.kind == kind)
    return next(found, Finding(False, none))


class Comparison:
    """One good program and one answer's, walked side by side."""

    def __init__(self, good: Code, code: Code) -> None:
        self.good, self.code = good, code
        self.bounds = {*bounds(good.nodes), *bounds(code.nodes)}
        self.guards = set(opening_guards(good.tree))
        self.exits = Exits(good.tree)
        loops = while_loops(good.tree)
        self.loop_steps = {node for loop in loops for node in (*steps(loop), *breaks(loop))}
        self.variables = bound_names(good.tree) & bound_names(code.tree)
        self.compared = 0

    def run(self) -> Differences:
        found = self.statements(self.good.tree.body, self.code.tree.body)
        if found and len(found) > 1 and any(difference.kind == "reference" for difference in found):
            return None  # another variable here and there is another program
        return found

    def nodes(self, good: ast.AST, node: ast.AST) -> Differences:
        self.compared += 1
        if self.compared > MOST_STEPS:
            return None
        plain = self.same_kind(good, node)
        if plain is not None:
            return plain
        if (good in self.bounds or node in self.bounds) and self.is_shifted(good, node):
            return [self.difference("boundary", good, node)]
        if self.lost_fallback(good, node):
            return [self.difference("guard", good, node)]
        if self.wrong_exit(good, node):
            return [self.difference("base case", good, node)]
        if good in self.loop_steps and self.is_turned(good, node):
            return [self.difference("step", good, node)]
        if self.is_other_variable(good, node):
            return [self.difference("reference", good, node)]
        return None

    def is_turned(self, good: ast.AST, node: ast.AST) -> bool:
        """`i -= 1` for `i += 1`, `i - 1` for `i + 1`."""
        if isinstance(good, ast.AugAssign) and isinstance(node, ast.AugAssign):
            turned = OPPOSITE.get(type(good.op)) is type(node.op)
            return turned and self.elements([good.target, good.value], [node.target, node.value]) == []
        if not isinstance(good, ast.Assign) or not isinstance(node, ast.Assign):
            return False
        left, right = good.value, node.value
        if not isinstance(left, ast.BinOp) or not isinstance(right, ast.BinOp):
            return False
        turned = OPPOSITE.get(type(left.op)) is type(right.op)
        pairs = [*good.targets, left.left, left.right], [*node.targets, right.left, right.right]
        return turned and self.elements(*pairs) == []

    def is_other_variable(self, good: ast.AST, node: ast.AST) -> bool:
        if not isinstance(good, ast.Name) or not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            return False
        return {good.id, node.id} <= self.variables

    def same_kind(self, good: ast.AST, node: ast.AST) -> Differences:
        if type(good) is not type(node):
            return None
        if isinstance(good, ast.Raise) and isinstance(node, ast.Raise):
            return self.values(_raised(good), _raised(node))
        if isinstance(good, ast.Compare) and isinstance(node, ast.Compare):
            return self.comparisons(good, node)
        found: list[Difference] = []
        for name in good._fields:
            if name not in IGNORED:
                inner = self.values(getattr(good, name, None), getattr(node, name, None))
                if inner is None:
                    return None
                found += inner
        return found

    def values(self, good: object, value: object) -> Differences:
        if isinstance(good, ast.AST) and isinstance(value, ast.AST):
            return self.nodes(good, value)
        if isinstance(good, list) and isinstance(value, list):
            if all(isinstance(item, ast.stmt) for item in [*good, *value]):
                return self.statements(good, value)
            return self.elements(good, value)
        return [] if type(good) is type(value) and good == value else None

    def elements(self, good: Sequence[object], values: Sequence[object]) -> Differences:
        if len(good) != len(values):
            return None
        found: list[Difference] = []
        for left, right in zip(good, values, strict=True):
            inner = self.values(left, right)
            if inner is None:
                return None
            found += inner
        return found

    def comparisons(self, good: ast.Compare, node: ast.Compare) -> Differences:
        sides = self.elements([good.left, *good.comparators], [node.left, *node.comparators])
        if sides is None or len(good.ops) != len(node.ops):
            return None
        pairs = [(type(left), type(right)) for left, right in zip(good.ops, node.ops, strict=True)]
        moved = [(left, right) for left, right in pairs if left is not right]
        if not moved:
            return sides
        if sides:  # `n < 2` for `n <= 1`
            return None
        if all({left, right} in BOUNDARIES for left, right in moved):
            return [self.difference("boundary", good, node)]
        if good in self.exits.tests and all(right in WRONG.get(left, ()) for left, right in moved):
            return [self.difference("base case", good, node)]
        return None

    def is_shifted(self, good: ast.AST, node: ast.AST) -> bool:
        """Whether two boundaries differ by one, in a constant or as `x` from `x + 1` and `x - 1`."""
        left, right = integer(_expression(good)), integer(_expression(node))
        if left is not None and right is not None:
            return abs(left - right) == 1
        if isinstance(good, ast.BinOp) and isinstance(node, ast.BinOp) and type(good.op) is type(node.op):
            left, right = integer(good.right), integer(node.right)
            if left is not None and right is not None and abs(left - right) == 1:
                return isinstance(good.op, ast.Add | ast.Sub) and self.same_kind(good.left, node.left) == []
        return self.is_one_more(good, node) or self.is_one_more(node, good, turned=True)

    def is_one_more(self, larger: ast.AST, smaller: ast.AST, *, turned: bool = False) -> bool:
        if (
            not isinstance(larger, ast.BinOp)
            or not isinstance(larger.op, ast.Add | ast.Sub)
            or integer(larger.right) != 1
        ):
            return False
        return self.nodes(*((smaller, larger.left) if turned else (larger.left, smaller))) == []

    def lost_fallback(self, good: ast.AST, node: ast.AST) -> bool:
        kept, found = fallback(good), looked_up(good)
        if kept is not None and self.nodes(kept, node) == []:
            return True
        if found is not None and isinstance(node, ast.Subscript):
            return self.nodes(found[0], node.value) == [] and self.nodes(found[1], node.slice) == []
        if default_keyword(good) is None or not isinstance(good, ast.Call) or not isinstance(node, ast.Call):
            return False
        bare = ast.Call(good.func, good.args, good.keywords[:-1])
        return self.same_kind(bare, node) == []

    def wrong_exit(self, good: ast.AST, node: ast.AST) -> bool:
        """Whether a base case tests or gives something wrong, or a conditional expression has lost its base case."""
        kept = self.exits.sides.get(good)
        if kept is not None and self.nodes(kept, node) == []:
            return True
        if good in self.exits.values and isinstance(good, ast.expr):
            return is_wrong_value(good, node)
        if good not in self.exits.tests:
            return False
        if isinstance(good, ast.UnaryOp) and isinstance(good.op, ast.Not):
            return self.nodes(good.operand, node) == []
        left, right = integer(_expression(good)), integer(_expression(node))
        return left is not None and right is not None

    def statements(
        self, good: list[ast.stmt], body: list[ast.stmt], whole: list[ast.stmt] | None = None
    ) -> Differences:
        """Two bodies in step; a guard, a base case or a `try` that only the good one has is a difference.

        `whole` is the body that these statements are the end of.
        """
        whole = whole or body
        left, right = _that_count(good), _that_count(body)
        found: list[Difference] = []
        while left:
            if left[0] in self.exits.branches:
                rest = self.from_base_case(left, right, whole)
                return None if rest is None else [*found, *rest]
            inner = self.nodes(left[0], right[0]) if right else None
            if inner is not None:
                found, left, right = found + inner, left[1:], right[1:]
            elif left[0] in self.guards:
                found.append(self.missing("guard", left[0], whole, right))
                left = left[1:]
            elif left[0] in self.loop_steps:
                found.append(self.missing("step", left[0], whole, right))
                left = left[1:]
            elif (attempt := plain_try(left[0])) is not None:
                rest = self.statements([*attempt.body, *left[1:]], right, whole)
                return None if rest is None else [*found, self.missing("guard", attempt, whole, right), *rest]
            else:
                return None
        return None if right else found

    def from_base_case(self, left: list[ast.stmt], right: list[ast.stmt], whole: list[ast.stmt]) -> Differences:
        """The rest of two bodies where the good one has a base case: in step or without it, whichever differs less."""
        inner = self.nodes(left[0], right[0]) if right else None
        rest = self.statements(left[1:], right[1:], whole) if inner is not None else None
        in_step = [*inner, *rest] if inner is not None and rest is not None else None
        if in_step == []:
            return []
        kept = self.statements([*self.exits.branches[left[0]], *left[1:]], right, whole)
        kind: Kind = "guard" if left[0] in self.guards else "base case"
        without = [self.missing(kind, left[0], whole, right), *kept] if kept is not None else None
        return min((way for way in (in_step, without) if way is not None), key=len, default=None)

    def missing(self, kind: Kind, statement: ast.stmt, body: list[ast.stmt], right: list[ast.stmt]) -> Difference:
        place = self.code.start(right[0]) if right else self.code.end(body[-1]) if body else 0
        opening = self.good.source(statement).splitlines()[0]
        explanation = f"`{opening}` of the good answer is missing"
        return Difference(kind, explanation, place, place, statement in self.exits)

    def difference(self, kind: Kind, good: ast.AST, node: ast.AST) -> Difference:
        here, there = self.code.source(node), self.good.source(good)
        explanation = f"`{here}` where the good answer has `{there}`"
        own = kind not in ("step", "reference") and good in self.exits
        return Difference(kind, explanation, self.code.start(node), self.code.end(node), own)


def bound_names(tree: ast.AST) -> set[str]:
    """Parameters and variables, wherever in the program."""
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _expression(node: ast.AST) -> ast.expr | None:
    return node if isinstance(node, ast.expr) else None


def _raised(node: ast.Raise) -> ast.AST | None:
    """What is raised, without its message."""
    return node.exc.func if isinstance(node.exc, ast.Call) else node.exc


def _that_count(body: list[ast.stmt]) -> list[ast.stmt]:
    return [item for item in body if not is_docstring(item) and not isinstance(item, ast.Import | ast.ImportFrom)]


def _with_plain_names(code: Code) -> Code:
    """The same program with each function's parameters and variables numbered in order of appearance."""
    tree = copy.deepcopy(code.tree)
    outer = [function for function in functions(tree) if function in tree.body]
    for function in outer:
        _rename(function, _local_names(function))
    return replace(code, tree=tree)


def _local_names(function: ast.AST) -> dict[str, str]:
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            found.append((0, node.lineno, node.col_offset, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((1, node.lineno, node.col_offset, node.id))
    ordered = dict.fromkeys(name for *_, name in sorted(found))
    return {name: f"local {number}" for number, name in enumerate(ordered)}


def _rename(function: ast.AST, names: dict[str, str]) -> None:
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.arg = names[node.arg]
        elif isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
