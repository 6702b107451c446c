"""Whether an answer's code compiles and passes its tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pipeline.errors.base import Execute
from pipeline.errors.compiling import compile_failure, described
from pipeline.errors.completions import program_for
from pipeline.records import CallResult, FunctionTest, GenerationRecord, ScoreRecord
from pipeline.sandbox import run, values
from pipeline.sandbox.run import Execution, Outcome
from pipeline.sources.humaneval import HUMANEVAL, MBPP

BENCHMARKS = frozenset({HUMANEVAL, MBPP})
SHOWN = 100
"""Characters of one value, call or message that an explanation shows."""


BENCHMARK = run.Limits(cpu_seconds=3, wall_seconds=30.0)
"""HumanEval's own limit (Chen et al. 2021; `timeout` of openai/human-eval), which MBPP is run with, too."""


def score_execution(record: GenerationRecord, *, execute: Execute | None = None) -> list[ScoreRecord]:
    """`compiles` and `passed`, each 1 or 0; `passed` is None where there are no tests that can be told."""
    execute = execute or partial(run.execute, limits=BENCHMARK if record.source in BENCHMARKS else run.Limits())
    program = program_for(record.prompt, record.response, record.source)
    problem = compile_error(program) if program else "the answer has no Python code block"
    compiles = ScoreRecord(record.id, "compiles", float(not problem), problem or "the code compiles")
    return [compiles, _passed(record, program, problem, execute)]


def _passed(record: GenerationRecord, program: str, problem: str, execute: Execute) -> ScoreRecord:
    if not record.tests:
        return ScoreRecord(record.id, "passed", None, "unscored: the prompt has no tests")
    if reason := next(filter(None, map(values.why_unscored, record.tests)), ""):
        return ScoreRecord(record.id, "passed", None, f"unscored: {_short(reason)}")
    if problem:
        return ScoreRecord(record.id, "passed", 0.0, problem)
    execution = execute(program, record.tests)
    verdict = run.passed(execution, record.tests)
    results = tuple(_result(*pair) for pair in zip(record.tests, execution.outcomes, strict=False))
    return ScoreRecord(record.id, "passed", float(verdict), explain(execution, record.tests), results=results)


def _result(test: FunctionTest, outcome: Outcome) -> CallResult:
    value = None if outcome.value is None else _short(values.shown_value(outcome.value, test))
    return CallResult(run.meets(outcome, test), value, _short(outcome.raised), _short(outcome.message))


def compile_error(program: str) -> str:
    """What keeps a program from compiling, or nothing. It is compiled here, never run."""
    error = compile_failure(program)
    return _short(described(error)) if error else ""


def explain(execution: Execution, tests: Sequence[FunctionTest]) -> str:
    """One line: the first failing test with what it gave and expected, else how the run ended. Values are JSON."""
    for test, outcome in zip(tests, execution.outcomes, strict=False):
        if not run.meets(outcome, test):
            return f"{call_text(test)} {_got(outcome, test)}, expected {expected_text(test)}"
    if execution.status == "completed":
        return f"all {len(tests)} tests pass"
    if execution.status == "load-error" or len(execution.outcomes) == len(tests):
        return f"{execution.status}: {_short(execution.detail)}"
    return f"{execution.status} before {call_text(tests[len(execution.outcomes)])} ended: {_short(execution.detail)}"


def call_text(test: FunctionTest) -> str:
    """The call of a test as one short line of Python."""
    called = test.function if test.function.isidentifier() else f"({test.function})"
    return _short(f"{called}({test.arguments.strip()[1:-1]})")


def expected_text(test: FunctionTest) -> str:
    """What a test expects, as one short line: a JSON or Python value, or the name of an exception."""
    return _short(values.shown(test))


def _got(outcome: Outcome, test: FunctionTest) -> str:
    if outcome.value is None:
        return _short(f"raised {outcome.raised}: {outcome.message}")
    return f"returned {_short(values.shown_value(outcome.value, test))}"


def _short(text: str) -> str:
    """Text that answers may have had a hand in, as one short printable line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."
