"""What a step says of its rows, and which of them it names when they are not numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed

from pipeline.failures import UserError
from training.tally import Contribution, Tally, order_mark, refuse_bad_losses, refuse_bad_norm


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """A group of one process."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def rows(*ids: str) -> list[Any]:
    return [SimpleNamespace(id=name) for name in ids]


def share(losses: list[float], tokens: float, **figures: float) -> Contribution:
    values = torch.tensor(losses, requires_grad=True)
    return Contribution(values.sum(), values, figures, tokens)


def test_figures_are_means_over_rows_whatever_the_split() -> None:
    tally = Tally(4, torch.device("cpu"))
    tally.add((2, 0, 3), share([3.0, 1.0, 4.0], 30, loss=8 / 3, margin=1.0))
    tally.add((1,), share([2.0], 12, loss=2.0, margin=5.0))
    figures, losses, tokens = tally.reduced()
    assert figures == {"loss": pytest.approx(2.5), "margin": pytest.approx(2.0)}
    assert losses == [1.0, 2.0, 3.0, 4.0]
    assert tokens == 42


def test_bad_rows_are_named_and_the_others_not() -> None:
    refuse_bad_losses([0.1, 2.0], rows("a", "b"), "node x, step 3")
    with pytest.raises(UserError, match=r"on 2 of 4 rows: b \(nan\), d \(-inf\)\. Nothing") as caught:
        refuse_bad_losses([0.1, math.nan, 2.0, -math.inf], rows("a", "b", "c", "d"), "node x, step 3")
    assert caught.value.kind == "run"
    assert caught.value.where == "node x, step 3"


def test_many_bad_rows_are_counted() -> None:
    with pytest.raises(UserError, match=r"r19 \(inf\) and 5 more\."):
        refuse_bad_losses([math.inf] * 25, rows(*(f"r{number}" for number in range(25))), "here")


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_names_the_rows_of_the_step(norm: float) -> None:
    refuse_bad_norm(1e30, rows("a"), "here")
    with pytest.raises(UserError, match=f"norm is {norm} on rows a, b"):
        refuse_bad_norm(norm, rows("a", "b"), "here")


def test_the_mark_of_an_order_tells_orders_apart() -> None:
    assert order_mark(rows("a", "b")) == order_mark(rows("a", "b"))
    assert len({order_mark(rows(*ids)) for ids in (("a", "b"), ("b", "a"), ("ab",))}) == 3
