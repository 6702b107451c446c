"""What a step says of its rows: the loss of each, figures over all of them, and whether they are numbers at all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from pipeline.failures import UserError

SHOWN = 20
"""Row ids that an error names."""


class Contribution(NamedTuple):
    """What one micro-batch of B rows adds to a step.

    Attributes:
        loss: a scalar, its part of the step's loss: those of all ranks and micro-batches add up to it.
        losses: [B], the loss of each row by itself.
        figures: means over the B rows, by name.
        tokens: tokens that went through the model, without padding.
    """

    loss: Tensor
    losses: Tensor
    figures: dict[str, float]
    tokens: float


class Tally:
    """Sums over one optimizer step on this rank."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self._figures: dict[str, float] = {}
        self._tokens = 0.0
        self._losses = torch.zeros(rows, dtype=torch.float64, device=device)

    def add(self, rows: Sequence[int], found: Contribution) -> None:
        """Count a micro-batch, whose rows stand at these places of the step."""
        for name, value in found.figures.items():
            self._figures[name] = self._figures.get(name, 0.0) + value * len(rows)
        self._tokens += found.tokens
        self._losses[list(rows)] = found.losses.detach().to(self._losses)

    def reduced(self) -> tuple[dict[str, float], list[float], int]:
        """Over all ranks: means over the step's rows, the loss of each row, and tokens. All ranks call this."""
        names = sorted(self._figures)
        rest = torch.tensor([*(self._figures[name] for name in names), self._tokens]).to(self._losses)
        values = torch.cat([self._losses, rest])
        distributed.all_reduce(values)
        losses, (*sums, tokens) = values[: len(self._losses)].tolist(), values[len(self._losses) :].tolist()
        return {name: total / len(losses) for name, total in zip(names, sums, strict=True)}, losses, int(tokens)


def refuse_bad_losses(losses: Sequence[float], rows: Sequence[Any], where: str) -> None:
    """Raise where the loss of a row is NaN or infinite, and name the rows."""
    bad = [(row.id, loss) for row, loss in zip(rows, losses, strict=True) if not math.isfinite(loss)]
    if not bad:
        return
    named = _named([f"{row} ({loss})" for row, loss in bad])
    what = f"the loss is not a number on {len(bad)} of {len(rows)} rows: {named}. Nothing of this step is kept."
    raise UserError("run", what, where, "Look at those rows; if it is most of them, lower learning_rate.")


def refuse_bad_norm(norm: float, rows: Sequence[Any], where: str) -> None:
    """Raise where the gradient's norm is NaN or infinite though every loss is a number, and name the step's rows."""
    if math.isfinite(norm):
        return
    named = _named([row.id for row in rows])
    what = f"the gradient's norm is {norm} on rows {named}, whose losses are numbers. Nothing of this step is kept."
    raise UserError("run", what, where, "Lower learning_rate or max_length, or train in fp32.")


def order_mark(rows: Sequence[Any]) -> str:
    """Sixteen hex digits for the ids of a step's rows in their order."""
    return hashlib.sha256("\n".join(row.id for row in rows).encode()).hexdigest()[:16]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
