"""The embed and annotate stages: which error, in which order, and what becomes of rows that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from prose_types import PROSE

from pipeline.errors import ERROR_TYPES, error_type
from pipeline.errors.answers import program_of
from pipeline.failures import UserError
from pipeline.records import REJECTED, CorruptionRecord, FunctionTest, PreferenceRecord, QARecord, Reject, table_of
from pipeline.sandbox.run import Execution, Outcome, execute, passed
from pipeline.sources.builtin import build
from pipeline.stages.annotate import annotate
from pipeline.stages.embed import CANDIDATES, embed, types_in_turn

ALL = tuple(name for name in ERROR_TYPES if name not in PROSE)
EXECUTED = tuple(name for name, kind in ERROR_TYPES.items() if kind.level == "executed")
"""What cannot be shown without running it; syntax errors and unused imports find a place in any code."""

CODE = """import math

def f(xs):
    if not xs:
        return 0
    return math.prod(unique(xs)[1:]) + nothing(len(xs))

def unique(xs):
    i = 0
    seen = set()
    result = []
    while i < len(xs):
        if xs[i] not in seen:
            seen.add(xs[i])
            result.append(xs[i])
        i += 1
    return result

def nothing(n):
    if n < 1:
        return 0
    return nothing(n - 1)
"""
TESTS = (
    FunctionTest.of("f", [], expected=0),
    FunctionTest.of("f", [5, 2, 3], expected=6),
    FunctionTest.of("f", [7, 4], expected=4),
)

RICH = """## Approach

The function `unique` walks over the list once. It keeps what it has seen in a set, so the running time is O(n):

- It returns None for an empty list.
- It first looks at the first number of the list, and then at the others.

Every number of the list is added to the result once. The list itself is not changed.

```python
import math


def unique(numbers, limit=100):
    if not numbers:
        return None
    seen = set()
    result = []
    index = 0
    # Walk from the first number to the last one, at most 100 of them
    while index < len(numbers):
        root = math.isqrt(numbers[index])
        if root not in seen:
            seen.add(root)
            result.append(numbers[index])
        index += 1
    return result


def depth(n):
    if n < 1:
        return 0
    return 1 + depth(n - 1)
```

