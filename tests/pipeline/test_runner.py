"""Mapping a stage over shards with real Ray: counts, rejects, limits, and what a rerun makes."""

from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest

from pipeline.contract import Resources, Work
from pipeline.failures import UserError
from pipeline.records import REJECTED, FunctionTest, QARecord, Reject
from pipeline.runner import Counts, map_shards, plan_tasks
from pipeline.sandbox.run import execute
from pipeline.shards import read_records, shard_paths, write_shards

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


@dataclass(frozen=True)
class Shout:
    """Keeps a row in capitals, rejects those whose number is divisible by `by`, and fails where told to."""

    by: int = 5
    fail_at: str = ""

    def __call__(self, records):
        if self.fail_at in {record.id for record in records}:
            raise UserError("data", f"{self.fail_at} is cursed.", "stage shout", "Leave it out.")
        refused = {record.id for record in records if int(record.response) % self.by == 0}
        kept = [
            QARecord(record.id, record.prompt, record.prompt.upper(), record.source)
            for record in records
            if record.id not in refused
        ]
        return kept, [Reject(name, f"divisible-by-{self.by}", "too round") for name in sorted(refused)]


@dataclass(frozen=True)
class Lose:
    """Loses a row without saying so."""

    def __call__(self, records):
        return list(records[1:]), []


@pytest.fixture
def source(tmp_path):
    """Ten rows in three shards: r1 to r4, r5 to r8, r9 and r10. Rows r5 and r10 are divisible by 5."""
    records = [QARecord(f"r{i}", f"say {i}", str(i), "test") for i in range(1, 11)]
    write_shards(tmp_path / "source" / "data", records, QARecord.SCHEMA, 4)
    return tmp_path / "source" / "data"


def work_in(folder, seen=None):
    def progress(done, total, unit):
        if seen is not None:
            seen.append((done, total, unit))

    directory = folder / "made"
    directory.mkdir(exist_ok=True)
    return Work("e", "loud", "embed", 1, "rows", "k", None, directory, [], progress)


def mapped(folder, source, stage=Shout(), **options):
    return map_shards(work_in(folder), source, stage, QARecord, QARecord.SCHEMA, resources=Resources(), **options)


def out(folder):
    return [record.id for record in read_records(folder / "made" / "data", QARecord)]


def rejected(folder):
    return pq.read_table(folder / "made" / "rejected", schema=REJECTED).to_pylist()


def state(folder):
    """Modification time and bytes of every file that was made."""
    found = sorted(path for path in (folder / "made").rglob("*") if path.is_file())
    return {
        path.relative_to(folder / "made").as_posix(): (path.stat().st_mtime_ns, path.read_bytes()) for path in found
    }


def test_rows_in_are_rows_out_and_rows_rejected(tmp_path, source):
    seen = []
    counts = map_shards(
        work_in(tmp_path, seen), source, Shout(), QARecord, QARecord.SCHEMA, resources=Resources(concurrency=2)
    )
    assert counts == Counts(taken=10, kept=8, rejected=2)
    assert counts.as_rows() == {"in": 10, "out": 8, "rejected": 2}
    assert [path.name for path in shard_paths(tmp_path / "made" / "data")] == [
        f"part-0000{i}.parquet" for i in range(3)
    ]
    assert out(tmp_path) == ["r1", "r2", "r3", "r4", "r6", "r7", "r8", "r9"]
    assert next(read_records(tmp_path / "made" / "data", QARecord)).response == "SAY 1"
    assert rejected(tmp_path) == [
        {"id": "r5", "reason": "divisible-by-5", "detail": "too round"},
        {"id": "r10", "reason": "divisible-by-5", "detail": "too round"},
    ]
    assert seen[0] == (0, 10, "rows")
    assert seen[-1] == (10, 10, "rows")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


@dataclass(frozen=True)
class Execute:
    """Runs the code of rows with an even number."""

    def __call__(self, records):
        for record in records:
            if int(record.response) % 2 == 0:
                execute("def f():\n    return 1", [FunctionTest.of("f")])
        return list(records), []


def test_what_ran_code_is_counted_with_the_rows_and_over_restarts(tmp_path, source):
    assert mapped(tmp_path, source).as_facts() == {}
    for path in (tmp_path / "made").rglob("*.parquet"):
        path.unlink()
    assert mapped(tmp_path, source, Execute()).as_facts() == {"sandbox": ["namespaces"]}
    (tmp_path / "made" / "data" / "part-00002.parquet").unlink()
    assert mapped(tmp_path, source).as_facts() == {"sandbox": ["namespaces"]}


