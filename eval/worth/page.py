"""index.html of a noise study: heat maps and tables in one file without scripts. Names go through autoescape."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from eval.report.html import assets, environment, policy
from eval.report.matrices import LEVELS
from eval.worth.results import Figure, Results, levels_of
from eval.worth.text import FIT, change_cells, fit_cells, maps, sentence

STYLES = ("base.css", "tables.css", "matrix.css", "media.css")
STEP = 0.1
"""The deepest shade stands for no less than this, so that chance alone does not look like much."""


def to_html(results: Results) -> str:
    """The page."""
    style = assets(STYLES)
    return environment().get_template("worth.html.jinja").render(
        results=results,
        maps=heat_maps(results),
        sentences=[sentence(fit) for fit in results["fits"]],
        told=FIT,
        change_cells=change_cells,
        fit_cells=fit_cells,
        policy=policy(style),
        style=Markup(style),
    )  # fmt: skip


def heat_maps(results: Results) -> list[dict[str, Any]]:
    """For each way and kind of noise: rates by numbers of pairs, shaded by how far a cell is from the baseline."""
    base = next(one["accuracy"] for one in results["models"] if one["name"] == results["baseline"])
    most = max(STEP, *(abs(cell["accuracy"] - base) for cell in results["cells"]))
    made = []
    for way, how, cells in maps(results["cells"]):
        known = {(cell["rate"], cell["rows"]): cell for cell in cells}
        rows = sorted({cell["rows"] for cell in cells})
        shaded = [
            (rate, [_shaded(known.get((rate, count)), base, most) for count in rows]) for rate in levels_of(cells)
        ]
        made.append({"way": way, "how": how, "rows": rows, "rates": shaded})
    return made


def _shaded(cell: Figure | None, base: float, most: float) -> dict[str, Any]:
    if cell is None:
        return {"cell": None, "style": ""}
    over = cell["accuracy"] - base
    level = round(LEVELS * abs(over) / most)
    return {"cell": cell, "style": f"h{level} wins" if over > 0 else f"h{level}"}
