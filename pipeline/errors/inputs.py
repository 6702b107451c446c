"""Tests for answers that come without any: inputs are made, and what the good answer gives on them is expected.

Inputs come from the calls that docstrings and prose show, from the parameters' shapes (`signatures`), and from the
constants of the program; typical ones and edge cases. The program itself decides which are kept: those on which a
function returns plain JSON or raises what it says it raises, gives the same when it is called again (with the same
arguments in the same process, and in another process in another order), and leaves its arguments as they were.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from pipeline.errors.answers import Code, code_of
from pipeline.errors.base import Execute
from pipeline.errors.edge_inputs import is_edge_case
from pipeline.errors.shapes import Pool, Shape, edges, is_json, mutated
from pipeline.errors.signatures import parameters, required
from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution, Outcome, same_outcome

FUNCTIONS = 3
"""Functions of one answer that get inputs: the last ones, which tend to call those before."""
TRIED, ORDINARY, EDGE = 90, 14, 12
"""Inputs tried for each function, and how many ordinary ones and edge cases are kept of those that will do."""
SHOWN = 8
"""Calls taken from docstrings and prose."""
ATTEMPTS = 3
"""Executions for trying inputs: each input that runs into a limit ends one."""
LONGEST = 2_000
"""Characters of an expected value."""

PROBE = """

def kintsugi_probe(name, first, second, kept):
    function = globals()[name]
    value = function(*first)
    if first != kept or function(*second) != value:
        raise RuntimeError("impure")
    return [value]
"""
"""Calls a function twice. Each list of arguments was parsed on its own."""


def made_tests(response: str, execute: Execute, seed: int = 0) -> tuple[FunctionTest, ...]:
    """Tests for the self-contained functions of a good answer; none where nothing can be made.

    At most `ATTEMPTS` + 1 executions. Nothing depends on anything but the answer and the seed.
    """
    code = code_of(response)
    if code is None:
        return ()
    candidates = [test for function in callable_functions(code) for test in _candidates(code, function, response, seed)]
    outcomes = _tried(code, candidates, execute)
    deliberate = _raised_names(code)
    good = [made for test in candidates if (made := _test(test, outcomes.get(test), deliberate)) is not None]
    return _same_again(code, _chosen(good), execute)


def callable_functions(code: Code) -> list[ast.FunctionDef]:
    """The last functions at the top level that a call with positional arguments reaches."""
    found = [node for node in code.tree.body if isinstance(node, ast.FunctionDef) and _is_callable(node)]
    last = {node.name: node for node in found}
    return list(last.values())[-FUNCTIONS:]


def _is_callable(function: ast.FunctionDef) -> bool:
    count = len(function.args.posonlyargs) + len(function.args.args)
    named_only = any(default is None for default in function.args.kw_defaults)
    yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
    return 1 <= count <= 5 and not named_only and not yields and function.name != "main"


def _candidates(code: Code, function: ast.FunctionDef, response: str, seed: int) -> list[FunctionTest]:
    """Inputs for one function, the shown ones first, typical ones and edge cases in turn."""
    shapes, needed = parameters(function), required(function)
    draw = Random(f"{seed}:{function.name}")
    pool = Pool(draw, *_constants(function))
    shown = list(shown_calls(response, function.name))[:SHOWN]
    shown = [given for given in shown if needed <= len(given) <= len(shapes)]
    near = [[mutated(value, draw) for value in given] for given in shown for _ in range(4)]
    typical = [[pool.ordinary(shape) for shape in shapes] for _ in range(TRIED // 3)]
    boundary = list(_boundaries(pool, shapes, shown))
    made = [*shown, *near, *(given for pair in _in_turn(typical, boundary) for given in pair)]
    tests = dict.fromkeys(FunctionTest.of(function.name, *given) for given in made if is_json(given))
    return list(tests)[:TRIED]


def _constants(function: ast.FunctionDef) -> tuple[list[str], list[int]]:
    """Texts and numbers that the function's code compares and computes with; its docstring is none of them."""
    docstring = ast.get_docstring(function, clean=False)
    found = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant)]
    texts = [value for value in found if isinstance(value, str) and value != docstring and 0 < len(value) <= 60]
    return list(dict.fromkeys(texts)), list(dict.fromkeys(value for value in found if type(value) is int))


def _boundaries(pool: Pool, shapes: Sequence[Shape], shown: Sequence[list[Any]]) -> Iterator[list[Any]]:
    """One argument at an edge and the others typical, or as shown; then all at an edge."""
    for number in range(8):
        for index, shape in enumerate(shapes):
            found = edges(shape)
            if number < len(found):
                others = list(shown[0]) if shown and len(shown[0]) == len(shapes) else None
                rest = others or [pool.ordinary(other) for other in shapes]
                yield [*rest[:index], found[number], *rest[index + 1 :]]
    yield [edges(shape)[0] if edges(shape) else pool.ordinary(shape) for shape in shapes]


