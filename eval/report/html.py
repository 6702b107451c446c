"""index.html: the whole report as one file that needs no server and no network.

Everything that models or users wrote is hostile. Names and figures go through Jinja's autoescape; prompts, answers and
test results travel as JSON, of which the page makes text nodes and nothing else. Should both fail, the page's content
security policy allows no request, no script but the one whose hash it names, and no text to become markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from eval.report.cells import SIGNIFICANT, interval, interval_name, number, p_text, percent, points
from eval.report.curves import charts
from eval.report.evidence import Evidence
from eval.report.judged import GRADE, RIGHT, named_errors, of_arms, shown, told_in_lists
from eval.report.markdown import Compared, mask_comparisons, oriented
from eval.report.matrices import bought, heat_map, named_sections, numbered, present, shaded, win_table
from eval.report.measures import by_frequency
from eval.report.pooled import Pooled
from eval.report.prompts import browser_data
from eval.report.results import Arm, Results
from eval.report.tables import kept_cells, numbers, rater_cells, signed
from pipeline.store import Manifest

STYLES = ("base.css", "tables.css", "curves.css", "matrix.css", "prompts.css", "media.css")
SCRIPTS = ("dom.js", "state.js", "browser.js", "answers.js", "curves.js", "plane.js", "main.js")
"""In this order they make one style sheet and one script."""
FEW = 8
"""Arms up to which the panels of single error types are open at first."""
ENDS = ("corrupted", "reference")
STEP = 0.1
"""Differences are drawn on an axis that ends at a multiple of this."""


def to_html(results: Results, arms: Sequence[Evidence], *, prompts: int) -> str:
    """The page: tables and plots of the results, training curves, and a browser of at most `prompts` prompts."""
    seed = results["bootstrap"]["seed"]
    style, script = (assets(names) for names in (STYLES, SCRIPTS))
    data = {**browser_data(arms, prompts, seed), "kinds": [arm["kind"] for arm in results["arms"]]}
    floor, ceiling = (_rate_of(results["arms"], kind) for kind in ENDS)
    plots = {"charts": charts(arms), "efficiency": bought(results["arms"], floor, ceiling), "paths": numbered(arms)}
    has = present(results, bool(plots["charts"]), bool(data["prompts"]))
    return environment().get_template("index.html.jinja").render(
        results=results,
        about=about(arms, seed),
        comparisons=comparison_groups(results),
        axis=axis(results["differences"]),
        pooled=pooled_groups(results["pooled"]),
        pooled_axis=axis(results["pooled"]["differences"]),
        error_panels=error_panels(results["arms"]),
        heat=heat_map(results["arms"]),
        named=shaded(named_errors(results["measures"])),
        shown=shown(results),
        right=of_arms(results["measures"], RIGHT),
        grades=of_arms(results["measures"], GRADE),
        listed=told_in_lists(results["measures"]),
        win_tables=[win_table(judge) for judge in results["wins"]],
        kinds={arm["name"]: arm["kind"] for arm in results["arms"]},
        interval_name=interval_name(results["arms"]),
        single=all(arm["samples"] <= 1 for arm in results["arms"]),
        before=_only(results["arms"], "corrupted"),
        has=has,
        sections=named_sections(has),
        floor=floor,
        ceiling=ceiling,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=embedded({**data, **plots}),
    )  # fmt: skip


def policy(style: str, script: str = "") -> str:
    """The content security policy of a page with this style and this script: nothing else may run or be fetched."""
    return "; ".join([
        "default-src 'none'",
        *([f"script-src {_hash(script)}"] if script else []),
        f"style-src {_hash(style)}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ])  # fmt: skip


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def embedded(value: Any) -> Markup:
    """JSON that no HTML parser can find an end of script, a comment or an entity in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("eval.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "points": points, "p_text": p_text, "at": at, "duration": duration}
    made.filters |= {"interval": interval, "number": number, "numbers": numbers, "signed": signed}
    made.filters |= {"kept_cells": kept_cells, "rater_cells": rater_cells}
    made.globals |= {"where": where, "SIGNIFICANT": SIGNIFICANT, "FEW": FEW}
    return made


@cache
def assets(names: Sequence[str]) -> str:
    """Style sheets or scripts of the page, one after the other."""
    templates = environment()
    assert templates.loader is not None
    return "\n".join(templates.loader.get_source(templates, name)[0] for name in names)


def at(value: float, low: float = 0.0, high: float = 1.0) -> str:
    """Where a value stands on an axis, as SVG wants it: percent of the width."""
    return f"{100 * (value - low) / (high - low):.2f}%"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02d} s" if minutes else f"{rest} s"


