"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kintsugi.completion import experiment_files, override_keys

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

STORE = Path("store")
RUNS = Path("runs")
