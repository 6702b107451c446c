"""Data sets that are known by name, and mappings for all others: what becomes of a row, and which rows do not fit."""

import json

import pytest
from source_node import make_source

from pipeline.failures import UserError
from pipeline.records import PreferenceRecord, QARecord, Reject
from pipeline.sources.files import read
from pipeline.sources.formats import FORMATS, recognise
from pipeline.sources.html import to_markdown

HH = "\n\nHuman: How do I add?\n\nAssistant: With plus."
LONG = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Add?\n\nAssistant:"
SHP = {"history": "Why?", "human_ref_A": "A.", "human_ref_B": "B.", "labels": 1, "score_ratio": 2.0}
HTML = (
    '<p>Use <code>a_b*c</code>, see <a href="http://x">this &amp; that</a>:</p>\n\n'
    '<pre class="lang-py prettyprint-override">'
    "<code>def f(x):\n    return x &lt; 1 and x_y_z * 2\n</code></pre>\n<ul><li>one</li><li><em>two</em></li></ul>"
)


def turns(*said):
    return [{"role": role, "content": content} for role, content in said]


def shared(*said):
    return [{"from": role, "value": content} for role, content in said]


def voted(text, score):
    return {"text": text, "pm_score": score}


def only(folder, row, format="auto", fields=None):
    (folder / "data.jsonl").write_text(json.dumps(row) + "\n")
    [found] = read(folder / "data.jsonl", format, fields)
    return found


def reason(folder, row, format):
    found = only(folder, row, format)
    assert isinstance(found, Reject), found
    return found.reason


@pytest.mark.parametrize(
    ("name", "row", "prompt", "response"),
    [
        ("glaive", {"question": "Q?", "answer": "A."}, "Q?", "A."),
        ("seed", {"id": 3, "problem": "Q?", "solution": "A."}, "Q?", "A."),
        ("qa", {"prompt": "Q?", "response": "A."}, "Q?", "A."),
        ("alpaca", {"instruction": "Add.", "input": "", "output": "3"}, "Add.", "3"),
        ("alpaca", {"instruction": "Add.", "input": "1 and 2", "output": "3"}, "Add.\n\n1 and 2", "3"),
        ("alpaca", {"instruction": "Add.", "output": "3"}, "Add.", "3"),
        (
            "chat",
            {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]},
            "Q?",
            "A.",
        ),
        (
            "chat",
            {"messages": turns(("system", "Be short."), ("user", "Q?"), ("assistant", "A."), ("user", "Thanks."))},
            "Be short.\n\nQ?",
            "A.",
        ),
        (
            "chat",
            {"conversations": shared(("human", "Hi"), ("gpt", "Hello."), ("human", "Q?"), ("gpt", "A."))},
            "Human: Hi\n\nAssistant: Hello.\n\nHuman: Q?",
            "A.",
        ),
        ("stackexchange", {"question": "<p>Q?</p>", "answer": HTML}, "Q?", to_markdown(HTML)),
    ],
)  # fmt: skip
def test_questions_with_answers(tmp_path, name, row, prompt, response):
    found = only(tmp_path, row, name)
    assert (found.prompt, found.response, found.source) == (prompt, response, "data.jsonl")
    if FORMATS[name].guessed:
        assert only(tmp_path, row) == found


@pytest.mark.parametrize(
    ("name", "row", "pair"),
    [
        ("hh", {"chosen": HH, "rejected": HH.replace("plus", "minus")}, ("How do I add?", "With plus.", "With minus.")),
        (
            "hh",
            {"chosen": f"{LONG} x + y", "rejected": f"{LONG} x - y"},
            ("Human: Hi\n\nAssistant: Hello.\n\nHuman: Add?", "x + y", "x - y"),
        ),
        ("shp", SHP, ("Why?", "A.", "B.")),
        ("shp", {**SHP, "labels": 0, "score_ratio": 7.5}, ("Why?", "B.", "A.")),
        ("stackexchange-pairs", {"question": "Q", "response_j": "<b>j</b>", "response_k": "k"}, ("Q", "**j**", "k")),
        (
            "stackexchange-pairs",
            {"question": "<p>Q</p>", "answers": [voted("b", 2), voted("<p>a</p>", 9), voted("c", 0)]},
            ("Q", "a", "c"),
        ),
    ],
)  # fmt: skip
def test_pairs(tmp_path, name, row, pair):
    found = only(tmp_path, row)
    assert isinstance(found, PreferenceRecord)
    assert (found.prompt, found.chosen, found.rejected) == pair
    assert recognise(row) == name


def test_html_loses_its_tags_and_keeps_its_code():
    assert to_markdown(HTML) == (
        "Use `a_b*c`, see this & that:\n\n```python\ndef f(x):\n    return x < 1 and x_y_z * 2\n```\n\n* one\n* *two*"
    )