def _in_turn(left: Sequence[Any], right: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for index in range(max(len(left), len(right))):
        yield [*left[index : index + 1], *right[index : index + 1]]


def shown_calls(text: str, function: str) -> Iterator[list[Any]]:
    """The arguments of calls that stand in docstrings, comments and prose as `name(1, [2])`, literals alone."""
    for found in re.finditer(rf"\b{re.escape(function)}\(", text):
        line = text[found.start() :].splitlines()[0]
        for end in (place.end() for place in re.finditer(r"\)", line)):
            arguments = _literals(line[:end])
            if arguments is not None:
                yield arguments
                break


def _literals(call: str) -> list[Any] | None:
    try:
        node = ast.parse(call, mode="eval").body
        if isinstance(node, ast.Call) and not node.keywords:
            given = [ast.literal_eval(argument) for argument in node.args]
            return given if is_json(given) else None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    return None


def _tried(code: Code, tests: Sequence[FunctionTest], execute: Execute) -> dict[FunctionTest, Outcome]:
    """What each input gave; where one runs into a limit, the rest is tried without it."""
    known: dict[FunctionTest, Outcome] = {}
    waiting = list(tests)
    for _ in range(ATTEMPTS):
        if not waiting:
            break
        seen = execute(code.text + PROBE, [_probe(test) for test in waiting])
        known.update(zip(waiting, seen.outcomes, strict=False))
        waiting = [] if seen.status in ("completed", "load-error") else waiting[len(seen.outcomes) + 1 :]
    return known


def _probe(test: FunctionTest) -> FunctionTest:
    arguments = ", ".join([json.dumps(test.function), *[test.arguments] * 3])
    return FunctionTest("kintsugi_probe", f"[{arguments}]")


def _test(test: FunctionTest, outcome: Outcome | None, deliberate: frozenset[str]) -> FunctionTest | None:
    """The input with what is expected of it, where it will do."""
    if outcome is None or (outcome.value is None and outcome.raised not in deliberate):
        return None
    if outcome.value is None:
        return FunctionTest(test.function, test.arguments, "null", outcome.raised)
    value = json.loads(outcome.value)[0]
    if isinstance(value, float) and value != value:
        return None
    expected = json.dumps(value)
    return FunctionTest(test.function, test.arguments, expected) if len(expected) <= LONGEST else None


def _raised_names(code: Code) -> frozenset[str]:
    """The classes that the program's own `raise` statements name."""
    raised = (node.exc for node in ast.walk(code.tree) if isinstance(node, ast.Raise) and node.exc is not None)
    called = (error.func if isinstance(error, ast.Call) else error for error in raised)
    return frozenset(error.id for error in called if isinstance(error, ast.Name)) - {"RuntimeError"}


def _chosen(tests: Sequence[FunctionTest]) -> list[FunctionTest]:
    """A bounded mixture for each function, those first whose result no other has."""
    kept: list[FunctionTest] = []
    for name in dict.fromkeys(test.function for test in tests):
        own = [test for test in tests if test.function == name]
        kept += _varied([test for test in own if not is_edge_case(test)], ORDINARY)
        kept += _varied([test for test in own if is_edge_case(test)], EDGE)
    return kept


def _varied(tests: Sequence[FunctionTest], most: int) -> list[FunctionTest]:
    seen: dict[tuple[str, str], int] = {}
    rank = []
    for test in tests:
        result = (test.expected, test.raises)
        seen[result] = seen.get(result, 0) + 1
        rank.append(seen[result])
    chosen = sorted(range(len(tests)), key=lambda index: (rank[index], index))[:most]
    return [tests[index] for index in sorted(chosen)]


def _same_again(code: Code, tests: Sequence[FunctionTest], execute: Execute) -> tuple[FunctionTest, ...]:
    """The tests that the program alone passes in a process of its own, called in reverse order."""
    if not tests:
        return ()
    turned = list(reversed(tests))
    seen: Execution = execute(code.text, turned)
    if seen.status != "completed":
        return ()
    same = {test for test, outcome in zip(turned, seen.outcomes, strict=True) if same_outcome(outcome, _expected(test))}
    return tuple(test for test in tests if test in same)


def _expected(test: FunctionTest) -> Outcome:
    return Outcome(None, test.raises) if test.raises else Outcome(test.expected)
