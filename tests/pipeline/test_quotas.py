"""Quotas: who is drawn for what, by hand; and embed nodes with quotas on real shards: stopped, resumed, cut anew."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kintsugi.cli import app
from kintsugi.hub import write_hub
from kintsugi.references import find_dataset
from pipeline.contract import Source, Work
from pipeline.errors import ERROR_TYPES
from pipeline.failures import UserError
from pipeline.nodes import Embed, EmbedConfig
from pipeline.records import REJECTED, CorruptionRecord, QARecord
from pipeline.shards import count_rows, read_records, write_shards
from pipeline.sources.builtin import build
from pipeline.stages.embed import Number
from pipeline.stages.quotas import SURVEY, Drawing, Survey, goal_of
from pipeline.store import Manifest, commit, read_manifest, verify

ABC = ("a", "b", "c")
RARE = "incorrect-base-case-in-recursion"
OFF = "off-by-one-errors"


def survey(*rows: tuple[int, str], wanted: int = 1) -> list[pa.Table]:
    """A survey of rows as (place in the drawing, types that fit)."""
    found = [
        {"draw": draw, "wanted": wanted, "types": sum(1 << ABC.index(name) for name in types)} for draw, types in rows
    ]
    return [pa.Table.from_pylist(found, SURVEY)]


def drawing(seen: list[pa.Table], per_type: int | None = 2, least: int = 1, minimum: int = 0) -> Drawing:
    return Drawing.of(seen, goal_of(seen, ABC, per_type, minimum), ABC, least)


def finish(found: Drawing, fails: Collection[tuple[int, str]] = ()) -> set[int]:
    """Rounds to the end, in which (row, type) of `fails` are never confirmed. The rows that are kept."""
    kept = set()
    while drawn := found.round():
        for row in sorted(drawn, key=found.order.index):
            made = [name for name in drawn[row] if (row, name) not in fails]
            if found.tell(row, drawn[row], made, "" if made else "nothing-confirmed"):
                kept.add(row)
    return kept


def test_the_rarest_type_chooses_first_and_rows_come_in_the_order_of_their_draws():
    """c fits two rows, b three and a all five; rows come as 0, 3, 4, 2, 1. One row is left for a."""
    found = drawing(survey((5, "ac"), (40, "ab"), (30, "ab"), (9, "ac"), (20, "ab")))
    assert list(found.round().items()) == [(0, ("c",)), (3, ("c",)), (4, ("b",)), (2, ("b",)), (1, ("a",))]
    found = drawing(survey((5, "ac"), (40, "ab"), (30, "a"), (9, "ac"), (20, "ab")))
    assert found.round() == {0: ("c",), 3: ("c",), 4: ("b",), 2: ("a",), 1: ("b",)}


def test_what_is_not_confirmed_goes_to_other_rows_and_the_row_to_other_types():
    found = drawing(survey((1, "ab"), (2, "a"), (3, "a"), (4, "b")), per_type=1)
    assert found.round() == {0: ("b",), 1: ("a",)}
    assert not found.tell(0, ("b",), (), "nothing-confirmed") and not found.tell(1, ("a",), (), "nothing-confirmed")
    assert found.round() == {0: ("a",), 2: ("a",), 3: ("b",)}, "a is given two rows: one of one has failed"
    assert found.tell(0, ("a",), ("a",), "")
    assert not found.tell(2, ("a",), ("a",), ""), "one is enough"
    assert found.tell(3, ("b",), ("b",), "")
    assert found.round() == {}
    assert found.facts()["a"] == {"applicable": 3, "wanted": 1, "tried": 3, "made": 1, "short": 0, "why": ""}


def test_a_quota_is_met_exactly_where_rows_will_do_and_else_says_what_is_short_and_why():
    seen = survey(*((number, "ab" if number % 2 else "a") for number in range(100)))
    found = drawing(seen, per_type=20)
    kept = finish(found, {(row, "b") for row in range(0, 100) if row % 4 == 1})
    assert (found.made["a"], found.made["b"], len(kept)) == (20, 20, 40)
    found = drawing(seen, per_type=30)
    kept = finish(found, {(row, "b") for row in range(0, 100) if row % 4 == 1})
    facts = found.facts()
    assert facts["a"]["made"] == 30 and facts["b"]["short"] == 30 - facts["b"]["made"] > 0
    assert "nothing-confirmed 25" in facts["b"]["why"]
    assert facts["c"]["why"] == "left out: it has a place in 0 rows, and 0 are the least"


def test_a_type_that_is_never_confirmed_ends_after_few_rounds():
    found = drawing(survey(*((number, "a") for number in range(5000))), per_type=10)
    rounds = 0
    while drawn := found.round():
        rounds += 1
        for row in sorted(drawn):
            found.tell(row, ("a",), (), "nothing-confirmed")
    assert rounds <= 7, "10, 40, 200, 1000, 3750: each at most four times all before"
    assert found.facts()["a"] | {"why": ""} == {
        "applicable": 5000, "wanted": 10, "tried": 5000, "made": 0, "short": 10, "why": ""
    }  # fmt: skip


def test_a_row_whose_good_answer_fails_is_drawn_no_more():
    found = drawing(survey((1, "abc"), (2, "abc")), per_type=1)
    assert set(found.round()) == {0, 1}
    found.tell(0, ("a",), (), "good-answer-fails")
    assert 0 not in found.round()


def test_several_errors_count_for_each_of_their_types():
    found = drawing(survey((1, "abc"), (2, "ab"), (3, "c"), wanted=2), per_type=1, least=2)
    assert found.round() == {0: ("a", "b")}, "all are as rare; rows 1 and 2 have no place for two that are needed"
    assert found.tell(0, ("a", "b"), ("a", "b"), "")
    assert found.round() == {}, "c alone is too little for a row of two errors"
    assert found.facts()["c"]["short"] == 1


def test_proportional_shares_add_up_to_the_rows():
    """a fits 6 rows, b 3, c 1 of 7 rows in all: 7 x 6/10 = 4.2, 2.1 and 0.7. Largest remainder: 4, 2, 1."""
    seen = survey((1, "ab"), (2, "abc"), (3, "a"), (4, "a"), (5, "a"), (6, "a"), (7, "b"))
    assert goal_of(seen, ABC, None, 0).wanted == {"a": 4, "b": 2, "c": 1}
    found = drawing(seen, per_type=None)
    assert len(finish(found)) == 7 and found.made == Counter(a=4, b=2, c=1)


def test_types_with_too_few_rows_are_left_out():
    seen = survey(*((number, "ab" if number < 10 else "a") for number in range(300)))
    assert goal_of(seen, ABC, 5, 11).left_out == {
        "b": "it has a place in 10 rows, and 11 are the least",
        "c": "it has a place in 0 rows, and 11 are the least",
    }
    assert set(goal_of(seen, ABC, 5, 10).left_out) == {"c"}
    assert set(goal_of(seen, ABC, 5, None).left_out) == {"b", "c"}, "a fifteenth of 300 rows is 20"


def test_a_survey_says_what_fits():
    answer = "```python\nfor i in range(3):\n    print(i)\n```\n"
    look = Survey(("off-by-one-errors", RARE, "unused-imports"), 0, Number(2, 2))
    assert look.row(QARecord("r", "", answer, "s"))["types"] == 0b101
    assert look.row(QARecord("r", "", "prose", "s")) | {"draw": 0} == {"draw": 0, "wanted": 0, "types": 0}
    assert look.row(QARecord("r", "", answer, "s"))["wanted"] == 2
    assert look.row(QARecord("r", "", answer, "s"))["draw"] != look.row(QARecord("q", "", answer, "s"))["draw"]


@pytest.mark.parametrize(("keys", "message"), [
    ({"errors": 0}, "greater than or equal to 1"),
    ({"errors": 10}, "less than or equal to 9"),
    ({"errors": "some"}, "valid dictionary"),
    ({"errors": {"min": 3, "max": 2}}, "min 3 is more than max 2"),
    ({"quota": {"per_type": 0}}, "greater than 0"),
    ({"quota": "even"}, "proportional"),
    ({"minimum_applicable": 5}, "goes with a quota"),
    ({"verify": "never"}, "executed"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        EmbedConfig.model_validate({"kind": "embed", "input": "qa", **keys})


# On shards


ROWS = 150
PER_TYPE = 6
CONFIG = {"verify": "static", "quota": {"per_type": PER_TYPE}, "seed": 1}


@pytest.fixture(scope="module")
def sources(tmp_path_factory, ray_session):
    """The same rows in shards of two sizes; every tenth has no code, and one id comes twice."""
    rows = [
        row if index % 10 else QARecord(row.id, row.prompt, "No code.", row.source)
        for index, row in enumerate(build(ROWS, 0))
    ]
    rows[7] = QARecord(rows[8].id, rows[7].prompt, rows[7].response, rows[7].source, rows[7].tests)
    folder = tmp_path_factory.mktemp("rows")
    for size in (40, 11):
        write_shards(folder / str(size) / "data", rows, QARecord.SCHEMA, size)
    return folder


def work_on(root: Path, made: Path, progress=None, **config) -> Work:
    made.mkdir(parents=True, exist_ok=True)
    settings = EmbedConfig.model_validate({"kind": "embed", "input": "qa", **CONFIG, **config})
    work = Work("e", "broken", "embed", Embed.version, "rows", "k", settings, made, [
        Source("input", "qa", "rows", "q", "", root)
    ])  # fmt: skip
    return work if progress is None else Work(**{**vars(work), "progress": progress})


def rows_of(made: Path) -> list[CorruptionRecord]:
    return list(read_records(made / "data", CorruptionRecord))


def rejects_of(made: Path) -> list[dict]:
    return pq.read_table(made / "rejected", schema=REJECTED).to_pylist()


def bytes_of(made: Path) -> dict[str, bytes]:
    parts = (made / "data", made / "rejected")
    return {path.relative_to(made).as_posix(): path.read_bytes() for part in parts for path in sorted(part.iterdir())}


@pytest.fixture(scope="module")
def whole(sources, tmp_path_factory):
    made = tmp_path_factory.mktemp("whole") / "rows" / "k"
    commit(made.with_name("q"), Manifest("source", 1, "rows", "q", {}, [], {"in": ROWS}))
    Embed().make([work_on(sources / "40", made)])
    return made


@pytest.mark.slow
def test_every_type_gets_its_rows_and_every_row_is_accounted_for(whole):
    manifest = read_manifest(whole)
    facts = manifest.facts["types"]
    counts = Counter(name for row in rows_of(whole) for name in {edit.error_type for edit in row.edits})
    rare = {name for name, fact in facts.items() if fact["why"].startswith("left out")}
    assert set(facts) == set(ERROR_TYPES) and len(rare) < len(facts) / 2
    for name, fact in facts.items():
        assert counts[name] == fact["made"] == PER_TYPE * (name not in rare) - fact["short"], name
        assert fact["short"] == 0 or fact["why"]
        assert fact["made"] <= fact["tried"] <= fact["applicable"] <= ROWS * 0.9
    reasons = Counter(reject["reason"] for reject in rejects_of(whole))
    assert reasons["no-code"] == ROWS / 10 and reasons["not-drawn"] > 0
    assert manifest.rows == {"in": ROWS, "out": len(rows_of(whole)), "rejected": reasons.total()}
    assert manifest.rows["in"] == manifest.rows["out"] + manifest.rows["rejected"]
    assert verify(whole) == [] and not (whole / ".work").exists()


@pytest.mark.slow
def test_card_and_report_tell_of_types_quotas_lengths_and_rejects(whole, tmp_path):
    dataset = find_dataset(str(whole), whole.parent.parent, tmp_path)
    write_hub(dataset, tmp_path / "hub", "mine", "mit")
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert "| error type | rows | executed | static | by construction |" in card
    assert "| unused-imports | 6 | 0 | 6 | 0 |" in card
    assert "| error type | rows with a place for it | wanted | made | why fewer |" in card
    assert re.search(r"\| unused-imports \| 1\d\d \| 6 \| 6 \|  \|", card)
    assert re.search(r"\| train \| good answer \| \d+ \| \d+ \| \d+ \| \d+ \|", card)
    assert "| no-code | 15 |" in card and re.search(r"\| not-drawn \| \d+ \|", card)
    done = CliRunner().invoke(app, ["inspect", str(whole), "--sample", "5", "-o", str(tmp_path / "r.json")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["quotas"] == read_manifest(whole).facts["types"] and report["rejects"]["no-code"] == 15
    assert "Quotas" in done.output and "not-drawn" in done.output


@pytest.mark.slow
def test_the_rows_do_not_depend_on_the_number_of_shards(whole, sources, tmp_path):
    Embed().make([work_on(sources / "11", tmp_path / "made")])
    assert len(list((tmp_path / "made" / "data").iterdir())) == 14
    assert rows_of(tmp_path / "made") == rows_of(whole)
    assert rejects_of(tmp_path / "made") == rejects_of(whole)
    assert read_manifest(tmp_path / "made").facts == read_manifest(whole).facts


@pytest.mark.slow
def test_what_ran_code_in_rounds_is_told(sources, tmp_path):
    made = tmp_path / "made"
    Embed().make([work_on(sources / "40", made, verify="executed", quota={"per_type": 1}, limit=20, error_types=[OFF])])
    facts = read_manifest(made).facts
    assert facts["sandbox"] and facts["types"][OFF]["made"] == 1
    assert rows_of(made)[0].edits[0].level == "executed"


class Killed(Exception):
    """Raised where a process would have been killed."""


@pytest.mark.slow
@pytest.mark.parametrize("after", range(1, 12, 3))
def test_a_run_that_was_stopped_goes_on_and_gives_the_same_bytes(whole, sources, tmp_path, after):
    """Stopped after so many shards, of the survey, of rounds or of the end: what is there is kept, the rest made."""
    seen = []

    def stop(done: int, total: int, unit: str) -> None:
        seen.append((done, total))
        if len([one for one in seen if one[0]]) == after:
            raise Killed

    made = tmp_path / "made"
    with pytest.raises(Killed):
        Embed().make([work_on(sources / "40", made, stop)])
    kept = {path: path.stat().st_mtime_ns for path in made.rglob("part-*.parquet")}
    assert kept and read_manifest(made) is None
    Embed().make([work_on(sources / "40", made)])
    assert bytes_of(made) == bytes_of(whole)
    assert read_manifest(made).facts == read_manifest(whole).facts


@pytest.mark.slow
def test_what_a_survey_saw_is_not_looked_at_again(sources, tmp_path):
    made = tmp_path / "made"

    def stop(done: int, total: int, unit: str) -> None:
        if done == total:
            raise Killed

    with pytest.raises(Killed):
        Embed().make([work_on(sources / "40", made, stop)])
    before = {path: path.stat().st_mtime_ns for path in (made / ".work" / "survey").rglob("part-*.parquet")}
    assert len(before) == 4
    shown = shutil.copytree(made, tmp_path / "again", copy_function=shutil.copy2)
    Embed().make([work_on(sources / "40", shown, lambda done, total, unit: check_untouched(shown, made, before))])


def check_untouched(again: Path, made: Path, before: dict[Path, int]) -> None:
    for path, time in before.items():
        assert (again / path.relative_to(made)).stat().st_mtime_ns == time


@pytest.mark.slow
def test_proportional_quotas_use_every_row_that_will_do(sources, tmp_path):
    Embed().make([work_on(sources / "40", tmp_path / "made", quota="proportional", minimum_applicable=30)])
    manifest = read_manifest(tmp_path / "made")
    facts = manifest.facts["types"]
    assert facts[RARE]["applicable"] < 30 and facts[RARE]["why"].startswith("left out") and facts[RARE]["made"] == 0
    assert manifest.rows["out"] >= 0.8 * ROWS * 0.9
    wanted = {name: fact["wanted"] for name, fact in facts.items() if fact["wanted"]}
    assert sum(wanted.values()) == ROWS * 0.9
    shares = {name: wanted[name] / facts[name]["applicable"] for name in wanted}
    assert max(shares.values()) - min(shares.values()) < 0.05


@pytest.mark.slow
def test_several_errors_under_a_quota(sources, tmp_path):
    Embed().make([work_on(sources / "40", tmp_path / "made", errors={"min": 1, "max": 3})])
    rows = rows_of(tmp_path / "made")
    facts = read_manifest(tmp_path / "made").facts["types"]
    counts = Counter(name for row in rows for name in {edit.error_type for edit in row.edits})
    assert {name: fact["made"] for name, fact in facts.items()} == {name: counts[name] for name in facts}
    assert Counter(len({edit.error for edit in row.edits}) for row in rows)[2] > 0
    assert all(count >= PER_TYPE for name, count in counts.items() if not facts[name]["short"])


@pytest.mark.slow
def test_no_type_with_rows_enough_is_the_users_to_solve(sources, tmp_path):
    with pytest.raises(UserError, match="every error type is left out") as caught:
        Embed().make([work_on(sources / "40", tmp_path / "made", minimum_applicable=1000)])
    assert caught.value.kind == "data" and "minimum_applicable" in caught.value.hint


@pytest.mark.slow
def test_rows_that_were_not_drawn_are_not_held_against_the_data(sources, tmp_path):
    """One row of each type of 60: most are left, and more have no code than are kept."""
    Embed().make([work_on(sources / "40", tmp_path / "made", quota={"per_type": 1}, limit=60, max_rejected=0.1)])
    manifest = read_manifest(tmp_path / "made")
    assert manifest.rows["in"] == 60 and count_rows(tmp_path / "made" / "data") == manifest.rows["out"] <= len(
        ERROR_TYPES
    )
