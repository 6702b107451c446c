"""What sft, preference and model nodes may say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pipeline.contract import NodeConfig, Resources
from training.objectives import OBJECTIVES, Loss, Objective, needs, readers
from training.policies import Mask, SftMask, pair_mask, sft_mask, sft_policy
from training.truncation import Cut, TooLong

ALL_LINEAR = "all-linear"
CACHE_LIMIT = ByteSize(4 * 10**9)


def _is_none(value: Any) -> bool:
    return value is None


class LoraConfig(BaseModel):
    """A LoRA adapter (arXiv:2106.09685): small matrices beside frozen weights, trained and saved alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=8, gt=0, le=512, description="Rank of the matrices; vLLM serves up to 512.")
    alpha: int = Field(default=16, gt=0, description="The adapter's product is scaled by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on what enters the adapter.")
    targets: list[str] | str = Field(
        default=ALL_LINEAR,
        min_length=1,
        description="The linear modules that get an adapter, by their last names such as `q_proj`; "
        "`all-linear` means all but the head.",
    )

    @field_validator("targets")
    @classmethod
    def _names_or_all(cls, targets: list[str] | str) -> list[str] | str:
        if isinstance(targets, str) and targets != ALL_LINEAR:
            raise ValueError(f"targets is `{ALL_LINEAR}` or a list of names, such as [{targets}]")
        return targets


class EvaluateConfig(BaseModel):
    """Measures a model on held-out rows while it trains. No weight depends on it, and no key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(
        description="Rows that neither the model nor what it starts from is trained on, and no test rows: pairs, such "
        "as `annotate` makes of a validation split, or Q&A rows, such as `qa.validation`."
    )
    every: int | None = Field(
        default=None,
        gt=0,
        description="Rows (or pairs) trained on from one measurement to the next. There is always one before the first "
        "step and one after the last.",
    )
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the data; all by default.")
    samples: int = Field(
        default=0, ge=0, le=64, description="Prompts, the first of the data, that the model answers each time (greedy)."
    )
    beta: float = Field(
        default=0.1, gt=0, description="Beta of the measure. It is not the arm's own, so that arms can be compared."
    )

    def asked(self, rows: str) -> dict[str, Any]:
        """What is measured, with the rows' identity in place of their name; a model's manifest says the same."""
        return {**self.model_dump(mode="json"), "data": rows}


OWNED = {
    "train_batch_size": "batch_size",
    "train_micro_batch_size_per_gpu": "accumulation or micro_tokens",
    "gradient_accumulation_steps": "accumulation or micro_tokens",
    "gradient_clipping": "max_grad_norm",
    "optimizer": "learning_rate and weight_decay",
    "scheduler": "schedule and warmup_steps",
    "bf16.enabled": "dtype",
    "fp16": "dtype",
    "amp": "dtype",
    "torch_autocast": "dtype",
    "zero_optimization.stage": "zero",
    "zero_optimization.stage3_gather_16bit_weights_on_model_save": "the export of the model",
    "zero_optimization.offload_optimizer.device": "offload",
    "zero_optimization.offload_param.device": "offload",
    "checkpoint": "the resume of a run",
}
"""Keys of DeepSpeed's configuration, with what decides them here."""


def _has(values: Any, path: Sequence[str]) -> bool:
    return not path or (isinstance(values, dict) and path[0] in values and _has(values[path[0]], path[1:]))


