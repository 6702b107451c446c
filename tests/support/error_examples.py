"""docs/errors.md, from a run: each error type embedded in a row of the built-in corpus, verified, and recognised.

PYTHONPATH=. python tests/support/error_examples.py > docs/errors.md
"""

from __future__ import annotations

import difflib
import sys

import glaive_like
from extra_rows import extra_rows

from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import ErrorType, Finding
from pipeline.records import CorruptionRecord, QARecord
from pipeline.sources.builtin import build
from pipeline.stages.annotate import annotate
from pipeline.stages.embed import embed

ROWS = 60
LONGER_ROWS = 10
"""Made-up answers, for types that the short answers of the built-in corpus have no place for."""

HEAD = """# Error types

Each type is one module under `pipeline/errors/`. It **embeds** (proposes edits in code points; the text is spliced, a
parser only says where), **verifies** (is the error really there?) and **recognises** (does an answer have it, and
where?). An `embed` node takes `error_types:`; left out, all are used, and the manifest lists them. A row gets one
error, or several (`errors: {min: 1, max: 3}`), and types may have quotas (`quota: {per_type: 200}`): see below. Without
quotas, types that few rows have a place for are drawn first, so that the types come out nearly even.

| type | what it changes | verified | recognised |
|---|---|---|---|
| `off-by-one-errors` | a bound of a range or slice, an index, `<` and `<=`, a loop's constant | by running | relative |
| `improper-handling-of-edge-cases` | an opening guard, a `try`, or a fallback goes | by running | relative |
| `incorrect-base-case-in-recursion` | the first base case: its test, its value, or all of it | by running | relative; \
without any base case: absolute |
| `infinite-loops` | the step or a `break` of a `while` goes, or a step turns about | by running: the CPU limit | \
absolute where nothing ends a loop, and with tests; relative |
| `incorrect-data-structure-choice` | a set, deque or dictionary becomes a list | by running: equal results, \
work grows faster | relative |
| `minor-syntax-errors` | a colon, bracket, quote or indentation goes, `==` becomes `=` | `compile()` | absolute |
| `unused-imports` | an import that nothing refers to is added | pyflakes, and equal results | absolute |
| `omitting-necessary-imports` | an import, or one of its names, goes | pyflakes, and a NameError | absolute |
| `incorrect-contextual-references` | a variable in another's place; in prose, a quoted name that is not there | by \
running; prose against the code's names | relative; names that are nowhere: absolute |
| `misleading-comments-in-code` | a number or direction in a comment or docstring, or two comments swapped | equal \
syntax trees | relative; absolute where the code contradicts |
| `incorrect-explanation` | a complexity, number, order or negation in the prose | by construction; static where the \
code tells | relative; absolute where the code contradicts |
| `irrelevant-information` | a paragraph on something else is added | by construction: words in common | absolute; \
relative |
| `redundant-information` | a sentence is said again, as it was or taken up | token-set ratio | absolute; relative |
| `inconsistent-terminology` | some of at least three mentions of a term are renamed | both forms, where one was | \
absolute; relative |
| `poorly-formatted-response` | a fence, list, heading or paragraph break is broken | a Markdown parser | absolute; \
relative |

*Absolute* recognisers need the answer alone. *Relative* ones compare with the good answer to the same prompt: the
same tree but for this. Where they cannot tell, the answer is unscored, which is not zero: no good answer, another way
of solving it, or Python that does not compile. An answer counts as not compiling if any of its blocks tagged as
Python does not, so one sound block never speaks for a broken one; console transcripts and indented pieces of a class
are left out. What an untagged broken block was nobody knows, so syntax errors are embedded in tagged blocks only.

An error has one type. A boundary that is off by one (`n < 1` for `n <= 1`) is an off-by-one error wherever it stands; a
guard of functions that call each other is a base case. Recursion is looked for by name as
Python resolves it, through `self` and the class in methods, in nested functions, and in circles of several functions.

What one error takes may be several edits: `set()` becomes `[]`, and each `add` an `append`. How fast work grows is
counted, not timed: lines executed, the comparisons of `x in list`, the elements that `pop(0)` moves, on inputs of 24
and 96 elements made from the tests'. Whether a loop ends only a run can tell, but for loops that nothing can end; so
with tests the recogniser of infinite loops runs an answer that has a `while` and differs from the good one.

Where a row has no tests, `pipeline/errors/inputs.py` makes some for the functions at the top level of a good answer:
from the calls that docstrings and prose show, from annotations, defaults, use and names of the parameters, and from
the constants of the code; typical values, edge cases, and mutations that keep a value's type. Kept are inputs on
which the function gives plain JSON, or raises what it says it raises; gives the same when it is called again, and in
another process in another order; and leaves its arguments alone. The sandbox fixes the order of sets, so a result
that depends on it counts as stable.

## Several errors, quotas, and what is not run

With `errors: 2` or `errors: {min: 1, max: 3}` an answer gets several errors; the number is drawn from the seed and
the row's id, each error is of another type (unless fewer types are named), and no two touch the same statement or
line. Each is verified alone on the good answer, and once more among the others: the answer with all others is taken
for good, what its functions give is expected, and the error must show against that. So a wrong result is never hidden
behind a NameError. Where nothing runs any more (a syntax error, a lost fence) there are no errors that show only by
running. In the rows `edits[].error` numbers the errors, and all edits of one error carry its `level` and `evidence`.

With a quota, a survey first finds the types that have a place in each row. Rows are drawn by a hash of (seed, id),
the rarest types choose first, and what cannot be confirmed is made up for in further rounds. Types with too few rows
(by default fewer than a fifteenth of all, at most 1,000) are left out. The manifest's `facts.types` say for each type
how many rows it fits, how many were wanted, tried and made, and why there are fewer; `kintsugi inspect` and the card
show it. Rows that nobody needed are under `rejected/` as `not-drawn`, and do not count against `max_rejected`.

`verify: static` runs nothing: what shows only by running is then confirmed by what can be read (both sides compile,
the trees differ) and says `static`. With `verify: executed`, a row without tests whose program cannot be run here (a
package that is missing, say) gets only errors that show without running.

`kintsugi inspect DATASET` prints the types by level, what each recogniser finds in corrupted answers of each type (a
confusion matrix), the share that cannot be judged, and false alarms: what is found in good answers as they are, with
locals renamed, with independent statements swapped, and reformatted (`pipeline/errors/rewrites.py`).

## Errors in prose

Prose is what a CommonMark parser takes for paragraphs and headings, outside every fence; an answer of more than 20,000
characters has none that is known. Of edits in prose all fenced code is left as it was, to the letter; broken fences are
the exception. Where an absolute recogniser cannot tell and there is no good answer, the answer is unscored: without a
good answer most explanations and comments are. What they hold against a threshold:

- *irrelevant*: a paragraph of at least 4 content words of which under 20 % occur in the rest of the answer, in the
  prompt, or in a list of some 480 words that programming answers are made of. The lowest share of a good paragraph was
  40 % in the built-in corpus and 25 % in made-up answers; 98 % of the asides lie below 20 %.
- *redundant*: two sentences of at least 4 words with a token-set ratio of 97 or more, lengths within 60 %, the same
  numbers, the same code, and the same words of direction. Of 600 made-up answers
  eight had such a pair at 95, none at 97.
- *terminology*: both forms of one of twelve pairs, with three mentions or more. Good answers that mix them are why: of
  164 HumanEval docstrings two say both `list` and `array`. With a good answer that mixes them, too, it is no finding.

An aside that is about programming is not recognised, and neither is a repetition in other words.

The examples below are what a run gave on the first fitting row of the built-in corpus (seed 0), or, where it
has none, of `tests/support/extra_rows.py` or made-up answers;
`tests/pipeline/test_errors_page.py` holds that they still are.
"""


