"""Errors embedded in solutions that nobody here wrote, proven by running: HumanEval, its own tests and made ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
from benchmark_files import humaneval, needs_humaneval

from pipeline import spans
from pipeline.errors import ERROR_TYPES, edge_cases, infinite_loops, off_by_one
from pipeline.errors.answers import program_of
from pipeline.errors.base import Case, Execute, Proposal
from pipeline.errors.edge_inputs import is_edge_case
from pipeline.errors.inputs import made_tests
from pipeline.records import FunctionTest, QARecord
from pipeline.sandbox.run import Execution, execute, passed, same_outcome

TRIED = 6
"""Sites of one type tried on one row."""


@dataclass(frozen=True)
class Broken:
    """A row with one confirmed error in it, and the tests that confirm it."""

    row: QARecord
    kind: str
    bad: str
    edits: Proposal
    tests: tuple[FunctionTest, ...]


def remembered() -> Execute:
    known: dict[tuple[str, tuple[FunctionTest, ...]], Execution] = {}

    def run(code: str, tests: Sequence[FunctionTest]) -> Execution:
        key = code, tuple(tests)
        if key not in known:
            known[key] = execute(code, tests)
        return known[key]

    return run


def break_row(row: QARecord, tests: tuple[FunctionTest, ...], kind: str, run: Execute) -> Broken | None:
    """The first of some sites, in a drawn order, whose error is confirmed."""
    proposals = ERROR_TYPES[kind].propose(row.response, row.prompt)
    Random(f"0:{row.id}:{kind}").shuffle(proposals)
    for edits in proposals[:TRIED]:
        bad = spans.apply(edits, row.response)
        seen = ERROR_TYPES[kind].verify(Case(row.prompt, row.response, bad, edits, tests), run)
        if seen.confirmed:
            assert seen.level == "executed"
            return Broken(row, kind, bad, edits, tests)
    return None


def check(broken: Broken) -> None:
    """Run both answers again: the good one passes, the bad one shows its difference; spans are exact."""
    row, bad = broken.row, broken.bad
    good = execute(program_of(row.response), broken.tests)
    assert passed(good, broken.tests), row.id
    wrong = execute(program_of(bad), broken.tests)
    different = [
        test
        for test, left, right in zip(broken.tests, good.outcomes, wrong.outcomes, strict=False)
        if not same_outcome(left, right)
    ]
    if broken.kind == infinite_loops.NAME:
        assert wrong.status == "cpu-limit", row.id
    else:
        assert different, row.id
    if broken.kind == edge_cases.NAME:
        assert any(is_edge_case(test) for test in different), row.id
    chosen, rejected = spans.spans_of(broken.edits, row.response)
    assert all(row.response[span.start : span.end] == span.text for span in chosen)
    assert all(bad[span.start : span.end] == span.text for span in rejected)
    assert spans.apply(spans.inverse(broken.edits, row.response), bad) == row.response


def break_all(rows: Sequence[QARecord], *kinds: str) -> dict[str, list[Broken]]:
    found: dict[str, list[Broken]] = {kind: [] for kind in kinds}
    for row in rows:
        run = remembered()
        tests = tuple(dict.fromkeys((*row.tests, *made_tests(row.response, run))))
        assert passed(run(program_of(row.response), tests), tests), f"{row.id}: the good answer fails"
        for kind in kinds:
            broken = break_row(row, tests, kind, run)
            if broken is not None:
                check(broken)
                found[kind].append(broken)
    return found


@needs_humaneval
def test_some_humaneval_rows_break_and_show_it() -> None:
    found = break_all([humaneval()[0], humaneval()[47]], off_by_one.NAME, edge_cases.NAME)
    assert len(found[off_by_one.NAME]) >= 1


@needs_humaneval
@pytest.mark.extensive
def test_humaneval_breaks_as_promised(record_property: pytest.RecordProperty) -> None:
    guarded = [row for row in humaneval() if ERROR_TYPES[edge_cases.NAME].propose(row.response, row.prompt)]
    found = break_all(humaneval(), off_by_one.NAME, edge_cases.NAME, infinite_loops.NAME)
    figures = {kind: len(broken) for kind, broken in found.items()}
    print(f"{figures} of {len(humaneval())} rows; {len(guarded)} have a guard, a try or a fallback")
    record_property("figures", figures)
    assert figures[off_by_one.NAME] >= 60
    assert figures[edge_cases.NAME] >= 20
    assert figures[infinite_loops.NAME] >= 7
