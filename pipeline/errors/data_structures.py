"""Incorrect choice of data structure: a list where a set, a queue or a dictionary belongs.

The answer stays right and becomes slow. Recognised relative to a good answer: the same tree but for one container.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from pipeline import spans
from pipeline.errors.answers import Code, code_of
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, in_order
from pipeline.errors.compiling import sound_code
from pipeline.errors.executions import compare, unrun
from pipeline.errors.growth import LARGE, SMALL, compare_growth
from pipeline.errors.structures import NAME, rewrites
from pipeline.errors.trees import compare_answers
from pipeline.records import FunctionTest


class DataStructures:
    """Puts a list in the place of a better container."""

    name: str = NAME
    level: Level = "executed"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None:
            return []
        return in_order(dict.fromkeys(rewrites(code)))

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where all results are the same and the bad answer's work grows faster with the input."""
        good, bad = code_of(case.good), code_of(case.bad)
        if execute is None or good is None or bad is None:
            return unrun(case)
        seen = compare(case, execute)
        if isinstance(seen, str):
            return Verification(False, self.level, seen)
        if seen.differing:
            return Verification(False, self.level, f"differs on {len(seen.differing)} of {len(case.tests)} tests")
        growth = compare_growth(good.text, bad.text, case.tests, execute)
        if isinstance(growth, str):
            return Verification(False, self.level, growth)
        if not growth.is_faster:
            return Verification(False, self.level, f"equivalent: work grows {growth.bad:.1f}-fold, no faster")
        grows = f"from {SMALL} to {LARGE} elements work grows {growth.bad:.1f}-fold, not {growth.good:.1f}-fold"
        return Verification(True, self.level, f"same results; {grows}")

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        compared = compare_answers(response, reference)
        if isinstance(compared, list):
            return Finding(False, "every container is the good answer's")
        code = sound_code(response)
        if reference is None or isinstance(code, str):
            return compared
        for edits in self.propose(reference):
            worse = spans.apply(edits, reference)
            if compare_answers(response, worse) == []:
                return _finding(code, edits, reference, worse)
        return compared


def _finding(code: Code, edits: Proposal, reference: str, worse: str) -> Finding:
    """The assignment that makes the container is the same one, counted, in both programs."""
    good, other = code_of(reference), code_of(worse)
    assert good is not None and other is not None
    for ours, node, theirs in zip(*(_assignments(item) for item in (code, good, other)), strict=True):
        edited = any(good.start(node.value) <= edit.start < good.end(node.value) for edit in edits)
        if edited and ast.dump(node.value) != ast.dump(theirs.value):
            explanation = f"`{code.source(ours)}` where the good answer has `{good.source(node)}`"
            return Finding(True, explanation, code.start(ours.value), code.end(ours.value))
    return Finding(True, "a list where the good answer has a better container")


def _assignments(code: Code) -> list[ast.Assign]:
    return sorted((node for node in code.nodes if isinstance(node, ast.Assign)), key=lambda node: node.lineno)
