"""The node kinds of control tokens: sentences, classify and condition. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError
from pipeline.llm.nodes import refuse_unknown_types

LABELLED = "labelled"
"""The product of `classify`: texts with their labels."""

READS = {
    "model": ("detoxify", "transformers"),
    "threshold": ("detoxify", "transformers"),
    "output": ("transformers",),
    "error_types": ("errors",),
}
"""Which classifiers read a key of an attribute."""


class SentencesConfig(NodeConfig):
    """Splits plain texts into sentences, cleans them, and keeps those of a sensible length."""

    kind: Literal["sentences"]
    input: str = Field(description="The texts: rows of a source with `format: text`, or a selection of them.")
    min_chars: int = Field(default=20, gt=0, description="Characters of a sentence at least.")
    max_chars: int = Field(default=300, gt=0, description="Characters of a sentence at most.")
    limit: int | None = Field(default=None, gt=0, description="Texts taken from the input; all by default.")
    max_rejected: float = Field(default=0.5, ge=0, le=1, description="Share of left-out sentences that is put up with.")
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars {self.min_chars} is more than max_chars {self.max_chars}")
        return self


class Sentences(NodeKind):
    """A row for each sentence; what is left out stands under rejected/. Training adds the end of text."""

    name = "sentences"
    product = "rows"
    version = 1
    Config = SentencesConfig

    def inputs(self, config: SentencesConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",))]

    def outside(self, config: SentencesConfig, inside: frozenset[str]) -> dict[str, str]:
        return {"syntok": installed("syntok")}

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.attributes.making import make_sentences

        for work in works:
            make_sentences(work)


class Attribute(BaseModel):
    """One thing to say of a text, and the classifier that says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["vader", "detoxify", "transformers", "errors", "explained"] = Field(
        description="`vader`: sentiment `pos`, `neu` or `neg`, by the lexicon that is shipped. `detoxify`: `toxic` or "
        "`nontoxic`. `transformers`: any sequence classifier of Hugging Face. `errors`: which error an answer has, "
        "`clean` or `err:off-by-one`; one that fails its tests otherwise is `err:other`. `explained`: whether its "
        "code has a comment or a docstring, else `bare`."
    )
    model: str | None = Field(
        default=None,
        description="For networks: a directory or a Hugging Face name, OWNER/NAME[@REVISION]; for `detoxify` the "
        "published one by default.",
    )
    output: str | None = Field(
        default=None,
        description="For `transformers`: the one class that is asked for, `joy` or `non-joy`; by default the likeliest "
        "class is the label.",
    )
    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="For networks: the chance above which it is the class asked for. By default 0.5, for `detoxify` "
        "the 0.001 of the published study.",
    )
    error_types: list[str] = Field(
        default_factory=list, description="For `errors`: the error types to look for, in this order; all by default."
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        """A key that would be read by nobody is refused."""
        for key, readers in READS.items():
            if getattr(self, key) and self.by not in readers:
                raise ValueError(f"'{key}' is for {' and '.join(readers)}, and {self.by} does not read it")
        if self.by == "transformers" and not self.model:
            raise ValueError("transformers needs a model: a directory or a Hugging Face name")
        if self.by == "transformers" and self.threshold and not self.output:
            raise ValueError("a threshold goes with an output, the class that is asked for")
        return self


class ClassifyConfig(NodeConfig):
    """Labels every text by classifiers: rows before training, answers after it; one node for each input."""

    kind: Literal["classify"]
    input: list[str] | str = Field(
        description="Q&A rows, sentences, corrupted rows (the good answer and the bad one are a text each), or answers "
        "of models; a name of several nodes means all of them."
    )
    attributes: Annotated[dict[str, Attribute], Field(min_length=1)] = Field(
        description="What is to be said of each text, by a name: `{sentiment: {by: vader}}`. Any number of them."
    )
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    resources: Resources = Resources()


class Classify(NodeKind):
    """Texts with a label for each attribute; where a classifier cannot tell there is none."""

    name = "classify"
    product = LABELLED
    version = 1
    Config = ClassifyConfig
    fan_out = "input"

    def inputs(self, config: ClassifyConfig) -> list[Reference]:
        names = [config.input] if isinstance(config.input, str) else config.input
        return [Reference("input", name, ("rows", "generations")) for name in names]

    def outside(self, config: ClassifyConfig, inside: frozenset[str]) -> dict[str, str]:
        found = {}
        for name, attribute in config.attributes.items():
            refuse_unknown_types(attribute.error_types, "attributes")
            if attribute.by == "vader":
                found["vaderSentiment"] = installed("vaderSentiment")
            if attribute.model:
                found[f"attributes.{name}.model"] = _fingerprint(attribute.model)
        return found

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.attributes.making import make_labels

        for work in works:
            make_labels(work)


def _fingerprint(model: str) -> str:
    """What identifies a classifier: its files, or its Hugging Face name. A config error if it is neither."""
    from pipeline.model_files import check_model_directory, directory_hash

    if Path(model).is_dir():
        check_model_directory(Path(model))
        return directory_hash(Path(model))
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return model
    what = f"'{model}' is no model directory and no Hugging Face name."
    raise UserError("config", what, "attributes", "Name a directory with config.json, or OWNER/NAME.")


class ConditionConfig(NodeConfig):
    """Puts control tokens of labels before texts, to be trained on; a model then learns to write what a token says."""

    kind: Literal["condition"]
    input: str = Field(description="The labelled texts.")
    attributes: list[str] = Field(
        description="The attributes whose tokens stand before a text, in this order; `[]` for none, the control."
    )
    omit: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of texts without their tokens, so that the model also learns to write without; drawn by "
        "the seed and the text's id.",
    )
    max_rejected: float = Field(
        default=0.05, ge=0, le=1, description="Share of texts that lack a label which is put up with."
    )
    limit: int | None = Field(default=None, gt=0, description="Texts taken from the input; all by default.")
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.attributes)) < len(self.attributes):
            raise ValueError("an attribute is named twice")
        return self


class Condition(NodeKind):
    """Texts behind their control tokens: rows for `sft`, which extends tokenizer and embeddings, and `likelihood`."""

    name = "condition"
    product = "rows"
    version = 1
    Config = ConditionConfig

    def inputs(self, config: ConditionConfig) -> list[Reference]:
        return [Reference("input", config.input, (LABELLED,))]

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.attributes.making import make_controlled

        for work in works:
            make_controlled(work)


def classifiers_of(config: ClassifyConfig) -> tuple[tuple[str, Any], ...]:
    """The classifiers of a config, under the names of their attributes."""
    return tuple((name, _classifier(attribute)) for name, attribute in config.attributes.items())


def _classifier(attribute: Attribute) -> Any:
    from pipeline.attributes import answers, networks, vader
    from pipeline.errors import ERROR_TYPES

    if attribute.by == "vader":
        return vader.classify
    if attribute.by == "explained":
        return answers.explained
    if attribute.by == "errors":
        return answers.Errors(tuple(attribute.error_types or ERROR_TYPES))
    if attribute.by == "detoxify":
        return networks.detoxify(attribute.model or networks.DETOXIFY, attribute.threshold or networks.TOXIC_ABOVE)
    assert attribute.model is not None, "the config was checked"
    output = (attribute.output.lower(),) if attribute.output else ()
    return networks.Network(attribute.model, output, attribute.threshold or 0.5)
