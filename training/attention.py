"""Attention in rows that hold several answers: each answer attends within itself alone.

A row ``[prefix | chosen tail | rejected tail]`` runs through all layers as it is, but for attention. There queries,
keys and values are laid out as the answers they stand for, ``[prefix | chosen tail]`` and ``[prefix | rejected tail]``,
and plain causal attention does the rest: no mask of [T, T] is made, and none of its empty half is computed. What the
prefix gets is the same in both; it is taken from the first. So it does not matter where an answer's tokens stand, and
all answers of a batch can stand in one row, without padding.

Models take part by `transformers.AttentionInterface`. Those that do not are given a 4-D mask (`mask`) instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

NAME = "sdpa_in_shared_rows"
"""The attention implementation by which models know it."""


class Layout(NamedTuple):
    """Where answers stand that share rows. R rows of T tokens, P answers of at most L.

    Attributes:
        places: int64 [P, L], the places in [R * T] of an answer's tokens in their order; padded with its first.
        back: int64 [R * T], for each token its place in [P * L]; any for padding.
        branches: int64 [R, T], 0 on what is shared, 1 and 2 on tails, -1 on padding; None where one row holds all.
    """

    places: Tensor
    back: Tensor
    branches: Tensor | None = None


def layout(branches: Sequence[Sequence[int]], starts: Sequence[int], size: int) -> Layout:
    """Where answers stand.

    Args:
        branches: of the tokens of each pair or answer that stands alone, 0 on what is shared, 1 and 2 on tails.
        starts: the place in [R * T] of the first of these tokens.
        size: R * T.
    """
    paths = [
        [start + place for place, branch in enumerate(own) if branch in (0, tail)]
        for start, own in zip(starts, branches, strict=True)
        for tail in ([1, 2] if any(own) else [0])
    ]
    longest = max(map(len, paths))
    back = torch.zeros(size, dtype=torch.int64)
    # In reverse, so that what stands in two answers is taken from the first.
    for number, path in reversed(list(enumerate(paths))):
        back[path] = number * longest + torch.arange(len(path))
    return Layout(torch.tensor([path + path[:1] * (longest - len(path)) for path in paths]), back)


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

    found: Layout | None = kwargs.pop("answer_layout", None)
    if found is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    answers = [_answers(states, found.places) for states in (query, key, value)]
    window = _window(found.places.shape[1], kwargs.get("sliding_window"), query.device)
    attended, _ = sdpa_attention_forward(module, *answers, window, **(kwargs | {"is_causal": True}))
    rows = attended.flatten(0, 1).index_select(0, found.back)
    return rows.unflatten(0, (len(query), -1)), None


def _window(tokens: int, size: int | None, device: torch.device) -> Tensor | None:
    """What a layer with a sliding window sees of answers that are longer: bool [1, 1, L, L]."""
    if size is None or tokens <= size:
        return None
    return torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=device).tril().triu(1 - size)


def _answers(states: Tensor, places: Tensor) -> Tensor:
    """[R, H, T, D] of rows to [P, H, L, D] of answers."""
    tokens = states.transpose(1, 2).flatten(0, 1)
    return tokens.index_select(0, places.flatten()).unflatten(0, places.shape).transpose(1, 2)
