"""10,000 hostile rows from a file to pairs with spans, by a run as users start it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hostile_rows import hostile
from small_run import run_to_the_end

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.records import PreferenceRecord
from pipeline.shards import read_records
from pipeline.store import Store

pytestmark = pytest.mark.slow

COUNT = 10_000


def test_no_row_is_lost_between_source_and_pairs(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"".join(line + b"\n" for line in hostile(COUNT)[0]))
    nodes = {
        "qa": {"kind": "source", "from": str(tmp_path / "rows.jsonl"), "max_rejected": 1.0},
        "broken": {"kind": "embed", "input": "qa", "verify": "static", "max_rejected": 1.0},
        "pairs": {"kind": "annotate", "input": "broken"},
    }
    experiment = tmp_path / "hostile.yaml"
    experiment.write_text(json.dumps({"name": "hostile", "nodes": nodes}))
    run_to_the_end(tmp_path / "store", tmp_path / "runs", experiment)
    graph, store, arriving = build(load(experiment)), Store(tmp_path / "store"), COUNT
    for name in nodes:
        node = graph.nodes[name]
        directory = store.directory(node.kind.product, node.key)
        rows = store.require(node.kind.product, node.key).rows
        assert rows["in"] == arriving == rows["out"] + rows["rejected"], name
        rejects = pq.read_table(directory / "rejected").to_pylist()
        assert len(rejects) == rows["rejected"]
        assert all(reject["id"] and reject["reason"] for reject in rejects)
        arriving = rows["out"]
    assert arriving > 1000, "carriage returns, nested fences and emoji do not stop an error from being embedded"
    for pair in read_records(directory / "data", PreferenceRecord):
        assert pair.rejected != pair.chosen
