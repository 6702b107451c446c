"""docs/errors.md, from a run: each error type embedded in a row of the built-in corpus, verified, and recognised.

PYTHONPATH=. python tests/support/error_examples.py > docs/errors.md
"""

from __future__ import annotations

import difflib
import sys

from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import ErrorType, Finding
from pipeline.records import CorruptionRecord, QARecord
from pipeline.sources.builtin import build
from pipeline.stages.annotate import annotate
from pipeline.stages.embed import embed

ROWS = 60

HEAD = """# Error types

Each type is one module under `pipeline/errors/`. It **embeds** (proposes edits in code points; the text is spliced, a
parser only says where), **verifies** (is the error really there?) and **recognises** (does an answer have it, and
where?). An `embed` node takes `error_types:`; left out, all six are used, and the manifest lists them. A row gets one
error. Types that few rows have a place for are drawn first, so that the types come out nearly even.

| type | what it changes | verified | recognised |
|---|---|---|---|
| `off-by-one-errors` | a bound of a range or slice, an index, `<` and `<=`, a loop's constant | by running | relative |
| `improper-handling-of-edge-cases` | an opening guard, a `try`, or a fallback goes | by running | relative |
| `incorrect-base-case-in-recursion` | the first base case: its test, its value, or all of it | by running | relative; \
without any base case: absolute |
| `minor-syntax-errors` | a colon, bracket, quote or indentation goes, `==` becomes `=` | `compile()` | absolute |
| `unused-imports` | an import that nothing refers to is added | pyflakes, and equal results | absolute |
| `omitting-necessary-imports` | an import, or one of its names, goes | pyflakes, and a NameError | absolute |

*Absolute* recognisers need the answer alone. *Relative* ones compare with the good answer to the same prompt: the
same tree but for this. Where they cannot tell, the answer is unscored, which is not zero: no good answer, another way
of solving it, or Python that does not compile. An answer counts as not compiling if any of its blocks tagged as
Python does not, so one sound block never speaks for a broken one; console transcripts and indented pieces of a class
are left out. What an untagged broken block was nobody knows, so syntax errors are embedded in tagged blocks only.

A boundary of a base case that is off by one is both an off-by-one error and an incorrect base case, and both
recognisers say so; so is a guard of mutually recursive functions that is missing. Recursion is looked for by name as
Python resolves it, through `self` and the class in methods, in nested functions, and in circles of several functions.

The examples below are what a run gave on the first fitting row of the built-in corpus (seed 0);
`tests/pipeline/test_errors_page.py` holds that they still are.
"""


def page() -> str:
    rows = build(ROWS, 0)
    return "\n".join([HEAD, *(_section(kind, rows) for kind in ERROR_TYPES.values())])


def _section(kind: ErrorType, rows: list[QARecord]) -> str:
    made = _first(kind, rows)
    pair = annotate(made)
    (chosen,), (rejected,) = pair.chosen_spans, pair.rejected_spans
    found = kind.recognise(made.rejected, reference=made.response, tests=made.tests)
    assert isinstance(found, Finding) and found.present
    return "\n".join([
        f"## {kind.name}\n",
        f"> {made.prompt}\n",
        f"```diff\n{_difference(made)}\n```\n",
        f"- chosen span `[{chosen.start}, {chosen.end})` {_shown(chosen.text)}, "
        f"rejected span `[{rejected.start}, {rejected.end})` {_shown(rejected.text)}",
        f"- verified {made.edits[0].level}: {made.edits[0].evidence}",
        f"- recognised at `[{found.start}, {found.end})`: {found.explanation}\n",
    ])  # fmt: skip


def _first(kind: ErrorType, rows: list[QARecord]) -> CorruptionRecord:
    fitting = (embed(row, [kind.name], 0) for row in rows if kind.propose(row.response))
    return next(made for made in fitting if isinstance(made, CorruptionRecord))


def _difference(made: CorruptionRecord) -> str:
    """The code of both sides, line by line."""
    good, bad = (text.split("```")[1].splitlines()[1:] for text in (made.response, made.rejected))
    return "\n".join(line.rstrip() for line in difflib.ndiff(good, bad) if not line.startswith("?"))


def _shown(text: str) -> str:
    return f"`{text!r}`" if text else "(an anchor: nothing stands there)"


if __name__ == "__main__":
    sys.stdout.write(page())