class ModelConfig(NodeConfig):
    """What every training run says. Figures are per optimizer step over all workers."""

    init: str = Field(
        description="Where to start: a model node, `tiny` (the embedded default, from scratch), a model directory, "
        "or a Hugging Face name such as meta-llama/Llama-3.1-8B-Instruct."
    )
    data: str = Field(description="The rows to train on.")
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the data; all by default.")
    epochs: float = Field(default=1.0, gt=0, description="Passes over the data; need not be whole.")
    batch_size: int = Field(default=16, gt=0, description="Rows (or pairs) per optimizer step, over all workers.")
    accumulation: int = Field(default=1, gt=0, description="Micro-batches each worker splits its part of a step into.")
    micro_tokens: int | None = Field(
        default=None,
        gt=0,
        exclude_if=lambda value: value is None,
        description="Instead of `accumulation`: the padded tokens of a forward pass, at most. Rows of like length go "
        "together, and a step takes as many micro-batches as it needs; a longer row goes alone. The rows of a step "
        "and its loss stay the same.",
    )
    learning_rate: float = Field(gt=0, description="Peak learning rate of AdamW.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="How the learning rate goes down after the warmup: to zero, or not at all."
    )
    warmup_steps: int = Field(default=10, ge=0, description="Steps over which the learning rate rises linearly.")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this norm.")
    max_length: int = Field(default=512, gt=1, description="Tokens of prompt and answer.")
    too_long: TooLong = Field(
        default="reject",
        exclude_if=lambda value: value == "reject",
        description="What becomes of a row of which any answer does not fit into `max_length`: left out (`reject`), or "
        "[cut](masks.md#rows-that-are-too-long) so that its spans stay, in all arms alike.",
    )
    max_skipped: float = Field(default=0.05, ge=0, le=1, description="Share of left-out rows that is put up with.")
    max_lost_spans: float = Field(
        default=0.05,
        ge=0,
        le=1,
        exclude_if=lambda value: value == 0.05,
        description="Share of spans that may be cut off; more of them stop the run before it starts.",
    )
    workers: int = Field(default=2, gt=0, description="Training processes.")
    min_workers: int | None = Field(
        default=None,
        gt=0,
        exclude_if=lambda value: value is None,
        description="Where there is no room for all workers, start with as few as this, or go on with them when a node "
        "is lost: from the last checkpoint, with the same rows in every step, losses equal but for rounding. By "
        "default a run waits for all.",
    )
    zero: Literal[0, 1, 2, 3] = Field(default=1, description="DeepSpeed's ZeRO stage.")
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="Precision of weights and activations.")
    offload: Literal["none", "optimizer", "all"] = Field(
        default="none",
        exclude_if=lambda value: value == "none",
        description="What waits in CPU memory: the optimizer's states (from `zero: 1` on), or the weights too "
        "(`zero: 3`). Slower, and room on the GPU.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        exclude_if=lambda value: not value,
        description="Keep each layer's input alone and compute the layer again in the backward pass: about a third "
        "more work, and memory that grows far less with length.",
    )
    ds_config: dict[str, Any] = Field(
        default={},
        exclude_if=lambda value: not value,
        description="More of DeepSpeed's own configuration, laid over what the other keys say, such as "
        "`{zero_optimization: {overlap_comm: true}}`. What has a key here cannot be said there.",
    )
    lora: LoraConfig | None = Field(
        default=None,
        # Left out of keys and manifests where there is none: a model without it is what it was before there was LoRA.
        exclude_if=_is_none,
        description="Train a LoRA adapter, `{rank: 8}` or `{}`, instead of all weights. An `init` that is an adapter "
        "is trained on where rank, alpha and targets are the same; without lora it is merged first.",
    )
    checkpoint_every: int = Field(default=200, gt=0, description="Steps between checkpoints; results do not change.")
    evaluate: EvaluateConfig | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Held-out rows to measure the model on while it trains, `{data: qa.validation, every: 500}`.",
    )
    resources: Resources = Field(default=Resources(), description="For each worker.")

    @field_validator("ds_config")
    @classmethod
    def _not_ours(cls, ds_config: dict[str, Any]) -> dict[str, Any]:
        for path, ours in OWNED.items():
            if _has(ds_config, path.split(".")):
                raise ValueError(f"{path} is decided by {ours}: say it there")
        return ds_config

    @field_validator("too_long")
    @classmethod
    def _leaves_room_for_an_answer(cls, too_long: TooLong, info: ValidationInfo) -> TooLong:
        cut = Cut() if too_long == "cut" else too_long
        longest = info.data.get("max_length")
        if isinstance(cut, Cut) and longest is not None and (cut.min_prompt or 0) >= longest:
            raise ValueError(f"min_prompt {cut.min_prompt} leaves no room for an answer in max_length {longest}")
        return cut

    @model_validator(mode="after")
    def _batch_divides(self) -> ModelConfig:
        if self.micro_tokens is not None:
            if self.accumulation != 1:
                raise ValueError("micro_tokens decides how a step is split: leave accumulation out")
            return self
        parts = self.workers * self.accumulation
        if self.batch_size % parts:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of workers x accumulation = {parts}")
        return self

    @model_validator(mode="after")
    def _no_fewer_than_all(self) -> ModelConfig:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers {self.min_workers} is more than workers, {self.workers}")
        return self

    @model_validator(mode="after")
    def _can_be_offloaded(self) -> ModelConfig:
        needed = {"none": 0, "optimizer": 1, "all": 3}[self.offload]
        if self.zero < needed:
            raise ValueError(f"offload: {self.offload} needs zero: {needed} or more, not {self.zero}")
        return self


