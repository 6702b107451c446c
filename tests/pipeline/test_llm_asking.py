"""Asking about rows: nothing is lost, nothing is paid for twice, budgets hold, and the key is written nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bad_server import Action, Seen, cut, cut_stream, error, hang, html, no_answer, says, serving, status

from pipeline.contract import Resources, Work
from pipeline.failures import UserError
from pipeline.llm import asking, endpoint
from pipeline.llm.asked import AskedRecord, Conclude
from pipeline.llm.asking import REPLIES, Task, ask_shards, facts_of
from pipeline.llm.base import Failure, Message, Reply, Request, Tally
from pipeline.llm.config import Writer
from pipeline.llm.limits import Budget
from pipeline.llm.replies import BUDGET, Remembering, ReplyCache
from pipeline.llm.scripted import Scripted, reply_to
from pipeline.records import QARecord
from pipeline.runner import plan_tasks
from pipeline.shards import read_records, shard_paths, write_shards
from pipeline.stages.rectify import RectifyStage
from pipeline.store import read_manifest

KEY = "sk-test-0d9b2e44c1"
RIGHT = json.dumps({"correction_details": "", "correct_response": ""})
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr(endpoint, "BACK_OFF", (0.01, 0.02))


def task_in(folder: Path, url: str, rows: int, key: str = "0123", **settings: object) -> tuple[Task, Path]:
    """A rectify node over `rows` rows in shards of eight, to be asked of a server."""
    source = folder / f"source-{rows}" / "data"
    if not source.exists():
        records = [QARecord(f"r{number}", f"question {number}.", str(number), "test") for number in range(rows)]
        write_shards(source, records, QARecord.SCHEMA, 8)
    options = {"backend": "endpoint", "model": "m", "base_url": url, "api_key_env": "TEST_KEY", "patience": 20}
    writer = Writer.model_validate({**options, **settings})
    directory = folder / "store" / "rows" / key
    directory.mkdir(parents=True, exist_ok=True)
    work = Work("e", "good", "rectify", 1, "rows", key, writer, directory, [])
    return Task(work, RectifyStage(), QARecord, writer, Resources()), source


def ask(task: Task, source: Path) -> Tally:
    tally = Tally()
    ask_shards(task, plan_tasks(task.work.directory, source, None), tally)
    return tally


def asked(task: Task) -> list[AskedRecord]:
    return list(read_records(task.work.directory / REPLIES, AskedRecord))


def question_of(seen: Seen) -> str:
    return seen.question.split("question ")[1].split(".")[0]


# Nothing is lost

WRONG: list[Action] = [
    error(429, "slow down", Retry_After="0.01"),
    error(500, "out of order"),
    html(),
    html(503),
    cut,
    cut_stream,
    no_answer,
    status(200, {"choices": []}),
    says("no JSON at all"),
    says('{"correction_details": 7}'),
    says('{"correction_details": "", "correct_response": "", "more": 1}'),
    says("", "content_filter"),
    error(400, "too long"),
    hang,
]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_refusing_everything_is_no_answer_and_mending_the_server_is_enough(tmp_path: Path) -> None:
    refuse = [True]
    with serving(lambda seen, _: error(400, "this model knows no system role") if refuse[0] else says(RIGHT)) as server:
        task, source = task_in(tmp_path, server.url, 12)
        with pytest.raises(UserError) as caught:
            ask(task, source)
        assert "refused all 12 questions" in caught.value.what and "knows no system role" in caught.value.what
        assert not asked(task)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(asking, "_refuse_refusals", interrupted)
            ask(task, source)
        assert len(asked(task)) == 12
        with pytest.raises(UserError, match="refused all 12 questions"):
            ask(task, source)
        refuse[0] = False
        ask(task, source)
    assert [record.reason for record in asked(task)] == [""] * 12


def test_one_answer_among_refusals_is_enough_to_keep_them(tmp_path: Path) -> None:
    with serving(lambda seen, _: says(RIGHT) if question_of(seen) == "7" else error(400, "too long")) as server:
        task, source = task_in(tmp_path, server.url, 12)
        ask(task, source)
    assert sorted(record.reason for record in asked(task)) == ["", *["400"] * 11]


def misbehaving(seen: Seen, times: Counter[str]) -> Action:
    """Each question meets its own misfortune at first, the last ones the longest, then goes well."""
    question = question_of(seen)
    times[question] += 1
    return WRONG[int(question) // 3] if times[question] == 1 else says(RIGHT)


def test_a_server_that_does_everything_wrong_loses_no_row_and_every_count_fits(tmp_path: Path) -> None:
    times: Counter[str] = Counter()
    rows = 3 * len(WRONG)
    with serving(lambda seen, _: misbehaving(seen, times)) as server:
        task, source = task_in(tmp_path, server.url, rows, timeout=2)
        tally = ask(task, source)
    found = asked(task)
    assert [record.id for record in found] == [f"r{number}" for number in range(rows)]
    # Refused: three times a filter, three times a 400. Asked again: all others, those with a bad form in words.
    assert Counter(record.reason for record in found) == {"": rows - 6, "refused": 3, "400": 3}
    assert tally.requests == len(server.seen) == tally.replies + sum(tally.failed.values())
    again = {"429": 3, "500": 3, "503": 3, "no-completion": 6, "connection": 9, "timeout": 3, "refused": 3, "400": 3}
    assert tally.failed == again
    assert tally.replies == rows - 6 + 9, "nine replies had the wrong form and were asked for again"
    assert sum(record.attempts - 1 for record in found) == 9
    kept, rejected = Conclude(task.stage, QARecord)(found)
    assert len(kept) + len(rejected) == rows and len(rejected) == 6


def test_a_reply_of_the_wrong_form_is_shown_what_is_wrong_and_given_up_in_the_end(tmp_path: Path) -> None:
    with serving(lambda seen, _: says('{"correction_details": 7}')) as server:
        task, source = task_in(tmp_path, server.url, 1, attempts=3)
        ask(task, source)
    [found] = asked(task)
    assert (found.reason, found.attempts) == ("malformed", 3)
    assert "correct_response: Field required" in found.detail
    assert (found.prompt_tokens, found.completion_tokens) == (30, 15), "what was paid for nothing is counted too"
    roles = [message["role"] for message in server.seen[2].payload["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "correction_details: Input should be a valid string" in server.seen[2].payload["messages"][-1]["content"]


def test_a_wrong_key_stops_before_the_rows_are_used_up(tmp_path: Path) -> None:
    with serving(lambda *_: error(401, f"Incorrect API key provided: {KEY}")) as server:
        task, source = task_in(tmp_path, server.url, 64, concurrency=4)
        with pytest.raises(UserError, match="TEST_KEY is refused") as caught:
            ask(task, source)
    assert caught.value.kind == "environment"
    assert len(server.seen) <= 8
    assert not shard_paths(task.work.directory / REPLIES)


# Nothing is paid for twice


def test_replies_are_found_again_when_the_data_grow(tmp_path: Path) -> None:
    with serving(lambda *_: says(RIGHT)) as server:
        small, source = task_in(tmp_path, server.url, 10, "small")
        ask(small, source)
        large, source = task_in(tmp_path, server.url, 25, "large")
        tally = ask(large, source)
        assert len(server.seen) == 25
        assert (tally.requests, tally.from_cache) == (15, 10)
        other, source = task_in(tmp_path, server.url, 10, "warmer", temperature=0.7)
        assert ask(other, source).requests == 10, "another setting is another question"
    assert asked(large)[:10] == asked(small)


RUN = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {support!r}]
from test_llm_asking import ask, task_in
ask(*task_in(Path({folder!r}), {url!r}, 48, concurrency=4))
"""


