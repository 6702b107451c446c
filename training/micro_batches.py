"""How the rows of a step are split over ranks and micro-batches. Pure: positions and lengths in, positions out.

Every rank gets the same number of micro-batches, since ranks go through a model together: under ZeRO-3 each layer is
gathered by all of them at once. A split is a function of the step's rows and the number of ranks alone, and the loss of
a step is the mean over its rows whatever the split, so a split decides how fast a step is and how much memory it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from training.batches import common_prefix
from training.tokens import Example, PairExample


class MicroBatch(NamedTuple):
    """Rows of a step that one rank runs at once.

    Attributes:
        rows: their places in the step's list of rows.
        counts: whether they are part of the loss. A rank with nothing left to do goes through another's row in vain.
    """

    rows: tuple[int, ...]
    counts: bool = True


Split = list[list[MicroBatch]]
"""For each rank its micro-batches, equally many."""


def in_parts(rows: int, world: int, parts: int) -> Split:
    """Each rank takes every `world`-th row of a step, and cuts its rows into `parts` in the same way."""
    shares = [range(rows)[rank::world] for rank in range(world)]
    return [_filled([tuple(share[part::parts]) for part in range(parts)]) for share in shares]


def in_budget(lengths: Sequence[int], world: int, budget: int) -> Split:
    """Rows of like length together, as few micro-batches as the budget allows, and equally long ones.

    A micro-batch of k rows is padded to its longest and so costs k times that. It costs `budget` at most; a row that
    is longer than that goes alone. Ranks run their n-th micro-batches at the same time, so those cost about the same.

    Args:
        lengths: tokens of each row of the step.
        world: ranks.
        budget: padded tokens of a micro-batch.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    fewest = _groups(order, lengths, budget)
    wanted = -(-len(fewest) // world) * world
    groups = _groups(order, lengths, _smallest_budget(order, lengths, wanted, budget))
    while len(groups) < wanted and max(map(len, groups)) > 1:
        groups = _with_one_more(groups, lengths)
    groups.sort(key=lambda group: (-_cost(group, lengths), group[0]))
    groups += [()] * (wanted - len(groups))
    rounds = [groups[start : start + world] for start in range(0, wanted, world)]
    # Back and forth, so that no rank always has the longest of a round.
    rounds = [turn if number % 2 == 0 else turn[::-1] for number, turn in enumerate(rounds)]
    return [_filled([turn[rank] for turn in rounds], spare=groups[0][0]) for rank in range(world)]


def row_length(row: Example | PairExample, share: bool = False) -> int:
    """The tokens of a row that are run, at most, by `training.batches`.

    Args:
        row: an example, or a pair, whose sides are padded to the longer one.
        share: whether both sides of a pair stand in one row, behind what they have in common.
    """
    if isinstance(row, Example):
        return max(1, _run(row))
    sides = _run(row.chosen), _run(row.rejected)
    if not share:
        return max(1, 2 * max(sides))
    common = common_prefix(row.chosen.input_ids, row.rejected.input_ids) if all(sides) else 0
    return max(1, sum(sides) - min(common, *sides))


def _run(example: Example) -> int:
    """All tokens before the last that carries weight."""
    return max((place for place, weight in enumerate(example.weights) if weight), default=0)


def _groups(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[tuple[int, ...]]:
    """Rows from the longest to the shortest, each group as large as the budget allows."""
    groups, start = [], 0
    while start < len(order):
        size = max(1, budget // lengths[order[start]])
        groups.append(tuple(order[start : start + size]))
        start += size
    return groups


def _smallest_budget(order: Sequence[int], lengths: Sequence[int], wanted: int, budget: int) -> int:
    """The smallest budget that still gives no more than `wanted` groups: then they are about equal.

    A larger budget never gives more groups: each then ends no earlier than with a smaller one.
    """
    low, high = 1, budget
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_groups(order, lengths, middle)) <= wanted else (middle + 1, high)
    return low


def _with_one_more(groups: list[tuple[int, ...]], lengths: Sequence[int]) -> list[tuple[int, ...]]:
    """The costliest group that has several rows, in two."""
    largest = max((group for group in groups if len(group) > 1), key=lambda group: _cost(group, lengths))
    middle = (len(largest) + 1) // 2
    return [*(group for group in groups if group is not largest), largest[:middle], largest[middle:]]


def _cost(group: Sequence[int], lengths: Sequence[int]) -> int:
    return len(group) * max(lengths[row] for row in group)


def _filled(parts: Sequence[tuple[int, ...]], spare: int = 0) -> list[MicroBatch]:
    return [MicroBatch(part) if part else MicroBatch((spare,), counts=False) for part in parts]
