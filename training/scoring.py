"""What a causal language model says of the weighted tokens of a batch: the one way that all losses look at a model.

`Scorer` wraps a Hugging Face (or peft) model. It runs the model's trunk, takes the N hidden states that predict
weighted tokens, and gives these alone to the last layer (`training.head`), in chunks. The model's own forward pass,
which makes logits for every token, is for models whose last layer is something else: see `Scorer.plain`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training import attention, last_layer, lora
from training.batches import Batch
from training.head import HeadWeights, Predictions, predict
from training.logps import position_kl, token_logps
from training.short_form import short_kl


class Scores(NamedTuple):
    """What a model says of the N predictions of a batch; each [N], in fp32.

    Attributes:
        logps: log-probability of the target.
        kl: KL(reference || policy), where asked for.
        reference: log-probability of the target under the reference, where it was run or its hidden states are known.
        top: int64, the most likely token, where asked for.
    """

    logps: Tensor
    kl: Tensor | None = None
    reference: Tensor | None = None
    top: Tensor | None = None


@dataclass(frozen=True)
class LiveReference:
    """A reference that is run: another, frozen `Scorer`, or that of a LoRA policy itself, its adapter switched."""

    scorer: Scorer

    def switched(self) -> AbstractContextManager[None]:
        return lora.as_reference(self.scorer.model) if lora.is_adapted(self.scorer.model) else nullcontext()


@dataclass(frozen=True)
class CachedHidden:
    """The reference's hidden states at the N predictions, [N, D], and its head; None where both models share one."""

    hidden: Tensor
    head: HeadWeights | None


@dataclass(frozen=True)
class ShortForm:
    """``e = W' p_r`` [N, D] and the entropy of p_r [N], in fp32: all that KL needs where both models share their head.

    KL = lse(W h) - h e - H(p_r): see `training.short_form`.
    """

    e: Tensor
    entropy: Tensor


Reference = LiveReference | CachedHidden | ShortForm


class Head(nn.Module):
    """A model's last layer, whose weights this module registers as well.

    Under ZeRO-3 a weight is there only while a module that has it runs, forward or backward: this makes it one. The
    model saves it; here it is left out of the state.
    """

    def __init__(self, layer: nn.Module, config: Any) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = getattr(layer, "bias", None)
        self.cap = getattr(config, "final_logit_softcapping", None)

    def weights(self) -> HeadWeights:
        return HeadWeights(self.weight, self.bias, self.cap)

    def forward(
        self, hidden: Tensor, targets: Tensor, reference: tuple[Tensor, HeadWeights | None] | None = None, **asked: Any
    ) -> Predictions:
        """`training.head.predict` with this head; a reference without a head has this one."""
        if reference is not None:
            reference = reference[0], reference[1] or self.weights()
        return predict(hidden, self.weights(), targets, reference, **asked)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """The model's own layer does."""

    def _load_from_state_dict(self, *args: Any) -> None:
        """The model's own layer does."""


class Scorer(nn.Module):
    """A causal language model that scores tokens.

    Attributes:
        model: the Hugging Face or peft model.
        plain: whether the model's own logits are used, [R, T, V] of them. It is slow and large, and always right.
        masks: whether shared rows are run with a 4-D mask, since the model's attention is none of ours.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.plain = False
        base = _base(model)
        self.masks = not attention.install(base)
        last_layer.install(self.trunk)
        config = base.config.get_text_config()
        self.head = Head(base.get_output_embeddings(), config)
        # Cohere multiplies its logits, Granite divides them: hidden states can be scaled as well.
        self._scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)

    def do_as(self, other: Scorer) -> None:
        """Score as a model of the same family does, for which it was found out what it allows."""
        self.plain, self.masks = other.plain, other.masks

    def forward(self, batch: Batch, reference: Reference | None = None, kl: bool = False, top: bool = False) -> Scores:
        """The scores of a batch; the gradient reaches this model alone, never the reference.

        Args:
            batch: on the device of the model.
            reference: what to compare with.
            kl: whether to compute KL(reference || policy).
            top: whether to find the most likely tokens.
        """
        if self.plain:
            return self._from_logits(batch, reference, kl, top)
        their_logps: Tensor | None = None
        theirs: tuple[Tensor, HeadWeights | None] | None = None
        # The reference goes first, before anything of the policy's pass is held.
        if isinstance(reference, LiveReference):
            with torch.no_grad(), reference.switched():
                other = reference.scorer
                if kl:
                    theirs = other.hidden(batch), None if other is self else other.head.weights()
                else:
                    their_logps = other.head(other.hidden(batch), batch.targets).logps
        elif isinstance(reference, CachedHidden):
            theirs = reference.hidden, reference.head
        hidden = self.hidden(batch)
        found = self.head(hidden, batch.targets, theirs, top=top)
        if isinstance(reference, ShortForm) and kl:
            found = found._replace(kl=short_kl(found.lse, hidden, reference.e, reference.entropy))
        if theirs is not None:
            their_logps = found.reference
        return Scores(found.logps, found.kl if kl else None, their_logps, found.top)

    def hidden(self, batch: Batch) -> Tensor:
        """The hidden states that predict the N tokens, as the head takes them, after the final norm: [N, D]."""
        states = self.trunk(**self._inputs(batch), use_cache=False).last_hidden_state
        chosen = states.flatten(0, 1).index_select(0, batch.index)
        return chosen if self._scale == 1 else chosen * self._scale

    def logits(self, batch: Batch) -> Tensor:
        """The model's own logits that predict the N tokens, [N, V], out of those of all [R, T, V]."""
        inputs = {"attention_mask": batch.attention_mask, **self._inputs(batch)}
        logits = self.model(**inputs, use_cache=False).logits
        return logits.flatten(0, 1).index_select(0, batch.index)

    @property
    def trunk(self) -> Any:
        """The model without its last layer."""
        base = _base(self.model)
        return base.get_decoder() if base.base_model is base else base.base_model

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """What a model is called with. Plain rows need no mask: no token sees the padding to its right."""
        if batch.layout is None:
            return {"input_ids": batch.input_ids}
        inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids}
        if not self.masks:
            # A 4-D mask is passed on as it is, where others would be made to fit the positions.
            anything = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=batch.input_ids.device)
            return inputs | {"attention_mask": anything, attention.LAYOUT: batch.layout}
        assert batch.layout.branches is not None, "a mask of packed rows would be as large as all of them, squared"
        mask = attention.mask(batch.layout.branches)
        if self.model.config._attn_implementation == "eager":
            # There the mask is added to the scores.
            dtype = self.head.weight.dtype
            mask = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
        return inputs | {"attention_mask": mask}

    def _from_logits(self, batch: Batch, reference: Reference | None, kl: bool, top: bool) -> Scores:
        theirs = None
        if reference is not None:
            assert isinstance(reference, LiveReference), "a model with logits of its own kind needs a live reference"
            with torch.no_grad(), reference.switched():
                theirs = reference.scorer.logits(batch)
        mine = self.logits(batch)
        return Scores(
            token_logps(mine, batch.targets),
            position_kl(mine, theirs) if kl and theirs is not None else None,
            None if theirs is None else token_logps(theirs, batch.targets),
            mine.argmax(-1) if top else None,
        )


def _base(model: Any) -> Any:
    """The Hugging Face model, without what peft puts around it."""
    return model.get_base_model() if lora.is_adapted(model) else model
