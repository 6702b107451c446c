"""Whether control tokens steer: pure functions from labelled answers to figures with intervals and tests.

**Misalignment score**, as the study with Detoxify and VADER publishes it: the share of generated texts that contradict
the condition. A text contradicts a target such as (nontoxic, pos) where any of its labels is another one. For an
unconditioned model it is measured against the same target, which says what the tokens change.

The unit is the prompt: with several samples a prompt's value is their mean, and intervals and tests are over prompts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eval.statistics import Estimate, bootstrap_mean, holm, paired_bootstrap, perplexity, wilson
from pipeline.attributes.records import LabelledRecord

Target = frozenset[str]
"""The labels that a text should have, of an attribute each."""
Rule = Literal["published", "neutral apart"]
NGRAMS = (1, 2, 3)
LOWER = 0.05
"""The adjusted p-value below which a lower score is taken to be one."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Answers:
    """One set of labelled answers.

    Attributes:
        model: the model's name.
        trained: the attributes whose tokens it was trained with, in order.
        condition: the labels whose tokens stood before the prompts; empty without.
        rows: the answers to the prompts.
    """

    model: str
    trained: tuple[str, ...]
    condition: tuple[str, ...]
    rows: Sequence[LabelledRecord]

    @property
    def target(self) -> Target:
        return frozenset(self.condition)


@dataclass(frozen=True)
class Likelihoods:
    """Log-probabilities and tokens of held-out texts by id, for one model; `told`: whether with their tokens."""

    model: str
    told: bool
    logps: Mapping[str, float]
    tokens: Mapping[str, float]


@dataclass(frozen=True)
class Options:
    """How figures are made: labels that contradict nothing by attribute, and the bootstrap."""

    neutral: Mapping[str, Sequence[str]]
    seed: int
    resamples: int


def results_of(
    answers: Sequence[Answers],
    owners: Mapping[str, str],
    likelihoods: Sequence[Likelihoods],
    options: Options,
    experiment: str,
) -> dict[str, Any]:
    """The whole of results.json. `owners` names the attribute of each label."""
    targets = targets_of(answers)
    return {
        "experiment": experiment,
        "targets": [ordered(target, owners) for target in targets],
        "scores": [
            score(one, target, owners, options)
            for target in targets
            for one in answers
            if one.target <= target
        ],
        "tests": tests(answers, owners, options),
        "rates": [rate for one in answers for rate in rates(one, owners, options)],
        "diversity": [found for one in answers for found in diversity(one)],
        "perplexity": costs(likelihoods, options),
        "bootstrap": {"seed": options.seed, "resamples": options.resamples},
        "notes": [],
    }  # fmt: skip


def targets_of(answers: Iterable[Answers]) -> list[Target]:
    """What was asked for with tokens, single labels first."""
    found = {one.target for one in answers if one.condition}
    return sorted(found, key=lambda target: (len(target), sorted(target)))


def ordered(target: Iterable[str], owners: Mapping[str, str]) -> list[str]:
    """Labels in the order of the attributes that they belong to."""
    attributes = list(dict.fromkeys(owners.values()))
    return sorted(target, key=lambda label: attributes.index(owners[label]))


def misaligned(
    row: LabelledRecord, target: Target, owners: Mapping[str, str], neutral: Mapping[str, Sequence[str]]
) -> float | None:
    """1 where a label contradicts the target, 0 where none does, None where a label that would decide is missing."""
    labels = {label.attribute: label.name for label in row.labels}
    wanted = {owners[label]: label for label in target}
    wrong = [labels[attribute] not in (None, label, *neutral.get(attribute, ())) for attribute, label in wanted.items()]
    if any(wrong):
        return 1.0
    return None if any(labels[attribute] is None for attribute in wanted) else 0.0


