"""Each error type on hand-made answers: sites, verification in the real sandbox, recognition, false alarms."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from prose_types import PROSE

from pipeline import spans
from pipeline.errors import (
    ERROR_TYPES,
    base_cases,
    contextual_references,
    edge_cases,
    infinite_loops,
    off_by_one,
    omitted_imports,
    syntax_errors,
    unused_imports,
)
from pipeline.errors.answers import code_of
from pipeline.errors.base import Case, Finding, Unscored, Verification
from pipeline.errors.edge_cases import EdgeCases
from pipeline.errors.edge_inputs import is_edge_case
from pipeline.errors.off_by_one import OffByOne
from pipeline.errors.omitted_imports import OmittedImports
from pipeline.records import FunctionTest
from pipeline.sandbox.run import execute
from pipeline.spans import Edit

KNOWN_FLAWS = {("unused-imports", f"HumanEval/{number}") for number in (9, 11, 19)}
"""Solutions that really import what they do not use."""

STILL_COMPILES = ("HumanEval/142", 47, "minor-syntax-errors")
"""A docstring whose first quote is not missed, since quotes inside it make up for that. Verification refuses it."""

MOST_EDITS = {"executed": 100, "static": 4}
"""Edits tried of one type on one solution: it has some thirty places for a syntax error."""

HUMANEVAL = Path(__file__).parents[3] / "shared/data/humaneval.jsonl.gz"


def fenced(code: str) -> str:
    return f"Sure 🎉\n\n```python\n{code}```\nDone.\n"


def proposed(kind: str, code: str) -> list[tuple[str, str]]:
    return [(edit.old, edit.new) for (edit,) in ERROR_TYPES[kind].propose(fenced(code))]


def broken(kind: str, code: str) -> list[str]:
    """The program after each proposed edit."""
    answer = fenced(code)
    made = [spans.apply(edits, answer) for edits in ERROR_TYPES[kind].propose(answer)]
    return [bad.removeprefix("Sure 🎉\n\n```python\n").removesuffix("```\nDone.\n") for bad in made]


def verified(kind: str, code: str, bad: str, tests: list[FunctionTest]) -> Verification:
    edit = Edit(0, 0, "", "", kind)
    return ERROR_TYPES[kind].verify(Case("", fenced(code), fenced(bad), (edit,), tuple(tests)), execute)


def recognised(kind: str, code: str, reference: str | None = None) -> Finding | Unscored:
    return ERROR_TYPES[kind].recognise(fenced(code), reference=fenced(reference) if reference is not None else None)


OF_CODE = [name for name in ERROR_TYPES if name not in PROSE]
OFF, EDGE, BASE = off_by_one.NAME, edge_cases.NAME, base_cases.NAME
LOOPS, REFERENCES = infinite_loops.NAME, contextual_references.NAME
SYNTAX, UNUSED, IMPORT = syntax_errors.NAME, unused_imports.NAME, omitted_imports.NAME
F = FunctionTest.of


# Off by one: sites


@pytest.mark.parametrize(
    ("code", "edits"),
    [
        ("for i in range(3, n): pass\n", [("3", "2"), ("3", "4"), ("", " + 1"), ("", " - 1")]),
        ("for i in range(n - 1): pass\n", [(" - 1", "")]),
        ("for i in range(len(x) + 1, 0, -1): pass\n", [(" + 1", ""), ("0", "-1"), ("0", "1")]),
        ("for i in range((n) - 1, (m)): pass\n", [("", " + 1"), ("", " - 1")]),
        ("for i in range(n - k): pass\n", [("", " + 1"), ("", " - 1")]),
        ("for i in range(n - 7): pass\n", [("7", "6"), ("7", "8")]),
        ("for i in range(n if n else 3): pass\n", []),
        ("y = a < b <= c\n", [("<", "<="), ("<=", "<")]),
        ("y = (a) >(b)\n", [(">", ">=")]),
        ("y = a == b != 3\n", []),
        ("y = x[0], x[-1], x[i], x['k'], x[i + 1]\n", [("0", "-1"), ("0", "1"), ("-1", "-2"), (" + 1", "")]),
        ("y = x[1:]\n", [("1", "0"), ("1", "2")]),
        ("y = x[:n]\n", [("", " + 1"), ("", " - 1")]),
        ("y = enumerate(x, 1)\n", [("1", "0"), ("1", "2")]),
        ("i = 5\nwhile i != n:\n    i += 1\n", [("5", "4"), ("5", "6")]),
        ("k: Literal[1] = 4\n", []),
        ("y = f'{x[0]} {a < b}'\n", []),
        ("y = x[0x10]\n", []),
    ],
)
def test_off_by_one_sites(code: str, edits: list[tuple[str, str]]) -> None:
    assert proposed(OFF, code) == edits


def test_off_by_one_keeps_the_rest_of_the_text() -> None:
    assert broken(OFF, "y = x[ 1 : ]  # 🎉\n") == ["y = x[ 0 : ]  # 🎉\n", "y = x[ 2 : ]  # 🎉\n"]


# Off by one: verification

TOTAL = "def total(n):\n    return sum(range(n))\n"


def test_off_by_one_is_confirmed_by_a_difference() -> None:
    tests = [F("total", 0, expected=0), F("total", 3, expected=3)]
    seen = verified(OFF, TOTAL, TOTAL.replace("(n))", "(n + 1))"), tests)
    assert seen == Verification(True, "executed", "differs on 1 of 2 tests")


def test_equivalent_mutants_are_unconfirmed() -> None:
    seen = verified(OFF, TOTAL, TOTAL.replace("range(n)", "range(1, n)"), [F("total", 4, expected=6)])
    assert (seen.confirmed, seen.reason) == (False, "equivalent: no difference on 1 tests")


def test_nothing_is_confirmed_without_a_good_answer_and_tests() -> None:
    bad = TOTAL.replace("(n))", "(n + 1))")
    assert verified(OFF, TOTAL, bad, []).reason == "there are no tests to run"
    assert "fails its own tests" in verified(OFF, TOTAL, bad, [F("total", 3, expected=4)]).reason
    ended = "import os\ndef total(n):\n    os._exit(1)\n"
    assert "does not finish: crashed" in verified(OFF, TOTAL, ended, [F("total", 3, expected=3)]).reason


def test_an_exception_where_there_was_a_value_is_a_difference() -> None:
    good = "def last(xs):\n    return xs[len(xs) - 1]\n"
    seen = verified(OFF, good, good.replace(" - 1", ""), [F("last", [1], expected=1)])
    assert seen.confirmed


# Off by one: recognition

LOOP = """def f(items, k):
    count = 0
    for i in range(1, len(items)):
        if items[i] <= k:
            count += 1
    return count
