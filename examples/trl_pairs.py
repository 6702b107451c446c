"""Span-weighted TDPO2 in a training loop of your own, on rows as TRL has them.

Run it:  python examples/trl_pairs.py

The rows are what `datasets.load_dataset(...)` of a preference data set gives: dictionaries with prompt, chosen and
rejected. The collator marks where the two answers differ and turns that into one weight for each token; the loss counts
those tokens alone. The model is built here, so that nothing is downloaded: any causal Hugging Face model does.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from kintsugi.api import LiveReference, PairCollator, Scorer, metrics, preference_loss, probe, sides
from training import tiny

ROWS = [
    {
        "prompt": "Add two numbers.",
        "chosen": "def add(a, b):\n    return a + b\n",
        "rejected": "def add(a, b):\n    return a - b\n",
    },
    {
        "prompt": "Count to n.",
        "chosen": "for i in range(1, n + 1):\n    print(i)\n",
        "rejected": "for i in range(1, n):\n    print(i)\n",
    },
    {
        "prompt": "The last item?",
        "chosen": "The last item is `items[-1]`.",
        "rejected": "The last item is `items[len(items)]`.",
        # Spans may be given as well, in code points of their answer.
        "chosen_spans": [{"start": 24, "end": 26, "error_type": "off-by-one-errors"}],
        "rejected_spans": [{"start": 24, "end": 34, "error_type": "off-by-one-errors"}],
    },
]


def load(directory: Path) -> tuple[AutoModelForCausalLM, AutoTokenizer]:
    """A tiny model from scratch. Yours: `AutoModelForCausalLM.from_pretrained("OWNER/NAME")`."""
    tiny.build((row[name] for row in ROWS for name in ("prompt", "chosen")), directory, seed=0)
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


def main(steps: int = 10) -> list[dict[str, float]]:
    """Train for some steps and give the metrics of each."""
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = load(Path(folder))
    policy, reference = Scorer(model), LiveReference(Scorer(copy.deepcopy(model).eval().requires_grad_(False)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    collator = PairCollator(tokenizer, mask="granular", diff=True, family=probe(policy))
    batches = DataLoader(ROWS, batch_size=3, collate_fn=collator.batch)
    log = []
    for step in range(steps):
        for batch in batches:
            scores = policy(batch, reference, kl=True)
            chosen, rejected = sides(batch, 3, scores.logps, scores.reference, scores.kl)
            result = preference_loss("tdpo2", chosen, rejected, beta=0.1, alpha=0.5)
            optimizer.zero_grad()
            result.losses.mean().backward()
            optimizer.step()
            log.append(metrics(result, chosen, rejected))
            print(f"step {step + 1}: loss {log[-1]['loss']:.4f}  rewards/margins {log[-1]['rewards/margins']:+.4f}")
    return log


if __name__ == "__main__":
    main()
