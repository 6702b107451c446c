"""What makes a `while` loop end: its steps and breaks; and which loops can never end.

Shared by the infinite-loops type's two halves: what is taken away, and where it is missing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pipeline.errors.recursion import within

CHANGING = frozenset({"pop", "popleft", "remove", "discard", "popitem", "clear", "append", "add", "extend", "update"})
"""Methods, called as a statement, that bring a loop over a container on."""

HARMLESS = frozenset(
    {"abs", "bool", "chr", "divmod", "enumerate", "float", "int", "isinstance", "len", "list", "max", "min", "ord"}
    | {"pow", "print", "range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "zip", "dict"}
)
"""Builtins that change nothing they are given and end no loop."""

LEAVES = ast.Return | ast.Raise | ast.Yield | ast.YieldFrom | ast.Await | ast.Assert

OPPOSITE: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}


def while_loops(tree: ast.AST) -> list[ast.While]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.While)]


def steps(loop: ast.While) -> list[ast.stmt]:
    """The statements that bring a loop on: they change a name which its condition, or that of a break, looks at."""
    looked_at = names(loop.test).union(*(names(branch.test) for branch in _breaking(loop)))
    return [node for node in within(loop) if isinstance(node, ast.stmt) and _changed(node) & looked_at]


def breaks(loop: ast.While) -> list[ast.stmt]:
    """What to take away so that a break is gone: `if ...: break` as a whole, or the `break` behind other statements."""
    branches = _breaking(loop)
    alone = [branch for branch in branches if len(branch.body) == 1 and not branch.orelse]
    inside = {branch.body[0] for branch in alone}
    return [*alone, *(node for node in _own_breaks(loop) if node not in inside)]


def _breaking(loop: ast.While) -> list[ast.If]:
    own = set(_own_breaks(loop))
    return [node for node in within(loop) if isinstance(node, ast.If) and own & {*node.body, *node.orelse}]


def _own_breaks(loop: ast.While) -> list[ast.Break]:
    """The breaks that leave this loop, not one inside it."""
    return list(_breaks_in(loop.body))


def _breaks_in(body: list[ast.stmt]) -> Iterator[ast.Break]:
    for statement in body:
        if isinstance(statement, ast.Break):
            yield statement
        if isinstance(statement, ast.For | ast.AsyncFor | ast.While):
            yield from _breaks_in(statement.orelse)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                yield from _breaks_in(getattr(statement, block, []))
            for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
                yield from _breaks_in(part.body)


def names(node: ast.AST) -> set[str]:
    """The variables in an expression, without the builtins that it calls."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id not in HARMLESS}


def _changed(statement: ast.stmt) -> set[str]:
    """The names that a simple statement gives another value, or whose container it changes."""
    if isinstance(statement, ast.AugAssign):
        return {_root(statement.target)}
    if isinstance(statement, ast.Assign):
        return {_root(part) for target in statement.targets for part in _parts(target)}
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        if isinstance(called, ast.Attribute) and called.attr in CHANGING:
            return {_root(called.value)}
    return set()


def _parts(target: ast.expr) -> list[ast.expr]:
    return (
        [part for item in target.elts for part in _parts(item)]
        if isinstance(target, ast.Tuple | ast.List)
        else [target]
    )


