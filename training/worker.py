"""What runs in every training process: models one after another, each from its init to its manifest."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from pipeline.adapters import base_name
from pipeline.contract import REJECTS, Work
from pipeline.failures import UserError
from pipeline.records import REJECTED, table_of
from pipeline.shards import shard_name
from pipeline.store import SCRATCH, lease, read_manifest, write_json, write_table
from training import checkpoint, lora
from training import engine as engines
from training.batches import collate, collate_pairs, on, sample_order
from training.evaluation import Evaluation, HeldOut, evaluation_of
from training.examples import prepare as prepare_rows
from training.families import longest, probe
from training.logps import weighted_sums
from training.losses import metrics, preference_loss, sft, sides
from training.metrics_log import MetricsLog
from training.nodes import LoraConfig, ModelConfig, PreferenceConfig
from training.scoring import LiveReference, Scorer
from training.start import Start, prepare, tokenizer_of
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


@dataclass
class Tally:
    """Sums over one optimizer step on this rank: every figure times its rows, the rows, and tokens without padding."""

    figures: dict[str, float]
    rows: float = 0.0
    tokens: float = 0.0

    def add(self, figures: dict[str, float], rows: int, tokens: float) -> None:
        for name, value in figures.items():
            self.figures[name] = self.figures.get(name, 0.0) + value * rows
        self.rows += rows
        self.tokens += tokens

    def reduced(self) -> tuple[dict[str, float], float]:
        """Means over all rows of the step, and its tokens, over all ranks."""
        names = sorted(self.figures)
        figures = [self.figures[name] for name in names]
        values = torch.tensor([*figures, self.rows, self.tokens], dtype=torch.float64, device=_device())
        distributed.all_reduce(values)
        *sums, rows, tokens = values.tolist()
        return {name: total / rows for name, total in zip(names, sums, strict=True)}, tokens


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
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_of(work), trust_remote_code=False)
        self.data = prepare_rows(self.tokenizer, work)
        self.examples, self.skipped = self.data.examples, self.data.skipped
        start = prepare(work)
        reference = self._load_reference(start)
        model, self._keeper = engines.load_model(start.model, self.config, sharded=True)
        if self.config.lora is not None:
            model = self._adapted(model, start, self.config.lora)
        self.engine = engines.initialize(model, self.config)
        self.family = probe(self.engine, self.engine.module, longest(self.examples))
        if reference is not None:
            reference.plain = self.engine.module.plain
        self.reference = LiveReference(reference) if reference is not None else self._own_reference()
        self.order = sample_order(len(self.examples), self.config.batch_size, self.config.epochs, self.config.seed)
        self.tuned = evaluation is not None
        wanted = evaluation or evaluation_of(work)
        self.held_out = HeldOut(wanted, self.tokenizer, self.config, len(self.order)) if wanted else None

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

    def _load_reference(self, start: Start) -> Scorer | None:
        """A frozen copy of the model that a preference run starts from, where its loss or its measure needs one.

        A LoRA policy is its own reference.
        """
        if not isinstance(self.config, PreferenceConfig):
            return None
        if not self.config.objective.reference and self.config.evaluate is None:
            return None
        if self.config.lora is not None:
            return None
        model, _ = engines.load_model(start.model, self.config, sharded=False)
        return Scorer(model.to(_device()).eval().requires_grad_(False))

    def _own_reference(self) -> LiveReference | None:
        adapts = isinstance(self.config, PreferenceConfig) and self.config.lora is not None
        return LiveReference(self.engine.module) if adapts else None

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
        rate = learning_rate(self.config, step, len(self.order))
        engines.set_learning_rate(self.engine, rate)
        tally = Tally({})
        mine = rows[self.rank :: self.world]
        for part in range(self.config.accumulation):
            loss, figures, tokens = self._loss(mine[part :: self.config.accumulation], rows)
            tally.add(figures, len(mine[part :: self.config.accumulation]), tokens)
            self.engine.backward(loss)
            self.engine.step()
        figures, tokens = tally.reduced()
        _refuse_nonfinite(figures["loss"], step, rows, self.work.name)
        norm = self.engine.get_global_grad_norm()
        return {
            "step": step + 1,
            "total": len(self.order),
            **figures,
            "learning_rate": rate,
            **({} if norm is None else {"grad_norm": float(norm)}),
            "tokens": int(tokens),
            "seconds": round(time.perf_counter() - started, 4),
        }

    def _evaluated(self, step: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Figures on held-out rows, and samples, where they are due: for the log, and for a sweep that looks on."""
        if self.held_out is None or step not in self.held_out.due:
            return {}, []
        found = self.held_out.figures(self.engine, self.reference)
        figures = {"step": step, "total": len(self.order), **found}
        if self.tuned:
            from ray.train import report

            report({**figures, "evaluation": self.held_out.due[step]})
        return figures, self.held_out.samples(self.engine, step)

    def _loss(self, mine: Sequence[Any], rows: Sequence[Any]) -> tuple[Tensor, dict[str, float], float]:
        if isinstance(self.config, PreferenceConfig):
            return self._preference_loss(mine, rows, self.config)
        return self._sft_loss(mine, rows)

    def _sft_loss(self, mine: Sequence[Example], rows: Sequence[Example]) -> tuple[Tensor, dict[str, float], float]:
        """The token mean over the whole batch of all ranks, exact without communication.

        DeepSpeed averages gradients over ranks and micro-batches, so this rank's sum is scaled up by their number.
        """
        batch = on(collate(mine, self.tokenizer.pad_token_id or 0), self.engine.device)
        logps = self.engine(batch).logps[batch.scored]
        sums = weighted_sums(logps, batch.weights, batch.answer, len(mine))
        total = sft(sums, self._row_weights(mine)).sum()
        mean = total / sum(sum(example.weights) for example in rows)
        figure = float(mean.detach()) * len(rows) / len(mine)
        loss = mean * self.world * self.config.accumulation
        return loss, {"loss": figure}, batch.tokens

    def _preference_loss(
        self, mine: Sequence[PairExample], rows: Sequence[PairExample], config: PreferenceConfig
    ) -> tuple[Tensor, dict[str, float], float]:
        """The mean over the pairs of all ranks.

        Where answers share tokens that cancel in the loss, those are not computed, and are in no figure of a side.
        """
        needs, pad = config.objective, self.tokenizer.pad_token_id or 0
        batch = on(collate_pairs(mine, pad, self.family.shared, cancel=needs.cancels), self.engine.device)
        scores = self.engine(batch, self.reference if needs.reference else None, kl=needs.kl)
        chosen, rejected = sides(batch, len(mine), scores.logps, scores.reference, scores.kl)
        result = preference_loss(
            config.loss, chosen, rejected, **config.parameters, row_weights=self._row_weights(mine)
        )
        loss = result.losses.sum() / len(rows) * self.world * self.config.accumulation
        return loss, metrics(result, chosen, rejected), batch.tokens

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
            facts={
                "steps": len(self.order),
                "world_size": self.world,
                **log.totals(),
                **self._model_facts(),
                **self.data.facts,
                **({"evaluation": self.held_out.facts(self.examples) | log.evaluation()} if self.held_out else {}),
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


def _refuse_nonfinite(loss: float, step: int, rows: Sequence[Any], name: str) -> None:
    if not math.isfinite(loss):
        ids = ", ".join(row.id for row in rows)
        hint = "Lower learning_rate, or look at those rows."
        raise UserError("run", f"the loss is {loss} at step {step + 1}, on rows {ids}.", f"node {name}", hint)
