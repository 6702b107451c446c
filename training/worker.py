"""What runs in every training process: models one after another, each from its init to its manifest."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from pipeline.adapters import base_name
from pipeline.contract import NOTES, REJECTS, Work
from pipeline.failures import UserError
from pipeline.records import REJECTED, table_of
from pipeline.shards import shard_name
from pipeline.store import SCRATCH, lease, read_manifest, write_json, write_table
from training import checkpoint, control, lora, ranks, reference
from training import engine as engines
from training.batches import collate, collate_pairs, on, sample_order
from training.configs import LoraConfig, ModelConfig, PreferenceConfig
from training.evaluation import Evaluation, HeldOut, evaluation_of, with_evaluation
from training.examples import prepare as prepare_rows
from training.families import longest, probe
from training.logps import weighted_sums
from training.losses import metrics, preference_loss, sft, sides
from training.metrics_log import MetricsLog
from training.micro_batches import MicroBatch, in_budget, in_parts, row_length
from training.reference import Reference, Said
from training.reference_making import Origin
from training.start import Start, prepare, tokenizer_of
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
        if not ranks.agreed(read_manifest(work.directory) is not None, _device()):
            work.started = time.time()
            run = Run(work, evaluation)
            run.train()
            run.release()
        distributed.barrier()


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
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_of(work), trust_remote_code=False)
        new = control.extend_tokenizer(self.tokenizer, control.tokens_of(work.source("data"), self.config.limit))
        self.data = prepare_rows(self.tokenizer, work)
        self.examples, self.skipped = self.data.examples, self.data.skipped
        start = prepare(work, new)
        self.order = sample_order(len(self.examples), self.config.batch_size, self.config.epochs, self.config.seed)
        self.tuned = evaluation is not None
        wanted = evaluation or evaluation_of(work)
        self.held_out = HeldOut(wanted, self.tokenizer, self.config, len(self.order)) if wanted else None
        self.reference, self.measure = self._reference(start)
        # Now, so that dropout does not depend on whether the reference was run.
        torch.manual_seed(self.config.seed)
        model, self._keeper = self._load(start)
        self.engine = engines.initialize(model, self.config)
        self.family = probe(self.engine.module, longest(self.examples), self.engine)

    def train(self) -> None:
        """Train from the last checkpoint to the end, export, and commit."""
        done = checkpoint.load(self.engine, self.scratch)
        log = MetricsLog(self.work.directory, done, enabled=self.rank == 0)
        self.engine.train()
        if done == 0:
            log.write(*self._evaluated(0))
        for step in range(done, len(self.order)):
            figures = self._step(step)
            measured, samples = self._evaluated(step + 1)
            log.write(figures | measured, samples)
            if (step + 1) % self.config.checkpoint_every == 0 and step + 1 < len(self.order):
                checkpoint.save(self.engine, self.scratch, step + 1)
        log.close()
        self._export(log)

    def release(self) -> None:
        """Give back the memory of the models."""
        engines.release(self.engine)
        for held_to in self._held_to():
            held_to.release()

    def _held_to(self) -> list[Reference]:
        """The references of training and measuring, which may be one."""
        return [each for each in dict.fromkeys((self.reference, self.measure)) if each is not None]

    def _reference(self, start: Start) -> tuple[Reference | None, Reference | None]:
        """What a preference run is held to, the model that it starts from, in training and where it is measured."""
        if not isinstance(self.config, PreferenceConfig):
            return None, None
        rows = (self.work.source("data"), self.config.limit)
        origin = Origin(self.work, rows, start, self.tokenizer, _device(), partial(self._load, start))
        needs = self.config.objective
        held_to = reference.prepare(origin, self.examples, kl=needs.kl) if needs.reference else None
        if self.held_out is None or not self.held_out.data.paired:
            return held_to, None
        measured = replace(origin, rows=self.held_out.evaluation.rows)
        return held_to, reference.for_measuring(measured, self.held_out.data.pairs, held_to)

    def _load(self, start: Start) -> tuple[Any, Any]:
        """The model as it starts, and what must be kept for as long as it is loaded."""
        model, keeper = engines.load_model(start.model, self.config, sharded=True)
        if self.config.gradient_checkpointing:
            engines.checkpoint_layers(model)
        return model if self.config.lora is None else self._adapted(model, start, self.config.lora), keeper

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

    def _evaluated(self, step: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Figures on held-out rows, and samples, where they are due: for the log, and for a sweep that looks on."""
        if self.held_out is None or step not in self.held_out.due:
            return {}, []
        found = self.held_out.figures(self.engine, self.measure)
        figures = {"step": step, "total": len(self.order), **found}
        if self.tuned:
            from ray.train import report

            report({**figures, "evaluation": self.held_out.due[step]})
        return figures, self.held_out.samples(self.engine, step)

    def _loss(self, mine: Sequence[Any], rows: Sequence[Any]) -> Contribution:
        """What a micro-batch adds to the loss of the step's rows."""
        if isinstance(self.config, PreferenceConfig):
            return self._preference_loss(mine, rows, self.config)
        return self._sft_loss(mine, rows)

    def _sft_loss(self, mine: Sequence[Example], rows: Sequence[Example]) -> Contribution:
        """The token mean over the whole batch of all ranks, exact without communication."""
        batch = on(collate(mine, self.tokenizer.pad_token_id or 0, self.family.packed), self.engine.device)
        logps = self.engine(batch).logps[batch.scored]
        sums = weighted_sums(logps, batch.weights, batch.answer, len(mine))
        losses = sft(sums, self._row_weights(mine))
        loss = losses.sum() / sum(sum(example.weights) for example in rows)
        figure = float(loss.detach()) * len(rows) / len(mine)
        return Contribution(loss, losses, {"loss": figure}, batch.tokens)

    def _preference_loss(
        self, mine: Sequence[PairExample], rows: Sequence[PairExample], config: PreferenceConfig
    ) -> Contribution:
        """The mean over the pairs of all ranks.

        Where answers share tokens that cancel in the loss, those are not computed, and are in no figure of a side.
        """
        needs, pad = config.objective, self.tokenizer.pad_token_id or 0
        batch = collate_pairs(mine, pad, self.family.shared, needs.cancels, self.family.packed)
        said = self.reference.of(batch, mine, self.engine.module, kl=needs.kl) if self.reference else Said()
        batch = on(batch, self.engine.device)
        scores = self.engine(batch, said.source, kl=needs.kl)
        chosen, rejected = sides(batch, len(mine), scores.logps, said.logps_or(scores), scores.kl)
        result = preference_loss(
            config.loss, chosen, rejected, **config.parameters, row_weights=self._row_weights(mine)
        )
        loss = result.losses.sum() / len(rows)
        return Contribution(loss, result.losses, metrics(result, chosen, rejected), batch.tokens)

    def _row_weights(self, rows: Sequence[Example | PairExample]) -> Tensor:
        """[B], what each row's loss is multiplied by."""
        return torch.tensor([row.weight for row in rows], device=self.engine.device)

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
            facts=self._facts(log),
        )

    def _reference_facts(self) -> dict[str, Any]:
        """How the reference was had, and all notes: those on the rows and those on the reference."""
        notes = [*self.data.facts.get(NOTES, []), *(note for each in self._held_to() for note in each.notes)]
        return {**({} if self.reference is None else self.reference.facts), **({NOTES: notes} if notes else {})}

    def _facts(self, log: MetricsLog) -> dict[str, Any]:
        run = {"steps": len(self.order), "world_size": self.world}
        facts = {**run, **log.totals(), **self._model_facts(), **self.data.facts, **self._reference_facts()}
        if self.held_out is None:
            return facts
        held_to = {} if self.measure is None else self.measure.facts
        evaluation = {**self.held_out.facts(self.examples), **log.evaluation(), **held_to}
        return with_evaluation(facts, evaluation)

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