def test_after_a_kill_only_what_was_under_way_is_asked_again(tmp_path: Path) -> None:
    reached = threading.Event()

    def act(_: Seen, number: int) -> Action:
        if number == 21:
            reached.set()
        time.sleep(0.01)
        return says(RIGHT)

    with serving(act) as server:
        places = {"tests": str(Path(__file__).parent), "support": str(ROOT / "tests" / "support")}
        code = RUN.format(folder=str(tmp_path), url=server.url, **places)
        process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = len(server.seen)
        task, source = task_in(tmp_path, server.url, 48, concurrency=4)
        tally = ask(task, source)
        times = Counter(map(question_of, server.seen))
    twice = sum(count - 1 for count in times.values())
    assert len(times) == 48 and before < 48
    assert twice <= 4, "at most what was under way"
    assert tally.requests == 48 - before + twice
    assert [record.id for record in asked(task)] == [f"r{number}" for number in range(48)]


def test_a_line_that_was_cut_short_is_no_reply(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path, {"m": 1}, "me")
    cache.put("a", Reply("one\u2028two\n", "stop", 3, 4))
    cache.put("b", Reply("2", "stop", 30, 40))
    cache.close()
    [path] = (tmp_path).rglob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    again = ReplyCache(tmp_path, {"m": 1}, "me")
    assert again.get("a") == Reply("one\u2028two\n", "stop", 3, 4)
    assert again.get("b") is None
    assert again.spent == [3, 4]
    again.put("b", Reply("2", "stop", 30, 40))
    again.close()
    third = ReplyCache(tmp_path, {"m": 1}, "somebody else")
    assert third.get("b") == Reply("2", "stop", 30, 40) and third.spent == [0, 0]
    assert ReplyCache(tmp_path, {"m": 2}, "me").get("b") is None


