"""Attention in rows where the answers of a pair share a prefix: each answer attends within itself alone.

A row ``[prefix | chosen tail | rejected tail]`` runs through all layers as it is, but for attention. There queries,
keys and values are laid out as the answers they stand for, ``[prefix | chosen tail]`` and ``[prefix | rejected tail]``,
and plain causal attention does the rest: no mask of [T, T] is made, and none of its empty half is computed. What the
prefix gets is the same in both; it is taken from the first.

Models take part by `transformers.AttentionInterface`. Those that do not are given a 4-D mask (`mask`) instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

NAME = "sdpa_in_shared_rows"
"""The attention implementation by which models know it."""


class Shared(NamedTuple):
    """Where answers stand that share rows. R rows of T tokens, P answers of at most L.

    Attributes:
        branches: int64 [R, T], 0 on what is shared, 1 and 2 on tails, -1 on padding.
        places: int64 [P, L], the places in [R * T] of an answer's tokens in their order; padded with its first.
        back: int64 [R * T], for each token its place in [P * L]; any for padding.
    """

    branches: Tensor
    places: Tensor
    back: Tensor


def shared(branches: Tensor) -> Shared:
    """Where the answers stand in rows with these branches."""
    rows, longest = branches.shape
    flat = torch.arange(rows * longest).view(rows, longest)
    paths = [
        places[(own == 0) | (own == branch)]
        for places, own in zip(flat, branches, strict=True)
        for branch in ([1, 2] if (own > 0).any() else [0])
    ]
    length = max(map(len, paths))
    places = torch.stack([torch.cat([path, path[:1].expand(length - len(path))]) for path in paths])
    back = torch.zeros(rows * longest, dtype=torch.int64)
    # In reverse, so that what stands in two answers is taken from the first.
    for number, path in reversed(list(enumerate(paths))):
        back[path] = number * length + torch.arange(len(path))
    return Shared(branches, places, back)


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

    found: Shared | None = kwargs.pop("shared_rows", None)
    if found is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    answers = [_answers(states, found.places) for states in (query, key, value)]
    attended, _ = sdpa_attention_forward(module, *answers, None, **(kwargs | {"is_causal": True}))
    rows = attended.flatten(0, 1).index_select(0, found.back)
    return rows.unflatten(0, found.branches.shape), None


def _answers(states: Tensor, places: Tensor) -> Tensor:
    """[R, H, T, D] of rows to [P, H, L, D] of answers."""
    tokens = states.transpose(1, 2).flatten(0, 1)
    return tokens.index_select(0, places.flatten()).unflatten(0, places.shape).transpose(1, 2)
