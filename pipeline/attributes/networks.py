"""Classifiers that are networks: any Hugging Face sequence classifier, and Detoxify's.

Only safetensors are loaded, and no code of a model's. Shapes: B texts, T tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.attributes.base import Item, Label, named
from pipeline.failures import UserError

DETOXIFY = "unitary/toxic-bert"
"""Detoxify's `original` model (Hanu and Unitary team 2020, github.com/unitaryai/detoxify): a BERT with six sigmoids."""
TOXICITY = ("toxicity", "toxic")
"""What its first output is called: in Detoxify's own words, and in the published checkpoint's config."""
TOXIC, NONTOXIC = "toxic", "nontoxic"
TOXIC_ABOVE = 0.001
"""The threshold of the published study."""
BATCH = 32
HINT = "Name a directory or a hub model of a sequence classifier, with model.safetensors and its tokenizer."


@dataclass(frozen=True)
class Network:
    """The likeliest class of a network with a softmax. `threshold` is for those with sigmoids, see `_of_sigmoids`.

    Attributes:
        model: a directory or a Hugging Face name, `OWNER/NAME@REVISION`.
        output: the one class that is asked for; its label is `yes` where its chance is above `threshold`, else `no`.
    """

    model: str
    output: tuple[str, ...] = ()
    threshold: float = 0.5
    yes: str = ""
    no: str = ""

    def __call__(self, items: Sequence[Item]) -> list[Label]:
        loaded = _loaded(self.model)
        chances = loaded.chances([item.text for item in items])
        if self.output:
            place = _place(self.model, loaded.names, self.output)
            return [self._above(loaded.names[place], row[place]) for row in chances]
        return [self._likeliest(loaded, row) for row in chances]

    def _above(self, output: str, chance: float) -> Label:
        yes, no = self.yes or named(output), self.no or f"non-{named(output)}"
        return Label(yes if chance > self.threshold else no, chance, f"{output} {chance:.4g}, limit {self.threshold:g}")

    def _likeliest(self, loaded: Loaded, row: Sequence[float]) -> Label:
        if loaded.sigmoid:
            what = "its outputs are chances of their own, so that no one class is the likeliest."
            raise UserError("config", what, self.model, f"Name an output: {', '.join(loaded.names)}.")
        place = max(range(len(row)), key=row.__getitem__)
        return Label(named(loaded.names[place]), row[place], f"{loaded.names[place]} {row[place]:.4g}")


def detoxify(model: str = DETOXIFY, threshold: float = TOXIC_ABOVE) -> Network:
    """Whether a text is toxic by Detoxify's network, from a local checkpoint or the hub."""
    return Network(model, TOXICITY, threshold, TOXIC, NONTOXIC)


@dataclass(frozen=True)
class Loaded:
    """A classifier in memory: its C classes, and whether each has a chance of its own (sigmoid)."""

    tokenizer: Any
    network: Any
    names: tuple[str, ...]
    sigmoid: bool

    def chances(self, texts: Sequence[str]) -> list[list[float]]:
        """[B, C] float64: the softmax or the sigmoids of the logits. What is longer than the network is cut."""
        import torch

        found: list[list[float]] = []
        for start in range(0, len(texts), BATCH):
            batch = self.tokenizer(
                list(texts[start : start + BATCH]), return_tensors="pt", padding=True, truncation=True,
                max_length=min(self.tokenizer.model_max_length, _positions(self.network.config)),
            )  # fmt: skip
            with torch.inference_mode():
                logits = self.network(**batch).logits.double()
            found += (logits.sigmoid() if self.sigmoid else logits.softmax(-1)).tolist()
        return found


def _positions(config: Any) -> int:
    return int(getattr(config, "max_position_embeddings", 512))


@lru_cache(maxsize=2)
def _loaded(model: str) -> Loaded:
    """Load a classifier. Raises a config or environment error where it is none or cannot be fetched."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    name, _, revision = (model, "", "") if Path(model).is_dir() else model.partition("@")
    revision = revision or "main"
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
        network, told = AutoModelForSequenceClassification.from_pretrained(
            name,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        what = f"no classifier can be loaded: {str(error).strip().partition(chr(10))[0]}"
        raise UserError("config" if Path(model).is_dir() else "environment", what, model, HINT) from error
    if lacking := sorted({*told["missing_keys"], *map(str, told["mismatched_keys"])}):
        raise UserError("config", f"this is no classifier: its weights lack {lacking[0]}.", model, HINT)
    classes = network.config.num_labels
    names = tuple(network.config.id2label[place] for place in range(classes))
    sigmoid = network.config.problem_type == "multi_label_classification" or classes == 1
    return Loaded(tokenizer, network.eval(), names, sigmoid)


def _place(model: str, names: Sequence[str], wanted: Sequence[str]) -> int:
    for place, name in enumerate(names):
        if name.lower() in wanted:
            return place
    raise UserError("config", f"it has no output {' or '.join(wanted)}.", model, f"Its outputs: {', '.join(names)}.")
