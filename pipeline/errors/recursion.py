"""Which functions of a program call themselves, alone or in a circle with others, and how they come to an end.

Shared by the base-case type's two halves: sites to edit, and places where a base case is another one or missing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors.answers import functions

Function = ast.FunctionDef | ast.AsyncFunctionDef
Nested = Function | ast.ClassDef | ast.Lambda
Names = Mapping[str, Function | None]
"""What the names of one scope stand for: a function, or None where it is, or may be, something else."""


@dataclass(frozen=True, slots=True)
class Recursion:
    """A function that comes back to itself, and its calls that lead back: its own, or those of others in the circle."""

    function: Function
    circle: frozenset[Function]
    calls: frozenset[ast.Call]

    def returns_to_itself(self, *nodes: ast.AST | None) -> bool:
        """Whether any of the nodes holds such a call."""
        return any(call in self.calls for node in nodes if node is not None for call in ast.walk(node))


@dataclass(frozen=True, slots=True)
class BaseCase:
    """One way out of a recursion, with the test that decides on it and the value it gives.

    `body`: of an `if`, or of a conditional expression; `orelse`: its other side; `after`: the `return` that is
    left once an `if` has gone on recursing.
    """

    side: Literal["body", "orelse", "after"]
    branch: ast.If | ast.IfExp | ast.Return
    test: ast.expr
    value: ast.expr | None


def recursions(tree: ast.Module) -> list[Recursion]:
    """The functions that call themselves, in order of position."""
    calls: dict[Function, list[tuple[ast.Call, Function]]] = {}
    _collect(tree, _Place(scopes=(_names(tree),)), calls)
    reach = {function: _reached(function, calls) for function in calls}
    found = []
    for function in functions(tree):
        circle = frozenset(other for other in reach.get(function, ()) if function in reach.get(other, ()))
        if function in circle:
            back = frozenset(call for call, called in calls[function] if called in circle)
            found.append(Recursion(function, circle, back))
    return found


@dataclass(frozen=True)
class _Place:
    """Where a node stands: its function, the scopes around it, and the methods that `self` and the class give."""

    scopes: tuple[Names, ...]
    function: Function | None = None
    owners: frozenset[str] = frozenset()
    methods: Names = field(default_factory=dict)
    in_class: str = ""


def _collect(node: ast.AST, place: _Place, calls: dict[Function, list[tuple[ast.Call, Function]]]) -> None:
    if isinstance(node, ast.Call) and place.function is not None:
        called = _called(node.func, place)
        if called is not None:
            calls.setdefault(place.function, []).append((node, called))
    inner = _entered(node, place)
    for child in ast.iter_child_nodes(node):
        _collect(child, inner, calls)


def _entered(node: ast.AST, place: _Place) -> _Place:
    if isinstance(node, ast.ClassDef):
        return _Place(place.scopes, place.function, frozenset({node.name}), _names(node), node.name)
    if not isinstance(node, Function):
        return place
    owners = place.owners
    if place.in_class and node.args.args and not _is_static(node):
        owners |= {node.args.args[0].arg}
    return _Place((*place.scopes, _names(node)), node, owners, place.methods)


def _is_static(method: Function) -> bool:
    return any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in method.decorator_list)


def _called(target: ast.expr, place: _Place) -> Function | None:
    """The function that a call means: by name as Python looks names up, or a method through `self` or the class."""
    if isinstance(target, ast.Name):
        scope = next((names for names in reversed(place.scopes) if target.id in names), {})
        return scope.get(target.id)
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in place.owners:
        return place.methods.get(target.attr)
    return None


def _names(scope: ast.Module | ast.ClassDef | Function) -> Names:
    """The names that a scope binds. One that is bound twice stands for nothing certain."""
    names: dict[str, Function | None] = {}
    if isinstance(scope, Function):
        names = {node.arg: None for node in ast.walk(scope.args) if isinstance(node, ast.arg)}
    for node in within(scope):
        if isinstance(node, Function):
            names[node.name] = None if node.name in names else node
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] = None
    return names


def within(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without the insides of the functions and classes in it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, Nested):
            yield from within(child)


def _reached(start: Function, calls: Mapping[Function, Sequence[tuple[ast.Call, Function]]]) -> set[Function]:
    reached: set[Function] = set()
    waiting = [start]
    while waiting:
        for _, called in calls.get(waiting.pop(), ()):
            if called not in reached:
                reached.add(called)
                waiting.append(called)
    return reached


def base_cases(recursion: Recursion) -> list[BaseCase]:
    """The returning branches without a call back, in order of position. Looking up a memo is none."""
    return list(_in_statements(recursion, recursion.function.body))


def _in_statements(recursion: Recursion, body: Sequence[ast.stmt]) -> Iterator[BaseCase]:
    for index, statement in enumerate(body):
        if isinstance(statement, Function | ast.ClassDef):
            continue
        if isinstance(statement, ast.If):
            yield from _in_if(recursion, statement, body[index + 1 : index + 2])
        if isinstance(statement, ast.Return):
            yield from _in_expression(recursion, statement.value)
        for name in ("body", "orelse", "finalbody"):
            yield from _in_statements(recursion, getattr(statement, name, []))


def _in_if(recursion: Recursion, statement: ast.If, after: Sequence[ast.stmt]) -> Iterator[BaseCase]:
    goes_on = recursion.returns_to_itself(*statement.body)
    last = statement.body[-1]
    if recursion.returns_to_itself(statement.test):
        return
    if not goes_on and isinstance(last, ast.Return):
        if not _is_lookup(statement.test, last.value):
            yield BaseCase("body", statement, statement.test, last.value)
    elif goes_on and (leaves := _exit(recursion, statement.orelse)):
        yield BaseCase("orelse", leaves, statement.test, leaves.value)
    elif goes_on and isinstance(last, ast.Return) and not statement.orelse and (leaves := _exit(recursion, after)):
        yield BaseCase("after", leaves, statement.test, leaves.value)


def _exit(recursion: Recursion, statements: Sequence[ast.stmt]) -> ast.Return | None:
    """A lone `return` that does not come back."""
    match statements:
        case [ast.Return() as lone] if not recursion.returns_to_itself(lone):
            return lone
    return None


def _in_expression(recursion: Recursion, value: ast.expr | None) -> Iterator[BaseCase]:
    """`1 if n < 2 else n * f(n - 1)`, either way round; several may stand in a row."""
    if not isinstance(value, ast.IfExp) or recursion.returns_to_itself(value.test):
        return
    sides = recursion.returns_to_itself(value.body), recursion.returns_to_itself(value.orelse)
    if sides == (False, True):
        yield BaseCase("body", value, value.test, value.body)
        yield from _in_expression(recursion, value.orelse)
    elif sides == (True, False):
        yield BaseCase("orelse", value, value.test, value.orelse)


def _is_lookup(test: ast.expr, value: ast.expr | None) -> bool:
    """`if n in memo: return memo[n]`."""
    looked_up = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.In)
    return looked_up and isinstance(value, ast.Subscript)


class Exits:
    """All base cases of a program, by node: what they test, what they give, and what is left where one is gone."""

    def __init__(self, tree: ast.Module) -> None:
        cases = [case for recursion in recursions(tree) for case in base_cases(recursion)]
        self.tests = {node for case in cases for node in ast.walk(case.test)}
        self.values = {node for case in cases if case.value is not None for node in ast.walk(case.value)}
        self.branches: dict[ast.AST, list[ast.stmt]] = {}
        self.sides: dict[ast.AST, ast.expr] = {}
        for case in cases:
            branch, is_body = case.branch, case.side == "body"
            if isinstance(branch, ast.IfExp):
                self.sides[branch] = branch.orelse if is_body else branch.body
            else:
                self.branches[branch] = branch.orelse if isinstance(branch, ast.If) and is_body else []

    def __contains__(self, node: ast.AST) -> bool:
        return any(node in part for part in (self.tests, self.values, self.branches, self.sides))
