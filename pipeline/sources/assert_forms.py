"""What an assert about a function says, taken apart: the call to make, the values in it, and what is expected.

A part that does not call the candidate is a *piece*: it is evaluated where the checks run. What is left is the asserted
side with gaps for its pieces. A result that the checks keep under a name counts as the call that gave it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.sandbox import values

Form = Callable[[Sequence[Any]], Any]
"""What a test expects, of the values of the expected pieces."""

NOTE, KEEP = "kintsugi_note", "kintsugi_copy"
GAP, KEPT = "kintsugi_gap_", "kintsugi_kept_"
CALLED = "kintsugi_called"
"""What is asserted calls this until the call is made."""
BUILTINS = frozenset(dir(builtins))

_UNTOLD = (
    ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.NamedExpr, ast.JoinedStr, ast.Await,
    ast.Yield, ast.YieldFrom,
)  # fmt: skip
"""Where a call within is made how often, or with what, shows only when it is made."""

_COMPUTED = (ast.Compare, ast.BinOp, ast.BoolOp, ast.IfExp)


class Cannot(ValueError):
    """An assert that cannot be told as a call and what it gives, and why."""


@dataclass(frozen=True)
class Site:
    """One assert: the asserted side with gaps, its pieces in order and then the expected ones."""

    asserted: ast.expr
    pieces: tuple[ast.expr, ...]
    pieces_of_call: int
    expected: Form

    def call(self, function: str, fillings: dict[int, ast.expr]) -> str:
        """The asserted side, with its gaps filled, about `function`."""
        filled = {f"{GAP}{number}": filling for number, filling in fillings.items()}
        return ast.unparse(replaced(self.asserted, {CALLED: ast.Name(function, ast.Load()), **filled}))


class Opener:
    """Takes apart what is asserted about `candidate`, which the answer calls `function`.

    `inside` are the names that the checks give values to, `of_answer` those that the answer's program has, and
    `imported` the modules and members that either of them imports.
    """

    def __init__(
        self, candidate: str, function: str, reference: Sequence[ast.stmt], checks: Sequence[ast.stmt]
    ) -> None:
        self.candidate = candidate
        self.imported = _imports([*reference, *checks])
        self.of_answer = _stored(reference) | {function}
        self.inside = (_stored(checks) | {candidate}) - self.imported.keys()
        self.results: dict[str, ast.expr | None] = {}
        """Names that hold a result: the call that gave it, or None where that depends on the way taken."""

    def involves(self, *nodes: ast.AST) -> bool:
        """Whether the candidate or a result of it is in them."""
        names = self.results.keys() | {self.candidate, CALLED}
        return any(isinstance(part, ast.Name) and part.id in names for node in nodes for part in ast.walk(node))

    def opened(self, node: ast.expr, pieces: list[ast.expr]) -> ast.expr:
        """The expression with gaps in place of its pieces, which are appended."""
        if isinstance(node, ast.Starred | ast.Slice):
            return self._within(node, pieces)
        if not self.involves(node):
            pieces.append(node)
            return ast.Name(f"{GAP}{len(pieces) - 1}", ast.Load())
        if isinstance(node, _UNTOLD):
            raise Cannot("it calls the function in a comprehension or the like")
        if isinstance(node, ast.Name):
            return self._result(node, pieces)
        if isinstance(node, ast.Call):
            arguments = [self.opened(argument, pieces) for argument in node.args]
            keywords = [ast.keyword(given.arg, self.opened(given.value, pieces)) for given in node.keywords]
            return ast.Call(self._called(node.func, pieces), arguments, keywords)
        return self._within(node, pieces)

    def _result(self, node: ast.Name, pieces: list[ast.expr]) -> ast.expr:
        call = self.results.get(node.id)
        if call is None:
            raise Cannot(f"what {node.id!r} stands for is no single call")
        return self.opened(call, pieces)

    def _within(self, node: ast.expr, pieces: list[ast.expr]) -> ast.expr:
        fields: dict[str, Any] = {}
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                fields[name] = self.opened(value, pieces)
            elif isinstance(value, list):
                fields[name] = [self.opened(item, pieces) if isinstance(item, ast.expr) else item for item in value]
            else:
                fields[name] = value
        return type(node)(**fields)

    def _called(self, node: ast.expr, pieces: list[ast.expr]) -> ast.expr:
        """What is called, as the answer's program may call it."""
        if isinstance(node, ast.Name) and node.id in (self.candidate, CALLED):
            return ast.Name(CALLED, ast.Load())
        if not self.involves(node) and (self.member(node) or isinstance(node, ast.Name)):
            return self.free(node)
        if isinstance(node, ast.Attribute):
            return ast.Attribute(self.opened(node.value, pieces), node.attr, ast.Load())
        raise Cannot(f"it calls {ast.unparse(node)!r}")

    def member(self, node: ast.expr) -> str:
        """The full name of an imported module's member, or nothing."""
        if isinstance(node, ast.Name):
            return ".".join(filter(None, self.imported.get(node.id, ())))
        if isinstance(node, ast.Attribute) and (module := self.member(node.value)):
            return f"{module}.{node.attr}"
        return ""

    def free(self, node: ast.expr) -> ast.expr:
        """A piece as the answer's program can evaluate it: of its own names, builtin ones and imports alone."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id not in self.imported:
                known = part.id in self.of_answer or part.id in BUILTINS
                if part.id in self.inside or part.id.startswith(KEPT) or not known:
                    raise Cannot(f"the value of {ast.unparse(node)!r} is neither JSON nor a Python literal")
        return replaced(node, {name: _import(*place) for name, place in self.imported.items()})

    def site(self, asserted: ast.expr, expected: Sequence[ast.expr], form: Form) -> Site:
        pieces: list[ast.expr] = []
        opened = self.opened(asserted, pieces)
        if self.involves(*expected):
            raise Cannot("it holds two calls of the function against each other")
        return Site(opened, (*pieces, *expected), len(pieces), form)

    def sites(self, test: ast.expr) -> list[Site]:
        """What an assert's condition says; nothing where it says nothing about the candidate."""
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return [site for part in test.values for site in self.sites(part)]
        if not self.involves(test):
            return []
        if isinstance(test, ast.Compare):
            if len(test.ops) > 1:
                raise Cannot("it compares several values in a row")
            return [self._comparison(test.left, test.ops[0], test.comparators[0])]
        if isinstance(test, ast.Call) and self.member(test.func) == "math.isclose":
            return [self._is_close(test)]
        is_not = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        return [self._truth(test.operand if is_not and isinstance(test, ast.UnaryOp) else test, not is_not)]

    def _comparison(self, left: ast.expr, how: ast.cmpop, right: ast.expr) -> Site:
        if isinstance(how, ast.Gt | ast.GtE):
            left, how, right = right, ast.Lt() if isinstance(how, ast.Gt) else ast.LtE(), left
        if isinstance(how, ast.Lt | ast.LtE):
            return self._distance(left, right, strict=isinstance(how, ast.Lt))
        if not self.involves(left):
            left, right = right, left
        if isinstance(how, ast.Eq):
            return self.site(left, [right], lambda found: _equal(found[0]))
        if isinstance(how, ast.Is) and isinstance(right, ast.Constant) and right.value in (None, True, False):
            return self.site(left, [right], lambda found: found[0])
        raise Cannot("it compares in a way that is no equality")

    def _distance(self, left: ast.expr, most: ast.expr, strict: bool) -> Site:
        """``abs(asserted - expected) < most``."""
        is_call = isinstance(left, ast.Call) and len(left.args) == 1 and not left.keywords
        if not (is_call and isinstance(left, ast.Call) and self._is_absolute(left.func)):
            raise Cannot("it compares in a way that is no equality")
        asserted = left.args[0]
        value: ast.expr = ast.Constant(0)
        if isinstance(asserted, ast.BinOp) and isinstance(asserted.op, ast.Sub):
            sides = asserted.left, asserted.right
            asserted, value = sides if self.involves(sides[0]) else sides[::-1]
        elif not isinstance(asserted, ast.Call | ast.Name):
            raise Cannot("it computes with what the function gives")
        if strict:
            return self.site(asserted, [value, most], lambda found: values.below(*map(_number, found)))
        return self.site(
            asserted, [value, most], lambda found: values.near(_number(found[0]), relative=0, within=_number(found[1]))
        )

    def _is_absolute(self, node: ast.expr) -> bool:
        plain = isinstance(node, ast.Name) and node.id == "abs" and "abs" not in self.inside | self.of_answer
        return plain or self.member(node) == "math.fabs"

    def _is_close(self, test: ast.Call) -> Site:
        tolerances = {given.arg: given.value for given in test.keywords}
        if len(test.args) != 2 or not tolerances.keys() <= {"rel_tol", "abs_tol"}:
            raise Cannot("it calls isclose in another way")
        left, right = test.args if self.involves(test.args[0]) else test.args[::-1]
        expected = [right, tolerances.get("rel_tol", ast.Constant(1e-9)), tolerances.get("abs_tol", ast.Constant(0))]
        return self.site(left, expected, _close)

    def _truth(self, asserted: ast.expr, expected: bool) -> Site:
        if any(isinstance(part, _COMPUTED) for part in ast.walk(asserted)):
            raise Cannot("it compares in a way that is no equality")
        called = ast.Call(ast.Name("bool", ast.Load()), [asserted], [])
        return self.site(called, [], lambda _: expected)


