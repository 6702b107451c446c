"""What a base case can be turned into: other comparisons and other values, each with what it stands for.

Shared by the base-case type's two halves. When an answer is compared with the good one, only what is wrong for certain
counts: `n <= 0` for `n == 0` may be the better base case.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

WRONG: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE,),
    ast.LtE: (ast.Lt, ast.Eq),
    ast.Gt: (ast.GtE,),
    ast.GtE: (ast.Gt, ast.Eq),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
"""Comparison -> what it is mistaken for."""

WRITTEN: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
}


def compares(test: ast.expr) -> Iterator[ast.expr]:
    """The comparisons and negations that a test is made of."""
    if isinstance(test, ast.BoolOp):
        for value in test.values:
            yield from compares(value)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield test
        yield from compares(test.operand)
    elif isinstance(test, ast.Compare):
        yield test


def wrong_value(value: ast.expr) -> str | None:
    """What a base case that gives this, and no whole number, may wrongly give; None where it gives nothing."""
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return str(not value.value)
    if isinstance(value, ast.Constant) and value.value is None:
        return None
    if isinstance(value, ast.List) and len(value.elts) == 1 and isinstance(value.elts[0], ast.List):
        return "[]"
    return "None"


def is_wrong_value(good: ast.expr, value: ast.AST) -> bool:
    """Whether a base case gives another literal than the good one, or None where the good one gives something."""
    if not isinstance(value, ast.expr):
        return False
    left, right = _literal(good), _literal(value)
    if right is None:
        return False
    if left is None:
        return right == ("NoneType", "None")
    return left != right and not _may_be_equal(good, value)


def _literal(node: ast.expr) -> tuple[str, str] | None:
    try:
        found = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return type(found).__name__, repr(found)


def _may_be_equal(good: ast.expr, value: ast.expr) -> bool:
    """`1`, `1.0` and `True`."""
    return bool(ast.literal_eval(good) == ast.literal_eval(value))
