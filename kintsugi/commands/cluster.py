"""Commands on a cluster: submit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from kintsugi.commands.options import Config, Set
from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.failures import EXIT_CODES, UserError
from pipeline.sandbox import UNSAFE_EXEC

if TYPE_CHECKING:
    from kintsugi.jobs import Cluster

Address = Annotated[
    str,
    typer.Option("--address", help="The cluster's dashboard, where jobs go.", envvar="RAY_API_SERVER_ADDRESS"),
]
ClusterStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Where artifacts are kept: an absolute path on the cluster, seen by all of its nodes. "
        "By default what KINTSUGI_STORE says there.",
    ),
]
ClusterRuns = Annotated[
    str | None,
    typer.Option("--runs", metavar="DIR", help="Where logs and reports are kept there; by default beside the store."),
]
Folder = Annotated[
    Path, typer.Option("--working-dir", help="The folder that is sent along; the experiment file lies in it.")
]
Follow = Annotated[bool, typer.Option("--follow/--no-follow", help="Show the job's log until it ends.")]
SubmissionId = Annotated[
    str | None,
    typer.Option("--submission-id", help="The job's name; by default the experiment's and the attempt's number."),
]


def submit(
    config: Config,
    address: Address = "http://127.0.0.1:8265",
    set_: Set = None,
    store: ClusterStore = None,
    runs: ClusterRuns = None,
    working_dir: Folder = Path(),
    follow: Follow = True,
    submission_id: SubmissionId = None,
) -> None:
    """Run an experiment on a Ray cluster, as a job.

    The file is checked here first. The folder goes along, but for what .gitignore and .rayignore name. After a stop
    or a crash submit again: what is in the cluster's store is not made again. Ctrl-C leaves the job running.
    """
    experiment = build(load(config, set_ or ())).experiment
    command = remote_command(config, set_ or (), store, runs, working_dir)
    from kintsugi import jobs

    console = Console(highlight=False, soft_wrap=True)
    cluster = jobs.reach(address)
    _say_about_token(cluster, console)
    job = None if submission_id else jobs.running(cluster, command)
    if job:
        console.print(
            f"[yellow]…[/] {job} runs this experiment already: following it. To send new code, stop it first."
        )
    else:
        job = submission_id or jobs.next_id(experiment.name, jobs.taken_ids(cluster))
        jobs.send(cluster, command, job, working_dir.resolve())
        console.print(f"[green]✓[/] {job} is on its way to {cluster.address}")
    _show_ways(cluster, job, console)
    if follow:
        _follow(cluster, job, console)


def remote_command(
    config: Path, overrides: Sequence[str], store: str | None, runs: str | None, folder: Path
) -> list[str]:
    """What the job runs: the same experiment, by its path within the folder that is sent."""
    if not config.resolve().is_relative_to(folder.resolve()):
        hint = "Go to the folder that holds it and its data, or name that folder with --working-dir."
        raise UserError("config", f"the experiment file lies outside of {folder.resolve()}.", str(config), hint)
    places = {"--store": store, "--runs": runs}
    for option, path in places.items():
        if path is not None:
            _refuse_unlasting(option, path)
    if store and not runs:
        places["--runs"] = str(PurePosixPath(store).parent / "runs")
    return [
        *("python", "-m", "kintsugi", "run", config.resolve().relative_to(folder.resolve()).as_posix()),
        *(part for override in overrides for part in ("--set", override)),
        *(part for option, path in places.items() if path is not None for part in (option, path)),
        *(["--unsafe-exec"] if os.environ.get(UNSAFE_EXEC) == "1" else []),
    ]


def _refuse_unlasting(option: str, path: str) -> None:
    """A job's own folder is temporary, so what is to be found again lies elsewhere."""
    if "://" in path:
        hint = "Buckets are not supported: mount a shared file system and name a directory on it."
        raise UserError("config", "this is a directory, not a URI.", f"{option} {path}", hint)
    if not PurePosixPath(path).is_absolute():
        hint = "A job's own folder is removed. Give an absolute path on the cluster, such as /mnt/kintsugi/store."
        raise UserError("config", "a job needs an absolute path here.", f"{option} {path}", hint)


def _say_about_token(cluster: Cluster, console: Console) -> None:
    from kintsugi import jobs

    if not cluster.headers:
        console.print("[yellow]![/] This cluster asks for no token: whoever reaches it can run code on it.")
    elif jobs.travels_openly(cluster):
        console.print("[yellow]![/] The token goes over the network unencrypted: use https, or a tunnel.")


def _show_ways(cluster: Cluster, job: str, console: Console) -> None:
    for what, subcommand in (("look", "logs --follow"), ("stop", "stop")):
        line = f"{what:<7} {cluster.ray} {subcommand} --address {cluster.address} {job}"
        console.print(f"  [dim]{escape(line)}[/]")
    console.print("  [dim]resume  the same `kintsugi submit` again[/]\n")


def _follow(cluster: Cluster, job: str, console: Console) -> None:
    """Show the log; end as the job ends."""
    from kintsugi import jobs

    try:
        details = jobs.follow(cluster, job)
    except KeyboardInterrupt:
        console.print(f"\n[yellow]Detached.[/] {job} goes on; the same command follows it again. To look or stop:")
        _show_ways(cluster, job, console)
        raise
    if code := _exit_code(details):
        told = "was stopped" if details.status == "STOPPED" else f"failed (exit code {code})"
        console.print(f"\n[bold red]✗[/] {job} {told}. What was made is kept: submit again and it goes on.")
        if details.driver_exit_code is None and details.status == "FAILED":
            console.print(f"  [dim]{escape(str(details.message))}[/]")
        raise typer.Exit(code)
    console.print(f"\n[green]✓[/] {job} succeeded.")


def _exit_code(details: Any) -> int:
    """The job's own exit code; that of a failed run where it has none."""
    if details.status == "SUCCEEDED":
        return 0
    return EXIT_CODES["run"] if details.status == "STOPPED" else details.driver_exit_code or EXIT_CODES["run"]
