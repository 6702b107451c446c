"""LoRA through peft: an adapter around a frozen model, which is its own reference with the adapter switched.

LoRA (arXiv:2106.09685) adds ``alpha / rank * B A`` to a linear layer's weight. B starts at zero, so a new adapter
changes nothing: the model starts exactly as its base, and switched off it is the base for ever. An adapter that a run
goes on training has a frozen copy of its start beside it instead; that copy is a part of the adapter's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import torch

from pipeline.adapters import ADAPTER_WEIGHTS, ModelFiles
from pipeline.failures import UserError
from training.configs import ALL_LINEAR, LoraConfig

POLICY = "default"
"""The adapter in training, by the name with which peft saves it at the top of a directory."""
START = "start"
"""The frozen copy of an adapter that a run goes on training."""


def wrap(model: Any, lora: LoraConfig, *, base: str, seed: int) -> Any:
    """A new adapter around `model`, the same on every rank: drawn from `seed`, the global random state left alone.

    Args:
        model: a causal language model; its weights are frozen. Under ZeRO-3 they may be sharded already.
        lora: rank, alpha, dropout and targets.
        base: how the saved adapter names `model`.
        seed: of A; B is zero.
    """
    import peft

    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(model, lora),
        revision=getattr(model.config, "_commit_hash", None),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        adapted = peft.get_peft_model(model, settings, POLICY, autocast_adapter_dtype=False)
    # Set now, for get_peft_model puts the path there from which the model was loaded.
    settings.base_model_name_or_path = base
    return adapted


def go_on(model: Any, lora: LoraConfig, start: Path) -> Any:
    """The adapter in `start` around its base, trainable, and a frozen copy of it to be the reference.

    Raises a config error where `lora` is of another shape than that adapter: it could not be gone on with.
    """
    import peft
    from safetensors.torch import load_file

    saved = peft.LoraConfig.from_pretrained(str(start))
    _refuse_another_shape(model, lora, saved)
    adapted = wrap(model, lora, base=saved.base_model_name_or_path, seed=0)
    adapted.peft_config[POLICY].revision = saved.revision
    adapted.add_adapter(START, saved, autocast_adapter_dtype=False)
    for name in (POLICY, START):
        peft.set_peft_model_state_dict(adapted, load_file(start / ADAPTER_WEIGHTS), adapter_name=name)
    adapted.set_adapter(POLICY)
    return adapted


def is_adapted(model: Any) -> bool:
    return POLICY in getattr(model, "peft_config", {})


def base_of(model: Any) -> str:
    """How the saved adapter names its base."""
    name: str = model.peft_config[POLICY].base_model_name_or_path
    return name


@contextmanager
def as_reference(model: Any) -> Iterator[None]:
    """Within, `model` is the model that the run started from: adapter off, or the frozen copy on; and no dropout."""
    trained = model.training
    model.eval()
    if START in model.peft_config:
        model.set_adapter(START, inference_mode=True)
        yield
        model.set_adapter(POLICY)
    else:
        with model.disable_adapter():
            yield
    model.train(trained)


def parameters(model: Any) -> dict[str, int]:
    """How many parameters a saved model has, its base included, and how many of them are trained."""
    # Under ZeRO-3 a parameter is empty on every rank and remembers its size.
    sizes = {
        name: (getattr(parameter, "ds_numel", parameter.numel()), parameter.requires_grad)
        for name, parameter in model.named_parameters()
        if f".{START}." not in name
    }
    return {
        "parameters": sum(size for size, _ in sizes.values()),
        "trainable_parameters": sum(size for size, trained in sizes.values() if trained),
    }


def save(model: Any, directory: Path, state: dict[str, Any] | None) -> None:
    """Write the adapter alone: adapter_config.json and adapter_model.safetensors.

    `PeftModel.save_pretrained` would also ask the hub about the base and write a model card with a local path.
    """
    import peft
    from safetensors.torch import save_file

    settings = copy(model.peft_config[POLICY])
    settings.inference_mode = True
    settings.target_modules = sorted(settings.target_modules)
    settings.save_pretrained(str(directory))
    tensors = peft.get_peft_model_state_dict(model, state, POLICY, save_embedding_layers=False)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def merge(files: ModelFiles, directory: Path) -> None:
    """Write base and adapter as one whole model, added up in fp32, with the adapter's tokenizer."""
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(files.weights, dtype=torch.float32, trust_remote_code=False)
    peft.PeftModel.from_pretrained(base, str(files.adapter)).merge_and_unload().save_pretrained(directory)
    AutoTokenizer.from_pretrained(files.adapter, trust_remote_code=False).save_pretrained(directory)


def linear_names(model: Any) -> list[str]:
    """The last names of a model's linear modules; not its head, which many models share with the embeddings."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    return sorted(found)


def _targets(model: Any, lora: LoraConfig) -> list[str]:
    """The modules to adapt. A name that the model does not have would silently train nothing there."""
    names = linear_names(model)
    if lora.targets == ALL_LINEAR:
        return names
    unknown = [target for target in lora.targets if target not in names]
    if unknown:
        what = f"no linear module of the model is called {', '.join(map(repr, unknown))}."
        raise UserError("config", what, "lora.targets", f"It has {', '.join(names)}; `{ALL_LINEAR}` means all of them.")
    return sorted(lora.targets)


def _refuse_another_shape(model: Any, lora: LoraConfig, saved: Any) -> None:
    asked = {"rank": lora.rank, "alpha": lora.alpha, "targets": _targets(model, lora)}
    there = {"rank": saved.r, "alpha": saved.lora_alpha, "targets": sorted(saved.target_modules)}
    for name, value in asked.items():
        if there[name] != value:
            what = f"`init` is an adapter with {name} {there[name]}, which cannot be trained on with {value}."
            hint = "Give the same rank, alpha and targets, or leave lora out: then the adapter is merged first."
            raise UserError("config", what, f"lora.{name}", hint)
