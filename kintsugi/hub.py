"""A data set as the Hugging Face Hub expects it: Parquet shards under data/, and a README.md that is its card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from eval.report.markdown import plain
from kintsugi.references import Artifact, Dataset
from pipeline.failures import UserError
from pipeline.records import CorruptionRecord, PreferenceRecord, table_of
from pipeline.store import Manifest, write_table, write_text

SHARD_ROWS = 100_000
TASKS = {"QARecord": ["text-generation", "question-answering"]}
OTHER_TASKS = ["text-generation"]
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
NAMES = {
    "QARecord": "questions with good answers",
    "TaggedRecord": "questions with good answers, and errors that could be put into them",
    "CorruptionRecord": "good answers and broken ones, with the edits between them",
    "PreferenceRecord": "preference pairs with spans",
    "GenerationRecord": "answers of a model",
    "ScoredRecord": "scores of a model's answers",
}


@dataclass
class Tally:
    """What is counted while the rows of a split are written."""

    rows: int = 0
    bytes: int = 0
    files: int = 0
    error_types: Counter[str] = field(default_factory=Counter)
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
    if isinstance(row, CorruptionRecord):
        tally.error_types.update({edit.error_type for edit in row.edits})
    if isinstance(row, PreferenceRecord):
        tally.error_types.update({span.error_type for span in (*row.chosen_spans, *row.rejected_spans)})
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
    error_types: Counter[str] = Counter()
    for tally in tallies.values():
        error_types.update(tally.error_types)
    return environment.get_template("card.md.j2").render(
        front_matter=yaml.safe_dump(front_matter(dataset, tallies, name, license), sort_keys=False),
        name=name,
        record=dataset.record.__name__,
        what=NAMES[dataset.record.__name__],
        splits=tallies,
        error_types=sorted(error_types.items(), key=lambda item: (-item[1], item[0])),
        steps=_steps(dataset.artifact),
        made=dataset.artifact.manifest if dataset.artifact else None,
    )


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
        seen.setdefault(manifest.key, {"name": name, "manifest": manifest, "settings": _settings(manifest)})
    return list(reversed(seen.values()))


def _upstream(artifact: Artifact, manifest: Manifest, name: str) -> Iterator[tuple[str, Manifest]]:
    yield name, manifest
    for item in manifest.inputs:
        yield from _upstream(artifact, artifact.store.require(item.product, item.key), item.name)


def _settings(manifest: Manifest) -> str:
    """The configuration in a line, without what never changes a result. Of paths only the last part is told."""
    left_out = ("kind", "resources", "checkpoint_every", *(item.role for item in manifest.inputs))
    kept = {key: value for key, value in manifest.config.items() if key not in left_out and value not in (None, [], {})}
    if "origin" in kept:
        kept["origin"] = Path(str(kept["origin"])).name
    shown = {key: " and ".join(map(str, value)) if isinstance(value, list) else value for key, value in kept.items()}
    return ", ".join(f"{key}: {value}" for key, value in shown.items())
