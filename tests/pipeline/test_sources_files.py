"""Data files: how they are read, and every way in which one can be wrong. Their rows: test_sources_rows.py."""

import gzip
import hashlib
import json

import pytest
from source_rows import CONTENT_ID, QA, jsonl, refusal

from pipeline.records import Reject
from pipeline.sources.files import fingerprint, read
from pipeline.sources.formats import FORMATS

# Files


def test_gzip_and_json_hold_the_same_rows(tmp_path):
    packed = tmp_path / "data.jsonl.gz"
    packed.write_bytes(gzip.compress(jsonl(tmp_path, QA, {**QA, "id": "b"}).read_bytes()))
    listed = tmp_path / "data.json"
    listed.write_text(json.dumps([QA, {**QA, "id": "b"}], indent=2))
    assert [record.id for record in read(packed)] == [CONTENT_ID, "b"]
    assert [record.id for record in read(listed)] == [CONTENT_ID, "b"]


def test_bad_rows_of_a_json_list_are_named_by_item(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps([QA, 3]))
    _, found = read(path)
    assert found == Reject(
        "data.json:2", "not-an-object", "data.json, item 2: a row should be an object but is a whole number."
    )


def test_only_line_feeds_end_a_row_and_blank_lines_are_no_rows(tmp_path):
    odd = {"prompt": "a\u2028b\x85c", "response": "\v\f" + "x"}
    path = jsonl(tmp_path, b"\xef\xbb\xbf" + json.dumps(QA).encode() + b"\r", b"", b"  ", odd)
    first, second = read(path)
    assert (first.prompt, second.prompt) == ("Add.", "a\u2028b\x85c")


def test_rows_are_streamed(tmp_path):
    path = jsonl(tmp_path, *[{**QA, "id": str(i)} for i in range(5000)])
    with gzip.open(tmp_path / "big.jsonl.gz", "wb") as file:
        file.write(path.read_bytes())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes((tmp_path / "big.jsonl.gz").read_bytes()[:-10])
    rows = read(cut)
    assert next(rows).id == "0"
    error = refusal(lambda: list(rows))
    assert "cannot be read to its end" in error.what


def test_the_fingerprint_is_the_sha256_of_the_bytes(tmp_path):
    path = jsonl(tmp_path, QA)
    assert fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert refusal(lambda: fingerprint(tmp_path / "none.jsonl")).kind == "data"


# Files that cannot be used


def test_a_missing_file_is_told_with_the_nearest_name(tmp_path):
    jsonl(tmp_path, QA, name="pairs.jsonl")
    error = refusal(lambda: read(tmp_path / "pair.jsonl"))
    assert (error.kind, error.what, error.where) == ("data", "there is no such file.", str(tmp_path / "pair.jsonl"))
    assert error.hint == "Did you mean 'pairs.jsonl'?"
    assert "relative path" in refusal(lambda: read(tmp_path / "no" / "zzz.json")).hint


def test_a_directory_and_an_unknown_suffix(tmp_path):
    text = tmp_path / "data.txt"
    text.write_text("prompt,response")
    bare = tmp_path / "data"
    bare.write_text("{}")
    assert refusal(lambda: read(tmp_path)).what == "the folder has no data file."
    assert "Seen: data, data.txt." in refusal(lambda: read(tmp_path)).hint
    assert refusal(lambda: read(text)).what == "the suffix '.txt' is not known."
    assert refusal(lambda: read(bare)).what == "the file has no suffix."
    assert ".jsonl, .jsonl.gz, .json" in refusal(lambda: read(text)).hint


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("data.jsonl", "", "the file has no rows."),
        ("data.jsonl", "\n \n", "the file has no rows."),
        ("data.json", "[]", "the file has no rows."),
        ("data.json", " ", "the file is empty."),
        ("data.json", '{"prompt": "x"}', "the file does not hold a list."),
        ("data.jsonl.gz", "{}", "the file cannot be read to its end: Not a gzipped file (b'{}')."),
    ],
)
def test_files_without_rows(tmp_path, name, text, what):
    (tmp_path / name).write_text(text)
    error = refusal(lambda: read(tmp_path / name))
    assert (error.kind, error.what, error.where) == ("data", what, str(tmp_path / name))


def test_jsonl_in_a_json_file_is_told_with_its_place_and_what_to_do(tmp_path):
    path = jsonl(tmp_path, QA, QA, name="data.json")
    error = refusal(lambda: read(path))
    assert (error.what, error.where) == ("bad JSON: Extra data.", f"{path}:2:1")
    assert "one JSON object on each line" in error.hint


def test_a_list_in_a_jsonl_file_is_told_with_the_first_problem(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps([QA], indent=2))
    error = refusal(lambda: read(path))
    assert error.what.startswith("none of the first rows can be read: data.jsonl:1: bad JSON at column 2:")
    assert "belongs into a .json file" in error.hint


def test_an_unknown_format_lists_the_fields_seen_and_the_known_formats(tmp_path):
    error = refusal(lambda: read(jsonl(tmp_path, {"text": "x"}, {"text": "y", "meta": 1})))
    assert (error.kind, error.what) == ("data", "the format cannot be recognised. Fields seen: 'meta', 'text'.")
    assert "trl {prompt, chosen, rejected}" in error.hint
    assert all(name in error.hint for name in FORMATS)


def test_a_misspelt_format_name(tmp_path):
    error = refusal(lambda: read(jsonl(tmp_path, QA), "granulr"))
    assert (error.kind, error.what) == ("config", "there is no format 'granulr'.")
    assert error.hint == "Did you mean 'granular'?"
