"""What runs in every training process: models one after another, each from its init to its manifest."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from pipeline.adapters import base_name
from pipeline.contract import REJECTS, Work
from pipeline.failures import UserError
from pipeline.records import REJECTED, table_of
from pipeline.shards import shard_name
from pipeline.store import SCRATCH, lease, read_manifest, write_json, write_table
from training import checkpoint, lora
from training import engine as engines
from training.batches import collate, collate_pairs, on, sample_order
from training.examples import pair_examples, sft_examples
from training.families import longest, probe
from training.held_out import Evaluation, HeldOut
from training.logps import weighted_sums
from training.losses import metrics, preference_loss, sft, sides
from training.metrics_log import MetricsLog
from training.micro_batches import MicroBatch, in_budget, in_parts, row_length
from training.nodes import LoraConfig, ModelConfig, PreferenceConfig, SftConfig
from training.scoring import LiveReference, Scorer
from training.start import Start, prepare
from training.tally import Contribution, Tally, order_mark, refuse_bad_losses, refuse_bad_norm
from training.tokens import Example, PairExample

FAILURE = "failure.json"


def train_group(settings: dict[str, Any]) -> None:
    """Train every work of the group in order. A user's error ends the group and is left for the driver to raise."""
    torch.set_num_threads(max(1, int(settings["threads"])))
    engines.prepare_process(settings["on_gpu"])
    try:
        for work in settings["works"]:
            _train_unless_made(work, settings["evaluation"])
            gc.collect()
    except UserError as error:
        if distributed.get_rank() == 0:
            write_json(Path(settings["directory"]) / FAILURE, error.args)


def _train_unless_made(work: Work, evaluation: Evaluation | None) -> None:
    with ExitStack() as held:
        if distributed.get_rank() == 0:
            held.enter_context(lease(work.directory.parent / f".{work.key}.training.lock"))
        distributed.barrier()
        if not _agreed(read_manifest(work.directory) is not None):
            work.started = time.time()
            Run(work, evaluation).train()
        distributed.barrier()


def _agreed(flag: bool) -> bool:
    """The first rank's answer, on every rank."""
    answer = torch.tensor(int(flag), device=_device())
    distributed.broadcast(answer, src=0)
    return bool(answer.item())


def _device() -> torch.device:
    from ray.train.torch import get_device

    return get_device()


