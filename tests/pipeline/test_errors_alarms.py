"""False alarms: what recognisers say of good programs that nobody here wrote."""

from __future__ import annotations

import gzip
import json
import textwrap
from pathlib import Path

import pytest

from pipeline.errors import ERROR_TYPES, omitted_imports, unused_imports

DATA = Path(__file__).parents[3] / "shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not in this checkout")

FLAWED = {omitted_imports.NAME, unused_imports.NAME}
"""What the programs really have: the site that they are from imports `List` for them, and some imports are for show."""


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def fenced(code: str) -> str:
    return f"```python\n{code.rstrip()}\n```\n"


def alarms(answers: list[str], *, compared: bool) -> dict[str, int]:
    """How many answers each type is found in, alone or with themselves as the good answer."""
    found = dict.fromkeys(ERROR_TYPES, 0)
    for answer in answers:
        for name, kind in ERROR_TYPES.items():
            seen = kind.recognise(answer, reference=answer if compared else None)
            found[name] += bool(getattr(seen, "present", False))
    return {name: count for name, count in found.items() if count and name not in FLAWED}


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("compared", [False, True])
def test_good_programs_raise_no_alarm(compared: bool) -> None:
    oracles = [fenced(textwrap.dedent(row["oracle_code"].lstrip("\n"))) for row in rows("debugbench_python.jsonl.gz")]
    assert len(oracles) == 400 and alarms(oracles, compared=compared) == {}
    solutions = [fenced(row["prompt"] + row["canonical_solution"]) for row in rows("humaneval.jsonl.gz")]
    assert len(solutions) == 164 and alarms(solutions, compared=compared) == {}
