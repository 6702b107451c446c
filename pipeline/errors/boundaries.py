"""Where in a program a boundary stands: the bounds of ranges and slices, indices, comparisons, constants of loops.

Shared by the off-by-one type's two halves: sites to edit, and places where a difference of one is a boundary's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pipeline.errors.answers import Code, integer
from pipeline.spans import Edit, edit_at

SWAPPED: dict[type[ast.cmpop], str] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
WRITTEN: dict[type[ast.cmpop], str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def bounds(nodes: tuple[ast.AST, ...]) -> Iterator[ast.expr]:
    """Every expression whose value is a boundary, once each."""
    seen: set[ast.expr] = set()
    for node in nodes:
        for bound in _bounds_of(node, nodes):
            if bound not in seen:
                seen.add(bound)
                yield bound


def _bounds_of(node: ast.AST, nodes: tuple[ast.AST, ...]) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        yield from call_bounds(node)
    elif isinstance(node, ast.Slice):
        yield from (bound for bound in (node.lower, node.upper) if bound is not None)
    elif isinstance(node, ast.Subscript) and _is_index(node.slice):
        yield node.slice
    elif isinstance(node, ast.Compare) and any(type(op) in SWAPPED for op in node.ops):
        yield from (side for side in (node.left, *node.comparators) if integer(side) is not None)
    elif isinstance(node, ast.While):
        yield from _starts(node, nodes)


def call_bounds(call: ast.Call) -> list[ast.expr]:
    """The bounds among a call's arguments: start and stop of `range`, start of `enumerate`."""
    if not isinstance(call.func, ast.Name) or any(isinstance(argument, ast.Starred) for argument in call.args):
        return []
    if call.func.id == "range":
        return call.args[:2]
    if call.func.id == "enumerate":
        return [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "start")]
    return []


def _is_index(index: ast.expr) -> bool:
    """Integers and sums; a bare name may as well be a dictionary's key."""
    if isinstance(index, ast.BinOp):
        return isinstance(index.op, ast.Add | ast.Sub) and integer(index.right) is not None
    return integer(index) is not None


def _starts(loop: ast.While, nodes: tuple[ast.AST, ...]) -> Iterator[ast.expr]:
    """Integer constants that a variable of the loop's condition starts from."""
    tested = {node.id for node in ast.walk(loop.test) if isinstance(node, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.Assign) and node.lineno < loop.lineno and integer(node.value) is not None:
            target = node.targets[0]
            if len(node.targets) == 1 and isinstance(target, ast.Name) and target.id in tested:
                yield node.value


def operator_place(code: Code, left: ast.expr, right: ast.expr, written: str) -> tuple[int, int] | None:
    """Where a comparison's operator stands between its sides; None where something else stands there, too."""
    start = code.end(left)
    gap = code.answer[start : code.start(right)]
    found = re.fullmatch(rf"[)\s]*({written})[(\s]*", gap) if written else None
    return (start + found.start(1), start + found.end(1)) if found else None


def moved_number(code: Code, number: ast.expr, error_type: str) -> Iterator[Edit]:
    """An integer literal one lower and one higher, but for a change of sign."""
    value = integer(number)
    if value is None or code.source(number) != str(value):  # 0x10, 1_000, - 1: rare, a rewrite would change more
        return
    for moved in (value - 1, value + 1):
        if (moved < 0) == (value < 0) or value == 0:
            yield edit_at(code.answer, code.start(number), code.end(number), str(moved), error_type)
