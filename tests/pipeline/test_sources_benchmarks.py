"""Files of HumanEval's and MBPP's shapes as sources: known by their fields, with tests that the sandbox runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from source_node import make_source

from pipeline.errors.answers import program_of
from pipeline.errors.completions import program_for
from pipeline.nodes import Source, SourceConfig
from pipeline.records import FunctionTest, QARecord, Reject
from pipeline.sandbox import values
from pipeline.sandbox.run import execute, passed
from pipeline.sources.exports import to_own
from pipeline.sources.files import read
from pipeline.stages.embed import judged_on

HUMANEVAL = {
    "task_id": "HumanEval/x",
    "prompt": 'def f(n):\n    """Half."""\n',
    "canonical_solution": "    return n // 2\n",
    "entry_point": "f",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert candidate(4) == 2\n    for x in (1, 3):\n"
    "        assert candidate(x) == x // 2, 'odd'\n",
}
MBPP = {
    "task_id": 602,
    "text": "Write a python function to find the pairs of neighbours in a list.",
    "code": "def next_to(items):\r\n    return list(zip(items, items[1:]))\r\n",
    "test_list": ["assert next_to([1, 2, 3]) == [(1, 2), (2, 3)]", "assert next_to([]) == []"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 2,
    "prompt": "Write a function to find the volume of a sphere.",
    "code": "import math\ndef volume(r):\n  return 4/3*math.pi*r**3",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(volume(10), 4188.790204786391, rel_tol=0.001)"],
}

FORMATS = ("prompts", "humaneval")


def rows(folder: Path, *given: dict[str, Any], **options: Any) -> list[QARecord]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    found = list(read(path, **options))
    assert all(isinstance(row, QARecord | Reject) for row in found)
    return found


def test_a_humaneval_row(tmp_path: Path) -> None:
    [record] = rows(tmp_path, HUMANEVAL)
    assert (record.id, record.prompt, record.source) == ("HumanEval/x", HUMANEVAL["prompt"], "humaneval")
    assert program_of(record.response) == 'def f(n):\n    """Half."""\n    return n // 2\n'
    expected = ((4, 2), (1, 0), (3, 1))
    assert record.tests == tuple(FunctionTest.of("f", n, expected={"$equals": value}) for n, value in expected)
    assert passed(
        execute(program_for(record.prompt, "    return int(n / 2)", record.source), record.tests), record.tests
    )


def test_an_mbpp_row_in_either_shape(tmp_path: Path) -> None:
    first, second = rows(tmp_path, MBPP, SANITIZED)
    assert (first.id, first.source, second.id) == ("602", "mbpp", "2")
    assert first.prompt == (
        "Write a python function to find the pairs of neighbours in a list.\nYour code should pass these tests:\n\n"
        "    assert next_to([1, 2, 3]) == [(1, 2), (2, 3)]\n    assert next_to([]) == []\n"
    )
    tuples = {"$equals": [{"$tuple": [1, 2]}, {"$tuple": [2, 3]}]}
    assert first.tests == (
        FunctionTest.of("next_to", [1, 2, 3], expected=tuples),
        FunctionTest.of("next_to", [], expected={"$equals": []}),
    )
    near = {"$near": 4188.790204786391, "$within": 0, "$relative": 0.001}
    assert second.tests == (FunctionTest.of("volume", 10, expected=near),)
    assert all(passed(execute(program_of(row.response), row.tests), row.tests) for row in (first, second))


TREE = {
    **MBPP,
    "text": "Write a function for the height of a tree.",
    "code": "class Node:\n  def __init__(self, v):\n    self.left = self.right = None\ndef height(node):\n"
    "  return 1 + max(height(node.left), height(node.right)) if node else 0",
    "test_setup_code": "root = Node(1)\r\nroot.left = Node(2)",
    "test_list": ["assert (height(root)) == 2", "assert height(root.right) == 0 "],
}


def test_objects_that_the_setup_makes_are_made_beside_the_answer(tmp_path: Path) -> None:
    [record] = rows(tmp_path, TREE)
    setup = "exec('root = Node(1)\\nroot.left = Node(2)', globals())"
    expected = [f"lambda: ({setup}, height(root))[1]", f"lambda given_0: ({setup}, height(given_0))[1]"]
    assert [test.function for test in record.tests] == expected
    wrong = program_of(record.response).replace("1 + max", "2 + max")
    right = [passed(execute(program, record.tests), record.tests) for program in (program_of(record.response), wrong)]
    assert right == [True, False]


def test_as_prompts_they_keep_their_tests(tmp_path: Path) -> None:
    """What `kintsugi eval` reads its prompts with."""
    assert rows(tmp_path, HUMANEVAL, format="prompts") == rows(tmp_path, HUMANEVAL)
    assert rows(tmp_path, SANITIZED, format="prompts") == rows(tmp_path, SANITIZED)


@pytest.mark.parametrize(
    "row, changed, why",
    [
        (MBPP, {"test_list": ["assert next_to([1]) != [2]"]}, "assert next_to([1]) != [2]: it compares in a way"),
        (MBPP, {"test_list": ["assert other([1]) == 1"]}, "the asserts name no function of the reference solution"),
        (MBPP, {"code": "def next_to(items):\n    return 1 / 0", "test_list": ["x = next_to([])", "assert x == 1"]},
         "ZeroDivisionError"),
        (MBPP, {"test_list": ["x = [1]\nassert next_to(x) == undefined"]}, "NameError"),
        (MBPP, {"test_list": ["x = [1]\nassert next_to(x) == [3]"]}, "the reference solution does not"),
        (HUMANEVAL, {"test": "def verify(candidate):\n    assert candidate(4) == 2\n"}, "no function check(candidate)"),
    ],
)  # fmt: skip
def test_a_row_whose_asserts_cannot_be_told_is_kept_and_says_why(
    tmp_path: Path, row: dict[str, Any], changed: dict[str, Any], why: str
) -> None:
    [record] = rows(tmp_path, {**row, **changed})
    [test] = record.tests
    assert why in values.why_unscored(test)


def test_such_a_row_can_still_be_broken_on_tests_that_are_made(tmp_path: Path) -> None:
    [record] = rows(tmp_path, {**MBPP, "test_list": ["assert next_to([1]) != [2]"]})
    judged = judged_on(record, execute, 0)
    assert not isinstance(judged, Reject) and judged[0].tests and not any(map(values.why_unscored, judged[0].tests))


@pytest.mark.parametrize(
    "row, changed, reason",
    [
        (HUMANEVAL, {"test": "def check(candidate)"}, "wrong-type"),
        (HUMANEVAL, {"entry_point": 3}, "wrong-type"),
        (MBPP, {"code": ""}, "empty"),
        (MBPP, {"test_list": [1]}, "wrong-type"),
    ],
)
def test_rows_that_cannot_be_used_are_rejected(
    tmp_path: Path, row: dict[str, Any], changed: dict[str, Any], reason: str
) -> None:
    [_, found] = rows(tmp_path, row, {**row, "task_id": "other", **changed})
    assert isinstance(found, Reject) and found.reason == reason


def test_a_source_of_them_says_what_ran_the_reference_solutions(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(HUMANEVAL) + "\n", encoding="utf-8")
    assert make_source(tmp_path, path).manifest.facts["sandbox"]
    path.write_text(json.dumps(MBPP) + "\n", encoding="utf-8")
    assert "sandbox" not in make_source(tmp_path, path).manifest.facts


def test_they_can_be_written_and_read_again(tmp_path: Path) -> None:
    """In our own format, with every form of test."""
    known = rows(tmp_path, HUMANEVAL) + rows(tmp_path, MBPP, SANITIZED)
    assert rows(tmp_path, *map(to_own, known)) == known


def test_as_prompts_a_source_has_another_key_than_before_they_kept_tests(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(HUMANEVAL) + "\n", encoding="utf-8")
    known = [SourceConfig.model_validate({"kind": "source", "from": str(path), "format": name}) for name in FORMATS]
    as_prompts, as_benchmark = (Source().outside(config, frozenset()) for config in known)
    assert as_prompts.keys() - as_benchmark.keys() == {"prompts"}
