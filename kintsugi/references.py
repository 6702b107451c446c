"""What users may name on the command line: a node of a run, an artifact of the store, or a data file.

`RUN:NODE` is a node by the name it had in a run: `recovery:pairs`, `recovery:qa.test`, `recovery:scores/reference`. RUN
is a folder under runs/, which `kintsugi run` and the other commands leave behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract import DATA, REJECTS
from pipeline.failures import UserError, nearest
from pipeline.store import MANIFEST, Manifest, Store, read_manifest

HOW = "Name a node of a run (recovery:pairs, recovery:qa.test), a directory of the store, or a .json or .jsonl file."


@dataclass(frozen=True)
class Artifact:
    """A made artifact, and the split of it that was named."""

    directory: Path
    manifest: Manifest
    split: str = ""

    @property
    def store(self) -> Store:
        return Store(self.directory.parent.parent)


@dataclass(frozen=True)
class Dataset:
    """Rows that a user named: `parts` are its splits (one called `train` where there are none), each read anew."""

    name: str
    record: Any
    parts: dict[str, Callable[[], Iterator[Any]]]
    artifact: Artifact | None = None

    def rows(self) -> Iterator[Any]:
        """The rows of all parts."""
        for part in self.parts.values():
            yield from part()


DATA_SETS = ("rows", "labelled", "generations", "scores", "verdicts")
"""The products that are rows to look at."""


def find_dataset(reference: str, store: Path, runs: Path, rejected: bool = False) -> Dataset:
    """The rows that a reference means; with `rejected` those that were left out when they were made."""
    if Path(reference).is_file():
        return _data_file(Path(reference))
    artifact = find_artifact(reference, store, runs)
    if artifact is None:
        raise UserError("config", "there is no such data set.", reference, HOW)
    if artifact.manifest.product not in DATA_SETS and not rejected:
        what = f"this is one of the {artifact.manifest.product}, not a data set."
        raise UserError("config", what, reference, HOW)
    return _rows_of(reference, artifact, rejected)


def find_model(reference: str, store: Path, runs: Path) -> str:
    """A model as `init` and model nodes take it: the path of a directory, or a Hugging Face name as it stands."""
    if Path(reference).is_dir():
        return str(Path(reference).resolve())
    artifact = find_artifact(reference, store, runs)
    if artifact is None:
        return reference
    if artifact.manifest.product != "models":
        what = f"this is one of the {artifact.manifest.product}, not a model."
        raise UserError("config", what, reference, "Name a model directory, a Hugging Face name, or RUN:NODE.")
    return str(artifact.directory.resolve())


def find_artifact(reference: str, store: Path, runs: Path) -> Artifact | None:
    """The artifact at a directory (or at the directory of a split), or the node that RUN:NODE names."""
    path = Path(reference)
    if path.is_dir():
        for directory, split in ((path, ""), (path.resolve().parent, path.resolve().name)):
            manifest = read_manifest(directory)
            if manifest is not None:
                return Artifact(directory.resolve(), manifest, split)
        what = f"the directory has no {MANIFEST} that holds."
        raise UserError("data", what, reference, "Name a directory of the store, such as store/rows/KEY.")
    run, colon, node = reference.partition(":")
    if not colon:
        return None
    return _node_of_run(reference, runs / run / "nodes.json", node, store)


def _node_of_run(reference: str, names: Path, node: str, store: Path) -> Artifact:
    try:
        nodes: dict[str, str] = json.loads(names.read_text(encoding="utf-8"))
    except OSError:
        runs = sorted(path.parent.name for path in names.parent.parent.glob("*/nodes.json"))
        hint = nearest(names.parent.name, runs) if runs else "There are no runs yet: see kintsugi run."
        raise UserError("config", f"there is no run '{names.parent.name}'.", reference, hint) from None
    found, split = (node, "") if node in nodes else (node.rpartition(".")[0], node.rpartition(".")[2])
    if found not in nodes:
        raise UserError("config", f"the run has no node '{node}'.", reference, nearest(node, list(nodes)))
    product, _, key = nodes[found].partition("/")
    manifest = Store(store).manifest(product, key)
    if manifest is None:
        raise UserError("run", f"'{found}' is not made yet, or not in {store}.", reference, "Run it to the end first.")
    return Artifact(Store(store).directory(product, key), manifest, split)


def _rows_of(reference: str, artifact: Artifact, rejected: bool) -> Dataset:
    from pipeline.attributes.records import ControlledRecord, LabelledRecord
    from pipeline.records import (
        ChoiceRecord,
        CorruptionRecord,
        GenerationRecord,
        PreferenceRecord,
        QARecord,
        Reject,
        ScoredRecord,
        TaggedRecord,
        VerdictRecord,
    )
    from pipeline.shards import record_type

    if rejected:
        return Dataset(reference, Reject, {"rejected": lambda: rejects_of(artifact.directory)}, artifact)
    judged = (GenerationRecord, ScoredRecord, VerdictRecord)
    marked = (LabelledRecord, ControlledRecord)
    known = (QARecord, TaggedRecord, CorruptionRecord, PreferenceRecord, ChoiceRecord, *marked, *judged)
    directories = _directories(reference, artifact)
    record = record_type(next(iter(directories.values())), known, reference)
    parts = {name: _reader(directory, record) for name, directory in directories.items()}
    return Dataset(reference, record, parts, artifact)


def rejects_of(directory: Path) -> Iterator[Any]:
    """The rows that an artifact left out."""
    import pyarrow.parquet as pq

    from pipeline.records import Reject
    from pipeline.shards import shard_paths

    for path in shard_paths(directory / REJECTS):
        yield from (Reject(**row) for row in pq.read_table(path).to_pylist())


def _reader(directory: Path, record: Any) -> Callable[[], Iterator[Any]]:
    from pipeline.shards import read_records

    return lambda: read_records(directory, record)


def _directories(reference: str, artifact: Artifact) -> dict[str, Path]:
    """The directory of shards of each split that was meant: the one that was named, or all."""
    if (artifact.directory / DATA).is_dir():
        if artifact.split:
            raise UserError("config", "it has no splits.", reference, f"Leave '.{artifact.split}' off.")
        return {"train": artifact.directory / DATA}
    splits = {path.parent.name: path for path in sorted(artifact.directory.glob(f"*/{DATA}"))}
    if not artifact.split:
        # As a source lists them: train first.
        return dict(sorted(splits.items(), key=lambda item: (item[0] != "train", item[0])))
    if artifact.split not in splits:
        raise UserError(
            "config", f"there is no split '{artifact.split}'.", reference, nearest(artifact.split, [*splits])
        )
    return {artifact.split: splits[artifact.split]}


def _data_file(path: Path) -> Dataset:
    """A data file in any format. A row that cannot be used is an error: nothing is shown or converted in part."""
    from pipeline.sources.files import read

    return Dataset(str(path), type(next(_good_rows(path, read(path)))), {"train": lambda: _good_rows(path, read(path))})


def usable_rows(path: str | Path) -> Iterator[Any]:
    """The records of a data file, for a look at what they are: rows that cannot be used are told of elsewhere."""
    from pipeline.records import Reject
    from pipeline.sources.files import read

    return (row for row in read(path) if not isinstance(row, Reject))


def _good_rows(path: Path, found: Iterator[Any]) -> Iterator[Any]:
    from pipeline.records import Reject

    for row in found:
        if isinstance(row, Reject):
            raise UserError("data", f"a row cannot be used: {row.detail}", str(path), "Mend the file.")
        yield row
