"""Where prose stands in an answer: passages, sentences, and what of them is hidden."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors.answers import blocks
from pipeline.errors.prose import HIDDEN, LONGEST, QUOTED, fenced_code, prose_of, replaced

FENCE = "```"

PIECES = st.sampled_from([
    "The list is 3 long. ", "It isn't sorted", "\n", "\n\n", "\r\n", "\r", "- ", "1. ", "> ", "## ", "    ", "\t",
    f"{FENCE}python\n", f"\n{FENCE}\n", "~~~\n", "  ~~~~py\n", "🎉 é", "\x00", "O(n)", "<b>", "](http://x.y/3)",
    "# x is 3\n", "`x`", "``", "def f(n):\n    return 3\n", "---\n", "===\n", "\u2028", "https://a.b/c", "e.g. ", "! ",
])  # fmt: skip
ANSWERS = st.lists(PIECES, max_size=25).map("".join)


def sentences(answer: str) -> list[str]:
    prose = prose_of(answer)
    return [prose.text(sentence) for sentence in prose.sentences]


def test_sentences_of_paragraphs_lists_and_headings() -> None:
    answer = (
        "Sure! Here it is, e.g. for `a.B`.\r\n\r\n## The plan\r\n\r\n1. Sort it.\r\n2. Take `x`. Done\r\n\r\n"
        f"   {FENCE}py\r\n   x = 1. # No.\r\n   {FENCE}\r\n> Is it\r\n> 3.5 long? Yes.\r\n"
    )
    assert sentences(answer) == [
        "Sure!", "Here it is, e.g. for `a.B`.", "The plan", "Sort it.", "Take `x`.", "Done",
        "Is it\r\n> 3.5 long?", "Yes.",
    ]  # fmt: skip
    prose = prose_of(answer)
    assert [passage.kind for passage in prose.passages] == ["paragraph", "heading", *["paragraph"] * 3]
    assert [passage.depth > 0 for passage in prose.passages] == [False, False, True, True, True]
    assert prose.line_break == "\r\n"


def test_code_addresses_and_tags_are_quoted_and_fences_hidden() -> None:
    answer = f"See [it](http://x.y/3) and ``a ` 4`` <b>now</b>.\n\n{FENCE}\n5\n{FENCE}\n"
    shown = prose_of(answer).plain
    assert len(shown) == len(answer)
    assert shown.replace(QUOTED, "").rstrip(HIDDEN) == "See [it and  now."


def test_nested_and_tilde_fences_hold_no_prose() -> None:
    answer = f"~~~~markdown\n{FENCE}python\nThe list is 3.\n{FENCE}\n~~~~\n\nAnd so on.\n\n{FENCE}python\nIt is open."
    assert sentences(answer) == ["And so on."]


def test_an_article_follows_its_word() -> None:
    prose = prose_of("It takes a list, An array and than `a` string.")
    edit = replaced(prose, 11, 15, "array", "t")
    assert (edit.start, edit.old, edit.new) == (9, "a list", "an array")
    edit = replaced(prose, 20, 25, "list", "t")
    assert (edit.old, edit.new) == ("An array", "A list")
    assert replaced(prose, 38, 44, "item", "t").old == " strin"  # code before it is no article


def test_an_answer_that_is_too_long_has_no_prose() -> None:
    assert prose_of("So. " * LONGEST).passages == ()
    assert len(prose_of("So. " * LONGEST).plain) == 4 * LONGEST


@given(ANSWERS)
def test_what_is_shown_stands_in_the_answer_and_never_between_fences(answer: str) -> None:
    prose = prose_of(answer)
    assert len(prose.plain) == len(answer)
    for place, character in enumerate(prose.plain):
        assert character in (answer[place], HIDDEN, QUOTED, " ", "\n")
    for block in blocks(answer):
        for line in block.lines:
            assert set(prose.plain[line.start : line.end]) <= {HIDDEN}
    reached = 0
    for sentence in prose.sentences:
        assert reached <= sentence.start < sentence.end <= prose.passages[sentence.passage].end
        reached = sentence.end
    assert len(fenced_code(answer)) == len(blocks(answer))