"""


def test_every_proposed_off_by_one_is_recognised() -> None:
    for bad in broken(OFF, LOOP):
        assert recognised(OFF, bad, LOOP).present, bad


def test_the_place_of_an_off_by_one_is_found_under_other_names_and_prose() -> None:
    bad = LOOP.replace("items", "größen").replace("<=", "<").replace("count = 0", "count = 0  # 🎉")
    found = recognised(OFF, bad, LOOP)
    assert isinstance(found, Finding) and found.present and found.start is not None
    assert fenced(bad)[found.start : found.end] == "größen[i] < k"


@pytest.mark.parametrize(
    "other",
    [
        LOOP,
        LOOP.replace("items", "xs").replace("count", "n"),
        LOOP.replace("def f(items, k):\n", 'def f(items: list, k: int) -> int:\n    """Other words, range(2)."""\n'),
        "import os\n" + LOOP,
    ],
)
def test_no_false_alarm_for_the_good_answer_in_other_clothes(other: str) -> None:
    assert recognised(OFF, other, LOOP) == Finding(False, "every boundary is the good answer's")
    assert recognised(EDGE, other, LOOP) == Finding(False, "every guard of the good answer is there")


@pytest.mark.parametrize(
    "other",
    [
        LOOP.replace("+= 1", "+= 2"),
        LOOP.replace("<=", ">="),
        LOOP.replace("items[i]", "k").replace("<= k", "<= items[i]"),
        "def f(items, k):\n    return sum(x <= k for x in items[1:])\n",
        LOOP.replace("range(1,", "range(4,"),
    ],
)
def test_other_differences_are_unscored(other: str) -> None:
    assert isinstance(recognised(OFF, other, LOOP), Unscored)


def test_relative_recognisers_need_a_reference_and_code() -> None:
    assert isinstance(recognised(OFF, LOOP), Unscored) and isinstance(recognised(EDGE, LOOP), Unscored)
    assert isinstance(OffByOne().recognise("prose", reference=fenced(LOOP)), Unscored)
    assert isinstance(EdgeCases().recognise(fenced(LOOP), reference="prose"), Unscored)


# Edge cases: sites

GUARDED = 'def mean(xs):\n    """Mean."""\n    if not xs:\n        return 0\n    return sum(xs) / len(xs)\n'
BARE = 'def mean(xs):\n    """Mean."""\n    return sum(xs) / len(xs)\n'


def test_a_guard_goes_with_its_lines() -> None:
    assert broken(EDGE, GUARDED) == [BARE]
    assert proposed(EDGE, GUARDED.replace("\n", "\r\n")) == [("    if not xs:\r\n        return 0\r\n", "")]


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("def f(d, k):\n    return d.get(k, 0) + 1\n", "def f(d, k):\n    return d[k] + 1\n"),
        ("def f(xs):\n    ys = xs or []\n    return ys\n", "def f(xs):\n    ys = xs\n    return ys\n"),
        ("def f(a, b):\n    return a / b if b else 0\n", "def f(a, b):\n    return a / b\n"),
        ("def f(xs):\n    return max(xs, default=None)\n", "def f(xs):\n    return max(xs)\n"),
        (
            "def f(x):\n    try:\n        # 🎉\n        x = int(x)\n\n        return x\n    except:\n        pass\n",
            "def f(x):\n    # 🎉\n    x = int(x)\n\n    return x\n",
        ),
        (
            "def f(xs):\n    for x in xs:\n        if not x:\n            continue\n        print(1 / x)\n",
            "def f(xs):\n    for x in xs:\n        print(1 / x)\n",
        ),
    ],
)
def test_edge_case_sites(code: str, bad: str) -> None:
    assert broken(EDGE, code) == [bad]
    assert recognised(EDGE, bad, code).present
    assert not recognised(EDGE, code, code).present
    assert not recognised(OFF, bad, code).present


@pytest.mark.parametrize(
    "code",
    [
        "def f(n):\n    if n == 0:\n        return 1\n    return n * f(n - 1)\n",  # a base case
        "def f(x):\n    if x:\n        return 1\n    else:\n        return 2\n",
        "def f(x):\n    if x:\n        return 1\n",  # nothing would be left
        "def f(x):\n    if x: return 1; y = 2\n    if a or b: pass\n    return 1\n",
        "def f(x):\n    try:\n        y = '''\na'''\n    except ValueError:\n        return 0\n",
        "def f(x):\n    try:\n        g()\n    finally:\n        h()\n",
        "def f(x, y):\n    while x or 0:\n        g(x or y)\n",
        "def f(x):\n    return (x) or 0\n",
    ],
)
def test_what_is_no_edge_case_site(code: str) -> None:
    assert [old for old, _ in proposed(EDGE, code) if "if x: return 1; y" not in old] == []


# Edge cases: verification

MEAN = [F("mean", [], expected=0), F("mean", [1, 3], expected=2), F("mean", [2, 2, 5], expected=3)]


def test_an_edge_case_is_confirmed_where_only_edges_differ() -> None:
    seen = verified(EDGE, GUARDED, BARE, MEAN)
    assert seen == Verification(True, "executed", "differs on 1 of 1 edge cases, agrees on 2 of 2 ordinary inputs")


def test_edge_cases_need_ordinary_inputs_that_agree() -> None:
    assert not verified(EDGE, GUARDED, BARE, MEAN[:1]).confirmed
    wrong = BARE.replace("sum(xs)", "2 * sum(xs)")
    assert verified(EDGE, GUARDED, wrong, MEAN[1:]).reason == "differs on ordinary inputs only"
    assert verified(EDGE, GUARDED, wrong, MEAN).reason == "agrees on 0 of 2 ordinary inputs only"


def test_a_guard_that_changes_nothing_is_unconfirmed() -> None:
    good = "def f(xs):\n    if not xs:\n        return 0\n    return sum(xs)\n"
    bad = "def f(xs):\n    return sum(xs)\n"
    seen = verified(EDGE, good, bad, [F("f", [], expected=0), F("f", [1, 2], expected=3)])
    assert (seen.confirmed, seen.reason) == (False, "equivalent: no difference on 2 tests")


@pytest.mark.parametrize("argument", [None, 0, 1, -3, -2.5, "", "a", "  ", [], [7], {}, {"a": 1}])
def test_edge_inputs(argument: object) -> None:
    assert is_edge_case(F("f", argument))


@pytest.mark.parametrize("argument", [2, 10, 2.5, "ab", [1, 2], {"a": 1, "b": 2}, True])
def test_ordinary_inputs(argument: object) -> None:
    assert not is_edge_case(F("f", argument))
    assert is_edge_case(F("f", argument, raises="ValueError"))


# Edge cases: recognition


def test_a_missing_guard_is_found_where_it_should_stand() -> None:
    found = recognised(EDGE, BARE.replace("xs", "values"), GUARDED)
    assert isinstance(found, Finding) and found.present and found.start == found.end
    assert fenced(BARE.replace("xs", "values"))[found.start :].startswith("return sum(values)")


def test_a_guard_written_otherwise_is_no_finding() -> None:
    assert isinstance(recognised(EDGE, GUARDED.replace("not xs", "len(xs) == 0"), GUARDED), Unscored)
    assert isinstance(recognised(EDGE, GUARDED, BARE), Unscored)


# Omitted imports

MATH = "import math\n\ndef f(x):\n    return math.ceil(x)\n"


@pytest.mark.parametrize(
    ("code", "edits"),
    [
        (MATH, ["import math\n"]),
        ("import os, re  # both\nos.name, re.I\n", ["os, ", ", re"]),
        ("from a import (\n    b,\n    c as d,\n)\nb, d\n", ["b,\n    ", ",\n    c as d"]),
        ("import os.path as p\np\n", ["import os.path as p\n"]),
        ("import os.path\nos\n", ["import os.path\n"]),
        ("def f():\n    import re\n    return re\n", ["    import re\n"]),
        ("import unused\nfrom __future__ import annotations\nfrom math import *\nsqrt\n", []),
        ("import re; x = re\n", []),
        ("try:\n    import re\nexcept ImportError:\n    re = None\n", []),
    ],
)
def test_import_sites(code: str, edits: list[str]) -> None:
    assert proposed(IMPORT, code) == [(old, "") for old in edits]


def test_an_omitted_import_is_confirmed_by_a_name_error() -> None:
    bad = MATH.removeprefix("import math\n")
    seen = verified(IMPORT, MATH, bad, [F("f", 1.5, expected=2)])
    assert seen == Verification(True, "executed", "NameError for 'math', which no import gives any more")
    assert verified(IMPORT, MATH, bad, []).reason == "no test comes to the undefined name 'math'"


def test_an_omitted_import_counts_when_loading_fails() -> None:
    good = "from typing import List\ndef f(x: List[int]) -> int:\n    return x[0]\n"
    assert verified(IMPORT, good, good.partition("\n")[2], [F("f", [1], expected=1)]).confirmed


def test_an_import_that_is_not_missed_is_unconfirmed() -> None:
    twice = "import math\nimport math\ndef f(x):\n    return math.ceil(x)\n"
    seen = verified(IMPORT, twice, MATH, [F("f", 1.5, expected=2)])
    assert (seen.confirmed, seen.level) == (False, "static")


def test_undefined_names_are_recognised_where_they_stand() -> None:
    bad = "def größe(x):\n    '🎉'; return math.ceil(x) + math.pi\n"
    found = recognised(IMPORT, bad)
    assert isinstance(found, Finding) and found.present and found.start is not None
    assert fenced(bad)[found.start :].startswith("math.ceil") and found.end == found.start + 4


@pytest.mark.parametrize(
    "code",
    [
        MATH,
        "def f(xs):\n    return [len(x) for x in xs if __name__ and NotImplemented]\n",
        "x = 1\ndef f():\n    return x\n",
    ],
)
def test_no_false_alarm_for_defined_names(code: str) -> None:
    assert recognised(IMPORT, code) == Finding(False, "every name is imported, defined or built in")


def test_what_a_star_import_may_give_is_unscored() -> None:
    assert isinstance(recognised(IMPORT, "from math import *\nx = sqrt(2)\n"), Unscored)
    assert isinstance(OmittedImports().recognise("prose"), Unscored)


# All types


def test_an_error_of_one_type_is_not_taken_for_another() -> None:
    code = "import math\ndef f(xs):\n    if not xs:\n        return 0\n    return math.prod(xs[1:])\n"
    code += "def g(n):\n    if n == 0:\n        return 1\n    return n * g(n - 1)\n"
    code += (
        "def h(xs):\n    i, seen = 0, 1\n    known = set()\n    while i < len(xs):\n        if xs[i] not in known:\n"
    )
    code += "            known.add(xs[i])\n            seen += i\n        i += 1\n    return seen\n"
    for kind in OF_CODE:
        for bad in broken(kind, code):
            present = {other for other in OF_CODE if getattr(recognised(other, bad, code), "present", None)}
            assert present == {kind}, bad


@pytest.mark.slow
@pytest.mark.skipif(not HUMANEVAL.exists(), reason="../shared/data/humaneval.jsonl.gz is not in this checkout")
def test_humaneval_solutions_break_and_mend_exactly() -> None:
    found = dict.fromkeys(OF_CODE, 0)
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        answer = fenced(row["prompt"] + row["canonical_solution"])
        for name, kind in ((name, ERROR_TYPES[name]) for name in OF_CODE):
            alarm = kind.recognise(answer, reference=answer).present
            assert alarm == ((name, row["task_id"]) in KNOWN_FLAWS)
            for edits in kind.propose(answer)[: MOST_EDITS[kind.level]]:
                bad = spans.apply(edits, answer)
                if (row["task_id"], edits[0].start, name) == STILL_COMPILES:
                    continue
                assert (code_of(bad) is None) == (name == SYNTAX), (row["task_id"], edits)
                assert spans.apply(spans.inverse(edits, answer), bad) == answer
                assert kind.recognise(bad, reference=answer).present, (row["task_id"], edits)
                found[name] += 1
    assert len(rows) == 164 and found[BASE] > 10 and found[LOOPS] > 15 and found[OFF] > 500 and found[REFERENCES] > 500
    assert min(found[name] for name in (EDGE, SYNTAX, UNUSED, IMPORT)) > 30
