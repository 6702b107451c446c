"""Rows of HumanEval's and MBPP's shapes: a prompt, a reference solution, and asserts that become tests.

HumanEval (Chen et al. 2021, arXiv 2107.03374) asks to complete a function from its signature and docstring; a
`check(candidate)` is full of asserts. MBPP (Austin et al. 2021, arXiv 2108.07732) asks in words, with three asserts.
Rows whose asserts cannot be told as calls have one test that says why, and answers to them stay unscored.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.records import FunctionTest, QARecord, Row
from pipeline.sandbox import values
from pipeline.sources.asserts import Checks, as_tests
from pipeline.sources.values import BadRow, string, text, typed

HUMANEVAL, MBPP = "humaneval", "mbpp"
COMPLETED = frozenset({HUMANEVAL})
"""Sources whose prompts are the beginning of a program: an answer may go on where the prompt ends."""
ASKED = "\nYour code should pass these tests:\n\n"
"""Between an MBPP question and its asserts, which tell the function's name and form (Austin et al., section 2)."""


def from_humaneval(row: Row, id: str) -> QARecord:
    """``{task_id, prompt, canonical_solution, entry_point, test}``: the answer is both together as a fenced block."""
    prompt, function = text(row, "prompt"), text(row, "entry_point")
    code = prompt + text(row, "canonical_solution")
    tests = _checked(text(row, "test"), function, code)
    return QARecord(id, prompt, fenced(code), HUMANEVAL, tests)


def from_mbpp(row: Row, id: str) -> QARecord:
    """``{task_id, text or prompt, code, test_list, test_imports?, test_setup_code?}``."""
    question = text(row, "prompt" if "prompt" in row else "text")
    code = text(row, "code").replace("\r\n", "\n")
    asserts = _lines(row, "test_list")
    setup = string(row.get("test_setup_code") or "", "test_setup_code").replace("\r\n", "\n")
    prompt = f"{question.strip()}{ASKED}" + "".join(f"    {line}\n" for line in asserts)
    tests = _listed("\n".join(asserts), "\n".join(_lines(row, "test_imports")), setup.strip(), code)
    return QARecord(id, prompt, fenced(code), MBPP, tests)


def fenced(code: str) -> str:
    """A program as an answer."""
    return f"```python\n{code.strip()}\n```\n"


def _lines(row: Row, field: str) -> list[str]:
    """A list of texts that may be left out; some files have it as one text."""
    value: Any = row.get(field) or []
    return [string(line, field).strip() for line in ([value] if isinstance(value, str) else typed(value, list, field))]


def _checked(checks: str, function: str, code: str) -> tuple[FunctionTest, ...]:
    """The asserts of ``def check(candidate)``."""
    body = _parsed(checks, "test")
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "check" and node.args.args]
    if len(found) != 1:
        return (values.unscored(function, "the checks hold no function check(candidate)"),)
    before = [node for node in body if node is not found[0]]
    return as_tests(Checks(found[0].args.args[0].arg, found[0].body, before), function, code)


def _listed(asserts: str, imports: str, setup: str, code: str) -> tuple[FunctionTest, ...]:
    """Asserts that stand alone. They are about the function of the reference that they name most often."""
    statements, solution = _parsed(asserts, "test_list"), _parsed(code, "code")
    named = Counter(part.id for node in statements for part in ast.walk(node) if isinstance(part, ast.Name))
    defined = {node.name for node in solution if isinstance(node, ast.FunctionDef)}
    known = [name for name, _ in named.most_common() if name in defined]
    if not known:
        return (values.unscored("", "the asserts name no function of the reference solution"),)
    _parsed(setup, "test_setup_code")
    return as_tests(Checks(known[0], statements, _parsed(imports, "test_imports"), setup), known[0], code)


def _parsed(program: str, field: str) -> Sequence[ast.stmt]:
    try:
        return ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadRow("wrong-type", f"field '{field}' is no Python program: {error}.") from None
