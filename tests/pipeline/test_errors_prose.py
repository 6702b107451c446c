"""The six error types of prose on hand-made answers: sites, verification, recognition. Nothing is ever run."""

from __future__ import annotations

import pytest
from prose_types import ASIDE, COMMENTS, EXPLANATION, FORMAT, PROSE, REPEATED, TERMS

from pipeline import spans
from pipeline.diffs import diff
from pipeline.errors import ERROR_TYPES
from pipeline.errors.asides import ASIDES, COMPUTING
from pipeline.errors.base import Case, Finding, Proposal, Unscored, Verification
from pipeline.errors.irrelevant import stem, stems
from pipeline.errors.redundant import RedundantInformation

FENCE = "```"
CODE = "def f(xs):\n    total = 0\n    for x in xs:\n        if x > 3:\n            total += x\n    return total\n"
AROUND = "It adds up what is above 3."


def answer(before: str, code: str = CODE, after: str = "") -> str:
    return f"{before}\n\n{FENCE}python\n{code}{FENCE}\n" + (f"\n{after}\n" if after else "")


def commented(comment: str, statement: str = "x = 1") -> str:
    return answer(AROUND, f"# {comment}\n{statement}\n")


def changes(kind: str, text: str, prompt: str = "") -> list[list[tuple[str, str]]]:
    return [[(edit.old, edit.new) for edit in edits] for edits in ERROR_TYPES[kind].propose(text, prompt)]


def single(kind: str, text: str) -> list[tuple[str, str]]:
    return [edits[0] for edits in changes(kind, text) if len(edits) == 1]


def verified(kind: str, good: str, bad: str, edits: Proposal = (), prompt: str = "") -> Verification:
    return ERROR_TYPES[kind].verify(Case(prompt, good, bad, edits or tuple(diff(good, bad, kind))), None)


def found(kind: str, text: str, reference: str | None = None, prompt: str | None = None) -> str | bool | None:
    """What the recogniser marks; False where it finds nothing, None where it cannot tell."""
    seen = ERROR_TYPES[kind].recognise(text, reference=reference, prompt=prompt)
    if isinstance(seen, Unscored):
        return None
    if not seen.present:
        return False
    return text[seen.start : seen.end] if seen.start is not None else True


# Comments


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("Keep the 3 smallest, not the first", [("3", "4"), ("smallest", "largest"), ("first", "last")]),
        ("Step 2: sort in ascending order", [("ascending", "descending")]),
        ("values above 3 are kept", [("above", "below"), ("3", "4"), ("", " not")]),
        ("it isn't O(n)", [("n't", ""), ("O(n)", "O(n^2)")]),
        ("return -1, raise ValueError", [("-1", "0"), ("ValueError", "TypeError")]),
        ("non-negative, first-class, python3 v2.5", []),
        ("type: ignore[3]", []),
        ("noqa: E501 first", []),
    ],
)
def test_what_is_turned_in_a_comment(comment: str, expected: list[tuple[str, str]]) -> None:
    assert sorted(single(COMMENTS, commented(comment))) == sorted(expected)


def test_docstrings_are_turned_but_not_their_examples_nor_strings() -> None:
    code = 'def f():\n    """The first 2.\n\n    >>> f(3)\n    4\n\n    Above 5. é\n    """\n    return "# 6 first"\n'
    assert single(COMMENTS, answer(AROUND, code)) == [("first", "last"), ("2", "3"), ("Above", "Below"), ("5", "6")]


def test_neighbouring_comments_are_swapped() -> None:
    apart = answer(AROUND, "# one way\nx = 1\n\n# another way\ny = 2\n")
    (edits,) = ERROR_TYPES[COMMENTS].propose(apart)
    bad = spans.apply(edits, apart)
    assert "# another way\nx = 1\n\n# one way\ny = 2\n" in bad
    assert verified(COMMENTS, apart, bad, edits).confirmed
    assert found(COMMENTS, bad, apart) == "another way"


def test_a_comment_is_verified_by_equal_trees() -> None:
    good = commented("the first 3")
    seen = verified(COMMENTS, good, good.replace("first", "last"))
    assert seen == Verification(True, "static", "the same code, and 'the last 3' instead of 'the first 3'")
    assert verified(COMMENTS, good, good.replace("x = 1", "x = 2")).reason.startswith("more than comments")
    assert verified(COMMENTS, good, good).reason == "no comment or docstring is different"
    assert verified(COMMENTS, good, good.replace("# the first 3\n", "")).reason == "there are 0 notes instead of 1"
    assert verified(COMMENTS, good, good.replace("adds", "removes")).reason.startswith("the text around")
    assert not verified(COMMENTS, good, good.replace("# the", "the")).confirmed


