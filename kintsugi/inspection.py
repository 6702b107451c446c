"""The report on a data set, for a terminal and as Markdown. Both are tables of the same result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from eval.report.cells import plain
from kintsugi.visible import shown
from pipeline.dataset_report import Report
from pipeline.errors import ERROR_TYPES

LENGTH_NAMES = {"response": "good answer", "rejected": "corrupted answer", "span": "marked in it"}


@dataclass(frozen=True)
class Sheet:
    """One table: a title, what it means, heads, and rows of text. All columns but the first hold numbers or levels."""

    title: str
    meaning: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(report: Report) -> list[Sheet]:
    """Every table that has rows."""
    made = (
        _types(report),
        _matrix(report),
        _false_alarms(report),
        _quotas(report),
        _lengths(report),
        _rejects(report),
    )
    return [sheet for sheet in made if sheet.rows]


def percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _types(report: Report) -> Sheet:
    rows = tuple(
        (
            name,
            f"{counts['rows']:,}",
            ", ".join(f"{level} {count:,}" for level, count in counts["levels"].items()) or "-",
            percent(counts["recognised"], counts["sampled"] - counts["unscored"]),
            percent(counts["unscored"], counts["sampled"]),
        )
        for name, counts in report["types"].items()
    )
    numbers = ", ".join(f"{count:,} with {number}" for number, count in report["errors"].items())
    return Sheet(
        "Error types",
        f"{report['rows']:,} rows ({numbers}). `recognised` and `unscored` are shares of {report['sampled']:,} sampled "
        "rows: of those that its recogniser could judge, and of all that have the type.",
        ("embedded", "rows", "verified", "recognised", "unscored"),
        rows,
    )


def _matrix(report: Report) -> Sheet:
    names = list(dict.fromkeys([*ERROR_TYPES, *report["matrix"]]))
    columns = [name for name in names if name in ERROR_TYPES]
    rows = tuple(
        (
            f"{names.index(name) + 1} {name}",
            f"{report['types'][name]['sampled']:,}",
            *(str(found.get(column, "")) for column in columns),
        )
        for name, found in report["matrix"].items()
    )
    unscored = tuple(str(report["unscored"].get(column, "")) for column in columns)
    last = (("unscored", f"{report['sampled']:,}", *unscored),) if rows else ()
    return Sheet(
        "What is found in corrupted answers",
        "A row for each embedded type, a column for each recogniser, by number. An answer with several "
        "errors counts for each of its types; what is found of its other errors stands in their rows alone.",
        ("embedded", "sampled", *(str(number) for number in range(1, len(columns) + 1))),
        (*rows, *last),
    )


def _false_alarms(report: Report) -> Sheet:
    columns = list(report["false_alarms"])
    heads = [f"{kind} ({report['false_alarms'][kind]['answers']:,})" for kind in columns]
    rows = tuple(
        (name, *(_alarm_cell(report, kind, name) for kind in columns))
        for name in ERROR_TYPES
        if any(report["false_alarms"][kind]["answers"] for kind in columns)
    )
    return Sheet(
        "False alarms",
        "What recognisers find in good answers, as they are and rewritten so that they mean the same: locals renamed, "
        "independent statements swapped, reformatted. `?`: could not be judged.",
        ("recogniser", *heads),
        rows,
    )


def _alarm_cell(report: Report, kind: str, name: str) -> str:
    seen = report["false_alarms"][kind]
    unscored = seen["unscored"].get(name, 0)
    return f"{seen['alarms'].get(name, 0)}{f' ({unscored} ?)' if unscored else ''}"


def _quotas(report: Report) -> Sheet:
    numbers = ("applicable", "wanted", "tried", "made", "short")
    rows = tuple(
        (name, *(f"{facts[key]:,}" for key in numbers), str(facts["why"])) for name, facts in report["quotas"].items()
    )
    meaning = "Rows in which a type has a place, and of them those that were wanted, tried and made."
    return Sheet("Quotas", meaning, ("error type", *numbers, "why"), rows)


def _lengths(report: Report) -> Sheet:
    rows = tuple(
        (LENGTH_NAMES[what], *(f"{length[key]:,.0f}" for key in ("mean", "median", "p90", "max")))
        for what, length in report["lengths"].items()
    )
    return Sheet("Characters", "", ("of each", "mean", "median", "9 of 10 up to", "most"), rows)


def _rejects(report: Report) -> Sheet:
    rows = tuple((reason, f"{count:,}") for reason, count in report["rejects"].items())
    return Sheet("Left out", "", ("reason", "rows"), rows)


def terminal(report: Report) -> Iterator[Table | Text]:
    """The tables as Rich draws them."""
    return drawn(sheets(report))


def drawn(found: Sequence[Sheet]) -> Iterator[Table | Text]:
    """Tables as Rich draws them."""
    for sheet in found:
        yield Text(f"\n{sheet.title}", style="bold")
        if sheet.meaning:
            yield Text(sheet.meaning.replace("`", ""), style="dim")
        yield _table(sheet)


def _table(sheet: Sheet) -> Table:
    table = Table(box=None, padding=(0, 2 if len(sheet.heads) < 9 else 1, 0, 0), header_style="dim")
    for index, head in enumerate(sheet.heads):
        table.add_column(head, justify="right" if index else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(shown(cell) for cell in row))
    return table


def markdown(report: Report) -> str:
    """The tables as Markdown."""
    return written(report["name"], sheets(report))


def written(name: str, found: Sequence[Sheet]) -> str:
    """Tables as Markdown under a name."""
    parts = [f"# {plain(name)}\n"]
    for sheet in found:
        parts += [f"## {sheet.title}\n", *([f"{sheet.meaning}\n"] if sheet.meaning else []), _pipe_table(sheet)]
    return "\n".join(parts)


def _pipe_table(sheet: Sheet) -> str:
    lines: list[Sequence[str]] = [sheet.heads, ["---", *("---:" for _ in sheet.heads[1:])], *sheet.rows]
    cells = [[cell if number == 1 else plain(cell) for cell in line] for number, line in enumerate(lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
