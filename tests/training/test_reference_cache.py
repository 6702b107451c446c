"""Reference values on disk: keys, sizes, what is read back, and that the number of ranks decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.failures import UserError
from pipeline.store import Manifest, commit
from training import reference_filling
from training.reference_cache import (
    Form,
    Kept,
    ReferenceCache,
    Size,
    cache_key,
    digest,
    kept_offsets,
    positions,
    shard_file,
    write_head,
    write_index,
)
from training.reference_filling import batches_of, fill, missing_shards, weighed
from training.tokens import Example, PairExample, Side

HIDDEN = 3
IDENTITY = {"model": "m", "data": ["d", ""], "limit": None, "tokenizer": "t", "max_length": 64}
SHAPES = {"logps": None, "hidden": torch.bfloat16, "short": torch.float32}


def answer(seed: int, side: int, weighted: bool = True) -> Example:
    """A prompt of 2 to 4 tokens and an answer of 3 to 9 (seed and side decide), every third token weighted."""
    start, length = 2 + seed % 3, 3 + (seed + 4 * side) % 7
    ids = tuple(100 * seed + 10 * side + place for place in range(start + length))
    weights = tuple(0.5 if weighted and place >= start and place % 3 == 0 else 0.0 for place in range(start + length))
    return Example(f"p{seed}", ids, weights, start)


def pairs(count: int = 150) -> list[PairExample]:
    """More than two shards; every fifth chosen answer carries no weight."""
    return [PairExample(f"p{seed}", answer(seed, 0, seed % 5 > 0), answer(seed, 1)) for seed in range(count)]


def look(form: Form) -> reference_filling.Look:
    """A reference that says of a token: its id and its place, in every way."""

    def told(batch: Sequence[PairExample]) -> Kept:
        sides = [*(pair.chosen for pair in batch), *(pair.rejected for pair in batch)]
        found = [
            (place - side.response_start, float(side.input_ids[place]))
            for side in sides
            for place, weight in enumerate(side.weights)
            if weight
        ]
        offsets = torch.tensor([place for place, _ in found], dtype=torch.int32)
        values = torch.tensor([value for _, value in found])
        if form == "logps":
            return Kept(offsets, values)
        states = values.unsqueeze(1).repeat(1, HIDDEN).to(SHAPES[form])
        return Kept(offsets, values, states, -values if form == "short" else None)

    return told


def made(directory: Path, form: Form, data: Sequence[PairExample], world: int = 1, head: Any = None) -> Path:
    missing = missing_shards(directory, data)
    for rank in range(world):
        fill(directory, data, form, look(form), missing, rank=rank, world=world)
    write_index(directory, data, form)
    if form == "hidden":
        write_head(directory, *(head or (torch.ones(5, HIDDEN, dtype=torch.bfloat16), None)))
    commit(directory, Manifest("reference", 1, "references", "k", {}, []))
    return directory


@pytest.mark.parametrize("form", ["logps", "hidden", "short"])
def test_every_value_comes_back_to_its_token(form: Form, tmp_path: Path) -> None:
    data = pairs()
    cache = ReferenceCache(made(tmp_path, form, data), form, data)
    sides: tuple[Side, ...] = ("chosen", "rejected")
    for pair in data:
        for side in sides:
            example, kept = getattr(pair, side), cache.side(pair, side)
            expected = kept_offsets(example, form)
            ids = [float(example.input_ids[example.response_start + offset]) for offset in expected]
            assert kept.offsets.tolist() == expected
            assert kept.offsets.dtype == torch.int32
            assert kept.logps.tolist() == ids
            assert kept.logps.dtype == torch.float32
            if form != "logps":
                assert kept.states is not None
                assert kept.states.dtype == SHAPES[form]
                assert torch.equal(kept.states, torch.tensor(ids).unsqueeze(1).repeat(1, HIDDEN).to(SHAPES[form]))
            if form == "short":
                assert kept.entropy is not None
                assert kept.entropy.tolist() == [-value for value in ids]


def test_log_probs_are_kept_of_every_token_and_states_of_the_weighted_ones() -> None:
    example = Example("x", (1, 2, 3, 4, 5), (0, 0, 0, 2.0, 0), 2)
    assert kept_offsets(example, "logps") == [0, 1, 2]
    assert kept_offsets(example, "hidden") == kept_offsets(example, "short") == [1]
    assert positions([PairExample("x", example, example)], "logps") == 6
    assert positions([PairExample("x", example, example)], "short") == 2
    assert kept_offsets(pairs(1)[0].chosen, "hidden") == []


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("form", ["logps", "short"])
def test_any_number_of_ranks_writes_the_same_bytes(form: Form, world: int, tmp_path: Path) -> None:
    one, several = made(tmp_path / "one", form, pairs()), made(tmp_path / "several", form, pairs(), world)
    names = sorted(path.name for path in one.iterdir() if path.name != "manifest.json")
    assert names == ["index.parquet", *(shard_file(number) for number in range(3))]
    assert names == sorted(path.name for path in several.iterdir() if path.name != "manifest.json")
    assert all((one / name).read_bytes() == (several / name).read_bytes() for name in names)


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    data = pairs()

    def dies(batch: Sequence[PairExample]) -> Kept:
        if (tmp_path / shard_file(0)).exists():
            raise KeyboardInterrupt
        return look("logps")(batch)

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, data, "logps", dies, missing_shards(tmp_path, data))
    assert [path.name for path in tmp_path.iterdir()] == [shard_file(0)]
    before = (tmp_path / shard_file(0)).stat().st_mtime_ns
    assert missing_shards(tmp_path, data) == [1, 2]
    cache = ReferenceCache(made(tmp_path, "logps", data), "logps", data)
    assert (tmp_path / shard_file(0)).stat().st_mtime_ns == before
    assert cache.side(data[0], "chosen").logps.tolist() == [2.0, 3.0, 4.0]


def test_ranks_with_a_part_of_the_model_each_do_the_same_in_the_same_order(tmp_path: Path) -> None:
    """Three shards for two ranks: the second one has none in the second turn, and looks all the same.

    Whatever one rank does, gathering the model or counting batches, it does together with the others.
    """
    data = pairs()
    most = len(batches_of(data[:64]))
    done: list[list[str]] = [[], []]
    for rank, mine in enumerate(done):

        def counted(batch: Sequence[PairExample], mine: list[str] = mine) -> Kept:
            mine.append("look")
            return look("logps")(batch)

        def largest(number: int, mine: list[str] = mine) -> int:
            mine.append("largest")
            return max(number, most)

        fill(tmp_path, data, "logps", counted, [0, 1, 2], rank=rank, world=2, largest=largest)
    assert done[0] == done[1]
    assert done[0].count("look") > 1


def test_batches_hold_every_pair_once_and_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_filling, "BATCH_TOKENS", 60)
    data = pairs(64)
    batches = batches_of(data)
    assert sorted(place for batch in batches for place in batch) == list(range(64))
    for batch in batches:
        longest = max(len(side.input_ids) for place in batch for side in (data[place].chosen, data[place].rejected))
        assert 2 * longest * len(batch) <= 60
    monkeypatch.setattr(reference_filling, "BATCH_TOKENS", 1)
    assert all(len(batch) == 1 for batch in batches_of(data))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"data": ["e", ""]},
        {"data": ["d", "train"]},
        {"limit": 5},
        {"tokenizer": "u"},
        {"max_length": 65},
    ],
)
def test_another_model_data_or_tokenisation_is_another_key(change: dict[str, Any]) -> None:
    for form in ("logps", "hidden", "short"):
        assert cache_key({**IDENTITY, **change}, form, pairs(3)) != cache_key(IDENTITY, form, pairs(3))


def test_masks_share_log_probs_and_not_hidden_states() -> None:
    whole = [weighed(pair, "logps") for pair in pairs(3)]
    heavier = [
        replace(pair, chosen=replace(pair.chosen, weights=tuple(2 * weight for weight in pair.chosen.weights)))
        for pair in pairs(3)
    ]
    assert cache_key(IDENTITY, "logps", whole) == cache_key(IDENTITY, "logps", pairs(3))
    for form in ("hidden", "short"):
        assert cache_key(IDENTITY, form, whole) != cache_key(IDENTITY, form, pairs(3))
        assert cache_key(IDENTITY, form, heavier) == cache_key(IDENTITY, form, pairs(3))


def test_a_run_of_fewer_pairs_reads_the_cache_of_all(tmp_path: Path) -> None:
    """As a mask that gives some pairs no weight does."""
    data = pairs()
    cache = ReferenceCache(made(tmp_path, "logps", data), "logps", data[3:9])
    assert len(cache.side(data[100], "rejected").logps) == kept_offsets(data[100].rejected, "logps")[-1] + 1


def test_other_tokens_are_refused(tmp_path: Path) -> None:
    data = pairs(4)
    made(tmp_path, "logps", data)
    other = replace(data[2].chosen, input_ids=(*data[2].chosen.input_ids[:-1], 7))
    assert digest(replace(data[2], chosen=other), "logps") != digest(data[2], "logps")
    with pytest.raises(UserError, match="other tokens than pair p2"):
        ReferenceCache(tmp_path, "logps", [replace(data[2], chosen=other)])


def test_the_digest_knows_where_the_answer_begins() -> None:
    pair = pairs(2)[1]
    weights = (0.0,) * len(pair.chosen.weights)
    later = replace(pair.chosen, response_start=pair.chosen.response_start + 1, weights=weights)
    assert digest(replace(pair, chosen=later), "logps") != digest(pair, "logps")


def test_the_head_comes_back(tmp_path: Path) -> None:
    weight, bias = torch.randn(5, HIDDEN).bfloat16(), torch.randn(5).bfloat16()
    made(tmp_path, "hidden", pairs(2), head=(weight, bias))
    found = ReferenceCache(tmp_path, "hidden", pairs(2)).head()
    assert torch.equal(found[0], weight)
    assert found[1] is not None
    assert torch.equal(found[1], bias)


@pytest.mark.parametrize("form", ["logps", "hidden", "short"])
def test_the_estimate_is_what_is_written(form: Form, tmp_path: Path) -> None:
    data = pairs()
    directory = made(tmp_path, form, data)
    written = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    estimated = Size(hidden=HIDDEN, vocabulary=5, itemsize=2).bytes_of(form, positions(data, form))
    headers = 400 * len(list(directory.glob("*.safetensors")))
    assert estimated < written < estimated + headers
