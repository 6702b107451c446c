"""Models in the pipeline for real: a run against a bad endpoint, killed and run again; vLLM held to a schema."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest
from bad_server import Action, BadServer, Seen, error, html, says, serving
from pydantic import Field
from small_run import ROOT, command

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.contract import Resources, Source, Work
from pipeline.errors import ERROR_TYPES
from pipeline.llm.asked import AskedRecord
from pipeline.llm.asking import REPLIES, Task, ask_shards
from pipeline.llm.base import Tally
from pipeline.llm.config import Writer
from pipeline.llm.forms import Form
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord
from pipeline.runner import plan_tasks
from pipeline.shards import read_records, write_shards
from pipeline.sources.builtin import build as build_rows
from pipeline.store import Manifest, Store, verify

pytestmark = pytest.mark.slow

KEY = "sk-test-66f0c1d2ab"
OFF = "off-by-one-errors"
ROWS = 40

EXPERIMENT = (ROOT / "configs" / "written.yaml").read_text(encoding="utf-8")


def between(text: str, tag: str) -> str:
    return text.split(f"<{tag}>\n")[1].split(f"\n</{tag}>")[0]


def answer(seen: Seen) -> dict[str, Any]:
    """What a good model says: each stage is known by its prompt."""
    system, text = seen.payload["messages"][0]["content"], seen.question
    if '"tags"' in system:
        return {"tags": [{"error_type": OFF, "plan": "one too far"}]}
    if '"edits"' in system:
        response = between(text, "answer")
        [edit, *_] = next(iter(ERROR_TYPES[OFF].propose(response)), [None])
        if edit is None:
            return {"edits": []}
        # The line around it, so that the text occurs once wherever lines do.
        first, last = response.rfind("\n", 0, edit.start) + 1, response.find("\n", edit.end)
        changed = response[first : edit.start] + edit.new + response[edit.end : last]
        told = {"original_text": response[first:last], "context": "", "replacement": changed, "explanation": "told"}
        return {"edits": [{"error_type": OFF, **told}]}
    if '"regions"' in system:
        good, bad = between(text, "good-answer").splitlines(), between(text, "bad-answer").splitlines()
        [right, wrong] = next((a, b) for a, b in zip(good, bad, strict=True) if a != b)
        sides = {"bad_text": wrong, "good_text": right, "bad_context": "", "good_context": ""}
        return {"regions": [{"error_type": OFF, "explanation": "told", **sides}]}
    return {"correction_details": "", "correct_response": ""}


def whims(seen: Seen, number: int) -> Action:
    """Every seventh request goes wrong in its own way."""
    wrong = (error(429, f"slow down, {KEY}", Retry_After="0.05"), error(500, "out of order"), html(), says("no JSON"))
    return wrong[number // 7 % 4] if number % 7 == 6 else says(json.dumps(answer(seen)))


def start(folder: Path, server: BadServer) -> subprocess.Popen[str]:
    ours = f"{server.url}\n      api_key_env: TEST_KEY\n      prompt_price: 1\n      completion_price: 2"
    (folder / "e.yaml").write_text(EXPERIMENT.replace("http://127.0.0.1:8000/v1", ours))
    arguments = command(folder / "store", folder / "runs", folder / "e.yaml")
    environment = {**os.environ, "TEST_KEY": KEY, "COLUMNS": "160", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def manifests(folder: Path) -> dict[str, tuple[Path, Manifest]]:
    graph, store = build(load(folder / "e.yaml")), Store(folder / "store")
    places = {name: (node.kind.product, node.key) for name, node in graph.nodes.items()}
    return {name: (store.directory(*place), store.require(*place)) for name, place in places.items()}


def test_a_killed_run_pays_for_nothing_twice_and_the_key_is_nowhere(tmp_path: Path) -> None:
    reached = threading.Event()

    def act(seen: Seen, number: int) -> Action:
        time.sleep(0.03)
        if number == 25:
            reached.set()
        return whims(seen, number)

    with serving(act) as server:
        first = start(tmp_path, server)
        assert reached.wait(120), first.communicate()[0]
        first.send_signal(signal.SIGKILL)
        output = first.communicate()[0]
        before = len(server.seen)
        second = start(tmp_path, server)
        output += second.communicate(timeout=300)[0]
        assert second.returncode == 0, output
        times = Counter(seen.text for seen in server.seen)
        # Asked twice was what failed (its number says so) or was under way when the kill came.
        failed = Counter(
            seen.text for number, seen in enumerate(server.seen) if number % 7 == 6 and number // 7 % 4 < 3
        )
        assert sum((times - failed - Counter(set(times))).values()) <= 4
        assert {seen.key for seen in server.seen} == {KEY}
    made = manifests(tmp_path)
    assert before < ROWS
    for name in ("good", "tags", "broken", "pairs"):
        directory, manifest = made[name]
        assert verify(directory) == []
        assert manifest.rows["in"] == manifest.rows["out"] + manifest.rows["rejected"]
        facts = manifest.facts["model"]
        assert facts["prompt_tokens"] == 10 * facts["attempts"]
        assert facts["cost"] == pytest.approx((facts["prompt_tokens"] + 2 * facts["completion_tokens"]) / 1e6, abs=1e-6)
        this_run = facts["this_run"]
        assert this_run["requests"] == this_run["replies"] + sum(this_run["failed"].values())
    assert made["good"][1].rows == {"in": ROWS, "out": ROWS, "rejected": 0}
    assert made["good"][1].facts["model"]["this_run"]["from_cache"] >= before - 4 - before // 7
    broken = list(read_records(made["broken"][0] / "data", CorruptionRecord))
    assert len(broken) >= ROWS // 4
    assert {edit.level for record in broken for edit in record.edits} == {"executed"}
    for pair in read_records(made["pairs"][0] / "data", PreferenceRecord):
        assert len(pair.chosen_spans) == len(pair.rejected_spans) == 1
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        text = json.dumps(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_bytes().decode()
        assert KEY not in text, path
    assert KEY not in output


def test_a_wrong_key_ends_the_run_with_advice(tmp_path: Path) -> None:
    with serving(lambda *_: error(401, f"Incorrect API key provided: {KEY}")) as server:
        process = start(tmp_path, server)
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 3, output
    assert "TEST_KEY is refused" in output and KEY not in output
    assert len(server.seen) <= 8
    logs = [path.read_text() for path in (tmp_path / "runs").rglob("*.log")]
    assert logs and KEY not in "".join(logs)


class Verdict(Form):
    """Says one of three words, and a number of them."""

    verdict: Literal["right", "wrong", "unclear"]
    doubts: list[Literal["tests", "names"]] = Field(max_length=3)


class Judge:
    """A stage whose replies can end in few tokens, whatever a model would like to say."""

    prompt = "rectify"

    def reply_type(self) -> type[Verdict]:
        return Verdict

    def facts(self, record: QARecord) -> dict[str, str]:
        return {"prompt": record.prompt, "response": record.response}

    def problems(self, record: QARecord, said: Verdict) -> list[str]:
        return []

    def conclude(self, record: QARecord, said: Verdict) -> QARecord:
        return record


VLLM = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {support!r}]
from test_llm import judged
judged(Path({folder!r}))
"""


