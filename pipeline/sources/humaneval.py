"""Reads files of HumanEval's shape: a function's signature and docstring, its body, and a `check` full of asserts.

The answer is prompt and solution in one fenced block. Of the asserts those become tests that are plain calls with plain
JSON, `assert candidate(1, [2]) == 3`; loops, tolerances and tuples as arguments are left out.
"""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors.shapes import is_json
from pipeline.records import FunctionTest, QARecord, Row

SOURCE = "humaneval"


def from_humaneval(row: Row, id: str) -> QARecord:
    """``{task_id, prompt, canonical_solution, entry_point, test}`` as a record."""
    code = row["prompt"] + row["canonical_solution"]
    response = f"```python\n{code.strip()}\n```\n"
    return QARecord(id, row["prompt"], response, SOURCE, plain_calls(row["test"], row["entry_point"]))


def read_humaneval(path: Path) -> list[QARecord]:
    """The records of a `.jsonl` or `.jsonl.gz` file, by their `task_id`."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    return [from_humaneval(row, row["task_id"]) for row in rows]


def plain_calls(check: str, function: str) -> tuple[FunctionTest, ...]:
    """The plain calls among the asserts of ``def check(candidate)``, once each."""
    try:
        tree = ast.parse(check)
    except (SyntaxError, ValueError):
        return ()
    checks = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check")
    asserts = [item.test for node in checks for item in node.body if isinstance(item, ast.Assert)]
    found = (test for node in asserts for test in _test(node, function))
    return tuple(dict.fromkeys(found))


def _test(node: ast.expr, function: str) -> Iterator[FunctionTest]:
    """`candidate(...) == value`, or the other way round."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.Is):
        return
    call, value = node.left, node.comparators[0]
    if not _is_call(call):
        call, value = value, call
    if not isinstance(call, ast.Call) or not _is_call(call) or call.keywords:
        return
    try:
        arguments, expected = [ast.literal_eval(argument) for argument in call.args], ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return
    plain = _without_tuples(expected)
    if is_json(arguments) and is_json([plain]):
        yield FunctionTest.of(function, *arguments, expected=plain)


def _is_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "candidate"


def _without_tuples(value: Any) -> Any:
    """What a result looks like once it has been JSON."""
    if isinstance(value, list | tuple):
        return [_without_tuples(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return value