def test_the_same_question_twice_at_a_time_is_sent_once(tmp_path: Path) -> None:
    async def two() -> tuple[list[Reply | Failure], int]:
        inner = Scripted(lambda request: reply_to(request, "x"))
        writer = Writer(backend="scripted", script="s")
        generator = Remembering(inner, ReplyCache(tmp_path, {}, "me"), Budget(writer), Tally())
        request = Request((Message("user", "same"),))
        replies = await asyncio.gather(*(generator.generate(request) for _ in range(5)))
        await generator.close()
        return replies, len(inner.requests)

    replies, sent = asyncio.run(two())
    assert replies == [Reply("x", "stop", 1, 1)] * 5 and sent == 1


# Budgets

PRICES = {"prompt_price": 1e6, "completion_price": 2e6}
"""One for a token of a prompt and two for one of a reply: what the server says, 300 and 100 tokens, costs 500."""


@pytest.mark.parametrize(
    ("budget", "spent"),
    [({"budget_tokens": 9000}, 400), ({"budget_cost": 12000.0, **PRICES}, 500)],
)
def test_a_budget_stops_cleanly_is_never_overdrawn_and_holds_over_reruns(
    tmp_path: Path, budget: dict[str, float], spent: int
) -> None:
    limit = next(value for name, value in budget.items() if name.startswith("budget"))
    with serving(lambda *_: says(RIGHT, tokens=(300, 100))) as server:
        settings = {"max_tokens": 100, "concurrency": 4, **budget}
        task, source = task_in(tmp_path, server.url, 40, **settings)
        with pytest.raises(UserError, match="the budget is used up") as caught:
            ask(task, source)
        paid = len(server.seen)
        assert caught.value.kind == "run" and "of 40 rows are answered" in caught.value.what
        # It stops where the next request might take more than is left: its prompt has some 1,300 bytes.
        assert limit - 2500 < paid * spent <= limit
        with pytest.raises(UserError, match="the budget is used up"):
            ask(*task_in(tmp_path, server.url, 40, **settings))
        assert len(server.seen) == paid, "what was paid before counts"
        raised = {name: value * 4 for name, value in budget.items() if name.startswith("budget")}
        task, source = task_in(tmp_path, server.url, 40, **{**settings, **raised})
        ask(task, source)
        assert len(server.seen) == 40
    assert len(asked(task)) == 40


def test_time_is_a_budget_too(tmp_path: Path) -> None:
    def act(*_: object) -> Action:
        time.sleep(0.02)
        return says(RIGHT)

    with serving(act) as server:
        task, source = task_in(tmp_path, server.url, 400, concurrency=1, budget_minutes=0.3 / 60)
        with pytest.raises(UserError, match=r"0.005 minutes are over"):
            ask(task, source)
        assert 0 < len(server.seen) < 100


def test_what_a_budget_left_out_is_no_failure_of_the_row(tmp_path: Path) -> None:
    async def one() -> Reply | Failure:
        writer = Writer(backend="scripted", script="s", budget_tokens=1)
        scripted = Scripted(lambda request: reply_to(request, "x"))
        generator = Remembering(scripted, ReplyCache(tmp_path, {}, "me"), Budget(writer), Tally())
        return await generator.generate(Request((Message("user", "same"),)))

    found = asyncio.run(one())
    assert isinstance(found, Failure) and found.reason == BUDGET


# What is written


def test_the_manifest_has_tokens_and_cost_and_no_file_has_the_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def act(seen: Seen, number: int) -> Action:
        if number < 4:
            return error(500, f"your key {KEY} is odd")
        if question_of(seen) == "7":
            return error(400, f"{KEY} may not")
        return says(f"you are {KEY}") if question_of(seen) == "5" else says(RIGHT)

    with serving(act) as server:
        task, source = task_in(tmp_path, server.url, 20, prompt_price=2.5, completion_price=10)
        tally = ask(task, source)
    facts = facts_of(task.work.directory / REPLIES, task.writer, tally)
    task.work.commit(facts={"model": facts})
    found = read_manifest(task.work.directory)
    assert found is not None
    # 18 rows at one reply, one at three, one at none.
    assert found.facts["model"]["prompt_tokens"] == 210 and found.facts["model"]["completion_tokens"] == 105
    assert found.facts["model"]["cost"] == pytest.approx((210 * 2.5 + 105 * 10) / 1e6, abs=1e-6)
    assert found.facts["model"]["this_run"]["failed"] == {"400": 1, "500": 4}
    assert found.config["api_key_env"] == "TEST_KEY"
    assert any("[key]" in record.detail or "[key]" in record.reply for record in asked(task))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    texts = [json.dumps(pq.read_table(path).to_pylist()) for path in written if path.suffix == ".parquet"]
    assert len(written) > 6 and len(texts) >= 6
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in "".join([*texts, *capfd.readouterr()])