def _root(node: ast.AST) -> str:
    """`a` of `a.b[0]`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def constant_step(statement: ast.stmt) -> tuple[str, int] | None:
    """The name and the direction of `i += 1` and `i = i - 2`."""
    operator: ast.operator | None = None
    value: ast.expr | None = None
    target: ast.expr | None = None
    if isinstance(statement, ast.AugAssign):
        target, operator, value = statement.target, statement.op, statement.value
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.value, ast.BinOp):
        target, operator, value = statement.targets[0], statement.value.op, statement.value.right
        if not isinstance(target, ast.Name) or names(statement.value.left) != {target.id}:
            return None
    if not isinstance(target, ast.Name) or not isinstance(value, ast.Constant) or type(value.value) is not int:
        return None
    sign = 1 if isinstance(operator, ast.Add) else -1 if isinstance(operator, ast.Sub) else 0
    return (target.id, sign * value.value) if sign * value.value else None


def never_ends(tree: ast.Module) -> ast.While | None:
    """The first loop whose condition stays true once it is: nothing changes it, or every change leads away."""
    tried = {inside for node in ast.walk(tree) if isinstance(node, ast.Try) for inside in ast.walk(node)}
    loops = (loop for loop in while_loops(tree) if loop not in tried)
    return next((loop for loop in sorted(loops, key=lambda loop: loop.lineno) if _is_stuck(loop)), None)


def _is_stuck(loop: ast.While) -> bool:
    inside = [node for statement in loop.body for node in ast.walk(statement)]
    if _own_breaks(loop) or any(isinstance(node, LEAVES | ast.Global | ast.Nonlocal) for node in inside):
        return False
    if not all(_is_harmless(node) for node in [*inside, *ast.walk(loop.test)] if isinstance(node, ast.Call)):
        return False
    looked_at = names(loop.test)
    if isinstance(loop.test, ast.Constant):
        return bool(loop.test.value)
    if any(isinstance(node, ast.NamedExpr) for node in ast.walk(loop.test)) or not looked_at:
        return False
    stored = {node.id for node in inside if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    if looked_at & stored:
        return _leads_away(loop, inside, looked_at & stored)
    return not _may_change(loop, inside)


def _is_harmless(call: ast.Call) -> bool:
    """A builtin that leaves everything as it is, or a method that only lists and texts have."""
    if isinstance(call.func, ast.Name):
        return call.func.id in HARMLESS
    return isinstance(call.func, ast.Attribute) and call.func.attr in CHANGING | {"lower", "upper", "strip", "count"}


def _may_change(loop: ast.While, inside: list[ast.AST]) -> bool:
    """Whether a container may be what the condition looks at, under this name or another, and something changes one."""
    changes = any(isinstance(node, ast.stmt) and _changed(node) for node in inside if not _stores_name(node))
    changes = changes or any(isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) for node in inside)
    return changes and not _compares_numbers(loop.test)


def _compares_numbers(test: ast.expr) -> bool:
    """Whether a condition puts plain names and constants in order: containers are rarely compared so."""
    return (
        isinstance(test, ast.Compare)
        and all(isinstance(side, ast.Name | ast.Constant) for side in (test.left, *test.comparators))
        and all(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in test.ops)
    )


def _stores_name(node: ast.AST) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return all(isinstance(part, ast.Name) for target in targets if target is not None for part in _parts(target))


def _leads_away(loop: ast.While, inside: list[ast.AST], stored: set[str]) -> bool:
    """`while i < n: i -= 1`."""
    away = _away(loop.test, stored)
    found = (constant_step(node) for node in inside if isinstance(node, ast.stmt))
    moves = [step for step in found if step is not None and step[0] in stored]
    stores = [node for node in inside if isinstance(node, ast.Name) and node.id in stored]
    changes = sum(not isinstance(node.ctx, ast.Load) for node in stores)
    return bool(away) and changes == len(moves) and all(direction * away > 0 for _, direction in moves)


def _away(test: ast.expr, stored: set[str]) -> int:
    """The direction in which the one number that changes keeps a comparison true; 0 where none does."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or len(stored) != 1:
        return 0
    sides = (test.left, test.comparators[0])
    on_left, on_right = (isinstance(side, ast.Name) and side.id in stored for side in sides)
    below, above = (isinstance(test.ops[0], kind) for kind in (ast.Lt | ast.LtE, ast.Gt | ast.GtE))
    if on_left == on_right or below == above or not all(isinstance(side, ast.Name | ast.Constant) for side in sides):
        return 0
    return -1 if below == on_left else 1
