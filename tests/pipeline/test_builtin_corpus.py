"""The built-in corpus: its answers are right, its tests notice errors, and a seed decides everything."""

import ast
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from pipeline.failures import UserError
from pipeline.records import FunctionTest, QARecord
from pipeline.sources import builtin
from pipeline.sources.builtin import FAMILIES, build

ROWS = build(608, 0)
FLIPPED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


def code_of(record: QARecord) -> str:
    return record.response.split("```python\n")[1].split("```")[0]


def call(function: Callable[..., Any], test: FunctionTest) -> tuple[str, str]:
    """What the call gives, in the form of a test's `expected` and `raises`."""
    try:
        return json.dumps(function(*json.loads(test.arguments))), ""
    except Exception as error:
        return "null", type(error).__name__


def passes(code: str | ast.Module, tests: tuple[FunctionTest, ...]) -> bool:
    """In process: the corpus is our own code."""
    scope: dict[str, Any] = {}
    try:
        exec(compile(code, "<answer>", "exec"), scope)
    except NameError:
        return False
    return all(call(scope[test.function], test) == (test.expected, test.raises) for test in tests)


def without_import(code: str) -> Iterator[ast.Module]:
    tree = ast.parse(code)
    if isinstance(tree.body[0], ast.Import | ast.ImportFrom):
        yield ast.Module(tree.body[1:], [])


def without_guard(code: str) -> Iterator[ast.Module]:
    """An opening guard deleted, or the default of a look-up dropped."""
    tree = ast.parse(code)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    first = 1 if ast.get_docstring(function) else 0
    if isinstance(function.body[first], ast.If):
        del function.body[first]
        yield tree
    elif ".get(" in code:
        yield ast.parse(re.sub(r"\.get\((\w+), \d+\)", r"[\1]", code))


def off_by_one(code: str) -> Iterator[ast.Module]:
    """Each comparison flipped at its boundary, and each bound of a slice or range moved by one."""
    for position in range(sum(1 for _ in ast.walk(ast.parse(code)))):
        tree = ast.parse(code)
        same = list(ast.walk(tree))[position]
        if isinstance(same, ast.Compare) and type(same.ops[0]) in FLIPPED:
            same.ops[0] = FLIPPED[type(same.ops[0])]()
        elif isinstance(same, ast.Slice) and isinstance(same.lower, ast.Constant):
            same.lower = ast.BinOp(same.lower, ast.Add(), ast.Constant(1))
        elif isinstance(same, ast.Call) and ast.unparse(same.func) == "range":
            same.args[-1] = ast.BinOp(same.args[-1], ast.Sub(), ast.Constant(1))
        else:
            continue
        yield ast.fix_missing_locations(tree)


MUTATIONS = {"off-by-one": off_by_one, "edge case": without_guard, "import": without_import}


@cache
def caught(record: QARecord) -> frozenset[str]:
    """The error types that can be embedded in the answer and that its tests notice."""
    code = code_of(record)
    return frozenset(
        kind for kind, mutate in MUTATIONS.items() if not all(passes(tree, record.tests) for tree in mutate(code))
    )


def test_every_answer_passes_its_tests() -> None:
    assert [row.id for row in ROWS if not passes(code_of(row), row.tests)] == []


def test_every_answer_is_prose_one_python_block_and_prose() -> None:
    for row in ROWS:
        before, block, after = row.response.split("```")
        assert before.endswith(".\n\n") and after.startswith("\n\n") and after.endswith(".")
        assert block.startswith("python\n")
        assert sum(isinstance(node, ast.FunctionDef) for node in ast.parse(block[7:]).body) == 1


def test_every_row_has_four_to_eight_different_tests_of_the_function_in_its_prompt() -> None:
    for row in ROWS:
        assert 4 <= len(set(row.tests)) == len(row.tests) <= 8
        assert all(f"`{test.function}(" in row.prompt for test in row.tests)


def test_every_row_tries_its_boundaries() -> None:
    """A boundary is tried where moving it by one is noticed; empty, zero or negative input is tried as well."""
    smallest = {"[]", '""', "{}", "0", "-1", "-2"}
    for row in ROWS:
        assert "off-by-one" in caught(row), row.id
        assert any({json.dumps(value) for value in json.loads(test.arguments)} & smallest for test in row.tests), row.id


def test_each_error_type_fits_a_third_of_the_rows_and_every_row_has_one() -> None:
    per_row = [caught(row) for row in ROWS]
    assert all(per_row)
    counts = Counter(kind for kinds in per_row for kind in kinds)
    assert all(counts[kind] >= len(ROWS) / 3 for kind in MUTATIONS), counts


def test_the_same_errors_fit_all_rows_of_a_family() -> None:
    by_family = defaultdict(set)
    for row in ROWS:
        by_family[row.source].add(caught(row))
    assert all(len(kinds) == 1 for kinds in by_family.values()), by_family


def test_families_take_turns() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 12
    assert [row.source for row in ROWS] == [f"builtin/{FAMILIES[i % len(FAMILIES)].name}" for i in range(len(ROWS))]


def test_twenty_thousand_prompts_and_ids_are_all_different() -> None:
    rows = build(20_000, 3)
    assert len({row.prompt for row in rows}) == len({row.id for row in rows}) == 20_000


def test_a_smaller_corpus_is_a_prefix_of_a_larger_one() -> None:
    assert build(100, 0) == ROWS[:100]
    assert build(0, 0) == []


def test_the_seed_decides_everything() -> None:
    assert build(50, 7) == build(50, 7)
    assert not {row.prompt for row in build(50, 7)} & {row.prompt for row in build(50, 8)}


def test_rows_survive_the_way_through_plain_rows() -> None:
    assert [QARecord.from_row(row.to_row()) for row in ROWS[:16]] == ROWS[:16]


def test_used_up_prompts_are_a_data_error() -> None:
    with pytest.raises(UserError, match="ask for fewer rows") as raised:
        builtin._new_exercise(FAMILIES[0], 0, 0, EveryPrompt())
    assert raised.value.kind == "data"


class EveryPrompt(set[str]):
    def __contains__(self, prompt: object) -> bool:
        return True
