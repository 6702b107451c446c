"""Which containers of a program could be worse ones: sets and dictionaries turned to lists, queues popped in front.

All uses of a container are looked at; where one does not allow the change, there is none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from pipeline.errors.answers import Code, functions
from pipeline.errors.imports import import_of, without_name
from pipeline.spans import Edit, edit_at

NAME = "incorrect-data-structure-choice"

READING = frozenset(
    {
        "len",
        "sorted",
        "list",
        "tuple",
        "set",
        "dict",
        "max",
        "min",
        "sum",
        "any",
        "all",
        "str",
        "frozenset",
        "enumerate",
    }
)
"""Builtins that take a container as it is and do not keep it."""

LOOPS = ast.For | ast.AsyncFor | ast.While | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
CONDITIONS = ast.If | ast.While | ast.IfExp | ast.BoolOp | ast.UnaryOp
TIGHT = ast.Name | ast.Constant | ast.Call | ast.Attribute | ast.Subscript | ast.BinOp | ast.Tuple

Use = list[Edit]


class Refused(Exception):
    """A use that does not allow the change."""


class Rewriter:
    """One kind of container in one program: its edits, use by use."""

    def __init__(self, code: Code, scope: ast.AST, made: ast.Assign) -> None:
        self.code, self.made = code, made
        target = made.targets[0]
        assert isinstance(target, ast.Name)
        self.name = target.id
        self.uses = [node for node in ast.walk(scope) if isinstance(node, ast.Name) and node.id == self.name]
        self.telling = 0
        """Uses that become slower: lookups in a loop."""
        value = made.value
        self.grows = isinstance(value, ast.SetComp) or (isinstance(value, ast.Call) and bool(value.args))
        """Whether it holds more than what the program spells out."""

    def edit(self, start: int, end: int, new: str) -> Edit:
        return edit_at(self.code.answer, start, end, new, NAME)

    def parent(self, node: ast.AST) -> ast.AST:
        parent = self.code.parents.get(node)
        if parent is None:  # inside an f-string, where positions are wrong
            raise Refused
        return parent

    def lookup(self, node: ast.AST) -> None:
        while (parent := self.code.parents.get(node)) is not None:
            self.telling += isinstance(parent, LOOPS)
            node = parent

    def wrapped(self, use: ast.Name, converter: str) -> Use:
        """`name` -> `set(name)`, where nobody keeps the container or changes it."""
        parent = self.parent(use)
        if isinstance(parent, ast.Tuple) and isinstance(self.parent(parent), ast.Return):
            parent = self.parent(parent)
        reads = isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id in READING
        plain = isinstance(parent, ast.Return | ast.For | ast.comprehension | ast.Compare | ast.BinOp | CONDITIONS)
        if not reads and not plain:
            raise Refused
        return [self.edit(self.code.start(use), self.code.end(use), f"{converter}({self.name})")]

    def method(self, use: ast.Name) -> tuple[str, ast.Call] | None:
        """The name and the call of `use.method(...)`."""
        attribute = self.parent(use)
        call = self.parent(attribute) if isinstance(attribute, ast.Attribute) else None
        if isinstance(attribute, ast.Attribute) and isinstance(call, ast.Call) and call.func is attribute:
            plain = not call.keywords and not any(isinstance(item, ast.Starred) for item in call.args)
            return (attribute.attr, call) if plain else None
        return None

    def between(self, start: int, end: int, pattern: str) -> None:
        """Refuse where something else than expected stands there: parentheses, comments."""
        if not re.fullmatch(pattern, self.code.answer[start:end]):
            raise Refused

    def is_member_test(self, use: ast.Name) -> bool:
        parent = self.parent(use)
        if not isinstance(parent, ast.Compare) or len(parent.ops) != 1 or parent.comparators[0] is not use:
            return False
        return isinstance(parent.ops[0], ast.In | ast.NotIn)


def rewrites(code: Code) -> Iterator[tuple[Edit, ...]]:
    """Every container that could be a worse one, with all the edits that this takes."""
    for scope in functions(code.tree):
        for node in ast.walk(scope):
            change = _change(node)
            if change is not None and isinstance(node, ast.Assign):
                rewriter = Rewriter(code, scope, node)
                edits = _attempt(rewriter, change) if _is_only_binding(scope, rewriter) else ()
                if edits:
                    yield edits


Change = Callable[[Rewriter], Iterator[Edit]]


def _change(node: ast.AST) -> Change | None:
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
        return None
    value = node.value
    called = _called(value)
    if isinstance(value, ast.Set | ast.SetComp) or called == "set":
        return _set_to_list
    if called == "deque":
        return _deque_to_list
    if called == "dict" or (isinstance(value, ast.Dict) and all(key is not None for key in value.keys)):
        return _dict_to_pairs
    return None


def _called(node: ast.expr) -> str:
    """What is called with at most one plain argument."""
    if not isinstance(node, ast.Call) or node.keywords or len(node.args) > 1:
        return ""
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def _is_only_binding(scope: ast.AST, rewriter: Rewriter) -> bool:
    name = rewriter.name
    stored = sum(not isinstance(use.ctx, ast.Load) for use in rewriter.uses)
    others = any(isinstance(node, ast.arg) and node.arg == name for node in ast.walk(scope))
    declared = any(isinstance(node, ast.Global | ast.Nonlocal) and name in node.names for node in ast.walk(scope))
    return stored == 1 and not others and not declared


def _attempt(rewriter: Rewriter, change: Change) -> tuple[Edit, ...]:
    try:
        edits = sorted(change(rewriter), key=lambda edit: (edit.start, edit.end))
    except Refused:
        return ()
    apart = all(left.end <= right.start for left, right in pairwise(edits))
    distinct = len({(edit.start, edit.end) for edit in edits}) == len(edits)
    return tuple(edits) if apart and distinct and rewriter.telling and rewriter.grows else ()


def _loads(rewriter: Rewriter) -> list[ast.Name]:
    return [use for use in rewriter.uses if isinstance(use.ctx, ast.Load)]


def _set_to_list(rewriter: Rewriter) -> Iterator[Edit]:
    """`set()` -> `[]`, `add` -> `append`; whatever is no lookup sees a set of the list."""
    yield from _list_of(rewriter, rewriter.made.value)
    for use in _loads(rewriter):
        called = rewriter.method(use)
        if rewriter.is_member_test(use):
            rewriter.lookup(use)
        elif called is not None and called[0] == "add" and isinstance(rewriter.parent(called[1]), ast.Expr):
            end = rewriter.code.end(called[1].func)
            rewriter.grows = True
            yield rewriter.edit(end - len("add"), end, "append")
        else:
            yield from rewriter.wrapped(use, "set")


def _list_of(rewriter: Rewriter, value: ast.expr) -> Iterator[Edit]:
    """A set, or a call of `set` or `deque`, as a list."""
    code, start, end = rewriter.code, rewriter.code.start(value), rewriter.code.end(value)
    if not isinstance(value, ast.Call):
        yield rewriter.edit(start, start + 1, "[")
        yield rewriter.edit(end - 1, end, "]")
    elif not value.args:
        yield rewriter.edit(start, end, "[]")
    elif isinstance(value.args[0], ast.List | ast.ListComp):
        yield rewriter.edit(start, end, code.source(value.args[0]))
    else:
        yield rewriter.edit(start, code.end(value.func), "list")


def _deque_to_list(rewriter: Rewriter) -> Iterator[Edit]:
    """`deque()` -> `[]`, `popleft()` -> `pop(0)`; an import that nothing else needs goes, too."""
    yield from _list_of(rewriter, rewriter.made.value)
    for use in _loads(rewriter):
        called = rewriter.method(use)
        rewriter.grows |= called is not None and called[0] in ("append", "extend")
        if called is None or called[0] in ("append", "pop", "extend", "clear", "remove", "count", "index"):
            continue
        end = rewriter.code.end(called[1].func)
        if called[0] == "popleft" and not called[1].args:
            rewriter.lookup(use)
            yield rewriter.edit(end - len("popleft"), rewriter.code.end(called[1]), "pop(0)")
        elif called[0] == "appendleft" and len(called[1].args) == 1:
            first = rewriter.code.start(called[1].args[0])
            rewriter.between(end, first, r"\(\s*")
            yield rewriter.edit(end - len("appendleft"), first, "insert(0, ")
        else:
            raise Refused
    yield from _unneeded_import(rewriter)


def _unneeded_import(rewriter: Rewriter) -> Iterator[Edit]:
    code, value = rewriter.code, rewriter.made.value
    root = value.func if isinstance(value, ast.Call) else value
    name = getattr(root.value, "id", "") if isinstance(root, ast.Attribute) else getattr(root, "id", "")
    used = sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(code.tree))
    found = import_of(code, name)
    if found is None or used != 1:
        return
    place = without_name(code, *found)
    if place is None:
        raise Refused
    yield rewriter.edit(*place, "")


def _dict_to_pairs(rewriter: Rewriter) -> Iterator[Edit]:
    """A list to which pairs are appended and in which the last one with a key counts."""
    code, value = rewriter.code, rewriter.made.value
    if isinstance(value, ast.Call) and value.args:
        raise Refused
    items = zip(value.keys, value.values, strict=True) if isinstance(value, ast.Dict) else ()
    pairs = ", ".join(f"({code.source(key)}, {code.source(item)})" for key, item in items if key is not None)
    yield rewriter.edit(code.start(value), code.end(value), f"[{pairs}]")
    for use in _loads(rewriter):
        parent, called = rewriter.parent(use), rewriter.method(use)
        if rewriter.is_member_test(use):
            assert isinstance(parent, ast.Compare)
            yield from _any_key(rewriter, parent)
        elif isinstance(parent, ast.Subscript) and parent.value is use:
            yield from _subscript(rewriter, parent)
        elif called is not None and called[0] == "get" and called[1].args:
            yield from _get(rewriter, called[1])
        elif called is not None and called[0] in ("items", "keys", "values"):
            yield rewriter.edit(code.start(use), code.end(use), f"dict({rewriter.name})")
        else:
            yield from rewriter.wrapped(use, "dict")


def _search(rewriter: Rewriter, key: ast.expr, node: ast.AST) -> str:
    """`value for key, value in reversed(pairs) if key == k`."""
    rewriter.lookup(node)
    taken = {part.id for part in ast.walk(key) if isinstance(part, ast.Name)}
    if taken & {"key", "value"} or rewriter.name in (*taken, "key", "value") or not isinstance(key, TIGHT):
        raise Refused
    return f"value for key, value in reversed({rewriter.name}) if key == {_key(rewriter, key)}"


def _key(rewriter: Rewriter, key: ast.expr) -> str:
    text = rewriter.code.source(key)
    return f"({text})" if isinstance(key, ast.Tuple) and not text.startswith("(") else text


def _any_key(rewriter: Rewriter, test: ast.Compare) -> Iterator[Edit]:
    """`k in d` -> `any(key == k for key, _ in d)`."""
    rewriter.lookup(test)
    taken = {part.id for part in ast.walk(test.left) if isinstance(part, ast.Name)}
    if "key" in taken or not isinstance(test.left, TIGHT):
        raise Refused
    start, left, end = rewriter.code.start(test), rewriter.code.end(test.left), rewriter.code.end(test)
    is_in = isinstance(test.ops[0], ast.In)
    rewriter.between(left, rewriter.code.start(test.comparators[0]), r"\s+in\s+" if is_in else r"\s+not\s+in\s+")
    yield rewriter.edit(start, start, "any(key == " if is_in else "all(key != ")
    yield rewriter.edit(left, end, f" for key, _ in {rewriter.name})")


def _subscript(rewriter: Rewriter, node: ast.Subscript) -> Iterator[Edit]:
    code, parent = rewriter.code, rewriter.parent(node)
    if isinstance(node.ctx, ast.Load):
        search = _search(rewriter, node.slice, node)
        yield rewriter.edit(code.start(node), code.end(node), f"next({search})")
        return
    added = isinstance(parent, ast.AugAssign) and isinstance(parent.op, ast.Add) and isinstance(parent.value, TIGHT)
    single = isinstance(parent, ast.Assign) and len(parent.targets) == 1
    if not isinstance(parent, ast.Assign | ast.AugAssign) or not (added or single):
        raise Refused
    if isinstance(parent.value, ast.Tuple) and not code.source(parent.value).startswith("("):
        raise Refused
    opening, key, value = code.end(node.value), code.source(node.slice), code.start(parent.value)
    bare = _key(rewriter, node.slice) != key
    rewriter.grows = True
    rewriter.between(opening, code.start(node.slice), r"\[\s*")
    rewriter.between(code.end(node.slice), value, r"\s*\]\s*=\s*" if single else r"\s*\]\s*\+=\s*")
    before = "" if single else f"next({_search(rewriter, node.slice, node)}) + "
    yield rewriter.edit(opening, code.start(node.slice), ".append(((" if bare else ".append((")
    yield rewriter.edit(code.end(node.slice), value, f"{')' if bare else ''}, {before}")
    yield rewriter.edit(code.end(parent.value), code.end(parent.value), "))")


def _get(rewriter: Rewriter, call: ast.Call) -> Iterator[Edit]:
    """`d.get(k, 0)` -> `next((... if key == k), 0)`."""
    code = rewriter.code
    default = code.source(call.args[1]) if len(call.args) > 1 else "None"
    search = _search(rewriter, call.args[0], call)
    yield rewriter.edit(code.start(call), code.end(call), f"next(({search}), {default})")
