"""How easily a judge was talked round, and how verdicts came about, from manifests, as tables of `kintsugi inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kintsugi.inspection import Sheet
from pipeline.store import Manifest

VERDICTS = {
    "pairs": "pairs of answers",
    "decided": "one of the two wins",
    "ties": "tie",
    "identical": "... because both are the same text",
    "orders_disagree": "the two orders disagree",
    "unjudged": "not judged",
}


FLIPS = {
    "answers": (
        "A flip is another verdict on an answer once an injection is appended to it: from wrong to right, of the "
        "answers that the judge found wrong, or from right to wrong, of the others.",
        ("wrong to right", "right to wrong"),
    ),
    "pairs": (
        "A flip is another verdict on two answers once an injection is appended to one of them: that one fares better, "
        "of those that had not won, or worse, of those that had not lost. Each pair was shown in both orders.",
        ("fares better", "fares worse"),
    ),
}
"""What a flip is, by what the judge was asked about, and the heads of its two directions."""


def injection_sheets(manifest: Manifest) -> list[Sheet]:
    """The flips of each injection, the most successful first, and of all."""
    told = manifest.facts["injections"]
    order = sorted(told["by_injection"].items(), key=lambda item: (-(item[1]["flip_rate"] or 0), item[0]))
    rows = tuple(_flips(name, rates) for name, rates in [*order, ("all", told)])
    meaning, directions = FLIPS[manifest.config.get("asks", "answers")]
    return [Sheet("Injections", meaning, ("injection", "flip rate", "judged", *directions), rows)]


def _flips(name: str, rates: Mapping[str, Any]) -> tuple[str, ...]:
    share = "" if rates["flip_rate"] is None else f"{rates['flip_rate']:.0%}"
    return (
        name,
        share,
        f"{rates['judged']} of {rates['trials']}",
        f"{rates['to_yes']} of {rates['wrong_without']}",
        f"{rates['to_no']} of {rates['right_without']}",
    )


def verdict_sheets(manifest: Manifest) -> list[Sheet]:
    """What became of the pairs."""
    told = manifest.facts["verdicts"]
    rows = tuple((words, f"{told[name]:,}") for name, words in VERDICTS.items())
    return [Sheet("Verdicts", "Each pair was shown in both orders.", ("pairs", "number"), rows)]
