"""Checkpoints of a run in progress: DeepSpeed's shards, and our own pointer to the last whole one.

DeepSpeed names a checkpoint `latest` before every rank has written its part. Our pointer is written after a barrier, so
that what it names is whole. Checkpoints hold pickles: they are read from a node's own scratch alone.

Which rows a step takes is a function of the step alone, so the step is all that is kept of the order.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import distributed

from pipeline.failures import UserError
from pipeline.store import write_json

POINTER = "checkpoint.json"
CONVERTED = "universal"


@dataclass(frozen=True)
class Pointer:
    """The last whole checkpoint: steps done, the ranks that wrote it, and the size of each of its files."""

    step: int
    ranks: int
    files: dict[str, int]

    @property
    def tag(self) -> str:
        """The name of its folder."""
        return f"step-{self.step}"


def save(engine: Any, directory: Path, step: int) -> None:
    """Save engine and random state after `step` steps, then point to it and remove the one before."""
    tag = f"step-{step}"
    engine.save_checkpoint(str(directory), tag=tag, save_latest=False, exclude_frozen_parameters=True)
    torch.save(_random_state(engine), directory / tag / _random_name())
    distributed.barrier()
    if distributed.get_rank() == 0:
        files = {path.relative_to(directory / tag).as_posix(): _synced(path) for path in _files(directory / tag)}
        write_json(directory / POINTER, asdict(Pointer(step, distributed.get_world_size(), files)))
        _remove_others(directory, tag)
    distributed.barrier()


def load(engine: Any, directory: Path) -> int:
    """Load the checkpoint that the pointer names and give its step; 0 where there is none.

    Where another number of ranks wrote it, the optimizer's states are cut anew, and random states, which belong to
    ranks, begin anew. Raises an environment error where files of the checkpoint are missing or cut off.
    """
    pointer = last(directory)
    if distributed.get_rank() == 0:
        _remove_others(directory, pointer.tag if pointer else "")
    distributed.barrier()
    if pointer is None:
        return 0
    _refuse_damaged(directory, pointer)
    if pointer.ranks == distributed.get_world_size():
        _load(engine, directory, pointer.tag)
        _set_random_state(torch.load(directory / pointer.tag / _random_name(), weights_only=True))
    else:
        _load_from_others(engine, directory, pointer)
    return pointer.step


def last(directory: Path) -> Pointer | None:
    """The last whole checkpoint, where there is one."""
    path = directory / POINTER
    return Pointer(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _load(engine: Any, directory: Path, tag: str) -> None:
    # What is frozen is not in the checkpoint: it was loaded from the model that the run starts from.
    whole = all(parameter.requires_grad for parameter in engine.module.parameters())
    path, _ = engine.load_checkpoint(str(directory), tag=tag, load_module_strict=whole)
    assert path is not None, f"{tag} is not in {directory}"


def _load_from_others(engine: Any, directory: Path, pointer: Pointer) -> None:
    """Load what another number of ranks wrote. Without ZeRO every rank has all of it."""
    if engine.zero_optimization():
        tag = f"{pointer.tag}-{CONVERTED}"
        if distributed.get_rank() == 0:
            _convert(directory / pointer.tag, directory / tag)
        distributed.barrier()
        # DeepSpeed asks for it when the engine is made; it is read at the load alone.
        engine._config.load_universal_checkpoint = True
        _load(engine, directory, tag)
        engine._config.load_universal_checkpoint = False
        distributed.barrier()
        if distributed.get_rank() == 0:
            shutil.rmtree(directory / tag)
    else:
        _load(engine, directory, pointer.tag)
    torch.manual_seed(pointer.step * distributed.get_world_size() + distributed.get_rank())


def _convert(shards: Path, directory: Path) -> None:
    """DeepSpeed's universal form of a checkpoint: each parameter and its states in files of their own, uncut."""
    from deepspeed.checkpoint import ds_to_universal

    # One process: others would be forked from one that holds a process group, and maybe a GPU.
    ds_to_universal.main(
        SimpleNamespace(
            input_folder=str(shards),
            output_folder=str(directory),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
    )


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _synced(path: Path) -> int:
    """The size of a file that is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _remove_others(directory: Path, tag: str) -> None:
    """Remove what is older than the checkpoint of this tag, and what a killed run left half written."""
    # DeepSpeed leaves scripts for checkpoints of its own kind, and a name of the last one that was converted.
    for stray in (*directory.glob("*.py"), directory / "latest_universal"):
        stray.unlink(missing_ok=True)
    for other in directory.glob("step-*"):
        if other.name != tag:
            shutil.rmtree(other, ignore_errors=True)


def _refuse_damaged(directory: Path, pointer: Pointer) -> None:
    folder = directory / pointer.tag
    found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
    for name, size in pointer.files.items():
        if found.get(name) != size:
            what = f"{name} of the checkpoint at step {pointer.step} is not as it was written."
            raise UserError("environment", what, str(folder), f"Remove {directory} to train from the start.")


def _random_name() -> str:
    """Each rank has its own: dropout draws as many numbers as a rank's rows are long."""
    return f"random-{distributed.get_rank()}.pt"


def _random_state(engine: Any) -> dict[str, Any]:
    """The state of every generator that a model could draw from; dropout draws from torch's."""
    name, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "cpu": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
    }
    if engine.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(engine.device)
    return states


def _set_random_state(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
