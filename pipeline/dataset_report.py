"""What a corrupted data set holds, and how far its errors can be told apart.

Counts cover every row. The recognisers look at a sample, drawn by a hash of the ids: at each corrupted answer (a matrix
of embedded types by findings), at its good answer, and at rewrites of that which keep its meaning. What is found in
good answers and rewrites is a false alarm, or an error that was there before.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, TypedDict

from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import ErrorType, Unscored
from pipeline.errors.rewrites import REWRITES, rewrites
from pipeline.records import CorruptionRecord, FunctionTest, PreferenceRecord
from pipeline.spans import Edit

SAMPLE = 300
"""Corrupted answers that the recognisers look at: a share of 50 % is then known to 6 points (Wilson, 95 %)."""

UNCHANGED = "unchanged"
LENGTHS = ("response", "rejected", "span")


class TypeCounts(TypedDict):
    """Of one embedded type: rows that have it, its errors by level, and what its own recogniser says of the sample."""

    rows: int
    levels: dict[str, int]
    sampled: int
    recognised: int
    unscored: int


class Alarms(TypedDict):
    """Of one rewrite: how many good answers have it, and in how many of these each recogniser finds something."""

    answers: int
    alarms: dict[str, int]
    unscored: dict[str, int]


class Length(TypedDict):
    """Characters: mean, median, ninth decile, most."""

    mean: float
    median: float
    p90: float
    max: int


class Report(TypedDict):
    """The whole report. Matrices are sparse: what is left out is zero."""

    name: str
    rows: int
    sampled: int
    errors: dict[str, int]
    """Rows by how many errors they have."""
    types: dict[str, TypeCounts]
    matrix: dict[str, dict[str, int]]
    """Embedded type -> recogniser -> corrupted answers in which it finds something: its own type's error, or one that
    the answer was not given. What is found of an answer's other errors stands in their rows alone."""
    unscored: dict[str, int]
    """Recogniser -> corrupted answers that it cannot judge."""
    false_alarms: dict[str, Alarms]
    lengths: dict[str, Length]
    rejects: dict[str, int]
    quotas: dict[str, dict[str, Any]]
    """What became of each type under a quota, from the manifest; empty where there was none."""


@dataclass(frozen=True)
class Broken:
    """A corrupted answer and its good one, whatever record it comes from."""

    id: str
    prompt: str
    good: str
    bad: str
    tests: tuple[FunctionTest, ...]
    errors: tuple[tuple[str, str], ...]
    """Type and level of each error."""
    marked: int
    """Characters in the spans of the corrupted answer."""

    @property
    def types(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.errors))


def broken(record: CorruptionRecord | PreferenceRecord) -> Broken:
    """A row as the report sees it."""
    errors = tuple((edit.error_type, edit.level) for edit in errors_of(record))
    if isinstance(record, CorruptionRecord):
        marked = sum(len(edit.new) for edit in record.edits)
        return Broken(record.id, record.prompt, record.response, record.rejected, record.tests, errors, marked)
    marked = sum(span.end - span.start for span in record.rejected_spans)
    return Broken(record.id, record.prompt, record.chosen, record.rejected, (), errors, marked)


def errors_of(record: CorruptionRecord | PreferenceRecord) -> list[Edit]:
    """The first edit of each error. Pairs have them in their provenance; of others there is a type, and no level."""
    if isinstance(record, CorruptionRecord):
        edits: Sequence[Edit] = record.edits
    else:
        edits = _told(record.provenance)
    if edits or isinstance(record, CorruptionRecord):
        return list({edit.error: edit for edit in reversed(edits)}.values())[::-1]
    types = dict.fromkeys(span.error_type for span in (*record.rejected_spans, *record.chosen_spans))
    return [Edit(0, 0, "", "", name) for name in types]


def _told(provenance: str) -> list[Edit]:
    """The edits in a provenance that `annotate` wrote; anything else may stand there as well."""
    try:
        return [Edit(**edit) for edit in json.loads(provenance)["edits"]]
    except (ValueError, TypeError, KeyError):
        return []


@dataclass
class RowCounts:
    """What is counted of every row."""

    rows: int = 0
    errors: Counter[int] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    levels: Counter[tuple[str, str]] = field(default_factory=Counter)
    lengths: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in LENGTHS})

    def add(self, row: Broken) -> Broken:
        self.rows += 1
        self.errors[len(row.errors)] += 1
        self.types.update(row.types)
        self.levels.update(row.errors)
        for name, length in zip(LENGTHS, (len(row.good), len(row.bad), row.marked), strict=True):
            self.lengths[name].append(length)
        return row

    def statistics(self) -> dict[str, Length]:
        """Mean, median, ninth decile and most of each length."""
        return {what: _length(values) for what, values in self.lengths.items() if values}