def judged(folder: Path) -> None:
    """Let an untrained tiny model judge six rows, each twice over in two runs, and write down what it said."""
    from pipeline import cluster
    from training.tiny import build as build_model

    records = build_rows(6, 0)
    if not (folder / "model").exists():
        build_model((text for row in records for text in (row.prompt, row.response)), folder / "model", 0)
        write_shards(folder / "source", records, QARecord.SCHEMA, 4)
    writer = Writer(backend="vllm", model="mine", max_length=1024, max_tokens=200, temperature=1.0, attempts=1)
    model = Source("by.model", "mine", "models", "tiny", "", folder / "model")
    totals = []
    for key in ("first", "second"):
        directory = folder / "store" / "rows" / key
        directory.mkdir(parents=True, exist_ok=True)
        work = Work("e", "judged", "rectify", 1, "rows", key, writer, directory, [model])
        task = Task(work, Judge(), QARecord, writer, Resources())
        tally = Tally()
        ask_shards(task, plan_tasks(directory, folder / "source", None), tally)
        totals.append(tally.as_facts())
    cluster.disconnect()
    (folder / "totals.json").write_text(json.dumps(totals))


def test_vllm_keeps_to_the_schema_even_with_an_untrained_model(tmp_path: Path) -> None:
    """Random weights say noise; under the schema every reply that ends is valid. A second run asks nobody."""
    places = {"tests": str(Path(__file__).parent), "support": str(ROOT / "tests" / "support")}
    code = VLLM.format(folder=str(tmp_path), **places)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = list(read_records(tmp_path / "store" / "rows" / "first" / REPLIES, AskedRecord))
    assert len(found) == 6
    for record in found:
        assert not record.reason, record.detail
        Verdict.model_validate_json(record.reply)
        assert record.prompt_tokens > 100 and record.completion_tokens > 2
    first, second = json.loads((tmp_path / "totals.json").read_text())
    assert first["requests"] == first["replies"] == 6
    assert second["requests"] == 0 and second["from_cache"] == 6
