"""The node kinds that make models: sft and preference. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pipeline.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of
from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError
from pipeline.store import Manifest
from training.objectives import OBJECTIVES, Loss, Objective, needs, readers

MODEL_FILES = {".json", ".safetensors", ".model", ".jinja"}
"""The files of a model directory that decide what it does: configuration, weights, tokenizer, chat template."""

TINY = "tiny"
ALL_LINEAR = "all-linear"


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
    max_length: int = Field(default=512, gt=1, description="Tokens of prompt and answer; longer rows are left out.")
    max_skipped: float = Field(default=0.05, ge=0, le=1, description="Share of left-out rows that is put up with.")
    workers: int = Field(default=2, gt=0, description="Training processes.")
    zero: Literal[0, 1, 2, 3] = Field(default=1, description="DeepSpeed's ZeRO stage.")
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="Precision of weights and activations.")
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


class PreferenceConfig(ModelConfig):
    """Preference optimisation on pairs; the reference is the model it starts from."""

    kind: Literal["preference"]
    batch_size: int = Field(default=8, gt=0, description="Pairs per optimizer step, over all workers.")
    loss: Loss = Field(
        default="dpo",
        description="The preference loss; docs/losses.md says which one when. `simpo` has no reference model.",
    )
    mask: Literal["response", "granular", "granular-one-sided", "random"] = Field(
        default="response", description="Which tokens carry weight."
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


class _ModelKind(NodeKind):
    product = "models"

    def inputs(self, config: ModelConfig) -> list[Reference]:
        measured = [Reference("evaluate.data", config.evaluate.data, ("rows",))] if config.evaluate else []
        return [
            Reference("init", config.init, ("models",), open=True),
            Reference("data", config.data, ("rows",)),
            *measured,
        ]

    def unmet(self, config: ModelConfig, inputs: Mapping[str, str], made: Manifest) -> str:
        measured = made.facts.get("evaluation", {}).get("asked")
        if config.evaluate is None or config.evaluate.asked(inputs["evaluate.data"]) == measured:
            return ""
        return "trained without this `evaluate`, which changes no weight: it is not trained again to be measured"

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
