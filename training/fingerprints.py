"""What identifies a model outside the graph."""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of
from pipeline.failures import UserError
from pipeline.model_files import check_model_directory, directory_hash

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