def test_text_that_is_no_html_stays_as_it_is():
    text = "if a < b and c > d:\n\n\n\n    x"
    assert to_markdown(text) == text


def test_html_that_is_nested_beyond_reason_is_a_bad_row(tmp_path):
    row = {"question": "<div>" * 20_000 + "x", "answer": "y"}
    assert reason(tmp_path, row, "stackexchange") == "html"


@pytest.mark.parametrize(
    ("name", "row", "why"),
    [
        ("alpaca", {"instruction": "", "output": "x"}, "empty"),
        ("alpaca", {"instruction": "x", "input": 3, "output": "x"}, "wrong-type"),
        ("alpaca", {"instruction": "x"}, "missing-field"),
        ("chat", {"messages": []}, "no-dialogue"),
        ("chat", {"messages": "hello"}, "wrong-type"),
        ("chat", {"messages": [{"role": "user", "content": "x"}]}, "no-dialogue"),
        ("chat", {"messages": [{"role": "tool", "content": "x"}]}, "no-dialogue"),
        ("chat", {"messages": [{"role": "user"}]}, "missing-field"),
        ("hh", {"chosen": "x", "rejected": "y"}, "no-dialogue"),
        ("hh", {"chosen": HH, "rejected": f"{LONG} x"}, "other-prompt"),
        ("hh", {"chosen": HH, "rejected": HH}, "same-answers"),
        ("hh", {"chosen": HH, "rejected": HH.replace("With plus.", " ")}, "empty"),
        ("shp", {**SHP, "score_ratio": 1.99}, "score-ratio"),
        ("shp", {**SHP, "score_ratio": float("nan")}, "score-ratio"),
        ("shp", {**SHP, "score_ratio": "two"}, "wrong-type"),
        ("shp", {**SHP, "labels": 2}, "wrong-type"),
        ("stackexchange-pairs", {"question": "Q", "answers": [{"text": "a", "pm_score": 1}]}, "one-score"),
        ("stackexchange-pairs", {"question": "Q", "answers": [{"text": "a"}]}, "missing-field"),
        ("stackexchange-pairs", {"question": "Q", "answers": [3]}, "wrong-type"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, name, row, why):
    assert reason(tmp_path, row, name) == why


def test_pairs_of_nearly_even_votes_are_left_out_without_being_unusable(tmp_path):
    rows = [{**SHP, "history": str(i), "score_ratio": i / 2} for i in range(8)]
    (tmp_path / "shp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = make_source(tmp_path, tmp_path / "shp.jsonl")
    assert [row.prompt for row in made.records(record=PreferenceRecord)] == ["4", "5", "6", "7"]
    assert {reject["reason"] for reject in made.rejects()} == {"score-ratio"}


# Mappings


def test_fields_take_columns_and_fields_within_them(tmp_path):
    row = {"id": 4, "Title": "Q?", "body": {"text": "A.", "votes": 3}, "response": "not this"}
    found = only(tmp_path, row, fields={"prompt": "Title", "response": "body.text"})
    assert found == QARecord("4", "Q?", "A.", "data.jsonl")


def test_fields_make_pairs_and_go_before_a_named_format(tmp_path):
    row = {"q": "<p>Q</p>", "good": "a", "bad": "b"}
    assert only(tmp_path, row, fields={"prompt": "q", "chosen": "good", "rejected": "bad"}).chosen == "a"
    mapped = only(tmp_path, row, "stackexchange", {"question": "q", "answer": "good"})
    assert mapped.prompt == "Q"


def test_a_misspelt_column_is_told_with_the_nearest_name(tmp_path):
    with pytest.raises(UserError) as caught:
        only(tmp_path, {"Title": "Q", "Body": "A"}, fields={"prompt": "Titel", "response": "Body"})
    assert (caught.value.kind, caught.value.what) == ("config", "there is no column 'Titel' to take 'prompt' from.")
    assert caught.value.hint == "Did you mean 'Title'?"


def test_a_field_that_no_format_has_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "data.jsonl").write_text(json.dumps({"a": "Q", "b": "A"}))
    with pytest.raises(UserError) as caught:
        make_source(tmp_path, tmp_path / "data.jsonl", fields={"promt": "a", "response": "b"})
    assert (caught.value.what, caught.value.where) == ("no format has a field 'promt'.", "fields")
    assert caught.value.hint == "Did you mean 'prompt'?"


def test_a_row_that_lacks_a_mapped_column_is_rejected(tmp_path):
    rows = [{"q": "1", "a": "x"}, {"q": "2"}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, bad = read(tmp_path / "data.jsonl", fields={"prompt": "q", "response": "a"})
    assert (bad.id, bad.reason) == ("data.jsonl:2", "missing-field")
