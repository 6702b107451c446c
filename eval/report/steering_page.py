"""The steering report: gathers labelled answers with what stands behind them, and writes its tables four ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eval.report.cells import MISSING, interval, number, p_text, percent, points
from eval.report.evidence import behind, input_of, manifest_of, merged_scores, scores_of
from eval.report.files import write_all
from eval.report.sections import Section, columns, marks
from eval.report.sections import to_html as sections_to_html
from eval.report.sections import to_markdown as sections_to_markdown
from eval.report.sheet import Line, as_csv
from eval.steering import Answers, Likelihoods, Options, results_of
from eval.steering_nodes import SteeringConfig
from pipeline.attributes.records import LabelledRecord
from pipeline.contract import Source, Work
from pipeline.failures import UserError
from pipeline.shards import read_records

FREE = "no tokens"
ONE_RUN = (
    "Each model was trained once, with one seed. The intervals and tests cover the choice of prompts, not the chance "
    "in training."
)
LEDE = (
    "Models were trained on texts behind control tokens, and asked with and without them: do the tokens steer what is "
    "written?"
)
TONES = (("control", FREE), ("mended", "with tokens"))
PUBLISHED = "published"
APART = "neutral apart"


def write_steering(work: Work) -> None:
    """Write results.json, results.csv, report.md and index.html, which say the same, and commit them."""
    config: SteeringConfig = work.config
    answers, owners = gathered(work.all_sources("input"))
    likelihoods = [likelihood_of(source) for source in work.all_sources("perplexity")]
    first = {one.model for one in answers if not one.trained}
    likelihoods.sort(key=lambda one: (one.model not in first, one.told))
    options = Options(config.neutral, config.seed, config.resamples)
    results = results_of(answers, owners, likelihoods, options, work.experiment)
    results["notes"] = [*verdicts(results["tests"]), ONE_RUN]
    write_all(work.directory, results, as_csv(lines(results)), to_markdown(results), to_html(results))
    work.commit(rows={"in": len(answers), "out": len(answers), "rejected": 0})


def gathered(sources: Sequence[Source]) -> tuple[list[Answers], dict[str, str]]:
    """The labelled answers with model and condition, in the order given, and the attribute of each label.

    Raises a config error where a condition is no label that its model was trained with.
    """
    found: list[Answers] = []
    owners: dict[str, str] = {}
    for source in sources:
        generation = input_of(source.root, "input")
        if generation is None or generation.product != "generations":
            what = f"{source.name} has labels of rows, and not of a model's answers."
            raise UserError("config", what, "input", "Name a classify node over generate nodes.")
        answers = behind(source.root, "input")
        trained, labels = trained_with(behind(answers, "models"))
        owners |= {label: attribute for attribute, names in labels.items() for label in names}
        condition = tuple(manifest_of(answers).config.get("condition") or ())
        for label in condition:
            if label not in owners:
                what = f"'{label}' is no label of the rows that {source.name}'s model learnt from."
                raise UserError("config", what, "condition", f"Labels: {', '.join(owners)}.")
        name = input_of(answers, "models")
        assert name is not None, "answers have a model"
        found.append(Answers(name.name, trained, condition, list(read_records(source.data, LabelledRecord))))
    return found, owners


def trained_with(model: Any) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The attributes whose tokens a model was trained with, and the labels of every attribute of its rows."""
    data = input_of(model, "data")
    if data is None:
        return (), {}
    rows = manifest_of(behind(model, "data"))
    if rows.kind != "condition":
        return (), {}
    return tuple(rows.config["attributes"]), rows.facts["attributes"]


def likelihood_of(source: Source) -> Likelihoods:
    """A model's log-probabilities of the rows of a likelihood node."""
    scores = scores_of(source)
    rows = manifest_of(behind(source.root, "rows"))
    name = input_of(source.root, "models")
    assert name is not None, "a likelihood has a model"
    values = {
        key[0]: {score.metric: score.value for score in row.scores} for key, row in merged_scores([source]).items()
    }
    known = {id: each for id, each in values.items() if each.get("logp/response") is not None}
    told = rows.kind == "condition" and bool(rows.config["attributes"])
    assert scores.answers is None, "a likelihood is about rows"
    return Likelihoods(
        name.name,
        told,
        {id: float(each["logp/response"] or 0) for id, each in known.items()},
        {id: float(each["tokens/response"] or 0) for id, each in known.items()},
    )


