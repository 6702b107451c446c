"""Rewrites of an answer that keep its meaning: what a recogniser finds in one of them is a false alarm.

Each is small and splices the text, as errors do. Where nothing in an answer can be rewritten safely there is none.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from pipeline import spans
from pipeline.errors.answers import Code, code_of, functions, has_long_string
from pipeline.spans import Edit, edit_at

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_OTHER_SCOPES = (*_SCOPES, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Global, ast.Nonlocal)
_LOOKS_AT_NAMES = frozenset({"locals", "vars", "eval", "exec", "dir", "globals"})
_QUOTED = re.compile(r"'[^'\"\\\r\n]*'|\"[^'\"\\\r\n]*\"")


def rewrites(response: str) -> dict[str, str]:
    """The rewritten answers by the name of what was done, those that differ from the answer."""
    code = code_of(response)
    if code is None:
        return {}
    made = {name: spans.apply(list(rewrite(code)), response) for name, rewrite in REWRITES.items()}
    return {name: text for name, text in made.items() if text != response}


def renamed(code: Code) -> Iterator[Edit]:
    """Local variables by other names, in functions without inner scopes.

    Only names that stand nowhere else in the answer: prose, comments and strings would have to follow.
    """
    words = Counter(re.findall(r"\w+", code.answer))
    for function in functions(code.tree):
        inner = [node for statement in function.body for node in ast.walk(statement)]
        if any(isinstance(node, (*_OTHER_SCOPES, ast.JoinedStr)) for node in inner) or _reads_names(inner):
            continue
        names = [node for node in inner if isinstance(node, ast.Name)]
        for name in dict.fromkeys(node.id for node in names if isinstance(node.ctx, ast.Store)):
            places = [node for node in names if node.id == name]
            if len(places) == words[name] and not _is_known(name):
                new = _free(name, words)
                yield from (edit_at(code.answer, code.start(node), code.end(node), new) for node in places)


def _reads_names(nodes: list[ast.AST]) -> bool:
    return any(isinstance(node, ast.Name) and node.id in _LOOKS_AT_NAMES for node in nodes)


def _is_known(name: str) -> bool:
    return hasattr(builtins, name) or name.startswith("_")


def _free(name: str, words: Counter[str]) -> str:
    """A name that stands nowhere in the answer, made of the old one."""
    candidates = (f"{name}_value", *(f"{name}_value_{number}" for number in range(2, 99)))
    return next(one for one in candidates if one not in words and not keyword.iskeyword(one))


def reordered(code: Code) -> Iterator[Edit]:
    """Neighbouring assignments the other way round, where one of them sets a local name to a constant.

    A constant cannot fail and has no effect, so nothing can tell in which order the two came.
    """
    for function in functions(code.tree):
        if any(isinstance(node, (*_SCOPES, ast.Global, ast.Nonlocal)) for node in _inside(function)):
            continue
        for body in _bodies(function):
            yield from _swaps(code, body)


def _inside(function: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(function) if node is not function)


def _bodies(function: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and not isinstance(node, ast.Try):
                yield body


def _swaps(code: Code, body: list[ast.stmt]) -> Iterator[Edit]:
    """Each statement takes part in one swap at most."""
    done = -1
    for index, (first, second) in enumerate(pairwise(body)):
        if index <= done or not _independent(first, second):
            continue
        if has_long_string(first, second) or None in (code.whole_lines(first), code.whole_lines(second)):
            continue
        for one, other in ((first, second), (second, first)):
            yield edit_at(code.answer, code.start(one), code.end(one), code.source(other))
        done = index + 1


def _independent(first: ast.stmt, second: ast.stmt) -> bool:
    one, other = _target(first), _target(second)
    if one is None or other is None or one == other:
        return False
    if not (_is_constant(first) or _is_constant(second)):
        return False
    return one not in _names(second) and other not in _names(first)


def _target(statement: ast.stmt) -> str | None:
    """The one name that an assignment sets."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        stops = (ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)
        return None if any(isinstance(node, stops) for node in ast.walk(statement)) else statement.targets[0].id
    return None


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)


def _names(statement: ast.stmt) -> set[str]:
    """The names that the assigned value reads."""
    assert isinstance(statement, ast.Assign)
    return {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}


def reformatted(code: Code) -> Iterator[Edit]:
    """The other quotes around plain strings, and parentheses around what is returned."""
    for node in code.nodes:
        if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Tuple):
            start, end = code.start(node.value), code.end(node.value)
            if code.answer[start:end].isascii() and not any(isinstance(p, ast.JoinedStr) for p in ast.walk(node)):
                yield edit_at(code.answer, start, start, "(")
                yield edit_at(code.answer, end, end, ")")
        elif isinstance(node, ast.Constant) and _QUOTED.fullmatch(code.source(node)):
            yield from _requoted(code, node)


def _requoted(code: Code, node: ast.Constant) -> Iterator[Edit]:
    start, end = code.start(node), code.end(node)
    new = "'" if code.answer[start] == '"' else '"'
    yield edit_at(code.answer, start, start + 1, new)
    yield edit_at(code.answer, end - 1, end, new)


REWRITES: dict[str, Callable[[Code], Iterator[Edit]]] = {
    "renamed": renamed,
    "reordered": reordered,
    "reformatted": reformatted,
}
