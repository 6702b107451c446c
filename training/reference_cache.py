"""What a reference model says of a data set, on disk: computed once, read by every arm and trial.

An artifact ``store/references/<key>`` holds, for the pairs of a data set and both of their sides, values at answer
tokens, in one of three forms:

- ``logps``: the log-prob of **every** answer token. No loss, mask, beta or learning rate is part of its key.
- ``hidden``: at tokens that carry weight, the final hidden state besides, for losses with a KL; and, once, the head.
- ``short``: at tokens that carry weight, the short form of the KL besides (`training.short_form`), for LoRA.

Shards are safetensors, read by memory map; `index.parquet` says where a pair's values stand. A pair is found by a
digest of its tokens, so values of other tokens are never taken for its own.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from pipeline.failures import UserError
from pipeline.store import content_key, read_manifest, write_atomically, write_table
from training.tokens import Example, PairExample, Side

PRODUCT = "references"
VERSION = 1
"""Raised when the same key would name other values."""
INDEX = "index.parquet"
HEAD = "head.safetensors"
SHARD_PAIRS = 64

Form = Literal["logps", "hidden", "short"]

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("digest", pa.string()),
        ("shard", pa.int32()),
        ("start", pa.int64()),
        ("chosen", pa.int32()),
        ("rejected", pa.int32()),
    ]
)
"""A pair's place: its shard, where its chosen answer's values begin, and how many each side has, chosen first."""


class Kept(NamedTuple):
    """What is kept of n tokens of one answer, or of several answers in a row.

    Attributes:
        offsets: int32 [n], which tokens of the answer, 0 the first; ascending.
        logps: fp32 [n].
        states: [n, D]; ``hidden``: final hidden states in the model's dtype; ``short``: e in fp32.
        entropy: fp32 [n], ``short`` only.
    """

    offsets: Tensor
    logps: Tensor
    states: Tensor | None = None
    entropy: Tensor | None = None


@dataclass(frozen=True)
class Size:
    """What decides how many bytes a value takes: hidden size D, vocabulary V, bytes of a number of the model."""

    hidden: int
    vocabulary: int
    itemsize: int

    def bytes_of(self, form: Form, positions: int) -> int:
        """The bytes of a cache of so many tokens; its index comes to some 50 a pair."""
        if form == "logps":
            return 4 * positions
        if form == "short":
            return positions * (4 + 4 + 4 * self.hidden + 4)
        return positions * (4 + 4 + self.itemsize * self.hidden) + self.itemsize * self.hidden * self.vocabulary


def cache_key(identity: dict[str, Any], form: Form, pairs: Sequence[PairExample]) -> str:
    """The key of an artifact.

    Args:
        identity: model, data and tokenisation, as JSON: what decides the tokens and what the model says of them.
        form: what is kept.
        pairs: those of the run. Which of their tokens carry weight decides where ``hidden`` and ``short`` have values.
    """
    kept = {} if form == "logps" else {"tokens": content_key([digest(pair, form) for pair in pairs])}
    return content_key({"kind": "reference", "version": VERSION, "form": form, **identity, **kept})


def digest(pair: PairExample, form: Form) -> str:
    """Of a pair's id, the tokens of both sides, and those of them that a cache of this form keeps."""
    found = hashlib.blake2b(pair.id.encode(), digest_size=16)
    for side in (pair.chosen, pair.rejected):
        numbers = [len(side.input_ids), side.response_start, *side.input_ids]
        found.update(array("q", numbers).tobytes())
        if form != "logps":
            found.update(array("q", [-1, *kept_offsets(side, form)]).tobytes())
    return found.hexdigest()


def kept_offsets(example: Example, form: Form) -> list[int]:
    """Which tokens of an answer a cache has values of, 0 the first: all of them, or those with weight."""
    answer = example.weights[example.response_start :]
    return [place for place, weight in enumerate(answer) if form == "logps" or weight]