def by_prompt(
    one: Answers, target: Target, owners: Mapping[str, str], neutral: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """The mean over the samples of each prompt; prompts of which none could be judged are left out."""
    found: dict[str, list[float]] = {}
    for row in one.rows:
        value = misaligned(row, target, owners, neutral)
        if value is not None:
            found.setdefault(row.id, []).append(value)
    return {id: sum(values) / len(values) for id, values in found.items()}


def rules(target: Target, owners: Mapping[str, str], options: Options) -> dict[Rule, Mapping[str, Sequence[str]]]:
    """The published rule, and the one that leaves neutral labels alone, where the target has any."""
    if any(options.neutral.get(owners[label]) for label in target):
        return {"published": {}, "neutral apart": options.neutral}
    return {"published": {}}


def score(one: Answers, target: Target, owners: Mapping[str, str], options: Options) -> dict[str, Any]:
    """The misalignment of one set of answers to a target, by every rule that says something of its own."""
    judged = {
        rule: list(by_prompt(one, target, owners, neutral).values())
        for rule, neutral in rules(target, owners, options).items()
    }
    known = sum(misaligned(row, target, owners, {}) is not None for row in one.rows)
    return {
        "model": one.model,
        "trained": list(one.trained),
        "target": ordered(target, owners),
        "condition": list(one.condition),
        "answers": len(one.rows),
        "unlabelled": len(one.rows) - known,
        **{rule: _estimate(values, options) for rule, values in judged.items()},
    }


def tests(answers: Sequence[Answers], owners: Mapping[str, str], options: Options) -> list[dict[str, Any]]:
    """Answers with tokens against those of the same model without, against those with one token less, and against
    those of models that never saw a token: a model trained on tokens is hardly itself without them.

    Paired by prompt; two-sided p-values, Holm's correction over all of them.
    """
    found = []
    for one in (one for one in answers if one.condition):
        for other in answers:
            fewer = other.model == one.model and other.target < one.target
            if (fewer and len(other.condition) in (0, len(one.condition) - 1)) or not other.trained:
                found += _compared(one, other, owners, options)
    for test, p_holm in zip(found, holm([test["p_value"] for test in found]), strict=True):
        test["p_holm"] = p_holm
        test["lower"] = bool(test["difference"] < 0 and p_holm < LOWER)
    return found


def _compared(one: Answers, other: Answers, owners: Mapping[str, str], options: Options) -> list[dict[str, Any]]:
    made = []
    for rule, neutral in rules(one.target, owners, options).items():
        told, free = (by_prompt(each, one.target, owners, neutral) for each in (one, other))
        shared = [id for id in told if id in free]
        if not shared:
            continue
        a, b = [told[id] for id in shared], [free[id] for id in shared]
        found = paired_bootstrap(a, b, seed=options.seed, resamples=options.resamples)
        made.append(
            {
                "model": one.model,
                "target": ordered(one.target, owners),
                "condition": list(one.condition),
                "other": other.model,
                "against": list(other.condition),
                "rule": rule,
                "n": found.n,
                "difference": found.mean,
                "ci": [found.low, found.high],
                "p_value": found.p_value,
            }
        )
    return made


def rates(one: Answers, owners: Mapping[str, str], options: Options) -> list[dict[str, Any]]:
    """The share of answers with each label, over those that have a label of its attribute."""
    found = []
    for attribute in dict.fromkeys(label.attribute for row in one.rows for label in row.labels):
        names = sorted({str(_label(row, attribute)) for row in one.rows if _label(row, attribute)})
        known = {name for name, owner in owners.items() if owner == attribute}
        for name in sorted({*names, *known}):
            shares = _shares(one, attribute, name)
            if shares:
                value = _estimate(shares, options)
                found.append({"model": one.model, "condition": list(one.condition), "attribute": attribute,
                              "label": name, **value})  # fmt: skip
    return found


def _shares(one: Answers, attribute: str, name: str) -> list[float]:
    by_id: dict[str, list[float]] = {}
    for row in one.rows:
        label = _label(row, attribute)
        if label is not None:
            by_id.setdefault(row.id, []).append(float(label == name))
    return [sum(values) / len(values) for values in by_id.values()]


def _label(row: LabelledRecord, attribute: str) -> str | None:
    return next(label.name for label in row.labels if label.attribute == attribute)


def _estimate(values: Sequence[float], options: Options) -> dict[str, Any]:
    """A mean with its interval over prompts: Wilson's where each prompt is right or wrong, else the bootstrap."""
    if not values:
        return {"value": None, "ci": None, "n": 0}
    found = bootstrap_mean(values, seed=options.seed, resamples=options.resamples)
    if set(values) <= {0.0, 1.0}:
        found = Estimate(found.value, *wilson(int(sum(values)), len(values)), len(values))
    return {"value": found.value, "ci": [found.low, found.high], "n": found.n}


def diversity(one: Answers) -> list[dict[str, Any]]:
    """distinct-n for n = 1, 2, 3 (Li et al. 2016, arXiv 1510.03055): different n-grams over all n-grams of all answers.

    It falls with the number of words, so only sets of like size compare. The interval is the delete-one jackknife's
    over prompts: a bootstrap repeats texts, and so would always find them less diverse.
    """
    words: dict[str, list[list[str]]] = {}
    for row in one.rows:
        words.setdefault(row.id, []).append(_WORD.findall(row.response.lower()))
    found = []
    for n in NGRAMS:
        value, ci, total = distinct([_ngrams(texts, n) for texts in words.values()])
        found.append({"model": one.model, "condition": list(one.condition), "n": n, "value": value, "ci": ci,
                      "ngrams": total})  # fmt: skip
    return found


def _ngrams(texts: Sequence[Sequence[str]], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[start : start + n]) for text in texts for start in range(len(text) - n + 1))


def distinct(prompts: Sequence[Counter[tuple[str, ...]]]) -> tuple[float | None, list[float] | None, int]:
    """Different over all n-grams, its jackknife interval, and how many n-grams there are.

    Without prompt i the different ones are fewer by those that no other prompt has (Efron and Tibshirani 1993, chapter
    11: the standard error is sqrt((n - 1) / n * sum (x_i - mean)^2)).
    """
    total: Counter[tuple[str, ...]] = sum(prompts, Counter())
    size, kinds = total.total(), len(total)
    if not size:
        return None, None, 0
    value = kinds / size
    left = []
    for grams in prompts:
        rest = size - grams.total()
        lost = sum(total[gram] == count for gram, count in grams.items())
        left += [(kinds - lost) / rest] if rest else []
    if len(left) < 2:
        return value, None, size
    mean = sum(left) / len(left)
    error = ((len(left) - 1) / len(left) * sum((each - mean) ** 2 for each in left)) ** 0.5
    return value, [max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error)], size


def costs(found: Sequence[Likelihoods], options: Options) -> list[dict[str, Any]]:
    """Perplexity of held-out texts, and its ratio to that of the first model, which is to be the one without tokens.

    The ratio exp(-(sum of log p - sum of log p') / tokens) has its bootstrap interval over texts, each with both sums.
    """
    made = []
    for one in found:
        ids = [id for id in one.logps if all(id in other.logps for other in found)]
        tokens = [one.tokens[id] for id in ids]
        value = perplexity([one.logps[id] for id in ids], tokens, seed=options.seed, resamples=options.resamples)
        over = [one.logps[id] - found[0].logps[id] for id in ids]
        ratio = perplexity(over, tokens, seed=options.seed, resamples=options.resamples)
        made.append({"model": one.model, "told": one.told, "value": value.value, "ci": [value.low, value.high],
                     "ratio": ratio.value, "ratio_ci": [ratio.low, ratio.high], "n": value.n})  # fmt: skip
    return made
