"""Attention in rows that hold several answers: each answer attends within itself alone.

A row ``[prefix | chosen tail | rejected tail]`` runs through all layers as it is, but for attention. There queries,
keys and values are laid out as the answers they stand for, ``[prefix | chosen tail]`` and ``[prefix | rejected tail]``,
and plain causal attention does the rest: no mask of [T, T] is made, and none of its empty half is computed. A tail that
is short against the prefix asks alone, with a mask as high as the tail; what the prefix gets is the same in both. So it
does not matter where an answer's tokens stand, and all answers of a batch can stand in one row, without padding.

Models take part by `transformers.AttentionInterface`. Those that do not are given a 4-D mask (`mask`) instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

import torch
from torch import Tensor

NAME = "sdpa_in_shared_rows"
"""The attention implementation by which models know it."""
LAYOUT = "answer_layout"
"""The argument of a model's call with which its layers get the layout."""
WORTHWHILE = 7 / 8
"""The share of tokens up to which leaving out the others is worth the copies."""


class Group(NamedTuple):
    """P answers of about the same length, of each of which Q tokens ask what K tokens hold.

    Attributes:
        shape: P, Q and K.
        positions: int64 [P, Q], where in their answer those stand that ask; None where all do, in their order.
    """

    shape: tuple[int, int, int]
    positions: Tensor | None = None


class Layout(NamedTuple):
    """Where answers stand that share rows. R rows of T tokens; groups one behind the other, padding included.

    Attributes:
        places: int64 [sum of P * K], the places in [R * T] of the answers' tokens.
        asking: int64 [sum of P * Q], those of the tokens that ask.
        back: int64 [R * T], for each token its place in `asking`; any for padding.
        groups: how both fall into groups.
        branches: int64 [R, T], 0 on what is shared, 1 and 2 on tails, -1 on padding; None where one row holds all.
        read: int64 [U], ascending: the places in [R * T] where the outcome of the last layer is read; None where that
            is nearly everywhere.
        last: the layout in the last layer, where fewer ask; None where it is this one.
    """

    places: Tensor
    asking: Tensor
    back: Tensor
    groups: tuple[Group, ...]
    branches: Tensor | None = None
    read: Tensor | None = None
    last: Layout | None = None

    def to(self, device: torch.device | str) -> Layout:
        """The same on another device."""

        groups = tuple(
            group if group.positions is None else group._replace(positions=group.positions.to(device))
            for group in self.groups
        )
        moved = (None if part is None else part.to(device) for part in (self.branches, self.read, self.last))
        return Layout(self.places.to(device), self.asking.to(device), self.back.to(device), groups, *moved)


class _Answer(NamedTuple):
    """The places of an answer's tokens, and the first of them that asks: those before do in the other answer."""

    places: list[int]
    first: int

    @property
    def asking(self) -> int:
        return len(self.places) - self.first

    def close_to(self, other: _Answer) -> bool:
        """Whether to attend together with a longer one, padded."""
        sizes = [(len(self.places), len(other.places)), (self.asking, other.asking)]
        return (self.first > 0) == (other.first > 0) and all(own * 8 >= longest * 7 for own, longest in sizes)

    def read_alone(self, read: Set[int]) -> _Answer:
        """The answer from the first token on that is read, where what is left then asks for less work."""
        first = next((number for number, place in enumerate(self.places) if place in read), 0)
        return self._replace(first=first) if first > self.first and _is_short(first, len(self.places)) else self


def layout(branches: Sequence[Sequence[int]], starts: Sequence[int], size: int, read: Set[int] | None = None) -> Layout:
    """Where answers stand.

    Args:
        branches: of the tokens of each pair or answer that stands alone, 0 on what is shared, 1 and 2 on tails.
        starts: the place in [R * T] of the first of these tokens.
        size: R * T.
        read: the places in [R * T] where the outcome of the last layer matters; by default, everywhere.
    """
    answers = [answer for start, own in zip(starts, branches, strict=True) for answer in _answers(start, own)]
    found = _laid_out(answers, size)
    if read is None:
        return found
    last = [answer.read_alone(read) for answer in answers]
    return found._replace(
        read=torch.tensor(sorted(read)) if len(read) <= WORTHWHILE * sum(map(len, branches)) else None,
        last=None if last == answers else _laid_out(last, size),
    )


