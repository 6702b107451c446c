"""Reports that are tables, with a plot in the rows of some: the same sections as Markdown and as a page.

Names come from users' files and are escaped everywhere; the page's content security policy allows no script at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from eval.report.cells import Align, plain, table
from eval.report.html import assets, environment, policy

STYLES = ("base.css", "tables.css", "matrix.css", "media.css", "sections.css")
LEFT: Align = "left"
RIGHT: Align = "right"


@dataclass(frozen=True, slots=True)
class Mark:
    """A share and its interval, as they are drawn; `tone` is a class of the style sheet."""

    value: float
    ci: Sequence[float]
    tone: str = "model"


@dataclass(frozen=True, slots=True)
class Section:
    """A table with what must be known to read it. Cells are plain text; the first column names the row.

    Attributes:
        plots: for each row the marks on an axis from `low` to 1, drawn before the first column of figures; or none.
        key: what the tones of several marks mean, by tone.
    """

    id: str
    title: str
    hint: str
    columns: Sequence[tuple[str, Align]]
    rows: Sequence[Sequence[str]]
    plots: Sequence[Sequence[Mark]] = ()
    low: float = 0.0
    key: Sequence[tuple[str, str]] = ()

    @property
    def words(self) -> int:
        """How many columns come before the first of figures."""
        return next((place for place, (_, align) in enumerate(self.columns) if align == RIGHT), len(self.columns))

    @property
    def ticks(self) -> list[float]:
        return [self.low, (self.low + 1) / 2, 1.0]


def columns(names: Sequence[str], words: int) -> list[tuple[str, Align]]:
    """The first `words` columns are words, the others figures."""
    return [(name, LEFT if place < words else RIGHT) for place, name in enumerate(names)]


def marks(*found: tuple[float | None, Sequence[float] | None, str]) -> list[Mark]:
    """Values with their intervals and tones; what lacks either is not drawn."""
    return [Mark(value, ci, tone) for value, ci, tone in found if value is not None and ci is not None]


def to_markdown(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """report.md: what there is to say in short, then the tables that have rows."""
    parts = [f"# {plain(title)}", "\n".join(f"- {plain(note)}" for note in notes)]
    for section in _filled(sections):
        rows = [[plain(cell) for cell in row] for row in section.rows]
        parts += [f"## {section.title}", section.hint, table(section.columns, rows)]
    return "\n\n".join(filter(None, parts)) + "\n"


def to_html(title: str, lede: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """index.html, in one file; Jinja escapes every word and figure."""
    style = assets(STYLES)
    return environment().get_template("tables.html.jinja").render(
        title=title,
        lede=lede,
        notes=notes,
        sections=_filled(sections),
        style=Markup(style),
        policy=policy(style),
    )  # fmt: skip


def _filled(sections: Sequence[Section]) -> list[Section]:
    return [section for section in sections if section.rows]
