"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from kintsugi.completion import experiment_files, override_keys
from pipeline.nodes import SourceConfig

Config = Annotated[
    Path,
    typer.Argument(
        help="The experiment file, such as configs/recovery.yaml.", show_default=False, autocompletion=experiment_files
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key: --set nodes.qa.rows=500. May be repeated.",
        autocompletion=override_keys,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and show what would be made. Nothing runs.")]
StoreRoot = Annotated[Path, typer.Option("--store", help="Where artifacts are kept.", envvar="KINTSUGI_STORE")]
Runs = Annotated[Path, typer.Option("--runs", help="Where names, logs and reports are kept.", envvar="KINTSUGI_RUNS")]
Force = Annotated[bool, typer.Option("--force", help="Replace what stands at --output.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Gpus = Annotated[float | None, typer.Option("--gpus", help="GPUs for each process; none by default.")]

STORE = Path("store")
RUNS = Path("runs")


def setting(config: type[BaseModel], field: str, *flags: str, default: str = "", help: str = "") -> Any:
    """An option for a field of a node's config: help and default are the field's own."""
    info = config.model_fields[field]
    shown = default or ("" if info.default in (None, PydanticUndefined) else str(info.default))
    return typer.Option(*flags, help=help or info.description, show_default=shown or False)


def resources(gpus: float | None) -> dict[str, float] | None:
    """What --gpus says, as the field of a node; None leaves it to its default."""
    return None if gpus is None else {"gpus": gpus}


MaxRejected = Annotated[float | None, setting(SourceConfig, "max_rejected", "--max-rejected")]
