"""What a checkpoint holds beside DeepSpeed's shards, and what is done with one that is not whole."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from pipeline.failures import UserError
from training import checkpoint
from training.checkpoint import Pointer


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """A group of one process."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Shards:
    """Writes and reads one file where DeepSpeed would its own."""

    device = torch.device("cpu")
    module = torch.nn.Linear(1, 1)

    def __init__(self, said: str = "") -> None:
        self.said = said

    def save_checkpoint(self, directory: str, tag: str, **_: Any) -> None:
        (Path(directory) / tag).mkdir(parents=True)
        (Path(directory) / tag / "shard").write_text(self.said)

    def load_checkpoint(self, directory: str, tag: str, **_: Any) -> tuple[str, None]:
        self.said = (Path(directory) / tag / "shard").read_text()
        return tag, None


def draws() -> list[float]:
    return [float(torch.rand(1)), random.random(), float(np.random.normal())]


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    np.random.normal()  # Keeps the second of a pair for the next call: it is a part of the state.
    checkpoint.save(Shards("weights"), tmp_path, 3)
    expected = draws()
    assert draws() != expected
    shards = Shards()
    assert checkpoint.load(shards, tmp_path) == 3
    assert shards.said == "weights"
    assert draws() == expected


def test_only_the_last_is_kept_and_half_written_ones_go(tmp_path: Path) -> None:
    assert checkpoint.load(Shards(), tmp_path) == 0
    for step in (2, 4):
        checkpoint.save(Shards(f"at {step}"), tmp_path, step)
    (tmp_path / "step-6").mkdir()
    (tmp_path / "tiny").mkdir()
    shards = Shards()
    assert checkpoint.load(shards, tmp_path) == 4
    assert shards.said == "at 4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "step-4", "tiny"]


def test_without_a_pointer_nothing_counts(tmp_path: Path) -> None:
    Shards("half").save_checkpoint(str(tmp_path), "step-2")
    assert checkpoint.load(Shards(), tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [lambda shard: shard.unlink(), lambda shard: shard.write_text("weig")])
def test_a_damaged_one_is_refused(damage: Any, tmp_path: Path) -> None:
    checkpoint.save(Shards("weights"), tmp_path, 3)
    damage(tmp_path / "step-3" / "shard")
    with pytest.raises(UserError, match="shard of the checkpoint at step 3 is not as it was written") as caught:
        checkpoint.load(Shards(), tmp_path)
    assert caught.value.kind == "environment"


def test_the_pointer_says_who_wrote_what(tmp_path: Path) -> None:
    checkpoint.save(Shards("weights"), tmp_path, 3)
    pointer = checkpoint.last(tmp_path)
    assert pointer is not None
    assert (pointer.step, pointer.ranks, pointer.files["shard"]) == (3, 1, 7)
    assert json.loads((tmp_path / "checkpoint.json").read_text()) == asdict(pointer)
    assert Pointer(12, 2, {}).tag == "step-12"


def test_other_ranks_checkpoints_are_loaded_whole_without_zero(tmp_path: Path) -> None:
    """And what is drawn then follows from the step and the rank."""
    checkpoint.save(Shards("weights"), tmp_path, 3)
    pointer = checkpoint.last(tmp_path)
    assert pointer is not None
    (tmp_path / "checkpoint.json").write_text(json.dumps({**asdict(pointer), "ranks": 2}))
    found = []
    for _ in range(2):
        shards: Any = Shards()
        shards.zero_optimization = lambda: False
        assert checkpoint.load(shards, tmp_path) == 3
        assert shards.said == "weights"
        found.append(torch.rand(3).tolist())
    assert found[0] == found[1]
