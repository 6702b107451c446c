"""Data sets by their Hugging Face name, or in a directory that `datasets` understands: `hf:owner/name`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

from pipeline.failures import UserError
from pipeline.records import Reject
from pipeline.sources.parsing import table_rows
from pipeline.sources.places import Origin, Parsed
from pipeline.store import content_key, file_hash

SPLIT = "train"
BATCH_ROWS = 256
OFFLINE = "HF_HUB_OFFLINE"
ANSWER_SECONDS = 5.0
"""How long the Hub may take to answer at all. Its own client goes on trying for 24 s where there is no network."""
PATIENCE = "With a network it is fetched once and then kept. Without one, give the path of a folder with its files."


def hub_origin(name: str, config: str | None = None, split: str | None = None, revision: str | None = None) -> Origin:
    """The rows of one split of a data set; `train` by default."""
    where = f"hf:{name}"
    given = {"path": name, "name": config, "revision": revision}
    rows = partial(_rows, given, split or SPLIT, where)
    return Origin(name.rstrip("/").rpartition("/")[2], where, rows, partial(_fingerprint, given, where))


def _rows(given: dict[str, Any], split: str, where: str) -> Iterator[Parsed | Reject]:
    with _library(given["path"], where) as datasets:
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
    with _library(given["path"], where) as datasets:
        builder = datasets.load_dataset_builder(**given)
    of_split = builder.config.data_files or {}
    origins = {split: [list(map(str, pair)) for pair in of_split[split].origin_metadata] for split in of_split}
    return content_key([builder.hash, builder.config.name, origins])


@contextmanager
def _library(path: str, where: str) -> Iterator[ModuleType]:
    """`datasets`, with what it raises as something to act on. Where the Hub is silent only its cache is looked into."""
    import datasets
    from datasets.exceptions import DatasetsError

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not (Path(path).is_dir() or _hub_answers())
    try:
        yield datasets
    except ConnectionError as error:
        offline = os.environ.get(OFFLINE, "0").lower() not in ("", "0", "false", "no")
        cause = f"{OFFLINE} is set and it is not in the cache" if offline else "there is no network to the Hub"
        raise UserError("environment", f"the data set cannot be fetched: {cause}.", where, PATIENCE) from error
    except (DatasetsError, FileNotFoundError, ValueError) as error:
        said = " ".join(str(error).split())[:400].rstrip(".")
        hint = "hub_config, hub_split and hub_revision choose; a private one needs HF_TOKEN in the environment."
        raise UserError("data", f"the data set cannot be read: {said}.", where, hint) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _hub_answers() -> bool:
    """Whether anybody is there, whatever they say: in a thread, since looking up a name knows no time limit."""
    said: SimpleQueue[bool] = SimpleQueue()
    threading.Thread(target=lambda: said.put(_is_answered()), daemon=True).start()
    try:
        return said.get(timeout=ANSWER_SECONDS)
    except Empty:
        return False


def _is_answered() -> bool:
    import requests
    from huggingface_hub import constants

    try:
        requests.head(constants.ENDPOINT, timeout=ANSWER_SECONDS)
    except requests.exceptions.SSLError:  # an answer, on which the library knows more to say
        return True
    except requests.RequestException:
        return False
    return True
