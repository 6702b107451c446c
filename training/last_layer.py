"""The last decoder layer, where it matters: the hidden states of most tokens are read by later layers alone.

Behind the last layer only those are read that predict a weighted token. There the others ask nothing of the attention
(`training.attention.Layout.last`) and skip the feed-forward part, which is most of a layer. What is left at their
places is of no use to anybody. `training.families` tries whether a family of models allows it, with all of the layout.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from training.attention import LAYOUT, Layout


def install(trunk: Any) -> None:
    """Let a model's last layer do so in calls with a layout; once, however often this is called."""
    layer = _last_of(trunk)
    if layer is not None and not getattr(layer, "_knows_what_is_read", False):
        layer._knows_what_is_read = True
        narrow = _Narrow()
        layer.register_forward_pre_hook(narrow.enter, with_kwargs=True)
        layer.mlp.register_forward_pre_hook(narrow.take)
        layer.mlp.register_forward_hook(narrow.put_back)


def _last_of(trunk: Any) -> Any | None:
    """The last of the layers, if they are where most families have them and have their feed-forward part there too."""
    stacks = [child for child in trunk.children() if isinstance(child, nn.ModuleList) and len(child)]
    layers = [stack[-1] for stack in stacks if isinstance(getattr(stack[-1], "mlp", None), nn.Module)]
    return layers[0] if len(layers) == 1 else None


class _Narrow:
    """Hooks on one layer. What they keep is of the call that runs: a layer that is run again is entered again."""

    def __init__(self) -> None:
        self._read: Tensor | None = None
        self._shape: tuple[int, ...] = ()

    def enter(self, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        layout: Layout | None = kwargs.get(LAYOUT)
        self._read = None if layout is None else layout.read
        return None if layout is None or layout.last is None else (args, kwargs | {LAYOUT: layout.last})

    def take(self, mlp: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Of [R, T, D], what is read: [1, U, D]."""
        if self._read is None:
            return None
        self._shape = args[0].shape
        return args[0].flatten(0, 1).index_select(0, self._read).unsqueeze(0), *args[1:]

    def put_back(self, mlp: nn.Module, args: Any, output: Any) -> Any:
        """[1, U, D] where it belongs in [R, T, D], with 0 around it. Mixtures of experts may say more; it is kept."""
        if self._read is None:
            return None
        states, *rest = output if isinstance(output, tuple) else (output,)
        rows, tokens, size = self._shape
        whole = states.new_zeros(rows * tokens, size).index_copy(0, self._read, states.squeeze(0))
        whole = whole.unflatten(0, (rows, tokens))
        return (whole, *rest) if isinstance(output, tuple) else whole