class Run:
    """One model in training, on one rank."""

    def __init__(self, work: Work, evaluation: Evaluation | None = None) -> None:
        from transformers import AutoTokenizer

        self.work = work
        self.config: ModelConfig = work.config
        self.rank = distributed.get_rank()
        self.world = distributed.get_world_size()
        self.scratch = work.directory / SCRATCH
        torch.manual_seed(self.config.seed)
        start = prepare(work)
        self.tokenizer = AutoTokenizer.from_pretrained(start.tokenizer, trust_remote_code=False)
        self.examples, self.skipped = self._examples()
        reference = self._load_reference(start)
        model, self._keeper = engines.load_model(start.model, self.config, sharded=True)
        if self.config.gradient_checkpointing:
            engines.checkpoint_layers(model)
        if self.config.lora is not None:
            model = self._adapted(model, start, self.config.lora)
        self.engine = engines.initialize(model, self.config)
        self.family = probe(self.engine, self.engine.module, longest(self.examples))
        if reference is not None:
            reference.plain = self.engine.module.plain
        # A LoRA policy is its own reference.
        self.reference = LiveReference(reference or self.engine.module)
        self.order = sample_order(len(self.examples), self.config.batch_size, self.config.epochs, self.config.seed)
        self.held_out = HeldOut(evaluation, self.tokenizer, self.config, len(self.order)) if evaluation else None

    def train(self) -> None:
        """Train from the last checkpoint to the end, export, and commit."""
        done = checkpoint.load(self.engine, self.scratch)
        log = MetricsLog(self.work.directory, done, enabled=self.rank == 0)
        self.engine.train()
        for step in range(done, len(self.order)):
            log.write(self._step(step) | self._evaluated(step + 1))
            if (step + 1) % self.config.checkpoint_every == 0 and step + 1 < len(self.order):
                checkpoint.save(self.engine, self.scratch, step + 1)
        log.close()
        self._export(log)

    def _examples(self) -> tuple[Sequence[Any], Sequence[Any]]:
        source = self.work.source("data")
        if isinstance(self.config, PreferenceConfig):
            return pair_examples(self.tokenizer, source, self.config)
        assert isinstance(self.config, SftConfig)
        return sft_examples(self.tokenizer, source, self.config)

    def _load_reference(self, start: Start) -> Scorer | None:
        """A frozen copy of the model that a preference run starts from; a LoRA policy is its own reference."""
        if not isinstance(self.config, PreferenceConfig) or self.config.lora is not None:
            return None
        model, _ = engines.load_model(start.model, self.config, sharded=False)
        return Scorer(model.to(_device()).eval().requires_grad_(False))

    def _adapted(self, model: Any, start: Start, config: LoraConfig) -> Any:
        """The model with a new adapter, or with the one that the run goes on training."""
        try:
            if start.adapter is not None:
                return lora.go_on(model, config, start.adapter)
            base = base_name(start.model, self.work.directory)
            return lora.wrap(model, config, base=base, seed=self.config.seed)
        except UserError as error:
            raise UserError(error.kind, error.what, f"node {self.work.name}: {error.where}", error.hint) from None

    def _step(self, step: int) -> dict[str, Any]:
        """One optimizer step over this rank's rows of the batch."""
        started = time.perf_counter()
        rows = [self.examples[index] for index in self.order[step]]
        where = f"node {self.work.name}, step {step + 1}"
        rate = learning_rate(self.config, step, len(self.order))
        engines.set_learning_rate(self.engine, rate)
        tally = Tally(len(rows), self.engine.device)
        parts = self._split(rows)
        for number, part in enumerate(parts):
            found = self._loss([rows[place] for place in part.rows], rows)
            if part.counts:
                tally.add(part.rows, found)
            # DeepSpeed averages over ranks what is to be added up.
            loss = found.loss * (self.world if part.counts else 0)
            engines.backward(self.engine, loss, last=number == len(parts) - 1)
        figures, losses, tokens = tally.reduced()
        refuse_bad_losses(losses, rows, where)
        norm = engines.step(self.engine, self.config)
        refuse_bad_norm(norm, rows, where)
        return {
            "step": step + 1,
            "total": len(self.order),
            **figures,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens": tokens,
            "rows": order_mark(rows),
            **({} if self.config.min_workers is None else {"workers": self.world}),
            "seconds": round(time.perf_counter() - started, 4),
        }

    def _split(self, rows: Sequence[Any]) -> list[MicroBatch]:
        """This rank's micro-batches of a step."""
        if self.config.micro_tokens is None:
            return in_parts(len(rows), self.world, self.config.accumulation)[self.rank]
        lengths = [row_length(row, self.family.shared) for row in rows]
        return in_budget(lengths, self.world, self.config.micro_tokens)[self.rank]

    def _evaluated(self, step: int) -> dict[str, float]:
        """Figures on held-out answers, where they are due, for the log and for whoever follows the run."""
        if self.held_out is None or step not in self.held_out.due:
            return {}
        from ray.train import report

        figures = self.held_out.figures(self.engine)
        report({"step": step, "total": len(self.order), "evaluation": self.held_out.due[step], **figures})
        return figures

    def _loss(self, mine: Sequence[Any], rows: Sequence[Any]) -> Contribution:
        """What a micro-batch adds to the loss of the step's rows."""
        if isinstance(self.config, PreferenceConfig):
            return self._preference_loss(mine, rows, self.config)
        return self._sft_loss(mine, rows)

    def _sft_loss(self, mine: Sequence[Example], rows: Sequence[Example]) -> Contribution:
        """The token mean over the whole batch of all ranks, exact without communication."""
        batch = on(collate(mine, self.tokenizer.pad_token_id or 0), self.engine.device)
        logps = self.engine(batch).logps[batch.scored]
        losses = sft(weighted_sums(logps, batch.weights, batch.answer, len(mine)))
        loss = losses.sum() / sum(sum(example.weights) for example in rows)
        figure = float(loss.detach()) * len(rows) / len(mine)
        return Contribution(loss, losses, {"loss": figure}, batch.tokens)

    def _preference_loss(
        self, mine: Sequence[PairExample], rows: Sequence[PairExample], config: PreferenceConfig
    ) -> Contribution:
        """The mean loss over the step's pairs."""
        batch = on(collate_pairs(mine, self.tokenizer.pad_token_id or 0, self.family.shared), self.engine.device)
        scores = self.engine(batch, self.reference, kl=config.loss != "dpo")
        chosen, rejected = sides(batch, len(mine), scores.logps, scores.reference, scores.kl)
        result = preference_loss(config.loss, chosen, rejected, beta=config.beta, alpha=config.alpha)
        loss = result.losses.sum() / len(rows)
        return Contribution(loss, result.losses, metrics(result, chosen, rejected), batch.tokens)

    def _export(self, log: MetricsLog) -> None:
        engines.save_model(self.engine, self.work.directory, self.rank)
        if self.rank:
            return
        self.tokenizer.save_pretrained(self.work.directory)
        write_table(self.work.directory / REJECTS / shard_name(0), table_of(self.skipped, REJECTED))
        self.work.commit(
            rows={
                "in": len(self.examples) + len(self.skipped),
                "out": len(self.examples),
                "rejected": len(self.skipped),
            },
            facts={
                "steps": len(self.order),
                "world_size": self.world,
                **log.totals(),
                **self._model_facts(),
            },
        )

    def _model_facts(self) -> dict[str, Any]:
        model = self.engine.module.model
        adapter = {"base": lora.base_of(model), **lora.parameters(model)} if lora.is_adapted(model) else {}
        return {**self.family.facts(), **adapter}


def learning_rate(config: ModelConfig, step: int, steps: int) -> float:
    """The learning rate of a step: linear warmup to the peak, then down to zero by the schedule."""
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    factors: dict[str, Callable[[float], float]] = {
        "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
        "linear": lambda share: 1 - share,
        "constant": lambda share: 1.0,
    }
    return config.learning_rate * factors[config.schedule](share)