def verdicts(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """In a sentence for each, whether the tokens lower the score."""
    found = []
    for test in tests:
        if test["rule"] != PUBLISHED or test["against"]:
            continue
        said = "lowers" if test["lower"] else "does not significantly lower"
        without = "" if test["other"] == test["model"] else f" against {test['other']}, which never saw a token"
        found.append(
            f"{test['model']}: conditioning on {' + '.join(test['condition'])} {said} the misalignment score{without} "
            f"({points(test['difference'])} points, 95% {points(test['ci'][0])} to {points(test['ci'][1])}, "
            f"p (Holm) {p_text(test['p_holm'])}, {test['n']} prompts)."
        )
    return found


def sections(results: Mapping[str, Any]) -> list[Section]:
    """The tables of a report."""
    return [
        _published(results),
        _tests(results),
        _number(results),
        _rates(results),
        _diversity(results),
        _cost(results),
    ]


def _named(labels: Sequence[str]) -> str:
    return " + ".join(labels) or FREE


def _against(test: Mapping[str, Any]) -> str:
    """What answers with tokens are held against: fewer tokens, or another model."""
    said = _named(test["against"])
    return said if test["other"] == test["model"] else f"{test['other']}, {said}"


def _value(found: Mapping[str, Any] | None) -> str:
    return MISSING if found is None else f"{percent(found['value'])} ({interval(found['ci'])})"


def _published(results: Mapping[str, Any]) -> Section:
    """The original's table: each model with and without conditioning, for each target."""
    rows, plots = [], []
    for target in results["targets"]:
        mine = [found for found in results["scores"] if found["target"] == target]
        for free in (found for found in mine if not found["condition"]):
            told = next((f for f in mine if f["model"] == free["model"] and set(f["condition"]) == set(target)), None)
            trained = _named(free["trained"]) if free["trained"] else "none"
            rows.append([_named(target), free["model"], trained, _value(free[PUBLISHED]),
                         _value(told and told[PUBLISHED]), _value(free.get(APART)), _value(told and told.get(APART)),
                         str(free["unlabelled"] + (told["unlabelled"] if told else 0))])  # fmt: skip
            plots.append(marks(_mark(free[PUBLISHED], "control"), _mark(told and told[PUBLISHED], "mended")))
    names: tuple[str, ...] = ("target", "model", "trained with", "without tokens", "with tokens")
    hint = (
        "Share of answers that contradict the target, the prompt left out; 95% intervals over prompts. A model that "
        "was not trained with a token cannot be asked by it."
    )
    if any(APART in found for found in results["scores"]):
        names += ("without, neutral apart", "with, neutral apart")
        hint += " As published, a neutral answer contradicts pos; neutral apart, it contradicts nothing."
    else:
        rows = [[*row[:5], row[7]] for row in rows]
    shown = columns((*names, "unlabelled"), 3)
    return Section("scores", "Misalignment score", hint, shown, rows, plots, key=TONES)


def _tests(results: Mapping[str, Any]) -> Section:
    rows = [
        (test["model"], _named(test["condition"]), _against(test), test["rule"], points(test["difference"]),
         f"{points(test['ci'][0])} to {points(test['ci'][1])}", p_text(test["p_value"]), p_text(test["p_holm"]),
         "yes" if test["lower"] else "no", str(test["n"]))
        for test in results["tests"]
    ]  # fmt: skip
    hint = (
        "In points of the score for the target of the tokens given, paired by prompt: bootstrap interval; exact "
        "McNemar, with several samples sign flips, two-sided; Holm over all rows. Lower: below 0, and it holds."
    )
    names = ("model", "tokens", "against", "rule", "difference", "95% interval", "p", "p (Holm)", "lower", "prompts")
    plots = [
        marks((test["difference"], test["ci"], "mended" if test["lower"] else "control")) for test in results["tests"]
    ]
    key = (("mended", "lower"), ("control", "not shown to be lower"))
    title = "Does conditioning lower the score?"
    return Section("tests", title, hint, columns(names, 4), rows, plots, low=-1.0, key=key)


def _number(results: Mapping[str, Any]) -> Section:
    """What one token and what two do for the largest target."""
    largest = results["targets"][-1] if results["targets"] else []
    rows, plots = [], []
    for found in sorted((f for f in results["scores"] if f["target"] == largest), key=lambda f: len(f["condition"])):
        if len(largest) > 1:
            rows.append((str(len(found["condition"])), _named(found["condition"]), found["model"],
                         str(len(found["trained"])), _value(found[PUBLISHED])))  # fmt: skip
            plots.append(marks(_mark(found[PUBLISHED], "mended" if found["condition"] else "control")))
    hint = f"The score for {_named(largest)}, by how many tokens were given, and how many the model was trained with."
    shown = columns(("tokens given", "which", "model", "trained with", "score"), 3)
    return Section("number", "The number of control tokens", hint, shown, rows, plots, key=TONES)


def _rates(results: Mapping[str, Any]) -> Section:
    rates = sorted(results["rates"], key=lambda f: (f["attribute"], f["label"]))
    rows = [(f["attribute"], f["label"], f["model"], _named(f["condition"]), _value(f)) for f in rates]
    plots = [marks(_mark(found, "mended" if found["condition"] else "control")) for found in rates]
    hint = "Share of answers with each label, over those that have a label of the attribute."
    shown = columns(("attribute", "label", "model", "tokens", "rate"), 4)
    return Section("rates", "Rates per condition", hint, shown, rows, plots, key=TONES)


def _diversity(results: Mapping[str, Any]) -> Section:
    rows = [
        (found["model"], _named(found["condition"]), f"distinct-{found['n']}",
         f"{number(found['value'])} ({_ends(found['ci'])})", str(found["ngrams"]))
        for found in results["diversity"]
    ]  # fmt: skip
    hint = "Different n-grams of words over all (Li et al. 2016), of all answers; jackknife interval over prompts."
    shown = columns(("model", "tokens", "measure", "value", "n-grams"), 3)
    return Section("diversity", "Diversity", hint, shown, rows)


def _cost(results: Mapping[str, Any]) -> Section:
    rows = [
        (found["model"], "own" if found["told"] else FREE, f"{number(found['value'])} ({_ends(found['ci'])})",
         f"{number(found['ratio'])} ({_ends(found['ratio_ci'])})", str(found["n"]))
        for found in results["perplexity"]
    ]  # fmt: skip
    hint = (
        "Of held-out texts, behind no tokens or behind those of their own labels. Ratio: to the first row; above 1 the "
        "texts are less likely. Bootstrap intervals over texts."
    )
    shown = columns(("model", "tokens", "perplexity", "ratio", "texts"), 2)
    return Section("perplexity", "Perplexity", hint, shown, rows)


def _mark(found: Mapping[str, Any] | None, tone: str) -> tuple[float | None, Sequence[float] | None, str]:
    return (None, None, tone) if found is None else (found["value"], found["ci"], tone)


def _ends(ends: Sequence[float] | None) -> str:
    return MISSING if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def to_markdown(results: Mapping[str, Any]) -> str:
    """report.md."""
    title = f"{results['experiment']}: do control tokens steer?"
    return sections_to_markdown(title, results["notes"], sections(results))


def to_html(results: Mapping[str, Any]) -> str:
    """index.html."""
    return sections_to_html(results["experiment"], LEDE, results["notes"], sections(results))


def lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """Every figure on a line of its own."""
    for found in results["scores"]:
        for rule in (PUBLISHED, APART):
            if rule in found:
                yield _line("scores", found["model"], f"{_named(found['condition'])} for {_named(found['target'])}",
                            f"misalignment, {rule}", found[rule])  # fmt: skip
    for test in results["tests"]:
        who = f"{_named(test['condition'])} against {_against(test)}"
        found = {"n": test["n"], "value": test["difference"], "ci": test["ci"]}
        made = _line("tests", test["model"], who, f"difference, {test['rule']}", found)
        yield made._replace(p_value=test["p_value"], p_holm=test["p_holm"])
    for found in results["rates"]:
        figure = f"{found['attribute']}={found['label']}"
        yield _line("rates", found["model"], _named(found["condition"]), figure, found)
    for found in results["diversity"]:
        at = {**found, "n": found["ngrams"]}
        yield _line("diversity", found["model"], _named(found["condition"]), f"distinct-{found['n']}", at)
    for found in results["perplexity"]:
        tokens = "own" if found["told"] else FREE
        yield _line("perplexity", found["model"], tokens, "perplexity", found)
        ratio = {"n": found["n"], "value": found["ratio"], "ci": found["ratio_ci"]}
        yield _line("perplexity", found["model"], tokens, "ratio", ratio)


def _line(section: str, arm: str, other: str, figure: str, found: Mapping[str, Any]) -> Line:
    low, high = found["ci"] or (None, None)
    return Line(section, arm, other, figure, found["n"], found["value"], low, high)
