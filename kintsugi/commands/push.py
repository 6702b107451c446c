"""`kintsugi push`: a data set, a model or an adapter to the Hugging Face Hub, only when asked twice."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kintsugi.commands.options import RUNS, STORE, Runs, StoreRoot
from pipeline.failures import UserError

What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="RUN:NODE (preferences:judge/1, preferences:judged/2), a directory of the store, or a data file.",
        show_default=False,
    ),
]
Repo = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the Hub.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Send it. Without this, what would be sent is listed.")]
Public = Annotated[bool, typer.Option("--public", help="A repository that is made for it is public; else private.")]
Base = Annotated[str | None, typer.Option("--base", help="Of an adapter: where its base is on the Hub, OWNER/NAME.")]
License = Annotated[str, typer.Option("--license", help="The licence, as Hugging Face names it.")]


def push(
    what: What,
    repo: Repo,
    yes: Yes = False,
    public: Public = False,
    base: Base = None,
    license: License = "unknown",
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Send a data set, a model or an adapter to the Hugging Face Hub. Lists what would be sent, unless --yes.

    The token is that of `hf auth login` or HF_TOKEN; HF_ENDPOINT names another address than the public Hub's.
    """
    from kintsugi.publish import Repository, prepare, upload

    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UserError("config", "this is no name of a repository.", repo, "Give OWNER/NAME.")
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="kintsugi-push-") as folder:
        draft = Path(folder)
        type = prepare(what, repo, base, license, store, runs, draft)
        for path in sorted(path for path in draft.rglob("*") if path.is_file()):
            console.print(f"  {escape(str(path.relative_to(draft)))} [dim]({path.stat().st_size:,} bytes)[/]")
        kind = f"{'public' if public else 'private'} {type} {escape(repo)}"
        if not yes:
            console.print(f"Nothing was sent. With --yes these files go to the {kind}.")
            return
        address = upload(draft, Repository(repo, type, not public))
    console.print(f"Sent: {escape(address)}")
