"""Finding the Python in an answer, and the exact characters of its nodes."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prose_types import PROSE

from pipeline import spans
from pipeline.errors import ERROR_TYPES
from pipeline.errors.answers import blocks, code_of, program_of
from pipeline.errors.compiling import sound_code

FENCE = "```"


def fenced(code: str, tag: str = "python") -> str:
    return f"Here it is 🎉:\n\n{FENCE}{tag}\n{code}{FENCE}\n\nIt works.\n"


def test_the_block_with_python_is_chosen() -> None:
    answer = (
        f"{FENCE}bash\npip install x\n{FENCE}\n{FENCE}python\n>>> f(1)\n2\n{FENCE}\n{FENCE}\n[1, 2]\n{FENCE}\n"
        f"{FENCE}Python\ndef f(x):\n    return x\n{FENCE}\n{FENCE}text\nx = 1\n{FENCE}\n{FENCE}\nimport os\n{FENCE}\n"
    )
    assert program_of(answer) == "def f(x):\n    return x\nimport os\n"


def test_blocks_that_make_no_program_together_give_the_longest() -> None:
    answer = fenced("def f():\n    return 1\n") + fenced("from __future__ import annotations\nx = 1\ny = 2\nz = 3\n")
    assert program_of(answer).startswith("from __future__")


def test_an_answer_without_usable_python() -> None:
    assert code_of("Just prose with `x = 1`.") is None and program_of("Just prose.") == ""
    assert code_of(fenced("def f(:\n")) is None
    assert program_of(fenced("def f(:\n")) == "def f(:\n"
    assert code_of(fenced("x = " + "-" * 200 + "1\n")) is None
    assert code_of(fenced("x = '\0'\n")) is None


def test_fences_follow_commonmark() -> None:
    unclosed = f"text\n{FENCE}python\nx = 1\n"
    assert program_of(unclosed) == "x = 1\n"
    tildes = "~~~~ {.python .numberLines}\nx = '''\n~~~\n'''\n~~~~\n"
    assert program_of(tildes) == "x = '''\n~~~\n'''\n"
    assert [block.tag for block in blocks(f"{FENCE}c++ title\n{FENCE}\n{FENCE}{FENCE}python x`y\n")] == ["c++"]


def test_an_indented_fence_in_a_list() -> None:
    answer = f"1. Like so:\n\n   {FENCE}python\n   def f(xs):\n       return xs[0]\n\n   {FENCE}\n"
    code = code_of(answer)
    assert code is not None and code.text == "def f(xs):\n    return xs[0]\n\n"
    index = next(node for node in code.nodes if isinstance(node, ast.Constant))
    assert code.source(index) == "0" and answer[code.start(index) - 1] == "["


def test_columns_are_code_points_of_the_answer() -> None:
    answer = fenced("def f(größe, s='👩‍💻é'):\r\n\tx = größe['ß🎉'], größe[0:12]\r\n\treturn x\r\n")
    code = code_of(answer)
    assert code is not None
    found = {code.source(node) for node in code.nodes if isinstance(node, ast.Constant)}
    assert found == {"'👩‍💻é'", "'ß🎉'", "0", "12"}


def test_other_line_separators_do_not_end_a_line() -> None:
    code = code_of(fenced("s = 'a\u2028b\x1cc'; n = 12\r\nt = '\x0b'\rm = 34\n"))
    assert code is not None
    numbers = [node for node in code.nodes if isinstance(node, ast.Constant) and type(node.value) is int]
    assert [code.source(node) for node in numbers] == ["12", "34"]


def test_whole_lines_reach_over_the_break_and_refuse_company() -> None:
    answer = fenced("if a: b()  # why\r\nx = 1; y = 2\r\n")
    code = code_of(answer)
    assert code is not None
    first, second, _ = code.tree.body
    place = code.whole_lines(first)
    assert place is not None and answer[slice(*place)] == "if a: b()  # why\r\n"
    assert code.whole_lines(second) is None


NAMES = st.sampled_from(["n", "größe", "数", "items", "é"])
STRINGS = st.text(st.sampled_from("a🎉é\tn+1 "), max_size=6)
BREAKS = st.sampled_from(["\n", "\r\n"])
INDENTS = st.sampled_from(["    ", "\t", "  "])

TEMPLATE = """import math, re  # {text}
from collections import Counter, deque

