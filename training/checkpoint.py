"""Checkpoints of a run in progress: DeepSpeed's shards, and our own pointer to the last whole one.

DeepSpeed names a checkpoint `latest` before every rank has written its part. Our pointer is written after a barrier, so
that what it names is whole. Checkpoints hold pickles: they are read from a node's own scratch alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from pipeline.store import write_json

POINTER = "checkpoint.json"


def save(engine: Any, directory: Path, step: int) -> None:
    """Save engine and random state after `step` steps, then point to it and remove the one before."""
    tag = f"step-{step}"
    engine.save_checkpoint(str(directory), tag=tag, save_latest=False, exclude_frozen_parameters=True)
    torch.save(_random_state(engine), directory / tag / _random_name())
    distributed.barrier()
    if distributed.get_rank() == 0:
        write_json(directory / POINTER, {"step": step})
        for old in directory.glob("step-*"):
            if old.name != tag:
                shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()


def load(engine: Any, directory: Path) -> int:
    """Load the checkpoint that the pointer names and give its step; 0 where there is none."""
    step = last_step(directory)
    if not step:
        return 0
    tag = f"step-{step}"
    # What is frozen is not in the checkpoint: it was loaded from the model that the run starts from.
    whole = all(parameter.requires_grad for parameter in engine.module.parameters())
    path, _ = engine.load_checkpoint(str(directory), tag=tag, load_module_strict=whole)
    assert path is not None, f"the pointer names step {step}, which is not in {directory}"
    _set_random_state(torch.load(directory / tag / _random_name(), weights_only=True))
    return step


def _random_name() -> str:
    """Each rank has its own: dropout draws as many numbers as a rank's rows are long."""
    return f"random-{distributed.get_rank()}.pt"


def _random_state(engine: Any) -> dict[str, Tensor]:
    """The state of the generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if engine.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(engine.device)
    return states


def _set_random_state(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def last_step(directory: Path) -> int:
    """The step of the last whole checkpoint; 0 where there is none."""
    pointer = directory / POINTER
    if not pointer.exists():
        return 0
    return int(json.loads(pointer.read_text(encoding="utf-8"))["step"])
