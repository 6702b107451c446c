"""Rewrites keep the meaning: what they give is run and compared; and by hand, what they may and may not touch."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path

import pytest

from pipeline.errors.answers import code_of, program_of
from pipeline.errors.rewrites import REWRITES, rewrites
from pipeline.records import FunctionTest
from pipeline.sandbox.run import execute, passed
from pipeline.sources.builtin import build

HUMANEVAL = Path(__file__).parents[3] / "shared" / "data" / "humaneval.jsonl.gz"


def answer(code: str) -> str:
    return f"Like this:\n\n```python\n{code}```\n"


def made(name: str, code: str) -> str | None:
    found = rewrites(answer(code)).get(name)
    return None if found is None else program_of(found)


def test_rewritten_answers_of_the_built_in_corpus_pass_their_tests() -> None:
    counts = dict.fromkeys(REWRITES, 0)
    for row in build(10, 5):
        for name, text in rewrites(row.response).items():
            assert passed(execute(program_of(text), row.tests), row.tests), f"{name}: {text}"
            counts[name] += 1
    assert counts["reformatted"] == 10 and counts["renamed"] >= 3


def test_all_rewrites_of_one_function_at_work_pass_its_tests() -> None:
    code = "def f(xs):\n    low = 0\n    high = len(xs)\n    word = 'a'\n    return [low, high, word]\n"
    tests = [FunctionTest.of("f", [1, 2], expected=[0, 2, "a"])]
    texts = rewrites(answer(code))
    assert set(texts) == set(REWRITES)
    for text in texts.values():
        assert passed(execute(program_of(text), tests), tests)


def test_locals_are_renamed_wherever_they_stand() -> None:
    code = "def f(xs):\n    found = []\n    for x in xs:\n        found.append(x)\n    return found\n"
    assert made("renamed", code) == (
        "def f(xs):\n    found_value = []\n    for x_value in xs:\n        found_value.append(x_value)\n"
        "    return found_value\n"
    )


@pytest.mark.parametrize("code", [
    "def f(xs):\n    n = 0\n    return [n for n in xs]\n",
    "def f(xs):\n    n = 0\n    return f'{n}'\n",
    "def f(xs):\n    n = 0  # n counts\n    return n\n",
    "def f(xs):\n    n = 0\n    return locals()\n",
    "def f(n):\n    n = 0\n    return n\n",
    "def f(xs):\n    global n\n    n = 0\n",
    "def f(xs):\n    n = 0\n    return g(n=n)\n",
    "n = 0\n\n\ndef f(xs):\n    n = 1\n    return n\n",
])  # fmt: skip
def test_names_that_stand_elsewhere_too_are_left_alone(code: str) -> None:
    assert made("renamed", code) is None


def test_a_constant_changes_places_with_its_neighbour() -> None:
    code = "def f(xs):\n    low = 0\n    high = len(xs)  # of all\n    return low + high\n"
    assert made("reordered", code) == "def f(xs):\n    high = len(xs)\n    low = 0  # of all\n    return low + high\n"


@pytest.mark.parametrize("body", [
    "a = 0\n    b = a",
    "a = f(1)\n    a = 2",
    "a = g(1)\n    b = g(2)",
    "a, b = 1, 2\n    c = g(3)",
    "a = 0; b = g(3)",
    "a = 0\n    b = (yield)",
    "a = b\n    b = 0",
    "a = 0\n    b = lambda: a",
    "x.a = 0\n    b = g(3)",
])  # fmt: skip
def test_what_depends_on_its_neighbour_stays(body: str) -> None:
    assert made("reordered", f"def f(x, b):\n    {body}\n    return x\n") is None


def test_nothing_is_swapped_within_a_try() -> None:
    code = "def f(x):\n    try:\n        a = 0\n        b = g(x)\n    finally:\n        print(1)\n"
    assert made("reordered", code) is None


def test_quotes_and_parentheses() -> None:
    code = 'def f(x):\n    """Doc."""\n    s = \'a\' + "it\'s" + "b"\n    return s\n'
    assert made("reformatted", code) == code.replace("'a'", '"a"').replace('"b"', "'b'").replace(
        "return s", "return (s)"
    )


def test_reformatting_leaves_the_tree_as_it_is() -> None:
    for row in build(24, 1):
        before, after = code_of(row.response), code_of(rewrites(row.response)["reformatted"])
        assert before is not None and after is not None
        assert ast.dump(before.tree) == ast.dump(after.tree)


def test_an_answer_without_code_has_no_rewrites() -> None:
    assert rewrites("Only words.") == {}


@pytest.mark.skipif(not HUMANEVAL.exists(), reason="HumanEval is not here")
def test_humanevals_solutions_stay_solutions() -> None:
    """Both sides run on the examples of the doctest-like prompts: the checks that come with the rows."""
    counts = dict.fromkeys(REWRITES, 0)
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::12]
    for row in rows:
        text = answer(row["prompt"] + row["canonical_solution"])
        for name, changed in rewrites(text).items():
            check = f"\n{row['test']}\n\n\ndef kintsugi_check():\n    check({row['entry_point']})\n"
            done = execute(program_of(changed) + check, [FunctionTest.of("kintsugi_check")])
            assert done.status == "completed" and not done.outcomes[0].raised, f"{name}: {changed}"
            counts[name] += 1
    assert counts["renamed"] >= 5 and counts["reordered"] >= 1
