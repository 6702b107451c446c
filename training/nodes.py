"""The node kinds that make models: sft and preference. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pipeline.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of
from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError
from training.policies import Mask, SftMask, pair_mask, sft_mask, sft_policy
from training.truncation import Cut, TooLong

MODEL_FILES = {".json", ".safetensors", ".model", ".jinja"}
"""The files of a model directory that decide what it does: configuration, weights, tokenizer, chat template."""

TINY = "tiny"
ALL_LINEAR = "all-linear"


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
    zero: Literal[0, 1, 2, 3] = Field(default=1, description="DeepSpeed's ZeRO stage.")
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="Precision of weights and activations.")
    lora: LoraConfig | None = Field(
        default=None,
        # Left out of keys and manifests where there is none: a model without it is what it was before there was LoRA.
        exclude_if=lambda value: value is None,
        description="Train a LoRA adapter, `{rank: 8}` or `{}`, instead of all weights. An `init` that is an adapter "
        "is trained on where rank, alpha and targets are the same; without lora it is merged first.",
    )
    checkpoint_every: int = Field(default=200, gt=0, description="Steps between checkpoints; results do not change.")
    resources: Resources = Field(default=Resources(), description="For each worker.")

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
        parts = self.workers * self.accumulation
        if self.batch_size % parts:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of workers x accumulation = {parts}")
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
    loss: Literal["dpo", "tdpo1", "tdpo2"] = Field(default="dpo", description="The preference loss.")
    mask: Mask = Field(
        default="response",
        description="Which tokens carry weight: [by name](masks.md), or a policy for each side, "
        "`{chosen: none, rejected: {tokens: spans, scale: 2}}`.",
    )
    _name = field_validator("mask")(pair_mask)
    beta: float = Field(default=0.1, gt=0, description="How closely the policy is held to the reference.")
    alpha: float = Field(default=0.5, ge=0, description="Weight of TDPO2's difference of KLs.")


class _ModelKind(NodeKind):
    product = "models"

    def inputs(self, config: ModelConfig) -> list[Reference]:
        return [Reference("init", config.init, ("models",), open=True), Reference("data", config.data, ("rows",))]

    def group(self, config: ModelConfig) -> Hashable:
        """Models that want the same workers train one after another in one group."""
        return ("train", config.workers, config.resources.cpus, config.resources.gpus)

    def outside(self, config: ModelConfig, inside: frozenset[str]) -> dict[str, str]:
        if config.lora is not None and config.init == TINY and "init" not in inside:
            hint = "Train a model from `tiny` first, and name that node as init."
            raise UserError("config", "an adapter needs a trained model, and `tiny` is untrained.", "init", hint)
        return {} if "init" in inside else {"init": init_fingerprint(config.init)}

    def make(self, works: Sequence[Work]) -> None:
        from training.launch import train

        train(works)


class Sft(_ModelKind):
    """A model trained on answers."""

    name = "sft"
    version = 3
    Config = SftConfig


class Preference(_ModelKind):
    """A model trained on preference pairs, starting from `init` and held to it."""

    name = "preference"
    version = 3
    Config = PreferenceConfig


class ImportConfig(NodeConfig):
    """A model from outside, so that it can answer, be trained and be compared like those made here."""

    kind: Literal["model"]
    origin: str = Field(alias="from", description="A model directory, or a Hugging Face name: OWNER/NAME[@REVISION].")


class Import(NodeKind):
    """A model directory, an adapter's, or a Hugging Face name as a node. Its files are linked to, not copied."""

    name = "model"
    product = "models"
    version = 1
    Config = ImportConfig
    outside_fields = frozenset({"origin"})

    def inputs(self, config: ImportConfig) -> list[Reference]:
        return []

    def outside(self, config: ImportConfig, inside: frozenset[str]) -> dict[str, str]:
        if config.origin == TINY:
            what = f"'{TINY}' is built when it is trained: it cannot be imported."
            raise UserError("config", what, "from", "Train it with an sft node: {kind: sft, init: tiny, ...}.")
        try:
            return {"model": import_fingerprint(config.origin)}
        except UserError as error:
            raise UserError(
                error.kind, error.what, "from" if error.where == "init" else error.where, error.hint
            ) from None

    def make(self, works: Sequence[Work]) -> None:
        from training.imports import import_model

        for work in works:
            import_model(work)


def init_fingerprint(init: str) -> str:
    """What identifies an `init` outside the graph: hashes of a directory's files, or the name of a hub model.

    Raises a config error where it is neither, or where the directory lacks what training needs.
    """
    if init == TINY:
        return TINY
    directory = Path(init)
    if directory.is_dir():
        check_model_directory(directory)
        return _directory_hash(directory)
    if init.count("/") == 1 and not init.startswith((".", "/", "~")):
        return init
    raise UserError(
        "config",
        f"'{init}' is no node, no model directory and no Hugging Face name.",
        "init",
        "Name a model node of this file, `tiny`, a directory with config.json, or OWNER/NAME.",
    )


def import_fingerprint(origin: str) -> str:
    """What identifies a model that is imported: like an `init`, or an adapter with its base."""
    if not (Path(origin) / ADAPTER_CONFIG).exists():
        return init_fingerprint(origin)
    from pipeline.store import content_key

    directory, base = Path(origin), base_of(Path(origin))
    if not (directory / ADAPTER_WEIGHTS).exists():
        hint = "Save it with save_pretrained; pickled weights (*.bin) are not loaded."
        raise UserError("config", f"the adapter lacks {ADAPTER_WEIGHTS}.", str(directory), hint)
    return content_key([_directory_hash(directory), base, init_fingerprint(base)])


def check_model_directory(directory: Path) -> None:
    """Raise a config error where a directory is no model with safetensors weights and a tokenizer."""
    if (directory / ADAPTER_CONFIG).exists():
        hint = "Name the node that made it, or merge it into its base (peft: merge_and_unload) and save that."
        raise UserError("config", "this is a LoRA adapter, not a whole model.", str(directory), hint)
    wanted = {
        "config.json": ["config.json"],
        "weights (*.safetensors)": ["*.safetensors"],
        "a tokenizer (tokenizer.json or tokenizer.model)": ["tokenizer.json", "tokenizer.model"],
    }
    missing = [what for what, patterns in wanted.items() if not any(any(directory.glob(p)) for p in patterns)]
    if missing:
        raise UserError(
            "config",
            f"the model directory lacks {' and '.join(missing)}.",
            str(directory),
            "Save the model and its tokenizer there with save_pretrained; pickled weights (*.bin) are not loaded.",
        )


def _directory_hash(directory: Path) -> str:
    from pipeline.store import content_key, file_hash

    return content_key([[path.name, file_hash(path)] for path in model_files(directory)])


def model_files(directory: Path) -> list[Path]:
    """The files that make a directory a model, without what the store says of it."""
    files = sorted(path for path in directory.iterdir() if path.suffix in MODEL_FILES and path.is_file())
    return [path for path in files if path.name != "manifest.json"]