class SftConfig(ModelConfig):
    """Supervised fine-tuning on answers."""

    kind: Literal["sft"]
    target: Literal["response", "chosen", "rejected"] = Field(
        default="response", description="Which answer of a row to learn; `response` is the good one of Q&A rows."
    )
    mask: SftMask = Field(
        default="response",
        exclude_if=lambda value: value == "response",
        description="Which tokens of it carry weight: all, or by its spans (`granular`: those in spans). Or a "
        "[policy](#tokenpolicy).",
    )

    @field_validator("mask")
    @classmethod
    def _weighs_something(cls, mask: SftMask) -> SftMask:
        if sft_policy(mask).tokens == "none":
            raise ValueError("with `none` there is nothing to train on")
        return sft_mask(mask)


class PreferenceConfig(ModelConfig):
    """Preference optimisation on pairs; the reference is the model it starts from."""

    kind: Literal["preference"]
    batch_size: int = Field(default=8, gt=0, description="Pairs per optimizer step, over all workers.")
    loss: Loss = Field(
        default="dpo",
        description="The preference loss; docs/losses.md says which one when. `simpo` has no reference model.",
    )
    mask: Mask = Field(
        default="response",
        description="Which tokens carry weight: [by name](masks.md), or a policy for each side, "
        "`{chosen: none, rejected: {tokens: spans, scale: 2}}`.",
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        validate_default=True,
        description="How closely the policy is held to the reference: a small beta lets it move far. For `simpo` the "
        "scale of rewards, for `ipo` the margin to reach is 1 / (2 beta). By default 0.1, for `simpo` 2.",
    )
    alpha: float | None = Field(
        default=None,
        ge=0,
        validate_default=True,
        exclude_if=_is_none,
        description="For `tdpo2` alone: weight of the difference of KLs; 0 is DPO. By default 0.5.",
    )
    label_smoothing: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        validate_default=True,
        exclude_if=_is_none,
        description="For `cdpo` and `rdpo` alone: the share of pairs that are taken to be the wrong way round. By "
        "default 0.1.",
    )
    gamma: float | None = Field(
        default=None,
        ge=0,
        validate_default=True,
        exclude_if=_is_none,
        description="For `simpo` alone: the margin by which the chosen answer's reward should be the larger; its "
        "authors tune gamma / beta between 0 and 1. By default 1.",
    )
    sft_weight: float = Field(
        default=0.0,
        ge=0,
        exclude_if=lambda value: value == 0,
        description="Adds an SFT term with this weight to any loss: the mean negative log likelihood of the chosen "
        "answer's weighted tokens, against a chosen answer that grows less likely along with the rejected one.",
    )
    stale: Literal["refuse", "allow"] = Field(
        default="refuse",
        exclude_if=lambda value: value == "refuse",
        description="Pairs of sampled answers are the policy's own only where it starts from the model that was "
        "sampled. `allow` trains on those of another model too; pairs that were not sampled are never stale.",
    )
    reference: Literal["auto", "live", "cached"] = Field(
        default="auto",
        exclude_if=lambda value: value == "auto",
        description="`cached`: what the reference says is computed once, before the policy is loaded, and kept in the "
        "store for every run with the same start, rows and tokens, whatever its loss, mask or learning rate (losses "
        "with a KL: for every run that weights the same tokens). `live`: the reference runs at every step. `auto`: "
        "cached where that fits in `cache_limit`, else live, and the manifest says so. They agree to rounding.",
    )
    cache_limit: ByteSize = Field(
        default=CACHE_LIMIT,
        gt=0,
        exclude_if=lambda value: value == CACHE_LIMIT,
        description="The most that the run's cached reference may take on disk, such as `500 MB`. An answer token "
        "takes 4 bytes; with a KL a weighted token takes as much as a hidden state.",
    )

    _name = field_validator("mask")(pair_mask)

    @field_validator("beta", "alpha", "label_smoothing", "gamma")
    @classmethod
    def _as_the_loss_reads_it(cls, value: float | None, info: ValidationInfo) -> float | None:
        """The loss's default where a parameter is left out, so that the manifest has it; an error where none is read.

        A loss that is none has an error of its own.
        """
        loss, name = info.data.get("loss"), str(info.field_name)
        if loss is None:
            return value
        if value is not None and name not in OBJECTIVES[loss].defaults:
            raise ValueError(f"{loss} does not read {name}: it is for {' and '.join(readers(name))}")
        return OBJECTIVES[loss].defaults.get(name) if value is None else value

    @property
    def objective(self) -> Objective:
        """What the loss needs."""
        return needs(self.loss, self.sft_weight)

    @property
    def parameters(self) -> dict[str, float]:
        """The loss's parameters, as `training.losses.preference_loss` takes them."""
        return {name: getattr(self, name) for name in self.objective.parameters}


class ImportConfig(NodeConfig):
    """A model from outside, so that it can answer, be trained and be compared like those made here."""

    kind: Literal["model"]
    origin: str = Field(alias="from", description="A model directory, or a Hugging Face name: OWNER/NAME[@REVISION].")
