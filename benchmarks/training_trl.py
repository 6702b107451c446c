"""TRL's DPOTrainer on the same pairs. Runs in an environment of its own, see `benchmarks.training_environment`.

The trainer is TRL's as published. It is handed token ids, since the pairs have no text, takes rows in their order, and
tells the loss of every step. Settings are fields of `DPOConfig`.
"""

from __future__ import annotations

import copy
import os
import tempfile
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import DPOConfig, DPOTrainer

from benchmarks import training_workload as work
from benchmarks.training_measure import Meter
from benchmarks.training_workload import Case


class TellingTrainer(DPOTrainer):
    """Keeps the losses of the current step, and leaves the ready token ids alone."""

    losses: list[float]

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def compute_loss(self, *given: Any, **named: Any) -> Any:
        loss = super().compute_loss(*given, **named)
        self.losses.append(float(loss.detach()))
        return loss


class Steps(TrainerCallback):
    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.trainer: Any = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.meter.ready()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        losses, self.trainer.losses = self.trainer.losses, []
        self.meter.step(sum(losses) / len(losses))


def run(case: Case, meter: Meter) -> None:
    assert (case.loss, case.weights) == ("dpo", "response"), "TRL has no token weights and no TDPO"
    policy = work.model(case)
    cached = case.reference == "cached"
    steps = Steps(meter)
    with tempfile.TemporaryDirectory() as folder:
        trainer = TellingTrainer(
            model=policy,
            ref_model=None if cached else copy.deepcopy(policy).eval().requires_grad_(False),
            args=_config(case, folder),
            train_dataset=Dataset.from_list(_rows(case) * (case.steps + 1)),
            processing_class=_tokenizer(),
            optimizers=(work.optimizer(policy), None),
            callbacks=[steps],
        )
        trainer.losses, steps.trainer = [], trainer
        trainer.train()


def _config(case: Case, folder: str) -> DPOConfig:
    settings = {
        "per_device_train_batch_size": case.pairs,
        "gradient_checkpointing": False,
        "bf16": False,
        "precompute_ref_log_probs": case.reference == "cached",
    }
    return DPOConfig(
        output_dir=folder,
        beta=work.BETA,
        max_length=None,
        use_cpu=True,
        max_steps=case.steps + 1,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=False,
        learning_rate=work.LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=work.CLIP,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **(settings | case.settings),
    )


def _rows(case: Case) -> list[dict[str, list[int]]]:
    return [
        {
            "prompt_ids": chosen.input_ids[: case.prompt],
            "chosen_ids": chosen.input_ids[case.prompt :],
            "rejected_ids": rejected.input_ids[case.prompt :],
        }
        for chosen, rejected in work.pairs(case)
    ]


def _tokenizer() -> Any:
    """The trainer wants one for the ids of padding and EOS."""
    words = Tokenizer(models.WordLevel({"<pad>": work.PAD, "<eos>": work.EOS}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
