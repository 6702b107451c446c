"""Which files of a directory make it a model, and what identifies it by them."""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters import ADAPTER_CONFIG
from pipeline.failures import UserError

MODEL_FILES = {".json", ".safetensors", ".model", ".jinja"}
"""The files of a model directory that decide what it does: configuration, weights, tokenizer, chat template."""


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


def directory_hash(directory: Path) -> str:
    """What identifies a model by its files."""
    from pipeline.store import content_key, file_hash

    return content_key([[path.name, file_hash(path)] for path in model_files(directory)])


def model_files(directory: Path) -> list[Path]:
    """The files that make a directory a model, without what the store says of it."""
    files = sorted(path for path in directory.iterdir() if path.suffix in MODEL_FILES and path.is_file())
    return [path for path in files if path.name != "manifest.json"]