def page() -> str:
    rows = [*build(ROWS, 0), *extra_rows(), *glaive_like.rows(LONGER_ROWS)]
    return "\n".join([HEAD, *(_section(kind, rows) for kind in ERROR_TYPES.values())])


def _section(kind: ErrorType, rows: list[QARecord]) -> str:
    made = _first(kind, rows)
    pair = annotate(made)
    found = kind.recognise(made.rejected, reference=made.response, tests=made.tests)
    assert isinstance(found, Finding) and found.present
    return "\n".join([
        f"## {kind.name}\n",
        f"> {made.prompt}\n",
        f"````diff\n{_difference(made)}\n````\n",
        *(
            f"- chosen span `[{chosen.start}, {chosen.end})` {_shown(chosen.text)}, "
            f"rejected span `[{rejected.start}, {rejected.end})` {_shown(rejected.text)}"
            for chosen, rejected in zip(pair.chosen_spans, pair.rejected_spans, strict=True)
        ),
        f"- verified {made.edits[0].level}: {made.edits[0].evidence}",
        f"- recognised{_place(found)}: {found.explanation}\n",
    ])  # fmt: skip


def _first(kind: ErrorType, rows: list[QARecord]) -> CorruptionRecord:
    fitting = (embed(row, [kind.name], 0) for row in rows if kind.propose(row.response))
    return next(made for made in fitting if isinstance(made, CorruptionRecord))


def _difference(made: CorruptionRecord) -> str:
    """The code of both sides, line by line; where that is the same, the lines around what is different."""
    good, bad = (text.split("```")[1].splitlines()[1:] for text in (made.response, made.rejected))
    if good != bad:
        return "\n".join(line.rstrip() for line in difflib.ndiff(good, bad) if not line.startswith("?"))
    lines = difflib.unified_diff(made.response.splitlines(), made.rejected.splitlines(), lineterm="", n=2)
    shown = ["  [...]" if line.startswith("@@") else f"{line[0]} {line[1:]}" for line in list(lines)[2:]]
    return "\n".join(line.rstrip() for line in shown)


def _place(found: Finding) -> str:
    return "" if found.start is None else f" at `[{found.start}, {found.end})`"


def _shown(text: str) -> str:
    return f"`{text!r}`" if text else "(an anchor: nothing stands there)"


if __name__ == "__main__":
    sys.stdout.write(page())
