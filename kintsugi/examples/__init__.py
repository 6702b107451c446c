"""Commented example experiments for `kintsugi init`: the built-in corpus, or a user's own rows."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from pipeline.failures import UserError

FILE = "experiment.yaml"
ROWS_LOOKED_AT = 2000
YAML = {".yaml", ".yml"}


@dataclass(frozen=True)
class Example:
    """An example and what is filled in: where rows come from, how many, and which masks make sense."""

    template: str
    origin: str = "builtin"
    size: str = "    rows: 1500\n    splits: {validation: 60, test: 100}\n"
    masks: str = "response"


def write_example(target: Path, rows: Path | None = None) -> Path:
    """Write the example that fits `rows` (the built-in corpus where None) and give the file's path."""
    file = target if target.suffix in YAML else target / FILE
    text = render(example_for(rows, file) if rows else Example("recovery"), file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise UserError("config", "this is there already, and stays as it is.", str(file), "Name another.") from None
    return file


def render(example: Example, file: Path) -> str:
    """The text of an example for a file of this name."""
    template = Template(files(__name__).joinpath(f"{example.template}.yaml").read_text(encoding="utf-8"))
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).lstrip("-_") or "experiment"
    return template.substitute(
        name=json.dumps(name) if name.isdigit() else name,
        file=shlex.quote(str(file)),
        origin=example.origin,
        size=example.size,
        masks=example.masks,
    )


def example_for(rows: Path, file: Path) -> Example:
    """The example that fits a data file, by the rows at its beginning. Raises a data error where none can be used."""
    from pipeline.records import PreferenceRecord, Reject
    from pipeline.sources.files import read

    found = list(islice(read(rows), ROWS_LOOKED_AT))
    good: list[Any] = [row for row in found if not isinstance(row, Reject)]
    if not good:
        detail = next((row.detail for row in found if isinstance(row, Reject)), "the file has no rows")
        raise UserError("data", f"no row can be used. The first: {detail}", str(rows))
    size = f"    splits: {{test: {max(1, len(good) // 10)}}}\n"
    if len(good) < len(found):
        share = min(1.0, round(2 * (1 - len(good) / len(found)) + 0.005, 2))
        size += f"    max_rejected: {share}       # rows that cannot be used are kept under rejected/, with reasons\n"
    origin = json.dumps(str(rows), ensure_ascii=False)
    if isinstance(good[0], PreferenceRecord):
        spans = any(row.chosen_spans or row.rejected_spans for row in good)
        return Example("pairs", origin, size, "response, granular, random" if spans else "response")
    tested = any(row.tests for row in good)
    return Example("recovery" if tested else "answers", origin, size)
