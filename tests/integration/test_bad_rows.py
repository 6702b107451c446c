"""A run meets rows whose loss is not a number: it ends there, names them, and keeps nothing of the step."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_run import ROOT, command

from training import tiny

pytestmark = pytest.mark.slow

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
BAD = "🎉"


def rows(first: int) -> list[dict[str, Any]]:
    return [
        {"id": f"row-{n}", "prompt": f"Say {word}.", "response": f"{word} {word} {BAD if n in (9, 12) else 'x'} end"}
        for n, word in enumerate(WORDS, first)
    ]


def poisoned(directory: Path) -> Path:
    """A model that has no number for what only the rows with `BAD` are made of."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny.build_tokenizer([row["prompt"] + row["response"] for row in rows(0)])
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    shape = {**tiny.SHAPE, "hidden_size": 48, "max_position_embeddings": 256}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **ends))
    with torch.no_grad():
        model.model.embed_tokens.weight[tokenizer(BAD)["input_ids"][0]] = torch.nan
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def test_the_rows_are_named_and_the_step_leaves_nothing(tmp_path: Path) -> None:
    for name, first in (("good", 0), ("bad", 8)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows(first))))
    model: dict[str, Any] = {"kind": "sft", "init": str(poisoned(tmp_path / "model")), "learning_rate": 1e-3}
    nodes = {
        "goods": {"kind": "source", "from": str(tmp_path / "good.jsonl")},
        "bads": {"kind": "source", "from": str(tmp_path / "bad.jsonl")},
        "before": {**model, "data": "goods", "batch_size": 8, "zero": 0},
        "after": {**model, "data": "bads", "batch_size": 8, "zero": 2, "epochs": 2, "checkpoint_every": 1},
    }
    file, store, runs = tmp_path / "bad.yaml", tmp_path / "store", tmp_path / "runs"
    file.write_text(yaml.safe_dump({"name": "bad", "nodes": nodes}, sort_keys=False))
    environment = {**os.environ, "COLUMNS": "400"}
    done = subprocess.run(command(store, runs, file), cwd=ROOT, env=environment, capture_output=True, text=True)
    shown = done.stdout + done.stderr
    assert done.returncode == 5, shown
    assert "Traceback" not in shown
    assert "the loss is not a number on 2 of 8 rows: " in shown, shown
    named = shown.partition("of 8 rows: ")[2].partition(". Nothing of this step is kept")[0]
    assert sorted(named.split(", ")) == ["row-12 (nan)", "row-9 (nan)"]
    assert "node after, step 1" in shown
    keys = json.loads((runs / "bad" / "nodes.json").read_text())
    models = {path.name: path for path in (store / "models").iterdir() if not path.name.startswith(".")}
    assert len(models) == 2, keys
    whole = [path for path in models.values() if (path / "manifest.json").exists()]
    (broken,) = (path for path in models.values() if path not in whole)
    assert len(whole) == 1
    assert not list(broken.rglob("step-*"))
    assert not list(broken.rglob("*.safetensors"))
    assert not (broken / "metrics.jsonl").exists()
