"""The prose types on answers that nobody wrote by hand: exact edits, unchanged code, no false alarms, no trips."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import glaive_like
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prose_types import COMMENTS, EXPLANATION, FORMAT, PROSE, TERMS

from pipeline import spans
from pipeline.errors import ERROR_TYPES
from pipeline.errors.answers import code_of
from pipeline.errors.base import Case, Finding
from pipeline.errors.prose import fenced_code
from pipeline.sources.builtin import build

HUMANEVAL = Path(__file__).parents[3] / "shared/data/humaneval.jsonl.gz"
FENCE = "```"

TEXTS = st.lists(
    st.sampled_from([
        "The list has 3 entries above 2.", "It isn't a list of lists.", "A 🎉 list é of `lists` is first.",
        "It takes O(n) time.", "Sort the numbers in ascending order.", "\x00\x01", "the list", "`O(1)`", "See http://a.b/3?x=4.",
        "Is it a list?",
    ]),
    min_size=1, max_size=4,
).map(" ".join)  # fmt: skip
CODES = st.sampled_from([
    "x = 1  # the first 3 entries\ny = 2\n\n# the largest é\nz = '# 4 first'\n",
    'def f(a):\n    """Return the first 3 🎉 of a.\n\n    At least 2.\n    """\n    return a[:3]\n',
    "```\nx = 1\n", "not python (", "", ">>> f(3)\n3\n",
])  # fmt: skip
FENCES = st.sampled_from([FENCE, "````", "~~~", "~~~~~"])


@st.composite
def parts(draw: st.DrawFn) -> str:
    """A paragraph, heading, list, quote or fenced block, perhaps indented as in a list."""
    text = draw(TEXTS)
    kind = draw(st.integers(0, 5))
    if kind == 5:
        fence, margin = draw(FENCES), draw(st.sampled_from(["", "   "]))
        code = "".join(f"{margin}{line}\n" for line in draw(CODES).splitlines())
        return f"{margin}{fence}{draw(st.sampled_from(['python', 'py', '', 'text']))}\n{code}{margin}{fence}"
    mark = ("", "## ", "- ", "1. ", "> ")[kind]
    return f"{mark}{text}\n{mark}{draw(TEXTS)}"


ANSWERS = st.builds(
    lambda pieces, line_break: "\n\n".join(pieces).replace("\n", line_break),
    st.lists(parts(), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


@settings(max_examples=60)
@given(ANSWERS)
def test_every_edit_is_exact_can_be_undone_and_leaves_the_code(answer: str) -> None:
    for name in PROSE:
        made = ERROR_TYPES[name].propose(answer)
        assert made == sorted(made, key=lambda edits: [(edit.start, edit.end, edit.new) for edit in edits])
        assert len(set(made)) == len(made)
        for edits in made[:40]:
            bad = spans.apply(edits, answer)
            assert bad != answer and spans.apply(spans.inverse(edits, answer), bad) == answer
            assert {edit.error_type for edit in edits} == {name}
            if name not in (FORMAT, COMMENTS):
                assert fenced_code(bad) == fenced_code(answer), edits


@settings(max_examples=60)
@given(ANSWERS)
@example("```python\n```\nx = 1\n```\n\nIt has 3 entries.\n\n```python\ny = 2\n```")  # a fence less mends it
def test_what_is_confirmed_is_recognised_beside_the_good_answer(answer: str) -> None:
    for name in PROSE:
        kind = ERROR_TYPES[name]
        alarm = kind.recognise(answer, reference=answer)
        assert not (isinstance(alarm, Finding) and alarm.present), (name, alarm)
        for edits in kind.propose(answer)[:15]:
            bad = spans.apply(edits, answer)
            if kind.verify(Case("", answer, bad, edits), None).confirmed:
                seen = kind.recognise(bad, reference=answer)
                assert not isinstance(seen, Finding) or seen.present or name == EXPLANATION, (edits, seen)
                if isinstance(seen, Finding) and seen.start is not None and seen.end is not None:
                    assert 0 <= seen.start <= seen.end <= len(bad)


@settings(max_examples=100)
@given(st.text(alphabet="`~#*-.1)>( \n\r\t\x00aO🎉é\ud800|_\\[]", max_size=80))
def test_noise_trips_nothing(answer: str) -> None:
    for name in PROSE:
        for edits in ERROR_TYPES[name].propose(answer)[:3]:
            bad = spans.apply(edits, answer)
            ERROR_TYPES[name].verify(Case(answer, answer, bad, edits), None)
            ERROR_TYPES[name].recognise(bad, reference=answer, prompt=answer)


@pytest.mark.parametrize(
    "hostile",
    [
        "`" * 19_000 + "a", "- The list is a list.\n" * 800, "O(" * 9_000, "](" * 9_000, "<a" * 9_000, "(' " * 6_000,
        "The function returns 3 of the first list. " * 450, f"{FENCE}python\nx = 1\n{FENCE}\n" * 600, ">" * 19_000,
        f"{FENCE}python\n" + "x = 1  # the first 3\n" * 900, "def f(" + ")" * 19_000, "a" * 1_000_000, "\r" * 19_000,
        f"{FENCE}python\n" + "x = 1  # the first 3\n" * 40_000,
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_runaway_answers_do_not_trip_anything(hostile: str) -> None:
    for name in PROSE:
        assert len(ERROR_TYPES[name].propose(hostile)) < 10_000
        ERROR_TYPES[name].recognise(hostile, reference=hostile[::-1])


# On good answers


def alarms(answers: list[str]) -> dict[str, int]:
    """Findings without a good answer to compare with, in answers that are good."""
    found = {}
    for name in PROSE:
        seen = [ERROR_TYPES[name].recognise(answer) for answer in answers]
        found[name] = sum(isinstance(verdict, Finding) and verdict.present for verdict in seen)
    return found


def test_no_false_alarms_on_the_built_in_corpus_and_on_made_up_answers() -> None:
    assert alarms([row.response for row in build(200, 0)]) == dict.fromkeys(PROSE, 0)
    assert alarms([row.response for row in glaive_like.rows(150)]) == dict.fromkeys(PROSE, 0)


@pytest.mark.skipif(not HUMANEVAL.exists(), reason="../shared/data/humaneval.jsonl.gz is not in this checkout")
def test_false_alarms_on_humaneval_docstrings_as_prose() -> None:
    """Text by many hands. Two docstrings do mix `list` and `array`."""
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    answers = [
        f"{described(row)}\n\n{FENCE}python\n{row['prompt']}{row['canonical_solution']}{FENCE}\n" for row in rows
    ]
    assert alarms(answers) == {**dict.fromkeys(PROSE, 0), TERMS: 2}


def described(row: dict[str, str]) -> str:
    """The docstring without its examples."""
    found = re.search(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', row["prompt"], re.DOTALL)
    text = (found[1] or found[2]) if found else ""
    return "\n".join(line.strip() for line in re.split(">>>|Example|For example", text)[0].splitlines())


def test_every_proposal_for_made_up_answers_is_confirmed_and_recognised() -> None:
    tried = dict.fromkeys(PROSE, 0)
    for row in glaive_like.rows(24):
        for name in PROSE:
            kind = ERROR_TYPES[name]
            for edits in kind.propose(row.response, row.prompt)[::4]:
                bad = spans.apply(edits, row.response)
                seen = kind.verify(Case(row.prompt, row.response, bad, edits), None)
                assert seen.confirmed, (row.id, edits, seen)
                found = kind.recognise(bad, reference=row.response)
                assert isinstance(found, Finding) and found.present, (row.id, edits, found)
                tried[name] += 1
    assert min(tried.values()) >= 10 and sum(tried.values()) > 300


# The made-up answers themselves


def test_made_up_answers_are_different_reproducible_and_of_the_right_length() -> None:
    made = list(glaive_like.rows(600))
    assert len({row.response for row in made}) == len({row.id for row in made}) == 600
    assert made[590:600] == list(glaive_like.rows(10, first=590)) != list(glaive_like.rows(10, seed=1, first=590))
    lengths = [glaive_like.tokens(row.response) for row in made]
    assert min(lengths) >= glaive_like.FEWEST and max(lengths) <= glaive_like.MOST
    assert min(lengths) < 230 and max(lengths) > 370
    assert all(code_of(row.response) is not None for row in made[:100])
    assert not any(gap in row.prompt + row.response for row in made for gap in ("{f}", "{x}", "{k}", "{ask}", "{what}"))
    assert len(glaive_like.TASKS) == 30 == len({task.code for task in glaive_like.TASKS})