def test_a_rerun_makes_only_the_shard_that_is_missing_and_the_same_bytes(tmp_path, source):
    counts = mapped(tmp_path, source)
    before = state(tmp_path)
    (tmp_path / "made" / "data" / "part-00001.parquet").unlink()
    assert mapped(tmp_path, source) == counts
    after = state(tmp_path)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    again = {name for name in before if before[name][0] != after[name][0]}
    assert again == {"data/part-00001.parquet", "rejected/part-00001.parquet"}


def test_a_rerun_of_what_is_whole_calls_no_stage(tmp_path, source):
    counts = mapped(tmp_path, source)
    before = state(tmp_path)
    assert mapped(tmp_path, source, Shout(fail_at="r1")) == counts
    assert state(tmp_path) == before


def test_shards_made_before_a_failure_are_kept(tmp_path, source):
    mapped(tmp_path, source, limit=4)
    before = state(tmp_path)
    with pytest.raises(Exception, match="r9 is cursed"):
        mapped(tmp_path, source, Shout(fail_at="r9"))
    assert mapped(tmp_path, source) == Counts(10, 8, 2)
    after = state(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (3, ["r1", "r2", "r3"]),
        (4, ["r1", "r2", "r3", "r4"]),
        (6, ["r1", "r2", "r3", "r4", "r6"]),
        (99, ["r1", "r2", "r3", "r4", "r6", "r7", "r8", "r9"]),
    ],
)
def test_a_limit_counts_rows_taken_across_shards(tmp_path, source, limit, expected):
    counts = mapped(tmp_path, source, limit=limit)
    assert out(tmp_path) == expected
    assert (counts.taken, counts.kept) == (min(limit, 10), len(expected))
    assert len(shard_paths(tmp_path / "made" / "data")) == len(plan_tasks(tmp_path, source, limit))


def test_more_rejects_than_are_put_up_with_stop_the_node_and_name_the_reasons(tmp_path, source):
    with pytest.raises(
        UserError, match=r"5 of 10 rows were rejected \(divisible-by-2 5\); at most 40% may be"
    ) as caught:
        mapped(tmp_path, source, Shout(by=2), max_rejected=0.4)
    error = caught.value
    assert (error.kind, error.where) == ("data", "node loud")
    assert str(tmp_path / "made" / "rejected") in error.hint
    assert len(rejected(tmp_path)) == 5, "the rows must be there to look at"


def test_exactly_as_many_rejects_as_are_put_up_with_pass(tmp_path, source):
    assert mapped(tmp_path, source, Shout(by=2), max_rejected=0.5) == Counts(10, 5, 5)


def test_a_node_that_rejects_every_row_fails_whatever_is_put_up_with(tmp_path, source):
    with pytest.raises(UserError, match="10 of 10 rows were rejected"):
        mapped(tmp_path, source, Shout(by=1), max_rejected=1.0)


def test_no_rows_are_an_error(tmp_path):
    empty = tmp_path / "empty" / "data"
    write_shards(empty, [], QARecord.SCHEMA, 4)
    with pytest.raises(UserError, match="there are no rows to work on") as caught:
        mapped(tmp_path, empty)
    assert caught.value.kind == "data"
    assert "node loud" in caught.value.where


def test_an_empty_shard_among_others_is_harmless(tmp_path, source):
    write_shards(tmp_path / "empty", [], QARecord.SCHEMA, 4)
    (tmp_path / "empty" / "part-00000.parquet").rename(source / "part-00001.parquet")
    assert mapped(tmp_path, source) == Counts(6, 5, 1)
    assert out(tmp_path) == ["r1", "r2", "r3", "r4", "r9"]


def test_a_stage_that_loses_a_row_is_caught(tmp_path, source):
    with pytest.raises(Exception, match="a stage lost or invented rows"):
        mapped(tmp_path, source, Lose())
    assert not shard_paths(tmp_path / "made" / "data")


def test_a_users_error_in_a_stage_arrives_with_its_words(tmp_path, source):
    with pytest.raises(Exception, match="r9 is cursed") as caught:
        mapped(tmp_path, source, Shout(fail_at="r9"))
    chain, error = [], caught.value
    while error is not None:
        chain.append(error)
        error = getattr(error, "cause", None) or error.__cause__
    assert any(type(found) is UserError and found.kind == "data" for found in chain), (
        "the command line cannot explain it"
    )
