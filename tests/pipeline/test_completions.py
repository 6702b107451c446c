"""Answers to prompts that begin a program: whole functions, and continuations in the forms that models give them."""

from __future__ import annotations

import textwrap

import pytest
from benchmark_files import humaneval, humaneval_rows, needs_humaneval

from pipeline.errors.completions import program_for
from pipeline.records import FunctionTest
from pipeline.sandbox.run import execute, passed

PROMPT = 'from typing import List\n\ndef half(items: List[int]) -> List[int]:\n    """The first half."""\n'
BODY = "    for item in items:\n        if item is None:\n            return []\n    return items[: len(items) // 2]\n"
WHOLE = "def half(items: List[int]) -> List[int]:\n" + BODY
TESTS = [FunctionTest.of("half", [1, 2, 3, 4], expected=[1, 2]), FunctionTest.of("half", [None], expected=[])]

RIGHT = {
    "a whole function in a block, without the prompt's import": f"Here it is:\n\n```python\n{WHOLE}```\nDone.",
    "the prompt and the function in a block": f"```python\n{PROMPT}{BODY}```",
    "a block with an import that must come first": f"```python\nfrom __future__ import annotations\n{PROMPT}{BODY}```",
    "a body in a block": f"```python\n{BODY}```",
    "a body without its indentation in a block": f"```python\n{textwrap.dedent(BODY)}```",
    "a continuation": BODY,
    "a continuation after a break": f"\n{BODY}",
    "a continuation that goes on to other things": f"{BODY}\n\ndef other(:\n    pass\n\nprint(half(",
    "a continuation that calls the function": f"{BODY}\nprint(half([1]) + 1 / 0)\n",
    "a continuation that ends in prose": f"{BODY}\nThis returns the first half of it.\n",
    "a continuation whose first line lost its indentation": BODY.lstrip(),
    "the same, going on": f"{BODY.lstrip()}\n\nif __name__ == '__main__':\n    half(\n",
    "a continuation without indentation": textwrap.dedent(BODY),
    "a whole function without a block": WHOLE,
    "prompt and function without a block": f"{PROMPT}{BODY}",
}


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT.keys())
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT.rstrip()])
def test_right_answers_in_any_form_pass(prompt: str, answer: str) -> None:
    assert passed(execute(program_for(prompt, answer, "humaneval"), TESTS), TESTS)


WRONG = {
    "nothing": "",
    "prose": "The first half is what comes first.",
    "another function": "```python\ndef other():\n    return 1\n```",
    "half a line": "    return items[: len(",
    "a wrong body": "    return items[: len(items) // 2 + 1]\n",
    "a right function after a wrong one": f"    return items\n\n{WHOLE}",
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
def test_wrong_answers_fail(answer: str) -> None:
    program = program_for(PROMPT, answer, "humaneval")
    assert not (program and passed(execute(program, TESTS), TESTS))


def test_other_sources_run_their_block_alone() -> None:
    assert program_for(PROMPT, f"```python\n{WHOLE}```", "builtin/windows") == WHOLE
    assert program_for(PROMPT, BODY, "builtin/windows") == ""


@needs_humaneval
def test_humanevals_solutions_pass_as_continuations_and_as_whole_functions() -> None:
    """The whole function alone: what the prompt has before it (imports, helpers) is left to the prompt."""
    for row in humaneval():
        given = humaneval_rows()[row.id]
        start = given["prompt"].index(f"def {given['entry_point']}(")
        alone = f"```python\n{given['prompt'][start:]}{given['canonical_solution']}\n```"
        for answer in (given["canonical_solution"], given["canonical_solution"] + "\n\nclass Next:\n", alone):
            program = program_for(row.prompt, answer, row.source)
            assert passed(execute(program, row.tests), row.tests), (row.id, answer)
