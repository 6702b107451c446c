"""The command line: what `kintsugi` can do, and how it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import typer
from rich.console import Console
from rich.markup import escape

from kintsugi.commands import answer, cluster, data, experiment, rows
from kintsugi.commands.train import train
from pipeline.failures import UserError

INTERRUPTED = 130

app = typer.Typer(
    help="Break a language model on purpose, mark where its answers crack, and mend it.\n\n"
    "An experiment is a YAML file of named nodes. Start with: kintsugi run configs/recovery.yaml",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Experiments": (experiment.run, experiment.plan, experiment.validate, experiment.status),
    "Your own data and model": (train, answer.generate, answer.eval_, data.corrupt, data.annotate),
    "Data": (rows.view, rows.export),
    "Clusters": (cluster.submit,),
}
"""Every command, in the order of `--help`. A command's modules import heavy libraries only once it runs."""

for panel, commands in PANELS.items():
    for command in commands:
        # A trailing underscore keeps a command's function from hiding a builtin.
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)


def main() -> None:
    """Run the command line. Errors for users are a line or two; the exit code says their kind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except UserError as error:
        console.print(f"[bold red]error:[/] {escape(f'{error.where}: ' if error.where else '')}{escape(error.what)}")
        if error.hint:
            console.print(f"  [dim]{escape(error.hint)}[/]")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