def f({name}, other=None):
{tab}'''{text} 🎉'''
{tab}if not {name}:
{tab}{tab}return '{text}'
{tab}limit = {{'{text}': 1}}.get('{text}', 0) or 0; again = {name}[0:{number}]
{tab}try:
{tab}{tab}deque({name}[-1] for i in range({number}, len({name}) - 1))
{tab}except (IndexError, TypeError):
{tab}{tab}return math.floor({number})
{tab}while limit <= {number}:
{tab}{tab}limit += 1  # {name} {text}
{tab}return Counter(again[1:]), '{text}', {name}[0] if {name} else None, re.sub('{text}', '', '')

def walk(graph, {name}):
{tab}queue = deque([{name}])
{tab}seen = set()
{tab}kept = {{*graph}}
{tab}memo = {{}}
{tab}first = 0
{tab}last = {number}
{tab}while queue and first <= last:
{tab}{tab}item = queue.popleft()
{tab}{tab}first += 1
{tab}{tab}last = last - 1  # {text}
{tab}{tab}if item in seen or first in kept:
{tab}{tab}{tab}break
{tab}{tab}seen.add(item); x = '{text}'
{tab}{tab}kept.add(item)
{tab}{tab}memo[item] = memo.get(item, first)
{tab}return first + last, memo, '🎉'

class Tree:
{tab}def depth(self, {name}):
{tab}{tab}if {name} is None or {name} == {number}: return {number} # 🎉
{tab}{tab}elif not {name}:
{tab}{tab}{tab}return []
{tab}{tab}else:
{tab}{tab}{tab}# {text}
{tab}{tab}{tab}return self.depth({name}[1:])
"""


@st.composite
def answers(draw: st.DrawFn) -> str:
    values = {"name": draw(NAMES), "text": draw(STRINGS), "number": draw(st.integers(0, 12)), "tab": draw(INDENTS)}
    fence = draw(st.sampled_from(["", "  ", "   "]))
    code = "".join(fence + line + "\n" for line in TEMPLATE.format(**values).splitlines() if True)
    prose = draw(STRINGS)
    answer = f"{prose} `range(n)`\n\n{fence}{FENCE}python\n{code}{fence}{FENCE}\n{prose} range(n)\n"
    return answer.replace("\n", draw(BREAKS))


@settings(max_examples=15)
@given(answers())
def test_every_proposed_edit_is_exact_and_can_be_undone(answer: str) -> None:
    proposed = {name: kind.propose(answer) for name, kind in ERROR_TYPES.items() if name not in PROSE}
    assert all(len(proposals) > 3 for proposals in proposed.values())
    for name, proposals in proposed.items():
        assert proposals == sorted(proposals, key=lambda edits: [(edit.start, edit.end, edit.new) for edit in edits])
        assert len(set(proposals)) == len(proposals)
        for edits in proposals:
            bad = spans.apply(edits, answer)
            assert bad != answer and (sound_code(bad) != code_of(bad)) == (name == "minor-syntax-errors"), edits
            assert spans.apply(spans.inverse(edits, answer), bad) == answer
            chosen, rejected = spans.spans_of(edits, answer)
            assert all(answer[span.start : span.end] == span.text for span in chosen)
            assert all(bad[span.start : span.end] == span.text for span in rejected)
            assert {edit.error_type for edit in edits} == {name}


@pytest.mark.parametrize(
    "hostile", ["(" * 5000, "x" + ".a" * 5000, "1" + "+1" * 5000, "[" * 90 + "]" * 90, "\0", "\ufeffx=1"]
)
def test_runaway_answers_do_not_trip_anything(hostile: str) -> None:
    answer = fenced(hostile + "\n")
    good = fenced("def f(xs):\n    return xs[0]\n")
    for kind in ERROR_TYPES.values():
        kind.propose(answer)
        kind.recognise(answer, reference=good)
