"""A source node made in a folder, without a graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.contract import Work
from pipeline.nodes import Source, SourceConfig
from pipeline.records import QARecord
from pipeline.shards import read_records
from pipeline.store import Manifest, read_manifest


@dataclass(frozen=True)
class MadeSource:
    directory: Path
    manifest: Manifest

    def records(self, split: str = "", record: Any = QARecord) -> list[Any]:
        return list(read_records(self.directory / split / "data" if split else self.directory / "data", record))

    def ids(self, split: str = "") -> list[str]:
        return [record.id for record in self.records(split)]

    def rejects(self) -> list[dict[str, str]]:
        return pq.read_table(self.directory / "rejected").to_pylist()

    def files(self) -> dict[str, str]:
        return {name: facts["sha256"] for name, facts in self.manifest.files.items()}


def make_source(folder: Path, origin: object, **config: Any) -> MadeSource:
    """The source node of this config, made in a folder of its own."""
    known = SourceConfig.model_validate({"kind": "source", "from": str(origin), **config})
    Source().outside(known, frozenset())
    directory = folder / f"made-{len(list(folder.glob('made-*')))}"
    work = Work(
        experiment="e",
        name="qa",
        kind="source",
        version=Source.version,
        product="rows",
        key="0123",
        config=known,
        directory=directory,
        sources=[],
    )
    directory.mkdir(parents=True)
    Source().make([work])
    manifest = read_manifest(directory)
    assert manifest is not None
    rows = manifest.rows
    assert rows["in"] == sum(count for name, count in rows.items() if name != "in")
    return MadeSource(directory, manifest)
