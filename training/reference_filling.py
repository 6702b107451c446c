"""Filling a reference cache: all ranks share the work, and what they write does not depend on how many they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from training.reference_cache import Form, Kept, in_shards, kept_offsets, shard_file, write_shard
from training.tokens import Example, PairExample

BATCH_TOKENS = 2**14
"""Tokens with padding that go through the reference at once. A constant: rounding may depend on a batch's shape."""

Look = Callable[[Sequence[PairExample]], Kept]
"""Asks the reference about B pairs: values at their weighted tokens, of B chosen answers and then B rejected ones."""


def missing_shards(directory: Path, pairs: Sequence[PairExample]) -> list[int]:
    """The shards that nobody has written yet. Those that a killed run has left are whole."""
    return [number for number in range(len(in_shards(pairs))) if not (directory / shard_file(number)).exists()]


def fill(
    directory: Path,
    pairs: Sequence[PairExample],
    form: Form,
    look: Look,
    missing: Sequence[int],
    *,
    rank: int = 0,
    world: int = 1,
    largest: Callable[[int], int] | None = None,
) -> None:
    """Write this rank's part of the missing shards.

    Args:
        directory: of the artifact; its index, head and manifest are the caller's to write.
        pairs: all pairs of the data set, on every rank.
        form: what is kept.
        look: asks the reference.
        missing: from `missing_shards`, the same list on every rank.
        rank: this process, of
        world: so many.
        largest: the largest number of any rank. Given where the ranks hold a part of the reference each, and so must go
            through it equally often: one that has no batch left goes through one again, for nothing.
    """
    shards = in_shards([weighed(pair, form) for pair in pairs])
    for start in range(0, len(missing), world):
        mine = missing[start + rank] if start + rank < len(missing) else None
        batches = [] if mine is None else batches_of(shards[mine])
        idle = 0 if largest is None else largest(len(batches)) - len(batches)
        looked = [look([shards[mine][place] for place in batch]) for batch in batches] if mine is not None else []
        for _ in range(idle):
            look(shards[0][:1])
        if mine is not None:
            write_shard(directory, mine, in_order(shards[mine], batches, looked, form), form)


def weighed(pair: PairExample, form: Form) -> PairExample:
    """The pair with weight on the tokens that the cache keeps values of."""
    return pair if form != "logps" else PairExample(pair.id, _whole(pair.chosen), _whole(pair.rejected))


def _whole(example: Example) -> Example:
    ones = (1.0,) * (len(example.input_ids) - example.response_start)
    return replace(example, weights=(*(0.0,) * example.response_start, *ones))


def batches_of(pairs: Sequence[PairExample]) -> list[list[int]]:
    """Places of pairs of similar length, so many at a time as are worth `BATCH_TOKENS` with padding, or one."""
    lengths = [max(len(pair.chosen.input_ids), len(pair.rejected.input_ids)) for pair in pairs]
    batches: list[list[int]] = []
    for place in sorted(range(len(pairs)), key=lambda place: (-lengths[place], place)):
        if not batches or 2 * lengths[batches[-1][0]] * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(place)
    return batches


def in_order(
    pairs: Sequence[PairExample], batches: Sequence[Sequence[int]], looked: Sequence[Kept], form: Form
) -> Kept:
    """What was kept batch by batch, in the order of the pairs, each pair's chosen answer before its rejected one."""
    parts: dict[tuple[int, bool], Kept] = {}
    for batch, kept in zip(batches, looked, strict=True):
        answers = [*((place, False) for place in batch), *((place, True) for place in batch)]
        counts = [
            len(kept_offsets(pairs[place].rejected if rejected else pairs[place].chosen, form))
            for place, rejected in answers
        ]
        columns = [[None] * len(counts) if column is None else column.split(counts) for column in kept]
        parts |= {answer: Kept(*values) for answer, *values in zip(answers, *columns, strict=True)}
    ordered = [parts[answer] for answer in sorted(parts)]
    joined = [None if column[0] is None else torch.cat(column) for column in zip(*ordered, strict=True)]
    return Kept(*joined)
