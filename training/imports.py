"""Models from outside as artifacts: directories of links to files of a model directory or of the Hugging Face cache.

Weights are large and already on disk, so nothing is copied. The manifest holds every file's hash; an artifact whose
files are gone or have another length does not exist, like any other that is damaged.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.contract import Work
from pipeline.failures import UserError
from training.nodes import MODEL_FILES, ImportConfig, check_model_directory, model_files


def import_model(work: Work) -> None:
    """Link the files of a model into the work's directory and commit it."""
    config: ImportConfig = work.config
    local = Path(config.origin).is_dir()
    directory = Path(config.origin).resolve() if local else downloaded(config.origin)
    check_model_directory(directory)
    for link in work.directory.iterdir():
        link.unlink()
    for path in model_files(directory):
        (work.directory / path.name).symlink_to(path)
    work.progress(1, 1, "model")
    work.commit(facts={"from": config.origin, "directory": str(directory)})


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
