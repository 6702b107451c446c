"""The error types that are found without running anything: minor syntax errors and unused imports."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from prose_types import PROSE

from pipeline import spans
from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import Case, Finding, Unscored, Verification
from pipeline.errors.compiling import broken_python, compile_failure, sound_code
from pipeline.errors.syntax_errors import SyntaxErrors
from pipeline.errors.unused_imports import PLAUSIBLE, UnusedImports
from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution, execute

DEBUGBENCH = Path(__file__).parents[3] / "shared/data/debugbench_python.jsonl.gz"
FENCE = "```"
F = FunctionTest.of
SYNTAX, UNUSED = SyntaxErrors(), UnusedImports()


def fenced(code: str, tag: str = "python") -> str:
    return f"Sure 🎉\n\n{FENCE}{tag}\n{code}{FENCE}\nDone.\n"


def never(program: str, tests: Sequence[FunctionTest]) -> Execution:
    raise AssertionError("nothing should have been run")


def edits(answer: str) -> list[tuple[str, str]]:
    return [(edit.old, edit.new) for (edit,) in SYNTAX.propose(answer)]


def broken(answer: str, kind: SyntaxErrors | UnusedImports = SYNTAX) -> list[str]:
    return [spans.apply([edit], answer) for (edit,) in kind.propose(answer)]


# Minor syntax errors


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = {'a': y[1:2]}\n", ["{", "'", "'", "[", "]", "}"]),
        ("x: int = lambda a: a\n", []),
        ("if a: b\n", [":"]),
        ("if a == b: pass\nelse : pass\n", ["==", ":", ":"]),
        ("@wraps\nclass A:\n    @cache\n    def f(self): pass\n", [":", "    ", "", "(", ")", ":"]),
        ("try:\n\tf\nfinally:\n\tg\n\th\n", [":", "\t", ":", "\t", ""]),
        ("x = rb'' + '' f\"{1}\"\n", ["'", "'", '"', '"']),
        ('def f():\n  """Two\n  lines."""\n', ["(", ")", ":", "  ", '"', '"']),
        ("match x:\n    case [1]: pass\n", [":", "    ", "[", "]", ":"]),
    ],
)
def test_syntax_sites(code: str, expected: list[str]) -> None:
    assert [old for old, _ in edits(fenced(code))] == expected


def test_every_syntax_site_breaks_a_program_and_is_recognised() -> None:
    head = "import re\r\nclass Größe:\r\n\t'''🎉'''\r\n\tdef f(self, x):\r\n"
    answer = fenced(head + "\t\tif x == '🎉é':\r\n\t\t\treturn [x]\r\n\t\treturn 1\r\n")
    made = SYNTAX.propose(answer)
    assert len(made) == 17
    for (edit,) in made:
        bad = spans.apply([edit], answer)
        assert SYNTAX.verify(Case("", answer, bad, (edit,), (F("f", 1),)), never).confirmed, edit
        found = SYNTAX.recognise(bad)
        assert isinstance(found, Finding) and found.present
        assert 0 <= (found.start or 0) <= (found.end or 0) <= len(bad)


def test_an_equals_sign_that_still_compiles_is_unconfirmed() -> None:
    answer = fenced("x = y == 1\n")
    ((edit,),) = SYNTAX.propose(answer)
    seen = SYNTAX.verify(Case("", answer, spans.apply([edit], answer), (edit,)), never)
    assert seen == Verification(False, "static", "equivalent: the Python still compiles")
    worse = fenced("x = = 1\n")
    assert SYNTAX.verify(Case("", worse, worse, (edit,)), never).reason == "the good answer does not compile"


def test_the_place_of_a_syntax_error_is_where_the_compiler_points() -> None:
    answer = f"1. So:\r\n\r\n   {FENCE}py\r\n   größe = '🎉'; x = f(1\r\n   {FENCE}\r\n"
    found = SYNTAX.recognise(answer)
    assert isinstance(found, Finding) and found.start is not None
    assert answer[found.start :].startswith("(1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        fenced("def f():\n    return 1\n"),
        fenced(">>> f(1)\n2\n") + fenced("x = 1\n"),
        fenced("    def method(self):\n        return 1\n") + fenced("x = 1\n"),  # a piece of a class
        fenced("$ python x.py\n") + fenced("x = (\n", "text") + fenced("x = 1 is 1\n"),
    ],
)
def test_python_that_compiles(answer: str) -> None:
    assert SYNTAX.recognise(answer) == Finding(False, "the Python compiles")


@pytest.mark.parametrize("answer", ["prose", fenced("def f(:\n", ""), fenced("fn main() {}\n", "rust")])
def test_without_a_tag_nobody_knows_what_a_broken_block_was(answer: str) -> None:
    assert isinstance(SYNTAX.recognise(answer), Unscored)
    assert SYNTAX.propose(answer) == []


def test_untagged_blocks_and_other_languages_are_left_alone() -> None:
    answer = fenced("def f(): pass\n", "") + fenced("x = (1)\n") + fenced("(y)\n", "c")
    assert edits(answer) == [("(", ""), (")", "")]


def test_return_outside_a_function_parses_but_does_not_compile() -> None:
    found = SYNTAX.recognise(fenced("x = 1\nreturn x\n"))
    assert isinstance(found, Finding) and "'return' outside function" in found.explanation
    assert isinstance(sound_code(fenced("x = 1\nreturn x\n")), str)


def test_what_is_too_much_for_the_compiler_is_unscored() -> None:
    deep = fenced("x = " + "-" * 100_000 + "1\n")
    assert broken_python(deep) is not None and isinstance(SYNTAX.recognise(deep), Unscored)


def test_a_good_block_does_not_speak_for_a_broken_one() -> None:
    good = fenced("import math\ndef f(n):\n    return math.floor(n)\n") + fenced("print(f(1))\n")
    assert not isinstance(sound_code(good), str)
    for bad in broken(good):
        of_code = {name: kind for name, kind in ERROR_TYPES.items() if name not in PROSE}
        verdicts = {name: kind.recognise(bad, reference=good) for name, kind in of_code.items()}
        present = verdicts.pop("minor-syntax-errors")
        assert isinstance(present, Finding) and present.present
        assert all(isinstance(verdict, Unscored) for verdict in verdicts.values()), bad


@pytest.mark.skipif(not DEBUGBENCH.exists(), reason="../shared/data/debugbench_python.jsonl.gz is not in this checkout")
def test_debugbench_syntax_bugs_are_found_and_its_solutions_are_not() -> None:
    with gzip.open(DEBUGBENCH, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        assert SYNTAX.recognise(fenced(row["oracle_code"] + "\n")) == Finding(False, "the Python compiles")
    for row in rows:
        found = SYNTAX.recognise(fenced(row["buggy_code"] + "\n"))
        assert isinstance(found, Finding) and found.present == (compile_failure(row["buggy_code"]) is not None), row
    colons = [row["buggy_code"] for row in rows if "missing colons" in row["id"]]
    assert len(colons) == 10 and all(compile_failure(code) for code in colons)


# Unused imports


def added(answer: str, line: str = "import re") -> str:
    """The answer with this line as an unused import, as the type would add it."""
    return next(spans.apply([edit], answer) for (edit,) in UNUSED.propose(answer) if edit.new.split() == line.split())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(): pass\n", "import re\n\ndef f(): pass\n"),
        ("\ndef f(): pass\n", "import re\n\ndef f(): pass\n"),
        ("import os\nos.name\n", "import os\nimport re\nos.name\n"),
        ("from a import (\n    b,\n)  # 🎉\nb\n", "from a import (\n    b,\n)  # 🎉\nimport re\nb\n"),
        ("from __future__ import annotations\nx = 1\n", "from __future__ import annotations\nimport re\nx = 1\n"),
        ("'''Doc 🎉\n'''\nx = 1\n", "'''Doc 🎉\n'''\nimport re\nx = 1\n"),
        ("#!/usr/bin/python\nx = 1\n", "#!/usr/bin/python\nimport re\n\nx = 1\n"),
        ("import os; os.name\n", "import re\n\nimport os; os.name\n"),
        ("class A:\n\timport os\n\tx = os\n", "import re\n\nclass A:\n\timport os\n\tx = os\n"),
    ],
)
def test_where_an_unused_import_goes(code: str, expected: str) -> None:
    assert added(fenced(code)) == fenced(expected)
    assert added(fenced(code).replace("\n", "\r\n")) == fenced(expected).replace("\n", "\r\n")


def test_an_indented_fence_and_an_answer_that_ends_at_once() -> None:
    answer = f"- So:\n\n  {FENCE}python\n  import os\n  os.name\n  {FENCE}\n"
    assert added(answer) == answer.replace("  import os\n", "  import os\n  import re\n")
    assert added(f"{FENCE}python\nimport os") == f"{FENCE}python\nimport os\nimport re"


def test_a_name_that_stands_in_the_code_is_not_imported() -> None:
    code = "def f(re, s):\n    time = s  # json\n    return f'{math}'\n"
    names = {edit.new.split()[-1] for (edit,) in UNUSED.propose(fenced(code))}
    assert names == {line.split()[-1] for line in PLAUSIBLE} - {"re", "time", "json", "math"}


GOOD = "import math\ndef f(x):\n    return math.ceil(x)\n"


def verified(good: str, bad: str, tests: Sequence[FunctionTest] = ()) -> Verification:
    return UNUSED.verify(Case("", fenced(good), fenced(bad), (), tuple(tests)), execute if tests else never)


def test_an_unused_import_is_confirmed_and_changes_no_result() -> None:
    tests = [F("f", 1.5, expected=2), F("f", "x", raises="TypeError")]
    seen = verified(GOOD, "import re\n" + GOOD, tests)
    assert seen == Verification(True, "static", "'re' is imported and not used; all 2 tests give the same")
    assert verified(GOOD, "import re\n" + GOOD) == Verification(True, "static", "'re' is imported and not used")


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        (GOOD, "import re\nimport os\n" + GOOD, "2 imports become unused, not one"),
        (GOOD, GOOD, "0 imports become unused, not one"),
        ("import re\n" + GOOD, "import re, os\n" + GOOD, "more than an import is different"),
        (GOOD, "import re\n" + GOOD.replace("ceil", "floor"), "more than an import is different"),
        (GOOD, "import re\n" + GOOD + ")", "the Python does not compile"),
    ],
)
def test_what_is_no_unused_import(good: str, bad: str, reason: str) -> None:
    assert verified(good, bad).reason == reason


def test_an_import_that_cannot_be_made_changes_results() -> None:
    assert "load-error" in verified(GOOD, "import nowhere\n" + GOOD, [F("f", 1.5, expected=2)]).reason


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os\n'🎉'; import re as größe\nos.name\n", "import re as größe"),
        ("from typing import List, Dict as D\nx: List\n", "Dict as D"),
        ("def f():\n    import os.path\n", "import os.path"),
        ("from math import *\n", "from math import *"),
    ],
)
def test_an_unused_import_is_found_where_it_stands(code: str, text: str) -> None:
    found = UNUSED.recognise(fenced(code))
    assert isinstance(found, Finding) and found.present and found.start is not None
    assert fenced(code)[found.start : found.end] == text


@pytest.mark.parametrize(
    "code",
    [
        GOOD,
        "from __future__ import annotations\nimport os\n__all__ = ['os']\n",
        "from typing import List\ndef f(x: 'List[int]'): pass\n",
        "import os.path\nprint(f'{os.name}')\n",
    ],
)
def test_no_false_alarm_for_used_imports(code: str) -> None:
    assert UNUSED.recognise(fenced(code)) == Finding(False, "every import is used")