def positions(pairs: Sequence[PairExample], form: Form) -> int:
    """How many tokens of both sides a cache of these pairs has values of."""
    return sum(len(kept_offsets(side, form)) for pair in pairs for side in (pair.chosen, pair.rejected))


def shard_file(number: int) -> str:
    return f"part-{number:05d}.safetensors"


def in_shards(pairs: Sequence[PairExample]) -> list[Sequence[PairExample]]:
    """The pairs of each shard: the same whatever the number of workers."""
    return [pairs[start : start + SHARD_PAIRS] for start in range(0, len(pairs), SHARD_PAIRS)]


def write_shard(directory: Path, number: int, kept: Kept, form: Form) -> None:
    """One shard: its pairs' values, the chosen answer's before the rejected one's."""
    from safetensors.torch import save_file

    tensors = {"logps": kept.logps}
    if form != "logps":
        assert kept.states is not None
        tensors |= {"offsets": kept.offsets, "states": kept.states}
    if kept.entropy is not None:
        tensors["entropy"] = kept.entropy
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(directory / shard_file(number), lambda path: save_file(whole, path))


def write_index(directory: Path, pairs: Sequence[PairExample], form: Form) -> None:
    """Where each pair's values stand. It follows from the pairs alone."""
    rows = []
    for number, shard in enumerate(in_shards(pairs)):
        start = 0
        for pair in shard:
            counts = [len(kept_offsets(side, form)) for side in (pair.chosen, pair.rejected)]
            rows.append((pair.id, digest(pair, form), number, start, *counts))
            start += sum(counts)
    columns = [list(column) for column in zip(*rows, strict=True)]
    write_table(directory / INDEX, pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA))


def write_head(directory: Path, weight: Tensor, bias: Tensor | None) -> None:
    """The reference's head, [V, D] and [V], which turns its hidden states into logits."""
    from safetensors.torch import save_file

    tensors = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(directory / HEAD, lambda path: save_file(whole, path))


class ReferenceCache:
    """A whole artifact that has the `pairs` of a run. Nothing is read but what is asked for."""

    def __init__(self, directory: Path, form: Form, pairs: Sequence[PairExample]) -> None:
        assert read_manifest(directory) is not None, "a cache is read once it is whole"
        self.directory = directory
        self.form = form
        index = pq.read_table(directory / INDEX)
        self._places = [index[name].to_numpy() for name in ("shard", "start", "chosen", "rejected")]
        self._rows = {found: row for row, found in enumerate(index["digest"].to_pylist())}
        self._open: dict[int, Any] = {}
        for pair in pairs:
            self._row(pair)

    def side(self, pair: PairExample, side: Side) -> Kept:
        """What is kept of one answer of a pair. The tensors are views of the file."""
        row = self._row(pair)
        shard, start, chosen, rejected = (int(column[row]) for column in self._places)
        first, count = (start, chosen) if side == "chosen" else (start + chosen, rejected)
        return self._read(shard, first, first + count)

    def head(self) -> tuple[Tensor, Tensor | None]:
        """The reference's head: weight [V, D] and bias [V], where it has one."""
        from safetensors.torch import load_file

        tensors = load_file(self.directory / HEAD)
        return tensors["weight"], tensors.get("bias")

    def _read(self, shard: int, start: int, end: int) -> Kept:
        import torch

        values = {name: part[start:end] for name, part in self._slices(shard).items()}
        if "offsets" not in values:
            values["offsets"] = torch.arange(end - start, dtype=torch.int32)
        return Kept(**values)

    def _slices(self, shard: int) -> dict[str, Any]:
        from safetensors import safe_open

        if shard not in self._open:
            file = safe_open(self.directory / shard_file(shard), "pt")
            self._open[shard] = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return self._open[shard]

    def _row(self, pair: PairExample) -> int:
        row = self._rows.get(digest(pair, self.form))
        if row is None:
            what = f"the cached reference has other tokens than pair {pair.id} has now."
            raise UserError("run", what, str(self.directory), "Remove this directory, and it is made again.")
        return row