def test_comments_are_compared_only_under_the_same_code() -> None:
    good = commented("keeps the 3 smallest")
    assert found(COMMENTS, good, good) is False
    assert found(COMMENTS, good.replace("3", "4"), good) == "4"
    assert found(COMMENTS, good.replace("the 3", "our 3"), good) is None
    assert found(COMMENTS, good.replace("x = 1", "x = 2"), good) is None
    assert found(COMMENTS, good) is None
    assert found(COMMENTS, answer(AROUND), good) is False
    assert found(COMMENTS, "no code") is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("# Increment it\ni -= 1\n", "Increment it"),
        ("# Increment it\ni += 1\n", None),
        ("def f():\n    return 3  # return 4 at the end\n", "return 4 at the end"),
        ("def f():\n    # Return 3\n    return 3\n", None),
        ("x.sort()  # in descending order\n", "in descending order"),
        ("x.sort(reverse=True)  # in descending order\n", None),
        ("x.sort(key=f)  # in descending order\n", None),
        ('def f(a):\n    """Do.\n\n    :param b: what\n    """\n', ":param b: what"),
        ('def f(a, *b):\n    """Do.\n\n    :param b: what\n    """\n', None),
    ],
)
def test_notes_that_contradict_their_code(code: str, expected: str | None) -> None:
    assert found(COMMENTS, answer(AROUND, code)) == expected


# Explanations


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It takes `O(n)` time and O(1) space.", [("O(n)", "O(n^2)"), ("O(1)", "O(n)")]),
        ("It takes O(n log n), not linear time.", [("O(n log n)", "O(n^2)"), ("linear time", "quadratic time")]),
        ("The list is sorted.", [("", " not")]),
        ("The list is not sorted and cannot change.", [(" not", ""), ("not", "")]),
        (
            "It returns `True` for an empty list.",
            [("returns", "prints"), ("True", "False"), ("an empty", "a non-empty")],
        ),
        ("Here is what this is. Use Python 3, see http://x.y/4 and `f(5)`.", []),
        ("Is it above 3?", []),
        ("2) items", []),
    ],
)
def test_what_is_turned_in_a_sentence(sentence: str, expected: list[tuple[str, str]]) -> None:
    assert sorted(single(EXPLANATION, answer(sentence))) == sorted(expected)


def test_headings_and_code_say_nothing() -> None:
    assert changes(EXPLANATION, answer("## The first 3", "x = 1  # above 3\n", "    y = 3 is first")) == []


@pytest.mark.parametrize(
    ("good", "bad", "level", "reason"),
    [
        ("It takes O(n) time.", "It takes O(n^2) time.", "static", "the code contradicts it"),
        ("It keeps what is above 3.", "It keeps what is above 4.", "static", "the code has 3, and no 4"),
        ("The loop is needed.", "The loop is not needed.", "by construction", "'not' instead of ''"),
        (
            "Each look-up takes O(1) time.",
            "Each look-up takes O(n) time.",
            "by construction",
            "'O(n)' instead of 'O(1)'",
        ),
    ],
)
def test_how_an_explanation_is_verified(good: str, bad: str, level: str, reason: str) -> None:
    edits = next(
        e for e in ERROR_TYPES[EXPLANATION].propose(answer(good)) if spans.apply(e, answer(good)) == answer(bad)
    )
    seen = verified(EXPLANATION, answer(good), answer(bad), edits)
    assert (seen.confirmed, seen.level) == (True, level) and seen.reason.endswith(reason)


def test_an_explanation_leaves_the_code_alone() -> None:
    good = answer("It keeps 3.")
    assert verified(EXPLANATION, good, good.replace("x > 3", "x > 4")).reason == "the code is different"
    assert not verified(EXPLANATION, good, good).confirmed


def test_explanations_are_compared_sentence_by_sentence() -> None:
    good = answer("It keeps the first 3. Nothing is lost.", after="A list is fine.")
    assert found(EXPLANATION, good, good) is False
    assert found(EXPLANATION, good.replace("first", "last"), good) == "last"
    assert found(EXPLANATION, good.replace("is fine", "isn't fine"), good) == "n't"
    assert found(EXPLANATION, good.replace("A list", "An array"), good) is False  # another type's
    assert found(EXPLANATION, good + "\nBy the way, it is 5.\n", good) is False
    assert found(EXPLANATION, good.replace("keeps the", "retains the"), good) is None
    assert found(EXPLANATION, good) is None
    assert found(EXPLANATION, answer("")) is False


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It takes O(n^2) time.", "O(n^2)"),
        ("The function runs in constant time.", "constant time"),
        ("It takes O(n) time and O(1) space.", None),
        ("Each step takes O(1) time.", None),
        ("This takes O(n) time instead of O(n^2).", None),
    ],
)
def test_the_complexity_of_a_single_loop(sentence: str, expected: str | None) -> None:
    assert found(EXPLANATION, answer(sentence)) == expected


