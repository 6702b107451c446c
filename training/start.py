"""Where a run starts: its `init` as files that every rank can load."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import distributed

from pipeline.adapters import locate
from pipeline.contract import Work
from pipeline.failures import UserError
from pipeline.records import PreferenceRecord
from pipeline.shards import read_records
from pipeline.store import SCRATCH
from training import control, lora
from training.examples import record_type
from training.fingerprints import TINY

MERGED, EXTENDED = "merged", "extended"


@dataclass(frozen=True)
class Start:
    """What a run loads: whole weights (a directory or a hub name), and an adapter to go on training.

    `merged` says that the weights were made of an adapter and its base.
    """

    model: str
    adapter: Path | None = None
    merged: bool = False


def tokenizer_of(work: Work) -> str:
    """Where a run's tokenizer lies, a directory or a hub name. No weights are loaded or merged for it."""
    if not work.all_sources("init"):
        return _outside(work)
    files = locate(work.source("init").root)
    return str(files.adapter or files.weights)


def prepare(work: Work, tokens: Sequence[str] = ()) -> Start:
    """The start of a run. What has to be built first (the tiny model, a merge) is built by the first rank.

    `tokens` are control tokens that its tokenizer lacks: the model gets embeddings for them, and they train.
    """
    start = _prepared(work)
    if not tokens:
        return start
    if work.config.lora is not None:
        what = f"{tokens[0]} is a new token, whose embedding an adapter would leave untrained."
        raise UserError("config", what, f"node {work.name}, lora", "Train all weights: leave lora out.")
    return Start(str(_built(work, EXTENDED, lambda draft: control.build_extended(start.model, tokens, draft))))


def _prepared(work: Work) -> Start:
    if not work.all_sources("init"):
        return Start(_outside(work))
    files = locate(work.source("init").root)
    if files.adapter is None:
        return Start(str(files.weights))
    if work.config.lora is None:
        return Start(str(_built(work, MERGED, lambda draft: lora.merge(files, draft))), merged=True)
    return Start(str(files.weights), files.adapter)


def _outside(work: Work) -> str:
    """An `init` that is no node: the tiny model, built from the run's own texts, or what it names."""
    init: str = work.config.init
    return str(_built(work, TINY, lambda draft: _build_tiny(work, draft))) if init == TINY else init


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
    answer = "chosen" if record is PreferenceRecord else "response"
    rows = list(read_records(source.data, record, work.config.limit))
    tiny.build((text for row in rows for text in (row.prompt, getattr(row, answer))), draft, work.config.seed)
