"""The source node: reading, making, splitting."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_node import make_source

from pipeline.errors import ERROR_TYPES
from pipeline.failures import UserError
from pipeline.nodes import EmbedConfig, Source, SourceConfig
from pipeline.records import REJECTED, PreferenceRecord, QARecord
from pipeline.shards import count_rows, read_records, read_shard, shard_paths
from pipeline.sources.nodes import SHARD_ROWS as SHARD_BOUNDS
from pipeline.sources.nodes import split_by_prompt
from pipeline.store import read_manifest, verify

SHARD_ROWS = SHARD_BOUNDS[0]


def rows(count, prompts=None):
    """`count` records over `prompts` different prompts (by default all different)."""
    return [QARecord(f"row-{i}", f"prompt {i % (prompts or count)}", str(i), "s") for i in range(count)]


def ids(records):
    return [record.id for record in records]


def made(folder, **config):
    """The source node of this config, made in a folder."""
    return make_source(folder, config.pop("from"), **config).directory


def jsonl(folder, *lines):
    path = folder / "data.jsonl"
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8"
    )
    return str(path)


# Splits


def test_splits_have_the_rows_asked_for_and_train_the_rest():
    parts = split_by_prompt(rows(100), {"validation": 10, "test": 25}, 0, "qa")
    assert {name: len(part) for name, part in parts.items()} == {"train": 65, "validation": 10, "test": 25}
    assert sorted(ids([record for part in parts.values() for record in part])) == sorted(ids(rows(100)))


@settings(max_examples=60)
@given(st.integers(20, 60), st.integers(4, 20), st.integers(0, 5), st.integers(1, 5), st.integers(1, 5))
def test_no_prompt_is_on_two_sides_and_no_row_is_lost(count, prompts, seed, validation, test):
    """A prompt has at most ceil(60 / 4) rows, so a split holds fewer than that more than was asked for."""
    records = rows(count, prompts)
    most = max(Counter(record.prompt for record in records).values())
    try:
        parts = split_by_prompt(records, {"validation": validation, "test": test}, seed, "qa")
    except UserError:
        assert validation + test + 2 * most > count, "refused though there are rows enough"
        return
    sides = [{record.prompt for record in part} for part in parts.values()]
    assert sum(len(side) for side in sides) == len(set().union(*sides)), "a prompt is on two sides"
    assert sorted(ids([record for part in parts.values() for record in part])) == sorted(ids(records))
    assert validation <= len(parts["validation"]) < validation + most
    assert test <= len(parts["test"]) < test + most


def test_a_split_is_decided_by_the_seed():
    splits = {"test": 30}
    first, again, other = (ids(split_by_prompt(rows(100), splits, seed, "qa")["test"]) for seed in (1, 1, 2))
    assert first == again
    assert set(first) != set(other)


def test_a_split_does_not_depend_on_the_order_of_the_rows():
    splits = {"validation": 10, "test": 30}
    forward = split_by_prompt(rows(100), splits, 0, "qa")
    backward = split_by_prompt(rows(100)[::-1], splits, 0, "qa")
    assert forward == backward


def test_a_split_is_drawn_from_all_over_the_rows():
    """The first 30 of 100 rows would be a split too, and a bad one: files are often sorted."""
    numbers = [
        int(name.removeprefix("row-")) for name in ids(split_by_prompt(rows(100), {"test": 30}, 0, "qa")["test"])
    ]
    assert min(numbers) < 20
    assert max(numbers) >= 80
    assert 30 < sum(numbers) / 30 < 70, "the mean of 0 to 99 is 49.5, of 30 draws within 50 +- 4 x 29 / sqrt(30)"


def test_splits_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(UserError, match="the splits take all 10 rows and leave none for train") as caught:
        split_by_prompt(rows(10), {"test": 10}, 0, "qa")
    assert caught.value.kind == "config"
    assert caught.value.where == "node qa"


# Sources


def test_a_file_becomes_shards_of_its_records_in_order(tmp_path):
    path = jsonl(tmp_path, *({"id": f"r{i}", "prompt": f"{i}?", "response": str(i)} for i in range(2 * SHARD_ROWS + 1)))
    directory = made(tmp_path, **{"from": path})
    shards = shard_paths(directory / "data")
    assert [path.name for path in shards] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert [len(read_shard(path, QARecord)) for path in shards] == [SHARD_ROWS, SHARD_ROWS, 1]
    found = list(read_records(directory / "data", QARecord))
    assert ids(found) == [f"r{i}" for i in range(2 * SHARD_ROWS + 1)]
    assert found[5] == QARecord("r5", "5?", "5", "data.jsonl")
    manifest = read_manifest(directory)
    assert manifest.rows == {"in": 129, "out": 129, "rejected": 0}
    assert verify(directory) == []


def test_a_limit_across_shards_stops_where_it_should(tmp_path):
    path = jsonl(tmp_path, *({"id": f"r{i}", "prompt": f"{i}?", "response": str(i)} for i in range(SHARD_ROWS + 5)))
    directory = made(tmp_path, **{"from": path})
    for limit in (0, 1, SHARD_ROWS, SHARD_ROWS + 1, SHARD_ROWS + 5, 1000):
        found = ids(read_records(directory / "data", QARecord, limit))
        assert found == [f"r{i}" for i in range(min(limit, SHARD_ROWS + 5))]


def test_preference_files_become_preference_records(tmp_path):
    span = {"start": 2, "end": 3, "error_type": "typo", "text": "-"}
    row = {"id": "p", "prompt": "Add.", "chosen": "a + b", "rejected": "a - b", "rejected_spans": [span]}
    directory = made(tmp_path, **{"from": jsonl(tmp_path, row)})
    [found] = read_records(directory / "data", PreferenceRecord)
    assert found.rejected_spans[0].text == "-"


def test_rows_draws_by_a_hash_of_the_ids_so_that_order_does_not_matter(tmp_path):
    lines = [{"id": f"r{i}", "prompt": f"{i}?", "response": str(i)} for i in range(40)]
    drawn = []
    for order in (lines, lines[::-1]):
        directory = made(tmp_path / str(len(drawn)), **{"from": jsonl(tmp_path, *order), "rows": 10})
        drawn.append(ids(read_records(directory / "data", QARecord)))
        assert read_manifest(directory).rows == {"in": 10, "out": 10, "rejected": 0}
        assert read_manifest(directory).facts["not_drawn"] == 30
    assert sorted(drawn[0]) == sorted(drawn[1])
    assert max(int(name[1:]) for name in drawn[0]) > 15, "drawn from all over the file"


def test_a_bad_row_stops_the_source_unless_it_is_put_up_with(tmp_path):
    good = [{"id": f"r{i}", "prompt": f"{i}?", "response": str(i)} for i in range(3)]
    path = jsonl(tmp_path, *good, "no json")
    with pytest.raises(UserError, match=r"1 of 4 rows cannot be used.*data\.jsonl:4") as caught:
        made(tmp_path / "strict", **{"from": path})
    assert caught.value.kind == "data"
    assert read_manifest(tmp_path / "strict" / "rows" / "0123") is None

    directory = made(tmp_path / "lenient", **{"from": path, "max_rejected": 0.25})
    assert read_manifest(directory).rows == {"in": 4, "out": 3, "rejected": 1}
    import pyarrow.parquet as pq

    [reject] = pq.read_table(directory / "rejected", schema=REJECTED).to_pylist()
    assert (reject["id"], reject["reason"]) == ("data.jsonl:4", "bad-json")


def test_one_bad_row_more_than_is_put_up_with_stops_the_source(tmp_path):
    good = [{"id": f"r{i}", "prompt": f"{i}?", "response": str(i)} for i in range(3)]
    path = jsonl(tmp_path, *good, "no json", "nor this")
    with pytest.raises(UserError, match="2 of 5 rows cannot be used"):
        made(tmp_path, **{"from": path, "max_rejected": 0.39})


def test_the_built_in_corpus_is_split_and_the_same_every_time(tmp_path):
    config = {"from": "builtin", "rows": 60, "splits": {"validation": 6, "test": 12}, "seed": 3}
    first, again = (made(tmp_path / name, **config) for name in ("a", "b"))
    assert read_manifest(first).rows == {"in": 60, "train": 42, "validation": 6, "test": 12, "rejected": 0}
    assert {split: count_rows(first / split / "data") for split in ("train", "validation", "test")} == {
        "train": 42,
        "validation": 6,
        "test": 12,
    }
    assert read_manifest(first).files == read_manifest(again).files
    parts = [set(ids(read_records(first / split / "data", QARecord))) for split in ("train", "validation", "test")]
    assert len(set().union(*parts)) == 60


def test_another_seed_gives_other_built_in_rows(tmp_path):
    one, two = (made(tmp_path / str(seed), **{"from": "builtin", "rows": 20, "seed": seed}) for seed in (1, 2))
    prompts = [{row.prompt for row in read_records(directory / "data", QARecord)} for directory in (one, two)]
    assert prompts[0] != prompts[1]


def test_a_source_offers_train_and_the_splits_it_was_given():
    kind = Source()
    assert kind.splits(SourceConfig(kind="source", **{"from": "builtin"})) == ()
    assert kind.splits(SourceConfig(kind="source", **{"from": "builtin", "splits": {"test": 3}})) == ("train", "test")


@pytest.mark.parametrize("splits", [{"train": 3}, {"test": 0}, {"test": -1}])
def test_splits_that_make_no_sense_are_refused(splits):
    with pytest.raises(ValueError, match=r"train|at least one row"):
        SourceConfig(kind="source", **{"from": "builtin", "splits": splits})


@pytest.mark.parametrize("keys", [{}, {"error_types": []}])
def test_the_default_error_types_are_written_out_so_that_they_are_part_of_the_key(keys):
    config = EmbedConfig.model_validate({"kind": "embed", "input": "qa", **keys})
    assert config.error_types == list(ERROR_TYPES)
    assert config.model_dump(mode="json")["error_types"] == list(ERROR_TYPES)


def test_named_error_types_stay_as_they_are():
    config = EmbedConfig.model_validate({"kind": "embed", "input": "qa", "error_types": ["unused-imports"]})
    assert config.error_types == ["unused-imports"]
