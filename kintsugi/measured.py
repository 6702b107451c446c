"""What a model was measured to be on held-out rows, from its manifest, as tables of `kintsugi inspect`."""

from __future__ import annotations

from collections.abc import Mapping

from kintsugi.inspection import Sheet
from pipeline.store import Manifest

EVALUATED = "eval/"
BY_TYPE = {
    "rewards/accuracies/{}": "rewards/accuracies",
    "rewards/margins/{}": "rewards/margins",
    "rewards/chosen/inside/{}": "rewards/chosen",
    "rewards/rejected/inside/{}": "rewards/rejected",
    "kl_per_token/chosen/inside/{}": "KL a token, chosen",
    "kl_per_token/rejected/inside/{}": "KL a token, rejected",
}
"""The figures of an error type, with their heads."""


def measured_sheets(manifest: Manifest) -> list[Sheet]:
    """The last figures of a model; no tables where it was trained without `evaluate`."""
    evaluation = manifest.facts.get("evaluation")
    if not evaluation or "figures" not in evaluation:
        return []
    figures = {name.removeprefix(EVALUATED): value for name, value in evaluation["figures"].items()}
    types: dict[str, int] = evaluation.get("by_type", {})
    ofs = {form.format(name) for form in (*BY_TYPE, "kl/chosen/inside/{}", "kl/rejected/inside/{}") for name in types}
    whole = tuple((name, f"{value:.4g}") for name, value in figures.items() if name not in ofs)
    meaning = f"After training, over {evaluation['rows']:,} rows: training/figures.py says what each figure is."
    found = [Sheet("On held-out rows", meaning, ("figure", "value"), whole)]
    return [*found, _by_type(figures, types)] if types and "loss" in figures else found


def _by_type(figures: Mapping[str, float], types: Mapping[str, int]) -> Sheet:
    """Sums are divided by all pairs."""
    rows = tuple(
        (name, f"{count:,}", *(_cell(figures, form.format(name)) for form in BY_TYPE)) for name, count in types.items()
    )
    meaning = (
        "Accuracies and margins are of whole answers, over the pairs that have such a span; rewards and KL are of the "
        "tokens in such spans, rewards as sums divided by all pairs."
    )
    return Sheet("On held-out rows, by error type", meaning, ("type", "pairs", *BY_TYPE.values()), rows)


def _cell(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.4g}" if name in figures else ""
