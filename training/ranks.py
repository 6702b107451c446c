"""What the ranks of a worker group tell each other. Every function here is called by all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import distributed

from pipeline.store import lease

POLL_SECONDS = 1.0


def agreed(flag: bool, device: torch.device) -> bool:
    """The first rank's answer, on every rank."""
    answer = torch.tensor(int(flag), device=device)
    distributed.broadcast(answer, src=0)
    return bool(answer.item())


def largest(number: int, device: torch.device) -> int:
    """The largest number of any rank."""
    answer = torch.tensor(number, device=device)
    distributed.all_reduce(answer, op=distributed.ReduceOp.MAX)
    return int(answer.item())


def told(find: Callable[[], str]) -> str:
    """What the first rank finds, on every rank; the others do not look."""
    box = [find() if distributed.get_rank() == 0 else ""]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def turn(lock: Path, device: torch.device) -> Iterator[None]:
    """Hold a lease for the whole group. The ranks wait together, however long: no collective runs out of time."""
    with ExitStack() as held:
        while not agreed(distributed.get_rank() == 0 and _taken(lock, held), device):
            time.sleep(POLL_SECONDS)
        yield
        distributed.barrier()


def _taken(lock: Path, held: ExitStack) -> bool:
    try:
        held.enter_context(lease(lock, _refuse_to_wait))
    except BlockingIOError:
        return False
    return True


def _refuse_to_wait() -> None:
    raise BlockingIOError