def _laid_out(answers: Sequence[_Answer], size: int) -> Layout:
    places: list[int] = []
    asking: list[int] = []
    back = [0] * size
    groups = []
    for together in _grouped(answers):
        keys, queries = (max(sizes) for sizes in zip(*((len(one.places), one.asking) for one in together), strict=True))
        for one in together:
            for number, place in enumerate(one.places[one.first :], start=len(asking)):
                back[place] = number
            places += _padded(one.places, keys)
            asking += _padded(one.places[one.first :], queries)
        tails = [_padded([*range(one.first, len(one.places))], queries) for one in together if one.first]
        groups.append(Group((len(together), queries, keys), torch.tensor(tails) if tails else None))
    return Layout(torch.tensor(places), torch.tensor(asking), torch.tensor(back), tuple(groups))


def _answers(start: int, branches: Sequence[int]) -> list[_Answer]:
    """Those of a row. What they share asks in the longer one alone, where what is left then asks for less work.

    Attention in the order of an answer costs half its length squared; a tail has no such order, and costs all of what
    it asks (`_is_short`).
    """
    tails = sorted((tail for tail in (1, 2) if tail in branches), key=lambda tail: -branches.count(tail)) or [0]
    shared = branches.count(0)
    found: list[_Answer] = []
    for tail in tails:
        places = [start + place for place, branch in enumerate(branches) if branch in (0, tail)]
        found.append(_Answer(places, shared if found and _is_short(shared, len(places)) else 0))
    return found


def _is_short(first: int, length: int) -> bool:
    """Whether the tail of an answer, from this token on, costs less than all of it."""
    return 2 * (length - first) < length


def _grouped(answers: Sequence[_Answer]) -> list[list[_Answer]]:
    """The answers, those together that are about as long, the longest first."""
    groups: list[list[_Answer]] = []
    for answer in sorted(answers, key=lambda one: (one.first > 0, -len(one.places), -one.asking)):
        if groups and answer.close_to(groups[-1][0]):
            groups[-1].append(answer)
        else:
            groups.append([answer])
    return groups


def _padded(values: list[int], size: int) -> list[int]:
    return values + values[:1] * (size - len(values))


def mask(branches: Tensor) -> Tensor:
    """Whether a token (third) sees another (fourth): bool [R, 1, T, T]. Padding sees something, or it would be NaN."""
    sees = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
    return sees.tril().unsqueeze(1)


def install(model: Any) -> bool:
    """Let a model attend in shared rows; whether it can. Rows that are not shared are none the wiser."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config._attn_implementation == "sdpa" and model._supports_attention_backend:
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
    return bool(model.config._attn_implementation == NAME)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Heads first, [R, H, T, D]; the result with heads behind tokens, [R, T, H, D]."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: Layout | None = kwargs.pop(LAYOUT, None)
    if found is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    asked, *held = (
        states.transpose(1, 2).flatten(0, 1).index_select(0, places)
        for states, places in ((query, found.asking), (key, found.places), (value, found.places))
    )
    parts = []
    for group, *states in zip(found.groups, *_split(found.groups, asked, *held), strict=True):
        seen = _seen(group, kwargs.get("sliding_window"), query.device)
        attended, _ = sdpa_attention_forward(module, *states, seen, **(kwargs | {"is_causal": True}))
        parts.append(attended.flatten(0, 1))
    return torch.cat(parts).index_select(0, found.back).unflatten(0, (len(query), -1)), None


def _split(groups: Sequence[Group], asked: Tensor, *held: Tensor) -> Iterator[list[Tensor]]:
    """Queries, keys and values of answers, [tokens, H, D], as those of each group: [P, H, Q or K, D]."""
    for states, size in ((asked, 1), *((each, 2) for each in held)):
        shapes = [(group.shape[0], group.shape[size]) for group in groups]
        parts = states.split([answers * tokens for answers, tokens in shapes])
        yield [part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(parts, shapes, strict=True)]


def _seen(group: Group, window: int | None, device: torch.device) -> Tensor | None:
    """Which tokens of an answer those see that ask, bool [P or 1, 1, Q, K]; None where it is all up to themselves."""
    _, _, keys = group.shape
    window = None if window is None or window >= keys else window
    if group.positions is None and window is None:
        return None
    held = torch.arange(keys, device=device)
    positions = (held.unsqueeze(0) if group.positions is None else group.positions).unsqueeze(-1)
    seen = held <= positions
    return (seen if window is None else seen & (held > positions - window)).unsqueeze(1)
