"""A data set as the Hugging Face Hub expects it: Parquet shards under data/, and a README.md that is its card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from eval.report.cells import plain
from kintsugi.inspection import LENGTH_NAMES
from kintsugi.references import Artifact, Dataset, rejects_of
from pipeline.contract import UNKEYED, is_keyed
from pipeline.dataset_report import RowCounts, broken
from pipeline.errors.base import Level
from pipeline.failures import UserError
from pipeline.records import CorruptionRecord, PreferenceRecord, table_of
from pipeline.store import Manifest, write_table, write_text

SHARD_ROWS = 100_000
TASKS = {"QARecord": ["text-generation", "question-answering"]}
OTHER_TASKS = ["text-generation"]
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
LEVELS = get_args(Level)
NAMES = {
    "QARecord": "questions with good answers",
    "TaggedRecord": "questions with good answers, and errors that could be put into them",
    "CorruptionRecord": "good answers and broken ones, with the edits between them",
    "PreferenceRecord": "preference pairs with spans",
    "ChoiceRecord": "questions with answers to choose from",
    "GenerationRecord": "answers of a model",
    "ScoredRecord": "scores of a model's answers",
    "VerdictRecord": "which of two models answers better",
}


@dataclass
class Tally:
    """What is counted while the rows of a split are written."""

    rows: int = 0
    bytes: int = 0
    files: int = 0
    counts: RowCounts = field(default_factory=RowCounts)
    spans: Counter[str] = field(default_factory=Counter)


def write_hub(dataset: Dataset, directory: Path, name: str, license: str) -> None:
    """Write the data set with its card into an empty directory."""
    tallies = {_split_name(part): _write_split(dataset, part, directory) for part in dataset.parts}
    if not any(tally.rows for tally in tallies.values()):
        raise UserError("data", "there are no rows.", dataset.name, "Look at the step that makes them.")
    write_text(directory / "README.md", card(dataset, tallies, name, license))


def _split_name(part: str) -> str:
    """Names of splits are words there."""
    return re.sub(r"\W", "_", part)


def _write_split(dataset: Dataset, part: str, directory: Path) -> Tally:
    """The shards of one split, `data/train-00000-of-00001.parquet` and so on."""
    tally = Tally()
    drafts: list[Path] = []
    rows = dataset.parts[part]()
    while chunk := list(islice(rows, SHARD_ROWS)):
        table = table_of(chunk, dataset.record.SCHEMA)
        drafts.append(directory / "data" / f"{len(drafts)}.draft")
        write_table(drafts[-1], table)
        tally.rows += table.num_rows
        tally.bytes += table.nbytes
        for row in chunk:
            _count(row, tally)
    for index, draft in enumerate(drafts):
        draft.rename(draft.with_name(f"{_split_name(part)}-{index:05d}-of-{len(drafts):05d}.parquet"))
    tally.files = len(drafts)
    return tally


def _count(row: Any, tally: Tally) -> None:
    if isinstance(row, CorruptionRecord | PreferenceRecord):
        tally.counts.add(broken(row))
    if isinstance(row, PreferenceRecord):
        tally.spans.update(chosen=len(row.chosen_spans), rejected=len(row.rejected_spans))
        tally.spans["rows"] += bool(row.chosen_spans or row.rejected_spans)


def card(dataset: Dataset, tallies: dict[str, Tally], name: str, license: str) -> str:
    """The README.md: front matter for the Hub, then what the rows are, how many, and how they were made."""
    environment = Environment(
        loader=PackageLoader("kintsugi", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown; what strangers wrote goes through the filter `plain`.
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template("card.md.j2").render(
        front_matter=yaml.safe_dump(front_matter(dataset, tallies, name, license), sort_keys=False),
        name=name,
        record=dataset.record.__name__,
        what=NAMES[dataset.record.__name__],
        splits=tallies,
        error_types=_error_types(tallies),
        levels=LEVELS,
        lengths={split: tally.counts.statistics() for split, tally in tallies.items() if tally.counts.rows},
        length_names=LENGTH_NAMES,
        rejects=_rejects(dataset.artifact),
        quotas=dataset.artifact.manifest.facts.get("types", {}) if dataset.artifact else {},
        steps=_steps(dataset.artifact),
        made=dataset.artifact.manifest if dataset.artifact else None,
    )


def _error_types(tallies: dict[str, Tally]) -> list[tuple[str, int, dict[str, int]]]:
    """Each type with its rows and its errors by level, the most frequent first."""
    rows: Counter[str] = Counter()
    levels: Counter[tuple[str, str]] = Counter()
    for tally in tallies.values():
        rows.update(tally.counts.types)
        levels.update(tally.counts.levels)
    order = sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    return [(name, count, {level: levels[name, level] for level in LEVELS}) for name, count in order]


def _rejects(artifact: Artifact | None) -> list[tuple[str, int]]:
    """Why rows were left out of the last step, the most frequent reason first."""
    return Counter(reject.reason for reject in rejects_of(artifact.directory)).most_common() if artifact else []


def front_matter(dataset: Dataset, tallies: dict[str, Tally], name: str, license: str) -> dict[str, Any]:
    """The YAML that the Hub and `datasets` read."""
    rows = sum(tally.rows for tally in tallies.values())
    record = dataset.record.__name__
    return {
        "pretty_name": name,
        "license": license,
        "language": ["en"],
        "task_categories": TASKS.get(record, OTHER_TASKS),
        "tags": ["kintsugi", *(["preference", "dpo"] if record == "PreferenceRecord" else [])],
        "size_categories": [next((size for limit, size in SIZES if rows < limit), "10M<n<100M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*"} for split in tallies],
            }
        ],
        "dataset_info": {
            "features": [_feature(item) for item in dataset.record.SCHEMA],
            "splits": [
                {"name": split, "num_bytes": tally.bytes, "num_examples": tally.rows}
                for split, tally in tallies.items()
            ],
            "dataset_size": sum(tally.bytes for tally in tallies.values()),
        },
    }


def _feature(item: pa.Field) -> dict[str, Any]:
    """One column as `datasets` writes it in a card: structs are lists of features, lists name their content."""
    kind = item.type
    if pa.types.is_list(kind):
        return {"name": item.name, "list": [_feature(inner) for inner in kind.value_type]}
    return {"name": item.name, "dtype": {"double": "float64"}.get(str(kind), str(kind))}


def _steps(artifact: Artifact | None) -> list[dict[str, Any]]:
    """How the rows came to be: every step upstream, the first one first."""
    if artifact is None:
        return []
    seen: dict[str, dict[str, Any]] = {}
    for name, manifest in _upstream(artifact, artifact.manifest, "this data set"):
        seen.setdefault(manifest.key, {"name": name, "manifest": manifest, "settings": settings_of(manifest)})
    return list(reversed(seen.values()))


def _upstream(artifact: Artifact, manifest: Manifest, name: str) -> Iterator[tuple[str, Manifest]]:
    yield name, manifest
    for item in (item for item in manifest.inputs if is_keyed(item.role)):
        yield from _upstream(artifact, artifact.store.require(item.product, item.key), item.name)


def settings_of(manifest: Manifest) -> str:
    """The configuration in a line, without what never changes a result. Of paths only the last part is told."""
    left_out = UNKEYED.union(item.role for item in manifest.inputs)
    kept = {key: value for key, value in manifest.config.items() if key not in left_out and value not in (None, [], {})}
    if "origin" in kept:
        kept["origin"] = Path(str(kept["origin"])).name
    shown = {key: " and ".join(map(str, value)) if isinstance(value, list) else value for key, value in kept.items()}
    return ", ".join(f"{key}: {value}" for key, value in shown.items())
