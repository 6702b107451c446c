"""Making a reference cache, or finding it made: one artifact of the store, by all ranks of a worker group."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from pipeline.contract import Source, Work
from pipeline.store import MANIFEST, Manifest, Store, commit, read_manifest
from training import ranks
from training.configs import PreferenceConfig
from training.examples import pair_examples
from training.families import longest
from training.reference_cache import (
    PRODUCT,
    VERSION,
    Form,
    ReferenceCache,
    cache_key,
    positions,
    write_head,
    write_index,
)
from training.reference_filling import fill, missing_shards
from training.reference_model import Frozen, Load, looking, unfit
from training.reference_plan import identity
from training.start import Start
from training.tokens import PairExample


class Unfit(Exception):
    """This form cannot be had of this kind of model; the text says why."""


@dataclass(frozen=True)
class Origin:
    """Where a run's reference comes from, on one rank.

    Attributes:
        work: the preference run.
        rows: the data that the pairs come from, and how many rows of it are taken.
        start: what the run starts from.
        tokenizer: the start's.
        device: of this rank.
        load: loads the model as the policy starts.
    """

    work: Work
    rows: tuple[Source, int | None]
    start: Start
    tokenizer: Any
    device: torch.device
    load: Load

    @property
    def config(self) -> PreferenceConfig:
        config: PreferenceConfig = self.work.config
        return config

    @property
    def pad(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def identity(self) -> dict[str, Any]:
        return identity(self.work, self.rows, self.start, self.tokenizer)


def cached(origin: Origin, form: Form, pairs: Sequence[PairExample]) -> ReferenceCache:
    """The cache of what a run's reference says of its pairs, made if the store has none. All ranks call this.

    Raises Unfit, on every rank, where the model does not allow for this form.
    """
    key = ranks.told(lambda: cache_key(origin.identity(), form, pairs))
    store = Store(origin.work.directory.parents[1])
    directory = store.directory(PRODUCT, key)

    def absent() -> bool:
        return ranks.agreed(read_manifest(directory) is None, origin.device)

    if absent():
        with ranks.turn(store.lock(PRODUCT, key), origin.device):
            if absent():
                _make(origin, form, pairs if form != "logps" else _all_pairs(origin), directory)
    return ReferenceCache(directory, form, pairs)


def _make(origin: Origin, form: Form, pairs: Sequence[PairExample], directory: Path) -> None:
    started, rank = time.time(), distributed.get_rank()
    if rank == 0 and (directory / MANIFEST).exists():
        shutil.rmtree(directory)  # it was whole once, and is damaged
    frozen = Frozen(origin.load, origin.config, origin.device, longest(pairs))
    try:
        if why := unfit(frozen.scorer, form):
            raise Unfit(why)
        missing = json.loads(ranks.told(lambda: json.dumps(missing_shards(directory, pairs))))
        largest = partial(ranks.largest, device=origin.device) if frozen.sharded else None
        look = looking(frozen, form, origin.pad, origin.device)
        fill(directory, pairs, form, look, missing, rank=rank, world=distributed.get_world_size(), largest=largest)
        distributed.barrier()
        if rank == 0:
            write_index(directory, pairs, form)
            if form == "hidden":
                write_head(directory, *frozen.head[:2])
            _commit(origin, form, pairs, directory, started)
    finally:
        frozen.release()


def _all_pairs(origin: Origin) -> Sequence[PairExample]:
    """Every pair of the data that can be trained on, whatever carries weight in this run."""
    everything = origin.config.model_copy(update={"mask": "response"})
    return pair_examples(origin.tokenizer, origin.rows[0], everything)[0]


def _commit(origin: Origin, form: Form, pairs: Sequence[PairExample], directory: Path, started: float) -> None:
    manifest = Manifest(
        kind="reference",
        version=VERSION,
        product=PRODUCT,
        key=directory.name,
        config={**origin.identity(), "form": form},
        inputs=[source.as_input() for source in (*origin.work.all_sources("init"), origin.rows[0])],
        rows={"in": len(pairs), "out": len(pairs), "rejected": 0},
        facts={"tokens": positions(pairs, form)},
        wall_seconds=round(time.time() - started, 3),
    )
    commit(directory, manifest)
