"""What stands behind the figures of an arm: its answers, their scores, and the log of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract import DATA, Source
from pipeline.records import GenerationRecord, ScoredRecord, ScoreRecord
from pipeline.shards import read_records
from pipeline.store import Manifest, Store, read_manifest

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One arm: the first answer to each prompt and its scores by prompt id, and the figures of its training."""

    name: str
    model: Manifest
    generation: Manifest
    scoring: Manifest
    answers: Mapping[str, GenerationRecord]
    scores: Mapping[str, Sequence[ScoreRecord]]
    metrics: Sequence[Mapping[str, Any]] = ()


def evidence_of(scores: Source) -> Evidence:
    """The evidence of an arm, found from its scores through the manifests, under the name of its node."""
    generations = behind(scores.root, "input")
    model = behind(generations, "models")
    return Evidence(
        scores.name.partition("/")[2] or scores.name,
        manifest_of(model),
        manifest_of(generations),
        scores.manifest(),
        {row.id: row for row in read_records(generations / DATA, GenerationRecord) if not row.sample},
        {row.id: row.scores for row in read_records(scores.data, ScoredRecord) if not row.sample},
        _metrics(model / METRICS),
    )


def behind(directory: Path, role: str) -> Path:
    """The directory of the one input that an artifact of the store has in a role."""
    store = Store(directory.parent.parent)
    step = next(item for item in manifest_of(directory).inputs if item.role == role)
    store.require(step.product, step.key)
    return store.directory(step.product, step.key)


def manifest_of(directory: Path) -> Manifest:
    """The manifest of an artifact that is there."""
    found = read_manifest(directory)
    assert found is not None, f"{directory} was read before it was made"
    return found


def _metrics(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