def test_a_returned_constant_that_the_code_does_not_have() -> None:
    code = "def f(xs):\n    if not xs:\n        return -1\n    return xs[0]\n"
    assert found(EXPLANATION, answer("An empty list returns -2.", code)) == "-2"
    assert found(EXPLANATION, answer("An empty list returns -1.", code)) is None
    assert found(EXPLANATION, answer("For example, [7] gives 7.", code)) is None


# Asides


def test_sixty_asides_have_nothing_to_do_with_programming() -> None:
    assert len(set(ASIDES)) == len(ASIDES) == 60
    for aside in ASIDES:
        assert aside.endswith(".") and len(stems(aside)) >= 4
        assert not stems(aside) & {stem(word) for word in COMPUTING}, aside


def test_an_aside_follows_a_paragraph() -> None:
    good = answer("It adds.", after="- one item\n- two items").replace("\n", "\r\n")
    made = ERROR_TYPES[ASIDE].propose(good)
    assert len(made) == 4 and {edit.start for (edit,) in made} == {len("It adds.")}
    assert all(edit.new.removeprefix("\r\n\r\n") in ASIDES for (edit,) in made)
    assert ERROR_TYPES[ASIDE].propose(good) == made
    assert ERROR_TYPES[ASIDE].propose("") == ERROR_TYPES[ASIDE].propose(f"{FENCE}\nx\n{FENCE}") == []


def test_over_many_answers_every_aside_comes_up() -> None:
    seen = {edit.new.strip() for n in range(60) for (edit,) in ERROR_TYPES[ASIDE].propose(answer(f"It adds {n}."))}
    assert seen == set(ASIDES)


def test_asides_share_no_word_with_the_question() -> None:
    prompt = "How much honey and bread does my neighbour need?"
    for edits in changes(ASIDE, answer("It adds up penguins."), prompt):
        assert not {"honey", "bread", "neighbour", "penguins"} & set(edits[0][1].lower().split())


def test_an_aside_is_verified_and_found_by_what_it_shares() -> None:
    good = answer(AROUND, after="The sum is returned.")
    aside = f"\n\n{ASIDES[3]}"
    edits = (spans.edit_at(good, len(AROUND), len(AROUND), aside, ASIDE),)
    bad = spans.apply(edits, good)
    assert verified(ASIDE, good, bad, edits).level == "by construction"
    assert found(ASIDE, bad) == found(ASIDE, bad, good) == ASIDES[3]
    assert found(ASIDE, bad, bad) is False
    assert found(ASIDE, bad, prompt="How do penguins keep their eggs warm on their feet in winter?") is False
    related = (spans.edit_at(good, len(AROUND), len(AROUND), "\n\nThe loop adds up the list.", ASIDE),)
    assert not verified(ASIDE, good, spans.apply(related, good), related).confirmed
    assert not verified(ASIDE, good, bad.replace("x > 3", "x > 4"), edits).confirmed


# Repetition


def test_a_sentence_is_said_again_later_on() -> None:
    good = answer("It walks through the whole list. Fine.", after="It is fast.")
    made = changes(REPEATED, good)
    assert len(made) == 2
    for ((old, new),) in made:
        assert old == "" and new.lower().endswith("it walks through the whole list.")
    for edits in ERROR_TYPES[REPEATED].propose(good):
        bad = spans.apply(edits, good)
        assert verified(REPEATED, good, bad, edits).confirmed
        assert found(REPEATED, bad) == edits[0].new.strip()
        assert found(REPEATED, bad, bad) is False


def test_what_counts_as_saying_the_same() -> None:
    first = "The function returns the sum of all values in the list."
    assert found(REPEATED, f"{first}\n\nIn other words, the function returns the sum of all the values in the list.")
    assert found(REPEATED, f"{first}\n\n{first.replace('first', 'last').replace('sum', 'length')}") is False
    assert found(REPEATED, "Take the first value of the pair `a`. Take the last value of the pair `a`.") is False
    assert found(REPEATED, "The list `a` holds all of it. The list `b` holds all of it.") is False
    assert found(REPEATED, "It is 3 of them here. It is 4 of them here.") is False
    assert found(REPEATED, "Try it out. Try it out.") is False  # too short to tell
    assert isinstance(RedundantInformation().recognise("So it goes on and on. " * 200), Unscored)


def test_a_good_answer_that_repeats_itself_is_no_place_for_it() -> None:
    good = answer("It walks through the whole list. It walks through the whole list.")
    edits = ERROR_TYPES[REPEATED].propose(good)[0]
    assert verified(REPEATED, good, spans.apply(edits, good), edits).reason == "the good answer repeats itself"
    assert verified(REPEATED, answer(AROUND), answer(AROUND + " So.")).confirmed is False