def where(*conditions: tuple[str, str], arms: Sequence[str] = ()) -> str:
    """A link into the browser of prompts: conditions such as ("passes", "tdpo2 / granular"), and the arms to show."""
    shown = list(dict.fromkeys([*arms, *(arm for _, arm in conditions)]))
    pairs = [("if", f"{what}:{arm}") for what, arm in conditions] + [("arm", arm) for arm in shown]
    return "#" + urlencode(pairs, quote_via=quote)


def _rate_of(arms: Sequence[Arm], kind: str) -> float | None:
    """Where there is one arm of the kind: runs that are compared may each have their own."""
    found = [arm["pass_rate"] for arm in arms if arm["kind"] == kind]
    return found[0] if len(found) == 1 else None


def _only(arms: Sequence[Arm], kind: str) -> str:
    """The name of the one arm of a kind; empty where there are none or several."""
    found = [arm["name"] for arm in arms if arm["kind"] == kind]
    return found[0] if len(found) == 1 else ""


def about(arms: Sequence[Evidence], seed: int) -> list[tuple[str, str]]:
    """What was done, when and with what. From manifests, never from the clock: the page can be made again."""
    scoring, generation = arms[0].scoring, arms[0].generation
    made = max(arm.scoring.created for arm in arms)
    machine = scoring.hardware
    facts = [
        *(answering(generation) if generation else []),
        ("Seed", str(seed)),
        ("Scored", made.replace("T", " ").replace("Z", " UTC")),
        ("Commit", scoring.git_commit[:12] + ("+" if scoring.git_commit.endswith("+changes") else "")),
        ("Machine", f"{machine.get('machine')}, {machine.get('cores')} cores" if machine else ""),
    ]
    return [(name, value) for name, value in facts if value]


def answering(generation: Manifest) -> list[tuple[str, str]]:
    """What was answered, and how."""
    prompts = next(item for item in generation.inputs if item.role == "prompts")
    sampling, samples = generation.config.get("temperature", 0.0), generation.config.get("samples", 1)
    how = "greedy" if not sampling else f"temperature {sampling:g}"
    return [
        ("Prompts", f"{prompts.name}.{prompts.split}" if prompts.split else prompts.name),
        ("Answers", how if samples == 1 else f"{samples} for each prompt, {how}"),
    ]


def comparison_groups(results: Results) -> list[dict[str, Any]]:
    """The differences in two groups: what the mask changes, then all others, the largest first."""
    masks = mask_comparisons(results)
    return _groups("What the mask changes, under the same loss and seed", masks, results["differences"])


def pooled_groups(pooled: Pooled) -> list[dict[str, Any]]:
    """The same for the differences over seeds."""
    masks = oriented(pooled["differences"], {arm["name"]: arm for arm in pooled["arms"]})
    return _groups("What the mask changes, over seeds, under the same loss", masks, pooled["differences"])


def _groups(title: str, masks: Sequence[Compared], differences: Sequence[Compared]) -> list[dict[str, Any]]:
    known = {frozenset((found["a"], found["b"])) for found in masks}
    others = [found for found in differences if frozenset((found["a"], found["b"])) not in known]
    others.sort(key=lambda found: -abs(found["difference"]))
    groups = [
        {"title": title, "rows": masks, "open": True},
        {"title": f"{'All other' if masks else 'All'} comparisons", "rows": others, "open": not masks},
    ]
    return [group for group in groups if group["rows"]]


def axis(differences: Sequence[Compared]) -> dict[str, Any]:
    """One axis for all differences: both ends are multiples of `STEP`, zero lies within."""
    ends = [end for found in differences for end in found["ci"]] or [0.0]
    low = min(math.floor(min(ends) / STEP), -1)
    high = max(math.ceil(max(ends) / STEP), 1)
    stride = math.ceil((high - low) / 8)
    ticks = [tick * STEP for tick in range(low, high + 1) if tick % stride == 0]
    return {"low": low * STEP, "high": high * STEP, "ticks": ticks}


def error_panels(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """One panel for each error type that any arm shows, with the arms' counts; the most frequent type first."""
    totals = {name: sum(arm["errors_by_type"][name] for arm in arms) for name in arms[0]["errors_by_type"]}
    before = next((arm for arm in arms if arm["name"] == _only(arms, "corrupted")), None)
    return [
        {
            "type": name,
            "before": before["errors_by_type"][name] if before else None,
            "arms": [(arm, arm["errors_by_type"][name], arm["unscored_by_type"][name]) for arm in arms],
        }
        for name in by_frequency(totals)
    ]