def _close(found: Sequence[Any]) -> Any:
    value, relative, within = map(_number, found)
    return values.near(value, relative=relative, within=within)


def _equal(value: Any) -> Any:
    """Texts and None are equal to nothing else, so JSON says it all."""
    return value if value is None or type(value) is str else values.equals(value)


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise Cannot("it asks for a distance from what is no number")
    return value


def _stored(statements: Iterable[ast.stmt]) -> frozenset[str]:
    """Every name that is given a value in them, at whatever level."""
    found = set()
    for part in (part for statement in statements for part in ast.walk(statement)):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(part.name)
    return frozenset(found)


def _imports(statements: Iterable[ast.stmt]) -> dict[str, tuple[str, str]]:
    """Imported names: the module, and the member where it is one."""
    found: dict[str, tuple[str, str]] = {}
    for part in (part for statement in statements for part in ast.walk(statement)):
        if isinstance(part, ast.Import):
            for name in part.names:
                found[name.asname or name.name.partition(".")[0]] = (
                    name.name if name.asname else name.name.partition(".")[0],
                    "",
                )
        elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
            found |= {name.asname or name.name: (part.module, name.name) for name in part.names if name.name != "*"}
    return found


def _import(module: str, member: str) -> ast.expr:
    """A module or its member without an import statement."""
    text = f"__import__('importlib').import_module({module!r}){'.' * bool(member)}{member}"
    return ast.parse(text, mode="eval").body


class _Replacer(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.names.get(node.id, node)


def replaced(node: ast.expr, names: dict[str, ast.expr]) -> ast.expr:
    """The expression with others in the place of names; the given one stays as it is."""
    copied = ast.parse(ast.unparse(node), mode="eval").body
    replaced = _Replacer(names).visit(copied)
    assert isinstance(replaced, ast.expr)
    return replaced
