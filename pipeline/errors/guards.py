"""Where a program takes care of edge cases: opening guards, `try`, and expressions with a fallback.

Shared by the edge-case type's two halves: sites to edit, and places where a guard is missing.
"""

from __future__ import annotations

import ast
from types import UnionType

from pipeline.errors.answers import functions
from pipeline.errors.recursion import recursions


def opening_guards(tree: ast.Module) -> list[ast.If]:
    """`if ...: return/raise` where a function begins, and `if ...: continue` where a loop does, in order of position.

    In a function that calls itself, or is called back, such a branch is a base case, which is another type's.
    """
    found: list[ast.If] = []
    circular = {recursion.function for recursion in recursions(tree)}
    for function in functions(tree):
        if function not in circular and not _calls_itself(function):
            found += _leading(function.body, ast.Return | ast.Raise)
            for node in ast.walk(function):
                if isinstance(node, ast.For | ast.While):
                    found += _leading(node.body, ast.Continue)
    unique = {id(guard): guard for guard in found}
    return sorted(unique.values(), key=lambda guard: guard.lineno)


def _calls_itself(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    names = {getattr(called, "id", getattr(called, "attr", "")) for called in calls}
    return function.name in names


def _leading(body: list[ast.stmt], ending: type[ast.stmt] | UnionType) -> list[ast.If]:
    """The guards before the first statement that does the work; plain assignments may stand between them."""
    guards = []
    for statement in body[:-1]:  # a guard that is all of a body guards nothing
        if isinstance(statement, ast.If) and not statement.orelse and isinstance(statement.body[-1], ending):
            if len(statement.body) <= 2:
                guards.append(statement)
        elif not is_docstring(statement) and not isinstance(statement, ast.Assign | ast.Import | ast.ImportFrom):
            break
    return guards


def is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def is_plain(node: ast.expr) -> bool:
    """A fallback value: a literal, or an empty or literal container."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return isinstance(node, ast.Call) and not node.args and not node.keywords and isinstance(node.func, ast.Name)
    return True


def fallback(node: ast.AST) -> ast.expr | None:
    """`x` of `x or default` and of `x if ... else default`: what remains without the guard."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
        return node.values[0] if is_plain(node.values[1]) else None
    if isinstance(node, ast.IfExp) and is_plain(node.orelse):
        return node.body
    return None


def looked_up(node: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """`d` and `k` of `d.get(k)` and `d.get(k, default)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "get":
        return None
    if not 1 <= len(node.args) <= 2 or node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
        return None
    return node.func.value, node.args[0]


def default_keyword(node: ast.AST) -> ast.keyword | None:
    """`default=...` of `max`, `min` and their like, where something stands before it."""
    if isinstance(node, ast.Call) and node.args and node.keywords and node.keywords[-1].arg == "default":
        return node.keywords[-1]
    return None


def plain_try(statement: ast.AST) -> ast.Try | None:
    """A `try` with handlers and nothing else, which its body can stand in for."""
    if isinstance(statement, ast.Try) and statement.handlers and not statement.orelse and not statement.finalbody:
        return statement
    return None
