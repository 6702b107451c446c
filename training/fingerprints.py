"""What identifies a model outside the graph, and which files of a directory make it a model."""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of
from pipeline.failures import UserError

MODEL_FILES = {".json", ".safetensors", ".model", ".jinja"}
"""The files of a model directory that decide what it does: configuration, weights, tokenizer, chat template."""

TINY = "tiny"


def init_fingerprint(init: str) -> str:
    """What identifies an `init` outside the graph: hashes of a directory's files, or the name of a hub model.

    Raises a config error where it is neither, or where the directory lacks what training needs.
    """
    if init == TINY:
        return TINY
    directory = Path(init)
    if directory.is_dir():
        check_model_directory(directory)
        return directory_hash(directory)
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
    return content_key([directory_hash(directory), base, init_fingerprint(base)])


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