def report_on(
    name: str,
    records: Iterable[CorruptionRecord | PreferenceRecord],
    *,
    rejects: Mapping[str, int],
    quotas: Mapping[str, dict[str, Any]],
    sample: int = SAMPLE,
    error_types: Mapping[str, ErrorType] = ERROR_TYPES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Count every row, and let the recognisers look at `sample` of them."""
    counts = RowCounts()
    chosen = heapq.nsmallest(sample, (counts.add(broken(record)) for record in records), key=_draw)
    seen = []
    for done, row in enumerate(chosen, start=1):
        seen.append(_look(row, error_types))
        progress(done, len(chosen))
    return {
        "name": name,
        "rows": counts.rows,
        "sampled": len(chosen),
        "errors": {str(number): count for number, count in sorted(counts.errors.items())},
        "types": {one: _type_counts(one, counts, chosen, seen) for one in _in_order(counts.types, error_types)},
        "matrix": _matrix(chosen, seen, error_types),
        "unscored": _named(name for looked in seen for name, found in looked.bad.items() if found is None),
        "false_alarms": {kind: _alarms(kind, seen) for kind in (UNCHANGED, *REWRITES)},
        "lengths": counts.statistics(),
        "rejects": dict(rejects),
        "quotas": dict(quotas),
    }


def _draw(row: Broken) -> str:
    return hashlib.sha256(row.id.encode("utf-8", "surrogatepass")).hexdigest()


Findings = dict[str, bool | None]
"""Recogniser -> present, absent, or unscored."""


@dataclass(frozen=True)
class _Looked:
    """What recognisers say of one corrupted answer, and of its good one, rewritten or not."""

    bad: Findings
    good: dict[str, Findings]


def _look(row: Broken, error_types: Mapping[str, ErrorType]) -> _Looked:
    good = {UNCHANGED: row.good, **rewrites(row.good)}
    return _Looked(
        _findings(row, row.bad, error_types), {kind: _findings(row, text, error_types) for kind, text in good.items()}
    )


def _findings(row: Broken, text: str, error_types: Mapping[str, ErrorType]) -> Findings:
    found: Findings = {}
    for name, kind in error_types.items():
        said = kind.recognise(text, reference=row.good, tests=row.tests or None, prompt=row.prompt)
        found[name] = None if isinstance(said, Unscored) else said.present
    return found


def _in_order(names: Iterable[str], error_types: Mapping[str, ErrorType]) -> list[str]:
    """The known types in their order, then others, such as those of imported data."""
    given = set(names)
    return [*(name for name in error_types if name in given), *sorted(given - set(error_types))]


def _type_counts(name: str, counts: RowCounts, rows: Sequence[Broken], seen: Sequence[_Looked]) -> TypeCounts:
    own = [looked.bad.get(name) for row, looked in zip(rows, seen, strict=True) if name in row.types]
    return {
        "rows": counts.types[name],
        "levels": {level: count for (one, level), count in sorted(counts.levels.items()) if one == name and level},
        "sampled": len(own),
        "recognised": own.count(True),
        "unscored": own.count(None),
    }


def _matrix(
    rows: Sequence[Broken], seen: Sequence[_Looked], error_types: Mapping[str, ErrorType]
) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for row, looked in zip(rows, seen, strict=True):
        for name in row.types:
            others = set(row.types) - {name}
            present = (one for one, finding in looked.bad.items() if finding and one not in others)
            found.setdefault(name, Counter()).update(present)
    return {name: _ordered(found[name], error_types) for name in _in_order(found, error_types)}


def _ordered(counts: Counter[str], error_types: Mapping[str, ErrorType]) -> dict[str, int]:
    return {name: counts[name] for name in _in_order(counts, error_types)}


def _named(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _alarms(kind: str, seen: Sequence[_Looked]) -> Alarms:
    looked = [one.good[kind] for one in seen if kind in one.good]
    return {
        "answers": len(looked),
        "alarms": _named(name for findings in looked for name, found in findings.items() if found),
        "unscored": _named(name for findings in looked for name, found in findings.items() if found is None),
    }


def _length(values: list[int]) -> Length:
    cuts = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [float(values[0])] * 9
    return {"mean": round(sum(values) / len(values), 1), "median": cuts[4], "p90": cuts[8], "max": max(values)}
