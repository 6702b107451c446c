"""One tiny model directory and its tokenizer for all tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training import tiny


def corpus() -> Iterator[str]:
    """Enough different words, code and scripts for a vocabulary of many merges."""
    draw = random.Random(0)
    for number in range(400):
        word = "".join(draw.choice(["ra", "lo", "min", "ster", "qu", "ect", "x", "dum"]) for _ in range(4))
        yield f"def {word}(items, n={number}):\n    return [item + {number} for item in items]  # 🎉 你好 café\n"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors here are tiny: a second thread only waits, for milliseconds an operation where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    tiny.build(corpus(), directory, seed=0)
    return directory


@pytest.fixture(scope="session")
def tokenizer(tiny_directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_directory)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return list(corpus())