# Terminology


def test_some_mentions_are_renamed_but_never_the_first() -> None:
    good = answer("It takes a list. Lists are fine.", after="The list comprehension makes a `list`, a new list.")
    assert changes(TERMS, good) == [
        [("Lists", "Arrays")],
        [("Lists", "Arrays"), ("list", "array")],
        [("list", "array")],
    ]
    for edits in ERROR_TYPES[TERMS].propose(good):
        bad = spans.apply(edits, good)
        assert verified(TERMS, good, bad, edits).confirmed
        assert found(TERMS, bad) in ("Arrays", "array")
        assert found(TERMS, bad, bad) is False
    assert found(TERMS, good) is False


def test_articles_and_plurals_agree() -> None:
    good = answer("A dictionary has keys. Dictionaries are fast. You need a list, a list, and a list.")
    assert [("a list", "an array")] in changes(TERMS, good)
    three = answer("An array is here. It is an array. No arrays.")
    assert changes(TERMS, three)[0] == [("an array", "a list")]
    assert changes(TERMS, good.replace("fast", "fast. A dictionary"))[0] == [("Dictionaries", "Hash maps")]


def test_terms_are_verified_by_both_forms() -> None:
    good = answer("A list, a list and a list.")
    assert verified(TERMS, good, good.replace("a list and", "an array and")).confirmed
    assert verified(TERMS, good, good.replace("list", "array").replace(" a a", " an a")).confirmed is False
    assert verified(TERMS, answer("A list, a list."), answer("A list, an array.")).confirmed is False
    assert found(TERMS, "A list, an array.") is False  # two mentions are no habit


# Formatting

LISTED = "Two things:\n\n- First one\n- Second one\n\n## What now\n\nSo it ends.\n\nReally.\n"


def test_marks_that_can_be_broken() -> None:
    assert changes(FORMAT, LISTED) == [
        [("- ", ""), ("- ", "")],
        [(" ", ""), (" ", "")],
        [(" ", "")],
        [("\n\n", " ")],
    ]


def test_fences_that_can_be_broken() -> None:
    good = answer("So:", "x = 1\n", "Done.")
    opening, closing = f"{FENCE}python\n", f"{FENCE}\n"
    assert changes(FORMAT, good) == [[("\n\n", " ")], [(opening, "")], [(opening, ""), (closing, "")], [(closing, "")]]
    assert [(f"{FENCE}", "")] not in changes(FORMAT, good.split("\nDone")[0])  # the end of the answer would close it


def test_formatting_is_verified_by_another_structure() -> None:
    good = answer("So:", CODE, LISTED)
    for edits in ERROR_TYPES[FORMAT].propose(good):
        bad = spans.apply(edits, good)
        assert verified(FORMAT, good, bad, edits).confirmed, edits
        assert found(FORMAT, bad, good), edits
    assert found(FORMAT, good) is found(FORMAT, good, good) is False
    assert verified(FORMAT, good, good.replace("Really", "Truly")).reason.startswith("more than marks")
    assert verified(FORMAT, good, good + "\n").reason.startswith("equivalent")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"So:\n\n{FENCE}python\nx = 1\n", f"{FENCE}python"),
        (f"So: {FENCE}python\nx = 1\n", f"{FENCE}python"),
        ("So:\n\ndef f(x):\n    return x\n", "def f(x):"),
        ("- one\n\n-Two\n-Three\n", "-T"),
        ("##What now\n\nSo.\n", "##W"),
        ("A - b, x -y and #1 is `##X`.\n\n* a\n* b\n\nimport it from there", False),
        ("import math\n", False),
    ],
)
def test_marks_that_are_broken_whatever_the_words(text: str, expected: str | bool) -> None:
    seen = found(FORMAT, text)
    assert seen == expected or (expected == "-T" and seen == "-")


# All of them


def test_the_prose_types_come_last_but_in_order() -> None:
    assert [name for name in ERROR_TYPES if name in PROSE] == list(PROSE)


def test_a_finding_is_no_error_of_another_prose_type() -> None:
    good = answer(
        "The list is walked once. It takes a list and returns a number.",
        CODE.replace("    total = 0", "    # start with the first value\n    total = 0"),
        "1. An empty list gives 0.\n2. The list is not changed at all.\n\nIt takes O(n) time.\n\nThat is all there is.",
    )
    for kind in PROSE:
        made = ERROR_TYPES[kind].propose(good)
        assert made, kind
        for edits in made:
            bad = spans.apply(edits, good)
            present = {other for other in PROSE if found(other, bad, good) not in (False, None)}
            assert present == {kind}, (edits, present)


def test_findings_are_findings() -> None:
    assert ERROR_TYPES[TERMS].recognise("") == Finding(False, "every term keeps its form")
