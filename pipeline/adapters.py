"""Model directories, whole or LoRA adapters: where the weights are that an adapter changes. Nothing heavy is imported.

An adapter holds no model. The one of the store that it was trained on is named relative to it (`../<key>`), so that a
store can be moved; a Hugging Face model by its name and revision; any other by its path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.store import write_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class ModelFiles:
    """A model as files: the directory of whole weights, and the adapter over them with its rank, if there is one."""

    weights: Path
    adapter: Path | None = None
    rank: int = 0


def locate(directory: Path) -> ModelFiles:
    """The files of the model in a directory. Raises a data error where an adapter's base is not to be found."""
    if not (directory / ADAPTER_CONFIG).exists():
        return ModelFiles(directory)
    settings = json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return ModelFiles(_base(directory, settings), directory, settings["r"])


def base_name(init: str, directory: Path) -> str:
    """How an adapter in `directory` names the model `init` that it is trained on: relative within the same store."""
    return f"../{Path(init).name}" if Path(init).parent == directory.parent else init


def base_of(directory: Path) -> str:
    """What an adapter's base is called from anywhere: an absolute path where it is a directory, else its name."""
    name = str(json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])
    path = (directory / name).resolve()
    if not (path / "config.json").exists():
        return str(path) if name.startswith((".", "/")) else name
    # An imported model is links: its base is where those lead.
    return str((path / "config.json").resolve().parent if (path / "config.json").is_symlink() else path)


def write_adapter_config(directory: Path, target: Path) -> None:
    """Write an adapter's configuration to another directory, its base under a name that holds there too."""
    settings = json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    write_json(target / ADAPTER_CONFIG, {**settings, "base_model_name_or_path": base_of(directory)})


def _base(directory: Path, settings: dict[str, Any]) -> Path:
    name = settings["base_model_name_or_path"]
    path = (directory / name).resolve()
    if (path / "config.json").exists():
        return path
    if name.startswith((".", "/")):
        hint = "Put it back, or remove this directory and run the experiment again."
        raise UserError("data", f"the base model {path} of the adapter is not there.", str(directory), hint)
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.model", "*.jinja"]
    return Path(snapshot_download(name, revision=settings.get("revision"), allow_patterns=wanted))
