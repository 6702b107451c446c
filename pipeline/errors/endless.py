"""Which recursive functions can never stop: every path through them comes back before it can leave."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from pipeline.errors.recursion import Function, Recursion, recursions, within

KNOWN = frozenset({"cache", "lru_cache", "staticmethod", "classmethod"})
"""Decorators that leave the path through a function as it is."""

ENDS = frozenset({"exit", "quit", "_exit", "abort"})
LEAVES = ast.Return | ast.Raise | ast.Break | ast.Continue | ast.Assert | ast.Try


def endless(tree: ast.Module) -> Function | None:
    """A function without any base case: all of its circle come back on every path through them."""
    found = recursions(tree)
    for recursion in found:
        circle = [other for other in found if other.function in recursion.circle]
        if all(_can_judge(other.function) and _always(other, other.function.body) for other in circle):
            return recursion.function
    return None


def _can_judge(function: Function) -> bool:
    """Calling a generator or a coroutine runs nothing yet, and an unknown decorator may end what the body does not."""
    known = all(_name(item.func if isinstance(item, ast.Call) else item) in KNOWN for item in function.decorator_list)
    lazy = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in within(function))
    return known and not lazy and isinstance(function, ast.FunctionDef)


def _name(node: ast.expr) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _always(recursion: Recursion, body: Sequence[ast.stmt]) -> bool:
    """Whether every path through the statements makes a call back before it can leave."""
    for statement in body:
        if isinstance(statement, Function | ast.ClassDef):
            continue
        if any(node in recursion.calls for part in _always_evaluated(statement) for node in _unconditional(part)):
            return True
        if (
            isinstance(statement, ast.If)
            and _always(recursion, statement.body)
            and _always(recursion, statement.orelse)
        ):
            return True
        if isinstance(statement, ast.With) and _always(recursion, statement.body):
            return True
        if _may_leave(statement):
            return False
    return False


def _may_leave(statement: ast.stmt) -> bool:
    nodes = [statement, *within(statement)]
    return any(isinstance(node, LEAVES) or (isinstance(node, ast.Call) and _name(node.func) in ENDS) for node in nodes)


def _always_evaluated(statement: ast.stmt) -> list[ast.AST]:
    """The parts of a statement that are evaluated whenever it is reached."""
    if isinstance(statement, ast.If | ast.While):
        return [statement.test]
    if isinstance(statement, ast.For | ast.AsyncFor):
        return [statement.iter]
    if isinstance(statement, ast.With | ast.AsyncWith):
        return [item.context_expr for item in statement.items]
    if isinstance(statement, ast.Match):
        return [statement.subject]
    return [] if isinstance(statement, ast.Try | ast.Assert) else [statement]


def _unconditional(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions in it that nothing can skip: no sides of `and`, `or` and `if`, no comprehensions, no lambdas."""
    yield node
    if isinstance(node, ast.BoolOp):
        children: list[ast.AST] = [node.values[0]]
    elif isinstance(node, ast.IfExp):
        children = [node.test]
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        children = [node.generators[0].iter]
    elif isinstance(node, ast.Compare):
        children = [node.left, node.comparators[0]]
    else:
        children = [] if isinstance(node, ast.Lambda) else list(ast.iter_child_nodes(node))
    for child in children:
        yield from _unconditional(child)
