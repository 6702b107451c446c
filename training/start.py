"""Where a run starts: its `init` as files that every rank can load."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import distributed

from pipeline.adapters import locate
from pipeline.contract import Work
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord
from pipeline.shards import read_records
from pipeline.store import SCRATCH
from training import lora
from training.examples import record_type
from training.fingerprints import TINY

MERGED = "merged"


@dataclass(frozen=True)
class Start:
    """What a run loads: whole weights and a tokenizer (directories or hub names), and an adapter to go on training.

    `merged` says that the weights were made of an adapter and its base.
    """

    model: str
    tokenizer: str
    adapter: Path | None = None
    merged: bool = False


def prepare(work: Work) -> Start:
    """The start of a run. What has to be built first (the tiny model, a merge) is built by the first rank."""
    if not work.all_sources("init"):
        init = work.config.init
        built = str(_built(work, TINY, lambda draft: _build_tiny(work, draft))) if init == TINY else init
        return Start(built, built)
    files = locate(work.source("init").root)
    if files.adapter is None:
        return Start(str(files.weights), str(files.weights))
    if work.config.lora is None:
        merged = str(_built(work, MERGED, lambda draft: lora.merge(files, draft)))
        return Start(merged, merged, merged=True)
    return Start(str(files.weights), str(files.adapter), files.adapter)


def _built(work: Work, name: str, build: Callable[[Path], None]) -> Path:
    """A directory in the work's scratch, built by the first rank, whole or not at all, and kept over restarts."""
    directory = work.directory / SCRATCH / name
    if distributed.get_rank() == 0 and not directory.exists():
        draft = directory.with_name(f".{name}.tmp")
        shutil.rmtree(draft, ignore_errors=True)
        build(draft)
        draft.rename(directory)
    distributed.barrier()
    return directory


def _build_tiny(work: Work, draft: Path) -> None:
    """Build the embedded default model from the run's own texts."""
    from training import tiny

    source = work.source("data")
    record = record_type(source)
    answer = {QARecord: "response", CorruptionRecord: "response", PreferenceRecord: "chosen"}[record]
    rows = list(read_records(source.data, record, work.config.limit))
    tiny.build((text for row in rows for text in (row.prompt, getattr(row, answer))), draft, work.config.seed)
