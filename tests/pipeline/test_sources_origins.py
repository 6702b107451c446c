"""What `from:` may name on a disk, in every kind of file, and what is said where there is nothing to read."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_node import make_source
from source_rows import refusal

from pipeline.records import Reject
from pipeline.sources.files import fingerprint, read
from pipeline.sources.json_lists import CHUNK, items
from pipeline.sources.places import LONGEST_ROW

ROWS = [{"id": f"r{i:02}", "prompt": f"{i}? \u00e9\U0001f600", "response": f"{i}\nyes"} for i in range(20)]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=3)
    return out.getvalue()


WRITERS = {
    "jsonl": lines,
    "jsonl.gz": lambda rows: gzip.compress(lines(rows)),
    "json": lambda rows: json.dumps(rows, indent=1).encode(),
    "json.gz": lambda rows: gzip.compress(json.dumps(rows).encode()),
    "csv": as_csv,
    "csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "parquet": as_parquet,
}


def ids(found):
    return [row.id for row in found]


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(WRITERS[suffix](ROWS))
    found = list(read(path))
    assert [(row.id, row.prompt, row.response) for row in found] == [tuple(row.values()) for row in ROWS]


def test_rows_without_ids_have_the_same_ids_in_every_kind_of_file_and_in_any_order(tmp_path):
    bare = [{name: row[name] for name in ("prompt", "response")} for row in ROWS]
    for suffix, write in WRITERS.items():
        (tmp_path / f"{suffix.replace('.', '-')}.{suffix}").write_bytes(write(bare[:: -1 if "gz" in suffix else 1]))
    known = {frozenset(ids(read(path))) for path in tmp_path.iterdir()}
    assert len(known) == 1
    assert len(known.pop()) == len(ROWS)


def test_a_folder_is_one_stream_in_the_order_of_names_whatever_its_files_are(tmp_path):
    folder = tmp_path / "shards"
    (folder / "b").mkdir(parents=True)
    (folder / "c.jsonl").write_bytes(lines(ROWS[6:]))
    (folder / "a.csv").write_bytes(as_csv(ROWS[:2]))
    (folder / "b" / "x.parquet").write_bytes(as_parquet(ROWS[2:5]))
    (folder / "b" / "y.json").write_bytes(json.dumps(ROWS[5:6]).encode())
    for name in ("README.md", "_SUCCESS", ".part.jsonl.crc"):
        (folder / name).write_text("nothing of ours")
    made = make_source(tmp_path, folder)
    assert made.ids() == [row["id"] for row in ROWS]
    assert {row.source for row in made.records()} == {"shards"}
    assert made.manifest.facts["files"] == 4
    assert made.manifest.facts["passed_over"] == [".part.jsonl.crc", "README.md", "_SUCCESS"]


def test_a_pattern_takes_what_fits_and_two_stars_go_down(tmp_path):
    for name in ("a/1.jsonl", "a/b/2.jsonl", "c/3.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(lines([{**ROWS[0], "id": name}]))
    assert ids(read(tmp_path / "*" / "*.jsonl")) == ["a/1.jsonl", "c/3.jsonl"]
    assert ids(read(tmp_path / "**" / "*.jsonl")) == ["a/1.jsonl", "a/b/2.jsonl", "c/3.jsonl"]
    assert ids(read(tmp_path / "a" / "[0-9].jsonl")) == ["a/1.jsonl"]


def test_the_same_rows_in_other_numbers_of_files_give_the_same_bytes(tmp_path):
    """Without ids: these would otherwise be where files and lines show."""
    bare = [{"prompt": f"{i % 90}?", "response": str(i)} for i in range(200)] + [{"prompt": "0?", "response": "0"}]
    data = []
    for cut in (1, 3, 7):
        folder = tmp_path / str(cut) / "rows"
        folder.mkdir(parents=True)
        size = -(-len(bare) // cut)
        for i in range(cut):
            (folder / f"{i:03}.jsonl").write_bytes(lines(bare[i * size : (i + 1) * size]))
        made = make_source(tmp_path, folder, rows=150, splits={"test": "20%"})
        data.append({name: sha for name, sha in made.files().items() if not name.startswith("rejected")})
        assert made.manifest.facts["files"] == cut
    assert data[0] == data[1] == data[2]


def test_a_rerun_gives_the_same_bytes(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(lines(ROWS) + b"no json\n")
    options = {"max_rejected": 0.1, "splits": {"test": 5}, "deduplicate": "minhash", "rows": 12}
    first, again = (make_source(tmp_path, tmp_path / "rows.jsonl", **options) for _ in range(2))
    assert first.files() == again.files()


def test_the_fingerprint_follows_the_content_and_the_names(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    seen = set()
    for name, content in (
        ("a.jsonl", ROWS[:1]),
        ("b.jsonl", ROWS[1:2]),
        ("b.jsonl", ROWS[2:3]),
        ("c.jsonl", ROWS[2:3]),
    ):
        (folder / name).write_bytes(lines(content))
        seen.add(fingerprint(folder))
    assert len(seen) == 4
    (folder / "notes.md").write_text("passed over")
    assert fingerprint(folder) in seen


# JSON lists that are larger than what is held of them


def test_a_json_list_is_parsed_across_the_edges_of_what_is_held():
    values = [{"n": i, "text": "x" * (i * 997 % 5000) + '"\\[,', "deep": [[i, -1.5e3], {}]} for i in range(1500)]
    for indent in (None, 2):
        text = json.dumps(values, indent=indent)
        assert len(text) > 3 * CHUNK
        assert list(items(io.StringIO(text))) == values


def test_numbers_at_the_edge_are_not_cut_in_two():
    text = "[" + " " * (CHUNK - 4) + "12345, 6]"
    assert list(items(io.StringIO(text))) == [12345, 6]


@pytest.mark.parametrize("text", ["[1, 2", "[1 2]", "[1,]", "[1] 2", '[{"a": 1,}]', "[", '["a\nb"]'])
def test_bad_lists_are_told_with_the_place_that_json_gives(text):
    padded = "\n" * 40 + text
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(padded)
    with pytest.raises(json.JSONDecodeError) as caught:
        list(items(io.StringIO(padded)))
    assert caught.value.lineno == expected.value.lineno == 41


def test_the_line_of_a_fault_far_behind_the_beginning(tmp_path):
    path = tmp_path / "data.json"
    good = ",\n".join(json.dumps({**row, "response": "x" * 200_000}) for row in ROWS)
    path.write_text(f"[{good},\n oops]")
    error = refusal(lambda: list(read(path)))
    assert error.where == f"{path}:21:2"


# Rows that cannot be used


def test_a_line_without_an_end_is_not_held(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(lines(ROWS[:1]) + b"x" * (2 * LONGEST_ROW + 5) + b"\n" + lines(ROWS[1:2]))
    first, long, second = read(path)
    assert (first.id, second.id) == ("r00", "r01")
    assert (long.id, long.reason) == ("data.jsonl:2", "too-long")


def test_csv_rows_of_another_width_and_broken_text_are_rejected(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b'\xef\xbb\xbfprompt,response\na,b\na,b,c\n\ncaf\xe9,b\n"x\ny",z\n')
    good, wide, broken, last = read(path)
    assert (good.prompt, last.prompt) == ("a", "x\ny")
    assert (wide.id, wide.reason) == ("data.csv:3", "columns")
    assert (broken.id, broken.reason) == ("data.csv:5", "encoding")


def test_tests_in_a_csv_cell_are_json(tmp_path):
    path = tmp_path / "data.csv"
    test = {"function": "f", "arguments": [1], "expected": 2}
    path.write_bytes(
        as_csv(
            [
                {"prompt": "a", "response": "b", "tests": json.dumps([test])},
                {"prompt": "c", "response": "d", "tests": ""},
                {"prompt": "c", "response": "d", "tests": "["},
            ]
        )
    )
    first, second, third = read(path)
    assert [test.function for test in first.tests] == ["f"]
    assert second.tests == ()
    assert third.reason == "bad-json"


def test_broken_text_in_parquet_spoils_its_row_only(tmp_path):
    texts = pa.array([b"a", b"caf\xe9", b"c"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": texts, "response": ["x", "y", "z"]}), tmp_path / "data.parquet")
    first, broken, third = read(tmp_path / "data.parquet")
    assert (first.prompt, third.prompt) == ("a", "c")
    assert (broken.id, broken.reason) == ("data.parquet:2", "encoding")


def test_types_that_json_does_not_have_are_named(tmp_path):
    pq.write_table(pa.table({"prompt": [b"a"], "response": ["x"]}), tmp_path / "data.parquet")
    [found] = read(tmp_path / "data.parquet")
    assert isinstance(found, Reject)
    assert "should be text but is of type bytes" in found.detail


# Nothing to read


def test_an_empty_pattern_and_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    pattern = refusal(lambda: read(tmp_path / "*.jsonl"))
    assert (pattern.kind, pattern.what) == ("data", "no file matches the pattern.")
    folder = refusal(lambda: read(tmp_path))
    assert folder.what == "the folder has no data file."
    assert "Seen: notes.txt. Files end in .jsonl" in folder.hint
    assert refusal(lambda: read(tmp_path / "*.txt")).what == "the suffix '.txt' is not known."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.parquet", b"PAR1 this is not one"),
        ("data.csv.gz", b"a,b"),
        ("data.jsonl.gz", gzip.compress(b"{}\n", mtime=0)[:-9]),
    ],
)
def test_a_file_that_is_broken_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    error = refusal(lambda: list(read(tmp_path)))
    assert error.what.startswith("the file cannot be read to its end")
    assert error.where == str(tmp_path / name)


def test_files_without_rows_are_no_fault_among_others(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "b.jsonl").write_bytes(lines(ROWS))
    assert len(list(read(tmp_path))) == 20
    (tmp_path / "b.jsonl").write_bytes(b"\n")
    assert refusal(lambda: read(tmp_path)).what == "none of the 2 files has rows."
