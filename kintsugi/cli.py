"""The command line: what `kintsugi` can do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kintsugi import endings
from kintsugi.__main__ import INTERRUPTED
from kintsugi.commands import agreement, answer, cluster, compare, data, experiment, inspect, push, rows, setup, sweep
from kintsugi.commands.train import train
from pipeline.sandbox import UNSAFE_EXEC

DEBUG = "--debug"
UNSAFE = "--unsafe-exec"
EVERYWHERE = (DEBUG, UNSAFE)


class _Program(TyperGroup):
    """Takes the options of every command before or after the command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = [option for option in EVERYWHERE if option in args]
        return super().parse_args(ctx, given + [argument for argument in args if argument not in EVERYWHERE])


app = typer.Typer(
    cls=_Program,
    help="Break a language model on purpose, mark where its answers crack, and mend it.\n\n"
    "An experiment is a YAML file of named nodes. Start with: kintsugi doctor, then kintsugi init",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def everywhere(
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error. Goes with every command.")
    ] = False,
    unsafe_exec: Annotated[
        bool,
        typer.Option(
            UNSAFE,
            help="Run code that models wrote even where this machine cannot isolate it. Goes with every command.",
        ),
    ] = False,
) -> None:
    # As for --debug, `main` looks at the arguments: it has to know even where they cannot be parsed.
    if unsafe_exec:
        os.environ[UNSAFE_EXEC] = "1"  # inherited by every worker


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Getting started": (setup.init, setup.doctor),
    "Experiments": (experiment.run, experiment.plan, experiment.validate, experiment.status, compare.compare),
    "Sweeps": (sweep.sweep, sweep.dashboard),
    "Your own data and model": (train, answer.generate, answer.eval_, data.corrupt, data.annotate),
    "Data": (rows.view, inspect.inspect, rows.export, push.push, agreement.compare_spans),
    "Clusters": (cluster.submit,),
}
"""Every command, in the order of `--help`. A command's modules import heavy libraries only once it runs."""

for panel, commands in PANELS.items():
    for command in commands:
        # A trailing underscore keeps a command's function from hiding a builtin.
        app.command(command.__name__.rstrip("_").replace("_", "-"), rich_help_panel=panel)(command)


def main() -> None:
    """Run the command line. Errors for users are a line or two; the exit code says their kind."""
    endings.catch_signals()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        sys.exit(endings.end_with(error, debug=DEBUG in sys.argv))