You can call `unique([1, 1, 2])` to try it.
"""
"""A place for every type."""
RICH_TESTS = (
    FunctionTest.of("unique", [], expected=None),
    FunctionTest.of("unique", [1, 1, 4, 9, 4], expected=[1, 4, 9]),
    FunctionTest.of("unique", list(range(40)), expected=[0, 1, 4, 9, 16, 25, 36]),
    FunctionTest.of("depth", 0, expected=0),
    FunctionTest.of("depth", 3, expected=3),
)


def rich(identity: str = "row-1") -> QARecord:
    return QARecord(identity, "Write unique and depth.", RICH, "test", RICH_TESTS)


def record(code: str = CODE, tests: tuple[FunctionTest, ...] = TESTS, identity: str = "row-1") -> QARecord:
    return QARecord(identity, "Write f.", f"Sure 🎉:\r\n\r\n```python\n{code}```\n", "test", tests)


def test_a_record_gets_one_verified_error() -> None:
    made = embed(rich(), ALL, 0, execute)
    assert isinstance(made, CorruptionRecord)
    assert {edit.error for edit in made.edits} == {0} and {edit.error_type for edit in made.edits} < set(ALL)
    assert all(edit.level and edit.evidence for edit in made.edits)
    assert CorruptionRecord.from_row(made.to_row()) == made


def test_the_seed_and_the_id_decide_and_nothing_else() -> None:
    rows = [rich(f"row-{number}") for number in range(20 * len(ALL))]
    made = [embed(row, ALL, 0, None) for row in rows]
    assert made[:6] == [embed(row, ALL, 0, None) for row in rows[:6]]
    drawn = {item.edits[0].error_type for item in made if isinstance(item, CorruptionRecord)}
    assert len(drawn) >= 0.8 * len(ALL), drawn


def test_the_types_come_out_nearly_even_on_the_built_in_corpus() -> None:
    """Of types that fit an eighth of the rows each gets a third of an even share or more, and at most 2.5 of it."""
    kinds = [error_type(name) for name in ALL]
    first: Counter[str] = Counter()
    fitting: Counter[str] = Counter()
    for row in build(120, 0):
        turns = list(types_in_turn(row, kinds, 0))
        first[next(kind.name for kind, sites in turns if sites)] += 1
        fitting.update(kind.name for kind, sites in turns if sites)
    common = [name for name in ALL if fitting[name] >= 120 / 8]
    share = 120 / len(common)
    assert len(common) >= 6 and all(share / 3 <= first[name] <= 2.5 * share for name in common), first


def counting(outcome: Outcome) -> tuple[list[str], object]:
    seen: list[str] = []

    def run(code: str, tests: Sequence[FunctionTest]) -> Execution:
        seen.append(code)
        return Execution("completed", tuple(outcome for _ in tests))

    return seen, run


def test_the_good_answer_runs_once_and_candidates_are_few() -> None:
    code = "def f(xs):\n" + "".join(f"    y = xs[{number}]\n" for number in range(3, 20)) + "    return 1\n"
    seen, run = counting(Outcome("1"))
    made = embed(record(code, (FunctionTest.of("f", [1], expected=1),)), EXECUTED, 0, run)  # type: ignore[arg-type]
    assert isinstance(made, Reject) and made.reason == "nothing-confirmed"
    assert "equivalent" in made.detail
    assert len(seen) == len(set(seen)) == 1 + CANDIDATES


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (replace(record(), response="prose only"), "no-code"),
        (record("def f(:\n"), "no-code"),
        (record(tests=(FunctionTest.of("f", [], expected=1),)), "good-answer-fails"),
        (record("1 / 0\n" + CODE), "good-answer-fails"),
        (record("def f(xs):\n    return 0\n", TESTS[:1]), "no-site"),
        (record("def f(xs):\n    g = 1 < 2\n    return 0\n", TESTS[:1]), "nothing-confirmed"),
    ],
)
def test_rows_that_cannot_be_used_have_a_reason(row: QARecord, reason: str) -> None:
    made = embed(row, EXECUTED, 0, execute)
    assert isinstance(made, Reject)
    assert (made.id, made.reason) == ("row-1", reason)
    assert table_of([made], REJECTED).num_rows == 1


def test_an_unknown_type_is_a_config_error() -> None:
    with pytest.raises(UserError, match="Did you mean 'off-by-one-errors'"):
        embed(record(), ["off-by-one-error"], 0, execute)


@pytest.mark.parametrize("name", ALL)
def test_each_type_can_be_asked_for_and_annotated(name: str) -> None:
    made = embed(rich(), [name], 0, execute)
    assert isinstance(made, CorruptionRecord), made
    assert {(edit.error_type, edit.level) for edit in made.edits} == {(name, made.edits[0].level)}
    pair = annotate(made)
    assert (pair.chosen, pair.rejected) == (made.response, made.rejected)
    for edit, chosen, rejected in zip(made.edits, pair.chosen_spans, pair.rejected_spans, strict=True):
        assert pair.chosen[chosen.start : chosen.end] == edit.old
        assert pair.rejected[rejected.start : rejected.end] == edit.new
    told = json.loads(pair.provenance)
    assert told["edits"][0]["error_type"] == name and told["edits"][0]["evidence"] == made.edits[0].evidence
    assert PreferenceRecord.from_row(pair.to_row()) == pair


@pytest.mark.parametrize("name", ALL)
def test_without_running_each_type_can_be_asked_for_too(name: str) -> None:
    made = embed(rich(), [name], 0, None)
    assert isinstance(made, CorruptionRecord), made
    assert {edit.level for edit in made.edits} <= {"static", "by construction"}


def test_a_row_without_tests_is_judged_on_made_inputs() -> None:
    for name in ("off-by-one-errors", "improper-handling-of-edge-cases"):
        made = embed(replace(rich(), tests=()), [name], 0, execute)
        assert isinstance(made, CorruptionRecord), made
        assert made.edits[0].level == "executed" and made.tests, "the inputs that show it are kept with it"
        good, bad = (execute(program_of(text), made.tests) for text in (made.response, made.rejected))
        assert passed(good, made.tests) and not passed(bad, made.tests)
