"""report.md: the results as GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from eval.report import tables as more
from eval.report.cells import (
    MISSING,
    SIGNIFICANT,
    Align,
    compiling,
    damage,
    filled,
    interval,
    interval_name,
    p_text,
    percent,
    plain,
    points,
    table,
)
from eval.report.judged import named_errors, shown, told_in_lists
from eval.report.pooled import Pooled, PooledArm, PooledComparison
from eval.report.results import Arm, Comparison, Results

LONGEST = 12
"""Rows of the table of other differences; results.json has them all."""
MASKS = ("granular", "granular-one-sided", "response", "random")
"""The order in which masks are compared: what knowing *where* buys stands first and is counted as a gain."""

Compared = TypeVar("Compared", Comparison, PooledComparison)


def to_markdown(results: Results) -> str:
    """The report: arms, the differences that the experiment is about, and what to keep in mind."""
    sections = [
        f"# {plain(results['experiment'])}",
        f"{_counted(len(results['arms']), 'arm')} answered the same {_counted(results['n_prompts'], 'prompt')}.",
        *_over_seeds(results["pooled"]),
        *_arms(results),
        *more.judged(results["arms"], results["measures"]),
        *more.passing(results["arms"]),
        *more.efficiency(results["arms"]),
        *_errors(results["arms"]),
        *more.errors_named(named_errors(results["measures"])),
        *_differences(results),
        *more.measured(told_in_lists(results["measures"])),
        *more.win_rates(results["wins"]),
        *more.kl_rewards(results["rewards"]),
        *more.forgotten(results["forgetting"]),
        *more.agreed(results["agreement"]),
        *_notes(results["notes"]),
    ]
    return "\n\n".join(sections) + "\n"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def mask_comparisons(results: Results) -> list[Comparison]:
    """The differences between masks under the same loss and seed, each read in the order of `MASKS`.

    Learning rates may differ: where each arm has its own best one, that is the comparison wanted.
    """
    return oriented(results["differences"], {arm["name"]: arm for arm in results["arms"]})


def oriented(differences: Sequence[Compared], arms: Mapping[str, Any]) -> list[Compared]:
    """Of `differences`, those between arms that differ in their mask alone, each read in the order of `MASKS`."""
    ranks = {name: MASKS.index(arm["mask"]) for name, arm in arms.items() if arm["mask"] in MASKS}
    alike = [
        found
        for found in differences
        if found["a"] in ranks
        and found["b"] in ranks
        and ranks[found["a"]] != ranks[found["b"]]
        and _without_mask(arms[found["a"]]) == _without_mask(arms[found["b"]])
    ]
    read = [found if ranks[found["a"]] < ranks[found["b"]] else _mirrored(found) for found in alike]
    return sorted(read, key=lambda found: (ranks[found["a"]], ranks[found["b"]]))


def _without_mask(arm: Mapping[str, Any]) -> tuple[Any, ...]:
    return arm["loss"], arm["kind"], arm.get("seed")


def _mirrored(found: Compared) -> Compared:
    """The same comparison read from b to a. Only one between two models counts the prompts that each wins alone."""
    low, high = found["ci"]
    turned = {"a": found["b"], "b": found["a"], "difference": -found["difference"], "ci": [-high, -low]}
    won = {"only_a": found.get("only_b"), "only_b": found.get("only_a")} if "only_a" in found else {}
    return cast(Compared, {**found, **turned, **won})


def _arms(results: Results) -> list[str]:
    columns: list[tuple[str, Align]] = [
        ("arm", "left"),
        ("kind", "left"),
        ("learning rate", "right"),
        ("pass rate", "right"),
        ("95% interval", "right"),
        ("errors", "right"),
        ("compiles", "right"),
        ("gap closed", "right"),
        ("broken", "right"),
        ("training", "right"),
    ]
    told = {
        "pass_rate": "Pass rate: share of judged answers that pass their tests, with its 95% "
        f"{interval_name(results['arms'])}.",
        "error_rate": "Errors: share of answers with at least one recognised error.",
        "gap_closed": "Gap closed: 0% is the floor, 100% the ceiling; its interval resamples prompts for all three "
        "models together.",
        "collateral": "Broken: prompts that the corrupted model gets right and this arm wrong.",
    }
    has = shown(results)
    if not any(has.values()):
        return []
    made = table(*filled(columns, [_arm(arm, results) for arm in results["arms"]]))
    return ["## Arms", made, *filter(None, [" ".join(words for name, words in told.items() if has[name])])]


def _arm(arm: Arm, results: Results) -> list[str]:
    name, ends = arm["name"], arm["pass_rate_ci"]
    rate = results["training"][name]["learning_rate"]
    return [
        plain(name),
        arm["kind"],
        MISSING if rate is None else f"{rate:g}",
        MISSING if arm["pass_rate"] is None else f"**{percent(arm['pass_rate'])}**",
        interval(ends),
        percent(arm["error_rate"]),
        compiling(arm),
        percent(arm["gap_closed"]) + (f" ({interval(arm['gap_closed_ci'])})" if arm["gap_closed_ci"] else ""),
        damage(arm),
        MISSING if arm["train_seconds"] is None else f"{arm['train_seconds']:.0f} s",
    ]


def _over_seeds(pooled: Pooled) -> list[str]:
    """Arms over all their seeds, where there are several: the figures to draw conclusions from."""
    if not pooled["arms"]:
        return []
    columns: list[tuple[str, Align]] = [("arm", "left"), ("seeds", "right"), ("mean pass rate", "right")]
    columns += [("95% interval", "right"), ("lowest to highest seed", "right"), ("gap closed", "right")]
    about_masks = oriented(pooled["differences"], {arm["name"]: arm for arm in pooled["arms"]})
    telling = _telling(pooled["differences"], about_masks)
    none = "No two arms of one loss differ in their mask."
    return [
        "## Over seeds",
        table(columns, [_pooled_arm(arm) for arm in pooled["arms"]]),
        "Intervals cover the chance in training as well as the choice of prompts: seeds and prompts are both taken as "
        "draws (t interval of a crossed two-way layout, Hillis 2007). p (Holm): adjusted for all "
        f"{len(pooled['differences'])} comparisons over seeds.",
        *_section("### What the mask changes, over seeds", about_masks, none),
        *_section("### Other differences over seeds that hold after Holm", telling, "None."),
    ]


def _pooled_arm(arm: PooledArm) -> list[str]:
    ends, rates = arm["pass_rate_ci"], arm["pass_rates"]
    return [
        plain(arm["name"]),
        str(len(arm["seeds"])),
        f"**{percent(arm['pass_rate'])}**",
        interval(ends),
        f"{percent(min(rates))} to {percent(max(rates))}" if rates else MISSING,
        percent(arm["gap_closed"]),
    ]


def _errors(arms: Sequence[Arm]) -> list[str]:
    """Answers per arm and error type, for the types that any arm shows; in brackets those that could not be judged."""
    types = sorted({name for arm in arms for name, count in arm["errors_by_type"].items() if count})
    if not types:
        return []
    columns: list[tuple[str, Align]] = [("arm", "left"), *((plain(name), "right") for name in types)]
    rows = [[plain(arm["name"]), *(_count(arm, name) for name in types)] for arm in arms]
    explained = "Answers with each error, for the types that occur; in brackets the answers that could not be judged."
    return ["## Errors by type", table(columns, rows), explained]


def _count(arm: Arm, name: str) -> str:
    unscored = arm["unscored_by_type"][name]
    return f"{arm['errors_by_type'][name]}" + (f" ({unscored})" if unscored else "")


def _differences(results: Results) -> list[str]:
    """What the tests say of every two arms; nothing where a judge stands in for tests."""
    if not shown(results)["pass_rate"]:
        return []
    about_masks = mask_comparisons(results)
    telling = _telling(results["differences"], about_masks)
    count = len(results["differences"])
    explained = (
        "In percentage points of the pass rate, on the same prompts. Interval: 95% paired percentile bootstrap. "
        f"p: exact McNemar; p (Holm): adjusted for all {count} comparisons."
    )
    if all(arm["kind"] == "model" for arm in results["arms"]):
        # Models from outside: nothing is known of how they came to be, so no difference is a matter of masks.
        every = sorted(results["differences"], key=lambda found: -abs(found["difference"]))
        none = "There is one model." if len(results["arms"]) == 1 else "No two models have tests on the same prompts."
        return ["## Differences", explained, *_section("### Between the models", every, none)]
    return [
        "## Differences",
        explained,
        *_section(
            "### What the mask changes, under the same loss and seed",
            about_masks,
            "No two arms of one loss and seed differ in their mask.",
        ),
        *_section("### Other differences that hold after Holm", telling[:LONGEST], "None."),
        *_left_out(len(telling) - LONGEST),
    ]


def _telling(differences: Sequence[Compared], shown: Sequence[Compared]) -> list[Compared]:
    """Those that hold after Holm and are not shown yet, the largest first."""
    known = {frozenset((found["a"], found["b"])) for found in shown}
    others = [found for found in differences if frozenset((found["a"], found["b"])) not in known]
    holding = [found for found in others if found["p_holm"] < SIGNIFICANT]
    return sorted(holding, key=lambda found: -abs(found["difference"]))


def _left_out(count: int) -> list[str]:
    return [f"{count} more hold; `results.json` has them."] if count > 0 else []


def _section(title: str, comparisons: Sequence[Comparison | PooledComparison], none: str) -> list[str]:
    columns: list[tuple[str, Align]] = [
        ("a", "left"),
        ("b", "left"),
        ("a - b", "right"),
        ("95% interval", "right"),
        ("p", "right"),
        ("p (Holm)", "right"),
    ]
    return [title, table(columns, [_comparison(found) for found in comparisons]) if comparisons else none]


def _comparison(found: Comparison | PooledComparison) -> list[str]:
    low, high = found["ci"]
    return [
        plain(found["a"]),
        plain(found["b"]),
        points(found["difference"]),
        f"{points(low)} to {points(high)}",
        p_text(found["p_value"]),
        p_text(found["p_holm"]),
    ]


def _notes(notes: Sequence[str]) -> list[str]:
    return ["## Notes", "\n".join(f"- {plain(note)}" for note in notes)] if notes else []
