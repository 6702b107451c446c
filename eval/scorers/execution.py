"""Whether an answer's code compiles and passes its tests."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors.answers import program_of
from pipeline.errors.base import Execute
from pipeline.errors.compiling import compile_failure, described
from pipeline.records import FunctionTest, GenerationRecord, ScoreRecord
from pipeline.sandbox import run
from pipeline.sandbox.run import Execution, Outcome

SHOWN = 100
"""Characters of one value, call or message that an explanation shows."""


def score_execution(record: GenerationRecord, *, execute: Execute = run.execute) -> list[ScoreRecord]:
    """`compiles` and `passed`, each 1 or 0; `passed` is None where the record has no tests."""
    program = program_of(record.response)
    problem = compile_error(program) if program else "the answer has no Python code block"
    compiles = ScoreRecord(record.id, "compiles", float(not problem), problem or "the code compiles")
    return [compiles, _passed(record, program, problem, execute)]


def _passed(record: GenerationRecord, program: str, problem: str, execute: Execute) -> ScoreRecord:
    if not record.tests:
        return ScoreRecord(record.id, "passed", None, "unscored: the prompt has no tests")
    if problem:
        return ScoreRecord(record.id, "passed", 0.0, problem)
    execution = execute(program, record.tests)
    verdict = run.passed(execution, record.tests)
    return ScoreRecord(record.id, "passed", float(verdict), explain(execution, record.tests))


def compile_error(program: str) -> str:
    """What keeps a program from compiling, or nothing. It is compiled here, never run."""
    error = compile_failure(program)
    return _short(described(error)) if error else ""


def explain(execution: Execution, tests: Sequence[FunctionTest]) -> str:
    """One line: the first failing test with what it gave and expected, else how the run ended. Values are JSON."""
    for test, outcome in zip(tests, execution.outcomes, strict=False):
        if not run.meets(outcome, test):
            return f"{_call(test)} {_got(outcome)}, expected {_expected(test)}"
    if execution.status == "completed":
        return f"all {len(tests)} tests pass"
    if execution.status == "load-error" or len(execution.outcomes) == len(tests):
        return f"{execution.status}: {_short(execution.detail)}"
    return f"{execution.status} before {_call(tests[len(execution.outcomes)])} ended: {_short(execution.detail)}"


def _call(test: FunctionTest) -> str:
    return _short(f"{test.function}({test.arguments.strip()[1:-1]})")


def _expected(test: FunctionTest) -> str:
    return test.raises or _short(test.expected)


def _got(outcome: Outcome) -> str:
    if outcome.value is None:
        return _short(f"raised {outcome.raised}: {outcome.message}")
    return f"returned {_short(outcome.value)}"


def _short(text: str) -> str:
    """Text that answers may have had a hand in, as one short printable line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."
