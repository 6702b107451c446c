"""How fast the work of a program grows: the same calls on inputs of two sizes, and what they cost.

Cost is counted, not timed, so that it is the same on every machine: one for each line that is executed (a loop on one
line counts once a round), and what containers do inside C by their published complexity: `x in a list` costs the
comparisons it makes, `pop(i)`, `insert`, `remove`, `index` and `count` of a list its length; sets, dictionaries and
deques cost nothing beyond the line. What converting a container costs is left out, in favour of the worse program.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors.base import Execute
from pipeline.records import FunctionTest
from pipeline.sandbox.run import Outcome
from pipeline.sandbox.values import same_json

SMALL, LARGE = 24, 96
"""Elements of the two inputs: linear work grows fourfold, quadratic sixteenfold."""
FASTER = 1.5
"""How many times as fast the worse program's work must grow."""
CALLS = 3
"""Tests whose inputs are made larger."""

SCANNING = frozenset({"pop", "insert", "remove", "index", "count"})
"""Methods of lists that look at, or move, all elements when they are given an argument."""

COUNTER = """
import sys as _kw_sys
_kw_work = [0]
_kw_list, _kw_tuple = [].__class__, ().__class__

def _kw_in(item, box):
    if box.__class__ is not _kw_list and box.__class__ is not _kw_tuple:
        return item in box
    for other in box:
        _kw_work[0] += 1
        if other is item or other == item:
            return True
    return False

def _kw_scan(box):
    if box.__class__ is _kw_list:
        _kw_work[0] += box.__len__()
    return box

def _kw_trace(frame, event, _):
    if frame.f_code.co_name.startswith("_kw_"):
        return None
    _kw_work[0] += event == "line"
    return _kw_trace

def kintsugi_work(name, arguments):
    function = globals()[name]
    _kw_work[0] = 0
    _kw_sys.settrace(_kw_trace)
    try:
        value = function(*arguments)
    finally:
        _kw_sys.settrace(None)
    return [value, _kw_work[0]]
"""


@dataclass(frozen=True, slots=True)
class Growth:
    """How many times more work the larger input takes, of either program; `is_more`: it takes the bad one more."""

    good: float
    bad: float
    is_more: bool

    @property
    def is_faster(self) -> bool:
        return self.is_more and self.bad >= FASTER * self.good


def compare_growth(good: str, bad: str, tests: Sequence[FunctionTest], execute: Execute) -> Growth | str:
    """The clearest growth of the worse program; a text says why there is none to compare."""
    calls = [call for test in _spread(tests) for call in _scaled(test)]
    left, right = (execute(counted(program), calls) for program in (good, bad))
    found = []
    pairs = list(zip(left.outcomes, right.outcomes, strict=False))
    for index in range(0, len(pairs) - 1, 2):
        small, large = pairs[index : index + 2]
        if not all(_is_same(*pair) for pair in (small, large)):
            return "the results differ on larger inputs"
        works = [_work(outcome) for outcome in (*small, *large)]
        if None not in works:
            a, b, c, d = (float(work or 1) for work in works)
            found.append(Growth(c / a, d / b, d > c))
    order = sorted(found, key=lambda growth: (growth.is_more, growth.bad / growth.good))
    return order[-1] if order else "no input could be made larger"


def counted(program: str) -> str:
    """The program with what it does inside containers counted, and a function that calls one of its own."""
    tree = _Counted().visit(ast.parse(program))
    future = [item for item in tree.body if isinstance(item, ast.ImportFrom) and item.module == "__future__"]
    rest = [item for item in tree.body if item not in future]
    return ast.unparse(ast.fix_missing_locations(ast.Module([*future, *ast.parse(COUNTER).body, *rest], [])))


class _Counted(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.In | ast.NotIn):
            return node
        call = ast.Call(ast.Name("_kw_in", ast.Load()), [node.left, node.comparators[0]], [])
        return ast.UnaryOp(ast.Not(), call) if isinstance(node.ops[0], ast.NotIn) else call

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.args and node.func.attr in SCANNING:
            node.func.value = ast.Call(ast.Name("_kw_scan", ast.Load()), [node.func.value], [])
        return node


def _is_same(left: Outcome, right: Outcome) -> bool:
    """Whether both gave the same value, or raised the same."""
    if left.value is None or right.value is None:
        return left.value is right.value and left.raised == right.raised
    return same_json(*(json.dumps(json.loads(outcome.value or "")[0]) for outcome in (left, right)))


def _work(outcome: Outcome) -> int | None:
    return int(json.loads(outcome.value)[1]) if outcome.value is not None else None


def _spread(tests: Sequence[FunctionTest]) -> list[FunctionTest]:
    """The tests with the longest arguments, of every function one first."""
    ordered = sorted(
        (test for test in tests if not test.raises and test.function.isidentifier()),
        key=lambda test: -len(test.arguments),
    )
    first = {test.function: test for test in reversed(ordered)}
    return list(dict.fromkeys([*first.values(), *ordered]))[:CALLS]


def _scaled(test: FunctionTest) -> Iterator[FunctionTest]:
    """The call in several ways, each with a small and a large input."""
    arguments = json.loads(test.arguments)
    made: list[list[list[Any]]] = []
    for distinct in (True, False):
        for number in (None, 1, -(10**9)):
            pair = [[_grown(value, size, distinct, number) for value in arguments] for size in (SMALL, LARGE)]
            if pair[0] != pair[1] and pair not in made:
                made.append(pair)
    for pair in made:
        yield from (FunctionTest.of("kintsugi_work", test.function, given) for given in pair)


def _grown(value: Any, size: int, distinct: bool, number: int | None) -> Any:
    """A value of `size` elements. A number stays, or is the size itself, or one that is never met."""
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if number is None else size if number == 1 else number
    if isinstance(value, str):
        if distinct:
            return "".join(chr(0x4E00 + index) for index in range(size)) if len(value) > 1 else value
        return (value * size)[:size] if len(value) > 1 else value
    if isinstance(value, list):
        return (
            [_distinct(value, index) if distinct else value[index % len(value)] for index in range(size)]
            if value
            else value
        )
    return _wide(value, size)


def _distinct(values: list[Any], index: int) -> Any:
    like = values[index % len(values)]
    if isinstance(like, bool | None):
        return like
    if isinstance(like, int | float):
        return type(like)(index + 1)
    if isinstance(like, str):
        return f"w{index}"
    if isinstance(like, list):
        return [_distinct(like, index + offset) for offset in range(len(like))] if like else like
    return like


def _wide(table: dict[str, Any], size: int) -> dict[str, Any]:
    """More keys; in a graph every node that was there leads to all the new ones."""
    added = [f"w{index}" for index in range(size)]
    like = next(iter(table.values()), 0)
    if isinstance(like, list):
        return {**{key: [*near, *added] for key, near in table.items()}, **{key: [] for key in added}}
    return {**table, **{key: _distinct([like], index) for index, key in enumerate(added)}}
