"""`-i` of corrupt and annotate takes what a source takes."""

import json

import pytest

from kintsugi.commands.data import _named_after


def pairs(folder, *parts):
    (folder / "rows").mkdir()
    for name in parts:
        row = {"id": name, "prompt": "Add.", "chosen": "a + b", "rejected": "a - b"}
        (folder / "rows" / name).write_text(json.dumps(row) + "\n", encoding="utf-8")


@pytest.mark.parametrize("named", ["rows", "rows/*.jsonl"])
def test_a_folder_and_a_pattern_are_read_before_anything_starts(tmp_path, refusal, named):
    pairs(tmp_path, "a.jsonl", "b.jsonl")
    assert "these rows have a bad answer already" in refusal(tmp_path, "corrupt", "-i", named, code=4)


def test_a_pattern_that_fits_nothing_and_an_address_of_no_known_kind(tmp_path, refusal):
    assert "no file matches the pattern" in refusal(tmp_path, "corrupt", "-i", "rows/*.jsonl", code=4)
    assert "addresses of kind ftp:// cannot be read" in refusal(tmp_path, "annotate", "-i", "ftp://a/b.json", code=2)


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("qa.json", "qa-x.json"),
        ("a/qa.jsonl.gz", "qa-x.json"),
        ("data/glaive/", "glaive-x.json"),
        ("data/*.jsonl", "rows-x.json"),
        ("data/part-*.jsonl", "part-x.json"),
        ("s3://bucket/folder", "folder-x.json"),
        ("hf:glaiveai/glaive-code-assistant", "glaive-code-assistant-x.json"),
    ],
)
def test_what_is_written_is_named_after_what_was_read(origin, name):
    assert str(_named_after(origin, "x")) == name
