"""10,000 rows that nobody would wish for: none is lost, each that is left out has a reason, whatever the cut."""

from collections import Counter

import pytest
from hostile_rows import hostile
from source_node import make_source


@pytest.fixture(scope="module")
def rows():
    return hostile(10_000)


def written(folder, lines, files=1):
    folder.mkdir(parents=True)
    size = -(-len(lines) // files)
    for number in range(files):
        part = lines[number * size : (number + 1) * size]
        (folder / f"{number:03}.jsonl").write_bytes(b"".join(line + b"\n" for line in part))
    return folder


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    return make_source(folder, written(folder / "rows", rows[0]), max_rejected=1.0)


def test_each_row_is_kept_or_rejected_with_its_reason(rows, whole):
    lines, expected = rows
    found = whole.manifest.rows
    assert found["in"] == len(lines) == 10_000
    assert found["out"] + found["rejected"] == 10_000
    assert Counter(reject["reason"] for reject in whole.rejects()) == expected
    assert all(reject["id"] and reject["detail"] for reject in whole.rejects())
    assert len(set(whole.ids())) == found["out"]


def test_other_numbers_of_files_give_the_same_rows(rows, whole, tmp_path):
    kept = {name: sha for name, sha in whole.files().items() if name.startswith("data")}
    for files in (7, 61):
        cut = make_source(tmp_path, written(tmp_path / str(files) / "rows", rows[0], files), max_rejected=1.0)
        assert {name: sha for name, sha in cut.files().items() if name.startswith("data")} == kept


def test_every_option_at_once_loses_nothing(rows, tmp_path):
    options = {"deduplicate": "minhash", "similarity": 0.3, "python_only": True, "splits": {"test": "10%"}}
    made = make_source(tmp_path, written(tmp_path / "rows", rows[0][:3000]), max_rejected=1.0, **options)
    found = made.manifest.rows
    assert found["in"] == 3000 == found["train"] + found["test"] + found["rejected"]
    assert {"no-code", "near-duplicate"} <= {reject["reason"] for reject in made.rejects()}
