"""Models from outside as artifacts: directories of links to files of a model directory or of the Hugging Face cache.

Weights are large and already on disk, so nothing is copied. The manifest holds every file's hash; an artifact whose
files are gone or have another length does not exist, like any other that is damaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.adapters import ADAPTER_CONFIG, locate, write_adapter_config
from pipeline.contract import Work
from pipeline.failures import UserError
from pipeline.model_files import MODEL_FILES, check_model_directory, model_files
from training.configs import ImportConfig

TOKENIZER = {
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
}


def import_model(work: Work) -> None:
    """Link the files of a model into the work's directory and commit it."""
    config: ImportConfig = work.config
    local = Path(config.origin).is_dir()
    directory = Path(config.origin).resolve() if local else downloaded(config.origin)
    for link in work.directory.iterdir():
        link.unlink()
    if (directory / ADAPTER_CONFIG).exists():
        _link_adapter(directory, work.directory)
    else:
        check_model_directory(directory)
        _link(model_files(directory), work.directory)
    work.progress(1, 1, "model")
    work.commit(facts={"from": config.origin, "directory": str(directory)})


def _link(files: Iterable[Path], target: Path) -> None:
    for path in files:
        (target / path.name).symlink_to(path)


def _link_adapter(directory: Path, target: Path) -> None:
    """An adapter, with its base under a name that holds here, and the base's tokenizer where it has none of its own."""
    own = [path for path in model_files(directory) if path.name != ADAPTER_CONFIG]
    _link(own, target)
    write_adapter_config(directory, target)
    if not any(path.name.startswith("tokenizer") for path in own):
        base = locate(target).weights
        _link((path for path in model_files(base) if path.name in TOKENIZER), target)


def downloaded(name: str) -> Path:
    """The directory of a Hugging Face model in the local cache: configuration, tokenizer and safetensors weights."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        found = snapshot_download(
            repository, revision=revision or None, allow_patterns=[f"*{suffix}" for suffix in sorted(MODEL_FILES)]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            "environment",
            f"the model cannot be fetched: {reason}",
            name,
            "Look at the name and the network (for gated models: HF_TOKEN), or name a local directory.",
        ) from error
    return Path(found)
