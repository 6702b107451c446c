"""A page with samples of corrupted answers: both sides, the places that differ marked, in one HTML file.

Answers are cut into styled pieces as for the report, and every piece goes through Jinja's autoescape. There is no
script, and the page's content security policy allows none.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from eval.report.html import assets, policy
from eval.report.markup import Piece, segments
from eval.report.markup import prose as prose_pieces
from kintsugi.visible import visible
from pipeline.dataset_report import RowCounts, broken, errors_of
from pipeline.records import CorruptionRecord, PreferenceRecord
from pipeline.spans import Edit, Span
from pipeline.stages.annotate import annotate

ROWS = 40
STYLES = ("base.css", "prompts.css")
"""Of the report; `samples.css` adds what is this page's own."""

Record = CorruptionRecord | PreferenceRecord
Shown = tuple[str, str, bool, str]
"""A piece of text: its style, itself, whether it is marked, and what the mark says."""


@dataclass(frozen=True)
class Drawn:
    """Rows for the page, and what all rows were counted to."""

    rows: tuple[PreferenceRecord, ...]
    counts: RowCounts


def draw(records: Iterable[Record], rows: int, error_type: str | None = None) -> Drawn:
    """Rows of every type in turn, within a type by a hash of their ids, so that rare types are seen too."""
    counts = RowCounts()
    kept: dict[str, list[tuple[str, int, Record]]] = {}
    for number, record in enumerate(records):
        types = counts.add(broken(record)).types
        for name in types or [""]:
            if error_type in (None, name):
                _keep(kept.setdefault(name, []), (_negated_hash(record.id), number, record), rows)
    by_type = [[record for _, _, record in sorted(kept[name], reverse=True)] for name in sorted(kept)]
    in_turn = (record for turn in zip_longest(*by_type) for record in turn if record is not None)
    chosen = list({id(record): record for record in in_turn}.values())[:rows]
    pairs = (annotate(record) if isinstance(record, CorruptionRecord) else record for record in chosen)
    return Drawn(tuple(pairs), counts)


def _keep(heap: list[Any], item: tuple[str, int, Record], most: int) -> None:
    (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, item)


def _negated_hash(record_id: str) -> str:
    """A heap drops its smallest: the digits are turned over so that rows of small hashes stay."""
    digits = hashlib.sha256(record_id.encode("utf-8", "surrogatepass")).hexdigest()
    return digits.translate(str.maketrans("0123456789abcdef", "fedcba9876543210"))


def page(name: str, drawn: Drawn) -> str:
    """The page as HTML."""
    style = assets(STYLES) + "\n" + _style()
    counts = drawn.counts
    samples = [_sample(record) for record in drawn.rows]
    return _environment().get_template("samples.html.jinja").render(
        name=visible(name),
        rows=counts.rows,
        types=[(visible(one), count, _first(samples, one)) for one, count in counts.types.most_common()],
        samples=samples,
        policy=policy(style),
        style=Markup(style),
    )  # fmt: skip


def _first(samples: Sequence[dict[str, Any]], error_type: str) -> int | None:
    """The number of the first sample with an error of this type."""
    return next((number for number, one in enumerate(samples, start=1) if visible(error_type) in one["types"]), None)


def _sample(pair: PreferenceRecord) -> dict[str, Any]:
    errors = errors_of(pair)
    return {
        "id": visible(pair.id),
        "prompt": [_piece(piece) for piece in prose_pieces(pair.prompt)],
        "errors": [_error(edit) for edit in errors],
        "types": [visible(edit.error_type) for edit in errors],
        "sides": [
            ("Good", "good", list(_segments(pair.chosen, pair.chosen_spans))),
            ("Corrupted", "bad", list(_segments(pair.rejected, pair.rejected_spans))),
        ],
    }


def _error(edit: Edit) -> dict[str, str]:
    return {"type": visible(edit.error_type), "level": visible(edit.level), "evidence": visible(edit.evidence)}


def _segments(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, list[Shown]]]:
    """Prose and code in order."""
    marks = [(span.start, span.end) for span in spans]
    for kind, cut in segments(text, marks):
        pieces = [_piece(piece, spans) for piece in cut]
        yield kind, _without_gaps(pieces) if kind == "prose" else pieces


def _without_gaps(pieces: list[Shown]) -> list[Shown]:
    """Prose without the empty lines around it, where these are not marked: the page sets paragraphs apart itself."""
    if pieces and not pieces[0][2]:
        pieces[0] = (pieces[0][0], pieces[0][1].lstrip("\n"), *pieces[0][2:])
    if pieces and not pieces[-1][2]:
        pieces[-1] = (pieces[-1][0], pieces[-1][1].rstrip("\n"), *pieces[-1][2:])
    return pieces


def _piece(piece: Piece, spans: Sequence[Span] = ()) -> Shown:
    if isinstance(piece, str):
        return "", visible(piece), False, ""
    style, text, *mark = piece
    return style, visible(text), bool(mark), visible(spans[mark[0]].error_type) if mark else ""


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("kintsugi", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _style() -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, "samples.css")[0]
