"""TensorBoard on runs and sweeps, for this machine alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kintsugi.sweep.board import BOARD
from pipeline.failures import UserError
from training.metrics_log import METRICS

HOST = "127.0.0.1"


@contextmanager
def serve(path: Path, store: Path, port: int) -> Iterator[str]:
    """Serve what there is under `path` until the block ends; gives the address.

    Models lie in the store under keys: TensorBoard gets a folder of links that calls them by their names.
    """
    boards = boards_under(path, store)
    if not boards:
        hint = "Name a folder under runs/, of an experiment or a sweep that has begun."
        raise UserError("environment", "there is nothing to show here.", str(path), hint)
    with tempfile.TemporaryDirectory(prefix="kintsugi-dashboard-") as folder:
        for name, target in boards.items():
            link = Path(folder, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        yield _launch(folder, port)


def boards_under(path: Path, store: Path) -> dict[str, Path]:
    """Where event files are or will be, by name: those of sweeps, and those of every model that a run names."""
    if (path / METRICS).is_file():
        return {path.name: path / BOARD}
    found: dict[str, Path] = {}
    for nodes in sorted([*path.glob("nodes.json"), *path.glob("*/nodes.json")]):
        run = nodes.parent
        if (run / BOARD).is_dir():
            # The trials themselves; their models' own curves would show them a second time.
            found[run.name] = run / BOARD
            continue
        for node, artifact in json.loads(nodes.read_text(encoding="utf-8")).items():
            if artifact.startswith("models/"):
                found[f"{run.name}/{node}"] = store / artifact / BOARD
    return found


def _launch(folder: str, port: int) -> str:
    from tensorboard import program

    server = program.TensorBoard()
    server.configure(logdir=folder, host=HOST, port=port, load_fast="false", reload_interval=5)
    try:
        return str(server.launch())
    except program.TensorBoardPortInUseError:
        hint = "Another TensorBoard may run there. Choose one with --port, or any free one with --port 0."
        raise UserError("environment", f"port {port} is in use.", HOST, hint) from None
    except program.TensorBoardServerException as error:
        raise UserError("environment", f"TensorBoard does not start: {error}", HOST) from None
