"""What the shell completes: experiment files, and the keys that --set can override."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

YAML = {".yaml", ".yml"}


def experiment_files(incomplete: str) -> list[str]:
    """YAML files and folders that begin like this.

    A shell puts a space after the only completion, so a folder that stands alone is answered with what is in it.
    """
    path = Path(incomplete)
    folder, start = (path, "") if incomplete.endswith("/") else (path.parent, path.name)
    try:
        found = [entry for entry in sorted(folder.iterdir()) if entry.name.startswith(start)]
    except OSError:
        return []
    visible = [entry for entry in found if start or not entry.name.startswith(".")]
    folders = [f"{entry}/" for entry in visible if entry.is_dir()]
    files = [str(entry) for entry in visible if entry.suffix in YAML and entry.is_file()]
    return experiment_files(folders[0]) if len(folders) == 1 and not files else folders + files


def override_keys(incomplete: str) -> list[str]:
    """The keys of the experiment file on the command line that begin like this, with their present values to edit."""
    from kintsugi.experiment import load

    # While an option has no value yet, the parser has no arguments either. Bash hands over the words; so does Typer.
    words = shlex.split(os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or "")
    files = [Path(word) for word in words if Path(word).suffix in YAML]
    try:
        experiment = load(files[0])
    except (IndexError, ValueError):
        return []
    values: dict[str, object] = {"seed": experiment.seed}
    for name, raw in experiment.nodes.items():
        values |= {f"nodes.{name}.{key}": value for key, value in _settable(raw)}
    return [f"{key}={_yaml(value)}" for key, value in values.items() if key.startswith(incomplete)]


def _settable(raw: dict[str, object]) -> Iterator[tuple[str, object]]:
    """The keys of a node that hold or may hold one value, as written or else by default."""
    from kintsugi.kinds import KINDS

    kind = KINDS.get(str(raw.get("kind")))
    matrix = raw.get("matrix")
    for name, info in kind.Config.model_fields.items() if kind else ():
        key = info.alias or name
        value = raw.get(key, None if info.is_required() else info.get_default())
        expanded = isinstance(matrix, dict) and key in matrix
        if key != "kind" and not expanded and isinstance(value, str | int | float | bool):
            yield key, value


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
