"""The node kinds that make models: sft, preference and model. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from pipeline.contract import NodeKind, Reference, Work
from pipeline.failures import UserError
from pipeline.store import Manifest
from training.configs import ImportConfig, ModelConfig, PreferenceConfig, SftConfig
from training.fingerprints import TINY, import_fingerprint, init_fingerprint


class _ModelKind(NodeKind):
    product = "models"

    def inputs(self, config: ModelConfig) -> list[Reference]:
        measured = [Reference("evaluate.data", config.evaluate.data, ("rows",))] if config.evaluate else []
        return [
            Reference("init", config.init, ("models",), open=True),
            Reference("data", config.data, ("rows",)),
            *measured,
        ]

    def unmet(self, config: ModelConfig, inputs: Mapping[str, str], made: Manifest) -> str:
        measured = made.facts.get("evaluation", {}).get("asked")
        if config.evaluate is None or config.evaluate.asked(inputs["evaluate.data"]) == measured:
            return ""
        return "trained without this `evaluate`, which changes no weight: it is not trained again to be measured"

    def group(self, config: ModelConfig) -> Hashable:
        """Models that want the same workers train one after another in one group."""
        return ("train", config.workers, config.min_workers, config.resources.cpus, config.resources.gpus)

    def outside(self, config: ModelConfig, inside: frozenset[str]) -> dict[str, str]:
        if config.lora is not None and config.init == TINY and "init" not in inside:
            hint = "Train a model from `tiny` first, and name that node as init."
            raise UserError("config", "an adapter needs a trained model, and `tiny` is untrained.", "init", hint)
        return {} if "init" in inside else {"init": init_fingerprint(config.init)}

    def make(self, works: Sequence[Work]) -> None:
        from training.launch import train
        from training.stale import refuse_stale

        # Models of both kinds are trained in one group.
        for work in works:
            refuse_stale(work)
        train(works)


class Sft(_ModelKind):
    """A model trained on answers."""

    name = "sft"
    version = 3
    Config = SftConfig


class Preference(_ModelKind):
    """A model trained on preference pairs, starting from `init` and held to it."""

    name = "preference"
    version = 3
    Config = PreferenceConfig


class Import(NodeKind):
    """A model directory, an adapter's, or a Hugging Face name as a node. Its files are linked to, not copied."""

    name = "model"
    product = "models"
    version = 1
    Config = ImportConfig
    outside_fields = frozenset({"origin"})

    def inputs(self, config: ImportConfig) -> list[Reference]:
        return []

    def outside(self, config: ImportConfig, inside: frozenset[str]) -> dict[str, str]:
        if config.origin == TINY:
            what = f"'{TINY}' is built when it is trained: it cannot be imported."
            raise UserError("config", what, "from", "Train it with an sft node: {kind: sft, init: tiny, ...}.")
        try:
            return {"model": import_fingerprint(config.origin)}
        except UserError as error:
            raise UserError(
                error.kind, error.what, "from" if error.where == "init" else error.where, error.hint
            ) from None

    def make(self, works: Sequence[Work]) -> None:
        from training.imports import import_model

        for work in works:
            import_model(work)
