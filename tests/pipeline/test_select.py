"""Rows by where they are from: which are kept, that none is lost, and that a misspelt source is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from source_node import make_source

from pipeline.contract import Source, Work
from pipeline.failures import UserError
from pipeline.nodes import Select, SelectConfig
from pipeline.records import QARecord
from pipeline.shards import read_records
from pipeline.store import Manifest, read_manifest, verify

COUNTS = {"windows": 13, "words": 13, "memo": 12}
"""Of 200 rows that take 16 families in turn, the first eight families have one more."""


def select(folder: Path, **config: Any) -> tuple[Manifest, list[QARecord], list[dict[str, str]]]:
    """A select node over 200 rows of the built-in corpus in several shards."""
    made = make_source(folder, "builtin", rows=200)
    directory = folder / "selected"
    known = SelectConfig.model_validate({"kind": "select", "input": "qa", **config})
    source = Source("input", "qa", "rows", "k", "", made.directory)
    work = Work("e", "some", "select", Select.version, "rows", "0123", known, directory, [source])
    directory.mkdir()
    Select().make([work])
    manifest = read_manifest(directory)
    assert manifest is not None and not verify(directory)
    return manifest, list(read_records(directory / "data", QARecord)), pq.read_table(directory / "rejected").to_pylist()


@pytest.mark.parametrize(
    "config, expected",
    [
        ({"only": ["builtin/windows", "builtin/memo"]}, {"windows", "memo"}),
        ({"only": ["builtin/w*"], "without": ["*/while-search"]}, {"windows", "words"}),
    ],
)
def test_rows_of_these_sources_are_kept_and_all_others_named(
    tmp_path: Path, config: dict[str, Any], expected: set[str]
) -> None:
    manifest, kept, rejected = select(tmp_path, **config)
    assert {record.source for record in kept} == {f"builtin/{name}" for name in expected}
    assert (
        manifest.rows == {"in": 200, "out": len(kept), "rejected": len(rejected)} and len(kept) + len(rejected) == 200
    )
    assert manifest.facts["sources"] == {f"builtin/{name}": COUNTS[name] for name in expected}
    assert all(row["reason"] == "not-selected" and row["detail"].startswith("it is from 'builtin/") for row in rejected)


def test_the_two_sides_of_a_choice_are_all_rows_in_order(tmp_path: Path) -> None:
    named = ["builtin/windows", "builtin/memo"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    left = [record.id for record in select(tmp_path / "a", only=named)[1]]
    right = [record.id for record in select(tmp_path / "b", without=named)[1]]
    assert sorted(left + right) == [f"builtin-0-{index:06d}" for index in range(200)]
    assert left == sorted(left) and right == sorted(right)


def test_what_fits_no_row_is_misspelt(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none of 200 rows is from 'builtin/window'.*Did you mean 'builtin/windows'"
    ) as seen:
        select(tmp_path, without=["builtin/window"])
    assert seen.value.kind == "data"


def test_leaving_out_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none is left"):
        select(tmp_path, without=["*"])


def test_a_choice_names_something() -> None:
    with pytest.raises(ValidationError, match="name the sources"):
        SelectConfig.model_validate({"kind": "select", "input": "qa"})
