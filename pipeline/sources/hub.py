"""Data sets by their Hugging Face name, or in a directory that `datasets` understands: `hf:owner/name`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.records import Reject
from pipeline.sources.parsing import table_rows
from pipeline.sources.places import Origin, Parsed
from pipeline.store import content_key, file_hash

SPLIT = "train"
BATCH_ROWS = 256
OFFLINE = "HF_HUB_OFFLINE"
PATIENCE = "With a network it is fetched once and then kept. Without one, give the path of a folder with its files."


def hub_origin(name: str, config: str | None = None, split: str | None = None, revision: str | None = None) -> Origin:
    """The rows of one split of a data set; `train` by default."""
    where = f"hf:{name}"
    given = {"path": name, "name": config, "revision": revision}
    rows = partial(_rows, given, split or SPLIT, where)
    return Origin(name.rstrip("/").rpartition("/")[2], where, rows, partial(_fingerprint, given, where))


def _rows(given: dict[str, Any], split: str, where: str) -> Iterator[Parsed | Reject]:
    with _explained(where):
        import datasets

        datasets.disable_progress_bars()
        found = datasets.load_dataset(**given, split=split)
    if "+" in split or "[" in split:
        where = f"{where} {split}"
    yield from table_rows(where.removeprefix("hf:"), found.with_format("arrow").iter(BATCH_ROWS))


def _fingerprint(given: dict[str, Any], where: str) -> str:
    """Of a directory every file's bytes; of a name the revision that the Hub has now, or that is in the cache."""
    directory = Path(given["path"])
    if directory.is_dir():
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return content_key([[path.relative_to(directory).as_posix(), file_hash(path)] for path in files])
    with _explained(where):
        import datasets

        builder = datasets.load_dataset_builder(**given)
    of_split = builder.config.data_files or {}
    origins = {split: [list(map(str, pair)) for pair in of_split[split].origin_metadata] for split in of_split}
    return content_key([builder.hash, builder.config.name, origins])


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """What `datasets` raises, as something to act on."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except ConnectionError as error:
        offline = os.environ.get(OFFLINE, "0").lower() not in ("", "0", "false", "no")
        cause = f"{OFFLINE} is set and it is not in the cache" if offline else "there is no network to the Hub"
        raise UserError("environment", f"the data set cannot be fetched: {cause}.", where, PATIENCE) from error
    except (DatasetsError, FileNotFoundError, ValueError) as error:
        said = " ".join(str(error).split())[:400].rstrip(".")
        hint = "hub_config, hub_split and hub_revision choose; a private one needs HF_TOKEN in the environment."
        raise UserError("data", f"the data set cannot be read: {said}.", where, hint) from error
